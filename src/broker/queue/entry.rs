//! A message taken out of its place in a queue.

use crate::broker::message::Message;

/// `expires_ms` of a message that never does.
pub(in crate::broker) const NEVER: u64 = u64::MAX;

/// A message, and what the queue knows of it.
#[derive(Debug)]
pub(in crate::broker) struct Entry {
    pub(in crate::broker) message: Message,
    /// When it expires, in ms of the broker's clock; [`NEVER`].
    pub(in crate::broker) expires_ms: u64,
    /// Its number in the queue: later ones are greater. None is given twice.
    pub(in crate::broker) seq: u64,
    /// How often it was delivered.
    pub(in crate::broker) deliveries: u32,
    /// How often it came back in a way that counts towards the delivery limit.
    pub(in crate::broker) failures: u32,
}

impl Entry {
    /// Of a message that was never delivered.
    #[inline]
    pub(super) fn fresh(message: Message, expires_ms: u64, seq: u64) -> Self {
        Self { message, expires_ms, seq, deliveries: 0, failures: 0 }
    }
}
