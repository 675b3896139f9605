//! A running broker with its listeners: what `lepus serve` runs and what a program embeds.
//!
//! Owns every task: lanes, listeners, connections, the memory watcher. Nothing is detached, nothing is global: two
//! servers live in one process. It reads no configuration file and no environment variable. Start reading at
//! [`Server`].

mod accept;
mod builder;
mod connections;
mod disk;
mod error;
mod handshakes;
mod http;
mod listener;
mod local;
mod memory;
mod options;
mod proxy;
mod settings;
mod start;
mod storage;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::broker::Broker;
use crate::management::Settings as _;

pub use self::builder::ServerBuilder;
pub use self::error::Error;
pub use self::listener::SocketOptions;
pub use self::options::{Definitions, NewUser, Options, Storage, UserPermissions};
pub use self::settings::LogLevels;
pub use self::tls::{LoginFrom, NameKind, TlsOptions, TlsVersion, is_known_cipher};
pub use crate::auth::{HashingAlgorithm, Mechanism, PasswordRule};
pub use crate::broker::{DefaultLimits, DefaultPolicy, Watermark};
pub use crate::management::SettingError;
pub use crate::store::SyncMode;

/// The text every client is told at a shutdown (EC-28).
const SHUTDOWN_TEXT: &str = "broker forced connection closure with reason 'shutdown'";

/// How often connections are told that have opened since the last time.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// How long lanes may take to end. They have little to do by then.
const LANES_TIMEOUT: Duration = Duration::from_secs(5);

/// A running broker.
///
/// [`Server::shutdown`] ends it in order. Dropping it is a crash, on purpose: sockets are closed where they are and
/// nobody is told, which is what a test of recovery wants.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let server = lepus::Server::builder().in_memory().amqp("127.0.0.1:0").start().await?;
/// println!("{}", server.amqp_uri());
/// server.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    broker: Broker,
    amqp_addrs: Vec<SocketAddr>,
    amqps_addrs: Vec<SocketAddr>,
    http_addrs: Vec<SocketAddr>,
    https_addrs: Vec<SocketAddr>,
    prometheus_addrs: Vec<SocketAddr>,
    prometheus_https_addrs: Vec<SocketAddr>,
    /// Of all listeners in TLS.
    tls: Vec<Arc<tls::Tls>>,
    /// User, password and vhost of [`Server::amqp_uri`], percent-encoded.
    uri_parts: (String, String),
    stop: watch::Sender<bool>,
    /// One task for each listener, which owns its connections.
    listeners: JoinSet<()>,
    lanes: JoinSet<()>,
    /// What looks at memory and disk.
    watchers: JoinSet<()>,
    settings: Arc<settings::Live>,
    storage: Option<storage::Store>,
    /// Listeners of the management API and of metrics, and the sampling.
    http: JoinSet<()>,
    shutdown_timeout: Duration,
}

impl Server {
    /// Starts putting a server together.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Starts from ready-made options.
    pub fn with_options(options: Options) -> ServerBuilder {
        options.into()
    }

    /// Whether a server would start with these options: their ranges, and the files of TLS. Nothing is started.
    pub fn check(options: &Options) -> Result<(), Error> {
        start::check_all(options)
    }

    /// The addresses that accept AMQP connections, in the order they were given.
    pub fn amqp_addrs(&self) -> &[SocketAddr] {
        &self.amqp_addrs
    }

    /// The addresses that accept AMQP connections in TLS, in the order they were given.
    pub fn amqps_addrs(&self) -> &[SocketAddr] {
        &self.amqps_addrs
    }

