//! What queues of one lane want done outside: events for connections, gathered over a turn and put into each mailbox
//! once, and the queues that want to go or to be woken later.

use std::sync::Arc;

use slab::Slab;

use super::changes::Changes;
use super::event::{ChannelKey, Delivery, Event, Outcome, OwnerKey, QueueId, Reply};
use super::mailbox::{ConnectionId, Mailbox};
use super::message::Message;
use super::queue::{DeadLetterTarget, Death, Entry, Load};
use super::refusal::Refusal;
use super::reports::Deaths;
use super::vhost::QueueHandle;
use crate::replicate::ChunkPlace;

/// Deliveries of this many bytes go to the mailbox before the turn is over, so that the mailbox's mark is seen.
const STAGED_BYTES_MAX: usize = 64 * 1024;

/// A connection as one lane knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ConnKey(pub(super) u32);

/// Publishes of one channel that this lane has settled, not yet in the mailbox.
struct Confirms {
    channel: ChannelKey,
    first: u64,
    last: u64,
    accepted: bool,
}

struct Outbox {
    mailbox: Arc<Mailbox>,
    events: Vec<Event>,
    bytes: usize,
    confirms: Option<Confirms>,
    /// The mailbox is full: nothing is delivered until the connection resumes.
    stalled: bool,
    dirty: bool,
}

/// A message leaving a queue by other ways than to a consumer, to be routed to the queue's dead-letter exchange.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) queue: Arc<QueueHandle>,
    /// The queue's, as it was then.
    pub(super) target: DeadLetterTarget,
    pub(super) message: Message,
    pub(super) death: Death,
    pub(super) remains: Remains,
}

/// What its queue still has of a dead letter.
#[derive(Debug)]
pub(super) enum Remains {
    /// Nothing.
    Nothing,
    /// Its place in the log.
    Place(Entry),
    /// All of it, until every queue has taken it (DX-11).
    All {
        /// Its number.
        seq: u64,
        /// Queues that have it already.
        taken: Vec<QueueId>,
        /// An exchange has it that holds it back.
        is_held: bool,
    },
}

/// The sink of one lane.
pub(super) struct Effects {
    lane: u16,
    outboxes: Slab<Outbox>,
    dirty: Vec<ConnKey>,
    /// Queues that asked to be deleted: last consumer of an auto-delete queue gone, or expired.
    pub(super) doomed: Vec<QueueId>,
    /// Owners that queues have forgotten.
    pub(super) freed: Vec<(ConnectionId, QueueId, OwnerKey)>,
    /// Messages to dead-letter.
    pub(super) dead: Vec<DeadLetter>,
    /// Queues that want to be looked at again at a time, in ms of the broker's clock.
    pub(super) timers: Vec<(u64, QueueId)>,
    /// For the log.
    pub(super) changes: Changes,
    /// Messages on disk that are wanted.
    pub(super) loads: Vec<Load>,
    /// Chunks that nobody wants any more.
    pub(super) given_up: Vec<ChunkPlace>,
    /// Messages that queues gave up.
    pub(super) deaths: Option<Box<Deaths>>,
}

impl Effects {
    pub(super) fn new(lane: u16) -> Self {
        Self {
            lane,
            outboxes: Slab::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            freed: Vec::new(),
            dead: Vec::new(),
            timers: Vec::new(),
            changes: Changes::default(),
            loads: Vec::new(),
            given_up: Vec::new(),
            deaths: None,
        }
    }

    pub(super) fn attach(&mut self, mailbox: Arc<Mailbox>) -> ConnKey {
        let outbox = Outbox { mailbox, events: Vec::new(), bytes: 0, confirms: None, stalled: false, dirty: false };
        // A lane never has 2^32 connections.
        ConnKey(self.outboxes.insert(outbox) as u32)
    }

    /// Forgets a connection; what was staged for it is handed over first.
    /// Whose a key is.
    pub(super) fn connection(&self, conn: ConnKey) -> Option<ConnectionId> {
        self.outboxes.get(conn.0 as usize).map(|outbox| outbox.mailbox.id())
    }

    pub(super) fn detach(&mut self, conn: ConnKey) {
        self.flush_one(conn);
        self.outboxes.try_remove(conn.0 as usize);
    }

