//! A backlog lies on disk: what a queue does is the same, and memory does not grow with it.

use lapin::options::{BasicAckOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use lepus::Server;

use crate::common::client::next;
use crate::common::http::Http;
use crate::common::place::Place;
use crate::common::{ChannelExt, Client, connect, eventually, table, within};

/// So little memory that nearly everything is paged out.
async fn start(place: &Place) -> (Server, Client) {
    let server = place.start_as(|builder| builder.message_memory(32 << 10)).await;
    let client = connect(&server).await;
    client.confirms().await;
    (server, client)
}

fn body(number: u32) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(4 + number as usize % 300, number as u8);
    body
}

fn number(body: &[u8]) -> u32 {
    let number = u32::from_le_bytes(*body.first_chunk().expect("a number"));
    assert_eq!(body, self::body(number), "the body is whole");
    number
}

async fn declare(client: &Client, queue: &str, durable: bool, arguments: FieldTable) {
    let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
    client.declare(queue, options, arguments).await.expect("queue.declare-ok");
}

async fn publish(
    client: &Client,
    queue: &str,
    numbers: std::ops::Range<u32>,
    properties: impl Fn(u32) -> BasicProperties,
) {
    let mut last = None;
    for number in numbers {
        last = Some(client.publish_with("", queue, &body(number), properties(number)).await);
    }
    within(last.expect("some")).await.expect("confirmed");
}

fn persistent(_: u32) -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// Consumes `count` messages in batches of acks, and gives their numbers.
async fn consume(client: &Client, queue: &str, count: usize) -> Vec<u32> {
    let channel = client.another_channel().await;
    channel.qos(500, false).await;
    let mut consumer = channel.consume(queue, "c").await;
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let delivery = next(&mut consumer).await;
        numbers.push(number(&delivery.data));
        if numbers.len() % 100 == 0 || numbers.len() == count {
            delivery.ack(BasicAckOptions { multiple: true }).await.expect("acked");
        }
    }
    within(channel.close(200, "done".into())).await.expect("channel.close-ok");
    numbers
}

/// Order and count are the same for what is in memory and what is on disk, transient or not.
#[tokio::test]
async fn a_paged_backlog_comes_in_order() {
    let place = Place::new();
    let (server, client) = start(&place).await;
    declare(&client, "durable", true, FieldTable::default()).await;
    declare(&client, "transient", false, FieldTable::default()).await;
    let mixed = |number: u32| BasicProperties::default().with_delivery_mode(1 + u8::from(!number.is_multiple_of(3)));
    publish(&client, "durable", 0..6000, mixed).await;
    publish(&client, "transient", 0..6000, |_| BasicProperties::default()).await;
    for queue in ["durable", "transient"] {
        assert_eq!(client.count(queue).await, (6000, 0));
        assert_eq!(number(&client.get(queue).await.expect("a message").data), 0);
        assert_eq!(consume(&client, queue, 2999).await, Vec::from_iter(1..3000));
    }
    publish(&client, "durable", 6000..9000, persistent).await;
    publish(&client, "transient", 6000..9000, persistent).await;
    for queue in ["durable", "transient"] {
        assert_eq!(consume(&client, queue, 6000).await, Vec::from_iter(3000..9000));
    }
    client.close().await;
    // The first of each comes back.
    let client = connect(&server).await;
    for queue in ["durable", "transient"] {
        let got = client.get(queue).await.expect("a message");
        assert_eq!((number(&got.data), got.redelivered), (0, true));
    }
    server.shutdown().await;
}

/// What is on disk in one life is there in the next, whether that life ended well or not; transient messages are not.
#[tokio::test]
async fn a_paged_backlog_survives() {
    let place = Place::new();
    let mut expected = Vec::from_iter(0..12_000);
    let mixed = |number: u32| BasicProperties::default().with_delivery_mode(1 + u8::from(!number.is_multiple_of(4)));
    let (server, client) = start(&place).await;
    declare(&client, "q", true, FieldTable::default()).await;
    publish(&client, "q", 0..12_000, mixed).await;
    let mut server = server;
    let mut client = client;
    for life in 0..4 {
        let names =
            std::fs::read_dir(&place.0).expect("the directory").map(|entry| entry.expect("an entry").file_name());
        assert!(names.filter(|name| name.to_string_lossy().starts_with("segment-")).count() > 0, "it is on disk");
        let taken = consume(&client, "q", 1000).await;
        assert_eq!(taken, expected[..1000]);
        expected.drain(..1000);
        drop(client);
        if life % 2 == 0 {
            drop(server)
        } else {
            server.shutdown().await
        }
        if life == 0 {
            expected.retain(|number| !number.is_multiple_of(4));
        }
        (server, client) = start(&place).await;
        eventually("the count is right", async || (client.count("q").await.0 as usize <= expected.len()).then_some(()))
            .await;
        assert_eq!(client.count("q").await.0 as usize, expected.len());
    }
    assert_eq!(consume(&client, "q", expected.len()).await, expected);
    server.shutdown().await;
}

