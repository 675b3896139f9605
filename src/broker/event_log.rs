//! What of the broker's events stands in the log: what operators and clients change, under the categories `user`, `queue`
//! and `channel`. Values are left out: some hold passwords.

use tracing::{Level, debug, enabled, info};

use super::vhost::QueueHandle;
use crate::wire::{Table, Value};

/// What kind of thing an event is about: the log's categories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Category {
    /// What operators change.
    User,
    /// Queues, exchanges and bindings.
    Queue,
    /// Channels and consumers.
    Channel,
}

/// `None`: its own line tells it better.
fn category(key: &str) -> Option<Category> {
    match key.split('.').next()? {
        // Each login has a line of its connection, or of the refusal.
        "user" if key.starts_with("user.authentication") => None,
        "user" | "permission" | "topic" | "vhost" | "policy" | "parameter" => Some(Category::User),
        // Queues have lines of their own: what the event says does not tell the lasting ones apart.
        "queue" if matches!(key, "queue.created" | "queue.deleted") => None,
        "queue" | "exchange" | "binding" => Some(Category::Queue),
        "channel" | "consumer" => Some(Category::Channel),
        _ => None,
    }
}

/// Whether [`write()`] would write anything.
pub(super) fn is_wanted(key: &str) -> bool {
    match category(key) {
        Some(Category::User) => enabled!(target: "user", Level::INFO),
        Some(Category::Queue) => enabled!(target: "queue", Level::DEBUG),
        Some(Category::Channel) => enabled!(target: "channel", Level::DEBUG),
        None => false,
    }
}

pub(super) fn write(key: &str, by: &str, told: &Table) {
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    let (name, vhost, user) = (text("name"), text("vhost"), text("user"));
    match category(key) {
        Some(Category::User) => info!(target: "user", name, vhost, user, component = text("component"), by, "{key}"),
        Some(Category::Queue) => {
            let (source, destination) = (text("source_name"), text("destination_name"));
            debug!(target: "queue", name, vhost, source, destination, by, "{key}");
        }
        Some(Category::Channel) => {
            let connection = text("connection");
            let number = told.get("number").and_then(|number| if let Value::I64(n) = number { Some(*n) } else { None });
            debug!(target: "channel", connection, channel = number, vhost, queue = text("queue"), by, "{key}");
        }
        None => {}
    }
}

/// A queue has come, or gone. Those that last are told to operators; others come and go too often.
pub(super) fn queue(event: &str, queue: &QueueHandle, vhost: &str, by: &str) {
    let (name, kind) = (&*queue.name, queue.options.queue_type.as_str());
    if queue.options.durable && queue.options.exclusive.is_none() {
        info!(target: "queue", name, vhost, kind, by, "{event}");
    } else {
        debug!(target: "queue", name, vhost, kind, by, "{event}");
    }
}
