//! The messages of a queue that wait for a consumer, in the order they will be delivered: by priority, and within a
//! priority in publish order. In a classic queue a returned message takes its old place; in a quorum queue returned
//! messages go before all others, in the order they came back (QQ-5).

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
    /// Its number in the queue: later ones are greater. None is given twice.
    pub(in crate::broker) seq: u64,
    /// How often it was delivered.
    pub(in crate::broker) deliveries: u32,
    /// How often it came back in a way that counts towards the delivery limit.
    pub(in crate::broker) failures: u32,
}

/// Messages of one priority.
///
/// ```text
/// returned: 3 7 | fresh: 12 13 15 ...      (numbers; 4-6 and 8-11 are unacked or gone, 14 has another priority)
/// ```
/// A returned message was fresh once, so its number is below every fresh one's.
#[derive(Debug, Default)]
struct Level {
    returned: BTreeMap<u64, Entry>,
    fresh: VecDeque<Fresh>,
}

/// A message that was never delivered.
#[derive(Debug)]
struct Fresh {
    message: Message,
    expires_ms: u64,
    seq: u64,
}

impl Level {
    fn pop(&mut self) -> Option<Entry> {
        if let Some((_, entry)) = self.returned.pop_first() {
            return Some(entry);
        }
        let Fresh { message, expires_ms, seq } = self.fresh.pop_front()?;
        Some(Entry { message, expires_ms, seq, deliveries: 0, failures: 0 })
    }

    /// When the head expires.
    fn head_expires_ms(&self) -> u64 {
        match self.returned.first_key_value() {
            Some((_, entry)) => entry.expires_ms,
            None => self.fresh.front().map_or(NEVER, |fresh| fresh.expires_ms),
        }
    }
}

/// How a type of queue orders its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) struct Order {
    /// Priorities above count as this one (PQ-1).
    pub(in crate::broker) priority_max: u8,
    /// That of a message that names none.
    pub(in crate::broker) priority_default: u8,
    /// Returned messages go first instead of to their old places.
    pub(in crate::broker) returns_first: bool,
}

impl Order {
    /// A classic queue with `x-max-priority`.
    pub(in crate::broker) fn classic(priority_max: u8) -> Self {
        Self { priority_max, priority_default: 0, returns_first: false }
    }

    /// PQ-3.
    pub(in crate::broker) const QUORUM: Self = Self { priority_max: 31, priority_default: 4, returns_first: true };
}

/// All waiting messages of one queue.
#[derive(Debug)]
pub(in crate::broker) struct Ready {
    order: Order,
    /// One for each priority from 0 up to the highest that was seen.
    levels: SmallVec<[Level; 1]>,
    /// What came back, if [`Order::returns_first`].
    returns: VecDeque<Entry>,
    /// Which priority messages have, and whether there ever was another.
    priority: Option<usize>,
    mixed: bool,
    /// The number of the next message.
    pub(in crate::broker) next_seq: u64,
    len: usize,
    /// Sum of body lengths (x-max-length-bytes counts bodies only).
    body_bytes: u64,
    /// Some message here may expire: without one, heads need not be looked at.
    expiring: bool,
}

impl Ready {
    pub(in crate::broker) fn new(order: Order) -> Self {
        let levels = SmallVec::new();
        Self {
            order,
            levels,
            returns: VecDeque::new(),
            priority: None,
            mixed: false,
            next_seq: 0,
            len: 0,
            body_bytes: 0,
            expiring: false,
        }
    }

    pub(in crate::broker) fn len(&self) -> usize {
        self.len
    }

    /// Fresh messages leave in the order of their numbers.
    pub(in crate::broker) fn is_in_order(&self) -> bool {
        !self.mixed
    }

    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sum of the body lengths.
    pub(in crate::broker) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    fn level(&mut self, message: &Message) -> &mut Level {
        let Order { priority_max, priority_default, .. } = self.order;
        let level = usize::from(message.facts().priority.unwrap_or(priority_default).min(priority_max));
        if self.priority != Some(level) {
            self.mixed |= self.priority.replace(level).is_some();
        }
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        &mut self.levels[level]
    }

