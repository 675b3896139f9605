//! Quorum queues: what they count, and in which order they give back.

use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::common::client::{next, refused, text};
use crate::common::{ChannelExt, connect, eventually, start_client, table};

async fn quorum<const N: usize>(channel: &Channel, name: &str, more: [(&str, AMQPValue); N]) {
    let mut arguments = table(more);
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.declare(name, options, arguments).await.expect("queue.declare-ok");
}

fn count(delivery: &Delivery, header: &str) -> Option<i64> {
    match delivery.properties.headers().as_ref()?.inner().get(header)? {
        AMQPValue::LongLongInt(n) => Some(*n),
        other => panic!("{header} is {other:?}"),
    }
}

/// FEATURES QQ-2, QQ-4: assignments are counted from the first redelivery on, failures only when there were some; a
/// nack is none.
#[tokio::test]
async fn redeliveries_tell_how_often() {
    let (_server, client) = start_client().await;
    quorum(&client, "q", [("x-delivery-limit", AMQPValue::LongInt(2))]).await;
    let mut headers = FieldTable::default();
    headers.insert("own".into(), AMQPValue::Boolean(true));
    client.publish_with("", "q", b"m", BasicProperties::default().with_headers(headers)).await;
    let mut consumer = client.consume("q", "c").await;
    let mut told = Vec::new();
    for how in ["nack", "reject", "nack", "reject"] {
        let delivery = next(&mut consumer).await;
        assert!(delivery.properties.headers().as_ref().is_some_and(|h| h.contains_key("own")));
        told.push((count(&delivery, "x-acquired-count"), count(&delivery, "x-delivery-count"), delivery.redelivered));
        match how {
            "nack" => client.nack(delivery.delivery_tag, false, true).await,
            _ => client.reject(delivery.delivery_tag, true).await,
        }
    }
    let expected = [(None, None, false), (Some(1), None, true), (Some(2), Some(1), true), (Some(3), Some(1), true)];
    assert_eq!(told, expected);
}

/// FEATURES QQ-3: the return beyond the limit is a death; the dead letter tells nothing of the counts.
#[tokio::test]
async fn a_message_returned_too_often_is_dead() {
    let (_server, client) = start_client().await;
    client.queue("dead").await;
    let dead = AMQPValue::LongString("dead".into());
    let (limit, exchange) = (AMQPValue::LongInt(1), AMQPValue::LongString("".into()));
    let arguments =
        [("x-delivery-limit", limit), ("x-dead-letter-exchange", exchange), ("x-dead-letter-routing-key", dead)];
    quorum(&client, "q", arguments).await;
    client.publish("", "q", b"m").await;
    let mut consumer = client.consume("q", "c").await;
    for _ in 0..2 {
        let delivery = next(&mut consumer).await;
        client.reject(delivery.delivery_tag, true).await;
    }
    let letter = eventually("the dead letter", async || client.get("dead").await).await;
    let headers = letter.properties.headers().clone().expect("headers");
    assert_eq!(headers.inner().get("x-first-death-reason"), Some(&AMQPValue::LongString("delivery_limit".into())));
    assert_eq!(count(&letter.delivery, "x-acquired-count"), None);
}

/// FEATURES PQ-3, QQ-5: 32 priorities, 4 for those that name none; what came back goes first.
#[tokio::test]
async fn priorities_are_strict_and_returns_go_first() {
    let (_server, client) = start_client().await;
    quorum(&client, "q", []).await;
    client.publish("", "q", b"unnamed").await;
    for priority in [3, 4, 5, 31, 200] {
        let properties = BasicProperties::default().with_priority(priority);
        client.publish_with("", "q", priority.to_string().as_bytes(), properties).await;
    }
    let first = client.get("q").await.expect("a message");
    let second = client.get("q").await.expect("a message");
    assert_eq!([text(&first), text(&second)], ["31", "200"]);
    client.nack(second.delivery_tag, false, true).await;
    client.nack(first.delivery_tag, false, true).await;
    assert_eq!(client.drain("q").await, ["200", "31", "5", "unnamed", "4", "3"]);
}

