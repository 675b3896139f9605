//! Settling deliveries: ack, nack, reject, recover, and what comes back when nobody settled.

use lapin::options::BasicConsumeOptions;

use crate::common::client::{connect, delivered, next, next_bodies, text};
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, eventually, start, start_client, table, within};

/// Publishes the bodies "0", "1", ... to a new queue.
async fn filled(client: &lapin::Channel, queue: &str, count: usize) {
    client.queue(queue).await;
    client.confirms().await;
    for n in 0..count {
        client.publish_confirmed("", queue, n.to_string().as_bytes()).await;
    }
}

/// FEATURES DL-1: tags start at 1 and count consume, get and no-ack deliveries of a channel alike.
#[tokio::test]
async fn tags_count_all_deliveries_of_a_channel() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 4).await;
    assert_eq!(client.get("q").await.expect("a message").delivery_tag, 1);
    let options = lapin::options::BasicGetOptions { no_ack: true };
    let message = client.basic_get("q".into(), options).await.expect("get-ok").expect("a message");
    assert_eq!(message.delivery_tag, 2);
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next(&mut consumer).await.delivery_tag, 3);
    assert_eq!(next(&mut consumer).await.delivery_tag, 4);
    let other = client.another_channel().await;
    client.nack(3, false, true).await;
    let mut consumer = other.consume("q", "d").await;
    client.basic_cancel("c".into(), lapin::options::BasicCancelOptions::default()).await.expect("cancel-ok");
    client.nack(0, true, true).await;
    assert_eq!(next(&mut consumer).await.delivery_tag, 1);
}

/// FEATURES DL-2, M-23: multiple covers everything outstanding up to the tag, gets and deliveries mixed.
#[tokio::test]
async fn multiple_covers_gets_and_deliveries() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 4).await;
    client.get("q").await.expect("a message");
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 3).await, ["1", "2", "3"]);
    client.ack(3, true).await;
    client.basic_cancel("c".into(), lapin::options::BasicCancelOptions::default()).await.expect("cancel-ok");
    client.nack(4, false, true).await;
    eventually("the nacked message is back", async || (client.count("q").await.0 == 1).then_some(())).await;
    assert_eq!(client.drain("q").await, ["3"]);
}

/// FEATURES DL-2: tag 0 and multiple is everything.
#[tokio::test]
async fn tag_zero_is_everything() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 3).await;
    for _ in 0..3 {
        client.get("q").await.expect("a message");
    }
    client.ack(0, true).await;
    let other = client.another_channel().await;
    client.channel.close(200, "".into()).await.expect("channel.close-ok");
    assert_eq!(other.count("q").await, (0, 0));
}

/// FEATURES EH-13, trap 3: tag 0 and multiple with nothing outstanding is fine.
#[tokio::test]
async fn acking_nothing_is_fine() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::ACK, args::settle(0, 1)).await;
    raw.method(1, id::NACK, args::settle(0, 1)).await;
    raw.expect_alive(1).await;
}

/// FEATURES EH-13, trap 2, trap 3: a tag that is not outstanding closes the channel.
#[tokio::test]
async fn unknown_tags_close_the_channel() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let cases = [
        (id::ACK, args::settle(1, 0), 1),
        (id::ACK, args::settle(5, 1), 5),
        (id::ACK, args::settle(0, 0), 0),
        (id::REJECT, args::settle(7, 1), 7),
        (id::NACK, args::settle(u64::MAX, 3), u64::MAX),
    ];
    for (method, arguments, tag) in cases {
        raw.method(1, method, arguments).await;
        let text = format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method });
        raw.channel(1).await;
    }
    // Twice the same tag.
    raw.send(&raw::publish(1, "", "q", b"x")).await;
    raw.call(1, id::GET, args::get("q", false), id::GET_OK).await;
    raw.content(1).await;
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    raw.expect_alive(1).await;
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    assert_eq!(raw.expect_channel_close(1).await.text, "PRECONDITION_FAILED - unknown delivery tag 1");
}