/// The head of a paged queue is in memory and in the log, the rest in segments when the checkpoint is made: neither a
/// crash behind it nor the clean stop of the life that follows loses the head or puts it behind the rest.
#[tokio::test]
async fn the_head_of_a_paged_backlog_survives_a_crash_and_a_clean_stop() {
    let place = Place::new();
    let (server, client) = start(&place).await;
    declare(&client, "q", true, FieldTable::default()).await;
    declare(&client, "filler", true, FieldTable::default()).await;
    publish(&client, "q", 0..1500, persistent).await;
    while place.files("checkpoint-").is_empty() {
        publish(&client, "filler", 0..500, persistent).await;
        client.channel.queue_purge("filler".into(), QueuePurgeOptions::default()).await.expect("queue.purge-ok");
    }
    drop(client);
    drop(server);
    let (server, client) = start(&place).await;
    assert_eq!(consume(&client, "q", 10).await, Vec::from_iter(0..10));
    publish(&client, "q", 1500..2000, persistent).await;
    drop(client);
    server.shutdown().await;
    let (server, client) = start(&place).await;
    assert_eq!(consume(&client, "q", 1990).await, Vec::from_iter(10..2000));
    server.shutdown().await;
}

/// M-14: what is purged does not come back, even if the first of it had gone in the life before.
#[tokio::test]
async fn a_purge_of_a_paged_backlog_is_for_good() {
    let place = Place::new();
    let (server, client) = start(&place).await;
    declare(&client, "q", true, FieldTable::default()).await;
    publish(&client, "q", 0..2000, persistent).await;
    drop(client);
    server.shutdown().await;

    let (server, client) = start(&place).await;
    assert_eq!(consume(&client, "q", 10).await, Vec::from_iter(0..10));
    publish(&client, "q", 2000..2001, persistent).await;
    drop(client);
    drop(server);

    let (server, client) = start(&place).await;
    let purged = within(client.queue_purge("q".into(), QueuePurgeOptions::default())).await.expect("purged");
    assert_eq!(purged, 1991);
    publish(&client, "q", 0..1, persistent).await;
    drop(client);
    drop(server);

    let (server, client) = start(&place).await;
    assert_eq!(consume(&client, "q", 1).await, [0]);
    assert_eq!(client.count("q").await.0, 0);
    server.shutdown().await;
}

/// FEATURES PQ-1, TL-2, TL-4, M-14: priorities, expiry, limits and purges see no difference.
#[tokio::test]
async fn paged_messages_have_priorities_limits_and_ends() {
    let place = Place::new();
    let (server, client) = start(&place).await;
    declare(&client, "priority", true, table([("x-max-priority", AMQPValue::ShortInt(3))])).await;
    publish(&client, "priority", 0..6000, |number| persistent(number).with_priority((number % 4) as u8)).await;
    let numbers = consume(&client, "priority", 6000).await;
    let expected: Vec<u32> = (0..4).rev().flat_map(|priority| (0..6000).filter(move |n| n % 4 == priority)).collect();
    assert!(numbers == expected);

    declare(&client, "limited", true, table([("x-max-length", AMQPValue::LongInt(3000))])).await;
    publish(&client, "limited", 0..9000, persistent).await;
    eventually("the head made room", async || (client.count("limited").await.0 == 3000).then_some(())).await;
    assert_eq!(consume(&client, "limited", 3000).await, Vec::from_iter(6000..9000));

    declare(&client, "expiring", true, table([("x-message-ttl", AMQPValue::LongInt(300))])).await;
    publish(&client, "expiring", 0..5000, persistent).await;
    eventually("all expire", async || (client.count("expiring").await.0 == 0).then_some(())).await;

    declare(&client, "purged", true, FieldTable::default()).await;
    publish(&client, "purged", 0..5000, persistent).await;
    let purged = within(client.queue_purge("purged".into(), QueuePurgeOptions::default())).await.expect("purged");
    assert_eq!((purged, client.count("purged").await), (5000, (0, 0)));
    publish(&client, "purged", 0..100, persistent).await;
    drop(server);

    let (server, client) = start(&place).await;
    assert_eq!(client.count("expiring").await.0, 0);
    assert_eq!(consume(&client, "purged", 100).await, Vec::from_iter(0..100));
    for queue in ["priority", "limited", "purged"] {
        assert_eq!(client.count(queue).await, (0, 0), "{queue}");
    }
    server.shutdown().await;
}

