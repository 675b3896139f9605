//! What a policy, an operator policy and a queue's arguments come to together (PO-3).

use std::sync::Arc;

use serde_json::Value as Json;

use super::Definition;
use crate::broker::queue::{
    AT_LEAST_ONCE, DeadLetterTarget, DelayedRetry, Overflow, QueueOptions, QueueSettings, QueueType, TTL_MS_MAX,
};

/// Of these the smallest of all counts.
const SMALLEST: [&str; 6] =
    ["expires", "message-ttl", "max-length", "max-length-bytes", "max-in-memory-length", "max-in-memory-bytes"];

/// Keys that RabbitMQ's classic queues do not know.
const UNKNOWN_TO_CLASSIC: [&str; 9] = [
    "dead-letter-strategy",
    "delivery-limit",
    "initial-cluster-size",
    "max-age",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "stream-filter-size-bytes",
    "stream-max-segment-size-bytes",
    "target-group-size",
];

/// Keys that RabbitMQ's quorum queues do not know.
const UNKNOWN_TO_QUORUM: [&str; 4] =
    ["max-age", "queue-mode", "stream-filter-size-bytes", "stream-max-segment-size-bytes"];

/// A policy with a key that a type of queue does not know is passed over for queues of this type, all of it.
pub(super) fn is_known_to(queue_type: QueueType, definition: &Definition) -> bool {
    let unknown: &[&str] = match queue_type {
        QueueType::Classic => &UNKNOWN_TO_CLASSIC,
        QueueType::Quorum => &UNKNOWN_TO_QUORUM,
    };
    !definition.keys().any(|key| unknown.contains(&key.as_str()))
}

