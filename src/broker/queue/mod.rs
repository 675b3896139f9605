//! A queue: a plain synchronous state machine. Operations go in with the time, what is to happen outside goes into
//! [`Effects`]. It owns its messages, consumers and unacked deliveries; it does no I/O, reads no clock, and must
//! never look at another queue or at a socket. Start reading at [`Queue::publish`] and [`Queue::dispatch`].

mod active;
mod aside;
mod checkpoint;
mod counted;
mod entry;
mod expiry;
mod letters;
mod level;
mod options;
mod paging;
mod publishers;
mod ready;
mod report;
mod retry;
mod settings;
mod timeout;
mod transient;
mod turns;
mod unacked;

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use self::aside::Aside;
use self::entry::NEVER;
use self::expiry::EXPIRED_AT_ONCE;
use self::paging::{FormerLife, level_number};
use self::publishers::Publishers;
use self::ready::{Order, Ready};
use self::timeout::Marks;
use self::turns::Turns;
use self::unacked::Unacked;
use super::changes::Back;
use super::dedup::Duplicates;
use super::effects::{ConnKey, Effects};
use super::event::{ChannelKey, Delivery, Got, OwnerKey, QueueId, QueueKey, Settlement, Source};
use super::limiter::{Limiter, Permit};
use super::message::Message;
use super::pairs::Arrivals;
use super::refusal::Refusal;
use super::reports::Counters;
use super::stored::Stored;
use super::vhost::QueueHandle;

pub(in crate::broker) use self::entry::Entry;
pub use self::letters::Death;
pub(in crate::broker) use self::options::{AT_LEAST_ONCE, TTL_MS_MAX, check_same_argument, check_same_flag};
pub use self::options::{QueueOptions, QueueType};
pub(in crate::broker) use self::paging::{Load, Loaded};
pub(in crate::broker) use self::publishers::PublisherKey;
pub(in crate::broker) use self::ready::Meter;
pub use self::retry::{DelayedRetry, Retried};
pub use self::settings::{DeadLetterTarget, Overflow, QueueSettings};

/// What became of a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) enum Published {
    /// The queue has it, under this number. It expires at `expires_ms` of the broker's clock, or [`NEVER`].
    Taken { seq: u64, expires_ms: u64 },
    /// It has come before: dropped, and to be confirmed.
    Repeated,
    /// To be nacked.
    Refused,
}

/// Which messages of a queue the log keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    None,
    Persistent,
    /// QQ-1: all of a quorum queue.
    All,
}

impl Kept {
    fn of(options: &QueueOptions) -> Self {
        match options.queue_type {
            _ if !options.durable => Self::None,
            QueueType::Classic => Self::Persistent,
            QueueType::Quorum => Self::All,
        }
    }

    #[inline]
    fn has(self, message: &Message) -> bool {
        match self {
            Self::None => false,
            Self::Persistent => message.facts().persistent,
            Self::All => true,
        }
    }
}

/// What a consumer asked for.
#[derive(Debug)]
pub(in crate::broker) struct Subscription {
    pub(in crate::broker) channel: ChannelKey,
    /// Of a consumer that listings name with its queue: one that is exclusive, or may be the single active one.
    pub(in crate::broker) tag: Option<Arc<str>>,
    /// The session's slot.
    pub(in crate::broker) consumer: u32,
    pub(in crate::broker) no_ack: bool,
    pub(in crate::broker) exclusive: bool,
    /// Unacked deliveries at once; 0 is without limit.
    pub(in crate::broker) prefetch: u16,
    pub(in crate::broker) priority: i64,
    pub(in crate::broker) limiter: Arc<Limiter>,
    /// `x-consumer-timeout` of the consumer, ms.
    pub(in crate::broker) timeout_ms: Option<u64>,
}

/// Who holds, or may hold, messages of the queue.
#[derive(Debug)]
struct Owner {
    conn: ConnKey,
    channel: ChannelKey,
    role: Role,
    /// Number of the last delivery.
    delivered: u64,
    unacked: Unacked,
    marks: Marks,
}

