//! One life of a broker on a simulated disk, with its clients, all of it in one thread.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::ledger::{Found, LETTERS, Ledger, QUEUES, REJECTING, State, Transaction};
use crate::auth::{Auth, Secret};
use crate::broker::checkpoint::Asked;
use crate::broker::{
    self as broker, Body, Broker, ChannelKey, Client, ConnectionInfo, ConsumeSpec, Event, ExchangeDeclare, Lane,
    Limiter, Outcome, Publish, QueueDeclare, Reply, Settlement, Source, message_of,
};
use crate::replicate::{LocalLog, LocalOptions};
use crate::store::SyncMode;
use crate::store::sim::SimDisk;
use crate::wire::{Table, Value};

const CHANNEL: ChannelKey = ChannelKey { number: 1, epoch: 1 };
const PREFETCH: u16 = 12;
const LANES: u16 = 2;
/// So many turns are enough for anything.
const TURNS_MAX: usize = 400;

/// What was damaged, and told, is the record of all users.
pub(super) const USER_LOST: &str = "the user is lost";

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) file_bytes: u32,
    pub(super) memory_bytes: usize,
    pub(super) body_bytes_max: usize,
}

/// A message that was delivered.
struct Held {
    source: Source,
    queue: usize,
    number: u64,
}

/// See the module's documentation.
pub(super) struct Life {
    broker: Broker,
    lanes: Vec<Lane>,
    pub(super) log: LocalLog,
    failed: Arc<Mutex<Option<io::Error>>>,
    now: Instant,
    publisher: Client,
    consumer: Client,
    /// Publishes by their sequence: answers to come, where it went, its number.
    unconfirmed: BTreeMap<u64, (u16, Vec<usize>, u64)>,
    sequence: u64,
    held: VecDeque<Held>,
    tickets: u64,
    /// Answers by ticket.
    answers: BTreeMap<u64, Outcome>,
    asked: Option<Asked>,
    /// What went wrong in what clients saw.
    pub(super) wrong: Option<String>,
    /// Some of the log cannot be read.
    pub(super) is_damaged: bool,
}

fn durable(arguments: Table, queue: &str) -> QueueDeclare<'_> {
    QueueDeclare { queue, passive: false, durable: true, exclusive: false, auto_delete: false, arguments }
}

fn arguments_of(queue: usize) -> Table {
    let mut arguments = Table::default();
    match QUEUES[queue].0 {
        "priorities" => arguments.push("x-max-priority", Value::I32(2)),
        "quorum" => arguments.push("x-queue-type", "quorum".into()),
        "rejecting" => {
            arguments.push("x-dead-letter-exchange", "".into());
            arguments.push("x-dead-letter-routing-key", QUEUES[LETTERS].0.into());
        }
        _ => {}
    }
    arguments
}

impl Life {
    /// Starts on a disk. `Err`: the disk did not let it.
    pub(super) fn open(disk: &SimDisk, shape: Shape) -> Result<Self, String> {
        let failed = Arc::new(Mutex::new(None));
        let failing = failed.clone();
        let options = LocalOptions { file_bytes: shape.file_bytes, sync: SyncMode::Always, node: *b"the node we test" };
        let (log, recovered) = LocalLog::by_hand(Arc::new(disk.clone()), options, message_of, move |error| {
            failing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        })
        .map_err(|error| error.to_string())?;
        let (is_new, is_damaged) = (recovered.definitions.is_empty(), !recovered.damages.is_empty());
        let auth = Auth::new();
        let options = broker::Options { lanes: LANES, message_memory_bytes: shape.memory_bytes, ..Default::default() };
        let (broker, lanes) = Broker::with_replicators(options, auth, |index, told| Box::new(log.lane(index, told)));
        broker.recover(recovered, &log).map_err(|error| error.to_string())?;
        if is_new {
            let auth = broker.auth();
            auth.put_user("me", Secret::None, [] as [&str; 0]).map_err(|error| error.to_string())?;
            broker.add_vhost("/");
            auth.set_permissions("/", "me", ".*", ".*", ".*").map_err(|error| error.to_string())?;
            broker.keep_system();
        }
        if is_damaged && broker.auth().user("me").is_none() {
            return Err(USER_LOST.to_owned());
        }
        let (publisher, consumer) = (client(&broker), client(&broker));
        Ok(Self {
            broker,
            lanes,
            log,
            failed,
            now: Instant::now(),
            publisher,
            consumer,
            unconfirmed: BTreeMap::new(),
            sequence: 0,
            held: VecDeque::new(),
            tickets: 0,
            answers: BTreeMap::new(),
            asked: None,
            wrong: None,
            is_damaged,
        })
    }

