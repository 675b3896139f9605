//! Samples, taken every five seconds or as `collect_statistics_interval` says, of all that has numbers: what `rate` and `samples` are made of.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Interval, MissedTickBehavior};

use super::histories::Histories;
use super::history::Past;
use super::machine::Machine;
use super::pair_rates::{ChannelName, PairRates};
use super::retention::Retention;
use super::series::{
    CHANNEL_LEN, CONNECTION_LEN, EXCHANGE_LEN, NODE_LEN, QUEUE_LEN, VHOST_LEN, VhostSample, channel_sample,
    node_sample, queue_sample,
};
use super::{Management, RatesMode};
use crate::broker::{ChannelReport, ConnectionId, QueueHandle, QueueId, Vhost};
use crate::hashing::Hashing;

/// Queues that are sampled at one go. Where there are more, the next ones are sampled an interval later, and each of
/// them less often, so that samples cost a bounded share of the lanes' time.
const QUEUES_A_TICK: usize = 20_000;

/// Connections whose channels are sampled at a time, and how long they have to answer.
const CONNECTIONS_ASKED: usize = 256;
const PATIENCE: Duration = Duration::from_millis(500);

/// More often there is nothing to see.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// And of how many of them in a tick; the others' channels have the rates of the last one.
const CONNECTIONS_A_TICK: usize = 5_000;

/// An exchange, by the names of its vhost and its own.
type ExchangeName = (Arc<str>, Arc<str>);

/// All histories there are. The locks are held for a lookup or for some samples.
#[derive(Debug)]
pub(super) struct Rates {
    retention: Retention,
    queues: Mutex<Histories<QueueId, QUEUE_LEN>>,
    exchanges: Mutex<Histories<ExchangeName, EXCHANGE_LEN>>,
    connections: Mutex<Histories<ConnectionId, CONNECTION_LEN>>,
    channels: Mutex<Histories<ChannelName, CHANNEL_LEN>>,
    vhosts: Mutex<Histories<Arc<str>, VHOST_LEN>>,
    /// All vhosts together, those included that are deleted.
    all: Mutex<Histories<(), VHOST_LEN>>,
    node: Mutex<Histories<(), NODE_LEN>>,
    /// With `management.rates_mode = detailed`.
    pairs: Option<PairRates>,
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters never fall, but for those of another object of the same name.
fn any_fell<const N: usize>(before: &[u64; N], after: &[u64; N]) -> bool {
    before.iter().zip(after).any(|(before, after)| after < before)
}

impl Rates {
    pub(super) fn new(retention: Retention, mode: RatesMode) -> Self {
        let Retention { global, basic, detailed } = &retention;
        Self {
            queues: Mutex::new(Histories::new(basic)),
            exchanges: Mutex::new(Histories::new(basic)),
            connections: Mutex::new(Histories::new(basic)),
            channels: Mutex::new(Histories::new(basic)),
            vhosts: Mutex::new(Histories::new(global)),
            all: Mutex::new(Histories::new(global)),
            node: Mutex::new(Histories::new(global)),
            pairs: (mode == RatesMode::Detailed).then(|| PairRates::new(detailed)),
            retention,
        }
    }

    /// Calls `show` with the history of a queue, if there is one.
    pub(super) fn of_queue<R>(&self, id: QueueId, show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        show(lock(&self.queues).get(&id))
    }

    pub(super) fn of_exchange<R>(
        &self,
        vhost: &Arc<str>,
        name: &Arc<str>,
        show: impl FnOnce(Option<&dyn Past>) -> R,
    ) -> R {
        show(lock(&self.exchanges).get(&(vhost.clone(), name.clone())))
    }

    pub(super) fn of_connection<R>(&self, id: ConnectionId, show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        show(lock(&self.connections).get(&id))
    }

    pub(super) fn of_channel<R>(
        &self,
        connection: ConnectionId,
        number: u16,
        show: impl FnOnce(Option<&dyn Past>) -> R,
    ) -> R {
        show(lock(&self.channels).get(&(connection, number)))
    }

    pub(super) fn of_vhost<R>(&self, name: &str, show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        show(lock(&self.vhosts).get(name))
    }

    /// Of several vhosts together.
    pub(super) fn of_vhosts<R>(&self, names: &[Arc<str>], show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        let vhosts = lock(&self.vhosts);
        let of: Vec<&dyn Past> = names.iter().filter_map(|name| vhosts.get(name)).collect();
        show(Some(&super::history::Sum(of)))
    }

    /// Of all vhosts together.
    pub(super) fn of_all<R>(&self, show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        show(lock(&self.all).get(&()))
    }