/// The operator's word counts, except for limits, where the stricter does.
pub(super) fn definitions(policy: Option<&Definition>, operator: Option<&Definition>) -> Definition {
    let mut merged = policy.cloned().unwrap_or_default();
    for (key, value) in operator.into_iter().flatten() {
        let value = match (merged.get(key).and_then(Json::as_i64), value.as_i64()) {
            (Some(own), Some(limit)) if SMALLEST.contains(&key.as_str()) => own.min(limit).into(),
            (Some(own), Some(least)) if key == "target-group-size" => own.max(least).into(),
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
        dead_letters_at_least_once: at_least_once(options, definition),
        delayed_retry: delayed_retry(options, definition),
        delivery_limit: delivery_limit(options, definition),
        consumer_timeout_ms: smallest(own.consumer_timeout_ms, milliseconds("consumer-timeout")),
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

/// The argument wins. It has an effect only on a queue that does not drop from its head (DX-11).
fn at_least_once(options: &QueueOptions, definition: &Definition) -> bool {
    let argument = options.arguments.get("x-dead-letter-strategy").and_then(crate::wire::Value::as_str);
    let strategy = argument.or_else(|| definition.get("dead-letter-strategy").and_then(Json::as_str));
    options.queue_type == QueueType::Quorum
        && strategy == Some(AT_LEAST_ONCE)
        && overflow(options, definition) == Overflow::RejectPublish
        && dead_letter(options, definition).is_some()
}

/// QQ-8: the policy says which messages wait, and the shorter times count.
fn delayed_retry(options: &QueueOptions, definition: &Definition) -> Option<DelayedRetry> {
    if options.queue_type != QueueType::Quorum {
        return None;
    }
    let argument = |key: &str| options.arguments.get(key);
    let what = definition.get("delayed-retry-type").and_then(Json::as_str);
    let what = what.or_else(|| argument("x-delayed-retry-type").and_then(crate::wire::Value::as_str));
    let shorter = |key: &str, own: &str| {
        let own = argument(own).and_then(crate::wire::Value::as_integer);
        own.into_iter().chain(definition.get(key).and_then(Json::as_i64)).min()
    };
    let min_ms = shorter("delayed-retry-min", "x-delayed-retry-min");
    DelayedRetry::new(what, min_ms, shorter("delayed-retry-max", "x-delayed-retry-max"))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::broker::refusal::Named;
    use crate::wire::{Table, Value};

    fn object(json: &Json) -> Definition {
        json.as_object().cloned().expect("an object")
    }

    fn declared(queue_type: &str, arguments: &[(&str, Value)]) -> QueueOptions {
        let mut table = Table::default();
        table.push("x-queue-type", queue_type.into());
        for (name, value) in arguments {
            table.push(*name, value.clone());
        }
        QueueOptions::parse(&Named::queue("q", &"/".into()), true, None, false, false, table).expect("valid")
    }

    /// FEATURES PO-3: policy, operator policy, and what RabbitMQ 4.3.6 showed as effective.
    #[test]
    fn an_operator_limits_a_policy() {
        let cases = [
            (
                json!({"max-length": 9, "message-ttl": 5000}),
                json!({"max-length": 10, "message-ttl": 4000}),
                json!({"max-length": 9, "message-ttl": 4000}),
            ),
            (json!({"delivery-limit": -1}), json!({"delivery-limit": 5}), json!({"delivery-limit": 5})),
            (json!({"delivery-limit": 7}), json!({"delivery-limit": 5}), json!({"delivery-limit": 5})),
            (
                json!({"overflow": "drop-head", "queue-version": 1}),
                json!({"overflow": "reject-publish", "queue-version": 2}),
                json!({"overflow": "reject-publish", "queue-version": 2}),
            ),
            (json!({"target-group-size": 5}), json!({"target-group-size": 3}), json!({"target-group-size": 5})),
            (
                json!({"delayed-retry-type": "all", "delayed-retry-min": 5, "delayed-retry-max": 50}),
                json!({"delayed-retry-type": "failed", "delayed-retry-min": 7, "delayed-retry-max": 40}),
                json!({"delayed-retry-type": "failed", "delayed-retry-min": 7, "delayed-retry-max": 40}),
            ),
            (
                json!({"dead-letter-exchange": "x"}),
                json!({"expires": 3}),
                json!({"dead-letter-exchange": "x", "expires": 3}),
            ),
        ];
        for (policy, operator, effective) in cases {
            let merged = definitions(Some(&object(&policy)), Some(&object(&operator)));
            assert_eq!(merged, object(&effective), "{policy} under {operator}");
        }
    }

    /// FEATURES PO-3: limits are the smallest of all; where dead letters go and what overflows the argument says.
    #[test]
    fn arguments_and_policies_come_together() {
        let arguments = [
            ("x-max-length", Value::I32(5)),
            ("x-message-ttl", Value::I32(100)),
            ("x-overflow", "drop-head".into()),
            ("x-dead-letter-exchange", "own".into()),
        ];
        let definition = object(&json!({
            "max-length": 9, "message-ttl": 50, "expires": 7, "overflow": "reject-publish",
            "dead-letter-exchange": "other", "dead-letter-routing-key": "key"
        }));
        let merged = settings(&declared("classic", &arguments), &definition);
        assert_eq!((merged.length_max, merged.message_ttl_ms, merged.expires_ms), (Some(5), Some(50), Some(7)));
        assert_eq!(merged.overflow, Overflow::DropHead);
        let target = DeadLetterTarget { exchange: "own".into(), routing_key: Some("key".into()) };
        assert_eq!(merged.dead_letter, Some(target));
        let merged = settings(&declared("classic", &[]), &definition);
        assert_eq!((merged.length_max, merged.overflow), (Some(9), Overflow::RejectPublish));
        let key_only = object(&json!({"dead-letter-routing-key": "key"}));
        assert_eq!(settings(&declared("classic", &[]), &key_only).dead_letter, None);
    }

    /// FEATURES PO-3: the stricter delivery limit counts; a negative one is none.
    #[test]
    fn delivery_limits_come_together() {
        let cases = [
            (None, Some(5), Some(5)),
            (None, Some(50), Some(50)),
            (None, Some(-1), None),
            (Some(3), Some(5), Some(3)),
            (Some(-1), Some(5), Some(5)),
            (Some(3), Some(-1), Some(3)),
            (Some(3), None, Some(3)),
            (None, None, Some(20)),
        ];
        for (argument, policy, expected) in cases {
            let arguments: Vec<_> = argument.map(|limit| ("x-delivery-limit", Value::I32(limit))).into_iter().collect();
            let mut definition = Definition::new();
            definition.extend(policy.map(|limit| ("delivery-limit".to_owned(), Json::from(limit))));
            let merged = settings(&declared("quorum", &arguments), &definition);
            assert_eq!(merged.delivery_limit, expected, "{argument:?} {policy:?}");
        }
    }
}
