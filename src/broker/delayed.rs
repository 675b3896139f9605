//! Delayed messages (XT-10): a lane holds them for the exchanges that are its share, and routes each when its time has
//! come. A message waits with its exchange, not in a queue, so bindings count as they are then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Broker;
use super::dedup::Producers;
use super::exchange::{Routable, stable_hash};
use super::lane::{Lane, Op, Timer};
use super::message::{Body, Facts, Message};
use super::queue::TTL_MS_MAX;
use super::route::Found;
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

impl Hold {
    /// What a walk has found to be held.
    pub(super) fn all(vhost: &Arc<Vhost>, found: &Found, keys: &[&str]) -> Vec<Self> {
        let more: Option<Arc<[Box<str>]>> = (keys.len() > 1).then(|| keys.iter().map(|key| Box::from(*key)).collect());
        let hold = |(exchange, delay_ms): &(Arc<Exchange>, u64)| Self {
            vhost: vhost.clone(),
            exchange: exchange.clone(),
            keys: more.clone(),
            delay_ms: *delay_ms,
        };
        found.held.iter().map(hold).collect()
    }
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    keys: Option<Arc<[Box<str>]>>,
}

/// What is held for one exchange.
#[derive(Debug)]
struct Backlog {
    vhost: Arc<Vhost>,
    exchange: Arc<Exchange>,
    waiting: Wheel<Waiting>,
    /// A resend is told when it comes: later, the order is that of the delays.
    producers: Producers,
    /// The earliest timer asked for and not yet rung.
    timer_ms: u64,
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
pub(super) struct Backlogs(HashMap<BacklogKey, Backlog, foldhash::fast::RandomState>);

impl Broker {
    /// The lane that holds an exchange's delayed messages.
    pub(super) fn lane_of_exchange(&self, exchange: &Exchange) -> u16 {
        // A remainder of at most 64 lanes.
        (stable_hash(exchange.name.as_bytes()) % self.lanes().len().max(1) as u64) as u16
    }
}

impl Lane {
    /// Takes a message for the time it is to be held.
    pub(super) fn hold(&mut self, hold: &Hold, message: Message, now_ms: u64) {
        if !hold.exchange.is_alive() {
            return;
        }
        let key = BacklogKey::of(&hold.exchange);
        let backlog = self.backlogs.0.entry(key).or_insert_with(|| Backlog {
            vhost: hold.vhost.clone(),
            exchange: hold.exchange.clone(),
            waiting: Wheel::default(),
            producers: Producers::default(),
            timer_ms: NEVER,
        });
        if backlog.producers.is_resend(&message) {
            return;
        }
        backlog.producers.took(&message);
        // The clock's current millisecond has begun already, so without one more it would be too early.
        backlog.waiting.add(now_ms + hold.delay_ms + 1, Waiting { message, keys: hold.keys.clone() });
        backlog.exchange.messages_delayed.fetch_add(1, Ordering::Relaxed);
        self.set_backlog_timer(key, now_ms);
    }

    fn set_backlog_timer(&mut self, key: BacklogKey, now_ms: u64) {
        let Some(backlog) = self.backlogs.0.get_mut(&key) else { return };
        let next_ms = backlog.waiting.next_ms().unwrap_or(NEVER).min(now_ms + CHECK_MS);
        if next_ms < backlog.timer_ms {
            backlog.timer_ms = next_ms;
            self.timers.add(next_ms, Timer::Backlog(key));
        }
    }

    /// Routes what has been held long enough, but not more than `count_max` messages at once. If the exchange is gone,
    /// so are its messages. Gives how many were routed.
    pub(super) fn release(&mut self, key: BacklogKey, count_max: usize, now_ms: u64) -> usize {
        let Some(backlog) = self.backlogs.0.get_mut(&key) else { return 0 };
        backlog.timer_ms = NEVER;
        if !backlog.exchange.is_alive() {
            self.backlogs.0.remove(&key);
            return 0;
        }
        let (vhost, exchange) = (backlog.vhost.clone(), backlog.exchange.clone());
        let mut count = 0;
        while count < count_max
            && let Some(waiting) = self.backlogs.0.get_mut(&key).and_then(|backlog| backlog.waiting.pop(now_ms))
        {
            count += 1;
            exchange.messages_delayed.fetch_sub(1, Ordering::Relaxed);
            self.route_released(&vhost, &exchange, &waiting, now_ms);
        }
        self.set_backlog_timer(key, now_ms);
        count
    }

