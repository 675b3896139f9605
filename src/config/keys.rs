//! What the keys of `rabbitmq.conf` mean here. A key that RabbitMQ knows and Lepus has no use for is passed over with
//! a warning, so that the file of a running RabbitMQ can be taken as it is; a key that nobody knows is an error.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::conf::Setting;
use super::error::Error;
use super::quantity;
use crate::server::{Definitions, NewUser, Options, UserPermissions, Watermark};

/// What the settings of files come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One line for each key without an effect here.
    pub warnings: Vec<String>,
    /// `log.console.level` or `log.default.level`, in this process's words.
    pub log_level: Option<&'static str>,
    /// `log.exchange`: lines of the log go to `amq.rabbitmq.log`.
    pub log_exchange: bool,
}

/// Keys that do something. `*` stands for one word.
const KEYS: &[&str] = &[
    "listeners.tcp.default",
    "listeners.tcp.*",
    "listeners.ssl.default",
    "listeners.ssl.*",
    "ssl_options.certfile",
    "ssl_options.keyfile",
    "ssl_options.cacertfile",
    "ssl_options.verify",
    "ssl_options.fail_if_no_peer_cert",
    "default_user",
    "default_pass",
    "default_vhost",
    "default_user_tags.*",
    "default_permissions.configure",
    "default_permissions.read",
    "default_permissions.write",
    "default_users.*.password",
    "default_users.*.tags",
    "default_users.*.vhost_pattern",
    "default_users.*.configure",
    "default_users.*.read",
    "default_users.*.write",
    "loopback_users",
    "loopback_users.*",
    "proxy_protocol",
    "heartbeat",
    "frame_max",
    "channel_max",
    "connection_max",
    "max_connections",
    "max_message_size",
    "handshake_timeout",
    "consumer_timeout",
    "cluster_name",
    "vm_memory_high_watermark.relative",
    "vm_memory_high_watermark.absolute",
    "disk_free_limit.relative",
    "disk_free_limit.absolute",
    "load_definitions",
    "collect_statistics_interval",
    "management.cors.allow_origins.*",
    "management.http.max_body_size",
    "management.listener.ip",
    "management.listener.port",
    "management.load_definitions",
    "management.tcp.ip",
    "management.tcp.port",
    "prometheus.path",
    "prometheus.return_per_object_metrics",
    "prometheus.tcp.ip",
    "prometheus.tcp.port",
    "definitions.import_backend",
    "definitions.local.path",
    "log.console.level",
    "log.default.level",
    "log.exchange",
];

/// Keys of RabbitMQ without an effect here. `*` stands for one word, `**` at the end for one or more.
const IGNORED: &[&str] = &[
    "advanced.**",
    "anonymous_login_user",
    "anonymous_login_pass",
    "auth_backends.**",
    "auth_cache.**",
    "auth_http.**",
    "auth_ldap.**",
    "auth_mechanisms.**",
    "auth_oauth2.**",
    "background_gc_enabled",
    "background_gc_target_interval",
    "channel_max_per_node",
    "channel_operation_timeout",
    "channel_tick_interval",
    "classic_queue.**",
    "cluster_formation.**",
    "cluster_keepalive_interval",
    "cluster_partition_handling",
    "cluster_partition_handling.**",
    "cluster_queue_limit",
    "cluster_tags.**",
    "collect_statistics",
    "consumer_max_per_channel",
    "credential_validator.**",
    "credit_flow_default_credit",
    "default_limits.**",
    "default_policies.**",
    "default_queue_type",
    "definitions.**",
    "delegate_count",
    "deprecated_features.**",
    "distribution.**",
    "exchange_max",
    "heartbeat_timeout",
    "initial_frame_max",
    "kernel.**",
    "limit_policies.**",
    "listeners.ssl",
    "listeners.tcp",
    "lazy_queue_explicit_gc_run_operation_threshold",
    "log.**",
    "management.**",
    "management_agent.**",
    "max_channels",
    "memory_monitor_interval",
    "message_interceptors.**",
    "message_store_shutdown_timeout",
    "metadata_store.**",
    "mirroring_flow_control",
    "mirroring_sync_batch_size",
    "mnesia_table_loading_retry_limit",
    "mnesia_table_loading_retry_timeout",
    "motd_file",
    "mqtt.**",
    "msg_store_credit_disc_bound.**",
    "msg_store_file_size_limit",
    "msg_store_index_module",
    "net_ticktime",
    "node_tags.**",
    "num_acceptors.**",
    "oauth2.**",
    "password_hashing_module",
    "product.**",
    "prometheus.**",
    "queue_index_embed_msgs_below",
    "queue_index_max_journal_entries",
    "queue_leader_locator",
    "queue_master_locator",
    "quorum_commands_soft_limit",
    "quorum_membership_reconciliation_auto_remove",
    "quorum_membership_reconciliation_enabled",
    "quorum_queue.**",
    "raft.**",
    "reverse_dns_lookups",
    "session_max_per_connection",
    "shovel.**",
    "socket_writer.**",
    "ssl_allow_poodle_attack",
    "ssl_cert_login_from",
    "ssl_handshake_timeout",
    "ssl_options",
    "ssl_options.**",
    "stomp.**",
    "stream.**",
    "stream_replication.**",
    "sysmon_handler.**",
    "tcp_listen_options",
    "tcp_listen_options.**",
    "total_memory_available_override_value",
    "track_auth_attempt_source",
    "trace_vhosts",
    "tracing.**",
    "vhost_max",
    "vhost_restart_strategy",
    "vm_memory_calculation_strategy",
    "vm_memory_high_watermark_paging_ratio",
    "web_mqtt.**",
    "web_stomp.**",
];

