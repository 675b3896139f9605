//! The keys of `rabbitmq.conf`: what each may be and what it does here, and those of RabbitMQ that do nothing here.
//!
//! Errors and `lepus config keys` say what stands here.

/// A key that does something. In `pattern`, `*` stands for one word.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Words with dots between them.
    pub pattern: &'static str,
    /// What its value may be.
    pub allowed: &'static str,
    /// What it does.
    pub does: &'static str,
}

const fn key(pattern: &'static str, allowed: &'static str, does: &'static str) -> Key {
    Key { pattern, allowed, does }
}

const ADDRESS: &str = "a port, or an address and a port such as 127.0.0.1:5672";
const BYTES: &str = "a number of bytes, such as 131072 or 16MiB";
const COUNT: &str = "a number, or infinity";
const FILE: &str = "a file";
const FLAG: &str = "true or false";
const FORMATTER: &str = "plaintext or json";
const LEVEL: &str = "debug, info, notice, warning, error, critical or none";
const MILLISECONDS: &str = "a number of milliseconds above 0";
const NUMBER: &str = "a number";
const PATTERN: &str = "a regular expression";
const PORT: &str = "a port";
const WEB_ADDRESS: &str = "an address that begins with https:// or http://";
const TEXT: &str = "a text";
const VERIFY: &str = "verify_peer or verify_none";
const TLS_VERSION: &str = "tlsv1.2 or tlsv1.3; older ones are passed over";
const CIPHER: &str = "the name of a cipher suite by the IANA or OpenSSL";

