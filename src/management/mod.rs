//! The management HTTP API: RabbitMQ's paths, methods, status codes and JSON, for tools that speak to port 15672, and
//! the UI that shows it in a browser.
//!
//! It reads what the broker tells and changes it through the same doors as AMQP clients do, so that permissions, limits
//! and texts are the same. It can never slow traffic: counts come by messages to the lanes, a few queues at a time. It
//! knows no sockets: [`serve`] is handed a stream. Start reading at `routes.rs`, the table of all paths.

mod access;
mod api;
mod assets;
mod body;
mod cache;
mod call;
mod histories;
mod history;
mod http;
mod list;
mod machine;
mod names;
mod oauth;
mod pair_rates;
mod prometheus;
mod ranges;
mod rates;
mod record;
mod reply;
mod retention;
mod routes;
mod series;
mod settings;
#[cfg(test)]
mod tests;
mod visit;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use crate::auth::Mechanism;
use crate::broker::Broker;

pub(crate) use self::call::decoded as percent_decoded;
pub use self::http::{serve, serve_operator};
pub(crate) use self::names::percent_encoded;
pub use self::oauth::{LogonType, OAuth, WebAddress};
pub use self::prometheus::serve as serve_metrics;
pub use self::retention::{Policy, Retention};
pub use self::settings::{NoSettings, SettingError, Settings};

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// `rabbit@host`: what stands for the node wherever RabbitMQ has one.
    pub node: String,
    /// The cluster's name, unless the global parameter `cluster_name` says another.
    pub cluster_name: String,
    /// Largest body of a request, in bytes (`management.http.max_body_size`).
    pub body_size_max: usize,
    /// What stands before all paths; nothing, or begins with a slash (`management.path_prefix`).
    pub path_prefix: String,
    /// The header Strict-Transport-Security (`management.hsts.policy`).
    pub hsts: Option<String>,
    /// The header Content-Security-Policy, if not RabbitMQ's default (`management.csp.policy`).
    pub content_security: Option<String>,
    /// How long a browser remembers whose scripts may use the API, in seconds (`management.cors.max_age`).
    pub cors_max_age_s: u32,
    /// Origins whose scripts may use the API, `*` for all (`management.cors.allow_origins`).
    pub cors_origins: Vec<String>,
    /// How often numbers are sampled (`collect_statistics_interval`).
    pub statistics_interval: Duration,
    /// What operators may change while the broker runs.
    pub settings: Arc<dyn Settings>,
    /// Where messages are kept; `None`: in memory only.
    pub data_dir: Option<PathBuf>,
    /// Where the log goes: paths, or `<stderr>`; empty: a program that the broker is a part of knows.
    pub log_files: Vec<String>,
    /// What of RabbitMQ's configuration was read.
    pub config_files: Vec<String>,
    /// When a message is confirmed: `always`, `interval:MS`, `never`, or `in-memory` (`--sync`).
    pub sync: String,
    /// What is sampled for rates.
    pub rates: RatesMode,
    /// How long samples are kept (`management.sample_retention_policies`).
    pub retention: Retention,
    /// How long a login in the UI lasts, in minutes (`management.login_session_timeout`).
    pub login_session_minutes: Option<u32>,
    /// Users of the UI log in at a provider (`management.oauth_enabled`).
    pub oauth: Option<OAuth>,
    /// Names with passwords are not taken, tokens only (`management.disable_basic_auth`).
    pub basic_auth_disabled: bool,
    /// Requests are answered as with `disable_stats=true` (`management.disable_stats`).
    pub disable_stats: bool,
    /// What clients of AMQP may log in by.
    pub mechanisms: Vec<Mechanism>,
    /// Who listens where; what clients can reach.
    pub listeners: Vec<Listener>,
    /// `/metrics`: where metrics are found (`prometheus.path`).
    pub metrics_path: String,
    /// There they are told of each object (`prometheus.return_per_object_metrics`).
    pub metrics_per_object: bool,
}

/// Which rates there are (`management.rates_mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RatesMode {
    /// None: nothing is sampled.
    None,
    /// Those of each object.
    #[default]
    Basic,
    /// Those of pairs of objects, too: a channel and an exchange, a channel and a queue, an exchange and a queue.
    Detailed,
}

