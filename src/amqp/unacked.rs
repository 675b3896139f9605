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

/// The deque is looked over for stragglers once it spans so many tags and is mostly empty.
const SPARSE_SPAN_MIN: u64 = 64;
/// An empty deque of at most this capacity is kept.
const KEPT_LEN: usize = 16;

impl Unacked {
    /// Deliveries that are out.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The tag of a delivery that needs no ack.
    pub(super) fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// Keeps a delivery; gives its tag.
    pub(super) fn push(&mut self, held: Held) -> u64 {
        let tag = self.next_tag();
        // Up to the new one; tags of no-ack deliveries in between count.
        let span = tag - self.recent_first;
        if !self.recent.is_empty() && span >= SPARSE_SPAN_MIN && span > 4 * self.len as u64 {
            self.move_stragglers();
        }
        if self.recent.is_empty() {
            self.recent_first = tag;
        }
        while self.recent_first + (self.recent.len() as u64) < tag {
            self.recent.push_back(None);
        }
        self.recent.push_back(Some(held));
        self.len += 1;
        tag
    }

    fn move_stragglers(&mut self) {
        let first = self.recent_first;
        let left = self.recent.drain(..).enumerate();
        self.stragglers.extend(left.filter_map(|(index, held)| Some((first + index as u64, held?))));
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
        self.trim();
        Some(held)
    }

    /// Takes out what an ack, nack or reject names, and hands it to `each` in order of tags: one tag, or with
    /// `multiple` all up to it, tag 0 meaning all. False: the tag is unknown (EH-13).
    pub(super) fn take(&mut self, tag: u64, multiple: bool, mut each: impl FnMut(u64, Held)) -> bool {
        if !multiple {
            return self.take_one(tag).map(|held| each(tag, held)).is_some();
        }
        if tag != 0 && !self.contains(tag) {
            return false;
        }
        self.take_up_to(if tag == 0 { u64::MAX } else { tag }, each);
        true
    }

    fn contains(&self, tag: u64) -> bool {
        let in_recent =
            tag.checked_sub(self.recent_first).and_then(|index| self.recent.get(usize::try_from(index).ok()?));
        in_recent.is_some_and(Option::is_some) || self.stragglers.contains_key(&tag)
    }

    fn take_up_to(&mut self, tag: u64, mut each: impl FnMut(u64, Held)) {
        while let Some(first) = self.stragglers.first_entry()
            && *first.key() <= tag
        {
            let (tag, held) = first.remove_entry();
            self.len -= 1;
            each(tag, held);
        }
        while self.recent_first <= tag
            && let Some(held) = self.recent.pop_front()
        {
            if let Some(held) = held {
                self.len -= 1;
                each(self.recent_first, held);
            }
            self.recent_first += 1;
        }
        self.trim();
    }

    /// An idle channel keeps little.
    fn trim(&mut self) {
        if self.len == 0 && self.recent.capacity() > KEPT_LEN {
            self.recent = VecDeque::new();
        }
    }

    /// Puts back what a rolled back transaction took out.
    pub(super) fn restore(&mut self, taken: impl IntoIterator<Item = (u64, Held)>) {
        for (tag, held) in taken {
            self.stragglers.insert(tag, held);
            self.len += 1;
        }
        // Restored tags may lie among the recent ones: then those become stragglers too, so that order is kept.
        self.move_stragglers();
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

    fn take(unacked: &mut Unacked, tag: u64, multiple: bool) -> Option<Vec<u64>> {
        let mut tags = Vec::new();
        unacked.take(tag, multiple, |tag, _| tags.push(tag)).then_some(tags)
    }

    /// FEATURES EH-13, trap 2, trap 3.
    #[test]
    fn unknown_tags_are_found_out() {
        let mut unacked = Unacked::default();
        assert_eq!(take(&mut unacked, 0, true), Some(vec![]));
        assert_eq!(take(&mut unacked, 0, false), None);
        assert_eq!(take(&mut unacked, 5, true), None);
        unacked.push(held(1));
        assert_eq!(take(&mut unacked, 2, true), None);
        assert_eq!(take(&mut unacked, 1, false), Some(vec![1]));
        assert_eq!(take(&mut unacked, 1, false), None);
        assert_eq!(take(&mut unacked, 1, true), None);
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
        assert_eq!(take(&mut unacked, 2, false), Some(vec![2]));
        assert_eq!(take(&mut unacked, 6, true), None);
        assert_eq!(take(&mut unacked, 4, true), Some(vec![1, 3, 4]));
        assert_eq!(take(&mut unacked, 0, true), Some(vec![5, 7]));
        assert_eq!(unacked.len, 0);
    }

    /// FEATURES TX-3.
    #[test]
    fn restored_tags_can_be_taken_again() {
        let mut unacked = Unacked::default();
        for n in 1..=4 {
            unacked.push(held(n));
        }
        let mut taken = Vec::new();
        assert!(unacked.take(3, true, |tag, held| taken.push((tag, held))));
        unacked.restore(taken);
        assert_eq!(unacked.push(held(5)), 5);
        assert_eq!(take(&mut unacked, 5, true), Some(vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn a_delivery_never_settled_costs_one_entry() {
        let mut unacked = Unacked::default();
        for n in 1..=100_000 {
            let tag = unacked.push(held(n));
            if n != 7 {
                assert_eq!(take(&mut unacked, tag, false), Some(vec![tag]));
            }
        }
        assert!(unacked.recent.len() as u64 <= SPARSE_SPAN_MIN + 1);
        assert_eq!(take(&mut unacked, 0, true), Some(vec![7]));
        assert!(unacked.recent.capacity() <= KEPT_LEN);
    }

    #[test]
    fn tags_of_no_ack_deliveries_cost_nothing() {
        let mut unacked = Unacked::default();
        unacked.push(held(1));
        (0..1_000_000).for_each(|_| _ = unacked.next_tag());
        assert_eq!(unacked.push(held(2)), 1_000_002);
        assert!(unacked.recent.capacity() < 1000);
        assert_eq!(take(&mut unacked, 0, true), Some(vec![1, 1_000_002]));
    }

    /// Against the plain model: a sorted map.
    #[test]
    fn any_order_of_operations_finds_each_once() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};

        for seed in 0..100 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut unacked, mut model) = (Unacked::default(), BTreeMap::new());
            for n in 1..1000 {
                match random.random_range(0..8) {
                    0..4 => {
                        model.insert(unacked.push(held(n)), held(n));
                    }
                    4 => {
                        unacked.next_tag();
                    }
                    _ => {
                        let (tag, multiple) = (random.random_range(0..n + 2), random.random_bool(0.1));
                        let mut expected = BTreeMap::new();
                        let known = model.contains_key(&tag) || (tag == 0 && multiple);
                        if known && multiple {
                            let later = if tag == 0 { BTreeMap::new() } else { model.split_off(&(tag + 1)) };
                            expected = std::mem::replace(&mut model, later);
                        } else if let Some(held) = model.remove(&tag) {
                            expected.insert(tag, held);
                        }
                        let mut taken = Vec::new();
                        assert_eq!(unacked.take(tag, multiple, |tag, held| taken.push((tag, held))), known);
                        assert_eq!(taken, expected.clone().into_iter().collect::<Vec<_>>(), "seed {seed}");
                        if random.random_bool(0.2) {
                            unacked.restore(taken);
                            model.extend(expected);
                        }
                    }
                }
                assert_eq!(unacked.len, model.len());
            }
        }
    }
}
