//! A lane owns its queues outright, so queue state has no locks. Connections hand it batches of operations; in a turn
//! it takes what has arrived, runs the queue state machines, and hands each connection its events at once.
//!
//! [`Lane::run`] is the task; [`Lane::turn`] is one turn at a given time, for simulations that own the clock.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::backlog::{BacklogKey, Backlogs};
use super::effects::{ConnKey, Effects};
use super::event::{ChannelKey, Outcome, OwnerKey, QueueId, QueueKey, Reply};
use super::events::INTERNAL;
use super::gathering::Part;
use super::held::{Answering, ConfirmTo, Countdown, Held, Publisher};
use super::inbox::{Batch, LaneHandle, Op};
use super::mailbox::{ConnectionId, Mailbox};
use super::message::Message;
use super::publishing::Publishing;
use super::queue::{PublisherKey, Queue, Subscription};
use super::refusal::Refusal;
use super::shortage::{Next, Shortage};
use super::timers::Timers;
use super::vhost::QueueHandle;
use super::{Broker, Options};
use crate::hashing::Hashing;
use crate::replicate::{Place, Position, Record, Replicator};

/// A turn hands events out after this many operations, so that a long inbox delays nobody.
const OPERATIONS_A_FLUSH: usize = 1024;

/// A turn serves this many timers, delayed and expired messages, so that many of one moment do not keep what arrives
/// waiting.
const TIMERS_A_TURN: usize = 1024;

/// A connection as the lane knows it.
struct Conn {
    key: ConnKey,
    /// Consumers, and holders of unacked messages, in this lane's queues.
    owners: HashSet<(QueueId, OwnerKey), Hashing>,
    /// Queues that go with the connection.
    exclusive: HashSet<QueueId, Hashing>,
}

/// Who asked to be looked at again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    Queue(QueueId),
    Backlog(BacklogKey),
}

/// basic.get, which may have to wait for the disk.
pub(super) struct WaitingGet {
    conn: ConnKey,
    connection: ConnectionId,
    pub(super) handle: Arc<QueueHandle>,
    no_ack: bool,
    reply: Reply,
}

/// See the module's documentation.
pub struct Lane {
    index: u16,
    inbox: LaneHandle,
    broker: Broker,
    pub(super) queues: HashMap<QueueId, Queue, Hashing>,
    conns: HashMap<ConnectionId, Conn, Hashing>,
    /// Publishers that queues know.
    pub(super) publishing: Publishing,
    pub(super) timers: Timers<Timer>,
    /// Delayed messages.
    pub(super) backlogs: Backlogs,
    /// What this turn sends to other lanes, with its bytes.
    passing: Vec<(Vec<Op>, usize)>,
    pub(super) fx: Effects,
    pub(super) checkpoint: Option<Part>,
    pub(super) shortage: Shortage,
    /// What waiting messages may take in memory, in bytes.
    pub(super) memory_max: usize,
    pub(super) waiting_gets: Vec<WaitingGet>,
    /// Room for the places of one message.
    pub(super) places: Vec<Place>,
    /// Queues that took a message with a number of its producer.
    pub(super) numbered: Vec<u64>,
    pub(super) hidden: Vec<u8>,
    /// So many messages were written that other records speak of.
    pub(super) shared_messages: u64,
    /// So many checkpoints were begun.
    pub(super) checkpoints: u32,
    pub(super) replicator: Box<dyn Replicator>,
    /// Where the log ends, as far as this lane appended to it.
    pub(super) appended: Position,
    held: Held,
    /// Whose operations it works on.
    acting: Arc<str>,
    /// In whose name the lane sends messages to other lanes.
    own_mailbox: Arc<Mailbox>,
}

/// What [`Lane::turn`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing to do before this time, if any.
    Idle(Option<Instant>),
    /// The broker is stopped and everything sent before is done.
    Ended,
}

