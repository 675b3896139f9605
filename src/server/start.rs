//! From options to a running server.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use super::connections::{Acceptor, Preamble};
use super::error::Error;
use super::options::{Definitions, NewUser, Options, UserPermissions};
use super::storage::{self, Kept, Store};
use super::{Server, Storage, disk, listener, memory, tls};
use crate::amqp;
use crate::auth::{Auth, AuthError, Pattern, Secret};
use crate::broker::{self, Broker};
use crate::management::{self, Management};
use crate::store::SyncMode;

/// RabbitMQ's least frame_max, below which nobody may go.
const FRAME_SIZE_MIN: u32 = 4096;

/// The largest message there can be (FR-7), in bytes.
const MESSAGE_SIZE_CEILING: u64 = 512 << 20;

/// Lanes beyond this many are of no use to anybody.
const LANES_MAX: usize = 64;

/// A listening socket, and what makes its connections TLS.
type Listener = (TcpListener, Option<TlsAcceptor>);

pub(super) async fn start(options: Options) -> Result<Server, Error> {
    check(&options)?;
    // Listening comes first: a port that is taken is the likeliest failure, and nothing must be undone then.
    let mut listeners = Vec::new();
    for address in &options.amqp {
        listeners.extend(listener::bind(address).await?.into_iter().map(|listener| (listener, None)));
    }
    if !options.amqps.is_empty() {
        let tls = tls::acceptor(options.tls.as_ref().ok_or(Error::TlsWithoutCertificate)?)?;
        for address in &options.amqps {
            listeners.extend(listener::bind(address).await?.into_iter().map(|listener| (listener, Some(tls.clone()))));
        }
    }
    let mut http = Vec::new();
    for address in &options.http {
        http.extend(listener::bind(address).await?);
    }
    let mut metrics = Vec::new();
    for address in &options.prometheus {
        metrics.extend(listener::bind(address).await?);
    }
    let (broker, broker_lanes, storage, is_new) = broker(&options).await?;
    let mut lanes = JoinSet::new();
    for lane in broker_lanes {
        lanes.spawn(lane.run());
    }
    let (users, vhosts) = defaults(&options);
    if is_new {
        seed(&users, &vhosts, &broker)?;
    }
    import(&options.definitions, &broker).await?;

    let mut watchers = JoinSet::new();
    match memory::watermark_bytes(options.memory_high_watermark) {
        Some(watermark_bytes) => {
            watchers.spawn(memory::watch(broker.clone(), watermark_bytes));
        }
        None => warn!("the memory of this machine is unknown: the memory alarm is off"),
    }
    let (disk_free_limit, limits) = watch::channel(options.disk_free_limit);
    if let Some(Storage::Directory(path)) = &options.storage {
        let reserve_bytes = storage::reserve_bytes(&options);
        watchers.spawn(disk::watch(broker.clone(), path.clone(), limits, reserve_bytes));
    }
    let (stop, _) = watch::channel(false);
    let (amqps, amqp): (Vec<_>, Vec<_>) = listeners.iter().partition(|(_, tls)| tls.is_some());
    let addrs = |listeners: Vec<&Listener>| listeners.iter().filter_map(|(l, _)| l.local_addr().ok()).collect();
    let (amqp_addrs, amqps_addrs) = (addrs(amqp), addrs(amqps));
    let plain = |listeners: &[TcpListener]| listeners.iter().filter_map(|l| l.local_addr().ok()).collect::<Vec<_>>();
    let (http_addrs, prometheus_addrs) = (plain(&http), plain(&metrics));
    let told = [
        ("amqp", &amqp_addrs),
        ("amqp/ssl", &amqps_addrs),
        ("http", &http_addrs),
        ("http/prometheus", &prometheus_addrs),
    ];
    let data_dir = match &options.storage {
        Some(Storage::Directory(path)) => Some(path.clone()),
        _ => None,
    };
    let disk_free_limit_bytes = Arc::new(AtomicU64::new(0));
    if data_dir.is_some() {
        disk_free_limit_bytes.store(disk::limit_bytes(options.disk_free_limit).unwrap_or_default(), Ordering::Relaxed);
    }
    let management = management::Options {
        node: node_name(),
        cluster_name: options.cluster_name.clone().unwrap_or_else(node_name),
        body_size_max: options.http_body_size_max,
        cors_origins: options.http_cors_origins.clone(),
        statistics_interval: options.statistics_interval,
        memory_limit_bytes: memory::watermark_bytes(options.memory_high_watermark).unwrap_or_default(),
        disk_free_limit_bytes: disk_free_limit_bytes.clone(),
        sync: sync_name(data_dir.is_some().then_some(options.sync)),
        data_dir,
        metrics_path: options.prometheus_path.clone(),
        metrics_per_object: options.prometheus_per_object,
        listeners: told
            .into_iter()
            .flat_map(|(protocol, addrs)| {
                addrs.iter().map(move |address| management::Listener { protocol, address: *address })
            })
            .collect(),
    };
    Ok(Server {
        http: super::http::serve(http, metrics, &Management::new(broker.clone(), management), &stop),
        http_addrs,
        prometheus_addrs,
        disk_free_limit_bytes,
        listeners: accept(listeners, &options, &broker, &stop),
        broker,
        amqp_addrs,
        amqps_addrs,
        uri_parts: uri_parts(users.first(), vhosts.first()),
        stop,
        lanes,
        watchers,
        disk_free_limit,
        storage,
        shutdown_timeout: options.shutdown_timeout,
    })
}

