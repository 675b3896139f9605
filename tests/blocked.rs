//! Resource alarms: publishers stand still, everybody else goes on.

use lepus::broker::{Alarm, Alarms};
use lepus::{Server, Watermark};

use crate::common::raw::{self, Args, Raw, Tune, id};
use crate::common::{ChannelExt, args, connect, eventually, start};

async fn open(server: &lepus::Server) -> Raw {
    let capabilities = Args::new().field("connection.blocked", b't', &[1]);
    let mut raw = Raw::open_with(server.amqp_addr(), capabilities, |tune| Tune { heartbeat: 0, ..tune }).await;
    raw.channel(1).await;
    raw
}

/// FEATURES FL-1, FL-2, M-3, PR-3, trap 23: a publisher is told at its next publish, and nothing of it is worked on
/// until the alarm is over.
#[tokio::test]
async fn publishers_wait_until_the_alarm_is_over() {
    let server = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    let mut publisher = open(&server).await;
    server.broker().set_alarm(Alarm::Memory, true);
    publisher.expect_alive(1).await;
    let mut bytes = raw::publish(1, "", "q", b"x");
    bytes.extend(raw::method(1, id::QUEUE_DECLARE, args::queue_declare("q", 1)));
    publisher.send(&bytes).await;
    let blocked = publisher.expect(0, id::BLOCKED).await;
    assert_eq!(blocked.args().shortstr(), "low on memory");
    assert_eq!(client.count("q").await, (0, 0));
    server.broker().set_alarm(Alarm::Memory, false);
    publisher.expect(0, id::UNBLOCKED).await;
    publisher.expect(1, id::QUEUE_DECLARE_OK).await;
    eventually("the message has come through", async || (client.count("q").await == (1, 0)).then_some(())).await;
}

/// FEATURES FL-2: who does not publish notices nothing, new connections included.
#[tokio::test]
async fn consumers_go_on() {
    let server = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    client.confirms().await;
    for n in 0..3 {
        client.publish_confirmed("", "q", n.to_string().as_bytes()).await;
    }
    server.broker().set_alarm(Alarm::Disk, true);
    let mut raw = open(&server).await;
    raw.call(1, id::CONSUME, args::consume("q", "c", 2), id::CONSUME_OK).await;
    for n in 0..3 {
        raw.expect(1, id::DELIVER).await;
        assert_eq!(raw.content(1).await.1, n.to_string().as_bytes());
    }
}

/// FEATURES FL-1: one blocked, the reason of the moment, one unblocked when the last alarm is over.
#[tokio::test]
async fn unblocked_when_the_last_alarm_is_over() {
    let server = start().await;
    let mut raw = open(&server).await;
    server.broker().set_alarm(Alarm::Memory, true);
    server.broker().set_alarm(Alarm::Disk, true);
    raw.send(&raw::publish(1, "amq.fanout", "", b"x")).await;
    let blocked = raw.expect(0, id::BLOCKED).await;
    assert_eq!(blocked.args().shortstr(), "low on memory & disk");
    server.broker().set_alarm(Alarm::Memory, false);
    server.broker().set_alarm(Alarm::Disk, false);
    raw.expect(0, id::UNBLOCKED).await;
    raw.expect_alive(1).await;
}

/// FEATURES FL-1: with less free on the disk than the limit publishers wait; with another limit they go on.
#[tokio::test]
async fn a_full_disk_blocks_publishers() {
    let path = std::env::temp_dir().join(format!("lepus-blocked-{:x}", rand::random::<u64>()));
    let builder = Server::builder().data_dir(&path).log_file_bytes(1 << 20).amqp("127.0.0.1:0");
    let server = builder.disk_free_limit(Watermark::Bytes(1 << 60)).start().await.expect("it starts");
    let mut raw = open(&server).await;
    let broker = server.broker();
    eventually("the alarm is on", async || (broker.alarms() != Alarms::default()).then_some(())).await;
    raw.send(&raw::publish(1, "amq.fanout", "", b"x")).await;
    let blocked = raw.expect(0, id::BLOCKED).await;
    assert_eq!(blocked.args().shortstr(), "low on disk");
    server.set_disk_free_limit(Watermark::Bytes(0)).expect("set");
    raw.expect(0, id::UNBLOCKED).await;
    raw.expect_alive(1).await;
    server.shutdown().await;
    std::fs::remove_dir_all(path).expect("removed");
}

/// FEATURES PR-3: a client that does not know the method is not sent it; its socket is not read all the same.
#[tokio::test]
async fn clients_that_do_not_know_are_not_told() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    server.broker().set_alarm(Alarm::Memory, true);
    let mut bytes = raw::publish(1, "amq.fanout", "", b"x");
    bytes.extend(raw::method(1, id::CHANNEL_FLOW, Args::new().octet(1)));
    raw.send(&bytes).await;
    let client = connect(&server).await;
    client.queue("a round trip of another connection").await;
    server.broker().set_alarm(Alarm::Memory, false);
    raw.expect(1, id::CHANNEL_FLOW_OK).await;
}
