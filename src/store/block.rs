//! Blocks and records as bytes: putting them together, and finding them again in a file that may be torn or damaged.
//! The layout is drawn in `FORMAT.md`.

use std::ops::Range;

/// A place in the log: the file's number in the high half, the offset in the file in the low half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

impl Position {
    /// The place `offset` bytes into file `file`.
    pub fn new(file: u32, offset: u32) -> Self {
        Self(u64::from(file) << 32 | u64::from(offset))
    }

    /// The file's number.
    pub fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes from the start of the file.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

const BLOCK_MAGIC: [u8; 4] = *b"LPB1";
/// Bytes before a block's records.
pub const BLOCK_HEADER: usize = 32;
/// Bytes before a record's payload.
pub const RECORD_HEADER: usize = 9;

/// Records of one writer on their way to the log.
#[derive(Clone, Debug)]
pub struct Block {
    /// With room for the header, and with zeros for each crc, until it is sealed.
    bytes: Vec<u8>,
    source: u32,
}

impl Block {
    /// A block without records. `source` comes back with each of them.
    pub fn new(source: u32) -> Self {
        Self { bytes: vec![0; BLOCK_HEADER], source }
    }

    /// An empty block with the memory of this one.
    pub(super) fn reused(mut self, source: u32) -> Self {
        self.bytes.truncate(BLOCK_HEADER);
        self.source = source;
        self
    }

    /// Who wrote it.
    pub fn source(&self) -> u32 {
        self.source
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds a record, whose payload `write` appends, and tells where in the block it begins.
    pub fn record(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER]);
        write(&mut self.bytes);
        // A block is shorter than a file, whose offsets are 32 bits.
        let length = (self.bytes.len() - start - RECORD_HEADER) as u32;
        self.bytes[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 8] = kind;
        start as u32
    }

