//! What the tests speak: a broker started in-process, short helpers over the lapin client, and raw frames.
//!
//! Tests call these helpers and not the client's API, so that a change of either touches one place. Nothing here
//! sleeps for a guess: waiting is done with [`eventually`] or [`within`].

pub(crate) mod args;
pub(crate) mod checker;
pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod ctl;
pub(crate) mod http;
pub(crate) mod ldap;
pub(crate) mod papers;
pub(crate) mod place;
pub(crate) mod raw;
pub(crate) mod service;
pub(crate) mod tokens;

use std::future::Future;
use std::time::Duration;

use lepus::{Server, ServerBuilder};

pub(crate) use client::{Broken, ChannelExt, Client, connect, connect_as, table};

/// How long anything in a test may take before the test is called failed. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker in memory with one listener on a free port, not started yet.
pub(crate) fn builder() -> ServerBuilder {
    Server::builder().in_memory().amqp("127.0.0.1:0")
}

/// Starts a broker with default settings.
pub(crate) async fn start() -> Server {
    builder().start().await.expect("the broker starts")
}

/// Starts a broker and opens one connection with one channel.
pub(crate) async fn start_client() -> (Server, Client) {
    let server = start().await;
    let client = connect(&server).await;
    (server, client)
}

/// The result of `future`, which must come within [`PATIENCE`].
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in good time")
}

/// Waits until `condition` gives a value, looking again at growing intervals.
pub(crate) async fn eventually<T, F, Fut>(what: &str, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "it never happened: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// What these lines of `rabbitmq.conf` come to, in memory.
pub(crate) fn options_of(conf: &str) -> lepus::server::Options {
    let path = std::env::temp_dir().join(format!("lepus-{:x}.conf", rand::random::<u64>()));
    std::fs::write(&path, conf).unwrap();
    let settings = lepus::config::conf::read(&path, |_| None);
    std::fs::remove_file(path).unwrap();
    let mut options = lepus::server::Options::default();
    lepus::config::keys::apply(&mut options, &settings.unwrap()).unwrap();
    options.storage = Some(lepus::server::Storage::Memory);
    options
}
