//! Duplicates: what tells one message from another (XT-11), what an exchange has seen lately, which ids are in a
//! queue, and how far each producer has come.
//!
//! A message says who it is in its headers; [`Facts`](super::message::Facts) tell which messages do, so that all others cost nothing here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};

use super::message::Message;
use super::refusal::Refusal;
use super::vhost::Exchange;
use crate::hashing::Hashing;
use crate::replicate::Record;
use crate::wire::{Properties, RawTable, RawValue, Table, Value};

/// The header with the id of a message.
pub(super) const ID_HEADER: &[u8] = b"x-deduplication-header";
/// The header with the name of a producer.
pub(super) const PRODUCER_HEADER: &[u8] = b"x-producer-id";
/// The header with the number of a message among those of its producer.
pub(super) const SEQUENCE_HEADER: &[u8] = b"x-producer-sequence";

/// What the key of a note in the log begins with that says how far a producer has come.
const PRODUCER: u8 = b'p';

/// The same of an id that an exchange has routed; the value says when it may come again.
const SEEN: u8 = b'i';

/// Ids of at most this many bytes are kept as they are, longer ones by their digest.
const ID_BYTES_MAX: usize = 64;
/// The longest name of a producer.
const PRODUCER_BYTES_MAX: usize = 255;
/// Producers that one queue or exchange remembers.
const PRODUCERS_MAX: usize = 10_000;

/// An id of bounded size: equal for equal values, whatever the width of an integer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Id(Arc<[u8]>);

impl Id {
    /// The id in these headers, if there is one.
    pub(super) fn of(headers: RawTable<'_>) -> Option<Self> {
        let value = headers.get(ID_HEADER)?.to_value().ok()?;
        let mut bytes = Vec::new();
        match value {
            Value::Void => return None,
            Value::LongString(text) => {
                bytes.push(b'S');
                bytes.extend(text);
            }
            other => {
                let value = other.as_integer().map_or(other, Value::I64);
                Table::from_iter([("", value)]).encode_bare(&mut bytes);
            }
        }
        if bytes.len() > ID_BYTES_MAX {
            let digest = Sha256::digest(&bytes);
            bytes.clear();
            // No other id begins so.
            bytes.push(b'#');
            bytes.extend(digest);
        }
        Some(Self(bytes.into()))
    }

    fn key(&self) -> Vec<u8> {
        [&[SEEN], &*self.0].concat()
    }

    fn of_message(message: &Message) -> Option<Self> {
        Self::of(Properties::decode(message.properties()).ok()?.headers?)
    }
}

/// What an exchange of type `x-message-deduplication` has routed lately.
#[derive(Debug)]
pub(super) struct Seen {
    size_max: usize,
    ttl_ms: Option<u64>,
    by_id: HashMap<Id, Sighting, Hashing>,
    /// The same ids, the oldest first.
    order: VecDeque<Id>,
}

#[derive(Debug)]
struct Sighting {
    /// When the id may come again.
    expires_ms: u64,
    /// So many lanes have noted it in the log.
    noted: u16,
    /// All have that were to.
    is_kept: bool,
}

/// An id was let on its way by an exchange that is to know it after a restart. The lanes that get the message note it
/// behind the message: were it noted before, a resend of what never arrived would be dropped.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) exchange: Arc<Exchange>,
    pub(super) id: Id,
    pub(super) expires_ms: u64,
}

impl Admission {
    /// To be noted by so many lanes.
    pub(super) fn note<T>(&self, parts: u16, note: impl FnOnce(Record<'_>) -> T) -> Option<T> {
        let queue = self.exchange.number?.0;
        let noted = note(Record::Note { queue, parts, value: self.expires_ms, key: &self.id.key() });
        if let Some(seen) = &self.exchange.seen {
            seen.lock().unwrap_or_else(PoisonError::into_inner).noted(self, parts);
        }
        Some(noted)
    }
}

impl Seen {
    /// At most `size_max` ids, each for `ttl_ms` or until there is no more room.
    pub(super) fn new(size_max: usize, ttl_ms: Option<u64>) -> Self {
        Self { size_max: size_max.max(1), ttl_ms, by_id: HashMap::default(), order: VecDeque::new() }
    }

