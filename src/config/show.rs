//! What is in force, in the words of `rabbitmq.conf`; nothing that is secret.

use super::logging::{Format, Logging, Output};
use crate::server::{Definitions, LoginFrom, Options, Storage, SyncMode, TlsOptions, TlsVersion, Watermark};

/// What stands for a secret.
const SECRET: &str = "********";

/// Keys, some of them Lepus' own, with their values.
pub fn lines(options: &Options, logging: &Logging) -> Vec<(String, String)> {
    let mut lines = Lines(Vec::new());
    listeners(&mut lines, options);
    logins(&mut lines, options);
    limits(&mut lines, options);
    for (index, definitions) in options.definitions.iter().enumerate() {
        if let Definitions::File(path) = definitions {
            lines.add(format!("load_definitions.{}", index + 1), path.display());
        }
    }
    log(&mut lines, logging);
    lines.0
}

struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, key: impl Into<String>, value: impl ToString) {
        self.0.push((key.into(), value.to_string()));
    }

    fn all<T: ToString>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        for (index, value) in values.into_iter().enumerate() {
            self.add(format!("{key}.{}", index + 1), value);
        }
    }

    /// `infinity` without one.
    fn limit(&mut self, key: &str, value: Option<impl ToString>) {
        self.add(key, value.map_or_else(|| "infinity".to_owned(), |value| value.to_string()));
    }
}

fn listeners(lines: &mut Lines, options: &Options) {
    match &options.storage {
        Some(Storage::Directory(path)) => lines.add("data_dir", path.display()),
        _ => lines.add("data_dir", "none: in memory"),
    }
    let sync = match options.sync {
        SyncMode::Always => "always".to_owned(),
        SyncMode::Never => "never".to_owned(),
        SyncMode::Interval(interval) => format!("interval:{}", interval.as_millis()),
    };
    lines.add("sync", sync);
    lines.all("listeners.tcp", &options.amqp);
    lines.all("listeners.ssl", &options.amqps);
    lines.add("proxy_protocol", options.proxy_protocol);
    lines.all("management.tcp", &options.http);
    lines.all("management.ssl", &options.https);
    lines.all("prometheus.tcp", &options.prometheus);
    lines.all("prometheus.ssl", &options.prometheus_https);
    let all = [
        ("ssl_options", &options.tls),
        ("management.ssl", &options.http_tls),
        ("prometheus.ssl", &options.prometheus_tls),
    ];
    for (of, options) in all {
        if let Some(options) = options {
            tls(lines, of, options);
        }
    }
}

fn tls(lines: &mut Lines, of: &str, options: &TlsOptions) {
    let key = |name: &str| format!("{of}.{name}");
    lines.add(key("certfile"), options.certificates.display());
    lines.add(key("keyfile"), options.key.display());
    for (index, (certificates, private)) in options.more_certificates.iter().enumerate() {
        lines.add(key(&format!("sni.{}.certfile", index + 1)), certificates.display());
        lines.add(key(&format!("sni.{}.keyfile", index + 1)), private.display());
    }
    if let Some(authorities) = &options.authorities {
        lines.add(key("cacertfile"), authorities.display());
    }
    lines.add(key("verify"), if options.verify_peer { "verify_peer" } else { "verify_none" });
    lines.add(key("fail_if_no_peer_cert"), options.fail_if_no_peer_cert);
    let both = [TlsVersion::V1_3, TlsVersion::V1_2];
    let versions = if options.versions.is_empty() { &both[..] } else { &options.versions };
    let name = |version: &TlsVersion| if *version == TlsVersion::V1_3 { "tlsv1.3" } else { "tlsv1.2" };
    lines.all(&key("versions"), versions.iter().map(name));
    lines.all(&key("ciphers"), &options.ciphers);
    if of == "ssl_options" {
        let from = match options.login_from {
            LoginFrom::DistinguishedName => "distinguished_name",
            LoginFrom::CommonName => "common_name",
            LoginFrom::AlternativeName { .. } => "subject_alternative_name",
        };
        lines.add("ssl_cert_login_from", from);
    }
}

fn logins(lines: &mut Lines, options: &Options) {
    lines.all("auth_mechanisms", &options.mechanisms);
    for user in &options.users {
        lines.add(format!("default_users.{}.password", user.name), SECRET);
        lines.add(format!("default_users.{}.tags", user.name), user.tags.join(", "));
    }
    lines.all("default_vhosts", &options.vhosts);
    if options.loopback_users.is_empty() {
        lines.add("loopback_users", "none");
    }
    lines.add("track_auth_attempt_source", options.track_login_sources);
    for user in &options.loopback_users {
        lines.add(format!("loopback_users.{user}"), true);
    }
}

fn limits(lines: &mut Lines, options: &Options) {
    lines.add("heartbeat", options.heartbeat_s);
    lines.add("frame_max", options.frame_size_max);
    lines.add("channel_max", options.channel_max);
    lines.limit("channel_max_per_node", options.channel_max_per_node);
    lines.limit("consumer_max_per_channel", options.consumer_max_per_channel);
    lines.limit("connection_max", options.connection_max);
    lines.add("max_message_size", options.message_size_max);
    lines.add("handshake_timeout", options.handshake_timeout.as_millis());
    lines.add("ssl_handshake_timeout", options.tls_handshake_timeout.as_millis());
    lines.add("handshakes_max", options.handshakes_max);
    lines.add("handshakes_per_address_max", options.handshakes_per_address_max);
    lines.add("consumer_timeout", options.consumer_timeout.as_millis());
    lines.add("quorum_queue.property_equivalence.relaxed_checks_on_redeclaration", options.relaxed_redeclares);
    lines.add("shutdown_timeout", options.shutdown_timeout.as_millis());
    for (key, limit) in
        [("vm_memory_high_watermark", options.memory_high_watermark), ("disk_free_limit", options.disk_free_limit)]
    {
        match limit {
            Watermark::Fraction(fraction) => lines.add(format!("{key}.relative"), fraction),
            Watermark::Bytes(bytes) => lines.add(format!("{key}.absolute"), bytes),
        }
    }
}

fn log(lines: &mut Lines, logging: &Logging) {
    let output = |lines: &mut Lines, of: &str, output: &Output| {
        lines.add(format!("log.{of}.formatter"), if output.format == Format::Json { "json" } else { "plaintext" });
        if let Some(level) = output.level {
            lines.add(format!("log.{of}.level"), level);
        }
    };
    lines.add("log.default.level", logging.level.unwrap_or("info"));
    for (category, level) in &logging.categories {
        lines.add(format!("log.{category}.level"), level);
    }
    lines.add("log.console", logging.console.is_some());
    if let Some(console) = &logging.console {
        output(lines, "console", console);
    }
    if let Some(file) = &logging.file {
        lines.add("log.file", file.path.display());
        output(lines, "file", &file.output);
    }
    lines.add("log.exchange", logging.exchange.is_some());
}
