//! Where messages lie that the log is not to keep any longer: chunks, each of messages of one queue in order, in
//! segment files of their own. A chunk is written once, read back whole, and given up when none of its messages is
//! left; a file goes when all its chunks are given up and no checkpoint speaks of them. Of a file of which little is
//! wanted the rest is written once more, so that it can go. Messages that several queues have lie apart (`lent.rs`).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::checkpoint::Records;
use super::chunks::{Chunk, ChunkPlace};
use super::lent::{BORROWING, BlockPlace, Borrowing, LENT, Lending, Lent, LentBlock, LentMessage, OwnBlock};
use super::local::Threads;
use super::record::{MessageBytes, Place, Record};
use super::runs::Runs;
use super::wanted::{Files, Lender};
use crate::store::{
    self, Block, Disk, DiskFile as _, Log, LogOptions, Position, RECORD_HEADER, Reader, SyncMode, Writer, is_damage,
};

/// What segment files are called.
pub(super) const SEGMENT: &str = "segment";

/// A chunk being put together. Whoever begins one puts it: others may wait for the messages in it.
#[derive(Debug)]
#[must_use]
pub struct ChunkBuilder {
    block: Block,
    members: Runs,
    body_bytes: u64,
    own: OwnBlock,
    /// Where in the block it is to be said in which block of lent messages one lies.
    borrowed: Vec<(usize, Arc<LentBlock>)>,
    borrowed_bytes: u32,
}

impl ChunkBuilder {
    /// Adds a message; its number is greater than those before. `lent`: others may have put it somewhere, or may
    /// want it.
    pub fn add(&mut self, place: Place, message: MessageBytes<'_>, lent: Option<&LentMessage>) {
        match lent.filter(|_| LentMessage::is_worth_it(message.len())) {
            Some(lent) => {
                let (block, offset) = lent.or_put(&mut self.own, message);
                // A message is shorter than a file, whose offsets are 32 bits.
                let lent = Lent { block: Position::default(), offset, length: message.len() as u32 };
                self.borrow(Borrowing { place, lent }, block);
            }
            None => {
                let record = Record::Enqueue { places: &[place], message };
                self.block.record(record.kind(), |out| record.encode(out));
            }
        }
        self.members.push(place.seq);
        self.body_bytes += message.body.len() as u64;
    }

    fn borrow(&mut self, borrowing: Borrowing, block: Arc<LentBlock>) {
        let at = self.block.record(BORROWING, |out| borrowing.encode(out)) as usize;
        self.borrowed.push((at + RECORD_HEADER + Borrowing::BLOCK_AT, block));
        self.borrowed_bytes = self.borrowed_bytes.saturating_add(borrowing.lent.length);
    }