/// As `--sync` has it.
fn sync_name(sync: Option<SyncMode>) -> String {
    match sync {
        None => "in-memory".to_owned(),
        Some(SyncMode::Always) => "always".to_owned(),
        Some(SyncMode::Never) => "never".to_owned(),
        Some(SyncMode::Interval(interval)) => format!("interval:{}", interval.as_millis()),
    }
}

fn check(options: &Options) -> Result<(), Error> {
    if options.storage.is_none() {
        return Err(Error::StorageNotChosen);
    }
    let out_of_range = |option, value: String, expected| Err(Error::OutOfRange { option, value, expected });
    if options.frame_size_max < FRAME_SIZE_MIN {
        return out_of_range("frame_max", options.frame_size_max.to_string(), "at least 4096");
    }
    if options.message_size_max > MESSAGE_SIZE_CEILING {
        return out_of_range("max_message_size", options.message_size_max.to_string(), "at most 536870912");
    }
    if let Some(lanes) = options.lanes.filter(|lanes| !(1..=LANES_MAX).contains(lanes)) {
        return out_of_range("lanes", lanes.to_string(), "from 1 to 64");
    }
    if !(1 << 20..=1 << 30).contains(&options.log_file_bytes) {
        return out_of_range("log_file_bytes", options.log_file_bytes.to_string(), "from 1048576 to 1073741824");
    }
    if options.handshakes_max == 0 {
        return out_of_range("handshakes_max", "0".to_owned(), "at least 1");
    }
    Ok(())
}

/// The broker, its lanes, what it keeps, and whether nothing was there before.
async fn broker(options: &Options) -> Result<(Broker, Vec<broker::Lane>, Option<Store>, bool), Error> {
    let auth = Auth::new();
    auth.set_loopback_users(&options.loopback_users);
    let defaults = broker::Options::default();
    let lanes = options.lanes.and_then(|lanes| u16::try_from(lanes).ok()).unwrap_or(defaults.lanes);
    let broker_options = broker::Options {
        lanes,
        connection_max: options.connection_max.map(u64::from),
        message_memory_bytes: options.message_memory_bytes,
        consumer_timeout: options.consumer_timeout,
        honours_client_deaths: options.honours_client_deaths,
    };
    match &options.storage {
        Some(Storage::Directory(path)) => {
            let Kept { store, broker, lanes, is_new } = storage::open(path, options, broker_options, auth).await?;
            Ok((broker, lanes, Some(store), is_new))
        }
        _ => {
            let (broker, lanes) = Broker::new(broker_options, auth);
            Ok((broker, lanes, None, true))
        }
    }
}

/// The users and vhosts given, or RabbitMQ's defaults if nothing at all was given (US-8, DF-6).
fn defaults(options: &Options) -> (Vec<NewUser>, Vec<String>) {
    let (mut users, mut vhosts) = (options.users.clone(), options.vhosts.clone());
    if options.definitions.is_empty() {
        if users.is_empty() {
            let guest = || "guest".to_owned();
            let tags = vec!["administrator".to_owned()];
            users.push(NewUser { name: guest(), password: guest(), tags, permissions: UserPermissions::default() });
        }
        if vhosts.is_empty() {
            vhosts.push("/".to_owned());
        }
    }
    (users, vhosts)
}

