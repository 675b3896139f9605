//! What text comes to which options.

use std::time::Duration;

use super::*;
use crate::config::conf;
use crate::config::logging::{Format, LogFile, Output};
use crate::management::{LogonType, Policy, Retention};
use crate::server::{Definitions, LoginFrom, Mechanism, NameKind, PasswordRule, TlsOptions, TlsVersion, Watermark};

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
    assert_eq!((applied.logging.console.unwrap().level, applied.warnings.len()), (Some("warn"), 0));
}

/// FEATURES 4.6.
#[test]
fn management_listens_where_it_is_told() {
    let (options, _) = apply_text(
        "management.tcp.port = 15672\nmanagement.tcp.ip = ::1\nmanagement.listener.port = 15673\n\
         management.cors.allow_origins.1 = http://a\nmanagement.http.max_body_size = 1000\n\
         management.login_session_timeout = 480",
    )
    .unwrap();
    assert_eq!(options.http_login_session_minutes, Some(480));
    assert_eq!(options.http, ["[::1]:15672", "15673"]);
    assert_eq!((options.http_cors_origins, options.http_body_size_max), (vec!["http://a".to_owned()], 1000));
    assert!(apply_text("").unwrap().0.http.is_empty());
}

/// FEATURES 4.6.
#[test]
fn users_of_the_ui_log_in_where_is_said() {
    let oauth = |text: &str| apply_text(text).map(|(options, _)| options.http_oauth);
    let on = "management.oauth_enabled = true\nmanagement.oauth_client_id = ui";
    let full = format!(
        "{on}\nmanagement.oauth_provider_url = https://id/\nmanagement.oauth_scopes = openid x\n\
         management.oauth_disable_basic_auth = false\nmanagement.oauth_metadata_url = https://id/m"
    );
    let own = oauth(&full).unwrap().unwrap();
    assert_eq!(
        (own.provider.as_str(), own.client_id.as_str(), own.scopes.as_deref()),
        ("https://id/", "ui", Some("openid x"))
    );
    assert_eq!((own.metadata.as_ref().map(|m| m.as_str()), own.basic_disabled), (Some("https://id/m"), false));
    let own = oauth(&format!("{on}\nauth_oauth2.issuer = https://issuer/a")).unwrap().unwrap();
    assert_eq!((own.provider.as_str(), own.logon_type, own.basic_disabled), ("https://issuer/a", LogonType::Ui, true));
    assert_eq!(oauth("management.oauth_enabled = false\nmanagement.oauth_client_id = ui"), Ok(None));
    assert!(apply_text("management.disable_basic_auth = true").unwrap().0.http_basic_auth_disabled);
    let sent = "management.oauth_enabled = true\nmanagement.oauth_provider_url = https://id\nmanagement.oauth_initiated_logon_type = ";
    assert_eq!(oauth(&format!("{sent}idp_initiated")).unwrap().unwrap().logon_type, LogonType::Provider);
    for bad in [
        on.to_owned(),
        format!("{sent}sp_initiated"),
        format!("{sent}x"),
        full.replace("https://id/", "id; script-src *"),
    ] {
        assert!(oauth(&bad).is_err(), "{bad}");
    }
}

