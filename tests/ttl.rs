//! Time to live: which of several counts, when messages go, and what their dead letters tell.

use lapin::options::{BasicQosOptions, QueueDeclareOptions};
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Channel};

use crate::common::client::{next, refused, text};
use crate::common::{ChannelExt, connect, eventually, start_client, table};

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn declare<const N: usize>(channel: &Channel, name: &str, arguments: [(&str, AMQPValue); N]) {
    channel.declare(name, QueueDeclareOptions::default(), table(arguments)).await.expect("queue.declare-ok");
}

/// A queue whose dead letters go to the queue `dead`.
async fn mortal(channel: &Channel, name: &str, ttl: Option<i32>) {
    let mut arguments = table([("x-dead-letter-exchange", string("")), ("x-dead-letter-routing-key", string("dead"))]);
    if let Some(ttl) = ttl {
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(ttl));
    }
    channel.queue("dead").await;
    channel.declare(name, QueueDeclareOptions::default(), arguments).await.expect("queue.declare-ok");
}

fn expiring(ms: &str) -> BasicProperties {
    BasicProperties::default().with_expiration(ms.into())
}

/// FEATURES TL-1: the smaller of the queue's and the message's counts, whichever of them it is.
#[tokio::test]
async fn the_smaller_time_to_live_counts() {
    let (_server, client) = start_client().await;
    mortal(&client, "brief", Some(20)).await;
    mortal(&client, "patient", Some(600_000)).await;
    client.publish_with("", "brief", b"by the queue", expiring("600000")).await;
    let letter = eventually("the dead letter", async || client.get("dead").await).await;
    assert_eq!(text(&letter), "by the queue");
    client.publish_with("", "patient", b"by the message", expiring("20")).await;
    let letter = eventually("the dead letter", async || client.get("dead").await).await;
    assert_eq!(text(&letter), "by the message");
    client.publish_with("", "patient", b"by neither", expiring("600000")).await;
    eventually("it is there", async || (client.count("patient").await.0 == 1).then_some(())).await;
    assert_eq!(client.count("dead").await.0, 0);
}

/// FEATURES TL-1, trap 17: a time to live of 0 is delivered to a consumer that is ready, and else gone at once.
#[tokio::test]
async fn zero_reaches_only_a_ready_consumer() {
    let (server, client) = start_client().await;
    declare(&client, "q", [("x-message-ttl", AMQPValue::LongInt(0))]).await;
    client.queue("plain").await;
    client.confirms().await;
    for queue in ["q", "plain"] {
        let confirm = client.publish_with("", queue, b"nobody is there", expiring("0")).await;
        assert!(confirm.await.expect("a confirm").is_ack());
        assert!(client.get(queue).await.is_none());
        let reader = connect(&server).await;
        reader.basic_qos(1, BasicQosOptions::default()).await.expect("basic.qos-ok");
        let mut consumer = reader.consume(queue, "c").await;
        client.publish_with("", queue, b"taken", expiring("0")).await;
        let held = next(&mut consumer).await;
        assert_eq!(text(&held), "taken");
        let confirm = client.publish_with("", queue, b"no credit", expiring("0")).await;
        assert!(confirm.await.expect("a confirm").is_ack());
        assert_eq!(client.count(queue).await.0, 0);
        reader.ack(held.delivery_tag, false).await;
    }
}

/// FEATURES TL-2, trap 17: a message behind one that lives longer stays and is counted, until it comes to the head.
#[tokio::test]
async fn messages_expire_at_the_head_only() {
    let (_server, client) = start_client().await;
    mortal(&client, "q", None).await;
    mortal(&client, "clock", None).await;
    client.publish_with("", "q", b"long", expiring("600000")).await;
    client.publish_with("", "q", b"short", expiring("1")).await;
    client.publish_with("", "clock", b"later", expiring("60")).await;
    let tick = eventually("the later one is dead", async || client.get("dead").await).await;
    assert_eq!(text(&tick), "later");
    assert_eq!(client.count("q").await.0, 2);
    let head = client.get("q").await.expect("the head");
    assert_eq!(text(&head), "long");
    let letter = eventually("the dead letter", async || client.get("dead").await).await;
    assert_eq!(text(&letter), "short");
    assert_eq!(client.count("q").await.0, 0);
}

/// FEATURES TL-3, DX-1, DX-12, trap 18: a dead letter lives on without its expiration, which its death tells; other
/// properties stay. One that the queue's own time ended tells of none.
#[tokio::test]
async fn dead_letters_tell_their_expiration() {
    let (_server, client) = start_client().await;
    mortal(&client, "q", Some(5)).await;
    for (expiration, told) in [(Some("3"), Some(string("3"))), (None, None)] {
        let properties = expiration.map_or_else(BasicProperties::default, expiring);
        let properties = properties.with_delivery_mode(2).with_message_id("id".into());
        client.publish_with("", "q", b"m", properties).await;
        let letter = eventually("the dead letter", async || client.get("dead").await).await;
        assert_eq!(letter.properties.expiration(), &None);
        assert_eq!(letter.properties.delivery_mode(), &Some(2));
        assert_eq!(letter.properties.message_id().as_ref().map(|id| id.as_str()), Some("id"));
        let headers = letter.properties.headers().clone().expect("headers");
        assert_eq!(headers.inner().get("x-first-death-reason"), Some(&string("expired")));
        let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { panic!("no x-death") };
        let AMQPValue::FieldTable(death) = &deaths.as_slice()[0] else { panic!("no table") };
        assert_eq!(death.inner().get("original-expiration"), told.as_ref());
    }
}

/// FEATURES TL-1, EH-15: what is no time to live is refused with the reason.
#[tokio::test]
async fn odd_times_are_refused() {
    let (_server, client) = start_client().await;
    let cases = [
        (AMQPValue::LongInt(-1), "{value_negative,-1}"),
        (AMQPValue::LongLongInt(315_360_000_001), "{value_too_large,315360000001}"),
        (string("1"), "\"expected integer, got longstr\""),
        (AMQPValue::Void, "\"expected integer, got void\""),
    ];
    for (value, why) in cases {
        let channel = client.another_channel().await;
        let declared = channel.declare("q", QueueDeclareOptions::default(), table([("x-message-ttl", value)]));
        let text = format!("PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {why}");
        refused(declared, 406, &text).await;
    }
}