    /// Adds a new message at the end of its priority. Gives its number.
    pub(in crate::broker) fn push(&mut self, message: Message, expires_ms: u64) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.len += 1;
        self.body_bytes += message.body().len() as u64;
        self.expiring |= expires_ms != NEVER;
        self.level(&message).fresh.push_back(Fresh { message, expires_ms, seq });
        seq
    }

    /// Messages that were delivered and came back.
    pub(in crate::broker) fn returned(&self) -> impl Iterator<Item = &Entry> {
        self.levels.iter().flat_map(|level| level.returned.values()).chain(&self.returns)
    }

    /// Messages never delivered with numbers from `from` to below `to`: message, when it expires, number.
    pub(in crate::broker) fn fresh_between(&self, from: u64, to: u64) -> impl Iterator<Item = (&Message, u64, u64)> {
        self.levels.iter().flat_map(move |level| {
            let start = level.fresh.partition_point(|fresh| fresh.seq < from);
            let fresh = level.fresh.range(start..).take_while(move |fresh| fresh.seq < to);
            fresh.map(|fresh| (&fresh.message, fresh.expires_ms, fresh.seq))
        })
    }

    /// Puts in a message from the log, whose number is greater than those before.
    pub(in crate::broker) fn recover(&mut self, entry: Entry) {
        if entry.deliveries > 0 {
            return self.put_back(entry);
        }
        self.len += 1;
        self.body_bytes += entry.message.body().len() as u64;
        self.expiring |= entry.expires_ms != NEVER;
        let Entry { message, expires_ms, seq, .. } = entry;
        self.level(&message).fresh.push_back(Fresh { message, expires_ms, seq });
    }

    /// Puts a message that was taken back.
    pub(in crate::broker) fn put_back(&mut self, entry: Entry) {
        self.len += 1;
        self.body_bytes += entry.message.body().len() as u64;
        self.expiring |= entry.expires_ms != NEVER;
        if self.order.returns_first {
            self.returns.push_back(entry);
        } else {
            self.level(&entry.message).returned.insert(entry.seq, entry);
        }
    }

    /// Takes the message to be delivered next.
    pub(in crate::broker) fn pop(&mut self) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let entry = match self.returns.pop_front() {
            Some(entry) => entry,
            None => self.levels.iter_mut().rev().find_map(Level::pop)?,
        };
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
    #[inline]
    pub(in crate::broker) fn pop_expired(&mut self, now_ms: u64) -> Option<Entry> {
        if self.expiring { self.pop_if_expired(now_ms) } else { None }
    }

    fn pop_if_expired(&mut self, now_ms: u64) -> Option<Entry> {
        let entry = if self.returned_expires_ms() <= now_ms {
            self.returns.pop_front()?
        } else {
            self.levels.iter_mut().find(|level| level.head_expires_ms() <= now_ms)?.pop()?
        };
        self.took(&entry);
        Some(entry)
    }

    /// When the next head expires; [`NEVER`].
    pub(in crate::broker) fn next_expiry_ms(&self) -> u64 {
        if !self.expiring {
            return NEVER;
        }
        self.levels.iter().map(Level::head_expires_ms).min().unwrap_or(NEVER).min(self.returned_expires_ms())
    }

    fn returned_expires_ms(&self) -> u64 {
        self.returns.front().map_or(NEVER, |entry| entry.expires_ms)
    }

    /// Removes everything.
    pub(in crate::broker) fn clear(&mut self) {
        for level in &mut self.levels {
            level.returned.clear();
            level.fresh.clear();
        }
        self.returns.clear();
        self.len = 0;
        self.body_bytes = 0;
        self.release_memory();
    }
}

impl Level {
    #[cfg(test)]
    fn numbers(&self) -> Vec<u64> {
        self.returned.keys().copied().chain(self.fresh.iter().map(|fresh| fresh.seq)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{Body, Facts};

    fn message(name: &str, priority: u8) -> Message {
        let facts = Facts { priority: Some(priority), ..Facts::default() };
        Message::new(b"\x00\x01q", b"\x00\x00", Body::Small(name.as_bytes()), facts, &mut Vec::new())
    }

    fn pop(ready: &mut Ready) -> String {
        ready.pop().map(|entry| String::from_utf8_lossy(entry.message.body()).into_owned()).unwrap_or_default()
    }

    #[test]
    fn returned_messages_take_their_old_place() {
        let mut ready = Ready::new(Order::classic(0));
        for name in ["0", "1", "2", "3", "4"] {
            ready.push(message(name, 0), NEVER);
        }
        let taken: Vec<Entry> = (0..4).filter_map(|_| ready.pop()).collect();
        let mut taken = taken.into_iter();
        let (_zero, one, two) = (taken.next().unwrap(), taken.next().unwrap(), taken.next().unwrap());
        ready.put_back(two);
        ready.put_back(one);
        assert_eq!(ready.levels[0].numbers(), [1, 2, 4]);
        assert_eq!([pop(&mut ready), pop(&mut ready), pop(&mut ready)], ["1", "2", "4"]);
        assert!(ready.is_empty());
        assert_eq!(ready.body_bytes(), 0);
    }

    #[test]
    fn priorities_are_strict_and_clamped() {
        let mut ready = Ready::new(Order::classic(5));
        for (name, priority) in [("low", 0), ("high", 5), ("above", 9), ("mid", 3)] {
            ready.push(message(name, priority), NEVER);
        }
        let order: Vec<String> = (0..4).map(|_| pop(&mut ready)).collect();
        assert_eq!(order, ["high", "above", "mid", "low"]);
    }

    /// FEATURES PQ-3, QQ-5.
    #[test]
    fn a_quorum_queue_has_32_priorities_and_gives_returns_first() {
        let mut ready = Ready::new(Order::QUORUM);
        let unnamed = Message::new(b"\x00\x01q", b"\x00\x00", Body::Small(b"none"), Facts::default(), &mut Vec::new());
        ready.push(message("3", 3), NEVER);
        ready.push(unnamed, NEVER);
        for (name, priority) in [("4", 4), ("5", 5), ("31", 31), ("200", 200)] {
            ready.push(message(name, priority), NEVER);
        }
        let highest = ready.pop().unwrap();
        let next = ready.pop().unwrap();
        ready.put_back(next);
        ready.put_back(highest);
        let order: Vec<String> = (0..6).map(|_| pop(&mut ready)).collect();
        assert_eq!(order, ["200", "31", "5", "none", "4", "3"]);
    }

    #[test]
    fn only_the_head_expires() {
        let mut ready = Ready::new(Order::classic(0));
        ready.push(message("long", 0), 5000);
        ready.push(message("short", 0), 50);
        assert!(ready.pop_expired(300).is_none());
        assert_eq!(ready.next_expiry_ms(), 5000);
        assert_eq!(pop(&mut ready), "long");
        assert!(ready.pop_expired(300).is_some());
        assert_eq!(ready.next_expiry_ms(), NEVER);
    }
}
