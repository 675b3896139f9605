//! Priorities of classic queues.

use lapin::options::QueueDeclareOptions;
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Channel};

use crate::common::client::{next, next_bodies, refused, text};
use crate::common::{ChannelExt, eventually, start_client, table};

async fn declare(channel: &Channel, name: &str, max: i32) {
    let arguments = table([("x-max-priority", AMQPValue::LongInt(max))]);
    channel.declare(name, QueueDeclareOptions::default(), arguments).await.expect("queue.declare-ok");
}

async fn publish(channel: &Channel, queue: &str, priority: u8, body: &str) {
    let properties = BasicProperties::default().with_priority(priority);
    channel.publish_with("", queue, body.as_bytes(), properties).await;
}

/// FEATURES PQ-1: none is 0, those above the maximum are the maximum; first in, first out within a level. What the
/// message says stays.
#[tokio::test]
async fn levels_are_first_in_first_out() {
    let (_server, client) = start_client().await;
    declare(&client, "q", 5).await;
    client.publish("", "q", b"none").await;
    for (priority, body) in [(0, "zero"), (5, "five"), (9, "nine"), (255, "all"), (3, "three"), (5, "five again")] {
        publish(&client, "q", priority, body).await;
    }
    eventually("all are there", async || (client.count("q").await.0 == 7).then_some(())).await;
    let five = client.get("q").await.expect("a message");
    let nine = client.get("q").await.expect("a message");
    assert_eq!([text(&five), text(&nine)], ["five", "nine"]);
    assert_eq!(nine.properties.priority(), &Some(9));
    client.nack(nine.delivery_tag, true, true).await;
    assert_eq!(client.drain("q").await, ["five", "nine", "all", "five again", "three", "none", "zero"]);
}

/// FEATURES PQ-1: a maximum of 0 is taken, and there are no priorities.
#[tokio::test]
async fn no_levels() {
    let (_server, client) = start_client().await;
    declare(&client, "q", 0).await;
    for (priority, body) in [(1, "a"), (9, "b"), (0, "c")] {
        publish(&client, "q", priority, body).await;
    }
    assert_eq!(client.drain("q").await, ["a", "b", "c"]);
}

/// FEATURES PQ-2: a consumer without a limit sees the order of arrival, one with a limit that of priority.
#[tokio::test]
async fn priorities_order_what_waits() {
    let (_server, client) = start_client().await;
    declare(&client, "q", 9).await;
    client.qos(1, false).await;
    let mut limited = client.consume("q", "limited").await;
    for (priority, body) in [(1, "a"), (2, "b"), (9, "c"), (5, "d")] {
        publish(&client, "q", priority, body).await;
    }
    let mut seen = Vec::new();
    eventually("three wait", async || (client.count("q").await.0 == 3).then_some(())).await;
    for _ in 0..4 {
        let delivery = next(&mut limited).await;
        seen.push(text(&delivery));
        client.ack(delivery.delivery_tag, false).await;
    }
    assert_eq!(seen, ["a", "c", "d", "b"]);
    declare(&client, "open", 9).await;
    client.qos(0, false).await;
    let mut open = client.consume("open", "open").await;
    for (priority, body) in [(1, "a"), (9, "b"), (5, "c")] {
        publish(&client, "open", priority, body).await;
    }
    assert_eq!(next_bodies(&mut open, 3).await, ["a", "b", "c"]);
}

/// FEATURES PQ-2: each level has a head that expires.
#[tokio::test]
async fn each_level_expires_at_its_head() {
    let (_server, client) = start_client().await;
    declare(&client, "q", 9).await;
    for (priority, expiration, body) in [(5, "600000", "high"), (1, "1", "low"), (1, "600000", "low stays")] {
        let properties = BasicProperties::default().with_priority(priority).with_expiration(expiration.into());
        client.publish_with("", "q", body.as_bytes(), properties).await;
    }
    eventually("the low one is gone", async || (client.count("q").await.0 == 2).then_some(())).await;
    assert_eq!(client.drain("q").await, ["high", "low stays"]);
}

/// FEATURES PQ-1, EH-15: what is no maximum is refused with the reason; a quorum queue takes none.
#[tokio::test]
async fn odd_maxima_are_refused() {
    let (_server, client) = start_client().await;
    let cases = [
        (AMQPValue::LongInt(256), "{max_value_exceeded,256}"),
        (AMQPValue::LongInt(-1), "{value_negative,-1}"),
        (AMQPValue::LongString("5".into()), "\"expected integer, got longstr\""),
    ];
    for (value, why) in cases {
        let channel = client.another_channel().await;
        let declared = channel.declare("q", QueueDeclareOptions::default(), table([("x-max-priority", value)]));
        let text = format!("PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': {why}");
        refused(declared, 406, &text).await;
    }
    let quorum =
        table([("x-queue-type", AMQPValue::LongString("quorum".into())), ("x-max-priority", AMQPValue::LongInt(5))]);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let text = "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type \
                rabbit_quorum_queue";
    refused(client.declare("q", options, quorum), 406, text).await;
}