/// Sets in `options` what the settings say. Of several of one key the last counts.
///
/// # Errors
/// A key that is not RabbitMQ's, or a value that is not the key's.
pub fn apply(options: &mut Options, settings: &[Setting]) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    let mut latest: BTreeMap<&str, &Setting> = BTreeMap::new();
    for setting in settings {
        if KEYS.iter().any(|pattern| matches(pattern, &setting.key)) {
            latest.insert(&setting.key, setting);
        } else if IGNORED.iter().any(|pattern| matches(pattern, &setting.key)) {
            applied.warnings.push(format!("{}: {} has no effect here", setting.place, setting.key));
        } else {
            let (place, key) = (setting.place.clone(), setting.key.clone());
            return Err(Error::UnknownKey { nearest: nearest(&key), place, key });
        }
    }
    let settings = Settings(latest);
    listeners(options, &settings)?;
    management(options, &settings)?;
    prometheus(options, &settings)?;
    tls(options, &settings)?;
    limits(options, &settings)?;
    users(options, &settings)?;
    if let Some(path) = settings.get("load_definitions").or(settings.get("management.load_definitions")) {
        options.definitions.push(Definitions::File(path.value.as_str().into()));
    }
    if let Some(path) = settings.get("definitions.local.path") {
        options.definitions.push(Definitions::File(path.value.as_str().into()));
    }
    if let Some(backend) = settings.get("definitions.import_backend")
        && backend.value != "local_filesystem"
    {
        return Err(wrong(backend, "local_filesystem"));
    }
    if let Some(setting) = settings.get("log.exchange") {
        applied.log_exchange = flag(setting)?;
    }
    applied.log_level = match settings.get("log.console.level").or(settings.get("log.default.level")) {
        Some(level) => Some(log_level(level)?),
        None => None,
    };
    Ok(applied)
}

/// The last setting of each key.
struct Settings<'a>(BTreeMap<&'a str, &'a Setting>);

impl<'a> Settings<'a> {
    fn get(&self, key: &str) -> Option<&'a Setting> {
        self.0.get(key).copied()
    }

    /// The settings whose keys begin so, with the rest of the key.
    fn below(&self, prefix: &'static str) -> impl Iterator<Item = (&'a str, &'a Setting)> {
        self.0.iter().filter_map(move |(key, setting)| Some((key.strip_prefix(prefix)?, *setting)))
    }

    fn number<T: TryFrom<u64>>(&self, key: &str, expected: &'static str) -> Result<Option<T>, Error> {
        let Some(setting) = self.get(key) else { return Ok(None) };
        let number = setting.value.parse().ok().and_then(|n: u64| T::try_from(n).ok());
        number.map(Some).ok_or_else(|| wrong(setting, expected))
    }

    fn bytes<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(setting) = self.get(key) else { return Ok(None) };
        let bytes = quantity::bytes(&setting.value).and_then(|n| T::try_from(n).ok());
        bytes.map(Some).ok_or_else(|| wrong(setting, "a number of bytes, such as 131072 or 16MiB"))
    }
}

