//! Transactions of a channel: publishes and acks held back until commit.

use lapin::options::QueueDeclareOptions;
use lapin::types::AMQPValue;

use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, eventually, start, start_client, table, within};

/// FEATURES TX-2, TX-4, M-25: publishes show at commit, not before; rollback drops them.
#[tokio::test]
async fn publishes_wait_for_the_commit() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    let watcher = client.another_channel().await;
    within(client.tx_select()).await.expect("tx.select-ok");
    client.publish("", "q", b"1").await;
    client.publish("", "q", b"2").await;
    within(client.channel_flow(lapin::options::ChannelFlowOptions { active: true })).await.expect("flow-ok");
    assert_eq!(watcher.count("q").await, (0, 0));
    within(client.tx_commit()).await.expect("tx.commit-ok");
    assert_eq!(watcher.count("q").await, (2, 0));
    client.publish("", "q", b"3").await;
    within(client.tx_rollback()).await.expect("tx.rollback-ok");
    within(client.tx_commit()).await.expect("tx.commit-ok");
    assert_eq!(watcher.drain("q").await, ["1", "2"]);
}

/// FEATURES TX-2, TX-3: acks wait, too; a rollback makes the tags outstanding again, without redelivery.
#[tokio::test]
async fn acks_wait_for_the_commit() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    for body in [b"1", b"2"] {
        raw.send(&raw::publish(1, "", "q", body)).await;
        raw.call(1, id::GET, args::get("q", false), id::GET_OK).await;
        raw.content(1).await;
    }
    raw.call(1, id::TX_SELECT, Args::new(), id::TX_SELECT_OK).await;
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    raw.call(1, id::TX_ROLLBACK, Args::new(), id::TX_ROLLBACK_OK).await;
    // Outstanding again: it can be acked anew, and committed.
    raw.method(1, id::ACK, args::settle(1, 0)).await;
    raw.call(1, id::TX_COMMIT, Args::new(), id::TX_COMMIT_OK).await;
    // An ack that was never committed is none.
    raw.method(1, id::ACK, args::settle(2, 0)).await;
    let close = Args::new().short(200).shortstr(b"").short(0).short(0);
    raw.call(1, id::CHANNEL_CLOSE, close, id::CHANNEL_CLOSE_OK).await;
    raw.channel(1).await;
    raw.call(1, id::GET, args::get("q", true), id::GET_OK).await;
    assert_eq!(raw.content(1).await.1, b"2");
    raw.call(1, id::GET, args::get("q", true), id::GET_EMPTY).await;
}

/// FEATURES TX-2: rejects are held back as well.
#[tokio::test]
async fn rejects_wait_for_the_commit() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.publish("", "q", b"1").await;
    eventually("it is there", async || (client.count("q").await.0 == 1).then_some(())).await;
    let watcher = client.another_channel().await;
    client.get("q").await.expect("a message");
    within(client.tx_select()).await.expect("tx.select-ok");
    client.reject(1, true).await;
    within(client.channel_flow(lapin::options::ChannelFlowOptions { active: true })).await.expect("flow-ok");
    assert_eq!(watcher.count("q").await, (0, 0));
    within(client.tx_commit()).await.expect("tx.commit-ok");
    eventually("it is back", async || (watcher.count("q").await.0 == 1).then_some(())).await;
}

/// FEATURES TX-2: an unknown exchange is refused at the publish, not at the commit.
#[tokio::test]
async fn an_unknown_exchange_is_refused_at_once() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::TX_SELECT, Args::new(), id::TX_SELECT_OK).await;
    raw.send(&raw::publish(1, "nix", "", b"x")).await;
    let text = "NOT_FOUND - no exchange 'nix' in vhost '/'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method: id::PUBLISH });
}

/// FEATURES TX-2: the queues are chosen at the publish.
#[tokio::test]
async fn routing_is_decided_at_the_publish() {
    let (_server, client) = start_client().await;
    client.queue("early").await;
    client.queue("late").await;
    client.bind("early", "amq.fanout", "").await;
    within(client.tx_select()).await.expect("tx.select-ok");
    client.publish("amq.fanout", "", b"x").await;
    client.bind("late", "amq.fanout", "").await;
    within(client.tx_commit()).await.expect("tx.commit-ok");
    assert_eq!(client.drain("early").await, ["x"]);
    assert!(client.drain("late").await.is_empty());
}

/// FEATURES TX-2: mandatory returns come at the commit, before commit-ok.
#[tokio::test]
async fn returns_come_at_the_commit() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::TX_SELECT, Args::new(), id::TX_SELECT_OK).await;
    raw.send(&raw::publish_with(1, args::publish("amq.direct", "nowhere", 1), &[0, 0], b"x")).await;
    raw.expect_alive(1).await;
    raw.method(1, id::TX_COMMIT, Args::new()).await;
    raw.expect(1, id::RETURN).await;
    raw.content(1).await;
    raw.expect(1, id::TX_COMMIT_OK).await;
}

/// FEATURES EH-22: commit and rollback need a select.
#[tokio::test]
async fn commit_and_rollback_need_a_select() {
    let server = start().await;
    let mut raw = Raw::open(server.amqp_addr()).await;
    for method in [id::TX_COMMIT, id::TX_ROLLBACK] {
        raw.channel(1).await;
        raw.method(1, method, Args::new()).await;
        let text = "PRECONDITION_FAILED - channel is not transactional".to_owned();
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method });
    }
}

/// FEATURES EH-23, TX-4: a queue that rejects a publish spoils the commit; what the others took stays.
#[tokio::test]
async fn a_rejected_publish_spoils_the_commit() {
    let (_server, client) = start_client().await;
    let arguments = table([
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ]);
    client.declare("full", QueueDeclareOptions::default(), arguments).await.expect("declare-ok");
    client.queue("open").await;
    let channel = client.another_channel().await;
    within(channel.tx_select()).await.expect("tx.select-ok");
    for queue in ["full", "full", "open"] {
        channel.publish("", queue, b"x").await;
    }
    let text = "PRECONDITION_FAILED - partial tx completion";
    crate::common::client::refused(channel.tx_commit(), 406, text).await;
    assert_eq!(client.drain("full").await, ["x"]);
    assert_eq!(client.drain("open").await, ["x"]);
}

/// Closing the channel rolls back. FEATURES TX-3.
#[tokio::test]
async fn closing_the_channel_rolls_back() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    let channel = client.another_channel().await;
    within(channel.tx_select()).await.expect("tx.select-ok");
    channel.publish("", "q", b"x").await;
    channel.close(200, "".into()).await.expect("channel.close-ok");
    assert_eq!(client.count("q").await, (0, 0));
}
