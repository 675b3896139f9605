//! A publish arrives as method, header, body frames; this is the only place that knows the order.

use std::mem;

use bytes::Bytes;

use super::HUGE_BODY_MIN;
use super::reply::{Fault, Ids};
use crate::broker::{Body, LARGE_BODY_MIN};
use crate::wire::{BASIC_CLASS, ContentHeader, Frame, FrameKind, Method, Publish, ReplyCode, cut_expected};

/// FR-7: no body is larger, whatever the configured limit.
const BODY_BYTES_MAX: u64 = 512 << 20;
/// A body has room set aside for as many times what has come of it. What is announced and never comes costs addresses,
/// as the system gives memory to what is written; and a body is never copied when much of it is there.
const GROWTH: u64 = 64;
/// Buffers are kept for the next publish up to this size.
const KEPT_BYTES: usize = 512;
/// basic.publish, to blame.
pub(super) const PUBLISH_IDS: Ids = (60, 40);

#[derive(Debug, Default)]
enum Expect {
    #[default]
    Method,
    Header(Sender),
    Body(Sender, Size),
}

/// Whose method the content belongs to.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Publish,
    /// A method with content that only servers send (EC-15): it is refused when its content has come.
    Server(Ids),
}

impl Sender {
    fn ids(self) -> Ids {
        match self {
            Self::Publish => PUBLISH_IDS,
            Self::Server(ids) => ids,
        }
    }
}

/// Of a body, in bytes.
#[derive(Clone, Copy, Debug)]
struct Size {
    announced: u64,
    missing: u64,
    /// False: it is too large, or nobody's. Its bytes are only counted.
    is_kept: bool,
}

/// Puts the content of one channel together.
#[derive(Debug, Default)]
pub(super) struct Content {
    expect: Expect,
    mandatory: bool,
    immediate: bool,
    address: Vec<u8>,
    properties: Vec<u8>,
    body: Vec<u8>,
}

/// What a frame was.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// A method without content.
    Method(Method<'a>),
    /// More must come.
    More,
    /// The last piece of a publish.
    Publish(Complete<'a>),
    /// The last piece of a method with content that only servers send.
    Server(Ids),
}

/// A publish that is all there.
#[derive(Clone, Debug)]
pub(super) struct Complete<'a> {
    /// `exchange shortstr | routing-key shortstr`.
    pub(super) address: &'a [u8],
    pub(super) mandatory: bool,
    pub(super) immediate: bool,
    pub(super) properties: &'a [u8],
    /// Of the body, in bytes.
    pub(super) size: u64,
    /// Empty if it is larger than the limit given to [`Content::frame`].
    pub(super) body: Body<'a>,
}

impl<'a> Complete<'a> {
    /// Reads a publish whose frames stand side by side at the front of `input`, as most do. Gives what is behind it, too.
    /// `None`: it is no publish, not all there, too large or not right; read frame by frame it turns out which.
    #[inline]
    pub(super) fn read(input: &'a [u8], channel: u16, payload_max: u32, size_max: u64) -> Option<(Self, &'a [u8])> {
        let (method, behind) = cut_expected(input, FrameKind::Method, channel, payload_max)?;
        let Publish { address, mandatory, immediate, .. } = Publish::read(method.strip_prefix(&Publish::IDS)?)?;
        let (header, mut behind) = cut_expected(behind, FrameKind::Header, channel, payload_max)?;
        let ContentHeader { class_id, weight, body_size: size, properties } = ContentHeader::decode(header).ok()?;
        if class_id != BASIC_CLASS || weight != 0 || size > size_max {
            return None;
        }
        let mut body = Body::Small(&[]);
        if size > 0 {
            let payload;
            (payload, behind) = cut_expected(behind, FrameKind::Body, channel, payload_max)?;
            if payload.len() as u64 != size {
                return None;
            }
            body = whole_body(payload);
        }
        Some((Self { address, mandatory, immediate, properties, size, body }, behind))
    }
}

