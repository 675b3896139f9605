//! Deliveries that stay unsettled for too long (FL-5). No delivery carries its time: now and then the queue notes how far
//! each owner's numbers had come, and what is older than such a mark is at least as old as the mark.

use std::collections::VecDeque;

use super::entry::NEVER;
use super::{Owner, Queue, QueueType, Role};
use crate::broker::effects::Effects;
use crate::broker::event::OwnerKey;

/// Looks in the time of one timeout: a delivery is found late by at most two of these parts, and never early.
const LOOKS: u64 = 16;

/// When to look again, while something is out.
pub(super) fn next_look(now_ms: u64, timeout_ms: u64) -> u64 {
    now_ms.saturating_add((timeout_ms / LOOKS).max(1))
}

/// Number of the last delivery, and when it was the last: oldest first, no more than there are looks in a timeout.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<(u64, u64)>);

impl Owner {
    fn timeout_ms(&self, of_queue: u64) -> u64 {
        match &self.role {
            Role::Consumer { subscription, .. } => subscription.timeout_ms.unwrap_or(of_queue),
            Role::Holder => of_queue,
        }
    }

    /// Looks at its oldest delivery. True: it is out for too long.
    fn is_overdue(&mut self, timeout_ms: u64, now_ms: u64) -> bool {
        let Some(oldest) = self.unacked.oldest() else {
            self.marks.0.clear();
            return false;
        };
        while self.marks.0.front().is_some_and(|(number, _)| *number < oldest) {
            self.marks.0.pop_front();
        }
        if self.marks.0.front().is_some_and(|(_, at_ms)| at_ms.saturating_add(timeout_ms) <= now_ms) {
            self.marks.0.clear();
            return true;
        }
        if self.marks.0.back().is_none_or(|(number, _)| *number < self.delivered) {
            self.marks.0.push_back((self.delivered, now_ms));
        }
        false
    }
}

impl Queue {
    /// How long a delivery may go unsettled if its consumer does not say.
    pub(super) fn timeout_ms(&self) -> u64 {
        self.settings.consumer_timeout_ms.unwrap_or(self.default_timeout_ms)
    }

    /// Looks for owners that hold a delivery for too long, if it is time to.
    pub(super) fn time_out(&mut self, now_ms: u64, fx: &mut Effects) {
        if self.check_ms > now_ms {
            return;
        }
        self.check_ms = NEVER;
        let mut overdue = Vec::new();
        let of_queue = self.timeout_ms();
        for (index, owner) in &mut self.owners {
            let timeout_ms = owner.timeout_ms(of_queue);
            if owner.is_overdue(timeout_ms, now_ms) {
                overdue.push((OwnerKey(index as u32), timeout_ms));
            } else if !owner.unacked.is_empty() {
                self.check_ms = self.check_ms.min(next_look(now_ms, timeout_ms));
            }
        }
        for (key, timeout_ms) in overdue {
            self.give_up_on(key, timeout_ms, now_ms, fx);
        }
    }

    /// A quorum queue takes its messages back and drops the consumer, as in 4.3; of a classic queue the channel closes,
    /// as in 3.x, and gives them back thereby.
    fn give_up_on(&mut self, key: OwnerKey, timeout_ms: u64, now_ms: u64, fx: &mut Effects) {
        let Some(owner) = self.owners.get_mut(key.0 as usize) else {
            return;
        };
        let (conn, channel) = (owner.conn, owner.channel);
        match &owner.role {
            Role::Consumer { subscription, .. } if self.handle.options.queue_type == QueueType::Quorum => {
                fx.timed_out(conn, channel, Some(subscription.consumer), timeout_ms);
                let held: Vec<_> = owner.unacked.drain().collect();
                self.remove_consumer(key, now_ms, fx);
                self.take_turn_again(key, fx);
                for entry in held {
                    // QQ-4: no failure.
                    self.put_back(entry, false, now_ms, fx);
                }
                self.enforce_length(fx);
            }
            _ => fx.timed_out(conn, channel, None, timeout_ms),
        }
    }
}
