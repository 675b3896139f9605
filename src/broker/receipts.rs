//! Receipts for dead letters and delayed messages: whoever sends one keeps what it has of it, its place in the log at the
//! least, until the queues of other lanes have it and their log has. Otherwise a crash in between could find them nowhere.

use smallvec::SmallVec;

use super::backlog::Hold;
use super::event::{QueueId, QueueKey};
use super::held::Answering;
use super::inbox::Op;
use super::lane::Lane;
use super::message::Message;

/// Whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// The queue it died in, or the exchange that held it back.
    pub(super) queue: QueueKey,
    /// Its number there.
    pub(super) seq: u64,
}

/// What lanes send each other of dead letters.
#[derive(Clone, Debug)]
pub(super) enum Post {
    /// A dead letter for a queue. Who sent it is told what became of it.
    Letter { queue: QueueId, message: Message, of: Origin },
    /// A dead letter that an exchange of this lane is to hold back. Who sent it is told when it has it.
    Hold { hold: Box<Hold>, message: Message, of: Origin },
    /// What became of a dead letter.
    Receipt { of: Origin, by: QueueId, reception: Reception },
}

/// What became of a dead letter in one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reception {
    /// The queue has it, and so has the log, if it is to.
    Taken,
    /// The queue is full.
    Refused,
    /// There is no such queue any more.
    Gone,
}

/// What became of a dead letter in this lane, and how many queues of others will answer.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) taken: SmallVec<[QueueId; 4]>,
    pub(super) refused: bool,
    /// An exchange holds it back.
    pub(super) is_held: bool,
    pub(super) awaited: usize,
}

impl Lane {
    /// Sends a dead letter to a queue wherever it lives, against a receipt.
    pub(super) fn send_letter(&mut self, to: QueueKey, message: Message, of: Origin, sent: &mut Sent, now_ms: u64) {
        if to.lane != self.index() {
            sent.awaited += 1;
            let bytes = message.memory_bytes();
            return self.pass_operation(to.lane, Op::Post(Post::Letter { queue: to.id, message, of }), bytes);
        }
        match self.receive(to.id, message, now_ms) {
            Reception::Taken => sent.taken.push(to.id),
            Reception::Refused => sent.refused = true,
            Reception::Gone => {}
        }
    }

    fn receive(&mut self, queue: QueueId, message: Message, now_ms: u64) -> Reception {
        if !self.queues.contains_key(&queue) {
            return Reception::Gone;
        }
        if self.publish(queue, message, None, now_ms) { Reception::Taken } else { Reception::Refused }
    }

