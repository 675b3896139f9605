//! A lane whose waiting messages take more memory than they may: what it knows of that. What it does is in `relief.rs`.
//!
//! A queue whose consumers take its messages fast is left alone: writing them and reading them back would cost more than
//! letting its publishers wait for a moment, and once on disk a backlog is drained at the disk's pace. A queue whose
//! consumers are slow, or that has none, is paged out at once, so that a peak is absorbed as fast as the disk takes it.

use std::sync::Arc;

use super::event::QueueId;
use super::mailbox::Mailbox;

/// Consumers that take so much of a queue, or so many messages, are faster than the way over the disk.
const FAST_BYTES_PER_MS: u64 = 100_000;
const FAST_MESSAGES_PER_MS: u64 = 250;

/// A queue that is watched is slow when it was for so many watches, and one that was fast before for so many. A client
/// that waits for a core for some milliseconds is not slow.
pub(super) const WATCHES: u32 = 2;
pub(super) const WATCHES_OF_FAST: u32 = 5;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Shortage {
    pub(super) state: State,
    /// Who may send more when it is over, and how much: in bytes.
    pub(super) waiting: Vec<(Arc<Mailbox>, usize)>,
}

#[derive(Default)]
pub(super) enum State {
    #[default]
    None,
    /// Some queues are being drained: how fast?
    Watching { since_ms: u64, queues: Vec<Drained> },
    /// These are being paged out, the largest last.
    Paging(Vec<QueueId>),
    /// Nothing can be paged out.
    Hopeless { until_ms: u64 },
}

/// A queue that takes much, as it was when the watch began.
pub(super) struct Drained {
    pub(super) id: QueueId,
    pub(super) bytes: usize,
    pub(super) messages: usize,
    pub(super) delivered: u64,
    /// For so many watches more it may be slow and is not yet taken for it.
    pub(super) watches: u32,
}

impl Drained {
    /// `delivered` is what has been delivered by now, in messages.
    pub(super) fn is_fast(&self, delivered: u64, watched_ms: u64) -> bool {
        let messages = delivered.saturating_sub(self.delivered);
        let bytes = messages * (self.bytes / self.messages.max(1)) as u64;
        messages >= watched_ms * FAST_MESSAGES_PER_MS || bytes >= watched_ms * FAST_BYTES_PER_MS
    }
}

/// When a lane wants its next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Whenever,
    Now,
    AtMs(u64),
}
