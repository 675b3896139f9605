//! The messages of a queue that wait for a consumer, in the order they will be delivered: by priority, and within a
//! priority in publish order, where a returned message takes its old place.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;

use crate::broker::message::Message;

/// `expires_ms` of a message that never does.
pub(in crate::broker) const NEVER: u64 = u64::MAX;

/// A message taken out of its place.
#[derive(Debug)]
pub(in crate::broker) struct Entry {
    pub(in crate::broker) message: Message,
    /// When it expires, in ms of the broker's clock; [`NEVER`].
    pub(in crate::broker) expires_ms: u64,
    /// Its place among the messages of its priority.
    position: u64,
    /// How often it was delivered.
    pub(in crate::broker) deliveries: u32,
    /// How often it came back in a way that counts towards the delivery limit.
    pub(in crate::broker) failures: u32,
}

/// Messages of one priority.
///
/// ```text
/// returned: 3 7 | fresh: 12 13 14 ...      (positions; 4-6 and 8-11 are unacked or gone)
/// ```
/// A returned message was fresh once, so its position is below every fresh one's.
#[derive(Debug, Default)]
struct Level {
    returned: BTreeMap<u64, Entry>,
    fresh: VecDeque<(Message, u64)>,
    /// Position of the first of `fresh`; the rest follow on.
    fresh_position: u64,
}

impl Level {
    fn pop(&mut self) -> Option<Entry> {
        if let Some((_, entry)) = self.returned.pop_first() {
            return Some(entry);
        }
        let (message, expires_ms) = self.fresh.pop_front()?;
        let position = self.fresh_position;
        self.fresh_position += 1;
        Some(Entry { message, expires_ms, position, deliveries: 0, failures: 0 })
    }

    /// When the head expires.
    fn head_expires_ms(&self) -> u64 {
        match self.returned.first_key_value() {
            Some((_, entry)) => entry.expires_ms,
            None => self.fresh.front().map_or(NEVER, |(_, expires_ms)| *expires_ms),
        }
    }
}

/// All waiting messages of one queue.
#[derive(Debug)]
pub(in crate::broker) struct Ready {
    /// One for each priority from 0 up.
    levels: SmallVec<[Level; 1]>,
    len: usize,
    /// Sum of body lengths (x-max-length-bytes counts bodies only).
    body_bytes: u64,
    /// Some message here may expire: without one, heads need not be looked at.
    expiring: bool,
}

impl Ready {
    /// Priorities 0 to `priority_max`, both included.
    pub(in crate::broker) fn new(priority_max: u8) -> Self {
        let levels = (0..=priority_max).map(|_| Level::default()).collect();
        Self { levels, len: 0, body_bytes: 0, expiring: false }
    }

    pub(in crate::broker) fn len(&self) -> usize {
        self.len
    }

    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sum of the body lengths.
    pub(in crate::broker) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// PQ-1: a priority above the queue's highest counts as the highest.
    fn level(&mut self, message: &Message) -> &mut Level {
        let highest = self.levels.len() - 1;
        let level = usize::from(message.facts().priority).min(highest);
        &mut self.levels[level]
    }

    /// Adds a new message at the end of its priority.
    pub(in crate::broker) fn push(&mut self, message: Message, expires_ms: u64) {
        self.len += 1;
        self.body_bytes += message.body().len() as u64;
        self.expiring |= expires_ms != NEVER;
        self.level(&message).fresh.push_back((message, expires_ms));
    }

    /// Puts a message that was taken back to its place.
    pub(in crate::broker) fn put_back(&mut self, entry: Entry) {
        self.len += 1;
        self.body_bytes += entry.message.body().len() as u64;
        self.expiring |= entry.expires_ms != NEVER;
        self.level(&entry.message).returned.insert(entry.position, entry);
    }

