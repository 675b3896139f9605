//! Sessions on a stream in memory, with the lanes as tasks.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;

use super::*;
use crate::amqp::HUGE_BODY_MIN;
use crate::amqp::driver::{Transport, serve};

impl Transport for DuplexStream {}

/// A broker with its lanes, and one client's end of a connection.
struct Wire {
    broker: Broker,
    stream: DuplexStream,
    /// One task.
    serving: JoinSet<Ended>,
    lanes: JoinSet<()>,
    input: Vec<u8>,
}

impl Wire {
    /// Not even the protocol header is sent. The stream holds `capacity` bytes in each direction.
    fn new(capacity: usize, options: Options) -> Self {
        let World { broker, lanes, .. } = World::new();
        let lanes = lanes.into_iter().map(Lane::run).collect();
        let (stream, theirs) = duplex(capacity);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let peer = Peer::new(addr, addr);
        let serving = [serve(theirs, peer, broker.clone(), Arc::new(options), (), ())].into_iter().collect();
        Self { broker, stream, serving, lanes, input: Vec::new() }
    }

    /// An open connection with channel 1.
    async fn open(capacity: usize, heartbeat_s: u16) -> Self {
        let mut wire = Self::new(capacity, Options::default());
        wire.write(HEADER).await;
        wire.read_until(|method| matches!(method, Method::ConnectionStart { .. })).await;
        let (mechanism, response, locale) = ("PLAIN", &b"\0guest\0guest"[..], "");
        let client_properties = EMPTY;
        wire.send(0, &Method::ConnectionStartOk { client_properties, mechanism, response, locale }).await;
        wire.send(0, &Method::ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: heartbeat_s }).await;
        wire.send(0, &Method::ConnectionOpen { virtual_host: "/" }).await;
        wire.send(1, &Method::ChannelOpen {}).await;
        wire.read_until(|method| matches!(method, Method::ChannelOpenOk {})).await;
        wire
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, channel: u16, method: &Method<'_>) {
        self.write(&frame(channel, method)).await;
    }

    /// The next frame; `None` at the end of the stream.
    async fn read(&mut self) -> Option<Said> {
        loop {
            if let Some((Frame { kind, channel, payload }, taken)) = cut(&self.input, u32::MAX).unwrap() {
                let said = Said { kind, channel, payload: payload.to_vec() };
                self.input.drain(..taken);
                return Some(said);
            }
            let read = self.stream.read_buf(&mut self.input);
            let n = tokio::time::timeout(Duration::from_secs(20), read).await.expect("something comes").unwrap();
            if n == 0 {
                return None;
            }
        }
    }

    /// Passes over frames up to such a method.
    async fn read_until(&mut self, is_wanted: impl Fn(&Method<'_>) -> bool) {
        loop {
            let said = self.read().await.expect("it comes before the end");
            if said.kind == FrameKind::Method && is_wanted(&Method::decode(&said.payload).unwrap()) {
                return;
            }
        }
    }

    /// The end of the connection, and of the broker.
    async fn ended(mut self) -> Ended {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.serving.join_next());
        let ended = ended.await.expect("it ends").unwrap().unwrap();
        assert_eq!(self.broker.connection_count(), 0);
        self.broker.stop();
        self.lanes.join_all().await;
        ended
    }

    async fn close(mut self) {
        self.send(0, &close_connection()).await;
        self.read_until(|method| matches!(method, Method::ConnectionCloseOk {})).await;
        self.stream.shutdown().await.unwrap();
        assert!(self.read().await.is_none());
        assert_eq!(self.ended().await, Ended::ClosedByClient);
    }
}

