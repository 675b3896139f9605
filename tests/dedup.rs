//! No duplicates: exchanges and queues that drop equal ids, and queues that know how far a producer has come.

use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::common::client::{Broken, refused, returned};
use crate::common::place::Place;
use crate::common::{ChannelExt, connect, eventually, start_client, table, within};
use crate::exchange_plugins::{declare, headers, text};

fn id(id: &str) -> BasicProperties {
    headers([("x-deduplication-header", text(id))])
}

fn numbered(producer: &str, sequence: i64) -> BasicProperties {
    headers([("x-producer-id", text(producer)), ("x-producer-sequence", AMQPValue::LongLongInt(sequence))])
}

async fn confirmed(channel: &Channel, exchange: &str, key: &str, body: &str, properties: BasicProperties) {
    let confirm = channel.publish_with(exchange, key, body.as_bytes(), properties).await;
    let confirmation = within(confirm).await.expect("a confirm");
    assert!(confirmation.is_ack(), "{confirmation:?}");
}

/// FEATURES XT-11: what has been routed is not routed again, unless it is forgotten; without an id all are.
#[tokio::test]
async fn an_exchange_drops_ids_it_has_seen() {
    let (_server, client) = start_client().await;
    let arguments = table([("x-cache-size", AMQPValue::LongInt(3)), ("x-cache-persistence", text("memory"))]);
    declare(&client, "x", "x-message-deduplication", arguments).await.expect("declare-ok");
    for queue in ["q", "r"] {
        client.queue(queue).await;
        client.bind(queue, "x", "ignored").await;
    }
    client.confirms().await;
    for name in ["a", "a", "b", "a", "c", "d", "a"] {
        confirmed(&client, "x", "k", name, id(name)).await;
    }
    confirmed(&client, "x", "k", "none", BasicProperties::default()).await;
    confirmed(&client, "x", "k", "none", BasicProperties::default()).await;
    let expected = ["a", "b", "c", "d", "a", "none", "none"];
    assert_eq!(client.drain("q").await, expected);
    assert_eq!(client.drain("r").await, expected);
}

/// FEATURES XT-11: the time an id is remembered is the exchange's or the message's own; a duplicate counts as routed
/// nowhere.
#[tokio::test]
async fn ids_are_forgotten_after_their_time() {
    let (_server, client) = start_client().await;
    let arguments = table([("x-cache-size", text("100")), ("x-cache-ttl", AMQPValue::LongInt(100_000))]);
    declare(&client, "x", "x-message-deduplication", arguments).await.expect("declare-ok");
    client.queue("q").await;
    client.bind("q", "x", "").await;
    client.confirms().await;
    let brief = || {
        let ttl = ("x-cache-ttl", AMQPValue::LongInt(60));
        headers([("x-deduplication-header", text("brief")), ttl])
    };
    confirmed(&client, "x", "k", "long", id("long")).await;
    confirmed(&client, "x", "k", "brief", brief()).await;
    eventually("the id is free again", async || {
        confirmed(&client, "x", "k", "brief", brief()).await;
        confirmed(&client, "x", "k", "long", id("long")).await;
        (client.count("q").await.0 >= 3).then_some(())
    })
    .await;
    assert_eq!(client.drain("q").await, ["long", "brief", "brief"]);
    let options = lapin::options::BasicPublishOptions { mandatory: true, immediate: false };
    let again = within(client.basic_publish("x".into(), "k".into(), options, b"long", id("long"))).await.expect("sent");
    assert_eq!(returned(again).await.reply_code, 312);
}

