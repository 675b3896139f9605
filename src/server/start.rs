//! From options to a running server.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::connections::{Acceptor, Preamble};
use super::disk::DiskAlarm;
use super::error::Error;
use super::handshakes::Handshakes;
use super::http::Listener;
use super::local::LocalSocket;
use super::memory::MemoryAlarm;
use super::options::{Definitions, NewUser, Options, UserPermissions};
use super::settings::Live;
use super::storage::{self, Kept, Store};
use super::tls::{Tls, TlsOptions};
use super::{Server, Storage, listener, tls};
use crate::amqp;
use crate::auth::{Auth, AuthError, Pattern, Secret};
use crate::auth_backends;
use crate::broker::{self, Broker, NewVhosts};
use crate::management::{self, Management, RatesMode};
use crate::store::SyncMode;

/// RabbitMQ's least frame_max, below which nobody may go.
const FRAME_SIZE_MIN: u32 = 4096;

/// The largest message there can be (FR-7), in bytes.
const MESSAGE_SIZE_CEILING: u64 = 512 << 20;

/// Lanes beyond this many are of no use to anybody.
const LANES_MAX: usize = 64;

pub(super) async fn start(options: Options) -> Result<Server, Error> {
    check(&options)?;
    // Listening comes first: a port that is taken is the likeliest failure, and nothing must be undone then.
    let Listeners { amqp: listeners, http, metrics, tls } = Listeners::bind(&options).await?;
    let (broker, broker_lanes, storage, is_new) = broker(&options).await?;
    // After the data directory is this process's own.
    let local = options.local_socket.as_deref().and_then(LocalSocket::bind);
    let mut lanes = JoinSet::new();
    for lane in broker_lanes {
        lanes.spawn(lane.run());
    }
    broker.track_login_sources(options.track_login_sources);
    let (users, vhosts) = defaults(&options);
    if is_new {
        seed(&users, &vhosts, &broker)?;
    }
    import(&options, &broker).await?;

    let mut watchers = JoinSet::new();
    let settings = Arc::new(settings(&options, &broker));
    watchers.spawn(settings.memory.clone().watch());
    if let Some(disk) = &settings.disk {
        watchers.spawn(disk.clone().watch());
    }
    if !tls.is_empty() {
        watchers.spawn(tls::watch(tls.clone()));
    }
    let (stop, _) = watch::channel(false);
    let (amqp_addrs, amqps_addrs) = addresses(&listeners);
    let (http_addrs, https_addrs) = addresses(&http);
    let (prometheus_addrs, prometheus_https_addrs) = addresses(&metrics);
    let told = [
        ("amqp", &amqp_addrs),
        ("amqp/ssl", &amqps_addrs),
        ("http", &http_addrs),
        ("https", &https_addrs),
        ("http/prometheus", &prometheus_addrs),
        ("https/prometheus", &prometheus_https_addrs),
    ];
    let data_dir = match &options.storage {
        Some(Storage::Directory(path)) => Some(path.clone()),
        _ => None,
    };
    let management = management::Options {
        node: node_name(&options),
        cluster_name: options.cluster_name.clone().unwrap_or_else(|| node_name(&options)),
        body_size_max: options.http_body_size_max,
        path_prefix: options.http_path_prefix.clone(),
        hsts: options.http_hsts.clone(),
        content_security: options.http_csp.clone(),
        cors_origins: options.http_cors_origins.clone(),
        statistics_interval: options.statistics_interval,
        cors_max_age_s: options.http_cors_max_age_s,
        rates: options.http_rates,
        retention: options.http_retention.clone(),
        login_session_minutes: options.http_login_session_minutes,
        oauth: options.http_oauth.clone(),
        basic_auth_disabled: options.http_basic_auth_disabled,
        disable_stats: options.http_disable_stats,
        settings: settings.clone(),
        log_files: options.log_files.clone(),
        config_files: options.config_files.clone(),
        sync: sync_name(data_dir.is_some().then_some(options.sync)),
        data_dir,
        metrics_path: options.prometheus_path.clone(),
        metrics_per_object: options.prometheus_per_object,
        mechanisms: options.mechanisms.clone(),
        listeners: told
            .into_iter()
            .flat_map(|(protocol, addrs)| {
                addrs.iter().map(move |address| management::Listener { protocol, address: *address })
            })
            .collect(),
    };
    let management = Management::new(broker.clone(), management);
    let mut http = super::http::serve(http, metrics, &management, &options, &stop);
    if let Some(local) = local {
        local.spawn(&mut http, &management, &stop);
    }
    Ok(Server {
        http,
        http_addrs,
        https_addrs,
        prometheus_addrs,
        prometheus_https_addrs,
        tls,
        listeners: accept(listeners, &options, &broker, &stop),
        broker,
        amqp_addrs,
        amqps_addrs,
        uri_parts: uri_parts(users.first(), vhosts.first()),
        stop,
        lanes,
        watchers,
        settings,
        storage,
        shutdown_timeout: options.shutdown_timeout,
    })
}

