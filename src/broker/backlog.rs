//! What an exchange of type `x-delayed-message` holds back (XT-10): which messages, for how long, and as what they are
//! routed then. The lane's part is in `delayed.rs`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::compaction::Move;
use super::dedup::Producers;
use super::effects::Effects;
use super::event::QueueId;
use super::kept;
use super::message::{Facts, Message, Parts};
use super::queue::TTL_MS_MAX;
use super::receipts::Origin;
use super::stored::{CHUNK_BYTES, Stored};
use super::timers::Timers;
use super::vhost::{Exchange, Vhost};
use crate::hashing::Hashing;
use crate::replicate::{
    Chunk, ChunkPlace, Place, QueueState, Record, Records, RecoveredMessage, RecoveredQueue, Segments,
};
use crate::wire::{Properties, RawTable, RawValue, Value};

/// The header with the delay in ms; negated when the message has been held.
const DELAY_HEADER: &[u8] = b"x-delay";
/// A lane looks this often whether the exchanges it holds messages for are still there.
const CHECK_MS: u64 = 30_000;
const NEVER: u64 = u64::MAX;
/// Chunks of held messages know no priorities.
const LEVEL: u8 = 0;

/// How long an exchange that delays is to hold this message, at most ten years. Of anything but a number above 0 it is
/// not to be held at all, as the plugin does; the plugin has its limit at 2^32-1 ms.
pub(super) fn delay_ms(headers: Option<RawTable<'_>>) -> Option<u64> {
    let delay = delay_of(&headers?.get(DELAY_HEADER)?)?;
    (1..=TTL_MS_MAX).contains(&delay).then_some(delay.unsigned_abs())
}

fn delay_of(value: &RawValue<'_>) -> Option<i64> {
    match value.to_value().ok()? {
        Value::LongString(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
        // Casts round towards zero and end at the limits.
        Value::F32(delay) if delay.is_finite() => Some(delay as i64),
        Value::F64(delay) if delay.is_finite() => Some(delay as i64),
        other => other.as_integer(),
    }
}

/// What an exchange holds back.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// Where the exchange is.
    pub(super) vhost: Arc<Vhost>,
    /// Who holds it.
    pub(super) exchange: Arc<Exchange>,
    /// All routing keys, if there are more than the message's own.
    pub(super) keys: Option<Arc<[Box<str>]>>,
    /// How long.
    pub(super) delay_ms: u64,
}

/// A message that is held.
#[derive(Debug)]
struct Waiting {
    message: Message,
    /// As in [`Hold`].
    keys: Option<Arc<[Box<str>]>>,
    /// Its number in the log, if that keeps it.
    seq: Option<u64>,
}

/// A message whose time has come.
#[derive(Debug)]
pub(super) struct Released {
    /// As it is to be routed.
    pub(super) message: Message,
    /// As it was published.
    pub(super) original: Message,
    /// As in [`Hold`].
    pub(super) keys: Option<Arc<[Box<str>]>>,
    /// Its number in the log, if that keeps it.
    pub(super) seq: Option<u64>,
}

/// What the log says of an exchange that holds messages back.
#[derive(Debug)]
pub(super) struct FormerBacklog {
    pub(super) vhost: Arc<Vhost>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) content: RecoveredQueue<Option<Message>>,
    /// Messages of its chunks.
    pub(super) read: Vec<RecoveredMessage<Option<Message>>>,
}

/// What is held for one exchange.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) vhost: Arc<Vhost>,
    pub(super) exchange: Arc<Exchange>,
    waiting: Timers<Waiting>,
    /// A resend is told when it comes: later, the order is that of the delays.
    producers: Producers,
    /// The earliest timer asked for and not yet rung.
    timer_ms: u64,
    /// The number of the next message that the log keeps.
    next_seq: u64,
    /// Which of them it need not keep any longer.
    stored: Stored,
    /// Released by number, with how many queues of other lanes have not answered.
    leaving: BTreeMap<u64, (Message, usize)>,
}

