//! A broker inside a test or a program: started in milliseconds on a free port, gone when it is shut down.
//!
//! `cargo run --example embedded`

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use lepus::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().in_memory().amqp("127.0.0.1:0").start().await?;
    println!("listening at {}", server.amqp_uri());

    let connection = Connection::connect(&server.amqp_uri(), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_declare("hello".into(), QueueDeclareOptions::default(), FieldTable::default()).await?;
    let properties = BasicProperties::default();
    channel
        .basic_publish("".into(), "hello".into(), BasicPublishOptions::default(), b"Hello, hare!", properties)
        .await?;
    if let Some(message) = channel.basic_get("hello".into(), BasicGetOptions { no_ack: true }).await? {
        println!("got {}", String::from_utf8_lossy(&message.data));
    }
    connection.close(200, "bye".into()).await?;

    server.shutdown().await;
    Ok(())
}
