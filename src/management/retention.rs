//! For how long samples are kept: RabbitMQ's `sample_retention_policies`.

use std::sync::Arc;

/// How long samples are kept, and how far apart: seconds of both, the finest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy(Arc<[(u64, u64)]>);

/// Samples that a policy may keep of an object, so that what an object takes is bounded.
const SAMPLES_MAX: u64 = 1_000;

impl Policy {
    /// `None`: an interval is none, or there are too many samples in it.
    pub fn new(mut intervals: Vec<(u64, u64)>) -> Option<Self> {
        intervals.sort_by_key(|(_, step_s)| *step_s);
        let samples = intervals.iter().map(|(span_s, step_s)| span_s.checked_div(*step_s).filter(|count| *count > 0));
        let sum = samples.into_iter().try_fold(0_u64, |sum, count| sum.checked_add(count?))?;
        (sum <= SAMPLES_MAX).then(|| Self(intervals.into()))
    }

    pub(super) fn intervals(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// What is left of it where there is no room for all: the finest of those at least a minute apart.
    pub(super) fn coarse(&self) -> &[(u64, u64)] {
        let at = self.0.iter().position(|(_, step_s)| *step_s >= 60);
        at.map_or(&[], |at| &self.0[at..=at])
    }

    /// For how many seconds it keeps any.
    pub(super) fn spans(&self) -> Vec<u64> {
        self.0.iter().map(|(span_s, _)| *span_s).collect()
    }
}

/// The policies; what they are by default is RabbitMQ's.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Of the node, the vhosts, and all of them together.
    pub global: Policy,
    /// Of queues, exchanges, connections and channels.
    pub basic: Policy,
    /// Of pairs of those.
    pub detailed: Policy,
}

impl Default for Retention {
    fn default() -> Self {
        let policy = |intervals: &[(u64, u64)]| Policy(intervals.into());
        Self {
            global: policy(&[(600, 5), (3600, 60), (28_800, 600), (86_400, 1800)]),
            basic: policy(&[(600, 5), (3600, 60)]),
            detailed: policy(&[(600, 5)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_take_too_much_is_refused() {
        let policy = |intervals: &[(u64, u64)]| Policy::new(intervals.to_vec());
        assert_eq!(policy(&[(3600, 60), (60, 5)]).map(|policy| policy.spans()), Some(vec![60, 3600]));
        assert_eq!(policy(&[]).map(|policy| policy.spans()), Some(vec![]));
        assert!(policy(&[(5000, 5)]).is_some() && policy(&[(86_400, 5)]).is_none());
        for bad in [(60, 0), (0, 5), (5, 60), (u64::MAX, 1)] {
            assert_eq!(policy(&[bad]), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_coarse_is_a_minute_apart() {
        let Retention { global, basic, detailed } = Retention::default();
        assert_eq!(
            (global.coarse(), basic.coarse(), detailed.coarse()),
            (&[(3600, 60)][..], &[(3600, 60)][..], &[][..])
        );
    }
}
