//! Random operations, compared with a queue that is a list searched from end to end. Among equal consumers the model
//! leaves open who is next; everything else must be as it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::transient::Transient;
use super::super::*;
use crate::broker::event::{Event, QueueKey};
use crate::broker::mailbox::{ConnectionId, Mailbox};
use crate::broker::message::{Body, Facts};
use crate::broker::policy::InForce;
use crate::broker::refusal::Named;
use crate::wire::{Table, Value};

#[derive(Clone, Debug)]
enum Step {
    Publish {
        priority: Option<u8>,
        ttl_ms: Option<u64>,
        bytes: usize,
    },
    Consume {
        channel: u32,
        prefetch: u16,
        priority: i64,
        no_ack: bool,
    },
    Cancel(usize),
    Get {
        channel: u32,
        no_ack: bool,
    },
    /// The how-manieth of all that are held.
    Settle(usize, Settlement),
    ChannelGone(u32),
    Pass(u64),
    Purge,
}

#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) quorum: bool,
    pub(super) priority_max: u8,
    pub(super) single_active: bool,
    pub(super) ttl_ms: Option<u64>,
    pub(super) length_max: Option<u64>,
    pub(super) bytes_max: Option<u64>,
    pub(super) reject: bool,
    pub(super) limit: u32,
    /// Of quorum queues: what comes back later, and the least and the longest time.
    pub(super) retry: Option<(&'static str, u64, u64)>,
}

#[derive(Clone, PartialEq, Debug)]
struct Held {
    body: Vec<u8>,
    level: u8,
    position: u64,
    expires_ms: u64,
    deliveries: u32,
    failures: u32,
}

#[derive(Debug)]
struct Owner {
    channel: u32,
    /// `None`: it gets, or was cancelled.
    consumer: Option<(u16, i64, bool)>,
    arrival: usize,
    held: BTreeMap<u64, Held>,
}

struct Model {
    setup: Setup,
    returns: Vec<Held>,
    /// When they come back.
    delayed: Vec<(u64, Held)>,
    /// In order of delivery.
    waiting: Vec<Held>,
    owners: BTreeMap<u32, Owner>,
    active: Option<u32>,
    dead: Vec<(Vec<u8>, &'static str)>,
}

impl Model {
    fn insert(&mut self, held: Held) {
        let at = self.waiting.iter().position(|w| (w.level, held.position) < (held.level, w.position));
        self.waiting.insert(at.unwrap_or(self.waiting.len()), held);
    }

    /// QQ-8.
    fn delay_ms(&self, held: &Held, failed: bool) -> Option<u64> {
        let (what, min_ms, max_ms) = self.setup.retry.filter(|_| self.setup.quorum)?;
        let waits = what == "all" || (what == "failed") == failed;
        waits.then_some((min_ms * u64::from(held.failures.max(1))).min(max_ms))
    }

    fn come_back(&mut self, now_ms: u64) {
        self.delayed.sort_by_key(|(at_ms, held)| (*at_ms, held.position));
        let due = self.delayed.partition_point(|(at_ms, _)| *at_ms <= now_ms);
        self.returns.extend(self.delayed.drain(..due).map(|(_, held)| held));
    }

    fn put_back(&mut self, mut held: Held, failed: bool, now_ms: u64) {
        held.failures += u32::from(failed);
        if self.setup.quorum && held.failures > self.setup.limit {
            self.dead.push((held.body, "delivery_limit"));
        } else if let Some(delay_ms) = self.delay_ms(&held, failed) {
            // A started millisecond counts as none, so that nothing comes too early.
            self.delayed.push((now_ms + delay_ms + 1, held));
        } else if self.setup.quorum {
            self.returns.push(held);
        } else {
            self.insert(held);
        }
    }

    fn len(&self) -> usize {
        self.returns.len() + self.waiting.len()
    }

    fn bytes(&self) -> u64 {
        self.returns.iter().chain(&self.waiting).map(|held| held.body.len() as u64).sum()
    }

    fn over(&self, more: u64, bytes: u64) -> bool {
        let delayed_bytes: u64 = self.delayed.iter().map(|(_, held)| held.body.len() as u64).sum();
        let length = (self.len() + self.delayed.len()) as u64 + more;
        self.setup.length_max.is_some_and(|max| length > max)
            || self.setup.bytes_max.is_some_and(|max| self.bytes() + delayed_bytes + bytes > max)
    }

