//! Errors on their way to a close method.

use crate::broker::Refusal;
use crate::wire::{FrameError, FrameKind, Method, MethodError, ReplyCode, erlang_binary};

/// Class and method id.
pub(super) type Ids = (u16, u16);

/// No method is to blame: framing.
pub(super) const NO_METHOD: Ids = (0, 0);

/// What a close method says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sin {
    pub(super) code: ReplyCode,
    /// Without the `CONSTANT - ` prefix.
    pub(super) text: String,
    pub(super) class_id: u16,
    pub(super) method_id: u16,
}

/// A protocol error, with what it closes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Channel(Sin),
    Connection(Sin),
    /// Not a fault yet: the user's backend must be asked first. Never leaves the channel.
    Unanswered,
}

impl Sin {
    /// `ids` is the method to blame.
    pub(super) fn new(code: ReplyCode, ids: Ids, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), class_id: ids.0, method_id: ids.1 }
    }

    /// `CONSTANT - text`; the encoder cuts it to a short string.
    pub(super) fn reply_text(&self) -> String {
        if self.text.is_empty() {
            return self.code.constant_name().to_owned();
        }
        format!("{} - {}", self.code.constant_name(), self.text)
    }

    pub(super) fn channel_close(&self, number: u16, out: &mut Vec<u8>) {
        let text = self.reply_text();
        let Self { code, class_id, method_id, .. } = *self;
        Method::ChannelClose { reply_code: code as u16, reply_text: &text, class_id, method_id }
            .encode_frame(number, out);
    }

    pub(super) fn connection_close(&self, out: &mut Vec<u8>) {
        let text = self.reply_text();
        let Self { code, class_id, method_id, .. } = *self;
        Method::ConnectionClose { reply_code: code as u16, reply_text: &text, class_id, method_id }
            .encode_frame(0, out);
    }
}

impl Fault {
    pub(super) fn channel(code: ReplyCode, ids: Ids, text: impl Into<String>) -> Self {
        Self::Channel(Sin::new(code, ids, text))
    }

    pub(super) fn connection(code: ReplyCode, ids: Ids, text: impl Into<String>) -> Self {
        Self::Connection(Sin::new(code, ids, text))
    }

    /// The broker's no to the method with these ids.
    pub(super) fn refused(refusal: &Refusal, ids: Ids) -> Self {
        if matches!(refusal, Refusal::Unanswered) {
            return Self::Unanswered;
        }
        let sin = Sin::new(refusal.code(), ids, refusal.to_string());
        if refusal.is_connection_error() { Self::Connection(sin) } else { Self::Channel(sin) }
    }

    /// EC-15: a method that only servers send, or that has no business on a channel.
    pub(super) fn unimplemented_method(ids: Ids) -> Self {
        Self::connection(ReplyCode::CommandInvalid, ids, "unimplemented method")
    }

    /// EC-18 to EC-20.
    pub(super) fn not_implemented(ids: Ids, text: impl Into<String>) -> Self {
        Self::connection(ReplyCode::NotImplemented, ids, text)
    }

    /// EC-4 to EC-8: a frame that is fine in itself, at the wrong time.
    pub(super) fn unexpected_frame(ids: Ids, text: impl Into<String>) -> Self {
        Self::connection(ReplyCode::UnexpectedFrame, ids, text)
    }

    /// A method, or content header, that cannot be read. One that is not even as long as its fixed part counts as an
    /// unknown frame.
    pub(super) fn unreadable(kind: FrameKind, payload: &[u8], error: &MethodError) -> Self {
        let text = match error {
            MethodError::TooShort => format!("type {}, {}: unknown_frame", kind as u8, octets(payload)),
            _ => error.to_string(),
        };
        Self::connection(error.code(), (error.class_id(), error.method_id()), text)
    }

    /// What is said.
    pub(super) fn into_sin(self) -> Sin {
        match self {
            Self::Channel(sin) | Self::Connection(sin) => sin,
            Self::Unanswered => Sin::new(ReplyCode::InternalError, NO_METHOD, ""),
        }
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::connection(error.code(), NO_METHOD, error.to_string())
    }
}

/// EC-13.
pub(super) fn second_open(ids: (u16, u16)) -> Fault {
    Fault::connection(ReplyCode::ChannelError, ids, "second 'channel.open' seen")
}

/// The longest payload that error texts show whole.
const OCTETS_SHOWN: usize = 16;

/// A payload as RabbitMQ's error texts show it.
pub(super) fn octets(payload: &[u8]) -> String {
    match payload.get(..OCTETS_SHOWN) {
        Some(first) if payload.len() > OCTETS_SHOWN => format!("first 16 octets = {}", erlang_binary(first)),
        _ => format!("all octets = {}", erlang_binary(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES section 1: `<CONSTANT_NAME> - <detail>`, cut to 255 bytes; EC-30 has no detail.
    #[test]
    fn texts_begin_with_the_constant_and_are_cut() {
        let close = |sin: &Sin| {
            let mut out = Vec::new();
            sin.connection_close(&mut out);
            match Method::decode(&out[7..out.len() - 1]).unwrap() {
                Method::ConnectionClose { reply_code, reply_text, class_id, method_id } => {
                    (reply_code, reply_text.to_owned(), class_id, method_id)
                }
                other => panic!("{other:?}"),
            }
        };
        let sin = Sin::new(ReplyCode::NotFound, (50, 10), "no queue 'q' in vhost '/'");
        assert_eq!(close(&sin), (404, "NOT_FOUND - no queue 'q' in vhost '/'".into(), 50, 10));
        let long = close(&Sin::new(ReplyCode::InternalError, NO_METHOD, "é".repeat(200))).1;
        assert!(long.len() >= 254 && long.len() <= 255, "{}", long.len());
        assert_eq!(close(&Sin::new(ReplyCode::InternalError, NO_METHOD, "")).1, "INTERNAL_ERROR");
    }

    #[test]
    fn short_payloads_are_shown_whole() {
        assert_eq!(octets(b""), "all octets = <<>>");
        assert_eq!(octets(&[0, 50]), "all octets = <<0,50>>");
        assert_eq!(octets(b"abcdefghijklmnop"), "all octets = <<\"abcdefghijklmnop\">>");
        assert_eq!(octets(b"abcdefghijklmnopq"), "first 16 octets = <<\"abcdefghijklmnop\">>");
    }
}
