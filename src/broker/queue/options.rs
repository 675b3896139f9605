//! What a queue was declared as: its properties, and what its arguments mean.

use std::sync::Arc;

use super::retry::DelayedRetry;
use super::settings::{DeadLetterTarget, Overflow, QueueSettings};
use crate::broker::mailbox::ConnectionId;
use crate::broker::refusal::{Named, Refusal};
use crate::wire::{Table, Value};

/// `x-queue-type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueType {
    /// The default.
    Classic,
    /// Durable, with delivery counts.
    Quorum,
}

impl QueueType {
    /// How many there are.
    pub(in crate::broker) const COUNT: usize = 2;

    /// The name that `x-queue-type` has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    pub(in crate::broker) fn erlang_name(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
        }
    }

    /// Arguments this type knows; others of RabbitMQ's are refused, unknown `x-` ones stored and ignored.
    fn knows(self, argument: &str) -> bool {
        let own: &[&str] = match self {
            Self::Classic => &CLASSIC_ARGUMENTS,
            Self::Quorum => &QUORUM_ARGUMENTS,
        };
        COMMON_ARGUMENTS.contains(&argument) || own.contains(&argument)
    }
}

const COMMON_ARGUMENTS: [&str; 11] = [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-message-deduplication",
    "x-message-ttl",
    "x-overflow",
    "x-queue-leader-locator",
    "x-queue-type",
    "x-single-active-consumer",
];
/// The last three are RabbitMQ 3's, accepted from applications that move here.
const CLASSIC_ARGUMENTS: [&str; 4] = ["x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator"];
const QUORUM_ARGUMENTS: [&str; 13] = [
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-quorum-initial-group-size",
    "x-quorum-target-group-size",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
    "x-member-placement-tag",
    "x-queue-master-locator",
];
const STREAM_ARGUMENTS: [&str; 4] =
    ["x-max-age", "x-stream-max-segment-size-bytes", "x-stream-filter-size-bytes", "x-initial-cluster-size"];

/// A queue's declaration.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// `x-queue-type`.
    pub queue_type: QueueType,
    /// Survives a restart.
    pub durable: bool,
    /// The connection that has it for itself.
    pub exclusive: Option<ConnectionId>,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// As declared.
    pub arguments: Table,
    /// `x-max-priority`; 0 has none.
    pub priority_max: u8,
    /// `x-single-active-consumer`.
    pub single_active_consumer: bool,
    /// `x-message-deduplication`.
    pub deduplicates: bool,
    /// What the arguments set that a policy may set as well.
    pub settings: QueueSettings,
}

/// Arguments of basic.consume that only other queue types know (EH-16).
const CONSUMER_ARGUMENTS_OF_OTHERS: [(&str, &[QueueType]); 4] = [
    ("x-consumer-timeout", &[QueueType::Quorum]),
    ("x-stream-offset", &[]),
    ("x-stream-filter", &[]),
    ("x-stream-match-unfiltered", &[]),
];

/// `x-dead-letter-strategy` of dead letters that stay until they have arrived (DX-11).
pub(in crate::broker) const AT_LEAST_ONCE: &str = "at-least-once";

/// RabbitMQ's cap on x-message-ttl, x-expires and expiration: ten years, in ms.
pub(in crate::broker) const TTL_MS_MAX: i64 = 315_360_000_000;

/// Delivery limit of a quorum queue that names none (RabbitMQ 4).
const QUORUM_DELIVERY_LIMIT: i64 = 20;

