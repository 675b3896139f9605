//! x-expires: queues that go when nobody uses them.

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::AMQPValue;

use crate::common::client::Client;
use crate::common::{ChannelExt, eventually, start_client, table};

async fn expiring(channel: &Channel, queue: &str, expires_ms: i32) {
    let arguments = table([("x-expires", AMQPValue::LongInt(expires_ms))]);
    channel.declare(queue, QueueDeclareOptions::default(), arguments).await.expect("queue.declare-ok");
}

/// Looks whether the queue exists; a closed channel is the answer no.
async fn exists(client: &Client, queue: &str) -> bool {
    let channel = client.another_channel().await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.declare(queue, passive, table([])).await.is_ok()
}

/// FEATURES QU-4: an unused queue goes, publishes or not; its messages are no reason to stay.
#[tokio::test]
async fn an_unused_queue_goes_though_it_is_published_to() {
    let (_server, client) = start_client().await;
    expiring(&client, "q", 300).await;
    client.bind("q", "amq.fanout", "").await;
    // A mandatory publish is returned as soon as the queue has gone; looking with a declare would renew it.
    client.confirms().await;
    eventually("the queue has gone", async || {
        let confirm = client.publish_mandatory("amq.fanout", "", b"x").await;
        crate::common::within(confirm).await.expect("a confirm").take_message().map(drop)
    })
    .await;
    assert!(!exists(&client, "q").await);
}

/// FEATURES QU-4: a consumer, a get and a declare, passive too, keep it.
#[tokio::test]
async fn use_keeps_it() {
    let (_server, client) = start_client().await;
    expiring(&client, "reference", 2500).await;
    client.bind("reference", "amq.fanout", "").await;
    for queue in ["consumed", "got", "declared"] {
        expiring(&client, queue, 1000).await;
    }
    let _consumer = client.consume("consumed", "c").await;
    client.confirms().await;
    eventually("the reference has gone", async || {
        client.get("got").await;
        client.count("declared").await;
        let confirm = client.publish_mandatory("amq.fanout", "", b"x").await;
        crate::common::within(confirm).await.expect("a confirm").take_message().map(drop)
    })
    .await;
    for queue in ["consumed", "got", "declared"] {
        assert!(exists(&client, queue).await, "{queue} has gone");
    }
}
