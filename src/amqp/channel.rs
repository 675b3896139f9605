//! A channel: its state, and what each of its methods does.

mod settling;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::confirm::Confirms;
use super::content::{Complete, Content, PUBLISH_IDS};
use super::outbound::Outbound;
use super::reply::Fault;
use super::tx::Tx;
use super::unacked::{Held, Unacked};
use crate::broker::{
    Answer, ChannelKey, Client, ConsumeSpec, Delivery, ExchangeDeclare, Got, Limiter, Outcome, OwnerKey, Publish,
    QueueDeclare, QueueKey, Refusal, Reply, Settlement,
};
use crate::wire::{self, Frame, FrameKind, Method, RawTable, ReplyCode, Table};

/// Frames of a channel that waits for an answer are kept up to this many bytes; beyond that the socket is not read.
const BACKLOG_BYTES_MAX: usize = 128 * 1024;

/// What a channel needs of its connection while it handles something.
pub(super) struct Surroundings<'a> {
    pub(super) client: &'a mut Client,
    pub(super) out: &'a mut Outbound,
    pub(super) frame_max: u32,
    pub(super) message_size_max: u64,
    pub(super) consumer_max: Option<u32>,
    /// The client can be sent basic.cancel.
    pub(super) takes_cancel: bool,
    /// Tickets are unique within a connection.
    pub(super) next_ticket: &'a mut u64,
    /// A publish was handled: if an alarm is on, the connection is blocked.
    pub(super) published: &'a mut bool,
}

#[derive(Debug)]
struct Consumer {
    /// A short string with its length octet.
    tag: Box<[u8]>,
    no_ack: bool,
    /// Known once the broker has answered.
    place: Option<(QueueKey, OwnerKey)>,
}

/// What the channel waits for, with what is needed for the answer.
#[derive(Debug)]
enum Request {
    /// One with no content in its answer: exchange.*, queue.bind and unbind.
    Simple {
        ok: Option<Method<'static>>,
    },
    QueueDeclare {
        nowait: bool,
    },
    QueueDelete {
        nowait: bool,
    },
    QueuePurge {
        nowait: bool,
    },
    Consume {
        consumer: u32,
        nowait: bool,
    },
    Cancel {
        consumer: u32,
        nowait: bool,
    },
    Get {
        no_ack: bool,
    },
    Commit,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    request: Request,
    /// To blame if it is refused.
    ids: (u16, u16),
}

