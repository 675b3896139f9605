//! Sessions against a real broker in memory, in virtual time: no socket, no task, no clock. Frames go in, lanes are
//! turned by hand, frames come out.

mod alarm;
mod backlog;
mod channel;
mod closing;
mod confirm;
mod consume;
mod driver;
mod framing;
mod fuzz;
mod handshake;
mod settle;
mod tx;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::outbound::PIECES_MAX;
use super::{Ended, Options, Outbound, Peer, Session, Traffic};
use crate::auth::{Auth, Secret};
use crate::broker::{self, Broker, Event, Lane};
use crate::wire::{
    self, ContentHeader, FRAME_END, Frame, FrameKind, Method, RawTable, Table, Value, cut, write_content, write_frame,
    write_publish,
};

const HEADER: &[u8] = b"AMQP\0\0\x09\x01";
const EMPTY: RawTable<'static> = RawTable(&[]);

/// A broker whose lanes are turned by hand, and the sessions of its clients.
struct World {
    broker: Broker,
    lanes: Vec<Lane>,
    now: Instant,
    options: Arc<Options>,
    clients: Vec<Client>,
}

/// A client's end of a connection.
struct Client {
    session: Session,
    out: Outbound,
    /// Sent and not taken by the session.
    input: Vec<u8>,
    /// Written by the session and not looked at.
    frames: VecDeque<Said>,
    /// Something that is no frame, as yet.
    bytes: Vec<u8>,
    traffic: Traffic,
}

/// A frame that the session wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    kind: FrameKind,
    channel: u16,
    payload: Vec<u8>,
}

/// Which client of the world.
type Id = usize;