    /// Length in bytes so far, with messages wherever they lie.
    pub fn len(&self) -> u32 {
        self.block.len().saturating_add(self.borrowed_bytes)
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// A message as a chunk has it.
enum InChunk<'a> {
    Whole(MessageBytes<'a>),
    /// It lies elsewhere.
    Lent(Lent),
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

/// The segment files of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Segments(Arc<Shared>);

impl Segments {
    /// Begins to write in file `number`, greater than any there is. `old` are the chunks that are there and wanted,
    /// with the blocks of lent messages that they need.
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
            blocks.iter().for_each(|block| files.put_block(*block));
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
            own: OwnBlock::new(self.clone()),
            borrowed: Vec::new(),
            borrowed_bytes: 0,
        }
    }

    /// Has a chunk written. It can be read soon, and lasts when the next checkpoint is finished.
    pub fn put(&self, mut chunk: ChunkBuilder) -> Chunk {
        if let Some((known, block)) = chunk.own.take() {
            let mut files = self.files();
            let place = self.submit(block, &mut files);
            files.put_block(BlockPlace { block: place.position, place });
            files.want_block(place.position);
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
        // A block of lent messages that goes with this wants the lock.
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

    pub(super) fn give_up_block(&self, block: Position) {
        self.files().give_up_block(block);
    }

    /// Says in a checkpoint which blocks of lent messages these chunks need, and where they are.
    pub(super) fn say_lending(&self, chunks: &[Chunk], records: &mut Records) {
        let files = self.files();
        for place in chunks.iter().map(|chunk| chunk.place) {
            let is_there =
                |block: &Position| Some(BlockPlace { block: *block, place: files.lenders.get(block)?.place });
            let blocks: Vec<BlockPlace> = files.borrows_of(place).iter().filter_map(is_there).collect();
            if !blocks.is_empty() {
                records.put_lending(&Lending { chunk: place.position, blocks });
            }
        }
    }

    /// Reads a chunk; waits until it is written. What `found` gets with a message is set if others have it too.
    ///
    /// # Errors
    /// See [`is_damage`]: what can be read was given to `found` all the same.
    pub fn read(
        &self,
        place: ChunkPlace,
        mut found: impl FnMut(Place, MessageBytes<'_>, Option<LentMessage>),
    ) -> io::Result<()> {
        let mut failed = Ok(());
        let mut last = None;
        self.read_chunk(place, &mut |place, message| match message {
            InChunk::Whole(message) => found(place, message, None),
            InChunk::Lent(lent) => match self.lent(lent) {
                Ok(record) => {
                    let Some(message) = MessageBytes::decode(&record) else { return };
                    let block = self.again(lent.block, &mut last);
                    found(place, message, block.map(|block| LentMessage::at(block, lent.offset)));
                }
                // An error that may be over the next time counts more.
                Err(error) if failed.as_ref().is_ok() || !is_damage(&error) => failed = Err(error),
                Err(_) => {}
            },
        })?;
        failed
    }

    fn read_chunk(&self, place: ChunkPlace, found: &mut dyn FnMut(Place, InChunk<'_>)) -> io::Result<()> {
        self.read_records(place, &mut |kind, payload| {
            let mut places = Vec::new();
            if kind == BORROWING {
                if let Some(Borrowing { place, lent }) = Borrowing::decode(payload) {
                    found(place, InChunk::Lent(lent));
                }
            } else if let Some(Record::Enqueue { places: [place], message }) =
                Record::decode(kind, payload, &mut places)
            {
                found(*place, InChunk::Whole(message));
            }
        })
    }

    fn read_records(&self, place: ChunkPlace, found: &mut dyn FnMut(u8, &[u8])) -> io::Result<()> {
        self.0.writer.wait_for(Position(place.position.0 + u64::from(place.length)))?;
        self.0.reader.read(place, found)
    }

    /// A block that a chunk needs, wanted by a message in memory too. `last`: the one that was asked for last. `None`: the
    /// chunk has been given up meanwhile.
    fn again(&self, block: Position, last: &mut Option<Arc<LentBlock>>) -> Option<Arc<LentBlock>> {
        if last.as_ref().is_none_or(|last| last.id() != block) {
            let is_there = self.files().want_block(block);
            *last = is_there.then(|| Arc::new(LentBlock::known(self.clone(), block)));
        }
        last.clone()
    }

    fn lent(&self, lent: Lent) -> io::Result<Vec<u8>> {
        let mut place = self.place_of(lent.block)?;
        loop {
            self.0.writer.wait_for(Position(place.position.0 + u64::from(place.length)))?;
            let record = self.0.reader.record(Position(place.position.0 + u64::from(lent.offset)), lent.length);
            // It may have moved meanwhile, and the file be gone.
            match (record, self.place_of(lent.block)?) {
                (Err(_), now) if now != place => place = now,
                (record, _) => return record,
            }
        }
    }

    fn place_of(&self, block: Position) -> io::Result<ChunkPlace> {
        let place = self.files().lenders.get(&block).map(|lender| lender.place);
        place.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a block of lent messages is not there"))
    }

    /// More chunks wait to be written than should.
    pub fn is_behind(&self) -> bool {
        self.0.writer.is_behind()
    }

    /// Writes those messages of a chunk once more that are among `members`; they keep their numbers, and what is lent
    /// stays where it is.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub fn copy(&self, place: ChunkPlace, members: &Runs) -> io::Result<ChunkPlace> {
        let (mut chunk, mut last) = (self.chunk(), None);
        let result = self.read_chunk(place, &mut |place, message| match message {
            _ if !members.contains(place.seq) => {}
            InChunk::Whole(message) => chunk.add(place, message, None),
            InChunk::Lent(lent) => {
                if let Some(block) = self.again(lent.block, &mut last) {
                    chunk.borrow(Borrowing { place, lent }, block);
                }
            }
        });
        result.map(|()| self.put(chunk).place)
    }

    /// Writes the blocks of lent messages in these files once more, so that the files can go: chunks find them by their ids.
    /// What cannot be read stays, and is told of when it is wanted.
    pub fn move_lent(&self, files: &[u32]) {
        let mut moving: Vec<(ChunkPlace, Position)> = {
            let known = self.files();
            let is_there = |lender: &Lender| files.contains(&lender.place.file());
            known
                .lenders
                .iter()
                .filter(|(_, lender)| is_there(lender))
                .map(|(id, lender)| (lender.place, *id))
                .collect()
        };
        moving.sort_unstable();
        for (from, id) in moving {
            let mut block = self.block();
            let add = &mut |_, message: &[u8]| {
                block.record(LENT, |out| out.extend_from_slice(message));
            };
            if self.read_records(from, add).is_ok() {
                let mut files = self.files();
                let to = self.submit(block, &mut files);
                files.moved_block(id, to);
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
        let unwanted = files.by_number.iter().filter(|(number, file)| **number < current && file.is_unwanted());
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