#[derive(Debug)]
enum Role {
    Consumer {
        subscription: Subscription,
        /// In [`Turns`]. A consumer out of it has no credit, or a connection or channel that takes no more.
        in_turn: bool,
    },
    /// The gets of a channel, or a consumer that was cancelled and holds messages still.
    Holder,
}

/// A consumer that is to have the next message.
struct Taker {
    key: OwnerKey,
    /// In the channel's limiter.
    counted: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::broker) struct Queue {
    /// The handle's, at hand.
    key: QueueKey,
    handle: Arc<QueueHandle>,
    kept: Kept,
    stored: Stored,
    former_life: Option<Box<FormerLife>>,
    /// Messages before this number were delivered.
    delivered_before: u64,
    settings: QueueSettings,
    default_timeout_ms: u64,
    aside: Option<Box<Aside>>,
    ready: Ready,
    owners: Slab<Owner>,
    turns: Turns,
    /// Consumers in the order they came.
    consumers: Vec<OwnerKey>,
    /// The one that gets the messages, if only one may.
    active: Option<OwnerKey>,
    /// Who holds what each channel got with basic.get.
    getters: HashMap<(ConnKey, ChannelKey), OwnerKey>,
    /// When a client last declared, got from or consumed from it: x-expires counts from here.
    used_ms: u64,
    /// The earliest timer asked for and not yet rung.
    timer_ms: u64,
    /// What it knows to tell messages that come again.
    duplicates: Duplicates,
    /// When to look for deliveries that are out for too long; [`NEVER`] while none is out.
    check_ms: u64,
    counters: Counters,
    /// Of a quorum queue.
    publishers: Option<Box<Publishers>>,
    /// If somebody wants to know.
    arrivals: Option<Box<Arrivals>>,
}

impl Queue {
    /// A queue without messages. `timeout_ms` is how long a delivery may go unsettled if its settings do not say; `meter`
    /// is its lane's.
    pub(in crate::broker) fn new(handle: Arc<QueueHandle>, timeout_ms: u64, now_ms: u64, meter: Meter) -> Self {
        Self {
            default_timeout_ms: timeout_ms,
            aside: None,
            ready: Ready::new(
                match handle.options.queue_type {
                    QueueType::Classic => Order::classic(handle.options.priority_max),
                    QueueType::Quorum => Order::QUORUM,
                },
                meter,
            ),
            duplicates: Duplicates::new(handle.options.deduplicates),
            settings: handle.settings(),
            publishers: Publishers::of_type(handle.options.queue_type),
            kept: Kept::of(&handle.options),
            stored: Stored::default(),
            former_life: None,
            delivered_before: 0,
            key: handle.key,
            handle,
            owners: Slab::new(),
            turns: Turns::default(),
            consumers: Vec::new(),
            active: None,
            getters: HashMap::new(),
            used_ms: now_ms,
            timer_ms: NEVER,
            check_ms: NEVER,
            counters: Counters::default(),
            arrivals: None,
        }
    }

    pub(in crate::broker) fn handle(&self) -> &Arc<QueueHandle> {
        &self.handle
    }

    fn options(&self) -> &QueueOptions {
        &self.handle.options
    }

    fn id(&self) -> QueueId {
        self.key.id
    }

    /// Ready messages.
    pub(in crate::broker) fn messages(&self) -> u32 {
        u32::try_from(self.ready.len()).unwrap_or(u32::MAX)
    }

    /// All consumers, also those that wait behind a single active one.
    pub(in crate::broker) fn consumer_count(&self) -> u32 {
        u32::try_from(self.consumers.len()).unwrap_or(u32::MAX)
    }

    // --- messages in ---

    /// The log keeps this message.
    #[inline]
    pub(in crate::broker) fn keeps(&self, message: &Message) -> bool {
        self.kept.has(message)
    }

