//! The messages of a queue that wait for a consumer, in the order they will be delivered: by priority, and within a
//! priority in publish order. In a classic queue a returned message takes its old place; in a quorum queue returned
//! messages go before all others, in the order they came back (QQ-5).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use smallvec::SmallVec;

use super::entry::{Entry, NEVER};
use super::level::{Fresh, Level, Paged};
use super::transient::Transient;
use crate::broker::message::Message;

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

/// What the waiting messages of a lane take in memory, in bytes; its queues tell it now and then.
pub(in crate::broker) type Meter = Arc<AtomicIsize>;

/// A queue tells its meter when it has gained or lost so many bytes since.
const METERED_BYTES: isize = 1024;

/// All waiting messages of one queue.
#[derive(Debug)]
pub(in crate::broker) struct Ready {
    order: Order,
    /// One for each priority from 0 up to the highest that was seen.
    pub(super) levels: SmallVec<[Level; 1]>,
    /// What came back, if [`Order::returns_first`].
    returns: VecDeque<Entry>,
    /// Which priority messages have, and whether there ever was another.
    priority: Option<usize>,
    mixed: bool,
    /// The number of the next message.
    pub(in crate::broker) next_seq: u64,
    pub(super) len: usize,
    /// What the messages in memory take.
    memory_bytes: isize,
    /// Of that, what the meter does not know yet.
    untold_bytes: isize,
    meter: Meter,
    /// Sum of body lengths (x-max-length-bytes counts bodies only).
    pub(super) body_bytes: u64,
    pub(super) transient: Transient,
    /// Some message here may expire: without one, heads need not be looked at.
    pub(super) expiring: bool,
}