/// FEATURES DL-1, EH-13: a tag of a no-ack delivery was never outstanding.
#[tokio::test]
async fn no_ack_deliveries_cannot_be_acked() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "", "q", b"x")).await;
    raw.call(1, id::GET, args::get("q", true), id::GET_OK).await;
    raw.content(1).await;
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    assert_eq!(raw.expect_channel_close(1).await.text, "PRECONDITION_FAILED - unknown delivery tag 1");
}

/// FEATURES DL-3, DL-4, trap 4: what is requeued goes back to its place, in whatever order it comes back.
#[tokio::test]
async fn requeued_messages_go_back_to_their_place() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 5).await;
    for _ in 0..4 {
        client.get("q").await.expect("a message");
    }
    client.nack(3, false, true).await;
    client.nack(2, false, true).await;
    let mut seen = Vec::new();
    while let Some(message) = client.get("q").await {
        seen.push((text(&message), message.redelivered));
    }
    assert_eq!(seen, [("1".to_owned(), true), ("2".to_owned(), true), ("4".to_owned(), false)]);
}

/// FEATURES DL-3, DL-4, M-7, trap 5: a lost connection returns everything in order, what was got and what was delivered.
#[tokio::test]
async fn a_lost_connection_returns_everything_in_order() {
    let server = start().await;
    let client = connect(&server).await;
    filled(&client, "q", 5).await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QOS, args::qos(0, 2, false), id::QOS_OK).await;
    for _ in 0..2 {
        raw.call(1, id::GET, args::get("q", false), id::GET_OK).await;
        raw.content(1).await;
    }
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    for _ in 0..2 {
        raw.expect(1, id::DELIVER).await;
        raw.content(1).await;
    }
    drop(raw);
    eventually("all are back", async || (client.count("q").await == (5, 0)).then_some(())).await;
    let mut consumer = client.consume("q", "d").await;
    for n in 0..5 {
        let delivery = next(&mut consumer).await;
        assert_eq!((text(&delivery), delivery.redelivered), (n.to_string(), n < 4));
    }
}

/// FEATURES DL-3, M-7: closing the channel requeues what it holds.
#[tokio::test]
async fn closing_the_channel_requeues() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 3).await;
    let other = client.another_channel().await;
    other.get("q").await.expect("a message");
    let mut consumer = other.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 2).await, ["1", "2"]);
    assert_eq!(client.count("q").await, (0, 1));
    other.close(200, "".into()).await.expect("channel.close-ok");
    assert_eq!(client.count("q").await, (3, 0));
    assert_eq!(client.drain("q").await, ["0", "1", "2"]);
}

/// FEATURES DL-8, M-12, M-14: the unacked are not counted as ready, nor purged.
#[tokio::test]
async fn unacked_messages_are_neither_counted_nor_purged() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 5).await;
    for _ in 0..2 {
        client.get("q").await.expect("a message");
    }
    assert_eq!(client.count("q").await, (3, 0));
    let purged = client.queue_purge("q".into(), lapin::options::QueuePurgeOptions::default()).await;
    assert_eq!(purged.expect("purge-ok"), 3);
    client.nack(0, true, true).await;
    assert_eq!(client.drain("q").await, ["0", "1"]);
}

/// FEATURES DL-9: time runs out for what waits, not for what is held; what comes back too late is gone at once.
#[tokio::test]
async fn held_messages_expire_when_they_come_back() {
    let (_server, client) = start_client().await;
    client.confirms().await;
    let publish = async |queue: &str| {
        let properties = lapin::BasicProperties::default().with_expiration("100".into());
        within(client.publish_with("", queue, b"x", properties).await).await.expect("a confirm");
    };
    for queue in ["held", "waiting"] {
        client.queue(queue).await;
    }
    publish("held").await;
    publish("held").await;
    let (first, second) = (client.get("held").await.expect("one"), client.get("held").await.expect("another"));
    publish("waiting").await;
    eventually("what waits expires", async || (client.count("waiting").await == (0, 0)).then_some(())).await;
    client.ack(first.delivery_tag, false).await;
    client.nack(second.delivery_tag, false, true).await;
    assert!(client.get("held").await.is_none());
}

/// FEATURES DL-7: acks for a queue that is gone are accepted.
#[tokio::test]
async fn acks_for_a_deleted_queue_are_accepted() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "", "q", b"x")).await;
    raw.call(1, id::GET, args::get("q", false), id::GET_OK).await;
    raw.content(1).await;
    raw.call(1, id::QUEUE_DELETE, args::queue_delete("q", 0), id::QUEUE_DELETE_OK).await;
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    raw.expect_alive(1).await;
}