impl World {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let auth = Auth::new();
        auth.put_user("guest", Secret::Password("guest"), ["administrator"]).unwrap();
        let (broker, lanes) =
            Broker::new(broker::Options { lanes: 2, connection_max: Some(100), ..broker::Options::default() }, auth);
        broker.add_vhost("/");
        broker.auth().set_permissions("/", "guest", ".*", ".*", ".*").unwrap();
        Self { broker, lanes, now: Instant::now(), options: Arc::new(options), clients: Vec::new() }
    }

    // --- clients ---

    /// A connection that has sent nothing yet.
    fn accept(&mut self) -> Id {
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let peer = Peer::new(addr(40_000), addr(5672));
        let session = Session::new(self.broker.clone(), self.options.clone(), peer, self.now);
        self.clients.push(Client {
            session,
            out: Outbound::default(),
            input: Vec::new(),
            frames: VecDeque::new(),
            bytes: Vec::new(),
            traffic: Traffic::default(),
        });
        self.clients.len() - 1
    }

    /// An open connection with all client capabilities.
    fn connect(&mut self) -> Id {
        self.connect_with(0, 131_072, &["consumer_cancel_notify", "connection.blocked"])
    }

    fn connect_with(&mut self, heartbeat_s: u16, frame_max: u32, capabilities: &[&str]) -> Id {
        let id = self.accept();
        self.bytes(id, HEADER);
        self.next_method(id, |channel, method| {
            assert!(matches!((channel, method), (0, Method::ConnectionStart { .. })));
        });
        self.start_ok(id, "PLAIN", b"\0guest\0guest", capabilities);
        let tune = Method::ConnectionTune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
        self.expect(id, 0, &tune);
        let tune_ok = Method::ConnectionTuneOk { channel_max: 2047, frame_max, heartbeat: heartbeat_s };
        self.send(id, 0, &tune_ok);
        self.send(id, 0, &Method::ConnectionOpen { virtual_host: "/" });
        self.expect(id, 0, &Method::ConnectionOpenOk {});
        id
    }

    fn start_ok(&mut self, id: Id, mechanism: &str, response: &[u8], capabilities: &[&str]) {
        let capabilities: Table = capabilities.iter().map(|name| (name, Value::Bool(true))).collect();
        let properties: Table = [("capabilities", Value::Table(capabilities))].into_iter().collect();
        let mut encoded = Vec::new();
        properties.encode_bare(&mut encoded);
        let client_properties = RawTable(&encoded);
        self.send(id, 0, &Method::ConnectionStartOk { client_properties, mechanism, response, locale: "en_US" });
    }

    /// A connection with channel 1 open.
    fn connect_channel(&mut self) -> Id {
        let id = self.connect();
        self.open_channel(id, 1);
        id
    }

    fn open_channel(&mut self, id: Id, channel: u16) {
        self.send(id, channel, &Method::ChannelOpen {});
        self.expect(id, channel, &Method::ChannelOpenOk {});
    }

    // --- in ---

    fn bytes(&mut self, id: Id, bytes: &[u8]) {
        self.clients[id].input.extend_from_slice(bytes);
        self.clients[id].traffic.received = true;
        self.take_input(id);
    }

    /// Lets the session take what it wants of what was sent, and write.
    fn take_input(&mut self, id: Id) {
        let (now, client) = (self.now, &mut self.clients[id]);
        let done = client.session.receive(now, &client.input, &mut client.out);
        client.input.drain(..done);
        client.session.flush(&mut client.out);
        client.collect();
    }

    fn send(&mut self, id: Id, channel: u16, method: &Method<'_>) {
        self.bytes(id, &frame(channel, method));
    }

    fn publish(&mut self, id: Id, channel: u16, exchange: &str, key: &str, body: &[u8]) {
        self.bytes(id, &publish(channel, exchange, key, body, false));
    }

    fn publish_mandatory(&mut self, id: Id, channel: u16, key: &str, body: &[u8]) {
        self.bytes(id, &publish(channel, "", key, body, true));
    }

    /// Sends a request and turns the lanes until it is answered.
    fn ask(&mut self, id: Id, channel: u16, method: &Method<'_>) {
        self.send(id, channel, method);
        self.run();
    }

    fn declare(&mut self, id: Id, channel: u16, queue: &str) {
        self.ask(id, channel, &declare(queue));
        self.expect(id, channel, &declare_ok(queue, 0, 0));
    }

    fn consume(&mut self, id: Id, channel: u16, queue: &str, tag: &str) {
        self.ask(id, channel, &consume(queue, tag, false));
        self.expect(id, channel, &Method::BasicConsumeOk { consumer_tag: tag });
    }

    // --- the broker's side ---

    /// Turns the lanes and hands events to sessions until nothing moves any more.
    fn run(&mut self) {
        for _ in 0..1000 {
            self.turn_lanes();
            let moved = (0..self.clients.len()).fold(false, |moved, id| self.take_events(id) | moved);
            if !moved {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn turn_lanes(&mut self) {
        for lane in &mut self.lanes {
            lane.turn(self.now);
        }
    }

    fn take_events(&mut self, id: Id) -> bool {
        let now = self.now;
        let client = &mut self.clients[id];
        let mut events: Vec<Event> = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        let moved =
            client.session.client().is_some_and(|client| client.poll_events(&mut cx, &mut events) == Poll::Ready(()));
        client.session.events(now, &mut events, &mut client.out);
        client.session.flush(&mut client.out);
        client.collect();
        self.take_input(id);
        moved
    }

    // --- time ---

    /// Lets time pass; timeouts ring when they are due.
    fn pass(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        loop {
            let due = |client: &Client| client.session.next_timeout().filter(|at| *at <= until);
            let Some(at) = self.clients.iter().filter_map(due).min() else {
                break;
            };
            self.now = at.max(self.now);
            for client in &mut self.clients {
                if due(client).is_some_and(|due| due <= self.now) {
                    let traffic = std::mem::take(&mut client.traffic);
                    client.session.timeout(self.now, traffic, &mut client.out);
                    client.collect();
                }
            }
        }
        self.now = until;
    }

    fn ended(&self, id: Id) -> Option<&Ended> {
        let session = &self.clients[id].session;
        if session.is_closed() { Some(&Ended::ClosedByClient) } else { session.ended() }
    }

    // --- out ---

    fn next(&mut self, id: Id) -> Said {
        match self.clients[id].frames.pop_front() {
            Some(said) => said,
            None => panic!("nothing was said; the session ended: {:?}", self.ended(id)),
        }
    }

    fn next_method<R>(&mut self, id: Id, look: impl FnOnce(u16, Method<'_>) -> R) -> R {
        let said = self.next(id);
        assert_eq!(said.kind, FrameKind::Method);
        look(said.channel, Method::decode(&said.payload).unwrap())
    }

    /// The next frame is this method.
    #[track_caller]
    fn expect(&mut self, id: Id, channel: u16, expected: &Method<'_>) {
        let said = self.next(id);
        assert_eq!(said.kind, FrameKind::Method, "instead of {expected:?}");
        assert_eq!((said.channel, Method::decode(&said.payload).unwrap()), (channel, *expected));
    }

    /// The next frames are this method and its content; gives the body.
    #[track_caller]
    fn expect_content(&mut self, id: Id, channel: u16, expected: &Method<'_>) -> Vec<u8> {
        self.expect(id, channel, expected);
        let header = self.next(id);
        assert_eq!((header.kind, header.channel), (FrameKind::Header, channel));
        let size = ContentHeader::decode(&header.payload).unwrap().body_size as usize;
        let mut body = Vec::new();
        while body.len() < size {
            let piece = self.next(id);
            assert_eq!((piece.kind, piece.channel), (FrameKind::Body, channel));
            body.extend(piece.payload);
        }
        body
    }

    /// The next frames deliver this body.
    #[track_caller]
    fn expect_delivery(&mut self, id: Id, channel: u16, consumer_tag: &str, delivery_tag: u64, body: &[u8]) {
        self.expect_delivery_of(id, channel, consumer_tag, delivery_tag, false, body);
    }

    #[track_caller]
    fn expect_redelivery(&mut self, id: Id, channel: u16, consumer_tag: &str, delivery_tag: u64, body: &[u8]) {
        self.expect_delivery_of(id, channel, consumer_tag, delivery_tag, true, body);
    }

    #[track_caller]
    fn expect_delivery_of(
        &mut self,
        id: Id,
        channel: u16,
        consumer_tag: &str,
        delivery_tag: u64,
        redelivered: bool,
        body: &[u8],
    ) {
        let (exchange, routing_key) = ("", "q");
        let deliver = Method::BasicDeliver { consumer_tag, delivery_tag, redelivered, exchange, routing_key };
        assert_eq!(self.expect_content(id, channel, &deliver), body);
    }

    /// A channel.close with this code, method and text.
    #[track_caller]
    fn expect_channel_close(&mut self, id: Id, channel: u16, reply_code: u16, ids: (u16, u16), reply_text: &str) {
        let (class_id, method_id) = ids;
        self.expect(id, channel, &Method::ChannelClose { reply_code, reply_text, class_id, method_id });
    }

    /// A connection.close with this code, method and text.
    #[track_caller]
    fn expect_connection_close(&mut self, id: Id, reply_code: u16, ids: (u16, u16), reply_text: &str) {
        let (class_id, method_id) = ids;
        self.expect(id, 0, &Method::ConnectionClose { reply_code, reply_text, class_id, method_id });
    }

    #[track_caller]
    fn expect_nothing(&mut self, id: Id) {
        assert_eq!(self.clients[id].frames, [], "{:?}", self.clients[id].said());
        assert_eq!(self.clients[id].bytes, b"");
    }

    /// Everything said is taken and thrown away.
    fn ignore(&mut self, id: Id) {
        self.clients[id].frames.clear();
    }

    /// Answers the session's connection.close; then it has ended.
    #[track_caller]
    fn close_ok(&mut self, id: Id) {
        self.send(id, 0, &Method::ConnectionCloseOk {});
        assert!(matches!(self.ended(id), Some(Ended::ClosedByServer(_))), "{:?}", self.ended(id));
    }

    /// Ready messages and consumers of a queue, asked on a connection of its own.
    fn counts(&mut self, queue: &str) -> Option<(u32, u32)> {
        let id = self.connect_channel();
        self.ask(id, 1, &passive(queue));
        let counts = self.next_method(id, |_, method| match method {
            Method::QueueDeclareOk { message_count, consumer_count, .. } => Some((message_count, consumer_count)),
            _ => None,
        });
        self.send(id, 0, &close_connection());
        self.run();
        assert_eq!(self.ended(id), Some(&Ended::ClosedByClient));
        counts
    }
}

impl Client {
    /// Takes what the session wrote.
    fn collect(&mut self) {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let filled = self.out.slices(&mut slices);
            let written = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
            self.bytes.extend(&written);
            self.out.advance(written.len());
            self.traffic.sent = true;
        }
        while let Ok(Some((Frame { kind, channel, payload }, taken))) = cut(&self.bytes, u32::MAX) {
            self.frames.push_back(Said { kind, channel, payload: payload.to_vec() });
            self.bytes.drain(..taken);
        }
    }

    fn said(&self) -> Vec<String> {
        let show = |said: &Said| match Method::decode(&said.payload) {
            Ok(method) if said.kind == FrameKind::Method => format!("{} {method:?}", said.channel),
            _ => format!("{} {:?}", said.channel, said.kind),
        };
        self.frames.iter().map(show).collect()
    }
}

// --- what clients send ---

fn frame(channel: u16, method: &Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    method.encode_frame(channel, &mut out);
    out
}

fn raw_frame(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(channel.to_be_bytes());
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(payload);
    out.push(end);
    out
}

fn content_header(channel: u16, class: u16, weight: u16, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, FrameKind::Header, channel, |out| {
        out.extend(class.to_be_bytes());
        out.extend(weight.to_be_bytes());
        out.extend(size.to_be_bytes());
        out.extend([0, 0]);
    });
    out
}

fn body_frame(channel: u16, body: &[u8]) -> Vec<u8> {
    raw_frame(FrameKind::Body as u8, channel, body, FRAME_END)
}

fn publish(channel: u16, exchange: &str, key: &str, body: &[u8], mandatory: bool) -> Vec<u8> {
    let mut out = Vec::new();
    write_publish(&mut out, channel, exchange, key, mandatory);
    write_content(&mut out, channel, &[0, 0], body, 131_072);
    out
}

fn publish_method(key: &str) -> Method<'_> {
    Method::BasicPublish { exchange: "", routing_key: key, mandatory: false, immediate: false }
}

