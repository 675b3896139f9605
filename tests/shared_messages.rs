//! A message that several queues have is on disk once, and is in all of them whatever happens.

use std::fs;

use lapin::options::{BasicAckOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use lepus::{Server, ServerBuilder};

use crate::common::child::command;
use crate::common::place::Place;
use crate::common::{ChannelExt, Client, connect, eventually, table, within};

const QUEUES: usize = 100;

async fn start(place: &Place, options: impl Fn(ServerBuilder) -> ServerBuilder) -> (Server, Client) {
    let server = place.start_as(|builder| options(builder.lanes(3))).await;
    let client = connect(&server).await;
    client.confirms().await;
    (server, client)
}

fn queue(number: usize) -> String {
    format!("q{number}")
}

/// So many durable queues bound to a fanout exchange.
async fn fan_out(client: &Client, queues: usize) {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = client.exchange_declare("all".into(), ExchangeKind::Fanout, durable, FieldTable::default());
    within(declared).await.expect("exchange.declare-ok");
    for number in 0..queues {
        declare(client, &queue(number), FieldTable::default()).await;
        client.bind(&queue(number), "all", "").await;
    }
}

async fn declare(client: &Client, queue: &str, arguments: FieldTable) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    client.declare(queue, options, arguments).await.expect("queue.declare-ok");
}

/// A body that is found in a file by how it begins.
fn body(number: u32, length: usize) -> Vec<u8> {
    let mut body = mark(number);
    body.resize(length.max(body.len()), b'.');
    body
}

fn mark(number: u32) -> Vec<u8> {
    format!("<the body of message {number:06}>").into_bytes()
}

async fn publish(client: &Client, exchange: &str, key: &str, body: &[u8]) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    within(client.publish_with(exchange, key, body, properties).await).await.expect("confirmed");
}

/// How often a message's body stands in the files of this kind.
fn copies(place: &Place, kind: &str, number: u32) -> usize {
    let finder = memchr::memmem::Finder::new(&mark(number)).into_owned();
    let files = place.contents().into_iter().filter(|(name, _)| name.starts_with(kind) && !name.contains("spare"));
    files.map(|(_, bytes)| finder.find_iter(&bytes).count()).sum()
}

/// Takes what should be there, in order.
async fn take(client: &Client, queue: &str, bodies: &[Vec<u8>]) {
    for expected in bodies {
        let got = client.get(queue).await.unwrap_or_else(|| panic!("{queue}: a message"));
        assert!(got.data == *expected, "{queue}: {}", String::from_utf8_lossy(&got.data[..got.data.len().min(60)]));
        got.ack(BasicAckOptions::default()).await.expect("acked");
    }
    assert!(client.get(queue).await.is_none(), "{queue}: no more");
}

/// The log has one body for the queues of all lanes, and so have the segments behind a stop; all queues have it behind a
/// crash and behind a stop.
#[tokio::test]
async fn a_fan_out_to_a_hundred_queues_writes_its_body_once() {
    let place = Place::new();
    let (server, client) = start(&place, |builder| builder).await;
    fan_out(&client, QUEUES).await;
    let bodies = [body(0, 100_000), body(1, 1000), body(2, 0)];
    for body in &bodies {
        publish(&client, "all", "", body).await;
    }
    assert_eq!([0, 1, 2].map(|number| copies(&place, "log-", number)), [1; 3]);
    drop(client);
    drop(server);

    let (server, client) = start(&place, |builder| builder).await;
    for number in 0..QUEUES / 2 {
        take(&client, &queue(number), &bodies).await;
    }
    server.shutdown().await;
    assert_eq!([0, 1].map(|number| copies(&place, "segment-", number)), [1; 2]);
    let (server, client) = start(&place, |builder| builder).await;
    for number in 0..QUEUES / 2 {
        assert_eq!(client.count(&queue(number)).await.0, 0);
    }
    for number in QUEUES / 2..QUEUES {
        take(&client, &queue(number), &bodies).await;
    }
    server.shutdown().await;
}

/// What is paged out shares its bodies too, and what is read back still does when it is paged out again.
#[tokio::test]
async fn a_paged_fan_out_has_its_bodies_once() {
    let place = Place::new();
    let (server, client) = start(&place, |builder| builder.message_memory(512 << 10)).await;
    fan_out(&client, 4).await;
    let bodies: Vec<_> = (0..300).map(|number| body(number, 300 + 40 * number as usize)).collect();
    for body in &bodies {
        publish(&client, "all", "", body).await;
    }
    let paged = async || (copies(&place, "segment-", 250) > 0).then_some(());
    eventually("the rest is paged out", paged).await;
    take(&client, "q0", &bodies).await;
    client.close().await;
    server.shutdown().await;
    for number in 0..300 {
        assert_eq!(copies(&place, "segment-", number), 1, "{number}");
    }
    let (server, client) = start(&place, |builder| builder.message_memory(512 << 10)).await;
    for number in 1..4 {
        take(&client, &queue(number), &bodies).await;
    }
    server.shutdown().await;
}

