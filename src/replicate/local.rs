//! The log of this node: what a lane appends goes into its block, and the blocks of all lanes into one log.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::checkpoint::{BegunCheckpoint, Checkpoints, Records};
use super::journal::{JOURNAL, Journal, Written};
use super::recovery::{self, Opened, Recovered};
use super::segments::Segments;
use super::{MessageBytes, Position, Record, Replicator};
use crate::store::{Block, DirLock, Disk, Log, LogError, LogOptions, OnSynced, SyncMode, Writer};

/// A block is sent off when it is so long, though the lane's turn is not over.
const BLOCK_BYTES: u32 = 1 << 20;

/// Runs of removed messages that may be open at a time, to become longer.
const OPEN_RUNS_MAX: usize = 8;

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// Length of a file in bytes.
    pub file_bytes: u32,
    /// When what was written counts as kept.
    pub sync: SyncMode,
    /// Tells the files of one data directory from those of another.
    pub node: [u8; 16],
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// A thread for the log, one for the segments.
    Own,
    /// Whoever calls [`LocalLog::step`].
    #[cfg(test)]
    None,
}

impl Threads {
    pub(super) fn start<D: Disk>(
        self,
        log: Log<D>,
        sync: SyncMode,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<(Writer, Option<JoinHandle<()>>)> {
        match self {
            Self::Own => Writer::start(log, sync, failed).map(|(writer, thread)| (writer, Some(thread))),
            #[cfg(test)]
            Self::None => Ok((Writer::by_hand(log, sync, failed), None)),
        }
    }
}

/// The log of this node, open. Lanes and the journal write to it; it ends when it is dropped.
pub struct LocalLog {
    writer: Writer,
    segments: Segments,
    checkpoints: Mutex<Checkpoints>,
    /// Let go when nothing is written any more.
    _lock: Option<DirLock>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for LocalLog {
    /// Everything handed over is written and synced.
    fn drop(&mut self) {
        self.writer.close();
        self.segments.close();
        for thread in self.threads.drain(..) {
            // What went wrong was told when it did.
            let _ = thread.join();
        }
    }
}

impl LocalLog {
    /// Opens the log in a directory and reads what it says; `make` builds a message, and is told whether several queues
    /// have it. `failed` is called with the error
    /// that ends the log before its time, and with it everything that relies on it.
    ///
    /// # Errors
    /// The disk fails, or what is there cannot be read by this program.
    pub fn open<D: Disk, M: Clone + Default>(
        disk: Arc<D>,
        lock: Option<DirLock>,
        options: LocalOptions,
        make: impl FnMut(MessageBytes<'_>, bool) -> M,
        failed: impl Fn(io::Error) + Clone + Send + 'static,
    ) -> Result<(Self, Recovered<M>), LogError> {
        Self::open_with(Threads::Own, disk, lock, options, make, failed)
    }

    /// As [`Self::open`], without threads: nothing is written but in [`Self::step`], and where somebody waits for it.
    #[cfg(test)]
    pub(crate) fn by_hand<D: Disk, M: Clone + Default>(
        disk: Arc<D>,
        options: LocalOptions,
        make: impl FnMut(MessageBytes<'_>, bool) -> M,
        failed: impl Fn(io::Error) + Clone + Send + 'static,
    ) -> Result<(Self, Recovered<M>), LogError> {
        Self::open_with(Threads::None, disk, None, options, make, failed)
    }

    fn open_with<D: Disk, M: Clone + Default>(
        threads: Threads,
        disk: Arc<D>,
        lock: Option<DirLock>,
        options: LocalOptions,
        make: impl FnMut(MessageBytes<'_>, bool) -> M,
        failed: impl Fn(io::Error) + Clone + Send + 'static,
    ) -> Result<(Self, Recovered<M>), LogError> {
        let log_options =
            LogOptions { name: "log", file_bytes: options.file_bytes, prewritten: true, node: options.node };
        let Opened { log, recovered, checkpoint, first_file, segment } = recovery::recover(&disk, log_options, make)?;
        let io_error = |error| LogError::of("data directory", error);
        let chunks = recovered.chunks().map(|(chunk, blocks)| (chunk, blocks.to_vec())).collect();
        let (segments, segments_thread) =
            Segments::open(threads, disk.clone(), log_options, segment, chunks, failed.clone()).map_err(io_error)?;
        // What was recovered lies before.
        let replay_from = log.end();
        let (writer, thread) = threads.start(log, options.sync, failed).map_err(io_error)?;
        let mut first = writer.block(JOURNAL);
        first.record(Record::Start.kind(), |out| Record::Start.encode(out));
        writer.submit(first, false);
        let node = options.node;
        let write =
            Box::new(move |number, replay_from, records: &Records| records.write(&*disk, number, node, replay_from));
        let checkpoints =
            Mutex::new(Checkpoints { number: checkpoint, replay_from, whole: Vec::new(), first_file, write });
        let threads = [thread, segments_thread].into_iter().flatten().collect();
        Ok((Self { writer, segments, checkpoints, _lock: lock, threads }, recovered))
    }

    /// What is written is written by threads of its own.
    pub(crate) fn has_threads(&self) -> bool {
        !self.threads.is_empty()
    }

    /// Writes what was handed over to the log.
    #[cfg(test)]
    pub(crate) fn step(&self) {
        self.writer.step();
    }

    /// What was handed over so far, and what of it is kept.
    #[cfg(test)]
    pub(crate) fn places(&self) -> (Written, Written) {
        (Written(self.writer.end()), Written(self.writer.synced()))
    }

    /// Where messages lie that the log need not keep.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Calls `grown` with the number of files whenever the log has become longer: a checkpoint would make it shorter.
    pub fn on_growth(&self, grown: impl Fn(u32) + Send + Sync + 'static) {
        let writer = self.writer.clone();
        // What the last life left behind counts too.
        let last = AtomicU32::new(self.checkpoints().first_file);
        self.writer.listen(Box::new(move || {
            let file = writer.synced().file();
            let before = last.fetch_max(file, Ordering::Relaxed);
            if file > before {
                grown(file - before);
            }
        }));
    }

    /// Room on the disk is short, or no longer: no files are kept for later.
    pub fn be_sparing(&self, is_short: bool) {
        self.writer.be_sparing(is_short);
    }

    /// A checkpoint, or a few, would give room on the disk back.
    pub fn can_shrink(&self) -> bool {
        let first_file = self.checkpoints().first_file;
        first_file < self.writer.end().file() || self.segments.can_shrink()
    }

    fn checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a checkpoint. From here on every lane is to move what it held when the last one began from the log to
    /// segments, and to say what it has. `underway` are the transactions that were not whole a moment before.
    pub fn begin_checkpoint(&self, underway: Vec<u64>) -> BegunCheckpoint {
        BegunCheckpoint { at: self.writer.end(), underway, unwanted: self.segments.unwanted() }
    }

    /// Finishes it with what everybody said: the log before the checkpoint before this one is not needed any more. Every
    /// transaction of which a part was taken into account is in the lanes' logs as a whole.
    ///
    /// # Errors
    /// The disk's; the checkpoint before stands then.
    pub fn finish_checkpoint(&self, begun: BegunCheckpoint, mut records: Records) -> io::Result<()> {
        self.segments.sync()?;
        // It may speak of removals whose reason is still on its way: a dead letter, say.
        self.writer.sync_all()?;
        let mut checkpoints = self.checkpoints();
        let number = checkpoints.number + 1;
        let replay_from = checkpoints.replay_from;
        for transaction in &checkpoints.whole {
            records.put(&Record::Whole { transaction: *transaction });
        }
        (checkpoints.write)(number, replay_from, &records)?;
        checkpoints.number = number;
        self.writer.retire((checkpoints.first_file..replay_from.file()).collect());
        checkpoints.first_file = replay_from.file();
        checkpoints.replay_from = begun.at;
        checkpoints.whole = begun.underway;
        self.segments.remove(&begun.unwanted);
        Ok(())
    }

    /// What lane `index` writes with. `on_durable` is called, in no lane's time, when something more is durable.
    pub fn lane(&self, index: u16, on_durable: OnSynced) -> Local {
        self.writer.listen(on_durable);
        Local {
            block: self.writer.block(index.into()),
            writer: self.writer.clone(),
            source: index.into(),
            current: 1,
            underway: VecDeque::new(),
            durable: 0,
            runs: Vec::new(),
            segments: self.segments.clone(),
        }
    }

    /// What definitions are written with.
    pub fn journal(&self) -> Journal {
        Journal::new(self.writer.clone())
    }
}

impl std::fmt::Debug for LocalLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalLog").finish_non_exhaustive()
    }
}

/// One lane's part of the log.
pub struct Local {
    writer: Writer,
    source: u32,
    block: Block,
    /// The position of what goes into the block; blocks are counted.
    current: u64,
    /// Blocks on their way, with where they end.
    underway: VecDeque<(u64, Written)>,
    durable: u64,
    segments: Segments,
    /// Removed messages that are not in the block yet: queue, first, last.
    runs: Vec<(u64, u64, u64)>,
}

impl Local {
    fn write(&mut self, record: Record<'_>) {
        self.block.record(record.kind(), |out| record.encode(out));
    }