/// FEATURES DL-6: a no-ack consumer gets everything and owes nothing.
#[tokio::test]
async fn no_ack_consumers_have_no_limit() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 50).await;
    client.qos(1, false).await;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut consumer = client.consume_with("q", "c", options, table([])).await.expect("consume-ok");
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(next_bodies(&mut consumer, 50).await, expected);
    client.channel.close(200, "".into()).await.expect("channel.close-ok");
    let other = client.another_channel().await;
    assert_eq!(other.count("q").await, (0, 0));
}

/// FEATURES M-23: reject without requeue drops, with requeue returns.
#[tokio::test]
async fn reject_drops_or_returns() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 2).await;
    client.get("q").await.expect("a message");
    client.get("q").await.expect("a message");
    client.reject(1, false).await;
    client.reject(2, true).await;
    assert_eq!(client.drain("q").await, ["1"]);
}

/// FEATURES TX-1, M-24: recover requeues the channel's unacked; the same consumer gets them again with new tags.
#[tokio::test]
async fn recover_requeues_and_redelivers() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    for body in [b"a", b"b"] {
        raw.send(&raw::publish(1, "", "q", body)).await;
    }
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    let first = [deliver(&mut raw).await, deliver(&mut raw).await];
    assert_eq!(first, [(1, false, b"a".to_vec()), (2, false, b"b".to_vec())]);
    raw.method(1, id::RECOVER, Args::new().octet(1)).await;
    // The answer may stand before or behind the redeliveries: queues work on their own.
    let (mut recovered, mut again) = (false, Vec::new());
    while !recovered || again.len() < 2 {
        let frame = raw.next().await.expect("a frame");
        match frame.method() {
            Some(id::RECOVER_OK) => recovered = true,
            Some(id::DELIVER) => again.push(delivery(&mut raw, &frame).await),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(again, [(3, true, b"a".to_vec()), (4, true, b"b".to_vec())]);
}

/// FEATURES M-24: recover-async does the same and is not answered.
#[tokio::test]
async fn recover_async_is_not_answered() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "", "q", b"a")).await;
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    assert_eq!(deliver(&mut raw).await, (1, false, b"a".to_vec()));
    raw.method(1, id::RECOVER_ASYNC, Args::new().octet(1)).await;
    assert_eq!(deliver(&mut raw).await, (2, true, b"a".to_vec()));
    raw.expect_alive(1).await;
}

/// FEATURES EC-20.
#[tokio::test]
async fn recover_without_requeue_is_not_implemented() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::RECOVER, Args::new().octet(0)).await;
    let text = "NOT_IMPLEMENTED - requeue=false".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 540, text, method: id::RECOVER });
}

/// FEATURES DL-3: a nack returns messages to the other consumer of the queue, before what is newer.
#[tokio::test]
async fn requeued_messages_come_before_newer_ones() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 3).await;
    client.qos(2, false).await;
    let mut first = client.consume("q", "first").await;
    assert_eq!(next_bodies(&mut first, 2).await, ["0", "1"]);
    client.basic_cancel("first".into(), lapin::options::BasicCancelOptions::default()).await.expect("cancel-ok");
    client.nack(2, true, true).await;
    let other = client.another_channel().await;
    let mut second = other.consume("q", "second").await;
    assert_eq!(next_bodies(&mut second, 3).await, ["0", "1", "2"]);
    assert!(delivered(&other, "q", &mut second).await.is_empty());
}

async fn deliver(raw: &mut Raw) -> (u64, bool, Vec<u8>) {
    let frame = raw.expect(1, id::DELIVER).await;
    delivery(raw, &frame).await
}

/// Tag, redelivered and body of a basic.deliver.
async fn delivery(raw: &mut Raw, frame: &raw::Frame) -> (u64, bool, Vec<u8>) {
    let mut args = frame.args();
    args.shortstr();
    let (tag, redelivered) = (args.longlong(), args.octet() == 1);
    (tag, redelivered, raw.content(1).await.1)
}
