//! The waiting messages of one priority. Those next to be delivered and those that came last are in memory; what lies
//! between may be paged out to chunks on disk.

use std::collections::{BTreeMap, VecDeque};

use super::entry::{Entry, NEVER};
use super::transient::Transient;
use crate::broker::message::Message;
use crate::replicate::{ChunkPlace, Runs};

/// A message that was never delivered.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) message: Message,
    pub(super) expires_ms: u64,
    pub(super) seq: u64,
}

/// Messages on disk.
#[derive(Debug)]
pub(super) struct Paged {
    pub(super) place: ChunkPlace,
    /// Which messages of the chunk.
    pub(super) members: Runs,
    /// Sum of their body lengths, as far as that is known.
    pub(super) body_bytes: u64,
    /// Some of them expire.
    pub(super) expires: bool,
    /// Those that a restart would lose.
    pub(super) transient: Transient,
}

/// Messages of one priority.
///
/// ```text
/// returned: 3 7 | head: 12 13 15 | paged: 16-9000, 9001-20000 | tail: 20001 20002    (numbers; others are unacked or gone)
/// ```
/// A returned message was fresh once, so its number is below every fresh one's. While nothing is paged, the tail is
/// empty.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub(super) returned: BTreeMap<u64, Entry>,
    pub(super) head: VecDeque<Fresh>,
    pub(super) paged: VecDeque<Paged>,
    pub(super) tail: VecDeque<Fresh>,
    /// The first of `paged` is being read.
    pub(super) is_loading: bool,
}

impl Level {
    #[inline]
    pub(super) fn push(&mut self, fresh: Fresh) {
        if self.paged.is_empty() { self.head.push_back(fresh) } else { self.tail.push_back(fresh) }
    }

    /// The next message, if it is in memory.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Entry> {
        if let Some((_, entry)) = self.returned.pop_first() {
            return Some(entry);
        }
        let Fresh { message, expires_ms, seq } = self.head.pop_front()?;
        Some(Entry::fresh(message, expires_ms, seq))
    }

    /// There is no message.
    pub(super) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.head.is_empty() && self.paged.is_empty()
    }

    /// There are messages, but the next one is on disk.
    pub(super) fn is_behind_page(&self) -> bool {
        self.returned.is_empty() && self.head.is_empty() && !self.paged.is_empty()
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        let in_memory = self.returned.len() + self.head.len() + self.tail.len();
        in_memory as u64 + self.paged.iter().map(|paged| paged.members.count()).sum::<u64>()
    }

    /// The next message with its number, if it is in memory.
    pub(super) fn head_message(&self) -> Option<(u64, &Message)> {
        match self.returned.first_key_value() {
            Some((seq, entry)) => Some((*seq, &entry.message)),
            None => self.head.front().map(|fresh| (fresh.seq, &fresh.message)),
        }
    }

    /// When the head expires. What is on disk expires when it is read.
    pub(super) fn head_expires_ms(&self) -> u64 {
        match self.returned.first_key_value() {
            Some((_, entry)) => entry.expires_ms,
            None => self.head.front().map_or(NEVER, |fresh| fresh.expires_ms),
        }
    }

    /// The messages of the first page are here. Without further pages the tail follows them.
    pub(super) fn unpage(&mut self, messages: impl Iterator<Item = Fresh>) {
        self.head.extend(messages);
        if self.paged.is_empty() {
            self.head.append(&mut self.tail);
        }
    }

    /// A queue that is empty keeps no memory of the backlog it once had.
    pub(super) fn release_memory(&mut self) {
        for messages in [&mut self.head, &mut self.tail] {
            if messages.capacity() > 1024 {
                *messages = VecDeque::new();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.returned.keys().copied().chain(self.head.iter().map(|fresh| fresh.seq)).collect()
    }
}
