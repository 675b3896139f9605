//! basic.qos: how many unacked messages a consumer or a channel may hold.

use crate::common::client::{delivered, next, next_bodies};
use crate::common::raw::{Close, Raw, id};
use crate::common::{ChannelExt, args, start, start_client};

async fn filled(client: &lapin::Channel, queue: &str, count: usize) {
    client.queue(queue).await;
    client.confirms().await;
    for n in 0..count {
        client.publish_confirmed("", queue, n.to_string().as_bytes()).await;
    }
}

/// FEATURES QO-1, M-17, trap 1: a prefetch holds for each consumer started after it, and for those alone.
#[tokio::test]
async fn prefetch_is_per_consumer_and_for_later_ones() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 10).await;
    client.qos(3, false).await;
    let mut a = client.consume("q", "a").await;
    assert_eq!(next_bodies(&mut a, 3).await, ["0", "1", "2"]);
    client.qos(1, false).await;
    let mut b = client.consume("q", "b").await;
    assert_eq!(next_bodies(&mut b, 1).await, ["3"]);
    assert!(delivered(&client, "q", &mut a).await.is_empty());
    assert!(delivered(&client, "q", &mut b).await.is_empty());
    // One ack, one delivery: a's own limit is still 3.
    client.ack(1, false).await;
    assert_eq!(next_bodies(&mut a, 1).await, ["4"]);
    assert!(delivered(&client, "q", &mut a).await.is_empty());
    assert!(delivered(&client, "q", &mut b).await.is_empty());
}

/// FEATURES QO-4, DL-6: zero is no limit.
#[tokio::test]
async fn zero_is_unlimited() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 100).await;
    client.qos(1, false).await;
    client.qos(0, false).await;
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 100).await.len(), 100);
}

/// FEATURES QO-2, QO-3: the global limit is shared by the channel's consumers; gets neither count nor are limited.
#[tokio::test]
async fn the_global_limit_is_shared() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 10).await;
    client.get("q").await.expect("a message");
    client.qos(2, true).await;
    let mut a = client.consume("q", "a").await;
    let mut b = client.consume("q", "b").await;
    let mut held = delivered(&client, "q", &mut a).await;
    held.extend(delivered(&client, "q", &mut b).await);
    assert_eq!(held.len(), 2);
    client.get("q").await.expect("a get is not limited");
    // An ack makes room for one more, whoever gets it.
    client.ack(held[0].delivery_tag, false).await;
    let mut more = delivered(&client, "q", &mut a).await;
    more.extend(delivered(&client, "q", &mut b).await);
    assert_eq!(more.len(), 1);
}

/// FEATURES QO-2: a consumer's own limit and the channel's hold together if the channel's is set last.
#[tokio::test]
async fn both_limits_hold_together() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 10).await;
    client.qos(2, false).await;
    client.qos(3, true).await;
    let mut a = client.consume("q", "a").await;
    assert_eq!(delivered(&client, "q", &mut a).await.len(), 2);
    let mut b = client.consume("q", "b").await;
    assert_eq!(delivered(&client, "q", &mut b).await.len(), 1);
}

/// FEATURES QO-2: a limit for each consumer lifts the one of the channel, as transcripts of RabbitMQ 3.10 show.
#[tokio::test]
async fn a_limit_for_each_consumer_lifts_the_channels() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 10).await;
    client.qos(1, true).await;
    client.qos(5, false).await;
    let mut a = client.consume("q", "a").await;
    assert_eq!(delivered(&client, "q", &mut a).await.len(), 5);
}

/// FEATURES QO-5: raising the global limit delivers at once.
#[tokio::test]
async fn raising_the_global_limit_delivers() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 10).await;
    client.qos(1, true).await;
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["0"]);
    assert!(delivered(&client, "q", &mut consumer).await.is_empty());
    client.qos(4, true).await;
    assert_eq!(next_bodies(&mut consumer, 3).await, ["1", "2", "3"]);
    assert!(delivered(&client, "q", &mut consumer).await.is_empty());
}

/// A nack makes room as an ack does, and the message may come right back. FEATURES QO-1.
#[tokio::test]
async fn a_nack_makes_room() {
    let (_server, client) = start_client().await;
    filled(&client, "q", 2).await;
    client.qos(1, false).await;
    let mut consumer = client.consume("q", "c").await;
    let first = next(&mut consumer).await;
    assert!(!first.redelivered);
    client.nack(first.delivery_tag, false, true).await;
    let again = next(&mut consumer).await;
    assert!(again.redelivered);
    assert_eq!(again.data, first.data);
    client.nack(again.delivery_tag, false, false).await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["1"]);
}

/// FEATURES DL-5: consumers with room take turns, one message at a time.
#[tokio::test]
async fn consumers_take_turns() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.qos(1, false).await;
    let mut a = client.consume("q", "a").await;
    let mut b = client.consume("q", "b").await;
    client.confirms().await;
    for n in 0..20 {
        client.publish_confirmed("", "q", n.to_string().as_bytes()).await;
    }
    for n in (0..20).step_by(2) {
        let (from_a, from_b) = (next(&mut a).await, next(&mut b).await);
        assert_eq!(from_a.data, n.to_string().as_bytes());
        assert_eq!(from_b.data, (n + 1).to_string().as_bytes());
        client.ack(from_a.delivery_tag, false).await;
        client.count("q").await;
        client.ack(from_b.delivery_tag, false).await;
        client.count("q").await;
    }
}

/// FEATURES EC-19.
#[tokio::test]
async fn prefetch_size_is_not_implemented() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::QOS, args::qos(4096, 1, false)).await;
    let text = "NOT_IMPLEMENTED - prefetch_size!=0 (4096)".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 540, text, method: id::QOS });
}
