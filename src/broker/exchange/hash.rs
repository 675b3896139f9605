//! `x-consistent-hash` and `x-modulus-hash`: one destination for a message, always the same for the same key.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use crate::hashing::Hashing;
use smallvec::SmallVec;

use super::slab::Slab;
use super::targets::Targets;
use super::value::Comparand;
use super::{BindingError, BindingId, Routable, Router};
use crate::wire::{Table, erlang_binary};

/// The largest weight, as in RabbitMQ 4.
const WEIGHT_MAX: u32 = 10_000;

/// What is hashed of a message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HashInput {
    /// Its routing key.
    #[default]
    RoutingKey,
    /// The header of this name; all messages without it hash alike.
    Header(Box<[u8]>),
    /// The property `message_id`.
    MessageId,
    /// The property `correlation_id`.
    CorrelationId,
    /// The property `timestamp`.
    Timestamp,
}

impl HashInput {
    fn hash(&self, message: &Routable<'_>) -> u64 {
        let mut hasher = Stable::default();
        let properties = message.properties;
        match self {
            Self::RoutingKey => hasher.write(message.keys.first().unwrap_or(&"").as_bytes()),
            Self::Header(name) => {
                let value = properties.headers.and_then(|headers| headers.get(name));
                value.as_ref().and_then(Comparand::of_raw).hash(&mut hasher);
            }
            Self::MessageId => properties.message_id.hash(&mut hasher),
            Self::CorrelationId => properties.correlation_id.hash(&mut hasher),
            Self::Timestamp => properties.timestamp.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// A hash that is the same in every process, so that a key keeps its queue over a restart.
pub(in crate::broker) fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hasher = Stable::default();
    hasher.write(bytes);
    hasher.finish()
}

/// FNV-1a, with its weak low bits mixed at the end.
struct Stable(u64);

impl Default for Stable {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut hash = self.0;
        for multiplier in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(multiplier);
        }
        hash ^ (hash >> 33)
    }
}

