//! A client that asks: consuming from the pseudo-queue of direct reply-to, and the names that stand for no queue.

use std::sync::Arc;

use super::Client;
use crate::broker::event::{ChannelKey, Outcome, OwnerKey};
use crate::broker::refusal::Refusal;
use crate::broker::reply_to::{PLACE, REPLY_TO, ReplyRoute, Requester};

impl Client {
    /// basic.consume from the pseudo-queue (DR-1); it needs no permission.
    pub(in crate::broker) fn consume_replies(
        &mut self,
        channel: ChannelKey,
        consumer: u32,
        no_ack: bool,
    ) -> Result<Outcome, Refusal> {
        if !no_ack {
            return Err(Refusal::ReplyConsumerAcks);
        }
        if self.requesters.contains_key(&channel) {
            return Err(Refusal::ReplyConsumerSet);
        }
        let requester = Arc::new(Requester::new(self.mailbox.clone(), channel, consumer));
        self.broker.0.requesters.add(requester.clone());
        self.requesters.insert(channel, requester);
        Ok(Outcome::Consuming { queue: PLACE, owner: OwnerKey(0) })
    }

    /// The channel gets no more replies (DR-9).
    pub(in crate::broker) fn forget_requester(&mut self, channel: ChannelKey) {
        if let Some(requester) = self.requesters.remove(&channel) {
            self.broker.0.requesters.remove(&requester);
        }
    }

    pub(in crate::broker) fn forget_requesters(&mut self) {
        for (_, requester) in self.requesters.drain() {
            self.broker.0.requesters.remove(&requester);
        }
    }

    /// queue.declare of a name that stands for no queue (DR-5); `None`: it is an ordinary one.
    pub(in crate::broker) fn declare_reply_queue(&mut self, name: &str) -> Option<Result<Outcome, Refusal>> {
        let found = Ok(Outcome::Declared { queue: name.into(), messages: 0, consumers: 1 });
        if name == REPLY_TO {
            return Some(found);
        }
        match self.broker.0.requesters.find(name)? {
            ReplyRoute::To(_) => Some(found),
            ReplyRoute::Malformed | ReplyRoute::Gone => Some(Err(Refusal::NotFound(self.vhost.queue_named(name)))),
        }
    }
}
