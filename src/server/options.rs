//! What can be set on a server, with RabbitMQ's defaults.

use std::path::PathBuf;
use std::time::Duration;

use super::listener::SocketOptions;
use super::settings::LogLevels;
use super::tls::TlsOptions;
use crate::auth::{HashingAlgorithm, Mechanism, PasswordRule};
use crate::auth_backends;
use crate::broker::{DefaultLimits, DefaultPolicy, MESSAGE_MEMORY_BYTES, Watermark};
use crate::management::{OAuth, RatesMode, Retention};
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
    /// What is set on their sockets (`tcp_listen_options`).
    pub socket: SocketOptions,
    /// What listeners in TLS show and ask for.
    pub tls: Option<TlsOptions>,
    /// Addresses to listen on for the management HTTP API.
    pub http: Vec<String>,
    /// Addresses to listen on for it in TLS.
    pub https: Vec<String>,
    /// What those show and ask for, if not the same as the others (`management.ssl`).
    pub http_tls: Option<TlsOptions>,
    /// Largest body of a request to it, in bytes. Default 20 MiB (`management.http.max_body_size`).
    pub http_body_size_max: usize,
    /// What stands before all its paths. Default nothing (`management.path_prefix`).
    pub http_path_prefix: String,
    /// What its answers say in Strict-Transport-Security. Default nothing (`management.hsts.policy`).
    pub http_hsts: Option<String>,
    /// What they say in Content-Security-Policy, if not RabbitMQ's default (`management.csp.policy`).
    pub http_csp: Option<String>,
    /// Which rates are told. Default those of each object (`management.rates_mode`).
    pub http_rates: RatesMode,
    /// How long samples are kept. Default RabbitMQ's (`management.sample_retention_policies`).
    pub http_retention: Retention,
    /// How long a login in the UI lasts, in minutes. Default as long as the tab (`management.login_session_timeout`).
    pub http_login_session_minutes: Option<u32>,
    /// Users of the UI log in at a provider. Default they do not (`management.oauth_enabled`).
    pub http_oauth: Option<OAuth>,
    /// The management API takes tokens only, no names with passwords. Default false (`management.disable_basic_auth`).
    pub http_basic_auth_disabled: bool,
    /// Requests are answered without counts and rates. Default false (`management.disable_stats`).
    pub http_disable_stats: bool,
    /// How long a browser remembers which origins may use it, in seconds. Default 1800 (`management.cors.max_age`).
    pub http_cors_max_age_s: u32,
    /// How often it samples numbers. Default 5 s (`collect_statistics_interval`).
    pub statistics_interval: Duration,
    /// Origins whose scripts may use it, `*` for all. Default none (`management.cors.allow_origins`).
    pub http_cors_origins: Vec<String>,
    /// A socket in the file system where whoever runs the broker may use the management API without a login: the broker's
    /// own user and root. Default none; `lepus serve` has `lepus.sock` in the data directory.
    pub local_socket: Option<PathBuf>,
    /// Addresses to tell metrics on, in Prometheus's text format.
    pub prometheus: Vec<String>,
    /// Addresses to tell them on in TLS.
    pub prometheus_https: Vec<String>,
    /// What those show and ask for, if not the same as the others (`prometheus.ssl`).
    pub prometheus_tls: Option<TlsOptions>,
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
    /// Definitions that were the last to be imported are not imported again. Default false
    /// (`definitions.skip_if_unchanged`).
    pub skip_unchanged_definitions: bool,
    /// How passwords are kept (`password_hashing_module`).
    pub password_hashing: HashingAlgorithm,
    /// Which passwords may be set (`credential_validator`).
    pub password_rule: PasswordRule,
    /// Of new vhosts: what a queue is that names no type (`default_queue_type`).
    pub default_queue_type: Option<String>,
    /// Limits of new vhosts; the first that match count (`default_limits.vhosts`).
    pub default_limits: Vec<DefaultLimits>,
    /// Operator policies of new vhosts (`default_policies.operator`).
    pub default_policies: Vec<DefaultPolicy>,
    /// Users who may only connect from the machine itself. Default `guest` (`loopback_users`).
    pub loopback_users: Vec<String>,
    /// Who lets users in and says what they may do. Default the users and permissions of the broker itself
    /// (`auth_backends`).
    pub auth_backends: auth_backends::Options,
    /// Attempts to log in are counted for each address and user. Default false (`track_auth_attempt_source`).
    pub track_login_sources: bool,
    /// Heartbeat interval offered in connection.tune, in seconds; 0 offers none. Default 60 (`heartbeat`).
    pub heartbeat_s: u16,
    /// Largest frame offered in connection.tune, in bytes, its eight bytes of envelope included. Default 131072
    /// (`frame_max`).
    pub frame_size_max: u32,
    /// Largest frame before that is agreed on, in bytes. Default 65536: room for a large token (`initial_frame_max`).
    pub initial_frame_size_max: u32,
    /// Channels per connection offered in connection.tune. Default 2047 (`channel_max`).
    pub channel_max: u16,
    /// Channels of all connections. Default none (`channel_max_per_node`).
    pub channel_max_per_node: Option<u64>,
    /// Time from accept to connection.open-ok. Default 10 s (`handshake_timeout`).
    pub handshake_timeout: Duration,
    /// Time a TLS handshake may take. Default 5 s (`ssl_handshake_timeout`).
    pub tls_handshake_timeout: Duration,
    /// Connections in the handshake at once; the next wait in the listen backlog. Default 4096. One that never speaks
    /// holds its place for `handshake_timeout`.
    pub handshakes_max: usize,
    /// Connections in the handshake at once from one address, or one network of 64 bits of IPv6; the next wait, and
    /// nobody else with them. Default 1024.
    pub handshakes_per_address_max: usize,
    /// What clients may log in by, in the order they are told (`auth_mechanisms`). Default PLAIN and AMQPLAIN. EXTERNAL is
    /// offered only to clients in TLS whose certificate is verified.
    pub mechanisms: Vec<Mechanism>,
    /// Who logs in by ANONYMOUS, and with which password. Default guest and guest (`anonymous_login_user`, `_pass`).
    pub anonymous_login: (String, String),
    /// Consumers of a channel at once. Default none (`consumer_max_per_channel`).
    pub consumer_max_per_channel: Option<u32>,
    /// Largest message body, in bytes. Default 128 MiB, at most 512 MiB (`max_message_size`).
    pub message_size_max: u64,
    /// Resident memory above which publishers are blocked. Default 0.6 of what there is
    /// (`vm_memory_high_watermark`).
    pub memory_high_watermark: Watermark,
    /// The memory that fractions are of, in bytes. Default the machine's, or the control group's limit if that is less
    /// (`total_memory_available_override_value`).
    pub memory_total_bytes: Option<u64>,
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
    /// A declare of a classic queue finds a quorum queue of that name, whatever its flags. Default false
    /// (`quorum_queue.property_equivalence.relaxed_checks_on_redeclaration`).
    pub relaxed_redeclares: bool,
    /// Lanes that queues are spread over. Default: one for each core.
    pub lanes: Option<usize>,
    /// What stands for the node in the management API. Default `rabbit@<hostname>`; without an `@` the host's name is added.
    pub node_name: Option<String>,
    /// Shown to clients as `cluster_name`. Default `rabbit@<hostname>`.
    pub cluster_name: Option<String>,
    /// Lets operators change what is logged. Default none: the log is another's.
    pub log_levels: Option<LogLevels>,
    /// Where the log goes, for operators to know: paths, or `<stderr>`.
    pub log_files: Vec<String>,
    /// What of RabbitMQ's configuration was read, for operators to know.
    pub config_files: Vec<String>,
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
            socket: SocketOptions::default(),
            http: Vec::new(),
            https: Vec::new(),
            http_tls: None,
            http_body_size_max: 20 << 20,
            http_path_prefix: String::new(),
            http_hsts: None,
            http_csp: None,
            http_rates: RatesMode::Basic,
            http_retention: Retention::default(),
            http_login_session_minutes: None,
            http_oauth: None,
            http_basic_auth_disabled: false,
            http_disable_stats: false,
            http_cors_max_age_s: 1800,
            statistics_interval: Duration::from_secs(5),
            http_cors_origins: Vec::new(),
            local_socket: None,
            prometheus: Vec::new(),
            prometheus_https: Vec::new(),
            prometheus_tls: None,
            prometheus_path: "/metrics".to_owned(),
            prometheus_per_object: false,
            tls: None,
            proxy_protocol: false,
            users: Vec::new(),
            vhosts: Vec::new(),
            definitions: Vec::new(),
            skip_unchanged_definitions: false,
            password_hashing: HashingAlgorithm::default(),
            password_rule: PasswordRule::default(),
            default_queue_type: None,
            default_limits: Vec::new(),
            default_policies: Vec::new(),
            loopback_users: vec!["guest".to_owned()],
            auth_backends: auth_backends::Options::default(),
            track_login_sources: false,
            heartbeat_s: 60,
            frame_size_max: 131_072,
            initial_frame_size_max: 65_536,
            channel_max: 2047,
            channel_max_per_node: None,
            handshake_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(5),
            handshakes_max: 4096,
            handshakes_per_address_max: 1024,
            mechanisms: vec![Mechanism::Plain, Mechanism::AmqPlain],
            anonymous_login: ("guest".to_owned(), "guest".to_owned()),
            consumer_max_per_channel: None,
            message_size_max: 128 << 20,
            memory_total_bytes: None,
            memory_high_watermark: Watermark::Fraction(0.6),
            disk_free_limit: Watermark::Bytes(50_000_000),
            connection_max: None,
            consumer_timeout: Duration::from_secs(30 * 60),
            honours_client_deaths: true,
            relaxed_redeclares: false,
            lanes: None,
            node_name: None,
            cluster_name: None,
            log_levels: None,
            log_files: Vec::new(),
            config_files: Vec::new(),
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