/// Opened and closed in one turn: the handshake is over although the socket stays.
#[tokio::test]
async fn a_handshake_ends_with_a_connection_that_closes_at_once() {
    let World { broker, lanes, .. } = World::new();
    let lanes: JoinSet<()> = lanes.into_iter().map(Lane::run).collect();
    let (mut stream, theirs) = duplex(1_000_000);
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let (handshake, over) = tokio::sync::oneshot::channel::<()>();
    let serving = serve(theirs, Peer::new(addr, addr), broker.clone(), Arc::default(), handshake, ());
    let start_ok = Method::ConnectionStartOk {
        client_properties: EMPTY,
        mechanism: "PLAIN",
        response: b"\0guest\0guest",
        locale: "",
    };
    let mut all = HEADER.to_vec();
    all.extend(frame(0, &start_ok));
    all.extend(frame(0, &Method::ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 0 }));
    all.extend(frame(0, &Method::ConnectionOpen { virtual_host: "/" }));
    all.extend(frame(0, &close_connection()));
    stream.write_all(&all).await.unwrap();
    let mut serving = JoinSet::from_iter([serving]);
    tokio::time::timeout(Duration::from_secs(20), over).await.expect("the handshake ends").unwrap_err();
    assert!(serving.try_join_next().is_none());
    drop(stream);
    assert_eq!(serving.join_next().await.unwrap().unwrap(), Ended::ClosedByClient);
    broker.stop();
    lanes.join_all().await;
}

/// Streams of any capacity: frames are cut and put together wherever the bytes happen to end.
#[tokio::test]
async fn large_bodies_through_small_pipes() {
    for capacity in [7, 1000, 100_000, 10_000_000] {
        let mut wire = Wire::open(capacity, 0).await;
        wire.send(1, &declare("q")).await;
        wire.send(1, &consume("q", "c", true)).await;
        wire.read_until(|method| matches!(method, Method::BasicConsumeOk { .. })).await;
        let length = if capacity == 7 { 40_000 } else { 1_000_000 };
        let body: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        for _ in 0..3 {
            wire.write(&publish(1, "", "q", &body, false)).await;
            wire.read_until(|method| matches!(method, Method::BasicDeliver { .. })).await;
            wire.read().await;
            let mut delivered = Vec::new();
            while delivered.len() < body.len() {
                delivered.extend(wire.read().await.unwrap().payload);
            }
            assert!(delivered == body);
        }
        wire.close().await;
    }
}

/// Whoever moves a huge body lets others run all the while, on its way in and on its way out.
#[tokio::test]
async fn huge_bodies_let_others_run() {
    const PIECE: usize = 256 * 1024;
    let huge = usize::try_from(HUGE_BODY_MIN).unwrap();
    let body: Vec<u8> = (0..4 * huge).map(|n| (n % 251) as u8).collect();
    // All of it fits the pipe at once.
    let mut wire = Wire::open(8 * huge, 0).await;
    wire.send(1, &declare("q")).await;
    wire.send(1, &confirm_select()).await;
    wire.read_until(|method| matches!(method, Method::ConfirmSelectOk {})).await;
    let turns = Arc::new(AtomicUsize::new(0));
    let counting = turns.clone();
    let _others = JoinSet::from_iter([async move {
        loop {
            counting.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    }]);
    let mut counted = 0;
    let mut turns_since = || {
        let before = std::mem::replace(&mut counted, turns.load(Ordering::Relaxed));
        counted - before
    };

    turns_since();
    wire.write(&publish(1, "", "q", &body, false)).await;
    wire.read_until(|method| matches!(method, Method::BasicAck { .. })).await;
    let while_it_came = turns_since();
    wire.send(1, &consume("q", "c", true)).await;
    wire.read_until(|method| matches!(method, Method::BasicDeliver { .. })).await;
    assert_eq!(wire.read().await.unwrap().kind, FrameKind::Header);
    let mut delivered = Vec::new();
    while delivered.len() < body.len() {
        delivered.extend(wire.read().await.unwrap().payload);
    }
    let while_it_left = turns_since();
    assert!(delivered == body);
    // The last of it is not huge any more.
    let least = (body.len() - huge) / PIECE;
    assert!(while_it_came >= least && while_it_left >= least, "{while_it_came} and {while_it_left} of {least}");
    wire.close().await;
}

/// A client that lets deliveries pile up gets them all when it reads on, with no heartbeat to wake anybody.
#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let mut wire = Wire::open(1 << 16, 0).await;
    wire.send(1, &declare("q")).await;
    wire.send(1, &confirm_select()).await;
    let batch: Vec<u8> = (0..100).flat_map(|_| publish(1, "", "q", &[7; 1000], false)).collect();
    for _ in 0..100 {
        wire.write(&batch).await;
    }
    wire.read_until(|method| matches!(method, Method::BasicAck { delivery_tag: 10_000, .. })).await;
    wire.send(1, &consume("q", "c", false)).await;
    // What is in the pipe waits to be read, more waits in the session, the most in the queue; then a request comes.
    wire.send(1, &Method::ChannelFlow { active: true }).await;
    let (mut delivered, mut flowed) = (0, false);
    while delivered < 10_000 || !flowed {
        let said = wire.read().await.unwrap();
        if said.kind == FrameKind::Method {
            match Method::decode(&said.payload).unwrap() {
                Method::BasicDeliver { delivery_tag, .. } => {
                    delivered += 1;
                    assert_eq!(delivery_tag, delivered);
                }
                Method::ChannelFlowOk { .. } => flowed = true,
                _ => {}
            }
        }
    }
    wire.close().await;
}

