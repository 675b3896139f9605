//! Delayed messages (XT-10): a lane holds them for the exchanges that are its share, and routes each when its time has
//! come. A message waits with its exchange, not in a queue, so bindings count as they are then.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Broker;
use super::backlog::{BacklogKey, FormerBacklog, Hold, Released};
use super::event::QueueKey;
use super::exchange::{Routable, stable_hash};
use super::inbox::Op;
use super::lane::{Lane, Timer};
use super::message::Message;
use super::receipts::{Origin, Post, Sent};
use super::route::Found;
use super::vhost::{Exchange, Vhost};
use crate::wire::Properties;

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
        let (key, place) = self.backlogs.add(hold, &message, self.fx.changes.are_kept, now_ms);
        if let Some(place) = place {
            self.write_held(place, &message);
        }
        self.set_backlog_timer(key, now_ms);
    }

    /// Takes up what was held when the last life ended.
    pub(super) fn hold_again(&mut self, former: FormerBacklog, now_ms: u64) {
        let key = self.backlogs.recover(former);
        self.set_backlog_timer(key, now_ms);
    }

    fn set_backlog_timer(&mut self, key: BacklogKey, now_ms: u64) {
        if let Some(at_ms) = self.backlogs.new_timer(key, now_ms) {
            self.timers.add(at_ms, Timer::Backlog(key));
        }
    }

    /// Routes what has been held long enough, but not more than `count_max` messages at once. Gives how many.
    pub(super) fn release(&mut self, key: BacklogKey, count_max: usize, now_ms: u64) -> usize {
        let Some(backlog) = self.backlogs.ring(key, &mut self.fx) else { return 0 };
        let (vhost, exchange) = (backlog.vhost.clone(), backlog.exchange.clone());
        let mut count = 0;
        while count < count_max
            && let Some(released) = self.backlogs.pop(key, now_ms, &mut self.fx)
        {
            count += 1;
            self.route_released(&vhost, &exchange, &released, now_ms);
        }
        self.set_backlog_timer(key, now_ms);
        count
    }

    fn route_released(&mut self, vhost: &Arc<Vhost>, exchange: &Arc<Exchange>, released: &Released, now_ms: u64) {
        let message = &released.message;
        let Ok(properties) = Properties::decode(message.properties()) else { return };
        let own_key = message.routing_key();
        let keys: SmallVec<[&str; 2]> = match &released.keys {
            Some(keys) => keys.iter().map(|key| &**key).collect(),
            None => SmallVec::from_slice(&[&*own_key]),
        };
        let found = vhost.route(exchange, &Routable { keys: &keys, properties: &properties }, &|| now_ms);
        let shared = found.shared(message);
        let message = shared.as_ref().unwrap_or(message);
        let Some(seq) = released.seq else {
            for queue in &found.queues {
                self.pass_on(queue.key, message.clone(), now_ms);
            }
            self.detour(vhost, &found, &keys, message, None, now_ms);
            return;
        };
        let Some(id) = exchange.number else { return };
        let of = Origin { queue: QueueKey { lane: self.index(), id }, seq };
        let mut sent = Sent::default();
        for queue in &found.queues {
            self.send_letter(queue.key, message.clone(), of, &mut sent, now_ms);
        }
        let awaited = sent.awaited + self.detour(vhost, &found, &keys, message, Some(of), now_ms);
        self.backlogs.sent(of, &released.original, awaited, &mut self.fx);
    }

    /// The part of a route that is no queue, for a message that a lane routes. Gives how many receipts will come, if `of`
    /// says whose it is.
    pub(super) fn detour(
        &mut self,
        vhost: &Arc<Vhost>,
        found: &Found,
        keys: &[&str],
        message: &Message,
        of: Option<Origin>,
        now_ms: u64,
    ) -> usize {
        for exchange in &found.remembering {
            exchange.remember(message);
        }
        if !found.admitted.is_empty() {
            self.note_all(found);
        }
        if found.held.is_empty() {
            return 0;
        }
        let mut awaited = 0;
        for hold in found.holds(vhost, keys) {
            let lane = self.broker().lane_of_exchange(&hold.exchange);
            if lane == self.index() {
                self.hold(&hold, message.clone(), now_ms);
                continue;
            }
            let (hold, message, bytes) = (Box::new(hold), message.clone(), message.memory_bytes());
            let operation = match of {
                None => Op::Hold { hold, message, confirm: None },
                Some(of) => Op::Post(Post::Hold { hold, message, of }),
            };
            awaited += usize::from(of.is_some());
            self.pass_operation(lane, operation, bytes);
        }
        awaited
    }

    /// What exchanges are to know of a message that was sent to its queues.
    fn note_all(&mut self, found: &Found) {
        let mut lanes: SmallVec<[u16; 4]> = found.queues.iter().map(|queue| queue.key.lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        for admission in &found.admitted {
            for lane in &lanes {
                let (admission, parts) = (admission.clone(), lanes.len() as u16);
                if *lane == self.index() {
                    self.note_admission(&admission, parts);
                } else {
                    self.pass_operation(*lane, Op::Note { admission, parts }, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Body;
    use crate::wire::{RawTable, Value};
    use std::task::{Context, Waker};
    use std::time::{Duration, Instant};

    use crate::auth::{Auth, Secret};
    use crate::broker::{
        ChannelKey, Client, ConnectionInfo, ConsumeSpec, Event, ExchangeDeclare, Limiter, Options, Publish,
        QueueDeclare, Reply, Turn,
    };
    use crate::wire::Table;

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
                tag: "",
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