    /// Writes over what a record says at this place.
    ///
    /// # Panics
    /// The block ends before.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Its length in the log.
    pub fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == BLOCK_HEADER
    }

    /// Fills in what is known only when the block is written.
    pub(super) fn seal(&mut self, position: Position, synced: Position) {
        let file = position.file();
        let mut at = BLOCK_HEADER;
        while at < self.bytes.len() {
            let end = at + RECORD_HEADER + le_u32(&self.bytes[at + 4..]) as usize;
            let crc = crc(file, &self.bytes[at + 4..end]);
            self.bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            at = end;
        }
        let length = (self.bytes.len() - BLOCK_HEADER) as u32;
        let header = &mut self.bytes[..BLOCK_HEADER];
        header[..4].copy_from_slice(&BLOCK_MAGIC);
        header[8..12].copy_from_slice(&length.to_le_bytes());
        header[12..16].copy_from_slice(&self.source.to_le_bytes());
        header[16..24].copy_from_slice(&position.0.to_le_bytes());
        header[24..32].copy_from_slice(&synced.0.to_le_bytes());
        let crc = crc(file, &header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// As it is written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether these bytes, read from this file, are one record.
pub(super) fn record_is_whole(bytes: &[u8], file: u32) -> bool {
    bytes.len() >= RECORD_HEADER
        && le_u32(&bytes[4..]) as usize == bytes.len() - RECORD_HEADER
        && le_u32(bytes) == crc(file, &bytes[4..])
}

/// The number of the file is part of every sum and written nowhere: what the file's former life left is unreadable.
fn crc(file: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&u64::from(file).to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn le_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A record found in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Where it begins.
    pub position: Position,
    /// Who wrote it.
    pub source: u32,
    /// What it is.
    pub kind: u8,
    /// What it says.
    pub payload: &'a [u8],
}

/// What a stretch of a file is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stretch<'a> {
    Record(Record<'a>),
    /// Cannot be read.
    Bad(Range<u32>),
}

/// The records of one file, and the stretches between them that cannot be read. A block that cannot be read at the
/// end is no stretch but the end; what it means, the caller knows.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    file: u32,
    /// Where in the file `bytes` begin.
    base: u32,
    at: usize,
    /// The block that `at` is in: source, end.
    block: Option<(u32, usize)>,
    /// Where the block begins that the last stretch is of.
    pub(super) block_start: u32,
    /// The greatest `synced` of a block seen so far.
    pub(super) synced: Position,
}

impl<'a> Scan<'a> {
    /// Reads `bytes`, all of file `file` up to where the log is known to end in it, from `at`.
    pub(super) fn new(bytes: &'a [u8], file: u32, at: usize) -> Self {
        Self { bytes, file, base: 0, at, block: None, block_start: at as u32, synced: Position::default() }
    }

    /// Reads `bytes`, whole blocks that begin at `position`.
    pub(super) fn part(bytes: &'a [u8], position: Position) -> Self {
        Self { base: position.offset(), ..Self::new(bytes, position.file(), 0) }
    }

    /// Where in the file the first byte is that was not looked at; after the last stretch: where the log ends in it.
    pub(super) fn at(&self) -> u32 {
        self.place(self.at)
    }

    /// The offset in the file of an index of `bytes`.
    fn place(&self, at: usize) -> u32 {
        self.base + at as u32
    }

    /// A block header at this place: source, end of block, synced.
    fn header(&self, at: usize) -> Option<(u32, usize, Position)> {
        let header = self.bytes.get(at..at + BLOCK_HEADER)?;
        if header[..4] != BLOCK_MAGIC || le_u32(&header[4..]) != crc(self.file, &header[8..]) {
            return None;
        }
        let end = at + BLOCK_HEADER + le_u32(&header[8..]) as usize;
        let right_place = le_u64(&header[16..]) == Position::new(self.file, self.place(at)).0;
        (right_place && end <= self.bytes.len()).then(|| (le_u32(&header[12..]), end, Position(le_u64(&header[24..]))))
    }

    fn enter(&mut self, at: usize) -> bool {
        let Some((source, end, synced)) = self.header(at) else {
            return false;
        };
        self.synced = self.synced.max(synced);
        self.block = Some((source, end));
        self.block_start = self.place(at);
        self.at = at + BLOCK_HEADER;
        true
    }

    /// The next readable block from `from` on.
    fn find_header(&self, from: usize) -> Option<usize> {
        let rest = self.bytes.get(from..)?;
        let mut candidates = memchr::memmem::find_iter(rest, &BLOCK_MAGIC).map(|at| from + at);
        candidates.find(|at| self.header(*at).is_some())
    }

    /// The end of the record at this place in a block that ends at `block_end`, if it is whole.
    fn record_end(&self, at: usize, block_end: usize) -> Option<usize> {
        let end = self.claimed_end(at, block_end)?;
        (le_u32(&self.bytes[at..]) == crc(self.file, &self.bytes[at + 4..end])).then_some(end)
    }

    fn claimed_end(&self, at: usize, block_end: usize) -> Option<usize> {
        let length = self.bytes.get(at + 4..at + RECORD_HEADER).map(le_u32)?;
        let end = at.checked_add(RECORD_HEADER)?.checked_add(length as usize)?;
        (end <= block_end).then_some(end)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Stretch<'a>;

    fn next(&mut self) -> Option<Stretch<'a>> {
        loop {
            let Some((source, block_end)) = self.block else {
                if self.enter(self.at) {
                    continue;
                }
                // Unreadable: the end of the log, unless a block comes behind it.
                let next = self.find_header(self.at + 1)?;
                let bad = self.place(self.at)..self.place(next);
                self.block_start = bad.start;
                self.at = next;
                return Some(Stretch::Bad(bad));
            };
            let at = self.at;
            if at >= block_end {
                self.block = None;
                continue;
            }
            if let Some(end) = self.record_end(at, block_end) {
                self.at = end;
                return Some(Stretch::Record(Record {
                    position: Position::new(self.file, self.place(at)),
                    source,
                    kind: self.bytes[at + 8],
                    payload: &self.bytes[at + RECORD_HEADER..end],
                }));
            }
            // Its length may be right all the same.
            let claimed = self.claimed_end(at, block_end);
            self.at = claimed
                .filter(|end| *end == block_end || self.record_end(*end, block_end).is_some())
                .unwrap_or(block_end);
            return Some(Stretch::Bad(self.place(at)..self.place(self.at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two blocks of three records each, and where each record begins.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (vec![0; 64], Vec::new());
        for source in 0..2 {
            let mut block = Block::new(source);
            for n in 0..3_u8 {
                let at = block.record(n, |out| out.extend_from_slice(&[n; 10]));
                starts.push(bytes.len() + at as usize);
            }
            block.seal(Position::new(3, bytes.len() as u32), Position::new(3, 64));
            bytes.extend_from_slice(block.bytes());
        }
        (bytes, starts)
    }

    fn stretches(bytes: &[u8], file: u32) -> (Vec<Option<(u32, u8)>>, usize) {
        let mut scan = Scan::new(bytes, file, 64);
        let found = scan
            .by_ref()
            .map(|stretch| match stretch {
                Stretch::Record(record) => Some((record.source, record.kind)),
                Stretch::Bad(_) => None,
            })
            .collect();
        (found, scan.at() as usize)
    }

    #[test]
    fn what_was_written_is_found() {
        let (mut bytes, starts) = file();
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        let all = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)].map(Some);
        assert_eq!(stretches(&bytes, 3), (all.to_vec(), end));
        let record = Scan::new(&bytes, 3, 64).next();
        let position = Position::new(3, starts[0] as u32);
        assert_eq!(record, Some(Stretch::Record(Record { position, source: 0, kind: 0, payload: &[0; 10] })));
    }

    #[test]
    fn what_another_life_of_the_file_left_is_not_found() {
        let (bytes, _) = file();
        assert_eq!(stretches(&bytes, 4), (vec![], 64));
    }

    #[test]
    fn one_flipped_bit_costs_one_record_or_one_block() {
        let (bytes, starts) = file();
        for at in 64..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let (found, _) = stretches(&damaged, 3);
            let record = starts.iter().rposition(|start| *start <= at).unwrap_or(0);
            let in_length = starts.iter().any(|start| (start + 4..start + 8).contains(&at));
            let in_header = (64..starts[0]).contains(&at) || (starts[2] + 19..starts[3]).contains(&at);
            let good = found.iter().flatten().count();
            match (in_header, in_length) {
                (false, false) => assert_eq!((good, found.len(), found[record]), (5, 6, None), "at {at}"),
                // The last record of a block may be cut short, or the rest of the block is lost.
                (false, true) => assert!(good >= 3 && found[record].is_none(), "at {at}: {found:?}"),
                // A lost block behind which nothing comes is the end.
                (true, _) => assert_eq!(good, 3, "at {at}: {found:?}"),
            }
        }
    }
}
