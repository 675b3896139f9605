//! What lanes and connections say of themselves in listings, and the questions that they answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::event::{ChannelKey, OwnerKey, QueueId, QueueKey};
use super::mailbox::ConnectionId;
use super::pairs::ChannelPairs;
use super::queue::{Death, QueueType};
use super::vhost::Vhost;
use crate::wire::Table;

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

/// Messages that queues gave up, since the broker started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deaths {
    /// By type of the queue, strategy and reason.
    counts: [[[u64; Death::COUNT]; DeathStrategy::COUNT]; QueueType::COUNT],
    /// Dead letters that arrived where they were to arrive at least once.
    pub confirmed: u64,
}

/// What a queue does with messages that it gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeathStrategy {
    /// It drops them.
    Disabled,
    /// It sends them off.
    AtMostOnce,
    /// It has them until they have arrived.
    AtLeastOnce,
}

impl DeathStrategy {
    pub(super) const COUNT: usize = 3;
}

impl Deaths {
    pub(super) fn count(&mut self, queue_type: QueueType, strategy: DeathStrategy, death: Death) {
        self.counts[queue_type as usize][strategy as usize][death as usize] += 1;
    }

    /// How many messages of such queues died in this way.
    pub fn of(&self, queue_type: QueueType, strategy: DeathStrategy, death: Death) -> u64 {
        self.counts[queue_type as usize][strategy as usize][death as usize]
    }

    /// Adds another's numbers.
    pub(super) fn add(&mut self, other: &Self) {
        let own = self.counts.as_flattened_mut().as_flattened_mut();
        for (own, other) in own.iter_mut().zip(other.counts.as_flattened().as_flattened()) {
            *own += other;
        }
        self.confirmed += other.confirmed;
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
    /// Messages, of both kinds, that a restart would not lose.
    pub persistent: u64,
    /// Bytes of their bodies.
    pub persistent_bytes: u64,
    /// What only a quorum queue has.
    pub quorum: Option<Box<QuorumReport>>,
    /// Messages that came in, by the exchange they were published to; none unless [`Options::counts_pairs`].
    ///
    /// [`Options::counts_pairs`]: super::Options::counts_pairs
    pub incoming: Vec<(Arc<str>, u64)>,
    /// When the oldest message was sent, as its publisher says, in seconds since 1970. Only by
    /// [`Broker::inspect_queue`](super::Broker::inspect_queue) and [`Broker::close_inspections`](super::Broker::close_inspections).
    pub head_timestamp_s: Option<u64>,
    /// What happened so far.
    pub counters: Counters,
    /// Since it was last used, ms.
    pub idle_ms: u64,
    /// In the order they came.
    pub consumers: Vec<ConsumerPlace>,
    /// Tag of the consumer that gets the messages, if only one may.
    pub single_active_tag: Option<Arc<str>>,
    /// Tag of the consumer beside which there may be no other.
    pub exclusive_tag: Option<Arc<str>>,
}

/// What a quorum queue has beside what all have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuorumReport {
    /// Channels that have published to it and are open.
    pub publishers: usize,
    /// How many waiting messages have which priority, those that came back aside.
    pub by_priority: Vec<(u8, u64)>,
    /// Waiting messages that came back.
    pub returned: u64,
    /// Messages that came back and wait until they are delivered again.
    pub delayed: u64,
    /// Dead letters that have not arrived yet where they are to arrive at least once.
    pub dead_letters: u64,
    /// Bytes of their bodies.
    pub dead_letters_bytes: u64,
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
    /// What passed between it and others; nothing unless [`Options::counts_pairs`].
    ///
    /// [`Options::counts_pairs`]: super::Options::counts_pairs
    pub pairs: ChannelPairs,
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
    /// It is about messages, too.
    pub(super) is_close: bool,
    /// For each of them, in their order; none of one that is gone.
    pub(super) reply: oneshot::Sender<Vec<Option<QueueReport>>>,
}

impl Inspection {
    pub(super) fn answer(self, report: impl Fn(QueueId, bool) -> Option<QueueReport>) {
        let reports = self.queues.iter().map(|id| report(*id, self.is_close)).collect();
        // Whoever asked may have gone.
        let _ = self.reply.send(reports);
    }
}

/// Asks a connection about itself.
#[derive(Clone, Debug)]
pub struct Inquiry {
    reply: mpsc::Sender<(ConnectionId, ConnectionReport)>,
    /// Nobody wants to know who consumes.
    pub is_brief: bool,
}

impl Inquiry {
    pub(super) fn new(reply: mpsc::Sender<(ConnectionId, ConnectionReport)>, is_brief: bool) -> Self {
        Self { reply, is_brief }
    }

    /// Answers it.
    pub fn answer(&self, connection: ConnectionId, report: ConnectionReport) {
        // There is room for everybody who was asked; whoever asked may have gone.
        let _ = self.reply.try_send((connection, report));
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
    /// If it speaks TLS.
    pub tls: Option<Arc<TlsReport>>,
}

/// What a TLS handshake came to, in the words of RabbitMQ's listings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsReport {
    /// `tlsv1.2` or `tlsv1.3`.
    pub protocol: &'static str,
    /// `ecdhe_rsa`, ...
    pub key_exchange: &'static str,
    /// `aes_256_gcm`, ...
    pub cipher: &'static str,
    /// `aead`.
    pub hash: &'static str,
    /// The client's, if it has shown one.
    pub certificate: Option<CertificateReport>,
}

/// A certificate, in the same words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CertificateReport {
    /// `CN=hare,O=Field`.
    pub subject: String,
    /// The same of who has signed it.
    pub issuer: String,
    /// From when to when.
    pub validity: String,
    /// In hexadecimal.
    pub serial_number: String,
}
