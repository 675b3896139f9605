//! Consumers and what is delivered to them; basic.get.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Request, State, Surroundings, table};
use crate::amqp::outbound::Outbound;
use crate::amqp::reply::{Fault, Ids};
use crate::amqp::unacked::Held;
use crate::broker::{
    ChannelKey, Client, ConsumeSpec, ConsumerReport, Delivery, Got, OwnerKey, QueueId, QueueKey, Refusal,
};
use crate::hashing::Hashing;
use crate::wire::{self, Method, ReplyCode, Table};

/// The consumers of a channel, by slot and by tag. The broker names them by slot; no slot is used twice, so that what
/// was on its way to a consumer that is gone does not reach another.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    slots: HashMap<u32, Consumer, Hashing>,
    slots_used: u32,
    by_tag: HashMap<Tag, u32, foldhash::quality::RandomState>,
}

#[derive(Debug)]
struct Consumer {
    tag: Tag,
    no_ack: bool,
    /// As asked for; for listings.
    asked: Box<Asked>,
    /// Known once the broker has answered.
    place: Option<(QueueKey, OwnerKey)>,
}

/// What the queue does with it, and a listing shows.
#[derive(Debug)]
struct Asked {
    exclusive: bool,
    prefetch: u16,
    arguments: Table,
}

/// A consumer tag, kept as deliveries want it: `length u8 | text`.
#[derive(Clone, Debug)]
pub(super) struct Tag(Arc<[u8]>);

impl Tag {
    fn new(text: &str) -> Self {
        // Read from a short string, or made here.
        Self([text.len() as u8].into_iter().chain(text.bytes()).collect())
    }

