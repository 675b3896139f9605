//! basic.consume and basic.cancel: who is fed, in what order, and who is told when it ends.

use lapin::options::{BasicCancelOptions, BasicConsumeOptions};
use lapin::types::AMQPValue;

use crate::common::client::{delivered, next_bodies, refused};
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, connect, start, start_client, table};

/// FEATURES M-18: a consumer without a tag gets one of the server's.
#[tokio::test]
async fn the_server_makes_tags() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let mut tags = Vec::new();
    for _ in 0..2 {
        let frame = raw.call(1, id::CONSUME, args::consume("q", "", 0), id::CONSUME_OK).await;
        tags.push(frame.args().shortstr());
    }
    for tag in &tags {
        let random = tag.strip_prefix("amq.ctag-").expect("RabbitMQ's prefix");
        assert_eq!(random.len(), 22, "{tag}");
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{tag}");
    }
    assert_ne!(tags[0], tags[1]);
}

/// FEATURES M-18: consume-ok comes before the first delivery.
#[tokio::test]
async fn consume_ok_comes_first() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    for n in 0..10 {
        raw.send(&raw::publish(1, "", "q", b"waiting")).await;
        let frame = raw.call(1, id::CONSUME, args::consume("q", &format!("c{n}"), 0), id::CONSUME_OK).await;
        assert_eq!(frame.args().shortstr(), format!("c{n}"));
        raw.expect(1, id::DELIVER).await;
        raw.content(1).await;
        raw.call(1, id::CANCEL, args::cancel(&format!("c{n}"), 0), id::CANCEL_OK).await;
    }
}

/// FEATURES EC-16, trap 14: using a tag twice on a channel closes the connection.
#[tokio::test]
async fn a_tag_used_twice_closes_the_connection() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    raw.method(1, id::CONSUME, args::consume("q", "c", 0)).await;
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'c'".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 530, text, method: id::CONSUME });
}

/// FEATURES EC-16: the same tag on another channel is another consumer.
#[tokio::test]
async fn channels_have_tags_of_their_own() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    let other = client.another_channel().await;
    let _first = client.consume("q", "c").await;
    let _second = other.consume("q", "c").await;
    assert_eq!(client.count("q").await, (0, 2));
}

/// FEATURES M-19: a cancel ends the deliveries, keeps the unacked, and is answered for unknown tags, too.
#[tokio::test]
async fn cancel_ends_deliveries_and_keeps_the_unacked() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    raw.send(&raw::publish(1, "", "q", b"1")).await;
    raw.expect(1, id::DELIVER).await;
    raw.content(1).await;
    let frame = raw.call(1, id::CANCEL, args::cancel("c", 0), id::CANCEL_OK).await;
    assert_eq!(frame.args().shortstr(), "c");
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    raw.send(&raw::publish(1, "", "q", b"2")).await;
    raw.expect(1, id::ACK).await;
    let frame = raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 1), id::QUEUE_DECLARE_OK).await;
    let mut counts = frame.args();
    counts.shortstr();
    assert_eq!((counts.long(), counts.long()), (1, 0));
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    raw.call(1, id::CANCEL, args::cancel("never heard of", 0), id::CANCEL_OK).await;
    // And the tag may be used again.
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
}

/// FEATURES DL-13, EH-12: an exclusive consumer tolerates no other, before or after.
#[tokio::test]
async fn exclusive_consumers_are_alone() {
    let (_server, client) = start_client().await;
    let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
    let exclusive = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    client.queue("q").await;
    let _consumer = client.consume_with("q", "alone", exclusive, table([])).await.expect("consume-ok");
    let other = client.another_channel().await;
    refused(other.consume_with("q", "late", BasicConsumeOptions::default(), table([])), 403, text).await;
    client.basic_cancel("alone".into(), BasicCancelOptions::default()).await.expect("cancel-ok");
    let _consumer = client.consume("q", "first").await;
    let other = client.another_channel().await;
    refused(other.consume_with("q", "late", exclusive, table([])), 403, text).await;
}

/// FEATURES DL-10: an exclusive consumer does not keep others from getting.
#[tokio::test]
async fn get_works_beside_an_exclusive_consumer() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.qos(1, false).await;
    let exclusive = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    let mut consumer = client.consume_with("q", "alone", exclusive, table([])).await.expect("consume-ok");
    for body in ["0", "1"] {
        client.publish("", "q", body.as_bytes()).await;
    }
    assert_eq!(next_bodies(&mut consumer, 1).await, ["0"]);
    let other = client.another_channel().await;
    assert_eq!(other.drain("q").await, ["1"]);
}

/// FEATURES DL-12: the highest priority with room is served first; equals take turns.
#[tokio::test]
async fn higher_priority_consumers_go_first() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.qos(2, false).await;
    let priority = |n| table([("x-priority", AMQPValue::LongInt(n))]);
    let options = BasicConsumeOptions::default();
    let mut low = client.consume_with("q", "low", options, priority(-1)).await.expect("consume-ok");
    let mut middle = client.consume("q", "middle").await;
    let mut high = client.consume_with("q", "high", options, priority(10)).await.expect("consume-ok");
    for n in 0..6 {
        client.publish("", "q", n.to_string().as_bytes()).await;
    }
    assert_eq!(next_bodies(&mut high, 2).await, ["0", "1"]);
    assert_eq!(next_bodies(&mut middle, 2).await, ["2", "3"]);
    assert_eq!(next_bodies(&mut low, 2).await, ["4", "5"]);
}

