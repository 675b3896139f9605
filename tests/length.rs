//! Limits of a queue's length: what is dropped, what is refused, and what becomes of it.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::common::client::{next, refused, text};
use crate::common::{ChannelExt, connect, eventually, start_client, table, within};

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn max(length: i32) -> (&'static str, AMQPValue) {
    ("x-max-length", AMQPValue::LongInt(length))
}

fn overflow(kind: &str) -> (&'static str, AMQPValue) {
    ("x-overflow", string(kind))
}

async fn declare<const N: usize>(channel: &Channel, name: &str, arguments: [(&str, AMQPValue); N]) {
    channel.declare(name, QueueDeclareOptions::default(), table(arguments)).await.expect("queue.declare-ok");
}

/// Whether each of these publishes was acked.
async fn acks(channel: &Channel, queue: &str, bodies: &[&str]) -> Vec<bool> {
    let mut acks = Vec::new();
    for body in bodies {
        let confirm = channel.publish("", queue, body.as_bytes()).await;
        acks.push(within(confirm).await.expect("a confirm").is_ack());
    }
    acks
}

/// FEATURES TL-4: the head goes once the new message is in; unacked messages do not count; at 0 nothing stays, but a
/// consumer takes it.
#[tokio::test]
async fn the_head_is_dropped() {
    let (_server, client) = start_client().await;
    client.confirms().await;
    declare(&client, "q", [max(2)]).await;
    assert_eq!(acks(&client, "q", &["0", "1", "2", "3"]).await, [true; 4]);
    let held = client.get("q").await.expect("a message");
    assert_eq!(text(&held), "2");
    assert_eq!(acks(&client, "q", &["4"]).await, [true]);
    assert_eq!(client.drain("q").await, ["3", "4"]);
    declare(&client, "none", [max(0)]).await;
    assert_eq!(acks(&client, "none", &["lost"]).await, [true]);
    assert!(client.get("none").await.is_none());
    let mut consumer = client.consume("none", "c").await;
    client.publish("", "none", b"taken").await;
    assert_eq!(text(&next(&mut consumer).await), "taken");
}

/// FEATURES TL-5: bodies count; a single one beyond the limit takes all others with it.
#[tokio::test]
async fn bytes_are_limited() {
    let (_server, client) = start_client().await;
    client.confirms().await;
    declare(&client, "q", [("x-max-length-bytes", AMQPValue::LongInt(10))]).await;
    assert_eq!(acks(&client, "q", &["aaaa", "bbbb", "cccc"]).await, [true; 3]);
    assert_eq!(client.count("q").await.0, 2);
    assert_eq!(acks(&client, "q", &["eleven byte"]).await, [true]);
    assert_eq!(client.count("q").await.0, 0);
    assert_eq!(acks(&client, "q", &["ten  bytes"]).await, [true]);
    assert_eq!(client.drain("q").await, ["ten  bytes"]);
}

/// FEATURES TL-6, trap 25: what comes back and is too much is dropped from the head, so itself.
#[tokio::test]
async fn a_requeue_beyond_the_limit_drops() {
    let (_server, client) = start_client().await;
    client.confirms().await;
    declare(&client, "q", [max(2)]).await;
    acks(&client, "q", &["0", "1"]).await;
    let first = client.get("q").await.expect("a message");
    let second = client.get("q").await.expect("a message");
    acks(&client, "q", &["2", "3"]).await;
    client.nack(second.delivery_tag, true, true).await;
    assert_eq!(text(&first), "0");
    eventually("the limit holds again", async || (client.count("q").await.0 == 2).then_some(())).await;
    assert_eq!(client.drain("q").await, ["2", "3"]);
}

