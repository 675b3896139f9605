//! queue.declare, delete, purge: names, lifetimes, arguments.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::AMQPValue;

use crate::common::client::{connect, refused};
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, start, start_client, table, within};

const PLAIN: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: false, exclusive: false, auto_delete: false, nowait: false };

/// FEATURES M-12: declare-ok has the name, the ready messages and the consumers.
#[tokio::test]
async fn declare_ok_counts() {
    let (_server, client) = start_client().await;
    let declared = client.declare("q", PLAIN, table([])).await.expect("declare-ok");
    assert_eq!((declared.name().as_str(), declared.message_count(), declared.consumer_count()), ("q", 0, 0));
    client.confirms().await;
    for _ in 0..3 {
        client.publish_confirmed("", "q", b"x").await;
    }
    client.qos(1, false).await;
    let _consumer = client.consume("q", "c").await;
    let declared = client.declare("q", PLAIN, table([])).await.expect("declare-ok");
    assert_eq!((declared.message_count(), declared.consumer_count()), (2, 1));
}

/// FEATURES QU-1: a queue without a name gets one of the server's.
#[tokio::test]
async fn the_server_makes_names() {
    let (_server, client) = start_client().await;
    let (first, second) = (client.queue("").await, client.queue("").await);
    assert_ne!(first, second);
    let random = first.strip_prefix("amq.gen-").expect("RabbitMQ's prefix");
    assert_eq!(random.len(), 22);
    assert!(random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{random}");
}

/// FEATURES EH-8, trap 12: a server-made name cannot be declared by name, not by its owner either; passive works.
#[tokio::test]
async fn reserved_names_are_refused() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let frame = raw.call(1, id::QUEUE_DECLARE, args::queue_declare("", 4), id::QUEUE_DECLARE_OK).await;
    let name = frame.args().shortstr();
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare(&name, 1), id::QUEUE_DECLARE_OK).await;
    for name in [name.as_str(), "amq.mine"] {
        raw.method(1, id::QUEUE_DECLARE, args::queue_declare(name, 4)).await;
        let text = format!("ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'");
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 403, text, method: id::QUEUE_DECLARE });
        raw.channel(1).await;
    }
}

/// FEATURES M-13, EH-3, trap 13: an empty name stands for the channel's last declared queue.
#[tokio::test]
async fn an_empty_name_is_the_last_declared() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let cases = [
        (id::QUEUE_BIND, args::queue_bind("", "amq.direct", "")),
        (id::QUEUE_PURGE, args::queue_purge("")),
        (id::QUEUE_DELETE, args::queue_delete("", 0)),
        (id::GET, args::get("", true)),
    ];
    for (method, arguments) in cases {
        raw.method(1, method, arguments).await;
        let text = "NOT_FOUND - no previously declared queue".to_owned();
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method });
        raw.channel(1).await;
    }
    let frame = raw.call(1, id::QUEUE_DECLARE, args::queue_declare("", 0), id::QUEUE_DECLARE_OK).await;
    let name = frame.args().shortstr();
    raw.call(1, id::QUEUE_BIND, args::queue_bind("", "amq.direct", ""), id::QUEUE_BIND_OK).await;
    raw.send(&raw::publish(1, "amq.direct", &name, b"x")).await;
    raw.call(1, id::GET, args::get("", true), id::GET_OK).await;
    raw.content(1).await;
    // An explicit declare, even of a known queue, becomes the last one.
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("named", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::QUEUE_BIND, args::queue_bind("", "amq.topic", "key"), id::QUEUE_BIND_OK).await;
    raw.send(&raw::publish(1, "amq.topic", "key", b"y")).await;
    raw.call(1, id::GET, args::get("named", true), id::GET_OK).await;
    raw.content(1).await;
    raw.call(1, id::QUEUE_DELETE, args::queue_delete("", 0), id::QUEUE_DELETE_OK).await;
}