impl Lane {
    pub(super) fn new(index: u16, inbox: LaneHandle, broker: Broker, mut replicator: Box<dyn Replicator>) -> Self {
        let mut fx = Effects::new(index);
        fx.changes.are_kept = replicator.keeps();
        let Options { lanes, message_memory_bytes, .. } = *broker.options();
        let memory_max = message_memory_bytes / usize::from(lanes.max(1));
        Self {
            index,
            inbox,
            own_mailbox: Arc::new(Mailbox::new(broker.next_connection(), INTERNAL.into())),
            acting: INTERNAL.into(),
            broker,
            queues: HashMap::default(),
            conns: HashMap::default(),
            publishing: Publishing::default(),
            timers: Timers::default(),
            backlogs: Backlogs::default(),
            passing: Vec::new(),
            fx,
            checkpoint: None,
            shortage: Shortage::default(),
            memory_max,
            waiting_gets: Vec::new(),
            places: Vec::new(),
            numbered: Vec::new(),
            hidden: Vec::new(),
            shared_messages: 0,
            checkpoints: 0,
            appended: replicator.durable(),
            replicator,
            held: Held::default(),
        }
    }

    /// Runs the lane until the broker is stopped. Events: operations arrive; a timer rings.
    pub async fn run(mut self) {
        loop {
            let next = match self.turn(Instant::now()) {
                Turn::Ended => return,
                Turn::Idle(next) => next,
            };
            if next.is_some_and(|next| next <= Instant::now()) {
                // A timer would ring at the end of the millisecond.
                tokio::task::yield_now().await;
                continue;
            }
            // Far enough to be never, near enough for the timer wheel.
            let at = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let mut rings = pin!(tokio::time::sleep_until(at.into()));
            poll_fn(|cx| {
                if self.inbox.has_arrived(cx.waker()) {
                    return Poll::Ready(());
                }
                if next.is_some() { rings.as_mut().poll(cx) } else { Poll::Pending }
            })
            .await;
        }
    }