    /// Takes a message in, and on to a consumer if one is waiting.
    pub(in crate::broker) fn publish(&mut self, message: Message, now_ms: u64, fx: &mut Effects) -> Published {
        if self.duplicates.contains(&message) {
            return Published::Repeated;
        }
        if self.settings.overflow != Overflow::DropHead && self.would_overflow(&message) {
            if self.settings.overflow == Overflow::RejectPublishDlx {
                self.bury_refused(message, fx);
            }
            return Published::Refused;
        }
        self.duplicates.add(&message, self.keeps(&message));
        self.counters.publish += 1;
        if self.arrivals.is_some() {
            self.count_arrival(&message);
        }
        let expires_ms = self.expires_at(&message, now_ms);
        let seq = self.ready.next_seq;
        if self.ready.is_empty()
            && let Some(taker) = self.next_taker(fx)
        {
            self.ready.next_seq += 1;
            self.give(taker, Entry::fresh(message, expires_ms, seq), now_ms, fx);
            self.ask_for(self.check_ms, fx);
        } else {
            self.ready.push(message, expires_ms);
            self.dispatch(now_ms, fx);
            // TL-4: the head makes room after the new message is in.
            self.enforce_length(fx);
        }
        Published::Taken { seq, expires_ms }
    }

    /// For reject-publish: this message would be one, or its body some bytes, too many.
    fn would_overflow(&self, message: &Message) -> bool {
        let bytes = self.length_bytes() + message.body().len() as u64;
        self.settings.length_max.is_some_and(|max| self.length() >= max)
            || self.settings.length_bytes_max.is_some_and(|max| bytes > max)
    }

    fn enforce_length(&mut self, fx: &mut Effects) {
        if self.settings.length_max.is_none() && self.settings.length_bytes_max.is_none() {
            return;
        }
        if self.settings.overflow != Overflow::DropHead {
            return;
        }
        while self.settings.length_max.is_some_and(|max| self.length() > max)
            || self.settings.length_bytes_max.is_some_and(|max| self.length_bytes() > max)
        {
            let Some(entry) = self.ready.pop() else {
                // It goes on when the head is read.
                self.must_load(fx);
                break;
            };
            self.dead_letter(entry, Death::MaxLength, fx);
        }
    }

    /// A message has left the queue for good.
    #[inline]
    fn forget(&mut self, entry: &Entry, fx: &mut Effects) {
        self.duplicates.remove(&entry.message);
        self.gone(entry, fx);
    }

    /// The log need not keep it any longer.
    #[inline]
    fn gone(&mut self, entry: &Entry, fx: &mut Effects) {
        if self.keeps(&entry.message) {
            fx.changes.removed(self.id(), entry.seq);
            fx.given_up.extend(self.stored.remove(level_number(self.ready.level_of(&entry.message)), entry.seq));
        }
    }

    // --- messages out ---

    /// Gives waiting messages to consumers that can take them, each to the one whose turn it is. Gives how many expired.
    pub(in crate::broker) fn dispatch(&mut self, now_ms: u64, fx: &mut Effects) -> usize {
        let mut room = EXPIRED_AT_ONCE;
        loop {
            self.drop_expired_behind_delivery(now_ms, &mut room, fx);
            if room == 0 || self.turns.is_empty() || self.ready.is_empty() || self.ready.is_behind_page() {
                break;
            }
            let Some(taker) = self.next_taker(fx) else { break };
            let Some(entry) = self.ready.pop() else { break };
            self.give(taker, entry, now_ms, fx);
        }
        self.drop_expired(now_ms, &mut room, fx);
        self.load_ahead(!self.consumers.is_empty(), fx);
        if room == 0 {
            self.ask_for(now_ms, fx);
        } else {
            self.set_timer(fx);
        }
        EXPIRED_AT_ONCE - room
    }

