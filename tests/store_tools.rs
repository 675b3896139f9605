//! `lepus store`: what it says of data directories that are whole, damaged, in use or somebody else's.

use std::fs;
use std::path::Path;

use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, QueueDeclareOptions};

use crate::common::child::command;
use crate::common::place::Place;
use crate::common::{ChannelExt, connect, table, within};

/// Writes three messages, the second of which is acked, and stops, or crashes.
async fn fill(place: &Place, crashes: bool) {
    let server = place.start().await;
    let client = connect(&server).await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    client.declare("q", durable, table([])).await.expect("queue.declare-ok");
    client.confirms().await;
    for body in ["first", "second", &"long".repeat(100)] {
        let properties = BasicProperties::default().with_delivery_mode(2);
        within(client.publish_with("", "q", body.as_bytes(), properties).await).await.expect("confirmed");
    }
    let _first = client.get("q").await.expect("a message");
    client.get("q").await.expect("a message").ack(BasicAckOptions::default()).await.expect("acked");
    client.count("q").await;
    client.close().await;
    if crashes {
        drop(server);
        return;
    }
    server.shutdown().await;
}

/// Runs `lepus store`: exit code, stdout, stderr.
fn store(arguments: &[&str], dir: &Path) -> (i32, String, String) {
    let mut command = command(&["store"]);
    let output = command.args(arguments).arg(dir).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writable");
}

fn find(path: &Path, needle: &[u8]) -> usize {
    let bytes = fs::read(path).expect("readable");
    bytes.windows(needle.len()).position(|window| window == needle).expect("it is in the file")
}

#[tokio::test]
async fn a_whole_directory_is_whole_and_left_as_it_is() {
    let place = Place::new();
    for crashes in [false, true] {
        fill(&place, crashes).await;
        fs::write(place.0.join("notes.txt"), "mine").expect("written");
        let before = place.contents();
        let (code, out, err) = store(&["check"], &place.0);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert!(out.ends_with("everything is whole\n"), "{out}");
        for line in ["lock: the lock\n", "notes.txt: 4 bytes, not written by Lepus\n", " enqueue"] {
            assert!(out.contains(line), "{line}: {out}");
        }
        assert!(before == place.contents(), "it has written");
    }
    let (_, out, _) = store(&["check"], &place.0);
    assert!(out.contains("; the log is read from log-"), "{out}");
}

#[tokio::test]
async fn records_are_printed() {
    let place = Place::new();
    fill(&place, true).await;
    let (code, out, err) = store(&["dump"], &place.0);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["definitions put key=\"q", "value="]), "{out}");
    assert!(has(&[" enqueue queue=", " exchange=\"\" key=\"q\" ", "length=5 body=\"first\""]), "{out}");
    assert!(has(&["length=400 body=\"longlonglonglonglonglonglonglong\"..."]), "{out}");
    assert!(has(&[" remove queue="]), "{out}");
    let (name, _) = place.file("log-");
    let (code, out, _) = store(&["dump", "--bodies", "--file", &name], &place.0);
    assert!(code == 0 && out.contains(&format!("body=\"{}\"\n", "long".repeat(100))), "{out}");
    assert!(out.lines().all(|line| line.starts_with(&name)), "{out}");
    let (code, _, err) = store(&["dump", "--file", "log-7"], &place.0);
    assert_eq!((code, err.as_str()), (2, "lepus store: log-7 is not in the data directory\n"));
}

#[tokio::test]
async fn damage_is_named_with_file_and_place() {
    for kind in ["log-", "segment-"] {
        let place = Place::new();
        fill(&place, kind == "log-").await;
        let (name, path) = place.file(kind);
        let at = find(&path, b"first");
        flip(&path, at);
        let (code, out, _) = store(&["check"], &place.0);
        assert_eq!(code, 1, "{out}");
        let line = out.lines().find(|line| line.contains("DAMAGED")).expect("the damage");
        assert!(line.starts_with(&format!("{name}: DAMAGED: bytes ")), "{line}");
        let range = line.split_once("bytes ").and_then(|(_, rest)| rest.split_once(' ')).expect("a range").0;
        let (from, to) = range.split_once("..").expect("two ends");
        assert!((from.parse().expect("a number")..to.parse().expect("a number")).contains(&at), "{line}");
        assert!(out.ends_with("damages: 1\n"), "{out}");
    }
}

#[tokio::test]
async fn what_is_cut_short_or_gone_is_damage() {
    let place = Place::new();
    fill(&place, false).await;
    let (name, path) = place.file("segment-");
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("writable");
    let (code, out, _) = store(&["check"], &place.0);
    assert!(code == 1 && out.contains(&format!("{name}: DAMAGED: bytes ")), "{out}");
    fs::remove_file(&path).expect("removed");
    let (code, out, _) = store(&["check"], &place.0);
    assert!(code == 1 && out.contains(&format!("{name}: DAMAGED: missing: 2 messages in it are lost")), "{out}");
    fs::write(&path, &bytes).expect("writable");

    let (name, path) = place.file("checkpoint-");
    let length = fs::metadata(&path).expect("there").len();
    fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(length - 3)).expect("cut");
    let (code, out, _) = store(&["check"], &place.0);
    assert!(code == 1 && out.contains(&format!("{name}: DAMAGED: bytes ")), "{out}");
    fs::remove_file(place.0.join("node")).expect("removed");
    let (code, _, err) = store(&["check"], &place.0);
    assert!(code == 1 && err.contains("node is missing or damaged: "), "{err}");
}

#[tokio::test]
async fn files_of_others_are_named() {
    let (place, other) = (Place::new(), Place::new());
    fill(&place, true).await;
    fill(&other, true).await;
    let (name, path) = place.file("log-");
    fs::copy(other.file("log-").1, path).expect("copied");
    let (code, out, _) = store(&["check"], &place.0);
    assert!(code == 1 && out.contains(&format!("{name}: DAMAGED: {name} belongs to another node: ")), "{out}");
}

#[tokio::test]
async fn a_directory_in_use_is_not_looked_at() {
    let place = Place::new();
    let server = place.start().await;
    for what in ["check", "dump"] {
        let (code, out, err) = store(&[what], &place.0);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("is in use by another process"), "{err}");
    }
    server.shutdown().await;
    let (code, _, err) = store(&["check"], Path::new("/nowhere/at/all"));
    assert!(code == 2 && err.contains("/nowhere/at/all: No such file"), "{err}");
}