/// Neither, one or the other (EH-22).
#[derive(Debug, Default)]
enum Mode {
    #[default]
    Plain,
    Confirm(Confirms),
    Tx(Tx),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Channel {
    key: ChannelKey,
    content: Content,
    mode: Mode,
    unacked: Unacked,
    consumers: Vec<Option<Consumer>>,
    consumers_by_tag: HashMap<Box<[u8]>, u32>,
    /// basic.qos with global=false: for consumers that start from now on (QO-1).
    prefetch: u16,
    limiter: Arc<Limiter>,
    /// The queue an empty name stands for (M-13).
    last_queue: Option<Arc<str>>,
    waiting: Option<Waiting>,
    /// Frames that came while it waited.
    backlog: Vec<u8>,
}

impl Channel {
    pub(super) fn new(key: ChannelKey) -> Self {
        Self {
            key,
            content: Content::default(),
            mode: Mode::default(),
            unacked: Unacked::default(),
            consumers: Vec::new(),
            consumers_by_tag: HashMap::new(),
            prefetch: 0,
            limiter: Arc::new(Limiter::new()),
            last_queue: None,
            waiting: None,
            backlog: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> ChannelKey {
        self.key
    }

    // --- frames in ---

    /// So many frames wait that the socket should not be read.
    pub(super) fn is_backlogged(&self) -> bool {
        self.backlog.len() >= BACKLOG_BYTES_MAX
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Keeps a frame for when the answer has come.
    pub(super) fn defer(&mut self, frame: Frame<'_>) {
        wire::write_frame(&mut self.backlog, frame.kind, frame.channel, |out| out.extend_from_slice(frame.payload));
    }

    /// Frames that came while the channel waited, to be handled now.
    pub(super) fn take_backlog(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.backlog)
    }

    /// Puts back what [`Self::take_backlog`] gave and a new wait keeps from being handled.
    pub(super) fn restore_backlog(&mut self, mut rest: Vec<u8>) {
        rest.append(&mut self.backlog);
        self.backlog = rest;
    }

    /// Handles one frame of an open channel. channel.close and close-ok are the session's.
    pub(super) fn frame(&mut self, frame: Frame<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        if frame.kind != FrameKind::Method || !self.content.is_idle() {
            // FL-1: under an alarm a message is held up at its header, before it is all there.
            *around.published |= frame.kind == FrameKind::Header;
            // The content is taken out so that the finished publish may borrow from it while the channel handles it.
            let mut content = std::mem::take(&mut self.content);
            let handled = match content.frame(frame) {
                Ok(Some(complete)) => self.publish(&complete, around),
                Ok(None) => Ok(()),
                Err(fault) => Err(fault),
            };
            self.content = content;
            return handled;
        }
        if let Some(arguments) = frame.payload.strip_prefix(&wire::Publish::IDS) {
            let publish = wire::Publish::decode(arguments)?;
            if publish.immediate {
                return Err(not_implemented(PUBLISH_IDS, "immediate=true"));
            }
            self.content.begin(&publish);
            return Ok(());
        }
        self.method(Method::decode(frame.payload)?, around)
    }

    fn method(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        match method {
            Method::ChannelOpen {} => Err(second_open(ids)),
            Method::ChannelFlow { active: true } => self.write(around, &Method::ChannelFlowOk { active: true }),
            Method::ChannelFlow { active: false } => Err(not_implemented(ids, "active=false")),
            Method::AccessRequest { .. } => self.write(around, &Method::AccessRequestOk { ticket: 1 }),
            Method::ExchangeDeclare { .. }
            | Method::ExchangeDelete { .. }
            | Method::ExchangeBind { .. }
            | Method::ExchangeUnbind { .. } => self.exchange_method(method, around),
            Method::QueueDeclare { .. }
            | Method::QueueBind { .. }
            | Method::QueueUnbind { .. }
            | Method::QueuePurge { .. }
            | Method::QueueDelete { .. } => self.queue_method(method, around),
            Method::BasicQos { prefetch_size, prefetch_count, global } => {
                self.qos(prefetch_size, prefetch_count, global, around)
            }
            Method::BasicConsume { .. } => self.consume(method, around),
            Method::BasicCancel { consumer_tag, nowait } => self.cancel(consumer_tag, nowait, around),
            Method::BasicGet { queue, no_ack } => self.get(queue, no_ack, around),
            Method::BasicAck { delivery_tag, multiple } => {
                self.settle(delivery_tag, multiple, Settlement::Ack, ids, around)
            }
            Method::BasicNack { delivery_tag, multiple, requeue } => {
                self.settle(delivery_tag, multiple, Settlement::Nack { requeue }, ids, around)
            }
            Method::BasicReject { delivery_tag, requeue } => {
                self.settle(delivery_tag, false, Settlement::Reject { requeue }, ids, around)
            }
            Method::BasicRecover { requeue } => {
                self.recover(requeue, ids, around)?;
                self.write(around, &Method::BasicRecoverOk {})
            }
            Method::BasicRecoverAsync { requeue } => self.recover(requeue, ids, around),
            Method::ConfirmSelect { nowait } => self.confirm_select(nowait, ids, around),
            Method::TxSelect {} => self.tx_select(ids, around),
            Method::TxCommit {} => self.tx_commit(ids, around),
            Method::TxRollback {} => self.tx_rollback(ids, around),
            _ => Err(Fault::connection(ReplyCode::CommandInvalid, ids, "unimplemented method")),
        }
    }

    fn write(&self, around: &mut Surroundings<'_>, method: &Method<'_>) -> Result<(), Fault> {
        around.out.frames(|out| method.encode_frame(self.key.number, out));
        Ok(())
    }

    // --- requests and their answers ---

    fn request(
        &mut self,
        ids: (u16, u16),
        request: Request,
        around: &mut Surroundings<'_>,
        ask: impl FnOnce(&mut Client, Reply) -> Result<Answer, Refusal>,
    ) -> Result<(), Fault> {
        *around.next_ticket += 1;
        let reply = Reply { channel: self.key, ticket: *around.next_ticket };
        match ask(around.client, reply) {
            Ok(Answer::Now(outcome)) => self.answer(request, outcome, around),
            Ok(Answer::Later) => {
                self.waiting = Some(Waiting { ticket: reply.ticket, request, ids });
                Ok(())
            }
            Err(refusal) => {
                self.forget_consumer_of(&request);
                Err(Fault::refused(&refusal, ids))
            }
        }
    }

    /// The broker's answer to what the channel waits for.
    pub(super) fn complete(
        &mut self,
        ticket: u64,
        result: Result<Outcome, Refusal>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let Some(waiting) = self.waiting.take_if(|waiting| waiting.ticket == ticket) else {
            return Ok(());
        };
        match result {
            Ok(outcome) => self.answer(waiting.request, outcome, around),
            Err(refusal) => {
                self.forget_consumer_of(&waiting.request);
                Err(Fault::refused(&refusal, waiting.ids))
            }
        }
    }

    fn answer(&mut self, request: Request, outcome: Outcome, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        match (request, outcome) {
            (Request::Simple { ok }, _) => match ok {
                Some(ok) => self.write(around, &ok),
                None => Ok(()),
            },
            (Request::QueueDeclare { nowait }, Outcome::Declared { queue, messages, consumers }) => {
                self.last_queue = Some(queue.clone());
                let ok = Method::QueueDeclareOk { queue: &queue, message_count: messages, consumer_count: consumers };
                self.write_unless(nowait, around, &ok)
            }
            (Request::QueueDelete { nowait }, Outcome::Deleted { messages }) => {
                self.write_unless(nowait, around, &Method::QueueDeleteOk { message_count: messages })
            }
            (Request::QueuePurge { nowait }, Outcome::Purged { messages }) => {
                self.write_unless(nowait, around, &Method::QueuePurgeOk { message_count: messages })
            }
            (Request::Consume { consumer, nowait }, Outcome::Consuming { queue, owner }) => {
                self.consuming(consumer, nowait, (queue, owner), around)
            }
            (Request::Cancel { consumer, nowait }, _) => self.cancelled(consumer, nowait, around),
            (Request::Get { no_ack }, Outcome::Got(got)) => self.got(no_ack, got, around),
            (Request::Commit, Outcome::Committed { all_accepted }) => self.committed(all_accepted, around),
            // The broker answers a request with its own kind of outcome.
            (request, outcome) => {
                debug_assert!(false, "{outcome:?} answers {request:?}");
                Ok(())
            }
        }
    }

    fn write_unless(&self, nowait: bool, around: &mut Surroundings<'_>, ok: &Method<'_>) -> Result<(), Fault> {
        if nowait { Ok(()) } else { self.write(around, ok) }
    }

    // --- exchanges and queues ---

    fn exchange_method(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        match method {
            Method::ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, nowait, arguments } => {
                let arguments = table(arguments, ids)?;
                let exchange = &*stripped(exchange);
                let declare = ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, arguments };
                let ok = (!nowait).then_some(Method::ExchangeDeclareOk {});
                self.request(ids, Request::Simple { ok }, around, |client, reply| {
                    client.exchange_declare(reply, declare)
                })
            }
            Method::ExchangeDelete { exchange, if_unused, nowait } => {
                let ok = (!nowait).then_some(Method::ExchangeDeleteOk {});
                self.request(ids, Request::Simple { ok }, around, |client, reply| {
                    client.exchange_delete(reply, &stripped(exchange), if_unused)
                })
            }
            Method::ExchangeBind { destination, source, routing_key, nowait, arguments } => {
                let arguments = table(arguments, ids)?;
                let ok = (!nowait).then_some(Method::ExchangeBindOk {});
                self.request(ids, Request::Simple { ok }, around, |client, reply| {
                    client.exchange_bind(reply, &stripped(destination), &stripped(source), routing_key, arguments)
                })
            }
            Method::ExchangeUnbind { destination, source, routing_key, nowait, arguments } => {
                let arguments = table(arguments, ids)?;
                let ok = (!nowait).then_some(Method::ExchangeUnbindOk {});
                self.request(ids, Request::Simple { ok }, around, |client, reply| {
                    client.exchange_unbind(reply, &stripped(destination), &stripped(source), routing_key, arguments)
                })
            }
            _ => Ok(()),
        }
    }