    /// Who is to have the next message: the first in line that can take one. Whoever cannot leaves the line.
    fn next_taker(&mut self, fx: &Effects) -> Option<Taker> {
        while let Some(key) = self.turns.next() {
            let Some(owner) = self.owners.get_mut(key.0 as usize) else { continue };
            let Role::Consumer { subscription, in_turn } = &mut owner.role else { continue };
            let can_take = has_credit(subscription, &owner.unacked) && !fx.is_stalled(owner.conn);
            let permit = match can_take {
                true if subscription.no_ack => Permit::Uncounted,
                true => subscription.limiter.try_take(),
                false => Permit::Refused,
            };
            *in_turn = permit != Permit::Refused;
            if *in_turn {
                // As in RabbitMQ a consumer keeps its turn when its credit is used up, and loses it only if it has none
                // when its turn comes.
                self.turns.join(key, subscription.priority);
                return Some(Taker { key, counted: permit == Permit::Counted });
            }
        }
        None
    }

    /// Delivers a message that is in the queue no more.
    fn give(&mut self, taker: Taker, mut entry: Entry, now_ms: u64, fx: &mut Effects) {
        let Some(owner) = self.owners.get_mut(taker.key.0 as usize) else { return };
        let Role::Consumer { subscription, .. } = &owner.role else { return };
        let (queue, seq, redelivered) = (self.key, entry.seq, entry.deliveries > 0);
        let is_kept = self.kept.has(&entry.message);
        owner.delivered += 1;
        self.counters.redeliver += u64::from(redelivered);
        let (conn, channel, consumer) = (owner.conn, owner.channel, subscription.consumer);
        let source = Source { queue, owner: taker.key, number: owner.delivered };
        let message = if subscription.no_ack {
            self.counters.deliver_no_ack += 1;
            self.duplicates.remove(&entry.message);
            if is_kept {
                fx.changes.removed(queue.id, seq);
                fx.given_up.extend(self.stored.remove(level_number(self.ready.level_of(&entry.message)), seq));
            }
            counted::told_last(&self.handle.options, entry)
        } else {
            self.counters.deliver += 1;
            if is_kept {
                note_delivery(queue.id, &entry, self.ready.is_in_order(), &mut self.delivered_before, fx);
            }
            let message = counted::told(&self.handle.options, &entry);
            entry.deliveries += 1;
            owner.unacked.push(owner.delivered, entry);
            let own_ms = subscription.timeout_ms.or(self.settings.consumer_timeout_ms);
            self.check_ms = self.check_ms.min(timeout::next_look(now_ms, own_ms.unwrap_or(self.default_timeout_ms)));
            message
        };
        fx.deliver(conn, Delivery { channel, consumer, source, redelivered, counted: taker.counted, message });
    }

    /// basic.get.
    pub(in crate::broker) fn get(
        &mut self,
        conn: ConnKey,
        channel: ChannelKey,
        no_ack: bool,
        now_ms: u64,
        fx: &mut Effects,
    ) -> Option<Box<Got>> {
        self.used_ms = now_ms;
        self.drop_all_expired(now_ms, fx);
        let Some(mut entry) = self.ready.pop() else {
            self.counters.get_empty += 1;
            return None;
        };
        let message = counted::told(self.options(), &entry);
        let redelivered = entry.deliveries > 0;
        self.counters.redeliver += u64::from(redelivered);
        let source = if no_ack {
            self.counters.get_no_ack += 1;
            self.forget(&entry, fx);
            Source { queue: self.key, owner: OwnerKey(u32::MAX), number: 0 }
        } else {
            self.counters.get += 1;
            if self.keeps(&entry.message) {
                note_delivery(self.id(), &entry, self.ready.is_in_order(), &mut self.delivered_before, fx);
            }
            entry.deliveries += 1;
            let key = self.getter(conn, channel);
            let owner = &mut self.owners[key.0 as usize];
            owner.delivered += 1;
            owner.unacked.push(owner.delivered, entry);
            let number = owner.delivered;
            self.check_ms = self.check_ms.min(timeout::next_look(now_ms, self.timeout_ms()));
            Source { queue: self.key, owner: key, number }
        };
        let delivery = Delivery { channel, consumer: 0, source, redelivered, counted: false, message };
        // What the message hid goes as soon as it is the head, before the count is told.
        self.drop_all_expired(now_ms, fx);
        self.set_timer(fx);
        Some(Box::new(Got { delivery, remaining: self.messages() }))
    }

