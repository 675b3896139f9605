//! Why the broker says no: one variant per sin, with RabbitMQ's reply code, level and text.

use std::sync::Arc;

use thiserror::Error;

use crate::auth::Denied;
use crate::wire::ReplyCode;

/// `queue '<name>' in vhost '<vhost>'`, `exchange '<name>' in vhost '<vhost>'`: how reply texts name things.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    kind: &'static str,
    name: Arc<str>,
    vhost: Arc<str>,
}

impl Named {
    pub(super) fn queue(name: &str, vhost: &Arc<str>) -> Self {
        Self { kind: "queue", name: name.into(), vhost: vhost.clone() }
    }

    pub(super) fn exchange(name: &str, vhost: &Arc<str>) -> Self {
        Self { kind: "exchange", name: name.into(), vhost: vhost.clone() }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

/// A refusal; `Display` is RabbitMQ's reply text without the `CONSTANT - ` prefix (FEATURES EC-*, EH-*).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// HS-11.
    #[error("vhost {0} not found")]
    VhostNotFound(String),
    /// HS-11.
    #[error("access to vhost '{vhost}' refused for user '{user}'{denied}")]
    VhostAccess {
        /// The vhost asked for.
        vhost: String,
        /// Who asked.
        user: String,
        /// What its backend lets it know of the reason.
        denied: Denied,
    },
    /// HS-11.
    #[error("access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached")]
    VhostConnectionLimit {
        /// The vhost asked for.
        vhost: String,
        /// Who asked.
        user: String,
        /// Its max-connections.
        limit: u64,
    },
    /// HS-11.
    #[error("connection refused for user '{user}': user connection limit ({limit}) is reached")]
    UserConnectionLimit {
        /// Who asked.
        user: String,
        /// The user's max-connections.
        limit: u64,
    },
    /// HS-11.
    #[error("connection refused: node connection limit ({0}) is reached")]
    NodeConnectionLimit(u64),
    /// EC-11.
    #[error("number of channels opened for user '{user}' has reached the maximum allowed user limit of {limit}")]
    UserChannelLimit {
        /// Whose channels.
        user: String,
        /// The user's max-channels.
        limit: u64,
    },
    /// EC-27.
    #[error("vhost '{0}' is deleted")]
    VhostDeleted(String),
    /// EC-27.
    #[error("user '{0}' is deleted")]
    UserDeleted(String),
    /// EC-26, EC-28: closed by the operator, or by a shutdown.
    #[error("{0}")]
    Forced(String),
    /// EC-17.
    #[error("reached maximum ({0}) of consumers per channel")]
    ConsumerLimit(u32),
    /// A queue type that does not exist here yet.
    #[error("queue type 'stream' is not supported by this broker")]
    StreamsUnsupported,
    /// EC-23.
    #[error("cannot delete {queue}. queue.delete operations with {flag} flag set are not supported by quorum queues")]
    QuorumConditionalDelete {
        /// The queue.
        queue: Named,
        /// `if-unused` or `if-empty`.
        flag: &'static str,
    },
    /// EH-1, EH-2.
    #[error("no {0}")]
    NotFound(Named),
    /// EC-21 as RabbitMQ 4.
    #[error("unknown exchange type '{0}'")]
    UnknownExchangeType(String),
    /// The name of no type at all.
    #[error("invalid exchange type '{0}'")]
    InvalidExchangeType(String),
    /// EH-4.
    #[error("inequivalent arg '{argument}' for {what}: received {received} but current is {current}")]
    Inequivalent {
        /// Which property or argument.
        argument: String,
        /// The queue or exchange.
        what: Named,
        /// What this declare says.
        received: String,
        /// What the existing one says.
        current: String,
    },
    /// EH-5.
    #[error(
        "cannot obtain exclusive access to locked {0}. It could be originally declared on another connection or the \
         exclusive property value does not match that of the original declaration."
    )]
    Locked(Named),
    /// EH-26.
    #[error(
        "delivery acknowledgement on channel {channel} timed out. Timeout value used: {timeout_ms} ms. This timeout \
         value can be configured, see consumers doc guide to learn more"
    )]
    DeliveryTimeout {
        /// Number of the channel that did not settle.
        channel: u16,
        /// How long it had.
        timeout_ms: u64,
    },
    /// EH-28.
    #[error(
        "cannot obtain access to locked {0}. basic.get operations are not supported by quorum queues with single \
         active consumer"
    )]
    SingleActiveGet(Named),
    /// EH-6, RabbitMQ 4's wording.
    #[error("{right} access to {what} refused for user '{user}'{denied}")]
    Access {
        /// `configure`, `write` or `read`.
        right: &'static str,
        /// The queue or exchange.
        what: Named,
        /// Who asked.
        user: String,
        /// What its backend lets it know of the reason.
        denied: Denied,
    },
    /// EH-7, RabbitMQ 4's wording.
    #[error("{right} access to topic '{key}' in {exchange} refused for user '{user}'{denied}")]
    TopicAccess {
        /// `write` or `read`.
        right: &'static str,
        /// The routing or binding key.
        key: String,
        /// The topic exchange.
        exchange: Named,
        /// Who asked.
        user: String,
        /// What its backend lets it know of the reason.
        denied: Denied,
    },
    /// EH-8.
    #[error("{kind} name '{name}' contains reserved prefix 'amq.*'")]
    ReservedPrefix {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// EH-9.
    #[error("operation not permitted on the default exchange")]
    DefaultExchange,
    /// EH-10.
    #[error("deletion of system {0} not allowed")]
    SystemExchange(Named),
    /// EH-11.
    #[error("cannot publish to internal {0}")]
    InternalExchange(Named),
    /// EH-12.
    #[error("{0} in exclusive use")]
    ExclusiveUse(Named),
    /// EH-14.
    #[error("{0} in use")]
    InUse(Named),
    /// EH-14.
    #[error("{0} not empty")]
    NotEmpty(Named),
    /// EH-15.
    #[error("invalid arg '{argument}' for {queue}: {reason}")]
    InvalidArgument {
        /// Its name.
        argument: String,
        /// The queue.
        queue: Named,
        /// RabbitMQ's reason, in Erlang syntax.
        reason: String,
    },
    /// EH-16.
    #[error("invalid arg '{argument}' for {queue} of queue type {queue_type}")]
    ArgumentOfOtherType {
        /// Its name.
        argument: String,
        /// The queue.
        queue: Named,
        /// `rabbit_classic_queue`, ...
        queue_type: &'static str,
    },
    /// EH-17.
    #[error("invalid property '{property}' for {queue}")]
    InvalidProperty {
        /// `non-durable`, `exclusive-owner`, `auto-delete`.
        property: &'static str,
        /// The queue.
        queue: Named,
    },
    /// EH-18.
    #[error("Cannot declare a server-named queue for type {0}")]
    ServerNamed(&'static str),
    /// EH-19.
    #[error("invalid type '{value_type}' for arg '{argument}' in {what}")]
    InvalidArgumentType {
        /// Its name.
        argument: &'static str,
        /// The type it came with.
        value_type: &'static str,
        /// The queue or exchange.
        what: Named,
    },
    /// EH-20.
    #[error("cannot declare queue '{queue}': queue limit in vhost '{vhost}' ({limit}) is reached")]
    QueueLimit {
        /// The queue.
        queue: String,
        /// The vhost.
        vhost: String,
        /// Its max-queues.
        limit: u64,
    },
    /// EH-21.
    #[error("invalid message: {{unacceptable_type_in_header,\"{header}\",{value_type}}}")]
    HeaderType {
        /// `CC` or `BCC`.
        header: &'static str,
        /// The type it came with.
        value_type: &'static str,
    },
    /// BP-3.
    #[error("invalid expiration '{value}': {reason}")]
    InvalidExpiration {
        /// As it came.
        value: String,
        /// RabbitMQ's reason, in Erlang syntax.
        reason: String,
    },
    /// BP-4.
    #[error("user_id property set to '{claimed}' but authenticated user was '{user}'")]
    UserId {
        /// The property.
        claimed: String,
        /// The connection's user.
        user: String,
    },
    /// EH-24.
    #[error("reply consumer cannot acknowledge")]
    ReplyConsumerAcks,
    /// EH-24.
    #[error("reply consumer already set")]
    ReplyConsumerSet,
    /// EH-24.
    #[error("fast reply consumer does not exist")]
    NoReplyConsumer,
    /// EH-32.
    #[error("cannot bind or unbind to a volatile (direct reply-to) queue")]
    VolatileQueue,
    /// EH-29 and other refusals of binding arguments, whose text the exchange type gives.
    #[error("{0}")]
    Binding(String),
    /// XT-6, XT-9 to XT-11: an argument of exchange.declare, whose text the exchange type gives.
    #[error("{0}")]
    ExchangeArgument(String),
    /// The headers that number a producer's messages.
    #[error("invalid message: {0}")]
    ProducerHeader(&'static str),
    /// SA-7: the new secret is none, or not this user's.
    #[error("New secret was refused by one of the backends")]
    SecretRefused,
    /// SA-7: nobody could say whether the new secret is one.
    #[error("Secret update failed")]
    SecretFailed,
    /// SA-8.
    #[error("credential expired")]
    CredentialExpired,
    /// The user's backend must be asked first ([`super::Client::await_verdicts`]). Never leaves the session.
    #[error("the backend has not answered yet")]
    Unanswered,
    /// The queue was deleted between the look-up and its lane's turn; the client looks anew. Never leaves the broker.
    #[error("queue is gone")]
    QueueGone,
    /// Properties that cannot be read: RabbitMQ's reader dies, a connection error is kinder.
    #[error("malformed content header properties")]
    MalformedProperties,
}

impl Refusal {
    /// The reply code.
    pub fn code(&self) -> ReplyCode {
        match self {
            Self::VhostNotFound(_)
            | Self::VhostAccess { .. }
            | Self::VhostConnectionLimit { .. }
            | Self::UserConnectionLimit { .. }
            | Self::NodeConnectionLimit(_)
            | Self::UserChannelLimit { .. }
            | Self::SecretRefused
            | Self::SecretFailed
            | Self::ConsumerLimit(_) => ReplyCode::NotAllowed,
            Self::CredentialExpired | Self::VhostDeleted(_) | Self::UserDeleted(_) | Self::Forced(_) => {
                ReplyCode::ConnectionForced
            }
            Self::StreamsUnsupported | Self::QuorumConditionalDelete { .. } => ReplyCode::NotImplemented,
            Self::NotFound(_) | Self::QueueGone => ReplyCode::NotFound,
            Self::Locked(_) | Self::SingleActiveGet(_) => ReplyCode::ResourceLocked,
            Self::Access { .. }
            | Self::Unanswered
            | Self::TopicAccess { .. }
            | Self::ReservedPrefix { .. }
            | Self::DefaultExchange
            | Self::VolatileQueue
            | Self::SystemExchange(_)
            | Self::InternalExchange(_)
            | Self::ExclusiveUse(_) => ReplyCode::AccessRefused,
            Self::UnknownExchangeType(_)
            | Self::InvalidExchangeType(_)
            | Self::Inequivalent { .. }
            | Self::InUse(_)
            | Self::NotEmpty(_)
            | Self::InvalidArgument { .. }
            | Self::ArgumentOfOtherType { .. }
            | Self::InvalidProperty { .. }
            | Self::ServerNamed(_)
            | Self::InvalidArgumentType { .. }
            | Self::QueueLimit { .. }
            | Self::HeaderType { .. }
            | Self::InvalidExpiration { .. }
            | Self::UserId { .. }
            | Self::DeliveryTimeout { .. }
            | Self::ReplyConsumerAcks
            | Self::ReplyConsumerSet
            | Self::NoReplyConsumer
            | Self::Binding(_)
            | Self::ExchangeArgument(_)
            | Self::ProducerHeader(_) => ReplyCode::PreconditionFailed,
            Self::MalformedProperties => ReplyCode::SyntaxError,
        }
    }

    /// True: the connection closes. False: only the channel does.
    pub fn is_connection_error(&self) -> bool {
        self.code().is_hard()
    }
}
