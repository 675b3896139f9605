//! Time to cut and read one publish, and to write one delivery; and that neither allocates.
//!
//! A publish is three frames: method, header and body. The buffer holds many of them, as a read of the socket does.
//!
//! Unsafe: the allocator that counts, which is unsafe by its nature.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};

use lepus::wire::{
    ContentHeader, Frame, Method, Properties, Publish, RawTable, Table, Value, cut, write_content, write_deliver,
    write_publish,
};

const FRAME_MAX: u32 = 131_072;
/// In one read of the socket.
const MESSAGES: usize = 256;
/// What a connection gathers before it writes.
const OUT_BYTES: usize = 64 * 1024;
const BODY: &[u8] = b"sixteen bytes ok";

criterion_group!(benches, read, write);
criterion_main!(benches);

fn read(criterion: &mut Criterion) {
    for (name, properties) in [("minimal", minimal()), ("rich", rich())] {
        let buffer = publishes(&properties);
        bench(criterion, &format!("publish/{name}/raw"), &buffer, |input| {
            black_box(read_publish(input));
        });
        bench(criterion, &format!("publish/{name}/properties"), &buffer, |input| {
            let header = read_publish(input);
            black_box(Properties::decode(header.properties).expect("readable"));
        });
    }
    // The way around the hand-written one, to compare with.
    bench(criterion, "publish/minimal/Method", &publishes(&minimal()), |input| {
        black_box(Method::decode(next(input).payload).expect("readable"));
        black_box(ContentHeader::decode(next(input).payload).expect("readable"));
        black_box(next(input));
    });
}

/// Cuts and reads one message after the other out of `buffer`, over and over.
fn bench(criterion: &mut Criterion, name: &str, buffer: &[u8], mut read: impl FnMut(&mut &[u8])) {
    let mut rest = buffer;
    without_allocation(|| {
        while !rest.is_empty() {
            read(&mut rest);
        }
    });
    criterion.bench_function(name, |b| {
        b.iter(|| {
            if rest.is_empty() {
                rest = black_box(buffer);
            }
            read(&mut rest);
        });
    });
}

fn write(criterion: &mut Criterion) {
    for (name, properties) in [("minimal", minimal()), ("rich", rich())] {
        let mut out = Vec::with_capacity(OUT_BYTES);
        let mut tag = 0;
        let mut write = || {
            if out.len() > OUT_BYTES - 1024 {
                out.clear();
            }
            tag += 1;
            let consumer_tag = black_box(b"\x1famq.ctag-0123456789abcdefghijkl");
            write_deliver(&mut out, 1, consumer_tag, tag, false, black_box(b"\x00\x0corders.eu.12"));
            write_content(&mut out, 1, black_box(&properties), black_box(BODY), FRAME_MAX);
        };
        without_allocation(|| (0..10_000).for_each(|_| write()));
        criterion.bench_function(&format!("delivery/{name}"), |b| b.iter(&mut write));
    }
}

/// What the session does with what it has read.
fn read_publish<'a>(input: &mut &'a [u8]) -> ContentHeader<'a> {
    let publish = Publish::decode(next(input).payload.strip_prefix(&Publish::IDS).expect("a publish"));
    let header = ContentHeader::decode(next(input).payload).expect("a header");
    black_box((publish.expect("readable"), next(input).payload));
    header
}

fn next<'a>(input: &mut &'a [u8]) -> Frame<'a> {
    let (frame, length) = cut(input, FRAME_MAX).expect("fine").expect("whole");
    *input = &input[length..];
    frame
}

fn without_allocation(run: impl FnOnce()) {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "this path must not allocate");
}

fn publishes(properties: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    for _ in 0..MESSAGES {
        write_publish(&mut buffer, 1, "", "orders.eu.12", false);
        write_content(&mut buffer, 1, properties, BODY, FRAME_MAX);
    }
    buffer
}

fn minimal() -> Vec<u8> {
    encoded(Properties { delivery_mode: Some(1), ..Properties::default() })
}

fn rich() -> Vec<u8> {
    let mut headers = Table::default();
    headers.insert("x-tenant", Value::from("eu-west"));
    headers.insert("attempt", Value::I32(3));
    headers.insert("trace", Value::Binary(vec![7; 16]));
    let mut entries = Vec::new();
    headers.encode_bare(&mut entries);
    encoded(Properties {
        content_type: Some(b"application/json"),
        content_encoding: Some(b"utf-8"),
        headers: Some(RawTable(&entries)),
        delivery_mode: Some(2),
        priority: Some(5),
        correlation_id: Some(b"7b3f0c52-5c0e-4c9a-b8d5-0a86a9c1b9a1"),
        reply_to: Some(b"amq.rabbitmq.reply-to"),
        expiration: Some(b"60000"),
        message_id: Some(b"order-4711"),
        timestamp: Some(1_700_000_000),
        kind: Some(b"order.created"),
        user_id: Some(b"guest"),
        app_id: Some(b"shop"),
        cluster_id: None,
    })
}

fn encoded(properties: Properties<'_>) -> Vec<u8> {
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    raw
}

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: hands everything to the system's allocator unchanged.
#[allow(unsafe_code, reason = "an allocator is unsafe by its nature")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
