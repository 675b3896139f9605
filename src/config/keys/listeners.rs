//! Where to listen, for what, and in TLS.

use std::net::Ipv6Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::{Settings, flag, set, wrong};
use crate::config::conf::Setting;
use crate::config::error::Error;
use crate::management::RatesMode;
use crate::server::{LoginFrom, Mechanism, NameKind, Options, SocketOptions, TlsOptions, TlsVersion, is_known_cipher};

pub(super) fn apply(options: &mut Options, settings: &Settings<'_>, warnings: &mut Vec<String>) -> Result<(), Error> {
    let nowhere = |key| settings.read(key, |value| (value == "none").then_some(()));
    if nowhere("listeners.tcp")?.is_some() {
        options.amqp.clear();
    }
    let tcp = addresses(settings, "listeners.tcp.")?;
    if !tcp.is_empty() {
        options.amqp = tcp;
    }
    nowhere("listeners.ssl")?;
    options.amqps.extend(addresses(settings, "listeners.ssl.")?);
    set(&mut options.proxy_protocol, settings.flag("proxy_protocol")?);
    set(&mut options.handshake_timeout, milliseconds(settings, "handshake_timeout")?);
    set(&mut options.tls_handshake_timeout, milliseconds(settings, "ssl_handshake_timeout")?);
    sockets(&mut options.socket, settings)?;
    mechanisms(options, settings)?;
    options.tls = tls("ssl_options", options.tls.take(), settings, warnings)?;
    options.http_tls = tls("management.ssl", None, settings, warnings)?;
    options.prometheus_tls = tls("prometheus.ssl", None, settings, warnings)?;
    login_from(options, settings)?;
    management(options, settings)?;
    prometheus(options, settings)
}

pub(super) fn milliseconds(settings: &Settings<'_>, key: &str) -> Result<Option<Duration>, Error> {
    Ok(settings.number::<NonZeroU64>(key)?.map(|ms| Duration::from_millis(ms.get())))
}

fn addresses(settings: &Settings<'_>, prefix: &str) -> Result<Vec<String>, Error> {
    let mut addresses = Vec::new();
    for (_, setting) in settings.below(prefix) {
        let is_port = setting.value.parse::<u16>().is_ok();
        match setting.value.rsplit_once(':') {
            _ if is_port => addresses.push(setting.value.clone()),
            Some((ip, port)) if port.parse::<u16>().is_ok() => addresses.push(format!("{}:{port}", bracketed(ip))),
            _ => return Err(wrong(setting)),
        }
    }
    Ok(addresses)
}

/// An IPv6 address may stand without its brackets.
fn bracketed(ip: &str) -> String {
    if ip.parse::<Ipv6Addr>().is_ok() { format!("[{ip}]") } else { ip.to_owned() }
}

fn sockets(socket: &mut SocketOptions, settings: &Settings<'_>) -> Result<(), Error> {
    set(&mut socket.backlog, settings.number("tcp_listen_options.backlog")?);
    set(&mut socket.nodelay, settings.flag("tcp_listen_options.nodelay")?);
    set(&mut socket.keepalive, settings.flag("tcp_listen_options.keepalive")?);
    socket.send_buffer_bytes = settings.bytes("tcp_listen_options.sndbuf")?.or(socket.send_buffer_bytes);
    socket.receive_buffer_bytes = settings.bytes("tcp_listen_options.recbuf")?.or(socket.receive_buffer_bytes);
    let timeout = settings.number("tcp_listen_options.linger.timeout")?.map(Duration::from_secs);
    if settings.flag("tcp_listen_options.linger.on")? == Some(true) {
        socket.linger = Some(timeout.unwrap_or_default());
    }
    Ok(())
}