    /// Takes the message to be delivered next.
    pub(in crate::broker) fn pop(&mut self) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let entry = self.levels.iter_mut().rev().find_map(Level::pop)?;
        self.took(&entry);
        Some(entry)
    }

    fn took(&mut self, entry: &Entry) {
        self.len -= 1;
        self.body_bytes -= entry.message.body().len() as u64;
        if self.len == 0 {
            self.release_memory();
        }
    }

    /// A queue that is empty keeps no memory of the backlog it once had.
    fn release_memory(&mut self) {
        self.expiring = false;
        for level in &mut self.levels {
            if level.fresh.capacity() > 1024 {
                level.fresh = VecDeque::new();
            }
        }
    }

    /// Takes a message whose time has come, if it is at the head of its priority (TL-2).
    pub(in crate::broker) fn pop_expired(&mut self, now_ms: u64) -> Option<Entry> {
        if !self.expiring {
            return None;
        }
        let entry = self.levels.iter_mut().find(|level| level.head_expires_ms() <= now_ms)?.pop()?;
        self.took(&entry);
        Some(entry)
    }

    /// When the next head expires; [`NEVER`].
    pub(in crate::broker) fn next_expiry_ms(&self) -> u64 {
        if !self.expiring {
            return NEVER;
        }
        self.levels.iter().map(Level::head_expires_ms).min().unwrap_or(NEVER)
    }

    /// Removes everything.
    pub(in crate::broker) fn clear(&mut self) {
        for level in &mut self.levels {
            level.fresh_position += level.fresh.len() as u64;
            level.returned.clear();
            level.fresh.clear();
        }
        self.len = 0;
        self.body_bytes = 0;
        self.release_memory();
    }
}

impl Level {
    #[cfg(test)]
    fn positions(&self) -> Vec<u64> {
        let fresh = (self.fresh_position..).take(self.fresh.len());
        self.returned.keys().copied().chain(fresh).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{Body, Facts};

    fn message(name: &str, priority: u8) -> Message {
        let facts = Facts { priority, ..Facts::default() };
        Message::new(b"\x00\x01q", b"\x00\x00", Body::Small(name.as_bytes()), facts, &mut Vec::new())
    }

    fn pop(ready: &mut Ready) -> String {
        ready.pop().map(|entry| String::from_utf8_lossy(entry.message.body()).into_owned()).unwrap_or_default()
    }

    #[test]
    fn returned_messages_take_their_old_place() {
        let mut ready = Ready::new(0);
        for name in ["0", "1", "2", "3", "4"] {
            ready.push(message(name, 0), NEVER);
        }
        let taken: Vec<Entry> = (0..4).filter_map(|_| ready.pop()).collect();
        let mut taken = taken.into_iter();
        let (_zero, one, two) = (taken.next().unwrap(), taken.next().unwrap(), taken.next().unwrap());
        ready.put_back(two);
        ready.put_back(one);
        assert_eq!(ready.levels[0].positions(), [1, 2, 4]);
        assert_eq!([pop(&mut ready), pop(&mut ready), pop(&mut ready)], ["1", "2", "4"]);
        assert!(ready.is_empty());
        assert_eq!(ready.body_bytes(), 0);
    }

    #[test]
    fn priorities_are_strict_and_clamped() {
        let mut ready = Ready::new(5);
        for (name, priority) in [("low", 0), ("high", 5), ("above", 9), ("mid", 3)] {
            ready.push(message(name, priority), NEVER);
        }
        let order: Vec<String> = (0..4).map(|_| pop(&mut ready)).collect();
        assert_eq!(order, ["high", "above", "mid", "low"]);
    }

    #[test]
    fn only_the_head_expires() {
        let mut ready = Ready::new(0);
        ready.push(message("long", 0), 5000);
        ready.push(message("short", 0), 50);
        assert!(ready.pop_expired(300).is_none());
        assert_eq!(ready.next_expiry_ms(), 5000);
        assert_eq!(pop(&mut ready), "long");
        assert!(ready.pop_expired(300).is_some());
        assert_eq!(ready.next_expiry_ms(), NEVER);
    }
}
