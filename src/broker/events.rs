//! What the broker tells of itself (EV-1): places where something changes call [`Events::tell`]. What is said is put
//! together only if somebody wants to know; how it reaches them is the sink's business.

use std::fmt;
use std::sync::OnceLock;

use super::event_log;
use super::mailbox::ConnectionId;
use crate::wire::{Table, Value};

/// Who has done it, if it was no client.
pub(super) const INTERNAL: &str = "rmq-internal";

/// Takes events.
pub(super) trait Sink: Send + Sync {
    /// Somebody wants to know.
    fn is_wanted(&self) -> bool;

    /// `key` is the event's routing key.
    fn take(&self, key: &'static str, headers: Table);
}

/// Where to tell; nobody listens until there is a sink.
#[derive(Default)]
pub(super) struct Events {
    sink: OnceLock<Box<dyn Sink>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn set_sink(&self, sink: Box<dyn Sink>) {
        let _ = self.sink.set(sink);
    }

    /// Tells of an event. `by` is the user who has done it.
    pub(super) fn tell<const N: usize>(
        &self,
        key: &'static str,
        by: &str,
        headers: impl FnOnce() -> [(&'static str, Value); N],
    ) {
        let sink = self.sink.get().filter(|sink| sink.is_wanted());
        if sink.is_none() && !event_log::is_wanted(key) {
            return;
        }
        let mut table = Table::from_iter(headers());
        event_log::write(key, by, &table);
        if let Some(sink) = sink {
            table.insert("user_who_performed_action", Value::from(by));
            sink.take(key, table);
        }
    }
}

/// What stands where RabbitMQ has the id of a connection's process.
pub(super) fn pid(connection: ConnectionId) -> String {
    format!("<0.{}.0>", connection.0)
}
