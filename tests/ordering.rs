//! Order and completeness under load: many publishers and consumers at once, every message numbered, and a checker
//! that knows when one is lost, doubled or overtaken.

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::Consumer;
use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lepus::Server;

use crate::common::checker::{Seen, Stamp, assert_exactly_once};
use crate::common::client::next;
use crate::common::raw::{self, Args, Raw, id};
use crate::common::{ChannelExt, Client, args, builder, connect, start, table, within};

/// Publishes `count` stamped messages on a raw connection with confirms, and waits for all confirms.
async fn publish(server: &Server, exchange: &str, publisher: u32, count: u64) {
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    let mut confirmed = 0;
    for start in (0..count).step_by(100) {
        let mut bytes = Vec::new();
        for number in start..count.min(start + 100) {
            bytes.extend(raw::publish(1, exchange, "q", &Stamp { publisher, number }.body()));
        }
        raw.send(&bytes).await;
    }
    while confirmed < count {
        let frame = raw.expect(1, id::ACK).await;
        confirmed = frame.args().longlong();
    }
}

/// Takes messages, acking each, until the queue says nothing for a publisher's last message: `total` in all.
async fn consume(mut consumer: Consumer, total: &std::sync::atomic::AtomicU64, enough: u64) -> Seen {
    use std::sync::atomic::Ordering::Relaxed;
    let mut seen = Seen::default();
    while total.load(Relaxed) < enough {
        // Another consumer may have had the last message: look at the total again.
        let Ok(delivery) = tokio::time::timeout(std::time::Duration::from_millis(50), consumer.next()).await else {
            continue;
        };
        let delivery = delivery.expect("the consumer is alive").expect("a delivery");
        seen.0.push(Stamp::of(&delivery.data));
        delivery.ack(BasicAckOptions::default()).await.expect("the ack is sent");
        total.fetch_add(1, Relaxed);
    }
    seen
}

/// Runs `publishers` against `consumers` on one queue and gives what each consumer saw.
async fn run(server: &Server, publishers: u32, consumers: u32, count: u64, prefetch: u16) -> Vec<Seen> {
    let total = std::sync::atomic::AtomicU64::new(0);
    let mut clients = Vec::new();
    let mut feeds = Vec::new();
    for n in 0..consumers {
        let client = connect(server).await;
        client.queue("q").await;
        client.qos(prefetch, false).await;
        feeds.push(client.consume("q", &format!("c{n}")).await);
        clients.push(client);
    }
    let enough = u64::from(publishers) * count;
    let consuming = join_all(feeds.into_iter().map(|feed| consume(feed, &total, enough)));
    let publishing = join_all((0..publishers).map(|publisher| publish(server, "", publisher, count)));
    let (seen, _) = within(async { tokio::join!(consuming, publishing) }).await;
    seen
}

/// FEATURES DL-5: one consumer sees each publisher's messages in the order they were published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_and_one_consumer() {
    let server = start().await;
    let seen = run(&server, 8, 1, 500, 0).await;
    seen[0].assert_in_order();
    assert_exactly_once(&seen, 8, 500);
}

/// FEATURES DL-5: with several consumers every message is seen once, and no consumer sees any out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_and_many_consumers() {
    let server = builder().lanes(4).start().await.expect("the broker starts");
    for prefetch in [1, 10, 0] {
        let seen = run(&server, 4, 4, 250, prefetch).await;
        seen.iter().for_each(Seen::assert_in_order);
        assert_exactly_once(&seen, 4, 250);
    }
}

