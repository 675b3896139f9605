//! What is kept over a restart: definitions, messages, and what is known of them.

use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicRejectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use lepus::{Error, SyncMode};
use rustix::process::Signal;

use crate::common::child::Lepus;
use crate::common::client::next;
use crate::common::http::Http;
use crate::common::place::Place;
use crate::common::{ChannelExt, Client, connect, connect_as, eventually, table, within};

fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { durable: true, passive: false, exclusive: false, auto_delete: false, nowait: false };

async fn durable_queue(client: &Client, name: &str, arguments: FieldTable) {
    client.declare(name, DURABLE, arguments).await.expect("queue.declare-ok");
}

async fn publish_all(client: &Client, queue: &str, bodies: impl IntoIterator<Item = String>) {
    for body in bodies {
        let confirm = client.publish_with("", queue, body.as_bytes(), persistent()).await;
        within(confirm).await.expect("confirmed");
    }
}

/// FEATURES QU-1, BP-2: persistent messages of durable queues survive, in order; transient ones and acked ones do not.
#[tokio::test]
async fn persistent_messages_survive_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let client = connect(&server).await;
    durable_queue(&client, "q", FieldTable::default()).await;
    client.queue("gone").await;
    client.confirms().await;
    publish_all(&client, "q", (0..20).map(|n| n.to_string())).await;
    client.publish_confirmed("", "q", b"transient").await;
    client.publish_with("", "gone", b"lost", persistent()).await;
    for expected in 0..3 {
        let got = client.get("q").await.expect("a message");
        assert_eq!(got.data, expected.to_string().as_bytes());
        if expected != 1 {
            got.ack(BasicAckOptions::default()).await.expect("acked");
        }
    }
    assert_eq!(client.count("q").await, (18, 0));
    client.close().await;
    server.shutdown().await;

    let server = place.start().await;
    let client = connect(&server).await;
    assert_eq!(client.count("q").await, (18, 0));
    let first = client.get("q").await.expect("a message");
    assert_eq!((first.data.as_slice(), first.redelivered), (&b"1"[..], true), "it had been delivered");
    let expected: Vec<String> = (3..20).map(|n| n.to_string()).collect();
    assert_eq!(client.drain("q").await, expected);
    assert!(client.declare("gone", QueueDeclareOptions { passive: true, ..DURABLE }, table([])).await.is_err());
    server.shutdown().await;
}

/// FEATURES QQ-1: whatever the publisher says, messages of a quorum queue are durable.
#[tokio::test]
async fn a_quorum_queue_keeps_transient_messages() {
    let place = Place::new();
    let server = place.start().await;
    let client = connect(&server).await;
    durable_queue(&client, "q", table([("x-queue-type", AMQPValue::LongString("quorum".into()))])).await;
    client.confirms().await;
    client.publish_confirmed("", "q", b"transient").await;
    client.close().await;
    server.shutdown().await;

    let server = place.start().await;
    assert_eq!(connect(&server).await.drain("q").await, ["transient"]);
    server.shutdown().await;
}

/// FEATURES XT-1, QU-1, RO-9, RO-10: durable exchanges, queues and bindings between them survive, deleted ones do not.
#[tokio::test]
async fn definitions_survive_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let client = connect(&server).await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for exchange in ["x", "deleted"] {
        let declared = client.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default());
        within(declared).await.expect("exchange.declare-ok");
    }
    client.exchange("transient", ExchangeKind::Fanout).await;
    let arguments =
        table([("x-max-length", AMQPValue::ShortInt(3)), ("x-overflow", AMQPValue::LongString("drop-head".into()))]);
    durable_queue(&client, "q", arguments.clone()).await;
    durable_queue(&client, "deleted", FieldTable::default()).await;
    for (exchange, key) in [("x", "a.*"), ("x", "unbound"), ("amq.topic", "b.#"), ("deleted", "c"), ("transient", "")] {
        client.bind("q", exchange, key).await;
    }
    client.queue("tq").await;
    client.bind("tq", "x", "a.*").await;
    client.bind("deleted", "x", "d").await;
    within(client.queue_unbind("q".into(), "x".into(), "unbound".into(), FieldTable::default()))
        .await
        .expect("unbound");
    within(client.exchange_delete("deleted".into(), ExchangeDeleteOptions::default())).await.expect("deleted");
    within(client.queue_delete("deleted".into(), QueueDeleteOptions::default())).await.expect("deleted");
    // The same name again, with nothing of its former life.
    durable_queue(&client, "deleted", FieldTable::default()).await;
    server.shutdown().await;

    let server = place.start().await;
    let client = connect(&server).await;
    client.confirms().await;
    client.queue("tq").await;
    // Byte for byte: a redeclaration with other arguments would be refused.
    durable_queue(&client, "q", arguments).await;
    for (exchange, key) in [("x", "a.1"), ("x", "unbound"), ("amq.topic", "b.1.2"), ("x", "d")] {
        client.publish_confirmed(exchange, key, key.as_bytes()).await;
    }
    assert_eq!(client.drain("q").await, ["a.1", "b.1.2"]);
    assert_eq!(client.count("tq").await, (0, 0), "its binding was transient, too");
    assert_eq!(client.count("deleted").await, (0, 0));
    let exchanges: Vec<String> =
        server.broker().vhost("/").expect("/").exchanges().iter().map(|exchange| exchange.name.to_string()).collect();
    assert!(exchanges.iter().any(|name| name == "x"));
    assert!(!exchanges.iter().any(|name| name == "deleted" || name == "transient"));
    server.shutdown().await;
}

