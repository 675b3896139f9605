//! The routing tables of exchanges: which bindings an exchange has and which of them a message matches.
//!
//! This owns the bindings of one exchange ([`Bindings`]) and, per exchange type, the structure that finds the matching
//! ones without looking at the others. It must never lock, wait or do I/O, and it does not know what a destination is:
//! alternate exchanges, cycles, permissions, durability and "a queue gets one copy" belong to the caller.
//! Start reading at [`Bindings`], then take the file named like the exchange type. To add a type: a file with a
//! [`Router`], a variant of [`ExchangeType`] with its name, and an arm in `each_type!`.

mod direct;
mod fanout;
mod hash;
mod headers;
mod pick;
mod registry;
mod slab;
mod targets;
#[cfg(test)]
mod tests;
mod topic;
mod value;

use std::hash::Hash;

use thiserror::Error;

use crate::wire::{Properties, Table};

use self::direct::Direct;
use self::fanout::Fanout;
use self::hash::{ConsistentHash, ModulusHash};
use self::headers::Headers;
use self::pick::Random;
use self::registry::{Binding, Registry};
use self::topic::Topic;

pub use self::hash::HashInput;
pub(super) use self::hash::stable_hash;
pub(super) use self::value::erlang_term;

/// How an exchange picks the bindings that a message matches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExchangeType {
    /// Routing key and binding key are equal.
    Direct,
    /// All bindings match.
    Fanout,
    /// The binding's arguments are compared with the message's headers.
    Headers,
    /// The binding key is a pattern over the words of the routing key.
    Topic,
    /// One destination by the hash of the routing key, a header or a property; the binding key is its weight.
    ConsistentHash,
    /// As the type named by `x-delayed-type`, but after the time that the message's `x-delay` says. Its own bindings
    /// are those of that type.
    Delayed,
    /// One destination by chance, among those of this node.
    LocalRandom,
    /// All bindings match, unless the message has been here before.
    Deduplication,
    /// One binding by the hash of the routing keys modulo the number of bindings.
    ModulusHash,
    /// One binding by chance.
    Random,
    /// All bindings match, and a queue that is bound gets the last messages.
    RecentHistory,
}

impl ExchangeType {
    /// All types, in the order in which they are listed to clients.
    pub const ALL: [Self; 11] = [
        Self::Direct,
        Self::Fanout,
        Self::Headers,
        Self::Topic,
        Self::ConsistentHash,
        Self::Delayed,
        Self::LocalRandom,
        Self::Deduplication,
        Self::ModulusHash,
        Self::Random,
        Self::RecentHistory,
    ];

    /// The type that a client calls by this name in exchange.declare.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name that clients know this type by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
            Self::Topic => "topic",
            Self::ConsistentHash => "x-consistent-hash",
            Self::Delayed => "x-delayed-message",
            Self::LocalRandom => "x-local-random",
            Self::Deduplication => "x-message-deduplication",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::RecentHistory => "x-recent-history",
        }
    }
}

/// What an exchange may look at of a message.
#[derive(Clone, Copy, Debug)]
pub struct Routable<'a> {
    /// Its routing key, then those from CC and BCC.
    pub keys: &'a [&'a str],
    /// Its properties, with the headers among them.
    pub properties: &'a Properties<'a>,
}

/// Why an exchange refuses a binding: a channel error 406 PRECONDITION_FAILED whose text is this one's `Display`.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BindingError {
    /// `x-match` of a headers binding is a string, but not one of the four words.
    #[error("Invalid x-match field value {value}; expected all, any, all-with-x, or any-with-x")]
    MatchValue {
        /// The value as RabbitMQ prints it: `<<"foo">>`.
        value: String,
    },
    /// `x-match` of a headers binding is not a string.
    #[error("Invalid x-match field type {kind} (value {value}); expected longstr")]
    MatchType {
        /// RabbitMQ's name of the field type.
        kind: &'static str,
        /// The value as RabbitMQ prints it.
        value: String,
    },
    /// A weight that is no number.
    #[error("The binding key must be an integer: {0}")]
    WeightType(String),
    /// A weight of nothing.
    #[error("The binding key must be greater than 0")]
    WeightTooSmall,
    /// A weight above the largest.
    #[error("The binding key must not exceed {0}")]
    WeightTooLarge(u32),
    /// x-local-random takes no keys.
    #[error("Non empty binding '{0}' key not permitted")]
    KeyNotEmpty(String),
}

/// The bindings of one exchange. `D` is where a message goes: a cheap handle of a queue or of an exchange.
///
/// A binding is told from others by its key, its arguments and its destination together; the order of the arguments
/// does not matter.
#[derive(Debug)]
pub struct Bindings<D> {
    kind: ExchangeType,
    hash_input: HashInput,
    registry: Registry<D>,
    routes: Routes<D>,
}

impl<D: Clone + Eq + Hash> Bindings<D> {
    /// No bindings yet.
    pub fn new(kind: ExchangeType) -> Self {
        Self::hashing(kind, HashInput::RoutingKey)
    }

    /// No bindings yet, of an exchange that hashes something else than the routing key, if it hashes at all.
    pub fn hashing(kind: ExchangeType, hash_input: HashInput) -> Self {
        Self { kind, registry: Registry::new(), routes: Routes::new(kind, &hash_input), hash_input }
    }

    /// The exchange's type.
    pub fn kind(&self) -> ExchangeType {
        self.kind
    }

    /// Whether this type of exchange takes such a binding. To be asked before `add`, which does not ask again.
    ///
    /// # Errors
    /// What is wrong with the key or the arguments.
    pub fn check(&self, key: &str, arguments: &Table) -> Result<(), BindingError> {
        each_type!(&self.routes, router => router.check(key, arguments))
    }

