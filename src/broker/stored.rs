//! Which of the messages of a queue, or of those that an exchange holds back, lie in chunks, so that the log need not keep
//! them.

use std::ops::Range;

use super::compaction::Move;
use crate::replicate::{Chunk, ChunkPlace, Chunks};

/// A chunk is full with this many bytes.
pub(super) const CHUNK_BYTES: u32 = 256 << 10;

/// The chunks of one of them.
#[derive(Debug, Default)]
pub(super) struct Stored {
    chunks: Chunks,
    /// All kept messages with lower numbers are in chunks.
    below: u64,
    /// Where the next checkpoint puts [`Self::below`]: what is older then has stayed for long.
    mark: u64,
}

impl Stored {
    /// Forgets a message. Gives the chunk that nobody wants any more.
    #[inline]
    pub(super) fn remove(&mut self, level: u8, seq: u64) -> Option<ChunkPlace> {
        self.chunks.remove(level, seq)
    }

    /// The kept messages of a page, of which the first and the last are known.
    pub(super) fn members_of(&self, level: u8, place: ChunkPlace, first: u64, last: u64) -> Vec<u64> {
        let chunk = self.chunks.at(level, place, first, last);
        chunk.into_iter().flat_map(|chunk| chunk.members.iter()).flat_map(|(first, last)| first..=last).collect()
    }

    /// Adds a chunk.
    pub(super) fn add(&mut self, chunk: Chunk) {
        self.chunks.add(chunk);
    }

    /// Takes up what the log has kept: chunks, and the messages from number `in_log` on that are in none; `next_seq` is
    /// the number of the next message.
    pub(super) fn recover(&mut self, chunks: Chunks, in_log: Option<u64>, next_seq: u64) {
        // What is paged out goes to chunks before what is older and stays in memory.
        self.below = in_log.map_or(chunks.end(), |first| first.min(chunks.end()));
        self.mark = next_seq;
        self.chunks = chunks;
    }

    /// A checkpoint: those with numbers in this range have stayed since the last one, and are to be moved to chunks.
    /// `next_seq` is the number of the next message.
    pub(super) fn advance(&mut self, next_seq: u64) -> Range<u64> {
        let old = self.below..self.mark;
        (self.below, self.mark) = (self.mark, next_seq);
        old
    }

    /// It lies in a chunk.
    pub(super) fn has(&self, level: u8, seq: u64) -> bool {
        self.chunks.find(level, seq).is_some()
    }

    /// Something of the same priority lies in a chunk between the two.
    pub(super) fn is_between(&self, level: u8, first: u64, second: u64) -> bool {
        self.chunks.begins_between(level, first, second)
    }

    /// A chunk was written anew, with messages up to `last`. True: it is one of these.
    pub(super) fn moved(&mut self, moved: &Move, to: ChunkPlace) -> bool {
        let last = moved.members.last().unwrap_or(0);
        self.chunks.replace(moved.level, last, moved.from, to)
    }

    /// Those in these files.
    pub(super) fn chunks_in<'a>(&'a self, files: &'a [u32]) -> impl Iterator<Item = &'a Chunk> {
        self.chunks.iter().filter(|chunk| files.contains(&chunk.place.file()))
    }

    /// All chunks, as a checkpoint says them.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        self.chunks.iter().cloned().collect()
    }

    /// All places, to be given up with the queue.
    pub(super) fn places(&self) -> impl Iterator<Item = ChunkPlace> {
        self.chunks.iter().map(|chunk| chunk.place)
    }
}