impl QueueOptions {
    /// Checks properties and arguments in RabbitMQ's way (EH-15 to EH-19).
    pub(in crate::broker) fn parse(
        name: &Named,
        durable: bool,
        exclusive: Option<ConnectionId>,
        auto_delete: bool,
        server_named: bool,
        arguments: Table,
    ) -> Result<Self, Refusal> {
        let checked = Checked { queue: name, table: &arguments };
        let queue_type = checked.queue_type()?;
        checked.check_arguments_of_other_types(queue_type)?;
        // Of several bad arguments the first in this order is told.
        let expires_ms = checked.milliseconds("x-expires", 1)?;
        let message_ttl_ms = checked.milliseconds("x-message-ttl", 0)?;
        let length_max = checked.non_negative("x-max-length")?;
        let length_bytes_max = checked.non_negative("x-max-length-bytes")?;
        let priority_max = checked.priority_max()?;
        let overflow = checked.overflow(queue_type)?;
        let dead_letter = checked.dead_letter()?;
        let single_active_consumer = checked.boolean("x-single-active-consumer")?;
        let deduplicates = checked.boolean("x-message-deduplication")?;
        checked.queue_version()?;
        checked.leader_locator()?;
        let strategy = checked.dead_letter_strategy()?;
        let delivery_limit = checked.delivery_limit(queue_type);
        let consumer_timeout_ms = checked.non_negative("x-consumer-timeout")?;
        checked.quorum_sizes()?;
        if queue_type == QueueType::Quorum {
            if server_named {
                return Err(Refusal::ServerNamed(queue_type.erlang_name()));
            }
            let wrong =
                [(exclusive.is_some(), "exclusive-owner"), (!durable, "non-durable"), (auto_delete, "auto-delete")];
            if let Some((_, property)) = wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
                return Err(Refusal::InvalidProperty { property, queue: name.clone() });
            }
        }
        let at_least_once =
            strategy == Some(AT_LEAST_ONCE) && dead_letter.is_some() && overflow == Overflow::RejectPublish;
        Ok(Self {
            queue_type,
            durable,
            exclusive,
            auto_delete,
            priority_max,
            single_active_consumer,
            deduplicates,
            settings: QueueSettings {
                message_ttl_ms,
                expires_ms,
                length_max,
                length_bytes_max,
                overflow,
                dead_letter,
                delivery_limit,
                consumer_timeout_ms,
                dead_letters_at_least_once: at_least_once,
                delayed_retry: checked.delayed_retry(),
            },
            arguments,
        })
    }

    /// EH-16: arguments of a consumer that this type of queue does not know.
    pub(in crate::broker) fn check_consumer_arguments(&self, name: &Named, arguments: &Table) -> Result<(), Refusal> {
        for (argument, types) in CONSUMER_ARGUMENTS_OF_OTHERS {
            if arguments.get(argument).is_some() && !types.contains(&self.queue_type) {
                return Err(Refusal::ArgumentOfOtherType {
                    argument: argument.into(),
                    queue: name.clone(),
                    queue_type: self.queue_type.erlang_name(),
                });
            }
        }
        Ok(())
    }

    /// `x-consumer-timeout` of a consumer, ms.
    pub(in crate::broker) fn consumer_timeout(&self, name: &Named, arguments: &Table) -> Result<Option<u64>, Refusal> {
        Checked { queue: name, table: arguments }.non_negative("x-consumer-timeout")
    }

    /// EH-4: is this declare the same queue? Only arguments known to the type count, integers by value across
    /// widths; a missing x-queue-type is classic.
    pub(in crate::broker) fn check_equivalent(
        &self,
        name: &Named,
        durable: bool,
        auto_delete: bool,
        arguments: &Table,
    ) -> Result<(), Refusal> {
        check_same_flag(name, "durable", self.durable, durable)?;
        check_same_flag(name, "auto_delete", self.auto_delete, auto_delete)?;
        let classic = Value::LongString(b"classic".to_vec());
        let mut keys: Vec<&str> =
            COMMON_ARGUMENTS.iter().chain(&CLASSIC_ARGUMENTS).chain(&QUORUM_ARGUMENTS).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let (current, received) = (self.arguments.get(key), arguments.get(key));
            let (current, received) = match key {
                "x-queue-type" => (Some(current.unwrap_or(&classic)), Some(received.unwrap_or(&classic))),
                _ => (current, received),
            };
            check_same_argument(name, key, current, received)?;
        }
        Ok(())
    }

    /// QU-9: a declare of a classic queue has come to a quorum queue.
    pub(in crate::broker) fn is_quorum_for_classic(&self, arguments: &Table) -> bool {
        let is_classic = |queue_type: &Value| queue_type.as_str() == Some("classic");
        self.queue_type == QueueType::Quorum && arguments.get("x-queue-type").is_none_or(is_classic)
    }

    /// QU-9: arguments that only one of the types knows, and flags, are not compared.
    pub(in crate::broker) fn check_shared_arguments(&self, name: &Named, arguments: &Table) -> Result<(), Refusal> {
        let shared = COMMON_ARGUMENTS.into_iter().filter(|key| *key != "x-queue-type");
        for key in shared {
            check_same_argument(name, key, self.arguments.get(key), arguments.get(key))?;
        }
        Ok(())
    }
}

/// Compares a property of an existing queue or exchange with that of a new declare.
pub(in crate::broker) fn check_same_flag(
    what: &Named,
    field: &str,
    current: bool,
    received: bool,
) -> Result<(), Refusal> {
    if current == received {
        return Ok(());
    }
    Err(Refusal::Inequivalent {
        argument: field.into(),
        what: what.clone(),
        received: format!("'{received}'"),
        current: format!("'{current}'"),
    })
}

