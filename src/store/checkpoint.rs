//! A checkpoint: what the log says up to a position, said in fewer words, so that starting again reads those and only
//! the log behind. It is written beside the one before and takes its place when it is whole.

use std::io::{self, ErrorKind, IoSlice};

use super::block::{BLOCK_HEADER, Block, Position, Record, Scan, Stretch};
use super::disk::{Disk, DiskFile};
use super::log::{LogError, file_name, number_of};

/// What checkpoints are called.
pub const CHECKPOINT: &str = "checkpoint";
pub(super) const UNFINISHED: &str = "checkpoint-unfinished";
/// Blocks are written out when they have so many bytes.
const BLOCK_BYTES: u32 = 1 << 20;
/// `source` of the last block, which says that all are there.
pub(super) const LAST: u32 = u32::MAX;

/// A checkpoint being written.
#[derive(Debug)]
pub struct CheckpointWriter<'a, D: Disk> {
    disk: &'a D,
    file: D::File,
    number: u32,
    node: [u8; 16],
    end: u32,
    block: Block,
}

impl<'a, D: Disk> CheckpointWriter<'a, D> {
    /// Begins checkpoint `number`, greater than any before.
    pub fn begin(disk: &'a D, number: u32, node: [u8; 16]) -> io::Result<Self> {
        let file = disk.create(UNFINISHED, 0)?;
        Ok(Self { disk, file, number, node, end: 0, block: Block::new(0) })
    }

    /// Adds a record.
    pub fn record(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.block.record(kind, write);
        if self.block.len() >= BLOCK_BYTES { self.write_block(0) } else { Ok(()) }
    }

    fn write_block(&mut self, next_source: u32) -> io::Result<()> {
        let mut block = std::mem::replace(&mut self.block, Block::new(next_source));
        block.seal(Position::new(self.number, self.end), Position::default());
        self.file.write_at(self.end.into(), &[IoSlice::new(block.bytes())])?;
        let too_large = || io::Error::new(ErrorKind::FileTooLarge, "a checkpoint ends at 4 GiB");
        self.end = self.end.checked_add(block.len()).ok_or_else(too_large)?;
        Ok(())
    }

    /// Says that the log is to be read from `replay_from`, and puts the checkpoint in the place of the one before.
    pub fn finish(mut self, replay_from: Position) -> io::Result<()> {
        self.write_block(LAST)?;
        let node = self.node;
        self.block.record(0, |out| {
            out.extend_from_slice(&node);
            out.extend_from_slice(&replay_from.0.to_le_bytes());
        });
        self.write_block(LAST)?;
        self.file.sync()?;
        self.disk.rename(UNFINISHED, &file_name(CHECKPOINT, self.number))?;
        self.disk.sync()?;
        for (number, name) in numbered(self.disk)? {
            if number < self.number {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }
}

fn numbered<D: Disk>(disk: &D) -> io::Result<Vec<(u32, String)>> {
    let names = disk.list()?.into_iter();
    let mut numbered: Vec<(u32, String)> =
        names.filter_map(|name| Some((number_of(&name, CHECKPOINT)?, name))).collect();
    numbered.sort_unstable();
    Ok(numbered)
}

/// A checkpoint that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Its number; 0: there is none.
    pub number: u32,
    /// The log is to be read from here.
    pub replay_from: Position,
}

/// Reads the newest checkpoint that is whole and gives its records to `found`; of one that is not, nothing. The names
/// of those that are damaged come back.
///
/// # Errors
/// The disk fails, or a checkpoint is another node's.
pub fn read_checkpoint<D: Disk>(
    disk: &D,
    node: [u8; 16],
    mut found: impl FnMut(Record<'_>),
) -> Result<(Checkpoint, Vec<String>), LogError> {
    let io_error = |file: &str| {
        let file = file.to_owned();
        move |error| LogError::of(file, error)
    };
    let mut damaged = Vec::new();
    for (number, name) in numbered(disk).map_err(io_error("data directory"))?.into_iter().rev() {
        let file = disk.open(&name).map_err(io_error(&name))?;
        let length = file.length().map_err(io_error(&name))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_at(0, &mut bytes).map_err(io_error(&name))?;
        let Some((owner, replay_from)) = last_words(&bytes, number) else {
            damaged.push(name);
            continue;
        };
        if owner != node {
            return Err(LogError::Foreign { file: name });
        }
        for stretch in Scan::part(&bytes, Position::new(number, 0)) {
            match stretch {
                Stretch::Record(record) if record.source != LAST => found(record),
                _ => {}
            }
        }
        return Ok((Checkpoint { number, replay_from }, damaged));
    }
    Ok((Checkpoint { number: 0, replay_from: Position::default() }, damaged))
}

/// What the last block says, if everything before it is whole.
pub(super) fn last_words(bytes: &[u8], number: u32) -> Option<([u8; 16], Position)> {
    let mut last = None;
    let mut scan = Scan::part(bytes, Position::new(number, 0));
    for stretch in scan.by_ref() {
        match stretch {
            Stretch::Record(record) if record.source == LAST => {
                let (node, replay_from) = record.payload.split_first_chunk()?;
                last = Some((*node, Position(u64::from_le_bytes(*replay_from.first_chunk()?))));
            }
            Stretch::Record(_) => {}
            Stretch::Bad(_) => return None,
        }
    }
    (scan.at() as usize == bytes.len() && bytes.len() > BLOCK_HEADER).then_some(last)?
}
