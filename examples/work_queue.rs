//! A work queue: tasks go to whichever worker has time, and back to the queue if a worker gives up.
//!
//! Start a broker with `cargo run`, then `cargo run --example work_queue`. `AMQP_URI` names another one.

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const QUEUE: &str = "tasks";
const TASKS: usize = 30;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::var("AMQP_URI").unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".into());
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;

    let (done, mut reports) = mpsc::channel(TASKS);
    let mut workers = JoinSet::new();
    for name in ["ann", "bob", "cleo"] {
        workers.spawn(work(connection.create_channel().await?, name, done.clone()));
    }

    for number in 0..TASKS {
        let body = format!("task {number}");
        let persistent = BasicProperties::default().with_delivery_mode(2);
        channel
            .basic_publish("".into(), QUEUE.into(), BasicPublishOptions::default(), body.as_bytes(), persistent)
            .await?;
    }
    for _ in 0..TASKS {
        if let Some(report) = reports.recv().await {
            println!("{report}");
        }
    }

    channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
    connection.close(200, "bye".into()).await?;
    workers.shutdown().await;
    Ok(())
}

/// Works on one task at a time. The first attempt at every tenth task fails.
async fn work(channel: Channel, name: &'static str, done: mpsc::Sender<String>) -> lapin::Result<()> {
    // One unacked task at most: the others stay in the queue for whoever is free.
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let mut tasks =
        channel.basic_consume(QUEUE.into(), name.into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    while let Some(task) = tasks.next().await {
        let task = task?;
        let text = String::from_utf8_lossy(&task.data).into_owned();
        if text.ends_with('0') && !task.redelivered {
            // Somebody will get it again, with `redelivered` set.
            task.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
            continue;
        }
        task.ack(BasicAckOptions::default()).await?;
        if done.send(format!("{name} did {text}")).await.is_err() {
            break;
        }
    }
    Ok(())
}