    pub(super) fn of_node<R>(&self, show: impl FnOnce(Option<&dyn Past>) -> R) -> R {
        show(lock(&self.node).get(&()))
    }

    /// What passes between two objects, if that is wanted.
    pub(super) fn pairs(&self) -> Option<&PairRates> {
        self.pairs.as_ref()
    }

    /// Forgets all samples.
    pub(super) fn reset(&self) {
        let Retention { global, basic, detailed } = &self.retention;
        *lock(&self.queues) = Histories::new(basic);
        *lock(&self.exchanges) = Histories::new(basic);
        *lock(&self.connections) = Histories::new(basic);
        *lock(&self.channels) = Histories::new(basic);
        *lock(&self.vhosts) = Histories::new(global);
        *lock(&self.all) = Histories::new(global);
        *lock(&self.node) = Histories::new(global);
        if let Some(pairs) = &self.pairs {
            pairs.reset(detailed);
        }
    }
}

impl Management {
    /// Samples for ever; whoever runs the API runs this beside it.
    pub async fn sample(self) {
        let mut ticks = tokio::time::interval(self.options().statistics_interval.max(INTERVAL_MIN));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unsettled = Vec::new();
        loop {
            ticks.tick().await;
            self.sample_node().await;
            let of_vhosts = self.sample_queues(&mut ticks).await;
            let octets = self.sample_connections(&mut unsettled).await;
            self.sample_exchanges();
            self.sample_vhosts(of_vhosts, &octets);
        }
    }

    /// Gives the sums of each vhost.
    async fn sample_queues(&self, ticks: &mut Interval) -> HashMap<Arc<str>, VhostSample> {
        let broker = self.broker();
        let mut sums: HashMap<Arc<str>, VhostSample> = HashMap::new();
        let handles: Vec<Arc<QueueHandle>> = broker.vhosts().iter().flat_map(|vhost| vhost.queues()).collect();
        for (index, some) in handles.chunks(QUEUES_A_TICK).enumerate() {
            if index > 0 {
                ticks.tick().await;
            }
            let at_ms = now_ms();
            let mut inspections = broker.inspections(some);
            while let Some(some) = inspections.next().await {
                let mut queues = lock(&self.0.rates.queues);
                for (queue, report) in &some {
                    match sums.get_mut(&queue.vhost) {
                        Some(sum) => sum.add_queue(report),
                        None => sums.entry(queue.vhost.clone()).or_default().add_queue(report),
                    }
                    // Numbers of queues are never used again.
                    queues.add(queue.key.id, at_ms, queue_sample(report), |_| false);
                }
                drop(queues);
                if let Some(pairs) = self.0.rates.pairs() {
                    some.iter().for_each(|(queue, report)| pairs.sample_queue(queue.key.id, report, at_ms));
                }
            }
        }
        lock(&self.0.rates.queues).end_round();
        self.0.rates.pairs().into_iter().for_each(PairRates::end_queues);
        sums
    }

    /// Gives the bytes that went through each vhost's open connections. `unsettled` are those whose channels are to be
    /// asked though nothing has gone through.
    async fn sample_connections(&self, unsettled: &mut Vec<ConnectionId>) -> HashMap<Arc<str>, (u64, u64)> {
        let (mut octets, mut busy) = (HashMap::<Arc<str>, (u64, u64)>::new(), Vec::new());
        let at_ms = now_ms();
        let all = self.broker().connection_traffic();
        {
            let mut connections = lock(&self.0.rates.connections);
            for one in &all {
                let sum = octets.entry(one.vhost.clone()).or_default();
                sum.0 += one.received_bytes;
                sum.1 += one.sent_bytes;
                let sample = [one.received_bytes, one.sent_bytes];
                if connections.last(&one.id) != Some(&sample) {
                    busy.push(one.id);
                }
                connections.add(one.id, at_ms, sample, |_| false);
            }
            connections.end_round();
        }
        let mut asked = std::mem::take(unsettled);
        let known: HashSet<ConnectionId> = asked.iter().copied().collect();
        asked.extend(busy.iter().filter(|id| !known.contains(id)));
        let left = asked.split_off(asked.len().min(CONNECTIONS_A_TICK));
        self.sample_channels(&all.iter().map(|one| one.id).collect::<Vec<_>>(), &asked).await;
        // What it has read it may not have worked off when it was asked: it is asked once more.
        let left: HashSet<ConnectionId> = left.into_iter().chain(busy).collect();
        unsettled.extend(left);
        octets
    }

