//! Deliveries of a channel that the client has not settled, by delivery tag.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::Source;

/// A delivery to be settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) source: Source,
    /// It went to a consumer (not to a get): such deliveries fill a channel-wide prefetch.
    pub(super) to_consumer: bool,
    /// It is counted in the channel's limiter.
    pub(super) counted: bool,
}

/// Tags are handed out in order and mostly settled in order, so the recent ones live in a deque indexed by tag; what
/// stays behind moves to a tree, so that one delivery never settled costs one entry.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// Tag of the last delivery; no-ack deliveries count too (DL-1).
    last_tag: u64,
    recent_first: u64,
    recent: VecDeque<Option<Held>>,
    stragglers: BTreeMap<u64, Held>,
    len: usize,
}

/// The deque is looked over for stragglers once it is this long and mostly empty.
const SPARSE_LEN_MIN: usize = 64;

impl Unacked {
    /// The tag of a delivery that needs no ack.
    pub(super) fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// Keeps a delivery; gives its tag.
    pub(super) fn push(&mut self, held: Held) -> u64 {
        let tag = self.next_tag();
        if self.recent.len() >= SPARSE_LEN_MIN && self.recent.len() > 4 * self.len {
            let first = self.recent_first;
            let left = self.recent.drain(..).enumerate();
            self.stragglers.extend(left.filter_map(|(index, held)| Some((first + index as u64, held?))));
        }
        if self.recent.is_empty() {
            self.recent_first = tag;
        }
        // Tags of no-ack deliveries in between have no entry.
        while self.recent_first + (self.recent.len() as u64) < tag {
            self.recent.push_back(None);
        }
        self.recent.push_back(Some(held));
        self.len += 1;
        tag
    }

    /// Unacked deliveries of consumers; all of them count in the channel's limiter from now on.
    pub(super) fn count_all(&mut self) -> u32 {
        let mut count = 0;
        for held in self.stragglers.values_mut().chain(self.recent.iter_mut().flatten()) {
            if held.to_consumer {
                held.counted = true;
                count += 1;
            }
        }
        count
    }

    fn take_one(&mut self, tag: u64) -> Option<Held> {
        let held = match tag.checked_sub(self.recent_first) {
            Some(index) if !self.recent.is_empty() => {
                let held = self.recent.get_mut(usize::try_from(index).ok()?)?.take()?;
                while let Some(None) = self.recent.front() {
                    self.recent.pop_front();
                    self.recent_first += 1;
                }
                held
            }
            _ => self.stragglers.remove(&tag)?,
        };
        self.len -= 1;
        if self.len == 0 && self.recent.capacity() > 64 {
            self.recent = VecDeque::new();
        }
        Some(held)
    }

    /// Takes out what an ack, nack or reject names: one tag, or with `multiple` all up to it, tag 0 meaning all.
    /// `None`: the tag is unknown (EH-13).
    pub(super) fn take(&mut self, tag: u64, multiple: bool) -> Option<Vec<(u64, Held)>> {
        if !multiple {
            return self.take_one(tag).map(|held| vec![(tag, held)]);
        }
        if tag == 0 {
            return Some(self.take_up_to(u64::MAX));
        }
        if tag > self.last_tag || !self.contains(tag) {
            return None;
        }
        Some(self.take_up_to(tag))
    }

    fn contains(&self, tag: u64) -> bool {
        let in_recent =
            tag.checked_sub(self.recent_first).and_then(|index| self.recent.get(usize::try_from(index).ok()?));
        in_recent.is_some_and(Option::is_some) || self.stragglers.contains_key(&tag)
    }

    fn take_up_to(&mut self, tag: u64) -> Vec<(u64, Held)> {
        let later = tag.checked_add(1).map(|next| self.stragglers.split_off(&next)).unwrap_or_default();
        let mut taken: Vec<(u64, Held)> = std::mem::replace(&mut self.stragglers, later).into_iter().collect();
        while self.recent_first <= tag
            && let Some(held) = self.recent.pop_front()
        {
            taken.extend(held.map(|held| (self.recent_first, held)));
            self.recent_first += 1;
        }
        self.len -= taken.len();
        taken
    }

    /// Puts back what a rolled back transaction took out.
    pub(super) fn restore(&mut self, taken: impl IntoIterator<Item = (u64, Held)>) {
        for (tag, held) in taken {
            self.stragglers.insert(tag, held);
            self.len += 1;
        }
        // Restored tags may lie among the recent ones: then those become stragglers too, so that order is kept.
        let first = self.recent_first;
        let recent = std::mem::take(&mut self.recent).into_iter().enumerate();
        self.stragglers.extend(recent.filter_map(|(index, held)| Some((first + index as u64, held?))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{OwnerKey, QueueId, QueueKey};

    fn held(number: u64) -> Held {
        let source = Source { queue: QueueKey { lane: 0, id: QueueId(1) }, owner: OwnerKey(0), number };
        Held { source, to_consumer: true, counted: false }
    }

    fn tags(taken: Option<Vec<(u64, Held)>>) -> Vec<u64> {
        taken.unwrap().into_iter().map(|(tag, _)| tag).collect()
    }

    /// FEATURES EH-13, traps 2 and 3.
    #[test]
    fn unknown_tags_are_found_out() {
        let mut unacked = Unacked::default();
        assert_eq!(tags(unacked.take(0, true)), [0_u64; 0]);
        assert!(unacked.take(0, false).is_none() && unacked.take(5, true).is_none());
        unacked.push(held(1));
        assert_eq!(tags(unacked.take(1, false)), [1]);
        assert!(unacked.take(1, false).is_none());
    }

    /// FEATURES DL-1, DL-2.
    #[test]
    fn multiple_takes_all_up_to_the_tag() {
        let mut unacked = Unacked::default();
        for n in 1..=5 {
            unacked.push(held(n));
        }
        unacked.next_tag();
        assert_eq!(unacked.push(held(6)), 7);
        assert_eq!(tags(unacked.take(2, false)), [2]);
        assert_eq!(tags(unacked.take(4, true)), [1, 3, 4]);
        assert_eq!(tags(unacked.take(0, true)), [5, 7]);
        assert_eq!(unacked.len, 0);
    }

    /// FEATURES TX-3.
    #[test]
    fn restored_tags_can_be_taken_again() {
        let mut unacked = Unacked::default();
        for n in 1..=4 {
            unacked.push(held(n));
        }
        let taken = unacked.take(3, true).unwrap();
        unacked.restore(taken);
        assert_eq!(unacked.push(held(5)), 5);
        assert_eq!(tags(unacked.take(5, true)), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_delivery_never_settled_costs_one_entry() {
        let mut unacked = Unacked::default();
        for n in 1..=100_000 {
            let tag = unacked.push(held(n));
            if n != 7 {
                assert_eq!(tags(unacked.take(tag, false)), [tag]);
            }
        }
        assert!(unacked.recent.len() <= SPARSE_LEN_MIN + 1);
        assert_eq!(tags(unacked.take(0, true)), [7]);
    }
}