fn wrong(setting: &Setting, expected: &'static str) -> Error {
    let name = format!("{}: {}", setting.place, setting.key);
    Error::Value { setting: name, value: setting.value.clone(), expected }
}

fn flag(setting: &Setting) -> Result<bool, Error> {
    match setting.value.as_str() {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err(wrong(setting, "true or false")),
    }
}

fn listeners(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let tcp = addresses(settings, "listeners.tcp.")?;
    if !tcp.is_empty() {
        options.amqp = tcp;
    }
    options.amqps.extend(addresses(settings, "listeners.ssl.")?);
    if let Some(setting) = settings.get("proxy_protocol") {
        options.proxy_protocol = flag(setting)?;
    }
    Ok(())
}

fn addresses(settings: &Settings<'_>, prefix: &'static str) -> Result<Vec<String>, Error> {
    let mut addresses = Vec::new();
    for (_, setting) in settings.below(prefix) {
        let is_port = setting.value.parse::<u16>().is_ok();
        match setting.value.rsplit_once(':') {
            _ if is_port => addresses.push(setting.value.clone()),
            Some((ip, port)) if port.parse::<u16>().is_ok() => {
                // An IPv6 address may stand without its brackets.
                let is_bare = ip.contains(':') && !ip.starts_with('[');
                addresses.push(if is_bare { format!("[{ip}]:{port}") } else { setting.value.clone() });
            }
            _ => return Err(wrong(setting, "a port, or an address and a port such as 127.0.0.1:5672")),
        }
    }
    Ok(addresses)
}

/// The older name of the listener is `management.listener`. Without a port it listens nowhere: RabbitMQ's default, 15672,
/// comes with its plugin.
fn management(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    for listener in ["management.tcp", "management.listener"] {
        options.http.extend(http_address(settings, listener)?);
    }
    options.http_cors_origins.extend(settings.below("management.cors.allow_origins.").map(|(_, s)| s.value.clone()));
    set(&mut options.http_body_size_max, settings.bytes("management.http.max_body_size")?);
    let interval_ms: Option<NonZeroU64> = settings.number("collect_statistics_interval", "a number of ms")?;
    set(&mut options.statistics_interval, interval_ms.map(|ms| Duration::from_millis(ms.get())));
    Ok(())
}

fn http_address(settings: &Settings<'_>, listener: &str) -> Result<Option<String>, Error> {
    let port: Option<u16> = settings.number(&format!("{listener}.port"), "a port")?;
    let Some(port) = port else { return Ok(None) };
    Ok(Some(match settings.get(&format!("{listener}.ip")) {
        None => port.to_string(),
        Some(ip) if ip.value.contains(':') && !ip.value.starts_with('[') => format!("[{}]:{port}", ip.value),
        Some(ip) => format!("{}:{port}", ip.value),
    }))
}

/// As the management API's: without a port nothing is told.
fn prometheus(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    options.prometheus.extend(http_address(settings, "prometheus.tcp")?);
    if let Some(path) = settings.get("prometheus.path") {
        options.prometheus_path = path.value.clone();
    }
    if let Some(setting) = settings.get("prometheus.return_per_object_metrics") {
        options.prometheus_per_object = flag(setting)?;
    }
    Ok(())
}

fn tls(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    if settings.below("ssl_options.").next().is_none() {
        return Ok(());
    }
    let path = |key: &str| settings.get(key).map(|setting| setting.value.as_str().into());
    let tls = options.tls.get_or_insert_default();
    set(&mut tls.certificates, path("ssl_options.certfile"));
    set(&mut tls.key, path("ssl_options.keyfile"));
    tls.authorities = path("ssl_options.cacertfile").or(tls.authorities.take());
    if let Some(setting) = settings.get("ssl_options.verify") {
        tls.verify_peer = match setting.value.as_str() {
            "verify_peer" => true,
            "verify_none" => false,
            _ => return Err(wrong(setting, "verify_peer or verify_none")),
        };
    }
    if let Some(setting) = settings.get("ssl_options.fail_if_no_peer_cert") {
        tls.fail_if_no_peer_cert = flag(setting)?;
    }
    Ok(())
}

