//! The exchange types beyond AMQP's four: by hash, by chance, with a history.

use std::collections::BTreeMap;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::common::client::{Broken, refused, returned};
use crate::common::{ChannelExt, start_client, table, within};

pub(crate) async fn declare(channel: &Channel, name: &str, kind: &str, arguments: FieldTable) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions::default();
    within(channel.exchange_declare(name.into(), ExchangeKind::Custom(kind.into()), options, arguments)).await
}

pub(crate) async fn bind_exchange(channel: &Channel, destination: &str, source: &str, key: &str) {
    let options = ExchangeBindOptions::default();
    within(channel.exchange_bind(destination.into(), source.into(), key.into(), options, table([])))
        .await
        .expect("exchange.bind-ok");
}

pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn headers<const N: usize>(pairs: [(&str, AMQPValue); N]) -> BasicProperties {
    BasicProperties::default().with_headers(table(pairs))
}

/// Messages of each queue `q1` to `q<n>`.
async fn counts(channel: &Channel, queues: u32) -> Vec<u32> {
    let mut counts = Vec::new();
    for queue in 1..=queues {
        counts.push(channel.count(&format!("q{queue}")).await.0);
    }
    counts
}

async fn bound_queues(channel: &Channel, exchange: &str, keys: &[&str]) {
    for (number, key) in (1..).zip(keys) {
        let queue = channel.queue(&format!("q{number}")).await;
        channel.bind(&queue, exchange, key).await;
    }
}

/// FEATURES XT-6: a key goes to one queue, always the same, and queues share by weight.
#[tokio::test]
async fn consistent_hash_shares_by_weight() {
    let (_server, client) = start_client().await;
    declare(&client, "x", "x-consistent-hash", table([])).await.expect("declare-ok");
    bound_queues(&client, "x", &["1", "3"]).await;
    for _ in 0..2 {
        for key in 0..400 {
            client.publish("x", &format!("key{key}"), b"m").await;
        }
    }
    let counts = counts(&client, 2).await;
    assert_eq!(counts.iter().sum::<u32>(), 800);
    assert!((130..=270).contains(&counts[0]) && counts.iter().all(|count| count % 2 == 0), "{counts:?}");
}

/// FEATURES XT-6: by a header; what reaches the exchange through another one is hashed in the same way.
#[tokio::test]
async fn consistent_hash_by_header_through_another_exchange() {
    let (_server, client) = start_client().await;
    declare(&client, "x", "x-consistent-hash", table([("hash-header", text("id"))])).await.expect("declare-ok");
    bind_exchange(&client, "x", "amq.fanout", "").await;
    bound_queues(&client, "x", &["10"; 5]).await;
    let mut queue_of: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for exchange in ["x", "amq.fanout", "x"] {
        for id in 0..10 {
            let before = counts(&client, 5).await;
            let properties = headers([("id", AMQPValue::LongInt(id))]);
            client.publish_with(exchange, &format!("other{id}"), b"m", properties).await;
            let after = counts(&client, 5).await;
            let got: Vec<u32> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
            assert_eq!(got.iter().sum::<u32>(), 1);
            assert_eq!(queue_of.entry(id).or_insert_with(|| got.clone()), &got);
        }
    }
}

/// FEATURES XT-6, XT-9, XT-11, QU-5: what declares and bindings are refused for; redeclares are not compared.
#[tokio::test]
async fn bad_arguments_are_refused() {
    let (_server, client) = start_client().await;
    let number = AMQPValue::LongInt;
    let cases: [(&str, FieldTable, &str); 7] = [
        (
            "x-consistent-hash",
            table([("hash-header", text("a")), ("hash-property", text("message_id"))]),
            "hash-header and hash-property are mutually exclusive",
        ),
        ("x-consistent-hash", table([("hash-property", text("foo"))]), "Unsupported property: foo"),
        ("x-consistent-hash", table([("hash-header", number(1))]), "Invalid argument, 'hash-header' must be a string"),
        (
            "x-recent-history",
            table([("x-recent-history-length", number(0))]),
            "Invalid argument 0, 'x-recent-history-length' must be a positive integer",
        ),
        (
            "x-message-deduplication",
            table([]),
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            "x-delayed-message",
            table([("x-delayed-type", text("x-delayed-message"))]),
            "Invalid argument, 'x-delayed-type' must be an existing exchange type",
        ),
        ("x-no-such-type", table([]), "unknown exchange type 'x-no-such-type'"),
    ];
    for (kind, arguments, text) in cases {
        let channel = client.another_channel().await;
        refused(declare(&channel, "x", kind, arguments), 406, &format!("PRECONDITION_FAILED - {text}")).await;
    }
    for length in [7, 8] {
        let arguments = table([("x-recent-history-length", number(length))]);
        declare(&client, "history", "x-recent-history", arguments).await.expect("declare-ok");
    }
    declare(&client, "hash", "x-consistent-hash", table([])).await.expect("declare-ok");
    declare(&client, "local", "x-local-random", table([])).await.expect("declare-ok");
    client.queue("q").await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    client.declare("quorum", durable, table([("x-queue-type", text("quorum"))])).await.expect("declare-ok");
    let bindings = [
        ("q", "hash", "abc", "The binding key must be an integer: <<\"abc\">>"),
        ("q", "hash", "0", "The binding key must be greater than 0"),
        ("q", "hash", "10001", "The binding key must not exceed 10000"),
        ("q", "local", "k", "Non empty binding 'k' key not permitted"),
        ("quorum", "local", "", "Queue type rabbit_quorum_queue not valid for this exchange type"),
    ];
    for (queue, exchange, key, text) in bindings {
        let channel = client.another_channel().await;
        let bind =
            channel.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), table([]));
        refused(bind, 406, &format!("PRECONDITION_FAILED - {text}")).await;
    }
}

