//! A set of numbers as runs: messages leave a queue mostly in order, so that a few runs say which are left.

use smallvec::SmallVec;

/// A set of `u64`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Runs {
    /// First and last of each, ascending, with a gap between any two.
    runs: SmallVec<[(u64, u64); 1]>,
}

impl FromIterator<u64> for Runs {
    /// Of ascending numbers.
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut runs = Self::default();
        numbers.into_iter().for_each(|number| runs.push(number));
        runs
    }
}

impl Runs {
    /// Adds a number greater than all that are in.
    pub fn push(&mut self, number: u64) {
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.runs.push((number, number)),
        }
    }

    /// Adds a run that begins behind all that are in.
    pub(super) fn push_run(&mut self, first: u64, last: u64) {
        self.runs.push((first, last));
    }

    /// First and last of each run, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().copied()
    }

    /// Nothing is in.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many numbers are in.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The least.
    pub fn first(&self) -> Option<u64> {
        self.runs.first().map(|(first, _)| *first)
    }

    /// The greatest.
    pub fn last(&self) -> Option<u64> {
        self.runs.last().map(|(_, last)| *last)
    }

    /// The run that a number is in, or the first behind it.
    fn at(&self, number: u64) -> usize {
        self.runs.partition_point(|(_, last)| *last < number)
    }

    /// Whether a number is in.
    pub fn contains(&self, number: u64) -> bool {
        self.runs.get(self.at(number)).is_some_and(|(first, _)| *first <= number)
    }

    /// Takes a number out. False: it was not in.
    pub fn remove(&mut self, number: u64) -> bool {
        let at = self.at(number);
        let Some(&(first, last)) = self.runs.get(at) else {
            return false;
        };
        if number < first {
            return false;
        }
        match (number == first, number == last) {
            (true, true) => drop(self.runs.remove(at)),
            (true, false) => self.runs[at].0 = number + 1,
            (false, true) => self.runs[at].1 = number - 1,
            (false, false) => {
                self.runs[at].1 = number - 1;
                self.runs.insert(at + 1, (number + 1, last));
            }
        }
        true
    }

    /// Takes all numbers of a run out.
    pub fn remove_run(&mut self, first: u64, last: u64) {
        let mut at = self.at(first);
        while let Some(&(run_first, run_last)) = self.runs.get(at)
            && run_first <= last
        {
            match (run_first < first, run_last > last) {
                (false, false) => drop(self.runs.remove(at)),
                (true, false) => {
                    self.runs[at].1 = first - 1;
                    at += 1;
                }
                (false, true) => self.runs[at].0 = last + 1,
                (true, true) => {
                    self.runs[at].1 = first - 1;
                    self.runs.insert(at + 1, (last + 1, run_last));
                    at += 2;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn it_is_the_set_it_says() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for number in 0..100 {
                if random.random_bool(0.8) {
                    runs.push(number);
                    set.insert(number);
                }
            }
            while !set.is_empty() {
                let number = random.random_range(0..100);
                if random.random_bool(0.8) {
                    assert_eq!(runs.remove(number), set.remove(&number));
                } else {
                    let last = number + random.random_range(0..10);
                    runs.remove_run(number, last);
                    set.retain(|n| !(number..=last).contains(n));
                }
                let flat: Vec<u64> = runs.iter().flat_map(|(first, last)| first..=last).collect();
                assert!(flat.iter().eq(&set), "seed {seed}");
                assert_eq!((runs.count(), runs.last()), (set.len() as u64, set.last().copied()));
                assert_eq!(runs.contains(number), set.contains(&number));
                assert_eq!(runs.is_empty(), set.is_empty());
            }
        }
    }
}
