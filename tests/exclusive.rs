//! Exclusive queues: one connection's own.

use lapin::options::QueueDeclareOptions;

use crate::common::client::{connect, refused};
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, start, start_client, table};

const EXCLUSIVE: QueueDeclareOptions =
    QueueDeclareOptions { passive: false, durable: false, exclusive: true, auto_delete: false, nowait: false };

/// FEATURES QU-2: any channel of the connection may use it.
#[tokio::test]
async fn all_channels_of_the_connection_may_use_it() {
    let (_server, client) = start_client().await;
    client.declare("mine", EXCLUSIVE, table([])).await.expect("declare-ok");
    let other = client.another_channel().await;
    other.declare("mine", EXCLUSIVE, table([])).await.expect("declare-ok");
    other.publish("", "mine", b"x").await;
    assert_eq!(other.drain("mine").await, ["x"]);
}

/// FEATURES EH-5, QU-2, trap 10: others are locked out of everything but publishing.
#[tokio::test]
async fn other_connections_are_locked_out() {
    let server = start().await;
    let owner = connect(&server).await;
    owner.declare("mine", EXCLUSIVE, table([])).await.expect("declare-ok");
    let mut raw = Raw::open(server.amqp_addr()).await;
    let cases = [
        (id::QUEUE_DECLARE, args::queue_declare("mine", 0)),
        (id::QUEUE_DECLARE, args::queue_declare("mine", 4)),
        (id::QUEUE_DECLARE, args::queue_declare("mine", 1)),
        (id::QUEUE_BIND, args::queue_bind("mine", "amq.fanout", "")),
        (id::CONSUME, args::consume("mine", "c", 0)),
        (id::GET, args::get("mine", true)),
        (id::QUEUE_PURGE, args::queue_purge("mine")),
        (id::QUEUE_DELETE, args::queue_delete("mine", 0)),
    ];
    for (method, arguments) in cases {
        raw.channel(1).await;
        raw.method(1, method, arguments).await;
        let text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be \
                    originally declared on another connection or the exclusive property value does not match that of \
                    the original declaration."
            .to_owned();
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 405, text, method });
    }
    raw.channel(1).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    raw.send(&raw::publish(1, "", "mine", b"from outside")).await;
    raw.expect(1, id::ACK).await;
    assert_eq!(owner.drain("mine").await, ["from outside"]);
}

/// FEATURES EH-5: the owner may not declare it shared.
#[tokio::test]
async fn the_owner_must_keep_it_exclusive() {
    let (_server, client) = start_client().await;
    client.declare("mine", EXCLUSIVE, table([])).await.expect("declare-ok");
    let text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be \
                originally declared on another connection or the exclusive property value does not match that of the \
                original declaration.";
    refused(client.declare("mine", QueueDeclareOptions::default(), table([])), 405, text).await;
}

/// FEATURES QU-2, M-2, trap 10: it is gone before close-ok, every time.
#[tokio::test]
async fn it_is_gone_before_close_ok() {
    let server = start().await;
    for _ in 0..200 {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare("mine", 4), id::QUEUE_DECLARE_OK).await;
        raw.send(&raw::publish(1, "", "mine", b"x")).await;
        let close = Args::new().short(200).shortstr(b"bye").short(0).short(0);
        raw.call(0, id::CLOSE, close, id::CLOSE_OK).await;
    }
}

/// FEATURES M-2, QU-2: after an error, too, it is gone before the close is sent.
#[tokio::test]
async fn it_is_gone_before_the_servers_close() {
    let server = start().await;
    for _ in 0..50 {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare("mine", 4), id::QUEUE_DECLARE_OK).await;
        raw.method(1, id::CHANNEL_OPEN, Args::new().shortstr(b"")).await;
        raw.close_method(0, id::CLOSE).await;
    }
}

/// FEATURES QU-2: it is gone when the connection is lost.
#[tokio::test]
async fn it_is_gone_when_the_connection_is_lost() {
    let server = start().await;
    let client = connect(&server).await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("mine", 4), id::QUEUE_DECLARE_OK).await;
    drop(raw);
    crate::common::eventually("the name is free", async || {
        let channel = client.another_channel().await;
        channel.declare("mine", EXCLUSIVE, table([])).await.ok()
    })
    .await;
}

/// FEATURES QU-2: closing a channel does not end it.
#[tokio::test]
async fn closing_the_channel_keeps_it() {
    let (_server, client) = start_client().await;
    let other = client.another_channel().await;
    other.declare("mine", EXCLUSIVE, table([])).await.expect("declare-ok");
    other.close(200, "".into()).await.expect("channel.close-ok");
    assert_eq!(client.count("mine").await, (0, 0));
}