    /// Adds a binding. `false` if there is such a binding already; then nothing changes.
    pub fn add(&mut self, key: &str, arguments: &Table, destination: D) -> bool {
        let arguments = value::sorted(arguments);
        let hash = self.registry.hash(key, &arguments, &destination);
        if self.registry.find(hash, key, &arguments, &destination).is_some() {
            return false;
        }
        let id = self.registry.insert(hash, key, arguments.clone(), destination.clone());
        each_type!(&mut self.routes, router => router.add(id, key, &arguments, destination));
        true
    }

    /// Removes the binding with exactly this key, these arguments and this destination. `false` if there is none.
    pub fn remove(&mut self, key: &str, arguments: &Table, destination: &D) -> bool {
        self.find(key, arguments, destination).is_some_and(|id| self.remove_id(id).is_some())
    }

    /// Removes all bindings that lead to `destination` and returns their keys and arguments. The cost depends on their
    /// number only, not on how many other bindings the exchange has.
    pub fn remove_destination(&mut self, destination: &D) -> Vec<(Box<str>, Table)> {
        let mut removed = Vec::new();
        while let Some(id) = self.registry.last_to(destination) {
            removed.extend(self.remove_id(id));
        }
        removed
    }

    /// Whether there is a binding with exactly this key, these arguments and this destination.
    pub fn contains(&self, key: &str, arguments: &Table, destination: &D) -> bool {
        self.find(key, arguments, destination).is_some()
    }

    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.registry.len()
    }

    /// Whether there is no binding.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bindings, in no particular order: key, arguments sorted by name, destination.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Table, &D)> {
        let bindings = self.registry.iter();
        bindings.map(|binding| (&*binding.key, &binding.arguments, &binding.destination))
    }

    /// Calls `found` for the destination of each binding that a message matches. A destination is reported once or
    /// several times if several of its bindings match.
    pub fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        each_type!(&self.routes, router => router.route(message, found));
    }

    /// Whether `route` looks at nothing but the routing key. Then its result may be remembered by routing key for as
    /// long as no binding comes or goes.
    pub fn routes_by_key_alone(&self) -> bool {
        each_type!(&self.routes, router => router.routes_by_key_alone())
    }

    fn find(&self, key: &str, arguments: &Table, destination: &D) -> Option<BindingId> {
        let arguments = value::sorted(arguments);
        let hash = self.registry.hash(key, &arguments, destination);
        self.registry.find(hash, key, &arguments, destination)
    }

    fn remove_id(&mut self, id: BindingId) -> Option<(Box<str>, Table)> {
        let Binding { key, arguments, .. } = self.registry.remove(id)?;
        each_type!(&mut self.routes, router => router.remove(id, &key, &arguments));
        if self.registry.len() == 0 {
            debug_assert!(each_type!(&self.routes, router => router.is_empty()));
            // Gives back the memory of the tables.
            *self = Self::hashing(self.kind, self.hash_input.clone());
        }
        Some((key, arguments))
    }
}

/// The number of a binding within its exchange. Reused after the binding has gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct BindingId(u32);

/// What an exchange type does. [`Bindings`] sees to it that a binding is added once, and removed once with the same id,
/// key and arguments that it was added with.
trait Router<D> {
    fn check(&self, _key: &str, _arguments: &Table) -> Result<(), BindingError> {
        Ok(())
    }

    fn add(&mut self, id: BindingId, key: &str, arguments: &Table, destination: D);

    fn remove(&mut self, id: BindingId, key: &str, arguments: &Table);

    fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D));

    fn routes_by_key_alone(&self) -> bool {
        true
    }

    /// Whether nothing of any binding is left.
    fn is_empty(&self) -> bool;
}

#[derive(Debug)]
enum Routes<D> {
    Direct(Direct<D>),
    Fanout(Fanout<D>),
    Topic(Topic<D>),
    Headers(Headers<D>),
    ConsistentHash(ConsistentHash<D>),
    ModulusHash(ModulusHash<D>),
    Random(Random<D>),
}

impl<D: Clone + Eq + Hash> Routes<D> {
    fn new(kind: ExchangeType, hash_input: &HashInput) -> Self {
        match kind {
            ExchangeType::Direct => Self::Direct(Direct::default()),
            ExchangeType::Topic => Self::Topic(Topic::default()),
            ExchangeType::Headers => Self::Headers(Headers::default()),
            ExchangeType::ConsistentHash => Self::ConsistentHash(ConsistentHash::new(hash_input.clone())),
            ExchangeType::ModulusHash => Self::ModulusHash(ModulusHash::default()),
            ExchangeType::Random => Self::Random(Random::new(false)),
            ExchangeType::LocalRandom => Self::Random(Random::new(true)),
            // What these do beyond is done where messages and time are known.
            ExchangeType::Fanout
            | ExchangeType::Deduplication
            | ExchangeType::RecentHistory
            | ExchangeType::Delayed => Self::Fanout(Fanout::default()),
        }
    }
}

/// `each_type!(routes, router => expression)`: the expression with the router of whatever type the exchange has.
macro_rules! each_type {
    ($routes:expr, $router:ident => $then:expr) => {
        match $routes {
            Routes::Direct($router) => $then,
            Routes::Fanout($router) => $then,
            Routes::Topic($router) => $then,
            Routes::Headers($router) => $then,
            Routes::ConsistentHash($router) => $then,
            Routes::ModulusHash($router) => $then,
            Routes::Random($router) => $then,
        }
    };
}
use each_type;