/// FEATURES TL-7, DX-1: beyond the limit publishes are nacked, or discarded where nobody asked; with `-dlx` they are
/// dead letters, too.
#[tokio::test]
async fn publishes_are_refused() {
    let (server, client) = start_client().await;
    client.queue("dead").await;
    client.confirms().await;
    let silent = connect(&server).await;
    for (kind, letters) in [("reject-publish", 0), ("reject-publish-dlx", 2)] {
        let dlx = [("x-dead-letter-exchange", string("")), ("x-dead-letter-routing-key", string("dead"))];
        let [exchange, key] = dlx;
        declare(&client, kind, [max(1), overflow(kind), exchange, key]).await;
        assert_eq!(acks(&client, kind, &["0", "1"]).await, [true, false]);
        silent.publish("", kind, b"2").await;
        assert_eq!(silent.count(kind).await.0, 1);
        for body in ["1", "2"].iter().take(letters) {
            let letter = eventually("the dead letter", async || client.get("dead").await).await;
            assert_eq!(text(&letter), *body);
            let headers = letter.properties.headers().clone().expect("headers");
            assert_eq!(headers.inner().get("x-first-death-reason"), Some(&string("maxlen")));
        }
        assert_eq!(client.count("dead").await.0, 0);
        assert_eq!(client.drain(kind).await, ["0"]);
        assert_eq!(acks(&client, kind, &["3"]).await, [true]);
    }
}

/// FEATURES TL-8, trap 25: of priorities, the highest goes first.
#[tokio::test]
async fn the_highest_priority_is_dropped_first() {
    let (_server, client) = start_client().await;
    declare(&client, "q", [max(2), ("x-max-priority", AMQPValue::LongInt(9))]).await;
    for priority in [5, 1, 3] {
        let properties = BasicProperties::default().with_priority(priority);
        client.publish_with("", "q", priority.to_string().as_bytes(), properties).await;
    }
    eventually("the limit holds", async || (client.count("q").await.0 == 2).then_some(())).await;
    assert_eq!(client.drain("q").await, ["3", "1"]);
}

/// FEATURES TL-9: a quorum queue refuses what is beyond its limit. RabbitMQ is late by a message or more; here the limit
/// is exact. Told to make dead letters of what it refuses, it drops its head.
#[tokio::test]
async fn quorum_queues_refuse() {
    let (_server, client) = start_client().await;
    client.confirms().await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let quorum = |kind| table([max(2), overflow(kind), ("x-queue-type", string("quorum"))]);
    client.declare("q", options, quorum("reject-publish")).await.expect("queue.declare-ok");
    assert_eq!(acks(&client, "q", &["0", "1", "2", "3"]).await, [true, true, false, false]);
    assert_eq!(client.drain("q").await, ["0", "1"]);
    client.declare("head", options, quorum("reject-publish-dlx")).await.expect("queue.declare-ok");
    assert_eq!(acks(&client, "head", &["0", "1", "2", "3"]).await, [true; 4]);
    assert_eq!(client.drain("head").await, ["2", "3"]);
}

/// FEATURES TL-4, TL-5, TL-7, EH-15: what is no limit, and no way to overflow, is refused with the reason.
#[tokio::test]
async fn odd_limits_are_refused() {
    let (_server, client) = start_client().await;
    let cases = [
        ("x-max-length", AMQPValue::LongInt(-1), "{value_negative,-1}"),
        ("x-max-length", string("1"), "\"expected integer, got longstr\""),
        ("x-max-length-bytes", AMQPValue::LongInt(-1), "{value_negative,-1}"),
        ("x-max-length-bytes", string("1"), "\"expected integer, got longstr\""),
        ("x-overflow", string("drop-tail"), "invalid_overflow"),
        ("x-overflow", AMQPValue::LongInt(1), "{unacceptable_type,signedint}"),
    ];
    for (name, value, why) in cases {
        let channel = client.another_channel().await;
        let declared = channel.declare("q", QueueDeclareOptions::default(), table([(name, value)]));
        let text = format!("PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/': {why}");
        refused(declared, 406, &text).await;
    }
    let channel = client.another_channel().await;
    let huge = table([("x-max-length", AMQPValue::LongLongInt(i64::MAX))]);
    channel.declare("huge", QueueDeclareOptions::default(), huge).await.expect("queue.declare-ok");
    channel.publish("", "huge", b"m").await;
    assert_eq!(channel.count("huge").await.0, 1);
    channel.declare("q", QueueDeclareOptions::default(), FieldTable::default()).await.expect("none was made");
}
