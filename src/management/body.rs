//! What is sent back: bytes that are there, or parts that are written one by one when the client takes them.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

/// Bytes of a part, more or less.
pub(super) const PART_BYTES: usize = 64 << 10;

/// Gives the next part, as long as there is one.
type Parts = Box<dyn FnMut() -> Option<Bytes> + Send>;

/// See the module's documentation.
pub(super) enum Body {
    Whole(Bytes),
    Parts(Parts),
}

impl Body {
    /// Written when it is asked for, so that a long one takes no more memory than a part. A short one is written now.
    pub(super) fn of_parts(mut next: impl FnMut() -> Option<Bytes> + Send + 'static) -> Self {
        let Some(first) = next() else { return Self::default() };
        if first.len() < PART_BYTES {
            return Self::Whole(first);
        }
        let mut first = Some(first);
        Self::Parts(Box::new(move || first.take().or_else(&mut next)))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Whole(bytes.into())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Parts(_) => f.write_str("Parts"),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let part = match &mut *self {
            Self::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            Self::Parts(next) => next(),
        };
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Parts(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn collected(lengths: &[usize]) -> (Option<u64>, usize) {
        let parts: Vec<Bytes> = lengths.iter().map(|length| vec![b'x'; *length].into()).collect();
        let mut rest = parts.into_iter();
        let body = Body::of_parts(move || rest.next());
        let known = HttpBody::size_hint(&body).exact();
        (known, body.collect().await.unwrap_or_else(|never| match never {}).to_bytes().len())
    }

    #[tokio::test]
    async fn what_is_short_has_a_length_and_what_is_long_comes_in_parts() {
        assert_eq!(collected(&[]).await, (Some(0), 0));
        assert_eq!(collected(&[10]).await, (Some(10), 10));
        assert_eq!(collected(&[PART_BYTES, PART_BYTES + 1, 3]).await, (None, 2 * PART_BYTES + 4));
    }
}