impl Content {
    /// No content is under way.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.expect, Expect::Method)
    }

    /// A huge body is under way.
    pub(super) fn is_huge(&self) -> bool {
        matches!(self.expect, Expect::Body(_, size) if size.announced >= HUGE_BODY_MIN)
    }

    /// Takes the next frame of the channel. A body of more than `size_max` bytes is received but not kept.
    pub(super) fn frame<'a>(&'a mut self, frame: Frame<'a>, size_max: u64) -> Result<Part<'a>, Fault> {
        match (&self.expect, frame.kind) {
            (Expect::Method, FrameKind::Method) => self.method(frame),
            (Expect::Method, _) => {
                let text = "expected method frame, got non method frame instead";
                Err(Fault::unexpected_frame((0, 0), text))
            }
            (Expect::Header(sender), FrameKind::Header) => {
                let sender = *sender;
                self.header(frame, sender, size_max)
            }
            (Expect::Header(sender), _) => Err(no_header(*sender)),
            (Expect::Body(sender, size), FrameKind::Body) => {
                let (sender, size) = (*sender, *size);
                self.body(frame.payload, sender, size)
            }
            (Expect::Body(sender, _), _) => {
                let text = "expected content body, got non content body frame instead";
                Err(Fault::unexpected_frame(sender.ids(), text))
            }
        }
    }

    fn method<'a>(&mut self, frame: Frame<'a>) -> Result<Part<'a>, Fault> {
        let unreadable = |error| Fault::unreadable(frame.kind, frame.payload, &error);
        if let Some(arguments) = frame.payload.strip_prefix(&Publish::IDS) {
            let publish = Publish::decode(arguments).map_err(unreadable)?;
            self.address.clear();
            self.address.extend_from_slice(publish.address);
            self.mandatory = publish.mandatory;
            self.immediate = publish.immediate;
            self.expect = Expect::Header(Sender::Publish);
            return Ok(Part::More);
        }
        let method = Method::decode(frame.payload).map_err(unreadable)?;
        if method.has_content() {
            self.expect = Expect::Header(Sender::Server(method.ids()));
            return Ok(Part::More);
        }
        Ok(Part::Method(method))
    }

    fn header<'a>(&'a mut self, frame: Frame<'a>, sender: Sender, size_max: u64) -> Result<Part<'a>, Fault> {
        let unreadable = |error| Fault::unreadable(frame.kind, frame.payload, &error);
        let header = ContentHeader::decode(frame.payload).map_err(unreadable)?;
        if header.class_id != BASIC_CLASS {
            let class = header.class_id;
            let text = format!("expected content header for class {BASIC_CLASS}, got one for class {class} instead");
            return Err(Fault::unexpected_frame(sender.ids(), text));
        }
        if header.weight != 0 {
            // FR-6.
            return Err(no_header(sender));
        }
        let announced = header.body_size;
        if announced > BODY_BYTES_MAX {
            let text = format!("content body size {announced} exceeds maximum allowed size {BODY_BYTES_MAX}");
            return Err(Fault::connection(ReplyCode::FrameError, sender.ids(), text));
        }
        self.properties.clear();
        if announced == 0 {
            return Ok(self.complete(sender, announced, Some(header.properties), Body::Small(&[])));
        }
        let is_kept = matches!(sender, Sender::Publish) && announced <= size_max;
        if is_kept {
            self.properties.extend_from_slice(header.properties);
        }
        self.expect = Expect::Body(sender, Size { announced, missing: announced, is_kept });
        Ok(Part::More)
    }

    fn body<'a>(&'a mut self, payload: &'a [u8], sender: Sender, size: Size) -> Result<Part<'a>, Fault> {
        let length = payload.len() as u64;
        let Some(missing) = size.missing.checked_sub(length) else {
            let text = "content body frame exceeds remaining content size";
            return Err(Fault::connection(ReplyCode::FrameError, sender.ids(), text));
        };
        if missing == 0 && size.missing == size.announced {
            // The usual case: the whole body in one frame, taken from the read buffer.
            let body = if size.is_kept { whole_body(payload) } else { Body::Small(&[]) };
            return Ok(self.complete(sender, size.announced, None, body));
        }
        if size.is_kept {
            self.reserve(length, size.announced);
            self.body.extend_from_slice(payload);
        }
        if missing > 0 {
            self.expect = Expect::Body(sender, Size { missing, ..size });
            return Ok(Part::More);
        }
        // As large as its length, see `reserve`; and an idle channel keeps no body.
        let body = Bytes::from(mem::take(&mut self.body));
        Ok(self.complete(sender, size.announced, None, Body::Large(body)))
    }

    /// Makes room for the next piece and some more, but never beyond the announced end, so that a finished body wastes
    /// nothing.
    fn reserve(&mut self, length: u64, announced: u64) {
        let come = self.body.len() as u64 + length;
        if come > self.body.capacity() as u64 {
            // At most BODY_BYTES_MAX.
            let room = (come * GROWTH).min(announced) as usize - self.body.len();
            if self.body.try_reserve_exact(room).is_err() {
                // A system that promises no more than it has may still have enough for what has come.
                self.body.reserve(length as usize);
            }
        }
    }

    /// The end of a content. `None`: the properties are those that were kept.
    fn complete<'a>(&'a mut self, sender: Sender, size: u64, properties: Option<&'a [u8]>, body: Body<'a>) -> Part<'a> {
        self.expect = Expect::Method;
        match sender {
            Sender::Publish => Part::Publish(self.publish(size, properties.unwrap_or(&self.properties), body)),
            Sender::Server(ids) => Part::Server(ids),
        }
    }

    fn publish<'a>(&'a self, size: u64, properties: &'a [u8], body: Body<'a>) -> Complete<'a> {
        let (mandatory, immediate) = (self.mandatory, self.immediate);
        Complete { address: &self.address, mandatory, immediate, properties, size, body }
    }

    /// Gives back what an idle channel should not hold.
    pub(super) fn trim(&mut self) {
        if self.properties.capacity() > KEPT_BYTES {
            self.properties = Vec::new();
        }
    }
}

