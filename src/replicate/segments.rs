//! Where messages lie that the log is not to keep any longer: chunks, each of messages of one queue in order, in
//! segment files of their own. A chunk is written once, read back whole, and given up when none of its messages is
//! left; a file goes when all its chunks are given up and no checkpoint speaks of them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{MessageBytes, Place, Record};
use super::runs::Runs;
use crate::store::{self, Block, Disk, Log, LogOptions, Reader, SyncMode, Writer};

/// What segment files are called.
pub(super) const SEGMENT: &str = "segment";

/// Where a chunk lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkPlace {
    pub(super) position: store::Position,
    pub(super) length: u32,
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
    /// Chunks in each file that somebody wants.
    wanted: Mutex<HashMap<u32, u32>>,
}

/// The segment files of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Segments(Arc<Shared>);

impl Segments {
    /// Begins to write in file `number`, greater than any there is. `old` are the chunks that are there and wanted.
    pub(super) fn open<D: Disk>(
        disk: Arc<D>,
        options: LogOptions,
        number: u32,
        old: impl Iterator<Item = ChunkPlace>,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<(Self, std::thread::JoinHandle<()>)> {
        let options = LogOptions { name: SEGMENT, prewritten: false, ..options };
        let log = Log::begin(disk.clone(), options, number)?;
        let (writer, thread) = Writer::start(log, SyncMode::Never, failed)?;
        let mut wanted = HashMap::new();
        for place in old {
            *wanted.entry(place.position.file()).or_default() += 1;
        }
        let reader = Box::new(On(Reader::new(disk, SEGMENT)));
        Ok((Self(Arc::new(Shared { writer, reader, wanted: Mutex::new(wanted) })), thread))
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a chunk.
    pub fn chunk(&self) -> ChunkBuilder {
        ChunkBuilder { block: self.0.writer.block(0), members: Runs::default(), body_bytes: 0 }
    }

    /// Has a chunk written. It can be read soon, and lasts when the next checkpoint is finished.
    pub fn put(&self, chunk: ChunkBuilder) -> Chunk {
        let length = chunk.block.len();
        // Under the lock, so that the file cannot be seen without it.
        let mut wanted = self.wanted();
        let end = self.0.writer.submit(chunk.block, true);
        let position = store::Position(end.0 - u64::from(length));
        *wanted.entry(position.file()).or_default() += 1;
        let place = ChunkPlace { position, length };
        Chunk { place, members: chunk.members, body_bytes: chunk.body_bytes, level: 0, expires: false }
    }

    /// One more wants this chunk.
    pub fn want_again(&self, place: ChunkPlace) {
        *self.wanted().entry(place.position.file()).or_default() += 1;
    }

    /// Nobody wants this chunk any more.
    pub fn give_up(&self, place: ChunkPlace) {
        if let Some(count) = self.wanted().get_mut(&place.position.file()) {
            *count = count.saturating_sub(1);
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

    /// Files that nobody wants anything of, and nobody ever will.
    pub(super) fn unwanted(&self) -> Vec<u32> {
        let current = self.0.writer.end().file();
        let wanted = self.wanted();
        wanted.iter().filter(|(file, count)| **count == 0 && **file < current).map(|(file, _)| *file).collect()
    }

    /// Removes files that no checkpoint speaks of.
    pub(super) fn remove(&self, files: &[u32]) {
        let mut wanted = self.wanted();
        for file in files {
            wanted.remove(file);
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
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").finish_non_exhaustive()
    }
}
