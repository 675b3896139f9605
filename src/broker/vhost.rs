//! A virtual host: its exchanges, its queues' handles, and the bindings between them. Changes go one at a time
//! behind one lock; readers look up handles in concurrent maps and never wait for a change elsewhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use thiserror::Error;

use super::dedup::Seen;
use super::event::{QueueId, QueueKey};
use super::events::{Events, INTERNAL};
use super::exchange::{Bindings, ExchangeType};
use super::exchange_options::{DELAYED_TYPE, ExchangeOptions};
use super::keeper::Keeper;
use super::mailbox::ConnectionId;
use super::message::Message;
use super::parameter::Parameters;
use super::policy::{InForce, Policies};
use super::queue::{QueueOptions, QueueSettings, QueueType, check_same_argument, check_same_flag};
use super::recent_history::RecentHistory;
use super::refusal::{Named, Refusal};
use super::traffic::{Passed, VhostTraffic};
use crate::hashing::Hashing;
use crate::wire::{Table, Value};

/// A queue as everybody but its lane sees it.
#[derive(Debug)]
pub struct QueueHandle {
    /// Which queue, in which lane.
    pub key: QueueKey,
    /// Its name.
    pub name: Arc<str>,
    /// Its vhost's name.
    pub vhost: Arc<str>,
    /// As declared.
    pub options: Arc<QueueOptions>,
    /// The user who declared it.
    pub declared_by: Arc<str>,
    /// False once it is deleted: routes that still name it are stale.
    alive: AtomicBool,
    /// Names of exchanges that have bindings to it, so that deleting it need not look at all exchanges.
    bound_from: Mutex<Vec<Arc<str>>>,
    /// Its policies.
    in_force: ArcSwap<InForce>,
}

impl QueueHandle {
    pub(super) fn new(
        key: QueueKey,
        name: Arc<str>,
        vhost: Arc<str>,
        options: Arc<QueueOptions>,
        declared_by: Arc<str>,
        in_force: InForce,
    ) -> Self {
        let in_force = ArcSwap::from_pointee(in_force);
        let (alive, bound_from) = (AtomicBool::new(true), Mutex::default());
        Self { key, name, vhost, options, declared_by, alive, bound_from, in_force }
    }

    /// The policies that apply to it.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    pub(super) fn put_in_force(&self, in_force: InForce) {
        self.in_force.store(Arc::new(in_force));
    }

    /// What its arguments and policies come to.
    pub fn settings(&self) -> QueueSettings {
        self.in_force.load().settings(&self.options)
    }

    pub(super) fn named(&self) -> Named {
        Named::queue(&self.name, &self.vhost)
    }

    pub(super) fn not_found(&self) -> Refusal {
        Refusal::NotFound(self.named())
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// EH-5: the queue belongs to another connection.
    pub(super) fn is_locked_for(&self, connection: ConnectionId) -> bool {
        self.options.exclusive.is_some_and(|owner| owner != connection)
    }
}

/// Where a binding leads.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A queue.
    Queue(Arc<QueueHandle>),
    /// Another exchange, by name.
    Exchange(Arc<str>),
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Queue(a), Self::Queue(b)) => a.key == b.key,
            (Self::Exchange(a), Self::Exchange(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Destination {}

impl Hash for Destination {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Queue(queue) => queue.key.hash(state),
            Self::Exchange(name) => name.hash(state),
        }
    }
}

/// An exchange.
#[derive(Debug)]
pub struct Exchange {
    /// Its name; empty for the default exchange.
    pub name: Arc<str>,
    /// How it routes.
    pub kind: ExchangeType,
    /// Survives a restart.
    pub durable: bool,
    /// Goes with its last binding as a source.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// As declared.
    pub arguments: Table,
    /// Its policy.
    in_force: ArcSwap<InForce>,
    /// Where messages go that it routes nowhere.
    alternate: ArcSwap<Option<Arc<str>>>,
    /// What its arguments mean to its type.
    pub(super) options: ExchangeOptions,
    /// Its bindings as a source.
    pub(super) bindings: RwLock<Bindings<Destination>>,
    bound_from: Mutex<Vec<Arc<str>>>,
    /// False once it is deleted: what is held for it is dropped.
    alive: AtomicBool,
    /// XT-9: its last messages.
    pub(super) history: Option<Mutex<RecentHistory>>,
    /// XT-11: the ids it has routed.
    pub(super) seen: Option<Mutex<Seen>>,
    /// What it remembers and holds back is in the log under this number.
    pub(super) number: Option<QueueId>,
    /// XT-10: how many it holds back.
    pub(super) messages_delayed: AtomicU64,
    pub(super) passed: Arc<Passed>,
}

