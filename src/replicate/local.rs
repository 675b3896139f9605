//! This process alone, in memory: nothing outlives it, so everything is as durable as it gets at once.

use super::{Position, Record, Replicator};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local {
    last: Position,
}

impl Replicator for Local {
    fn append(&mut self, record: Record<'_>) -> Position {
        match record {
            Record::Enqueue { .. } => self.last.0 += 1,
        }
        self.last
    }

    fn durable(&self) -> Position {
        self.last
    }
}
