//! The door of a protocol session to the broker: one [`Client`] for each connection. Requests are checked here, in
//! RabbitMQ's order; what queues must do is gathered in a batch for each lane and handed over by [`Client::flush`].

mod batch;
mod events;
mod foreign;
mod onward;
mod permission;
mod publish;
mod reply_to;
mod visit;

pub use self::foreign::VERDICTS_KEPT;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::batch::PendingBatch;
use self::foreign::Foreign;
use super::event::{Alarms, Answer, ChannelKey, Event, Outcome, OwnerKey, QueueId, QueueKey, Reply, Settlement};
use super::exchange::ExchangeType;
use super::held::Countdown;
use super::inbox::Op;
use super::inspect::Totals;
use super::mailbox::{ConnectionId, Mailbox, lane_bit};
use super::queue::{QueueOptions, QueueType, Subscription};
use super::refusal::Refusal;
use super::reply_to::{REPLY_TO, Requester, is_opaque_name, is_place};
use super::request::{ConnectionInfo, ConsumeSpec, ExchangeDeclare, QueueDeclare};
use super::route::RouteCache;
use super::traffic::{Octets, Published};
use super::vhost::{ALTERNATE_EXCHANGE, Destination, Exchange, ExchangeDefinition, QueueHandle, Vhost};
use super::{Broker, Connected};
use crate::auth::{Access, Denied, Resource, Right, User, Verdict};
use crate::hashing::Hashing;
use crate::wire::{Table, Value};

pub use self::onward::Onward;

/// What an operation costs in a lane's inbox beside a message, for the connection's share.
pub(super) const OPERATION_BYTES: usize = 64;

/// A queue.declare that waits for its lane, in case the queue is deleted before its turn.
#[derive(Debug)]
struct PendingDeclare {
    reply: Reply,
    queue: String,
    passive: bool,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: Table,
}

/// See the module's documentation. Dropping it gives back everything the connection held.
#[derive(Debug)]
pub struct Client {
    broker: Broker,
    vhost: Arc<Vhost>,
    user: Arc<User>,
    mailbox: Arc<Mailbox>,
    access: Access,
    access_version: u64,
    /// Who knows what the user may do, if that is not the internal backend.
    foreign: Option<Box<Foreign>>,
    batches: Box<[PendingBatch]>,
    routes: RouteCache,
    declares: HashMap<u64, Box<PendingDeclare>, Hashing>,
    /// Its channels that consume from the pseudo-queue of direct reply-to.
    requesters: HashMap<ChannelKey, Arc<Requester>, Hashing>,
    scratch: Vec<u8>,
    /// Since the last flush.
    published: Published,
    octets: Arc<Octets>,
    closed: bool,
}

impl Client {
    /// As [`Self::open_admitted`], for a user of the internal backend.
    pub fn open(broker: &Broker, user: Arc<User>, vhost: &str, info: ConnectionInfo) -> Result<Self, Refusal> {
        Self::open_admitted(broker, user, vhost, info, Err(Denied::default()))
    }

    /// All checks of connection.open in RabbitMQ's order (HS-12), then the connection is known to the broker. `admitted`
    /// is what the user's authorizer, if it has one, says to the vhost.
    pub fn open_admitted(
        broker: &Broker,
        user: Arc<User>,
        vhost: &str,
        info: ConnectionInfo,
        admitted: Verdict,
    ) -> Result<Self, Refusal> {
        if let Some(limit) = broker.0.options.connection_max
            && broker.connection_count() as u64 >= limit
        {
            return Err(Refusal::NodeConnectionLimit(limit));
        }
        let name = vhost;
        let vhost = broker.vhost(name).ok_or_else(|| Refusal::VhostNotFound(name.into()))?;
        check_vhost_connections(broker, &user, &vhost)?;
        check_user_connections(broker, &user)?;
        let access = permission::access(broker, &user, name, admitted)?;
        let mailbox = Arc::new(Mailbox::new(broker.next_connection(), user.name.as_str().into()));
        let connected = Connected {
            mailbox: mailbox.clone(),
            vhost: vhost.clone(),
            user: mailbox.user().clone(),
            info: Arc::new(info),
            connected_at: SystemTime::now(),
            octets: Arc::default(),
        };
        let octets = connected.octets.clone();
        broker.tell_connection_created(&connected);
        broker.0.connections.insert(mailbox.id(), connected);
        let mut client = Self::new(broker, user, vhost, mailbox, access);
        client.octets = octets;
        Ok(client)
    }

