//! A lane's inbox: what may be asked of a lane, and how it gets there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::backlog::{FormerBacklog, Hold};
use super::compaction::Move;
use super::dedup::Admission;
use super::event::{ChannelKey, Outcome, OwnerKey, QueueId, Reply, Settlement};
use super::gathering::Gathering;
use super::held::{ConfirmTo, Countdown, Publisher};
use super::mailbox::Mailbox;
use super::message::Message;
use super::queue::{Load, Loaded, Meter, Queue, QueueSettings, Subscription};
use super::receipts::Post;
use super::reports::Inspection;
use super::vhost::QueueHandle;
use crate::replicate::{ChunkPlace, OnDurable, Written};

/// Something a connection wants a lane to do.
#[derive(Debug)]
pub(super) enum Op {
    Publish {
        queue: QueueId,
        message: Message,
        /// None: no client published it.
        by: Option<Publisher>,
    },
    /// A message for several queues of the lane.
    PublishMany {
        queues: Arc<[QueueId]>,
        message: Message,
        by: Option<Publisher>,
    },
    /// Of a dead letter.
    Post(Post),
    /// A message that an exchange holds back.
    Hold {
        hold: Box<Hold>,
        message: Message,
        confirm: Option<ConfirmTo>,
    },
    /// What an exchange is to know of the message before, noted by so many lanes.
    Note {
        admission: Arc<Admission>,
        parts: u16,
    },
    /// What an exchange held back in the last life. The first operation of its backlog.
    HoldAgain(Box<FormerBacklog>),
    Settle {
        queue: QueueId,
        owner: OwnerKey,
        first: u64,
        last: u64,
        how: Settlement,
    },
    /// The first operation of a queue's life. Its definition was `written`.
    Create {
        queue: Box<Queue>,
        written: Option<Written>,
    },
    /// Messages that a queue wanted from disk.
    Loaded {
        load: Load,
        messages: Loaded,
    },
    /// What the lane has in these segment files is to be written anew.
    Compact {
        files: Arc<[u32]>,
    },
    /// A chunk was written anew; `None`: it cannot be read.
    Moved {
        moved: Box<Move>,
        to: Option<ChunkPlace>,
    },
    /// The lane says what it has.
    Checkpoint {
        gathering: Arc<Gathering>,
    },
    /// An answer that waits until something else is durable.
    Await {
        written: Written,
        reply: Reply,
        outcome: Outcome,
    },
    /// queue.declare of one that exists: its counts.
    Declare {
        queue: Arc<QueueHandle>,
        reply: Reply,
    },
    /// Arguments and policies come to something else now.
    Settings {
        queue: QueueId,
        settings: Box<QueueSettings>,
    },
    /// Of some queues, for listings.
    Inspect(Inspection),
    Purge {
        queue: Arc<QueueHandle>,
        reply: Reply,
    },
    Delete {
        queue: Arc<QueueHandle>,
        reply: Option<Reply>,
        if_unused: bool,
        if_empty: bool,
    },
    Consume {
        queue: Arc<QueueHandle>,
        subscription: Box<Subscription>,
        reply: Reply,
    },
    Cancel {
        queue: QueueId,
        owner: OwnerKey,
        reply: Reply,
    },
    Get {
        queue: Arc<QueueHandle>,
        no_ack: bool,
        reply: Reply,
    },
    /// The connection took its deliveries (`None`), or a channel's limit has room.
    Resume {
        channel: Option<ChannelKey>,
    },
    ChannelClosed {
        channel: ChannelKey,
    },
    ConnectionClosed {
        countdown: Arc<Countdown>,
    },
    /// The lane's part of a tx.commit: publishes and settlements.
    Commit {
        operations: Vec<Self>,
        countdown: Arc<Countdown>,
    },
}

/// Operations of one connection, in order.
pub(super) struct Batch {
    pub(super) from: Arc<Mailbox>,
    pub(super) operations: Vec<Op>,
    pub(super) bytes: usize,
}

#[derive(Default)]
struct InboxState {
    batches: Vec<Batch>,
    waker: Option<Waker>,
    closed: bool,
    /// Something more is durable.
    answers: bool,
}

/// The sending side of a lane.
#[derive(Clone, Default)]
pub(super) struct LaneHandle {
    inbox: Arc<Mutex<InboxState>>,
    /// It has answers that wait for the log.
    pub(super) awaits: Arc<AtomicBool>,
    /// What the waiting messages of its queues take.
    pub(super) memory: Meter,
}

impl LaneHandle {
    fn locked(&self) -> MutexGuard<'_, InboxState> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the lane: everything that has arrived, and whether nothing more will.
    pub(super) fn take(&self) -> (Vec<Batch>, bool) {
        let mut inbox = self.locked();
        inbox.answers = false;
        (std::mem::take(&mut inbox.batches), inbox.closed)
    }

    /// For the lane: something has arrived, or the waker is called when it does.
    pub(super) fn has_arrived(&self, waker: &Waker) -> bool {
        let mut inbox = self.locked();
        if !inbox.batches.is_empty() || inbox.closed || inbox.answers {
            return true;
        }
        if !inbox.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            inbox.waker = Some(waker.clone());
        }
        false
    }

    /// Hands operations over; never waits. `bytes` is what they hold, for the connection's share.
    pub(super) fn send(&self, from: &Arc<Mailbox>, operations: Vec<Op>, bytes: usize) {
        from.sent(bytes);
        let waker = {
            let mut inbox = self.locked();
            inbox.batches.push(Batch { from: from.clone(), operations, bytes });
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the waiting messages of its queues take, in bytes; for the queues to tell.
    pub(super) fn meter(&self) -> Meter {
        self.memory.clone()
    }

    /// Has the lane look what is durable by now.
    pub(super) fn on_durable(&self) -> OnDurable {
        let handle = self.clone();
        Box::new(move || {
            if !handle.awaits.swap(false, Ordering::SeqCst) {
                return;
            }
            let waker = {
                let mut inbox = handle.locked();
                inbox.answers = true;
                inbox.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        })
    }

    /// The lane ends after the batches that are there.
    pub(super) fn close(&self) {
        let waker = {
            let mut inbox = self.locked();
            inbox.closed = true;
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
