//! Starting and stopping: in order, in time, and without leaving anything behind.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, builder, connect, eventually, start, within};

/// FEATURES EC-28: every connection is told, and the shutdown waits for its close-ok.
#[tokio::test]
async fn connections_are_told() {
    let server = start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Raw::open_channel(server.amqp_addr()).await);
    }
    let talk = async {
        for raw in &mut clients {
            let text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'".to_owned();
            assert_eq!(raw.expect_close().await, Close { code: 320, text, method: (0, 0) });
        }
    };
    within(async { tokio::join!(server.shutdown(), talk) }).await;
}

/// A client that never answers, and one stuck in the handshake, cannot hold a shutdown up. FEATURES EC-28.
#[tokio::test]
async fn silent_clients_do_not_hold_it_up() {
    let server = builder().shutdown_timeout(Duration::from_millis(100)).start().await.expect("the broker starts");
    let _silent = Raw::open_channel(server.amqp_addr()).await;
    let mut greeted = Raw::connect(server.amqp_addr()).await;
    greeted.send(b"AMQP\x00\x00\x09\x01").await;
    greeted.expect(0, id::START).await;
    let _mute = Raw::connect(server.amqp_addr()).await;
    let since = Instant::now();
    within(server.shutdown()).await;
    assert!(since.elapsed() < Duration::from_secs(3), "took {:?}", since.elapsed());
    greeted.expect_end().await;
}

/// No task outlives a shutdown.
#[tokio::test]
async fn nothing_runs_on() {
    let before = Handle::current().metrics().num_alive_tasks();
    let server = builder().amqp("127.0.0.1:0").lanes(3).start().await.expect("the broker starts");
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 4), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    raw.send(&raw::publish(1, "", "q", b"x")).await;
    raw.expect(1, id::DELIVER).await;
    let left = Raw::open(server.amqp_addr()).await;
    drop(left);
    assert!(Handle::current().metrics().num_alive_tasks() > before);
    let talk = async {
        raw.content(1).await;
        raw.expect_close().await
    };
    within(async { tokio::join!(server.shutdown(), talk) }).await;
    // A finished task is counted until the runtime has cleared it away.
    eventually("all tasks have ended", async || {
        (Handle::current().metrics().num_alive_tasks() == before).then_some(())
    })
    .await;
}

/// Dropping a server without a shutdown is a crash: everything ends, nobody is told.
#[tokio::test]
async fn dropping_is_a_crash() {
    let before = Handle::current().metrics().num_alive_tasks();
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    drop(server);
    assert_eq!(raw.next().await, None);
    eventually("all tasks have ended", async || {
        (Handle::current().metrics().num_alive_tasks() == before).then_some(())
    })
    .await;
}

/// The port is free when the shutdown is over, with connections of it in TIME_WAIT.
#[tokio::test]
async fn the_port_is_free_again() {
    let server = start().await;
    let address = server.amqp_addr();
    let mut raw = Raw::open(address).await;
    within(async { tokio::join!(server.shutdown(), raw.expect_close()) }).await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let server = builder().amqp(address.to_string()).start().await.expect("the port is free");
    Raw::open(address).await;
    drop(server);
}

/// An address in use is an error that names it.
#[tokio::test]
async fn a_taken_port_is_an_error() {
    let server = start().await;
    let address = server.amqp_addr().to_string();
    let error = builder().amqp(address.clone()).start().await.expect_err("the port is taken").to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

/// Two brokers in one process share nothing.
#[tokio::test]
async fn two_brokers_share_nothing() {
    let (one, other) = (start().await, start().await);
    let (to_one, to_other) = (connect(&one).await, connect(&other).await);
    to_one.queue("q").await;
    to_other.queue("q").await;
    to_one.publish("", "q", b"for one").await;
    assert_eq!(to_one.drain("q").await, ["for one"]);
    assert!(to_other.drain("q").await.is_empty());
    let closed = async { to_other.count("q").await };
    drop(to_one);
    drop(one);
    assert_eq!(closed.await, (0, 0));
}

/// A server listens on several addresses, and tells them in the order they were given.
#[tokio::test]
async fn several_listeners() {
    let server = builder().amqp("127.0.0.1:0").amqp("localhost:0").start().await.expect("the broker starts");
    assert!(server.amqp_addrs().len() >= 3);
    for address in server.amqp_addrs() {
        Raw::open(*address).await;
    }
}

/// A server without a place for messages does not start.
#[tokio::test]
async fn storage_must_be_chosen() {
    let error = lepus::Server::builder().start().await.expect_err("no storage was chosen");
    assert!(matches!(error, lepus::Error::StorageNotChosen));
}

/// From nothing to accepting takes five milliseconds at most. Measured as the best of several, since the machine may
/// be busy with other tests.
#[tokio::test]
async fn starting_takes_milliseconds() {
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let since = Instant::now();
        let server = start().await;
        let _stream = TcpStream::connect(server.amqp_addr()).await.expect("it accepts");
        best = best.min(since.elapsed());
    }
    assert!(best <= Duration::from_millis(5), "the fastest of 20 starts took {best:?}");
}

/// FEATURES M-2: an open exclusive queue, consumers and unacked messages do not keep a shutdown from ending.
#[tokio::test]
async fn busy_connections_are_closed_too() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 4), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    raw.send(&raw::publish(1, "", "q", b"x")).await;
    raw.expect(1, id::ACK).await;
    raw.send(&raw::method(1, id::PUBLISH, args::publish("", "q", 0))).await;
    within(async { tokio::join!(server.shutdown(), raw.expect_close()) }).await;
}
