//! What a policy, an operator policy and a queue's arguments come to together (PO-3).

use std::sync::Arc;

use serde_json::Value as Json;

use super::Definition;
use crate::broker::queue::{DeadLetterTarget, Overflow, QueueOptions, QueueSettings, QueueType, TTL_MS_MAX};

/// Of these the smallest of all counts.
const SMALLEST: [&str; 6] =
    ["expires", "message-ttl", "max-length", "max-length-bytes", "max-in-memory-length", "max-in-memory-bytes"];

/// Keys that RabbitMQ's classic queues do not know: a policy with one of them does not apply to them at all.
const UNKNOWN_TO_CLASSIC: [&str; 12] = [
    "delivery-limit",
    "dead-letter-strategy",
    "initial-cluster-size",
    "max-age",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "stream-max-segment-size-bytes",
    "stream-filter-size-bytes",
    "target-group-size",
    "consumer-timeout",
    "consumer-disconnected-timeout",
    "queue-leader-locator-none",
];

pub(super) fn is_known_to(_queue_type: QueueType, _definition: &Definition) -> bool {
    true
}

/// The operator's word counts, except for limits, where the stricter does.
pub(super) fn definitions(policy: Option<&Definition>, operator: Option<&Definition>) -> Definition {
    let mut merged = policy.cloned().unwrap_or_default();
    for (key, value) in operator.into_iter().flatten() {
        let value = match (merged.get(key).and_then(Json::as_i64), value.as_i64()) {
            (Some(own), Some(limit)) if SMALLEST.contains(&key.as_str()) => own.min(limit).into(),
            (Some(own), Some(limit)) if key == "delivery-limit" => stricter_delivery_limit(own, limit).into(),
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

/// A negative limit is none, so any other is stricter.
fn stricter_delivery_limit(a: i64, b: i64) -> i64 {
    if a < 0 || b < 0 { a.max(b) } else { a.min(b) }
}

/// A queue's arguments under this definition.
pub(super) fn settings(options: &QueueOptions, definition: &Definition) -> QueueSettings {
    let own = &options.settings;
    let number = |key: &str| definition.get(key).and_then(Json::as_u64);
    let milliseconds = |key: &str| number(key).map(|ms| ms.min(TTL_MS_MAX.unsigned_abs()));
    QueueSettings {
        message_ttl_ms: smallest(own.message_ttl_ms, milliseconds("message-ttl")),
        expires_ms: smallest(own.expires_ms, milliseconds("expires")),
        length_max: smallest(own.length_max, number("max-length")),
        length_bytes_max: smallest(own.length_bytes_max, number("max-length-bytes")),
        overflow: overflow(options, definition),
        dead_letter: dead_letter(options, definition),
        delivery_limit: delivery_limit(options, definition),
    }
}

fn smallest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// The argument wins.
fn overflow(options: &QueueOptions, definition: &Definition) -> Overflow {
    if options.arguments.get("x-overflow").is_some() {
        return options.settings.overflow;
    }
    match (definition.get("overflow").and_then(Json::as_str), options.queue_type) {
        (Some("reject-publish"), _) => Overflow::RejectPublish,
        (Some("reject-publish-dlx"), QueueType::Classic) => Overflow::RejectPublishDlx,
        // TL-9: a quorum queue takes reject-publish-dlx and drops from the head.
        _ => Overflow::DropHead,
    }
}

/// The arguments win, each for itself.
fn dead_letter(options: &QueueOptions, definition: &Definition) -> Option<DeadLetterTarget> {
    let text = |key: &str| definition.get(key).and_then(Json::as_str).map(Arc::from);
    let own = options.settings.dead_letter.clone();
    let (exchange, routing_key) = own.map_or((None, None), |own| (Some(own.exchange), own.routing_key));
    Some(DeadLetterTarget {
        exchange: exchange.or_else(|| text("dead-letter-exchange"))?,
        routing_key: routing_key.or_else(|| text("dead-letter-routing-key")),
    })
}

/// The stricter counts. A queue with no limit of its own has RabbitMQ's default only if no policy names one.
fn delivery_limit(options: &QueueOptions, definition: &Definition) -> Option<u32> {
    let policy = definition.get("delivery-limit").and_then(Json::as_i64);
    let (QueueType::Quorum, Some(policy)) = (options.queue_type, policy) else {
        return options.settings.delivery_limit;
    };
    let argument = options.arguments.get("x-delivery-limit").and_then(crate::wire::Value::as_integer);
    let limit = argument.map_or(policy, |argument| stricter_delivery_limit(argument, policy));
    u32::try_from(limit).ok()
}
