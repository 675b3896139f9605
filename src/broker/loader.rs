//! Reads messages from disk for the lanes, which do not wait for it, and writes chunks anew.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::compaction::Move;
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
    /// To be written anew, when nobody waits to read.
    moving: VecDeque<(Move, LaneHandle)>,
    closed: bool,
}

enum Work {
    Load(Job),
    Move(Move, LaneHandle),
}

impl Jobs {
    fn pop(&mut self) -> Option<Work> {
        let load = self.waiting.pop_front().map(Work::Load);
        load.or_else(|| self.moving.pop_front().map(|(moved, lane)| Work::Move(moved, lane)))
    }
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

    fn next(&self) -> Option<Work> {
        let mut jobs = self.jobs();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(work) = jobs.pop() {
                return Some(work);
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
            while let Some(work) = serving.next() {
                match work {
                    Work::Load(Job { load, lane }) => {
                        let mut messages = Vec::new();
                        let result = segments.read(load.place, |place, message| {
                            messages.push((place, kept::read(&message, &mut scratch)));
                        });
                        if let Err(error) = result {
                            tracing::error!(%error, "some messages on disk cannot be read");
                        }
                        lane.send(&from, vec![Op::Loaded { load, messages }], 0);
                    }
                    // What cannot be read is told when it is wanted.
                    Work::Move(moved, lane) => {
                        let to = segments.copy(moved.from, &moved.members).ok();
                        lane.send(&from, vec![Op::Moved { moved: Box::new(moved), to }], 0);
                    }
                }
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

    /// Has chunks written anew, and the lane told.
    pub(super) fn rewrite(&self, moves: Vec<Move>, lane: &LaneHandle) {
        self.shared.jobs().moving.extend(moves.into_iter().map(|moved| (moved, lane.clone())));
        self.shared.changed.notify_one();
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.jobs().closed = true;
        self.shared.changed.notify_one();
    }
}
