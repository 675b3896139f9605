//! The log of this node: what a lane appends goes into its block, and the blocks of all lanes into one log.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::journal::{Journal, Written};
use super::recovery::{self, Recovered};
use super::{MessageBytes, Position, Record, Replicator};
use crate::store::{Block, Disk, Log, LogError, LogOptions, OnSynced, SyncMode, Writer};

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

/// The log of this node, open. Lanes and the journal write to it; it ends when it is dropped.
pub struct LocalLog {
    writer: Writer,
    thread: Option<JoinHandle<()>>,
}

impl Drop for LocalLog {
    /// Everything handed over is written and synced.
    fn drop(&mut self) {
        self.writer.close();
        if let Some(thread) = self.thread.take() {
            // What went wrong was told when it did.
            let _ = thread.join();
        }
    }
}

impl LocalLog {
    /// Opens the log in a directory and reads what it says; `make` builds a message. `failed` is called with the error
    /// that ends the log before its time, and with it everything that relies on it.
    ///
    /// # Errors
    /// The disk fails, or what is there cannot be read by this program.
    pub fn open<D: Disk, M: Clone>(
        disk: Arc<D>,
        options: LocalOptions,
        make: impl FnMut(MessageBytes<'_>) -> M,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> Result<(Self, Recovered<M>), LogError> {
        let log_options = LogOptions { name: "log", file_bytes: options.file_bytes, node: options.node };
        let (log, recovered): (Log<D>, _) = recovery::recover(disk, log_options, make)?;
        let (writer, thread) = Writer::start(log, options.sync, failed)
            .map_err(|error| LogError::Io { file: "thread of the log".into(), error })?;
        Ok((Self { writer, thread: Some(thread) }, recovered))
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
        if let Record::Remove { queue, first, last } = record {
            self.remove(queue, first, last);
        } else {
            self.write(record);
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

    fn is_behind(&self) -> bool {
        self.writer.is_behind()
    }
}
