//! Moving messages from a queue to another queue or to an exchange, over the management API. None may be lost.

use std::collections::BTreeSet;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use lepus::Server;
use serde_json::{Value as Json, json};

use crate::common::http::{Http, Response};
use crate::common::place::Place;
use crate::common::{ChannelExt, Client, builder, connect, eventually, table, within};

async fn start() -> (Server, Client, Http) {
    let server = builder().http("127.0.0.1:0").start().await.expect("the broker starts");
    let client = connect(&server).await;
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    client.channel.confirms().await;
    (server, client, http)
}

async fn move_to(http: &Http, from: &str, request: Json) -> Response {
    http.send("POST", &format!("queues/%2F/{from}/move"), &request.to_string()).await
}

fn refused(response: &Response) -> (u16, &str) {
    (response.status, response.json["reason"].as_str().unwrap_or_default())
}

/// More than are on their way at once: each comes, in order, as it was.
#[tokio::test]
async fn all_messages_move_in_order() {
    let (_server, client, http) = start().await;
    let channel = &client.channel;
    channel.queue("from").await;
    channel.queue("to").await;
    let bodies: Vec<String> = (0..600).map(|n| format!("m{n}")).collect();
    for body in &bodies {
        channel.publish("", "from", body.as_bytes()).await;
    }
    eventually("all are there", || async { (channel.count("from").await.0 == 600).then_some(()) }).await;
    let some = move_to(&http, "from", json!({"destination": "to", "count": 257})).await;
    assert_eq!((some.status, &some.json), (200, &json!({"moved": 257, "remaining": 0})), "{}", some.text);
    let rest = move_to(&http, "from", json!({"destination": "to"})).await;
    assert_eq!(rest.json, json!({"moved": 343, "remaining": 0}));
    assert_eq!(channel.drain("to").await, bodies);
    assert_eq!(channel.count("from").await.0, 0);
    let none = move_to(&http, "from", json!({"destination": "to"})).await;
    assert_eq!(none.json, json!({"moved": 0, "remaining": 0}));
    let fewer = move_to(&http, "from", json!({"destination": "to", "count": 5})).await;
    assert_eq!(fewer.json, json!({"moved": 0, "remaining": 0}));
}

/// To a queue goes nothing to anybody else, whatever CC says; what the message says of itself stays.
#[tokio::test]
async fn a_message_moves_as_it_is() {
    let (_server, client, http) = start().await;
    for queue in ["from", "to", "other"] {
        client.channel.queue(queue).await;
    }
    let publish = json!({
        "routing_key": "from",
        "payload": "x".repeat(5000),
        "payload_encoding": "string",
        "properties": {"delivery_mode": 2, "priority": 3, "message_id": "m1", "headers": {"CC": ["other"], "a": 1}},
    });
    http.send("POST", "exchanges/%2F/amq.default/publish", &publish.to_string()).await;
    assert_eq!(client.channel.drain("other").await.len(), 1);
    assert_eq!(move_to(&http, "from", json!({"destination": "to"})).await.json["moved"], 1);
    let get = json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}).to_string();
    let got = http.send("POST", "queues/%2F/to/get", &get).await.json[0].clone();
    assert_eq!(got["payload"], publish["payload"]);
    assert_eq!(got["properties"], publish["properties"]);
    assert_eq!((&got["routing_key"], &got["redelivered"]), (&json!("to"), &json!(false)));
    assert_eq!(client.channel.drain("other").await.len(), 0);
}

/// A number that its queue has counted already does not make a moved message a duplicate.
#[tokio::test]
async fn a_moved_message_is_no_resend() {
    let (_server, client, http) = start().await;
    client.channel.queue("from").await;
    client.channel.queue("to").await;
    for (queue, number) in [("to", 9), ("from", 5)] {
        let publish = json!({
            "routing_key": queue,
            "payload": queue,
            "payload_encoding": "string",
            "properties": {"headers": {"x-producer-id": "p", "x-producer-sequence": number}},
        });
        http.send("POST", "exchanges/%2F/amq.default/publish", &publish.to_string()).await;
    }
    assert_eq!(move_to(&http, "from", json!({"destination": "to"})).await.json["moved"], 1);
    assert_eq!(client.channel.drain("to").await, ["to", "from"]);
}

/// Exchanges route by the message's own key, or by another.
#[tokio::test]
async fn messages_move_to_exchanges() {
    let (_server, client, http) = start().await;
    let channel = &client.channel;
    channel.exchange("x", ExchangeKind::Direct).await;
    for (queue, key) in [("from", "unused"), ("own", "from"), ("other", "k")] {
        channel.queue(queue).await;
        channel.bind(queue, "x", key).await;
    }
    for _ in 0..2 {
        channel.publish_confirmed("", "from", b"m").await;
    }
    let to = json!({"destination": "x", "destination_type": "exchange", "count": 1});
    assert_eq!(move_to(&http, "from", to).await.json, json!({"moved": 1, "remaining": 0}));
    let to = json!({"destination": "x", "destination_type": "exchange", "routing_key": "k"});
    assert_eq!(move_to(&http, "from", to).await.json, json!({"moved": 1, "remaining": 0}));
    assert_eq!((channel.count("own").await.0, channel.count("other").await.0), (1, 1));
}