fn declare(queue: &str) -> Method<'_> {
    Method::QueueDeclare {
        queue,
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: EMPTY,
    }
}

fn passive(queue: &str) -> Method<'_> {
    Method::QueueDeclare {
        queue,
        passive: true,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: EMPTY,
    }
}

fn exclusive(queue: &str) -> Method<'_> {
    Method::QueueDeclare {
        queue,
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: false,
        arguments: EMPTY,
    }
}

fn declare_ok(queue: &str, message_count: u32, consumer_count: u32) -> Method<'_> {
    Method::QueueDeclareOk { queue, message_count, consumer_count }
}

fn delete(queue: &str) -> Method<'_> {
    Method::QueueDelete { queue, if_unused: false, if_empty: false, nowait: false }
}

fn consume<'a>(queue: &'a str, consumer_tag: &'a str, no_ack: bool) -> Method<'a> {
    let (no_local, exclusive, nowait) = (false, false, false);
    Method::BasicConsume { queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments: EMPTY }
}

fn cancel(consumer_tag: &str) -> Method<'_> {
    Method::BasicCancel { consumer_tag, nowait: false }
}

fn get(queue: &str) -> Method<'_> {
    Method::BasicGet { queue, no_ack: false }
}

fn ack(delivery_tag: u64, multiple: bool) -> Method<'static> {
    Method::BasicAck { delivery_tag, multiple }
}

fn nack(delivery_tag: u64, multiple: bool, requeue: bool) -> Method<'static> {
    Method::BasicNack { delivery_tag, multiple, requeue }
}

fn close_channel() -> Method<'static> {
    Method::ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 }
}

fn close_connection() -> Method<'static> {
    Method::ConnectionClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 }
}

fn heartbeat() -> Vec<u8> {
    let mut out = Vec::new();
    wire::write_heartbeat(&mut out);
    out
}

fn confirm_select() -> Method<'static> {
    Method::ConfirmSelect { nowait: false }
}

fn qos(prefetch_count: u16, global: bool) -> Method<'static> {
    Method::BasicQos { prefetch_size: 0, prefetch_count, global }
}
