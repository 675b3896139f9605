//! Where messages lie that the log is not to keep any longer: chunks, each of messages of one queue in order, in
//! segment files of their own. A chunk is written once, read back whole, and given up when none of its messages is
//! left; a file goes when all its chunks are given up and no checkpoint speaks of them. Of a file of which little is
//! wanted the rest is written once more, so that it can go.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::local::Threads;
use super::record::{MessageBytes, Place, Record};
use super::runs::Runs;
use crate::hashing::Hashing;
use crate::store::{self, Block, Disk, DiskFile as _, Log, LogOptions, Reader, SyncMode, Writer};

/// Files of which no more than this part is wanted are to be written anew.
const SPARSE_PART: u64 = 4;

/// What segment files are called.
pub(super) const SEGMENT: &str = "segment";

/// Where a chunk lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkPlace {
    pub(super) position: store::Position,
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

    /// The chunks of a priority that begin with one of these numbers.
    pub fn range(&self, level: u8, first: u64, last: u64) -> impl Iterator<Item = &Chunk> {
        self.by_first.range((level, first)..=(level, last.max(first))).map(|(_, chunk)| chunk)
    }

    /// Whether some chunk of this priority begins behind the first and not behind the second number.
    pub fn begins_between(&self, level: u8, first: u64, second: u64) -> bool {
        first < second && self.range(level, first + 1, second).next().is_some()
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

/// A chunk being put together.
#[derive(Debug)]
pub struct ChunkBuilder {
    block: Block,
    members: Runs,
    body_bytes: u64,
}

impl ChunkBuilder {
    /// Adds a message; its number is greater than those before.
    pub fn add(&mut self, place: Place, message: MessageBytes<'_>) {
        let record = Record::Enqueue { places: &[place], message };
        self.block.record(record.kind(), |out| record.encode(out));
        self.members.push(place.seq);
        self.body_bytes += message.body.len() as u64;
    }

    /// Length in bytes so far.
    pub fn len(&self) -> u32 {
        self.block.len()
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// Reads chunks of whatever disk it is.
trait ReadChunk: Send + Sync {
    fn read(&self, place: ChunkPlace, found: &mut dyn FnMut(u8, &[u8])) -> io::Result<()>;
    fn forget(&self, file: u32);
}

struct On<D: Disk>(Reader<D>);

impl<D: Disk> ReadChunk for On<D> {
    fn read(&self, place: ChunkPlace, found: &mut dyn FnMut(u8, &[u8])) -> io::Result<()> {
        self.0.block(place.position, place.length, |record| found(record.kind, record.payload))
    }

    fn forget(&self, file: u32) {
        self.0.forget(file);
    }
}

struct Shared {
    writer: Writer,
    reader: Box<dyn ReadChunk>,
    files: Mutex<HashMap<u32, File, Hashing>>,
}

/// A segment file.
#[derive(Debug, Default)]
struct File {
    /// In bytes.
    length: u64,
    /// Chunks that somebody wants, by offset: length, and how many want it.
    wanted: HashMap<u32, (u32, u32), Hashing>,
    /// Sum of their lengths.
    wanted_bytes: u64,
}

impl File {
    fn want(&mut self, place: ChunkPlace) {
        let (_, count) = self.wanted.entry(place.position.offset()).or_insert((place.length, 0));
        *count += 1;
        if *count == 1 {
            self.wanted_bytes += u64::from(place.length);
        }
    }

    fn give_up(&mut self, place: ChunkPlace) {
        let offset = place.position.offset();
        let Some((length, count)) = self.wanted.get_mut(&offset) else { return };
        *count -= 1;
        if *count == 0 {
            self.wanted_bytes -= u64::from(*length);
            self.wanted.remove(&offset);
        }
    }

    fn is_sparse(&self) -> bool {
        !self.wanted.is_empty() && self.wanted_bytes * SPARSE_PART <= self.length
    }
}

/// The segment files of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Segments(Arc<Shared>);

impl Segments {
    /// Begins to write in file `number`, greater than any there is. `old` are the chunks that are there and wanted.
    pub(super) fn open<D: Disk>(
        threads: Threads,
        disk: Arc<D>,
        options: LogOptions,
        number: u32,
        old: impl Iterator<Item = ChunkPlace>,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<(Self, Option<JoinHandle<()>>)> {
        let options = LogOptions { name: SEGMENT, prewritten: false, ..options };
        let log = Log::begin(disk.clone(), options, number)?;
        let (writer, thread) = threads.start(log, SyncMode::Never, failed)?;
        let mut files: HashMap<u32, File, Hashing> = HashMap::default();
        for place in old {
            files.entry(place.position.file()).or_default().want(place);
        }
        for (number, file) in &mut files {
            file.length = disk.open(&store::file_name(SEGMENT, *number))?.length()?;
        }
        let reader = Box::new(On(Reader::new(disk, SEGMENT)));
        Ok((Self(Arc::new(Shared { writer, reader, files: Mutex::new(files) })), thread))
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u32, File, Hashing>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a chunk.
    pub fn chunk(&self) -> ChunkBuilder {
        ChunkBuilder { block: self.0.writer.block(0), members: Runs::default(), body_bytes: 0 }
    }

    /// Has a chunk written. It can be read soon, and lasts when the next checkpoint is finished.
    pub fn put(&self, chunk: ChunkBuilder) -> Chunk {
        let length = chunk.block.len();
        // Under the lock, so that the file cannot be seen without it.
        let mut files = self.files();
        let end = self.0.writer.submit(chunk.block, true);
        let position = store::Position(end.0 - u64::from(length));
        let place = ChunkPlace { position, length };
        let file = files.entry(position.file()).or_default();
        file.length = end.offset().into();
        file.want(place);
        drop(files);
        Chunk { place, members: chunk.members, body_bytes: chunk.body_bytes, level: 0, expires: false }
    }

    /// One more wants this chunk.
    pub fn want_again(&self, place: ChunkPlace) {
        self.files().entry(place.position.file()).or_default().want(place);
    }

    /// Nobody wants this chunk any more.
    pub fn give_up(&self, place: ChunkPlace) {
        if let Some(file) = self.files().get_mut(&place.position.file()) {
            file.give_up(place);
        }
    }

    /// Reads a chunk; waits until it is written.
    ///
    /// # Errors
    /// `InvalidData` if some of it cannot be read; what can be was given to `found` all the same.
    pub fn read(&self, place: ChunkPlace, mut found: impl FnMut(Place, MessageBytes<'_>)) -> io::Result<()> {
        self.0.writer.wait_for(store::Position(place.position.0 + u64::from(place.length)))?;
        self.0.reader.read(place, &mut |kind, payload| {
            let mut places = Vec::new();
            if let Some(Record::Enqueue { places: [place], message }) = Record::decode(kind, payload, &mut places) {
                found(*place, message);
            }
        })
    }

    /// More chunks wait to be written than should.
    pub fn is_behind(&self) -> bool {
        self.0.writer.is_behind()
    }

    /// Writes those messages of a chunk once more that are among `members`; they keep their numbers.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub fn copy(&self, place: ChunkPlace, members: &Runs) -> io::Result<ChunkPlace> {
        let mut chunk = self.chunk();
        self.read(place, |place, message| {
            if members.contains(place.seq) {
                chunk.add(place, message);
            }
        })?;
        Ok(self.put(chunk).place)
    }

    /// Files of which so little is wanted that it should be written once more.
    pub fn sparse(&self) -> Vec<u32> {
        let current = self.0.writer.end().file();
        let files = self.files();
        files
            .iter()
            .filter(|(number, file)| **number < current && file.is_sparse())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Something can be removed, or written anew to be removed.
    pub(super) fn can_shrink(&self) -> bool {
        !self.unwanted().is_empty() || !self.sparse().is_empty()
    }

    /// Files that nobody wants anything of, and nobody ever will.
    pub(super) fn unwanted(&self) -> Vec<u32> {
        let current = self.0.writer.end().file();
        let files = self.files();
        let unwanted = files.iter().filter(|(number, file)| **number < current && file.wanted.is_empty());
        unwanted.map(|(number, _)| *number).collect()
    }

    /// Removes files that no checkpoint speaks of.
    pub(super) fn remove(&self, files: &[u32]) {
        let mut known = self.files();
        for file in files {
            known.remove(file);
            self.0.reader.forget(*file);
        }
        self.0.writer.retire(files.to_vec());
    }

    /// Everything handed over so far is on disk for good when this returns.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.writer.sync_all()
    }

    pub(super) fn close(&self) {
        self.0.writer.close();
    }

    /// Writes what was handed over, where there is no thread to do so.
    #[cfg(test)]
    pub(crate) fn step(&self) {
        self.0.writer.step();
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(level: u8, numbers: std::ops::Range<u64>, at: u32) -> Chunk {
        let mut members = Runs::default();
        numbers.for_each(|number| members.push(number));
        let place = ChunkPlace { position: store::Position::new(1, at), length: 1 };
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
        assert_eq!((0..8).filter_map(|number| chunks.remove(0, number)).count(), 1);
        chunks.remove_run(0, 100);
        assert!(chunks.is_empty());
    }
}