    fn queue_method(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        match method {
            Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, nowait, arguments } => {
                let arguments = table(arguments, ids)?;
                let queue = &*stripped(queue);
                let declare = QueueDeclare { queue, passive, durable, exclusive, auto_delete, arguments };
                let request = Request::QueueDeclare { nowait };
                self.request(ids, request, around, |client, reply| client.queue_declare(reply, declare))
            }
            Method::QueueBind { queue, exchange, routing_key, nowait, arguments } => {
                let arguments = table(arguments, ids)?;
                let (queue, key) = self.binding(queue, routing_key, ids)?;
                let ok = (!nowait).then_some(Method::QueueBindOk {});
                self.request(ids, Request::Simple { ok }, around, |client, reply| {
                    client.queue_bind(reply, &queue, &stripped(exchange), &key, arguments)
                })
            }
            Method::QueueUnbind { queue, exchange, routing_key, arguments } => {
                let arguments = table(arguments, ids)?;
                let (queue, key) = self.binding(queue, routing_key, ids)?;
                let ok = Some(Method::QueueUnbindOk {});
                self.request(ids, Request::Simple { ok }, around, |client, reply| {
                    client.queue_unbind(reply, &queue, &stripped(exchange), &key, arguments)
                })
            }
            Method::QueuePurge { queue, nowait } => {
                let queue = self.queue_name(queue, ids)?;
                self.request(ids, Request::QueuePurge { nowait }, around, |client, reply| {
                    client.queue_purge(reply, &queue)
                })
            }
            Method::QueueDelete { queue, if_unused, if_empty, nowait } => {
                let queue = self.queue_name(queue, ids)?;
                self.request(ids, Request::QueueDelete { nowait }, around, |client, reply| {
                    client.queue_delete(reply, &queue, if_unused, if_empty)
                })
            }
            _ => Ok(()),
        }
    }

