//! Errors on their way to a close method.

use crate::broker::Refusal;
use crate::wire::{FrameError, Method, MethodError, ReplyCode};

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
}

impl Sin {
    /// `ids` is the method to blame; (0, 0) for framing.
    pub(super) fn new(code: ReplyCode, ids: (u16, u16), text: impl Into<String>) -> Self {
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
    pub(super) fn channel(code: ReplyCode, ids: (u16, u16), text: impl Into<String>) -> Self {
        Self::Channel(Sin::new(code, ids, text))
    }

    pub(super) fn connection(code: ReplyCode, ids: (u16, u16), text: impl Into<String>) -> Self {
        Self::Connection(Sin::new(code, ids, text))
    }

    /// The broker's no to the method with these ids.
    pub(super) fn refused(refusal: &Refusal, ids: (u16, u16)) -> Self {
        let sin = Sin::new(refusal.code(), ids, refusal.to_string());
        if refusal.is_connection_error() { Self::Connection(sin) } else { Self::Channel(sin) }
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::connection(error.code(), (0, 0), error.to_string())
    }
}

impl From<MethodError> for Fault {
    fn from(error: MethodError) -> Self {
        Self::connection(error.code(), (error.class_id(), error.method_id()), error.to_string())
    }
}
