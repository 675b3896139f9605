//! `fanout`: every binding matches, whatever its key.

use super::targets::Targets;
use super::{BindingId, Routable, Router};
use crate::wire::Table;

#[derive(Debug)]
pub(super) struct Fanout<D> {
    targets: Targets<D>,
}

impl<D> Default for Fanout<D> {
    fn default() -> Self {
        Self { targets: Targets::default() }
    }
}

impl<D> Router<D> for Fanout<D> {
    fn add(&mut self, id: BindingId, _key: &str, _arguments: &Table, destination: D) {
        self.targets.add(id, destination);
    }

    fn remove(&mut self, id: BindingId, _key: &str, _arguments: &Table) {
        self.targets.remove(id);
    }

    fn route(&self, _message: &Routable<'_>, found: &mut impl FnMut(&D)) {
        self.targets.each(found);
    }

    fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}