/// FEATURES QU-10, EH-1: passive declares look at nothing but existence.
#[tokio::test]
async fn passive_declares_need_existence() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    for name in ["nix", ""] {
        raw.method(1, id::QUEUE_DECLARE, args::queue_declare(name, 1)).await;
        let text = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method: id::QUEUE_DECLARE });
        raw.channel(1).await;
    }
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let ttl = Args::new().field("x-message-ttl", b'I', &[0, 0, 0, 1]);
    let passive = args::queue_declare_with("q", 1 | 2 | 8, ttl);
    raw.call(1, id::QUEUE_DECLARE, passive, id::QUEUE_DECLARE_OK).await;
}

/// FEATURES EH-4, M-12, trap 8: the texts of a declare that disagrees.
#[tokio::test]
async fn declaring_again_must_agree() {
    let (_server, client) = start_client().await;
    let int = |n| AMQPValue::LongInt(n);
    let string = |text: &str| AMQPValue::LongString(text.into());
    let arguments = || table([("x-message-ttl", int(1000)), ("x-dead-letter-exchange", string("dlx"))]);
    client.declare("q", PLAIN, arguments()).await.expect("declare-ok");
    client.declare("q", PLAIN, arguments()).await.expect("declare-ok");
    let durable = QueueDeclareOptions { durable: true, ..PLAIN };
    let auto_delete = QueueDeclareOptions { auto_delete: true, ..PLAIN };
    let dlx = ("x-dead-letter-exchange", string("dlx"));
    let cases = [
        (durable, arguments(), "durable", "'true' but current is 'false'"),
        (auto_delete, arguments(), "auto_delete", "'true' but current is 'false'"),
        (PLAIN, table([("x-message-ttl", int(2000)), dlx.clone()]), "x-message-ttl", "'2000' but current is '1000'"),
        (PLAIN, table([dlx.clone()]), "x-message-ttl", "none but current is the value '1000' of type 'signedint'"),
        (
            PLAIN,
            table([("x-message-ttl", int(1000)), dlx, ("x-max-length", int(5))]),
            "x-max-length",
            "the value '5' of type 'signedint' but current is none",
        ),
        (
            PLAIN,
            table([("x-message-ttl", int(1000)), ("x-dead-letter-exchange", string("other"))]),
            "x-dead-letter-exchange",
            "'other' but current is 'dlx'",
        ),
    ];
    for (options, arguments, field, what) in cases {
        let channel = client.another_channel().await;
        let text =
            format!("PRECONDITION_FAILED - inequivalent arg '{field}' for queue 'q' in vhost '/': received {what}");
        refused(channel.declare("q", options, arguments), 406, &text).await;
    }
}

/// FEATURES QU-5, QU-6, trap 8: what does not count as a difference.
#[tokio::test]
async fn differences_that_do_not_count() {
    let (_server, client) = start_client().await;
    client.declare("q", PLAIN, table([("x-message-ttl", AMQPValue::LongInt(1000))])).await.expect("declare-ok");
    let same = [
        table([("x-message-ttl", AMQPValue::LongLongInt(1000))]),
        table([("x-message-ttl", AMQPValue::ShortInt(1000))]),
        table([("x-message-ttl", AMQPValue::LongInt(1000)), ("x-colour", AMQPValue::LongString("red".into()))]),
        table([("x-message-ttl", AMQPValue::LongInt(1000)), ("x-queue-type", AMQPValue::LongString("classic".into()))]),
    ];
    for arguments in same {
        client.declare("q", PLAIN, arguments).await.expect("declare-ok");
    }
    for other in [AMQPValue::Double(1000.0), AMQPValue::LongString("1000".into())] {
        let channel = client.another_channel().await;
        let result = within(channel.declare("q", PLAIN, table([("x-message-ttl", other)]))).await;
        assert_eq!(crate::common::Broken::of(&result.expect_err("refused")).code, 406);
    }
}

