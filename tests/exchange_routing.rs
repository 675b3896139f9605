//! How the four exchange types of the specification choose queues.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::common::{ChannelExt, start_client, table};

/// Publishes one message for each key and gives, for each queue, the keys that reached it.
async fn reached(
    client: &lapin::Channel,
    exchange: &str,
    keys: &[&str],
    queues: &[&str],
) -> BTreeMap<String, Vec<String>> {
    for key in keys {
        client.publish(exchange, key, key.as_bytes()).await;
    }
    let mut reached = BTreeMap::new();
    for queue in queues {
        reached.insert((*queue).to_owned(), client.drain(queue).await);
    }
    reached
}

/// FEATURES XT-5: direct is byte equality.
#[tokio::test]
async fn direct_compares_the_key() {
    let (_server, client) = start_client().await;
    client.exchange("x", ExchangeKind::Direct).await;
    for (queue, key) in [("a", "a"), ("also a", "a"), ("upper", "A"), ("empty", ""), ("hash", "#")] {
        client.queue(queue).await;
        client.bind(queue, "x", key).await;
    }
    let reached =
        reached(&client, "x", &["a", "A", "", "#", "a.a", "b"], &["a", "also a", "upper", "empty", "hash"]).await;
    assert_eq!(reached["a"], ["a"]);
    assert_eq!(reached["also a"], ["a"]);
    assert_eq!(reached["upper"], ["A"]);
    assert_eq!(reached["empty"], [""]);
    assert_eq!(reached["hash"], ["#"]);
}

/// FEATURES XT-5: fanout ignores the key.
#[tokio::test]
async fn fanout_ignores_the_key() {
    let (_server, client) = start_client().await;
    client.exchange("x", ExchangeKind::Fanout).await;
    for (queue, key) in [("a", "a"), ("b", "b")] {
        client.queue(queue).await;
        client.bind(queue, "x", key).await;
    }
    let reached = reached(&client, "x", &["a", "z", ""], &["a", "b"]).await;
    assert_eq!(reached["a"], ["a", "z", ""]);
    assert_eq!(reached["b"], ["a", "z", ""]);
}

/// FEATURES XT-3, trap 21: every pattern against every key, written out.
#[tokio::test]
async fn topic_matches_words() {
    let (_server, client) = start_client().await;
    let keys = ["", "a", "b", "a.b", "a..b", ".", "a.b.c", "a.b.c.b", "lazy.orange.fox"];
    let expected: &[(&str, &[&str])] = &[
        ("#", &["", "a", "b", "a.b", "a..b", ".", "a.b.c", "a.b.c.b", "lazy.orange.fox"]),
        ("", &[""]),
        ("*", &["a", "b"]),
        ("a", &["a"]),
        ("*.*", &["a.b", "."]),
        ("a.*", &["a.b"]),
        ("a.#", &["a", "a.b", "a..b", "a.b.c", "a.b.c.b"]),
        ("#.b", &["b", "a.b", "a..b", "a.b.c.b"]),
        ("a.*.b", &["a..b"]),
        ("a.#.b", &["a.b", "a..b", "a.b.c.b"]),
        ("*.#.*", &["a.b", "a..b", ".", "a.b.c", "a.b.c.b", "lazy.orange.fox"]),
        ("*.orange.*", &["lazy.orange.fox"]),
        ("#.#", &["", "a", "b", "a.b", "a..b", ".", "a.b.c", "a.b.c.b", "lazy.orange.fox"]),
        ("a.b", &["a.b"]),
        ("A.b", &[]),
    ];
    client.exchange("x", ExchangeKind::Topic).await;
    let queues: Vec<String> = expected.iter().map(|(pattern, _)| format!("q {pattern}")).collect();
    for ((pattern, _), queue) in expected.iter().zip(&queues) {
        client.queue(queue).await;
        client.bind(queue, "x", pattern).await;
    }
    let names: Vec<&str> = queues.iter().map(String::as_str).collect();
    let reached = reached(&client, "x", &keys, &names).await;
    for ((pattern, keys), queue) in expected.iter().zip(&queues) {
        assert_eq!(reached[queue], *keys, "pattern {pattern:?}");
    }
}

/// FEATURES XT-3: unbinding one pattern leaves the others of the queue.
#[tokio::test]
async fn topic_bindings_go_one_by_one() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    for pattern in ["a.*", "a.b", "a.#"] {
        client.bind("q", "amq.topic", pattern).await;
    }
    for (pattern, left) in [("a.b", 1), ("a.#", 1), ("a.*", 0)] {
        let unbind = client.queue_unbind("q".into(), "amq.topic".into(), pattern.into(), FieldTable::default());
        unbind.await.expect("unbind-ok");
        client.publish("amq.topic", "a.b", b"x").await;
        assert_eq!(client.drain("q").await.len(), left, "after {pattern} was taken away");
    }
}

