//! Delayed retry (QQ-8): a message that came back to a quorum queue waits before it is delivered again, longer each time
//! it has failed.

use std::collections::BTreeMap;

use super::Queue;
use super::entry::{Entry, NEVER};

/// `x-delayed-retry-type`: which messages wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retried {
    /// All that come back.
    All,
    /// Those that count towards the delivery limit (QQ-4).
    Failed,
    /// The others.
    Returned,
}

/// What `x-delayed-retry-type`, `-min` and `-max` come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DelayedRetry {
    /// Which messages wait.
    pub what: Retried,
    /// How long after the first failure, ms.
    pub min_ms: u64,
    /// How long at most, ms.
    pub max_ms: u64,
}

impl Retried {
    /// The argument's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed => "failed",
            Self::Returned => "returned",
        }
    }
}

impl DelayedRetry {
    /// As RabbitMQ reads the three: what it does not understand switches it off, and without a maximum no delay grows.
    pub(in crate::broker) fn new(what: Option<&str>, min_ms: Option<i64>, max_ms: Option<i64>) -> Option<Self> {
        let what = match what? {
            "all" => Retried::All,
            "failed" => Retried::Failed,
            "returned" => Retried::Returned,
            _ => return None,
        };
        let positive = |ms: i64| u64::try_from(ms).ok().filter(|ms| *ms > 0);
        let min_ms = positive(min_ms?)?;
        Some(Self { what, min_ms, max_ms: max_ms.and_then(positive).unwrap_or(min_ms) })
    }

    /// How long this one waits. `None`: it does not.
    fn delay_ms(&self, is_failure: bool, failures: u32) -> Option<u64> {
        let waits = match self.what {
            Retried::All => true,
            Retried::Failed => is_failure,
            Retried::Returned => !is_failure,
        };
        waits.then(|| self.min_ms.saturating_mul(failures.max(1).into()).min(self.max_ms))
    }
}

/// Messages that come back later.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By when they come back, and of one moment by number.
    entries: BTreeMap<(u64, u64), Entry>,
    body_bytes: u64,
}

impl Delayed {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// When the next one comes back.
    pub(super) fn next_ms(&self) -> u64 {
        self.entries.first_key_value().map_or(NEVER, |((at_ms, _), _)| *at_ms)
    }

    fn add(&mut self, at_ms: u64, entry: Entry) {
        self.body_bytes += entry.message.body().len() as u64;
        self.entries.insert((at_ms, entry.seq), entry);
    }

    fn pop(&mut self, now_ms: u64) -> Option<Entry> {
        if self.next_ms() > now_ms {
            return None;
        }
        let (_, entry) = self.entries.pop_first()?;
        self.body_bytes -= entry.message.body().len() as u64;
        Some(entry)
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        self.body_bytes = 0;
        std::mem::take(&mut self.entries).into_values().collect()
    }
}

impl Queue {
    /// Keeps a message that came back for the time it is to wait; gives it back if it is not to.
    pub(super) fn delay(&mut self, entry: Entry, is_failure: bool, now_ms: u64) -> Option<Entry> {
        let delay_ms = self.settings.delayed_retry.and_then(|retry| retry.delay_ms(is_failure, entry.failures));
        let Some(delay_ms) = delay_ms else { return Some(entry) };
        // The clock's current millisecond has begun already, so without one more it would be too early.
        let at_ms = now_ms.saturating_add(delay_ms).saturating_add(1);
        self.aside().delayed.add(at_ms, entry);
        None
    }

    /// A message of the last life. What came back then waits anew: until when it was to is not kept.
    pub(super) fn recover_entry(&mut self, entry: Entry, now_ms: u64) {
        let is_failure = entry.failures > 0;
        let entry = if entry.deliveries > 0 { self.delay(entry, is_failure, now_ms) } else { Some(entry) };
        if let Some(entry) = entry {
            self.ready.recover(entry);
        }
    }

    /// Messages whose time has come wait for consumers again, behind what came back before.
    pub(super) fn release_delayed(&mut self, now_ms: u64) {
        let Some(aside) = &mut self.aside else { return };
        while let Some(entry) = aside.delayed.pop(now_ms) {
            self.ready.put_back(entry);
        }
        self.aside_shrank();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES QQ-8: min(min * failures, max); what counts as no failure is counted as one.
    #[test]
    fn delays_grow_up_to_the_maximum() {
        let retry = DelayedRetry::new(Some("all"), Some(100), Some(250)).unwrap();
        let delays: Vec<_> = [0, 1, 2, 3, u32::MAX].map(|failures| retry.delay_ms(true, failures)).into();
        assert_eq!(delays, [Some(100), Some(100), Some(200), Some(250), Some(250)]);
        let failed = DelayedRetry { what: Retried::Failed, ..retry };
        assert_eq!((failed.delay_ms(true, 1), failed.delay_ms(false, 0)), (Some(100), None));
        let returned = DelayedRetry { what: Retried::Returned, ..retry };
        assert_eq!((returned.delay_ms(true, 1), returned.delay_ms(false, 0)), (None, Some(100)));
        let longest = DelayedRetry { min_ms: u64::MAX, max_ms: u64::MAX, ..retry };
        assert_eq!(longest.delay_ms(true, 9), Some(u64::MAX));
    }

    /// FEATURES QQ-8: RabbitMQ 4.3 declares such queues, and delays nothing.
    #[test]
    fn what_makes_no_sense_switches_it_off() {
        let off = [
            (None, Some(5), None),
            (Some("disabled"), Some(5), None),
            (Some("sometimes"), Some(5), None),
            (Some("all"), None, Some(5)),
            (Some("all"), Some(0), None),
            (Some("all"), Some(-5), None),
        ];
        for (what, min_ms, max_ms) in off {
            assert_eq!(DelayedRetry::new(what, min_ms, max_ms), None, "{what:?} {min_ms:?} {max_ms:?}");
        }
        for max_ms in [None, Some(0), Some(-1)] {
            let retry = DelayedRetry::new(Some("failed"), Some(5), max_ms);
            assert_eq!(retry, Some(DelayedRetry { what: Retried::Failed, min_ms: 5, max_ms: 5 }));
        }
        let below = DelayedRetry::new(Some("all"), Some(10), Some(5)).unwrap();
        assert_eq!(below.delay_ms(true, 1), Some(5), "as RabbitMQ");
    }
}
