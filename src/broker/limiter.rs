//! The channel-wide prefetch (basic.qos with global=true), shared by a session and the lanes of its queues.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the unacked deliveries of one channel over all its consumers. A limit of 0 counts nothing.
#[derive(Debug, Default)]
pub struct Limiter {
    limit: AtomicU32,
    outstanding: AtomicU32,
}

/// What [`Limiter::try_take`] said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Permit {
    /// No limit is set: the delivery is not counted.
    Uncounted,
    /// Counted.
    Counted,
    /// The limit is reached.
    Refused,
}

impl Limiter {
    /// No limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limit (0: none); `outstanding` deliveries are unacked now and count from here on.
    pub fn set(&self, limit: u16, outstanding: u32) {
        self.outstanding.store(outstanding, Ordering::SeqCst);
        self.limit.store(u32::from(limit), Ordering::SeqCst);
    }

    /// The limit, 0 for none.
    pub fn limit(&self) -> u16 {
        // Only ever set from a u16.
        self.limit.load(Ordering::Relaxed) as u16
    }

    /// `n` counted deliveries are settled.
    pub fn release(&self, n: u32) {
        // A limit set anew restarts the count, and what was counted before it may be released after it.
        let _ = self
            .outstanding
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |outstanding| Some(outstanding.saturating_sub(n)));
    }

    pub(super) fn try_take(&self) -> Permit {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 {
            return Permit::Uncounted;
        }
        let taken = self.outstanding.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |outstanding| {
            (outstanding < limit).then_some(outstanding + 1)
        });
        if taken.is_ok() { Permit::Counted } else { Permit::Refused }
    }
}
