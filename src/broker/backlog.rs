//! What an exchange of type `x-delayed-message` holds back (XT-10): which messages, for how long, and as what they are
//! routed then. The lane's part is in `delayed.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dedup::Producers;
use super::message::{Body, Facts, Message};
use super::queue::TTL_MS_MAX;
use super::timers::Wheel;
use super::vhost::{Exchange, Vhost};
use crate::wire::{Properties, RawTable, RawValue, Value};

/// The header with the delay in ms; negated when the message has been held.
const DELAY_HEADER: &[u8] = b"x-delay";
/// A lane looks this often whether the exchanges it holds messages for are still there.
const CHECK_MS: u64 = 30_000;
const NEVER: u64 = u64::MAX;

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
pub(super) struct Waiting {
    pub(super) message: Message,
    /// As in [`Hold`].
    pub(super) keys: Option<Arc<[Box<str>]>>,
}

/// What is held for one exchange.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) vhost: Arc<Vhost>,
    pub(super) exchange: Arc<Exchange>,
    waiting: Wheel<Waiting>,
    /// A resend is told when it comes: later, the order is that of the delays.
    producers: Producers,
    /// The earliest timer asked for and not yet rung.
    timer_ms: u64,
}

impl Backlog {
    fn new(hold: &Hold) -> Self {
        Self {
            vhost: hold.vhost.clone(),
            exchange: hold.exchange.clone(),
            waiting: Wheel::default(),
            producers: Producers::default(),
            timer_ms: NEVER,
        }
    }

    /// Takes a message, unless it has come before.
    fn add(&mut self, hold: &Hold, message: Message, now_ms: u64) {
        if self.producers.is_resend(&message) {
            return;
        }
        self.producers.took(&message, false);
        // The clock's current millisecond has begun already, so without one more it would be too early.
        self.waiting.add(now_ms + hold.delay_ms + 1, Waiting { message, keys: hold.keys.clone() });
        self.exchange.messages_delayed.fetch_add(1, Ordering::Relaxed);
    }

    /// As it was published.
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
}

/// Tells the exchanges of one lane apart: where the exchange lies in memory, which is its own as long as the backlog
/// has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct BacklogKey(usize);

/// All that a lane holds.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
    by_key: HashMap<BacklogKey, Backlog, foldhash::fast::RandomState>,
    scratch: Scratch,
}

impl Backlogs {
    /// Takes a message for the time it is to be held.
    pub(super) fn add(&mut self, hold: &Hold, message: Message, now_ms: u64) -> BacklogKey {
        let key = BacklogKey(Arc::as_ptr(&hold.exchange).addr());
        self.by_key.entry(key).or_insert_with(|| Backlog::new(hold)).add(hold, message, now_ms);
        key
    }

    /// A timer has rung. `None` if the exchange is gone, and with it what was held.
    pub(super) fn ring(&mut self, key: BacklogKey) -> Option<&Backlog> {
        if !self.by_key.get(&key)?.exchange.is_alive() {
            self.by_key.remove(&key);
        }
        let backlog = self.by_key.get_mut(&key)?;
        backlog.timer_ms = NEVER;
        Some(backlog)
    }

    /// The next message whose time has come, as it is to be routed.
    pub(super) fn pop(&mut self, key: BacklogKey, now_ms: u64) -> Option<Waiting> {
        let backlog = self.by_key.get_mut(&key)?;
        loop {
            let Waiting { message, keys } = backlog.pop(now_ms)?;
            // What cannot be read was never held, and must not stop what is behind it.
            if let Some(message) = with_negated_delay(&message, &mut self.scratch) {
                return Some(Waiting { message, keys });
            }
        }
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
    let body = match message.body_shared() {
        Some(shared) => Body::Large(shared.clone()),
        None => Body::Small(message.body()),
    };
    let facts = Facts { is_numbered: false, ..message.facts() };
    let (address, bcc) = (message.address(), message.bcc());
    Some(Message::with_bcc(address, &scratch.properties, body, facts, &bcc, &mut scratch.message))
}

#[cfg(test)]
mod tests {
    use super::*;
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