    /// `None`: a duplicate. Otherwise the id is remembered from now on until the time that is given; `ttl_ms` is the
    /// message's own.
    pub(super) fn admit(&mut self, id: &Id, ttl_ms: Option<u64>, now_ms: u64) -> Option<u64> {
        let expires_ms = ttl_ms.or(self.ttl_ms).map_or(u64::MAX, |ttl| now_ms.saturating_add(ttl));
        self.sweep(now_ms);
        if self.by_id.get(id).is_some_and(|known| known.expires_ms > now_ms) {
            return None;
        }
        self.put(id, expires_ms, false);
        Some(expires_ms)
    }

    fn put(&mut self, id: &Id, expires_ms: u64, is_kept: bool) {
        let sighting = Sighting { expires_ms, noted: 0, is_kept };
        if let Some(known) = self.by_id.get_mut(id) {
            *known = sighting;
            return;
        }
        while self.order.len() >= self.size_max {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
        self.order.push_back(id.clone());
        self.by_id.insert(id.clone(), sighting);
    }

    fn noted(&mut self, admission: &Admission, parts: u16) {
        if let Some(known) = self.by_id.get_mut(&admission.id)
            && known.expires_ms == admission.expires_ms
        {
            known.noted = known.noted.saturating_add(1);
            known.is_kept |= known.noted >= parts;
        }
    }

    /// What the log is to say of it, the oldest first: value, key.
    pub(super) fn notes(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let kept = self.order.iter().filter_map(|id| Some((id, self.by_id.get(id).filter(|known| known.is_kept)?)));
        kept.map(|(id, known)| (known.expires_ms, id.key()))
    }

    /// Takes up the ids among what the log has noted: key, value.
    pub(super) fn recover(&mut self, notes: &[(&[u8], u64)]) {
        for (key, expires_ms) in notes {
            if let Some((&SEEN, id)) = key.split_first() {
                self.put(&Id(id.into()), *expires_ms, true);
            }
        }
    }

    /// Lets go of the oldest whose time is over, so that an id that no message names again does not stay for ever. One
    /// with a long time of its own keeps those behind it; there is room for `size_max` anyway.
    fn sweep(&mut self, now_ms: u64) {
        while let Some(oldest) = self.order.front()
            && self.by_id.get(oldest).is_none_or(|known| known.expires_ms <= now_ms)
        {
            self.by_id.remove(oldest);
            self.order.pop_front();
        }
    }
}

/// The message's own time to be remembered; anything but a positive integer counts for nothing.
pub(super) fn cache_ttl_ms(headers: RawTable<'_>) -> Option<u64> {
    let ttl = headers.get(b"x-cache-ttl")?.to_value().ok()?.as_integer()?;
    u64::try_from(ttl).ok().filter(|ttl| *ttl > 0)
}

/// How far each producer has come: its last sequence number.
#[derive(Debug, Default)]
pub(super) struct Producers {
    by_id: HashMap<Arc<[u8]>, Progress, Hashing>,
    /// Uses in order; only the last one of each producer counts.
    uses: VecDeque<(u64, Arc<[u8]>)>,
    used: u64,
}

#[derive(Debug)]
struct Progress {
    sequence: i64,
    /// That of the last message that the log keeps.
    kept: Option<i64>,
    used: u64,
}

impl Producers {
    /// Has the producer come this far already?
    fn is_past(&self, id: &[u8], sequence: i64) -> bool {
        self.by_id.get(id).is_some_and(|progress| sequence <= progress.sequence)
    }

    fn reached(&mut self, id: &[u8], sequence: i64, is_kept: bool) {
        let kept = is_kept.then_some(sequence);
        let is_last = self.uses.back().is_some_and(|(_, last)| **last == *id);
        if let Some(progress) = self.by_id.get_mut(id) {
            progress.sequence = progress.sequence.max(sequence);
            progress.kept = progress.kept.max(kept);
            if is_last {
                return;
            }
        }
        self.used += 1;
        let (id, used) = match self.by_id.get_key_value(id) {
            Some((id, _)) => (id.clone(), self.used),
            None => (Arc::from(id), self.used),
        };
        self.by_id.entry(id.clone()).or_insert(Progress { sequence, kept, used }).used = used;
        self.uses.push_back((used, id));
        self.forget_least_used();
    }

    fn forget_least_used(&mut self) {
        while self.by_id.len() > PRODUCERS_MAX || self.uses.len() > 2 * PRODUCERS_MAX {
            let Some((used, id)) = self.uses.pop_front() else { return };
            if self.by_id.get(&id).is_some_and(|progress| progress.used == used) {
                if self.by_id.len() > PRODUCERS_MAX {
                    self.by_id.remove(&id);
                } else {
                    self.uses.push_back((used, id));
                }
            }
        }
    }

