//! Where messages lie that the log is not to keep any longer: chunks, each of messages of one queue in order, in
//! segment files of their own. A chunk is written once, read back whole, and given up when none of its messages is
//! left; a file goes when all its chunks are given up and no checkpoint speaks of them. Of a file of which little is
//! wanted the rest is written once more, so that it can go.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::bodies::{BODY, BORROWING, BlockPlace, BodyBlock, Borrowing, Lending, Lent, OwnBodies, SharedBody};
use super::checkpoint::Records;
use super::local::Threads;
use super::record::{MessageBytes, Place, Record};
use super::runs::Runs;
use crate::hashing::Hashing;
use crate::store::{
    self, Block, Disk, DiskFile as _, Log, LogOptions, Position, RECORD_HEADER, Reader, SyncMode, Writer, is_damage,
};

/// Files of which no more than this part is wanted are to be written anew.
const SPARSE_PART: u64 = 4;

/// What segment files are called.
pub(super) const SEGMENT: &str = "segment";

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

/// A chunk being put together. Whoever begins one puts it: others may wait for the bodies in it.
#[derive(Debug)]
#[must_use]
pub struct ChunkBuilder {
    block: Block,
    members: Runs,
    body_bytes: u64,
    own: OwnBodies,
    /// Where in the block it is to be said in which block of bodies one lies.
    borrowed: Vec<(usize, Arc<BodyBlock>)>,
    borrowed_bytes: u32,
}

impl ChunkBuilder {
    /// Adds a message; its number is greater than those before. `shared`: others may have put its body somewhere, or
    /// may want it.
    pub fn add(&mut self, place: Place, message: MessageBytes<'_>, shared: Option<&SharedBody>) {
        // A message is shorter than a file, whose offsets are 32 bits.
        let length = message.body.len() as u32;
        match shared.filter(|_| SharedBody::is_worth_it(message.body.len())) {
            Some(shared) => {
                let (block, offset) = shared.or_put(&mut self.own, message.body);
                self.borrow(
                    Borrowing { place, lent: Lent { block: Position::default(), offset, length }, message },
                    block,
                );
            }
            None => {
                let record = Record::Enqueue { places: &[place], message };
                self.block.record(record.kind(), |out| record.encode(out));
            }
        }
        self.members.push(place.seq);
        self.body_bytes += u64::from(length);
    }

    fn borrow(&mut self, borrowing: Borrowing<'_>, block: Arc<BodyBlock>) {
        let at = self.block.record(BORROWING, |out| borrowing.encode(out)) as usize;
        self.borrowed.push((at + RECORD_HEADER + Borrowing::BLOCK_AT, block));
        self.borrowed_bytes = self.borrowed_bytes.saturating_add(borrowing.lent.length);
    }