/// Keys that do something.
pub const KEYS: &[Key] = &[
    key("listeners.tcp", "none", "listens nowhere without TLS"),
    key("listeners.tcp.*", ADDRESS, "listens for AMQP 0-9-1"),
    key("listeners.ssl", "none", "listens nowhere in TLS"),
    key("listeners.ssl.*", ADDRESS, "listens for AMQP 0-9-1 in TLS"),
    key("proxy_protocol", FLAG, "connections begin with a header of the PROXY protocol, version 1 or 2"),
    key("handshake_timeout", MILLISECONDS, "from accept to connection.open-ok"),
    key("ssl_handshake_timeout", MILLISECONDS, "for a TLS handshake"),
    key("tcp_listen_options.backlog", NUMBER, "connections that wait to be accepted"),
    key("tcp_listen_options.nodelay", FLAG, "frames leave when they are written"),
    key("tcp_listen_options.keepalive", FLAG, "the kernel asks now and then whether a silent peer is still there"),
    key("tcp_listen_options.sndbuf", BYTES, "the kernel's buffer for what is sent"),
    key("tcp_listen_options.recbuf", BYTES, "the kernel's buffer for what is received"),
    key("tcp_listen_options.linger.on", FLAG, "closing waits for what is not sent yet"),
    key("tcp_listen_options.linger.timeout", "a number of seconds", "how long it waits"),
    key("ssl_options.certfile", FILE, "the certificate to show, PEM, with those between it and its authority"),
    key("ssl_options.keyfile", FILE, "its private key, PEM, without a password"),
    key("ssl_options.cacertfile", FILE, "the authorities of clients' certificates, PEM"),
    key("ssl_options.verify", VERIFY, "clients are asked for a certificate"),
    key("ssl_options.fail_if_no_peer_cert", FLAG, "clients without one are refused"),
    key("ssl_options.depth", "a number up to 255", "certificates between a client's and its authority's"),
    key("ssl_options.versions.*", TLS_VERSION, "the versions of TLS that are offered"),
    key("ssl_options.ciphers.*", CIPHER, "the suites that are offered; what is not known here is passed over"),
    key("ssl_options.sni.*.certfile", FILE, "a further certificate, for the hosts that stand in it; Lepus' own key"),
    key("ssl_options.sni.*.keyfile", FILE, "its private key; Lepus' own key"),
    key(
        "ssl_cert_login_from",
        "distinguished_name, common_name or subject_alternative_name",
        "the user of a certificate, for EXTERNAL",
    ),
    key("ssl_cert_login_san_type", "dns, ip, email, uri or other_name", "which kind of alternative name"),
    key("ssl_cert_login_san_index", "a number from 0", "which of that kind"),
    key("auth_mechanisms.*", "PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS", "what clients may log in by, in this order"),
    key("anonymous_login_user", "a user, or none", "who logs in by ANONYMOUS"),
    key("anonymous_login_pass", TEXT, "that user's password"),
    key("default_user", TEXT, "the first user"),
    key("default_pass", TEXT, "the first user's password"),
    key("default_vhost", TEXT, "the first vhost"),
    key("default_user_tags.*", FLAG, "a tag of the first user"),
    key("default_permissions.configure", PATTERN, "what the first user may declare and delete"),
    key("default_permissions.read", PATTERN, "what the first user may consume from"),
    key("default_permissions.write", PATTERN, "what the first user may publish to"),
    key("default_users.*.password", TEXT, "a further user's password"),
    key("default_users.*.tags", "tags with commas between them", "a further user's tags"),
    key("default_users.*.vhost_pattern", PATTERN, "the vhosts of a further user's permissions"),
    key("default_users.*.configure", PATTERN, "what a further user may declare and delete"),
    key("default_users.*.read", PATTERN, "what a further user may consume from"),
    key("default_users.*.write", PATTERN, "what a further user may publish to"),
    key("track_auth_attempt_source", FLAG, "attempts to log in are counted for each address and user"),
    key("loopback_users", "none", "every user may connect from other machines"),
    key("loopback_users.*", FLAG, "a user may connect from this machine only"),
    key("password_hashing_module", "rabbit_password_hashing_sha256, _sha512 or _md5", "how passwords are kept"),
    key(
        "credential_validator.validation_backend",
        "rabbit_credential_validator_accept_everything, _min_password_length or _password_regexp",
        "which passwords may be set",
    ),
    key("credential_validator.min_length", NUMBER, "of a password"),
    key("credential_validator.regexp", PATTERN, "that a password has to match"),
    key("heartbeat", "seconds, up to 65535", "offered to clients, 0 for none"),
    key("frame_max", BYTES, "offered to clients"),
    key("initial_frame_max", BYTES, "the largest frame before that is agreed on"),
    key("channel_max", "a number up to 65535", "channels per connection offered to clients"),
    key("max_channels", "a number up to 65535", "the same"),
    key("max_channels_per_connection", "a number up to 65535", "the same"),
    key("channel_max_per_node", COUNT, "channels of all connections"),
    key("consumer_max_per_channel", COUNT, "consumers of a channel"),
    key(
        "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration",
        FLAG,
        "a quorum queue may be declared again as a classic one",
    ),
    key("connection_max", COUNT, "open connections"),
    key("max_connections", COUNT, "the same"),
    key("max_message_size", BYTES, "the largest body"),
    key("consumer_timeout", MILLISECONDS, "how long a delivery may go unsettled"),
    key("cluster_name", TEXT, "shown to clients"),
    key("vm_memory_high_watermark.relative", "a fraction such as 0.6", "of memory, above which publishers are blocked"),
    key("vm_memory_high_watermark.absolute", BYTES, "of memory, above which publishers are blocked"),
    key("total_memory_available_override_value", BYTES, "the memory that fractions are of"),
    key(
        "disk_free_limit.relative",
        "a fraction of memory such as 1.5",
        "of free disk space, below which publishers are blocked",
    ),
    key("disk_free_limit.absolute", BYTES, "of free disk space, below which publishers are blocked"),
    key("default_queue_type", "classic or quorum", "of new vhosts: what a queue is that names no type"),
    key("default_limits.vhosts.*.pattern", PATTERN, "new vhosts that the limits are for"),
    key("default_limits.vhosts.*.max_connections", NUMBER, "connections of such a vhost"),
    key("default_limits.vhosts.*.max_queues", NUMBER, "queues of such a vhost"),
    key("default_policies.operator.*.vhost_pattern", PATTERN, "new vhosts that get the operator policy"),
    key("default_policies.operator.*.queue_pattern", PATTERN, "queues it is for"),
    key("default_policies.operator.*.apply_to", "queues, classic_queues, quorum_queues or all", "what it is for"),
    key("default_policies.operator.*.expires", MILLISECONDS, "what it sets: expires"),
    key("default_policies.operator.*.message_ttl", "a number of milliseconds", "what it sets: message-ttl"),
    key("default_policies.operator.*.max_length", NUMBER, "what it sets: max-length"),
    key("default_policies.operator.*.max_length_bytes", BYTES, "what it sets: max-length-bytes"),
    key("default_policies.operator.*.delivery_limit", NUMBER, "what it sets: delivery-limit"),
    key("load_definitions", "a file or directory", "definitions to import at start"),
    key("management.load_definitions", "a file or directory", "the same"),
    key("definitions.local.path", "a file or directory", "the same"),
    key("definitions.import_backend", "local_filesystem", "where they come from"),
    key("definitions.skip_if_unchanged", FLAG, "not those that were imported last"),
    key("management.tcp.port", PORT, "listens for the management API"),
    key("management.tcp.ip", "an address", "where"),
    key("management.listener.port", PORT, "the same, by its older name"),
    key("management.listener.ip", "an address", "where"),
    key("management.ssl.port", PORT, "listens for the management API in TLS"),
    key("management.ssl.ip", "an address", "where"),
    key("management.ssl.certfile", FILE, "as ssl_options.certfile"),
    key("management.ssl.keyfile", FILE, "as ssl_options.keyfile"),
    key("management.ssl.cacertfile", FILE, "as ssl_options.cacertfile"),
    key("management.ssl.verify", VERIFY, "as ssl_options.verify"),
    key("management.ssl.fail_if_no_peer_cert", FLAG, "as ssl_options.fail_if_no_peer_cert"),
    key("management.ssl.depth", "a number up to 255", "as ssl_options.depth"),
    key("management.ssl.versions.*", TLS_VERSION, "as ssl_options.versions"),
    key("management.ssl.ciphers.*", CIPHER, "as ssl_options.ciphers"),
    key("management.path_prefix", "a path such as /rabbit", "what stands before all paths of the management API"),
    key("collect_statistics_interval", MILLISECONDS, "how often the management API samples numbers"),
    key("management.http.max_body_size", BYTES, "the largest body of a request"),
    key("management.cors.allow_origins.*", "an origin, or *", "whose scripts may use the management API"),
    key("management.cors.max_age", "a number of seconds", "how long a browser remembers that"),
    key(
        "management.rates_mode",
        "basic, detailed or none",
        "rates of the management API; detailed: of pairs, such as a channel and a queue, too, which costs each message a lookup",
    ),
    key(
        "management.sample_retention_policies.global.*",
        "seconds between samples; the name is minute, hour, day or seconds",
        "how long samples of the broker, its node and vhosts are kept; 1000 of them at most",
    ),
    key(
        "management.sample_retention_policies.basic.*",
        "the same",
        "those of queues, exchanges, connections, channels",
    ),
    key("management.sample_retention_policies.detailed.*", "the same", "those of pairs of them"),
    key("management.login_session_timeout", "a number of minutes", "how long a login in the UI lasts"),
    key("management.oauth_enabled", FLAG, "users of the UI log in at a provider of OAuth 2"),
    key("management.oauth_provider_url", WEB_ADDRESS, "the provider; auth_oauth2.issuer if absent"),
    key("management.oauth_metadata_url", WEB_ADDRESS, "where its endpoints are told of, if not where OpenID has them"),
    key("management.oauth_client_id", TEXT, "what the UI is called there"),
    key("management.oauth_scopes", "names with spaces between them", "what it asks for; openid profile if absent"),
    key(
        "management.oauth_initiated_logon_type",
        "sp_initiated or idp_initiated",
        "whether the UI asks the provider for a token, or the provider sends users with one",
    ),
    key(
        "management.oauth_disable_basic_auth",
        FLAG,
        "with oauth_enabled, the UI does not ask for names with passwords; true if absent",
    ),
    key("management.disable_basic_auth", FLAG, "the management API takes tokens only, no names with passwords"),
    key("management.disable_stats", FLAG, "answers of the management API have no counts"),
    key("management.hsts.policy", TEXT, "the header Strict-Transport-Security"),
    key("management.csp.policy", TEXT, "the header Content-Security-Policy"),
    key("prometheus.tcp.port", PORT, "tells metrics to Prometheus"),
    key("prometheus.tcp.ip", "an address", "where"),
    key("prometheus.ssl.port", PORT, "tells them in TLS"),
    key("prometheus.ssl.ip", "an address", "where"),
    key("prometheus.ssl.certfile", FILE, "as ssl_options.certfile"),
    key("prometheus.ssl.keyfile", FILE, "as ssl_options.keyfile"),
    key("prometheus.ssl.cacertfile", FILE, "as ssl_options.cacertfile"),
    key("prometheus.ssl.verify", VERIFY, "as ssl_options.verify"),
    key("prometheus.ssl.fail_if_no_peer_cert", FLAG, "as ssl_options.fail_if_no_peer_cert"),
    key("prometheus.ssl.depth", "a number up to 255", "as ssl_options.depth"),
    key("prometheus.ssl.versions.*", TLS_VERSION, "as ssl_options.versions"),
    key("prometheus.ssl.ciphers.*", CIPHER, "as ssl_options.ciphers"),
    key("prometheus.path", "a path such as /metrics", "where metrics are found"),
    key("prometheus.return_per_object_metrics", FLAG, "they are told of each object there"),
    key("log.console", FLAG, "the log goes to standard error, as it does by default"),
    key("log.console.level", LEVEL, "what of it"),
    key("log.console.formatter", FORMATTER, "how"),
    key("log.dir", "a directory", "where the log's file is"),
    key("log.file", "a file, or false", "the log goes to a file"),
    key("log.file.level", LEVEL, "what of it"),
    key("log.file.formatter", FORMATTER, "how"),
    key("log.file.rotation.size", BYTES, "a longer file is put aside and a new one begun"),
    key("log.file.rotation.count", NUMBER, "so many are kept"),
    key("log.exchange", FLAG, "lines of the log go to the exchange amq.rabbitmq.log"),
    key("log.exchange.level", LEVEL, "what of them"),
    key("log.exchange.formatter", FORMATTER, "how"),
    key("log.default.level", LEVEL, "what is logged, where nothing closer says"),
    key("log.connection.level", LEVEL, "what is logged of connections"),
    key("log.channel.level", LEVEL, "what is logged of channels"),
    key("log.queue.level", LEVEL, "what is logged of queues, exchanges and bindings"),
    key("log.user.level", LEVEL, "what is logged of users, permissions, vhosts, policies and parameters"),
];

