//! What a session asks of its [`super::Client`], and what it is given to keep.

use std::sync::Arc;

use super::event::ChannelKey;
use super::limiter::Limiter;
use super::message::Message;
use super::reports::Handshake;
use super::route::Targets;
use crate::wire::Table;

/// What the broker knows of a connection, for listings and for closing it by name.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo {
    /// `peer -> local`.
    pub name: String,
    /// The client property `connection_name`.
    pub user_provided_name: Option<String>,
    /// What was told and agreed on before.
    pub handshake: Handshake,
}

/// queue.declare.
#[derive(Clone, Debug)]
pub struct QueueDeclare<'a> {
    /// Empty: the server makes a name.
    pub queue: &'a str,
    /// Only look whether it exists.
    pub passive: bool,
    /// Survives a restart.
    pub durable: bool,
    /// For this connection only.
    pub exclusive: bool,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// `x-...`
    pub arguments: Table,
}

/// exchange.declare.
#[derive(Clone, Debug)]
pub struct ExchangeDeclare<'a> {
    /// Its name.
    pub exchange: &'a str,
    /// `direct`, ...
    pub kind: &'a str,
    /// Only look whether it exists.
    pub passive: bool,
    /// Survives a restart.
    pub durable: bool,
    /// Goes with its last binding as a source.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// `alternate-exchange`, ...
    pub arguments: Table,
}

/// basic.consume.
#[derive(Debug)]
pub struct ConsumeSpec<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Its channel.
    pub channel: ChannelKey,
    /// Its tag.
    pub tag: &'a str,
    /// The session's slot, which comes back with every delivery.
    pub consumer: u32,
    /// Deliveries count as acked at once.
    pub no_ack: bool,
    /// Nobody else may consume.
    pub exclusive: bool,
    /// Unacked deliveries at once; 0 is without limit.
    pub prefetch: u16,
    /// The channel's.
    pub limiter: Arc<Limiter>,
    /// `x-priority`, ...
    pub arguments: Table,
}

/// Where a publish went.
#[derive(Clone, Debug)]
pub struct Routed {
    /// How many lanes will answer with [`super::Event::Confirm`]; 0: it was routed nowhere.
    pub lanes: u16,
    /// False: it was routed nowhere (mandatory: return it). A direct reply is routed and answered by no lane.
    pub is_routed: bool,
    /// A mandatory message that was routed nowhere, as it is to be returned: without BCC.
    pub returned: Option<Message>,
}

/// A publish that is routed and held back until its transaction commits.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) targets: Targets,
    pub(super) message: Message,
}

impl Prepared {
    /// False: it goes nowhere (mandatory: return it at the commit).
    pub fn is_routed(&self) -> bool {
        self.targets.is_routed()
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }
}