/// FEATURES EH-15, EH-19: bad values of arguments.
#[tokio::test]
async fn bad_arguments_are_refused() {
    let (_server, client) = start_client().await;
    let string = |text: &str| AMQPValue::LongString(text.into());
    let cases = [
        ("x-message-ttl", string("1000"), "\"expected integer, got longstr\""),
        ("x-message-ttl", AMQPValue::LongInt(-1), "{value_negative,-1}"),
        ("x-message-ttl", AMQPValue::LongLongInt(315_360_000_001), "{value_too_large,315360000001}"),
        ("x-expires", AMQPValue::LongInt(0), "{value_zero,0}"),
        ("x-expires", AMQPValue::LongInt(-5), "{value_negative,-5}"),
        ("x-max-length", AMQPValue::LongInt(-1), "{value_negative,-1}"),
        ("x-max-length-bytes", string("many"), "\"expected integer, got longstr\""),
        ("x-max-priority", AMQPValue::LongInt(256), "{max_value_exceeded,256}"),
        ("x-overflow", string("explode"), "invalid_overflow"),
        ("x-dead-letter-routing-key", string("key"), "routing_key_but_no_dlx_defined"),
        ("x-queue-type", string("magic"), "\"unsupported queue type 'magic'\""),
    ];
    for (argument, value, reason) in cases {
        let channel = client.another_channel().await;
        let text = format!("PRECONDITION_FAILED - invalid arg '{argument}' for queue 'bad' in vhost '/': {reason}");
        refused(channel.declare("bad", PLAIN, table([(argument, value)])), 406, &text).await;
    }
    let text = "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'bad' in \
                vhost '/'";
    let channel = client.another_channel().await;
    refused(channel.declare("bad", PLAIN, table([("x-dead-letter-exchange", AMQPValue::LongInt(1))])), 406, text).await;
}

/// FEATURES EH-20: a vhost's limit is on the queues that are there; declaring one of them again is no new one.
#[tokio::test]
async fn a_vhost_may_limit_its_queues() {
    let (server, client) = start_client().await;
    server.broker().vhost("/").expect("the vhost").change_settings(|settings| settings.queues_max = Some(2));
    for queue in ["one", "two", "two"] {
        client.queue(queue).await;
    }
    let channel = client.another_channel().await;
    let text = "PRECONDITION_FAILED - cannot declare queue 'three': queue limit in vhost '/' (2) is reached";
    refused(channel.declare("three", PLAIN, table([])), 406, text).await;
    within(client.queue_delete("one".into(), QueueDeleteOptions::default())).await.expect("queue.delete-ok");
    client.queue("three").await;
}

/// FEATURES QU-8: the mode of classic queues means nothing any more, whatever it says; versions are looked at.
#[tokio::test]
async fn modes_are_ignored_and_versions_are_not() {
    let (_server, client) = start_client().await;
    let string = |text: &str| AMQPValue::LongString(text.into());
    let accepted = [
        ("x-queue-mode", string("lazy")),
        ("x-queue-mode", string("eager")),
        ("x-queue-mode", AMQPValue::LongInt(1)),
        ("x-queue-version", AMQPValue::LongInt(2)),
    ];
    for (number, argument) in accepted.into_iter().enumerate() {
        client.declare(&format!("q{number}"), PLAIN, table([argument])).await.expect("queue.declare-ok");
    }
    let text = "PRECONDITION_FAILED - invalid arg 'x-queue-version' for queue 'bad' in vhost '/': \"unsupported queue \
                version '3'\"";
    refused(client.declare("bad", PLAIN, table([("x-queue-version", AMQPValue::LongInt(3))])), 406, text).await;
}

/// FEATURES EH-16: arguments of other queue types.
#[tokio::test]
async fn arguments_of_other_types_are_refused() {
    let (_server, client) = start_client().await;
    for argument in ["x-max-age", "x-delivery-limit", "x-quorum-initial-group-size"] {
        let channel = client.another_channel().await;
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{argument}' for queue 'bad' in vhost '/' of queue type \
             rabbit_classic_queue"
        );
        refused(channel.declare("bad", PLAIN, table([(argument, AMQPValue::LongInt(1))])), 406, &text).await;
    }
}

