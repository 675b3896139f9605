//! What passes between two objects: a channel and an exchange, a channel and a queue, an exchange and a queue. It is counted
//! only if an operator wants it (`management.rates_mode = detailed`), for it costs each message a lookup.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

use super::event::QueueId;
use crate::hashing::Hashing;

/// Partners that are remembered of each of two generations: clients choose how many there are.
const PARTNERS_MAX: usize = 512;

/// A count for each partner that an object has. Those that were quiet for longest are forgotten.
#[derive(Debug)]
pub struct Pairs<K, V> {
    young: HashMap<K, V, Hashing>,
    old: HashMap<K, V, Hashing>,
}

impl<K, V> Default for Pairs<K, V> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<K: Hash + Eq, V: Default> Pairs<K, V> {
    /// The count of a partner, whose name is only made if it is a new one.
    pub fn of<Q: Hash + Eq + ?Sized>(&mut self, partner: &Q, name: impl FnOnce() -> K) -> &mut V
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(partner) {
            if self.young.len() >= PARTNERS_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            let before = self.old.remove(partner).unwrap_or_default();
            self.young.insert(name(), before);
        }
        self.young.get_mut(partner).expect("it is there by now")
    }

    /// All partners that are remembered.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }
}

/// Messages that came into a queue, by the exchange they were published to.
pub(super) type Arrivals = Pairs<Arc<str>, u64>;

/// What a channel published to an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishCounts {
    /// All.
    pub publish: u64,
    /// Those that were confirmed, or refused.
    pub confirmed: u64,
    /// Those that were routed nowhere and returned.
    pub returned: u64,
    /// Those that were routed nowhere and dropped.
    pub dropped: u64,
}

/// A channel and its partners.
#[derive(Clone, Debug, Default)]
pub struct ChannelPairs {
    /// What it published to which exchange.
    pub publishes: Vec<(Arc<str>, PublishCounts)>,
    /// What it got from which queue.
    pub deliveries: Vec<(QueueId, super::Counters)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_are_bounded_and_busy_ones_are_remembered() {
        let mut pairs = Pairs::<Arc<str>, u64>::default();
        for number in 0..10 * PARTNERS_MAX {
            let name = format!("exchange {number}");
            *pairs.of(&*name, || name.as_str().into()) += 1;
            if number % 100 == 0 {
                *pairs.of("busy", || "busy".into()) += 1;
            }
            assert!(pairs.young.len() <= PARTNERS_MAX && pairs.old.len() <= PARTNERS_MAX);
        }
        let busy: Vec<u64> = pairs.iter().filter(|(name, _)| &***name == "busy").map(|(_, count)| *count).collect();
        assert_eq!(busy, [52]);
    }
}