/// Heartbeats of a client that does not read what it is sent are heard all the same, and so is its end.
#[tokio::test]
async fn a_client_that_does_not_read_is_heard() {
    let mut wire = Wire::open(1 << 12, 1).await;
    wire.send(1, &declare("q")).await;
    let body = vec![7; 1_000_000];
    wire.write(&publish(1, "", "q", &body, false)).await;
    wire.send(1, &consume("q", "c", true)).await;
    let silent_since = Instant::now();
    while silent_since.elapsed() < Duration::from_millis(3500) {
        wire.write(&heartbeat()).await;
        let ended = tokio::time::timeout(Duration::from_millis(300), wire.serving.join_next());
        ended.await.expect_err("it goes on");
    }
    let Wire { broker, stream, serving, lanes, .. } = wire;
    drop(stream);
    let wire = Wire { broker, stream: duplex(1).0, serving, lanes, input: Vec::new() };
    assert_eq!(wire.ended().await, Ended::Disconnected);
}

/// A peer that is given up is not waited for, though there is something left to write.
#[tokio::test]
async fn a_dead_peer_is_dropped() {
    let mut wire = Wire::open(1 << 12, 1).await;
    wire.send(1, &declare("q")).await;
    wire.write(&publish(1, "", "q", &vec![7; 1_000_000], false)).await;
    wire.send(1, &consume("q", "c", true)).await;
    assert_eq!(wire.ended().await, Ended::HeartbeatTimeout);
}

/// One that never reads its close-ok is waited for a little.
#[tokio::test]
async fn last_words_have_a_deadline() {
    let mut wire = Wire::open(1 << 12, 1).await;
    wire.send(1, &declare("q")).await;
    wire.write(&publish(1, "", "q", &vec![7; 100_000], false)).await;
    wire.send(1, &consume("q", "c", true)).await;
    wire.send(0, &close_connection()).await;
    assert_eq!(wire.ended().await, Ended::ClosedByClient);
}

#[tokio::test]
async fn a_wrong_header_is_answered() {
    let mut wire = Wire::new(1 << 10, Options::default());
    wire.write(b"GET / HTTP/1.1\r\n\r\n").await;
    let mut answer = Vec::new();
    wire.stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, HEADER);
    assert_eq!(wire.ended().await, Ended::BadHeader);
}

/// FEATURES HS-8; and what was held for the handshake is let go.
#[tokio::test]
async fn a_handshake_that_stops_is_ended() {
    let options = Options { handshake_timeout: Duration::from_millis(50), ..Options::default() };
    let mut wire = Wire::new(1 << 10, options);
    wire.write(b"AMQP").await;
    assert_eq!(wire.ended().await, Ended::HandshakeTimeout);
}

/// An idle connection holds a task and a session, and no buffers.
#[tokio::test]
async fn idle_connections_are_small() {
    let World { broker, .. } = World::new();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let peer = Peer::new(addr, addr);
    let future = serve(duplex(1).0, peer, broker, Arc::new(Options::default()), (), ());
    assert!(size_of_val(&future) <= 1536, "{}", size_of_val(&future));
}
