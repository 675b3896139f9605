//! Deliveries of one owner that are not settled yet, by delivery number.

use std::collections::{BTreeMap, VecDeque};

use super::entry::Entry;
use super::transient::Transient;

/// Numbers are handed out in order and mostly settled in order, so the recent ones live in a deque indexed by
/// number. What stays behind while many later ones come and go moves to a tree, so that one message held for ever
/// costs its own bytes and not those of everything since.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// Number of the first of `recent`.
    recent_first: u64,
    recent: VecDeque<Option<Entry>>,
    stragglers: BTreeMap<u64, Entry>,
    len: usize,
    /// Sum of body lengths.
    body_bytes: u64,
    transient: Transient,
}

/// The deque is looked over for stragglers once it is this long and mostly empty.
const SPARSE_LEN_MIN: usize = 64;

impl Unacked {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(super) fn transient(&self) -> Transient {
        self.transient
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the oldest.
    pub(super) fn oldest(&self) -> Option<u64> {
        let straggler = self.stragglers.first_key_value().map(|(number, _)| *number);
        straggler.or_else(|| (!self.recent.is_empty()).then_some(self.recent_first))
    }

    /// Keeps the delivery with this number, one more than the last.
    pub(super) fn push(&mut self, number: u64, entry: Entry) {
        if self.recent.is_empty() {
            self.recent_first = number;
        }
        if self.recent.len() >= SPARSE_LEN_MIN && self.recent.len() > 4 * self.len {
            self.move_stragglers();
            if self.recent.is_empty() {
                self.recent_first = number;
            }
        }
        self.body_bytes += entry.message.body().len() as u64;
        self.transient.add(&entry.message);
        self.recent.push_back(Some(entry));
        self.len += 1;
    }

    fn move_stragglers(&mut self) {
        let first = self.recent_first;
        for (index, entry) in self.recent.drain(..).enumerate() {
            if let Some(entry) = entry {
                self.stragglers.insert(first + index as u64, entry);
            }
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = if number >= self.recent_first && !self.recent.is_empty() {
            let index = usize::try_from(number - self.recent_first).ok()?;
            let entry = self.recent.get_mut(index)?.take()?;
            while let Some(None) = self.recent.front() {
                self.recent.pop_front();
                self.recent_first += 1;
            }
            entry
        } else {
            self.stragglers.remove(&number)?
        };
        self.len -= 1;
        self.body_bytes -= entry.message.body().len() as u64;
        self.transient.remove(&entry.message);
        if self.len == 0 && self.recent.capacity() > 1024 {
            self.recent = VecDeque::new();
        }
        Some(entry)
    }

    /// All, in order of delivery.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.stragglers.values().chain(self.recent.iter().flatten())
    }

    /// Takes all out, in order of delivery.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        (self.len, self.body_bytes, self.transient) = (0, 0, Transient::default());
        let stragglers = std::mem::take(&mut self.stragglers);
        let recent = std::mem::take(&mut self.recent);
        stragglers.into_values().chain(recent.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::NEVER;
    use super::super::ready::{Meter, Order, Ready};
    use super::*;
    use crate::broker::message::{Body, Facts, Message};

    fn entry(number: u64) -> Entry {
        let mut ready = Ready::new(Order::classic(0), Meter::default());
        let body = number.to_string();
        let body = Body::Small(body.as_bytes());
        ready.push(Message::new(b"\x00\x00", b"\x00\x00", body, Facts::default(), &mut Vec::new()), NEVER);
        ready.pop().unwrap()
    }

    fn number(entry: &Entry) -> u64 {
        std::str::from_utf8(entry.message.body()).unwrap().parse().unwrap()
    }

    #[test]
    fn a_message_held_for_ever_costs_its_own_place_only() {
        let mut unacked = Unacked::default();
        for n in 1..=100_000 {
            unacked.push(n, entry(n));
            if n != 7 && n != 5000 {
                assert_eq!(number(&unacked.remove(n).unwrap()), n);
            }
        }
        assert_eq!(unacked.len(), 2);
        assert!(unacked.recent.len() <= SPARSE_LEN_MIN);
        assert!(unacked.remove(8).is_none());
        assert_eq!(number(&unacked.remove(7).unwrap()), 7);
        assert_eq!(unacked.drain().map(|e| number(&e)).collect::<Vec<_>>(), [5000]);
        assert!(unacked.is_empty());
    }

    #[test]
    fn any_order_of_settling_finds_each_once() {
        let mut unacked = Unacked::default();
        for n in 1..=1000 {
            unacked.push(n, entry(n));
        }
        for n in (1..=1000).rev().step_by(2).chain((1..=1000).step_by(2)) {
            assert_eq!(unacked.remove(n).map(|e| number(&e)), Some(n));
            assert!(unacked.remove(n).is_none());
        }
        assert!(unacked.is_empty());
    }
}