/// What the destination does not take stays where it is, in its place.
#[tokio::test]
async fn what_is_not_taken_stays() {
    let (_server, client, http) = start().await;
    let channel = &client.channel;
    channel.queue("from").await;
    let full: FieldTable = table([
        ("x-max-length", AMQPValue::LongInt(2)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ]);
    channel.declare("full", QueueDeclareOptions::default(), full).await.expect("declare-ok");
    for n in 0..4 {
        channel.publish_confirmed("", "from", &[b'0' + n]).await;
    }
    let stopped = move_to(&http, "from", json!({"destination": "full"})).await;
    let why = "2 messages moved, then: the destination rejected the next: it is full";
    assert_eq!(refused(&stopped), (400, why));
    let nowhere = json!({"destination": "amq.direct", "destination_type": "exchange"});
    let why = "0 messages moved, then: the next is not routed to any queue";
    assert_eq!(refused(&move_to(&http, "from", nowhere).await), (400, why));
    eventually("they are back", || async { (channel.count("from").await.0 == 2).then_some(()) }).await;
    assert_eq!(channel.drain("from").await, ["2", "3"]);
    assert_eq!(channel.drain("full").await, ["0", "1"]);
}

/// Words for what cannot be moved, and rights as for a get and a publish.
#[tokio::test]
async fn bad_moves_are_refused() {
    let (_server, client, http) = start().await;
    client.channel.queue("from").await;
    client.channel.queue("to").await;
    let table = [
        (json!({}), 400, "[{key_missing,destination}]"),
        (json!({"destination": "from"}), 400, "a queue cannot be moved to itself"),
        (json!({"destination": "nosuch"}), 404, "queue_not_found"),
        (json!({"destination": "nosuch", "destination_type": "exchange"}), 404, "exchange_not_found"),
        (json!({"destination": "x".repeat(256)}), 400, "routing_key_too_long"),
        (json!({"destination": "to", "routing_key": "x".repeat(256)}), 400, "routing_key_too_long"),
        (json!({"destination": "to", "destination_type": "star"}), 400, ""),
        (json!({"destination": "to", "count": -1}), 400, ""),
    ];
    for (request, status, reason) in table {
        assert_eq!(refused(&move_to(&http, "from", request.clone()).await), (status, reason), "{request}");
    }
    assert_eq!(refused(&move_to(&http, "nosuch", json!({"destination": "to"})).await), (404, "queue_not_found"));
    http.put("users/reader", &json!({"password": "p", "tags": "management"})).await;
    client.channel.publish_confirmed("", "from", b"m").await;
    for (write, read, what) in [("", ".*", "write"), (".*", "", "read")] {
        http.put("permissions/%2F/reader", &json!({"configure": "", "write": write, "read": read})).await;
        let response = move_to(&http.like("reader:p"), "from", json!({"destination": "to"})).await;
        let (status, reason) = refused(&response);
        assert!(
            status == 401 && reason.starts_with(&format!("ACCESS_REFUSED - {what} access to ")),
            "{}",
            response.text
        );
    }
    eventually("it is back", || async { (client.channel.count("from").await.0 == 1).then_some(()) }).await;
}

/// A broker that is killed while it moves has every message in one of the queues, or in both.
#[tokio::test]
async fn a_crash_loses_nothing() {
    const MESSAGES: usize = 3000;
    let place = Place::new();
    let server = place.builder().http("127.0.0.1:0").start().await.expect("the broker starts");
    let client = connect(&server).await;
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    for queue in ["from", "to"] {
        client.channel.declare(queue, durable, FieldTable::default()).await.expect("declare-ok");
    }
    client.channel.confirms().await;
    let mut confirms = Vec::new();
    for n in 0..MESSAGES {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        confirms.push(client.channel.publish_with("", "from", n.to_string().as_bytes(), persistent).await);
    }
    for confirm in confirms {
        assert!(within(confirm).await.expect("a confirm").is_ack());
    }
    let mut moving = tokio::task::JoinSet::new();
    moving.spawn(async move { move_to(&http, "from", json!({"destination": "to"})).await });
    eventually("some have moved", || async { (client.channel.count("to").await.0 > 0).then_some(()) }).await;
    drop(server);
    moving.abort_all();

    let server = place.start().await;
    let client = connect(&server).await;
    let mut left: BTreeSet<String> = client.channel.drain("from").await.into_iter().collect();
    left.extend(client.channel.drain("to").await);
    assert_eq!(left.len(), MESSAGES);
    server.shutdown().await;
}