/// The bucket of a key: Lamping and Veach's jump consistent hash. With one bucket more, only the keys of the new bucket
/// move, taken evenly from all others.
fn jump(mut key: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0, 0u64);
    while next < u64::from(buckets) {
        bucket = next as u32;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((next + 1) as f64 * ((1u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    bucket
}

/// `x-consistent-hash`.
///
/// Each destination has as many buckets as its weight says, and a key belongs to a bucket. New buckets come at the
/// end; those that go are filled from the end. So a change moves few keys, those of the buckets concerned.
#[derive(Debug)]
pub(super) struct ConsistentHash<D> {
    input: HashInput,
    members: Slab<Member<D>>,
    /// For each bucket its member, and its place among the member's buckets.
    buckets: Vec<(u32, u32)>,
    by_destination: HashMap<D, u32, Hashing>,
    by_binding: HashMap<BindingId, u32, Hashing>,
}

#[derive(Debug)]
struct Member<D> {
    destination: D,
    /// With their weights. Only the first counts: a second binding to a destination adds nothing (XT-6).
    bindings: SmallVec<[(BindingId, u32); 1]>,
    buckets: Vec<u32>,
}

impl<D: Clone + Eq + Hash> ConsistentHash<D> {
    pub(super) fn new(input: HashInput) -> Self {
        Self {
            input,
            members: Slab::new(),
            buckets: Vec::new(),
            by_destination: HashMap::default(),
            by_binding: HashMap::default(),
        }
    }

    /// Gives a member as many buckets as its first binding says.
    fn set_weight(&mut self, number: u32) {
        let Some(member) = self.members.get_mut(number) else { return };
        let weight = member.bindings.first().map_or(0, |(_, weight)| *weight);
        while (member.buckets.len() as u64) < u64::from(weight) {
            // Bindings would need more memory than a node has to make 2^32 buckets.
            self.buckets.push((number, member.buckets.len() as u32));
            member.buckets.push(self.buckets.len() as u32 - 1);
        }
        while self.members.get(number).is_some_and(|member| member.buckets.len() as u64 > u64::from(weight)) {
            self.remove_bucket(number);
        }
    }

    fn remove_bucket(&mut self, number: u32) {
        let Some(bucket) = self.members.get_mut(number).and_then(|member| member.buckets.pop()) else { return };
        let Some((owner, place)) = self.buckets.pop() else { return };
        if bucket as usize == self.buckets.len() {
            return;
        }
        self.buckets[bucket as usize] = (owner, place);
        if let Some(owner) = self.members.get_mut(owner) {
            owner.buckets[place as usize] = bucket;
        }
    }
}

impl<D: Clone + Eq + Hash> Router<D> for ConsistentHash<D> {
    fn check(&self, key: &str, _arguments: &Table) -> Result<(), BindingError> {
        weight(key).map(drop)
    }

    fn add(&mut self, id: BindingId, key: &str, _arguments: &Table, destination: D) {
        let members = &mut self.members;
        let number = *self.by_destination.entry(destination).or_insert_with_key(|destination| {
            members.insert(Member { destination: destination.clone(), bindings: SmallVec::new(), buckets: Vec::new() })
        });
        if let Some(member) = self.members.get_mut(number) {
            member.bindings.push((id, weight(key).unwrap_or(1)));
        }
        self.by_binding.insert(id, number);
        self.set_weight(number);
    }

    fn remove(&mut self, id: BindingId, _key: &str, _arguments: &Table) {
        let Some(number) = self.by_binding.remove(&id) else { return };
        let Some(member) = self.members.get_mut(number) else { return };
        member.bindings.retain(|(binding, _)| *binding != id);
        let is_last = member.bindings.is_empty();
        self.set_weight(number);
        if is_last && let Some(member) = self.members.remove(number) {
            self.by_destination.remove(&member.destination);
        }
    }

    fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        let Ok(buckets @ 1..) = u32::try_from(self.buckets.len()) else { return };
        let (member, _) = self.buckets[jump(self.input.hash(message), buckets) as usize];
        if let Some(member) = self.members.get(member) {
            found(&member.destination);
        }
    }

    fn routes_by_key_alone(&self) -> bool {
        self.input == HashInput::RoutingKey
    }

    fn is_empty(&self) -> bool {
        self.members.len() == 0 && self.buckets.is_empty() && self.by_destination.is_empty()
    }
}

/// A weight as Erlang reads an integer: a sign may stand before the digits.
fn weight(key: &str) -> Result<u32, BindingError> {
    let digits = key.strip_prefix(['+', '-']).unwrap_or(key);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BindingError::WeightType(erlang_binary(key.as_bytes())));
    }
    // More digits than fit are a large number all the same.
    match digits.parse().unwrap_or(u32::MAX) {
        0 => Err(BindingError::WeightTooSmall),
        _ if key.starts_with('-') => Err(BindingError::WeightTooSmall),
        weight if weight > WEIGHT_MAX => Err(BindingError::WeightTooLarge(WEIGHT_MAX)),
        weight => Ok(weight),
    }
}

/// `x-modulus-hash`: all bindings count, whatever their keys, and any change of them moves most keys.
#[derive(Debug)]
pub(super) struct ModulusHash<D> {
    targets: Targets<D>,
}

impl<D> Default for ModulusHash<D> {
    fn default() -> Self {
        Self { targets: Targets::default() }
    }
}

impl<D> Router<D> for ModulusHash<D> {
    fn add(&mut self, id: BindingId, _key: &str, _arguments: &Table, destination: D) {
        self.targets.add(id, destination);
    }

    fn remove(&mut self, id: BindingId, _key: &str, _arguments: &Table) {
        self.targets.remove(id);
    }

    fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        if self.targets.is_empty() {
            return;
        }
        let mut hasher = Stable::default();
        for key in message.keys {
            hasher.write(key.as_bytes());
            // No text has this octet, so that it parts one key from the next.
            hasher.write_u8(0xff);
        }
        let place = hasher.finish() % self.targets.len() as u64;
        if let Some(destination) = self.targets.get(place as usize) {
            found(destination);
        }
    }

    fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}