/// FEATURES XT-4, trap 20: which arguments match which headers.
#[tokio::test]
async fn headers_compare_values_and_presence() {
    let (_server, client) = start_client().await;
    let string = |text: &str| AMQPValue::LongString(text.into());
    let mode = |mode: &str| ("x-match", AMQPValue::LongString(mode.into()));
    let bindings: &[(&str, FieldTable)] = &[
        ("all", table([mode("all"), ("a", string("1")), ("b", string("2"))])),
        ("absent mode", table([("a", string("1")), ("b", string("2"))])),
        ("any", table([mode("any"), ("a", string("1")), ("b", string("2"))])),
        ("empty all", table([])),
        ("empty any", table([mode("any")])),
        ("x skipped", table([mode("all"), ("a", string("1")), ("x-c", string("3"))])),
        ("x used", table([mode("all-with-x"), ("a", string("1")), ("x-c", string("3"))])),
        ("any x", table([mode("any-with-x"), ("x-c", string("3"))])),
        ("presence", table([("a", AMQPValue::Void)])),
        ("number", table([("a", AMQPValue::LongInt(1))])),
        ("bool", table([("a", AMQPValue::Boolean(true))])),
    ];
    let messages: &[(&str, Option<FieldTable>)] = &[
        ("none", None),
        ("empty", Some(table([]))),
        ("a=1", Some(table([("a", string("1"))]))),
        ("a=1 b=2", Some(table([("a", string("1")), ("b", string("2"))]))),
        ("a=2", Some(table([("a", string("2"))]))),
        ("b=2", Some(table([("b", string("2"))]))),
        ("a=1 x-c=3", Some(table([("a", string("1")), ("x-c", string("3"))]))),
        ("a=int 1", Some(table([("a", AMQPValue::LongInt(1))]))),
        ("a=long 1", Some(table([("a", AMQPValue::LongLongInt(1))]))),
        ("a=true", Some(table([("a", AMQPValue::Boolean(true))]))),
    ];
    let expected: &[(&str, &[&str])] = &[
        ("all", &["a=1 b=2"]),
        ("absent mode", &["a=1 b=2"]),
        ("any", &["a=1", "a=1 b=2", "b=2", "a=1 x-c=3"]),
        ("empty all", &["none", "empty", "a=1", "a=1 b=2", "a=2", "b=2", "a=1 x-c=3", "a=int 1", "a=long 1", "a=true"]),
        ("empty any", &[]),
        ("x skipped", &["a=1", "a=1 b=2", "a=1 x-c=3"]),
        ("x used", &["a=1 x-c=3"]),
        ("any x", &["a=1 x-c=3"]),
        ("presence", &["a=1", "a=1 b=2", "a=2", "a=1 x-c=3", "a=int 1", "a=long 1", "a=true"]),
        ("number", &["a=int 1", "a=long 1"]),
        ("bool", &["a=true"]),
    ];
    client.exchange("x", ExchangeKind::Headers).await;
    for (queue, arguments) in bindings {
        client.queue(queue).await;
        client.bind_with(queue, "x", "ignored", arguments.clone()).await;
    }
    for (body, headers) in messages {
        let properties = BasicProperties::default();
        let properties = headers.clone().map_or(properties.clone(), |headers| properties.with_headers(headers));
        client.publish_with("x", "also ignored", body.as_bytes(), properties).await;
    }
    for (queue, bodies) in expected {
        assert_eq!(client.drain(queue).await, *bodies, "binding {queue:?}");
    }
}

/// FEATURES EH-29.
#[tokio::test]
async fn headers_check_x_match() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    let cases = [
        (
            AMQPValue::LongString("most".into()),
            "PRECONDITION_FAILED - Invalid x-match field value <<\"most\">>; expected all, any, all-with-x, or \
             any-with-x",
        ),
        (
            AMQPValue::LongInt(1),
            "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr",
        ),
    ];
    for (value, text) in cases {
        let channel = client.another_channel().await;
        let options = lapin::options::QueueBindOptions::default();
        let bind =
            channel.queue_bind("q".into(), "amq.headers".into(), "".into(), options, table([("x-match", value)]));
        crate::common::client::refused(bind, 406, text).await;
    }
}
