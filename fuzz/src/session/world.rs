//! A broker whose lanes are turned by hand, and the connections to it, driven as the driver does.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lepus::amqp::{Options, Outbound, Peer, Session, Traffic};
use lepus::auth::{Auth, Secret};
use lepus::broker::{self, Alarm, Broker, Event, Lane, Turn};
use lepus::wire::{Method, RawTable, Table, Value};

use super::call::Call;
use super::{Id, Operation, Reader, Step};

/// Connections at once; more are not made.
const CONNECTIONS_MAX: usize = 5;
/// What a client may have sent and the session not taken: then it waits, as it would for its socket.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// One read of the driver.
const READ_BYTES_MAX: usize = 256 * 1024;
const CHANNEL_MAX: u16 = 8;
const FRAME_MAX: u32 = 131_072;
/// Bodies beyond it are refused.
const MESSAGE_BYTES_MAX: u64 = 200_000;
/// What may wait to be written: a full buffer, then all that is in the mailbox or in one read, or all that waits
/// behind an answer of each channel, with its returns, and a message got on each channel.
const OUTBOUND_BYTES_MAX: usize = 6 << 20;
/// Everything comes to rest in fewer rounds.
const ROUNDS_MAX: u32 = 20_000;

/// See the module's documentation.
pub struct World {
    broker: Broker,
    lanes: Vec<Lane>,
    now: Instant,
    options: Arc<Options>,
    connections: Vec<Connection>,
    /// What operators make is not there, or not as it was.
    is_changed: bool,
}

struct Connection {
    session: Session,
    out: Outbound,
    /// Sent by the client and not taken by the session.
    input: Vec<u8>,
    reader: Reader,
    is_rude: bool,
    traffic: Traffic,
    events: Vec<Event>,
}

impl World {
    /// With one user and one vhost.
    #[allow(clippy::new_without_default, reason = "it starts something")]
    pub fn new() -> Self {
        let (broker, lanes) = Broker::new(broker::Options { lanes: 2, connection_max: Some(100), ..broker::Options::default() }, Auth::new());
        let options = Options {
            channel_max: CHANNEL_MAX,
            max_message_size: MESSAGE_BYTES_MAX,
            consumer_max_per_channel: Some(20),
            ..Options::default()
        };
        Self {
            broker,
            lanes,
            now: Instant::now(),
            options: Arc::new(options),
            connections: Vec::new(),
            is_changed: true,
        }
    }

    /// Does a step.
    pub fn step(&mut self, step: &Step) {
        if self.connections.is_empty() {
            self.connect(0, 0, true, false);
        }
        match step {
            Step::Send { id, said, piece } => {
                let mut bytes = Vec::new();
                if let Some(connection) = self.connection(*id) {
                    let last_tag = |channel| connection.reader.last_tag(channel);
                    said.iter().for_each(|said| said.write(last_tag, &mut bytes));
                }
                self.send(*id, &bytes, *piece);
            }
            Step::Turn { lane } => {
                let now = self.now;
                self.lanes[usize::from(*lane)].turn(now);
            }
            Step::TakeEvents { id } => {
                let now = self.now;
                if let Some(connection) = self.connection(*id) {
                    connection.take_events(now);
                }
            }
            Step::Read { id, times_16 } => {
                if let Some(connection) = self.connection(*id) {
                    connection.read(usize::from(*times_16) * 16);
                }
            }
            Step::Run => self.run(),
            Step::Pass { ms } => self.pass(Duration::from_millis((*ms).into())),
            Step::Connect { heartbeat_s, frame_max, capabilities, is_rude } => {
                self.connect((*heartbeat_s).into(), *frame_max, *capabilities, *is_rude);
            }
            Step::Accept => self.accept(FRAME_MAX, true),
            Step::Disconnect { id } => {
                if !self.connections.is_empty() {
                    let at = usize::from(*id) % self.connections.len();
                    self.connections.remove(at);
                }
            }
            Step::Operate(operation) => self.operate(*operation),
        }
        let now = self.now;
        for connection in &mut self.connections {
            connection.answer_closes(now);
        }
        self.connections.retain(|connection| !connection.is_over());
    }