/// Compares one argument of an existing queue or exchange with that of a new declare.
pub(in crate::broker) fn check_same_argument(
    what: &Named,
    key: &str,
    current: Option<&Value>,
    received: Option<&Value>,
) -> Result<(), Refusal> {
    let (current, received) = match (current, received) {
        (None, None) => return Ok(()),
        (Some(current), Some(received)) if current.same_value(received) => return Ok(()),
        (Some(current), Some(received)) => (format!("'{}'", show(current)), format!("'{}'", show(received))),
        (current, received) => (show_one_sided(current), show_one_sided(received)),
    };
    Err(Refusal::Inequivalent { argument: key.into(), what: what.clone(), received, current })
}

fn show_one_sided(value: Option<&Value>) -> String {
    match value {
        None => "none".into(),
        Some(value) => format!("the value '{}' of type '{}'", show(value), value.type_name()),
    }
}

fn show(value: &Value) -> String {
    match (value.as_integer(), value.as_str(), value) {
        (Some(n), ..) => n.to_string(),
        (_, Some(text), _) => text.to_owned(),
        (.., Value::Bool(b)) => b.to_string(),
        (.., other) => format!("{other:?}"),
    }
}

/// Reads arguments with RabbitMQ's complaints.
struct Checked<'a> {
    queue: &'a Named,
    table: &'a Table,
}

