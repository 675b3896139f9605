//! What a scrape gathers before it writes.

use std::sync::Arc;
use std::time::Duration;

use super::Scrape;
use super::families::{CHANNELS, CONNECTIONS, LOGIN_SOURCE, QUEUES};
use super::text::Labels;
use crate::broker::{
    BrokerTotals, ChannelReport, ConnectionReport, LoginCounts, LoginSource, QueueHandle, QueueReport, QueueType, Vhost,
};
use crate::management::Management;
use crate::management::machine::Machine;

/// How long connections have to answer; one whose client does not read is left out.
const PATIENCE: Duration = Duration::from_millis(50);

/// A queue at the moment of a scrape.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) handle: Arc<QueueHandle>,
    pub(super) labels: Labels,
    pub(super) report: QueueReport,
}

impl Queue {
    pub(super) fn info(&self) -> Labels {
        let kind = type_label(self.handle.options.queue_type);
        let (vhost, queue) = (&*self.handle.vhost, &*self.handle.name);
        Labels::new([("vhost", vhost), ("queue", queue), ("queue_type", kind), ("membership", "leader")])
    }
}

/// RabbitMQ's module of a type.
pub(super) fn type_label(queue_type: QueueType) -> &'static str {
    match queue_type {
        QueueType::Classic => "rabbit_classic_queue",
        QueueType::Quorum => "rabbit_quorum_queue",
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) totals: BrokerTotals,
    pub(super) machine: Machine,
    pub(super) connection_count: usize,
    pub(super) queue_count: usize,
    pub(super) vhosts: Vec<Arc<Vhost>>,
    pub(super) login_sources: Vec<(Labels, LoginCounts)>,
    pub(super) queues: Vec<Queue>,
    pub(super) connections: Vec<(Labels, ConnectionReport)>,
    pub(super) channels: Vec<(Labels, ChannelReport)>,
}

impl Snapshot {
    pub(super) async fn take(scrape: &Scrape, management: &Management) -> Self {
        let broker = management.broker();
        let mut vhosts = broker.vhosts();
        vhosts.sort_by(|a, b| a.name().cmp(b.name()));
        let mut snapshot = Self {
            totals: broker.totals(),
            machine: management.machine(),
            connection_count: broker.connection_count(),
            queue_count: vhosts.iter().map(|vhost| vhost.queue_count()).sum(),
            vhosts,
            login_sources: Vec::new(),
            queues: Vec::new(),
            connections: Vec::new(),
            channels: Vec::new(),
        };
        if *scrape != Scrape::Aggregated && scrape.wants(LOGIN_SOURCE) {
            snapshot.login_sources = broker.login_sources().into_iter().map(of_source).collect();
        }
        if QUEUES.iter().any(|family| scrape.wants(family.group)) {
            snapshot.ask_queues(scrape, management).await;
        }
        let connection_groups = CONNECTIONS.iter().map(|family| family.group);
        if connection_groups.chain(CHANNELS.iter().map(|family| family.group)).any(|group| scrape.wants(group)) {
            snapshot.ask_connections(scrape, management).await;
        }
        snapshot
    }

    async fn ask_queues(&mut self, scrape: &Scrape, management: &Management) {
        let mut handles = Vec::new();
        for vhost in self.vhosts.iter().filter(|vhost| scrape.wants_vhost(vhost.name())) {
            let mut own = vhost.queues();
            own.retain(|queue| scrape.wants_queue(&queue.name));
            handles.append(&mut own);
        }
        let has_labels = *scrape != Scrape::Aggregated;
        self.queues.reserve(handles.len());
        let mut inspections = management.broker().inspections(&handles);
        while let Some(some) = inspections.next().await {
            self.queues.extend(some.into_iter().map(|(handle, report)| {
                let labels = match has_labels {
                    true => Labels::new([("vhost", &handle.vhost), ("queue", &handle.name)]),
                    false => Labels::default(),
                };
                Queue { handle: handle.clone(), labels, report }
            }));
        }
    }

    async fn ask_connections(&mut self, scrape: &Scrape, management: &Management) {
        let mut connections = management.broker().connections();
        connections.retain(|connection| scrape.wants_vhost(connection.vhost.name()));
        let ids: Vec<_> = connections.iter().map(|connection| connection.id).collect();
        let mut reports = management.broker().inspect_connections(&ids, PATIENCE).await;
        for connection in connections {
            let Some(report) = reports.remove(&connection.id) else { continue };
            let name = &connection.info.name;
            for channel in &report.channels {
                let labels = Labels::new([
                    ("channel", &*format!("{name} ({})", channel.number)),
                    ("vhost", connection.vhost.name()),
                ]);
                self.channels.push((labels, channel.clone()));
            }
            self.connections.push((Labels::new([("channel", name)]), report));
        }
    }
}

fn of_source((source, counts): (LoginSource, LoginCounts)) -> (Labels, LoginCounts) {
    let (address, user) = (source.address.to_string(), &*source.user);
    (Labels::new([("remote_address", &*address), ("username", user), ("protocol", source.protocol)]), counts)
}
