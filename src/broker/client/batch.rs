//! What a connection gathers for a lane until it hands it over.

use crate::broker::inbox::Op;

/// Operations for one lane, in order.
#[derive(Debug, Default)]
pub(super) struct PendingBatch {
    pub(super) operations: Vec<Op>,
    bytes: usize,
    /// So many operations the last batch had.
    usual: usize,
    /// The lane knows this connection.
    pub(super) touched: bool,
}

impl PendingBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Adds an operation that holds so many bytes.
    #[inline]
    pub(super) fn push(&mut self, operation: Op, bytes: usize) {
        if self.operations.capacity() == 0 {
            // A batch is about as long as the one before: it need not grow and be copied again and again.
            self.operations.reserve(self.usual);
        }
        self.bytes += bytes;
        self.operations.push(operation);
    }

    /// Takes everything out, to be handed to the lane: the operations and their bytes.
    pub(super) fn take(&mut self) -> (Vec<Op>, usize) {
        self.touched = true;
        self.usual = self.operations.len();
        (std::mem::take(&mut self.operations), std::mem::take(&mut self.bytes))
    }
}