/// A few messages among many that are long gone do not keep the files: they are written anew, in their order, and what is
/// read and acked meanwhile does not come again.
#[tokio::test]
async fn what_is_left_of_a_file_is_written_anew() {
    let place = Place::new();
    let (server, client) = start(&place).await;
    for queue in ["kept", "gone"] {
        declare(&client, queue, true, FieldTable::default()).await;
    }
    declare(&client, "transient", false, FieldTable::default()).await;
    let delayed = table([("x-delayed-type", AMQPValue::LongString("fanout".into()))]);
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Custom("x-delayed-message".into());
    client.channel.exchange_declare("later".into(), kind, options, delayed).await.expect("exchange.declare-ok");
    let delay = table([("x-delay", AMQPValue::LongInt(3_600_000))]);
    // In all files of the next megabytes there is something of each queue.
    let (mut first, step) = (0, 300);
    for _ in 0..10 {
        publish(&client, "kept", first..first + step, persistent).await;
        publish(&client, "transient", first..first + step, |_| BasicProperties::default()).await;
        publish(&client, "gone", 0..10 * step, persistent).await;
        let held = client.publish_with("later", "", b"held", BasicProperties::default().with_headers(delay.clone()));
        within(held.await).await.expect("confirmed");
        first += step;
    }
    let files = place.files("segment-").len();
    assert!(files > 4, "{files}");
    client.channel.queue_purge("gone".into(), QueuePurgeOptions::default()).await.expect("queue.purge-ok");
    let mut taken = 0;
    for round in 0.. {
        if place.files("segment-").len() <= files / 2 {
            break;
        }
        assert!(round < 60, "{:?}", place.files("segment-"));
        publish(&client, "gone", 0..1000, persistent).await;
        client.channel.queue_purge("gone".into(), QueuePurgeOptions::default()).await.expect("queue.purge-ok");
        if taken < 1000 {
            for queue in ["kept", "transient"] {
                assert_eq!(consume(&client, queue, 20).await, Vec::from_iter(taken..taken + 20));
            }
            taken += 20;
        }
    }
    assert_eq!(consume(&client, "transient", (first - taken) as usize).await, Vec::from_iter(taken..first));
    drop(client);
    drop(server);
    let (server, client) = start(&place).await;
    let left = client.count("kept").await.0;
    // Acks of the last moment may be lost.
    assert!(left >= first - taken && left <= first - taken + 20, "{left}");
    assert_eq!(consume(&client, "kept", left as usize).await, Vec::from_iter(first - left..first));
    let later = server.broker().vhost("/").and_then(|vhost| vhost.exchange("later")).expect("the exchange");
    eventually("they are held", async || (later.messages_delayed() == 10).then_some(())).await;
    server.shutdown().await;
}

/// FEATURES section 4.1: what a restart would not lose is told, wherever it lies, and as it comes and goes.
#[tokio::test]
async fn persistent_messages_are_counted_on_disk_and_in_memory() {
    let place = Place::new();
    let open = |builder: lepus::ServerBuilder| builder.message_memory(32 << 10).http("127.0.0.1:0");
    let server = place.start_as(open).await;
    let (http, client) =
        (Http::new(server.http_addr().expect("it has the API"), "guest:guest"), connect(&server).await);
    client.confirms().await;
    declare(&client, "q", true, FieldTable::default()).await;
    let mixed = |number: u32| BasicProperties::default().with_delivery_mode(1 + u8::from(!number.is_multiple_of(3)));
    publish(&client, "q", 0..3000, mixed).await;
    let bytes = |numbers: &mut dyn Iterator<Item = u32>| numbers.map(|number| body(number).len() as u64).sum::<u64>();
    let counts = async |http: &Http| {
        let told = http.get("queues/%2F/q").await.json;
        let of = |field: &str| told[field].as_u64().expect("a number");
        (of("messages"), of("messages_persistent"), of("message_bytes"), of("message_bytes_persistent"))
    };
    let is_persistent = |number: &u32| !number.is_multiple_of(3);
    let kept_bytes = bytes(&mut (0..3000).filter(is_persistent));
    assert_eq!(counts(&http).await, (3000, 2000, bytes(&mut (0..3000)), kept_bytes));
    // Some are out, and some of those come back.
    let numbers = consume(&client, "q", 900).await;
    assert_eq!(numbers, (0..900).collect::<Vec<u32>>());
    let rest = (2100, 1400, bytes(&mut (900..3000)), bytes(&mut (900..3000).filter(is_persistent)));
    eventually("what was not acked is back", async || (counts(&http).await == rest).then_some(())).await;
    client.close().await;
    server.shutdown().await;

    let server = place.start_as(open).await;
    let (http, client) =
        (Http::new(server.http_addr().expect("it has the API"), "guest:guest"), connect(&server).await);
    // Bodies that were on disk are known by what their chunk has, those that are gone by now included.
    let (messages, persistent_messages, size, persistent_size) = counts(&http).await;
    assert_eq!((messages, persistent_messages, size), (1400, 1400, persistent_size));
    assert!((rest.3..=kept_bytes).contains(&size), "{size}");
    client.confirms().await;
    publish(&client, "q", 0..1, |_| BasicProperties::default()).await;
    assert_eq!(counts(&http).await, (1401, 1400, size + 4, size));
    assert_eq!(http.delete("queues/%2F/q/contents").await.status, 204);
    assert_eq!(counts(&http).await, (0, 0, 0, 0));
    publish(&client, "q", 1..3, persistent).await;
    assert_eq!(counts(&http).await.1, 2);
}