    fn getter(&mut self, conn: ConnKey, channel: ChannelKey) -> OwnerKey {
        let owners = &mut self.owners;
        *self.getters.entry((conn, channel)).or_insert_with(|| {
            let owner = Owner {
                conn,
                channel,
                role: Role::Holder,
                delivered: 0,
                unacked: Unacked::default(),
                marks: Marks::default(),
            };
            // A queue never has 2^32 owners.
            OwnerKey(owners.insert(owner) as u32)
        })
    }

    // --- messages back ---

    /// Settles deliveries `first..=last` of one owner; numbers settled before are passed over.
    pub(in crate::broker) fn settle(
        &mut self,
        key: OwnerKey,
        numbers: std::ops::RangeInclusive<u64>,
        how: Settlement,
        now_ms: u64,
        fx: &mut Effects,
    ) {
        let Some(owner) = self.owners.get_mut(key.0 as usize) else {
            return;
        };
        let (mut returned, mut rejected) = (Vec::new(), Vec::new());
        let (id, kept) = (self.key.id, self.kept);
        for number in numbers {
            let Some(entry) = owner.unacked.remove(number) else {
                continue;
            };
            match how {
                Settlement::Ack => {
                    self.counters.ack += 1;
                    self.duplicates.remove(&entry.message);
                    if kept.has(&entry.message) {
                        fx.changes.removed(id, entry.seq);
                        fx.given_up
                            .extend(self.stored.remove(level_number(self.ready.level_of(&entry.message)), entry.seq));
                    }
                }
                Settlement::Nack { requeue: true } | Settlement::Reject { requeue: true } => returned.push(entry),
                Settlement::Nack { requeue: false } | Settlement::Reject { requeue: false } => rejected.push(entry),
            }
        }
        if self.active == Some(key) {
            self.choose_active(fx);
        }
        self.take_turn_again(key, fx);
        for entry in rejected {
            self.dead_letter(entry, Death::Rejected, fx);
        }
        if !returned.is_empty() {
            // QQ-4: a nack says nothing of the message, a reject does.
            let is_failure = matches!(how, Settlement::Reject { .. });
            for entry in returned {
                self.put_back(entry, is_failure, now_ms, fx);
            }
            self.after_return(now_ms, fx);
        } else {
            self.dispatch(now_ms, fx);
        }
    }

    /// Back to its place, at once or later (QQ-8), unless it failed once too often (QQ-3).
    fn put_back(&mut self, mut entry: Entry, is_failure: bool, now_ms: u64, fx: &mut Effects) {
        if is_failure {
            entry.failures += 1;
            if self.settings.delivery_limit.is_some_and(|limit| entry.failures > limit) {
                self.dead_letter(entry, Death::DeliveryLimit, fx);
                return;
            }
        }
        if self.keeps(&entry.message) {
            let Entry { seq, deliveries, failures, .. } = entry;
            fx.changes.returned(Back { queue: self.id(), seq, deliveries, failures });
        }
        if let Some(entry) = self.delay(entry, is_failure, now_ms) {
            self.ready.put_back(entry);
        }
    }

    fn after_return(&mut self, now_ms: u64, fx: &mut Effects) {
        // DL-9: what ran out while it was held is dropped now. TL-6: over the limit, the head goes.
        self.dispatch(now_ms, fx);
        self.enforce_length(fx);
    }

    /// A consumer that has credit again stands at the end of the line.
    fn take_turn_again(&mut self, key: OwnerKey, fx: &mut Effects) {
        let is_active = self.is_active(key);
        let Some(owner) = self.owners.get_mut(key.0 as usize) else {
            return;
        };
        match &mut owner.role {
            Role::Consumer { subscription, in_turn } => {
                if !*in_turn && is_active && has_credit(subscription, &owner.unacked) {
                    *in_turn = true;
                    self.turns.join(key, subscription.priority);
                }
            }
            Role::Holder => {
                let is_getter = self.getters.get(&(owner.conn, owner.channel)) == Some(&key);
                if owner.unacked.is_empty() && !is_getter {
                    fx.free(owner.conn, self.id(), key);
                    self.owners.remove(key.0 as usize);
                }
            }
        }
    }

