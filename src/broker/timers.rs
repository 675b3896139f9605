//! What is to happen at some time: a hierarchical timing wheel. A lane has one for its queues and its exchanges with
//! delayed messages, and each of those exchanges one for its messages.
//!
//! Adding costs the same however much is waiting, and until it rings an item is moved once for each level at most.
//! The time is an argument; nothing here looks at a clock.

use std::collections::VecDeque;

/// Bits of the time that one level looks at.
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// Seven levels reach 139 years.
const LEVELS: usize = 7;
const TIME_MS_MAX: u64 = (1 << (LEVEL_BITS * LEVELS as u32)) - 1;

/// Items by the time they ring, in ms. Those of one millisecond ring in the order they were added.
///
/// An item lies in the level of the highest bits in which its time differs from the wheel's: level 0 has a slot for
/// each of the next 64 ms, level 1 one for each 64 ms, and so on. So the first slot in use of the lowest level in use
/// is the next one, and when the time reaches a slot of a higher level, its items move down.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    now_ms: u64,
    levels: [Option<Box<Level<T>>>; LEVELS],
    /// Ringing: the items of the millisecond that the wheel is at.
    ringing: VecDeque<T>,
}

#[derive(Debug)]
struct Level<T> {
    /// A bit for each slot that holds something.
    used: u64,
    slots: [Vec<(u64, T)>; SLOTS],
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { used: 0, slots: std::array::from_fn(|_| Vec::new()) }
    }
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self { now_ms: 0, levels: std::array::from_fn(|_| None), ringing: VecDeque::new() }
    }
}

impl<T> Wheel<T> {
    /// Adds an item; a time that has passed rings at once.
    pub(super) fn add(&mut self, at_ms: u64, item: T) {
        self.place(at_ms.clamp(self.now_ms, TIME_MS_MAX.max(self.now_ms)), item);
    }

    fn place(&mut self, at_ms: u64, item: T) {
        let highest_bit = 63 - ((at_ms ^ self.now_ms) | 1).leading_zeros();
        let level = (highest_bit / LEVEL_BITS).min(LEVELS as u32 - 1);
        let slot = (at_ms >> (LEVEL_BITS * level)) as usize % SLOTS;
        let level = self.levels[level as usize].get_or_insert_default();
        level.used |= 1 << slot;
        level.slots[slot].push((at_ms, item));
    }

    /// The next slot in use: level, slot, and when it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let (index, level) = self
            .levels
            .iter()
            .enumerate()
            .find_map(|(index, level)| Some((index, level.as_ref().filter(|l| l.used != 0)?)))?;
        let slot = level.used.trailing_zeros();
        let shift = LEVEL_BITS * index as u32;
        let above = shift + LEVEL_BITS;
        Some((index, slot as usize, (self.now_ms >> above << above) | u64::from(slot) << shift))
    }

    /// All items with their times, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let slots = self.levels.iter().flatten().flat_map(|level| level.slots.iter().flatten());
        slots.map(|(at_ms, item)| (*at_ms, item)).chain(self.ringing.iter().map(|item| (self.now_ms, item)))
    }

    /// When to look next: nothing rings before.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.ringing.is_empty() { self.next_slot().map(|(.., at_ms)| at_ms) } else { Some(self.now_ms) }
    }

    /// Takes the next item whose time has come.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<T> {
        loop {
            if let Some(item) = self.ringing.pop_front() {
                return Some(item);
            }
            let next = self.next_slot().filter(|(.., at_ms)| *at_ms <= now_ms);
            let Some((index, slot, at_ms)) = next else {
                // No slot in use is passed over, so all items stay where they belong.
                self.now_ms = self.now_ms.max(now_ms.min(TIME_MS_MAX));
                return None;
            };
            self.now_ms = at_ms;
            let level = self.levels[index].as_mut()?;
            level.used &= !(1 << slot);
            let items = std::mem::take(&mut level.slots[slot]);
            if index == 0 {
                self.ringing = items.into_iter().map(|(_, item)| item).collect();
            } else {
                for (at_ms, item) in items {
                    self.place(at_ms, item);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn all(wheel: &mut Wheel<u32>, now_ms: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop(now_ms)).collect()
    }

    #[test]
    fn nothing_rings_early_and_equal_times_ring_in_order() {
        let mut wheel = Wheel::default();
        for (at_ms, item) in [(5, 1), (4096, 2), (5, 3), (70, 4), (4096, 5), (4095, 6)] {
            wheel.add(at_ms, item);
        }
        assert_eq!(wheel.next_ms(), Some(5));
        assert!(all(&mut wheel, 4).is_empty());
        assert_eq!(all(&mut wheel, 5), [1, 3]);
        assert_eq!(all(&mut wheel, 4095), [4, 6]);
        wheel.add(4096, 7);
        wheel.add(1, 8);
        assert_eq!(all(&mut wheel, 4095), [8], "a time that has passed rings at once");
        assert_eq!(all(&mut wheel, 4096), [2, 5, 7]);
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn far_times_ring_at_their_millisecond() {
        let ten_years = 315_360_000_000;
        let mut wheel = Wheel::default();
        wheel.add(ten_years, 1);
        wheel.add(u64::MAX, 2);
        assert!(all(&mut wheel, ten_years - 1).is_empty());
        assert_eq!(all(&mut wheel, ten_years), [1]);
        assert_eq!(all(&mut wheel, u64::MAX), [2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// A wheel rings as a list that is sorted by time does.
        #[test]
        fn a_wheel_agrees_with_a_sorted_list(steps in vec((0u32..30, vec(0u32..26, 0..6)), 1..40)) {
            let (mut wheel, mut model, mut now_ms, mut number) = (Wheel::default(), Vec::new(), 0u64, 0);
            for (pause, delays) in steps {
                for delay in delays {
                    // Of all magnitudes, and next to the borders of slots.
                    let at_ms = now_ms + (1 << delay) - u64::from(delay % 3 == 1 && delay > 2);
                    wheel.add(at_ms, number);
                    model.push((at_ms, number));
                    number += 1;
                }
                now_ms += (1 << pause) / 3;
                let is_due = |(at_ms, _): &(u64, u32)| *at_ms <= now_ms;
                let mut due: Vec<_> = model.iter().copied().filter(is_due).collect();
                model.retain(|item| !is_due(item));
                due.sort_by_key(|(at_ms, _)| *at_ms);
                prop_assert!(wheel.next_ms().is_none_or(|next| model.iter().chain(&due).all(|(at_ms, _)| *at_ms >= next)));
                prop_assert_eq!(all(&mut wheel, now_ms), due.into_iter().map(|(_, item)| item).collect::<Vec<_>>());
                prop_assert_eq!(wheel.next_ms().is_none(), model.is_empty());
            }
        }
    }
}