    /// An empty name is the queue last declared on this channel (M-13, EH-3).
    fn queue_name(&self, queue: &str, ids: (u16, u16)) -> Result<Arc<str>, Fault> {
        if !queue.is_empty() {
            return Ok(stripped(queue).as_ref().into());
        }
        let none = || Fault::channel(ReplyCode::NotFound, ids, "no previously declared queue");
        self.last_queue.clone().ok_or_else(none)
    }

    /// And if the key is empty too, it is the queue's name.
    fn binding(&self, queue: &str, key: &str, ids: (u16, u16)) -> Result<(Arc<str>, Arc<str>), Fault> {
        let name = self.queue_name(queue, ids)?;
        let key = if queue.is_empty() && key.is_empty() { name.clone() } else { key.into() };
        Ok((name, key))
    }

    // --- publishing ---

    fn publish(&mut self, complete: &Complete<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let size = complete.body.len() as u64;
        let max = around.message_size_max;
        if size > max {
            let text = format!("message size {size} is larger than configured max size {max}");
            return Err(Fault::channel(ReplyCode::PreconditionFailed, PUBLISH_IDS, text));
        }
        let confirm = match &mut self.mode {
            Mode::Confirm(confirms) => Some(confirms.next()),
            _ => None,
        };
        let &Complete { address, exchange, routing_key, mandatory, properties, ref body } = complete;
        let body = body.clone();
        let publish =
            Publish { channel: self.key, address, exchange, routing_key, properties, body, mandatory, confirm };
        let refused = |refusal: Refusal| Fault::refused(&refusal, PUBLISH_IDS);
        if let Mode::Tx(tx) = &mut self.mode {
            let prepared = around.client.prepare(publish).map_err(refused)?;
            tx.publish(prepared, mandatory);
            return Ok(());
        }
        let routed = around.client.publish(publish).map_err(refused)?;
        let unroutable = !routed.is_routed;
        if unroutable && mandatory {
            self.return_unroutable(address, properties, complete_body(complete), around);
        }
        let Mode::Confirm(confirms) = &mut self.mode else {
            return Ok(());
        };
        let Some(number) = confirm else { return Ok(()) };
        match (unroutable, mandatory) {
            (false, _) if routed.lanes > 0 => confirms.wait(number, routed.lanes),
            // PC-3: the ack comes right behind its return.
            (true, true) => around.out.frames(|out| wire::write_ack(out, self.key.number, number, false)),
            _ => confirms.ack(number),
        }
        Ok(())
    }

    /// PC-7.
    fn return_unroutable(&self, address: &[u8], properties: &[u8], body: &[u8], around: &mut Surroundings<'_>) {
        let number = self.key.number;
        let code = ReplyCode::NoRoute;
        around.out.frames(|out| {
            wire::write_return(out, number, code as u16, code.constant_name(), address);
            wire::write_content(out, number, properties, body, around.frame_max);
        });
    }