    fn new(
        broker: &Broker,
        user: Arc<User>,
        vhost: Arc<Vhost>,
        mailbox: Arc<Mailbox>,
        (access, access_version): (Access, u64),
    ) -> Self {
        let foreign = user.authorizer().map(|authorizer| Box::new(Foreign::new(authorizer.clone())));
        Self {
            batches: broker.lanes().iter().map(|_| PendingBatch::default()).collect(),
            broker: broker.clone(),
            vhost,
            user,
            mailbox,
            access,
            access_version,
            foreign,
            routes: RouteCache::default(),
            declares: HashMap::default(),
            requesters: HashMap::default(),
            scratch: Vec::new(),
            published: Published::default(),
            octets: Arc::default(),
            closed: false,
        }
    }

    /// Which connection it is.
    pub fn id(&self) -> ConnectionId {
        self.mailbox.id()
    }

    /// Who it is.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Its vhost.
    pub fn vhost(&self) -> &str {
        self.vhost.name()
    }

    /// What passes between its channels and others is to be counted.
    pub fn counts_pairs(&self) -> bool {
        self.broker.options().counts_pairs
    }

    /// The queue of this name, if there is one.
    pub fn queue_id(&self, name: &str) -> Option<QueueId> {
        self.vhost.queue(name).map(|queue| queue.key.id)
    }

    /// The user and the vhost.
    pub fn login(&self) -> (Arc<str>, Arc<str>) {
        (self.mailbox.user().clone(), self.vhost.name().clone())
    }

    /// The alarms that are on.
    pub fn alarms(&self) -> Alarms {
        self.broker.alarms()
    }

    fn unlocked(&self, queue: Arc<QueueHandle>) -> Result<Arc<QueueHandle>, Refusal> {
        if queue.is_locked_for(self.mailbox.id()) { Err(Refusal::Locked(queue.named())) } else { Ok(queue) }
    }

    // --- exchanges ---

    /// exchange.declare.
    pub fn exchange_declare(&mut self, reply: Reply, declare: ExchangeDeclare<'_>) -> Result<Answer, Refusal> {
        let name = declare.exchange;
        if declare.passive {
            check_not_default(name)?;
            self.check_any_right(Resource::Exchange, name)?;
            self.vhost.require_exchange(name)?;
            return Ok(Answer::Now(Outcome::Done));
        }
        let kind = exchange_type(declare.kind)?;
        check_not_default(name)?;
        self.check_exchange(Right::Configure, name)?;
        let exists = self.vhost.exchange(name).is_some();
        if !exists {
            check_not_reserved("exchange", name)?;
            self.check_alternate(name, &declare.arguments)?;
        }
        let definition = ExchangeDefinition {
            name,
            kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments,
            number: None,
        };
        self.vhost.declare_exchange(definition, &self.user.name)?;
        Ok(self.when_kept(reply, Outcome::Done))
    }

    /// EH-19; and the permissions an alternate exchange needs (RO-5).
    fn check_alternate(&mut self, name: &str, arguments: &Table) -> Result<(), Refusal> {
        let Some(alternate) = arguments.get(ALTERNATE_EXCHANGE) else {
            return Ok(());
        };
        let Some(alternate) = alternate.as_str() else {
            return Err(Refusal::InvalidArgumentType {
                value_type: alternate.type_name(),
                argument: ALTERNATE_EXCHANGE,
                what: self.vhost.exchange_named(name),
            });
        };
        self.check_exchange(Right::Read, name)?;
        self.check_exchange(Right::Write, alternate)
    }

    /// exchange.delete.
    pub fn exchange_delete(&mut self, reply: Reply, exchange: &str, if_unused: bool) -> Result<Answer, Refusal> {
        check_not_default(exchange)?;
        if exchange.starts_with("amq.") {
            return Err(Refusal::SystemExchange(self.vhost.exchange_named(exchange)));
        }
        self.check_exchange(Right::Configure, exchange)?;
        self.vhost.delete_exchange(exchange, if_unused, &self.user.name)?;
        Ok(self.when_kept(reply, Outcome::Done))
    }