    /// Everything comes to rest and everybody goes; nothing is left.
    pub fn end(mut self) {
        self.broker.set_alarm(Alarm::Memory, false);
        self.broker.set_alarm(Alarm::Disk, false);
        self.run();
        assert!(self.connections.iter().all(|connection| connection.reader.is_between_contents()));
        self.broker.close_connections("the end");
        self.run();
        let mut close_ok = Vec::new();
        Call::ConnectionCloseOk.write(0, 0, &mut close_ok);
        for connection in &mut self.connections {
            connection.input.extend_from_slice(&close_ok);
        }
        self.run();
        self.pass(Duration::from_secs(100));
        assert!(self.connections.iter().all(|connection| connection.session.ended().is_some()));
        assert_eq!(self.broker.connection_count(), 0);
        self.broker.stop();
        let now = self.now;
        assert!(self.lanes.iter_mut().all(|lane| lane.turn(now) == Turn::Ended));
    }

    fn connection(&mut self, id: Id) -> Option<&mut Connection> {
        let at = usize::from(id).checked_rem(self.connections.len())?;
        self.connections.get_mut(at)
    }

    fn accept(&mut self, frame_max: u32, is_rude: bool) {
        if self.connections.len() >= CONNECTIONS_MAX {
            return;
        }
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let peer = Peer::new(addr(40_000), addr(5672));
        self.connections.push(Connection {
            session: Session::new(self.broker.clone(), self.options.clone(), peer, self.now),
            out: Outbound::default(),
            input: Vec::new(),
            reader: Reader::new(frame_max),
            is_rude,
            traffic: Traffic::default(),
            events: Vec::new(),
        });
    }

    fn connect(&mut self, heartbeat: u16, frame_max: u16, capabilities: bool, is_rude: bool) {
        self.restore();
        // What is too small to be accepted stands for no wish.
        let frame_max = if frame_max < 4096 { FRAME_MAX } else { frame_max.into() };
        let before = self.connections.len();
        self.accept(frame_max, is_rude);
        if self.connections.len() == before {
            return;
        }
        let names = ["consumer_cancel_notify", "connection.blocked", "authentication_failure_close"];
        let capabilities: Table = names.into_iter().map(|name| (name, Value::Bool(capabilities))).collect();
        let properties: Table = [("capabilities", Value::Table(capabilities))].into_iter().collect();
        let mut encoded = Vec::new();
        properties.encode_bare(&mut encoded);
        let (mechanism, response, locale) = ("PLAIN", &b"\0guest\0guest"[..], "en_US");
        let mut bytes = b"AMQP\0\0\x09\x01".to_vec();
        Method::ConnectionStartOk { client_properties: RawTable(&encoded), mechanism, response, locale }
            .encode_frame(0, &mut bytes);
        Method::ConnectionTuneOk { channel_max: CHANNEL_MAX, frame_max, heartbeat }.encode_frame(0, &mut bytes);
        Call::ConnectionOpen { missing: false }.write(0, 0, &mut bytes);
        for channel in 1..=3 {
            Call::ChannelOpen.write(channel, 0, &mut bytes);
        }
        let (exchange, kind, routing_key, arguments) = ("e", "topic", "#", RawTable(&[]));
        let (passive, durable, exclusive, auto_delete, internal, nowait) = (false, false, false, false, false, true);
        Method::ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, nowait, arguments }
            .encode_frame(1, &mut bytes);
        for queue in ["q", "r"] {
            Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, nowait, arguments }
                .encode_frame(1, &mut bytes);
            Method::QueueBind { queue, exchange, routing_key, nowait, arguments }.encode_frame(1, &mut bytes);
        }
        self.send(before as Id, &bytes, 0);
    }

    fn send(&mut self, id: Id, bytes: &[u8], piece: u8) {
        let now = self.now;
        let Some(connection) = self.connection(id) else { return };
        if connection.input.len() + bytes.len() > INPUT_BYTES_MAX {
            return;
        }
        // Pieces of some bytes of a large body would take for ever.
        let piece = if piece == 0 { bytes.len() } else { usize::from(piece).max(bytes.len() / 256) };
        for piece in bytes.chunks(piece.max(1)) {
            connection.input.extend_from_slice(piece);
            connection.traffic.received = true;
            connection.take_input(now);
        }
    }

    /// User, vhost and permissions are there.
    fn restore(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let auth = self.broker.auth();
        self.broker.add_vhost("/");
        if auth.user("guest").is_none() {
            auth.put_user("guest", Secret::Password("guest"), ["administrator"]).expect("a good user");
        }
        auth.set_permissions("/", "guest", ".*", ".*", ".*").expect("good patterns");
    }

    fn operate(&mut self, operation: Operation) {
        self.is_changed = true;
        let auth = self.broker.auth();
        let pattern = |all: bool| if all { ".*" } else { "^q$" };
        match operation {
            Operation::MemoryAlarm(on) => self.broker.set_alarm(Alarm::Memory, on),
            Operation::DiskAlarm(on) => self.broker.set_alarm(Alarm::Disk, on),
            Operation::CloseConnections => self.broker.close_connections("an operator"),
            Operation::DeleteVhost => {
                let _ = self.broker.delete_vhost("/");
            }
            Operation::DeleteUser => {
                self.broker.delete_user("guest");
            }
            Operation::SetPermissions { configure, write, read } => {
                let _ = auth.set_permissions("/", "guest", pattern(configure), pattern(write), pattern(read));
            }
        }
    }

    // --- everything moves ---

    fn run(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let now = self.now;
            for lane in &mut self.lanes {
                lane.turn(now);
            }
            let moved = |connection: &mut Connection| {
                let events = connection.take_events(now);
                connection.read(usize::MAX) | connection.take_input(now) | events
            };
            if !self.connections.iter_mut().fold(false, |any, connection| moved(connection) | any) {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Timeouts ring when they are due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = |connection: &Connection| connection.session.next_timeout().filter(|at| *at <= until);
            let Some(at) = self.connections.iter().filter_map(due).min() else { break };
            self.now = at.max(self.now);
            for connection in &mut self.connections {
                if due(connection).is_some_and(|due| due <= self.now) {
                    let traffic = std::mem::take(&mut connection.traffic);
                    connection.session.timeout(self.now, traffic, &mut connection.out);
                    connection.check();
                }
            }
        }
        self.now = until;
        for lane in &mut self.lanes {
            lane.turn(until);
        }
    }
}