    /// A receipt goes back when the log has what it speaks for.
    pub(super) fn take_post(&mut self, post: Post, now_ms: u64) {
        match post {
            Post::Letter { queue: by, message, of } => {
                let reception = self.receive(by, message, now_ms);
                let receipt = Post::Receipt { of, by, reception };
                self.answer(Answering::Receipt { to: of.queue.lane, receipt });
            }
            Post::Hold { hold, message, of } => {
                let by = hold.exchange.number.unwrap_or(of.queue.id);
                self.hold(&hold, message, now_ms);
                // One that is deleted meanwhile would have dropped it, too.
                let receipt = Post::Receipt { of, by, reception: Reception::Taken };
                self.answer(Answering::Receipt { to: of.queue.lane, receipt });
            }
            Post::Receipt { of, by, reception } => match self.queues.get_mut(&of.queue.id) {
                Some(queue) => queue.received(of.seq, by, reception, now_ms, &mut self.fx),
                None => self.backlogs.received(of, &mut self.fx),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::auth::{Auth, Secret};
    use crate::broker::{
        Body, Broker, ChannelKey, Client, ConnectionInfo, ExchangeDeclare, Options, Publish, QueueDeclare, Reply,
    };
    use crate::replicate::{Position, Record, Replicator, Written};
    use crate::wire::{Table, Value};

    const CHANNEL: ChannelKey = ChannelKey { number: 1, epoch: 1 };
    const REPLY: Reply = Reply { channel: CHANNEL, ticket: 1 };

    /// A lane's log, and how far the test says that it is durable.
    #[derive(Clone, Default)]
    struct Log {
        records: Arc<Mutex<Vec<&'static str>>>,
        durable: Arc<AtomicU64>,
    }

    impl Log {
        fn says(&self) -> Vec<&'static str> {
            self.records.lock().unwrap().clone()
        }
    }

    impl Replicator for Log {
        fn append(&mut self, record: Record<'_>) -> Position {
            let mut records = self.records.lock().unwrap();
            records.push(match record {
                Record::Enqueue { .. } => "enqueue",
                Record::Remove { .. } => "remove",
                _ => "other",
            });
            Position(records.len() as u64)
        }

        fn keeps(&self) -> bool {
            true
        }

        fn flush(&mut self, _: bool) {}

        fn durable(&mut self) -> Position {
            Position(self.durable.load(Ordering::Relaxed))
        }

        fn after(&mut self, _: Written) -> Position {
            Position(0)
        }

        fn is_behind(&self) -> bool {
            false
        }
    }

    /// Lanes whose clock and whose disks the test has.
    struct World {
        client: Client,
        lanes: Vec<Lane>,
        logs: Vec<Log>,
        start: Instant,
    }

    impl World {
        fn new(lanes: u16) -> Self {
            let auth = Auth::new();
            auth.put_user("me", Secret::None, [] as [&str; 0]).unwrap();
            auth.set_permissions("/", "me", ".*", ".*", ".*").unwrap();
            let logs: Vec<Log> = (0..lanes).map(|_| Log::default()).collect();
            let options = Options { lanes, ..Options::default() };
            let replicator = |lane: u16, _| Box::new(logs[usize::from(lane)].clone()) as Box<dyn Replicator>;
            let (broker, lanes) = Broker::with_replicators(options, auth, replicator);
            broker.add_vhost("/");
            let user = broker.auth().user("me").unwrap();
            let client = Client::open(&broker, user, "/", ConnectionInfo::default()).unwrap();
            Self { client, lanes, logs, start: Instant::now() }
        }

        /// Queues go round the lanes in the order they are declared.
        fn queue(&mut self, queue: &str, arguments: &[(&str, Value)]) {
            let arguments = Table::from_iter(arguments.iter().map(|(name, value)| (*name, value.clone())));
            let declare =
                QueueDeclare { queue, passive: false, durable: true, exclusive: false, auto_delete: false, arguments };
            self.client.queue_declare(REPLY, declare).unwrap();
        }

        /// A queue whose messages die after 10 ms and go to this exchange.
        fn mortal(&mut self, exchange: &str, more: &[(&str, Value)]) {
            let mut arguments = vec![("x-message-ttl", Value::I32(10)), ("x-dead-letter-exchange", exchange.into())];
            arguments.extend_from_slice(more);
            self.queue("q", &arguments);
        }

        fn fanout(&mut self, exchange: &str, queues: &[&str]) {
            let declare = ExchangeDeclare {
                exchange,
                kind: "fanout",
                passive: false,
                durable: true,
                auto_delete: false,
                internal: false,
                arguments: Table::default(),
            };
            self.client.exchange_declare(REPLY, declare).unwrap();
            for queue in queues {
                self.client.queue_bind(REPLY, queue, exchange, "", Table::default()).unwrap();
            }
        }

        fn publish(&mut self, queue: &str) {
            let publish = Publish {
                channel: CHANNEL,
                address: &[&[0, queue.len() as u8], queue.as_bytes()].concat(),
                properties: b"\x10\x00\x02",
                body: Body::Small(b"m"),
                mandatory: false,
                confirm: None,
            };
            self.client.publish(publish).unwrap();
        }

        fn turn(&mut self, lane: usize, at_ms: u64) {
            self.client.flush();
            self.lanes[lane].turn(self.start + Duration::from_millis(at_ms));
        }

        /// Both lanes work until nothing is on its way.
        fn turns(&mut self, at_ms: u64) {
            for _ in 0..4 {
                self.turn(0, at_ms);
                self.turn(1, at_ms);
            }
        }

        /// Ready messages, by number of the queue.
        fn ready(&self, queue: u64) -> u32 {
            let id = QueueId(queue);
            self.lanes.iter().find_map(|lane| lane.queues.get(&id)).map_or(0, |queue| queue.messages())
        }

        /// What counts towards the length of the queue.
        fn length(&self, queue: u64) -> u64 {
            let id = QueueId(queue);
            self.lanes.iter().find_map(|lane| lane.queues.get(&id)).map_or(0, |queue| queue.length())
        }
    }

    const AT_LEAST_ONCE: [(&str, &str); 3] =
        [("x-queue-type", "quorum"), ("x-overflow", "reject-publish"), ("x-dead-letter-strategy", "at-least-once")];

    fn at_least_once() -> Vec<(&'static str, Value)> {
        AT_LEAST_ONCE.iter().map(|(name, value)| (*name, Value::from(*value))).collect()
    }

    /// FEATURES DX-10, DX-11, QU-1: a dead letter is gone from its queue's log when it is durable in the other's.
    #[test]
    fn a_place_in_the_log_waits_for_the_receipt() {
        for strategy in [Vec::new(), at_least_once()] {
            let mut world = World::new(2);
            world.mortal("", &[&strategy[..], &[("x-dead-letter-routing-key", "dead".into())]].concat());
            world.queue("dead", &[]);
            world.publish("q");
            world.turns(0);
            world.turns(20);
            assert_eq!((world.ready(0), world.ready(1)), (0, 1), "it is there");
            assert_eq!((world.logs[0].says(), world.logs[1].says()), (vec!["enqueue"], vec!["enqueue"]));
            world.logs[1].durable.store(1, Ordering::Relaxed);
            world.turns(20);
            assert_eq!(world.logs[0].says(), ["enqueue", "remove"]);
            assert_eq!(world.length(0), 0);
        }
    }

    /// FEATURES DX-10: in one lane the order of the log says it.
    #[test]
    fn in_one_lane_nothing_waits() {
        let mut world = World::new(1);
        world.mortal("", &[("x-dead-letter-routing-key", "dead".into())]);
        world.queue("dead", &[]);
        world.publish("q");
        world.turn(0, 0);
        world.turn(0, 20);
        assert_eq!(world.logs[0].says(), ["enqueue", "enqueue", "remove"]);
    }

    /// FEATURES DX-11: without an exchange or a queue it stays, counts towards the length, and is tried again, less and
    /// less often.
    #[test]
    fn what_goes_nowhere_stays_and_is_tried_again() {
        let mut world = World::new(2);
        world.mortal("x", &at_least_once());
        world.queue("dead", &[]);
        world.publish("q");
        world.turns(0);
        world.turns(20);
        assert_eq!((world.ready(0), world.length(0)), (0, 1));
        world.fanout("x", &[]);
        world.turns(1020);
        world.client.queue_bind(REPLY, "dead", "x", "", Table::default()).unwrap();
        world.turns(3019);
        assert_eq!((world.ready(1), world.length(0)), (0, 1), "it is not yet time");
        world.turns(3021);
        assert_eq!(world.ready(1), 1);
        world.logs[1].durable.store(1, Ordering::Relaxed);
        world.turns(3021);
        assert_eq!(world.length(0), 0);
    }

    /// FEATURES DX-11: no more than 32 are on their way; the next follow when they have arrived.
    #[test]
    fn few_are_on_their_way() {
        let mut world = World::new(2);
        world.mortal("", &[&at_least_once()[..], &[("x-dead-letter-routing-key", "dead".into())]].concat());
        world.queue("dead", &[]);
        (0..100).for_each(|_| world.publish("q"));
        world.turns(0);
        world.turns(20);
        assert_eq!((world.ready(1), world.length(0)), (32, 100));
        world.logs[1].durable.store(20, Ordering::Relaxed);
        world.turns(20);
        assert_eq!((world.ready(1), world.length(0)), (52, 80));
        world.logs[1].durable.store(100, Ordering::Relaxed);
        world.turns(20);
        assert_eq!((world.ready(1), world.length(0)), (100, 0));
    }

    /// FEATURES DX-11: it waits for the queue that is full, and the other does not get it twice.
    #[test]
    fn a_full_queue_gets_it_when_it_has_room() {
        let mut world = World::new(2);
        world.mortal("x", &at_least_once());
        let full = [("x-max-length", Value::I32(1)), ("x-overflow", "reject-publish".into())];
        world.queue("full", &full);
        world.queue("near", &full);
        world.queue("other", &[]);
        world.fanout("x", &["full", "near", "other"]);
        ["full", "near"].iter().for_each(|queue| world.publish(queue));
        world.publish("q");
        for log in &world.logs {
            log.durable.store(u64::MAX, Ordering::Relaxed);
        }
        world.turns(0);
        world.turns(20);
        assert_eq!([1, 2, 3].map(|queue| world.ready(queue)), [1, 1, 1]);
        world.client.queue_purge(REPLY, "full").unwrap();
        world.turns(1021);
        assert_eq!(([1, 2, 3].map(|queue| world.ready(queue)), world.length(0)), ([1, 1, 1], 1));
        world.client.queue_purge(REPLY, "near").unwrap();
        world.client.queue_purge(REPLY, "full").unwrap();
        world.turns(3021);
        assert_eq!(([1, 2, 3].map(|queue| world.ready(queue)), world.length(0)), ([0, 1, 1], 0));
    }

    /// FEATURES DX-11: a queue that is deleted on the way has not taken it; one where it died does not answer any more.
    #[test]
    fn queues_may_go_meanwhile() {
        let mut world = World::new(2);
        world.mortal("", &[&at_least_once()[..], &[("x-dead-letter-routing-key", "dead".into())]].concat());
        world.queue("dead", &[]);
        world.publish("q");
        world.turns(0);
        world.client.queue_delete(REPLY, "dead", false, false).unwrap();
        world.client.flush();
        // The lane of "dead" works on the deletion first; the name was there when the other lane looked it up.
        world.turn(0, 20);
        world.turns(20);
        assert_eq!(world.length(0), 1);
        world.queue("elsewhere", &[]);
        world.queue("dead", &[]);
        world.turns(1021);
        assert_eq!(world.ready(3), 1);
        world.client.queue_delete(REPLY, "q", false, false).unwrap();
        world.logs[1].durable.store(u64::MAX, Ordering::Relaxed);
        world.turns(1021);
        assert_eq!((world.ready(3), world.length(0)), (1, 0));
    }

    /// FEATURES DX-11: a purge takes the dead letters that wait; a receipt that comes later is of no matter.
    #[test]
    fn a_purge_takes_them() {
        let mut world = World::new(2);
        world.mortal("", &[&at_least_once()[..], &[("x-dead-letter-routing-key", "dead".into())]].concat());
        world.queue("dead", &[]);
        (0..40).for_each(|_| world.publish("q"));
        world.turns(0);
        world.turns(20);
        world.client.queue_purge(REPLY, "q").unwrap();
        world.logs[1].durable.store(u64::MAX, Ordering::Relaxed);
        world.turns(20);
        assert_eq!((world.length(0), world.ready(1)), (0, 32));
        assert_eq!(world.logs[0].says().iter().filter(|record| **record == "remove").count(), 1, "of all");
    }
}
