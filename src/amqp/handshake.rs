//! From the protocol header to an open vhost.

use std::sync::Arc;

use super::Options;
use super::reply::Fault;
use crate::auth::{Mechanism, User};
use crate::wire::{FRAME_OVERHEAD, Method, RawTable, ReplyCode, Table, Value};

/// What a server answers to a header it does not accept: the version it speaks.
pub(super) const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// Smallest frame_max a client may ask for (0-9-1 spec 4.2.3; RabbitMQ 4.1 raised it to 8192).
pub(super) const FRAME_MAX_MIN: u32 = 4096;
/// RabbitMQ's version whose behaviour this is: clients switch features on it.
const RABBITMQ_VERSION: &str = "4.3.6";

/// HS-1: 0-9-1, and the headers of 0-9 and 0-8 that RabbitMQ takes for it.
pub(super) fn accepts(header: &[u8; 8]) -> bool {
    [PROTOCOL_HEADER, *b"AMQP\x01\x01\x00\x09", *b"AMQP\x01\x01\x08\x00"].contains(header)
}

/// PR-1, PR-2.
pub(super) fn write_start(options: &Options, out: &mut Vec<u8>) {
    let capabilities = [
        "authentication_failure_close",
        "basic.nack",
        "connection.blocked",
        "consumer_cancel_notify",
        "consumer_priorities",
        "direct_reply_to",
        "exchange_exchange_bindings",
        "per_consumer_qos",
        "publisher_confirms",
    ];
    let capabilities: Table = capabilities.into_iter().map(|name| (name, Value::Bool(true))).collect();
    let information = "Lepus: a RabbitMQ-compatible broker. Licensed under the Apache License 2.0";
    let mut properties: Table = [
        ("capabilities", Value::Table(capabilities)),
        ("cluster_name", options.cluster_name.as_str().into()),
        ("copyright", "Copyright (c) the Lepus authors".into()),
        ("information", information.into()),
        ("platform", concat!("Lepus/", env!("CARGO_PKG_VERSION")).into()),
        ("product", "RabbitMQ".into()),
        ("version", RABBITMQ_VERSION.into()),
    ]
    .into_iter()
    .collect();
    for (key, value) in options.server_properties.iter() {
        properties.insert(key, value.clone());
    }
    properties.sort();
    let mut encoded = Vec::new();
    properties.encode_bare(&mut encoded);
    Method::ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties: RawTable(&encoded),
        mechanisms: Mechanism::OFFERED.as_bytes(),
        locales: b"en_US",
    }
    .encode_frame(0, out);
}

/// What the client said of itself (PR-3, PR-4).
#[derive(Clone, Debug, Default)]
pub(super) struct ClientProperties {
    pub(super) authentication_failure_close: bool,
    pub(super) consumer_cancel_notify: bool,
    pub(super) connection_blocked: bool,
    pub(super) connection_name: Option<String>,
}

impl ClientProperties {
    pub(super) fn read(raw: RawTable<'_>) -> Result<Self, Fault> {
        let ids = (10, 11);
        let malformed =
            |error: crate::wire::TableError| Fault::connection(ReplyCode::SyntaxError, ids, error.to_string());
        let properties = raw.parse().map_err(malformed)?;
        let capability = |name: &str| match properties.get("capabilities") {
            Some(Value::Table(capabilities)) => capabilities.get(name) == Some(&Value::Bool(true)),
            _ => false,
        };
        Ok(Self {
            authentication_failure_close: capability("authentication_failure_close"),
            consumer_cancel_notify: capability("consumer_cancel_notify"),
            connection_blocked: capability("connection.blocked"),
            connection_name: properties.get("connection_name").and_then(Value::as_str).map(Into::into),
        })
    }
}

/// Logged in.
#[derive(Clone, Debug)]
pub(super) struct LoggedIn {
    pub(super) user: Arc<User>,
    pub(super) properties: ClientProperties,
}

/// Limits both sides have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tuned {
    /// Of the largest frame in bytes; 0 is without limit.
    pub(super) frame_max: u32,
    pub(super) channel_max: u16,
    /// Seconds; 0 is none.
    pub(super) heartbeat_s: u16,
}

impl Tuned {
    /// Checks tune-ok (HS-6). RabbitMQ goes silent where it fails; 4.x's source has this close method for it.
    pub(super) fn agree(options: &Options, channel_max: u16, frame_max: u32, heartbeat_s: u16) -> Result<Self, Fault> {
        check("frame_max", FRAME_MAX_MIN, options.frame_max, frame_max)?;
        check("channel_max", 0, options.channel_max.into(), channel_max.into())?;
        Ok(Self { frame_max, channel_max, heartbeat_s })
    }

    /// Largest payload accepted: the whole frame_max, 8 more than the specification allows (FR-2).
    pub(super) fn payload_max(self) -> u32 {
        if self.frame_max == 0 { u32::MAX - FRAME_OVERHEAD as u32 } else { self.frame_max }
    }
}

fn check(field: &str, min: u32, server: u32, client: u32) -> Result<(), Fault> {
    let failed = |relation: &str, bound: &str, limit: u32| {
        let detail = if client == 0 && field == "channel_max" { " (no limit)" } else { "" };
        let text =
            format!("negotiated {field} = {client}{detail} is {relation} than the {bound} allowed value ({limit})");
        Err(Fault::connection(ReplyCode::NotAllowed, (10, 30), text))
    };
    if client != 0 && client < min {
        return failed("lower", "minimum", min);
    }
    if server != 0 && (client == 0 || client > server) {
        return failed("higher", "maximum", server);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES HS-6.
    #[test]
    fn tune_ok_stays_within_what_was_offered() {
        let agree = |channel_max, frame_max| Tuned::agree(&Options::default(), channel_max, frame_max, 0);
        assert!(agree(2047, 131_072).is_ok() && agree(1, 4096).is_ok());
        let text = |result: Result<Tuned, Fault>| match result {
            Err(Fault::Connection(sin)) => sin.text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(agree(1, 4095)), "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)");
        assert_eq!(
            text(agree(1, 131_073)),
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"
        );
        assert_eq!(
            text(agree(0, 4096)),
            "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"
        );
        assert_eq!(text(agree(1, 0)), "negotiated frame_max = 0 is higher than the maximum allowed value (131072)");
    }

    /// FEATURES HS-1.
    #[test]
    fn headers_of_0_9_are_taken_too() {
        assert!(accepts(b"AMQP\x00\x00\x09\x01") && accepts(b"AMQP\x01\x01\x00\x09"));
        assert!(!accepts(b"AMQP\x03\x01\x00\x00") && !accepts(b"GET / HT"));
    }
}