impl Backlog {
    fn new(vhost: Arc<Vhost>, exchange: Arc<Exchange>) -> Self {
        Self {
            vhost,
            exchange,
            waiting: Timers::default(),
            producers: Producers::default(),
            timer_ms: NEVER,
            next_seq: 0,
            stored: Stored::default(),
            leaving: BTreeMap::new(),
        }
    }

    /// Takes a message, unless it has come before. Gives its place in the log, if it is to have one: a durable exchange
    /// keeps whatever it holds, as the plugin does.
    fn add(&mut self, hold: &Hold, message: &Message, keeps: bool, now_ms: u64) -> Option<Place> {
        if self.producers.is_resend(message) {
            return None;
        }
        // The clock's current millisecond has begun already, so without one more it would be too early.
        let due_ms = now_ms + hold.delay_ms + 1;
        let number = self.exchange.number.filter(|_| keeps);
        let place = number.map(|number| Place { queue: number.0, seq: self.next_seq, expires_ms: due_ms });
        self.next_seq += u64::from(place.is_some());
        self.producers.took(message, place.is_some());
        self.wait(due_ms, message.clone(), hold.keys.clone(), place.map(|place| place.seq));
        place
    }

    fn wait(&mut self, due_ms: u64, message: Message, keys: Option<Arc<[Box<str>]>>, seq: Option<u64>) {
        self.waiting.add(due_ms, Waiting { message, keys, seq });
        self.exchange.messages_delayed.fetch_add(1, Ordering::Relaxed);
    }

    fn pop(&mut self, now_ms: u64) -> Option<Waiting> {
        let waiting = self.waiting.pop(now_ms)?;
        self.exchange.messages_delayed.fetch_sub(1, Ordering::Relaxed);
        Some(waiting)
    }

    /// When to be called again, if no timer is set that rings before.
    fn new_timer(&mut self, now_ms: u64) -> Option<u64> {
        let next_ms = self.waiting.next_ms().unwrap_or(NEVER).min(now_ms + CHECK_MS);
        if next_ms >= self.timer_ms {
            return None;
        }
        self.timer_ms = next_ms;
        Some(next_ms)
    }

    /// The log need not keep it any longer.
    fn gone(&mut self, seq: u64, fx: &mut Effects) {
        if let Some(number) = self.exchange.number {
            fx.changes.removed(number, seq);
            fx.given_up.extend(self.stored.remove(LEVEL, seq));
        }
    }

    fn recover(&mut self, mut content: RecoveredQueue<Option<Message>>, read: Vec<RecoveredMessage<Option<Message>>>) {
        self.producers.recover(&content.notes());
        let in_log = content.messages().next().map(|(seq, ..)| seq);
        let mut messages = read;
        messages.extend(content.take_messages());
        // Those of one moment come in their order.
        messages.sort_unstable_by_key(|message| message.seq);
        for RecoveredMessage { seq, expires_ms, message, .. } in messages {
            // What could not be read was told when it was.
            if let Some(message) = message {
                let keys = all_keys(&message);
                self.wait(expires_ms, message, keys, Some(seq));
            }
        }
        self.next_seq = content.next_seq;
        self.stored.recover(content.chunks, in_log, content.next_seq);
    }

    fn checkpoint(&mut self, queue: u64, segments: &Segments, records: &mut Records) {
        let old = self.stored.advance(self.next_seq);
        if !old.is_empty() {
            self.move_old(queue, &old, segments);
        }
        let (next_seq, chunks) = (self.next_seq, self.stored.chunks());
        records.put_queue(&QueueState { queue, next_seq, delivered_before: 0, chunks }, segments);
        for (value, key) in self.producers.notes() {
            records.put(&Record::Note { queue, parts: 1, value, key: &key });
        }
    }