    /// exchange.bind.
    pub fn exchange_bind(
        &mut self,
        reply: Reply,
        destination: &str,
        source: &str,
        key: &str,
        arguments: Table,
    ) -> Result<Answer, Refusal> {
        let source = self.check_exchange_binding(destination, source, key)??;
        let destination = self.vhost.require_exchange(destination)?;
        let destination = Destination::Exchange(destination.name.clone());
        self.broker.bind(&self.vhost, &source, &destination, key, &arguments, &self.user.name)?;
        Ok(self.when_kept(reply, Outcome::Done))
    }

    /// exchange.unbind.
    pub fn exchange_unbind(
        &mut self,
        reply: Reply,
        destination: &str,
        source: &str,
        key: &str,
        arguments: Table,
    ) -> Result<Answer, Refusal> {
        if let Ok(source) = self.check_exchange_binding(destination, source, key)? {
            self.vhost.unbind(&source, &Destination::Exchange(destination.into()), key, &arguments, &self.user.name);
        }
        Ok(self.when_kept(reply, Outcome::Done))
    }

    /// RO-6: write on the destination, read on the source. The inner result is whether the source exists, which
    /// matters to a bind only.
    fn check_exchange_binding(
        &mut self,
        destination: &str,
        source: &str,
        key: &str,
    ) -> Result<Result<Arc<Exchange>, Refusal>, Refusal> {
        check_not_default(destination)?;
        self.check_exchange(Right::Write, destination)?;
        self.check_binding_source(source, key)
    }

    fn check_binding_source(&mut self, source: &str, key: &str) -> Result<Result<Arc<Exchange>, Refusal>, Refusal> {
        check_not_default(source)?;
        self.check_exchange(Right::Read, source)?;
        let source = self.vhost.require_exchange(source);
        if let Ok(source) = &source {
            self.check_topics(Right::Read, source, &[key])?;
        }
        Ok(source)
    }

    // --- queues ---

    /// queue.declare.
    pub fn queue_declare(&mut self, reply: Reply, declare: QueueDeclare<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.declare_reply_queue(declare.queue) {
            return answer.map(Answer::Now);
        }
        let mut pending = PendingDeclare {
            reply,
            queue: declare.queue.into(),
            passive: declare.passive,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments: declare.arguments,
        };
        if pending.passive {
            return self.queue_declare_passive(pending);
        }
        let server_named = pending.queue.is_empty();
        if !server_named {
            check_not_reserved("queue", &pending.queue)?;
        }
        let name = if server_named { self.take_server_name(reply.channel) } else { pending.queue.clone() };
        let checked = self.check_queue(Right::Configure, &name);
        if server_named && checked == Err(Refusal::Unanswered) {
            self.keep_server_name(reply.channel, name);
            return Err(Refusal::Unanswered);
        }
        checked?;
        Totals::count(&self.broker.0.totals.queues_declared);
        let exclusive = pending.exclusive.then(|| self.mailbox.id());
        // QU-2: an exclusive queue is never durable in effect.
        let durable = pending.durable && !pending.exclusive;
        self.apply_default_type(&mut pending, server_named);
        if let Some(existing) = self.vhost.queue(&name) {
            return self.redeclare(pending, existing, durable);
        }
        self.check_queue_limit(&name)?;
        self.check_dead_letter(&name, &pending.arguments)?;
        let named = self.vhost.queue_named(&name);
        let options = QueueOptions::parse(
            &named,
            durable,
            exclusive,
            pending.auto_delete,
            server_named,
            pending.arguments.clone(),
        )?;
        let (handle, created) = self.broker.find_or_create_queue(&self.vhost, &self.mailbox, &name, options)?;
        if !created {
            return self.redeclare(pending, handle, durable);
        }
        self.batches[usize::from(handle.key.lane)].touched = true;
        let outcome = Outcome::Declared { queue: handle.name.clone(), messages: 0, consumers: 0 };
        Ok(if durable { self.when_kept(reply, outcome) } else { Answer::Now(outcome) })
    }

