//! Headers that tell how often a quorum queue gave a message away and how often that failed (QQ-2).

use super::entry::Entry;
use super::options::{QueueOptions, QueueType};
use crate::broker::message::Message;
use crate::wire::{Properties, RawTable, Value};

/// The message as a consumer is to see it. Only a redelivery of a quorum queue says more than what was published, so
/// nothing else pays for this.
#[inline]
pub(super) fn told(options: &QueueOptions, entry: &Entry) -> Message {
    if is_as_published(options, entry) { entry.message.clone() } else { counted(entry) }
}

/// The same of a message that the queue keeps no longer.
#[inline]
pub(super) fn told_last(options: &QueueOptions, entry: Entry) -> Message {
    if is_as_published(options, &entry) { entry.message } else { counted(&entry) }
}

#[inline]
fn is_as_published(options: &QueueOptions, entry: &Entry) -> bool {
    entry.deliveries == 0 || options.queue_type == QueueType::Classic
}

#[inline(never)]
fn counted(entry: &Entry) -> Message {
    // Properties were read when they were published; what could not be read now goes as it came.
    with_counts(entry).unwrap_or_else(|| entry.message.clone())
}

fn with_counts(entry: &Entry) -> Option<Message> {
    let message = &entry.message;
    let properties = Properties::decode(message.properties()).ok()?;
    let mut headers = properties.headers.unwrap_or_default().parse().ok()?;
    headers.insert("x-acquired-count", Value::I64(entry.deliveries.into()));
    // As in 4.3: only when failures were counted.
    if entry.failures > 0 {
        headers.insert("x-delivery-count", Value::I64(entry.failures.into()));
    }
    headers.sort();
    let mut encoded = Vec::new();
    headers.encode_bare(&mut encoded);
    let mut raw = Vec::new();
    Properties { headers: Some(RawTable(&encoded)), ..properties }.encode(&mut raw);
    Some(message.with_properties(message.address(), &raw, message.facts(), &message.bcc()))
}
