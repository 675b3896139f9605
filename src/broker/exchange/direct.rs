//! `direct`: the routing key equals the binding key, byte for byte. The default exchange is one of these.

use std::collections::HashMap;

use crate::hashing::Hashing;

use super::targets::Targets;
use super::{BindingId, Routable, Router};
use crate::wire::Table;

#[derive(Debug)]
pub(super) struct Direct<D> {
    keys: HashMap<Box<str>, Targets<D>, Hashing>,
}

impl<D> Default for Direct<D> {
    fn default() -> Self {
        Self { keys: HashMap::default() }
    }
}

impl<D> Router<D> for Direct<D> {
    fn add(&mut self, id: BindingId, key: &str, _arguments: &Table, destination: D) {
        match self.keys.get_mut(key) {
            Some(targets) => targets.add(id, destination),
            None => {
                let mut targets = Targets::default();
                targets.add(id, destination);
                self.keys.insert(key.into(), targets);
            }
        }
    }

    fn remove(&mut self, id: BindingId, key: &str, _arguments: &Table) {
        if let Some(targets) = self.keys.get_mut(key) {
            targets.remove(id);
            if targets.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    fn route(&self, message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        for key in message.keys {
            if let Some(targets) = self.keys.get(*key) {
                targets.each(found);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