fn limits(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    set(&mut options.heartbeat_s, settings.number("heartbeat", "seconds, up to 65535")?);
    set(&mut options.frame_size_max, settings.bytes("frame_max")?);
    set(&mut options.channel_max, settings.number("channel_max", "a number up to 65535")?);
    set(&mut options.message_size_max, settings.bytes("max_message_size")?);
    let timeout_ms = settings.number("handshake_timeout", "a number of milliseconds")?;
    set(&mut options.handshake_timeout, timeout_ms.map(Duration::from_millis));
    if let Some(ms) = settings.number::<NonZeroU64>("consumer_timeout", "a number of milliseconds above 0")? {
        options.consumer_timeout = Duration::from_millis(ms.get());
    }
    for key in ["connection_max", "max_connections"] {
        match settings.get(key) {
            Some(setting) if setting.value == "infinity" => options.connection_max = None,
            Some(_) => options.connection_max = settings.number(key, "a number, or infinity")?,
            None => {}
        }
    }
    if let Some(name) = settings.get("cluster_name") {
        options.cluster_name = Some(name.value.clone());
    }
    for key in ["vm_memory_high_watermark.relative", "vm_memory_high_watermark.absolute"] {
        if let Some(setting) = settings.get(key) {
            let watermark = quantity::watermark(&setting.value);
            options.memory_high_watermark =
                watermark.ok_or_else(|| wrong(setting, "a fraction such as 0.6, or bytes such as 2GB"))?;
        }
    }
    if let Some(setting) = settings.get("disk_free_limit.relative") {
        let fraction = quantity::fraction(&setting.value);
        let fraction = fraction.ok_or_else(|| wrong(setting, "a fraction of memory such as 1.5"))?;
        options.disk_free_limit = Watermark::Fraction(fraction);
    }
    if let Some(setting) = settings.get("disk_free_limit.absolute") {
        let bytes = quantity::bytes(&setting.value).ok_or_else(|| wrong(setting, "bytes such as 2GB"))?;
        options.disk_free_limit = Watermark::Bytes(bytes);
    }
    Ok(())
}

fn set<T>(option: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *option = value;
    }
}

fn users(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let text = |key: &str| settings.get(key).map(|setting| setting.value.clone());
    if let Some(vhost) = text("default_vhost") {
        options.vhosts = vec![vhost];
    }
    let mut tags = Vec::new();
    for (tag, setting) in settings.below("default_user_tags.") {
        if flag(setting)? {
            tags.push(tag.to_owned());
        }
    }
    let default_keys = ["default_user", "default_pass", "default_user_tags.", "default_permissions."];
    if default_keys.iter().any(|key| settings.0.keys().any(|known| known.starts_with(key))) {
        let default = UserPermissions::default();
        let right = |key, default| text(key).unwrap_or(default);
        options.users = vec![NewUser {
            name: text("default_user").unwrap_or_else(|| "guest".into()),
            password: text("default_pass").unwrap_or_else(|| "guest".into()),
            tags: if tags.is_empty() { vec!["administrator".into()] } else { tags },
            permissions: UserPermissions {
                vhosts: default.vhosts,
                configure: right("default_permissions.configure", default.configure),
                write: right("default_permissions.write", default.write),
                read: right("default_permissions.read", default.read),
            },
        }];
    }
    more_users(options, settings);
    for (user, setting) in settings.below("loopback_users.") {
        options.loopback_users.retain(|known| known != user);
        if flag(setting)? {
            options.loopback_users.push(user.to_owned());
        }
    }
    match settings.get("loopback_users") {
        Some(setting) if setting.value == "none" => options.loopback_users.clear(),
        Some(setting) => return Err(wrong(setting, "none")),
        None => {}
    }
    Ok(())
}

