//! What the lanes say for a checkpoint, gathered.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::event::QueueId;
use crate::replicate::Records;

#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) records: Records,
    pub(super) lanes_left: usize,
}

/// Gathers what the lanes say.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    said: Mutex<Said>,
    pub(super) all: Condvar,
}

impl Gathering {
    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, records: Records, is_last: bool) {
        let mut said = self.said();
        said.records.append(records);
        said.lanes_left -= usize::from(is_last);
        if said.lanes_left == 0 {
            self.all.notify_all();
        }
    }
}

/// A lane's part of a checkpoint, half done.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) gathering: Arc<Gathering>,
    pub(super) queues: Vec<QueueId>,
}

/// A lane that is gone says nothing more: the checkpoint must not wait for it.
impl Drop for Part {
    fn drop(&mut self) {
        self.gathering.add(Records::default(), true);
    }
}
