//! Data directories that earlier versions of the format left behind: everything in them is found.
//!
//! `tests/data/format-N` is one, without the zeros at the ends of log files. Another is made by
//! `LEPUS_FIXTURE=tests/data/format-N cargo test --test tests -- old_formats`.

use std::fs;
use std::path::Path;

use lapin::options::{
    BasicAckOptions, BasicRejectOptions, ExchangeBindOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use lepus::Server;

use crate::common::child::command;
use crate::common::place::Place;
use crate::common::{ChannelExt, Client, connect, connect_as, table, within};

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { durable: true, passive: false, exclusive: false, auto_delete: false, nowait: false };

fn arguments(of: &str) -> FieldTable {
    match of {
        "priority" => table([("x-max-priority", AMQPValue::ShortInt(5))]),
        "quorum" => table([("x-queue-type", AMQPValue::LongString("quorum".into()))]),
        _ => table([]),
    }
}

async fn publish(client: &Client, exchange: &str, key: &str, body: &str, properties: BasicProperties) {
    let confirm = client.publish_with(exchange, key, body.as_bytes(), properties.with_delivery_mode(2)).await;
    within(confirm).await.expect("confirmed");
}

/// A body that is kept once for several queues.
fn shared(life: &str) -> String {
    format!("shared of {life} ").repeat(50)
}

/// As many lanes everywhere: a message in queues of two of them has other records.
async fn start(place: &Place) -> Server {
    place.start_as(|builder| builder.lanes(2)).await
}

/// Three lives: one that ends in order, so that messages lie in segments, and two that crash.
async fn fill(place: &Place) {
    let server = start(place).await;
    let json = r#"{"users": [{"name": "ann", "password": "secret", "tags": ["monitoring"]}],
        "vhosts": [{"name": "shop", "metadata": {"description": "a shop"}, "limits": {"max-queues": 7}}],
        "permissions": [{"user": "ann", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}],
        "policies": [{"vhost": "shop", "name": "short", "pattern": ".*", "apply-to": "queues", "definition": {"max-length": 2}, "priority": 1}]}"#;
    server.broker().import_definitions(json).expect("imported");
    let client = connect(&server).await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for (name, kind) in [("topic", ExchangeKind::Topic), ("fanout", ExchangeKind::Fanout)] {
        let declared = client.exchange_declare(name.into(), kind, durable, FieldTable::default());
        within(declared).await.expect("exchange.declare-ok");
    }
    let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
    within(client.exchange_bind("topic".into(), "fanout".into(), "".into(), options, none)).await.expect("bound");
    for name in ["old", "new", "priority", "quorum", "deleted"] {
        client.declare(name, DURABLE, arguments(name)).await.expect("queue.declare-ok");
    }
    client.bind("old", "topic", "a.*").await;
    client.bind("new", "topic", "a.#").await;
    client.confirms().await;
    for n in 0..10 {
        publish(&client, "fanout", "a.1", &format!("both {n}"), BasicProperties::default()).await;
        publish(&client, "", "deleted", "lost", BasicProperties::default()).await;
    }
    publish(&client, "fanout", "a.1", &shared("the first life"), BasicProperties::default()).await;
    for priority in [1_u8, 5, 3] {
        let properties = BasicProperties::default().with_priority(priority);
        publish(&client, "", "priority", &priority.to_string(), properties).await;
    }
    let properties =
        BasicProperties::default().with_content_type("text/plain".into()).with_headers(arguments("quorum"));
    publish(&client, "", "quorum", &"long".repeat(2000), properties).await;
    let got = client.get("old").await.expect("a message");
    got.ack(BasicAckOptions::default()).await.expect("acked");
    client.count("old").await;
    client.close().await;
    server.shutdown().await;

    for life in 0..2 {
        let server = start(place).await;
        let client = connect(&server).await;
        client.confirms().await;
        let got = client.get("old").await.expect("a message");
        got.ack(BasicAckOptions::default()).await.expect("acked");
        let got = client.get("quorum").await.expect("a message");
        got.reject(BasicRejectOptions { requeue: true }).await.expect("returned");
        if life == 0 {
            within(client.queue_delete("deleted".into(), lapin::options::QueueDeleteOptions::default()))
                .await
                .expect("deleted");
        }
        publish(&client, "topic", "a.1.2", &format!("life {life}"), BasicProperties::default()).await;
        publish(&client, "topic", "a.1", &shared(&format!("life {life}")), BasicProperties::default()).await;
        client.count("old").await;
        client.close().await;
        drop(server);
    }
}