/// `default_users.NAME.password` and what belongs to it.
fn more_users(options: &mut Options, settings: &Settings<'_>) {
    let mut users: BTreeMap<&str, NewUser> = BTreeMap::new();
    for (rest, setting) in settings.below("default_users.") {
        let Some((name, field)) = rest.split_once('.') else { continue };
        let user = users.entry(name).or_insert_with(|| NewUser {
            name: name.to_owned(),
            password: String::new(),
            tags: Vec::new(),
            permissions: UserPermissions::default(),
        });
        let value = setting.value.clone();
        match field {
            "password" => user.password = value,
            "tags" => user.tags = value.split([',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            "vhost_pattern" => user.permissions.vhosts = value,
            "configure" => user.permissions.configure = value,
            "read" => user.permissions.read = value,
            _ => user.permissions.write = value,
        }
    }
    options.users.extend(users.into_values());
}

fn log_level(setting: &Setting) -> Result<&'static str, Error> {
    match setting.value.as_str() {
        "debug" => Ok("debug"),
        "info" => Ok("info"),
        "warning" => Ok("warn"),
        "error" | "critical" => Ok("error"),
        "none" => Ok("off"),
        _ => Err(wrong(setting, "debug, info, warning, error, critical or none")),
    }
}

/// Whether a key is one that the pattern stands for.
fn matches(pattern: &str, key: &str) -> bool {
    let mut words = key.split('.');
    for part in pattern.split('.') {
        match (part, words.next()) {
            ("**", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(word)) if part == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

/// The known key most like this one, if any is much like it.
fn nearest(key: &str) -> Option<&'static str> {
    let all = KEYS.iter().chain(IGNORED).map(|known| (strsim::jaro_winkler(known, key), *known));
    let (likeness, known) = all.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness > 0.85).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::conf;
    use crate::server::TlsOptions;

    fn apply_text(text: &str) -> Result<(Options, Applied), String> {
        let settings = conf::parse(text, "f", |_| None).map_err(|error| error.to_string())?;
        let mut options = Options::default();
        let applied = apply(&mut options, &settings).map_err(|error| error.to_string())?;
        Ok((options, applied))
    }

    /// FEATURES 4.6, FL-5.
    #[test]
    fn keys_reach_the_options() {
        let (options, applied) = apply_text(
            "listeners.tcp.default = 5673\nlisteners.tcp.local = ::1:5674\nheartbeat = 20\nframe_max = 262144\n\
             channel_max = 100\nmax_connections = 5\nmax_message_size = 16777216\nhandshake_timeout = 20000\n\
             consumer_timeout = 3600000\n\
             vm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.relative = 1.5\ncluster_name = hares\nload_definitions = /d.json\n\
             log.console.level = warning\nheartbeat = 30",
        )
        .unwrap();
        assert_eq!(options.amqp, ["5673", "[::1]:5674"]);
        assert_eq!((options.heartbeat_s, options.frame_size_max, options.channel_max), (30, 262_144, 100));
        assert_eq!((options.connection_max, options.message_size_max), (Some(5), 16 << 20));
        assert_eq!(options.handshake_timeout, Duration::from_secs(20));
        assert_eq!(options.consumer_timeout, Duration::from_secs(3600));
        assert_eq!(options.memory_high_watermark, Watermark::Bytes(2_000_000_000));
        assert_eq!(options.disk_free_limit, Watermark::Fraction(1.5));
        let (options_absolute, _) = apply_text("disk_free_limit.absolute = 1GB").unwrap();
        assert_eq!(options_absolute.disk_free_limit, Watermark::Bytes(1_000_000_000));
        assert!(apply_text("disk_free_limit.relative = -1").is_err());
        assert_eq!(options.cluster_name.as_deref(), Some("hares"));
        assert_eq!(options.definitions, [Definitions::File("/d.json".into())]);
        assert_eq!((applied.log_level, applied.warnings.len()), (Some("warn"), 0));
    }

    /// FEATURES 4.6.
    #[test]
    fn management_listens_where_it_is_told() {
        let (options, _) = apply_text(
            "management.tcp.port = 15672\nmanagement.tcp.ip = ::1\nmanagement.listener.port = 15673\n\
             management.cors.allow_origins.1 = http://a\nmanagement.http.max_body_size = 1000",
        )
        .unwrap();
        assert_eq!(options.http, ["[::1]:15672", "15673"]);
        assert_eq!((options.http_cors_origins, options.http_body_size_max), (vec!["http://a".to_owned()], 1000));
        assert!(apply_text("").unwrap().0.http.is_empty());
    }

    /// FEATURES 4.6.
    #[test]
    fn metrics_are_told_where_it_is_said() {
        let text = "prometheus.tcp.port = 15692\nprometheus.tcp.ip = 127.0.0.1\nprometheus.path = /m\n\
                    prometheus.return_per_object_metrics = true";
        let (options, applied) = apply_text(text).unwrap();
        assert_eq!((&options.prometheus[..], applied.warnings.len()), (&["127.0.0.1:15692".to_owned()][..], 0));
        assert_eq!((options.prometheus_path.as_str(), options.prometheus_per_object), ("/m", true));
        assert!(apply_text("").unwrap().0.prometheus.is_empty());
    }

    /// FEATURES 4.6, 5.9.
    #[test]
    fn tls_is_ssl_options() {
        let (options, _) = apply_text(
            "listeners.ssl.default = 5671\nssl_options.certfile = /c.pem\nssl_options.keyfile = /k.pem\n\
             ssl_options.cacertfile = /ca.pem\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true",
        )
        .unwrap();
        let expected = TlsOptions {
            certificates: "/c.pem".into(),
            key: "/k.pem".into(),
            authorities: Some("/ca.pem".into()),
            verify_peer: true,
            fail_if_no_peer_cert: true,
        };
        assert_eq!((options.amqps, options.tls), (vec!["5671".into()], Some(expected)));
        assert!(apply_text("ssl_options.verify = maybe").is_err());
    }

    /// FEATURES US-8, 4.6.
    #[test]
    fn users_and_where_they_may_come_from() {
        let (options, _) = apply_text(
            "default_user = app\ndefault_pass = secret\ndefault_vhost = shop\ndefault_user_tags.monitoring = true\n\
             default_user_tags.administrator = false\ndefault_permissions.write = ^a\nloopback_users.guest = false\n\
             loopback_users.root = true\ndefault_users.eve.password = x\ndefault_users.eve.tags = a, b\n\
             default_users.eve.vhost_pattern = ^shop$\ndefault_users.eve.read = r",
        )
        .unwrap();
        let [app, eve] = &options.users[..] else { panic!("{:?}", options.users) };
        assert_eq!(
            (app.name.as_str(), app.password.as_str(), &app.tags[..]),
            ("app", "secret", &["monitoring".into()][..])
        );
        assert_eq!((app.permissions.write.as_str(), app.permissions.read.as_str()), ("^a", ".*"));
        assert_eq!(
            (eve.name.as_str(), eve.tags.join("+"), eve.permissions.vhosts.as_str()),
            ("eve", "a+b".into(), "^shop$")
        );
        assert_eq!(eve.permissions.read, "r");
        assert_eq!(options.vhosts, ["shop"]);
        assert_eq!(options.loopback_users, ["root"]);
        assert!(apply_text("loopback_users = none").unwrap().0.loopback_users.is_empty());
    }

    #[test]
    fn what_has_no_effect_is_told_and_what_nobody_knows_is_refused() {
        let (_, applied) = apply_text("cluster_formation.peer_discovery_backend = dns\nmqtt.vhost = /").unwrap();
        assert_eq!(
            applied.warnings,
            ["f:1: cluster_formation.peer_discovery_backend has no effect here", "f:2: mqtt.vhost has no effect here"]
        );
        let errors = [
            ("hartbeat = 3", "f:1: unknown key 'hartbeat', did you mean 'heartbeat'?"),
            ("zzz = 3", "f:1: unknown key 'zzz'"),
            ("default_pas = x", "f:1: unknown key 'default_pas', did you mean 'default_pass'?"),
            ("heartbeat = soon", "f:1: heartbeat is 'soon', but must be seconds, up to 65535"),
            ("consumer_timeout = 0", "f:1: consumer_timeout is '0', but must be a number of milliseconds above 0"),
            ("heartbeat = 65536", "f:1: heartbeat is '65536', but must be seconds, up to 65535"),
            ("loopback_users = all", "f:1: loopback_users is 'all', but must be none"),
            ("loopback_users.guest = 1", "f:1: loopback_users.guest is '1', but must be true or false"),
            (
                "listeners.tcp.1 = here",
                "f:1: listeners.tcp.1 is 'here', but must be a port, or an address and a port such as 127.0.0.1:5672",
            ),
        ];
        for (text, error) in errors {
            assert_eq!(apply_text(text).unwrap_err(), error);
        }
    }

    #[test]
    fn every_key_does_something_and_stands_once() {
        let mut all: Vec<&str> = KEYS.iter().chain(IGNORED).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