    /// The log has ended: the server ends, too.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.lock().is_ok_and(|failed| failed.is_some())
    }

    /// Something is as it must not be.
    fn complain(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    fn reply(&mut self) -> Reply {
        self.tickets += 1;
        Reply { channel: CHANNEL, ticket: self.tickets }
    }

    // --- the parts that have threads of their own elsewhere ---

    pub(super) fn turn(&mut self, lane: usize) {
        self.now += Duration::from_millis(1);
        let at = lane % self.lanes.len();
        self.lanes[at].turn(self.now);
    }

    pub(super) fn write_log(&mut self, ledger: &mut Ledger) {
        self.log.step();
        ledger.synced(self.log.places().1);
    }

    pub(super) fn write_segments(&mut self) {
        self.log.segments().step();
    }

    pub(super) fn read_loads(&mut self) {
        self.broker.read_loads();
    }

    /// Everything has its turn, in order.
    pub(super) fn round(&mut self, ledger: &mut Ledger) {
        self.publisher.flush();
        self.consumer.flush();
        for lane in 0..self.lanes.len() {
            self.turn(lane);
        }
        ledger.worked(self.log.places().0);
        self.write_log(ledger);
        self.write_segments();
        self.read_loads();
        self.look(ledger);
    }

    /// Until it is answered, or the server has failed.
    fn answer(&mut self, reply: Reply, ledger: &mut Ledger) -> Option<Outcome> {
        for _ in 0..TURNS_MAX {
            if let Some(outcome) = self.answers.remove(&reply.ticket) {
                return Some(outcome);
            }
            if self.has_failed() {
                return None;
            }
            self.round(ledger);
        }
        self.complain("no answer".to_owned());
        None
    }

    fn take(&mut self, answer: Result<broker::Answer, broker::Refusal>, reply: Reply) {
        match answer {
            Ok(broker::Answer::Now(outcome)) => drop(self.answers.insert(reply.ticket, outcome)),
            Ok(broker::Answer::Later) => {}
            Err(refusal) => self.complain(refusal.to_string()),
        }
    }

    // --- clients ---

    /// Declares everything that is not there, and consumes. False: the server has failed.
    pub(super) fn set_up(&mut self, ledger: &mut Ledger, consumes: bool) -> bool {
        for queue in 0..QUEUES.len() {
            if !self.declare(queue, ledger) {
                return false;
            }
        }
        let exchange = ExchangeDeclare {
            exchange: "all",
            kind: "fanout",
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: Table::default(),
        };
        let reply = self.reply();
        let answer = self.publisher.exchange_declare(reply, exchange);
        self.take(answer, reply);
        if self.answer(reply, ledger).is_none() {
            return false;
        }
        for queue in 0..LETTERS {
            if !self.bind(queue, ledger) {
                return false;
            }
        }
        if consumes { (0..QUEUES.len()).all(|queue| self.consume(queue, ledger)) } else { true }
    }

    fn declare(&mut self, queue: usize, ledger: &mut Ledger) -> bool {
        let reply = self.reply();
        let answer = self.publisher.queue_declare(reply, durable(arguments_of(queue), QUEUES[queue].0));
        self.take(answer, reply);
        self.answer(reply, ledger).is_some()
    }

    fn bind(&mut self, queue: usize, ledger: &mut Ledger) -> bool {
        let reply = self.reply();
        let answer = self.publisher.queue_bind(reply, QUEUES[queue].0, "all", "", Table::default());
        self.take(answer, reply);
        self.answer(reply, ledger).is_some()
    }

    fn consume(&mut self, queue: usize, ledger: &mut Ledger) -> bool {
        let reply = self.reply();
        let spec = consume_spec(queue, false);
        let answer = self.consumer.consume(reply, spec);
        self.take(answer, reply);
        self.answer(reply, ledger).is_some()
    }

    /// Publishes one message to these queues, which are those of the exchange or one.
    pub(super) fn publish(&mut self, queues: &[usize], length: usize, ledger: &mut Ledger) {
        let number = ledger.next;
        ledger.next += 1;
        self.sequence += 1;
        let body = body(number, length);
        let parts = Address::new(queues);
        let routed = match self.publisher.publish(parts.publish(&body, number, Some(self.sequence))) {
            Ok(routed) => routed,
            Err(refusal) => return self.complain(refusal.to_string()),
        };
        queues.iter().for_each(|queue| ledger.set(*queue, number, State::Sent));
        self.unconfirmed.insert(self.sequence, (routed.lanes, queues.to_vec(), number));
    }

    /// Only one lane gets what it is to get.
    pub(super) fn flush_one(&mut self, lane: usize) {
        self.publisher.flush_lane(lane % usize::from(LANES));
    }

    pub(super) fn flush(&mut self) {
        self.publisher.flush();
        self.consumer.flush();
    }

    /// Looks what the clients were told.
    pub(super) fn look(&mut self, ledger: &mut Ledger) {
        let mut events = Vec::new();
        let _ = self.publisher.poll_events(&mut Context::from_waker(Waker::noop()), &mut events);
        let _ = self.consumer.poll_events(&mut Context::from_waker(Waker::noop()), &mut events);
        for event in events {
            match event {
                Event::Confirm { first, last, .. } => (first..=last).for_each(|at| self.confirmed(at, ledger)),
                Event::Done { ticket, result: Ok(outcome), .. } => {
                    if let Outcome::Committed { .. } = outcome {
                        ledger.committed(ticket);
                    }
                    self.answers.insert(ticket, outcome);
                }
                Event::Done { result: Err(refusal), .. } => {
                    self.wrong.get_or_insert(refusal.to_string());
                }
                Event::Deliver(delivery) => {
                    let (queue, number) = (delivery.consumer as usize, number_of(delivery.message.body()));
                    self.delivered(Held { source: delivery.source, queue, number }, ledger);
                }
                _ => {}
            }
        }
    }

    fn confirmed(&mut self, sequence: u64, ledger: &mut Ledger) {
        let Some((left, queues, number)) = self.unconfirmed.get_mut(&sequence) else {
            self.wrong.get_or_insert(format!("{sequence} is confirmed too often"));
            return;
        };
        *left -= 1;
        if *left == 0 {
            queues.iter().for_each(|queue| ledger.keep(*queue, *number));
            self.unconfirmed.remove(&sequence);
        }
    }

    fn delivered(&mut self, held: Held, ledger: &mut Ledger) {
        let Held { queue, number, .. } = held;
        match ledger.state(queue, number) {
            None if queue == LETTERS => ledger.set(queue, number, State::Loose),
            Some(State::Sent | State::Kept | State::Loose) => {}
            _ if queue == LETTERS => {}
            state => {
                self.wrong.get_or_insert(format!("{}: {number} is delivered, though {state:?}", QUEUES[queue].0));
            }
        }
        self.held.push_back(held);
    }

    /// Takes a delivery that is held, one of the oldest.
    fn pick(&mut self, at: usize) -> Option<Held> {
        if self.held.is_empty() { None } else { self.held.remove(at % self.held.len()) }
    }

    fn settle(&mut self, source: Source, how: Settlement) {
        let Source { queue, owner, number } = source;
        self.consumer.settle(queue, owner, number, number, how);
    }

    pub(super) fn ack(&mut self, at: usize, ledger: &mut Ledger) {
        if let Some(Held { source, queue, number }) = self.pick(at) {
            self.settle(source, Settlement::Ack);
            ledger.ack(queue, number);
        }
    }

    pub(super) fn give_back(&mut self, at: usize, ledger: &mut Ledger) {
        let Some(Held { source, queue, number }) = self.pick(at) else { return };
        if queue == REJECTING {
            self.settle(source, Settlement::Reject { requeue: false });
            // Whether it came in a transaction or was purged, nobody asks any more.
            let kept = ledger.state(queue, number) == Some(State::Kept);
            ledger.set(queue, number, if kept { State::Rejected } else { State::Loose });
        } else {
            self.settle(source, Settlement::Nack { requeue: true });
        }
    }

    /// Moves up to three messages to others queues, in a transaction.
    pub(super) fn transact(&mut self, count: usize, to: &[usize], length: usize, ledger: &mut Ledger) {
        // What another client has published before is to be before.
        self.publisher.flush();
        let (mut settlements, mut publishes) = (Vec::new(), Vec::new());
        let (mut puts, mut removes) = (Vec::new(), Vec::new());
        for at in 0..count {
            let Some(Held { source, queue, number }) = self.pick(at) else { break };
            if queue == LETTERS {
                self.settle(source, Settlement::Nack { requeue: true });
                continue;
            }
            settlements.push((source, Settlement::Ack));
            removes.push((queue, number));
        }
        for queue in to {
            let number = ledger.next;
            ledger.next += 1;
            let body = body(number, length);
            let parts = Address::new(&[*queue]);
            match self.consumer.prepare(parts.publish(&body, number, None)) {
                Ok(prepared) => publishes.push(prepared),
                Err(refusal) => return self.complain(refusal.to_string()),
            }
            puts.push((*queue, number));
        }
        puts.iter().for_each(|(queue, number)| ledger.set(*queue, *number, State::Sent));
        // One that was acked before its own transaction was answered is nothing to rely on.
        let was_kept = |(queue, number): &(usize, u64)| ledger.state(*queue, *number) == Some(State::Kept);
        let all_kept = removes.iter().all(was_kept);
        removes.iter().for_each(|(queue, number)| ledger.set(*queue, *number, State::InTransaction));
        let reply = self.reply();
        ledger.transactions.insert(reply.ticket, Transaction { puts, removes, is_certain: all_kept });
        let answer = self.consumer.commit(reply, publishes, settlements);
        self.consumer.flush();
        if let broker::Answer::Now(_) = answer {
            ledger.committed(reply.ticket);
        }
    }

    pub(super) fn purge(&mut self, queue: usize, ledger: &mut Ledger) {
        let reply = self.reply();
        // What was sent before is there before.
        self.round(ledger);
        let kept = ledger.kept(queue);
        ledger.loosen(queue);
        let answer = self.publisher.queue_purge(reply, QUEUES[queue].0);
        self.take(answer, reply);
        if self.answer(reply, ledger).is_none() || queue == LETTERS {
            return;
        }
        self.look(ledger);
        // What was delivered by then stays.
        let is_held = |number: &u64| self.held.iter().any(|held| (held.queue, held.number) == (queue, *number));
        kept.into_iter().filter(|number| !is_held(number)).for_each(|number| ledger.ack(queue, number));
    }

    /// Deletes a queue and declares it again.
    pub(super) fn delete(&mut self, queue: usize, ledger: &mut Ledger) {
        let reply = self.reply();
        // What was sent before is there before.
        self.round(ledger);
        self.held.retain(|held| held.queue != queue);
        ledger.loosen(queue);
        let answer = self.publisher.queue_delete(reply, QUEUES[queue].0, false, false);
        self.take(answer, reply);
        if self.answer(reply, ledger).is_none() {
            return;
        }
        self.held.retain(|held| held.queue != queue);
        ledger.deleted(queue);
        if self.declare(queue, ledger) && (queue >= LETTERS || self.bind(queue, ledger)) {
            self.consume(queue, ledger);
        }
    }

    /// The consumer's connection ends, and another comes.
    pub(super) fn reconnect(&mut self, ledger: &mut Ledger) {
        self.look(ledger);
        self.consumer = client(&self.broker);
        self.held.clear();
        self.round(ledger);
        let _ = (0..QUEUES.len()).all(|queue| self.consume(queue, ledger));
    }

    // --- checkpoints ---

    /// Begins a checkpoint, or finishes the one that has begun, if all have had their say.
    pub(super) fn checkpoint(&mut self) {
        match self.asked.take() {
            None => self.asked = Some(self.broker.ask_for_checkpoint(&self.log)),
            Some(asked) if self.broker.is_said(&asked) => {
                // The disk may say no: the last one stands.
                let _ = self.broker.finish_checkpoint(&self.log, asked);
            }
            asked => self.asked = asked,
        }
    }

    /// A checkpoint begins when one lane has a message that others get behind it.
    pub(super) fn checkpoint_between(&mut self, lane: usize, length: usize, ledger: &mut Ledger) {
        self.publish(&[0, 1, 2, 3, 4], length, ledger);
        self.flush_one(lane);
        (0..self.lanes.len()).for_each(|lane| self.turn(lane));
        self.checkpoint();
        (0..self.lanes.len()).for_each(|lane| self.turn(lane));
        self.flush();
    }

    /// A checkpoint from its beginning to its end, in which everything goes on.
    pub(super) fn whole_checkpoint(&mut self, ledger: &mut Ledger) {
        for _ in 0..TURNS_MAX {
            if self.has_failed() {
                return;
            }
            self.checkpoint();
            if self.asked.is_none() {
                return;
            }
            self.round(ledger);
        }
        self.complain("a checkpoint does not end".to_owned());
    }

    // --- what there is ---

    /// The number of the file in which the log ends.
    pub(super) fn newest_file(&self) -> u32 {
        (self.log.places().1.to_u64() >> 32) as u32
    }

    /// Takes everything out of all queues.
    pub(super) fn drain(&mut self) -> Result<Found, String> {
        let mut unknown = Ledger::default();
        let mut found = Found::default();
        if !self.set_up(&mut unknown, false) {
            return Err(format!("cannot be set up: {:?}", self.failed));
        }
        let mut reader = client(&self.broker);
        for queue in 0..QUEUES.len() {
            let reply = self.reply();
            reader.consume(reply, consume_spec(queue, true)).map_err(|refusal| refusal.to_string())?;
        }
        let (mut events, mut idle) = (Vec::new(), 0);
        while idle < 4 {
            idle += 1;
            reader.flush();
            self.round(&mut unknown);
            let _ = reader.poll_events(&mut Context::from_waker(Waker::noop()), &mut events);
            for event in events.drain(..) {
                if let Event::Deliver(delivery) = event {
                    let number = number_of(delivery.message.body());
                    if !body_is_whole(delivery.message.body()) {
                        return Err(format!("the body of {number} is not whole"));
                    }
                    found[delivery.consumer as usize].push(number);
                    idle = 0;
                }
            }
        }
        match self.wrong.take() {
            Some(wrong) => Err(wrong),
            None if self.has_failed() => Err(format!("failed: {:?}", self.failed)),
            None => Ok(found),
        }
    }
}

