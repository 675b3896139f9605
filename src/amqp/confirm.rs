//! Publisher confirms of one channel: which publishes are open, and how their acks and nacks are put together.

use std::collections::VecDeque;

use crate::wire::{write_ack, write_nack};

/// A publish that some lanes have not answered yet.
#[derive(Debug)]
struct Open {
    lanes_left: u16,
    /// A queue refused it: it will be nacked (PC-5).
    refused: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// Number of the last publish; the first is 1 (PC-1).
    last: u64,
    /// Number of the first of `open`.
    open_first: u64,
    /// `None` is answered.
    open: VecDeque<Option<Open>>,
    /// Answered and not told to the client yet.
    acked: Vec<u64>,
    nacked: Vec<u64>,
}

impl Confirms {
    /// The number of the next publish.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The publish with this number, the last one, waits for so many lanes.
    pub(super) fn wait(&mut self, number: u64, lanes: u16) {
        if self.open.is_empty() {
            self.open_first = number;
        }
        // Publishes that were answered at once left gaps.
        while self.open_first + (self.open.len() as u64) < number {
            self.open.push_back(None);
        }
        self.open.push_back(Some(Open { lanes_left: lanes, refused: false }));
    }

    /// The publish is answered already: it went nowhere.
    pub(super) fn ack(&mut self, number: u64) {
        self.acked.push(number);
    }

    /// A lane answered publishes `first..=last`.
    pub(super) fn settled(&mut self, first: u64, last: u64, accepted: bool) {
        for number in first..=last {
            let Some(index) = number.checked_sub(self.open_first) else {
                continue;
            };
            let Some(slot) = usize::try_from(index).ok().and_then(|index| self.open.get_mut(index)) else {
                continue;
            };
            let Some(open) = slot else { continue };
            open.lanes_left = open.lanes_left.saturating_sub(1);
            open.refused |= !accepted;
            if open.lanes_left == 0 {
                let list = if open.refused { &mut self.nacked } else { &mut self.acked };
                list.push(number);
                *slot = None;
            }
        }
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.open_first += 1;
        }
        if self.open.is_empty() && self.open.capacity() > 64 {
            self.open = VecDeque::new();
        }
    }

    /// Something is to be told.
    pub(super) fn is_pending(&self) -> bool {
        !self.acked.is_empty() || !self.nacked.is_empty()
    }

    /// Writes what is answered (PC-4): acks below every open publish and every nack go as one with multiple, the rest
    /// one by one; then nacks by the same rule.
    pub(super) fn write(&mut self, channel: u16, out: &mut Vec<u8>) {
        let mut acked = std::mem::take(&mut self.acked);
        let mut nacked = std::mem::take(&mut self.nacked);
        acked.sort_unstable();
        nacked.sort_unstable();
        let open = self.open.front().map(|_| self.open_first);
        write_coalesced(&acked, &nacked, open, |tag, multiple| write_ack(out, channel, tag, multiple));
        write_coalesced(&nacked, &acked, open, |tag, multiple| write_nack(out, channel, tag, multiple, false));
    }
}

/// Numbers are sorted; `open` is the lowest that is not answered.
fn write_coalesced(numbers: &[u64], others: &[u64], open: Option<u64>, mut write: impl FnMut(u64, bool)) {
    if let [only] = numbers {
        return write(*only, false);
    }
    let cutoff = [others.first().copied(), open].into_iter().flatten().min().unwrap_or(u64::MAX);
    let (together, alone) = numbers.split_at(numbers.partition_point(|number| *number < cutoff));
    if let Some(last) = together.last() {
        write(*last, true);
    }
    for number in alone {
        write(*number, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Method, cut};

    fn written(confirms: &mut Confirms) -> Vec<(&'static str, u64, bool)> {
        let mut out = Vec::new();
        confirms.write(1, &mut out);
        let mut rest = out.as_slice();
        let mut all = Vec::new();
        while let Some((frame, taken)) = cut(rest, 4096).unwrap() {
            all.push(match Method::decode(frame.payload).unwrap() {
                Method::BasicAck { delivery_tag, multiple } => ("ack", delivery_tag, multiple),
                Method::BasicNack { delivery_tag, multiple, .. } => ("nack", delivery_tag, multiple),
                other => panic!("{other:?}"),
            });
            rest = &rest[taken..];
        }
        all
    }

    fn publish(confirms: &mut Confirms, lanes: u16) -> u64 {
        let number = confirms.next();
        if lanes == 0 {
            confirms.ack(number)
        } else {
            confirms.wait(number, lanes)
        }
        number
    }

    /// FEATURES PC-1, PC-4.
    #[test]
    fn acks_below_what_is_open_go_together() {
        let mut confirms = Confirms::default();
        for _ in 0..10 {
            publish(&mut confirms, 1);
        }
        confirms.settled(1, 4, true);
        confirms.settled(7, 8, true);
        assert_eq!(written(&mut confirms), [("ack", 4, true), ("ack", 7, false), ("ack", 8, false)]);
        confirms.settled(5, 5, true);
        assert_eq!(written(&mut confirms), [("ack", 5, false)]);
        confirms.settled(6, 6, true);
        confirms.settled(9, 10, true);
        assert_eq!(written(&mut confirms), [("ack", 10, true)]);
        assert!(!confirms.is_pending());
    }

    /// FEATURES PC-4, PC-5.
    #[test]
    fn a_nack_is_never_covered_by_an_ack() {
        let mut confirms = Confirms::default();
        for _ in 0..4 {
            publish(&mut confirms, 2);
        }
        confirms.settled(1, 4, true);
        assert!(!confirms.is_pending());
        confirms.settled(1, 2, true);
        confirms.settled(3, 3, false);
        confirms.settled(4, 4, true);
        assert_eq!(written(&mut confirms), [("ack", 2, true), ("ack", 4, false), ("nack", 3, false)]);
    }

    #[test]
    fn publishes_that_go_nowhere_leave_no_gap() {
        let mut confirms = Confirms::default();
        for lanes in [1, 0, 0, 1] {
            publish(&mut confirms, lanes);
        }
        assert_eq!(written(&mut confirms), [("ack", 2, false), ("ack", 3, false)]);
        confirms.settled(4, 4, true);
        confirms.settled(1, 1, true);
        assert_eq!(written(&mut confirms), [("ack", 4, true)]);
    }
}
