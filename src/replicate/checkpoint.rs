//! What is said in a checkpoint: definitions, and of each queue where its messages are.

use std::io;

use super::lent::{LENDING, Lending};
use super::record::{QUEUE, QueueState, Record};
use super::segments::Segments;
use crate::store::{self, CheckpointWriter, Disk};

/// Records for a checkpoint, put together by anybody: `kind u8 | length u32 | payload` each.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
}

impl Records {
    fn add(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.push(kind);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        // A block of a checkpoint is much shorter than 4 GiB, and so is every record.
        let length = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Adds what could stand in the log too.
    pub fn put(&mut self, record: &Record<'_>) {
        self.add(record.kind(), |out| record.encode(out));
    }

    /// Adds a queue; what is known of single messages comes behind it.
    pub fn put_queue(&mut self, state: &QueueState, segments: &Segments) {
        segments.say_lending(&state.chunks, self);
        self.add(QUEUE, |out| state.encode(out));
    }

    /// Adds which blocks of lent messages a chunk needs.
    pub(super) fn put_lending(&mut self, lending: &Lending) {
        self.add(LENDING, |out| lending.encode(out));
    }

    /// Adds all of another's.
    pub fn append(&mut self, mut other: Self) {
        self.bytes.append(&mut other.bytes);
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn write<D: Disk>(
        &self,
        disk: &D,
        number: u32,
        node: [u8; 16],
        replay_from: store::Position,
    ) -> io::Result<()> {
        let mut writer = CheckpointWriter::begin(disk, number, node)?;
        let mut rest = &self.bytes[..];
        while let Some((kind, behind)) = rest.split_first()
            && let Some((length, behind)) = behind.split_first_chunk::<4>()
            && let Some((payload, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            writer.record(*kind, |out| out.extend_from_slice(payload))?;
            rest = behind;
        }
        writer.finish(replay_from)
    }
}

type Write = Box<dyn FnMut(u32, store::Position, &Records) -> io::Result<()> + Send>;

/// Where the checkpoints of a log stand.
pub(super) struct Checkpoints {
    /// Of the last one.
    pub(super) number: u32,
    /// The next one says that the log is to be read from here: it is where the last one began.
    pub(super) replay_from: store::Position,
    /// Transactions some of whose parts may lie before.
    pub(super) whole: Vec<u64>,
    /// The first file of the log that is there.
    pub(super) first_file: u32,
    pub(super) write: Write,
}

/// A checkpoint that has begun.
#[derive(Debug)]
pub struct BegunCheckpoint {
    pub(super) at: store::Position,
    /// Transactions that were underway.
    pub(super) underway: Vec<u64>,
    /// Segment files that it will not speak of.
    pub(super) unwanted: Vec<u32>,
}
