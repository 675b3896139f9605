//! A queue told of, for listings.

use std::sync::Arc;

use super::{Kept, Queue, QueueType, Role, has_credit};
use crate::broker::effects::ConnKey;
use crate::broker::event::OwnerKey;
use crate::broker::mailbox::ConnectionId;
use crate::broker::message::Message;
use crate::broker::reports::{ConsumerPlace, Counters, QueueReport, QuorumReport};
use crate::wire::Properties;

impl Queue {
    /// `connection` says whose an owner is; who looks closely is told of messages, too. Costs as much as there are owners.
    pub(in crate::broker) fn report(
        &self,
        now_ms: u64,
        is_close: bool,
        connection: impl Fn(ConnKey) -> Option<ConnectionId>,
    ) -> QueueReport {
        let (mut unacked, mut unacked_bytes, mut transient) = (0, 0, self.ready.transient);
        for (_, owner) in &self.owners {
            unacked += owner.unacked.len() as u64;
            unacked_bytes += owner.unacked.body_bytes();
            transient += owner.unacked.transient();
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
        let (ready, ready_bytes) = (self.ready.len() as u64, self.ready.body_bytes());
        let (persistent, persistent_bytes) = match self.kept {
            Kept::None => (0, 0),
            Kept::Persistent => (ready + unacked - transient.messages, ready_bytes + unacked_bytes - transient.bytes),
            Kept::All => (ready + unacked, ready_bytes + unacked_bytes),
        };
        QueueReport {
            ready,
            ready_bytes,
            unacked,
            unacked_bytes,
            persistent,
            persistent_bytes,
            quorum: (self.options().queue_type == QueueType::Quorum).then(|| Box::new(self.quorum_report())),
            incoming: self.arrivals.iter().flat_map(|own| own.iter().map(|(x, count)| (x.clone(), *count))).collect(),
            head_timestamp_s: if is_close { self.head_timestamp_s() } else { None },
            counters: self.counters,
            idle_ms: now_ms.saturating_sub(self.used_ms),
            consumers: self.consumers.iter().filter_map(place).collect(),
            single_active_tag: self.active.and_then(|key| self.tag_of(key)),
            exclusive_tag: self
                .consumers
                .iter()
                .find(|key| self.is_exclusive_consumer(**key))
                .and_then(|key| self.tag_of(*key)),
        }
    }

    fn tag_of(&self, key: OwnerKey) -> Option<Arc<str>> {
        match &self.owners.get(key.0 as usize)?.role {
            Role::Consumer { subscription, .. } => subscription.tag.clone(),
            Role::Holder => None,
        }
    }

    /// From now on it is known which exchanges messages were published to.
    pub(in crate::broker) fn count_arrivals(&mut self) {
        self.arrivals = Some(Box::default());
    }

    #[cold]
    pub(super) fn count_arrival(&mut self, message: &Message) {
        if let Some(arrivals) = &mut self.arrivals {
            let exchange = message.exchange();
            *arrivals.of(&*exchange, || (&*exchange).into()) += 1;
        }
    }

    fn quorum_report(&self) -> QuorumReport {
        // A queue has at most 256 priorities.
        let by_priority = self.ready.priorities().map(|(priority, length)| (priority as u8, length)).collect();
        let aside = self.aside.as_deref();
        QuorumReport {
            publishers: self.publishers.as_ref().map_or(0, |publishers| publishers.len()),
            by_priority,
            returned: self.ready.returns_len() as u64,
            delayed: aside.map_or(0, |aside| aside.delayed.len() as u64),
            dead_letters: aside.map_or(0, |aside| aside.letters.len() as u64),
            dead_letters_bytes: aside.map_or(0, |aside| aside.letters.body_bytes()),
        }
    }

    /// When the oldest message was sent, as its publisher says; it may be out.
    fn head_timestamp_s(&self) -> Option<u64> {
        let out = self.owners.iter().filter_map(|(_, owner)| owner.unacked.iter().next());
        let out = out.map(|entry| (entry.seq, &entry.message));
        let (_, oldest): (u64, &Message) = out.chain(self.ready.head()).min_by_key(|(seq, _)| *seq)?;
        Properties::decode(oldest.properties()).ok()?.timestamp
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
