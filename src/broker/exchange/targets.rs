//! The destinations of the bindings that match together.

use std::collections::HashMap;

use crate::hashing::Hashing;
use smallvec::SmallVec;

use super::BindingId;

/// From this many targets on, finding one by its binding goes through a map instead of a walk.
const WALK_MAX: usize = 32;

/// Destinations reached by one key, one topic pattern or one header value, each with the binding that leads to it.
///
/// Routing walks them in one piece of memory; adding and removing costs the same however many there are, so that
/// 100,000 queues bound alike can go one by one.
#[derive(Debug)]
pub(super) struct Targets<D> {
    items: SmallVec<[(BindingId, D); 1]>,
    /// Where each binding sits in `items`; present while there are more than `WALK_MAX`.
    positions: Option<Box<Positions>>,
}

/// Boxed, since most targets are a single one.
#[derive(Debug)]
struct Positions(HashMap<BindingId, u32, Hashing>);

impl<D> Default for Targets<D> {
    fn default() -> Self {
        Self { items: SmallVec::new(), positions: None }
    }
}

impl<D> Targets<D> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The destination in this place, of `len`.
    pub(super) fn get(&self, place: usize) -> Option<&D> {
        self.items.get(place).map(|(_, destination)| destination)
    }

    /// The binding added last, if none was removed since.
    pub(super) fn last(&self) -> Option<BindingId> {
        self.items.last().map(|(id, _)| *id)
    }

    #[inline]
    pub(super) fn each(&self, found: &mut impl FnMut(&D)) {
        for (_, destination) in &self.items {
            found(destination);
        }
    }

    pub(super) fn add(&mut self, id: BindingId, destination: D) {
        self.items.push((id, destination));
        if let Some(positions) = &mut self.positions {
            positions.0.insert(id, position(self.items.len() - 1));
        } else if self.items.len() > WALK_MAX {
            let all = self.items.iter().enumerate();
            let positions = all.map(|(at, (id, _))| (*id, position(at))).collect();
            self.positions = Some(Box::new(Positions(positions)));
        }
    }

    /// Whether the binding was here.
    pub(super) fn remove(&mut self, id: BindingId) -> bool {
        let at = match &mut self.positions {
            Some(positions) => positions.0.remove(&id).map(|at| at as usize),
            None => self.items.iter().position(|(item, _)| *item == id),
        };
        let Some(at) = at else { return false };
        self.items.swap_remove(at);
        if let Some(positions) = &mut self.positions {
            if self.items.len() <= WALK_MAX / 2 {
                // Half the mark, so that one binding coming and going does not build the map each time.
                self.positions = None;
                self.items.shrink_to_fit();
            } else if let Some((moved, _)) = self.items.get(at) {
                positions.0.insert(*moved, position(at));
            }
        }
        true
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("binding numbers are u32, so there are no more positions")
}
