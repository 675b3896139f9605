//! What listings show of queues, connections and the broker as a whole. Nobody counts for it on the way of a message
//! beyond adding to numbers of its own; whoever wants to know sends an operation to the lanes, a few queues each, or an
//! event to the connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::event::{ChannelKey, Event, OwnerKey, QueueId, QueueKey};
use super::inbox::Op;
use super::mailbox::ConnectionId;
use super::vhost::{QueueHandle, Vhost};
use super::{Broker, Connected};
use crate::wire::Table;

/// Queues that a lane looks at in one operation: some microseconds of its time.
const QUEUES_AN_OPERATION: usize = 128;

/// What happened to messages of a queue, or of a channel, since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Came in.
    pub publish: u64,
    /// Delivered to consumers that ack.
    pub deliver: u64,
    /// Delivered to consumers that do not.
    pub deliver_no_ack: u64,
    /// Got, to be acked.
    pub get: u64,
    /// Got, not to be acked.
    pub get_no_ack: u64,
    /// Gets that found nothing.
    pub get_empty: u64,
    /// Delivered or got once more.
    pub redeliver: u64,
    /// Acked.
    pub ack: u64,
}

impl Counters {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.publish += other.publish;
        self.deliver += other.deliver;
        self.deliver_no_ack += other.deliver_no_ack;
        self.get += other.get;
        self.get_no_ack += other.get_no_ack;
        self.get_empty += other.get_empty;
        self.redeliver += other.redeliver;
        self.ack += other.ack;
    }
}

/// A queue as its lane sees it.
#[derive(Clone, Debug)]
pub struct QueueReport {
    /// Messages that wait.
    pub ready: u64,
    /// Bytes of their bodies.
    pub ready_bytes: u64,
    /// Messages that are out.
    pub unacked: u64,
    /// Bytes of their bodies.
    pub unacked_bytes: u64,
    /// What happened so far.
    pub counters: Counters,
    /// Since it was last used, ms.
    pub idle_ms: u64,
    /// In the order they came.
    pub consumers: Vec<ConsumerPlace>,
}

/// A consumer as its queue sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsumerPlace {
    /// Whose it is.
    pub connection: ConnectionId,
    /// On which channel.
    pub channel: ChannelKey,
    /// Its name at the queue.
    pub owner: OwnerKey,
    /// Messages go to it; false for one that waits behind a single active one.
    pub is_active: bool,
    /// It could take a message now.
    pub has_credit: bool,
}

/// A connection as everybody may see it without asking it.
#[derive(Clone, Debug)]
pub struct ConnectionSummary {
    /// Which one.
    pub id: ConnectionId,
    /// Who.
    pub user: Arc<str>,
    /// Where.
    pub vhost: Arc<Vhost>,
    /// What the client and the handshake said.
    pub info: Arc<super::ConnectionInfo>,
    /// Since when.
    pub connected_at: SystemTime,
}

/// How an open connection stands with publishing (FL-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConnectionState {
    /// It may.
    #[default]
    Running,
    /// It is slowed, for it is ahead of its queues (FL-3).
    Flow,
    /// An alarm is on, which it has not noticed, since it does not publish.
    Blocking,
    /// It published during the alarm, and is not read until that is over (FL-1).
    Blocked,
}

impl ConnectionState {
    /// RabbitMQ's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Flow => "flow",
            Self::Blocking => "blocking",
            Self::Blocked => "blocked",
        }
    }
}

/// What only a connection itself knows.
#[derive(Clone, Debug, Default)]
pub struct ConnectionReport {
    /// Bytes read.
    pub received_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Bytes written.
    pub sent_bytes: u64,
    /// Writes.
    pub writes: u64,
    /// How it stands with publishing.
    pub state: ConnectionState,
    /// Its channels, by number.
    pub channels: Vec<ChannelReport>,
}

/// A channel.
#[derive(Clone, Debug, Default)]
pub struct ChannelReport {
    /// Its number.
    pub number: u16,
    /// In confirm mode.
    pub confirm: bool,
    /// In transactions.
    pub transactional: bool,
    /// For consumers that start from now on.
    pub prefetch: u16,
    /// For all of them together.
    pub global_prefetch: u16,
    /// Deliveries that are out.
    pub unacked: u64,
    /// Publishes not confirmed yet.
    pub unconfirmed: u64,
    /// Publishes that wait for a commit.
    pub uncommitted: u64,
    /// Acks that wait for a commit.
    pub acks_uncommitted: u64,
    /// Those that were told consume-ok.
    pub consumers: Vec<ConsumerReport>,
    /// What it did so far.
    pub counters: Counters,
    /// Publishes that were confirmed, or refused.
    pub confirmed: u64,
    /// Publishes that were routed nowhere and returned.
    pub returned: u64,
    /// Publishes that were routed nowhere and dropped.
    pub dropped: u64,
}

/// A consumer as its channel sees it.
#[derive(Clone, Debug)]
pub struct ConsumerReport {
    /// Its tag.
    pub tag: String,
    /// Deliveries count as acked at once.
    pub no_ack: bool,
    /// Nobody else may consume.
    pub exclusive: bool,
    /// Unacked deliveries at once; 0 is without limit.
    pub prefetch: u16,
    /// `x-priority`, ...
    pub arguments: Table,
    /// Its queue.
    pub queue: QueueKey,
    /// Its name there.
    pub owner: OwnerKey,
}

/// Asks a lane about some of its queues.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) queues: Vec<QueueId>,
    reply: oneshot::Sender<Vec<(QueueId, QueueReport)>>,
}

