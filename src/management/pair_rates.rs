//! Samples of what passes between two objects: a channel and an exchange, a channel and a queue, an exchange and a queue.
//! Only with `management.rates_mode = detailed`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::histories::Histories;
use super::retention::Policy;
use super::series::{CHANNEL_LEN, COUNTERS_LEN, delivery_sample, publish_sample};
use crate::broker::{ChannelPairs, ConnectionId, QueueId, QueueReport};

/// A channel: its connection and its number.
pub(super) type ChannelName = (ConnectionId, u16);

/// What channels publish to exchanges.
pub(super) type Publishes = Histories<(ChannelName, Arc<str>), CHANNEL_LEN>;
/// What channels get from queues.
pub(super) type Deliveries = Histories<(ChannelName, QueueId), COUNTERS_LEN>;
/// What queues get from exchanges.
pub(super) type Arrivals = Histories<(QueueId, Arc<str>), 1>;

/// See the module's documentation. The locks are held as those of [`Rates`](super::rates::Rates).
#[derive(Debug)]
pub(super) struct PairRates {
    publishes: Mutex<Publishes>,
    deliveries: Mutex<Deliveries>,
    arrivals: Mutex<Arrivals>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PairRates {
    pub(super) fn new(retention: &Policy) -> Self {
        Self {
            publishes: Mutex::new(Histories::new(retention)),
            deliveries: Mutex::new(Histories::new(retention)),
            arrivals: Mutex::new(Histories::new(retention)),
        }
    }

    /// Forgets all samples.
    pub(super) fn reset(&self, retention: &Policy) {
        *self.publishes() = Histories::new(retention);
        *self.deliveries() = Histories::new(retention);
        *self.arrivals() = Histories::new(retention);
    }

    pub(super) fn publishes(&self) -> MutexGuard<'_, Publishes> {
        lock(&self.publishes)
    }

    pub(super) fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        lock(&self.deliveries)
    }

    pub(super) fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        lock(&self.arrivals)
    }

    /// How a queue is now.
    pub(super) fn sample_queue(&self, queue: QueueId, report: &QueueReport, at_ms: u64) {
        let mut arrivals = self.arrivals();
        for (exchange, count) in &report.incoming {
            arrivals.add((queue, exchange.clone()), at_ms, [*count], |[before]| before > count);
        }
    }

    /// How a channel is now.
    pub(super) fn sample_channel(&self, channel: ChannelName, pairs: &ChannelPairs, at_ms: u64) {
        let mut publishes = self.publishes();
        for (exchange, counts) in &pairs.publishes {
            let sample = publish_sample(counts);
            publishes.add((channel, exchange.clone()), at_ms, sample, |before| before[0] > sample[0]);
        }
        drop(publishes);
        let mut deliveries = self.deliveries();
        for (queue, counts) in &pairs.deliveries {
            let sample = delivery_sample(counts);
            let fell = |before: &[u64; COUNTERS_LEN]| before.iter().zip(&sample).any(|(before, now)| before > now);
            deliveries.add((channel, *queue), at_ms, sample, fell);
        }
    }

    /// All queues have been sampled.
    pub(super) fn end_queues(&self) {
        self.arrivals().end_round();
    }

    /// All channels have been sampled, those aside of which nothing has gone through.
    pub(super) fn end_channels(&self, at_ms: u64, rests: impl Fn(&ConnectionId) -> bool) {
        let mut publishes = self.publishes();
        publishes.stay(at_ms, |((connection, _), _)| rests(connection));
        publishes.end_round();
        drop(publishes);
        let mut deliveries = self.deliveries();
        deliveries.stay(at_ms, |((connection, _), _)| rests(connection));
        deliveries.end_round();
    }
}