    /// The addresses that accept requests to the management API, in the order they were given.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        &self.http_addrs
    }

    /// The first of them, with the loopback in place of all interfaces; `None`: there is no management API.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addrs.first().copied().map(listener::reachable)
    }

    /// The addresses that accept requests to the management API in TLS, in the order they were given.
    pub fn https_addrs(&self) -> &[SocketAddr] {
        &self.https_addrs
    }

    /// The addresses where metrics are told in TLS, in the order they were given.
    pub fn prometheus_https_addrs(&self) -> &[SocketAddr] {
        &self.prometheus_https_addrs
    }

    /// Reads the files of certificates and keys again: new connections see the new ones, others go on. What cannot be used
    /// is told in the log and changes nothing. It happens by itself, too, some seconds after a file has changed.
    pub fn reload_certificates(&self) {
        tls::reload(&self.tls);
    }

    /// The addresses where metrics are told, in the order they were given.
    pub fn prometheus_addrs(&self) -> &[SocketAddr] {
        &self.prometheus_addrs
    }

    /// An address for clients on this machine: the first one, with the loopback in place of all interfaces.
    ///
    /// # Panics
    ///
    /// If the server listens nowhere.
    pub fn amqp_addr(&self) -> SocketAddr {
        listener::reachable(*self.amqp_addrs.first().expect("the server was given an address to listen on"))
    }

    /// A URI for clients on this machine: the first address, the first user given in plain text, the first vhost.
    ///
    /// # Panics
    ///
    /// If the server listens nowhere.
    pub fn amqp_uri(&self) -> String {
        let (user, vhost) = &self.uri_parts;
        format!("amqp://{user}{}/{vhost}", self.amqp_addr())
    }

    /// The broker behind the listeners.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Blocks publishers from now on while resident memory is above this. Until the server stops; an error changes nothing.
    pub fn set_memory_high_watermark(&self, watermark: Watermark) -> Result<(), SettingError> {
        self.settings.set_memory_high_watermark(watermark)
    }

    /// Blocks publishers from now on while less than this is free where the data directory lies. Until the server stops; an
    /// error changes nothing.
    pub fn set_disk_free_limit(&self, limit: Watermark) -> Result<(), SettingError> {
        self.settings.set_disk_free_limit(limit)
    }

    /// Waits for a failure that makes the server useless: the end of a lane, or a disk that does not write. Never
    /// returns while all is well.
    pub async fn failed(&mut self) {
        tokio::select! {
            ended = self.lanes.join_next() => match ended {
                Some(Err(error)) => error!(%error, "a lane has failed: its queues are gone"),
                _ => error!("a lane has ended: its queues are gone"),
            },
            // Nobody knows what such a disk has kept: the next start finds out.
            error = storage::failed(&mut self.storage) => {
                error!(%error, "the log cannot be written: nothing more can be kept");
            }
        }
    }

    /// Stops in order: accepts no more, tells every connection (320), waits for their answers up to the shutdown
    /// timeout, ends the lanes. When it returns, no task of the server is left.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        // Whoever looks on is not waited for.
        self.http.shutdown().await;
        let deadline = Instant::now() + self.shutdown_timeout;
        loop {
            // Again and again, because a handshake may just have ended in an open connection.
            self.broker.close_connections(SHUTDOWN_TEXT);
            let pause = deadline.min(Instant::now() + TELL_INTERVAL);
            if tokio::time::timeout_at(pause, join_all(&mut self.listeners)).await.is_ok() {
                break;
            }
            if Instant::now() >= deadline {
                let connections = self.broker.connection_count();
                warn!(connections, "some clients did not answer connection.close");
                break;
            }
        }
        self.listeners.shutdown().await;
        self.watchers.shutdown().await;
        if let Some(storage) = &self.storage {
            storage.checkpoint(&self.broker).await;
        }
        self.broker.stop();
        if tokio::time::timeout(LANES_TIMEOUT, join_all(&mut self.lanes)).await.is_err() {
            error!("lanes did not end in time");
        }
        self.lanes.shutdown().await;
        if let Some(storage) = self.storage.take() {
            storage.close(&self.broker).await;
        }
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            error!(%error, "a task failed");
        }
    }
}