impl Inspection {
    pub(super) fn answer(self, report: impl Fn(QueueId) -> Option<QueueReport>) {
        let reports = self.queues.iter().filter_map(|id| Some((*id, report(*id)?))).collect();
        // Whoever asked may have gone.
        let _ = self.reply.send(reports);
    }
}

/// Asks a connection about itself.
#[derive(Clone, Debug)]
pub struct Inquiry(mpsc::Sender<(ConnectionId, ConnectionReport)>);

impl Inquiry {
    /// Answers it.
    pub fn answer(&self, connection: ConnectionId, report: ConnectionReport) {
        // There is room for everybody who was asked; whoever asked may have gone.
        let _ = self.0.try_send((connection, report));
    }
}

/// What clients did, since the broker started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) publish: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) connections_created: AtomicU64,
    pub(super) connections_closed: AtomicU64,
    pub(super) channels_created: AtomicU64,
    pub(super) channels_closed: AtomicU64,
    pub(super) queues_declared: AtomicU64,
    pub(super) queues_created: AtomicU64,
    pub(super) queues_deleted: AtomicU64,
    pub(super) logins: AtomicU64,
    pub(super) logins_refused: AtomicU64,
    /// Of queues that are deleted.
    pub(super) gone: Mutex<Counters>,
}

/// [`Broker::totals`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BrokerTotals {
    /// Publishes, of all clients.
    pub publish: u64,
    /// Those that were routed nowhere and returned.
    pub return_unroutable: u64,
    /// Those that were routed nowhere and dropped.
    pub drop_unroutable: u64,
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
}

/// A client's publishes since it last told of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    pub(super) all: u32,
    pub(super) returned: u32,
    pub(super) dropped: u32,
}

impl Totals {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Once for each batch, not for each message.
    pub(super) fn published(&self, published: Published) {
        self.publish.fetch_add(published.all.into(), Ordering::Relaxed);
        if published.returned > 0 {
            self.returned.fetch_add(published.returned.into(), Ordering::Relaxed);
        }
        if published.dropped > 0 {
            self.dropped.fetch_add(published.dropped.into(), Ordering::Relaxed);
        }
    }
}

impl Broker {
    /// What clients did, since the broker started.
    pub fn totals(&self) -> BrokerTotals {
        let totals = &self.0.totals;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerTotals {
            publish: read(&totals.publish),
            return_unroutable: read(&totals.returned),
            drop_unroutable: read(&totals.dropped),
            connection_created: read(&totals.connections_created),
            connection_closed: read(&totals.connections_closed),
            channel_created: read(&totals.channels_created),
            channel_closed: read(&totals.channels_closed),
            queue_declared: read(&totals.queues_declared),
            queue_created: read(&totals.queues_created),
            queue_deleted: read(&totals.queues_deleted),
            logins: read(&totals.logins),
            logins_refused: read(&totals.logins_refused),
            gone: *totals.gone.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Asks the lanes about queues, a few at a time, so that no lane stops for long however many there are. Queues that
    /// are deleted meanwhile are left out.
    pub async fn inspect_queues(&self, queues: &[Arc<QueueHandle>]) -> HashMap<QueueId, QueueReport> {
        let mut by_lane: Vec<Vec<QueueId>> = vec![Vec::new(); self.lanes().len()];
        for queue in queues {
            by_lane[usize::from(queue.key.lane)].push(queue.key.id);
        }
        let mut reports = HashMap::with_capacity(queues.len());
        let longest = by_lane.iter().map(Vec::len).max().unwrap_or_default();
        for from in (0..longest).step_by(QUEUES_AN_OPERATION) {
            let mut answers = Vec::new();
            for (lane, ids) in (0u16..).zip(&by_lane) {
                let Some(rest) = ids.get(from..).filter(|rest| !rest.is_empty()) else { continue };
                let (reply, answer) = oneshot::channel();
                let queues = rest[..rest.len().min(QUEUES_AN_OPERATION)].to_vec();
                let op = Op::Inspect(Inspection { queues, reply });
                self.lane(lane).send(self.system_mailbox(), vec![op], 0);
                answers.push(answer);
            }
            for answer in answers {
                // A lane that has ended has no queues.
                reports.extend(answer.await.unwrap_or_default());
            }
        }
        reports
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
    ) -> HashMap<ConnectionId, ConnectionReport> {
        let mut reports = HashMap::with_capacity(connections.len());
        let (sender, mut receiver) = mpsc::channel(connections.len().max(1));
        for id in connections {
            if let Some(connected) = self.0.connections.get(id) {
                connected.mailbox.put_one(Event::Inquiry(Inquiry(sender.clone())));
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

fn summary(connected: &Connected) -> ConnectionSummary {
    ConnectionSummary {
        id: connected.mailbox.id(),
        user: connected.user.clone(),
        vhost: connected.vhost.clone(),
        info: connected.info.clone(),
        connected_at: connected.connected_at,
    }
}

/// What the handshake told of a connection, for listings.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// Who.
    pub peer: Option<SocketAddr>,
    /// Where.
    pub local: Option<SocketAddr>,
    /// `PLAIN`, ...
    pub auth_mechanism: String,
    /// As the client sent them.
    pub client_properties: Table,
    /// Largest frame, in bytes.
    pub frame_max: u32,
    /// Channels at once.
    pub channel_max: u16,
    /// Heartbeat interval, in seconds.
    pub heartbeat_s: u16,
}
