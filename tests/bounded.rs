//! Bounds: whatever a client does or leaves undone, the broker's memory stays within a limit and others are served.

use std::time::Duration;

use futures_util::future::join_all;
use lepus::Watermark;
use lepus::broker::Alarm;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::child::Lepus;
use crate::common::place::Place;
use crate::common::raw::{self, Args, Raw, Tune, id};
use crate::common::{ChannelExt, Client, args, builder, connect, eventually, start, within};

const MIB: u64 = 1 << 20;

/// Writes until the socket has taken nothing for this long: the peer has stopped reading.
const STALLED: Duration = Duration::from_millis(500);

/// Writes `bytes` again and again until the broker stops reading or `most` bytes are taken; gives how many were.
async fn write_until_stalled(raw: &mut Raw, bytes: &[u8], most: u64) -> u64 {
    let mut taken = 0;
    while taken < most {
        match tokio::time::timeout(STALLED, raw.try_send(bytes)).await {
            Ok(true) => taken += bytes.len() as u64,
            _ => break,
        }
    }
    taken
}

/// FEATURES FL-1: under an alarm a publisher's socket is not read: what it pours stays with it.
#[tokio::test]
async fn a_flood_under_an_alarm_stays_outside() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    server.broker().set_alarm(Alarm::Memory, true);
    let message = raw::publish(1, "", "q", &[0; 16 << 10]);
    let taken = write_until_stalled(&mut raw, &message, 64 * MIB).await;
    assert!(taken < 32 * MIB, "{taken} bytes were taken");
}

/// FEATURES FL-3: a flood of transient messages that nobody consumes goes to disk as fast as the disk takes it, and the
/// publisher waits meanwhile: memory does not grow with it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_flood_without_consumers_costs_disk() {
    let place = Place::new();
    let lepus = Lepus::start(&["--data-dir", place.0.to_str().expect("text"), "--message-memory", "8MiB"]);
    let mut flood = Raw::open_channel(lepus.address).await;
    flood.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let before = lepus.resident_bytes();
    let mut most = 0;
    for _ in 0..16 {
        for _ in 0..256 {
            flood.send(&raw::publish(1, "", "q", &[7; 64 << 10])).await;
        }
        most = most.max(lepus.resident_bytes());
    }
    // Behind everything that was sent.
    flood.call(1, id::QUEUE_DECLARE, args::queue_declare("other", 0), id::QUEUE_DECLARE_OK).await;
    assert!(most < before + 96 * MIB, "{} MiB are resident, {} before", most / MIB, before / MIB);
    let client = Client::open(&format!("amqp://guest:guest@{}", lepus.address)).await.expect("it listens");
    eventually("all are there", async || (client.count("q").await.0 == 16 * 256).then_some(())).await;
}

/// FEATURES FL-1: a flood sets the alarm off by itself, and the alarm ends when the queue is emptied.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_flood_is_stopped_by_the_watermark() {
    let lepus = Lepus::start(&["--memory-high-watermark", "96MiB"]);
    let capabilities = Args::new().field("connection.blocked", b't', &[1]);
    let mut flood = Raw::open_with(lepus.address, capabilities, |tune| Tune { heartbeat: 0, ..tune }).await;
    flood.channel(1).await;
    flood.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let message = raw::publish(1, "", "q", &[0; 64 << 10]);
    write_until_stalled(&mut flood, &message, 1024 * MIB).await;
    flood.expect(0, id::BLOCKED).await;
    let resident = lepus.resident_bytes();
    assert!(resident < 400 * MIB, "{} MiB are resident", resident / MIB);
    let mut raw = Raw::open_channel(lepus.address).await;
    raw.call(1, id::QUEUE_PURGE, args::queue_purge("q"), id::QUEUE_PURGE_OK).await;
    flood.expect(0, id::UNBLOCKED).await;
}

