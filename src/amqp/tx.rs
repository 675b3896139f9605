//! A transaction: publishes and settlements of a channel, held back until its commit.

use super::unacked::Held;
use crate::broker::{Message, Prepared, Settlement, Source};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Tx {
    /// And whether it is mandatory.
    publishes: Vec<(Prepared, bool)>,
    settlements: Vec<Settled>,
}

#[derive(Debug)]
struct Settled {
    tag: u64,
    held: Held,
    how: Settlement,
}

/// What a commit carries out.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) publishes: Vec<Prepared>,
    /// Mandatory messages that go nowhere.
    pub(super) returned: Vec<Message>,
    pub(super) settlements: Vec<(Source, Settlement)>,
    /// Settled deliveries that were counted in the channel's limiter.
    pub(super) counted: u32,
}

impl Tx {
    /// Publishes and settlements that wait for the commit.
    pub(super) fn uncommitted(&self) -> (usize, usize) {
        (self.publishes.len(), self.settlements.len())
    }

    pub(super) fn publish(&mut self, prepared: Prepared, mandatory: bool) {
        self.publishes.push((prepared, mandatory));
    }

    pub(super) fn settle(&mut self, tag: u64, held: Held, how: Settlement) {
        self.settlements.push(Settled { tag, held, how });
    }

    /// Ends the transaction; the next one begins.
    pub(super) fn take_commit(&mut self) -> Commit {
        let Self { publishes, settlements } = std::mem::take(self);
        let is_returned = |(prepared, mandatory): &&(Prepared, bool)| *mandatory && !prepared.is_routed();
        let returned = publishes.iter().filter(is_returned).map(|(prepared, _)| prepared.message().clone()).collect();
        Commit {
            returned,
            counted: settlements.iter().map(|settled| u32::from(settled.held.counted)).sum(),
            settlements: settlements.iter().map(|settled| (settled.held.source, settled.how)).collect(),
            publishes: publishes.into_iter().map(|(prepared, _)| prepared).collect(),
        }
    }

    /// Forgets everything; gives what was settled, to be unacked again (TX-3).
    pub(super) fn take_rollback(&mut self) -> impl Iterator<Item = (u64, Held)> + use<> {
        std::mem::take(self).settlements.into_iter().map(|settled| (settled.tag, settled.held))
    }
}
