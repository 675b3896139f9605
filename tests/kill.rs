//! The real binary, killed under load again and again: every confirmed message is accounted for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Consumer};
use rustix::process::Signal;

use crate::common::child::Lepus;
use crate::common::client::next;
use crate::common::{ChannelExt, Client};

const QUEUES: [&str; 3] = ["a", "b", "c"];
const LIVES: u32 = 50;

/// What is known of the messages of one queue, which are numbered from 0.
#[derive(Default)]
struct Known {
    published: u64,
    confirmed: BTreeSet<u64>,
    /// The consumer has sent an ack for them, and may have to do so again.
    acked: BTreeSet<u64>,
}

type Ledger = Arc<Mutex<Known>>;

fn known<T>(ledger: &Ledger, look: impl FnOnce(&mut Known) -> T) -> T {
    look(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().expect("a number"))
}

/// Publishes numbered messages until the broker is gone.
async fn publish(client: Client, queue: &'static str, ledger: Ledger) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut waiting = futures_util::stream::FuturesUnordered::new();
    loop {
        let next = known(&ledger, |known| {
            known.published += 1;
            known.published - 1
        });
        let mut body = next.to_le_bytes().to_vec();
        body.resize(8 + (next as usize * 37) % 400, next as u8);
        let published =
            client.channel.basic_publish("".into(), queue.into(), Default::default(), &body, properties.clone());
        let Ok(confirm) = published.await else { return };
        waiting.push(async move { (next, confirm.await) });
        while waiting.len() >= 10
            && let Some((number, confirm)) = waiting.next().await
        {
            match confirm {
                Ok(lapin::Confirmation::Ack(_)) => known(&ledger, |known| known.confirmed.insert(number)),
                Ok(other) => panic!("{other:?}"),
                Err(_) => return,
            };
        }
    }
}

/// Consumes and acks nine of ten, until the broker is gone; the rest is held.
async fn consume(mut consumer: Consumer, _client: Client, queue: &'static str, ledger: Ledger) {
    let mut last_fresh = None;
    while let Some(Ok(delivery)) = consumer.next().await {
        let number = number(&delivery.data);
        assert!(delivery.data[8..].iter().all(|byte| *byte == number as u8), "the body of {number} is whole");
        if !delivery.redelivered {
            assert!(last_fresh < Some(number), "{queue}: {number} after {last_fresh:?}");
            last_fresh = Some(number);
        }
        if !number.is_multiple_of(10) {
            if delivery.ack(BasicAckOptions::default()).await.is_err() {
                return;
            }
            known(&ledger, |known| known.acked.insert(number));
        }
    }
}

async fn open(broker: &Lepus) -> Client {
    Client::open(&format!("amqp://guest:guest@{}/%2f", broker.address)).await.expect("the client connects")
}

fn start(directory: &str) -> Lepus {
    Lepus::start(&["--data-dir", directory, "--log-file-size", "1MiB"])
}

