//! This process alone, in memory: nothing outlives it, so everything is as durable as it gets at once.

use super::{Position, Record, Replicator, Written};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct InMemory;

impl Replicator for InMemory {
    fn keeps(&self) -> bool {
        false
    }

    fn append(&mut self, _: Record<'_>) -> Position {
        Position::default()
    }

    fn flush(&mut self, _: bool) {}

    fn durable(&mut self) -> Position {
        Position::default()
    }

    fn after(&mut self, _: Written) -> Position {
        Position::default()
    }

    fn is_behind(&self) -> bool {
        false
    }
}