    /// Moves what has a number in this range to chunks.
    fn move_old(&mut self, queue: u64, old: &Range<u64>, segments: &Segments) {
        let waiting =
            self.waiting.iter().filter_map(|(due_ms, waiting)| Some((waiting.seq?, due_ms, &waiting.message)));
        // Those are due.
        let leaving = self.leaving.iter().map(|(seq, (message, _))| (*seq, 0, message));
        let is_old = |seq: u64| old.contains(&seq) && !self.stored.has(LEVEL, seq);
        let mut moving: Vec<_> = waiting.chain(leaving).filter(|(seq, ..)| is_old(*seq)).collect();
        moving.sort_unstable_by_key(|(seq, ..)| *seq);
        let (mut made, mut room) = (Vec::new(), Vec::new());
        for group in moving.chunk_by(|(a, ..), (b, ..)| !self.stored.is_between(LEVEL, *a, *b)) {
            let mut rest = group.iter().peekable();
            while rest.peek().is_some() {
                let mut chunk = segments.chunk();
                while chunk.len() < CHUNK_BYTES
                    && let Some((seq, expires_ms, message)) = rest.next()
                {
                    let place = Place { queue, seq: *seq, expires_ms: *expires_ms };
                    kept::put(&mut chunk, place, message, &mut room);
                }
                made.push(Chunk { level: LEVEL, expires: true, ..segments.put(chunk) });
            }
        }
        made.into_iter().for_each(|chunk| self.stored.add(chunk));
    }
}

/// All routing keys, if there are more than the message's own.
fn all_keys(message: &Message) -> Option<Arc<[Box<str>]>> {
    let properties = Properties::decode(message.properties()).ok()?;
    let more = properties.headers.and_then(|headers| headers.get(b"CC")).and_then(|value| value.array());
    let more = more.into_iter().flatten().filter_map(|key| Some(String::from_utf8_lossy(key.longstr()?).into_owned()));
    let mut keys = vec![Box::from(&*message.routing_key())];
    keys.extend(more.chain(message.bcc()).map(String::into_boxed_str));
    (keys.len() > 1).then(|| keys.into())
}

/// Tells the exchanges of one lane apart: where the exchange lies in memory, which is its own as long as the backlog
/// has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct BacklogKey(usize);

impl BacklogKey {
    fn of(exchange: &Arc<Exchange>) -> Self {
        Self(Arc::as_ptr(exchange).addr())
    }
}

/// All that a lane holds.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
    by_key: HashMap<BacklogKey, Backlog, Hashing>,
    /// Those that the log knows.
    by_number: HashMap<QueueId, BacklogKey, Hashing>,
    scratch: Scratch,
}

impl Backlogs {
    /// Takes a message for the time it is to be held. Gives its place in the log, if that is to keep it.
    pub(super) fn add(
        &mut self,
        hold: &Hold,
        message: &Message,
        keeps: bool,
        now_ms: u64,
    ) -> (BacklogKey, Option<Place>) {
        let (key, backlog) = self.of(&hold.vhost, &hold.exchange);
        (key, backlog.add(hold, message, keeps, now_ms))
    }

    fn of(&mut self, vhost: &Arc<Vhost>, exchange: &Arc<Exchange>) -> (BacklogKey, &mut Backlog) {
        let key = BacklogKey::of(exchange);
        let backlog = self.by_key.entry(key).or_insert_with(|| {
            self.by_number.extend(exchange.number.map(|number| (number, key)));
            Backlog::new(vhost.clone(), exchange.clone())
        });
        (key, backlog)
    }

    /// Takes up what the log says.
    pub(super) fn recover(&mut self, former: FormerBacklog) -> BacklogKey {
        let FormerBacklog { vhost, exchange, content, read } = former;
        let (key, backlog) = self.of(&vhost, &exchange);
        backlog.recover(content, read);
        key
    }

