//! Publishing with confirms: the broker says for each message that it has taken it, or that it could not.
//!
//! Start a broker with `cargo run`, then `cargo run --example publish_confirm`. `AMQP_URI` names another one.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::var("AMQP_URI").unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".into());
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    channel.queue_declare("orders".into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;

    // Publish first, wait afterwards: the broker confirms many messages with one ack.
    let mut confirms = Vec::new();
    for number in 0..1000_u32 {
        let body = format!("order {number}");
        // The last one has nowhere to go; `mandatory` brings it back.
        let queue = if number < 999 { "orders" } else { "no such queue" };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let persistent = BasicProperties::default().with_delivery_mode(2);
        confirms.push(channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), persistent).await?);
    }
    let (mut taken, mut returned, mut refused) = (0, 0, 0);
    for confirm in confirms {
        match confirm.await? {
            Confirmation::Ack(None) => taken += 1,
            Confirmation::Ack(Some(_)) => returned += 1,
            _ => refused += 1,
        }
    }
    println!("{taken} taken, {returned} returned, {refused} refused");

    channel.queue_delete("orders".into(), QueueDeleteOptions::default()).await?;
    connection.close(200, "bye".into()).await?;
    Ok(())
}
