//! A transaction: publishes and settlements of a channel, held back until its commit.

use super::unacked::Held;
use crate::broker::{Message, Prepared, Settlement, Source};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Tx {
    publishes: Vec<(Prepared, bool)>,
    settlements: Vec<(Vec<(u64, Held)>, Settlement)>,
}

/// What a commit carries out.
pub(super) struct Commit {
    pub(super) publishes: Vec<Prepared>,
    /// Mandatory messages that go nowhere.
    pub(super) returned: Vec<Message>,
    pub(super) settlements: Vec<(Source, Settlement)>,
    /// Settled deliveries that were counted in the channel's limiter.
    pub(super) counted: u32,
}

impl Tx {
    pub(super) fn publish(&mut self, prepared: Prepared, mandatory: bool) {
        self.publishes.push((prepared, mandatory));
    }

    pub(super) fn settle(&mut self, taken: Vec<(u64, Held)>, how: Settlement) {
        self.settlements.push((taken, how));
    }

    pub(super) fn take_commit(&mut self) -> Commit {
        let Self { publishes, settlements } = std::mem::take(self);
        let is_returned = |(prepared, mandatory): &&(Prepared, bool)| *mandatory && !prepared.is_routed();
        let returned = publishes.iter().filter(is_returned).map(|(prepared, _)| prepared.message().clone()).collect();
        let held = || settlements.iter().flat_map(|(taken, how)| taken.iter().map(move |(_, held)| (held, *how)));
        Commit {
            returned,
            counted: held().map(|(held, _)| u32::from(held.counted)).sum(),
            settlements: held().map(|(held, how)| (held.source, how)).collect(),
            publishes: publishes.into_iter().map(|(prepared, _)| prepared).collect(),
        }
    }

    /// Forgets everything; gives what was settled, to be unacked again (TX-3).
    pub(super) fn take_rollback(&mut self) -> Vec<(u64, Held)> {
        std::mem::take(self).settlements.into_iter().flat_map(|(taken, _)| taken).collect()
    }
}
