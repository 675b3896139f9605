//! What a vhost tells of its exchanges, queues and bindings (EV-1).

use super::event_log;
use super::events::{INTERNAL, pid};
use super::vhost::{Destination, Exchange, QueueHandle, Vhost};
use crate::wire::{Table, Value};

impl Vhost {
    pub(super) fn tell_queue_created(&self, queue: &QueueHandle, by: &str) {
        // One that was there before, and is taken up again, is no news.
        if by != INTERNAL {
            event_log::queue("queue.created", queue, self.name(), by);
        }
        self.events().tell("queue.created", by, || {
            let owner = queue.options.exclusive.map(pid).unwrap_or_default();
            [
                ("name", (*queue.name).into()),
                ("vhost", (**self.name()).into()),
                ("type", queue.options.queue_type.as_str().into()),
                ("durable", Value::Bool(queue.options.durable)),
                ("auto_delete", Value::Bool(queue.options.auto_delete)),
                ("exclusive", Value::Bool(queue.options.exclusive.is_some())),
                ("owner_pid", owner.as_str().into()),
                ("arguments", Value::Table(queue.options.arguments.clone())),
            ]
        });
    }

    pub(super) fn tell_queue_deleted(&self, queue: &QueueHandle, by: &str) {
        event_log::queue("queue.deleted", queue, self.name(), by);
        self.events().tell("queue.deleted", by, || {
            let kind = queue.options.queue_type.as_str();
            [("name", (*queue.name).into()), ("vhost", (**self.name()).into()), ("type", kind.into())]
        });
    }

    pub(super) fn tell_exchange_created(&self, exchange: &Exchange, by: &str) {
        self.events().tell("exchange.created", by, || {
            [
                ("name", (*exchange.name).into()),
                ("vhost", (**self.name()).into()),
                ("type", exchange.kind.as_str().into()),
                ("durable", Value::Bool(exchange.durable)),
                ("auto_delete", Value::Bool(exchange.auto_delete)),
                ("internal", Value::Bool(exchange.internal)),
                ("arguments", Value::Table(exchange.arguments.clone())),
            ]
        });
    }

    pub(super) fn tell_exchange_deleted(&self, exchange: &str, by: &str) {
        self.events().tell("exchange.deleted", by, || [("name", exchange.into()), ("vhost", (**self.name()).into())]);
    }

    /// `is_there`: it has been created; else it is deleted.
    pub(super) fn tell_binding(
        &self,
        is_there: bool,
        source: &str,
        (destination, key, arguments): (&Destination, &str, &Table),
        by: &str,
    ) {
        let event = if is_there { "binding.created" } else { "binding.deleted" };
        self.events().tell(event, by, || {
            let (kind, name) = match destination {
                Destination::Queue(queue) => ("queue", &queue.name),
                Destination::Exchange(name) => ("exchange", name),
            };
            [
                ("vhost", (**self.name()).into()),
                ("source_name", source.into()),
                ("source_kind", "exchange".into()),
                ("destination_name", (**name).into()),
                ("destination_kind", kind.into()),
                ("routing_key", key.into()),
                ("arguments", Value::Table(arguments.clone())),
            ]
        });
    }
}