/// FEATURES DL-6: a consumer that does not read holds little more than its socket: the rest stays in the queue.
#[tokio::test]
async fn an_unread_consumer_holds_little() {
    const COUNT: u32 = 640;
    let server = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    let mut unread = Raw::open_channel(server.amqp_addr()).await;
    unread.method(1, id::CONSUME, args::consume("q", "c", 2)).await;
    client.confirms().await;
    for _ in 0..COUNT {
        client.publish_confirmed("", "q", &[0; 100 << 10]).await;
    }
    let (ready, _) = client.count("q").await;
    // 62 MiB were published; a few MiB of socket buffers on both sides and the mailbox may be on their way.
    assert!(ready > COUNT / 2, "only {ready} of {COUNT} are still in the queue");
    // It is slow, not broken: as soon as it reads, it gets everything.
    unread.expect(1, id::CONSUME_OK).await;
    for _ in 0..COUNT {
        unread.expect(1, id::DELIVER).await;
        unread.content(1).await;
    }
}

/// One client's unread socket does not slow the others. FEATURES DL-5.
#[tokio::test]
async fn an_unread_consumer_does_not_stop_others() {
    let server = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    let mut unread = Raw::open_channel(server.amqp_addr()).await;
    unread.call(1, id::CONSUME, args::consume("q", "c", 2), id::CONSUME_OK).await;
    let mut reader = Raw::open_channel(server.amqp_addr()).await;
    reader.call(1, id::CONSUME, args::consume("q", "d", 2), id::CONSUME_OK).await;
    client.confirms().await;
    // Until the unread one is full they take turns, then the reader has all: at least half of them.
    for _ in 0..400 {
        client.publish_confirmed("", "q", &[0; 100 << 10]).await;
    }
    for _ in 0..200 {
        reader.expect(1, id::DELIVER).await;
        reader.content(1).await;
    }
}

/// Answers nobody reads stop the reading of requests.
#[tokio::test]
async fn unread_answers_stop_the_reading() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let mut requests = Vec::new();
    for _ in 0..1000 {
        requests.extend(raw::method(1, id::CHANNEL_FLOW, Args::new().octet(1)));
    }
    let taken = write_until_stalled(&mut raw, &requests, 256 * MIB).await;
    assert!(taken < 128 * MIB, "{taken} bytes of requests were taken");
}

/// FEATURES HS-8, HS-14: connections that never log in give way to one that does, even when all places are taken.
#[tokio::test]
async fn half_open_handshakes_are_bounded() {
    let builder = builder().handshakes_max(8).handshake_timeout(Duration::from_millis(300));
    let server = builder.start().await.expect("the broker starts");
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Raw::connect(server.amqp_addr()).await);
    }
    // Forty in eights are five deadlines; then it is the turn of the good one.
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.expect_alive(1).await;
}

/// A connection that is through no longer counts as a handshake. FEATURES HS-8.
#[tokio::test]
async fn open_connections_are_no_handshakes() {
    let server = builder().handshakes_max(2).start().await.expect("the broker starts");
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(Raw::open(server.amqp_addr()).await);
    }
}

/// FEATURES M-5, M-7: channels that come and go, used and unused, leave nothing behind.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn channel_churn_leaves_nothing() {
    let lepus = Lepus::start(&[]);
    let mut raw = Raw::open(lepus.address).await;
    let mut resident = 0;
    for round in 0..4 {
        for n in 0..2000_u16 {
            let channel = n % 200 + 1;
            let name = format!("q{n}");
            let mut bytes = raw::method(channel, id::CHANNEL_OPEN, Args::new().shortstr(b""));
            bytes.extend(raw::method(channel, id::QUEUE_DECLARE, args::queue_declare(&name, 16)));
            bytes.extend(raw::method(channel, id::QUEUE_BIND, args::queue_bind(&name, "amq.topic", &name)));
            bytes.extend(raw::method(channel, id::CONSUME, args::consume(&name, "c", 8)));
            bytes.extend(raw::publish(channel, "", &name, b"x"));
            bytes.extend(raw::method(channel, id::QUEUE_DELETE, args::queue_delete(&name, 4)));
            let close = Args::new().short(200).shortstr(b"").short(0).short(0);
            bytes.extend(raw::method(channel, id::CHANNEL_CLOSE, close));
            raw.send(&bytes).await;
            while raw.next().await.expect("the broker is there").method() != Some(id::CHANNEL_CLOSE_OK) {}
        }
        if round == 0 {
            resident = lepus.resident_bytes();
        }
    }
    let grown = lepus.resident_bytes().saturating_sub(resident);
    assert!(grown < 8 * MIB, "grew by {grown} bytes in 6000 channels");
}

