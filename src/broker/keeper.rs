//! The door to the journal, where definitions are kept that outlive the process.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::event::QueueId;
use crate::replicate::{Journal, Written};

/// Until it has a journal, and without one, it does nothing.
#[derive(Default)]
pub(super) struct Keeper {
    journal: OnceLock<Journal>,
    /// What the next queue or exchange gets.
    next_number: AtomicU64,
    /// The last position written by it.
    last: AtomicU64,
    system_changed: Notify,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// From now on definitions are kept.
    pub(super) fn start(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    /// A number for a queue, or an exchange that the log knows: none is given twice.
    pub(super) fn number(&self) -> QueueId {
        QueueId(self.next_number.fetch_add(1, Ordering::Relaxed))
    }

    /// Numbers below this one were given in former lives.
    pub(super) fn numbers_are_used(&self, end: u64) {
        self.next_number.fetch_max(end, Ordering::Relaxed);
    }

    /// Definitions are kept.
    pub(super) fn keeps(&self) -> bool {
        self.journal.get().is_some()
    }

    pub(super) fn write(&self, write: impl FnOnce(&Journal) -> Written) -> Option<Written> {
        let written = write(self.journal.get()?);
        self.last.fetch_max(written.to_u64(), Ordering::AcqRel);
        Some(written)
    }

    /// What was written so far, if it is not durable yet.
    pub(super) fn pending(&self) -> Option<Written> {
        let last = Written::from_u64(self.last.load(Ordering::Acquire));
        (!self.journal.get()?.is_durable(last)).then_some(last)
    }

    /// Something has changed of what is kept as a whole.
    pub(super) fn system_changed(&self) {
        self.system_changed.notify_one();
    }

    pub(super) async fn wait_for_system(&self) {
        self.system_changed.notified().await;
    }
}