/// What an exchange is declared as.
pub(super) struct ExchangeDefinition<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ExchangeType,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) arguments: Table,
    /// That of a former life.
    pub(super) number: Option<QueueId>,
}

impl Exchange {
    fn new(definition: ExchangeDefinition<'_>, in_force: InForce, keeper: &Keeper) -> Result<Self, Refusal> {
        let options = ExchangeOptions::parse(definition.kind, &definition.arguments)?;
        let is_numbered = definition.durable && (options.delays || options.cache.is_some_and(|cache| cache.is_kept));
        let exchange = Self {
            name: definition.name.into(),
            kind: definition.kind,
            durable: definition.durable,
            auto_delete: definition.auto_delete,
            internal: definition.internal,
            arguments: definition.arguments,
            in_force: ArcSwap::default(),
            alternate: ArcSwap::default(),
            bindings: RwLock::new(Bindings::hashing(options.routes_as, options.hash_input.clone())),
            bound_from: Mutex::default(),
            alive: AtomicBool::new(true),
            history: options.history_length.map(|length| Mutex::new(RecentHistory::new(length))),
            seen: options.cache.map(|cache| Mutex::new(Seen::new(cache.size_max, cache.ttl_ms))),
            number: is_numbered.then(|| definition.number.unwrap_or_else(|| keeper.number())),
            messages_delayed: AtomicU64::new(0),
            passed: Arc::default(),
            options,
        };
        exchange.put_in_force(in_force);
        Ok(exchange)
    }

    /// Messages it holds back until their delay is over.
    pub fn messages_delayed(&self) -> u64 {
        self.messages_delayed.load(Ordering::Relaxed)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Keeps a message that was routed for queues that are bound later.
    pub(super) fn remember(&self, message: &Message) {
        if let Some(history) = &self.history {
            history.lock().unwrap_or_else(PoisonError::into_inner).add(message.clone());
        }
    }

    /// The policy that applies to it.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    fn put_in_force(&self, in_force: InForce) {
        // The argument wins over the policy. The default exchange as an alternate routes nothing, in RabbitMQ too, and
        // has none itself.
        let alternate = match self.arguments.get(ALTERNATE_EXCHANGE).and_then(Value::as_str) {
            _ if self.name.is_empty() => None,
            Some(name) => Some(Arc::from(name)).filter(|name: &Arc<str>| !name.is_empty()),
            None => in_force.alternate(),
        };
        self.alternate.store(Arc::new(alternate));
        self.in_force.store(Arc::new(in_force));
    }

    /// Calls `found` for each binding with this exchange as its source; `found` must not ask for bindings itself.
    pub fn each_binding(&self, mut found: impl FnMut(&str, &Table, &Destination)) {
        for (key, arguments, destination) in self.bindings.read().unwrap_or_else(PoisonError::into_inner).iter() {
            found(key, arguments, destination);
        }
    }

    /// Where messages go that it routes nowhere.
    pub fn alternate(&self) -> Option<Arc<str>> {
        Option::clone(&self.alternate.load())
    }

    /// EH-4.
    fn check_equivalent(&self, what: &Named, other: &ExchangeDefinition<'_>) -> Result<(), Refusal> {
        if self.kind != other.kind {
            return Err(Refusal::Inequivalent {
                argument: "type".into(),
                what: what.clone(),
                received: format!("'{}'", other.kind.as_str()),
                current: format!("'{}'", self.kind.as_str()),
            });
        }
        check_same_flag(what, "durable", self.durable, other.durable)?;
        check_same_flag(what, "auto_delete", self.auto_delete, other.auto_delete)?;
        check_same_flag(what, "internal", self.internal, other.internal)?;
        let key = ALTERNATE_EXCHANGE;
        check_same_argument(what, key, self.arguments.get(key), other.arguments.get(key))?;
        if self.options.delays {
            let key = DELAYED_TYPE;
            check_same_argument(what, key, self.arguments.get(key), other.arguments.get(key))?;
        }
        Ok(())
    }
}

