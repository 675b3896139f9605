//! The single active consumer: who it is, and who takes over (SC-1).

use super::{Owner, Queue, QueueType, Role};
use crate::broker::effects::Effects;
use crate::broker::event::OwnerKey;

impl Queue {
    /// Messages go to it. With a single active consumer, that is the chosen one; of a quorum queue it gets no more
    /// once one of higher priority waits (SC-1).
    pub(super) fn is_active(&self, key: OwnerKey) -> bool {
        !self.options().single_active_consumer || self.active == Some(key) && self.successor(key).is_none()
    }

    /// Who takes over from the active consumer of a quorum queue when that holds nothing more.
    pub(super) fn successor(&self, active: OwnerKey) -> Option<OwnerKey> {
        if self.options().queue_type != QueueType::Quorum {
            return None;
        }
        self.first_of_highest_priority().filter(|first| self.priority_of(*first) > self.priority_of(active))
    }

    pub(super) fn first_of_highest_priority(&self) -> Option<OwnerKey> {
        // Of equals `max_by_key` gives the last.
        self.consumers.iter().rev().copied().max_by_key(|key| self.priority_of(*key))
    }

    pub(super) fn priority_of(&self, key: OwnerKey) -> Option<i64> {
        match &self.owners.get(key.0 as usize)?.role {
            Role::Consumer { subscription, .. } => Some(subscription.priority),
            Role::Holder => None,
        }
    }

    /// Chooses the single active consumer anew if there is none, or one of higher priority may take over.
    pub(super) fn choose_active(&mut self, fx: &mut Effects) {
        if !self.options().single_active_consumer {
            return;
        }
        let chosen = match self.active {
            None if self.options().queue_type == QueueType::Quorum => self.first_of_highest_priority(),
            None => self.consumers.first().copied(),
            Some(active) => {
                let Some(successor) = self.successor(active) else { return };
                self.rest(active);
                let holds = self.owners.get(active.0 as usize).is_some_and(|owner| !owner.unacked.is_empty());
                if holds { None } else { Some(successor) }
            }
        };
        if let Some(chosen) = chosen {
            self.active = Some(chosen);
            self.take_turn_again(chosen, fx);
        }
    }

    /// A consumer that is to get nothing for now.
    pub(super) fn rest(&mut self, key: OwnerKey) {
        self.turns.leave(key);
        if let Some(Owner { role: Role::Consumer { in_turn, .. }, .. }) = self.owners.get_mut(key.0 as usize) {
            *in_turn = false;
        }
    }
}
