//! A queue told of, for listings.

use super::{Queue, Role, has_credit};
use crate::broker::effects::ConnKey;
use crate::broker::event::OwnerKey;
use crate::broker::mailbox::ConnectionId;
use crate::broker::reports::{ConsumerPlace, Counters, QueueReport};

impl Queue {
    /// `connection` says whose an owner is. Costs as much as there are owners.
    pub(in crate::broker) fn report(
        &self,
        now_ms: u64,
        connection: impl Fn(ConnKey) -> Option<ConnectionId>,
    ) -> QueueReport {
        let (mut unacked, mut unacked_bytes) = (0, 0);
        for (_, owner) in &self.owners {
            unacked += owner.unacked.len() as u64;
            unacked_bytes += owner.unacked.body_bytes();
        }
        let place = |key: &OwnerKey| {
            let owner = self.owners.get(key.0 as usize)?;
            let Role::Consumer { subscription, .. } = &owner.role else { return None };
            Some(ConsumerPlace {
                connection: connection(owner.conn)?,
                channel: owner.channel,
                owner: *key,
                is_active: !self.options().single_active_consumer || self.active == Some(*key),
                has_credit: has_credit(subscription, &owner.unacked),
            })
        };
        QueueReport {
            ready: self.ready.len() as u64,
            ready_bytes: self.ready.body_bytes(),
            unacked,
            unacked_bytes,
            counters: self.counters,
            idle_ms: now_ms.saturating_sub(self.used_ms),
            consumers: self.consumers.iter().filter_map(place).collect(),
        }
    }

    /// Messages that consumers and gets had, once or again.
    pub(in crate::broker) fn delivered_messages(&self) -> u64 {
        let Counters { deliver, deliver_no_ack, get, get_no_ack, .. } = self.counters;
        deliver + deliver_no_ack + get + get_no_ack
    }

    /// Waiting messages, those on disk aside, more or less.
    pub(in crate::broker) fn messages_in_memory(&self) -> usize {
        self.ready.messages_in_memory()
    }

    /// There are consumers, and what they want next is in memory.
    pub(in crate::broker) fn may_be_drained(&self) -> bool {
        !self.consumers.is_empty() && !self.ready.has_pages()
    }

    /// What happened to its messages.
    pub(in crate::broker) fn counters(&self) -> &Counters {
        &self.counters
    }
}