    fn pop(&mut self) -> Option<Held> {
        let from = if self.returns.is_empty() { &mut self.waiting } else { &mut self.returns };
        (!from.is_empty()).then(|| from.remove(0))
    }

    /// Heads are those of the returns, then of each priority from below.
    fn expire(&mut self, now_ms: u64) {
        loop {
            if self.returns.first().is_some_and(|held| held.expires_ms <= now_ms) {
                let held = self.returns.remove(0);
                self.dead.push((held.body, "expired"));
                continue;
            }
            let head = |at: &usize| *at == 0 || self.waiting[at - 1].level != self.waiting[*at].level;
            let due = (0..self.waiting.len()).rev().filter(head).find(|at| self.waiting[*at].expires_ms <= now_ms);
            let Some(at) = due else { return };
            let held = self.waiting.remove(at);
            self.dead.push((held.body, "expired"));
        }
    }

    fn drop_over_limit(&mut self) {
        while !self.setup.reject && self.over(0, 0) {
            let Some(held) = self.pop() else { return };
            self.dead.push((held.body, "maxlen"));
        }
    }

    /// SC-1.
    fn choose_active(&mut self) {
        let mut consumers: Vec<_> =
            self.owners.iter().filter_map(|(key, o)| Some((o.arrival, o.consumer?.1, *key))).collect();
        consumers.sort_by_key(|(arrival, priority, _)| (if self.setup.quorum { -*priority } else { 0 }, *arrival));
        let first = consumers.first().copied();
        let active = self.active.and_then(|key| consumers.iter().copied().find(|c| c.2 == key));
        self.active = match (active, first) {
            (Some(active), Some(first))
                if !self.setup.quorum || first.1 <= active.1 || !self.owners[&active.2].held.is_empty() =>
            {
                Some(active.2)
            }
            _ => first.map(|first| first.2),
        };
    }

    fn may_take(&self, key: u32) -> bool {
        let owner = &self.owners[&key];
        let Some((prefetch, priority, no_ack)) = owner.consumer else { return false };
        let higher = |o: &Owner| o.consumer.is_some_and(|c| c.1 > priority);
        let hands_over = self.setup.quorum && self.owners.values().any(higher);
        let chosen = !self.setup.single_active || self.active == Some(key) && !hands_over;
        chosen && (no_ack || prefetch == 0 || owner.held.len() < prefetch.into())
    }

    /// A delivery must be of the head, to one of the highest priority of those that may take it.
    fn delivered(&mut self, delivery: &Delivery, now_ms: u64) {
        self.expire(now_ms.saturating_sub(1));
        let key = delivery.source.owner.0;
        assert!(self.may_take(key), "{delivery:?} is for one that may take it");
        let priority = self.owners[&key].consumer.map(|c| c.1);
        let higher = self.owners.iter().find(|(k, o)| o.consumer.map(|c| c.1) > priority && self.may_take(**k));
        assert!(higher.is_none(), "{higher:?} goes before");
        self.take(delivery);
    }

    fn take(&mut self, delivery: &Delivery) {
        let mut held = self.pop().expect("a message waits");
        assert_eq!((delivery.message.body(), delivery.redelivered), (&held.body[..], held.deliveries > 0));
        let counts = (held.deliveries, held.failures);
        let told = if self.setup.quorum { counts } else { (0, 0) };
        assert_eq!(counts_told(&delivery.message), told, "{delivery:?}");
        held.deliveries += 1;
        if let Some(owner) = self.owners.get_mut(&delivery.source.owner.0)
            && owner.consumer.is_none_or(|c| !c.2)
        {
            owner.held.insert(delivery.source.number, held);
        }
    }
}

fn counts_told(message: &Message) -> (u32, u32) {
    let headers = crate::wire::Properties::decode(message.properties()).unwrap().headers.unwrap_or_default();
    let headers = headers.parse().unwrap();
    let count = |key| headers.get(key).and_then(Value::as_integer).map_or(0, |n| n as u32);
    (count("x-acquired-count"), count("x-delivery-count"))
}

/// The queue and the model, side by side.
pub(super) struct World {
    pub(super) queue: Queue,
    pub(super) fx: Effects,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) conn: ConnKey,
    model: Model,
    now_ms: u64,
    published: u64,
    arrivals: usize,
}

