//! What may change while a queue lives: limits, times and targets that arguments and policies set together.

use std::sync::Arc;

use super::retry::DelayedRetry;

/// What happens to a publish beyond the length limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overflow {
    /// The oldest message makes room.
    #[default]
    DropHead,
    /// The new one is nacked.
    RejectPublish,
    /// The new one is nacked and dead-lettered.
    RejectPublishDlx,
}

/// Where dead letters go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterTarget {
    /// `x-dead-letter-exchange`.
    pub exchange: Arc<str>,
    /// `x-dead-letter-routing-key`.
    pub routing_key: Option<Arc<str>>,
}

/// What arguments and policies come to for one queue. The queue's lane has the copy that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueSettings {
    /// `x-message-ttl`, ms.
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`, ms.
    pub expires_ms: Option<u64>,
    /// `x-max-length`, ready messages.
    pub length_max: Option<u64>,
    /// `x-max-length-bytes`, bytes of ready bodies.
    pub length_bytes_max: Option<u64>,
    /// `x-overflow`.
    pub overflow: Overflow,
    /// Where dead letters go.
    pub dead_letter: Option<DeadLetterTarget>,
    /// A dead letter stays until every queue it goes to has taken it (`x-dead-letter-strategy`): of a quorum queue that
    /// rejects publishes when it is full.
    pub dead_letters_at_least_once: bool,
    /// How often a message may come back; `None`: without limit.
    pub delivery_limit: Option<u32>,
    /// How long a delivery may go unsettled, ms; `None`: as long as the broker says.
    pub consumer_timeout_ms: Option<u64>,
    /// How long messages that come back wait; `None`: not at all.
    pub delayed_retry: Option<DelayedRetry>,
}