    /// QU-6: the vhost's default type, as if the client had asked for it, where its flags allow that type.
    fn apply_default_type(&self, pending: &mut PendingDeclare, server_named: bool) {
        let Some(default) = self.vhost.settings().default_queue_type else { return };
        let flags_allow = pending.durable && !pending.exclusive && !pending.auto_delete && !server_named;
        if pending.arguments.get("x-queue-type").is_none() && (flags_allow || *default == *"classic") {
            pending.arguments.push("x-queue-type", (*default).into());
        }
    }

    /// EH-20.
    fn check_queue_limit(&self, queue: &str) -> Result<(), Refusal> {
        match self.vhost.settings().queues_max {
            Some(limit) if self.vhost.queue_count() as u64 >= limit => {
                Err(Refusal::QueueLimit { queue: queue.into(), vhost: self.vhost.name().to_string(), limit })
            }
            _ => Ok(()),
        }
    }

    fn queue_declare_passive(&mut self, pending: PendingDeclare) -> Result<Answer, Refusal> {
        self.check_any_right(Resource::Queue, &pending.queue)?;
        let queue = self.vhost.require_queue(&pending.queue)?;
        let queue = self.unlocked(queue)?;
        self.ask_counts(pending, queue)
    }

    /// EH-4, EH-5: the queue exists; is it the one that is wanted?
    fn redeclare(
        &mut self,
        pending: PendingDeclare,
        existing: Arc<QueueHandle>,
        durable: bool,
    ) -> Result<Answer, Refusal> {
        let named = existing.named();
        if self.broker.0.options.relaxed_redeclares && existing.options.is_quorum_for_classic(&pending.arguments) {
            existing.options.check_shared_arguments(&named, &pending.arguments)?;
            return self.ask_counts(pending, existing);
        }
        let wanted = pending.exclusive.then(|| self.mailbox.id());
        if existing.options.exclusive != wanted {
            return Err(Refusal::Locked(named));
        }
        existing.options.check_equivalent(&named, durable, pending.auto_delete, &pending.arguments)?;
        self.ask_counts(pending, existing)
    }

    fn ask_counts(&mut self, pending: PendingDeclare, queue: Arc<QueueHandle>) -> Result<Answer, Refusal> {
        let reply = pending.reply;
        self.declares.insert(reply.ticket, Box::new(pending));
        self.push(queue.key.lane, Op::Declare { queue, reply });
        Ok(Answer::Later)
    }

    /// DX-8: read on the queue, write on its dead-letter exchange.
    fn check_dead_letter(&mut self, queue: &str, arguments: &Table) -> Result<(), Refusal> {
        let Some(exchange) = arguments.get("x-dead-letter-exchange").and_then(Value::as_str) else {
            return Ok(());
        };
        self.check_queue(Right::Read, queue)?;
        self.check_exchange(Right::Write, exchange)
    }

    /// queue.bind.
    pub fn queue_bind(
        &mut self,
        reply: Reply,
        queue: &str,
        exchange: &str,
        key: &str,
        arguments: Table,
    ) -> Result<Answer, Refusal> {
        check_bindable(queue)?;
        self.check_queue(Right::Write, queue)?;
        let source = self.check_binding_source(exchange, key)??;
        let queue = self.vhost.require_queue(queue)?;
        let queue = self.unlocked(queue)?;
        self.broker.bind(&self.vhost, &source, &Destination::Queue(queue), key, &arguments, &self.user.name)?;
        Ok(self.when_kept(reply, Outcome::Done))
    }

    /// queue.unbind.
    pub fn queue_unbind(
        &mut self,
        reply: Reply,
        queue: &str,
        exchange: &str,
        key: &str,
        arguments: Table,
    ) -> Result<Answer, Refusal> {
        check_bindable(queue)?;
        self.check_queue(Right::Write, queue)?;
        let source = self.check_binding_source(exchange, key)?;
        if let (Ok(source), Some(queue)) = (source, self.vhost.queue(queue)) {
            let destination = Destination::Queue(queue.clone());
            if !queue.is_locked_for(self.mailbox.id()) {
                self.vhost.unbind(&source, &destination, key, &arguments, &self.user.name);
            // Without such a binding there is nothing to keep others from.
            } else if self.vhost.has_binding(&source, &destination, key, &arguments) {
                return Err(Refusal::Locked(queue.named()));
            }
        }
        Ok(self.when_kept(reply, Outcome::Done))
    }

