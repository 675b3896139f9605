//! What the hot path costs: cutting and reading one publish, writing one delivery. Neither may allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lepus::wire::{ContentHeader, Properties, Publish, cut, write_content, write_deliver, write_publish};

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

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

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn publish(properties: &Properties<'_>) -> Vec<u8> {
    let (mut raw, mut out) = (Vec::new(), Vec::new());
    properties.encode(&mut raw);
    write_publish(&mut out, 1, "", "queue", false);
    write_content(&mut out, 1, &raw, &[b'x'; 100], 131_072);
    out
}

/// Method, header and body frame, read as the session does.
fn read(mut input: &[u8]) -> usize {
    let mut next = || {
        let (frame, taken) = cut(input, 131_072).ok().flatten().expect("whole frames");
        input = &input[taken..];
        frame
    };
    let method = next();
    let publish = Publish::decode(&method.payload[4..]).expect("a publish");
    let header = ContentHeader::decode(next().payload).expect("a header");
    let properties = Properties::decode(header.properties).expect("properties");
    let body = next().payload;
    black_box((publish, properties.priority, body)).2.len()
}

fn without_allocations(name: &str, mut work: impl FnMut()) {
    work();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..1000 {
        work();
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "{name} allocates");
}

fn hot_path(criterion: &mut Criterion) {
    let plain = publish(&Properties { delivery_mode: Some(2), ..Properties::default() });
    let rich = publish(&Properties {
        content_type: Some(b"application/json"),
        headers: Some(lepus::wire::RawTable(b"\x01aS\0\0\0\x01b\x01cI\0\0\0\x07")),
        delivery_mode: Some(2),
        message_id: Some(b"0123456789abcdef"),
        ..Properties::default()
    });
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    for (name, frames) in [("read a plain publish", &plain), ("read a rich publish", &rich)] {
        without_allocations(name, || {
            black_box(read(black_box(frames)));
        });
        group.bench_function(name, |bencher| bencher.iter(|| read(black_box(frames))));
    }
    let mut out = Vec::with_capacity(1024);
    let mut deliver = || {
        out.clear();
        write_deliver(&mut out, 1, b"\x04ctag", 7, false, b"\x00\x05queue");
        write_content(&mut out, 1, b"\x10\x00\x02", black_box(&[b'x'; 100]), 131_072);
        black_box(out.len());
    };
    without_allocations("write a delivery", &mut deliver);
    group.bench_function("write a delivery", |bencher| bencher.iter(&mut deliver));
    group.finish();
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
