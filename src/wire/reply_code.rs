//! Reply codes of connection.close, channel.close and basic.return.

/// 0-9-1 spec 1.2, and RabbitMQ's readings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum ReplyCode {
    /// No error.
    Success = 200,
    /// Never sent by RabbitMQ.
    ContentTooLarge = 311,
    /// basic.return of an unroutable mandatory message.
    NoRoute = 312,
    /// Never sent by RabbitMQ.
    NoConsumers = 313,
    /// Closed by the operator or a shutdown.
    ConnectionForced = 320,
    /// Unknown vhost, by the spec; RabbitMQ says 530.
    InvalidPath = 402,
    /// No permission, or reserved.
    AccessRefused = 403,
    /// No such queue or exchange.
    NotFound = 404,
    /// Another connection's exclusive queue.
    ResourceLocked = 405,
    /// A condition of the request does not hold.
    PreconditionFailed = 406,
    /// A frame that cannot be read.
    FrameError = 501,
    /// A field that cannot be read.
    SyntaxError = 502,
    /// A method that is not allowed here at all.
    CommandInvalid = 503,
    /// A method on a channel in the wrong state.
    ChannelError = 504,
    /// A frame out of order.
    UnexpectedFrame = 505,
    /// The server lacks a resource.
    ResourceError = 506,
    /// Forbidden by a limit or setting.
    NotAllowed = 530,
    /// A feature that is not there.
    NotImplemented = 540,
    /// The server failed.
    InternalError = 541,
}

impl ReplyCode {
    /// The name that begins every reply text.
    pub fn constant_name(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::NoConsumers => "NO_CONSUMERS",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// True: it closes the connection. False: only the channel.
    pub fn is_hard(self) -> bool {
        matches!(self as u16, 320 | 402 | 500..)
    }
}
