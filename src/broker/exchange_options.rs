//! What an exchange was declared as, beyond its flags: what its arguments mean, with the complaints of RabbitMQ and of
//! the plugins that the types come from.

use super::exchange::{ExchangeType, HashInput, erlang_term};
use super::refusal::Refusal;
use crate::wire::{Table, Value};

/// The argument with the type that a delayed exchange routes as.
pub(super) const DELAYED_TYPE: &str = "x-delayed-type";
/// How many messages a recent history has if the exchange does not say.
const HISTORY_LENGTH: usize = 20;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct ExchangeOptions {
    /// How its bindings match: its own type, or the one named by `x-delayed-type`.
    pub(super) routes_as: ExchangeType,
    /// It holds messages back that say so.
    pub(super) delays: bool,
    /// What is hashed, if it routes by a hash.
    pub(super) hash_input: HashInput,
    /// Messages to keep for queues bound later.
    pub(super) history_length: Option<usize>,
    /// What it remembers to tell duplicates.
    pub(super) cache: Option<CacheOptions>,
}

/// `x-cache-size`, `x-cache-ttl` and `x-cache-persistence`.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheOptions {
    /// Ids to remember.
    pub(super) size_max: usize,
    /// For how long; `None`: as long as there is room.
    pub(super) ttl_ms: Option<u64>,
    /// It survives a restart.
    pub(super) is_kept: bool,
}

impl ExchangeOptions {
    /// It does nothing but route by its bindings.
    pub(super) fn is_plain(&self) -> bool {
        !self.delays && self.history_length.is_none() && self.cache.is_none()
    }

    /// Reads the arguments that this type of exchange knows; others are stored and ignored.
    pub(super) fn parse(kind: ExchangeType, arguments: &Table) -> Result<Self, Refusal> {
        let delays = kind == ExchangeType::Delayed;
        let routes_as = if delays { delayed_type(arguments)? } else { kind };
        let hash_input = match routes_as {
            ExchangeType::ConsistentHash => hash_input(arguments)?,
            _ => HashInput::RoutingKey,
        };
        let history_length = match routes_as {
            ExchangeType::RecentHistory => Some(history_length(arguments)?),
            _ => None,
        };
        let cache = match routes_as {
            ExchangeType::Deduplication => Some(cache(arguments)?),
            _ => None,
        };
        Ok(Self { routes_as, delays, hash_input, history_length, cache })
    }
}

fn refused<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::ExchangeArgument(text.into()))
}

/// XT-10.
fn delayed_type(arguments: &Table) -> Result<ExchangeType, Refusal> {
    let named = arguments.get(DELAYED_TYPE).and_then(Value::as_str).and_then(ExchangeType::parse);
    match named {
        Some(kind) if kind != ExchangeType::Delayed => Ok(kind),
        _ => refused("Invalid argument, 'x-delayed-type' must be an existing exchange type"),
    }
}

/// XT-6. RabbitMQ crashes on arguments that are no strings.
fn hash_input(arguments: &Table) -> Result<HashInput, Refusal> {
    let (header, property) = (arguments.get("hash-header"), arguments.get("hash-property"));
    for (name, value) in [("hash-header", header), ("hash-property", property)] {
        if value.is_some_and(|value| !matches!(value, Value::LongString(_))) {
            return refused(format!("Invalid argument, '{name}' must be a string"));
        }
    }
    match (header, property) {
        (None, None) => Ok(HashInput::RoutingKey),
        (Some(_), Some(_)) => refused("hash-header and hash-property are mutually exclusive"),
        (Some(Value::LongString(name)), _) => Ok(HashInput::Header(name.as_slice().into())),
        (_, property) => match property.and_then(Value::as_str) {
            Some("message_id") => Ok(HashInput::MessageId),
            Some("correlation_id") => Ok(HashInput::CorrelationId),
            Some("timestamp") => Ok(HashInput::Timestamp),
            other => refused(format!("Unsupported property: {}", other.unwrap_or_default())),
        },
    }
}

/// XT-9. Integers of unsigned types are refused, by RabbitMQ, too.
fn history_length(arguments: &Table) -> Result<usize, Refusal> {
    let Some(value) = arguments.get("x-recent-history-length") else { return Ok(HISTORY_LENGTH) };
    let is_signed = matches!(value, Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_));
    match value.as_integer().map(usize::try_from) {
        Some(Ok(length @ 1..)) if is_signed => Ok(length),
        _ => refused(format!(
            "Invalid argument {}, 'x-recent-history-length' must be a positive integer",
            erlang_term(value)
        )),
    }
}

