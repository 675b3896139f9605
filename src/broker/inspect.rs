//! How listings ask for what they show of queues, connections and the broker as a whole. Nobody counts for it on the way of a message
//! beyond adding to numbers of its own; whoever wants to know sends an operation to the lanes, a few queues each, or an
//! event to the connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::event::{Event, QueueId};
use super::inbox::Op;
use super::mailbox::ConnectionId;
use super::queue::QueueType;
use super::reports::{ConnectionReport, ConnectionSummary, Counters, Deaths, Inquiry, Inspection, QueueReport};
use super::traffic::Traffic;
use super::vhost::QueueHandle;
use super::{Broker, Connected};
use crate::hashing::Hashing;

/// Queues that are asked about at a time: some ten microseconds of a lane that has them all. Fewer would have whoever asks
/// wait, and the lanes wake, the more often.
const QUEUES_AN_OPERATION: usize = 256;

/// What clients did, since the broker started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) connections_created: AtomicU64,
    pub(super) connections_closed: AtomicU64,
    pub(super) channels_created: AtomicU64,
    pub(super) channels_closed: AtomicU64,
    pub(super) queues_declared: AtomicU64,
    pub(super) queues_created: AtomicU64,
    pub(super) queues_deleted: AtomicU64,
    pub(super) logins: AtomicU64,
    pub(super) logins_refused: AtomicU64,
    /// Of queues that are deleted, by type.
    pub(super) gone: Mutex<[Counters; QueueType::COUNT]>,
    /// Of all queues, those included that are deleted.
    pub(super) deaths: Mutex<Deaths>,
    /// Of vhosts that are deleted.
    pub(super) gone_vhosts: Mutex<Traffic>,
}

/// [`Broker::totals`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BrokerTotals {
    /// Publishes, of all clients.
    pub publish: u64,
    /// Those that wanted a confirm.
    pub confirmable: u64,
    /// Those that were told ack.
    pub confirmed: u64,
    /// Queues that publishes went to.
    pub routed: u64,
    /// Those that were routed nowhere and returned.
    pub return_unroutable: u64,
    /// Those that were routed nowhere and dropped.
    pub drop_unroutable: u64,
    /// Bytes that connections read which are closed.
    pub received_bytes: u64,
    /// And wrote.
    pub sent_bytes: u64,
    /// Connections opened.
    pub connection_created: u64,
    /// Connections ended.
    pub connection_closed: u64,
    /// Channels opened.
    pub channel_created: u64,
    /// Channels ended.
    pub channel_closed: u64,
    /// queue.declare that was answered.
    pub queue_declared: u64,
    /// Queues that came.
    pub queue_created: u64,
    /// Queues that went.
    pub queue_deleted: u64,
    /// Logins of AMQP clients, those included that were refused.
    pub logins: u64,
    /// Those that were refused.
    pub logins_refused: u64,
    /// What happened to messages of queues that are gone.
    pub gone: Counters,
    /// Of those, of quorum queues.
    pub gone_quorum: Counters,
    /// Messages that queues gave up.
    pub deaths: Deaths,
}

impl Totals {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Once a turn of a lane in which something died.
    pub(super) fn died(&self, deaths: &Deaths) {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner).add(deaths);
    }
}

