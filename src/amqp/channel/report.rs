//! A channel told of, for listings.

use super::Channel;
use super::publish::Mode;
use crate::broker::ChannelReport;

impl Channel {
    pub(in crate::amqp) fn report(&self, is_brief: bool) -> ChannelReport {
        let state = &self.state;
        let (uncommitted, acks_uncommitted) = match &state.mode {
            Mode::Tx(tx) => tx.uncommitted(),
            Mode::Plain | Mode::Confirm(_) => (0, 0),
        };
        let (unconfirmed, confirmed) = match &state.mode {
            Mode::Confirm(confirms) => (confirms.open_count(), confirms.answered_count()),
            Mode::Plain | Mode::Tx(_) => (0, 0),
        };
        ChannelReport {
            number: state.key.number,
            confirm: matches!(state.mode, Mode::Confirm(_)),
            transactional: matches!(state.mode, Mode::Tx(_)),
            prefetch: state.prefetch,
            global_prefetch: state.limiter.limit(),
            unacked: state.unacked.len() as u64,
            unconfirmed: unconfirmed as u64,
            uncommitted: uncommitted as u64,
            acks_uncommitted: acks_uncommitted as u64,
            consumers: if is_brief { Vec::new() } else { state.consumers.reports() },
            counters: state.counters,
            confirmed,
            returned: state.unroutable.0,
            dropped: state.unroutable.1,
            pairs: state.partners.as_ref().map(|partners| partners.report(&state.mode)).unwrap_or_default(),
        }
    }
}
