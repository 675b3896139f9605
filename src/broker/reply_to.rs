//! Direct reply-to: replies go straight from the replier to the channel that asked, past every queue. A requester
//! consumes from the pseudo-queue; its requests carry an opaque name in place of the pseudo-queue's, and what is
//! published under that name is put into its mailbox.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;

use super::event::{ChannelKey, Delivery, Event, OwnerKey, QueueId, QueueKey, Source};
use super::mailbox::Mailbox;
use super::message::Message;
use crate::hashing::Hashing;

/// The pseudo-queue.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// What every opaque name begins with.
const PREFIX: &str = "amq.rabbitmq.reply-to.";
/// Where the pseudo-queue's consumers are said to be; no lane has this number.
pub(super) const PLACE: QueueKey = QueueKey { lane: u16::MAX, id: QueueId(u64::MAX) };

/// What is random in a name.
type Token = [u8; 16];

/// A channel that consumes from the pseudo-queue.
#[derive(Debug)]
pub(super) struct Requester {
    token: Token,
    mailbox: Arc<Mailbox>,
    channel: ChannelKey,
    consumer: u32,
}

impl Requester {
    /// A new one, under a name that nobody can guess.
    pub(super) fn new(mailbox: Arc<Mailbox>, channel: ChannelKey, consumer: u32) -> Self {
        Self { token: rand::random(), mailbox, channel, consumer }
    }

    /// The name its requests carry (DR-2).
    pub(super) fn name(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.token))
    }

    /// Hands a reply over. One for a client that does not read its socket is dropped: replies wait nowhere.
    pub(super) fn deliver(&self, message: Message) {
        if self.mailbox.is_full() {
            return;
        }
        let bytes = message.memory_bytes();
        let source = Source { queue: PLACE, owner: OwnerKey(0), number: 0 };
        let Self { channel, consumer, .. } = *self;
        let delivery = Delivery { channel, consumer, source, redelivered: false, counted: false, message };
        self.mailbox.put(&mut vec![Event::Deliver(delivery)], bytes);
    }
}

/// All requesters of a broker, whatever their vhost.
#[derive(Debug, Default)]
pub(super) struct Requesters {
    by_token: DashMap<Token, Arc<Requester>, Hashing>,
}

/// Where a publish to an opaque name leads.
#[derive(Clone, Debug)]
pub(super) enum ReplyRoute {
    /// Not a name this broker made up: unroutable.
    Malformed,
    /// The requester is gone: the reply is taken and dropped (DR-7).
    Gone,
    /// Here it is.
    To(Arc<Requester>),
}

impl Requesters {
    pub(super) fn add(&self, requester: Arc<Requester>) {
        self.by_token.insert(requester.token, requester);
    }

    pub(super) fn remove(&self, requester: &Requester) {
        self.by_token.remove(&requester.token);
    }

    /// `None` if the name is not an opaque one.
    pub(super) fn find(&self, name: &str) -> Option<ReplyRoute> {
        let encoded = name.strip_prefix(PREFIX)?;
        let decoded = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|bytes| Token::try_from(bytes).ok());
        let Some(token) = decoded else { return Some(ReplyRoute::Malformed) };
        let requester = self.by_token.get(&token).map(|requester| requester.value().clone());
        Some(requester.map_or(ReplyRoute::Gone, ReplyRoute::To))
    }
}

/// Is this place the pseudo-queue's?
pub(super) fn is_place(queue: QueueKey) -> bool {
    queue == PLACE
}

/// Names a volatile queue: nothing can be bound to it (EH-32).
pub(super) fn is_opaque_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}
