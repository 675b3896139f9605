//! Who wants what of segment files: chunks, and blocks of lent messages that chunks need. What nobody wants can go.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::chunks::ChunkPlace;
use super::lent::BlockPlace;
use crate::hashing::Hashing;
use crate::store::Position;

/// Files of which no more than this part is wanted are to be written anew.
const SPARSE_PART: u64 = 4;

/// What is where, and wanted.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) by_number: HashMap<u32, File, Hashing>,
    /// Blocks of lent messages by their ids.
    pub(super) lenders: HashMap<Position, Lender, Hashing>,
}

/// A block of lent messages.
#[derive(Debug)]
pub(super) struct Lender {
    pub(super) place: ChunkPlace,
    /// So many chunks want it, and messages in memory.
    wanted: u32,
}

/// A segment file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// In bytes.
    pub(super) length: u64,
    /// What somebody wants, by offset: chunks and blocks of lent messages.
    wanted: HashMap<u32, Wanted, Hashing>,
    /// Sum of their lengths.
    wanted_bytes: u64,
}

#[derive(Debug)]
struct Wanted {
    length: u32,
    /// So many want it.
    count: u32,
    /// The ids of the blocks of lent messages that it needs, ascending.
    borrows: Box<[Position]>,
}

impl Files {
    /// One more wants a chunk, which needs these blocks of lent messages. Known ones need what they needed.
    pub(super) fn want(&mut self, place: ChunkPlace, borrows: &[Position]) {
        let file = self.by_number.entry(place.position.file()).or_default();
        if let Some(wanted) = file.wanted.get_mut(&place.position.offset()) {
            wanted.count += 1;
            return;
        }
        let wanted = Wanted { length: place.length, count: 1, borrows: borrows.into() };
        file.wanted.insert(place.position.offset(), wanted);
        file.wanted_bytes += u64::from(place.length);
        for block in borrows {
            self.want_block(*block);
        }
    }

    pub(super) fn give_up(&mut self, place: ChunkPlace) {
        let Some(file) = self.by_number.get_mut(&place.position.file()) else { return };
        let offset = place.position.offset();
        let Some(wanted) = file.wanted.get_mut(&offset) else { return };
        wanted.count -= 1;
        if wanted.count > 0 {
            return;
        }
        file.wanted_bytes -= u64::from(wanted.length);
        let borrows = file.wanted.remove(&offset).map(|wanted| wanted.borrows);
        for block in borrows.iter().flatten() {
            self.give_up_block(*block);
        }
    }

    /// A block of lent messages is at this place, whoever wants it.
    pub(super) fn put_block(&mut self, BlockPlace { block, place }: BlockPlace) {
        if let Entry::Vacant(new) = self.lenders.entry(block) {
            new.insert(Lender { place, wanted: 0 });
            self.want(place, &[]);
        }
    }

    /// One more wants a block of lent messages. False: nobody did any longer, and it is not there.
    pub(super) fn want_block(&mut self, block: Position) -> bool {
        let lender = self.lenders.get_mut(&block);
        lender.map(|lender| lender.wanted += 1).is_some()
    }

    pub(super) fn give_up_block(&mut self, block: Position) {
        let Some(lender) = self.lenders.get_mut(&block) else { return };
        lender.wanted -= 1;
        if lender.wanted == 0 {
            let place = lender.place;
            self.lenders.remove(&block);
            self.give_up(place);
        }
    }

    /// A block of lent messages was written once more. It may be wanted no longer.
    pub(super) fn moved_block(&mut self, block: Position, to: ChunkPlace) {
        self.want(to, &[]);
        let from = match self.lenders.get_mut(&block) {
            Some(lender) => std::mem::replace(&mut lender.place, to),
            None => to,
        };
        self.give_up(from);
    }

    pub(super) fn borrows_of(&self, place: ChunkPlace) -> &[Position] {
        let file = self.by_number.get(&place.position.file());
        file.and_then(|file| file.wanted.get(&place.position.offset())).map_or(&[], |wanted| &wanted.borrows)
    }

    /// What was written at the end of a file makes it longer.
    pub(super) fn grown(&mut self, end: Position) {
        self.by_number.entry(end.file()).or_default().length = end.offset().into();
    }
}

impl File {
    pub(super) fn is_unwanted(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn is_sparse(&self) -> bool {
        !self.wanted.is_empty() && self.wanted_bytes * SPARSE_PART <= self.length
    }
}
