//! Whose turn it is: highest priority first, in strict rotation among equals.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::broker::event::OwnerKey;

/// Consumers of one priority that are to be offered a message. The next one stands apart from those behind it: most
/// queues have one consumer, which is then found in the queue itself.
#[derive(Debug)]
struct Group {
    priority: i64,
    next: Option<OwnerKey>,
    behind: VecDeque<OwnerKey>,
}

impl Group {
    fn new(priority: i64) -> Self {
        Self { priority, next: None, behind: VecDeque::new() }
    }

    #[inline]
    fn push(&mut self, owner: OwnerKey) {
        if self.next.is_none() {
            self.next = Some(owner);
        } else {
            self.behind.push_back(owner);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<OwnerKey> {
        let next = self.next.take()?;
        self.next = self.behind.pop_front();
        Some(next)
    }

    fn remove(&mut self, owner: OwnerKey) {
        self.behind.retain(|behind| *behind != owner);
        if self.next == Some(owner) {
            self.pop();
        }
    }
}

/// Consumers to be offered messages. One that had no credit when its turn came is not in here; it joins at the end when
/// it has credit again.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By priority, highest first. Groups stay when empty: a queue sees few distinct priorities.
    groups: SmallVec<[Group; 1]>,
}

impl Turns {
    /// Adds a consumer at the end of its priority.
    #[inline]
    pub(super) fn join(&mut self, owner: OwnerKey, priority: i64) {
        let at = self.groups.iter().position(|group| group.priority <= priority).unwrap_or(self.groups.len());
        if self.groups.get(at).is_none_or(|group| group.priority != priority) {
            self.groups.insert(at, Group::new(priority));
        }
        self.groups[at].push(owner);
    }

    /// Nobody is in line.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.next.is_none())
    }

    /// Takes the one whose turn it is out; if it can take another message it joins again.
    #[inline]
    pub(super) fn next(&mut self) -> Option<OwnerKey> {
        self.groups.iter_mut().find_map(Group::pop)
    }

    /// Removes a consumer wherever it stands.
    pub(super) fn leave(&mut self, owner: OwnerKey) {
        for group in &mut self.groups {
            group.remove(owner);
        }
        self.groups.retain(|group| group.next.is_some());
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