/// The argument naming an alternate exchange.
pub(super) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// XT-1, and whether clients may publish to it.
const PREDECLARED: [(&str, ExchangeType, bool); 7] = [
    ("", ExchangeType::Direct, false),
    ("amq.direct", ExchangeType::Direct, false),
    ("amq.fanout", ExchangeType::Fanout, false),
    ("amq.headers", ExchangeType::Headers, false),
    ("amq.match", ExchangeType::Headers, false),
    ("amq.rabbitmq.trace", ExchangeType::Topic, true),
    ("amq.topic", ExchangeType::Topic, false),
];

/// What an operator sets on a vhost.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VhostSettings {
    /// `max-connections`; `None` is without limit.
    pub connections_max: Option<u64>,
    /// `max-queues`; `None` is without limit.
    pub queues_max: Option<u64>,
    /// `default_queue_type`: what a queue is that names no type (QU-6).
    pub default_queue_type: Option<Arc<str>>,
    /// `description`.
    pub description: String,
    /// `tags`.
    pub tags: Vec<String>,
    /// `protected_from_deletion`: an operator has to lift it before the vhost may be deleted.
    pub protected_from_deletion: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Vhost {
    name: Arc<str>,
    settings: RwLock<VhostSettings>,
    exchanges: DashMap<Arc<str>, Arc<Exchange>, Hashing>,
    queues: DashMap<Arc<str>, Arc<QueueHandle>, Hashing>,
    policies: ArcSwap<Policies>,
    parameters: Parameters,
    events: Arc<Events>,
    keeper: Arc<Keeper>,
    /// Copies of what is published and delivered go to `amq.rabbitmq.trace`.
    tracing: AtomicBool,
    /// Held over a change of policies until all queues and exchanges have it; taken before `changes`.
    policy_changes: Mutex<()>,
    /// Held over each change of exchanges, queues and bindings. Nothing waits for a lane under it.
    changes: Mutex<()>,
    /// Moves when a route computed before may be wrong.
    version: AtomicU64,
    /// Deleted: nothing is declared here any more.
    closed: AtomicBool,
    pub(super) traffic: VhostTraffic,
    /// The default exchange's.
    pub(super) default_passed: Arc<Passed>,
}

