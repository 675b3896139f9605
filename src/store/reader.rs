//! Reading records back, one by one or a block at a time, each checked against its sum.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use super::block::{BLOCK_HEADER, Position, RECORD_HEADER, Record, Scan, Stretch, record_is_whole};
use super::disk::{Disk, DiskFile};
use super::log::file_name;

/// What is there is not what was written, and never will be again; other errors may be over the next time.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound)
}

/// Files kept open.
const OPEN_MAX: usize = 64;

/// Reads a log that others write. Cheap to share.
#[derive(Debug)]
pub struct Reader<D: Disk> {
    disk: Arc<D>,
    log: &'static str,
    open: Mutex<HashMap<u32, Arc<D::File>>>,
}

impl<D: Disk> Reader<D> {
    /// Reads the log of this name.
    pub fn new(disk: Arc<D>, log: &'static str) -> Self {
        Self { disk, log, open: Mutex::default() }
    }

    fn file(&self, number: u32) -> io::Result<Arc<D::File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(file.clone());
        }
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        let file = Arc::new(self.disk.open(&file_name(self.log, number))?);
        open.insert(number, file.clone());
        Ok(file)
    }

    /// A file has been retired: its name may soon mean another.
    pub fn forget(&self, number: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn read(&self, position: Position, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file(position.file())?.read_at(position.offset().into(), &mut bytes)?;
        Ok(bytes)
    }

    fn damaged(&self, position: Position) -> io::Error {
        let (file, offset) = (file_name(self.log, position.file()), position.offset());
        io::Error::new(ErrorKind::InvalidData, format!("{file} is damaged at byte {offset}"))
    }

    /// The payload of the record at `position`, `length` bytes long.
    ///
    /// # Errors
    /// `InvalidData` if what is there is not such a record; whatever the disk says.
    pub fn record(&self, position: Position, length: u32) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(position, RECORD_HEADER + length as usize)?;
        if !record_is_whole(&bytes, position.file()) {
            return Err(self.damaged(position));
        }
        bytes.drain(..RECORD_HEADER);
        Ok(bytes)
    }

    /// Gives all records of the block at `position`, `length` bytes long with its header, to `found`.
    ///
    /// # Errors
    /// `InvalidData` if some of it cannot be read; what can be was given to `found` all the same. Whatever the disk
    /// says.
    pub fn block(&self, position: Position, length: u32, mut found: impl FnMut(Record<'_>)) -> io::Result<()> {
        let bytes = self.read(position, length as usize)?;
        let mut damaged = false;
        let mut scan = Scan::part(&bytes, position);
        for stretch in scan.by_ref() {
            match stretch {
                Stretch::Record(record) => found(record),
                Stretch::Bad(_) => damaged = true,
            }
        }
        if damaged || scan.at() != position.offset() + length || (length as usize) < BLOCK_HEADER {
            return Err(self.damaged(position));
        }
        Ok(())
    }
}