/// Finds what [`fill`] has left, as it was when this format was written last.
async fn check(place: &Place, format: u32) {
    let server = place.start().await;
    let client = connect(&server).await;
    let both = |from: usize| (from..10).map(|n| format!("both {n}"));
    let is_shared = format > 1;
    let first = || is_shared.then(|| shared("the first life"));
    let of_life = |life: u32| is_shared.then(|| shared(&format!("life {life}")));
    let old = both(3).chain(first()).chain((0..2).filter_map(of_life));
    assert_eq!(client.drain("old").await, old.collect::<Vec<_>>());
    let lives = (0..2).flat_map(|life| [Some(format!("life {life}")), of_life(life)]).flatten();
    assert_eq!(client.drain("new").await, both(0).chain(first()).chain(lives).collect::<Vec<_>>());
    assert_eq!(client.drain("priority").await, ["5", "3", "1"]);
    let long = client.get("quorum").await.expect("a message");
    assert!(long.redelivered && long.data == "long".repeat(2000).as_bytes());
    assert_eq!(long.properties.content_type().as_ref().map(|kind| kind.as_str()), Some("text/plain"));
    let headers = long.properties.headers().clone().expect("headers");
    assert_eq!(headers.inner().get("x-queue-type"), Some(&AMQPValue::LongString("quorum".into())));
    assert_eq!(headers.inner().get("x-delivery-count"), Some(&AMQPValue::LongLongInt(2)));
    long.ack(BasicAckOptions::default()).await.expect("acked");
    // Byte for byte: a redeclaration with other arguments would be refused.
    for name in ["old", "new", "priority", "quorum"] {
        client.declare(name, DURABLE, arguments(name)).await.expect("queue.declare-ok");
    }
    client.confirms().await;
    client.publish_confirmed("fanout", "a.1", b"again").await;
    assert_eq!((client.drain("old").await, client.drain("new").await), (vec!["again".into()], vec!["again".into()]));
    assert!(client.declare("deleted", QueueDeclareOptions { passive: true, ..DURABLE }, table([])).await.is_err());
    let vhost = server.broker().vhost("shop").expect("shop");
    assert_eq!((vhost.settings().description.as_str(), vhost.settings().queues_max), ("a shop", Some(7)));
    let ann = connect_as(&server, "ann", "secret", "shop").await.expect("ann may");
    ann.declare("q", DURABLE, table([])).await.expect("queue.declare-ok");
    ann.confirms().await;
    for n in 0..5 {
        publish(&ann, "", "q", &n.to_string(), BasicProperties::default()).await;
    }
    assert_eq!(ann.count("q").await, (2, 0), "the policy applies");
    server.shutdown().await;
}

/// A file of the log says in its header how long it is; what is not in the fixture are zeros.
fn unpack(from: &Path, place: &Place) {
    fs::create_dir_all(&place.0).expect("made");
    for entry in fs::read_dir(from).expect("the fixture") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        let mut bytes = fs::read(entry.path()).expect("readable");
        if name.starts_with("log-") {
            let length = bytes[12..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
            bytes.resize(length as usize, 0);
        }
        fs::write(place.0.join(name), bytes).expect("written");
    }
}

fn pack(place: &Place, into: &Path) {
    fs::create_dir_all(into).expect("made");
    for (name, mut bytes) in place.contents() {
        if name == "lock" || name.contains("spare") {
            continue;
        }
        if name.starts_with("log-") {
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        }
        // A file that is named in good time and not begun says nothing.
        if !bytes.is_empty() {
            fs::write(into.join(name), bytes).expect("written");
        }
    }
}

#[tokio::test]
async fn what_this_version_writes_is_found() {
    let place = Place::new();
    fill(&place).await;
    let checked = command(&["store", "check"]).arg(&place.0).output().expect("the binary starts");
    let checked = String::from_utf8(checked.stdout).expect("text");
    for kind in ["shared", "also", "lent", "borrowing", "lending"] {
        assert!(checked.contains(&format!(" {kind}")), "{kind}: {checked}");
    }
    if let Some(into) = std::env::var_os("LEPUS_FIXTURE") {
        pack(&place, Path::new(&into));
    }
    check(&place, 2).await;
}

#[tokio::test]
async fn what_version_1_wrote_is_found() {
    let place = Place::new();
    unpack(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1"), &place);
    check(&place, 1).await;
}

#[tokio::test]
async fn what_version_2_wrote_is_found() {
    let place = Place::new();
    unpack(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-2"), &place);
    check(&place, 2).await;
}