fn mechanisms(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let mut named = Vec::new();
    for setting in settings.numbered("auth_mechanisms.") {
        named.push(Mechanism::parse(&setting.value).ok_or_else(|| wrong(setting))?);
    }
    if !named.is_empty() {
        options.mechanisms = named;
    }
    set(&mut options.anonymous_login.0, settings.text("anonymous_login_user"));
    set(&mut options.anonymous_login.1, settings.text("anonymous_login_pass"));
    if options.anonymous_login.0 == "none" {
        options.mechanisms.retain(|mechanism| *mechanism != Mechanism::Anonymous);
    }
    Ok(())
}

/// `ssl_options` and what is like it; `None`: nothing is said.
fn tls(
    of: &str,
    before: Option<TlsOptions>,
    settings: &Settings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<TlsOptions>, Error> {
    let is_listener = |rest: &str| rest == "port" || rest == "ip";
    if settings.below(&format!("{of}.")).all(|(rest, _)| is_listener(rest)) {
        return Ok(before);
    }
    let key = |name: &str| format!("{of}.{name}");
    let mut tls = before.unwrap_or_default();
    let path = |name: &str| settings.text(&key(name)).map(Into::into);
    set(&mut tls.certificates, path("certfile"));
    set(&mut tls.key, path("keyfile"));
    tls.authorities = path("cacertfile").or(tls.authorities);
    let verify = settings.read(&key("verify"), |value| match value {
        "verify_peer" => Some(true),
        "verify_none" => Some(false),
        _ => None,
    })?;
    set(&mut tls.verify_peer, verify);
    set(&mut tls.fail_if_no_peer_cert, settings.flag(&key("fail_if_no_peer_cert"))?);
    tls.depth = settings.number(&key("depth"))?.or(tls.depth);
    set(&mut tls.versions, versions(&settings.numbered(&key("versions.")), warnings)?);
    set(&mut tls.ciphers, ciphers(&settings.numbered(&key("ciphers.")), warnings)?);
    tls.more_certificates.extend(more_certificates(of, settings)?);
    Ok(Some(tls))
}

fn versions(settings: &[&Setting], warnings: &mut Vec<String>) -> Result<Option<Vec<TlsVersion>>, Error> {
    let mut versions = Vec::new();
    for setting in settings {
        match setting.value.as_str() {
            "tlsv1.3" => versions.push(TlsVersion::V1_3),
            "tlsv1.2" => versions.push(TlsVersion::V1_2),
            "tlsv1.1" | "tlsv1" => not_offered(setting, warnings),
            _ => return Err(wrong(setting)),
        }
    }
    some_or_wrong(settings, versions)
}

fn ciphers(settings: &[&Setting], warnings: &mut Vec<String>) -> Result<Option<Vec<String>>, Error> {
    let mut ciphers = Vec::new();
    for setting in settings {
        if is_known_cipher(&setting.value) {
            ciphers.push(setting.value.clone());
        } else {
            not_offered(setting, warnings);
        }
    }
    some_or_wrong(settings, ciphers)
}

fn not_offered(setting: &Setting, warnings: &mut Vec<String>) {
    warnings.push(format!("{}: {} = {} is not offered here", setting.place, setting.key, setting.value));
}

/// If some are named, one at least must be offered.
fn some_or_wrong<T>(settings: &[&Setting], found: Vec<T>) -> Result<Option<Vec<T>>, Error> {
    match settings.last() {
        Some(last) if found.is_empty() => Err(wrong(last)),
        Some(_) => Ok(Some(found)),
        None => Ok(None),
    }
}

/// `ssl_options.sni.NAME.certfile` and `.keyfile`.
fn more_certificates(
    of: &str,
    settings: &Settings<'_>,
) -> Result<Vec<(std::path::PathBuf, std::path::PathBuf)>, Error> {
    let mut pairs = Vec::new();
    for (rest, setting) in settings.below(&format!("{of}.sni.")) {
        let Some((name, field)) = rest.split_once('.') else { continue };
        let other = if field == "certfile" { "keyfile" } else { "certfile" };
        let Some(pair) = settings.get(&format!("{of}.sni.{name}.{other}")) else {
            let (place, key) = (setting.place.clone(), setting.key.clone());
            return Err(Error::Refused { place, key, reason: format!("it needs {of}.sni.{name}.{other}, too") });
        };
        if field == "certfile" {
            pairs.push((setting.value.as_str().into(), pair.value.as_str().into()));
        }
    }
    Ok(pairs)
}

/// It is said once for all listeners.
fn login_from(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    let kind = settings.read("ssl_cert_login_san_type", |value| match value {
        "dns" => Some(NameKind::Dns),
        "ip" => Some(NameKind::Ip),
        "email" => Some(NameKind::Email),
        "uri" => Some(NameKind::Uri),
        "other_name" => Some(NameKind::Other),
        _ => None,
    })?;
    let index = settings.number("ssl_cert_login_san_index")?.unwrap_or(0);
    let from = settings.read("ssl_cert_login_from", |value| match value {
        "distinguished_name" => Some(LoginFrom::DistinguishedName),
        "common_name" => Some(LoginFrom::CommonName),
        "subject_alternative_name" | "subject_alt_name" => {
            Some(LoginFrom::AlternativeName { kind: kind.unwrap_or_default(), index })
        }
        _ => None,
    })?;
    if let Some(tls) = &mut options.tls {
        set(&mut tls.login_from, from);
    }
    Ok(())
}

/// The older name of the listener is `management.listener`. Without a port it listens nowhere: RabbitMQ's default, 15672,
/// comes with its plugin.
fn management(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    for listener in ["management.tcp", "management.listener"] {
        options.http.extend(http_address(settings, listener)?);
    }
    options.https.extend(http_address(settings, "management.ssl")?);
    options.http_cors_origins.extend(settings.below("management.cors.allow_origins.").map(|(_, s)| s.value.clone()));
    let rates = settings.read("management.rates_mode", |value| match value {
        "none" => Some(RatesMode::None),
        "basic" => Some(RatesMode::Basic),
        "detailed" => Some(RatesMode::Detailed),
        _ => None,
    })?;
    set(&mut options.http_rates, rates);
    set(&mut options.http_disable_stats, settings.flag("management.disable_stats")?);
    set(&mut options.http_cors_max_age_s, settings.number("management.cors.max_age")?);
    set(&mut options.statistics_interval, milliseconds(settings, "collect_statistics_interval")?);
    set(&mut options.http_body_size_max, settings.bytes("management.http.max_body_size")?);
    let prefix = settings.read("management.path_prefix", |value| value.starts_with('/').then(|| value.to_owned()))?;
    set(&mut options.http_path_prefix, prefix.map(|prefix| prefix.trim_end_matches('/').to_owned()));
    options.http_hsts = settings.text("management.hsts.policy").or(options.http_hsts.take());
    options.http_csp = settings.text("management.csp.policy").or(options.http_csp.take());
    Ok(())
}

fn http_address(settings: &Settings<'_>, listener: &str) -> Result<Option<String>, Error> {
    let port: Option<u16> = settings.number(&format!("{listener}.port"))?;
    let Some(port) = port else { return Ok(None) };
    Ok(Some(match settings.get(&format!("{listener}.ip")) {
        None => port.to_string(),
        Some(ip) => format!("{}:{port}", bracketed(&ip.value)),
    }))
}

/// As the management API's: without a port nothing is told.
fn prometheus(options: &mut Options, settings: &Settings<'_>) -> Result<(), Error> {
    options.prometheus.extend(http_address(settings, "prometheus.tcp")?);
    options.prometheus_https.extend(http_address(settings, "prometheus.ssl")?);
    set(&mut options.prometheus_path, settings.text("prometheus.path"));
    if let Some(setting) = settings.get("prometheus.return_per_object_metrics") {
        options.prometheus_per_object = flag(setting)?;
    }
    Ok(())
}