    /// Works through everything that has arrived and every timer that is due at `now`.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let now_ms = self.broker.clock_ms(now);
        let (batches, closed) = self.inbox.take();
        let mut since_flush = 0;
        for Batch { from, operations, bytes } in batches {
            let conn = self.attach(&from);
            self.act_for(&from);
            for operation in operations {
                self.apply(conn, &from, operation, now_ms);
                since_flush += 1;
                if since_flush >= OPERATIONS_A_FLUSH {
                    since_flush = 0;
                    self.hand_over();
                    self.fx.flush();
                }
            }
            if self.replicator.is_behind() {
                self.held.push(self.appended, Answering::Worked { from, bytes });
            } else {
                self.worked(from, bytes);
            }
        }
        self.act_for(&self.own_mailbox.clone());
        self.ring(now_ms);
        let has_more = self.go_on_with_checkpoint();
        let next = self.relieve(now_ms);
        self.replicator.flush(!self.held.is_empty());
        self.give_what_is_durable();
        self.hand_over();
        self.fx.flush();
        if let Some(deaths) = self.fx.deaths.take() {
            self.broker.0.totals.died(&deaths);
        }
        if closed {
            return Turn::Ended;
        }
        let relief_ms = match next {
            _ if has_more => return Turn::Idle(Some(now)),
            Next::Now => return Turn::Idle(Some(now)),
            Next::AtMs(at_ms) => Some(at_ms),
            Next::Whenever => None,
        };
        let next_ms = self.timers.next_ms().into_iter().chain(relief_ms).min();
        Turn::Idle(next_ms.map(|at_ms| self.broker.instant_of(at_ms)))
    }

    fn act_for(&mut self, from: &Mailbox) {
        if !Arc::ptr_eq(&self.acting, from.user()) {
            self.acting = from.user().clone();
        }
    }

    fn attach(&mut self, mailbox: &Arc<Mailbox>) -> ConnKey {
        if let Some(conn) = self.conns.get(&mailbox.id()) {
            return conn.key;
        }
        let key = self.fx.attach(mailbox.clone());
        self.conns.insert(mailbox.id(), Conn { key, owners: HashSet::default(), exclusive: HashSet::default() });
        key
    }

    fn ring(&mut self, now_ms: u64) {
        let mut left = TIMERS_A_TURN;
        while left > 0
            && let Some(timer) = self.timers.pop(now_ms)
        {
            left -= 1;
            match timer {
                Timer::Backlog(key) => left -= self.release(key, left, now_ms),
                Timer::Queue(id) => {
                    if let Some(queue) = self.queues.get_mut(&id) {
                        left -= left.min(queue.on_timer(now_ms, &mut self.fx));
                    }
                }
            }
            self.follow_up(now_ms);
            self.write_changes();
        }
    }

    fn apply(&mut self, conn: ConnKey, from: &Arc<Mailbox>, operation: Op, now_ms: u64) {
        match operation {
            Op::Publish { queue, message, by } => {
                let accepted = self.publish(queue, message, publisher(from, by), now_ms);
                self.confirm(conn, by.and_then(Publisher::confirm), accepted);
            }
            Op::PublishMany { queues, message, by } => {
                let accepted = self.publish_many(&queues, &message, publisher(from, by), now_ms);
                self.confirm(conn, by.and_then(Publisher::confirm), accepted);
            }
            Op::Post(post) => self.take_post(post, now_ms),
            Op::Hold { hold, message, confirm } => {
                self.hold(&hold, message, now_ms);
                self.confirm(conn, confirm, true);
            }
            Op::HoldAgain(former) => self.hold_again(*former, now_ms),
            Op::Note { admission, parts } => self.note_admission(&admission, parts),
            Op::Settle { queue, owner, first, last, how } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.settle(owner, first..=last, how, now_ms, &mut self.fx);
                }
            }
            Op::Create { queue, written } => {
                if let Some(written) = written {
                    self.appended = self.replicator.after(written);
                }
                self.create(from, *queue);
            }
            Op::Compact { files } => self.compact(&files),
            Op::Moved { moved, to } => self.moved(&moved, to),
            Op::Checkpoint { gathering } => self.begin_checkpoint(gathering),
            Op::Await { written, reply, outcome } => {
                self.appended = self.replicator.after(written);
                self.answer(Answering::Done { conn, reply, outcome: Box::new(outcome) });
            }
            Op::Declare { queue, reply } => self.declare(conn, &queue, reply, now_ms),
            Op::Settings { queue, settings } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.change_settings(*settings, now_ms, &mut self.fx);
                }
            }
            Op::Inspect(inspection) => {
                let connection = |conn| self.fx.connection(conn);
                inspection.answer(|id, is_close| Some(self.queues.get(&id)?.report(now_ms, is_close, connection)));
            }
            Op::Purge { queue, reply } => self.purge(conn, &queue, reply),
            Op::Delete { queue, reply, if_unused, if_empty } => {
                self.delete(conn, queue.key.id, reply, if_unused, if_empty)
            }
            Op::Consume { queue, subscription, reply } => {
                self.consume(conn, from.id(), &queue, *subscription, reply, now_ms);
            }
            Op::Cancel { queue, owner, reply } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.cancel(owner, now_ms, &mut self.fx);
                }
                self.fx.done(conn, reply, Ok(Outcome::Cancelled));
            }
            Op::Get { queue: handle, no_ack, reply } => {
                self.get(WaitingGet { conn, connection: from.id(), handle, no_ack, reply }, now_ms);
            }
            Op::Loaded { load, messages } => self.loaded(&load, messages, now_ms),
            Op::Resume { channel } => self.resume(conn, from.id(), channel, now_ms),
            Op::ChannelClosed { channel } => self.channel_closed(from.id(), channel, now_ms),
            Op::ConnectionClosed { countdown } => self.connection_closed(conn, from.id(), &countdown, now_ms),
            Op::Commit { operations, countdown } => self.commit((conn, from), operations, countdown, now_ms),
        }
        self.follow_up(now_ms);
        self.write_changes();
    }

    /// Publishes to a queue wherever it lives.
    pub(super) fn pass_on(&mut self, to: QueueKey, message: Message, now_ms: u64) {
        if to.lane == self.index {
            self.publish(to.id, message, None, now_ms);
        } else {
            let bytes = message.memory_bytes();
            self.pass_operation(to.lane, Op::Publish { queue: to.id, message, by: None }, bytes);
        }
    }

    /// Has another lane do something, after this turn.
    pub(super) fn pass_operation(&mut self, lane: u16, operation: Op, bytes: usize) {
        let lane = usize::from(lane);
        if self.passing.len() <= lane {
            self.passing.resize_with(lane + 1, Default::default);
        }
        let (operations, sum) = &mut self.passing[lane];
        operations.push(operation);
        *sum += bytes;
    }

    fn hand_over(&mut self) {
        for (lane, (operations, bytes)) in (0u16..).zip(&mut self.passing) {
            if !operations.is_empty() {
                let (operations, bytes) = (std::mem::take(operations), std::mem::take(bytes));
                self.broker.lane(lane).send(&self.own_mailbox, operations, bytes);
            }
        }
    }

    /// What waiting messages take in memory, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        usize::try_from(self.inbox.memory.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn inbox(&self) -> &LaneHandle {
        &self.inbox
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    fn confirm(&mut self, conn: ConnKey, confirm: Option<ConfirmTo>, accepted: bool) {
        if let Some(to) = confirm {
            self.answer(Answering::Confirm { conn, to, accepted });
        }
    }

    /// Answers for what was appended so far: now if it is durable, else when it is.
    pub(super) fn answer(&mut self, answering: Answering) {
        if self.appended <= self.replicator.durable() {
            self.give(answering);
        } else {
            self.held.push(self.appended, answering);
        }
    }

    fn give(&mut self, answering: Answering) {
        match answering {
            Answering::Confirm { conn, to, accepted } => self.fx.confirm(conn, to.channel, to.sequence, accepted),
            Answering::Done { conn, reply, outcome } => self.fx.done(conn, reply, Ok(*outcome)),
            Answering::Worked { from, bytes } => self.worked(from, bytes),
            Answering::Deleted { to, messages, queue } => {
                if let Some((conn, reply)) = to {
                    self.fx.done(conn, reply, Ok(Outcome::Deleted { messages }));
                }
                if let Some(mut queue) = queue {
                    queue.deleted(&mut self.fx);
                }
            }
            Answering::Receipt { to, receipt } => self.pass_operation(to, Op::Post(receipt), 0),
            Answering::Commit { conn, countdown } => {
                if countdown.finished()
                    && let (Some(conn), Some(reply)) = (conn, countdown.reply)
                {
                    let all_accepted = !countdown.refused.load(Ordering::Acquire);
                    self.fx.done(conn, reply, Ok(Outcome::Committed { all_accepted }));
                }
            }
        }
    }

    fn give_what_is_durable(&mut self) {
        if self.held.is_empty() {
            return;
        }
        // First, so that whatever becomes durable after the look wakes the lane.
        self.inbox.awaits.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let durable = self.replicator.durable();
        while let Some(answering) = self.held.pop(durable) {
            self.give(answering);
        }
    }

    fn create(&mut self, from: &Arc<Mailbox>, mut queue: Queue) {
        queue.set_timer(&mut self.fx);
        let id = queue.handle().key.id;
        if queue.handle().options.exclusive.is_some()
            && let Some(conn) = self.conns.get_mut(&from.id())
        {
            conn.exclusive.insert(id);
        }
        self.queues.insert(id, queue);
    }

    /// Its counts; the client looks anew if the queue was deleted meanwhile.
    fn declare(&mut self, conn: ConnKey, handle: &Arc<QueueHandle>, reply: Reply, now_ms: u64) {
        let Some(queue) = self.queues.get_mut(&handle.key.id) else {
            return self.fx.done(conn, reply, Err(Refusal::QueueGone));
        };
        queue.declared(now_ms, &mut self.fx);
        let (messages, consumers) = (queue.messages(), queue.consumer_count());
        let outcome = Outcome::Declared { queue: handle.name.clone(), messages, consumers };
        if handle.options.durable {
            self.answer(Answering::Done { conn, reply, outcome: Box::new(outcome) });
        } else {
            self.fx.done(conn, reply, Ok(outcome));
        }
    }

    fn purge(&mut self, conn: ConnKey, handle: &QueueHandle, reply: Reply) {
        let result = match self.queues.get_mut(&handle.key.id) {
            None => Err(handle.not_found()),
            Some(queue) => Ok(Outcome::Purged { messages: queue.purge(&mut self.fx) }),
        };
        self.fx.done(conn, reply, result);
    }

    fn delete(&mut self, conn: ConnKey, id: QueueId, reply: Option<Reply>, if_unused: bool, if_empty: bool) {
        let checked = self.queues.get(&id).map_or(Ok(()), |queue| queue.check_deletable(if_unused, if_empty));
        if let Err(refusal) = checked {
            return reply.into_iter().for_each(|reply| self.fx.done(conn, reply, Err(refusal.clone())));
        }
        // The name is free before the answer goes out, which waits until nothing brings the queue back.
        let queue = self.take_queue(id).map(Box::new);
        if let Some(written) = self.broker.0.keeper.pending() {
            self.appended = self.replicator.after(written);
        }
        let messages = queue.as_ref().map_or(0, |queue| queue.messages());
        self.answer(Answering::Deleted { to: reply.map(|reply| (conn, reply)), messages, queue });
    }

    fn take_queue(&mut self, id: QueueId) -> Option<Queue> {
        let queue = self.queues.remove(&id)?;
        if let Some(owner) = queue.handle().options.exclusive
            && let Some(conn) = self.conns.get_mut(&owner)
        {
            conn.exclusive.remove(&id);
        }
        queue.publishers().for_each(|publisher| self.publishing.remove(publisher, id));
        self.broker.queue_deleted(queue.handle(), queue.counters(), &self.acting);
        Some(queue)
    }

    fn consume(
        &mut self,
        conn: ConnKey,
        connection: ConnectionId,
        handle: &QueueHandle,
        subscription: Subscription,
        reply: Reply,
        now_ms: u64,
    ) {
        let id = handle.key.id;
        let Some(queue) = self.queues.get_mut(&id) else {
            return self.fx.done(conn, reply, Err(handle.not_found()));
        };
        match queue.consume(conn, subscription, now_ms, &mut self.fx) {
            Err(refusal) => self.fx.done(conn, reply, Err(refusal)),
            Ok(owner) => {
                let outcome = Outcome::Consuming { queue: handle.key, owner };
                self.fx.done(conn, reply, Ok(outcome));
                queue.dispatch(now_ms, &mut self.fx);
                if let Some(conn) = self.conns.get_mut(&connection) {
                    conn.owners.insert((id, owner));
                }
            }
        }
    }

    pub(super) fn get(&mut self, get: WaitingGet, now_ms: u64) {
        let id = get.handle.key.id;
        let Some(queue) = self.queues.get_mut(&id) else {
            return self.fx.done(get.conn, get.reply, Err(get.handle.not_found()));
        };
        if queue.must_load(&mut self.fx) {
            return self.waiting_gets.push(get);
        }
        let WaitingGet { conn, connection, no_ack, reply, .. } = get;
        let got = queue.get(conn, reply.channel, no_ack, now_ms, &mut self.fx);
        if let Some(got) = &got
            && !no_ack
            && let Some(conn) = self.conns.get_mut(&connection)
        {
            conn.owners.insert((id, got.delivery.source.owner));
        }
        self.fx.done(conn, reply, Ok(Outcome::Got(got)));
    }

    fn resume(&mut self, conn: ConnKey, connection: ConnectionId, channel: Option<ChannelKey>, now_ms: u64) {
        if channel.is_none() {
            self.fx.unstall(conn);
        }
        for (id, owner) in self.owners_of(connection, channel) {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.resume(owner, now_ms, &mut self.fx);
            }
        }
    }

    /// The owners of a connection, or of one of its channels only.
    fn owners_of(&self, connection: ConnectionId, channel: Option<ChannelKey>) -> Vec<(QueueId, OwnerKey)> {
        let Some(conn) = self.conns.get(&connection) else {
            return Vec::new();
        };
        let of_channel = |(id, owner): &(QueueId, OwnerKey)| {
            channel.is_none() || self.queues.get(id).is_some_and(|queue| queue.owner_channel(*owner) == channel)
        };
        let mut owners: Vec<_> = conn.owners.iter().copied().filter(of_channel).collect();
        owners.sort_unstable_by_key(|(id, owner)| (*id, owner.0));
        owners
    }

    fn channel_closed(&mut self, connection: ConnectionId, channel: ChannelKey, now_ms: u64) {
        let gone = self.owners_of(connection, Some(channel));
        self.owners_gone(gone, now_ms);
        self.publishers_gone(connection, Some(channel));
    }

    /// The channels of a connection, or one of them, publish no more.
    fn publishers_gone(&mut self, connection: ConnectionId, channel: Option<ChannelKey>) {
        for (publisher, queue) in self.publishing.take(connection, channel) {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.publisher_gone(publisher);
            }
        }
    }

    /// Takes owners out of their queues, then lets each queue go on with what came back.
    fn owners_gone(&mut self, gone: Vec<(QueueId, OwnerKey)>, now_ms: u64) {
        let mut queues: Vec<QueueId> = Vec::new();
        for (id, owner) in gone {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.owner_gone(owner, now_ms, &mut self.fx);
                queues.push(id);
            }
        }
        queues.sort_unstable();
        queues.dedup();
        for id in queues {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.owners_gone(now_ms, &mut self.fx);
            }
        }
    }

    fn connection_closed(&mut self, conn: ConnKey, connection: ConnectionId, countdown: &Countdown, now_ms: u64) {
        let gone = self.owners_of(connection, None);
        self.owners_gone(gone, now_ms);
        self.publishers_gone(connection, None);
        let exclusive = self.conns.remove(&connection).map(|conn| conn.exclusive).unwrap_or_default();
        for id in exclusive {
            if let Some(mut queue) = self.take_queue(id) {
                queue.deleted(&mut self.fx);
            }
        }
        self.follow_up(now_ms);
        if countdown.finished()
            && let Some(reply) = countdown.reply
        {
            self.fx.done(conn, reply, Ok(Outcome::Closed));
        }
        self.held.forget(conn);
        self.waiting_gets.retain(|get| get.conn != conn);
        self.fx.detach(conn);
    }

    fn commit(
        &mut self,
        (conn, from): (ConnKey, &Mailbox),
        operations: Vec<Op>,
        countdown: Arc<Countdown>,
        now_ms: u64,
    ) {
        let is_kept = self.fx.changes.are_kept && (countdown.lanes > 1 || self.keeps_of(&operations));
        if is_kept {
            let transaction = match &countdown.underway {
                Some(underway) => underway.transaction,
                None => self.broker.0.commits.number(),
            };
            // There are less than 2^16 lanes.
            self.replicator.append(Record::Part { transaction, parts: countdown.lanes as u16 });
        }
        for operation in operations {
            let accepted = match operation {
                Op::Publish { queue, message, by } => self.publish(queue, message, publisher(from, by), now_ms),
                Op::PublishMany { queues, message, by } => {
                    self.publish_many(&queues, &message, publisher(from, by), now_ms)
                }
                Op::Hold { hold, message, .. } => {
                    self.hold(&hold, message, now_ms);
                    true
                }
                Op::Settle { queue, owner, first, last, how } => {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.settle(owner, first..=last, how, now_ms, &mut self.fx);
                    }
                    true
                }
                Op::Note { admission, parts } => {
                    self.note_admission(&admission, parts);
                    true
                }
                // A transaction holds nothing else.
                _ => true,
            };
            if !accepted {
                countdown.refused.store(true, Ordering::Release);
            }
        }
        if is_kept {
            self.follow_up(now_ms);
            self.write_changes();
            self.appended = self.replicator.append(Record::PartEnd);
        }
        self.answer(Answering::Commit { conn: Some(conn), countdown });
    }

    /// What queues asked for beyond themselves: deleting some, dead-lettering, timers.
    #[inline]
    pub(super) fn follow_up(&mut self, now_ms: u64) {
        if self.fx.asks_for_more() {
            self.follow_up_all(now_ms);
        }
    }

    fn follow_up_all(&mut self, now_ms: u64) {
        while let Some(id) = self.fx.doomed.pop() {
            if let Some(mut queue) = self.take_queue(id) {
                queue.deleted(&mut self.fx);
            }
        }
        while !self.fx.dead.is_empty() {
            for dead in std::mem::take(&mut self.fx.dead) {
                self.bury(dead, now_ms);
            }
        }
        for (conn, id, owner) in self.fx.freed.drain(..) {
            if let Some(conn) = self.conns.get_mut(&conn) {
                conn.owners.remove(&(id, owner));
            }
        }
        for load in std::mem::take(&mut self.fx.loads) {
            self.broker.load(load, &self.inbox);
        }
        for (at_ms, id) in self.fx.timers.drain(..) {
            self.timers.add(at_ms, Timer::Queue(id));
        }
    }
}

/// Who publishes, if it is a client.
#[inline]
fn publisher(from: &Mailbox, by: Option<Publisher>) -> Option<PublisherKey> {
    by.map(|by| PublisherKey { connection: from.id(), channel: by.channel })
}