impl Connection {
    /// Nothing more comes of it.
    fn is_over(&self) -> bool {
        self.session.ended().is_some() && self.out.is_empty()
    }

    /// As every client library does.
    fn answer_closes(&mut self, now: Instant) {
        for number in self.reader.take_closed() {
            if self.is_rude {
                continue;
            }
            if number == 0 {
                Call::ConnectionCloseOk.write(0, 0, &mut self.input);
            } else {
                Call::ChannelCloseOk.write(number, 0, &mut self.input);
                Call::ChannelOpen.write(number, 0, &mut self.input);
            }
            self.take_input(now);
        }
    }

    /// Lets the session take what it wants of what was sent. True: it took something.
    fn take_input(&mut self, now: Instant) -> bool {
        if self.session.ended().is_some() || !self.session.wants_input() || self.out.is_full() {
            return false;
        }
        if self.session.client().is_some_and(|client| client.is_congested()) {
            self.traffic.received = true;
            return false;
        }
        let end = self.input.len().min(READ_BYTES_MAX);
        let done = self.session.receive(now, &self.input[..end], &mut self.out);
        assert!(done <= end);
        self.input.drain(..done);
        self.session.flush(&mut self.out);
        self.check();
        done > 0
    }

    fn take_events(&mut self, now: Instant) -> bool {
        if self.out.is_full() {
            return false;
        }
        let Some(client) = self.session.client() else { return false };
        let mut cx = Context::from_waker(Waker::noop());
        if client.poll_events(&mut cx, &mut self.events) == Poll::Pending {
            return false;
        }
        self.session.events(now, &mut self.events, &mut self.out);
        assert!(self.events.is_empty());
        self.session.flush(&mut self.out);
        self.check();
        true
    }

    /// The client reads at most so many bytes. True: it read something.
    fn read(&mut self, mut at_most: usize) -> bool {
        let mut any = false;
        while !self.out.is_empty() && at_most > 0 {
            let mut slices = std::array::from_fn(|_| IoSlice::new(&[]));
            let filled = self.out.slices(&mut slices);
            assert!(filled > 0 && slices[..filled].iter().all(|slice| !slice.is_empty()));
            let mut written = 0;
            for slice in &slices[..filled] {
                let taken = &slice[..slice.len().min(at_most)];
                self.reader.read(taken);
                at_most -= taken.len();
                written += taken.len();
            }
            self.out.advance(written);
            self.traffic.sent = true;
            any = true;
        }
        any
    }

    fn check(&self) {
        assert!(self.out.len() <= OUTBOUND_BYTES_MAX, "{} bytes wait to be written", self.out.len());
    }
}