    /// How far each has come, the least recently used first, as the log notes it: value, key.
    pub(super) fn notes(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.uses.iter().filter_map(|(used, id)| {
            let progress = self.by_id.get(id).filter(|progress| progress.used == *used)?;
            Some((noted(progress.kept?), key_of(id)))
        })
    }

    /// Takes up the producers among what the log has noted: key, value.
    pub(super) fn recover(&mut self, notes: &[(&[u8], u64)]) {
        for (key, noted) in notes {
            if let Some((&PRODUCER, id)) = key.split_first() {
                self.reached(id, noted.cast_signed() ^ i64::MIN, true);
            }
        }
    }

    /// Has this message come before, or one behind it?
    pub(super) fn is_resend(&self, message: &Message) -> bool {
        message.facts().is_numbered && with_number(message, |id, sequence| self.is_past(id, sequence)).unwrap_or(false)
    }

    /// The message is taken, and the log keeps it or does not.
    pub(super) fn took(&mut self, message: &Message, is_kept: bool) {
        if message.facts().is_numbered {
            with_number(message, |id, sequence| self.reached(id, sequence, is_kept));
        }
    }
}

fn key_of(producer: &[u8]) -> Vec<u8> {
    [&[PRODUCER], producer].concat()
}

/// A sequence number as a note's value: greater where it is greater.
fn noted(sequence: i64) -> u64 {
    (sequence ^ i64::MIN).cast_unsigned()
}

/// What the log is to note of a message that was taken.
pub(super) fn note_of(message: &Message, note: impl FnOnce(u64, &[u8])) {
    if message.facts().is_numbered {
        with_number(message, |id, sequence| note(noted(sequence), &key_of(id)));
    }
}

fn with_number<T>(message: &Message, then: impl FnOnce(&[u8], i64) -> T) -> Option<T> {
    let headers = Properties::decode(message.properties()).ok()?.headers?;
    let id = headers.get(PRODUCER_HEADER)?.longstr()?;
    let sequence = headers.get(SEQUENCE_HEADER)?.to_value().ok()?.as_integer()?;
    Some(then(id, sequence))
}

/// Do these two headers number the message? One without the other, or of another type, is refused.
pub(super) fn check_number(id: Option<RawValue<'_>>, sequence: Option<RawValue<'_>>) -> Result<bool, Refusal> {
    let (Some(id), Some(sequence)) = (id, sequence) else {
        return match (id, sequence) {
            (None, None) => Ok(false),
            (Some(_), _) => Err(Refusal::ProducerHeader("x-producer-id needs x-producer-sequence beside it")),
            (None, _) => Err(Refusal::ProducerHeader("x-producer-sequence needs x-producer-id beside it")),
        };
    };
    if !id.longstr().is_some_and(|id| (1..=PRODUCER_BYTES_MAX).contains(&id.len())) {
        return Err(Refusal::ProducerHeader("x-producer-id must be a longstr of 1 to 255 bytes"));
    }
    if sequence.to_value().ok().and_then(|value| value.as_integer()).is_none() {
        return Err(Refusal::ProducerHeader("x-producer-sequence must be an integer"));
    }
    Ok(true)
}

/// What a queue knows of the messages it was sent, to tell those that come again.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    /// `x-message-deduplication`: the ids of the messages in the queue, waiting or unacked.
    ids: Option<HashSet<Id, Hashing>>,
    producers: Producers,
}

impl Duplicates {
    /// With ids, or with producers' numbers only.
    pub(super) fn new(by_id: bool) -> Self {
        Self { ids: by_id.then(HashSet::default), producers: Producers::default() }
    }

    /// An equal id is in the queue, or the message's producer has sent it before: it is to be dropped.
    #[inline]
    pub(super) fn contains(&self, message: &Message) -> bool {
        message.facts().is_identified() && self.has_come(message)
    }

    fn has_come(&self, message: &Message) -> bool {
        let facts = message.facts();
        let has_equal = |ids: &HashSet<Id, _>| Id::of_message(message).is_some_and(|id| ids.contains(&id));
        facts.has_id && self.ids.as_ref().is_some_and(has_equal) || self.producers.is_resend(message)
    }

    /// The queue takes the message, which the log keeps or does not.
    #[inline]
    pub(super) fn add(&mut self, message: &Message, is_kept: bool) {
        if message.facts().is_identified() {
            self.note(message, is_kept);
        }
    }

