//! The seam between a lane and what makes its outcomes outlive the process. Nothing above it names an engine: a lane
//! appends what has happened and answers for it once the position it got is durable. It knows queues and messages by
//! number and their contents as bytes. Start reading at [`Replicator`]; [`Local`] is the log of this node.

mod checkpoint;
mod chunks;
mod in_memory;
mod inspect;
mod journal;
mod lent;
mod local;
mod notes;
mod record;
mod recovery;
mod runs;
mod segments;
mod sharing;
#[cfg(test)]
mod tests;
mod transactions;
mod wanted;

pub use self::checkpoint::{BegunCheckpoint, Records};
pub use self::in_memory::InMemory;
pub use self::inspect::{DumpError, FileReport, check, dump};
pub use self::journal::{Journal, Written};
pub use self::lent::LentMessage;
pub use self::local::{Local, LocalLog, LocalOptions};
pub use crate::store::{OnSynced as OnDurable, is_damage};

pub use self::chunks::{Chunk, ChunkPlace, Chunks};
pub use self::record::{MessageBytes, Place, QueueState, Record};
pub use self::recovery::{Recovered, RecoveredMessage, RecoveredQueue};
pub use self::runs::Runs;
pub use self::segments::{ChunkBuilder, Segments};

/// A place in a lane's log; later ones compare greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position(pub u64);

/// Keeps the records of one lane.
pub trait Replicator: Send {
    /// Whether anything is kept at all: if not, nobody need note what to append.
    fn keeps(&self) -> bool;

    /// Takes a record over. Whoever waits for it is answered when [`Self::durable`] has reached the position.
    fn append(&mut self, record: Record<'_>) -> Position;

    /// Sends what was appended on its way: the lane's turn is over. `urgent`: somebody waits for some of it.
    fn flush(&mut self, urgent: bool);

    /// Everything up to here is as durable as this replicator makes it.
    fn durable(&mut self) -> Position;

    /// A position that is durable once `written`, which somebody else wrote, is.
    fn after(&mut self, written: Written) -> Position;

    /// Where messages may be put that the log is not to keep.
    fn segments(&self) -> Option<&Segments> {
        None
    }

    /// More is on its way than should be: whoever sends more is to wait until what was sent is durable.
    fn is_behind(&self) -> bool;
}