/// FEATURES SC-1: a consumer of higher priority takes over once the active one holds nothing, and goes back when the
/// higher one leaves.
#[tokio::test]
async fn a_consumer_of_higher_priority_takes_over() {
    let (_server, client) = start_client().await;
    quorum(&client, "q", [("x-single-active-consumer", AMQPValue::Boolean(true))]).await;
    let mut low = client.consume("q", "low").await;
    client.publish("", "q", b"1").await;
    let held = next(&mut low).await;
    let priority = table([("x-priority", AMQPValue::LongInt(5))]);
    let high = client.consume_with("q", "high", BasicConsumeOptions::default(), priority).await;
    let mut high = high.expect("basic.consume-ok");
    client.publish("", "q", b"2").await;
    assert_eq!(client.count("q").await, (1, 2));
    client.ack(held.delivery_tag, false).await;
    assert_eq!(text(&next(&mut high).await), "2");
    client.basic_cancel("high".into(), lapin::options::BasicCancelOptions::default()).await.expect("cancel-ok");
    client.publish("", "q", b"3").await;
    assert_eq!(text(&next(&mut low).await), "3");
}

/// FEATURES EH-28.
#[tokio::test]
async fn get_and_single_active_consumer_exclude_each_other() {
    let (_server, client) = start_client().await;
    quorum(&client, "q", [("x-single-active-consumer", AMQPValue::Boolean(true))]).await;
    let got = client.basic_get("q".into(), lapin::options::BasicGetOptions::default());
    let text = "RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get operations are not \
                supported by quorum queues with single active consumer";
    refused(got, 405, text).await;
}

/// FEATURES EH-17, EH-18, QQ-7: durable, shared and named, or not at all.
#[tokio::test]
async fn a_quorum_queue_is_durable_shared_and_named() {
    let (_server, client) = start_client().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let wrong = [
        ("q", QueueDeclareOptions::default(), "invalid property 'non-durable' for queue 'q' in vhost '/'"),
        (
            "q",
            QueueDeclareOptions { exclusive: true, ..durable },
            "invalid property 'exclusive-owner' for queue 'q' in vhost '/'",
        ),
        (
            "q",
            QueueDeclareOptions { auto_delete: true, ..durable },
            "invalid property 'auto-delete' for queue 'q' in vhost '/'",
        ),
        ("", durable, "Cannot declare a server-named queue for type rabbit_quorum_queue"),
    ];
    for (name, options, why) in wrong {
        let channel = client.another_channel().await;
        let arguments = table([("x-queue-type", AMQPValue::LongString("quorum".into()))]);
        refused(channel.declare(name, options, arguments), 406, &format!("PRECONDITION_FAILED - {why}")).await;
    }
}

/// FEATURES EC-23, QQ-7: it is deleted whatever it holds, or not at all.
#[tokio::test]
async fn a_quorum_queue_is_not_deleted_on_condition() {
    let (server, client) = start_client().await;
    quorum(&client, "q", []).await;
    for (flag, options) in [
        ("if-unused", QueueDeleteOptions { if_unused: true, ..QueueDeleteOptions::default() }),
        ("if-empty", QueueDeleteOptions { if_empty: true, ..QueueDeleteOptions::default() }),
    ] {
        // 540 closes the connection.
        let other = connect(&server).await;
        let text = format!(
            "NOT_IMPLEMENTED - cannot delete queue 'q' in vhost '/'. queue.delete operations with {flag} flag set are \
             not supported by quorum queues"
        );
        refused(other.queue_delete("q".into(), options), 540, &text).await;
    }
    assert_eq!(client.count("q").await, (0, 0));
}

/// FEATURES EC-24, QQ-7: global qos is no reason to refuse a consumer, as in 4.3.
#[tokio::test]
async fn a_quorum_queue_is_consumed_under_global_qos() {
    let (_server, client) = start_client().await;
    quorum(&client, "q", []).await;
    client.qos(1, true).await;
    let mut consumer = client.consume("q", "c").await;
    client.publish("", "q", b"m").await;
    assert_eq!(text(&next(&mut consumer).await), "m");
}
