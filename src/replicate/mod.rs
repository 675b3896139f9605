//! The seam between a lane and what makes its outcomes outlive the process. Nothing above it names an engine: a lane
//! appends what has happened and answers for it once the position it got is durable. It knows queues by number and
//! messages as bytes. Start reading at [`Replicator`].

mod local;

pub use self::local::Local;

/// A place in a lane's log; later ones compare greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position(pub u64);

/// Something that has happened and is to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A persistent message is in a durable queue.
    Enqueue {
        /// The queue's number.
        queue: u64,
        /// `exchange shortstr | routing-key shortstr`.
        address: &'a [u8],
        /// Raw property flags and values.
        properties: &'a [u8],
        /// The body.
        body: &'a [u8],
    },
}

/// Keeps the records of one lane.
pub trait Replicator: Send {
    /// Takes a record over. Whoever waits for it is answered when [`Self::durable`] has reached the position.
    fn append(&mut self, record: Record<'_>) -> Position;

    /// Everything up to here is as durable as this replicator makes it.
    fn durable(&self) -> Position;
}
