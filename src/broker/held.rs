//! Answers that wait for the log: a confirm or a commit-ok is given when everything it speaks for is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::commits::Underway;
use super::effects::ConnKey;
use super::event::{ChannelKey, Outcome, Reply};
use super::mailbox::Mailbox;
use super::queue::Queue;
use super::receipts::Post;
use crate::replicate::Position;

/// The channel that a message was published on, and its number there in confirm mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publisher {
    pub(super) channel: ChannelKey,
    pub(super) sequence: Option<u64>,
}

impl Publisher {
    /// Who is to be told that the message is taken care of.
    pub(super) fn confirm(self) -> Option<ConfirmTo> {
        self.sequence.map(|sequence| ConfirmTo { channel: self.channel, sequence })
    }
}

/// A publish in confirm mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfirmTo {
    pub(super) channel: ChannelKey,
    pub(super) sequence: u64,
}

/// Counts the lanes that still work on one request of a connection; the last one answers.
#[derive(Debug)]
pub(super) struct Countdown {
    pub(super) reply: Option<Reply>,
    pub(super) lanes_left: AtomicUsize,
    /// Some queue refused a message of the transaction.
    pub(super) refused: AtomicBool,
    /// The transaction is on its way as long as somebody has this.
    pub(super) underway: Option<Underway>,
    /// So many lanes at first.
    pub(super) lanes: usize,
}

impl Countdown {
    pub(super) fn new(reply: Option<Reply>, lanes: usize) -> Arc<Self> {
        Self::of_transaction(reply, lanes, None)
    }

    pub(super) fn of_transaction(reply: Option<Reply>, lanes: usize, underway: Option<Underway>) -> Arc<Self> {
        let (lanes_left, refused) = (AtomicUsize::new(lanes), AtomicBool::new(false));
        Arc::new(Self { reply, lanes_left, refused, underway, lanes })
    }

    /// True for the last lane.
    pub(super) fn finished(&self) -> bool {
        self.lanes_left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// An answer to give.
#[derive(Debug)]
pub(super) enum Answering {
    /// A publish in confirm mode.
    Confirm { conn: ConnKey, to: ConfirmTo, accepted: bool },
    /// The lane's part of a transaction; its connection may be gone.
    Commit { conn: Option<ConnKey>, countdown: Arc<Countdown> },
    /// A request that changed what is durable.
    Done { conn: ConnKey, reply: Reply, outcome: Box<Outcome> },
    /// A queue was deleted: what is left of it is told behind the answer, to whoever consumed (M-15).
    Deleted { to: Option<(ConnKey, Reply)>, messages: u32, queue: Option<Box<Queue>> },
    /// A dead letter of another lane's.
    Receipt { to: u16, receipt: Post },
    /// The connection may send more.
    Worked { from: Arc<Mailbox>, bytes: usize },
}

/// Answers of one lane, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: VecDeque<(Position, Answering)>,
}

impl Held {
    /// Keeps an answer until `position` is durable.
    pub(super) fn push(&mut self, position: Position, answering: Answering) {
        self.waiting.push_back((position, answering));
    }

    /// Takes the next answer that may be given.
    pub(super) fn pop(&mut self, durable: Position) -> Option<Answering> {
        if self.waiting.front()?.0 > durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, answering)| answering)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A connection is gone, and its key may be given to another.
    pub(super) fn forget(&mut self, gone: ConnKey) {
        self.waiting.retain_mut(|(_, answering)| match answering {
            Answering::Confirm { conn, .. } | Answering::Done { conn, .. } => *conn != gone,
            Answering::Commit { conn, .. } => {
                *conn = conn.filter(|conn| *conn != gone);
                true
            }
            Answering::Deleted { to, .. } => {
                *to = to.filter(|(conn, _)| *conn != gone);
                true
            }
            Answering::Receipt { .. } | Answering::Worked { .. } => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Waker};
    use std::time::Instant;

    use super::*;
    use crate::auth::{Auth, Secret};
    use crate::broker::{
        Body, Broker, ChannelKey, Client, ConnectionInfo, Event, Lane, Options, Publish, QueueDeclare, Reply,
    };
    use crate::replicate::{Record, Replicator, Written};
    use crate::wire::Table;

    /// A log whose disk is as slow as the test wants.
    #[derive(Clone, Default)]
    struct Slow {
        appended: Arc<AtomicU64>,
        durable: Arc<AtomicU64>,
    }

    impl Replicator for Slow {
        fn append(&mut self, _: Record<'_>) -> Position {
            Position(self.appended.fetch_add(1, Ordering::Relaxed) + 1)
        }

        fn keeps(&self) -> bool {
            true
        }

        fn flush(&mut self, _: bool) {}

        fn durable(&mut self) -> Position {
            Position(self.durable.load(Ordering::Relaxed))
        }

        fn after(&mut self, _: Written) -> Position {
            Position(self.appended.load(Ordering::Relaxed))
        }

        fn is_behind(&self) -> bool {
            false
        }
    }

    const CHANNEL: ChannelKey = ChannelKey { number: 1, epoch: 1 };

    fn publish(client: &mut Client, persistent: bool, number: u64) {
        let properties: &[u8] = if persistent { b"\x10\x00\x02" } else { b"\x00\x00" };
        let publish = Publish {
            channel: CHANNEL,
            address: b"\x00\x01q",
            properties,
            body: Body::Small(b"m"),
            mandatory: false,
            confirm: Some(number),
        };
        assert_eq!(client.publish(publish).unwrap().lanes, 1);
    }

    /// The publishes that are confirmed after a turn.
    fn turn(client: &mut Client, lanes: &mut [Lane]) -> Vec<u64> {
        client.flush();
        for lane in lanes {
            lane.turn(Instant::now());
        }
        let mut events = Vec::new();
        let _ = client.poll_events(&mut Context::from_waker(Waker::noop()), &mut events);
        let confirmed = events.iter().flat_map(|event| match event {
            Event::Confirm { first, last, accepted: true, .. } => *first..=*last,
            #[expect(clippy::reversed_empty_ranges, reason = "nothing")]
            _ => 1..=0,
        });
        confirmed.collect()
    }

    /// FEATURES PC-2: a persistent message in a durable queue is confirmed when the log has it, a transient one at once.
    #[test]
    fn a_confirm_waits_for_the_log() {
        let auth = Auth::new();
        auth.put_user("me", Secret::None, [] as [&str; 0]).unwrap();
        auth.set_permissions("/", "me", ".*", ".*", ".*").unwrap();
        let log = Slow::default();
        let options = Options { lanes: 1, ..Options::default() };
        let (broker, mut lanes) = Broker::with_replicators(options, auth, |_, _| Box::new(log.clone()));
        broker.add_vhost("/");
        let user = broker.auth().user("me").unwrap();
        let mut client = Client::open(&broker, user, "/", ConnectionInfo::default()).unwrap();
        let declare = QueueDeclare {
            queue: "q",
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: Table::default(),
        };
        client.queue_declare(Reply { channel: CHANNEL, ticket: 1 }, declare).unwrap();

        publish(&mut client, false, 1);
        publish(&mut client, true, 2);
        publish(&mut client, true, 3);
        assert_eq!(turn(&mut client, &mut lanes), [1]);
        log.durable.store(1, Ordering::Relaxed);
        assert_eq!(turn(&mut client, &mut lanes), [2]);
        assert!(turn(&mut client, &mut lanes).is_empty());
        log.durable.store(2, Ordering::Relaxed);
        assert_eq!(turn(&mut client, &mut lanes), [3]);
    }
}
