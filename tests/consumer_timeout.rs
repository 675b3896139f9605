//! Consumers that do not settle what they got.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::AMQPValue;

use crate::common::client::{next, text};
use crate::common::{ChannelExt, builder, connect, start_client, table, within};

/// FEATURES FL-5, QQ-8: a quorum queue cancels the consumer and gives its message to the next.
#[tokio::test]
async fn a_quorum_queue_cancels_a_consumer_that_does_not_settle() {
    let (_server, client) = start_client().await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let quorum = table([("x-queue-type", AMQPValue::LongString("quorum".into()))]);
    client.declare("q", options, quorum).await.expect("queue.declare-ok");
    let timeout = table([("x-consumer-timeout", AMQPValue::LongInt(100))]);
    let slow = client.consume_with("q", "slow", BasicConsumeOptions::default(), timeout).await;
    let mut slow = slow.expect("basic.consume-ok");
    client.publish("", "q", b"m").await;
    next(&mut slow).await;
    assert!(within(slow.next()).await.is_none(), "the consumer ends");
    let mut other = client.consume("q", "other").await;
    let again = next(&mut other).await;
    assert_eq!((text(&again).as_str(), again.redelivered), ("m", true));
}

/// FEATURES FL-5: what neither a consumer, nor a queue, nor a policy says the broker does (`consumer_timeout`).
#[tokio::test]
async fn the_broker_has_a_timeout_for_all() {
    let server = builder().consumer_timeout(Duration::from_millis(100)).start().await.expect("starts");
    let client = connect(&server).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let quorum = || ("x-queue-type", AMQPValue::LongString("quorum".into()));
    client.declare("q", options, table([quorum()])).await.expect("queue.declare-ok");
    let patient = table([quorum(), ("x-consumer-timeout", AMQPValue::LongInt(600_000))]);
    client.declare("patient", options, patient).await.expect("queue.declare-ok");
    let (mut held, mut slow) = (client.consume("patient", "held").await, client.consume("q", "slow").await);
    client.publish("", "patient", b"m").await;
    next(&mut held).await;
    client.publish("", "q", b"m").await;
    next(&mut slow).await;
    assert!(within(slow.next()).await.is_none(), "the consumer ends");
    client.publish("", "patient", b"more").await;
    assert_eq!(text(&next(&mut held).await), "more", "the other goes on");
}
