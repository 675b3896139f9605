//! Whose turn it is: highest priority first, in strict rotation among equals.

use std::collections::VecDeque;

use crate::broker::event::OwnerKey;

/// Consumers of one priority that are to be offered a message, next one first.
#[derive(Debug)]
struct Group {
    priority: i64,
    waiting: VecDeque<OwnerKey>,
}

/// Consumers to be offered messages. One that had no credit when its turn came is not in here; it joins at the end when
/// it has credit again.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By priority, highest first. Groups stay when empty: a queue sees few distinct priorities.
    groups: Vec<Group>,
}

impl Turns {
    /// Adds a consumer at the end of its priority.
    pub(super) fn join(&mut self, owner: OwnerKey, priority: i64) {
        let at = self.groups.iter().position(|group| group.priority <= priority).unwrap_or(self.groups.len());
        if self.groups.get(at).is_none_or(|group| group.priority != priority) {
            self.groups.insert(at, Group { priority, waiting: VecDeque::new() });
        }
        self.groups[at].waiting.push_back(owner);
    }

    /// Nobody is in line.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.waiting.is_empty())
    }

    /// Takes the one whose turn it is out; if it can take another message it joins again.
    pub(super) fn next(&mut self) -> Option<OwnerKey> {
        self.groups.iter_mut().find_map(|group| group.waiting.pop_front())
    }

    /// Removes a consumer wherever it stands.
    pub(super) fn leave(&mut self, owner: OwnerKey) {
        for group in &mut self.groups {
            group.waiting.retain(|waiting| *waiting != owner);
        }
        self.groups.retain(|group| !group.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_rotate_and_higher_priorities_go_first() {
        let mut turns = Turns::default();
        let [a, b, c] = [OwnerKey(1), OwnerKey(2), OwnerKey(3)];
        turns.join(a, 0);
        turns.join(b, 0);
        turns.join(c, 10);
        assert_eq!(turns.next(), Some(c));
        for expected in [a, b, a, b] {
            let next = turns.next().unwrap();
            assert_eq!(next, expected);
            turns.join(next, 0);
        }
        turns.leave(a);
        assert_eq!(turns.next(), Some(b));
        assert_eq!(turns.next(), None);
    }
}
