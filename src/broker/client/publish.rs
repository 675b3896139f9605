//! A client's publishes: checked, routed, and put into the batches of the lanes they go to.

use std::time::Instant;

use super::Client;
use crate::auth::Right;
use crate::broker::event::{Answer, Outcome, Reply, Settlement, Source};
use crate::broker::exchange::Routable;
use crate::broker::held::{Countdown, Publisher};
use crate::broker::inbox::Op;
use crate::broker::message::{Message, Parts};
use crate::broker::publish::{Publish, Read};
use crate::broker::refusal::Refusal;
use crate::broker::reply_to::ReplyRoute;
use crate::broker::request::{Prepared, Routed};
use crate::broker::route::{CachedRoute, Detour, Found, Targets, Versions};
use crate::wire::Properties;

impl Client {
    /// basic.publish.
    pub fn publish(&mut self, publish: Publish<'_>) -> Result<Routed, Refusal> {
        let (channel, sequence) = (publish.channel, publish.confirm);
        let mandatory = publish.mandatory;
        let Prepared { targets, message } = self.prepare(publish)?;
        let is_routed = targets.is_routed();
        self.published.all += 1;
        self.published.confirmable += u32::from(sequence.is_some());
        self.published.routed += targets.count();
        if !is_routed {
            self.published.returned += u32::from(mandatory);
            self.published.dropped += u32::from(!mandatory);
        }
        let returned = (mandatory && !is_routed).then(|| message.clone());
        // XT-10: what is held counts as routed nowhere. The session confirms what it returns, so no lane need.
        let sequence = sequence.filter(|_| returned.is_none());
        let lanes = if returned.is_some() { 0 } else { targets.lanes() };
        let routed = Routed { lanes, is_routed, returned };
        self.push_publish(targets, message, Some(Publisher { channel, sequence }));
        Ok(routed)
    }

    #[inline]
    pub(super) fn push_publish(&mut self, targets: Targets, message: Message, by: Option<Publisher>) {
        let bytes = message.memory_bytes();
        match targets {
            Targets::Nowhere | Targets::Reply(None) => {}
            Targets::Reply(Some(requester)) => requester.deliver(message),
            Targets::One(key) => {
                self.batches[usize::from(key.lane)].push(Op::Publish { queue: key.id, message, by }, bytes);
            }
            Targets::Many(lanes) => {
                for targets in lanes.iter() {
                    let (queues, message) = (targets.queues.clone(), message.clone());
                    self.batches[usize::from(targets.lane)].push(Op::PublishMany { queues, message, by }, bytes);
                }
            }
            Targets::Detour(detour) => self.push_detour(&detour, message, by),
        }
    }

    #[inline(never)]
    fn push_detour(&mut self, detour: &Detour, message: Message, by: Option<Publisher>) {
        for exchange in &detour.remembering {
            exchange.remember(&message);
        }
        for hold in &detour.held {
            let lane = self.broker.lane_of_exchange(&hold.exchange);
            let (confirm, message) = (by.and_then(Publisher::confirm), message.clone());
            let bytes = message.memory_bytes();
            self.batches[usize::from(lane)].push(Op::Hold { hold: Box::new(hold.clone()), message, confirm }, bytes);
        }
        self.push_publish(detour.queues.clone(), message, by);
        let lanes = detour.queues.lanes_of_queues();
        for admission in &detour.admitted {
            for lane in &lanes {
                let (admission, parts) = (admission.clone(), lanes.len() as u16);
                self.batches[usize::from(*lane)].push(Op::Note { admission, parts }, 0);
            }
        }
    }

    /// Checks and routes a publish without sending it (RO-1 is the order of the checks). Always inlined, as what it gives
    /// would else be moved twice for every message; what is unusual is done out of line.
    #[inline(always)]
    pub fn prepare(&mut self, publish: Publish<'_>) -> Result<Prepared, Refusal> {
        let versions = self.versions();
        if self.vhost.is_tracing() {
            return self.prepare_unknown(publish, versions);
        }
        // A name that replies are to go to is never among them.
        let Some(targets) = self.routes.get(publish.address, versions) else {
            return self.prepare_unknown(publish, versions);
        };
        let read = Read::new(publish.properties)?;
        if !read.is_plain() {
            return self.prepare_anew(publish, versions);
        }
        read.check_user_id(&self.user)?;
        let targets = targets.clone();
        let message = publish.into_message(read.facts, targets.more(), &mut self.scratch);
        self.routes.count_last();
        Ok(Prepared { targets, message })
    }