impl Vhost {
    pub(super) fn new(name: &str, events: Arc<Events>, keeper: Arc<Keeper>) -> Self {
        let (exchanges, mut default_passed) = (DashMap::default(), Arc::default());
        for (exchange, kind, internal) in PREDECLARED {
            let definition = ExchangeDefinition {
                name: exchange,
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: Table::default(),
                number: None,
            };
            // These need no arguments.
            if let Ok(made) = Exchange::new(definition, InForce::default(), &keeper) {
                if made.name.is_empty() {
                    default_passed = made.passed.clone();
                }
                exchanges.insert(Arc::from(exchange), Arc::new(made));
            }
        }
        Self {
            name: name.into(),
            settings: RwLock::default(),
            exchanges,
            queues: DashMap::default(),
            policies: ArcSwap::default(),
            parameters: Parameters::default(),
            events,
            keeper,
            tracing: AtomicBool::new(false),
            policy_changes: Mutex::new(()),
            changes: Mutex::new(()),
            version: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            traffic: VhostTraffic::default(),
            default_passed,
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Whether the firehose is on (EV-2).
    pub fn is_tracing(&self) -> bool {
        self.tracing.load(Ordering::Relaxed)
    }

    /// Switches the firehose: copies of what is published and delivered here go to `amq.rabbitmq.trace`.
    pub fn set_tracing(&self, on: bool) {
        self.tracing.store(on, Ordering::Relaxed);
        self.keeper.system_changed();
    }

    /// What the operator set.
    pub fn settings(&self) -> VhostSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it anew; what exists beyond a lower limit stays.
    pub fn change_settings(&self, change: impl FnOnce(&mut VhostSettings)) {
        change(&mut self.settings.write().unwrap_or_else(PoisonError::into_inner));
        self.keeper.system_changed();
    }

    /// Moves when a route computed before may be wrong.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    // --- policies ---

    /// One change of policies at a time.
    pub(super) fn policy_changes(&self) -> MutexGuard<'_, ()> {
        self.policy_changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policies as they are; whoever declares asks under the lock of changes.
    pub(super) fn policies_now(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Every declare that read the policies before has what it declared in the maps when this returns.
    pub(super) fn replace_policies(&self, change: impl FnOnce(&mut Policies)) {
        let _change = self.change();
        let mut policies = Policies::clone(&self.policies.load());
        change(&mut policies);
        self.policies.store(Arc::new(policies));
        self.keeper.system_changed();
    }

    /// Gives the exchanges their policies; routes computed before are stale.
    pub(super) fn match_exchanges(&self, policies: &Policies) {
        for exchange in self.exchanges() {
            let in_force = policies.for_exchange(&exchange.name);
            if *exchange.in_force() != in_force {
                exchange.put_in_force(in_force);
            }
        }
        self.changed();
    }

    pub(super) fn queue_named(&self, name: &str) -> Named {
        Named::queue(name, &self.name)
    }

    pub(super) fn exchange_named(&self, name: &str) -> Named {
        Named::exchange(name, &self.name)
    }

    /// Looks an exchange up.
    pub fn exchange(&self, name: &str) -> Option<Arc<Exchange>> {
        self.exchanges.get(name).map(|exchange| exchange.value().clone())
    }

    pub(super) fn require_exchange(&self, name: &str) -> Result<Arc<Exchange>, Refusal> {
        self.exchange(name).ok_or_else(|| Refusal::NotFound(self.exchange_named(name)))
    }

    /// Looks a queue up.
    pub fn queue(&self, name: &str) -> Option<Arc<QueueHandle>> {
        self.queues.get(name).map(|queue| queue.value().clone())
    }

    pub(super) fn queue_key(&self, name: &str) -> Option<QueueKey> {
        self.queues.get(name).map(|queue| queue.key)
    }

    pub(super) fn require_queue(&self, name: &str) -> Result<Arc<QueueHandle>, Refusal> {
        self.queue(name).ok_or_else(|| Refusal::NotFound(self.queue_named(name)))
    }

    /// How many queues there are.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// All queues, in no order.
    pub fn queues(&self) -> Vec<Arc<QueueHandle>> {
        self.queues.iter().map(|queue| queue.value().clone()).collect()
    }

    /// All exchanges, in no order.
    pub fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.exchanges.iter().map(|exchange| exchange.value().clone()).collect()
    }

    // --- exchanges ---

    /// Declares an exchange, or checks that the one that exists is the same.
    pub(super) fn declare_exchange(&self, definition: ExchangeDefinition<'_>, by: &str) -> Result<(), Refusal> {
        let _change = self.change();
        if let Some(existing) = self.exchange(definition.name) {
            return existing.check_equivalent(&self.exchange_named(definition.name), &definition);
        }
        let name: Arc<str> = definition.name.into();
        let in_force = self.policies_now().for_exchange(&name);
        let exchange = Arc::new(Exchange::new(definition, in_force, &self.keeper)?);
        self.exchanges.insert(name, exchange.clone());
        // Another exchange may name this one as its alternate.
        self.changed();
        self.keep_exchange(&exchange);
        self.tell_exchange_created(&exchange, by);
        Ok(())
    }

    /// Adds a durable exchange that clients may only bind to. `None`: something else has the name.
    pub(super) fn add_internal_exchange(&self, name: &str, kind: ExchangeType) -> Option<Arc<Exchange>> {
        let definition = ExchangeDefinition {
            name,
            kind,
            durable: true,
            auto_delete: false,
            internal: true,
            arguments: Table::default(),
            number: None,
        };
        self.declare_exchange(definition, INTERNAL).ok()?;
        self.exchange(name)
    }

    /// Deletes an exchange; one that does not exist is fine (M-10).
    pub(super) fn delete_exchange(&self, name: &str, if_unused: bool, by: &str) -> Result<(), Refusal> {
        let _change = self.change();
        let Some(exchange) = self.exchange(name) else {
            return Ok(());
        };
        if if_unused && !exchange.bindings.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Err(Refusal::InUse(self.exchange_named(name)));
        }
        self.remove_exchange(&exchange, by);
        Ok(())
    }

    fn remove_exchange(&self, exchange: &Arc<Exchange>, by: &str) {
        self.exchanges.remove(&exchange.name);
        exchange.alive.store(false, Ordering::Release);
        // Its destinations need not remember it.
        let gone: Vec<(String, Table, Destination)> = {
            let mut bindings = exchange.bindings.write().unwrap_or_else(PoisonError::into_inner);
            let own = |(key, arguments, destination): (&str, &Table, &Destination)| {
                (key.to_owned(), arguments.clone(), destination.clone())
            };
            let gone = bindings.iter().map(own).collect();
            *bindings = Bindings::hashing(exchange.options.routes_as, exchange.options.hash_input.clone());
            gone
        };
        // Not under the lock: whoever wants to know may be behind this very exchange.
        for (key, arguments, destination) in gone {
            self.forget_source(&destination, &exchange.name);
            self.keep_binding(false, exchange, (&destination, &key, &arguments));
            self.tell_binding(false, &exchange.name, (&destination, &key, &arguments), by);
        }
        let sources = std::mem::take(&mut *exchange.bound_from.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed();
        self.remove_bindings_to(&Destination::Exchange(exchange.name.clone()), sources, by);
        self.forget_exchange(exchange);
        self.tell_exchange_deleted(&exchange.name, by);
    }

    // --- queues ---

    /// Finds the queue, or creates it with `create`, which must make it known to its lane before it returns: the
    /// first operation of anybody who finds the handle comes behind that.
    pub(super) fn find_or_create_queue(
        &self,
        name: &str,
        by: &str,
        create: impl FnOnce() -> Result<Arc<QueueHandle>, Refusal>,
    ) -> Result<(Arc<QueueHandle>, bool), Refusal> {
        if let Some(existing) = self.queue(name) {
            return Ok((existing, false));
        }
        let _change = self.change();
        if let Some(existing) = self.queue(name) {
            return Ok((existing, false));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Refusal::VhostDeleted(self.name.to_string()));
        }
        let handle = create()?;
        self.queues.insert(handle.name.clone(), handle.clone());
        self.tell_queue_created(&handle, by);
        Ok((handle, true))
    }

    /// Takes a deleted queue out, with its bindings. Called by its lane.
    pub(super) fn remove_queue(&self, queue: &Arc<QueueHandle>, by: &str) {
        let _change = self.change();
        queue.alive.store(false, Ordering::Release);
        self.queues.remove_if(&queue.name, |_, current| current.key == queue.key);
        let sources = std::mem::take(&mut *queue.bound_from.lock().unwrap_or_else(PoisonError::into_inner));
        if !sources.is_empty() {
            self.changed();
            self.remove_bindings_to(&Destination::Queue(queue.clone()), sources, by);
        }
        self.forget_queue(queue);
        self.tell_queue_deleted(queue, by);
    }

    /// Ends the vhost; gives its queues, whose lanes are to delete them.
    pub(super) fn close(&self) -> Vec<Arc<QueueHandle>> {
        let _change = self.change();
        self.closed.store(true, Ordering::Release);
        for exchange in &self.exchanges {
            exchange.alive.store(false, Ordering::Release);
            exchange.each_binding(|key, arguments, to| self.keep_binding(false, &exchange, (to, key, arguments)));
            self.forget_exchange(&exchange);
        }
        self.queues()
    }

    // --- bindings ---

    /// Binds; a binding that exists is left as it is. True: it is new.
    pub(super) fn bind(
        &self,
        source: &Arc<Exchange>,
        destination: &Destination,
        key: &str,
        arguments: &Table,
        by: &str,
    ) -> Result<bool, Refusal> {
        let _change = self.change();
        // Looked up before the lock was had: it may have gone since, and another may have its name.
        let current = if source.is_alive() { None } else { Some(self.require_exchange(&source.name)?) };
        let source = current.as_ref().unwrap_or(source);
        match destination {
            Destination::Queue(queue) if !queue.is_alive() => {
                return Err(Refusal::NotFound(self.queue_named(&queue.name)));
            }
            Destination::Exchange(name) => drop(self.require_exchange(name)?),
            Destination::Queue(_) => {}
        }
        let mut bindings = source.bindings.write().unwrap_or_else(PoisonError::into_inner);
        bindings.check(key, arguments).map_err(|error| Refusal::Binding(error.to_string()))?;
        check_local(source, destination)?;
        let is_new = bindings.add(key, arguments, destination.clone());
        if is_new {
            drop(bindings);
            self.remember_source(destination, &source.name);
            self.changed();
            self.keep_binding(true, source, (destination, key, arguments));
            self.tell_binding(true, &source.name, (destination, key, arguments), by);
        }
        Ok(is_new)
    }

    /// Does this binding exist?
    pub(super) fn has_binding(
        &self,
        source: &Exchange,
        destination: &Destination,
        key: &str,
        arguments: &Table,
    ) -> bool {
        source.bindings.read().unwrap_or_else(PoisonError::into_inner).contains(key, arguments, destination)
    }

    /// Unbinds; a binding that does not exist is fine (M-16).
    pub(super) fn unbind(
        &self,
        source: &Arc<Exchange>,
        destination: &Destination,
        key: &str,
        arguments: &Table,
        by: &str,
    ) {
        let _change = self.change();
        let removed =
            source.bindings.write().unwrap_or_else(PoisonError::into_inner).remove(key, arguments, destination);
        if removed {
            self.changed();
            self.keep_binding(false, source, (destination, key, arguments));
            self.tell_binding(false, &source.name, (destination, key, arguments), by);
            self.delete_if_unused(source, by);
        }
    }

    /// RO-9: an auto-delete exchange goes with its last binding as a source.
    fn delete_if_unused(&self, source: &Arc<Exchange>, by: &str) {
        if source.auto_delete && source.bindings.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.remove_exchange(source, by);
        }
    }