#[test]
fn samples_are_kept_as_long_as_is_said() {
    let key = "management.sample_retention_policies";
    let text = format!("{key}.global.minute = 5\n{key}.global.day = 1200\n{key}.basic.7200 = 60");
    let (options, _) = apply_text(&text).unwrap();
    let policy = |intervals: &[(u64, u64)]| Policy::new(intervals.to_vec()).unwrap();
    assert_eq!(options.http_retention.global, policy(&[(60, 5), (86_400, 1200)]));
    assert_eq!(options.http_retention.basic, policy(&[(7200, 60)]));
    assert_eq!(options.http_retention.detailed, Retention::default().detailed, "what is not said stays");
    for bad in ["global.week = 5", "global.day = 0", "basic.day = 5", "detailed.hour = often"] {
        assert!(apply_text(&format!("{key}.{bad}")).is_err(), "{bad}");
    }
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
        ..TlsOptions::default()
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

/// FEATURES 4.6, 5.9.
#[test]
fn versions_ciphers_and_further_certificates() {
    let (options, applied) = apply_text(
        "ssl_options.certfile = /c\nssl_options.keyfile = /k\nssl_options.versions.1 = tlsv1.3\n\
         ssl_options.versions.2 = tlsv1.1\nssl_options.ciphers.1 = ECDHE-RSA-AES256-GCM-SHA384\n\
         ssl_options.ciphers.2 = AES128-SHA\nssl_options.depth = 2\nssl_options.sni.shop.certfile = /sc\n\
         ssl_options.sni.shop.keyfile = /sk\nssl_cert_login_from = subject_alternative_name\n\
         ssl_cert_login_san_type = email\nssl_cert_login_san_index = 1\nauth_mechanisms.2 = PLAIN\n\
         auth_mechanisms.1 = EXTERNAL\nmanagement.ssl.port = 15671\nmanagement.ssl.certfile = /m\n\
         prometheus.ssl.port = 15691",
    )
    .unwrap();
    let tls = options.tls.unwrap();
    assert_eq!((tls.versions, tls.depth), (vec![TlsVersion::V1_3], Some(2)));
    assert_eq!(tls.ciphers, ["ECDHE-RSA-AES256-GCM-SHA384"]);
    assert_eq!(tls.more_certificates, [("/sc".into(), "/sk".into())]);
    assert_eq!(tls.login_from, LoginFrom::AlternativeName { kind: NameKind::Email, index: 1 });
    assert_eq!(options.mechanisms, [Mechanism::External, Mechanism::Plain]);
    assert_eq!((&options.https[..], &options.prometheus_https[..]), (&["15671".into()][..], &["15691".into()][..]));
    assert_eq!(options.http_tls.unwrap().certificates.to_str(), Some("/m"));
    assert_eq!(options.prometheus_tls, None, "without files of its own it has those of ssl_options");
    let not_offered = [
        "f:4: ssl_options.versions.2 = tlsv1.1 is not offered here",
        "f:6: ssl_options.ciphers.2 = AES128-SHA is not offered here",
    ];
    assert_eq!(applied.warnings, not_offered);
    let errors = [
        (
            "ssl_options.versions.1 = tlsv1",
            "f:1: ssl_options.versions.1 is 'tlsv1', but must be tlsv1.2 or tlsv1.3; older ones are passed over",
        ),
        (
            "ssl_options.ciphers.1 = NULL",
            "f:1: ssl_options.ciphers.1 is 'NULL', but must be the name of a cipher suite by the IANA or OpenSSL",
        ),
        ("ssl_options.depth = 256", "f:1: ssl_options.depth is '256', but must be a number up to 255"),
        ("ssl_options.password = x", "f:1: ssl_options.password: not supported: give a key file without a password"),
        (
            "ssl_options.crl_check = peer",
            "f:1: ssl_options.crl_check: not supported: lists of revoked certificates are not read",
        ),
        ("ssl_options.sni.a.certfile = /c", "f:1: ssl_options.sni.a.certfile: it needs ssl_options.sni.a.keyfile, too"),
        (
            "auth_mechanisms.1 = RABBIT-CR-DEMO",
            "f:1: auth_mechanisms.1 is 'RABBIT-CR-DEMO', but must be PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS",
        ),
        (
            "default_pass = encrypted:abc",
            "f:1: default_pass: encrypted values are not read: give the value itself, or $(VARIABLE)",
        ),
    ];
    for (text, error) in errors {
        assert_eq!(apply_text(text).unwrap_err(), error);
    }
    assert!(apply_text("ssl_options.crl_check = false").is_ok());
    assert!(apply_text("ssl_options.depth = 255").is_ok());
}

/// FEATURES QU-9.
#[test]
fn redeclares_may_be_relaxed() {
    let key = "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration";
    for yes in [true, false] {
        let (options, _) = apply_text(&format!("{key} = {yes}")).unwrap();
        assert_eq!(options.relaxed_redeclares, yes);
    }
    assert!(apply_text(&format!("{key} = perhaps")).is_err());
}

/// FEATURES 4.6.
#[test]
fn sockets_and_limits() {
    let (options, _) = apply_text(
        "listeners.tcp = none\ntcp_listen_options.backlog = 128\ntcp_listen_options.nodelay = false\n\
         tcp_listen_options.keepalive = true\ntcp_listen_options.sndbuf = 32768\ntcp_listen_options.recbuf = 64KiB\n\
         tcp_listen_options.linger.on = true\ntcp_listen_options.linger.timeout = 3\nssl_handshake_timeout = 2000\n\
         channel_max_per_node = 5\nconsumer_max_per_channel = infinity\nmax_connections = infinity\n\
         initial_frame_max = 8192\ntotal_memory_available_override_value = 1GB\nmax_channels_per_connection = 7",
    )
    .unwrap();
    let socket = options.socket;
    assert_eq!((socket.backlog, socket.nodelay, socket.keepalive), (128, false, true));
    assert_eq!((socket.send_buffer_bytes, socket.receive_buffer_bytes), (Some(32_768), Some(65_536)));
    assert_eq!((socket.linger, options.tls_handshake_timeout), (Some(Duration::from_secs(3)), Duration::from_secs(2)));
    assert_eq!((options.channel_max_per_node, options.consumer_max_per_channel), (Some(5), None));
    assert_eq!((options.connection_max, options.initial_frame_size_max), (None, 8192));
    assert_eq!((options.memory_total_bytes, options.channel_max), (Some(1_000_000_000), 7));
    assert!(options.amqp.is_empty());
    assert!(apply_text("listeners.tcp = some").is_err());
}

/// FEATURES 4.6, US-7.
#[test]
fn what_new_vhosts_and_passwords_are_like() {
    let (options, _) = apply_text(
        "default_queue_type = quorum\ndefault_limits.vhosts.1.pattern = ^dev\ndefault_limits.vhosts.1.max_queues = 10\n\
         default_limits.vhosts.1.max_connections = -1\ndefault_policies.operator.short.queue_pattern = ^q\n\
         default_policies.operator.short.max_length = 5\ndefault_policies.operator.short.expires = 1000\n\
         credential_validator.validation_backend = rabbit_credential_validator_min_password_length\n\
         credential_validator.min_length = 12\npassword_hashing_module = rabbit_password_hashing_sha512\n\
         definitions.skip_if_unchanged = true\ndefinitions.local.path = /defs",
    )
    .unwrap();
    assert_eq!(options.default_queue_type.as_deref(), Some("quorum"));
    let limits = &options.default_limits[0];
    assert_eq!((limits.vhosts.as_str(), limits.queues_max, limits.connections_max), ("^dev", Some(10), None));
    let policy = &options.default_policies[0];
    assert_eq!((policy.name.as_str(), policy.vhosts.as_str(), policy.pattern.as_str()), ("short", ".*", "^q"));
    assert_eq!(policy.definition, [("expires", 1000), ("max-length", 5)]);
    assert!(matches!(options.password_rule, PasswordRule::MinLength(12)));
    assert_eq!(options.password_hashing.as_str(), "rabbit_password_hashing_sha512");
    assert!(options.skip_unchanged_definitions);
    assert_eq!(options.definitions, [Definitions::File("/defs".into())]);
    let regexp = "credential_validator.validation_backend = rabbit_credential_validator_password_regexp\n";
    assert!(apply_text(regexp).unwrap_err().contains("credential_validator.regexp"));
    assert!(apply_text(&format!("{regexp}credential_validator.regexp = ^[a-z]+$")).is_ok());
    assert!(apply_text(&format!("{regexp}credential_validator.regexp = (")).is_err());
}

/// FEATURES 4.6.
#[test]
fn where_the_log_goes() {
    let (_, applied) = apply_text(
        "log.console = false\nlog.dir = /var/log\nlog.file = r.log\nlog.file.level = debug\nlog.file.formatter = json\n\
         log.file.rotation.size = 1MB\nlog.file.rotation.count = 3\nlog.connection.level = none\nlog.exchange = true\n\
         log.default.level = error\nlog.syslog = true",
    )
    .unwrap();
    let logging = applied.logging;
    let output = Output { level: Some("debug"), format: Format::Json };
    let file = LogFile { path: "/var/log/r.log".into(), output, rotation_bytes: Some(1_000_000), kept: 3 };
    assert_eq!((logging.file, logging.console, logging.level), (Some(file), None, Some("error")));
    assert_eq!((logging.categories, logging.exchange), (vec![("connection".into(), "off")], Some(Output::default())));
    assert_eq!(applied.warnings, ["f:11: log.syslog has no effect here"]);
    assert!(apply_text("log.console.level = loud").is_err() && apply_text("log.file.formatter = xml").is_err());
}

/// FEATURES 4.6: the last of several counts, and the file over the environment.
#[test]
fn what_the_file_leaves_out_is_as_before() {
    let settings = conf::parse("default_user = app", "f", |_| None).unwrap();
    let mut options = Options::default();
    let variable = |name: &str| (name == "RABBITMQ_DEFAULT_PASS").then(|| "secret".to_owned());
    crate::config::env::apply(&mut options, variable).unwrap();
    apply(&mut options, &settings).unwrap();
    assert_eq!((options.users[0].name.as_str(), options.users[0].password.as_str()), ("app", "secret"));
}
