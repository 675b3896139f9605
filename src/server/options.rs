//! What can be set on a server, with RabbitMQ's defaults.

use std::path::PathBuf;
use std::time::Duration;

use super::tls::TlsOptions;
use crate::broker::MESSAGE_MEMORY_BYTES;
use crate::store::SyncMode;

/// Settings of a [`crate::Server`]. [`crate::ServerBuilder`] has a method for most; `config` fills it from the
/// environment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where messages are kept. `None` is an error at start: nobody should lose messages by forgetting a line.
    pub storage: Option<Storage>,
    /// When a persistent message counts as kept. Default: when the disk has synced it.
    pub sync: SyncMode,
    /// What waiting messages may take in memory, in bytes; beyond that they are paged out to the data directory. Default
    /// 64 MiB.
    pub message_memory_bytes: usize,
    /// Length of a file of the log, in bytes. Default 64 MiB; from 1 MiB to 1 GiB.
    pub log_file_bytes: u32,
    /// Addresses to listen on for AMQP 0-9-1.
    pub amqp: Vec<String>,
    /// Addresses to listen on for AMQP 0-9-1 in TLS.
    pub amqps: Vec<String>,
    /// What those listeners show and ask for.
    pub tls: Option<TlsOptions>,
    /// Addresses to listen on for the management HTTP API.
    pub http: Vec<String>,
    /// Largest body of a request to it, in bytes. Default 20 MiB (`management.http.max_body_size`).
    pub http_body_size_max: usize,
    /// How often it samples numbers. Default 5 s (`collect_statistics_interval`).
    pub statistics_interval: Duration,
    /// Origins whose scripts may use it, `*` for all. Default none (`management.cors.allow_origins`).
    pub http_cors_origins: Vec<String>,
    /// Addresses to tell metrics on, in Prometheus's text format.
    pub prometheus: Vec<String>,
    /// Where they are found there. Default `/metrics` (`prometheus.path`).
    pub prometheus_path: String,
    /// There they are told of each object. Default false: of all together (`prometheus.return_per_object_metrics`).
    pub prometheus_per_object: bool,
    /// Every connection begins with a header of the PROXY protocol, version 1 or 2 (`proxy_protocol`).
    pub proxy_protocol: bool,
    /// Users to create. Empty, and no definitions given: `guest` with password `guest`, as RabbitMQ does (US-8).
    pub users: Vec<NewUser>,
    /// Vhosts to create. Empty, and no definitions given: `/`.
    pub vhosts: Vec<String>,
    /// Definitions to import at start, in this order. If there are any, no default user or vhost is created (DF-6).
    pub definitions: Vec<Definitions>,
    /// Users who may only connect from the machine itself. Default `guest` (`loopback_users`).
    pub loopback_users: Vec<String>,
    /// Heartbeat interval offered in connection.tune, in seconds; 0 offers none. Default 60 (`heartbeat`).
    pub heartbeat_s: u16,
    /// Largest frame offered in connection.tune, in bytes, its eight bytes of envelope included. Default 131072
    /// (`frame_max`).
    pub frame_size_max: u32,
    /// Channels per connection offered in connection.tune. Default 2047 (`channel_max`).
    pub channel_max: u16,
    /// Time from accept to connection.open-ok. Default 10 s (`handshake_timeout`).
    pub handshake_timeout: Duration,
    /// Connections in the handshake at once; the next wait in the listen backlog. Default 4096. One that never speaks
    /// holds its place for `handshake_timeout`.
    pub handshakes_max: usize,
    /// Largest message body, in bytes. Default 128 MiB, at most 512 MiB (`max_message_size`).
    pub message_size_max: u64,
    /// Resident memory above which publishers are blocked. Default 0.6 of what there is
    /// (`vm_memory_high_watermark`).
    pub memory_high_watermark: Watermark,
    /// Free space where the data directory lies, below which publishers are blocked. Default 50 MB (`disk_free_limit`);
    /// a fraction is one of memory, as RabbitMQ's.
    pub disk_free_limit: Watermark,
    /// Open connections of this node. Default none (`connection_max`).
    pub connection_max: Option<u32>,
    /// How long a delivery may go unsettled where neither its consumer, nor its queue, nor a policy says. Default half an
    /// hour (`consumer_timeout`).
    pub consumer_timeout: Duration,
    /// A dead letter goes on with the `x-death` that its publisher sent, as in RabbitMQ 3. Default true; RabbitMQ 4 begins
    /// a new one.
    pub honours_client_deaths: bool,
    /// Lanes that queues are spread over. Default: one for each core.
    pub lanes: Option<usize>,
    /// Shown to clients as `cluster_name`. Default `rabbit@<hostname>`.
    pub cluster_name: Option<String>,
    /// How long a shutdown waits for clients to answer connection.close. Default 5 s.
    pub shutdown_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            storage: None,
            sync: SyncMode::default(),
            message_memory_bytes: MESSAGE_MEMORY_BYTES,
            log_file_bytes: 64 << 20,
            amqp: Vec::new(),
            amqps: Vec::new(),
            http: Vec::new(),
            http_body_size_max: 20 << 20,
            statistics_interval: Duration::from_secs(5),
            http_cors_origins: Vec::new(),
            prometheus: Vec::new(),
            prometheus_path: "/metrics".to_owned(),
            prometheus_per_object: false,
            tls: None,
            proxy_protocol: false,
            users: Vec::new(),
            vhosts: Vec::new(),
            definitions: Vec::new(),
            loopback_users: vec!["guest".to_owned()],
            heartbeat_s: 60,
            frame_size_max: 131_072,
            channel_max: 2047,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 4096,
            message_size_max: 128 << 20,
            memory_high_watermark: Watermark::Fraction(0.6),
            disk_free_limit: Watermark::Bytes(50_000_000),
            connection_max: None,
            consumer_timeout: Duration::from_secs(30 * 60),
            honours_client_deaths: true,
            lanes: None,
            cluster_name: None,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// Where messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// In memory: queues and messages, durable and persistent ones too, are gone when the server stops.
    Memory,
    /// In this directory, which no other process may use at the same time.
    Directory(PathBuf),
}

/// What a user created at start may do on vhosts created at start: patterns, as in RabbitMQ's permissions (US-1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserPermissions {
    /// Names of the vhosts.
    pub vhosts: String,
    /// What may be declared and deleted.
    pub configure: String,
    /// What may be published to.
    pub write: String,
    /// What may be consumed from.
    pub read: String,
}

impl Default for UserPermissions {
    /// Everything everywhere.
    fn default() -> Self {
        let all = || ".*".to_owned();
        Self { vhosts: all(), configure: all(), write: all(), read: all() }
    }
}

/// A user to create at start.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Login name.
    pub name: String,
    /// Password in plain text. Only its salted hash is kept.
    pub password: String,
    /// `administrator`, `monitoring`, ... (US-4).
    pub tags: Vec<String>,
    /// Where it may do what.
    pub permissions: UserPermissions,
}

// Written out because a derived one would print the password into logs.
impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("name", &self.name).field("tags", &self.tags).finish_non_exhaustive()
    }
}

/// Definitions in RabbitMQ's JSON format (DF-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definitions {
    /// Read from a file.
    File(PathBuf),
    /// The JSON itself.
    Json(String),
}

/// A bound on resident memory, or on free disk space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watermark {
    /// Of the machine's memory, or of the control group's limit if that is less.
    Fraction(f64),
    /// In bytes.
    Bytes(u64),
}