/// DESIGN 1.2: a confirm means on disk, whenever the process is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_survives_being_killed() {
    let directory = std::env::temp_dir().join(format!("lepus-kill-{:x}", rand::random::<u64>()));
    let path = directory.to_str().expect("a path").to_owned();
    let ledgers: Vec<Ledger> = QUEUES.iter().map(|_| Ledger::default()).collect();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    for life in 0..LIVES {
        let broker = start(&path);
        let mut tasks = tokio::task::JoinSet::new();
        for (queue, ledger) in QUEUES.into_iter().zip(&ledgers) {
            let client = open(&broker).await;
            client.declare(queue, durable, FieldTable::default()).await.expect("queue.declare-ok");
            client.confirms().await;
            tasks.spawn(publish(client, queue, ledger.clone()));
            // One queue grows now and then.
            if queue != "c" || life % 3 == 0 {
                let client = open(&broker).await;
                client.qos(5000, false).await;
                let consumer = client.consume(queue, "consumer").await;
                tasks.spawn(consume(consumer, client, queue, ledger.clone()));
            }
        }
        // Not a wait for something to happen, but the time that is left to live.
        let left = Duration::from_millis(5 + rand::random_range(0..100));
        if let Ok(Some(ended)) = tokio::time::timeout(left, tasks.join_next()).await {
            panic!("a client ended early: {ended:?}");
        }
        broker.signal(Signal::KILL);
        broker.wait();
        // A client does not always notice that a publish will never be confirmed.
        while let Ok(Some(ended)) = tokio::time::timeout(Duration::from_millis(100), tasks.join_next()).await {
            ended.expect("the client ends with the broker");
        }
        tasks.shutdown().await;
    }

    let broker = start(&path);
    let client = open(&broker).await;
    let mut confirmed = 0;
    for (queue, ledger) in QUEUES.into_iter().zip(&ledgers) {
        let (mut there, count) = (BTreeSet::new(), client.count(queue).await.0);
        let mut consumer = client.consume(queue, queue).await;
        while (there.len() as u32) < count {
            let number = number(&next(&mut consumer).await.data);
            assert!(there.insert(number), "{queue}: {number} is there twice");
        }
        known(ledger, |known| {
            confirmed += known.confirmed.len();
            assert!(there.iter().all(|number| *number < known.published));
            let lost: Vec<&u64> = known
                .confirmed
                .iter()
                .filter(|number| !there.contains(number) && !known.acked.contains(number))
                .collect();
            assert!(lost.is_empty(), "{queue}: {} of {} are lost: {lost:?}", lost.len(), known.confirmed.len());
        });
    }
    assert!(confirmed > 1000, "{confirmed} confirmed");
    drop(broker);
    std::fs::remove_dir_all(directory).expect("removed");
}

/// How many messages the transactions of one broker's life move from one queue to another, one each.
async fn move_all(client: &Client, moved: &mut u64) -> Result<(), lapin::Error> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    client.channel.tx_select().await?;
    while let Some(got) = client.channel.basic_get("from".into(), Default::default()).await? {
        let (data, publish) = (got.data.clone(), Default::default());
        client.channel.basic_publish("".into(), "to".into(), publish, &data, properties.clone()).await?;
        got.ack(BasicAckOptions::default()).await?;
        client.channel.tx_commit().await?;
        *moved += 1;
    }
    Ok(())
}

/// FEATURES TX-4, and more: a transaction over queues of several lanes is there whole or not at all, whenever the process is
/// killed: moved in transactions, every message is in exactly one queue exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_whole() {
    const MESSAGES: u64 = 2000;
    let directory = std::env::temp_dir().join(format!("lepus-kill-{:x}", rand::random::<u64>()));
    let path = directory.to_str().expect("a path").to_owned();
    let broker = start(&path);
    let client = open(&broker).await;
    client.confirms().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    for queue in ["from", "to"] {
        client.declare(queue, durable, FieldTable::default()).await.expect("queue.declare-ok");
    }
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let mut confirms = Vec::new();
    for number in 0..MESSAGES {
        confirms.push(client.publish_with("", "from", &number.to_le_bytes(), persistent.clone()).await);
    }
    for confirm in confirms {
        confirm.await.expect("confirmed");
    }
    broker.signal(Signal::KILL);
    broker.wait();
    let (mut moved, mut lives) = (0, 0);
    loop {
        let broker = start(&path);
        let client = open(&broker).await;
        let left = Duration::from_millis(20 + rand::random_range(0..60));
        let end = tokio::time::timeout(left, move_all(&client, &mut moved)).await;
        if let Ok(result) = end {
            result.expect("the broker lives");
            break;
        }
        lives += 1;
        broker.signal(Signal::KILL);
        broker.wait();
    }
    let broker = start(&path);
    let client = open(&broker).await;
    assert_eq!(client.count("from").await, (0, 0));
    let mut numbers = Vec::new();
    while let Some(got) = client.get("to").await {
        numbers.push(number(&got.data));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "after {lives} lives");
    assert!(lives > 5 && moved <= MESSAGES, "{moved} moved in {lives} lives");
    drop(broker);
    std::fs::remove_dir_all(directory).expect("removed");
}