/// FEATURES RO-2, DL-5: through a fanout every queue has everything, in order, whichever lane it lives in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_queue_of_a_fanout_is_in_order() {
    let server = builder().lanes(4).start().await.expect("the broker starts");
    let client = connect(&server).await;
    client.exchange("all", lapin::ExchangeKind::Fanout).await;
    let queues: Vec<String> = (0..10).map(|n| format!("q{n}")).collect();
    for queue in &queues {
        client.queue(queue).await;
        client.bind(queue, "all", "").await;
    }
    within(join_all((0..4).map(|publisher| publish(&server, "all", publisher, 200)))).await;
    for queue in &queues {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut consumer = client.consume_with(queue, queue, options, table([])).await.expect("consume-ok");
        let mut seen = Seen::default();
        for _ in 0..800 {
            seen.0.push(Stamp::of(&next(&mut consumer).await.data));
        }
        seen.assert_in_order();
        assert_exactly_once(&[seen], 4, 200);
    }
}

/// FEATURES DL-5: consumers that always have room take turns strictly: of four, each gets every fourth message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_are_strict() {
    let server = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    let mut consumers = Vec::new();
    for n in 0..4 {
        let channel = client.another_channel().await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        consumers.push(channel.consume_with("q", &format!("c{n}"), options, table([])).await.expect("consume-ok"));
    }
    publish(&server, "", 0, 1000).await;
    for (n, consumer) in consumers.iter_mut().enumerate() {
        for turn in 0..250 {
            let stamp = Stamp::of(&next(consumer).await.data);
            assert_eq!(stamp.number, turn * 4 + n as u64, "turn {turn} of consumer {n}");
        }
    }
}

/// FEATURES DL-3, DL-4: consumers whose connections break lose nothing; what comes again says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_connections_lose_nothing() {
    const COUNT: u64 = 2000;
    let server = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    publish(&server, "", 0, COUNT).await;
    let mut acked = std::collections::BTreeSet::new();
    let mut delivered = std::collections::BTreeSet::new();
    while client.count("q").await.0 > 0 {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.call(1, id::QOS, args::qos(0, 100, false), id::QOS_OK).await;
        raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
        for turn in 0..90_u64 {
            let Ok(Some(frame)) = tokio::time::timeout(std::time::Duration::from_millis(200), raw.next()).await else {
                break;
            };
            assert_eq!(frame.method(), Some(id::DELIVER));
            let mut args = frame.args();
            args.shortstr();
            let (tag, redelivered) = (args.longlong(), args.octet() == 1);
            let number = Stamp::of(&raw.content(1).await.1).number;
            assert_eq!(redelivered, !delivered.insert(number) || redelivered, "message {number}");
            if turn < 60 {
                raw.method(1, id::ACK, crate::common::args::settle(tag, 0)).await;
                assert!(acked.insert(number), "message {number} came again after its ack");
            }
        }
        // The acks must be in before the connection breaks, or they break with it.
        raw.method(1, id::CHANNEL_FLOW, Args::new().octet(1)).await;
        while raw.next().await.expect("the broker is there").method() != Some(id::CHANNEL_FLOW_OK) {}
        drop(raw);
        crate::common::eventually("the consumer is gone", async || (client.count("q").await.1 == 0).then_some(()))
            .await;
    }
    assert_eq!(acked.len() as u64, COUNT);
}

/// FEATURES PC-10, DL-5: several channels of one connection keep their own order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_one_connection_keep_their_order() {
    let server = start().await;
    let client: Client = connect(&server).await;
    client.queue("q").await;
    let mut raw = Raw::open(server.amqp_addr()).await;
    for channel in 1..=10 {
        raw.channel(channel).await;
    }
    for number in 0..100 {
        let mut bytes = Vec::new();
        for channel in 1..=10_u16 {
            bytes.extend(raw::publish(channel, "", "q", &Stamp { publisher: channel.into(), number }.body()));
        }
        raw.send(&bytes).await;
    }
    let mut consumer = client.consume("q", "c").await;
    let mut seen = Seen::default();
    for _ in 0..1000 {
        let mut stamp = Stamp::of(&next(&mut consumer).await.data);
        stamp.publisher -= 1;
        seen.0.push(stamp);
    }
    seen.assert_in_order();
    assert_exactly_once(&[seen], 10, 100);
}
