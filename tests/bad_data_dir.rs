//! Data directories that are not as they should be: refused with a clear error, or served with the loss told; nothing
//! of others is lost.

use std::fs;

use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;

use crate::common::place::Place;
use crate::common::{ChannelExt, connect, table, within};

/// Two queues with three messages each, in segments or in the log.
async fn fill(place: &Place, crashes: bool) {
    let server = place.start().await;
    let client = connect(&server).await;
    client.confirms().await;
    for queue in ["a", "b"] {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        client.declare(queue, durable, table([])).await.expect("queue.declare-ok");
        for n in 0..3 {
            let body = format!("{queue}{n}");
            let properties = BasicProperties::default().with_delivery_mode(2);
            within(client.publish_with("", queue, body.as_bytes(), properties).await).await.expect("confirmed");
        }
    }
    client.close().await;
    if !crashes {
        server.shutdown().await;
    }
}

async fn refused(place: &Place) -> String {
    let before = place.contents();
    let error = place.builder().start().await.expect_err("it does not start").to_string();
    assert!(before == place.contents(), "nothing is changed");
    error
}

#[tokio::test]
async fn a_later_version_and_another_node_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    fill(&place, true).await;
    fill(&other, true).await;
    let (name, path) = place.file("log-");
    let mine = fs::read(&path).expect("readable");
    fs::copy(other.file("log-").1, &path).expect("copied");
    let error = refused(&place).await;
    assert!(error.contains(&format!("{name} belongs to another node: move it out")), "{error}");
    fs::write(&path, mine).expect("written");

    let node = fs::read_to_string(place.0.join("node")).expect("text");
    fs::write(place.0.join("node"), node.replace("format 2", "format 3")).expect("written");
    let error = refused(&place).await;
    assert!(error.contains("node has format 3, this program reads up to 2: use the newer Lepus"), "{error}");
    fs::remove_file(place.0.join("node")).expect("removed");
    let error = refused(&place).await;
    assert!(error.contains("node is missing or damaged: "), "{error}");
    fs::write(place.0.join("node"), node).expect("written");
    let server = place.start().await;
    assert_eq!(connect(&server).await.count("a").await, (3, 0));
    server.shutdown().await;
}

#[tokio::test]
async fn a_damaged_checkpoint_is_refused() {
    let place = Place::new();
    fill(&place, false).await;
    let (name, path) = place.file("checkpoint-");
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    let error = refused(&place).await;
    assert!(error.contains(&format!("{name} is damaged, ")), "{error}");
    fs::write(&path, bytes).expect("written");
    let server = place.start().await;
    assert_eq!(connect(&server).await.drain("b").await, ["b0", "b1", "b2"]);
    server.shutdown().await;
}

#[tokio::test]
async fn without_its_segments_a_broker_serves_what_is_left() {
    let place = Place::new();
    fill(&place, false).await;
    for name in place.files("segment-") {
        fs::remove_file(place.0.join(name)).expect("removed");
    }
    fs::write(place.0.join("segment-00000000000000ff"), "mine").expect("written");
    fs::write(place.0.join("notes.txt"), "mine").expect("written");
    for _ in 0..2 {
        let server = place.start().await;
        let client = connect(&server).await;
        client.confirms().await;
        assert_eq!((client.count("a").await, client.count("b").await), ((0, 0), (0, 0)));
        client.publish_confirmed("", "a", b"goes on").await;
        assert_eq!(client.drain("a").await, ["goes on"]);
        server.shutdown().await;
    }
    for name in ["notes.txt", "segment-00000000000000ff"] {
        assert_eq!(fs::read_to_string(place.0.join(name)).expect("text"), "mine");
    }
}

#[tokio::test]
async fn a_flipped_bit_costs_one_message() {
    let place = Place::new();
    fill(&place, true).await;
    let (_, path) = place.file("log-");
    let mut bytes = fs::read(&path).expect("readable");
    let at = bytes.windows(2).position(|window| window == b"a1").expect("it is there");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let server = place.start().await;
    let client = connect(&server).await;
    assert_eq!(client.drain("a").await, ["a0", "a2"]);
    assert_eq!(client.drain("b").await, ["b0", "b1", "b2"]);
    server.shutdown().await;
}