/// What operators may change from then on, as the options have it.
fn settings(options: &Options, broker: &Broker) -> Live {
    let memory_bytes = options.memory_total_bytes;
    let disk = match &options.storage {
        Some(Storage::Directory(path)) => {
            let (path, reserve_bytes) = (path.clone(), storage::reserve_bytes(options));
            let alarm = DiskAlarm::new(broker.clone(), path, options.disk_free_limit, memory_bytes, reserve_bytes);
            Some(Arc::new(alarm))
        }
        _ => None,
    };
    let memory = Arc::new(MemoryAlarm::new(broker.clone(), options.memory_high_watermark, memory_bytes));
    Live { memory, disk, log: options.log_levels.clone() }
}

/// What can be known without starting anything.
pub(super) fn check_all(options: &Options) -> Result<(), Error> {
    check(options)?;
    new_vhosts(options)?;
    let of_http = options.http_tls.as_ref().or(options.tls.as_ref());
    let of_metrics = options.prometheus_tls.as_ref().or(options.tls.as_ref());
    for (addresses, tls) in
        [(&options.amqps, options.tls.as_ref()), (&options.https, of_http), (&options.prometheus_https, of_metrics)]
    {
        if !addresses.is_empty() {
            Tls::open(tls.ok_or(Error::TlsWithoutCertificate)?)?;
        }
    }
    options.definitions.iter().try_for_each(|definitions| match definitions {
        Definitions::File(path) => definition_files(path).map(drop),
        Definitions::Json(_) => Ok(()),
    })
}

/// All listening sockets of a server.
struct Listeners {
    amqp: Vec<Listener>,
    http: Vec<Listener>,
    metrics: Vec<Listener>,
    /// The TLS of all.
    tls: Vec<Arc<Tls>>,
}

impl Listeners {
    async fn bind(options: &Options) -> Result<Self, Error> {
        let mut all = Self { amqp: Vec::new(), http: Vec::new(), metrics: Vec::new(), tls: Vec::new() };
        let amqps = all.tls(&options.amqps, options.tls.as_ref())?;
        // The same settings are the same files, to be read once.
        let of_http = all.tls(&options.https, options.http_tls.as_ref().or(options.tls.as_ref()))?;
        let of_metrics =
            all.tls(&options.prometheus_https, options.prometheus_tls.as_ref().or(options.tls.as_ref()))?;
        all.amqp = bind(options, &options.amqp, &options.amqps, amqps).await?;
        all.http = bind(options, &options.http, &options.https, of_http).await?;
        all.metrics = bind(options, &options.prometheus, &options.prometheus_https, of_metrics).await?;
        Ok(all)
    }

    /// What listeners on these addresses show and ask for; nothing without addresses.
    fn tls(&mut self, addresses: &[String], options: Option<&TlsOptions>) -> Result<Option<Arc<Tls>>, Error> {
        if addresses.is_empty() {
            return Ok(None);
        }
        let options = options.ok_or(Error::TlsWithoutCertificate)?;
        if let Some(same) = self.tls.iter().find(|tls| tls.options() == options) {
            return Ok(Some(same.clone()));
        }
        let tls = Arc::new(Tls::open(options)?);
        self.tls.push(tls.clone());
        Ok(Some(tls))
    }
}

async fn bind(
    options: &Options,
    plain: &[String],
    secured: &[String],
    tls: Option<Arc<Tls>>,
) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for (addresses, tls) in [(plain, None), (secured, tls)] {
        for address in addresses {
            let bound = listener::bind(address, &options.socket).await?;
            listeners.extend(bound.into_iter().map(|listener| (listener, tls.clone())));
        }
    }
    Ok(listeners)
}

/// Where they listen, without TLS and with it.
fn addresses(listeners: &[Listener]) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let of = |secured: bool| {
        let some = listeners.iter().filter(|(_, tls)| tls.is_some() == secured);
        some.filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    };
    (of(false), of(true))
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
    for (option, value) in
        [("handshakes_max", options.handshakes_max), ("handshakes_per_address_max", options.handshakes_per_address_max)]
    {
        if value == 0 {
            return out_of_range(option, "0".to_owned(), "at least 1");
        }
    }
    if options.mechanisms.is_empty() {
        return out_of_range("auth_mechanisms", "empty".to_owned(), "at least one mechanism");
    }
    Ok(())
}

