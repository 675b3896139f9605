//! Dead letters: where they go, and what they tell of their deaths.

use lapin::message::BasicGetMessage;
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::common::{ChannelExt, builder, connect, eventually, start_client, table};

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn mortal<const N: usize>(channel: &Channel, name: &str, exchange: &str, more: [(&str, AMQPValue); N]) {
    let mut arguments = table(more);
    arguments.insert("x-dead-letter-exchange".into(), string(exchange));
    channel.declare(name, QueueDeclareOptions::default(), arguments).await.expect("queue.declare-ok");
}

async fn reject_one(channel: &Channel, queue: &str) {
    let got = channel.get(queue).await.expect("a message");
    channel.reject(got.delivery_tag, false).await;
}

fn with_headers(headers: FieldTable) -> BasicProperties {
    BasicProperties::default().with_headers(headers)
}

fn headers(letter: &BasicGetMessage) -> FieldTable {
    letter.properties.headers().clone().unwrap_or_default()
}

fn deaths(letter: &BasicGetMessage) -> Vec<FieldTable> {
    let headers = headers(letter);
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else {
        panic!("no x-death in {headers:?}");
    };
    let entry = |value: &AMQPValue| match value {
        AMQPValue::FieldTable(entry) => Some(entry.clone()),
        _ => None,
    };
    deaths.as_slice().iter().filter_map(entry).collect()
}

/// FEATURES DX-2, DX-3, trap 18: without a key of the queue's, CC and BCC route again; only CC is told.
#[tokio::test]
async fn all_keys_of_the_publish_route_again() {
    let (_server, client) = start_client().await;
    for queue in ["own", "cc", "bcc"] {
        client.queue(queue).await;
        client.bind(queue, "amq.direct", queue).await;
    }
    mortal(&client, "q", "amq.direct", []).await;
    client.bind("q", "amq.topic", "#").await;
    let keys = |key: &str| AMQPValue::FieldArray(FieldArray::from(vec![string(key)]));
    let properties = with_headers(table([("CC", keys("cc")), ("BCC", keys("bcc"))]));
    client.publish_with("amq.topic", "own", b"m", properties).await;
    reject_one(&client, "q").await;
    for queue in ["own", "cc", "bcc"] {
        let letter = eventually("the dead letter", async || client.get(queue).await).await;
        assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), ("amq.direct", "own"));
        assert!(!headers(&letter).contains_key("BCC"));
        let told = AMQPValue::FieldArray(FieldArray::from(vec![string("own"), string("cc")]));
        assert_eq!(deaths(&letter)[0].inner().get("routing-keys"), Some(&told));
    }
}

/// FEATURES DX-2: BCC is not forgotten over a second death.
#[tokio::test]
async fn bcc_outlives_two_deaths() {
    let (_server, client) = start_client().await;
    for queue in ["first", "second"] {
        client.exchange(&format!("{queue}.x"), lapin::ExchangeKind::Direct).await;
    }
    mortal(&client, "q", "first.x", []).await;
    mortal(&client, "first", "second.x", []).await;
    client.bind("first", "first.x", "hidden").await;
    client.queue("second").await;
    client.bind("second", "second.x", "hidden").await;
    let keys = AMQPValue::FieldArray(FieldArray::from(vec![string("hidden")]));
    client.publish_with("", "q", &[b'x'; 5000], with_headers(table([("BCC", keys)]))).await;
    reject_one(&client, "q").await;
    eventually("the first dead letter", async || (client.count("first").await.0 == 1).then_some(())).await;
    reject_one(&client, "first").await;
    let letter = eventually("the second dead letter", async || client.get("second").await).await;
    assert_eq!((letter.data.len(), deaths(&letter).len()), (5000, 2));
}

/// FEATURES DX-5: whatever a publisher sends as its history, the death is recorded and the letter arrives.
#[tokio::test]
async fn odd_histories_of_publishers_do_no_harm() {
    let (_server, client) = start_client().await;
    client.queue("dead").await;
    mortal(&client, "q", "", [("x-dead-letter-routing-key", string("dead"))]).await;
    let mut max = FieldTable::default();
    max.insert("queue".into(), string("q"));
    max.insert("reason".into(), string("rejected"));
    max.insert("count".into(), AMQPValue::LongLongInt(i64::MAX));
    let mut odd = max.clone();
    odd.insert("count".into(), string("many"));
    let array = |values: Vec<AMQPValue>| AMQPValue::FieldArray(FieldArray::from(values));
    let histories = [
        (string("junk"), 1),
        (AMQPValue::Void, 1),
        (AMQPValue::FieldTable(FieldTable::default()), 1),
        (array(vec![]), 1),
        (array(vec![AMQPValue::LongInt(1), string("x"), array(vec![])]), 1),
        (array(vec![AMQPValue::FieldTable(FieldTable::default())]), 1),
        (array(vec![AMQPValue::FieldTable(odd)]), 1),
        (array(vec![AMQPValue::FieldTable(max)]), i64::MAX),
    ];
    for (history, count) in histories {
        client.publish_with("", "q", b"m", with_headers(table([("x-death", history.clone())]))).await;
        reject_one(&client, "q").await;
        let letter = eventually("the dead letter", async || client.get("dead").await).await;
        let newest = deaths(&letter).remove(0);
        assert_eq!(newest.inner().get("count"), Some(&AMQPValue::LongLongInt(count)), "after {history:?}");
    }
}