    fn confirm_select(&mut self, nowait: bool, ids: (u16, u16), around: &mut Surroundings<'_>) -> Result<(), Fault> {
        match self.mode {
            Mode::Tx(_) => {
                return Err(Fault::channel(
                    ReplyCode::PreconditionFailed,
                    ids,
                    "cannot switch from tx to confirm mode",
                ));
            }
            Mode::Confirm(_) => {}
            Mode::Plain => self.mode = Mode::Confirm(Confirms::default()),
        }
        self.write_unless(nowait, around, &Method::ConfirmSelectOk {})
    }

    /// A lane answered publishes.
    pub(super) fn confirmed(&mut self, first: u64, last: u64, accepted: bool) {
        if let Mode::Confirm(confirms) = &mut self.mode {
            confirms.settled(first, last, accepted);
        }
    }

    /// Writes the confirms that have come together. False: there were none.
    pub(super) fn write_confirms(&mut self, out: &mut Outbound) -> bool {
        match &mut self.mode {
            Mode::Confirm(confirms) if confirms.is_pending() => {
                out.frames(|out| confirms.write(self.key.number, out));
                true
            }
            _ => false,
        }
    }

    // --- consuming ---

    fn qos(&mut self, size: u32, count: u16, global: bool, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        if size != 0 {
            return Err(not_implemented((60, 10), &format!("prefetch_size!=0 ({size})")));
        }
        if global {
            let outstanding = self.unacked.count_all();
            self.limiter.set(count, outstanding);
            around.client.resume(self.key);
        } else {
            self.prefetch = count;
        }
        self.write(around, &Method::BasicQosOk {})
    }

    fn consume(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::BasicConsume { queue, consumer_tag, no_ack, exclusive, nowait, arguments, .. } = method else {
            return Ok(());
        };
        let queue = self.queue_name(queue, ids)?;
        let arguments = table(arguments, ids)?;
        let tag = if consumer_tag.is_empty() { server_tag() } else { consumer_tag.to_owned() };
        let mut shortstr = vec![tag.len() as u8];
        shortstr.extend(tag.as_bytes());
        let tag_bytes: Box<[u8]> = shortstr.into();
        if self.consumers_by_tag.contains_key(&tag_bytes) {
            let text = format!("attempt to reuse consumer tag '{tag}'");
            return Err(Fault::connection(ReplyCode::NotAllowed, ids, text));
        }
        if let Some(max) = around.consumer_max
            && self.consumers_by_tag.len() >= max as usize
        {
            return Err(Fault::refused(&Refusal::ConsumerLimit(max), ids));
        }
        let consumer = self.add_consumer(Consumer { tag: tag_bytes, no_ack, place: None });
        let spec = ConsumeSpec {
            queue: &queue,
            channel: self.key,
            consumer,
            no_ack,
            exclusive,
            prefetch: self.prefetch,
            limiter: self.limiter.clone(),
            arguments,
        };
        self.request(ids, Request::Consume { consumer, nowait }, around, |client, reply| client.consume(reply, spec))
    }

    fn add_consumer(&mut self, consumer: Consumer) -> u32 {
        let slot = self.consumers.iter().position(Option::is_none).unwrap_or_else(|| {
            self.consumers.push(None);
            self.consumers.len() - 1
        });
        // A channel never has 2^32 consumers.
        self.consumers_by_tag.insert(consumer.tag.clone(), slot as u32);
        self.consumers[slot] = Some(consumer);
        slot as u32
    }

    fn remove_consumer(&mut self, slot: u32) -> Option<Consumer> {
        let consumer = self.consumers.get_mut(slot as usize)?.take()?;
        self.consumers_by_tag.remove(&consumer.tag);
        Some(consumer)
    }

    fn forget_consumer_of(&mut self, request: &Request) {
        if let Request::Consume { consumer, .. } = request {
            self.remove_consumer(*consumer);
        }
    }

    fn consuming(
        &mut self,
        slot: u32,
        nowait: bool,
        place: (QueueKey, OwnerKey),
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let Some(Some(consumer)) = self.consumers.get_mut(slot as usize) else {
            return Ok(());
        };
        consumer.place = Some(place);
        if !nowait {
            let consumer_tag = tag_text(&consumer.tag);
            let ok = Method::BasicConsumeOk { consumer_tag };
            around.out.frames(|out| ok.encode_frame(self.key.number, out));
        }
        Ok(())
    }

