//! Numbers of one object over time: RabbitMQ's samples. A history knows what each number was at any moment of the past,
//! the coarser the longer ago, and forgets what is older than its policy says.

use std::collections::VecDeque;

/// Reads a number out of a sample.
pub(super) type Read = fn(&[u64]) -> u64;

#[derive(Clone, Debug)]
struct Sample<const N: usize> {
    at_ms: u64,
    values: [u64; N],
}

/// Samples some seconds apart, of some time.
#[derive(Debug)]
struct Slide<const N: usize> {
    span_ms: u64,
    step_ms: u64,
    /// By time; one that is as the one before is left out.
    samples: VecDeque<Sample<N>>,
}

impl<const N: usize> Slide<N> {
    fn add(&mut self, sample: &Sample<N>) {
        match self.samples.back_mut() {
            Some(last) if last.values == sample.values => {}
            // The last sample of a step stands for it.
            Some(last) if last.at_ms / self.step_ms == sample.at_ms / self.step_ms => *last = sample.clone(),
            _ => self.samples.push_back(sample.clone()),
        }
        // One from before the span says what was when it began.
        let begin_ms = sample.at_ms.saturating_sub(self.span_ms);
        while self.samples.get(1).is_some_and(|second| second.at_ms <= begin_ms) {
            self.samples.pop_front();
        }
    }

    fn at(&self, at_ms: u64) -> Option<&Sample<N>> {
        let after = self.samples.partition_point(|sample| sample.at_ms <= at_ms);
        self.samples.get(after.checked_sub(1)?)
    }
}

/// See the module's documentation. What it takes is bounded by its policy: a sample is 8 (N + 1) bytes, and by default there
/// are at most 183 of them, of the node and of vhosts 283.
#[derive(Debug)]
pub(super) struct History<const N: usize> {
    slides: Vec<Slide<N>>,
    before: Sample<N>,
    last: Sample<N>,
    /// When a sample was last unlike the one before.
    changed_ms: u64,
}

impl<const N: usize> History<N> {
    pub(super) fn new(policy: &[(u64, u64)], at_ms: u64, values: [u64; N]) -> Self {
        let last = Sample { at_ms, values };
        let mut history = Self { slides: Vec::new(), before: last.clone(), last, changed_ms: at_ms };
        history.keep(policy);
        history
    }

    /// From now on as these intervals of a [`Policy`](super::retention::Policy) say. Samples that both have are kept.
    pub(super) fn keep(&mut self, policy: &[(u64, u64)]) {
        let mut old = std::mem::take(&mut self.slides);
        let slide = |(span, step): &(u64, u64)| {
            let (span_ms, step_ms) = (span * 1000, step * 1000);
            match old.iter().position(|slide| slide.step_ms == step_ms) {
                Some(at) => old.swap_remove(at),
                None => {
                    let mut slide = Slide { span_ms, step_ms, samples: VecDeque::new() };
                    slide.add(&self.before);
                    slide.add(&self.last);
                    slide
                }
            }
        };
        self.slides = policy.iter().map(slide).collect();
    }

    pub(super) fn add(&mut self, at_ms: u64, values: [u64; N]) {
        if values != self.last.values {
            self.changed_ms = at_ms;
        }
        let sample = Sample { at_ms, values };
        self.slides.iter_mut().for_each(|slide| slide.add(&sample));
        self.before = std::mem::replace(&mut self.last, sample);
    }

    /// It is as it was.
    pub(super) fn add_unchanged(&mut self, at_ms: u64) {
        let values = self.last.values;
        self.add(at_ms, values);
    }

    pub(super) fn last(&self) -> &[u64; N] {
        &self.last.values
    }
}

/// A history, whatever it is of.
pub(super) trait Past {
    /// How fast a number changes, per second.
    fn rate(&self, read: Read) -> f64;
    /// A number as it was; none before the first sample.
    fn at(&self, at_ms: u64, read: Read) -> Option<u64>;
    /// When a number last changed.
    fn changed_ms(&self) -> u64;
}

