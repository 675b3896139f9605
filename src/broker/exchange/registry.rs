//! All bindings of one exchange, for listing, for recognising one that exists already, and for finding those that
//! lead to one destination.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::hashing::Hashing;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::BindingId;
use super::slab::Slab;
use super::value;
use crate::wire::Table;

#[derive(Debug)]
pub(super) struct Registry<D> {
    bindings: Slab<Stored<D>>,
    /// The bindings by key, arguments and destination.
    identities: HashTable<BindingId>,
    destinations: HashMap<D, SmallVec<[BindingId; 2]>, Hashing>,
    hasher: Hashing,
}

/// One binding: what a client bound.
#[derive(Debug)]
pub(super) struct Binding<D> {
    pub(super) key: Box<str>,
    /// Sorted by name, as RabbitMQ keeps them.
    pub(super) arguments: Table,
    pub(super) destination: D,
}

#[derive(Debug)]
struct Stored<D> {
    binding: Binding<D>,
    /// Of key, arguments and destination.
    hash: u64,
    /// Where this binding is in the list of its destination.
    place: u32,
}

impl<D: Clone + Eq + Hash> Registry<D> {
    pub(super) fn new() -> Self {
        Self {
            bindings: Slab::new(),
            identities: HashTable::new(),
            destinations: HashMap::default(),
            hasher: Hashing::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding<D>> {
        self.bindings.iter().map(|stored| &stored.binding)
    }

    /// `arguments` sorted, here and below; `hash` is that of all three.
    pub(super) fn find(&self, hash: u64, key: &str, arguments: &Table, destination: &D) -> Option<BindingId> {
        let same = |id: &BindingId| {
            self.bindings.get(id.0).is_some_and(|stored| {
                stored.hash == hash
                    && *stored.binding.key == *key
                    && stored.binding.destination == *destination
                    && value::same_arguments(&stored.binding.arguments, arguments)
            })
        };
        self.identities.find(hash, same).copied()
    }

    /// Stores a binding that `find` did not find.
    pub(super) fn insert(&mut self, hash: u64, key: &str, arguments: Table, destination: D) -> BindingId {
        let list = self.destinations.entry(destination.clone()).or_default();
        let id = BindingId(self.bindings.insert(Stored {
            binding: Binding { key: key.into(), arguments, destination },
            hash,
            place: place(list.len()),
        }));
        list.push(id);
        let bindings = &self.bindings;
        self.identities.insert_unique(hash, id, |id| bindings.get(id.0).map_or(0, |stored| stored.hash));
        id
    }

    pub(super) fn remove(&mut self, id: BindingId) -> Option<Binding<D>> {
        let Stored { binding, hash, place } = self.bindings.remove(id.0)?;
        if let Ok(entry) = self.identities.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        if let Some(list) = self.destinations.get_mut(&binding.destination) {
            list.swap_remove(place as usize);
            if let Some(moved) = list.get(place as usize)
                && let Some(moved) = self.bindings.get_mut(moved.0)
            {
                moved.place = place;
            }
            if list.is_empty() {
                self.destinations.remove(&binding.destination);
            }
        }
        Some(binding)
    }

    /// Any one binding that leads to `destination`.
    pub(super) fn last_to(&self, destination: &D) -> Option<BindingId> {
        self.destinations.get(destination)?.last().copied()
    }

    /// For `find` and `insert`.
    pub(super) fn hash(&self, key: &str, arguments: &Table, destination: &D) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        destination.hash(&mut hasher);
        value::hash_arguments(arguments, &mut hasher);
        hasher.finish()
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("binding numbers are u32, so there are no more places")
}