/// XT-11. Numbers may come as text, too.
fn cache(arguments: &Table) -> Result<CacheOptions, Refusal> {
    let positive = |value: &Value| {
        let number = value.as_integer().or_else(|| value.as_str()?.parse().ok())?;
        u64::try_from(number).ok().filter(|number| *number > 0)
    };
    let Some(size) = arguments.get("x-cache-size").and_then(positive) else {
        return refused("Missing or invalid argument, 'x-cache-size' must be an integer greater than 0");
    };
    let ttl_ms = arguments.get("x-cache-ttl").map(positive);
    if ttl_ms == Some(None) {
        return refused("Invalid argument, 'x-cache-ttl' must be an integer greater than 0");
    }
    let is_kept = match arguments.get("x-cache-persistence").map(Value::as_str) {
        None | Some(Some("memory")) => false,
        Some(Some("disk")) => true,
        _ => return refused("Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'"),
    };
    Ok(CacheOptions { size_max: usize::try_from(size).unwrap_or(usize::MAX), ttl_ms: ttl_ms.flatten(), is_kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<const N: usize>(kind: ExchangeType, arguments: [(&str, Value); N]) -> String {
        let parsed = ExchangeOptions::parse(kind, &arguments.into_iter().collect());
        parsed.map_or_else(|refusal| refusal.to_string(), |options| format!("{options:?}"))
    }

    /// FEATURES XT-10.
    #[test]
    fn a_delayed_exchange_needs_another_type() {
        let wrong = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
        let kind = ExchangeType::Delayed;
        assert_eq!(text(kind, []), wrong);
        for value in ["x-delayed-message".into(), "magic".into(), "".into(), Value::I32(1), Value::Void] {
            assert_eq!(text(kind, [("x-delayed-type", value)]), wrong);
        }
        for inner in ExchangeType::ALL.into_iter().filter(|inner| *inner != kind) {
            let arguments = [("x-delayed-type", inner.as_str().into()), ("x-cache-size", Value::I8(1))];
            let options = ExchangeOptions::parse(kind, &arguments.into_iter().collect()).unwrap();
            assert!(options.delays && options.routes_as == inner);
        }
        assert!(text(kind, [("x-delayed-type", "x-message-deduplication".into())]).contains("x-cache-size"));
    }

    /// FEATURES XT-6, XT-9, XT-11.
    #[test]
    fn wrong_arguments_are_told() {
        let hash = ExchangeType::ConsistentHash;
        let both = [("hash-header", "a".into()), ("hash-property", "message_id".into())];
        assert_eq!(text(hash, both), "hash-header and hash-property are mutually exclusive");
        assert_eq!(text(hash, [("hash-property", "foo".into())]), "Unsupported property: foo");
        assert_eq!(text(hash, [("hash-header", Value::I32(1))]), "Invalid argument, 'hash-header' must be a string");
        let history = |value| text(ExchangeType::RecentHistory, [("x-recent-history-length", value)]);
        for (value, shown) in
            [(Value::I32(0), "0"), (Value::I64(-3), "-3"), (Value::U8(7), "7"), ("7".into(), "<<\"7\">>")]
        {
            let wrong = format!("Invalid argument {shown}, 'x-recent-history-length' must be a positive integer");
            assert_eq!(history(value), wrong);
        }
        let dedup = ExchangeType::Deduplication;
        let size = || ("x-cache-size", Value::I32(5));
        for value in [Value::I32(0), Value::I64(-1), "many".into(), Value::Bool(true), Value::Void] {
            assert!(text(dedup, [("x-cache-size", value.clone())]).starts_with("Missing or invalid argument"));
            assert!(
                text(dedup, [size(), ("x-cache-ttl", value.clone())]).starts_with("Invalid argument, 'x-cache-ttl'")
            );
            assert!(text(dedup, [size(), ("x-cache-persistence", value)]).contains("either 'disk' or 'memory'"));
        }
        assert!(text(dedup, [size(), ("x-cache-ttl", "100".into())]).contains("ttl_ms: Some(100)"));
    }
}