fn client(broker: &Broker) -> Client {
    let user = broker.auth().user("me").expect("the user is there");
    Client::open(broker, user, "/", ConnectionInfo::default()).expect("the vhost is there")
}

fn consume_spec(queue: usize, no_ack: bool) -> ConsumeSpec<'static> {
    ConsumeSpec {
        queue: QUEUES[queue].0,
        channel: CHANNEL,
        tag: "",
        consumer: queue as u32,
        no_ack,
        exclusive: false,
        prefetch: PREFETCH,
        limiter: Arc::new(Limiter::new()),
        arguments: Table::default(),
    }
}

fn body(number: u64, length: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(8 + length, number as u8);
    body
}

fn number_of(body: &[u8]) -> u64 {
    body.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number))
}

fn body_is_whole(body: &[u8]) -> bool {
    let number = number_of(body);
    body.len() >= 8 && body[8..].iter().all(|byte| *byte == number as u8)
}

/// Where a message goes: to one queue, or to the exchange that leads to many.
struct Address(Vec<u8>);

impl Address {
    fn new(queues: &[usize]) -> Self {
        let (exchange, key) = match queues {
            [queue] => ("", QUEUES[*queue].0),
            _ => ("all", ""),
        };
        let mut bytes = Vec::new();
        for text in [exchange, key] {
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes)
    }

    fn publish<'a>(&'a self, body: &'a [u8], number: u64, confirm: Option<u64>) -> Publish<'a> {
        // Persistent, and a priority.
        const PROPERTIES: [[u8; 4]; 3] = [[0x18, 0, 2, 0], [0x18, 0, 2, 1], [0x18, 0, 2, 2]];
        Publish {
            channel: CHANNEL,
            address: &self.0,
            properties: &PROPERTIES[(number % 3) as usize],
            body: Body::Small(body),
            mandatory: false,
            confirm,
        }
    }
}