/// Keys that protect something: whoever sets them would believe it protected. With what to do instead.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("ssl_options.password", "give a key file without a password"),
    ("management.ssl.password", "give a key file without a password"),
    ("prometheus.ssl.password", "give a key file without a password"),
    ("ssl_options.key.*", "give the key in a file: ssl_options.keyfile"),
    ("ssl_options.cert", "give the certificate in a file: ssl_options.certfile"),
    ("ssl_options.psk_identity", "give a certificate: ssl_options.certfile"),
    ("ssl_options.crl_check", "lists of revoked certificates are not read"),
    ("ssl_options.crl_sources.**", "lists of revoked certificates are not read"),
    ("trust_store.**", "name the authorities in a file: ssl_options.cacertfile"),
];

/// Keys of RabbitMQ that do nothing here. `*` stands for one word, `**` at the end for one or more.
pub(super) const IGNORED: &[&str] = &[
    "advanced.**",
    "amqp10_client.**",
    "amqp_client.**",
    "aws.**",
    "background_gc_enabled",
    "background_gc_target_interval",
    "channel_interceptor.**",
    "channel_operation_timeout",
    "channel_tick_interval",
    "channel_tx_message_max",
    "classic_queue.**",
    "cluster_exchange_limit",
    "cluster_formation.**",
    "cluster_keepalive_interval",
    "cluster_partition_handling",
    "cluster_partition_handling.**",
    "cluster_queue_limit",
    "cluster_tags.**",
    "collect_statistics",
    "consumer_disconnected_timeout",
    "credentials_obfuscation.**",
    "credit_flow_default_credit",
    "default_policies.operator.*.classic_queues.**",
    "default_policies.operator.*.max_in_memory_bytes",
    "default_policies.operator.*.max_in_memory_length",
    "default_worker_pool_size",
    "definitions.hashing.algorithm",
    "definitions.https.**",
    "definitions.tls.**",
    "delegate_count",
    "deprecated_features.**",
    "distribution.**",
    "erlang.K",
    "event_exchange.**",
    "exchange_max",
    "exchange_types.**",
    "federation.**",
    "heartbeat_timeout",
    "hipe_compile",
    "kernel.**",
    "lazy_queue_explicit_gc_run_operation_threshold",
    "limit_policies.**",
    "link_max_per_session",
    "listeners.startup_delay",
    "log.**",
    "management.**",
    "management_agent.**",
    "memory_monitor_interval",
    "message_interceptors.**",
    "message_store_shutdown_timeout",
    "metadata_store.**",
    "mirroring_flow_control",
    "mirroring_sync_batch_size",
    "mirroring_sync_max_throughput",
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
    "prevent_startup_if_node_was_reset",
    "product.**",
    "prometheus.**",
    "queue_index_embed_msgs_below",
    "queue_index_max_journal_entries",
    "queue_leader_locator",
    "queue_master_locator",
    "queue_types.**",
    "quorum_commands_soft_limit",
    "quorum_membership_reconciliation_auto_remove",
    "quorum_membership_reconciliation_enabled",
    "quorum_queue.**",
    "raft.**",
    "ranch_connection_max",
    "reverse_dns_lookups",
    "runtime_parameters.**",
    "session_max_per_connection",
    "shovel.**",
    "socket_writer.**",
    "ssl_allow_poodle_attack",
    "ssl_options",
    "ssl_options.bypass_pem_cache",
    "ssl_options.client_renegotiation",
    "ssl_options.dh",
    "ssl_options.dhfile",
    "ssl_options.honor_cipher_order",
    "ssl_options.honor_ecc_order",
    "ssl_options.log_alert",
    "ssl_options.log_level",
    "ssl_options.reuse_sessions",
    "ssl_options.secure_renegotiate",
    "stomp.**",
    "stream.**",
    "stream_replication.**",
    "sysmon_handler.**",
    "tcp_listen_options",
    "tcp_listen_options.**",
    "trace_vhosts",
    "tracing.**",
    "vhost_max",
    "vhost_restart_strategy",
    "vm_memory_calculation_strategy",
    "vm_memory_high_watermark_paging_ratio",
    "web_mqtt.**",
    "web_stomp.**",
];

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// It does something.
    Used(&'static Key),
    /// It must not be there; with what to do instead.
    Refused(&'static str),
    /// It does nothing here.
    Ignored,
}

/// What is known of this key; `None`: RabbitMQ does not know it either.
pub(super) fn find(key: &str) -> Option<Known> {
    let used = KEYS.iter().find(|known| matches(known.pattern, key)).map(Known::Used);
    let refused =
        || REFUSED.iter().find(|(pattern, _)| matches(pattern, key)).map(|(_, instead)| Known::Refused(instead));
    let ignored = || IGNORED.iter().any(|pattern| matches(pattern, key)).then_some(Known::Ignored);
    used.or_else(refused).or_else(ignored)
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
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let all = KEYS.iter().map(|known| known.pattern).chain(IGNORED.iter().copied());
    let (likeness, known) =
        all.map(|known| (strsim::jaro_winkler(known, key), known)).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness > 0.85).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once() {
        let used = KEYS.iter().map(|known| known.pattern);
        let mut all: Vec<&str> =
            used.chain(IGNORED.iter().copied()).chain(REFUSED.iter().map(|(key, _)| *key)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    /// FEATURES 4.6.
    #[test]
    fn patterns_stand_for_words() {
        assert!(matches("listeners.tcp.*", "listeners.tcp.default"));
        assert!(!matches("listeners.tcp.*", "listeners.tcp") && !matches("listeners.tcp.*", "listeners.tcp.a.b"));
        assert!(matches("mqtt.**", "mqtt.listeners.tcp") && !matches("mqtt.**", "mqtt"));
        assert!(matches!(find("ssl_options.password"), Some(Known::Refused(_))));
        assert!(matches!(find("management.ssl.backlog"), Some(Known::Ignored)));
        assert!(matches!(find("heartbeat"), Some(Known::Used(_))));
        assert!(find("hartbeat").is_none());
    }
}