    /// A timer has rung. `None` if the exchange is gone, and with it what was held.
    pub(super) fn ring(&mut self, key: BacklogKey, fx: &mut Effects) -> Option<&Backlog> {
        let is_alive = self.by_key.get(&key)?.exchange.is_alive();
        if !is_alive && let Some(gone) = self.by_key.remove(&key) {
            fx.given_up.extend(gone.stored.places());
            self.by_number.retain(|_, of| *of != key);
        }
        let backlog = self.by_key.get_mut(&key)?;
        backlog.timer_ms = NEVER;
        Some(backlog)
    }

    /// The next message whose time has come.
    pub(super) fn pop(&mut self, key: BacklogKey, now_ms: u64, fx: &mut Effects) -> Option<Released> {
        let backlog = self.by_key.get_mut(&key)?;
        loop {
            let Waiting { message: original, keys, seq } = backlog.pop(now_ms)?;
            // What cannot be read was never held, and must not stop what is behind it.
            match with_negated_delay(&original, &mut self.scratch) {
                Some(message) => return Some(Released { message, original, keys, seq }),
                None => seq.into_iter().for_each(|seq| backlog.gone(seq, fx)),
            }
        }
    }

    /// A message that the log keeps was routed, and so many queues of other lanes will answer.
    pub(super) fn sent(&mut self, of: Origin, original: &Message, awaited: usize, fx: &mut Effects) {
        let Some(backlog) = self.numbered(of.queue.id) else { return };
        if awaited == 0 {
            backlog.gone(of.seq, fx);
        } else {
            backlog.leaving.insert(of.seq, (original.clone(), awaited));
        }
    }

    /// A queue of another lane has answered.
    pub(super) fn received(&mut self, of: Origin, fx: &mut Effects) {
        let Some(backlog) = self.numbered(of.queue.id) else { return };
        let Some((_, awaited)) = backlog.leaving.get_mut(&of.seq) else { return };
        *awaited -= 1;
        if *awaited == 0 {
            backlog.leaving.remove(&of.seq);
            backlog.gone(of.seq, fx);
        }
    }

    fn numbered(&mut self, number: QueueId) -> Option<&mut Backlog> {
        self.by_key.get_mut(self.by_number.get(&number)?)
    }

    /// Those that the log knows, by number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = QueueId> {
        self.by_number.keys().copied()
    }

    /// A checkpoint: what has stayed since the last one moves to chunks, and the records say what there is.
    pub(super) fn checkpoint(&mut self, number: QueueId, segments: &Segments, records: &mut Records) {
        if let Some(backlog) = self.numbered(number)
            && backlog.exchange.is_alive()
        {
            backlog.checkpoint(number.0, segments, records);
        }
    }

    /// What lies in these files.
    pub(super) fn chunks_in(&self, files: &[u32], moves: &mut Vec<Move>) {
        for (queue, key) in &self.by_number {
            let chunks = self.by_key.get(key).into_iter().flat_map(|backlog| backlog.stored.chunks_in(files));
            moves.extend(chunks.map(|chunk| Move {
                queue: *queue,
                level: LEVEL,
                from: chunk.place,
                members: chunk.members.clone(),
            }));
        }
    }

    /// A chunk was written anew. Gives how often it was one of these.
    pub(super) fn moved(&mut self, moved: &Move, to: ChunkPlace) -> usize {
        self.numbered(moved.queue).map_or(0, |backlog| usize::from(backlog.stored.moved(moved, to)))
    }

    /// When a backlog is to ring, if no timer is set that rings before.
    pub(super) fn new_timer(&mut self, key: BacklogKey, now_ms: u64) -> Option<u64> {
        self.by_key.get_mut(&key)?.new_timer(now_ms)
    }
}

/// Memory to put a message together in, kept from one to the next.
#[derive(Debug, Default)]
struct Scratch {
    headers: Vec<u8>,
    properties: Vec<u8>,
    message: Vec<u8>,
}

