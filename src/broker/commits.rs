//! Transactions over several lanes that are on their way into the log. A checkpoint is in force only when all of them
//! that it may have heard half of are whole.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::hashing::Hashing;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Commits {
    next: AtomicU64,
    underway: Mutex<HashSet<u64, Hashing>>,
    less: Condvar,
}

impl Commits {
    /// `now_ms` is the time since 1970: processes that write to one log give different numbers.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { next: AtomicU64::new(now_ms << 20), underway: Mutex::default(), less: Condvar::new() }
    }

    /// Numbers below this one were given in former lives, whatever the clock says now.
    pub(super) fn numbers_are_used(&self, end: u64) {
        self.next.fetch_max(end, Ordering::Relaxed);
    }

    fn locked(&self) -> MutexGuard<'_, HashSet<u64, Hashing>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        let transaction = self.number();
        self.locked().insert(transaction);
        Underway { transaction, commits: self.clone() }
    }

    /// Those on their way now.
    pub(super) fn underway(&self) -> Vec<u64> {
        self.locked().iter().copied().collect()
    }

    /// Waits until none of these is on its way, as long as `goes_on` says so, which is asked every now and then.
    pub(super) fn wait_for(&self, transactions: &[u64], look: Duration, goes_on: impl Fn() -> bool) -> bool {
        let mut underway = self.locked();
        while transactions.iter().any(|transaction| underway.contains(transaction)) {
            if !goes_on() {
                return false;
            }
            underway = self.less.wait_timeout(underway, look).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// A transaction is on its way until all lanes have let go of this.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) transaction: u64,
    commits: Arc<Commits>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.commits.locked().remove(&self.transaction);
        self.commits.less.notify_all();
    }
}
