//! Publisher confirms of one channel: which publishes are open, and how their acks and nacks are put together.

use std::collections::VecDeque;
use std::mem;

use crate::wire::{write_ack, write_nack};

/// A publish that some lanes have not answered yet.
#[derive(Debug)]
struct Open {
    lanes_left: u16,
    /// A queue refused it: it will be nacked (PC-5).
    refused: bool,
}

/// Numbers without a gap.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
}

/// Publishes that are answered and not told to the client yet.
#[derive(Debug, Default)]
struct Answered(Vec<Run>);

impl Answered {
    fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some(run) if run.last + 1 == number => run.last = number,
            _ => self.0.push(Run { first: number, last: number }),
        }
    }

    fn sorted(&mut self) -> Vec<Run> {
        let mut runs = mem::take(&mut self.0);
        runs.sort_unstable_by_key(|run| run.first);
        runs
    }
}

/// How many answered slots the table of open publishes may keep for the next ones.
const KEPT_OPEN: usize = 64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// Number of the last publish; the first is 1 (PC-1).
    last: u64,
    /// Number of the first of `open`.
    open_first: u64,
    /// `None` is answered; the first one never is.
    open: VecDeque<Option<Open>>,
    acked: Answered,
    nacked: Answered,
}

impl Confirms {
    /// Publishes that wait for an answer.
    pub(super) fn open_count(&self) -> usize {
        self.open.iter().flatten().count()
    }

    /// Their numbers, in order.
    pub(super) fn open_numbers(&self) -> impl Iterator<Item = u64> {
        let numbered = (self.open_first..).zip(&self.open);
        numbered.filter_map(|(number, open)| open.as_ref().map(|_| number))
    }

    /// Publishes that are answered.
    pub(super) fn answered_count(&self) -> u64 {
        self.last - self.open_count() as u64
    }

    /// The number of the next publish.
    pub(super) fn upcoming(&self) -> u64 {
        self.last + 1
    }

    /// It has come.
    pub(super) fn count_one(&mut self) {
        self.last += 1;
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
            let index = number.checked_sub(self.open_first).and_then(|index| usize::try_from(index).ok());
            let Some(slot) = index.and_then(|index| self.open.get_mut(index)) else {
                continue;
            };
            let Some(open) = slot else { continue };
            open.lanes_left = open.lanes_left.saturating_sub(1);
            open.refused |= !accepted;
            if open.lanes_left == 0 {
                let answered = if open.refused { &mut self.nacked } else { &mut self.acked };
                answered.push(number);
                *slot = None;
            }
        }
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.open_first += 1;
        }
        if self.open.is_empty() && self.open.capacity() > KEPT_OPEN {
            self.open = VecDeque::new();
        }
    }

    /// Something is to be told.
    pub(super) fn is_pending(&self) -> bool {
        !self.acked.0.is_empty() || !self.nacked.0.is_empty()
    }

    /// Writes what is answered, as RabbitMQ does (PC-4): acks below every open publish and every nack go as one with
    /// multiple, the rest one by one; then nacks by the same rule. A lone ack never has multiple, a lone nack may. Gives the number of acks.
    pub(super) fn write(&mut self, channel: u16, out: &mut Vec<u8>) -> u64 {
        let (acked, nacked) = (self.acked.sorted(), self.nacked.sorted());
        let open = if self.open.is_empty() { u64::MAX } else { self.open_first };
        let before = |others: &[Run]| others.first().map_or(open, |run| run.first.min(open));
        match acked[..] {
            [Run { first, last }] if first == last => write_ack(out, channel, first, false),
            _ => write_runs(&acked, before(&nacked), |tag, multiple| write_ack(out, channel, tag, multiple)),
        }
        // The requeue bit means nothing here; RabbitMQ leaves it at its default.
        write_runs(&nacked, before(&acked), |tag, multiple| write_nack(out, channel, tag, multiple, true));
        acked.iter().map(|run| run.last - run.first + 1).sum()
    }
}

/// Numbers below `cutoff` go together.
fn write_runs(runs: &[Run], cutoff: u64, mut write: impl FnMut(u64, bool)) {
    let together = runs.iter().take_while(|run| run.first < cutoff).last();
    if let Some(run) = together {
        write(run.last.min(cutoff - 1), true);
    }
    for run in runs {
        for number in run.first.max(cutoff)..=run.last {
            write(number, false);
        }
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
        confirms.count_one();
        let number = confirms.last;
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

    /// As RabbitMQ 4.3 and 3.10 were heard to do.
    #[test]
    fn a_lone_nack_has_multiple() {
        let mut confirms = Confirms::default();
        publish(&mut confirms, 1);
        publish(&mut confirms, 1);
        confirms.settled(1, 1, true);
        assert_eq!(written(&mut confirms), [("ack", 1, false)]);
        confirms.settled(2, 2, false);
        assert_eq!(written(&mut confirms), [("nack", 2, true)]);
        publish(&mut confirms, 1);
        publish(&mut confirms, 1);
        confirms.settled(4, 4, false);
        assert_eq!(written(&mut confirms), [("nack", 4, false)]);
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

    /// Whatever lanes answer in whatever order, the client's reading of acks and nacks is the truth: each publish is
    /// told once, and `multiple` covers only what has been told the same, or before.
    #[test]
    fn every_publish_is_told_once_and_truly() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};

        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut confirms = Confirms::default();
            // What each lane still has to answer, in order; and the truth.
            let mut lanes: Vec<VecDeque<u64>> = vec![VecDeque::new(); 3];
            let (mut refused, mut told) = (Vec::new(), Vec::new());
            for _ in 0..60 {
                for _ in 0..random.random_range(0..5) {
                    let chosen: Vec<usize> = (0..3).filter(|_| random.random_bool(0.4)).collect();
                    let number = publish(&mut confirms, chosen.len() as u16);
                    chosen.iter().for_each(|lane| lanes[*lane].push_back(number));
                    refused.push(false);
                    told.push(false);
                }
                for _ in 0..random.random_range(0..6) {
                    if let Some(number) = lanes[random.random_range(0..3)].pop_front() {
                        let accepted = random.random_bool(0.8);
                        refused[number as usize - 1] |= !accepted;
                        confirms.settled(number, number, accepted);
                    }
                }
                for (what, tag, multiple) in written(&mut confirms) {
                    let from = if multiple { 0 } else { tag as usize - 1 };
                    for index in from..tag as usize {
                        let is_open = lanes.iter().flatten().any(|open| *open as usize == index + 1);
                        assert!(told[index] || (!is_open && refused[index] == (what == "nack")), "seed {seed}");
                        assert!(multiple || !told[index], "seed {seed}");
                        told[index] = true;
                    }
                }
            }
            assert!(!confirms.is_pending());
            let open: Vec<bool> = (1..=told.len() as u64).map(|n| lanes.iter().flatten().any(|o| *o == n)).collect();
            assert!(told.iter().zip(open).all(|(told, open)| *told != open), "seed {seed}");
        }
    }
}