/// FEATURES DX-6, trap 19: a message that expires round a circle is dropped where it was before; one rejected in between
/// is not.
#[tokio::test]
async fn circles_without_a_rejection_end() {
    let (_server, client) = start_client().await;
    let to = |key: &str| ("x-dead-letter-routing-key", string(key));
    let ttl = || ("x-message-ttl", AMQPValue::LongInt(0));
    mortal(&client, "a", "", [to("b"), ttl()]).await;
    mortal(&client, "b", "", [to("a"), ttl()]).await;
    client.confirms().await;
    client.publish_confirmed("", "a", b"m").await;
    eventually("all gone", async || (client.count("a").await.0 + client.count("b").await.0 == 0).then_some(())).await;
    mortal(&client, "ring", "", [ttl()]).await;
    client.publish_confirmed("", "ring", b"m").await;
    eventually("it is gone", async || (client.count("ring").await.0 == 0).then_some(())).await;
    mortal(&client, "self", "", []).await;
    client.publish_confirmed("", "self", b"m").await;
    for count in 1..=3 {
        reject_one(&client, "self").await;
        let letter = eventually("it is back", async || client.get("self").await).await;
        assert_eq!(deaths(&letter)[0].inner().get("count"), Some(&AMQPValue::LongLongInt(count)));
        client.nack(letter.delivery_tag, false, true).await;
    }
}

/// FEATURES DX-7.
#[tokio::test]
async fn without_its_exchange_a_dead_letter_is_dropped() {
    let (_server, client) = start_client().await;
    mortal(&client, "q", "no.such.exchange", []).await;
    client.publish("", "q", b"m").await;
    reject_one(&client, "q").await;
    assert_eq!(client.count("q").await, (0, 0));
}

/// FEATURES DX-7: the exchange counts as it is at the death: made later it gets the letters, deleted it gets none.
#[tokio::test]
async fn the_exchange_is_looked_up_at_the_death() {
    let (_server, client) = start_client().await;
    mortal(&client, "q", "late", [("x-dead-letter-routing-key", string("dead"))]).await;
    client.queue("dead").await;
    for exists in [false, true, false] {
        if exists {
            client.exchange("late", lapin::ExchangeKind::Fanout).await;
            client.bind("dead", "late", "").await;
        } else {
            client.exchange_delete("late".into(), ExchangeDeleteOptions::default()).await.expect("exchange.delete-ok");
        }
        client.publish("", "q", b"m").await;
        reject_one(&client, "q").await;
        client.count("q").await;
        assert_eq!(client.drain("dead").await.len(), usize::from(exists));
    }
}

/// FEATURES DX-4: the first death is told for ever, the last one anew each time.
#[tokio::test]
async fn the_first_and_the_last_death_are_told() {
    let (_server, client) = start_client().await;
    client.queue("end").await;
    mortal(&client, "first", "amq.direct", [("x-dead-letter-routing-key", string("second"))]).await;
    let ttl = ("x-message-ttl", AMQPValue::LongInt(1));
    mortal(&client, "second", "", [("x-dead-letter-routing-key", string("end")), ttl]).await;
    client.bind("second", "amq.direct", "second").await;
    client.publish("", "first", b"m").await;
    reject_one(&client, "first").await;
    let letter = eventually("the dead letter", async || client.get("end").await).await;
    let headers = headers(&letter);
    for (header, told) in [
        ("x-first-death-exchange", ""),
        ("x-first-death-queue", "first"),
        ("x-first-death-reason", "rejected"),
        ("x-last-death-exchange", "amq.direct"),
        ("x-last-death-queue", "second"),
        ("x-last-death-reason", "expired"),
    ] {
        assert_eq!(headers.inner().get(header), Some(&string(told)), "{header}");
    }
}