    fn route_released(&mut self, vhost: &Arc<Vhost>, exchange: &Arc<Exchange>, waiting: &Waiting, now_ms: u64) {
        let Some(message) = with_negated_delay(&waiting.message) else { return };
        let Ok(properties) = Properties::decode(message.properties()) else { return };
        let own_key = message.routing_key();
        let keys: Vec<&str> = match &waiting.keys {
            Some(keys) => keys.iter().map(|key| &**key).collect(),
            None => vec![&own_key],
        };
        let found = vhost.route(exchange, &Routable { keys: &keys, properties: &properties }, &|| now_ms);
        for queue in &found.queues {
            self.pass_on(queue.key, message.clone(), now_ms);
        }
        self.detour(vhost, &found, &keys, &message, now_ms);
    }

    /// The part of a route that is no queue, for a message that a lane routes.
    pub(super) fn detour(&mut self, vhost: &Arc<Vhost>, found: &Found, keys: &[&str], message: &Message, now_ms: u64) {
        for exchange in &found.remembering {
            exchange.remember(message);
        }
        if found.held.is_empty() {
            return;
        }
        for hold in Hold::all(vhost, found, keys) {
            let lane = self.broker().lane_of_exchange(&hold.exchange);
            if lane == self.index() {
                self.hold(&hold, message.clone(), now_ms);
            } else {
                let operation = Op::Hold { hold: Box::new(hold), message: message.clone(), confirm: None };
                self.pass_operation(lane, operation, message.memory_bytes());
            }
        }
    }
}

/// The message as it is routed after its delay: with the delay negated, so that it is not held again and whoever gets
/// it can tell. Its sequence number has been looked at. `None` if the properties cannot be read, which the publish
/// made sure of.
fn with_negated_delay(message: &Message) -> Option<Message> {
    let properties = Properties::decode(message.properties()).ok()?;
    let raw = properties.headers?;
    let delay = delay_of(&raw.get(DELAY_HEADER)?)?.checked_neg()?;
    let mut headers = raw.parse().ok()?;
    headers.insert(DELAY_HEADER, i32::try_from(delay).map_or(Value::I64(delay), Value::I32));
    let mut encoded = Vec::with_capacity(raw.0.len() + 8);
    headers.encode_bare(&mut encoded);
    let mut raw = Vec::with_capacity(message.properties().len() + 8);
    Properties { headers: Some(RawTable(&encoded)), ..properties }.encode(&mut raw);
    let body = match message.body_shared() {
        Some(shared) => Body::Large(shared.clone()),
        None => Body::Small(message.body()),
    };
    let facts = Facts { is_numbered: false, ..message.facts() };
    Some(Message::new(message.address(), &raw, body, facts, &mut Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::{Duration, Instant};

    use crate::auth::{Auth, Secret};
    use crate::broker::{
        ChannelKey, Client, ConnectionInfo, ConsumeSpec, Event, ExchangeDeclare, Limiter, Options, Publish,
        QueueDeclare, Reply, Turn,
    };
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
            let facts = Facts { is_numbered: true, priority: 3, ..Facts::default() };
            let message = Message::new(b"\x01x\x01k", &properties, Body::Small(b"m"), facts, &mut Vec::new());
            let message = with_negated_delay(&message).unwrap();
            let properties = Properties::decode(message.properties()).unwrap();
            assert_eq!(properties.headers.unwrap().get(DELAY_HEADER).unwrap().to_value().unwrap(), negated);
            assert!(properties.message_id == Some(b"7") && message.body() == b"m" && message.routing_key() == "k");
            assert_eq!(message.facts(), Facts { is_numbered: false, ..facts });
        }
    }

    const CHANNEL: ChannelKey = ChannelKey { number: 1, epoch: 1 };
    const REPLY: Reply = Reply { channel: CHANNEL, ticket: 1 };

    /// A client and lanes whose clock the test has, and a delayed fanout exchange for each lane, bound to one queue.
    struct World {
        client: Client,
        lanes: Vec<Lane>,
        start: Instant,
    }

    impl World {
        fn new(lanes: u16) -> Self {
            let auth = Auth::new();
            auth.put_user("me", Secret::None, [] as [&str; 0]).unwrap();
            auth.set_permissions("/", "me", ".*", ".*", ".*").unwrap();
            let (broker, lanes) = Broker::new(Options { lanes, ..Options::default() }, auth);
            broker.add_vhost("/");
            let user = broker.auth().user("me").unwrap();
            let mut client = Client::open(&broker, user, "/", ConnectionInfo::default()).unwrap();
            let declare = QueueDeclare {
                queue: "q",
                passive: false,
                durable: false,
                exclusive: false,
                auto_delete: false,
                arguments: Table::default(),
            };
            client.queue_declare(REPLY, declare).unwrap();
            for exchange in ["x0", "x1", "x2"] {
                let declare = ExchangeDeclare {
                    exchange,
                    kind: "x-delayed-message",
                    passive: false,
                    durable: false,
                    auto_delete: false,
                    internal: false,
                    arguments: Table::from_iter([("x-delayed-type", Value::from("fanout"))]),
                };
                client.exchange_declare(REPLY, declare).unwrap();
                client.queue_bind(REPLY, "q", exchange, "", Table::default()).unwrap();
            }
            let spec = ConsumeSpec {
                queue: "q",
                channel: CHANNEL,
                consumer: 0,
                no_ack: true,
                exclusive: false,
                prefetch: 0,
                limiter: Arc::new(Limiter::default()),
                arguments: Table::default(),
            };
            client.consume(REPLY, spec).unwrap();
            let mut world = Self { client, lanes, start: Instant::now() };
            world.turn(0);
            world
        }

        fn publish(&mut self, exchange: u64, delay_ms: u64) {
            let mut headers = Vec::new();
            Table::from_iter([("x-delay", Value::U32(delay_ms as u32))]).encode_bare(&mut headers);
            let mut properties = Vec::new();
            Properties { headers: Some(RawTable(&headers)), ..Properties::default() }.encode(&mut properties);
            let exchange = format!("x{exchange}");
            let address = [b"\x02", exchange.as_bytes(), b"\x00"].concat();
            let publish = Publish {
                channel: CHANNEL,
                address: &address,
                exchange: &exchange,
                routing_key: "",
                properties: &properties,
                body: Body::Small(&delay_ms.to_be_bytes()),
                mandatory: false,
                confirm: None,
            };
            self.client.publish(publish).unwrap();
        }

        /// The delays of the messages that come, in their order, and when the lanes want to be called next.
        fn turn(&mut self, at_ms: u64) -> (Vec<u64>, Option<Instant>) {
            self.client.flush();
            let now = self.start + Duration::from_millis(at_ms);
            let mut next = None;
            for round in 0..2 {
                for lane in &mut self.lanes {
                    match lane.turn(now) {
                        // The second round works on what one lane handed to another.
                        Turn::Idle(Some(at)) if round == 1 => {
                            next = Some(next.map_or(at, |next: Instant| next.min(at)));
                        }
                        _ => {}
                    }
                }
            }
            let mut events = Vec::new();
            let _ = self.client.poll_events(&mut Context::from_waker(Waker::noop()), &mut events);
            let delay_of = |event: &Event| match event {
                Event::Deliver(delivery) => Some(u64::from_be_bytes(delivery.message.body().try_into().unwrap())),
                _ => None,
            };
            (events.iter().filter_map(delay_of).collect(), next)
        }
    }

    /// FEATURES XT-10: nothing comes early and nothing late, whatever came before and however far it is.
    #[test]
    fn held_messages_come_at_their_millisecond() {
        let mut world = World::new(3);
        let mut expected: Vec<u64> = Vec::new();
        for n in 0..3000 {
            let delay_ms = 1 + n * 7919 % 5000;
            world.publish(n % 3, delay_ms);
            expected.push(delay_ms);
        }
        expected.sort_unstable();
        let mut came = Vec::new();
        for at_ms in 0..=5001 {
            let (delays, next) = world.turn(at_ms);
            for delay_ms in &delays {
                assert!((*delay_ms..=*delay_ms + 1).contains(&at_ms), "{delay_ms} at {at_ms}");
            }
            came.extend(delays);
            let due = expected.get(came.len()).map(|delay_ms| world.start + Duration::from_millis(*delay_ms + 1));
            assert!(due.is_none_or(|due| next.is_some_and(|next| next <= due)), "a timer is set");
        }
        came.sort_unstable();
        assert_eq!(came, expected);
    }

    /// FEATURES XT-10: many of one moment come in their order, in turns with what arrives.
    #[test]
    fn many_of_one_moment_do_not_keep_the_lane() {
        let mut world = World::new(1);
        for _ in 0..5000 {
            world.publish(0, 100);
        }
        world.turn(0);
        let mut came = 0;
        for turns in 1.. {
            let (delays, _) = world.turn(102);
            assert!(delays.len() <= 2 * 1024 + 2, "two turns");
            came += delays.len();
            if came == 5000 {
                break;
            }
            assert!(turns < 10);
        }
    }
}
