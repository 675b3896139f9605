//! A connection told of, for listings.

use super::outbound::Outbound;
use super::running::Running;
use crate::broker::ConnectionReport;

impl Running {
    pub(super) fn report(&self, out: &Outbound, is_brief: bool) -> ConnectionReport {
        let mut channels: Vec<_> = self.open_channels().map(|channel| channel.report(is_brief)).collect();
        channels.sort_by_key(|channel| channel.number);
        let (received, sent) = (self.received(), out.traffic());
        ConnectionReport {
            received_bytes: received.bytes,
            reads: received.times,
            sent_bytes: sent.bytes,
            writes: sent.times,
            state: self.state(),
            channels,
        }
    }
}

/// What went over the socket in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) bytes: u64,
    /// Reads or writes.
    pub(super) times: u64,
}

impl Counted {
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.times += 1;
    }
}
