//! The histories of all objects of a kind, and the bounds of what they take together.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use super::history::{History, Past};
use super::retention::Policy;
use crate::hashing::Hashing;

/// Objects of a kind that have all samples, and those that have the coarse ones. Others have a rate only.
const FINE_MAX: usize = 2_000;
const COARSE_MAX: usize = 10_000;

/// How much is kept of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    Bare,
    Coarse,
    Fine,
}

#[derive(Debug)]
struct Entry<const N: usize> {
    history: History<N>,
    level: Level,
    /// The round in which it was last seen.
    round: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Histories<K, const N: usize> {
    all: HashMap<K, Entry<N>, Hashing>,
    finest: Policy,
    /// How many are at least [`Level::Coarse`], and how many are [`Level::Fine`].
    kept: (usize, usize),
    round: u64,
}

impl<K: Hash + Eq, const N: usize> Histories<K, N> {
    /// That keep as much, as long as there are not too many of them.
    pub(super) fn new(finest: &Policy) -> Self {
        Self { all: HashMap::default(), finest: finest.clone(), kept: (0, 0), round: 0 }
    }

    /// How an object is now. One whose counters went back is another of the same name.
    pub(super) fn add(&mut self, key: K, at_ms: u64, values: [u64; N], is_other: impl Fn(&[u64; N]) -> bool) {
        let round = self.round;
        match self.all.get_mut(&key) {
            Some(entry) if !is_other(entry.history.last()) => {
                entry.history.add(at_ms, values);
                entry.round = round;
            }
            Some(entry) => {
                entry.history = History::new(intervals(entry.level, &self.finest), at_ms, values);
                entry.round = round;
            }
            None => {
                let history = History::new(&[], at_ms, values);
                self.all.insert(key, Entry { history, level: Level::Bare, round });
                return;
            }
        }
        self.promote(&key);
    }

    /// These objects are as they were.
    pub(super) fn stay(&mut self, at_ms: u64, are_still: impl Fn(&K) -> bool) {
        for (_, entry) in self.all.iter_mut().filter(|(key, _)| are_still(key)) {
            entry.history.add_unchanged(at_ms);
            entry.round = self.round;
        }
    }

    /// One step up, if there is room. An object that lives only for a moment never gets here.
    fn promote(&mut self, key: &K) {
        let Some(entry) = self.all.get_mut(key) else { return };
        let (coarse, fine) = &mut self.kept;
        let before = entry.level;
        if entry.level == Level::Bare && *coarse < COARSE_MAX {
            *coarse += 1;
            entry.level = Level::Coarse;
        }
        if entry.level == Level::Coarse && *fine < FINE_MAX {
            *fine += 1;
            entry.level = Level::Fine;
        }
        if entry.level != before {
            entry.history.keep(intervals(entry.level, &self.finest));
        }
    }

    /// All that are have been added: those that were not seen are gone.
    pub(super) fn end_round(&mut self) {
        let round = self.round;
        let (coarse, fine) = &mut self.kept;
        self.all.retain(|_, entry| {
            let stays = entry.round == round;
            if !stays {
                *coarse -= usize::from(entry.level >= Level::Coarse);
                *fine -= usize::from(entry.level == Level::Fine);
            }
            stays
        });
        self.round += 1;
        if self.all.capacity() > 64 && self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to_fit();
        }
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&dyn Past>
    where
        K: Borrow<Q>,
    {
        self.all.get(key).map(|entry| &entry.history as &dyn Past)
    }

    /// All there are, with what they were last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[u64; N], &dyn Past)> {
        self.all.iter().map(|(key, entry)| (key, entry.history.last(), &entry.history as &dyn Past))
    }

    pub(super) fn last<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&[u64; N]>
    where
        K: Borrow<Q>,
    {
        self.all.get(key).map(|entry| entry.history.last())
    }
}

fn intervals(level: Level, finest: &Policy) -> &[(u64, u64)] {
    match level {
        Level::Bare => &[],
        Level::Coarse => finest.coarse(),
        Level::Fine => finest.intervals(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::retention::Retention;

    fn first(values: &[u64]) -> u64 {
        values[0]
    }

    fn sample(histories: &mut Histories<usize, 1>, count: usize, at_s: u64) {
        for key in 0..count {
            histories.add(key, at_s * 1000, [at_s], |before| before[0] > at_s);
        }
        histories.end_round();
    }

    #[test]
    fn beyond_a_bound_samples_are_coarse_and_then_none() {
        let mut histories = Histories::new(&Retention::default().basic);
        for at in (0..=120).step_by(5) {
            sample(&mut histories, COARSE_MAX + 5, at);
        }
        assert_eq!(histories.kept, (COARSE_MAX, FINE_MAX));
        let mut of_level = [0; 3];
        for entry in histories.all.values() {
            of_level[entry.level as usize] += 1;
            assert_eq!(entry.history.rate(first), 1.0);
        }
        assert_eq!(of_level, [5, COARSE_MAX - FINE_MAX, FINE_MAX]);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_makes_room() {
        let mut histories = Histories::new(&Retention::default().basic);
        sample(&mut histories, 10, 0);
        sample(&mut histories, 10, 5);
        assert_eq!(histories.kept, (10, 10));
        sample(&mut histories, 3, 10);
        assert_eq!((histories.all.len(), histories.kept), (3, (3, 3)));
        assert!(histories.get(&5).is_none());
    }

    #[test]
    fn another_of_the_same_name_begins_anew() {
        let mut histories = Histories::new(&Retention::default().basic);
        for (at, value) in [(0, 10), (5, 20), (10, 3)] {
            histories.add(1, at * 1000, [value], |before| before[0] > value);
            histories.end_round();
        }
        let past = histories.get(&1).expect("it is there");
        assert_eq!((past.rate(first), past.at(7000, first)), (0.0, None));
    }

    #[test]
    fn what_did_nothing_is_kept() {
        let mut histories = Histories::new(&Retention::default().basic);
        sample(&mut histories, 1, 0);
        sample(&mut histories, 1, 5);
        histories.stay(10_000, |key| *key == 0);
        histories.end_round();
        let past = histories.get(&0).expect("it is there");
        assert_eq!((past.rate(first), past.at(12_000, first)), (0.0, Some(5)));
    }
}