    fn remove_bindings_to(&self, destination: &Destination, sources: Vec<Arc<str>>, by: &str) {
        for source in sources {
            let Some(source) = self.exchange(&source) else {
                continue;
            };
            let gone = source.bindings.write().unwrap_or_else(PoisonError::into_inner).remove_destination(destination);
            for (key, arguments) in &gone {
                self.keep_binding(false, &source, (destination, key, arguments));
                self.tell_binding(false, &source.name, (destination, key, arguments), by);
            }
            if !gone.is_empty() {
                self.delete_if_unused(&source, by);
            }
        }
    }

    fn remember_source(&self, destination: &Destination, source: &Arc<str>) {
        self.with_sources(destination, |sources| {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        });
    }

    fn forget_source(&self, destination: &Destination, source: &Arc<str>) {
        self.with_sources(destination, |sources| sources.retain(|name| name != source));
    }

    /// The sources may name an exchange that has no binding left: an unbind does not look whether others remain.
    fn with_sources(&self, destination: &Destination, change: impl FnOnce(&mut Vec<Arc<str>>)) {
        match destination {
            Destination::Queue(queue) => change(&mut queue.bound_from.lock().unwrap_or_else(PoisonError::into_inner)),
            Destination::Exchange(name) => {
                if let Some(exchange) = self.exchange(name) {
                    change(&mut exchange.bound_from.lock().unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }
}

/// XT-7: x-local-random takes queues that live on one node.
fn check_local(source: &Exchange, destination: &Destination) -> Result<(), Refusal> {
    if source.options.routes_as != ExchangeType::LocalRandom {
        return Ok(());
    }
    match destination {
        Destination::Exchange(_) => Err(Refusal::Binding("Destination not found".into())),
        Destination::Queue(queue) if queue.options.queue_type != QueueType::Classic => {
            let kind = queue.options.queue_type.erlang_name();
            Err(Refusal::Binding(format!("Queue type {kind} not valid for this exchange type")))
        }
        Destination::Queue(_) => Ok(()),
    }
}

/// A vhost that cannot be deleted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum DeleteVhostError {
    /// There is none of this name.
    #[error("vhost '{0}' does not exist")]
    Missing(String),
    /// It is [protected from deletion](VhostSettings::protected_from_deletion).
    #[error("vhost '{0}' is protected from deletion")]
    Protected(String),
}

/// Vhosts by name.
#[derive(Debug, Default)]
pub(super) struct Vhosts {
    by_name: Mutex<HashMap<Arc<str>, Arc<Vhost>>>,
}

impl Vhosts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Vhost>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Vhost>> {
        self.lock().get(name).cloned()
    }

    /// Adds a vhost, or gives the one that exists.
    pub(super) fn add(&self, name: &str, events: &Arc<Events>, keeper: &Arc<Keeper>) -> Arc<Vhost> {
        let new = || Arc::new(Vhost::new(name, events.clone(), keeper.clone()));
        self.lock().entry(name.into()).or_insert_with(new).clone()
    }

    /// US-7: a vhost that is protected stays.
    pub(super) fn remove_unprotected(&self, name: &str) -> Result<Arc<Vhost>, DeleteVhostError> {
        match self.lock().entry(name.into()) {
            Entry::Vacant(_) => Err(DeleteVhostError::Missing(name.to_owned())),
            Entry::Occupied(vhost) if vhost.get().settings().protected_from_deletion => {
                Err(DeleteVhostError::Protected(name.to_owned()))
            }
            Entry::Occupied(vhost) => Ok(vhost.remove()),
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Vhost>> {
        self.lock().values().cloned().collect()
    }
}