/// FEATURES US-1, US-6, PO-1: users, permissions, vhosts, limits, policies and parameters survive.
#[tokio::test]
async fn what_the_operator_sets_survives_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let broker = server.broker().clone();
    let json = r#"{"users": [{"name": "ann", "password": "secret", "tags": ["monitoring"]}],
        "vhosts": [{"name": "shop", "metadata": {"description": "a shop"}, "limits": {"max-queues": 7}}],
        "permissions": [{"user": "ann", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}],
        "policies": [{"vhost": "shop", "name": "short", "pattern": ".*", "apply-to": "queues", "definition": {"max-length": 2}, "priority": 1}],
        "global_parameters": [{"name": "mine", "value": {"a": 1}}]}"#;
    broker.import_definitions(json).expect("imported");
    assert!(broker.delete_user("guest"));
    server.shutdown().await;

    let server = place.start().await;
    let broker = server.broker().clone();
    assert!(broker.auth().user("guest").is_none(), "the default user is not made again");
    let vhost = broker.vhost("shop").expect("shop");
    assert_eq!((vhost.settings().description.as_str(), vhost.settings().queues_max), ("a shop", Some(7)));
    assert_eq!(broker.global_parameters().iter().filter(|parameter| parameter.name == "mine").count(), 1);
    let client = connect_as(&server, "ann", "secret", "shop").await.expect("ann may");
    durable_queue(&client, "q", FieldTable::default()).await;
    client.confirms().await;
    publish_all(&client, "q", (0..5).map(|n| n.to_string())).await;
    assert_eq!(client.count("q").await, (2, 0), "the policy applies");
    server.shutdown().await;
}

/// FEATURES TL-1, DX-1, QQ-3, M-17: what was purged, expired, dead-lettered or returned is so after a restart.
#[tokio::test]
async fn the_fate_of_messages_survives_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let client = connect(&server).await;
    let dead = table([
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", AMQPValue::LongString("dead".into())),
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
    ]);
    durable_queue(&client, "q", dead).await;
    for queue in ["dead", "purged", "priority"] {
        let arguments =
            if queue == "priority" { table([("x-max-priority", AMQPValue::ShortInt(5))]) } else { table([]) };
        durable_queue(&client, queue, arguments).await;
    }
    client.confirms().await;
    publish_all(&client, "q", ["expires", "rejected", "returned"].map(str::to_owned)).await;
    publish_all(&client, "purged", (0..10).map(|n| n.to_string())).await;
    within(client.queue_purge("purged".into(), QueuePurgeOptions::default())).await.expect("purged");
    for priority in [1_u8, 5, 3] {
        let properties = persistent().with_priority(priority);
        within(client.publish_with("", "priority", priority.to_string().as_bytes(), properties).await)
            .await
            .expect("confirmed");
    }
    let expiring = persistent().with_expiration("1".into());
    within(client.publish_with("", "q", b"short", expiring).await).await.expect("confirmed");
    let first = client.get("q").await.expect("a message");
    first.ack(BasicAckOptions::default()).await.expect("acked");
    let rejected = client.get("q").await.expect("a message");
    rejected.reject(BasicRejectOptions { requeue: false }).await.expect("rejected");
    for _ in 0..2 {
        let returned = client.get("q").await.expect("a message");
        assert_eq!(returned.data, b"returned");
        returned.reject(BasicRejectOptions { requeue: true }).await.expect("returned");
    }
    eventually("the dead letter is there", async || (client.count("dead").await.0 >= 1).then_some(())).await;
    server.shutdown().await;

    let server = place.start().await;
    let client = connect(&server).await;
    assert_eq!(client.count("purged").await, (0, 0));
    assert_eq!(client.drain("priority").await, ["5", "3", "1"]);
    let returned = client.get("q").await.expect("a message");
    assert_eq!((returned.data.as_slice(), returned.redelivered), (&b"returned"[..], true));
    let headers = returned.properties.headers().clone().expect("headers");
    assert_eq!(headers.inner().get("x-delivery-count"), Some(&AMQPValue::LongLongInt(2)));
    // The one behind it had a millisecond, and is a dead letter by now.
    eventually("both dead letters are there", async || (client.count("dead").await.0 == 2).then_some(())).await;
    let dead = client.get("dead").await.expect("a message");
    assert_eq!(dead.data, b"rejected");
    server.shutdown().await;
}