/// FEATURES XT-11: a queue takes an id while none equal to it is there, waiting or unacked.
#[tokio::test]
async fn a_queue_drops_ids_that_it_has() {
    let (_server, client) = start_client().await;
    let arguments = table([
        ("x-message-deduplication", AMQPValue::Boolean(true)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
    ]);
    client.declare("q", QueueDeclareOptions::default(), arguments).await.expect("declare-ok");
    client.queue("dead").await;
    client.confirms().await;
    let publish = async |body: &str| {
        confirmed(&client, "", "q", body, id("a")).await;
        client.count("q").await.0
    };
    assert_eq!((publish("1").await, publish("dropped").await), (1, 1));
    let got = client.get("q").await.expect("a message");
    assert_eq!(publish("unacked still").await, 0);
    client.ack(got.delivery.delivery_tag, false).await;
    assert_eq!(publish("2").await, 1);
    let got = client.get("q").await.expect("a message");
    client.reject(got.delivery.delivery_tag, true).await;
    assert_eq!(publish("returned").await, 1);
    let got = client.get("q").await.expect("a message");
    client.reject(got.delivery.delivery_tag, false).await;
    assert_eq!(publish("3").await, 1);
    within(client.queue_purge("q".into(), Default::default())).await.expect("purge-ok");
    assert_eq!(publish("4").await, 1);
    assert_eq!(client.drain("q").await, ["4"]);
    confirmed(&client, "", "q", "5", id("a").with_expiration("1".into())).await;
    eventually("it expires", async || (client.count("q").await.0 == 0).then_some(())).await;
    assert_eq!(publish("6").await, 1);
    assert_eq!(client.drain("dead").await, ["2", "5"]);
}

/// FEATURES XT-11, EH-15: the queue's argument is a boolean, and part of what the queue is.
#[tokio::test]
async fn the_queue_argument_is_checked() {
    let (_server, client) = start_client().await;
    let declare = async |queue: &str, value: AMQPValue| {
        let channel = client.another_channel().await;
        channel.declare(queue, QueueDeclareOptions::default(), table([("x-message-deduplication", value)])).await
    };
    let text = "PRECONDITION_FAILED - invalid arg 'x-message-deduplication' for queue 'q' in vhost '/': \
                {unacceptable_type,signedint}";
    refused(declare("q", AMQPValue::LongInt(1)), 406, text).await;
    declare("q", AMQPValue::Boolean(true)).await.expect("declare-ok");
    let error = declare("q", AMQPValue::Boolean(false)).await.expect_err("another queue");
    assert!(Broken::of(&error).text.contains("inequivalent arg 'x-message-deduplication'"));
}

/// A producer that connects again sends anew what was not confirmed: the queue drops what it had, and confirms it.
#[tokio::test]
async fn a_resend_is_dropped_and_confirmed() {
    let (server, client) = start_client().await;
    client.queue("q").await;
    client.confirms().await;
    for n in 1..=5 {
        confirmed(&client, "", "q", &n.to_string(), numbered("p", n)).await;
    }
    client.close().await;
    let client = connect(&server).await;
    client.confirms().await;
    for n in 3..=8 {
        confirmed(&client, "", "q", &n.to_string(), numbered("p", n)).await;
    }
    confirmed(&client, "", "q", "other", numbered("other", 1)).await;
    confirmed(&client, "", "q", "unnumbered", BasicProperties::default()).await;
    let expected = ["1", "2", "3", "4", "5", "6", "7", "8", "other", "unnumbered"];
    assert_eq!(client.drain("q").await, expected);
}

/// Each queue counts for itself, transactions count at their commit, and a publish that a full queue refuses does not.
#[tokio::test]
async fn only_what_a_queue_takes_counts() {
    let (_server, client) = start_client().await;
    let full = table([("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", text("reject-publish"))]);
    client.declare("q", QueueDeclareOptions::default(), full).await.expect("declare-ok");
    client.queue("r").await;
    client.exchange("x", ExchangeKind::Fanout).await;
    client.bind("q", "x", "").await;
    client.bind("r", "x", "").await;
    let tx = client.another_channel().await;
    within(tx.tx_select()).await.expect("tx.select-ok");
    tx.publish_with("", "q", b"1", numbered("p", 1)).await;
    within(tx.tx_rollback()).await.expect("tx.rollback-ok");
    client.confirms().await;
    confirmed(&client, "x", "k", "1", numbered("p", 1)).await;
    let refused = within(client.publish_with("x", "k", b"2", numbered("p", 2)).await).await.expect("a confirm");
    assert!(refused.is_nack());
    assert_eq!(client.drain("q").await, ["1"]);
    confirmed(&client, "x", "k", "2", numbered("p", 2)).await;
    assert_eq!(client.drain("q").await, ["2"]);
    assert_eq!(client.drain("r").await, ["1", "2"]);
}

/// A dead letter is no resend, whatever its number; nor is one that an operator publishes again with its history.
#[tokio::test]
async fn dead_letters_are_no_resends() {
    let (_server, client) = start_client().await;
    let dead = table([("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))]);
    client.declare("q", QueueDeclareOptions::default(), dead).await.expect("declare-ok");
    client.queue("dead").await;
    client.confirms().await;
    for n in 1..=3 {
        confirmed(&client, "", "q", &n.to_string(), numbered("p", n)).await;
    }
    let mut tags = Vec::new();
    while let Some(message) = client.get("q").await {
        tags.push(message.delivery.delivery_tag);
    }
    for tag in tags.into_iter().rev() {
        client.reject(tag, false).await;
    }
    eventually("all are dead", async || (client.count("dead").await.0 == 3).then_some(())).await;
    let first = client.get("dead").await.expect("a dead letter");
    confirmed(&client, "", "q", "3 again", first.delivery.properties.clone()).await;
    assert_eq!(client.drain("q").await, ["3 again"]);
    assert_eq!(client.drain("dead").await, ["2", "1"]);
}

/// Delayed messages count when they come to the exchange, so that short delays may overtake long ones.
#[tokio::test]
async fn delays_do_not_make_resends() {
    let (_server, client) = start_client().await;
    declare(&client, "x", "x-delayed-message", table([("x-delayed-type", text("fanout"))])).await.expect("declare-ok");
    client.queue("q").await;
    client.bind("q", "x", "").await;
    client.confirms().await;
    for (sequence, delay) in [(1, 200), (2, 100), (1, 50), (2, 50)] {
        let mut headers = numbered("p", sequence).headers().clone().expect("headers");
        headers.insert("x-delay".into(), AMQPValue::LongInt(delay));
        let properties = BasicProperties::default().with_headers(headers);
        confirmed(&client, "x", "k", &format!("{sequence} after {delay}"), properties).await;
    }
    eventually("both come", async || (client.count("q").await.0 >= 2).then_some(())).await;
    assert_eq!(client.drain("q").await, ["2 after 100", "1 after 200"]);
}

/// Headers that number nothing are told.
#[tokio::test]
async fn malformed_numbers_are_refused() {
    let (_server, client) = start_client().await;
    let (id, sequence) = ("x-producer-id", "x-producer-sequence");
    let number = AMQPValue::LongInt(1);
    let cases = [
        (table([(id, text("p"))]), "x-producer-id needs x-producer-sequence beside it"),
        (table([(sequence, number.clone())]), "x-producer-sequence needs x-producer-id beside it"),
        (table([(id, text("")), (sequence, number.clone())]), "x-producer-id must be a longstr of 1 to 255 bytes"),
        (
            table([(id, text(&"p".repeat(256))), (sequence, number.clone())]),
            "x-producer-id must be a longstr of 1 to 255 bytes",
        ),
        (table([(id, number.clone()), (sequence, number)]), "x-producer-id must be a longstr of 1 to 255 bytes"),
        (table([(id, text("p")), (sequence, text("1"))]), "x-producer-sequence must be an integer"),
    ];
    for (headers, text) in cases {
        let channel = client.another_channel().await;
        channel.confirms().await;
        let properties = BasicProperties::default().with_headers(headers);
        channel.publish_with("", "q", b"m", properties).await;
        let text = format!("PRECONDITION_FAILED - invalid message: {text}");
        let waits = async { within(channel.wait_for_confirms()).await.map(drop) };
        refused(waits, 406, &text).await;
    }
}

/// FEATURES XT-11: any value is an id, also tables as deep as they may be; integers of all widths are one.
#[tokio::test]
async fn any_value_is_an_id() {
    let (_server, client) = start_client().await;
    let arguments = table([("x-cache-size", AMQPValue::LongInt(100))]);
    declare(&client, "x", "x-message-deduplication", arguments).await.expect("declare-ok");
    let by_id = table([("x-message-deduplication", AMQPValue::Boolean(true))]);
    client.declare("q", QueueDeclareOptions::default(), by_id).await.expect("declare-ok");
    client.bind("q", "x", "").await;
    client.confirms().await;
    let nested = |innermost: &str| {
        (0..100).fold(text(innermost), |inner, n| match n % 2 {
            0 => AMQPValue::FieldArray(vec![inner].into()),
            _ => AMQPValue::FieldTable(table([("in", inner)])),
        })
    };
    let values = [
        ("deep", nested("a")),
        ("deep again", nested("a")),
        ("as deep", nested("b")),
        ("7", AMQPValue::LongInt(7)),
        ("7 of another width", AMQPValue::ShortShortUInt(7)),
        ("7 as text", text("7")),
        ("long", text(&"x".repeat(50_000))),
        ("long again", text(&"x".repeat(50_000))),
        ("no id", AMQPValue::Void),
        ("no id either", AMQPValue::Void),
    ];
    for (body, value) in values {
        confirmed(&client, "x", "k", body, headers([("x-deduplication-header", value)])).await;
    }
    let expected = ["deep", "as deep", "7", "7 as text", "long", "no id", "no id either"];
    assert_eq!(client.drain("q").await, expected);
}

/// What was confirmed in one life is a resend in the next, though it has long been consumed, whether that life ended
/// well or not; what never arrived, in a transaction that was not committed, or in memory only, is not.
#[tokio::test]
async fn sequences_survive_a_restart() {
    let place = Place::new();
    let mut server = place.start().await;
    let persistent = |sequence: i64| numbered("p", sequence).with_delivery_mode(2);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let client = connect(&server).await;
    client.declare("q", durable, FieldTable::default()).await.expect("queue.declare-ok");
    for life in 0..4 {
        let client = connect(&server).await;
        client.confirms().await;
        let first = 10 * life;
        for sequence in 0..first + 3 {
            confirmed(&client, "", "q", &sequence.to_string(), persistent(sequence)).await;
        }
        confirmed(&client, "", "q", "transient", numbered("t", life)).await;
        let expected = [first, first + 1, first + 2].map(|sequence| sequence.to_string());
        assert_eq!(client.drain("q").await, [&expected[..], &["transient".to_owned()]].concat());
        let transaction = client.another_channel().await;
        transaction.tx_select().await.expect("tx.select-ok");
        transaction.publish_with("", "q", b"never", persistent(first + 8)).await;
        drop(transaction);
        // Far enough to be where the next life begins.
        confirmed(&client, "", "q", "last", persistent(first + 9)).await;
        assert_eq!(client.drain("q").await, ["last"]);
        if life % 2 == 0 {
            drop(client);
            drop(server);
        } else {
            server.shutdown().await;
        }
        server = place.start().await;
    }
    let client = connect(&server).await;
    client.confirms().await;
    confirmed(&client, "", "q", "again", numbered("t", 3)).await;
    assert_eq!(client.drain("q").await, ["again"], "nothing is lost of what was in memory only");
    server.shutdown().await;
}

async fn durable_with_cache(channel: &Channel, exchange: &str, persistence: &str) {
    let arguments = table([
        ("x-cache-size", AMQPValue::LongInt(1000)),
        ("x-cache-ttl", AMQPValue::LongInt(3_600_000)),
        ("x-cache-persistence", text(persistence)),
    ]);
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Custom("x-message-deduplication".into());
    within(channel.exchange_declare(exchange.into(), kind, options, arguments)).await.expect("declare-ok");
}

/// FEATURES XT-11: a durable exchange with `x-cache-persistence=disk` knows in the next life what persistent messages it
/// has routed, to queues in whatever lanes, whether this one ended well or not; others forget.
#[tokio::test]
async fn a_cache_on_disk_survives_a_restart() {
    let place = Place::new();
    let mut server = place.start().await;
    let client = connect(&server).await;
    for (exchange, persistence) in [("x", "disk"), ("y", "memory")] {
        durable_with_cache(&client, exchange, persistence).await;
    }
    let durable = || QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    for queue in ["q", "r", "s"] {
        client.declare(queue, durable(), FieldTable::default()).await.expect("queue.declare-ok");
        for exchange in ["x", "y"] {
            client.bind(queue, exchange, "").await;
        }
    }
    for life in 0..4 {
        let client = connect(&server).await;
        client.confirms().await;
        let mut expected = Vec::new();
        for number in 0..=life {
            let (kept, transient) = (format!("kept {number}"), format!("transient {number}"));
            confirmed(&client, "x", "", &kept, id(&kept).with_delivery_mode(2)).await;
            expected.extend((number == life).then(|| kept.clone()));
            confirmed(&client, "x", "", &transient, id(&transient)).await;
            expected.push(transient);
            confirmed(&client, "y", "", "forgotten", id(&kept).with_delivery_mode(2)).await;
            expected.push("forgotten".to_owned());
        }
        for queue in ["q", "r", "s"] {
            assert_eq!(client.drain(queue).await, expected, "{queue} in life {life}");
        }
        drop(client);
        if life % 2 == 0 {
            drop(server);
        } else {
            server.shutdown().await;
        }
        server = place.start().await;
    }
    // Another exchange of that name knows nothing.
    let client = connect(&server).await;
    client.confirms().await;
    within(client.exchange_delete("x".into(), ExchangeDeleteOptions::default())).await.expect("exchange.delete-ok");
    server.shutdown().await;
    let server = place.start().await;
    let client = connect(&server).await;
    client.confirms().await;
    durable_with_cache(&client, "x", "disk").await;
    client.bind("q", "x", "").await;
    confirmed(&client, "x", "", "again", id("kept 0").with_delivery_mode(2)).await;
    assert_eq!(client.drain("q").await, ["again"]);
    server.shutdown().await;
}