    fn note(&mut self, message: &Message, is_kept: bool) {
        self.producers.took(message, is_kept);
        if message.facts().has_id
            && let Some(ids) = &mut self.ids
        {
            ids.extend(Id::of_message(message));
        }
    }

    /// The message has left the queue for good: its id is free again.
    #[inline]
    pub(super) fn remove(&mut self, message: &Message) {
        if let Some(ids) = &mut self.ids
            && message.facts().has_id
        {
            free(ids, message);
        }
    }

    /// How far each producer has come.
    pub(super) fn producers(&mut self) -> &mut Producers {
        &mut self.producers
    }

    /// Must each message that leaves be told?
    pub(super) fn by_id(&self) -> bool {
        self.ids.is_some()
    }
}

fn free(ids: &mut HashSet<Id, Hashing>, message: &Message) {
    if let Some(id) = Id::of_message(message) {
        ids.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: Value) -> Option<Id> {
        let mut raw = Vec::new();
        Table::from_iter([("x-deduplication-header", value)]).encode_bare(&mut raw);
        Id::of(RawTable(&raw))
    }

    /// FEATURES XT-11.
    #[test]
    fn ids_compare_by_value_and_kind() {
        assert_eq!(id(Value::I8(7)), id(Value::I64(7)));
        assert_ne!(id(Value::I8(7)), id("7".into()));
        assert_ne!(id(Value::Bool(true)), id(Value::I8(1)));
        assert_eq!(id(Value::Void), None);
        let long = |end: &str| id(Value::from(&*("x".repeat(100_000) + end)));
        assert_eq!(long("a"), long("a"));
        assert_ne!(long("a"), long("b"));
        assert!(long("a").is_some_and(|id| id.0.len() <= ID_BYTES_MAX), "a long id costs no more than a short one");
        assert_eq!(id(Value::Array(vec![Value::I8(1)])), id(Value::Array(vec![Value::I8(1)])));
    }

    /// FEATURES XT-11: by time, by the message's own time, and by room.
    #[test]
    fn an_exchange_forgets() {
        let name = |n: i64| id(Value::I64(n)).unwrap();
        let mut seen = Seen::new(3, Some(100));
        let mut admits = |n: i64, ttl_ms, now_ms| seen.admit(&name(n), ttl_ms, now_ms).is_some();
        assert!(admits(1, None, 0));
        assert!(!admits(1, None, 99));
        assert!(admits(1, None, 100));
        assert!(admits(2, Some(10), 100));
        assert!(!admits(2, None, 109));
        assert!(admits(2, None, 110));
        for n in 3..6 {
            assert!(admits(n, None, 120));
        }
        assert_eq!(seen.by_id.len(), 3);
        assert_eq!(seen.admit(&name(5), None, 120), None);
        assert_eq!(seen.admit(&name(1), None, 120), Some(220), "gone, to make room");
    }

    /// FEATURES XT-11: ids that nobody names again go, too.
    #[test]
    fn ids_go_soon_after_their_time() {
        let mut seen = Seen::new(1_000_000, Some(10));
        for n in 0..10_000 {
            assert!(seen.admit(&id(Value::I64(n)).unwrap(), None, n as u64).is_some());
        }
        assert!(seen.order.len() < 50, "{}", seen.order.len());
        assert_eq!(seen.order.len(), seen.by_id.len());
    }

    #[test]
    fn producers_are_told_apart_and_the_least_recent_is_forgotten() {
        let mut producers = Producers::default();
        let name = |n: usize| n.to_be_bytes();
        for n in 0..PRODUCERS_MAX {
            producers.reached(&name(n), 5, true);
        }
        assert!(producers.is_past(&name(0), 5) && !producers.is_past(&name(0), 6));
        producers.reached(&name(0), 4, true);
        assert!(producers.is_past(&name(0), 5), "a number never falls");
        producers.reached(b"new", 1, false);
        assert!(producers.is_past(&name(0), 5));
        assert!(!producers.is_past(&name(1), 5), "the least recently used");
        for round in 0..100_000 {
            producers.reached(&name(2 + round % 2), round as i64, true);
        }
        assert!(producers.uses.len() <= 2 * PRODUCERS_MAX && producers.by_id.len() == PRODUCERS_MAX);
        assert!(producers.is_past(b"new", 1));
    }
}