/// The message as it is routed after its delay: with the delay negated, so that it is not held again and whoever gets
/// it can tell. Its sequence number has been looked at. `None` if the properties cannot be read, which the publish
/// made sure of.
fn with_negated_delay(message: &Message, scratch: &mut Scratch) -> Option<Message> {
    let properties = Properties::decode(message.properties()).ok()?;
    let headers = properties.headers?;
    let delay = delay_of(&headers.get(DELAY_HEADER)?)?.checked_neg()?;
    let delay = i32::try_from(delay).map_or(Value::I64(delay), Value::I32);
    scratch.headers.clear();
    headers.encode_with(DELAY_HEADER, &delay, &mut scratch.headers);
    scratch.properties.clear();
    Properties { headers: Some(RawTable(&scratch.headers)), ..properties }.encode(&mut scratch.properties);
    let facts = Facts { is_numbered: false, ..message.facts() };
    let (address, properties, body, bcc) =
        (message.address(), &scratch.properties, message.body_again(), message.bcc());
    let parts = Parts { address, properties, body, facts, bcc: &bcc, more: None };
    Some(Message::of(parts, &mut scratch.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Body;
    use crate::wire::Table;

    fn delay(value: Value) -> Option<u64> {
        let mut raw = Vec::new();
        Table::from_iter([("x-delay", value)]).encode_bare(&mut raw);
        delay_ms(Some(RawTable(&raw)))
    }

    /// FEATURES XT-10: integers of all widths, text and fractions; all else is not delayed.
    #[test]
    fn a_delay_is_a_number_above_zero() {
        for value in
            [Value::I8(7), Value::U8(7), Value::I16(7), Value::U16(7), Value::I32(7), Value::U32(7), Value::I64(7)]
        {
            assert_eq!(delay(value), Some(7));
        }
        assert_eq!(delay("7".into()), Some(7));
        assert_eq!(delay(Value::F64(7.9)), Some(7));
        assert_eq!(delay(Value::F32(7.5)), Some(7));
        let limit = (1 << 32) - 1;
        for at_limit in [limit, limit + 1, TTL_MS_MAX] {
            assert_eq!(delay(Value::I64(at_limit)), Some(at_limit as u64));
        }
        let not_delayed = [
            Value::I32(0),
            Value::I8(-7),
            Value::I64(TTL_MS_MAX + 1),
            Value::I64(i64::MIN),
            Value::F64(f64::NAN),
            Value::F64(f64::INFINITY),
            Value::F64(0.5),
            "".into(),
            "soon".into(),
            Value::Bool(true),
            Value::Void,
            Value::Timestamp(7),
            Value::Array(vec![Value::I32(7)]),
        ];
        for value in not_delayed {
            assert_eq!(delay(value.clone()), None, "{value:?}");
        }
        assert_eq!(delay_ms(None), None);
    }

    /// FEATURES XT-10: the width grows if it must.
    #[test]
    fn the_delay_is_negated() {
        for (value, negated) in [
            (Value::U8(200), Value::I32(-200)),
            (Value::I64(1 << 40), Value::I64(-(1 << 40))),
            ("12".into(), Value::I32(-12)),
        ] {
            let mut headers = Vec::new();
            Table::from_iter([("a", Value::Void), ("x-delay", value)]).encode_bare(&mut headers);
            let mut properties = Vec::new();
            let given =
                Properties { headers: Some(RawTable(&headers)), message_id: Some(b"7"), ..Properties::default() };
            given.encode(&mut properties);
            let facts = Facts { is_numbered: true, priority: Some(3), ..Facts::default() };
            let message = Message::new(b"\x01x\x01k", &properties, Body::Small(b"m"), facts, &mut Vec::new());
            let message = with_negated_delay(&message, &mut Scratch::default()).unwrap();
            let properties = Properties::decode(message.properties()).unwrap();
            assert_eq!(properties.headers.unwrap().get(DELAY_HEADER).unwrap().to_value().unwrap(), negated);
            assert!(properties.message_id == Some(b"7") && message.body() == b"m" && message.routing_key() == "k");
            assert_eq!(message.facts(), Facts { is_numbered: false, ..facts });
        }
    }
}