impl Checked<'_> {
    fn invalid(&self, argument: &str, reason: impl Into<String>) -> Refusal {
        Refusal::InvalidArgument { argument: argument.into(), queue: self.queue.clone(), reason: reason.into() }
    }

    fn queue_type(&self) -> Result<QueueType, Refusal> {
        let Some(value) = self.table.get("x-queue-type") else {
            return Ok(QueueType::Classic);
        };
        match value.as_str() {
            Some("classic" | "") => Ok(QueueType::Classic),
            Some("quorum") => Ok(QueueType::Quorum),
            Some("stream") => Err(Refusal::StreamsUnsupported),
            Some(other) => Err(self.invalid("x-queue-type", format!("\"unsupported queue type '{other}'\""))),
            None => Err(self.invalid("x-queue-type", format!("{{unacceptable_type,{}}}", value.type_name()))),
        }
    }

    fn check_arguments_of_other_types(&self, queue_type: QueueType) -> Result<(), Refusal> {
        for (key, _) in self.table.iter() {
            let Ok(key) = std::str::from_utf8(key) else {
                continue;
            };
            let known_somewhere =
                CLASSIC_ARGUMENTS.contains(&key) || QUORUM_ARGUMENTS.contains(&key) || STREAM_ARGUMENTS.contains(&key);
            if known_somewhere && !queue_type.knows(key) {
                return Err(Refusal::ArgumentOfOtherType {
                    argument: key.into(),
                    queue: self.queue.clone(),
                    queue_type: queue_type.erlang_name(),
                });
            }
        }
        Ok(())
    }

    fn integer(&self, argument: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.table.get(argument) else {
            return Ok(None);
        };
        match value.as_integer() {
            Some(n) => Ok(Some(n)),
            None => Err(self.invalid(argument, format!("\"expected integer, got {}\"", value.type_name()))),
        }
    }

    fn non_negative(&self, argument: &str) -> Result<Option<u64>, Refusal> {
        let Some(n) = self.integer(argument)? else {
            return Ok(None);
        };
        u64::try_from(n).map(Some).map_err(|_| self.invalid(argument, format!("{{value_negative,{n}}}")))
    }

    fn milliseconds(&self, argument: &str, at_least: i64) -> Result<Option<u64>, Refusal> {
        let Some(n) = self.integer(argument)? else {
            return Ok(None);
        };
        let reason = if n < 0 {
            format!("{{value_negative,{n}}}")
        } else if n < at_least {
            format!("{{value_zero,{n}}}")
        } else if n > TTL_MS_MAX {
            format!("{{value_too_large,{n}}}")
        } else {
            return Ok(Some(n.unsigned_abs()));
        };
        Err(self.invalid(argument, reason))
    }

    fn priority_max(&self) -> Result<u8, Refusal> {
        let argument = "x-max-priority";
        let Some(n) = self.integer(argument)? else {
            return Ok(0);
        };
        if n < 0 {
            return Err(self.invalid(argument, format!("{{value_negative,{n}}}")));
        }
        u8::try_from(n).map_err(|_| self.invalid(argument, format!("{{max_value_exceeded,{n}}}")))
    }

    fn overflow(&self, queue_type: QueueType) -> Result<Overflow, Refusal> {
        let argument = "x-overflow";
        let Some(value) = self.table.get(argument) else {
            return Ok(Overflow::DropHead);
        };
        match (value.as_str(), queue_type) {
            (Some("drop-head"), _) => Ok(Overflow::DropHead),
            (Some("reject-publish"), _) => Ok(Overflow::RejectPublish),
            (Some("reject-publish-dlx"), QueueType::Classic) => Ok(Overflow::RejectPublishDlx),
            // TL-9: a quorum queue takes the word and drops from the head.
            (Some("reject-publish-dlx"), QueueType::Quorum) => Ok(Overflow::DropHead),
            (Some(_), _) => Err(self.invalid(argument, "invalid_overflow")),
            (None, _) => Err(self.invalid(argument, format!("{{unacceptable_type,{}}}", value.type_name()))),
        }
    }

    fn dead_letter(&self) -> Result<Option<DeadLetterTarget>, Refusal> {
        let exchange = self.dead_letter_string("x-dead-letter-exchange")?;
        let routing_key = self.dead_letter_string("x-dead-letter-routing-key")?;
        match (exchange, routing_key) {
            (Some(exchange), routing_key) => Ok(Some(DeadLetterTarget { exchange, routing_key })),
            (None, Some(_)) => Err(self.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")),
            (None, None) => Ok(None),
        }
    }

    fn dead_letter_string(&self, argument: &'static str) -> Result<Option<Arc<str>>, Refusal> {
        let Some(value) = self.table.get(argument) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) => Ok(Some(text.into())),
            None if argument == "x-dead-letter-exchange" => {
                Err(Refusal::InvalidArgumentType { value_type: value.type_name(), argument, what: self.queue.clone() })
            }
            None => Err(self.invalid(argument, format!("{{unacceptable_type,{}}}", value.type_name()))),
        }
    }

    /// Its value, if it is given; only quorum queues may have it.
    fn dead_letter_strategy(&self) -> Result<Option<&str>, Refusal> {
        let argument = "x-dead-letter-strategy";
        let Some(value) = self.table.get(argument) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(strategy) if ["at-most-once", AT_LEAST_ONCE].contains(&strategy) => Ok(Some(strategy)),
            Some(_) => Err(self.invalid(argument, "invalid_dlx_strategy")),
            None => Err(self.invalid(argument, format!("{{unacceptable_type,{}}}", value.type_name()))),
        }
    }

    /// As in RabbitMQ, what makes no sense counts as not given.
    fn delayed_retry(&self) -> Option<DelayedRetry> {
        let integer = |argument| self.table.get(argument).and_then(Value::as_integer);
        let what = self.table.get("x-delayed-retry-type").and_then(Value::as_str);
        DelayedRetry::new(what, integer("x-delayed-retry-min"), integer("x-delayed-retry-max"))
    }

    fn boolean(&self, argument: &str) -> Result<bool, Refusal> {
        match self.table.get(argument) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => Err(self.invalid(argument, format!("{{unacceptable_type,{}}}", other.type_name()))),
        }
    }

    fn queue_version(&self) -> Result<(), Refusal> {
        let argument = "x-queue-version";
        match self.non_negative(argument)? {
            None | Some(1 | 2) => Ok(()),
            Some(n) => Err(self.invalid(argument, format!("\"unsupported queue version '{n}'\""))),
        }
    }

    fn leader_locator(&self) -> Result<(), Refusal> {
        let argument = "x-queue-leader-locator";
        let known = ["client-local", "balanced", "random", "least-leaders"];
        let Some(value) = self.table.get(argument) else {
            return Ok(());
        };
        match value.as_str() {
            Some(locator) if known.contains(&locator) => Ok(()),
            Some(_) => Err(self.invalid(argument, "invalid_queue_locator_arg")),
            None => Err(self.invalid(argument, format!("{{unacceptable_type,{}}}", value.type_name()))),
        }
    }

    fn delivery_limit(&self, queue_type: QueueType) -> Option<u32> {
        if queue_type == QueueType::Classic {
            return None;
        }
        // As in RabbitMQ, what is no integer counts as not given.
        let given = self.table.get("x-delivery-limit").and_then(Value::as_integer);
        // A negative limit switches it off.
        u32::try_from(given.unwrap_or(QUORUM_DELIVERY_LIMIT)).ok()
    }

    /// What only RabbitMQ's quorum queues make something of is checked all the same.
    fn quorum_sizes(&self) -> Result<(), Refusal> {
        let argument = "x-quorum-initial-group-size";
        if self.non_negative(argument)? == Some(0) {
            return Err(self.invalid(argument, "{value_zero,0}"));
        }
        self.non_negative("x-max-in-memory-length")?;
        self.non_negative("x-max-in-memory-bytes")?;
        self.non_negative("x-consumer-disconnected-timeout")?;
        Ok(())
    }
}