/// A body that came in one frame.
fn whole_body(payload: &[u8]) -> Body<'_> {
    if payload.len() < LARGE_BODY_MIN { Body::Small(payload) } else { Body::Large(Bytes::copy_from_slice(payload)) }
}

/// EC-6.
fn no_header(sender: Sender) -> Fault {
    let text = format!("expected content header for class {BASIC_CLASS}, got non content header frame instead");
    Fault::unexpected_frame(sender.ids(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{write_content, write_deliver, write_publish};

    const PROPERTIES: &[u8] = b"\x10\x00\x02";

    /// Feeds frames and gives what each made of the publish: its size and body.
    fn feed(content: &mut Content, input: &[u8], size_max: u64) -> Vec<(u64, Vec<u8>)> {
        let (mut rest, mut complete) = (input, Vec::new());
        while let Some((frame, taken)) = crate::wire::cut(rest, u32::MAX).unwrap() {
            rest = &rest[taken..];
            match content.frame(frame, size_max).unwrap() {
                Part::Publish(publish) => {
                    assert_eq!(publish.address, b"\x02ex\x03key");
                    assert!(publish.properties == PROPERTIES || publish.size > size_max);
                    let body = match &publish.body {
                        Body::Small(bytes) => bytes.to_vec(),
                        Body::Large(bytes) => bytes.to_vec(),
                    };
                    complete.push((publish.size, body));
                }
                Part::More => {}
                other => panic!("{other:?}"),
            }
        }
        complete
    }

    fn publish(body: &[u8], frame_max: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write_publish(&mut out, 1, "ex", "key", false);
        write_content(&mut out, 1, PROPERTIES, body, frame_max);
        out
    }

    /// FEATURES FR-4, FR-5.
    #[test]
    fn bodies_of_any_size_in_any_cut() {
        let mut content = Content::default();
        for length in [0, 1, LARGE_BODY_MIN - 1, LARGE_BODY_MIN, 100_000, 1_000_000] {
            let body: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
            for frame_max in [9, 4096, 131_072, 0] {
                if length / (frame_max as usize).max(1) > 100_000 {
                    continue;
                }
                assert_eq!(feed(&mut content, &publish(&body, frame_max), u64::MAX), [(length as u64, body.clone())]);
            }
        }
        assert_eq!(content.body.capacity(), 0);
    }

    /// An announcement of half a gigabyte costs nothing, and a body that came in pieces wastes nothing.
    #[test]
    fn memory_follows_what_has_come() {
        let mut content = Content::default();
        let mut frames = Vec::new();
        write_publish(&mut frames, 1, "ex", "key", false);
        crate::wire::write_content_header(&mut frames, 1, PROPERTIES, BODY_BYTES_MAX);
        assert!(feed(&mut content, &frames, u64::MAX).is_empty());
        assert_eq!(content.body.capacity(), 0);
        let piece = vec![7; 1000];
        for n in 1..2000 {
            let frame = Frame { kind: FrameKind::Body, channel: 1, payload: &piece };
            assert!(matches!(content.frame(frame, u64::MAX), Ok(Part::More)));
            assert!(content.body.capacity() <= n * piece.len() * GROWTH as usize);
        }
        let body = vec![1; 300_000];
        let mut content = Content::default();
        let frames = publish(&body, 4096);
        let end = frames.len() - 500;
        feed(&mut content, &frames[..end], u64::MAX);
        assert_eq!(content.body.capacity(), body.len());
    }

    /// FEATURES FR-8: too large is told when all has come, and nothing of it is kept until then.
    #[test]
    fn a_body_above_the_limit_is_only_counted() {
        let mut content = Content::default();
        let frames = publish(&vec![1; 100_000], 4096);
        assert_eq!(feed(&mut content, &frames, 99_999), [(100_000, Vec::new())]);
        assert_eq!(content.body.capacity(), 0);
        assert_eq!(feed(&mut content, &publish(b"fine", 4096), 4), [(4, b"fine".to_vec())]);
    }

    /// FEATURES EC-15: the content of a method that only servers send is waited for.
    #[test]
    fn server_methods_with_content() {
        let mut content = Content::default();
        let mut frames = Vec::new();
        write_deliver(&mut frames, 1, b"\x01c", 1, false, b"\x00\x00");
        write_content(&mut frames, 1, PROPERTIES, b"abc", 9);
        let mut rest = frames.as_slice();
        let mut parts = Vec::new();
        while let Some((frame, taken)) = crate::wire::cut(rest, u32::MAX).unwrap() {
            rest = &rest[taken..];
            parts.push(match content.frame(frame, u64::MAX).unwrap() {
                Part::More => None,
                Part::Server(ids) => Some(ids),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(parts, [None, None, None, None, Some((60, 60))]);
    }

    #[test]
    fn large_properties_are_not_kept() {
        let mut content = Content::default();
        let mut frames = Vec::new();
        write_publish(&mut frames, 1, "ex", "key", false);
        crate::wire::write_content_header(&mut frames, 1, &[0; 10_000], 2);
        feed(&mut content, &frames, u64::MAX);
        assert!(content.properties.capacity() >= 10_000);
        let body = Frame { kind: FrameKind::Body, channel: 1, payload: b"ab" };
        assert!(matches!(content.frame(body, u64::MAX), Ok(Part::Publish(_))));
        content.trim();
        assert!(content.properties.capacity() <= KEPT_BYTES);
    }
}