/// Creates them, as RabbitMQ does where nothing is yet.
fn seed(users: &[NewUser], vhosts: &[String], broker: &Broker) -> Result<(), Error> {
    for vhost in vhosts {
        broker.add_vhost(vhost);
    }
    for user in users {
        let failed = |source| Error::User { user: user.name.clone(), source: Box::new(source) };
        let (auth, tags) = (broker.auth(), user.tags.iter().cloned());
        auth.put_user(&user.name, Secret::Password(&user.password), tags).map_err(failed)?;
        let UserPermissions { vhosts: pattern, configure, write, read } = &user.permissions;
        let bad_pattern = |source| failed(AuthError::BadVhostPattern { user: user.name.clone(), source });
        let pattern = Pattern::new(pattern).map_err(bad_pattern)?;
        for vhost in vhosts.iter().filter(|vhost| pattern.matches(vhost)) {
            auth.set_permissions(vhost, &user.name, configure, write, read).map_err(failed)?;
        }
    }
    Ok(())
}

async fn import(definitions: &[Definitions], broker: &Broker) -> Result<(), Error> {
    for definitions in definitions {
        let (origin, json) = match definitions {
            Definitions::Json(json) => (None, json.clone()),
            Definitions::File(path) => {
                let json =
                    fs::read_to_string(path).map_err(|source| Error::DefinitionsRead { path: path.clone(), source })?;
                (Some(path.clone()), json)
            }
        };
        broker.import_definitions(&json).map_err(|source| Error::Definitions { origin, source: Box::new(source) })?;
    }
    Ok(())
}

fn accept(listeners: Vec<Listener>, options: &Options, broker: &Broker, stop: &watch::Sender<bool>) -> JoinSet<()> {
    let amqp_options = Arc::new(amqp::Options {
        frame_max: options.frame_size_max,
        channel_max: options.channel_max,
        heartbeat_s: options.heartbeat_s,
        handshake_timeout: options.handshake_timeout,
        max_message_size: options.message_size_max,
        cluster_name: options.cluster_name.clone().unwrap_or_else(node_name),
        ..amqp::Options::default()
    });
    let handshakes = Arc::new(Semaphore::new(options.handshakes_max.min(Semaphore::MAX_PERMITS)));
    let mut tasks = JoinSet::new();
    for (listener, tls) in listeners {
        let acceptor = Acceptor {
            listener,
            preamble: Preamble { proxy_protocol: options.proxy_protocol, tls },
            broker: broker.clone(),
            options: amqp_options.clone(),
            handshakes: handshakes.clone(),
            stop: stop.subscribe(),
        };
        tasks.spawn(acceptor.run());
    }
    tasks
}

/// The name RabbitMQ would give this node, and a cluster of it alone.
fn node_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("rabbit@{}", host.split('.').next().unwrap_or("localhost"))
}

/// `user:password@` and the vhost, percent-encoded for a URI.
fn uri_parts(user: Option<&NewUser>, vhost: Option<&String>) -> (String, String) {
    let user = user.map(|user| format!("{}:{}@", percent_encoded(&user.name), percent_encoded(&user.password)));
    (user.unwrap_or_default(), percent_encoded(vhost.map_or("/", String::as_str)))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_percent_encoded() {
        let user = NewUser {
            name: "a@b".into(),
            password: "p:/ü".into(),
            tags: vec![],
            permissions: UserPermissions::default(),
        };
        let (user, vhost) = uri_parts(Some(&user), Some(&"my shop/2".to_owned()));
        assert_eq!((user.as_str(), vhost.as_str()), ("a%40b:p%3a%2f%c3%bc@", "my%20shop%2f2"));
        assert_eq!(uri_parts(None, None), (String::new(), "%2f".to_owned()));
    }

    #[test]
    fn options_are_checked() {
        let good = Options { storage: Some(Storage::Memory), ..Options::default() };
        assert!(check(&good).is_ok());
        let bad = [
            Options { storage: None, ..good.clone() },
            Options { frame_size_max: 4095, ..good.clone() },
            Options { message_size_max: (512 << 20) + 1, ..good.clone() },
            Options { lanes: Some(0), ..good.clone() },
            Options { lanes: Some(65), ..good.clone() },
            Options { handshakes_max: 0, ..good },
        ];
        for options in bad {
            assert!(check(&options).is_err(), "{options:?}");
        }
    }
}
