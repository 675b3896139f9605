//! What lanes and the broker tell a connection, and the small keys both sides use to name things.

use std::sync::Arc;

use super::message::Message;
use super::refusal::Refusal;
use super::reports::Inquiry;

/// Names a channel of one connection. `epoch` differs each time a number is opened anew, so that what was meant for
/// a closed channel is recognised and dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelKey {
    /// The channel number on the wire.
    pub number: u16,
    /// How often channels were opened on this connection before.
    pub epoch: u32,
}

/// Where an asynchronous answer goes: a channel, and a ticket the session chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The channel that waits.
    pub channel: ChannelKey,
    /// Comes back in [`Event::Done`].
    pub ticket: u64,
}

/// A queue incarnation, unique in the life of a broker: a queue deleted and declared again has another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct QueueId(pub u64);

/// A queue and the lane that owns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QueueKey {
    /// Index of the owning lane.
    pub lane: u16,
    /// Which queue of that lane.
    pub id: QueueId,
}

/// A consumer, or the gets of one channel, as the queue knows it: who holds unacked messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OwnerKey(pub u32);

/// Names one delivery. The numbers of one owner are consecutive, starting at 1, so that runs of acks collapse into
/// one range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The queue it came from.
    pub queue: QueueKey,
    /// Who holds it.
    pub owner: OwnerKey,
    /// The how-manieth of that owner.
    pub number: u64,
}

/// One message on its way to a client. Of a no-ack delivery the queue keeps nothing.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The channel it is for.
    pub channel: ChannelKey,
    /// The slot the session gave when it consumed; meaningless for a get.
    pub consumer: u32,
    /// Needed to settle it.
    pub source: Source,
    /// It was delivered before and not acked.
    pub redelivered: bool,
    /// Counted in the channel's [`super::Limiter`], to be released when settled.
    pub counted: bool,
    /// The message.
    pub message: Message,
}

/// What a basic.get got.
#[derive(Clone, Debug)]
pub struct Got {
    /// The message.
    pub delivery: Delivery,
    /// Ready messages left in the queue.
    pub remaining: u32,
}

/// How a client gives a delivery back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// basic.ack: done with.
    Ack,
    /// basic.nack.
    Nack {
        /// Back to its place, or dead-lettered.
        requeue: bool,
    },
    /// basic.reject. Quorum queues count it as a failed delivery, a nack they do not.
    Reject {
        /// Back to its place, or dead-lettered.
        requeue: bool,
    },
}

/// The result of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Declares, deletes and (un)binds of exchanges, (un)binds of queues.
    Done,
    /// queue.declare.
    Declared {
        /// The name, made by the server if none was given.
        queue: Arc<str>,
        /// Ready messages.
        messages: u32,
        /// Consumers, waiting ones of a single-active-consumer queue included.
        consumers: u32,
    },
    /// queue.delete.
    Deleted {
        /// Ready messages that went with it.
        messages: u32,
    },
    /// queue.purge.
    Purged {
        /// Ready messages removed.
        messages: u32,
    },
    /// basic.consume.
    Consuming {
        /// Keep it for the cancel.
        queue: QueueKey,
        /// Keep it for the cancel.
        owner: OwnerKey,
    },
    /// basic.cancel.
    Cancelled,
    /// basic.get; `None` is get-empty.
    Got(Option<Box<Got>>),
    /// tx.commit.
    Committed {
        /// False if a queue refused a message (EH-23).
        all_accepted: bool,
    },
    /// The connection's exclusive queues are gone.
    Closed,
    /// The user's backend has said what a request needed to know: it is to be made again.
    Decided,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Here it is.
    Now(Outcome),
    /// An [`Event::Done`] with the ticket follows.
    Later,
}

/// Which resource alarms are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Alarms(u8);

/// A resource that ran low.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// `vm_memory_high_watermark`.
    Memory,
    /// `disk_free_limit`.
    Disk,
}

impl Alarms {
    pub(super) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(super) fn bit(alarm: Alarm) -> u8 {
        match alarm {
            Alarm::Memory => 1,
            Alarm::Disk => 2,
        }
    }

    /// No alarm is on.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Memory is low.
    pub fn memory(self) -> bool {
        self.0 & Self::bit(Alarm::Memory) != 0
    }

    /// Disk space is low.
    pub fn disk(self) -> bool {
        self.0 & Self::bit(Alarm::Disk) != 0
    }

    /// The reason in connection.blocked.
    pub fn reason(self) -> &'static str {
        match self.0 {
            1 => "low on memory",
            2 => "low on disk",
            _ => "low on memory & disk",
        }
    }
}

/// What arrives in a connection's mailbox.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message for a consumer.
    Deliver(Delivery),
    /// One lane has taken responsibility for publishes `first..=last` of that channel, or refused them.
    Confirm {
        /// The publishing channel.
        channel: ChannelKey,
        /// First sequence number.
        first: u64,
        /// Last sequence number.
        last: u64,
        /// False: a queue rejected it.
        accepted: bool,
    },
    /// The answer to a request that was answered [`Answer::Later`].
    Done {
        /// The channel that waits.
        channel: ChannelKey,
        /// As given in [`Reply`].
        ticket: u64,
        /// What came of it.
        result: Result<Outcome, Box<Refusal>>,
    },
    /// The broker cancelled a consumer: nothing more comes for its slot.
    ConsumerCancelled {
        /// The consumer's channel.
        channel: ChannelKey,
        /// The slot the session gave.
        consumer: u32,
    },
    /// Deliveries went unsettled for too long (FL-5).
    DeliveryTimedOut {
        /// Whose they are.
        channel: ChannelKey,
        /// The slot of the consumer that the queue cancelled for it. `None`, or a client that takes no basic.cancel:
        /// the channel is to be closed.
        consumer: Option<u32>,
        /// How long they had, ms.
        timeout_ms: u64,
    },
    /// The set of active alarms changed.
    Alarms(Alarms),
    /// Somebody wants to know how the connection is.
    Inquiry(Inquiry),
    /// Close the connection, with this code and text.
    Close(Box<Refusal>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every delivery takes as much as the largest event: what is rare and large is in a box.
    #[test]
    fn an_event_is_no_larger_than_a_line_of_cache() {
        assert!(size_of::<Event>() <= 64);
    }
}
