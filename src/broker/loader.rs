//! Reads messages from disk for the lanes, which do not wait for it, and writes chunks anew.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::compaction::Move;
use super::inbox::{LaneHandle, Op};
use super::kept;
use super::mailbox::Mailbox;
use super::queue::Load;
use crate::replicate::{Segments, is_damage};

/// What cannot be read is tried again after this time.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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
    fn push(&mut self, work: Work) {
        match work {
            Work::Load(job) => self.waiting.push_back(job),
            Work::Move(moved, lane) => self.moving.push_back((moved, lane)),
        }
    }

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

    /// Waits, since the disk has just refused to be read.
    fn try_later(&self, work: Work) {
        let mut jobs = self.jobs();
        jobs.push(work);
        let is_open = |jobs: &mut Jobs| !jobs.closed;
        drop(self.changed.wait_timeout_while(jobs, RETRY_PAUSE, is_open));
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

/// Works in a thread, if it has one, which ends when this is dropped.
pub(super) struct Loader {
    shared: Arc<Shared>,
    reading: Reading,
}

/// What is needed to work.
#[derive(Clone)]
struct Reading {
    segments: Segments,
    /// In whose name it sends.
    from: Arc<Mailbox>,
}

impl Reading {
    /// Gives back what is to be tried again.
    fn work(&self, work: Work, scratch: &mut Vec<u8>) -> Option<Work> {
        match work {
            Work::Load(Job { load, lane }) => {
                let mut messages = Vec::new();
                let result = self.segments.read(load.place, |place, message, shared| {
                    messages.push((place, kept::read(&message, shared, scratch)));
                });
                match result {
                    Ok(()) => {}
                    Err(error) if is_damage(&error) => {
                        tracing::error!(%error, "some messages on disk cannot be read");
                    }
                    Err(error) => {
                        tracing::error!(%error, "messages on disk cannot be read now: it is tried again");
                        return Some(Work::Load(Job { load, lane }));
                    }
                }
                lane.send(&self.from, vec![Op::Loaded { load, messages }], 0);
            }
            // What cannot be read is told when it is wanted.
            Work::Move(moved, lane) => {
                let to = self.segments.copy(moved.from, &moved.members).ok();
                lane.send(&self.from, vec![Op::Moved { moved: Box::new(moved), to }], 0);
            }
        }
        None
    }
}

impl Loader {
    /// Without a thread; it sends in the name of `from`.
    pub(super) fn new(segments: Segments, from: Arc<Mailbox>) -> Self {
        Self { shared: Arc::default(), reading: Reading { segments, from } }
    }

    /// Starts the thread.
    pub(super) fn start(&self) -> io::Result<()> {
        let (serving, reading) = (self.shared.clone(), self.reading.clone());
        thread::Builder::new().name("lepus-loader".into()).spawn(move || {
            let mut scratch = Vec::new();
            while let Some(work) = serving.next() {
                if let Some(again) = reading.work(work, &mut scratch) {
                    serving.try_later(again);
                }
            }
        })?;
        Ok(())
    }

    /// Works off what is waited for, where there is no thread to do so.
    #[cfg(test)]
    pub(super) fn work_off(&self) {
        let mut again = Vec::new();
        loop {
            let Some(work) = self.shared.jobs().pop() else { break };
            again.extend(self.reading.work(work, &mut Vec::new()));
        }
        again.into_iter().for_each(|work| self.shared.jobs().push(work));
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
