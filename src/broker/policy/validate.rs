//! What a policy's definition may hold, and RabbitMQ's text for each thing that it may not (PO-4 to PO-6).

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{Definition, PolicyError, PolicyKind};

/// A value as RabbitMQ's texts show it: an Erlang term.
pub(in crate::broker) fn term(value: &Json) -> String {
    match value {
        Json::String(text) => format!("<<\"{}\">>", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Json::Array(values) => format!("[{}]", values.iter().map(term).collect::<Vec<_>>().join(",")),
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("<<\"{key}\">> => {}", term(value))).collect();
            format!("#{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

/// What a value must be.
enum Rule {
    Integer(std::ops::RangeInclusive<i64>),
    Text,
    OneOf(&'static [&'static str]),
    MaxAge,
    NodeNames,
}

struct Key {
    name: &'static str,
    /// An operator may set it, too.
    operator: bool,
    rule: Rule,
    /// What follows the value in a complaint.
    complaint: &'static str,
}

const fn key(name: &'static str, operator: bool, rule: Rule, complaint: &'static str) -> Key {
    Key { name, operator, rule, complaint }
}

const LOCATORS: &[&str] = &["client-local", "balanced", "random", "least-leaders"];
const DELAY_MIN: &str = "is not a valid delayed retry minimum delay. Must be a positive integer";
const DELAY_MAX: &str = "is not a valid delayed retry maximum delay. Must be a positive integer";
const DELAY_TYPE: &str = "is not a valid delayed retry type. Must be one of: all, failed, returned, disabled";
const NATURAL: Rule = Rule::Integer(0..=i64::MAX);
const POSITIVE: Rule = Rule::Integer(1..=i64::MAX);

/// The keys of RabbitMQ 4.3, and `queue-master-locator` of RabbitMQ 3.
const KEYS: &[Key] = &[
    key("alternate-exchange", false, Rule::Text, "is not a valid alternate exchange name"),
    key("consumer-disconnected-timeout", false, NATURAL, "is not a valid consumer disconnected timeout"),
    key("consumer-timeout", false, NATURAL, "is not a valid consumer timeout"),
    key("dead-letter-exchange", false, Rule::Text, "is not a valid dead letter exchange name"),
    key("dead-letter-routing-key", false, Rule::Text, "is not a valid dead letter routing key"),
    key(
        "dead-letter-strategy",
        false,
        Rule::OneOf(&["at-most-once", "at-least-once"]),
        "is not a valid dead letter strategy",
    ),
    key("delayed-retry-max", true, POSITIVE, DELAY_MAX),
    key("delayed-retry-min", true, POSITIVE, DELAY_MIN),
    key("delayed-retry-type", true, Rule::OneOf(&["all", "failed", "returned", "disabled"]), DELAY_TYPE),
    key("delivery-limit", true, Rule::Integer(i64::MIN..=i64::MAX), "is not a valid delivery limit"),
    key("expires", true, POSITIVE, "is not a valid queue expiry"),
    key("initial-cluster-size", false, NATURAL, "is not a valid cluster size"),
    key("max-age", false, Rule::MaxAge, "is not a valid max age"),
    key("max-in-memory-bytes", true, NATURAL, "is not a valid maximum memory in bytes"),
    key("max-in-memory-length", true, NATURAL, "is not a valid maximum memory in bytes"),
    key("max-length", true, NATURAL, "is not a valid maximum length"),
    key("max-length-bytes", true, NATURAL, "is not a valid maximum length in bytes"),
    key("message-ttl", true, NATURAL, "is not a valid message TTL"),
    key(
        "overflow",
        true,
        Rule::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"]),
        "is not a valid overflow value",
    ),
    key("queue-leader-locator", false, Rule::OneOf(LOCATORS), "is not a valid queue leader locator value"),
    key(
        "queue-master-locator",
        false,
        Rule::OneOf(&["min-masters", "client-local", "random"]),
        "invalid queue-master-locator value",
    ),
    key("queue-mode", false, Rule::OneOf(&["default", "lazy"]), "is not a valid queue-mode value"),
    key("queue-version", true, Rule::Integer(1..=2), "is not a valid queue-version value"),
    key(
        "stream-filter-size-bytes",
        false,
        Rule::Integer(16..=255),
        "is not a valid filter size. Valid range is 16-255",
    ),
    key("stream-max-segment-size-bytes", false, Rule::Integer(0..=3_000_000_000), "is not a valid segment size"),
    key("target-group-size", true, POSITIVE, "is not a valid qq target count value"),
    // Mirroring, of RabbitMQ 3: kept for whoever moves here with it. `mirroring` has the complaints.
    key("ha-mode", true, Rule::OneOf(&["all", "exactly", "nodes"]), "is not a valid ha-mode value"),
    key("ha-params", true, Rule::NodeNames, ""),
    key("ha-promote-on-failure", true, Rule::OneOf(&["always", "when-synced"]), ""),
    key("ha-promote-on-shutdown", true, Rule::OneOf(&["always", "when-synced"]), ""),
    key("ha-sync-batch-size", true, POSITIVE, ""),
    key("ha-sync-mode", true, Rule::OneOf(&["manual", "automatic"]), ""),
];

impl Rule {
    fn allows(&self, value: &Json) -> bool {
        match self {
            Self::Integer(range) => value.as_i64().is_some_and(|n| range.contains(&n)),
            Self::Text => value.is_string(),
            Self::OneOf(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::MaxAge => value.as_str().is_some_and(is_max_age),
            Self::NodeNames => {
                value.is_u64() || value.as_array().is_some_and(|nodes| nodes.iter().all(Json::is_string))
            }
        }
    }
}

/// A number and a unit, as `7D`.
fn is_max_age(text: &str) -> bool {
    text.strip_suffix(['Y', 'M', 'D', 'h', 'm', 's'])
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Checks all keys, the first bad one in alphabetical order is told; a key that is unknown only after those that are
/// known, as RabbitMQ does.
pub(super) fn definition(kind: PolicyKind, definition: &Definition) -> Result<(), PolicyError> {
    if definition.is_empty() {
        return Err(PolicyError("no policy provided".into()));
    }
    let mut unknown = String::new();
    for (name, value) in definition {
        let known = KEYS.iter().find(|key| key.name == name && (key.operator || kind == PolicyKind::User));
        match known {
            Some(key) if key.complaint.is_empty() || key.rule.allows(value) => {}
            Some(key) => return Err(PolicyError(format!("{} {}", term(value), key.complaint))),
            None => {
                let comma = if unknown.is_empty() { "" } else { "," };
                let _ = write!(unknown, "{comma}{{<<\"{name}\">>,{}}}", term(value));
            }
        }
    }
    mirroring(definition)?;
    delayed_retry(definition)?;
    if unknown.is_empty() {
        return Ok(());
    }
    Err(PolicyError(format!("[{unknown}] are not recognised policy settings")))
}

/// Keys that need each other. A definition that names ha- keys is checked as RabbitMQ 3 did.
fn mirroring(definition: &Definition) -> Result<(), PolicyError> {
    let refused = |text: String| Err(PolicyError(text));
    let Some(mode) = definition.get("ha-mode").and_then(Json::as_str) else {
        if definition.keys().any(|key| key.starts_with("ha-") && KEYS.iter().any(|known| known.name == key)) {
            let text = "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown";
            return refused(text.into());
        }
        return Ok(());
    };
    match (mode, definition.get("ha-params")) {
        ("exactly", Some(count)) if count.as_u64().is_some_and(|count| count > 0) => {}
        ("exactly", given) => {
            let given = given.map_or("none".into(), term);
            return refused(format!("ha-mode=\"exactly\" takes an integer, {given} given"));
        }
        ("nodes", Some(nodes))
            if nodes.as_array().is_some_and(|nodes| !nodes.is_empty()) && Rule::NodeNames.allows(nodes) => {}
        ("nodes", given) => {
            let given = given.map_or("none".into(), term);
            return refused(format!("ha-mode=\"nodes\" takes a list of strings, {given} given"));
        }
        _ => {}
    }
    let batch = definition.get("ha-sync-batch-size");
    if let Some(batch) = batch.filter(|batch| !POSITIVE.allows(batch)) {
        return refused(format!("ha-sync-batch-size takes an integer greater than 0, {} given", term(batch)));
    }
    for name in ["ha-sync-mode", "ha-promote-on-shutdown", "ha-promote-on-failure"] {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else { continue };
        if let (Some(value), Rule::OneOf([first, second])) = (definition.get(name), &key.rule)
            && !key.rule.allows(value)
        {
            return refused(format!("{name} must be \"{first}\" or \"{second}\", got {}", term(value)));
        }
    }
    Ok(())
}

fn delayed_retry(definition: &Definition) -> Result<(), PolicyError> {
    let (min, max) = (definition.get("delayed-retry-min"), definition.get("delayed-retry-max"));
    if let Some(how) = definition.get("delayed-retry-type").and_then(Json::as_str)
        && how != "disabled"
        && min.is_none()
    {
        return Err(PolicyError(format!("delayed-retry-min is required when delayed-retry-type is {how}")));
    }
    match (min.and_then(Json::as_i64), max.and_then(Json::as_i64)) {
        (Some(min), Some(max)) if max < min => {
            Err(PolicyError(format!("delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: PolicyKind, json: &Json) -> Result<(), String> {
        definition(kind, json.as_object().expect("an object")).map_err(|error| error.to_string())
    }

    /// FEATURES PO-4, PO-6: the texts of RabbitMQ 4.3.6, and for ha- keys those of 3.10.8.
    #[test]
    fn bad_values_are_told() {
        let cases = [
            (json!({}), "no policy provided"),
            (
                json!({"foo": 5, "bar": "x"}),
                "[{<<\"bar\">>,<<\"x\">>},{<<\"foo\">>,5}] are not recognised policy settings",
            ),
            (json!({"max-length": 5, "message-ttl": -1, "foo": 1}), "-1 is not a valid message TTL"),
            (json!({"max-length": 1.5}), "1.5 is not a valid maximum length"),
            (json!({"max-length": null}), "null is not a valid maximum length"),
            (json!({"max-length-bytes": "x"}), "<<\"x\">> is not a valid maximum length in bytes"),
            (json!({"expires": 0}), "0 is not a valid queue expiry"),
            (json!({"alternate-exchange": 5}), "5 is not a valid alternate exchange name"),
            (json!({"dead-letter-exchange": 5}), "5 is not a valid dead letter exchange name"),
            (json!({"dead-letter-routing-key": 5}), "5 is not a valid dead letter routing key"),
            (json!({"dead-letter-strategy": "x"}), "<<\"x\">> is not a valid dead letter strategy"),
            (json!({"overflow": ["x"]}), "[<<\"x\">>] is not a valid overflow value"),
            (json!({"delivery-limit": "x"}), "<<\"x\">> is not a valid delivery limit"),
            (json!({"queue-mode": "x"}), "<<\"x\">> is not a valid queue-mode value"),
            (json!({"queue-version": 3}), "3 is not a valid queue-version value"),
            (json!({"queue-leader-locator": "x"}), "<<\"x\">> is not a valid queue leader locator value"),
            (json!({"queue-master-locator": "x"}), "<<\"x\">> invalid queue-master-locator value"),
            (json!({"initial-cluster-size": "x"}), "<<\"x\">> is not a valid cluster size"),
            (json!({"max-age": "x"}), "<<\"x\">> is not a valid max age"),
            (json!({"stream-max-segment-size-bytes": 5_000_000_000_i64}), "5000000000 is not a valid segment size"),
            (json!({"stream-filter-size-bytes": 1}), "1 is not a valid filter size. Valid range is 16-255"),
            (json!({"target-group-size": 0}), "0 is not a valid qq target count value"),
            (json!({"consumer-timeout": -1}), "-1 is not a valid consumer timeout"),
            (
                json!({"delayed-retry-type": "x"}),
                "<<\"x\">> is not a valid delayed retry type. Must be one of: all, failed, returned, disabled",
            ),
            (json!({"delayed-retry-type": "all"}), "delayed-retry-min is required when delayed-retry-type is all"),
            (
                json!({"delayed-retry-min": 5, "delayed-retry-max": 2}),
                "delayed-retry-max (2) must not be smaller than delayed-retry-min (5)",
            ),
            (json!({"max-in-memory-length": -1}), "-1 is not a valid maximum memory in bytes"),
            (json!({"ha-mode": "x"}), "<<\"x\">> is not a valid ha-mode value"),
            (json!({"ha-mode": "exactly"}), "ha-mode=\"exactly\" takes an integer, none given"),
            (
                json!({"ha-params": 2}),
                "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown",
            ),
            (
                json!({"ha-mode": "all", "ha-sync-mode": "x"}),
                "ha-sync-mode must be \"manual\" or \"automatic\", got <<\"x\">>",
            ),
            (
                json!({"ha-mode": "all", "ha-sync-batch-size": 0}),
                "ha-sync-batch-size takes an integer greater than 0, 0 given",
            ),
        ];
        for (definition, text) in cases {
            assert_eq!(check(PolicyKind::User, &definition), Err(text.to_owned()), "{definition}");
        }
    }

    /// FEATURES PO-4: what RabbitMQ accepts, values beyond what a queue can use among it.
    #[test]
    fn good_values_are_accepted() {
        for definition in [
            json!({"message-ttl": 315_360_000_001_i64, "max-length": 0}),
            json!({"delivery-limit": -2}),
            json!({"max-age": "7D", "consumer-timeout": 0, "initial-cluster-size": 0}),
            json!({"ha-mode": "nodes", "ha-params": ["a"], "ha-promote-on-failure": "always"}),
            json!({"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"}),
            json!({"queue-mode": "lazy", "queue-master-locator": "min-masters"}),
        ] {
            assert_eq!(check(PolicyKind::User, &definition), Ok(()), "{definition}");
        }
    }

    /// FEATURES PO-5: an operator sets limits, and nothing else.
    #[test]
    fn operators_have_few_keys() {
        for definition in [json!({"max-length": 5}), json!({"overflow": "drop-head"}), json!({"delivery-limit": 3})] {
            assert_eq!(check(PolicyKind::Operator, &definition), Ok(()));
        }
        let error = check(PolicyKind::Operator, &json!({"dead-letter-exchange": "x"}));
        let text = "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings";
        assert_eq!(error, Err(text.to_owned()));
    }
}