impl Broker {
    /// What clients did, since the broker started.
    pub fn totals(&self) -> BrokerTotals {
        let totals = &self.0.totals;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_type = *totals.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Counters::default();
        of_type.iter().for_each(|counters| gone.add(counters));
        let mut traffic = *totals.gone_vhosts.lock().unwrap_or_else(PoisonError::into_inner);
        self.vhosts().iter().for_each(|vhost| traffic.add(&vhost.traffic()));
        BrokerTotals {
            publish: traffic.publish,
            confirmable: traffic.confirmable,
            confirmed: traffic.confirmed,
            routed: traffic.routed,
            return_unroutable: traffic.returned,
            drop_unroutable: traffic.dropped,
            received_bytes: traffic.received_bytes,
            sent_bytes: traffic.sent_bytes,
            connection_created: read(&totals.connections_created),
            connection_closed: read(&totals.connections_closed),
            channel_created: read(&totals.channels_created),
            channel_closed: read(&totals.channels_closed),
            queue_declared: read(&totals.queues_declared),
            queue_created: read(&totals.queues_created),
            queue_deleted: read(&totals.queues_deleted),
            logins: read(&totals.logins),
            logins_refused: read(&totals.logins_refused),
            gone,
            gone_quorum: of_type[QueueType::Quorum as usize],
            deaths: *totals.deaths.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Asks the lanes about queues. Those that are deleted meanwhile are left out.
    pub async fn inspect_queues(&self, queues: &[Arc<QueueHandle>]) -> HashMap<QueueId, QueueReport, Hashing> {
        let mut reports = HashMap::with_capacity_and_hasher(queues.len(), Hashing::default());
        let mut inspections = self.inspections(queues);
        while let Some(some) = inspections.next().await {
            reports.extend(some.into_iter().map(|(queue, report)| (queue.key.id, report)));
        }
        reports
    }

    /// Asks the lanes about queues, a few at a time and in their order, so that no lane stops for long however many
    /// there are, and nobody has to have room for all of their reports.
    pub fn inspections<'a>(&'a self, queues: &'a [Arc<QueueHandle>]) -> Inspections<'a> {
        Inspections { broker: self, rest: queues, asked: None, is_close: false }
    }

    /// As [`Self::inspections`], and closely: about their messages, too.
    pub fn close_inspections<'a>(&'a self, queues: &'a [Arc<QueueHandle>]) -> Inspections<'a> {
        Inspections { is_close: true, ..self.inspections(queues) }
    }

    /// Asks a lane about one queue, and closely. `None`: it is deleted.
    pub async fn inspect_queue(&self, queue: &Arc<QueueHandle>) -> Option<QueueReport> {
        let queues = std::slice::from_ref(queue);
        let told = self.close_inspections(queues).next().await?;
        told.into_iter().next().map(|(_, report)| report)
    }

    /// The open connections, in the order they came.
    pub fn connections(&self) -> Vec<ConnectionSummary> {
        let mut all: Vec<ConnectionSummary> = self.0.connections.iter().map(|connected| summary(&connected)).collect();
        all.sort_by_key(|connection| connection.id);
        all
    }

    /// Asks connections about themselves. One that does not answer in time, because its client does not read, is left
    /// out.
    pub async fn inspect_connections(
        &self,
        connections: &[ConnectionId],
        patience: Duration,
    ) -> HashMap<ConnectionId, ConnectionReport, Hashing> {
        self.ask_connections(connections, patience, false).await
    }

    /// As [`Self::inspect_connections`], but for who consumes.
    pub async fn count_connections(
        &self,
        connections: &[ConnectionId],
        patience: Duration,
    ) -> HashMap<ConnectionId, ConnectionReport, Hashing> {
        self.ask_connections(connections, patience, true).await
    }

    async fn ask_connections(
        &self,
        connections: &[ConnectionId],
        patience: Duration,
        is_brief: bool,
    ) -> HashMap<ConnectionId, ConnectionReport, Hashing> {
        let mut reports = HashMap::with_capacity_and_hasher(connections.len(), Hashing::default());
        let (sender, mut receiver) = mpsc::channel(connections.len().max(1));
        for id in connections {
            if let Some(connected) = self.0.connections.get(id) {
                connected.mailbox.put_one(Event::Inquiry(Inquiry::new(sender.clone(), is_brief)));
            }
        }
        drop(sender);
        let deadline = tokio::time::Instant::from_std(Instant::now() + patience);
        while let Ok(Some((id, report))) = tokio::time::timeout_at(deadline, receiver.recv()).await {
            reports.insert(id, report);
        }
        reports
    }
}

/// [`Broker::inspections`]. The lanes look at the next queues while whoever asks works on what they said of the last ones.
#[derive(Debug)]
pub struct Inspections<'a> {
    broker: &'a Broker,
    rest: &'a [Arc<QueueHandle>],
    asked: Option<Asked<'a>>,
    is_close: bool,
}

/// Queues that lanes are looking at.
#[derive(Debug)]
struct Asked<'a> {
    queues: &'a [Arc<QueueHandle>],
    /// By lane; none of a lane that has none of the queues.
    answers: Vec<Option<oneshot::Receiver<Vec<Option<QueueReport>>>>>,
}

impl<'a> Inspections<'a> {
    /// What the lanes say of the next queues; those that are deleted by now are left out. `None`: there are no more.
    pub async fn next(&mut self) -> Option<Vec<(&'a Arc<QueueHandle>, QueueReport)>> {
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => self.ask()?,
        };
        let mut reports = Vec::with_capacity(asked.answers.len());
        for answer in asked.answers {
            // A lane that has ended has no queues.
            let answered = match answer {
                Some(answer) => answer.await.unwrap_or_default(),
                None => Vec::new(),
            };
            reports.push(answered.into_iter());
        }
        self.asked = self.ask();
        let told = asked.queues.iter().filter_map(|queue| {
            let of_lane = reports.get_mut(usize::from(queue.key.lane))?;
            Some((queue, of_lane.next()??))
        });
        Some(told.collect())
    }

    fn ask(&mut self) -> Option<Asked<'a>> {
        let (queues, rest) = self.rest.split_at(self.rest.len().min(QUEUES_AN_OPERATION));
        self.rest = rest;
        if queues.is_empty() {
            return None;
        }
        let mut by_lane: Vec<Vec<QueueId>> = vec![Vec::new(); self.broker.lanes().len()];
        for queue in queues {
            by_lane[usize::from(queue.key.lane)].push(queue.key.id);
        }
        let answers = (0u16..).zip(by_lane).map(|(lane, queues)| {
            let (reply, answer) = oneshot::channel();
            let is_asked = !queues.is_empty();
            if is_asked {
                let op = Op::Inspect(Inspection { queues, is_close: self.is_close, reply });
                self.broker.lane(lane).send(self.broker.system_mailbox(), vec![op], 0);
            }
            is_asked.then_some(answer)
        });
        Some(Asked { queues, answers: answers.collect() })
    }
}

fn summary(connected: &Connected) -> ConnectionSummary {
    ConnectionSummary {
        id: connected.mailbox.id(),
        user: connected.user.clone(),
        vhost: connected.vhost.clone(),
        info: connected.info.clone(),
        connected_at: connected.connected_at,
    }
}
