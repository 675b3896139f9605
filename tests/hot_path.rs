//! What a message costs in allocations, from the publisher's socket to the consumer's: a count, so that it says the same
//! on every machine. A regression of a tenth fails.
//!
//! A binary of its own, with one test: the allocator counts for the whole process.
//!
//! Unsafe: the allocator that counts, which is unsafe by its nature.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lepus::Server;
use lepus::wire::{FrameKind, Method, RawTable, cut, write_ack, write_content, write_publish};

/// Counts what is asked for; growing in place counts, too.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const FRAME_MAX: u32 = 131_072;
/// Messages on their way at once: far below the marks at which sockets are not read.
const BATCH: usize = 256;
const WARM_UP_BATCHES: usize = 64;
const BATCHES: usize = 256;

/// What a run sends.
struct Load {
    durable: bool,
    acked: bool,
    body: usize,
    /// Allocations a message, at most.
    most: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_allocated_once() {
    let place = std::env::temp_dir().join(format!("lepus-hot-path-{}", std::process::id()));
    let server = Server::builder().data_dir(&place).amqp("127.0.0.1:0").start().await.expect("it starts");
    let address = server.amqp_addr();
    for load in [
        Load { durable: false, acked: false, body: 16, most: 1.15 },
        Load { durable: false, acked: true, body: 16, most: 1.15 },
        Load { durable: false, acked: false, body: 1024, most: 1.15 },
        Load { durable: true, acked: true, body: 1024, most: 1.2 },
    ] {
        let cost = tokio::task::spawn_blocking(move || {
            let cost = Client::connect(address).run(&load);
            assert!(
                cost <= load.most,
                "{} B, acked {}, durable {}: {cost:.3} allocations a message, at most {}",
                load.body,
                load.acked,
                load.durable,
                load.most
            );
            (load, cost)
        });
        let (load, cost) = cost.await.expect("the client ends");
        println!("{} B, acked {}, durable {}: {cost:.3} allocations a message", load.body, load.acked, load.durable);
    }
    server.shutdown().await;
    let _ = std::fs::remove_dir_all(place);
}

/// A blocking client that allocates nothing once it runs.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Client {
    fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let mut client = Self { stream, buffer: vec![0; 1 << 20], filled: 0 };
        client.stream.write_all(b"AMQP\x00\x00\x09\x01").expect("it reads");
        client.expect(|method| matches!(method, Method::ConnectionStart { .. }));
        let (mechanism, response, locale) = ("PLAIN", &b"\0guest\0guest"[..], "en_US");
        let client_properties = RawTable::default();
        client.send(0, &Method::ConnectionStartOk { client_properties, mechanism, response, locale });
        client.expect(|method| matches!(method, Method::ConnectionTune { .. }));
        client.send(0, &Method::ConnectionTuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 });
        client.send(0, &Method::ConnectionOpen { virtual_host: "/" });
        client.expect(|method| matches!(method, Method::ConnectionOpenOk {}));
        client.send(1, &Method::ChannelOpen {});
        client.expect(|method| matches!(method, Method::ChannelOpenOk {}));
        client
    }

    /// Sends messages to itself, batch by batch; allocations of the process for each.
    fn run(mut self, load: &Load) -> f64 {
        let queue = "hot-path";
        let arguments = RawTable::default();
        let durable = load.durable;
        let (passive, exclusive, auto_delete, nowait) = (false, true, false, false);
        self.send(1, &Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, nowait, arguments });
        self.expect(|method| matches!(method, Method::QueueDeclareOk { .. }));
        let (consumer_tag, no_local, no_ack, exclusive) = ("tag", false, !load.acked, false);
        self.send(1, &Method::BasicConsume { queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments });
        self.expect(|method| matches!(method, Method::BasicConsumeOk { .. }));
        let properties: &[u8] = if durable { &[0x10, 0x00, 2] } else { &[0, 0] };
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            write_publish(&mut batch, 1, "", queue, false);
            write_content(&mut batch, 1, properties, &vec![b'x'; load.body], FRAME_MAX);
        }
        let mut acks = Vec::with_capacity(64);
        let mut tag = 0;
        let mut before = 0;
        for number in 0..WARM_UP_BATCHES + BATCHES {
            if number == WARM_UP_BATCHES {
                before = ALLOCATIONS.load(Ordering::SeqCst);
            }
            self.stream.write_all(&batch).expect("it reads");
            self.receive(BATCH);
            tag += BATCH as u64;
            if load.acked {
                acks.clear();
                write_ack(&mut acks, 1, tag, true);
                self.stream.write_all(&acks).expect("it reads");
            }
        }
        let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
        allocations as f64 / (BATCHES * BATCH) as f64
    }

    /// Reads until so many bodies have come.
    fn receive(&mut self, mut bodies: usize) {
        while bodies > 0 {
            self.read();
            let mut at = 0;
            while let Some((frame, taken)) = cut(&self.buffer[at..self.filled], FRAME_MAX).expect("it frames") {
                at += taken;
                bodies -= usize::from(frame.kind == FrameKind::Body);
            }
            self.consumed(at);
        }
    }

    fn expect(&mut self, is_wanted: impl Fn(&Method<'_>) -> bool) {
        let mut found = false;
        while !found {
            self.read();
            let mut at = 0;
            while let Some((frame, taken)) = cut(&self.buffer[at..self.filled], FRAME_MAX).expect("it frames") {
                at += taken;
                found |=
                    frame.kind == FrameKind::Method && is_wanted(&Method::decode(frame.payload).expect("a method"));
            }
            self.consumed(at);
        }
    }

    fn read(&mut self) {
        let read = self.stream.read(&mut self.buffer[self.filled..]).expect("it answers");
        assert!(read > 0, "it goes on");
        self.filled += read;
    }

    fn consumed(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    fn send(&mut self, channel: u16, method: &Method<'_>) {
        let mut frame = Vec::new();
        method.encode_frame(channel, &mut frame);
        self.stream.write_all(&frame).expect("it reads");
    }
}