    async fn sample_channels(&self, all: &[ConnectionId], asked: &[ConnectionId]) {
        let mut reports = HashMap::with_hasher(Hashing::default());
        for some in asked.chunks(CONNECTIONS_ASKED) {
            reports.extend(self.broker().count_connections(some, PATIENCE).await);
        }
        let at_ms = now_ms();
        let is_open: HashSet<&ConnectionId> = all.iter().collect();
        let mut channels = lock(&self.0.rates.channels);
        for (id, report) in &reports {
            for channel in &report.channels {
                channels.add((*id, channel.number), at_ms, channel_sample(channel), |before| {
                    any_fell(before, &channel_sample(channel))
                });
            }
        }
        let rests = |connection: &ConnectionId| is_open.contains(connection) && !reports.contains_key(connection);
        channels.stay(at_ms, |(connection, _)| rests(connection));
        channels.end_round();
        drop(channels);
        let Some(pairs) = self.0.rates.pairs() else { return };
        for (id, report) in &reports {
            let sample = |channel: &ChannelReport| pairs.sample_channel((*id, channel.number), &channel.pairs, at_ms);
            report.channels.iter().for_each(sample);
        }
        pairs.end_channels(at_ms, rests);
    }

    /// What is known of these vhosts at this moment.
    pub(super) async fn vhost_samples(&self, vhosts: &[Arc<Vhost>]) -> Vec<VhostSample> {
        let mut samples = self.samples_of_what_is(vhosts).await;
        samples.iter_mut().zip(vhosts).for_each(|(sample, vhost)| sample.add_traffic(&vhost.traffic()));
        samples
    }

    /// As [`Self::vhost_samples`], but of what queues and open connections know.
    pub(super) async fn samples_of_what_is(&self, vhosts: &[Arc<Vhost>]) -> Vec<VhostSample> {
        let mut octets: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
        for one in self.broker().connection_traffic() {
            let sum = octets.entry(one.vhost).or_default();
            *sum = (sum.0 + one.received_bytes, sum.1 + one.sent_bytes);
        }
        let mut samples = Vec::with_capacity(vhosts.len());
        for vhost in vhosts {
            let mut sample = VhostSample::default();
            let queues = vhost.queues();
            let mut inspections = self.broker().inspections(&queues);
            while let Some(some) = inspections.next().await {
                some.iter().for_each(|(_, report)| sample.add_queue(report));
            }
            sample.add_octets(octets.get(vhost.name()).copied().unwrap_or_default());
            samples.push(sample);
        }
        samples
    }

    fn sample_exchanges(&self) {
        let at_ms = now_ms();
        for vhost in self.broker().vhosts() {
            let mut exchanges = lock(&self.0.rates.exchanges);
            for exchange in vhost.exchanges() {
                let (published, routed) = exchange.published();
                if published > 0 {
                    let (name, sample) = ((vhost.name().clone(), exchange.name.clone()), [published, routed]);
                    exchanges.add(name, at_ms, sample, |before| any_fell(before, &sample));
                }
            }
        }
        lock(&self.0.rates.exchanges).end_round();
    }

    fn sample_vhosts(&self, mut sums: HashMap<Arc<str>, VhostSample>, octets: &HashMap<Arc<str>, (u64, u64)>) {
        let (broker, at_ms) = (self.broker(), now_ms());
        let mut all = VhostSample::default();
        {
            let mut vhosts = lock(&self.0.rates.vhosts);
            for vhost in broker.vhosts() {
                let mut sample = sums.remove(vhost.name()).unwrap_or_default();
                sample.add_octets(octets.get(vhost.name()).copied().unwrap_or_default());
                all.add(&sample);
                sample.add_traffic(&vhost.traffic());
                vhosts.add(vhost.name().clone(), at_ms, sample.values, |_| false);
            }
            vhosts.end_round();
        }
        all.add_totals(&broker.totals());
        let mut histories = lock(&self.0.rates.all);
        histories.add((), at_ms, all.values, |_| false);
        histories.end_round();
    }

    async fn sample_node(&self) {
        let data_dir = self.options().data_dir.clone();
        // It reads files.
        let looked = tokio::task::spawn_blocking(move || Machine::look_at(data_dir.as_deref())).await;
        let Ok(machine) = looked else { return };
        let connections = self.broker().connection_count() as u64;
        let sample = node_sample(&machine, connections, &self.broker().totals());
        let mut node = lock(&self.0.rates.node);
        node.add((), now_ms(), sample, |_| false);
        node.end_round();
    }

    /// The samples.
    pub(super) fn rates(&self) -> &Rates {
        &self.0.rates
    }
}