impl Ready {
    pub(in crate::broker) fn new(order: Order, meter: Meter) -> Self {
        Self {
            order,
            levels: SmallVec::new(),
            returns: VecDeque::new(),
            priority: None,
            mixed: false,
            next_seq: 0,
            len: 0,
            memory_bytes: 0,
            untold_bytes: 0,
            meter,
            body_bytes: 0,
            transient: Transient::default(),
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

    /// How many messages have which priority, those aside that came back and go first.
    pub(super) fn priorities(&self) -> impl Iterator<Item = (usize, u64)> {
        let lengths = self.levels.iter().map(Level::len).enumerate();
        lengths.filter(|(_, length)| *length > 0)
    }

    /// Messages that came back and go before all others.
    pub(super) fn returns_len(&self) -> usize {
        self.returns.len()
    }

    /// The next message, if it is in memory.
    pub(super) fn head(&self) -> Option<(u64, &Message)> {
        if let Some(entry) = self.returns.front() {
            return Some((entry.seq, &entry.message));
        }
        self.levels[self.next_level()?].head_message()
    }

    fn level(&mut self, message: &Message) -> &mut Level {
        self.level_at(self.level_of(message))
    }

    pub(super) fn level_at(&mut self, level: usize) -> &mut Level {
        if self.priority != Some(level) {
            self.mixed |= self.priority.replace(level).is_some();
        }
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        &mut self.levels[level]
    }

    /// Some messages are on disk.
    pub(super) fn has_pages(&self) -> bool {
        self.levels.iter().any(|level| !level.paged.is_empty())
    }

    /// Messages that are not on disk.
    pub(super) fn messages_in_memory(&self) -> usize {
        let in_level = |level: &Level| level.returned.len() + level.head.len() + level.tail.len();
        self.returns.len() + self.levels.iter().map(in_level).sum::<usize>()
    }

    /// What the messages in memory take, in bytes.
    pub(in crate::broker) fn memory_bytes(&self) -> usize {
        usize::try_from(self.memory_bytes).unwrap_or_default()
    }

    #[inline]
    pub(super) fn weigh(&mut self, bytes: isize) {
        self.memory_bytes += bytes;
        self.untold_bytes += bytes;
        if self.untold_bytes.unsigned_abs() >= METERED_BYTES.unsigned_abs() {
            self.meter.fetch_add(self.untold_bytes, Ordering::Relaxed);
            self.untold_bytes = 0;
        }
    }

    /// The next message is on disk.
    #[inline]
    pub(in crate::broker) fn is_behind_page(&self) -> bool {
        self.returns.is_empty() && self.next_level().is_some_and(|level| self.levels[level].is_behind_page())
    }

    /// The priority whose turn it is.
    #[inline]
    pub(super) fn next_level(&self) -> Option<usize> {
        self.levels.iter().rposition(|level| !level.is_empty())
    }

    /// Adds a new message at the end of its priority. Gives its number.
    pub(in crate::broker) fn push(&mut self, message: Message, expires_ms: u64) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.len += 1;
        self.body_bytes += message.body().len() as u64;
        self.transient.add(&message);
        self.expiring |= expires_ms != NEVER;
        self.weigh(weight(&message));
        self.level(&message).push(Fresh { message, expires_ms, seq });
        seq
    }

    /// Messages that were delivered and came back.
    pub(in crate::broker) fn returned(&self) -> impl Iterator<Item = &Entry> {
        self.levels.iter().flat_map(|level| level.returned.values()).chain(&self.returns)
    }

    /// Messages never delivered with numbers from `from` to below `to`: message, when it expires, number.
    pub(in crate::broker) fn fresh_between(&self, from: u64, to: u64) -> impl Iterator<Item = (&Message, u64, u64)> {
        self.levels.iter().flat_map(|level| [&level.head, &level.tail]).flat_map(move |messages| {
            let start = messages.partition_point(|fresh| fresh.seq < from);
            let fresh = messages.range(start..).take_while(move |fresh| fresh.seq < to);
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
        self.transient.add(&entry.message);
        self.expiring |= entry.expires_ms != NEVER;
        let Entry { message, expires_ms, seq, .. } = entry;
        self.weigh(weight(&message));
        self.level(&message).push(Fresh { message, expires_ms, seq });
    }

    /// Puts a message that was taken back.
    pub(in crate::broker) fn put_back(&mut self, entry: Entry) {
        self.len += 1;
        self.body_bytes += entry.message.body().len() as u64;
        self.transient.add(&entry.message);
        self.expiring |= entry.expires_ms != NEVER;
        self.weigh(weight(&entry.message));
        if self.order.returns_first {
            self.returns.push_back(entry);
        } else {
            self.level(&entry.message).returned.insert(entry.seq, entry);
        }
    }

    /// Takes the message to be delivered next; `None` if there is none, or it is on disk.
    pub(in crate::broker) fn pop(&mut self) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let entry = match self.returns.pop_front() {
            Some(entry) => entry,
            None => {
                let next = self.levels.iter_mut().rev().find(|level| !level.is_empty())?;
                next.pop()?
            }
        };
        self.took(&entry);
        Some(entry)
    }

    fn took(&mut self, entry: &Entry) {
        self.len -= 1;
        self.body_bytes -= entry.message.body().len() as u64;
        self.transient.remove(&entry.message);
        self.weigh(-weight(&entry.message));
        if self.len == 0 {
            self.release_memory();
        }
    }

    /// A queue that is empty keeps no memory of the backlog it once had.
    fn release_memory(&mut self) {
        self.expiring = false;
        self.levels.iter_mut().for_each(Level::release_memory);
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

    /// Takes everything out: what was in memory, and what was on disk with its priority.
    pub(super) fn take_all(&mut self) -> (Vec<Entry>, Vec<(usize, Paged)>) {
        let (mut entries, mut paged) = (Vec::from(std::mem::take(&mut self.returns)), Vec::new());
        for (index, level) in self.levels.iter_mut().enumerate() {
            let Level { returned, head, paged: on_disk, tail, .. } = std::mem::take(level);
            entries.extend(returned.into_values());
            let fresh = head.into_iter().chain(tail);
            entries.extend(fresh.map(|Fresh { message, expires_ms, seq }| Entry {
                message,
                expires_ms,
                seq,
                deliveries: 0,
                failures: 0,
            }));
            paged.extend(on_disk.into_iter().map(|paged| (index, paged)));
        }
        self.weigh(-self.memory_bytes);
        self.len = 0;
        self.body_bytes = 0;
        self.transient = Transient::default();
        self.release_memory();
        (entries, paged)
    }

    /// Messages of the first page of a priority are here.
    pub(super) fn unpage(&mut self, level: usize, entries: Vec<Entry>) {
        self.len += entries.len();
        for entry in &entries {
            self.body_bytes += entry.message.body().len() as u64;
            self.transient.add(&entry.message);
            self.expiring |= entry.expires_ms != NEVER;
            self.weigh(weight(&entry.message));
        }
        let fresh =
            entries.into_iter().map(|Entry { message, expires_ms, seq, .. }| Fresh { message, expires_ms, seq });
        self.level_at(level).unpage(fresh);
    }

    /// Puts in messages that are on disk, behind those before.
    pub(super) fn recover_page(&mut self, level: usize, paged: Paged) {
        self.len += usize::try_from(paged.members.count()).unwrap_or_default();
        self.body_bytes += paged.body_bytes;
        self.transient += paged.transient;
        self.expiring |= paged.expires;
        self.level_at(level).paged.push_back(paged);
    }

    /// The priority of a message here.
    pub(super) fn level_of(&self, message: &Message) -> usize {
        let Order { priority_max, priority_default, .. } = self.order;
        usize::from(message.facts().priority.unwrap_or(priority_default).min(priority_max))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.meter.fetch_add(self.untold_bytes - self.memory_bytes, Ordering::Relaxed);
    }
}

/// What a message takes in memory, in bytes.
#[inline]
pub(super) fn weight(message: &Message) -> isize {
    // Allocations are shorter than that.
    message.memory_bytes() as isize
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
        let mut ready = Ready::new(Order::classic(0), Meter::default());
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
        let mut ready = Ready::new(Order::classic(5), Meter::default());
        for (name, priority) in [("low", 0), ("high", 5), ("above", 9), ("mid", 3)] {
            ready.push(message(name, priority), NEVER);
        }
        let order: Vec<String> = (0..4).map(|_| pop(&mut ready)).collect();
        assert_eq!(order, ["high", "above", "mid", "low"]);
    }

    /// FEATURES PQ-3, QQ-5.
    #[test]
    fn a_quorum_queue_has_32_priorities_and_gives_returns_first() {
        let mut ready = Ready::new(Order::QUORUM, Meter::default());
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
        let mut ready = Ready::new(Order::classic(0), Meter::default());
        ready.push(message("long", 0), 5000);
        ready.push(message("short", 0), 50);
        assert!(ready.pop_expired(300).is_none());
        assert_eq!(ready.next_expiry_ms(), 5000);
        assert_eq!(pop(&mut ready), "long");
        assert!(ready.pop_expired(300).is_some());
        assert_eq!(ready.next_expiry_ms(), NEVER);
    }
}
