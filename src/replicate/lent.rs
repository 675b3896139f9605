//! Messages that several queues have: each is written to a segment once, in a block that lends it to the chunks of the
//! queues, which say where it lies. A block stays as long as a chunk, or a message in memory, speaks of it.

use std::sync::{Arc, OnceLock};

use super::chunks::ChunkPlace;
use super::record::{Bytes, MessageBytes, Place};
use super::segments::Segments;
use crate::store::{Block, Position};

/// A message that chunks borrow, in a segment.
pub(super) const LENT: u8 = 16;
/// A [`Borrowing`], in a segment.
pub(super) const BORROWING: u8 = 17;
/// A [`Lending`], in a checkpoint.
pub(super) const LENDING: u8 = 18;

/// A shorter message is written for each queue: it takes little more room than to say where it lies, and is read with the
/// rest of its chunk.
const LENT_BYTES_MIN: usize = 256;

/// What a message that several queues have knows of that: where it is lent, once it is.
#[derive(Debug, Default)]
pub struct LentMessage(OnceLock<(Arc<LentBlock>, u32)>);

/// A block of lent messages, wanted as long as this is there.
pub(super) struct LentBlock {
    segments: Segments,
    /// By which chunks know it: the position at which it was written first. Not set before that.
    id: OnceLock<Position>,
}

impl LentBlock {
    pub(super) fn new(segments: Segments) -> Self {
        Self { segments, id: OnceLock::new() }
    }

    /// One that is in the segments, and wanted once more.
    pub(super) fn known(segments: Segments, id: Position) -> Self {
        Self { segments, id: id.into() }
    }

    /// Waits for whoever fills it, which takes no longer than to fill a chunk.
    pub(super) fn id(&self) -> Position {
        *self.id.wait()
    }

    pub(super) fn is_at(&self, id: Position) {
        // Only who made it says so, once.
        let _ = self.id.set(id);
    }
}

impl Drop for LentBlock {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            self.segments.give_up_block(*id);
        }
    }
}

impl std::fmt::Debug for LentBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LentBlock").field("id", &self.id).finish_non_exhaustive()
    }
}

impl LentMessage {
    /// One that lies in this block already.
    pub(super) fn at(block: Arc<LentBlock>, offset: u32) -> Self {
        Self(OnceLock::from((block, offset)))
    }

    /// Whether it is worth it for a message of this length.
    pub(super) fn is_worth_it(length: usize) -> bool {
        length >= LENT_BYTES_MIN
    }

    /// Where it lies. Whoever asks first has it put into its own block.
    pub(super) fn or_put(&self, own: &mut OwnBlock, message: MessageBytes<'_>) -> (Arc<LentBlock>, u32) {
        self.0.get_or_init(|| own.add(message)).clone()
    }
}

/// The messages that whoever fills a chunk is the first to write.
#[derive(Debug)]
pub(super) struct OwnBlock {
    segments: Segments,
    filling: Option<(Arc<LentBlock>, Block)>,
}

impl OwnBlock {
    pub(super) fn new(segments: Segments) -> Self {
        Self { segments, filling: None }
    }

    fn add(&mut self, message: MessageBytes<'_>) -> (Arc<LentBlock>, u32) {
        let (known, block) = self.filling.get_or_insert_with(|| {
            let known = LentBlock::new(self.segments.clone());
            (Arc::new(known), self.segments.block())
        });
        let offset = block.record(LENT, |out| message.encode(out));
        (known.clone(), offset)
    }

    pub(super) fn take(&mut self) -> Option<(Arc<LentBlock>, Block)> {
        self.filling.take()
    }
}

/// Where a message lies that several queues have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lent {
    /// The block's id, see [`LentBlock::id`].
    pub(super) block: Position,
    /// Of its record, from the start of the block.
    pub(super) offset: u32,
    /// In bytes.
    pub(super) length: u32,
}

/// A message of a chunk that lies elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Borrowing {
    pub(super) place: Place,
    pub(super) lent: Lent,
}

impl Borrowing {
    /// Where the block's id stands in the payload: it is known last.
    pub(super) const BLOCK_AT: usize = 24;

    /// `queue u64 | number u64 | expires u64 | block u64 | offset u32 | length u32`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self { place, lent } = self;
        place.encode(out);
        out.extend_from_slice(&lent.block.0.to_le_bytes());
        out.extend_from_slice(&lent.offset.to_le_bytes());
        out.extend_from_slice(&lent.length.to_le_bytes());
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut from = Bytes(payload);
        let place = Place::decode(&mut from)?;
        let lent = Lent { block: Position(from.u64()?), offset: from.u32()?, length: from.u32()? };
        from.0.is_empty().then_some(Self { place, lent })
    }
}

/// A block of lent messages, and where it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockPlace {
    /// See [`LentBlock::id`].
    pub(super) block: Position,
    pub(super) place: ChunkPlace,
}

/// The blocks of lent messages that a chunk needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lending {
    pub(super) chunk: Position,
    pub(super) blocks: Vec<BlockPlace>,
}

impl Lending {
    /// `chunk u64 | for each block: id u64, position u64, length u32`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.chunk.0.to_le_bytes());
        for BlockPlace { block, place } in &self.blocks {
            out.extend_from_slice(&block.0.to_le_bytes());
            place.encode(out);
        }
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut from = Bytes(payload);
        let chunk = Position(from.u64()?);
        let mut blocks = Vec::new();
        while !from.0.is_empty() {
            blocks.push(BlockPlace { block: Position(from.u64()?), place: ChunkPlace::decode(&mut from)? });
        }
        Some(Self { chunk, blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let place = Place { queue: 7, seq: 8, expires_ms: u64::MAX };
        let borrowing = Borrowing { place, lent: Lent { block: Position::new(3, 64), offset: 32, length: 9 } };
        let mut bytes = Vec::new();
        borrowing.encode(&mut bytes);
        assert_eq!(Borrowing::decode(&bytes), Some(borrowing));
        assert_eq!(Borrowing::decode(&bytes[..39]), None);
        assert_eq!(bytes[Borrowing::BLOCK_AT..][..8], Position::new(3, 64).0.to_le_bytes());
        let place = ChunkPlace { position: Position::new(4, 64), length: 100 };
        let lending = Lending { chunk: Position::new(5, 6), blocks: vec![BlockPlace { block: Position(7), place }; 2] };
        let mut bytes = Vec::new();
        lending.encode(&mut bytes);
        assert_eq!(Lending::decode(&bytes), Some(lending));
        assert_eq!(Lending::decode(&bytes[..bytes.len() - 1]), None);
    }
}