    fn cancel(&mut self, tag: &str, nowait: bool, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let mut shortstr = vec![tag.len() as u8];
        shortstr.extend(tag.as_bytes());
        let slot = self.consumers_by_tag.get(shortstr.as_slice()).copied();
        let place = slot.and_then(|slot| self.consumers.get(slot as usize)?.as_ref()?.place);
        let (Some(consumer), Some((queue, owner))) = (slot, place) else {
            // M-19: an unknown tag is fine.
            return self.write_unless(nowait, around, &Method::BasicCancelOk { consumer_tag: tag });
        };
        self.request((60, 30), Request::Cancel { consumer, nowait }, around, |client, reply| {
            Ok(client.cancel(reply, queue, owner))
        })
    }

    fn cancelled(&mut self, slot: u32, nowait: bool, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let Some(consumer) = self.remove_consumer(slot) else {
            return Ok(());
        };
        self.write_unless(nowait, around, &Method::BasicCancelOk { consumer_tag: tag_text(&consumer.tag) })
    }

    /// The broker cancelled a consumer: its queue is deleted (DL-11).
    pub(super) fn cancelled_by_broker(&mut self, slot: u32, around: &mut Surroundings<'_>) {
        let Some(consumer) = self.remove_consumer(slot) else {
            return;
        };
        if around.takes_cancel {
            let cancel = Method::BasicCancel { consumer_tag: tag_text(&consumer.tag), nowait: true };
            around.out.frames(|out| cancel.encode_frame(self.key.number, out));
        }
    }

    /// A message for a consumer.
    pub(super) fn deliver(&mut self, delivery: &Delivery, out: &mut Outbound, frame_max: u32) {
        let Some(Some(consumer)) = self.consumers.get(delivery.consumer as usize) else {
            return;
        };
        let tag = if consumer.no_ack {
            self.unacked.next_tag()
        } else {
            self.unacked.push(Held { source: delivery.source, to_consumer: true, counted: delivery.counted })
        };
        let (number, message) = (self.key.number, &delivery.message);
        out.frames(|out| {
            wire::write_deliver(out, number, &consumer.tag, tag, delivery.redelivered, message.address());
        });
        out.content(number, message, frame_max);
    }

    fn get(&mut self, queue: &str, no_ack: bool, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let queue = self.queue_name(queue, (60, 70))?;
        self.request((60, 70), Request::Get { no_ack }, around, |client, reply| client.get(reply, &queue, no_ack))
    }

    fn got(&mut self, no_ack: bool, got: Option<Box<Got>>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let Some(got) = got else {
            return self.write(around, &Method::BasicGetEmpty {});
        };
        let Got { delivery, remaining } = *got;
        let tag = if no_ack {
            self.unacked.next_tag()
        } else {
            self.unacked.push(Held { source: delivery.source, to_consumer: false, counted: false })
        };
        let (number, message) = (self.key.number, &delivery.message);
        around.out.frames(|out| {
            wire::write_get_ok(out, number, tag, delivery.redelivered, message.address(), remaining);
        });
        around.out.content(number, message, around.frame_max);
        Ok(())
    }

    /// Gives back memory that an idle channel does not need.
    pub(super) fn release_memory(&mut self) {
        self.content.release_memory();
        if self.backlog.is_empty() {
            self.backlog = Vec::new();
        }
    }
}

fn complete_body<'a>(complete: &'a Complete<'a>) -> &'a [u8] {
    match &complete.body {
        crate::broker::Body::Small(bytes) => bytes,
        crate::broker::Body::Large(bytes) => bytes,
    }
}

/// EC-13.
pub(super) fn second_open(ids: (u16, u16)) -> Fault {
    Fault::connection(ReplyCode::ChannelError, ids, "second 'channel.open' seen")
}

fn not_implemented(ids: (u16, u16), text: &str) -> Fault {
    Fault::connection(ReplyCode::NotImplemented, ids, text)
}

/// FR-9: RabbitMQ drops the connection at a table it cannot read; a close method is kinder.
fn table(raw: RawTable<'_>, ids: (u16, u16)) -> Result<Table, Fault> {
    raw.parse().map_err(|error| Fault::connection(ReplyCode::SyntaxError, ids, error.to_string()))
}

/// BP-8: carriage returns and line feeds in names vanish.
fn stripped(name: &str) -> std::borrow::Cow<'_, str> {
    if name.contains(['\r', '\n']) { name.replace(['\r', '\n'], "").into() } else { name.into() }
}

fn tag_text(shortstr: &[u8]) -> &str {
    shortstr.get(1..).and_then(|tag| std::str::from_utf8(tag).ok()).unwrap_or_default()
}

/// M-18.
fn server_tag() -> String {
    format!("amq.ctag-{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))
}