/// A file of which only shared bodies are wanted is written anew like any other: one message in many queues does not keep
/// it.
#[tokio::test]
async fn shared_bodies_move_out_of_files_that_are_mostly_unwanted() {
    let place = Place::new();
    let (server, client) = start(&place, |builder| builder).await;
    fan_out(&client, 3).await;
    declare(&client, "filler", FieldTable::default()).await;
    let (kept, filler) = (body(0, 5000), body(1, 60_000));
    let mut checkpoints = 0;
    let mut seen = Vec::new();
    // Each checkpoint moves what stays to segments: the message, and much that is purged then.
    publish(&client, "all", "", &kept).await;
    while checkpoints < 12 {
        for _ in 0..20 {
            publish(&client, "", "filler", &filler).await;
        }
        let names = place.files("checkpoint-");
        if names != seen {
            (seen, checkpoints) = (names, checkpoints + 1);
            client.channel.queue_purge("filler".into(), QueuePurgeOptions::default()).await.expect("queue.purge-ok");
        }
    }
    let files = place.contents().into_iter().filter(|(name, _)| name.starts_with("segment-"));
    let segments: usize = files.map(|(_, content)| content.len()).sum();
    assert!(segments < 20 << 20, "{segments} bytes");
    drop(client);
    drop(server);
    let (server, client) = start(&place, |builder| builder).await;
    for number in 0..3 {
        take(&client, &queue(number), std::slice::from_ref(&kept)).await;
    }
    server.shutdown().await;
}

/// Dead letters for several queues are written once, too.
#[tokio::test]
async fn a_dead_letter_for_several_queues_is_written_once() {
    let place = Place::new();
    let (server, client) = start(&place, |builder| builder).await;
    fan_out(&client, 5).await;
    let arguments = table([
        ("x-dead-letter-exchange", AMQPValue::LongString("all".into())),
        ("x-message-ttl", AMQPValue::LongInt(0)),
    ]);
    declare(&client, "mortal", arguments).await;
    publish(&client, "", "mortal", &body(7, 2000)).await;
    for number in 0..5 {
        let arrived = async || (client.count(&queue(number)).await.0 == 1).then_some(());
        eventually("the letter arrives", arrived).await;
    }
    // Its own queue had it first.
    assert_eq!(copies(&place, "log-", 7), 2);
    drop(client);
    drop(server);
    let (server, client) = start(&place, |builder| builder).await;
    for number in 0..5 {
        take(&client, &queue(number), &[body(7, 2000)]).await;
    }
    server.shutdown().await;
}

/// What cannot be read is told by `lepus store check`; the other messages are served.
#[tokio::test]
async fn a_damaged_body_costs_its_message() {
    let place = Place::new();
    let (server, client) = start(&place, |builder| builder).await;
    fan_out(&client, 2).await;
    let bodies = [0, 1, 2].map(|number| body(number, 2000));
    for body in &bodies {
        publish(&client, "all", "", body).await;
    }
    server.shutdown().await;
    let (name, path) = place.file("segment-");
    let mut bytes = fs::read(&path).expect("readable");
    let at = memchr::memmem::find(&bytes, &mark(1)).expect("it is there");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let check = command(&["store", "check"]).arg(&place.0).output().expect("the binary starts");
    let told = String::from_utf8(check.stdout).expect("text");
    assert!(
        told.contains(&format!("{name}: DAMAGED: ")) && told.contains("some of the lent messages in them are lost"),
        "{told}"
    );
    assert_eq!(check.status.code(), Some(1));
    let (server, client) = start(&place, |builder| builder).await;
    let left = [bodies[0].clone(), bodies[2].clone()];
    take(&client, "q0", &left).await;
    take(&client, "q1", &left).await;
    server.shutdown().await;
}

/// What is in memory of a message is the same whether its queues share it on disk or not.
#[tokio::test]
async fn a_message_just_below_and_above_what_is_shared_comes_back() {
    // Lengths, exchange, properties, and what is hidden.
    const BESIDE_THE_BODY: usize = 10 + 5 + 3 + 1;
    const LENGTHS: [usize; 5] = [255, 256, 257, 4095, 4096];
    let place = Place::new();
    let (server, client) = start(&place, |builder| builder).await;
    fan_out(&client, 2).await;
    let bodies: Vec<_> = LENGTHS.map(|length| body(length as u32, length - BESIDE_THE_BODY)).into();
    for body in &bodies {
        publish(&client, "all", "", body).await;
    }
    server.shutdown().await;
    let found = LENGTHS.map(|length| copies(&place, "segment-", length as u32));
    assert_eq!(found, [2, 1, 1, 1, 1]);
    let (server, client) = start(&place, |builder| builder).await;
    take(&client, "q0", &bodies).await;
    take(&client, "q1", &bodies).await;
    server.shutdown().await;
}