    /// Whose channel an owner is.
    pub(in crate::broker) fn owner_channel(&self, key: OwnerKey) -> Option<ChannelKey> {
        self.owners.get(key.0 as usize).map(|owner| owner.channel)
    }

    /// The connection takes messages again, or a channel-wide limit has room.
    pub(in crate::broker) fn resume(&mut self, key: OwnerKey, now_ms: u64, fx: &mut Effects) {
        self.take_turn_again(key, fx);
        self.dispatch(now_ms, fx);
    }

    // --- consumers ---

    /// Adds a consumer. The messages it gets follow by [`Self::dispatch`], so that consume-ok goes first.
    pub(in crate::broker) fn consume(
        &mut self,
        conn: ConnKey,
        subscription: Subscription,
        now_ms: u64,
        fx: &mut Effects,
    ) -> Result<OwnerKey, Refusal> {
        let is_quorum = self.options().queue_type == QueueType::Quorum;
        if !is_quorum {
            // DL-13, SC-2; quorum queues ignore the exclusive flag.
            let taken = self.consumers.iter().any(|key| self.is_exclusive_consumer(*key));
            let wants_alone =
                subscription.exclusive && (!self.consumers.is_empty() || self.options().single_active_consumer);
            if taken || wants_alone {
                return Err(Refusal::ExclusiveUse(self.handle.named()));
            }
        }
        self.used_ms = now_ms;
        let channel = subscription.channel;
        let owner = Owner {
            conn,
            channel,
            role: Role::Consumer { subscription, in_turn: false },
            delivered: 0,
            unacked: Unacked::default(),
            marks: Marks::default(),
        };
        // A queue never has 2^32 owners.
        let key = OwnerKey(self.owners.insert(owner) as u32);
        self.consumers.push(key);
        self.choose_active(fx);
        self.take_turn_again(key, fx);
        Ok(key)
    }

    fn is_exclusive_consumer(&self, key: OwnerKey) -> bool {
        matches!(
            self.owners.get(key.0 as usize),
            Some(Owner { role: Role::Consumer { subscription: Subscription { exclusive: true, .. }, .. }, .. })
        )
    }

    /// basic.cancel: no more deliveries; what is unacked stays with the channel (M-19).
    pub(in crate::broker) fn cancel(&mut self, key: OwnerKey, now_ms: u64, fx: &mut Effects) {
        self.remove_consumer(key, now_ms, fx);
        self.take_turn_again(key, fx);
        self.dispatch(now_ms, fx);
    }

    fn remove_consumer(&mut self, key: OwnerKey, now_ms: u64, fx: &mut Effects) {
        let Some(at) = self.consumers.iter().position(|consumer| *consumer == key) else {
            return;
        };
        self.consumers.remove(at);
        self.turns.leave(key);
        if let Some(owner) = self.owners.get_mut(key.0 as usize) {
            owner.role = Role::Holder;
        }
        if self.consumers.is_empty() {
            self.used_ms = now_ms;
            // QU-3: an auto-delete queue goes with its last consumer.
            if self.options().auto_delete {
                fx.doom(self.id());
            }
        }
        if self.active == Some(key) {
            // SC-1: the next in line takes over.
            self.active = None;
        }
        self.choose_active(fx);
        if let Some(active) = self.active {
            // The one it was to hand over to may just have gone.
            self.take_turn_again(active, fx);
        }
    }

    /// The channel or connection of an owner is gone: its unacked messages return to their places (DL-3).
    pub(in crate::broker) fn owner_gone(&mut self, key: OwnerKey, now_ms: u64, fx: &mut Effects) {
        self.remove_consumer(key, now_ms, fx);
        let Some(mut owner) = self.owners.try_remove(key.0 as usize) else {
            return;
        };
        fx.free(owner.conn, self.id(), key);
        if self.getters.get(&(owner.conn, owner.channel)) == Some(&key) {
            self.getters.remove(&(owner.conn, owner.channel));
        }
        for entry in owner.unacked.drain() {
            self.put_back(entry, true, now_ms, fx);
        }
    }