/// One process at a time.
#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let place = Place::new();
    let server = place.start().await;
    let error = place.builder().start().await.expect_err("in use");
    assert!(matches!(error, Error::DataDir(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    server.shutdown().await;
}

/// DESIGN 1: a server that is dropped has crashed; what was confirmed is there again.
#[tokio::test]
async fn a_crash_loses_nothing_that_was_confirmed() {
    let place = Place::new();
    let mut expected = Vec::new();
    for life in 0..4 {
        let server = place.start().await;
        let client = connect(&server).await;
        durable_queue(&client, "q", FieldTable::default()).await;
        assert_eq!(client.count("q").await.0 as usize, expected.len());
        client.confirms().await;
        for n in 0..50 {
            let body = format!("{life}-{n}");
            publish_all(&client, "q", [body.clone()]).await;
            expected.push(body);
        }
        drop(server);
    }
    let server = place.start().await;
    let client = connect(&server).await;
    assert_eq!(client.drain("q").await, expected);
    server.shutdown().await;
}

/// Files of the log go when what they hold lies elsewhere; a message that stays does not keep them.
#[tokio::test]
async fn the_log_stays_bounded() {
    let place = Place::new();
    let server = place.start().await;
    let client = connect(&server).await;
    durable_queue(&client, "q", FieldTable::default()).await;
    durable_queue(&client, "held", FieldTable::default()).await;
    client.confirms().await;
    publish_all(&client, "held", ["stays", "acked", "too"].map(str::to_owned)).await;
    let stays = client.get("held").await.expect("a message");
    client.get("held").await.expect("a message").ack(BasicAckOptions::default()).await.expect("acked");
    let body = "x".repeat(100_000);
    let mut consumer = client.consume("q", "c").await;
    let directory = place.0.clone();
    let files = move |kind: &str| {
        let entries = std::fs::read_dir(&directory).expect("the directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        names.filter(|name| name.starts_with(kind) && !name.contains("spare")).count()
    };
    let mut most = 0;
    // 30 MB go through files of 1 MiB.
    for _ in 0..300 {
        publish_all(&client, "q", [body.clone()]).await;
        next(&mut consumer).await.ack(BasicAckOptions::default()).await.expect("acked");
        most = most.max(files("log-"));
    }
    assert!(files("checkpoint-") == 1 && most < 20, "{most} files");
    assert_eq!(stays.data, b"stays");
    drop(server);

    let server = place.start().await;
    let client = connect(&server).await;
    let got = client.get("held").await.expect("a message");
    assert_eq!((got.data.as_slice(), got.redelivered), (&b"stays"[..], true));
    assert_eq!(client.drain("held").await, ["too"]);
    // The last ack may have been on its way still.
    assert!(client.count("q").await.0 <= 1);
    server.shutdown().await;
}

/// What a confirm means is told where operators look: by the API, and by the log when the process starts.
#[tokio::test]
async fn the_api_and_the_log_say_what_a_confirm_means() {
    let modes = [
        (SyncMode::Always, "always", "confirmed means on disk"),
        (SyncMode::Interval(Duration::from_millis(50)), "interval:50", "sync=Interval(50ms)"),
        (SyncMode::Never, "never", "sync=Never"),
    ];
    for (mode, argument, in_log) in modes {
        let place = Place::new();
        let server = place.start_as(|builder| builder.sync(mode).http("127.0.0.1:0")).await;
        let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
        let overview = http.get("overview").await.json;
        let nodes = http.get("nodes").await.json;
        assert_eq!((&overview["lepus_sync"], &nodes[0]["lepus_sync"]), (&argument.into(), &argument.into()));
        server.shutdown().await;
        let path = place.0.to_str().expect("text");
        let lepus = Lepus::start(&["--data-dir", path, "--sync", argument]);
        lepus.signal(Signal::TERM);
        let (_, log) = lepus.wait();
        assert!(log.contains(in_log), "{log}");
    }
}
