//! What is to happen at some time. A lane has one such list for its queues and its exchanges with delayed messages, and
//! each of those exchanges one for its messages.
//!
//! A sorted map, not a timing wheel: a wheel moves what waits in its upper levels down, a million items at once when
//! its time reaches a border of a high level, and the lane stands still meanwhile.
//!
//! The time is an argument; nothing here looks at a clock.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Mostly one timer rings at a time; thousands of messages can.
type Items<T> = SmallVec<[T; 1]>;

/// Items by the time they ring, in ms. Those of one millisecond ring in the order they were added.
#[derive(Debug)]
pub(super) struct Timers<T> {
    waiting: BTreeMap<u64, Items<T>>,
    /// When those that ring now were to.
    ringing_ms: u64,
    ringing: smallvec::IntoIter<[T; 1]>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), ringing_ms: 0, ringing: Items::new().into_iter() }
    }
}

impl<T> Timers<T> {
    /// Adds an item; a time that has passed rings at once.
    pub(super) fn add(&mut self, at_ms: u64, item: T) {
        self.waiting.entry(at_ms).or_default().push(item);
    }

    /// All items with their times, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let waiting = self.waiting.iter().flat_map(|(at_ms, items)| items.iter().map(|item| (*at_ms, item)));
        waiting.chain(self.ringing.as_slice().iter().map(|item| (self.ringing_ms, item)))
    }

    /// When the next item rings.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.ringing.as_slice().is_empty() {
            self.waiting.first_key_value().map(|(at_ms, _)| *at_ms)
        } else {
            Some(self.ringing_ms)
        }
    }

    /// Takes the next item whose time has come.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<T> {
        if let Some(item) = self.ringing.next() {
            return Some(item);
        }
        let next = self.waiting.first_entry().filter(|next| *next.key() <= now_ms)?;
        let (at_ms, items) = next.remove_entry();
        (self.ringing_ms, self.ringing) = (at_ms, items.into_iter());
        self.ringing.next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn all(timers: &mut Timers<u32>, now_ms: u64) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop(now_ms)).collect()
    }

    #[test]
    fn nothing_rings_early_and_equal_times_ring_in_order() {
        let mut timers = Timers::default();
        for (at_ms, item) in [(5, 1), (4096, 2), (5, 3), (70, 4), (4096, 5), (4095, 6)] {
            timers.add(at_ms, item);
        }
        assert_eq!(timers.next_ms(), Some(5));
        assert!(all(&mut timers, 4).is_empty());
        assert_eq!(all(&mut timers, 5), [1, 3]);
        assert_eq!(all(&mut timers, 4095), [4, 6]);
        timers.add(4096, 7);
        timers.add(1, 8);
        assert_eq!(all(&mut timers, 4095), [8], "a time that has passed rings at once");
        assert_eq!(all(&mut timers, 4096), [2, 5, 7]);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn far_times_ring_at_their_millisecond() {
        let ten_years = 315_360_000_000;
        let mut timers = Timers::default();
        timers.add(ten_years, 1);
        timers.add(u64::MAX, 2);
        assert!(all(&mut timers, ten_years - 1).is_empty());
        assert_eq!(all(&mut timers, ten_years), [1]);
        assert_eq!(all(&mut timers, u64::MAX), [2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Timers ring as a list that is sorted by time does.
        #[test]
        fn timers_agree_with_a_sorted_list(steps in vec((0u32..30, vec(0u32..26, 0..6)), 1..40)) {
            let (mut timers, mut model, mut now_ms, mut number) = (Timers::default(), Vec::new(), 0u64, 0);
            for (pause, delays) in steps {
                for delay in delays {
                    // Of all magnitudes, and many at one time.
                    let at_ms = now_ms + (1 << delay) - u64::from(delay % 3 == 1 && delay > 2);
                    timers.add(at_ms, number);
                    model.push((at_ms, number));
                    number += 1;
                }
                now_ms += (1 << pause) / 3;
                let is_due = |(at_ms, _): &(u64, u32)| *at_ms <= now_ms;
                let mut due: Vec<_> = model.iter().copied().filter(is_due).collect();
                model.retain(|item| !is_due(item));
                due.sort_by_key(|(at_ms, _)| *at_ms);
                prop_assert!(timers.next_ms().is_none_or(|next| model.iter().chain(&due).all(|(at_ms, _)| *at_ms >= next)));
                prop_assert_eq!(all(&mut timers, now_ms), due.into_iter().map(|(_, item)| item).collect::<Vec<_>>());
                prop_assert_eq!(timers.next_ms().is_none(), model.is_empty());
            }
        }
    }
}
