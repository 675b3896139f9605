//! Reads messages from disk for the lanes, which do not wait for it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::inbox::{LaneHandle, Op};
use super::kept;
use super::mailbox::Mailbox;
use super::queue::Load;
use crate::replicate::Segments;

struct Job {
    load: Load,
    lane: LaneHandle,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A thread that reads. It ends when this is dropped.
pub(super) struct Loader {
    shared: Arc<Shared>,
}

impl Loader {
    /// Starts the thread; it sends in the name of `from`.
    pub(super) fn start(segments: Segments, from: Arc<Mailbox>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        thread::Builder::new().name("lepus-loader".into()).spawn(move || {
            let mut scratch = Vec::new();
            while let Some(Job { load, lane }) = serving.next() {
                let mut messages = Vec::new();
                let result = segments.read(load.place, |place, message| {
                    messages.push((place, kept::read(&message, &mut scratch)));
                });
                if let Err(error) = result {
                    tracing::error!(%error, "some messages on disk cannot be read");
                }
                lane.send(&from, vec![Op::Loaded { load, messages }], 0);
            }
        })?;
        Ok(Self { shared })
    }

    /// Has messages read, and sent to the lane.
    pub(super) fn load(&self, load: Load, lane: &LaneHandle) {
        // A queue asks for one chunk of each priority at a time.
        self.shared.jobs().waiting.push_back(Job { load, lane: lane.clone() });
        self.shared.changed.notify_one();
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.jobs().closed = true;
        self.shared.changed.notify_one();
    }
}