/// FEATURES QU-7: transient queues that are not exclusive are accepted.
#[tokio::test]
async fn transient_queues_outlive_their_connection() {
    let (server, client) = start_client().await;
    client.queue("transient").await;
    client.confirms().await;
    client.publish_confirmed("", "transient", b"x").await;
    client.close().await;
    let client = connect(&server).await;
    assert_eq!(client.count("transient").await, (1, 0));
}

/// FEATURES M-15, EH-14: delete counts the ready messages, and if asked spares what is used or not empty.
#[tokio::test]
async fn delete_counts_and_spares() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.confirms().await;
    for _ in 0..3 {
        client.publish_confirmed("", "q", b"x").await;
    }
    let other = client.another_channel().await;
    let if_empty = QueueDeleteOptions { if_empty: true, ..QueueDeleteOptions::default() };
    let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty";
    refused(other.queue_delete("q".into(), if_empty), 406, text).await;
    client.qos(1, false).await;
    let _consumer = client.consume("q", "c").await;
    let other = client.another_channel().await;
    let if_unused = QueueDeleteOptions { if_unused: true, ..QueueDeleteOptions::default() };
    let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
    refused(other.queue_delete("q".into(), if_unused), 406, text).await;
    let deleted = within(client.queue_delete("q".into(), QueueDeleteOptions::default())).await;
    assert_eq!(deleted.expect("delete-ok"), 2, "the third is unacked");
}

/// FEATURES M-15, trap 9: deleting what is not there succeeds.
#[tokio::test]
async fn deleting_a_missing_queue_succeeds() {
    let (_server, client) = start_client().await;
    let deleted = within(client.queue_delete("nix".into(), QueueDeleteOptions::default())).await;
    assert_eq!(deleted.expect("delete-ok"), 0);
}

/// FEATURES M-14, EH-1.
#[tokio::test]
async fn purge_counts_and_needs_a_queue() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.confirms().await;
    for _ in 0..3 {
        client.publish_confirmed("", "q", b"x").await;
    }
    let options = lapin::options::QueuePurgeOptions::default();
    assert_eq!(within(client.queue_purge("q".into(), options)).await.expect("purge-ok"), 3);
    assert_eq!(client.count("q").await, (0, 0));
    let text = "NOT_FOUND - no queue 'nix' in vhost '/'";
    refused(client.queue_purge("nix".into(), options), 404, text).await;
}

/// FEATURES M-22, EH-1: get-ok says what is left.
#[tokio::test]
async fn get_says_what_is_left() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.confirms().await;
    for n in 0..3 {
        client.publish_confirmed("", "q", n.to_string().as_bytes()).await;
    }
    for left in [2, 1, 0] {
        assert_eq!(client.get("q").await.expect("a message").message_count, left);
    }
    assert!(client.get("q").await.is_none());
    let options = lapin::options::BasicGetOptions::default();
    refused(client.basic_get("nix".into(), options), 404, "NOT_FOUND - no queue 'nix' in vhost '/'").await;
}

/// FEATURES BP-8: names of 255 bytes work, in whatever script.
#[tokio::test]
async fn long_names_work() {
    let (_server, client) = start_client().await;
    for name in ["n".repeat(255), "ü".repeat(127)] {
        client.queue(&name).await;
        client.confirms().await;
        client.publish_confirmed("", &name, b"x").await;
        let mut consumer = client.consume(&name, &name).await;
        assert_eq!(crate::common::client::next_bodies(&mut consumer, 1).await, ["x"]);
        assert_eq!(consumer.tag().as_str(), name);
    }
}

/// A queue deleted and declared again starts empty and unbound. FEATURES M-15.
#[tokio::test]
async fn a_deleted_queue_leaves_nothing() {
    let (_server, client) = start_client().await;
    for _ in 0..2 {
        client.queue("q").await;
        client.bind("q", "amq.fanout", "").await;
        client.publish("amq.fanout", "", b"x").await;
        client.publish("", "q", b"y").await;
        within(client.queue_delete("q".into(), QueueDeleteOptions::default())).await.expect("delete-ok");
    }
    client.queue("q").await;
    client.publish("amq.fanout", "", b"z").await;
    assert!(client.drain("q").await.is_empty());
}