    /// Looks after what [`Self::owner_gone`] returned, once all owners that go together are gone: otherwise a
    /// message would travel from one consumer of a dying connection to the next.
    pub(in crate::broker) fn owners_gone(&mut self, now_ms: u64, fx: &mut Effects) {
        self.after_return(now_ms, fx);
    }

    // --- the queue itself ---

    /// Arguments and policies come to something else now. Messages that are there follow: a lower limit drops at once
    /// (PO-7); what they were given when they came, their time to live, they keep.
    pub(in crate::broker) fn change_settings(&mut self, settings: QueueSettings, now_ms: u64, fx: &mut Effects) {
        // As in RabbitMQ a new x-expires runs from now on.
        if self.settings.expires_ms != settings.expires_ms {
            self.used_ms = now_ms;
        }
        self.letters_change(&settings, now_ms, fx);
        self.settings = settings;
        self.dispatch(now_ms, fx);
        self.enforce_length(fx);
    }

    /// A client declared it again: x-expires starts anew (QU-4; quorum queues do not renew).
    pub(in crate::broker) fn declared(&mut self, now_ms: u64, fx: &mut Effects) {
        if self.options().queue_type != QueueType::Quorum {
            self.used_ms = now_ms;
        }
        self.set_timer(fx);
    }

    /// Removes the ready messages; they are not dead-lettered (DX-1). Gives their number.
    pub(in crate::broker) fn purge(&mut self, fx: &mut Effects) -> u32 {
        self.drop_all(fx).saturating_add(self.drop_aside(fx))
    }

    /// queue.delete's conditions (EH-14, EC-23).
    pub(in crate::broker) fn check_deletable(&self, if_unused: bool, if_empty: bool) -> Result<(), Refusal> {
        if self.options().queue_type == QueueType::Quorum {
            let flag = match (if_unused, if_empty) {
                (true, _) => "if-unused",
                (_, true) => "if-empty",
                _ => return Ok(()),
            };
            return Err(Refusal::QuorumConditionalDelete { queue: self.handle.named(), flag });
        }
        if if_empty && !self.ready.is_empty() {
            return Err(Refusal::NotEmpty(self.handle.named()));
        }
        if if_unused && !self.consumers.is_empty() {
            return Err(Refusal::InUse(self.handle.named()));
        }
        Ok(())
    }

    /// The queue is deleted: tells its consumers.
    pub(in crate::broker) fn deleted(&mut self, fx: &mut Effects) {
        for (index, owner) in &self.owners {
            fx.free(owner.conn, self.id(), OwnerKey(index as u32));
        }
        fx.given_up.extend(self.pages());
        for key in &self.consumers {
            if let Some(Owner { conn, channel, role: Role::Consumer { subscription, .. }, .. }) =
                self.owners.get(key.0 as usize)
            {
                fx.cancelled(*conn, *channel, subscription.consumer);
            }
        }
    }
}

/// A kept message is delivered, to be acked. Where they leave in order one number says it of all before.
#[inline]
fn note_delivery(queue: QueueId, entry: &Entry, in_order: bool, delivered_before: &mut u64, fx: &mut Effects) {
    let Entry { seq, deliveries, failures, .. } = *entry;
    if in_order {
        fx.changes.delivered(queue, seq);
        *delivered_before = (*delivered_before).max(seq + 1);
    } else {
        fx.changes.returned(Back { queue, seq, deliveries: deliveries + 1, failures });
    }
}

fn has_credit(subscription: &Subscription, unacked: &Unacked) -> bool {
    subscription.no_ack || subscription.prefetch == 0 || unacked.len() < usize::from(subscription.prefetch)
}

#[cfg(test)]
mod tests;