    /// Of a route that is not remembered.
    #[inline(never)]
    fn prepare_unknown(&mut self, publish: Publish<'_>, versions: Versions) -> Result<Prepared, Refusal> {
        let (exchange, routing_key) = publish.names();
        if !exchange.is_empty() {
            return self.prepare_anew(publish, versions);
        }
        if let Some(reply) = self.broker.0.requesters.find(&routing_key) {
            return self.prepare_reply(publish, reply);
        }
        // More queues are published to than are remembered.
        if !self.vhost.is_tracing() && self.routes.is_crowded() {
            self.check_exchange(Right::Write, &exchange)?;
            if let Some(queue) = self.vhost.queue_key(&routing_key) {
                let read = Read::new(publish.properties)?;
                if read.is_plain() {
                    read.check_user_id(&self.user)?;
                    let targets = Targets::One(queue);
                    let message = publish.into_message(read.facts, None, &mut self.scratch);
                    self.routes.count(&self.vhost.default_passed, &targets);
                    return Ok(Prepared { targets, message });
                }
            }
        }
        self.prepare_anew(publish, versions)
    }

    #[inline(never)]
    fn prepare_anew(&mut self, publish: Publish<'_>, versions: Versions) -> Result<Prepared, Refusal> {
        let (exchange, routing_key) = publish.names();
        self.check_exchange(Right::Write, &exchange)?;
        let exchange = self.vhost.require_exchange(&exchange)?;
        if exchange.internal {
            return Err(Refusal::InternalExchange(self.vhost.exchange_named(&exchange.name)));
        }
        let read = Read::new(publish.properties)?;
        let reply_name = match read.wants_reply {
            true => Some(self.requesters.get(&publish.channel).ok_or(Refusal::NoReplyConsumer)?.name()),
            false => None,
        };
        let mut keys = vec![&*routing_key];
        if let Some(more) = &read.more_keys {
            keys.extend(more.keys.iter().map(String::as_str));
        }
        self.check_topics(Right::Write, &exchange, &keys)?;
        read.check_user_id(&self.user)?;
        let properties = Properties::decode(publish.properties)?;
        let message = Routable { keys: &keys, properties: &properties };
        let found = self.vhost.route(&exchange, &message, &|| self.broker.clock_ms(Instant::now()));
        if read.more_keys.is_none()
            && let Some(route) = CachedRoute::new(&exchange, &found, versions)
        {
            self.routes.insert(publish.address, route);
        }
        let rewritten = read.rewritten(properties, reply_name.as_deref())?;
        let properties = rewritten.as_deref().unwrap_or(publish.properties);
        let targets = Targets::new(&self.vhost, &found, &keys);
        let Publish { address, body, .. } = publish;
        let parts = Parts { address, properties, body, facts: read.facts, bcc: read.bcc(), more: targets.more() };
        let message = Message::of(parts, &mut self.scratch);
        if self.vhost.is_tracing() {
            self.trace_publish(publish.channel, &message, &keys, &found);
        }
        self.routes.count(&exchange.passed, &targets);
        Ok(Prepared { targets, message })
    }

    /// A direct reply: it needs write on the default exchange like any publish there (DR-10).
    fn prepare_reply(&mut self, publish: Publish<'_>, reply: ReplyRoute) -> Result<Prepared, Refusal> {
        let (exchange, routing_key) = publish.names();
        self.check_exchange(Right::Write, &exchange)?;
        let read = Read::new(publish.properties)?;
        read.check_user_id(&self.user)?;
        let targets = match reply {
            ReplyRoute::Malformed => Targets::Nowhere,
            ReplyRoute::Gone => Targets::Reply(None),
            ReplyRoute::To(requester) => Targets::Reply(Some(requester)),
        };
        let channel = publish.channel;
        let message = publish.into_message(read.facts, None, &mut self.scratch);
        if self.vhost.is_tracing() {
            self.trace_publish(channel, &message, &[&*routing_key], &Found::default());
        }
        Ok(Prepared { targets, message })
    }

    /// tx.commit.
    pub fn commit(&mut self, reply: Reply, publishes: Vec<Prepared>, settlements: Vec<(Source, Settlement)>) -> Answer {
        // What was sent before goes before.
        self.flush();
        let by = Publisher { channel: reply.channel, sequence: None };
        // A transaction is far from 2^32 publishes.
        self.published.all += publishes.len() as u32;
        for Prepared { targets, message } in publishes {
            self.published.routed += targets.count();
            self.push_publish(targets, message, Some(by));
        }
        for (source, how) in settlements {
            let Source { queue, owner, number } = source;
            self.settle(queue, owner, number, number, how);
        }
        let lanes = self.batches.iter().filter(|batch| !batch.is_empty()).count();
        if lanes == 0 {
            return Answer::Now(Outcome::Committed { all_accepted: true });
        }
        let is_spread = lanes > 1 && self.broker.0.keeper.keeps();
        let underway = is_spread.then(|| self.broker.0.commits.begin());
        let countdown = Countdown::of_transaction(Some(reply), lanes, underway);
        for batch in self.batches.iter_mut().filter(|batch| !batch.is_empty()) {
            let operations = std::mem::take(&mut batch.operations);
            batch.operations.push(Op::Commit { operations, countdown: countdown.clone() });
        }
        Answer::Later
    }
}