fn channel(number: u32) -> ChannelKey {
    ChannelKey { number: number as u16, epoch: 0 }
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let mut arguments = Table::default();
        let integer = |value: u64| Value::I64(value as i64);
        let given = [
            ("x-message-ttl", setup.ttl_ms),
            ("x-max-length", setup.length_max),
            ("x-max-length-bytes", setup.bytes_max),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                arguments.insert(key, integer(value));
            }
        }
        if setup.quorum {
            arguments.insert("x-queue-type", "quorum".into());
            arguments.insert("x-delivery-limit", integer(setup.limit.into()));
            if let Some((what, min_ms, max_ms)) = setup.retry {
                arguments.insert("x-delayed-retry-type", what.into());
                arguments.insert("x-delayed-retry-min", integer(min_ms));
                arguments.insert("x-delayed-retry-max", integer(max_ms));
            }
        } else {
            arguments.insert("x-max-priority", integer(setup.priority_max.into()));
        }
        arguments.insert("x-overflow", if setup.reject { "reject-publish" } else { "drop-head" }.into());
        arguments.insert("x-single-active-consumer", Value::Bool(setup.single_active));
        arguments.insert("x-dead-letter-exchange", "".into());
        let vhost: Arc<str> = "/".into();
        let options = QueueOptions::parse(&Named::queue("q", &vhost), true, None, false, false, arguments).unwrap();
        let key = QueueKey { lane: 0, id: QueueId(1) };
        let handle =
            Arc::new(QueueHandle::new(key, "q".into(), vhost, Arc::new(options), "guest".into(), InForce::default()));
        let mailbox = Arc::new(Mailbox::new(ConnectionId(1), "me".into()));
        let mut fx = Effects::new(0);
        let conn = fx.attach(mailbox.clone());
        let (returns, delayed, waiting, dead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let model = Model { setup, returns, delayed, waiting, owners: BTreeMap::new(), active: None, dead };
        Self {
            queue: Queue::new(handle, 30 * 60 * 1000, 0, Meter::default()),
            fx,
            mailbox,
            conn,
            model,
            now_ms: 10,
            published: 0,
            arrivals: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { priority, ttl_ms, bytes } => self.publish(priority, ttl_ms, bytes),
            Step::Consume { channel, prefetch, priority, no_ack } => self.consume(channel, prefetch, priority, no_ack),
            Step::Cancel(which) => self.cancel(which),
            Step::Get { channel, no_ack } => self.get(channel, no_ack),
            Step::Settle(which, how) => self.settle(which, how),
            Step::ChannelGone(channel) => self.channel_gone(channel),
            Step::Pass(ms) => {
                self.now_ms += ms;
                self.queue.on_timer(self.now_ms, &mut self.fx);
                self.model.come_back(self.now_ms);
                self.follow();
            }
            Step::Purge => {
                assert_eq!(self.queue.purge(&mut self.fx) as usize, self.model.len() + self.model.delayed.len());
                self.model.delayed.clear();
                self.model.returns.clear();
                self.model.waiting.clear();
            }
        }
        self.compare();
    }

    pub(super) fn publish(&mut self, priority: Option<u8>, expiration_ms: Option<u64>, bytes: usize) {
        self.published += 1;
        let mut body = self.published.to_be_bytes().to_vec();
        body.resize(8 + bytes, 0);
        let facts = Facts { priority, expiration_ms, persistent: self.published.is_multiple_of(3), ..Facts::default() };
        let message = Message::new(b"\x00\x01q", b"\x00\x00", Body::Small(&body), facts, &mut Vec::new());
        let refused = self.model.setup.reject && self.model.over(1, body.len() as u64);
        let accepted = self.queue.publish(message, self.now_ms, &mut self.fx);
        assert_eq!(accepted == Published::Refused, refused);
        if refused {
            return;
        }
        let (default, max) = if self.model.setup.quorum { (4, 31) } else { (0, self.model.setup.priority_max) };
        let ttl_ms = [expiration_ms, self.model.setup.ttl_ms].into_iter().flatten().min();
        // A started millisecond counts as none, so that nothing goes too early.
        let expires_ms = ttl_ms.map_or(NEVER, |ttl| self.now_ms + ttl + u64::from(ttl > 0));
        let (level, position) = (priority.unwrap_or(default).min(max), self.published);
        self.model.insert(Held { body, level, position, expires_ms, deliveries: 0, failures: 0 });
        self.follow();
        self.model.drop_over_limit();
    }

    pub(super) fn consume(&mut self, number: u32, prefetch: u16, priority: i64, no_ack: bool) {
        let limiter = Arc::new(Limiter::new());
        let (channel, exclusive, timeout_ms) = (channel(number), false, None);
        let (tag, consumer) = (None, 0);
        let subscription =
            Subscription { channel, tag, consumer, no_ack, exclusive, prefetch, priority, limiter, timeout_ms };
        let key = self.queue.consume(self.conn, subscription, self.now_ms, &mut self.fx).unwrap();
        self.queue.dispatch(self.now_ms, &mut self.fx);
        self.arrivals += 1;
        let consumer = Some((prefetch, priority, no_ack));
        let owner = Owner { channel: number, consumer, arrival: self.arrivals, held: BTreeMap::new() };
        self.model.owners.insert(key.0, owner);
        self.model.choose_active();
        self.follow();
    }

    pub(super) fn cancel(&mut self, which: usize) {
        let consumers: Vec<u32> =
            self.model.owners.iter().filter(|(_, o)| o.consumer.is_some()).map(|(key, _)| *key).collect();
        let Some(key) = consumers.get(which % consumers.len().max(1)).copied() else { return };
        self.queue.cancel(OwnerKey(key), self.now_ms, &mut self.fx);
        self.model.owners.get_mut(&key).unwrap().consumer = None;
        self.model.choose_active();
        self.follow();
    }

    fn get(&mut self, number: u32, no_ack: bool) {
        let got = self.queue.get(self.conn, channel(number), no_ack, self.now_ms, &mut self.fx);
        self.model.expire(self.now_ms);
        assert_eq!(got.is_some(), self.model.len() > 0);
        let Some(got) = got else { return };
        if !no_ack {
            let getter = Owner { channel: number, consumer: None, arrival: 0, held: BTreeMap::new() };
            self.model.owners.entry(got.delivery.source.owner.0).or_insert(getter);
        }
        self.model.take(&got.delivery);
        self.model.expire(self.now_ms);
        assert_eq!(got.remaining as usize, self.model.len());
    }

    pub(super) fn settle(&mut self, which: usize, how: Settlement) {
        let all: Vec<(u32, u64)> =
            self.model.owners.iter().flat_map(|(key, o)| o.held.keys().map(|number| (*key, *number))).collect();
        let Some((key, number)) = all.get(which % all.len().max(1)).copied() else { return };
        self.queue.settle(OwnerKey(key), number..=number, how, self.now_ms, &mut self.fx);
        let held = self.model.owners.get_mut(&key).and_then(|owner| owner.held.remove(&number)).unwrap();
        self.model.choose_active();
        let returned = matches!(how, Settlement::Nack { requeue: true } | Settlement::Reject { requeue: true });
        match how {
            Settlement::Ack => {}
            _ if returned => self.model.put_back(held, matches!(how, Settlement::Reject { .. }), self.now_ms),
            _ => self.model.dead.push((held.body, "rejected")),
        }
        self.follow();
        if returned {
            self.model.drop_over_limit();
        }
    }

    fn channel_gone(&mut self, number: u32) {
        let gone: Vec<u32> =
            self.model.owners.iter().filter(|(_, o)| o.channel == number).map(|(key, _)| *key).collect();
        for key in &gone {
            self.queue.owner_gone(OwnerKey(*key), self.now_ms, &mut self.fx);
            for held in self.model.owners.remove(key).unwrap().held.into_values() {
                self.model.put_back(held, true, self.now_ms);
            }
            self.model.choose_active();
        }
        self.queue.owners_gone(self.now_ms, &mut self.fx);
        self.follow();
        self.model.drop_over_limit();
    }

    /// Plays what the queue delivered through the model.
    fn follow(&mut self) {
        self.fx.flush();
        let mut events = Vec::new();
        self.mailbox.take(&mut events, Waker::noop());
        for event in &events {
            match event {
                Event::Deliver(delivery) => self.model.delivered(delivery, self.now_ms),
                other => panic!("{other:?}"),
            }
        }
        self.model.expire(self.now_ms.saturating_sub(1));
        let idle = self.model.owners.keys().find(|key| self.model.may_take(**key));
        assert!(self.model.len() == 0 || idle.is_none(), "{idle:?} could take one");
        self.model.expire(self.now_ms);
    }

    fn compare(&mut self) {
        assert_eq!(self.queue.messages() as usize, self.model.len());
        assert_eq!(self.queue.ready.body_bytes(), self.model.bytes());
        let mut transient = Transient::default();
        let returned = self.queue.ready.returned().map(|entry| &entry.message);
        let fresh = self.queue.ready.fresh_between(0, u64::MAX).map(|(message, ..)| message);
        returned.chain(fresh).for_each(|message| transient.add(message));
        assert_eq!(self.queue.ready.transient, transient);
        for (_, owner) in &self.queue.owners {
            let mut transient = Transient::default();
            owner.unacked.iter().for_each(|entry| transient.add(&entry.message));
            assert_eq!(owner.unacked.transient(), transient);
        }
        let consumers = self.model.owners.values().filter(|owner| owner.consumer.is_some()).count();
        assert_eq!(self.queue.consumer_count() as usize, consumers);
        let dead: Vec<_> = self.fx.dead.drain(..).map(|d| (d.message.body().to_vec(), d.death.reason())).collect();
        assert_eq!(dead, std::mem::take(&mut self.model.dead));
        for (_, _, key) in self.fx.freed.drain(..) {
            let gone = self.model.owners.remove(&key.0);
            assert!(gone.is_none_or(|owner| owner.consumer.is_none() && owner.held.is_empty()));
        }
    }
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        2 => Just(Settlement::Ack),
        1 => any::<bool>().prop_map(|requeue| Settlement::Nack { requeue }),
        2 => any::<bool>().prop_map(|requeue| Settlement::Reject { requeue }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![Just(None), (0u8..8).prop_map(Some), any::<u8>().prop_map(Some)];
    let ttl = prop_oneof![3 => Just(None), 1 => (0u64..20).prop_map(Some)];
    prop_oneof![
        8 => (priority, ttl, 0usize..4).prop_map(|(priority, ttl_ms, bytes)| Step::Publish { priority, ttl_ms, bytes }),
        2 => (0u32..3, 0u16..4, -1i64..2, any::<bool>())
            .prop_map(|(channel, prefetch, priority, no_ack)| Step::Consume { channel, prefetch, priority, no_ack }),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => (0u32..3, any::<bool>()).prop_map(|(channel, no_ack)| Step::Get { channel, no_ack }),
        6 => (any::<usize>(), settlement()).prop_map(|(which, how)| Step::Settle(which, how)),
        1 => (0u32..3).prop_map(Step::ChannelGone),
        2 => (0u64..15).prop_map(Step::Pass),
        1 => Just(Step::Purge),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let some = |range: std::ops::Range<u64>| prop_oneof![Just(None), range.prop_map(Some)];
    let what = prop_oneof![Just("all"), Just("failed"), Just("returned")];
    let retry = prop_oneof![2 => Just(None), 1 => (what, 1u64..20, 1u64..40).prop_map(Some)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), retry);
    (flags, 0u8..6, some(0..20), some(0..6), some(0..60), 0u32..3).prop_map(
        |((quorum, single_active, reject, retry), priority_max, ttl_ms, length_max, bytes_max, limit)| Setup {
            quorum,
            priority_max,
            single_active,
            ttl_ms,
            length_max,
            bytes_max,
            reject,
            limit,
            retry,
        },
    )
}

proptest! {
    /// FEATURES TL-1 to TL-9, PQ-1 to PQ-3, SC-1, SC-3, QQ-2 to QQ-5, QQ-8: order, counts, deliveries and dead letters.
    #[test]
    fn a_queue_does_as_the_model(setup in setup(), steps in vec(step(), 1..80)) {
        let mut world = World::new(setup);
        for step in steps {
            world.step(step);
        }
    }
}
