//! Queues with a single active consumer.

use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::common::client::{delivered, next, refused, text};
use crate::common::{ChannelExt, connect, start_client, table};

async fn declare(channel: &Channel, name: &str) {
    let arguments = table([("x-single-active-consumer", AMQPValue::Boolean(true))]);
    channel.declare(name, QueueDeclareOptions::default(), arguments).await.expect("queue.declare-ok");
}

/// FEATURES SC-1: the first consumer gets all, whatever priority the next one has; the next one follows when it leaves,
/// by cancel or by close.
#[tokio::test]
async fn the_next_follows_the_first() {
    let (server, client) = start_client().await;
    declare(&client, "q").await;
    let first_client = connect(&server).await;
    let mut first = first_client.consume("q", "first").await;
    let mut second = client.consume("q", "second").await;
    let priority = table([("x-priority", AMQPValue::LongInt(9))]);
    let third = client.consume_with("q", "third", BasicConsumeOptions::default(), priority).await;
    let mut third = third.expect("basic.consume-ok");
    client.publish("", "q", b"1").await;
    assert_eq!(text(&next(&mut first).await), "1");
    assert!(delivered(&client, "q", &mut second).await.is_empty());
    assert!(delivered(&client, "q", &mut third).await.is_empty());
    first_client.close().await;
    let back = next(&mut second).await;
    assert_eq!((text(&back), back.redelivered), ("1".to_owned(), true));
    client.basic_cancel("second".into(), BasicCancelOptions::default()).await.expect("cancel-ok");
    client.publish("", "q", b"2").await;
    assert_eq!(text(&next(&mut third).await), "2");
}

/// FEATURES SC-2: there is no exclusive consumer.
#[tokio::test]
async fn exclusive_consumers_are_refused() {
    let (_server, client) = start_client().await;
    declare(&client, "q").await;
    let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    let text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
    refused(client.consume_with("q", "c", options, FieldTable::default()), 403, text).await;
}

/// FEATURES SC-3: what the old consumer holds it may still settle, while the new one goes on with what follows.
#[tokio::test]
async fn unacked_messages_stay_with_the_old_one() {
    let (_server, client) = start_client().await;
    declare(&client, "q").await;
    let mut old = client.consume("q", "old").await;
    client.publish("", "q", b"1").await;
    let held = next(&mut old).await;
    let mut new = client.consume("q", "new").await;
    client.basic_cancel("old".into(), BasicCancelOptions::default()).await.expect("cancel-ok");
    client.publish("", "q", b"2").await;
    assert_eq!(text(&next(&mut new).await), "2");
    client.nack(held.delivery_tag, false, true).await;
    let back = next(&mut new).await;
    assert_eq!((text(&back), back.redelivered), ("1".to_owned(), true));
}

/// FEATURES SC-1, EH-15: the argument is a boolean.
#[tokio::test]
async fn the_argument_is_a_boolean() {
    let (_server, client) = start_client().await;
    let cases = [(AMQPValue::LongString("true".into()), "longstr"), (AMQPValue::LongInt(1), "signedint")];
    for (value, kind) in cases {
        let channel = client.another_channel().await;
        let arguments = table([("x-single-active-consumer", value)]);
        let text = format!(
            "PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue 'q' in vhost '/': \
             {{unacceptable_type,{kind}}}"
        );
        refused(channel.declare("q", QueueDeclareOptions::default(), arguments), 406, &text).await;
    }
}