    /// M-18.
    fn made_by_server() -> Self {
        Self::new(&format!("amq.ctag-{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())))
    }

    fn shortstr(&self) -> &[u8] {
        &self.0
    }

    fn text(&self) -> &str {
        self.0.get(1..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Tag {}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        self.text()
    }
}

impl Consumers {
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.by_tag.contains_key(tag)
    }

    fn add(&mut self, tag: Tag, no_ack: bool, asked: Asked) -> u32 {
        // A channel never consumes 2^32 times.
        let slot = self.slots_used;
        self.slots_used = slot.wrapping_add(1);
        self.slots.insert(slot, Consumer { tag: tag.clone(), no_ack, asked: Box::new(asked), place: None });
        self.by_tag.insert(tag, slot);
        slot
    }

    /// The slot of a consumer and its place at the broker.
    fn find(&self, tag: &str) -> Option<(u32, (QueueKey, OwnerKey))> {
        let slot = *self.by_tag.get(tag)?;
        Some((slot, self.slots.get(&slot)?.place?))
    }

    /// Of those that were told consume-ok: slot, and place at the broker.
    pub(super) fn places(&self) -> Vec<(u32, (QueueKey, OwnerKey))> {
        self.slots.iter().filter_map(|(slot, consumer)| Some((*slot, consumer.place?))).collect()
    }

    /// Those that were told consume-ok, in the order they came.
    pub(super) fn reports(&self) -> Vec<ConsumerReport> {
        let mut slots: Vec<_> = self.slots.iter().collect();
        slots.sort_by_key(|(slot, _)| **slot);
        let report = |(_, consumer): (&u32, &Consumer)| {
            let (queue, owner) = consumer.place?;
            let Asked { exclusive, prefetch, arguments } = &*consumer.asked;
            Some(ConsumerReport {
                tag: consumer.tag.text().to_owned(),
                no_ack: consumer.no_ack,
                exclusive: *exclusive,
                prefetch: *prefetch,
                arguments: arguments.clone(),
                queue,
                owner,
            })
        };
        slots.into_iter().filter_map(report).collect()
    }

    /// Tells that those who consume do so no more.
    pub(super) fn tell_gone(&self, channel: ChannelKey, client: &Client) {
        for consumer in self.slots.values() {
            if let Some((queue, _)) = consumer.place {
                client.tell_consumer(false, channel, consumer.tag.text(), queue);
            }
        }
    }

    /// As [`Self::remove`], and tells it.
    fn remove_told(&mut self, slot: u32, channel: ChannelKey, client: &Client) -> Option<Tag> {
        if let Some(Consumer { tag, place: Some((queue, _)), .. }) = self.slots.get(&slot) {
            client.tell_consumer(false, channel, tag.text(), *queue);
        }
        self.remove(slot)
    }

    pub(super) fn cancelled(&mut self, slot: u32, channel: ChannelKey, client: &Client) {
        self.remove_told(slot, channel, client);
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Tag> {
        let consumer = self.slots.remove(&slot)?;
        self.by_tag.remove(&consumer.tag);
        Some(consumer.tag)
    }
}

impl State {
    /// M-17, QO-1, QO-2.
    pub(super) fn qos(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::BasicQos { prefetch_size, prefetch_count, global } = method else {
            return Ok(());
        };
        if prefetch_size != 0 {
            return Err(Fault::not_implemented(ids, format!("prefetch_size!=0 ({prefetch_size})")));
        }
        if global {
            let outstanding = self.unacked.count_all();
            self.limiter.set(prefetch_count, outstanding);
            around.client.resume(self.key);
        } else {
            // Which lifts a limit of the whole channel, in RabbitMQ too.
            self.prefetch = prefetch_count;
            if self.limiter.limit() != 0 {
                self.limiter.set(0, 0);
                around.client.resume(self.key);
            }
        }
        self.write(around, &Method::BasicQosOk {})
    }

    /// M-18.
    pub(super) fn consume(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::BasicConsume { queue, consumer_tag, no_ack, exclusive, nowait, arguments, .. } = method else {
            return Ok(());
        };
        if self.consumers.has_tag(consumer_tag) {
            let text = format!("attempt to reuse consumer tag '{consumer_tag}'");
            return Err(Fault::connection(ReplyCode::NotAllowed, ids, text));
        }
        if let Some(max) = around.consumer_max
            && self.consumers.len() >= max as usize
        {
            return Err(Fault::refused(&Refusal::ConsumerLimit(max), ids));
        }
        let queue = self.queue_name(queue, ids)?;
        let arguments = table(arguments, ids)?;
        let tag = if consumer_tag.is_empty() { Tag::made_by_server() } else { Tag::new(consumer_tag) };
        let asked = Asked { exclusive, prefetch: self.prefetch, arguments: arguments.clone() };
        let slot = self.consumers.add(tag.clone(), no_ack, asked);
        let spec = ConsumeSpec {
            queue: &queue,
            channel: self.key,
            tag: tag.text(),
            consumer: slot,
            no_ack,
            exclusive,
            prefetch: self.prefetch,
            limiter: self.limiter.clone(),
            arguments,
        };
        self.request(ids, Request::Consume { slot, nowait }, around, |client, reply| client.consume(reply, spec))
    }

    pub(super) fn consuming(
        &mut self,
        slot: u32,
        nowait: bool,
        place: (QueueKey, OwnerKey),
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let Some(consumer) = self.consumers.slots.get_mut(&slot) else {
            return Ok(());
        };
        consumer.place = Some(place);
        let tag = consumer.tag.clone();
        around.client.tell_consumer(true, self.key, tag.text(), place.0);
        self.write_unless(nowait, around, &Method::BasicConsumeOk { consumer_tag: tag.text() })
    }

    /// M-19: of an unknown tag, too.
    pub(super) fn cancel(
        &mut self,
        tag: &str,
        nowait: bool,
        ids: Ids,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let Some((slot, (queue, owner))) = self.consumers.find(tag) else {
            return self.write_unless(nowait, around, &Method::BasicCancelOk { consumer_tag: tag });
        };
        let request = Request::Cancel { slot, tag: tag.into(), nowait };
        self.request(ids, request, around, |client, reply| Ok(client.cancel(reply, queue, owner)))
    }

    pub(super) fn cancelled_by_broker(&mut self, slot: u32, takes_cancel: bool, client: &Client, out: &mut Outbound) {
        if let Some(tag) = self.consumers.remove_told(slot, self.key, client)
            && takes_cancel
        {
            let cancel = Method::BasicCancel { consumer_tag: tag.text(), nowait: true };
            out.frames(|out| cancel.encode_frame(self.key.number, out));
        }
    }

    /// Writes messages for consumers; gives how many they were. Those for consumers that are gone are dropped.
    pub(super) fn deliver<'a>(
        &mut self,
        deliveries: impl Iterator<Item = &'a Delivery>,
        out: &mut Outbound,
        frame_max: u32,
    ) -> usize {
        let mut count = 0;
        // Most are for the same consumer as the one before.
        let mut last = None;
        for delivery in deliveries {
            count += 1;
            let slot = delivery.consumer;
            let consumer = match last {
                Some((of, consumer)) if of == slot => consumer,
                _ => match self.consumers.slots.get(&slot) {
                    Some(consumer) => consumer,
                    None => continue,
                },
            };
            last = Some((slot, consumer));
            self.counters.redeliver += u64::from(delivery.redelivered);
            if let Some(partners) = &mut self.partners {
                let counts = partners.queue(delivery.source.queue.id);
                counts.redeliver += u64::from(delivery.redelivered);
                *(if consumer.no_ack { &mut counts.deliver_no_ack } else { &mut counts.deliver }) += 1;
            }
            let tag = if consumer.no_ack {
                self.counters.deliver_no_ack += 1;
                self.unacked.next_tag()
            } else {
                self.counters.deliver += 1;
                self.unacked.push(Held { source: delivery.source, to_consumer: true, counted: delivery.counted })
            };
            let (number, message) = (self.key.number, &delivery.message);
            out.frames(|out| {
                wire::write_deliver(out, number, consumer.tag.shortstr(), tag, delivery.redelivered, message.address());
            });
            out.content(number, message, frame_max);
        }
        count
    }

    /// M-22.
    pub(super) fn get(
        &mut self,
        queue: &str,
        no_ack: bool,
        ids: Ids,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let queue = self.queue_name(queue, ids)?;
        let counted = self.partners.is_some().then(|| around.client.queue_id(&queue)).flatten();
        self.request(ids, Request::Get { no_ack, queue: counted }, around, |client, reply| {
            client.get(reply, &queue, no_ack)
        })
    }

    pub(super) fn got(
        &mut self,
        no_ack: bool,
        counted: Option<QueueId>,
        got: Option<Box<Got>>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        if let (Some(partners), Some(queue)) = (&mut self.partners, counted) {
            let counts = partners.queue(queue);
            counts.redeliver += u64::from(got.as_ref().is_some_and(|got| got.delivery.redelivered));
            *(match (&got, no_ack) {
                (None, _) => &mut counts.get_empty,
                (Some(_), true) => &mut counts.get_no_ack,
                (Some(_), false) => &mut counts.get,
            }) += 1;
        }
        let Some(got) = got else {
            self.counters.get_empty += 1;
            return self.write(around, &Method::BasicGetEmpty {});
        };
        let Got { delivery, remaining } = *got;
        self.counters.redeliver += u64::from(delivery.redelivered);
        let tag = if no_ack {
            self.counters.get_no_ack += 1;
            self.unacked.next_tag()
        } else {
            self.counters.get += 1;
            self.unacked.push(Held { source: delivery.source, to_consumer: false, counted: false })
        };
        let (number, message) = (self.key.number, &delivery.message);
        around.out.frames(|out| {
            wire::write_get_ok(out, number, tag, delivery.redelivered, message.address(), remaining);
        });
        around.out.content(number, message, around.frame_max);
        Ok(())
    }
}