/// FEATURES XT-7, XT-8: one queue of those bound, by chance or by the key; none if there is none.
#[tokio::test]
async fn one_queue_is_chosen() {
    for kind in ["x-random", "x-local-random", "x-modulus-hash"] {
        let (_server, client) = start_client().await;
        declare(&client, "x", kind, table([])).await.expect("declare-ok");
        client.confirms().await;
        assert_eq!(returned(client.publish_mandatory("x", "k", b"m").await).await.reply_code, 312);
        bound_queues(&client, "x", &[""; 3]).await;
        for key in 0..300 {
            client.publish("x", &format!("{key}"), b"m").await;
        }
        client.publish_confirmed("x", "last", b"m").await;
        let counts = counts(&client, 3).await;
        assert_eq!(counts.iter().sum::<u32>(), 301);
        assert!(counts.iter().all(|count| *count > 40), "{kind}: {counts:?}");
    }
}

/// FEATURES XT-9: a queue that is bound gets the last messages first, in order, once for each new binding; those
/// that say so are not kept.
#[tokio::test]
async fn recent_history_is_replayed() {
    let (_server, client) = start_client().await;
    let arguments = table([("x-recent-history-length", AMQPValue::LongInt(2))]);
    declare(&client, "x", "x-recent-history", arguments).await.expect("declare-ok");
    client.confirms().await;
    for body in ["1", "2", "3"] {
        client.publish_confirmed("x", "k", body.as_bytes()).await;
    }
    let no_store = headers([("x-recent-history-no-store", AMQPValue::Boolean(true))]);
    within(client.publish_with("x", "k", b"secret", no_store).await).await.expect("a confirm");
    client.queue("q").await;
    client.bind("q", "x", "").await;
    client.publish_confirmed("x", "k", b"4").await;
    assert_eq!(client.drain("q").await, ["2", "3", "4"]);
    client.bind("q", "x", "").await;
    assert!(client.drain("q").await.is_empty(), "the binding is not new");
    client.bind("q", "x", "another").await;
    assert_eq!(client.drain("q").await, ["3", "4"]);
}

/// FEATURES XT-9: it remembers what comes through other exchanges, dead letters and transactions, too, and replays
/// through an exchange that is bound.
#[tokio::test]
async fn recent_history_remembers_whatever_way_a_message_comes() {
    let (_server, client) = start_client().await;
    declare(&client, "x", "x-recent-history", table([])).await.expect("declare-ok");
    client.exchange("in", ExchangeKind::Fanout).await;
    bind_exchange(&client, "x", "in", "").await;
    let dead = table([("x-dead-letter-exchange", text("x")), ("x-message-ttl", AMQPValue::LongInt(0))]);
    client.declare("dying", QueueDeclareOptions::default(), dead).await.expect("declare-ok");
    client.publish("in", "k", b"bound").await;
    client.publish("", "dying", b"dead").await;
    client.count("dying").await;
    let tx = client.another_channel().await;
    within(tx.tx_select()).await.expect("tx.select-ok");
    tx.publish("x", "k", b"rolled back").await;
    within(tx.tx_rollback()).await.expect("tx.rollback-ok");
    tx.publish("x", "k", b"committed").await;
    within(tx.tx_commit()).await.expect("tx.commit-ok");
    client.exchange("out", ExchangeKind::Direct).await;
    client.queue("q").await;
    client.bind("q", "out", "k").await;
    client.bind("q", "out", "dying").await;
    bind_exchange(&client, "out", "x", "").await;
    assert_eq!(client.drain("q").await, ["bound", "dead", "committed"]);
}

/// FEATURES XT-6, XT-9 to XT-11: arguments nested deep, where a number or a name is due, are refused like any other.
#[tokio::test]
async fn deep_arguments_are_refused() {
    let (_server, client) = start_client().await;
    let deep = || (0..100).fold(text("x"), |inner, _| AMQPValue::FieldTable(table([("in", inner)])));
    let cases = [
        ("x-consistent-hash", "hash-header"),
        ("x-consistent-hash", "hash-property"),
        ("x-recent-history", "x-recent-history-length"),
        ("x-message-deduplication", "x-cache-size"),
        ("x-delayed-message", "x-delayed-type"),
    ];
    for (kind, argument) in cases {
        let channel = client.another_channel().await;
        let error = declare(&channel, "x", kind, table([(argument, deep())])).await.expect_err("refused");
        let Broken { code, text } = Broken::of(&error);
        assert!(code == 406 && text.starts_with("PRECONDITION_FAILED - "), "{text}");
    }
}
