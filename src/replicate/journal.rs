//! Definitions on their way to the log: exchanges, queues, bindings and all else that outlives the process, as keys
//! and values. They are written by whoever makes the change, in the order of the changes.

use super::Record;
use crate::store::{self, Writer};

/// `source` of the journal's blocks.
pub(super) const JOURNAL: u32 = u32::MAX - 1;

/// Something that was written, and is durable some time later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Written(pub(super) store::Position);

impl Written {
    /// As a number that compares alike.
    pub fn to_u64(self) -> u64 {
        self.0.0
    }

    /// The way back.
    pub fn from_u64(number: u64) -> Self {
        Self(store::Position(number))
    }
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    writer: Writer,
}

impl Journal {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer }
    }

    fn write(&self, records: &[Record<'_>]) -> Written {
        let mut block = self.writer.block(JOURNAL);
        for record in records {
            block.record(record.kind(), |out| record.encode(out));
        }
        Written(self.writer.submit(block, true))
    }

    /// The definition `key` is `value` from now on.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Written {
        self.write(&[Record::Put { key, value }])
    }

    /// There is no definition `key` any more.
    pub fn delete(&self, key: &[u8]) -> Written {
        self.write(&[Record::Delete { key }])
    }

    /// The queue whose definition this was is gone, with its messages.
    pub fn forget(&self, queue: u64, key: &[u8]) -> Written {
        self.write(&[Record::Delete { key }, Record::Forget { queue }])
    }

    /// It is on disk for good.
    pub fn is_durable(&self, written: Written) -> bool {
        written.0 <= self.writer.synced()
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}