/// FEATURES DX-3, DX-4, trap 18: deaths of one kind in one queue are one entry, which keeps the time of the first of them
/// and moves to the front when another is counted.
#[tokio::test]
async fn deaths_of_one_kind_are_counted() {
    let (_server, client) = start_client().await;
    mortal(&client, "q", "", [("x-dead-letter-routing-key", string("wait"))]).await;
    let ttl = ("x-message-ttl", AMQPValue::LongInt(1100));
    mortal(&client, "wait", "", [("x-dead-letter-routing-key", string("q")), ttl]).await;
    client.publish("", "q", b"m").await;
    let mut first_time = None;
    for round in 1..=2 {
        reject_one(&client, "q").await;
        let letter = eventually("it is back", async || client.get("q").await).await;
        let deaths = deaths(&letter);
        let told = |field: &str| -> Vec<AMQPValue> {
            deaths.iter().map(|death| death.inner().get(field).cloned().expect("a field")).collect()
        };
        assert_eq!(told("queue"), [string("wait"), string("q")]);
        assert_eq!(told("reason"), [string("expired"), string("rejected")]);
        assert_eq!(told("count"), [AMQPValue::LongLongInt(round), AMQPValue::LongLongInt(round)]);
        assert_eq!(*first_time.get_or_insert_with(|| told("time")), told("time"));
        assert_eq!(headers(&letter).inner().get("x-first-death-reason"), Some(&string("rejected")));
        client.nack(letter.delivery_tag, false, true).await;
    }
}

/// FEATURES DX-9: with a key of the queue's own CC is kept and does not route, and BCC is gone, as in 4.3.
#[tokio::test]
async fn a_key_of_the_queue_replaces_all_keys() {
    let (_server, client) = start_client().await;
    for queue in ["dead", "cc", "bcc"] {
        client.queue(queue).await;
        client.bind(queue, "amq.direct", &format!("to.{queue}")).await;
    }
    mortal(&client, "q", "amq.direct", [("x-dead-letter-routing-key", string("to.dead"))]).await;
    let keys = |key: &str| AMQPValue::FieldArray(FieldArray::from(vec![string(key)]));
    client.publish_with("", "q", b"m", with_headers(table([("CC", keys("to.cc")), ("BCC", keys("to.bcc"))]))).await;
    let got = client.get("q").await.expect("a message");
    assert!(!headers(&got).contains_key("BCC"));
    client.nack(got.delivery_tag, false, false).await;
    let letter = eventually("the dead letter", async || client.get("dead").await).await;
    assert_eq!((letter.routing_key.as_str(), letter.redelivered), ("to.dead", false));
    assert_eq!(headers(&letter).inner().get("CC"), Some(&keys("to.cc")));
    assert!(!headers(&letter).contains_key("BCC"));
    assert_eq!((client.count("cc").await.0, client.count("bcc").await.0), (0, 0));
}

/// FEATURES DX-10: nobody waits for the letter to arrive: one that its queue refuses is lost.
#[tokio::test]
async fn a_refused_dead_letter_is_lost() {
    let (_server, client) = start_client().await;
    let full = [("x-max-length", AMQPValue::LongInt(0)), ("x-overflow", string("reject-publish"))];
    client.declare("full", QueueDeclareOptions::default(), table(full)).await.expect("queue.declare-ok");
    mortal(&client, "q", "", [("x-dead-letter-routing-key", string("full"))]).await;
    client.publish("", "q", b"m").await;
    reject_one(&client, "q").await;
    assert_eq!(client.count("q").await, (0, 0));
    assert_eq!(client.count("full").await, (0, 0));
}

/// FEATURES DX-5, trap 18: a history that a publisher sends counts on, unless the switch says that it does not; what the
/// broker wrote itself does always.
#[tokio::test]
async fn a_switch_says_whether_histories_of_publishers_count() {
    for honours in [true, false] {
        let server = builder().honours_client_deaths(honours).start().await.expect("starts");
        let client = connect(&server).await;
        mortal(&client, "q", "", [("x-dead-letter-routing-key", string("second"))]).await;
        mortal(&client, "second", "", [("x-dead-letter-routing-key", string("last"))]).await;
        client.queue("last").await;
        let entry =
            table([("queue", string("q")), ("reason", string("rejected")), ("count", AMQPValue::LongLongInt(4))]);
        let history = AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(entry)]));
        let sent = table([("x-death", history), ("x-first-death-queue", string("elsewhere"))]);
        client.publish_with("", "q", b"m", with_headers(sent)).await;
        reject_one(&client, "q").await;
        let got = eventually("the dead letter", async || client.get("second").await).await;
        client.reject(got.delivery_tag, false).await;
        let letter = eventually("the second dead letter", async || client.get("last").await).await;
        let count = |entry: &FieldTable| entry.inner().get("count").cloned();
        let counts: Vec<_> = deaths(&letter).iter().map(count).collect();
        let of_q = if honours { 5 } else { 1 };
        assert_eq!(counts, [1, of_q].map(|count| Some(AMQPValue::LongLongInt(count))), "{honours}");
        let first = if honours { "elsewhere" } else { "q" };
        assert_eq!(headers(&letter).inner().get("x-first-death-queue"), Some(&string(first)));
    }
}