/// Connections that come and go leave nothing behind. FEATURES M-2.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connection_churn_leaves_nothing() {
    let lepus = Lepus::start(&[]);
    let mut resident = 0;
    for round in 0..6 {
        for _ in 0..20 {
            let churn = (0..25).map(|_| async {
                let mut raw = Raw::open_channel(lepus.address).await;
                raw.call(1, id::QUEUE_DECLARE, args::queue_declare("", 4), id::QUEUE_DECLARE_OK).await;
                raw.call(1, id::CONSUME, args::consume("", "c", 0), id::CONSUME_OK).await;
            });
            join_all(churn).await;
        }
        if round == 1 {
            resident = lepus.resident_bytes();
        }
    }
    let grown = lepus.resident_bytes().saturating_sub(resident);
    // The allocator comes and goes by a few MiB; a connection that stayed would take more than 4 KiB.
    assert!(grown < 8 * MIB, "grew by {grown} bytes in 2000 connections");
}

/// FEATURES BP-5: a table as large as a frame is taken or refused in good time, flat, wide or deep.
#[tokio::test]
async fn giant_tables() {
    let server = start().await;
    let mut wide = Args::new();
    while wide.0.len() < 130_000 {
        wide = wide.field("k", b'V', b"");
    }
    let mut array = Args::new();
    while array.0.len() < 130_000 {
        array = array.octet(b'V');
    }
    let array = Args::new().field("a", b'A', &Args::new().longstr(&array.0).0);
    for table in [wide, array] {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.send(&raw::method(1, id::QUEUE_DECLARE, args::queue_declare_with("q", 0, table.clone()))).await;
        raw.next().await.expect("an answer");
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        let properties = Args::new().short(0x2000).table(table).0;
        raw.send(&raw::publish_with(1, args::publish("amq.headers", "q", 0), &properties, b"")).await;
        raw.expect_alive(1).await;
    }
}

/// A body announced but never sent holds no memory for what did not come. FEATURES FR-7.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn announced_bodies_cost_nothing() {
    let lepus = Lepus::start(&[]);
    let mut raw = Raw::open(lepus.address).await;
    raw.channel(1).await;
    let before = lepus.resident_bytes();
    for channel in 2..=500 {
        raw.channel(channel).await;
        let mut bytes = raw::method(channel, id::PUBLISH, args::publish("", "q", 0));
        bytes.extend(raw::header(channel, 500 * MIB));
        bytes.extend(raw::frame(raw::BODY, channel, b"x"));
        raw.send(&bytes).await;
    }
    raw.expect_alive(1).await;
    let grown = lepus.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes for 499 bodies of one byte");
}

/// Ten thousand idle connections with a channel each take at most 8 KiB each.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn idle_connections_are_small() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit is allowed");
    // Other tests need descriptors as well.
    let count = limit.maximum.map_or(10_000, |maximum| maximum.saturating_sub(2000).min(10_000)) as usize;
    let lepus = Lepus::start(&[]);
    let mut idle = Vec::with_capacity(count);
    let open = || async {
        let mut raw = Raw::open(lepus.address).await;
        raw.channel(1).await;
        raw
    };
    idle.extend(join_all((0..100).map(|_| open())).await);
    let before = lepus.resident_bytes();
    while idle.len() < count {
        idle.extend(join_all((0..100).map(|_| open())).await);
    }
    let each = lepus.resident_bytes().saturating_sub(before) / (count as u64 - 100);
    println!("{count} idle connections: {each} bytes each");
    assert!(each <= 8192, "an idle connection takes {each} bytes");
    // And they are alive.
    for raw in idle.iter_mut().step_by(count / 10) {
        raw.expect_alive(1).await;
    }
}

/// FEATURES FL-1: a watermark below what the process uses anyway blocks publishers from the start.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_memory_watcher_watches() {
    let server = builder().memory_high_watermark(Watermark::Bytes(0)).start().await.expect("the broker starts");
    eventually("the alarm is on", async || (!server.broker().alarms().is_empty()).then_some(())).await;
    within(server.shutdown()).await;
}
