//! Chunks: messages of one queue in order, at one place of a segment file, and which of them are still wanted.

use std::collections::BTreeMap;

use super::runs::Runs;
use crate::store::Position;

/// Where a chunk lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkPlace {
    pub(super) position: Position,
    pub(super) length: u32,
}

impl ChunkPlace {
    /// The number of its file.
    pub fn file(self) -> u32 {
        self.position.file()
    }
}

/// A chunk: where it lies, and what of it is still wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Where it lies.
    pub place: ChunkPlace,
    /// The messages that are still wanted, by number.
    pub members: Runs,
    /// Lengths of the bodies that were put in, in bytes.
    pub body_bytes: u64,
    /// The priority they all have.
    pub level: u8,
    /// Some of them expire.
    pub expires: bool,
}

/// The chunks of a queue. Those of one priority do not overlap: what one holds lies before or behind the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chunks {
    /// By priority, and the number of the first message that was put in.
    by_first: BTreeMap<(u8, u64), Chunk>,
    /// No message with this number or a higher one was ever in.
    end: u64,
}

impl Chunks {
    /// Adds a chunk; one without messages is nothing.
    pub fn add(&mut self, chunk: Chunk) {
        if let (Some(first), Some(last)) = (chunk.members.first(), chunk.members.last()) {
            self.end = self.end.max(last + 1);
            self.by_first.insert((chunk.level, first), chunk);
        }
    }

    /// No message with this number or a higher one is in.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// There are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_first.is_empty()
    }

    /// What lies at one place lies at another now. `last` is the greatest number of a message there. True: it is one of
    /// these.
    pub fn replace(&mut self, level: u8, last: u64, from: ChunkPlace, to: ChunkPlace) -> bool {
        let chunk = self.by_first.range_mut((level, 0)..=(level, last)).next_back();
        let Some((_, chunk)) = chunk.filter(|(_, chunk)| chunk.place == from) else { return false };
        chunk.place = to;
        true
    }

    /// All, by priority and number.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.by_first.values()
    }

    /// The chunk that a message is in.
    pub fn find(&self, level: u8, seq: u64) -> Option<&Chunk> {
        let (_, chunk) = self.by_first.range((level, 0)..=(level, seq)).next_back()?;
        chunk.members.contains(seq).then_some(chunk)
    }

    /// The chunk at a place, all of whose messages have numbers from `first` to `last`.
    pub fn at(&self, level: u8, place: ChunkPlace, first: u64, last: u64) -> Option<&Chunk> {
        // It may be known by a message before `first`, which is gone.
        let before = self.by_first.range((level, 0)..=(level, last)).rev().map(|(_, chunk)| chunk);
        before.take_while(|chunk| chunk.members.last() >= Some(first)).find(|chunk| chunk.place == place)
    }

    /// Whether some chunk of this priority begins behind the first and not behind the second number.
    pub fn begins_between(&self, level: u8, first: u64, second: u64) -> bool {
        first < second && self.by_first.range((level, first + 1)..=(level, second)).next().is_some()
    }

    /// Takes a message out. Gives the chunk's place if it was the last one in it.
    #[inline]
    pub fn remove(&mut self, level: u8, seq: u64) -> Option<ChunkPlace> {
        if seq >= self.end || self.by_first.is_empty() { None } else { self.remove_known(level, seq) }
    }

    fn remove_known(&mut self, level: u8, seq: u64) -> Option<ChunkPlace> {
        let (key, chunk) = self.by_first.range_mut((level, 0)..=(level, seq)).next_back()?;
        if !chunk.members.remove(seq) || !chunk.members.is_empty() {
            return None;
        }
        let (key, place) = (*key, chunk.place);
        self.by_first.remove(&key);
        Some(place)
    }

    /// Takes messages of all priorities out.
    pub(super) fn remove_run(&mut self, first: u64, last: u64) {
        if first >= self.end {
            return;
        }
        let mut emptied = Vec::new();
        for level in self.levels() {
            let before = self.by_first.range((level, 0)..=(level, first)).next_back().map_or(first, |((_, at), _)| *at);
            for (key, chunk) in self.by_first.range_mut((level, before)..=(level, last)) {
                chunk.members.remove_run(first, last);
                if chunk.members.is_empty() {
                    emptied.push(*key);
                }
            }
        }
        for key in emptied {
            self.by_first.remove(&key);
        }
    }

    /// Whether a message of whatever priority is in.
    pub(super) fn contains(&self, seq: u64) -> bool {
        seq < self.end && self.levels().any(|level| self.find(level, seq).is_some())
    }

    /// From the lowest priority to the highest. Most queues know one.
    fn levels(&self) -> impl Iterator<Item = u8> + use<> {
        let level = |((level, _), _): (&(u8, u64), &Chunk)| *level;
        let ends = self.by_first.first_key_value().map(level).zip(self.by_first.last_key_value().map(level));
        ends.into_iter().flat_map(|(lowest, highest)| lowest..=highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(level: u8, numbers: std::ops::Range<u64>, at: u32) -> Chunk {
        let mut members = Runs::default();
        numbers.for_each(|number| members.push(number));
        let place = ChunkPlace { position: Position::new(1, at), length: 1 };
        Chunk { place, members, body_bytes: 0, level, expires: false }
    }

    #[test]
    fn messages_are_found_in_their_chunks() {
        let mut chunks = Chunks::default();
        for (level, numbers, at) in [(0, 0..10, 1), (0, 20..30, 2), (4, 5..25, 3)] {
            chunks.add(chunk(level, numbers, at));
        }
        assert_eq!(chunks.levels().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let offset = |chunk: Option<&Chunk>| chunk.map(|chunk| chunk.place.position.offset());
        assert_eq!(
            [(0, 9), (0, 10), (0, 20), (4, 20), (1, 9)].map(|(l, n)| offset(chunks.find(l, n))),
            [Some(1), None, Some(2), Some(3), None]
        );
        assert!(chunks.begins_between(0, 9, 20) && !chunks.begins_between(0, 20, 29));
        chunks.remove_run(8, 23);
        assert!(chunks.contains(7) && !chunks.contains(8) && !chunks.contains(23) && chunks.contains(24));
        assert_eq!(chunks.remove(4, 24), None);
        let place = |at| ChunkPlace { position: Position::new(1, at), length: 1 };
        let at = |at, first, last| chunks.at(0, place(at), first, last).map(|chunk| chunk.members.clone());
        assert_eq!(at(1, 0, 7), Some(Runs::from_iter(0..8)));
        assert_eq!(at(2, 24, 29), Some(Runs::from_iter(24..30)), "it was put in with 20 as its first");
        assert_eq!((at(1, 24, 29), at(2, 0, 7), at(3, 24, 29)), (None, None, None));
        assert_eq!((0..8).filter_map(|number| chunks.remove(0, number)).count(), 1);
        chunks.remove_run(0, 100);
        assert!(chunks.is_empty());
    }
}
