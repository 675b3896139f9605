//! Puts a server together.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::options::{Definitions, NewUser, Options, Storage, UserPermissions};
use super::tls::TlsOptions;
use super::{Server, start};
use crate::auth::Mechanism;
use crate::auth_backends;
use crate::broker::Watermark;
use crate::store::SyncMode;

/// Puts a [`Server`] together; made by [`Server::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before start()"]
pub struct ServerBuilder {
    options: Options,
}

impl From<Options> for ServerBuilder {
    fn from(options: Options) -> Self {
        Self { options }
    }
}

impl ServerBuilder {
    /// Keeps everything in memory: durable queues and persistent messages, too, are gone when the server stops.
    pub fn in_memory(mut self) -> Self {
        self.options.storage = Some(Storage::Memory);
        self
    }

    /// Keeps durable queues and persistent messages in this directory, made if need be. A confirm means: on disk.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.storage = Some(Storage::Directory(path.into()));
        self
    }

    /// Sets what waiting messages may take in memory, in bytes, before they are paged out to the data directory.
    pub fn message_memory(mut self, bytes: usize) -> Self {
        self.options.message_memory_bytes = bytes;
        self
    }

    /// Sets the length of a file of the log in bytes: short ones make a start quicker.
    pub fn log_file_bytes(mut self, bytes: u32) -> Self {
        self.options.log_file_bytes = bytes;
        self
    }

    /// Confirms mean less than "on disk" from now on, or that again.
    pub fn sync(mut self, sync: SyncMode) -> Self {
        self.options.sync = sync;
        self
    }

    /// Listens for AMQP 0-9-1 on `HOST:PORT`, or on all interfaces with `PORT`. Port 0 takes a free one, told by
    /// [`Server::amqp_addr`]. May be called several times.
    pub fn amqp(mut self, address: impl Into<String>) -> Self {
        self.options.amqp.push(address.into());
        self
    }

    /// Listens for AMQP 0-9-1 in TLS; needs [`Self::tls`]. Told by [`Server::amqps_addrs`].
    pub fn amqps(mut self, address: impl Into<String>) -> Self {
        self.options.amqps.push(address.into());
        self
    }

    /// Listens for the management HTTP API; port 0 takes a free one, told by [`Server::http_addr`].
    pub fn http(mut self, address: impl Into<String>) -> Self {
        self.options.http.push(address.into());
        self
    }

    /// Listens for the management HTTP API in TLS; needs [`Self::tls`]. Told by [`Server::https_addrs`].
    pub fn https(mut self, address: impl Into<String>) -> Self {
        self.options.https.push(address.into());
        self
    }

    /// Opens a socket there on which whoever runs the broker may use the management API without a login, as `lepus ctl`
    /// does. The file goes when the server stops.
    pub fn local_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.local_socket = Some(path.into());
        self
    }

    /// Tells metrics in Prometheus's text format on `/metrics` there; RabbitMQ's port is 15692. Told by
    /// [`Server::prometheus_addrs`].
    pub fn prometheus(mut self, address: impl Into<String>) -> Self {
        self.options.prometheus.push(address.into());
        self
    }

    /// The same in TLS; needs [`Self::tls`]. Told by [`Server::prometheus_https_addrs`].
    pub fn prometheus_https(mut self, address: impl Into<String>) -> Self {
        self.options.prometheus_https.push(address.into());
        self
    }

    /// Metrics are found on another path than `/metrics`.
    pub fn prometheus_path(mut self, path: impl Into<String>) -> Self {
        self.options.prometheus_path = path.into();
        self
    }

    /// `/metrics` tells of each queue, channel and connection, as `/metrics/per-object` does.
    pub fn prometheus_per_object(mut self) -> Self {
        self.options.prometheus_per_object = true;
        self
    }

    /// Bodies of requests to the management API of up to `bytes`.
    pub fn http_body_size_max(mut self, bytes: usize) -> Self {
        self.options.http_body_size_max = bytes;
        self
    }

    /// How often numbers are sampled, for rates and charts of the management API.
    pub fn statistics_interval(mut self, interval: Duration) -> Self {
        self.options.statistics_interval = interval;
        self
    }

    /// Lets scripts of this origin use the management API, `*` those of all.
    pub fn http_cors_origin(mut self, origin: impl Into<String>) -> Self {
        self.options.http_cors_origins.push(origin.into());
        self
    }

    /// What listeners in TLS show and ask for.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// Every connection begins with a header of the PROXY protocol, version 1 or 2, as load balancers send it.
    pub fn proxy_protocol(mut self) -> Self {
        self.options.proxy_protocol = true;
        self
    }

    /// Creates a user with all permissions on every vhost created at start. Without any, and without definitions,
    /// there is `guest` with password `guest`.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.options.users.push(NewUser {
            name: name.into(),
            password: password.into(),
            tags,
            permissions: UserPermissions::default(),
        });
        self
    }

    /// Creates a vhost. Without any, and without definitions, there is `/`.
    pub fn vhost(mut self, name: impl Into<String>) -> Self {
        self.options.vhosts.push(name.into());
        self
    }

    /// Imports definitions from a file in RabbitMQ's JSON format. Then no default user or vhost is created.
    pub fn definitions(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.definitions.push(Definitions::File(path.into()));
        self
    }

    /// Imports definitions in RabbitMQ's JSON format. Then no default user or vhost is created.
    pub fn definitions_json(mut self, json: impl Into<String>) -> Self {
        self.options.definitions.push(Definitions::Json(json.into()));
        self
    }

    /// Users who may only connect from the machine itself, instead of `guest`.
    pub fn loopback_users(mut self, names: &[&str]) -> Self {
        self.options.loopback_users = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Who lets users in and says what they may do, instead of the users and permissions of the broker itself.
    pub fn auth_backends(mut self, options: auth_backends::Options) -> Self {
        self.options.auth_backends = options;
        self
    }

    /// Offers this heartbeat interval, in seconds; 0 offers none.
    pub fn heartbeat_s(mut self, seconds: u16) -> Self {
        self.options.heartbeat_s = seconds;
        self
    }

    /// Offers frames of up to `bytes`, the envelope included.
    pub fn frame_size_max(mut self, bytes: u32) -> Self {
        self.options.frame_size_max = bytes;
        self
    }

    /// Offers this many channels per connection.
    pub fn channel_max(mut self, count: u16) -> Self {
        self.options.channel_max = count;
        self
    }

    /// The time from accept to connection.open-ok.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout = timeout;
        self
    }

    /// Connections in the handshake at once.
    pub fn handshakes_max(mut self, count: usize) -> Self {
        self.options.handshakes_max = count;
        self
    }

    /// Connections in the handshake at once from one address.
    pub fn handshakes_per_address_max(mut self, count: usize) -> Self {
        self.options.handshakes_per_address_max = count;
        self
    }

    /// The time that a TLS handshake may take.
    pub fn tls_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.tls_handshake_timeout = timeout;
        self
    }

    /// What clients may log in by, in the order they are told.
    pub fn mechanisms(mut self, mechanisms: &[Mechanism]) -> Self {
        self.options.mechanisms = mechanisms.to_vec();
        self
    }

    /// Message bodies of up to `bytes`.
    pub fn message_size_max(mut self, bytes: u64) -> Self {
        self.options.message_size_max = bytes;
        self
    }

    /// Blocks publishers while resident memory is above this.
    pub fn memory_high_watermark(mut self, watermark: Watermark) -> Self {
        self.options.memory_high_watermark = watermark;
        self
    }

    /// Blocks publishers while less than this is free where the data directory lies.
    pub fn disk_free_limit(mut self, limit: Watermark) -> Self {
        self.options.disk_free_limit = limit;
        self
    }

    /// Refuses connections beyond `count`.
    pub fn connection_max(mut self, count: u32) -> Self {
        self.options.connection_max = Some(count);
        self
    }

    /// Deliveries that nobody settles for so long time out, where nothing closer to them says otherwise.
    pub fn consumer_timeout(mut self, timeout: Duration) -> Self {
        self.options.consumer_timeout = timeout;
        self
    }

    /// Whether a dead letter goes on with the `x-death` that its publisher sent.
    pub fn honours_client_deaths(mut self, yes: bool) -> Self {
        self.options.honours_client_deaths = yes;
        self
    }

    /// Spreads queues over this many lanes.
    pub fn lanes(mut self, count: usize) -> Self {
        self.options.lanes = Some(count);
        self
    }

    /// The name shown to clients as `cluster_name`.
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.options.cluster_name = Some(name.into());
        self
    }

    /// How long a shutdown waits for clients to answer connection.close.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.options.shutdown_timeout = timeout;
        self
    }

    /// Starts the server on the current tokio runtime. When this returns, the addresses accept connections.
    pub async fn start(self) -> Result<Server, Error> {
        start::start(self.options).await
    }
}
