//! Rates: what two samples, taken some seconds apart, say of each counter.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Management;
use super::api::queues::{Totals, named};
use crate::broker::{BrokerTotals, Counters, QueueId};

/// RabbitMQ's `collect_statistics_interval`.
const INTERVAL: Duration = Duration::from_secs(5);

/// With more queues than this none is sampled, so that statistics cost a bounded share of the lanes' time; then only
/// the broker as a whole has rates.
const QUEUES_MAX: usize = 20_000;

/// Counters at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    /// Of queues where anything has happened.
    queues: HashMap<QueueId, Counters>,
    all: Counters,
    totals: BrokerTotals,
}

/// The last two samples.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<(Option<Sample>, Option<Sample>)>);

fn rate(before: u64, after: u64, elapsed: Duration) -> f64 {
    let rate = after.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001);
    (rate * 10.0).round() / 10.0
}

/// The rate of each counter, by RabbitMQ's name.
fn rates_between(before: &Counters, after: &Counters, elapsed: Duration) -> HashMap<&'static str, f64> {
    let pairs = named(before).into_iter().zip(named(after));
    pairs.map(|((name, before), (_, after))| (name, rate(before, after, elapsed))).collect()
}

impl Rates {
    fn lock(&self) -> MutexGuard<'_, (Option<Sample>, Option<Sample>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.lock();
        samples.0 = samples.1.take();
        samples.1 = Some(sample);
    }

    /// What two samples say; nothing is known before there are two.
    fn between<R>(&self, read: impl FnOnce(&Sample, &Sample, Duration) -> R) -> Option<R> {
        let samples = self.lock();
        let (before, after) = (samples.0.as_ref()?, samples.1.as_ref()?);
        Some(read(before, after, after.at.saturating_duration_since(before.at)))
    }

    fn of_queue(&self, id: QueueId) -> HashMap<&'static str, f64> {
        let none = Counters::default();
        let rates = self.between(|before, after, elapsed| {
            let of = |sample: &Sample| sample.queues.get(&id).copied().unwrap_or(none);
            rates_between(&of(before), &of(after), elapsed)
        });
        rates.unwrap_or_default()
    }
}

impl Management {
    /// Samples for ever; whoever runs the API runs this beside it.
    pub async fn sample(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sample = self.take_sample().await;
            self.0.rates.add(sample);
        }
    }

    async fn take_sample(&self) -> Sample {
        let broker = self.broker();
        let vhosts = broker.vhosts();
        let count: usize = vhosts.iter().map(|vhost| vhost.queue_count()).sum();
        let totals = broker.totals();
        let (mut all, mut queues) = (totals.gone, HashMap::new());
        if count <= QUEUES_MAX {
            let handles: Vec<_> = vhosts.iter().flat_map(|vhost| vhost.queues()).collect();
            for (id, report) in broker.inspect_queues(&handles).await {
                all.add(&report.counters);
                if report.counters != Counters::default() {
                    queues.insert(id, report.counters);
                }
            }
        }
        Sample { at: Instant::now(), queues, all, totals }
    }

    /// The rates of a queue's counters, by name.
    pub(super) fn rate_of_queue(&self, id: QueueId) -> impl Fn(&str) -> f64 + use<> {
        let rates = self.0.rates.of_queue(id);
        move |name| rates.get(name).copied().unwrap_or_default()
    }

    /// The rates of all queues together, and of what clients do, by name.
    pub(super) fn rates(&self) -> impl Fn(&str) -> f64 + use<> {
        let rates = self.0.rates.between(|before, after, elapsed| {
            let mut rates = rates_between(&before.all, &after.all, elapsed);
            for ((name, before), (_, after)) in counts(&before.totals).into_iter().zip(counts(&after.totals)) {
                rates.insert(name, rate(before, after, elapsed));
            }
            rates
        });
        let rates = rates.unwrap_or_default();
        move |name| rates.get(name).copied().unwrap_or_default()
    }

    /// Sums over the queues of these vhosts.
    pub(super) async fn totals_of(&self, vhosts: &[std::sync::Arc<crate::broker::Vhost>]) -> Totals {
        let mut totals = Totals::default();
        for vhost in vhosts {
            totals.add(self, &vhost.queues()).await;
        }
        totals
    }
}

/// What clients do, with RabbitMQ's names.
pub(super) fn counts(totals: &BrokerTotals) -> [(&'static str, u64); 10] {
    [
        ("publish", totals.publish),
        ("return_unroutable", totals.return_unroutable),
        ("drop_unroutable", totals.drop_unroutable),
        ("connection_created", totals.connection_created),
        ("connection_closed", totals.connection_closed),
        ("channel_created", totals.channel_created),
        ("channel_closed", totals.channel_closed),
        ("queue_declared", totals.queue_declared),
        ("queue_created", totals.queue_created),
        ("queue_deleted", totals.queue_deleted),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_samples_make_a_rate() {
        let rates = Rates::default();
        let start = Instant::now();
        let sample = |seconds, publish| Sample {
            at: start + Duration::from_secs(seconds),
            queues: HashMap::from([(QueueId(1), Counters { publish, ..Counters::default() })]),
            all: Counters::default(),
            totals: BrokerTotals::default(),
        };
        rates.add(sample(0, 10));
        assert!(rates.of_queue(QueueId(1)).is_empty());
        rates.add(sample(5, 22));
        assert_eq!(rates.of_queue(QueueId(1))["publish"], 2.4);
        assert_eq!(rates.of_queue(QueueId(2))["publish"], 0.0);
        // A queue that was made anew counts from nothing; a rate is never negative.
        rates.add(sample(10, 2));
        assert_eq!(rates.of_queue(QueueId(1))["publish"], 0.0);
    }
}