    /// queue.purge.
    pub fn queue_purge(&mut self, reply: Reply, queue: &str) -> Result<Answer, Refusal> {
        self.check_queue(Right::Read, queue)?;
        let queue = self.unlocked(self.vhost.require_queue(queue)?)?;
        self.push(queue.key.lane, Op::Purge { queue, reply });
        Ok(Answer::Later)
    }

    /// queue.delete; one that does not exist has no messages (M-15).
    pub fn queue_delete(
        &mut self,
        reply: Reply,
        queue: &str,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<Answer, Refusal> {
        self.check_queue(Right::Configure, queue)?;
        let Some(queue) = self.vhost.queue(queue) else {
            return Ok(Answer::Now(Outcome::Deleted { messages: 0 }));
        };
        let queue = self.unlocked(queue)?;
        self.push(queue.key.lane, Op::Delete { queue, reply: Some(reply), if_unused, if_empty });
        Ok(Answer::Later)
    }

    // --- consuming ---

    /// basic.consume.
    pub fn consume(&mut self, reply: Reply, spec: ConsumeSpec<'_>) -> Result<Answer, Refusal> {
        if spec.queue == REPLY_TO {
            return self.consume_replies(spec.channel, spec.consumer, spec.no_ack).map(Answer::Now);
        }
        self.check_queue(Right::Read, spec.queue)?;
        let queue = self.unlocked(self.vhost.require_queue(spec.queue)?)?;
        let priority = match spec.arguments.get("x-priority") {
            None => 0,
            Some(value) => value.as_integer().ok_or_else(|| Refusal::InvalidArgument {
                argument: "x-priority".into(),
                queue: queue.named(),
                reason: format!("\"expected integer, got {}\"", value.type_name()),
            })?,
        };
        queue.options.check_consumer_arguments(&queue.named(), &spec.arguments)?;
        let stands_out = spec.exclusive || queue.options.single_active_consumer;
        let subscription = Subscription {
            channel: spec.channel,
            tag: stands_out.then(|| spec.tag.into()),
            consumer: spec.consumer,
            no_ack: spec.no_ack,
            exclusive: spec.exclusive,
            prefetch: spec.prefetch,
            priority,
            limiter: spec.limiter,
            timeout_ms: queue.options.consumer_timeout(&queue.named(), &spec.arguments)?,
        };
        self.push(queue.key.lane, Op::Consume { queue, subscription: Box::new(subscription), reply });
        Ok(Answer::Later)
    }

    /// basic.cancel of a consumer of this connection.
    pub fn cancel(&mut self, reply: Reply, queue: QueueKey, owner: OwnerKey) -> Answer {
        if is_place(queue) {
            self.forget_requester(reply.channel);
            return Answer::Now(Outcome::Cancelled);
        }
        self.push(queue.lane, Op::Cancel { queue: queue.id, owner, reply });
        Answer::Later
    }

    /// basic.get.
    pub fn get(&mut self, reply: Reply, queue: &str, no_ack: bool) -> Result<Answer, Refusal> {
        self.check_queue(Right::Read, queue)?;
        let queue = self.unlocked(self.vhost.require_queue(queue)?)?;
        if queue.options.queue_type == QueueType::Quorum && queue.options.single_active_consumer {
            return Err(Refusal::SingleActiveGet(queue.named()));
        }
        self.push(queue.key.lane, Op::Get { queue, no_ack, reply });
        Ok(Answer::Later)
    }

    /// Settles deliveries `first..=last` of one owner.
    pub fn settle(&mut self, queue: QueueKey, owner: OwnerKey, first: u64, last: u64, how: Settlement) {
        self.push(queue.lane, Op::Settle { queue: queue.id, owner, first, last, how });
    }

    /// The channel's [`super::Limiter`] has room again, or its limit changed: lanes look at its consumers anew.
    pub fn resume(&mut self, channel: ChannelKey) {
        self.push_to_touched(|| Op::Resume { channel: Some(channel) });
    }

    /// Requeues all unacked of the channel and drops its consumers.
    pub fn channel_closed(&mut self, channel: ChannelKey) {
        self.forget_requester(channel);
        self.forget_server_name(channel);
        self.push_to_touched(|| Op::ChannelClosed { channel });
        self.tell_channel(false, channel);
    }

    /// A channel is open.
    pub fn channel_opened(&mut self, channel: ChannelKey) {
        self.tell_channel(true, channel);
    }

    // --- batches and events ---

    /// The answer to a change of definitions: not before what was written of it, and of what it builds on, is durable.
    fn when_kept(&mut self, reply: Reply, outcome: Outcome) -> Answer {
        match self.broker.0.keeper.pending() {
            None => Answer::Now(outcome),
            Some(written) => {
                self.push(0, Op::Await { written, reply, outcome });
                Answer::Later
            }
        }
    }

    fn push(&mut self, lane: u16, operation: Op) {
        self.batches[usize::from(lane)].push(operation, OPERATION_BYTES);
    }

    fn push_to_touched(&mut self, operation: impl Fn() -> Op) {
        for batch in self.batches.iter_mut().filter(|batch| batch.touched || !batch.is_empty()) {
            batch.push(operation(), OPERATION_BYTES);
        }
    }

    /// Publishes were told ack; counted with the next [`Self::flush`].
    pub fn count_confirmed(&mut self, count: u64) {
        // Of one round of a connection: far from 2^32.
        self.published.confirmed += count as u32;
    }

    /// Hands each lane its batch.
    pub fn flush(&mut self) {
        if let Some(foreign) = &mut self.foreign {
            foreign.forget_refused();
        }
        self.flush_batches();
    }

    fn flush_batches(&mut self) {
        if self.published.all > 0 || self.published.confirmed > 0 {
            self.vhost.traffic.published(std::mem::take(&mut self.published));
            self.routes.tell_passed();
        }
        for lane in 0..self.batches.len() {
            self.flush_lane(lane);
        }
    }

    /// Hands one lane its batch. What others get comes later, or came before: they are not to rely on it.
    pub(super) fn flush_lane(&mut self, lane: usize) {
        let batch = &mut self.batches[lane];
        if batch.is_empty() {
            return;
        }
        let (operations, bytes) = batch.take();
        // A broker has at most 64 lanes.
        self.broker.lane(lane as u16).send(&self.mailbox, operations, bytes);
    }

    /// Takes events out of the mailbox, or has the task woken when there are some. To be called only while there is
    /// room to write deliveries to: what is not taken makes lanes hold back.
    pub fn poll_events(&mut self, cx: &mut Context<'_>, into: &mut Vec<Event>) -> Poll<()> {
        let answered = self.foreign.as_mut().is_some_and(|foreign| foreign.poll(cx, into));
        if !self.mailbox.take(into, cx.waker()) && !answered {
            return Poll::Pending;
        }
        let stalled = self.mailbox.take_stalled();
        if stalled != 0 {
            for lane in 0..self.batches.len() as u16 {
                if stalled & lane_bit(lane) != 0 {
                    self.push(lane, Op::Resume { channel: None });
                }
            }
        }
        if !self.declares.is_empty() {
            into.retain_mut(|event| self.finish_declare(event));
        }
        if self.vhost.is_tracing() {
            self.trace_deliveries(into);
        }
        if stalled != 0 || self.batches.iter().any(|batch| !batch.is_empty()) {
            self.flush_batches();
        }
        Poll::Ready(())
    }

    /// A declare whose queue was deleted before its lane's turn starts anew, as does one for which that meant to ask. False: the event is not for the session.
    fn finish_declare(&mut self, event: &mut Event) -> bool {
        let Event::Done { ticket, result, .. } = event else {
            return true;
        };
        let Some(pending) = self.declares.remove(ticket) else {
            return true;
        };
        let starts_anew = match result {
            Ok(outcome) => matches!(outcome, Outcome::Decided),
            Err(refusal) => matches!(**refusal, Refusal::QueueGone),
        };
        if !starts_anew {
            return true;
        }
        let PendingDeclare { reply, queue, passive, durable, exclusive, auto_delete, arguments } = &*pending;
        let (passive, durable, exclusive, auto_delete) = (*passive, *durable, *exclusive, *auto_delete);
        let arguments = arguments.clone();
        let reply = *reply;
        match self.queue_declare(reply, QueueDeclare { queue, passive, durable, exclusive, auto_delete, arguments }) {
            Ok(Answer::Later) => false,
            Err(Refusal::Unanswered) => {
                self.await_verdicts(reply);
                self.declares.insert(reply.ticket, pending);
                false
            }
            Ok(Answer::Now(outcome)) => {
                *result = Ok(outcome);
                true
            }
            Err(refusal) => {
                *result = Err(Box::new(refusal));
                true
            }
        }
    }

    /// The lanes have not yet taken what this client sent, and its share is used up: its socket should not be read.
    /// The task is woken when that changes.
    pub fn is_congested(&self) -> bool {
        self.mailbox.is_congested()
    }

    /// Ends everything of this connection: consumers, unacked deliveries, exclusive queues. The answer comes when the
    /// exclusive queues are gone (M-2).
    pub fn close(&mut self, reply: Reply) -> Answer {
        if self.send_close(Some(reply)) { Answer::Later } else { Answer::Now(Outcome::Closed) }
    }

    /// False: no lane knows this connection.
    fn send_close(&mut self, reply: Option<Reply>) -> bool {
        if std::mem::replace(&mut self.closed, true) {
            return false;
        }
        if let Some((_, connected)) = self.broker.0.connections.remove(&self.mailbox.id()) {
            connected.vhost.traffic.connection_closed(&connected.octets);
            self.broker.tell_connection_closed(&connected);
        }
        self.forget_requesters();
        self.flush();
        let lanes = self.batches.iter().filter(|batch| batch.touched).count();
        let countdown = Countdown::new(reply, lanes);
        self.push_to_touched(|| Op::ConnectionClosed { countdown: countdown.clone() });
        self.flush();
        lanes > 0
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.send_close(None);
    }
}

fn exchange_type(name: &str) -> Result<ExchangeType, Refusal> {
    ExchangeType::parse(name).ok_or_else(|| {
        if name.is_empty() {
            Refusal::InvalidExchangeType(name.into())
        } else {
            Refusal::UnknownExchangeType(name.into())
        }
    })
}

/// US-6: max-connections of a vhost.
fn check_vhost_connections(broker: &Broker, user: &User, vhost: &Arc<Vhost>) -> Result<(), Refusal> {
    let Some(limit) = vhost.settings().connections_max else { return Ok(()) };
    let open = broker.0.connections.iter().filter(|connected| Arc::ptr_eq(&connected.vhost, vhost)).count();
    if open as u64 >= limit {
        let (vhost, user) = (vhost.name().to_string(), user.name.to_string());
        return Err(Refusal::VhostConnectionLimit { vhost, user, limit });
    }
    Ok(())
}

/// US-6: max-connections of a user.
fn check_user_connections(broker: &Broker, user: &User) -> Result<(), Refusal> {
    let Some(limit) = user.limits.max_connections.and_then(|limit| u64::try_from(limit).ok()) else {
        return Ok(());
    };
    let open = broker.0.connections.iter().filter(|connected| *connected.user == *user.name).count();
    if open as u64 >= limit {
        return Err(Refusal::UserConnectionLimit { user: user.name.to_string(), limit });
    }
    Ok(())
}

/// EH-32.
fn check_bindable(queue: &str) -> Result<(), Refusal> {
    if is_opaque_name(queue) { Err(Refusal::VolatileQueue) } else { Ok(()) }
}

/// EH-9.
fn check_not_default(exchange: &str) -> Result<(), Refusal> {
    if exchange.is_empty() { Err(Refusal::DefaultExchange) } else { Ok(()) }
}

/// EH-8.
fn check_not_reserved(kind: &'static str, name: &str) -> Result<(), Refusal> {
    if name.starts_with("amq.") { Err(Refusal::ReservedPrefix { kind, name: name.into() }) } else { Ok(()) }
}

/// A name nobody can guess: the prefix and 22 characters of base64url (QU-1).
pub(super) fn server_name(prefix: &str) -> String {
    let random: [u8; 16] = rand::random();
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random))
}