    fn event(&mut self, conn: ConnKey, event: Event) {
        let Some(outbox) = self.outboxes.get_mut(conn.0 as usize) else {
            return;
        };
        outbox.events.push(event);
        if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(conn);
        }
    }

    pub(super) fn deliver(&mut self, conn: ConnKey, delivery: Delivery) {
        let Some(outbox) = self.outboxes.get_mut(conn.0 as usize) else {
            return;
        };
        outbox.bytes += delivery.message.memory_bytes();
        outbox.events.push(Event::Deliver(delivery));
        if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(conn);
        }
        if outbox.bytes >= STAGED_BYTES_MAX {
            outbox.mailbox.put(&mut outbox.events, std::mem::take(&mut outbox.bytes));
            outbox.stalled = outbox.mailbox.is_full() && outbox.mailbox.stall(self.lane);
        }
    }

    /// True if the connection does not take what it was sent; it resumes by itself.
    pub(super) fn is_stalled(&self, conn: ConnKey) -> bool {
        self.outboxes.get(conn.0 as usize).is_none_or(|outbox| outbox.stalled)
    }

    /// The connection has room again.
    pub(super) fn unstall(&mut self, conn: ConnKey) {
        if let Some(outbox) = self.outboxes.get_mut(conn.0 as usize) {
            outbox.stalled = false;
        }
    }

    pub(super) fn confirm(&mut self, conn: ConnKey, channel: ChannelKey, sequence: u64, accepted: bool) {
        let Some(outbox) = self.outboxes.get_mut(conn.0 as usize) else {
            return;
        };
        match &mut outbox.confirms {
            Some(run) if run.channel == channel && run.accepted == accepted && run.last + 1 == sequence => {
                run.last = sequence;
                return;
            }
            pending => {
                if let Some(run) = pending.replace(Confirms { channel, first: sequence, last: sequence, accepted }) {
                    outbox.events.push(run.into());
                }
            }
        }
        if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(conn);
        }
    }

    pub(super) fn done(&mut self, conn: ConnKey, reply: Reply, result: Result<Outcome, Refusal>) {
        self.event(
            conn,
            Event::Done { channel: reply.channel, ticket: reply.ticket, result: result.map_err(Box::new) },
        );
    }

    pub(super) fn cancelled(&mut self, conn: ConnKey, channel: ChannelKey, consumer: u32) {
        self.event(conn, Event::ConsumerCancelled { channel, consumer });
    }

    pub(super) fn timed_out(&mut self, conn: ConnKey, channel: ChannelKey, consumer: Option<u32>, timeout_ms: u64) {
        self.event(conn, Event::DeliveryTimedOut { channel, consumer, timeout_ms });
    }

    /// A queue has forgotten an owner of this connection.
    pub(super) fn free(&mut self, conn: ConnKey, queue: QueueId, owner: OwnerKey) {
        if let Some(outbox) = self.outboxes.get(conn.0 as usize) {
            self.freed.push((outbox.mailbox.id(), queue, owner));
        }
    }

    /// Something is to be done beyond handing events out.
    #[inline]
    pub(super) fn asks_for_more(&self) -> bool {
        !(self.doomed.is_empty()
            & self.dead.is_empty()
            & self.freed.is_empty()
            & self.timers.is_empty()
            & self.loads.is_empty())
    }

    pub(super) fn doom(&mut self, queue: QueueId) {
        self.doomed.push(queue);
    }

    /// Puts everything staged into the mailboxes.
    pub(super) fn flush(&mut self) {
        while let Some(conn) = self.dirty.pop() {
            self.flush_one(conn);
        }
    }

    fn flush_one(&mut self, conn: ConnKey) {
        let Some(outbox) = self.outboxes.get_mut(conn.0 as usize) else {
            return;
        };
        outbox.dirty = false;
        if let Some(run) = outbox.confirms.take() {
            outbox.events.push(run.into());
        }
        if outbox.events.is_empty() {
            return;
        }
        outbox.mailbox.put(&mut outbox.events, std::mem::take(&mut outbox.bytes));
    }
}

impl From<Confirms> for Event {
    fn from(run: Confirms) -> Self {
        let Confirms { channel, first, last, accepted } = run;
        Self::Confirm { channel, first, last, accepted }
    }
}