impl<const N: usize> Past for History<N> {
    fn rate(&self, read: Read) -> f64 {
        let elapsed_ms = self.last.at_ms.saturating_sub(self.before.at_ms);
        let (last, before) = (read(&self.last.values), read(&self.before.values));
        // In long lists most numbers rest.
        if elapsed_ms == 0 || last == before {
            return 0.0;
        }
        // Far below 2^52.
        let change = last as f64 - before as f64;
        (change * 10_000.0 / elapsed_ms as f64).round() / 10.0
    }

    fn at(&self, at_ms: u64, read: Read) -> Option<u64> {
        if at_ms >= self.last.at_ms {
            return Some(read(&self.last.values));
        }
        let found = self.slides.iter().find_map(|slide| slide.at(at_ms));
        found.map(|sample| read(&sample.values))
    }

    fn changed_ms(&self) -> u64 {
        self.changed_ms
    }
}

/// Several together.
pub(super) struct Sum<'a>(pub(super) Vec<&'a dyn Past>);

impl Past for Sum<'_> {
    fn rate(&self, read: Read) -> f64 {
        let sum: f64 = self.0.iter().map(|past| past.rate(read)).sum();
        (sum * 10.0).round() / 10.0
    }

    fn at(&self, at_ms: u64, read: Read) -> Option<u64> {
        Some(self.0.iter().filter_map(|past| past.at(at_ms, read)).sum())
    }

    fn changed_ms(&self) -> u64 {
        self.0.iter().map(|past| past.changed_ms()).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::retention::Retention;

    fn first(values: &[u64]) -> u64 {
        values[0]
    }

    fn value(history: &History<1>, at_s: u64) -> Option<u64> {
        history.at(at_s * 1000, first)
    }

    /// A counter that grows by one a second, sampled every five seconds for two hours.
    #[test]
    fn the_past_is_known_the_coarser_the_longer_ago() {
        let mut history = History::new(Retention::default().basic.intervals(), 0, [0]);
        for at in (5..=7200).step_by(5) {
            history.add(at * 1000, [at]);
        }
        assert_eq!(history.rate(first), 1.0);
        assert_eq!(value(&history, 7200), Some(7200));
        assert_eq!(value(&history, 9000), Some(7200), "nothing is known beyond the last");
        assert_eq!(value(&history, 6604), Some(6600), "five seconds apart for ten minutes");
        assert_eq!(value(&history, 6000), Some(5995), "then a minute: the last of each");
        assert_eq!(value(&history, 3600), Some(3595));
        assert_eq!(value(&history, 100), None, "then no more");
        let kept: Vec<usize> = history.slides.iter().map(|slide| slide.samples.len()).collect();
        assert_eq!(kept, [121, 62]);
    }

    #[test]
    fn what_does_not_change_takes_no_room_and_is_known_for_ever() {
        let mut history = History::new(Retention::default().global.intervals(), 0, [0]);
        history.add(5000, [7]);
        for at in 2..20_000 {
            history.add_unchanged(at * 5000);
        }
        assert_eq!(value(&history, 90_000), Some(7));
        assert_eq!(history.changed_ms(), 5000);
        assert_eq!(history.rate(first), 0.0);
        assert!(history.slides.iter().all(|slide| slide.samples.len() <= 2));
    }

    #[test]
    fn a_length_that_falls_has_a_negative_rate() {
        let mut history = History::new(&[], 1000, [10]);
        assert_eq!(history.rate(first), 0.0, "one sample is no rate");
        history.add(6000, [4]);
        assert_eq!(history.rate(first), -1.2);
        assert_eq!(value(&history, 5), None);
    }

    #[test]
    fn a_finer_policy_goes_on_from_there() {
        let mut history = History::new(Retention::default().basic.coarse(), 0, [0]);
        for at in (5..=600).step_by(5) {
            history.add(at * 1000, [at]);
        }
        history.keep(Retention::default().basic.intervals());
        history.add(605_000, [605]);
        history.add(610_000, [610]);
        assert_eq!(value(&history, 607), Some(605));
        assert_eq!(value(&history, 300), Some(295));
    }
}