    /// Length in bytes so far, with bodies wherever they lie.
    pub fn len(&self) -> u32 {
        self.block.len().saturating_add(self.borrowed_bytes)
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// Reads chunks of whatever disk it is.
trait ReadChunk: Send + Sync {
    fn read(&self, place: ChunkPlace, found: &mut dyn FnMut(u8, &[u8])) -> io::Result<()>;
    fn record(&self, at: Position, length: u32) -> io::Result<Vec<u8>>;
    fn forget(&self, file: u32);
}

struct On<D: Disk>(Reader<D>);

impl<D: Disk> ReadChunk for On<D> {
    fn read(&self, place: ChunkPlace, found: &mut dyn FnMut(u8, &[u8])) -> io::Result<()> {
        self.0.block(place.position, place.length, |record| found(record.kind, record.payload))
    }

    fn record(&self, at: Position, length: u32) -> io::Result<Vec<u8>> {
        self.0.record(at, length)
    }

    fn forget(&self, file: u32) {
        self.0.forget(file);
    }
}

struct Shared {
    writer: Writer,
    reader: Box<dyn ReadChunk>,
    files: Mutex<Files>,
}

/// What is where, and wanted.
#[derive(Debug, Default)]
struct Files {
    by_number: HashMap<u32, File, Hashing>,
    /// Blocks of bodies by their ids.
    bodies: HashMap<Position, Bodies, Hashing>,
}

/// A block of bodies.
#[derive(Debug)]
struct Bodies {
    place: ChunkPlace,
    /// So many chunks want it, and [`BodyBlock`]s.
    wanted: u32,
}

/// A segment file.
#[derive(Debug, Default)]
struct File {
    /// In bytes.
    length: u64,
    /// What somebody wants, by offset: chunks and blocks of bodies.
    wanted: HashMap<u32, Wanted, Hashing>,
    /// Sum of their lengths.
    wanted_bytes: u64,
}

#[derive(Debug)]
struct Wanted {
    length: u32,
    /// So many want it.
    count: u32,
    /// The ids of the blocks of bodies that it needs, ascending.
    borrows: Box<[Position]>,
}

impl Files {
    /// One more wants a chunk, which needs these blocks of bodies. Known ones need what they needed.
    fn want(&mut self, place: ChunkPlace, borrows: &[Position]) {
        let file = self.by_number.entry(place.position.file()).or_default();
        if let Some(wanted) = file.wanted.get_mut(&place.position.offset()) {
            wanted.count += 1;
            return;
        }
        let wanted = Wanted { length: place.length, count: 1, borrows: borrows.into() };
        file.wanted.insert(place.position.offset(), wanted);
        file.wanted_bytes += u64::from(place.length);
        for block in borrows {
            self.want_bodies(*block);
        }
    }

    fn give_up(&mut self, place: ChunkPlace) {
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
            self.give_up_bodies(*block);
        }
    }

    /// A block of bodies is at this place, whoever wants it.
    fn put_bodies(&mut self, BlockPlace { block, place }: BlockPlace) {
        if let Entry::Vacant(new) = self.bodies.entry(block) {
            new.insert(Bodies { place, wanted: 0 });
            self.want(place, &[]);
        }
    }

    /// One more wants a block of bodies. False: nobody did any longer, and it is not there.
    fn want_bodies(&mut self, block: Position) -> bool {
        let bodies = self.bodies.get_mut(&block);
        bodies.map(|bodies| bodies.wanted += 1).is_some()
    }

    fn give_up_bodies(&mut self, block: Position) {
        let Some(bodies) = self.bodies.get_mut(&block) else { return };
        bodies.wanted -= 1;
        if bodies.wanted == 0 {
            let place = bodies.place;
            self.bodies.remove(&block);
            self.give_up(place);
        }
    }

    /// A block of bodies was written once more. It may be wanted no longer.
    fn moved_bodies(&mut self, block: Position, to: ChunkPlace) {
        self.want(to, &[]);
        let from = match self.bodies.get_mut(&block) {
            Some(bodies) => std::mem::replace(&mut bodies.place, to),
            None => to,
        };
        self.give_up(from);
    }

    fn borrows_of(&self, place: ChunkPlace) -> &[Position] {
        let file = self.by_number.get(&place.position.file());
        file.and_then(|file| file.wanted.get(&place.position.offset())).map_or(&[], |wanted| &wanted.borrows)
    }

    /// What was written at the end of a file makes it longer.
    fn grown(&mut self, end: Position) {
        self.by_number.entry(end.file()).or_default().length = end.offset().into();
    }
}

impl File {
    fn is_sparse(&self) -> bool {
        !self.wanted.is_empty() && self.wanted_bytes * SPARSE_PART <= self.length
    }
}

/// The segment files of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Segments(Arc<Shared>);

impl Segments {
    /// Begins to write in file `number`, greater than any there is. `old` are the chunks that are there and wanted,
    /// with the blocks of bodies that they need.
    pub(super) fn open<D: Disk>(
        threads: Threads,
        disk: Arc<D>,
        options: LogOptions,
        number: u32,
        old: Vec<(ChunkPlace, Vec<BlockPlace>)>,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<(Self, Option<JoinHandle<()>>)> {
        let options = LogOptions { name: SEGMENT, prewritten: false, ..options };
        let log = Log::begin(disk.clone(), options, number)?;
        let (writer, thread) = threads.start(log, SyncMode::Never, failed)?;
        let mut files = Files::default();
        for (place, blocks) in old {
            blocks.iter().for_each(|block| files.put_bodies(*block));
            let borrows: Vec<Position> = blocks.iter().map(|block| block.block).collect();
            files.want(place, &borrows);
        }
        for (number, file) in &mut files.by_number {
            file.length = disk.open(&store::file_name(SEGMENT, *number))?.length()?;
        }
        let reader = Box::new(On(Reader::new(disk, SEGMENT)));
        Ok((Self(Arc::new(Shared { writer, reader, files: Mutex::new(files) })), thread))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty block.
    pub(super) fn block(&self) -> Block {
        self.0.writer.block(0)
    }

    /// Begins a chunk.
    pub fn chunk(&self) -> ChunkBuilder {
        ChunkBuilder {
            block: self.block(),
            members: Runs::default(),
            body_bytes: 0,
            own: OwnBodies::new(self.clone()),
            borrowed: Vec::new(),
            borrowed_bytes: 0,
        }
    }

    /// Has a chunk written. It can be read soon, and lasts when the next checkpoint is finished.
    pub fn put(&self, mut chunk: ChunkBuilder) -> Chunk {
        if let Some((known, bodies)) = chunk.own.take() {
            let mut files = self.files();
            let place = self.submit(bodies, &mut files);
            files.put_bodies(BlockPlace { block: place.position, place });
            files.want_bodies(place.position);
            drop(files);
            known.is_at(place.position);
        }
        // What others fill they put without waiting for anybody, as here above.
        let mut borrows: Vec<Position> = Vec::with_capacity(chunk.borrowed.len());
        for (at, block) in &chunk.borrowed {
            chunk.block.write_at(*at, &block.id().0.to_le_bytes());
            borrows.push(block.id());
        }
        borrows.sort_unstable();
        borrows.dedup();
        let mut files = self.files();
        let place = self.submit(chunk.block, &mut files);
        files.want(place, &borrows);
        // A block of bodies that goes with this wants the lock.
        drop(files);
        Chunk { place, members: chunk.members, body_bytes: chunk.body_bytes, level: 0, expires: false }
    }

    /// Has a block written. Under the lock, so that its file cannot be seen without it.
    fn submit(&self, block: Block, files: &mut Files) -> ChunkPlace {
        let length = block.len();
        let end = self.0.writer.submit(block, true);
        files.grown(end);
        ChunkPlace { position: Position(end.0 - u64::from(length)), length }
    }

    /// One more wants this chunk, which is wanted already.
    pub fn want_again(&self, place: ChunkPlace) {
        self.files().want(place, &[]);
    }

    /// Nobody wants this chunk any more.
    pub fn give_up(&self, place: ChunkPlace) {
        self.files().give_up(place);
    }

    pub(super) fn give_up_bodies(&self, block: Position) {
        self.files().give_up_bodies(block);
    }

    /// Says in a checkpoint which blocks of bodies these chunks need, and where they are.
    pub(super) fn say_lending(&self, chunks: &[Chunk], records: &mut Records) {
        let files = self.files();
        for place in chunks.iter().map(|chunk| chunk.place) {
            let is_there = |block: &Position| Some(BlockPlace { block: *block, place: files.bodies.get(block)?.place });
            let blocks: Vec<BlockPlace> = files.borrows_of(place).iter().filter_map(is_there).collect();
            if !blocks.is_empty() {
                records.put_lending(&Lending { chunk: place.position, blocks });
            }
        }
    }

    /// Reads a chunk; waits until it is written. What `found` gets with a message is set if its body is shared.
    ///
    /// # Errors
    /// See [`is_damage`]: what can be read was given to `found` all the same.
    pub fn read(
        &self,
        place: ChunkPlace,
        mut found: impl FnMut(Place, MessageBytes<'_>, Option<SharedBody>),
    ) -> io::Result<()> {
        let mut failed = Ok(());
        let mut last = None;
        self.read_records(place, &mut |kind, payload| {
            let mut places = Vec::new();
            if kind != BORROWING {
                if let Some(Record::Enqueue { places: [place], message }) = Record::decode(kind, payload, &mut places) {
                    found(*place, message, None);
                }
                return;
            }
            let Some(Borrowing { place, lent, message }) = Borrowing::decode(payload) else { return };
            match self.body(lent) {
                Ok(body) => {
                    let block = self.again(lent.block, &mut last);
                    let shared = block.map(|block| SharedBody::at(block, lent.offset));
                    found(place, MessageBytes { body: &body, ..message }, shared);
                }
                // An error that may be over the next time counts more.
                Err(error) if failed.as_ref().is_ok() || !is_damage(&error) => failed = Err(error),
                Err(_) => {}
            }
        })?;
        failed
    }

    fn read_records(&self, place: ChunkPlace, found: &mut dyn FnMut(u8, &[u8])) -> io::Result<()> {
        self.0.writer.wait_for(Position(place.position.0 + u64::from(place.length)))?;
        self.0.reader.read(place, found)
    }

    /// A block that a chunk needs, wanted by a message in memory too. `last`: the one that was asked for last. `None`: the
    /// chunk has been given up meanwhile.
    fn again(&self, block: Position, last: &mut Option<Arc<BodyBlock>>) -> Option<Arc<BodyBlock>> {
        if last.as_ref().is_none_or(|last| last.id() != block) {
            let is_there = self.files().want_bodies(block);
            *last = is_there.then(|| Arc::new(BodyBlock::known(self.clone(), block)));
        }
        last.clone()
    }

    fn body(&self, lent: Lent) -> io::Result<Vec<u8>> {
        let mut place = self.place_of(lent.block)?;
        loop {
            self.0.writer.wait_for(Position(place.position.0 + u64::from(place.length)))?;
            let body = self.0.reader.record(Position(place.position.0 + u64::from(lent.offset)), lent.length);
            // It may have moved meanwhile, and the file be gone.
            match (body, self.place_of(lent.block)?) {
                (Err(_), now) if now != place => place = now,
                (body, _) => return body,
            }
        }
    }

    fn place_of(&self, block: Position) -> io::Result<ChunkPlace> {
        let place = self.files().bodies.get(&block).map(|bodies| bodies.place);
        place.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a block of bodies is not there"))
    }

    /// More chunks wait to be written than should.
    pub fn is_behind(&self) -> bool {
        self.0.writer.is_behind()
    }

    /// Writes those messages of a chunk once more that are among `members`; they keep their numbers, and their bodies
    /// where they are.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub fn copy(&self, place: ChunkPlace, members: &Runs) -> io::Result<ChunkPlace> {
        let (mut chunk, mut last) = (self.chunk(), None);
        let result = self.read_records(place, &mut |kind, payload| {
            let mut places = Vec::new();
            match Borrowing::decode(payload).filter(|_| kind == BORROWING) {
                Some(borrowing) if members.contains(borrowing.place.seq) => {
                    if let Some(block) = self.again(borrowing.lent.block, &mut last) {
                        chunk.borrow(borrowing, block);
                    }
                }
                Some(_) => {}
                None => {
                    if let Some(Record::Enqueue { places: [place], message }) =
                        Record::decode(kind, payload, &mut places)
                        && members.contains(place.seq)
                    {
                        chunk.add(*place, message, None);
                    }
                }
            }
        });
        result.map(|()| self.put(chunk).place)
    }

    /// Writes the blocks of bodies in these files once more, so that the files can go: chunks find them by their ids.
    /// What cannot be read stays, and is told of when it is wanted.
    pub fn move_bodies(&self, files: &[u32]) {
        let mut moving: Vec<(ChunkPlace, Position)> = {
            let known = self.files();
            let is_there = |bodies: &Bodies| files.contains(&bodies.place.file());
            known.bodies.iter().filter(|(_, bodies)| is_there(bodies)).map(|(id, bodies)| (bodies.place, *id)).collect()
        };
        moving.sort_unstable();
        for (from, id) in moving {
            let mut block = self.block();
            let add = &mut |_, body: &[u8]| {
                block.record(BODY, |out| out.extend_from_slice(body));
            };
            if self.read_records(from, add).is_ok() {
                let mut files = self.files();
                let to = self.submit(block, &mut files);
                files.moved_bodies(id, to);
            }
        }
    }

    /// Files of which so little is wanted that it should be written once more.
    pub fn sparse(&self) -> Vec<u32> {
        let current = self.0.writer.end().file();
        let files = self.files();
        let sparse = files.by_number.iter().filter(|(number, file)| **number < current && file.is_sparse());
        sparse.map(|(number, _)| *number).collect()
    }

    /// Something can be removed, or written anew to be removed.
    pub(super) fn can_shrink(&self) -> bool {
        !self.unwanted().is_empty() || !self.sparse().is_empty()
    }

    /// Files that nobody wants anything of, and nobody ever will.
    pub(super) fn unwanted(&self) -> Vec<u32> {
        let current = self.0.writer.end().file();
        let files = self.files();
        let unwanted = files.by_number.iter().filter(|(number, file)| **number < current && file.wanted.is_empty());
        unwanted.map(|(number, _)| *number).collect()
    }

    /// Removes files that no checkpoint speaks of.
    pub(super) fn remove(&self, files: &[u32]) {
        let mut known = self.files();
        for file in files {
            known.by_number.remove(file);
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
        assert_eq!((0..8).filter_map(|number| chunks.remove(0, number)).count(), 1);
        chunks.remove_run(0, 100);
        assert!(chunks.is_empty());
    }
}
