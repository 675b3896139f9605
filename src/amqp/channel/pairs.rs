//! What passes between a channel and its partners, if somebody wants to know (`management.rates_mode = detailed`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::publish::Mode;
use crate::amqp::confirm::Confirms;
use crate::broker::{ChannelPairs, Counters, Pairs, PublishCounts, QueueId};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Partners {
    exchanges: Pairs<Arc<str>, Published>,
    queues: Pairs<QueueId, Counters>,
    /// Which exchange publishes went to that may not be confirmed yet: the number of the first of a run, and the exchange.
    unconfirmed: VecDeque<(u64, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Published {
    all: u64,
    /// In confirm mode.
    confirmable: u64,
    returned: u64,
    dropped: u64,
}

impl Partners {
    /// A publish that went to no queue was returned if it was mandatory, else dropped.
    pub(super) fn published(&mut self, exchange: &str, is_routed: bool, mandatory: bool, mode: &Mode) {
        let counts = self.exchanges.of(exchange, || exchange.into());
        counts.all += 1;
        counts.returned += u64::from(!is_routed && mandatory);
        counts.dropped += u64::from(!is_routed && !mandatory);
        let Mode::Confirm(confirms) = mode else { return };
        counts.confirmable += 1;
        self.may_be_confirmed(exchange, confirms);
    }

    /// The last publish is not confirmed yet, for all that is known.
    fn may_be_confirmed(&mut self, exchange: &str, confirms: &Confirms) {
        let number = confirms.upcoming() - 1;
        let first = confirms.open_numbers().next().unwrap_or(number);
        while self.unconfirmed.get(1).is_some_and(|(second, _)| *second <= first) {
            self.unconfirmed.pop_front();
        }
        if self.unconfirmed.back().is_none_or(|(_, last)| **last != *exchange) {
            self.unconfirmed.push_back((number, exchange.into()));
        }
    }

    /// What happened to messages of a queue.
    pub(super) fn queue(&mut self, queue: QueueId) -> &mut Counters {
        self.queues.of(&queue, || queue)
    }

    pub(super) fn report(&self, mode: &Mode) -> ChannelPairs {
        let open = self.open_by_exchange(mode);
        let publishes = self.exchanges.iter().map(|(exchange, counts)| {
            let Published { all, confirmable, returned, dropped } = *counts;
            let confirmed = confirmable.saturating_sub(open.get(&**exchange).copied().unwrap_or_default());
            (exchange.clone(), PublishCounts { publish: all, confirmed, returned, dropped })
        });
        let deliveries = self.queues.iter().map(|(queue, counts)| (*queue, *counts));
        ChannelPairs { publishes: publishes.collect(), deliveries: deliveries.collect() }
    }

    /// How many publishes to each exchange are not confirmed yet.
    fn open_by_exchange(&self, mode: &Mode) -> HashMap<&str, u64> {
        let mut open = HashMap::new();
        let Mode::Confirm(confirms) = mode else { return open };
        let mut runs = self.unconfirmed.iter().peekable();
        let mut exchange = None;
        for number in confirms.open_numbers() {
            while let Some((_, next)) = runs.next_if(|(first, _)| *first <= number) {
                exchange = Some(&**next);
            }
            *open.entry(exchange.unwrap_or_default()).or_default() += 1;
        }
        open
    }
}