    /// Acks mostly come in order: those that follow each other are one record.
    fn remove(&mut self, queue: u64, first: u64, last: u64) {
        for (of, _, run_last) in &mut self.runs {
            if *of == queue && *run_last + 1 == first {
                *run_last = last;
                return;
            }
        }
        if self.runs.len() == OPEN_RUNS_MAX {
            self.close_runs();
        }
        self.runs.push((queue, first, last));
    }

    fn close_runs(&mut self) {
        for (queue, first, last) in std::mem::take(&mut self.runs) {
            self.write(Record::Remove { queue, first, last });
        }
    }

    fn send(&mut self, urgent: bool) {
        if self.block.is_empty() {
            return;
        }
        let next = self.writer.block(self.source);
        let block = std::mem::replace(&mut self.block, next);
        let end = self.writer.submit(block, urgent);
        self.underway.push_back((self.current, Written(end)));
        self.current += 1;
    }
}

impl Replicator for Local {
    fn keeps(&self) -> bool {
        true
    }

    fn append(&mut self, record: Record<'_>) -> Position {
        match record {
            Record::Remove { queue, first, last } => self.remove(queue, first, last),
            // What was removed before stands before, and what is removed in the part stands in it.
            Record::Part { .. } | Record::PartEnd => {
                self.close_runs();
                self.write(record);
            }
            _ => self.write(record),
        }
        let position = Position(self.current);
        if self.block.len() >= BLOCK_BYTES {
            self.send(false);
        }
        position
    }

    fn flush(&mut self, urgent: bool) {
        self.close_runs();
        self.send(urgent);
        if urgent {
            self.writer.hurry();
        }
    }

    fn durable(&mut self) -> Position {
        let synced = Written(self.writer.synced());
        while let Some((block, end)) = self.underway.front()
            && *end <= synced
        {
            self.durable = *block;
            self.underway.pop_front();
        }
        Position(self.durable)
    }

    fn after(&mut self, written: Written) -> Position {
        self.send(false);
        let position = self.current;
        self.underway.push_back((position, written));
        self.current += 1;
        Position(position)
    }

    fn segments(&self) -> Option<&Segments> {
        Some(&self.segments)
    }

    fn is_behind(&self) -> bool {
        self.writer.is_behind()
    }
}