/// The broker, its lanes, what it keeps, and whether nothing was there before.
async fn broker(options: &Options) -> Result<(Broker, Vec<broker::Lane>, Option<Store>, bool), Error> {
    let auth = Auth::new();
    auth.set_loopback_users(&options.loopback_users);
    auth.set_password_rule(options.password_hashing, options.password_rule.clone());
    if !options.auth_backends.is_internal_only() {
        auth.set_authority(Arc::new(auth_backends::Chain::new(&options.auth_backends)?));
    }
    let defaults = broker::Options::default();
    let lanes = options.lanes.and_then(|lanes| u16::try_from(lanes).ok()).unwrap_or(defaults.lanes);
    let broker_options = broker::Options {
        lanes,
        connection_max: options.connection_max.map(u64::from),
        message_memory_bytes: options.message_memory_bytes,
        consumer_timeout: options.consumer_timeout,
        honours_client_deaths: options.honours_client_deaths,
        relaxed_redeclares: options.relaxed_redeclares,
        counts_pairs: options.http_rates == RatesMode::Detailed,
        new_vhosts: new_vhosts(options)?,
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

fn new_vhosts(options: &Options) -> Result<NewVhosts, Error> {
    let failed = |source| Error::NewVhosts { source };
    let mut new = NewVhosts::default();
    new.queue_type = options.default_queue_type.as_deref().map(Into::into);
    options.default_limits.iter().try_for_each(|limits| new.add_limits(limits)).map_err(failed)?;
    options.default_policies.iter().try_for_each(|policy| new.add_policy(policy)).map_err(failed)?;
    Ok(new)
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

async fn import(options: &Options, broker: &Broker) -> Result<(), Error> {
    for definitions in &options.definitions {
        let files = match definitions {
            Definitions::Json(json) => vec![(None, json.clone())],
            Definitions::File(path) => definition_files(path)?,
        };
        for (origin, json) in files {
            let hash = options.skip_unchanged_definitions.then(|| hash_of(&json));
            let name =
                format!("{IMPORTED}{}", origin.as_ref().map(|path| format!(".{}", path.display())).unwrap_or_default());
            if hash.is_some()
                && broker.global_parameters().iter().any(|own| own.name == name && Some(&own.value) == hash.as_ref())
            {
                info!(
                    file = origin.as_ref().map(|path| path.display().to_string()),
                    "definitions are unchanged: not imported"
                );
                continue;
            }
            let failed = |source| Error::Definitions { origin: origin.clone(), source: Box::new(source) };
            broker.import_definitions(&json).map_err(failed)?;
            if let Some(hash) = hash {
                broker.set_global_parameter(&name, hash);
            }
        }
    }
    Ok(())
}

/// The parameter that keeps what was imported last, of each file.
const IMPORTED: &str = "imported_definition_hash_value";

fn hash_of(json: &str) -> serde_json::Value {
    use sha2::Digest as _;
    BASE64.encode(sha2::Sha256::digest(json)).into()
}

/// The file, or of a directory all of its `*.json` in the order of their names.
fn definition_files(path: &Path) -> Result<Vec<(Option<PathBuf>, String)>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::DefinitionsRead { path, source }
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(failed(path))?.collect();
        files = entries.map_err(failed(path))?.into_iter().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
    }
    files.into_iter().map(|file| Ok((Some(file.clone()), fs::read_to_string(&file).map_err(failed(&file))?))).collect()
}

fn accept(listeners: Vec<Listener>, options: &Options, broker: &Broker, stop: &watch::Sender<bool>) -> JoinSet<()> {
    let amqp_options = Arc::new(amqp::Options {
        frame_max: options.frame_size_max,
        channel_max: options.channel_max,
        heartbeat_s: options.heartbeat_s,
        handshake_timeout: options.handshake_timeout,
        max_message_size: options.message_size_max,
        mechanisms: options.mechanisms.clone(),
        anonymous_login: options.anonymous_login.clone(),
        consumer_max_per_channel: options.consumer_max_per_channel,
        channel_max_per_node: options.channel_max_per_node,
        initial_frame_max: options.initial_frame_size_max,
        node: node_name(options),
        cluster_name: options.cluster_name.clone().unwrap_or_else(|| node_name(options)),
        ..amqp::Options::default()
    });
    let handshakes = Arc::new(Handshakes::new(options.handshakes_max, options.handshakes_per_address_max));
    let mut tasks = JoinSet::new();
    for (listener, tls) in listeners {
        let acceptor = Acceptor {
            listener,
            preamble: Preamble {
                proxy_protocol: options.proxy_protocol,
                tls,
                tls_timeout: options.tls_handshake_timeout,
            },
            socket: options.socket,
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
fn node_name(options: &Options) -> String {
    let name = options.node_name.as_deref().unwrap_or("rabbit");
    if name.contains('@') {
        return name.to_owned();
    }
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("{name}@{}", host.split('.').next().unwrap_or("localhost"))
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
            Options { handshakes_max: 0, ..good.clone() },
            Options { handshakes_per_address_max: 0, ..good.clone() },
            Options { mechanisms: vec![], ..good },
        ];
        for options in bad {
            assert!(check(&options).is_err(), "{options:?}");
        }
    }
}