/// FEATURES DL-12.
#[tokio::test]
async fn priorities_are_integers() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let arguments = Args::new().field("x-priority", b'S', &Args::new().longstr(b"high").0);
    raw.method(1, id::CONSUME, args::consume_with("q", "c", 0, arguments)).await;
    let close = raw.expect_channel_close(1).await;
    assert_eq!((close.code, close.method), (406, id::CONSUME));
}

/// FEATURES DL-11, M-15, PR-3: deleting a queue cancels its consumers, told after delete-ok, to those who want it.
#[tokio::test]
async fn deleting_a_queue_cancels_its_consumers() {
    let server = start().await;
    let capabilities = Args::new().field("consumer_cancel_notify", b't', &[1]);
    let quiet = |tune| raw::Tune { heartbeat: 0, ..tune };
    let mut told = Raw::open_with(server.amqp_addr(), capabilities, quiet).await;
    told.channel(1).await;
    told.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    told.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    let mut untold = Raw::open_channel(server.amqp_addr()).await;
    untold.call(1, id::CONSUME, args::consume("q", "d", 0), id::CONSUME_OK).await;
    told.call(1, id::QUEUE_DELETE, args::queue_delete("q", 0), id::QUEUE_DELETE_OK).await;
    let frame = told.expect(1, id::CANCEL).await;
    let mut args = frame.args();
    assert_eq!((args.shortstr(), args.octet()), ("c".to_owned(), 1));
    untold.expect_alive(1).await;
    // The tag is free again on both.
    for raw in [&mut told, &mut untold] {
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
        raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    }
}

/// FEATURES QU-3, trap 11: an auto-delete queue goes with its last consumer, not before it had one.
#[tokio::test]
async fn auto_delete_goes_with_the_last_consumer() {
    let (server, client) = start_client().await;
    let options = lapin::options::QueueDeclareOptions { auto_delete: true, ..Default::default() };
    client.declare("auto", options, table([])).await.expect("declared");
    client.publish("", "auto", b"x").await;
    assert!(client.get("auto").await.is_some(), "gets do not count");
    client.close().await;
    let client = connect(&server).await;
    assert_eq!(client.count("auto").await, (1, 0), "it never had a consumer");
    let _first = client.consume("auto", "first").await;
    let _second = client.consume("auto", "second").await;
    client.basic_cancel("first".into(), BasicCancelOptions::default()).await.expect("cancel-ok");
    assert_eq!(client.count("auto").await.1, 1);
    client.basic_cancel("second".into(), BasicCancelOptions::default()).await.expect("cancel-ok");
    let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
    let text = "NOT_FOUND - no queue 'auto' in vhost '/'";
    refused(client.declare("auto", passive, table([])), 404, text).await;
}

/// FEATURES EH-1, EH-3: there must be a queue.
#[tokio::test]
async fn consuming_from_nothing_is_refused() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::CONSUME, args::consume("nix", "c", 0)).await;
    let text = "NOT_FOUND - no queue 'nix' in vhost '/'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method: id::CONSUME });
    raw.channel(1).await;
    raw.method(1, id::CONSUME, args::consume("", "c", 0)).await;
    let text = "NOT_FOUND - no previously declared queue".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method: id::CONSUME });
}

/// FEATURES EH-24: replies are not acked, a channel has one consumer of them, and asks for none without it.
#[tokio::test]
async fn misuse_of_direct_reply_to_is_refused() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let replies = "amq.rabbitmq.reply-to";
    let refusal = |text: &str, method| Close { code: 406, text: format!("PRECONDITION_FAILED - {text}"), method };
    raw.method(1, id::CONSUME, args::consume(replies, "c", 0)).await;
    assert_eq!(raw.expect_channel_close(1).await, refusal("reply consumer cannot acknowledge", id::CONSUME));
    raw.channel(1).await;
    raw.call(1, id::CONSUME, args::consume(replies, "c", 2), id::CONSUME_OK).await;
    raw.method(1, id::CONSUME, args::consume(replies, "d", 2)).await;
    assert_eq!(raw.expect_channel_close(1).await, refusal("reply consumer already set", id::CONSUME));
    raw.channel(1).await;
    // Only reply-to.
    let properties = Args::new().short(1 << 9).shortstr(replies.as_bytes());
    raw.send(&raw::publish_with(1, args::publish("", "q", 0), &properties.0, b"x")).await;
    assert_eq!(raw.expect_channel_close(1).await, refusal("fast reply consumer does not exist", id::PUBLISH));
}

/// Messages published while nobody listens wait for whoever comes, in order. FEATURES DL-5.
#[tokio::test]
async fn waiting_messages_are_delivered_in_order() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    for n in 0..200 {
        client.publish("", "q", n.to_string().as_bytes()).await;
    }
    let mut consumer = client.consume("q", "c").await;
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(next_bodies(&mut consumer, 200).await, expected);
    assert!(delivered(&client, "q", &mut consumer).await.is_empty());
}