impl RatesMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Detailed => "detailed",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: "rabbit@localhost".to_owned(),
            cluster_name: "rabbit@localhost".to_owned(),
            body_size_max: BODY_SIZE_MAX,
            path_prefix: String::new(),
            hsts: None,
            content_security: None,
            cors_max_age_s: 1800,
            cors_origins: Vec::new(),
            statistics_interval: Duration::from_secs(5),
            settings: Arc::new(NoSettings),
            data_dir: None,
            log_files: Vec::new(),
            config_files: Vec::new(),
            sync: "in-memory".to_owned(),
            rates: RatesMode::Basic,
            retention: Retention::default(),
            login_session_minutes: None,
            oauth: None,
            basic_auth_disabled: false,
            disable_stats: false,
            mechanisms: Vec::new(),
            listeners: Vec::new(),
            metrics_path: METRICS_PATH.to_owned(),
            metrics_per_object: false,
        }
    }
}

/// RabbitMQ's default.
const METRICS_PATH: &str = "/metrics";

/// RabbitMQ's default, in bytes.
const BODY_SIZE_MAX: usize = 20 << 20;

/// A listening socket, as `/api/overview` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// `amqp`, `amqp/ssl`, `http`, `https`, `http/prometheus` or `https/prometheus`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
}

/// What all requests share. A cheap handle.
#[derive(Clone, Debug)]
pub struct Management(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    broker: Broker,
    options: Options,
    started: SystemTime,
    rates: rates::Rates,
    cache: cache::Cache,
    /// Requests with credentials, and those of them that were refused.
    logins: AtomicU64,
    logins_refused: AtomicU64,
    /// What they, and those of AMQP, were when they were last reset.
    logins_before: Mutex<[(u64, u64); 2]>,
    /// One scrape at a time.
    scrape: Semaphore,
}

impl Management {
    /// An API for this broker.
    pub fn new(broker: Broker, options: Options) -> Self {
        let rates = rates::Rates::new(options.retention.clone(), options.rates);
        Self(Arc::new(Shared {
            broker,
            options,
            started: SystemTime::now(),
            rates,
            cache: cache::Cache::default(),
            logins: AtomicU64::new(0),
            logins_refused: AtomicU64::new(0),
            logins_before: Mutex::default(),
            scrape: Semaphore::new(1),
        }))
    }

    fn broker(&self) -> &Broker {
        &self.0.broker
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    /// What stands for it in answers.
    fn rates_mode(&self) -> &'static str {
        self.0.options.rates.as_str()
    }

    fn node(&self) -> &str {
        &self.0.options.node
    }

    fn cache(&self) -> &cache::Cache {
        &self.0.cache
    }

    fn settings(&self) -> &dyn Settings {
        &*self.options().settings
    }

    /// Resident memory above which publishers are blocked, in bytes; 0: unknown.
    fn memory_limit(&self) -> u64 {
        self.settings().memory_limit_bytes().unwrap_or_default()
    }

    /// Free disk space below which publishers are blocked, in bytes; 0: they are not.
    fn disk_free_limit(&self) -> u64 {
        self.settings().disk_free_limit_bytes().unwrap_or_default()
    }

    fn machine(&self) -> machine::Machine {
        machine::Machine::look_at(self.options().data_dir.as_deref())
    }

    fn count_login(&self, succeeded: bool) {
        self.0.logins.fetch_add(1, Ordering::Relaxed);
        self.0.logins_refused.fetch_add(u64::from(!succeeded), Ordering::Relaxed);
    }

    /// Logins of each protocol since they were last reset: all, and those refused.
    fn logins(&self) -> [(&'static str, u64, u64); 2] {
        let before = *self.0.logins_before.lock().unwrap_or_else(PoisonError::into_inner);
        let mut logins = self.all_logins();
        for ((_, all, refused), (all_before, refused_before)) in logins.iter_mut().zip(before) {
            *all = all.saturating_sub(all_before);
            *refused = refused.saturating_sub(refused_before);
        }
        logins
    }

    /// Logins of each protocol since the start: all, and those refused.
    fn all_logins(&self) -> [(&'static str, u64, u64); 2] {
        let totals = self.broker().totals();
        let own = (self.0.logins.load(Ordering::Relaxed), self.0.logins_refused.load(Ordering::Relaxed));
        [("http", own.0, own.1), ("amqp091", totals.logins, totals.logins_refused)]
    }

    fn reset_logins(&self) {
        self.broker().forget_login_sources();
        let now = self.all_logins().map(|(_, all, refused)| (all, refused));
        *self.0.logins_before.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Milliseconds since it started.
    fn uptime_ms(&self) -> u64 {
        let uptime = self.0.started.elapsed().unwrap_or_default();
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }
}
