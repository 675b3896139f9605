//! A disk that fills up: publishers wait before it is full, consumers make room, and nothing is lost.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use rustix::process::Signal;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::common::child::Lepus;
use crate::common::client::next;
use crate::common::place::Place;
use crate::common::{ChannelExt, Client};

/// The disk is a file system of its own, in memory, that only the broker sees.
const DISK: &str = "mount -t tmpfs -o size=160m none \"$1\" && exec \"$2\" serve --amqp-listen 127.0.0.1:0 \
                    --data-dir \"$1\" --log-file-size 8MiB --message-memory 8MiB --disk-free-limit 24MiB";

const BODY_BYTES: usize = 16 << 10;

/// A publisher that has got no confirm for so long is blocked: the disk is looked at more often.
const STOPPED: Duration = Duration::from_secs(2);

fn command(place: &Place) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", DISK, "sh"]);
    command.arg(&place.0).arg(env!("CARGO_BIN_EXE_lepus"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Some systems do not let their users mount anything.
fn may_mount() -> bool {
    let probe = ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"];
    Command::new("unshare").args(probe).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn body(number: u32) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(BODY_BYTES, number as u8);
    body
}

/// What the publisher has done.
#[derive(Default)]
struct Progress {
    confirmed: AtomicU32,
    is_over: AtomicBool,
    moved: Notify,
}

impl Progress {
    fn confirmed(&self) -> u32 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Waits until nothing is confirmed any more.
    async fn stops(&self) {
        while tokio::time::timeout(STOPPED, self.moved.notified()).await.is_ok() {}
    }
}

/// Publishes and waits, batch after batch, however long that takes.
async fn publish(client: Client, progress: Arc<Progress>) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut sent = 0;
    while !progress.is_over.load(Ordering::Acquire) {
        let mut confirms = Vec::new();
        for _ in 0..50 {
            let (body, options) = (body(sent), BasicPublishOptions::default());
            let confirm = client.channel.basic_publish("".into(), "q".into(), options, &body, properties.clone()).await;
            confirms.push(confirm.expect("published"));
            sent += 1;
        }
        for confirm in confirms {
            assert!(confirm.await.expect("a confirmation").is_ack());
        }
        progress.confirmed.store(sent, Ordering::Release);
        progress.moved.notify_one();
    }
    client.close().await;
}

/// Reads and acks the messages from `read` on, as long as there are any that were confirmed.
async fn drain(uri: &str, progress: &Progress, mut read: u32) -> u32 {
    let consumer = Client::open(uri).await.expect("open");
    consumer.qos(100, false).await;
    let mut deliveries = consumer.consume("q", "c").await;
    while read < progress.confirmed() {
        let delivery = next(&mut deliveries).await;
        assert!(delivery.data == body(read), "message {read}");
        read += 1;
        if read.is_multiple_of(50) || read >= progress.confirmed() {
            delivery.ack(BasicAckOptions { multiple: true }).await.expect("acked");
        }
    }
    consumer.close().await;
    read
}

/// FEATURES FL-1: publishers are blocked before the disk is full, consumers drain on, what they free is given back, and
/// publishing goes on by itself; twice.
#[tokio::test]
async fn a_full_disk_loses_nothing() {
    if !may_mount() {
        eprintln!("nothing may be mounted here: a full disk is not tested");
        return;
    }
    let place = Place::new();
    std::fs::create_dir(&place.0).expect("made");
    let lepus = Lepus::spawn(command(&place));
    let uri = format!("amqp://{}/%2f", lepus.address);
    let publisher = Client::open(&uri).await.expect("open");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    publisher.declare("q", durable, FieldTable::default()).await.expect("queue.declare-ok");
    publisher.confirms().await;
    let progress = Arc::new(Progress::default());
    let mut publishing = JoinSet::new();
    publishing.spawn(publish(publisher, progress.clone()));
    let mut read = 0;
    for round in 0..2 {
        progress.stops().await;
        let confirmed = progress.confirmed();
        assert!(confirmed - read > 1000, "{confirmed} in round {round}");
        // It may read what was published behind those, which made them be confirmed.
        read = drain(&uri, &progress, read).await;
        assert!(read >= confirmed);
    }
    progress.is_over.store(true, Ordering::Release);
    progress.stops().await;
    read = drain(&uri, &progress, read).await;
    publishing.join_all().await;
    assert_eq!(drain(&uri, &progress, read).await, progress.confirmed());
    lepus.signal(Signal::TERM);
    let (status, log) = lepus.wait();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("Free disk space is insufficient"), "{log}");
}
