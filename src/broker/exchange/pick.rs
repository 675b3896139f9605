//! `x-random` and `x-local-random`: one binding by chance, whatever the keys.

use rand::Rng;

use super::targets::Targets;
use super::{BindingError, BindingId, Routable, Router};
use crate::wire::Table;

#[derive(Debug)]
pub(super) struct Random<D> {
    targets: Targets<D>,
    /// x-local-random: binding keys are refused, since they would mean nothing.
    without_keys: bool,
}

impl<D> Random<D> {
    pub(super) fn new(without_keys: bool) -> Self {
        Self { targets: Targets::default(), without_keys }
    }
}

impl<D> Router<D> for Random<D> {
    fn check(&self, key: &str, _arguments: &Table) -> Result<(), BindingError> {
        if self.without_keys && !key.is_empty() { Err(BindingError::KeyNotEmpty(key.to_owned())) } else { Ok(()) }
    }

    fn add(&mut self, id: BindingId, _key: &str, _arguments: &Table, destination: D) {
        self.targets.add(id, destination);
    }

    fn remove(&mut self, id: BindingId, _key: &str, _arguments: &Table) {
        self.targets.remove(id);
    }

    fn route(&self, _message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        if self.targets.is_empty() {
            return;
        }
        let place = rand::rng().random_range(0..self.targets.len());
        if let Some(destination) = self.targets.get(place) {
            found(destination);
        }
    }

    fn routes_by_key_alone(&self) -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}
