//! The broker: virtual hosts with exchanges, queues and bindings; lanes that own the queues; clients' doors to both.
//! It knows no frames, sockets or HTTP. Start reading at [`Client`], which is all a protocol session sees, and at
//! [`Lane`], where messages live.

mod alarm;
mod auth_events;
mod backlog;
mod changes;
mod checkpoint;
mod client;
mod commits;
mod compaction;
mod dead_letter;
mod dedup;
mod definitions;
mod delayed;
mod effects;
mod event;
mod event_exchange;
mod event_log;
mod events;
pub mod exchange;
mod exchange_options;
mod export;
mod gathering;
mod held;
mod inbox;
mod inspect;
mod json;
mod keeper;
mod kept;
mod kept_definitions;
mod lane;
mod lane_log;
mod limiter;
mod loader;
mod log_exchange;
mod login_log;
mod login_sources;
mod mailbox;
mod message;
mod new_vhosts;
mod pairs;
mod parameter;
mod policy;
mod publish;
mod publishing;
mod queue;
mod receipts;
mod recent_history;
mod recover;
mod refusal;
mod relief;
mod replay;
mod reply_to;
mod reports;
mod request;
mod route;
mod shortage;
#[cfg(test)]
mod sim;
mod stored;
mod timers;
mod trace;
mod traffic;
mod vhost;
mod vhost_events;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;

use self::client::OPERATION_BYTES;
use self::commits::Commits;
use self::compaction::Move;
use self::events::{Events, INTERNAL};
use self::inbox::{LaneHandle, Op};
use self::inspect::Totals;
use self::keeper::Keeper;
use self::loader::Loader;
use self::queue::{Load, Queue};
use self::reply_to::Requesters;
use self::traffic::Octets;
use self::vhost::Vhosts;
use crate::auth::Auth;
use crate::hashing::Hashing;
use crate::replicate::{InMemory, OnDurable, Replicator};

pub use self::alarm::Watermark;
pub use self::client::{Client, Onward, VERDICTS_KEPT};
pub use self::definitions::DefinitionsError;
pub use self::event::{
    Alarm, Alarms, Answer, ChannelKey, Delivery, Event, Got, Outcome, OwnerKey, QueueId, QueueKey, Reply, Settlement,
    Source,
};
pub use self::inspect::{BrokerTotals, Inspections};
pub use self::json::{json_of_table, table_of_json};
pub use self::lane::{Lane, Turn};
pub use self::limiter::Limiter;
pub use self::login_sources::{LoginCounts, LoginSource};
pub use self::mailbox::{ConnectionId, Mailbox};
pub use self::message::{Body, Facts, LARGE_BODY_MIN, Message};
pub use self::new_vhosts::{DefaultLimits, DefaultPolicy, NewVhosts, NewVhostsError};
pub use self::pairs::{ChannelPairs, Pairs, PublishCounts};
pub use self::parameter::{GlobalParameter, Parameter, ParameterCheck, ParameterError};
pub use self::policy::{ApplyTo, Definition, InForce, Policy, PolicyError, PolicyKind, PolicySpec};
pub use self::publish::Publish;
pub use self::queue::{
    DeadLetterTarget, Death, DelayedRetry, Overflow, QueueOptions, QueueSettings, QueueType, Retried,
};
pub use self::recover::{RecoverError, message_of};
pub use self::refusal::{Named, Refusal};
pub use self::reports::{
    CertificateReport, ChannelReport, ConnectionReport, ConnectionState, ConnectionSummary, ConsumerPlace,
    ConsumerReport, Counters, DeathStrategy, Deaths, Handshake, Inquiry, QueueReport, QuorumReport, TlsReport,
};
pub use self::request::{ConnectionInfo, ConsumeSpec, ExchangeDeclare, Prepared, QueueDeclare, Routed};
pub use self::traffic::{ConnectionTraffic, Traffic};
pub use self::vhost::{DeleteVhostError, Destination, Exchange, QueueHandle, Vhost, VhostSettings};

/// The RabbitMQ whose behaviour this is, as told to clients and tools, which switch features on it.
pub const RABBITMQ_VERSION: &str = "4.3.6";

/// Enough for consumers that keep up, and little enough to be nobody's worry.
pub const MESSAGE_MEMORY_BYTES: usize = 64 << 20;

/// How a broker is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lanes, each owning a share of the queues; about one per core.
    pub lanes: u16,
    /// Connections at once (`connection_max`); `None` is without limit.
    pub connection_max: Option<u64>,
    /// What waiting messages may take in memory, in bytes, where there is a disk to page them out to.
    pub message_memory_bytes: usize,
    /// How long a delivery may go unsettled where nothing closer to it says (`consumer_timeout`).
    pub consumer_timeout: Duration,
    /// A dead letter goes on with the `x-death` that its publisher sent (DX-5).
    pub honours_client_deaths: bool,
    /// A quorum queue may be declared again as a classic one (QU-9).
    pub relaxed_redeclares: bool,
    /// What passes between two objects is counted.
    pub counts_pairs: bool,
    /// What vhosts begin with.
    pub new_vhosts: NewVhosts,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            lanes: u16::try_from(cores).unwrap_or(u16::MAX).clamp(1, 64),
            connection_max: None,
            message_memory_bytes: MESSAGE_MEMORY_BYTES,
            consumer_timeout: Duration::from_secs(30 * 60),
            honours_client_deaths: true,
            relaxed_redeclares: false,
            counts_pairs: false,
            new_vhosts: NewVhosts::default(),
        }
    }
}

/// A connection that is open.
struct Connected {
    mailbox: Arc<Mailbox>,
    vhost: Arc<Vhost>,
    user: Arc<str>,
    info: Arc<ConnectionInfo>,
    connected_at: SystemTime,
    octets: Arc<Octets>,
}

struct Shared {
    options: Options,
    auth: Auth,
    vhosts: Vhosts,
    lanes: OnceLock<Vec<LaneHandle>>,
    connections_made: AtomicU64,
    /// In whose name the broker itself sends operations to lanes.
    system: Arc<Mailbox>,
    connections: DashMap<ConnectionId, Connected, Hashing>,
    alarms: AtomicU8,
    requesters: Requesters,
    parameters: parameter::Registry,
    events: Arc<Events>,
    keeper: Arc<Keeper>,
    commits: Arc<Commits>,
    /// There is one if there is a disk.
    loader: OnceLock<Loader>,
    stopped: AtomicBool,
    totals: Totals,
    refused_logins: login_log::RefusedLogins,
    login_sources: login_sources::LoginSources,
    started: Instant,
    /// The clock when it started.
    started_ms: u64,
}

/// A cheap handle of one broker.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

impl Broker {
    /// A broker with no vhosts, and its lanes, which somebody must run: [`Lane::run`] or [`Lane::turn`].
    pub fn new(options: Options, auth: Auth) -> (Self, Vec<Lane>) {
        Self::with_replicators(options, auth, |_, _| Box::new(InMemory))
    }

    /// As [`Self::new`], with what keeps each lane's outcomes: `replicator` gets the lane's index and what to call when
    /// something more is durable.
    pub fn with_replicators(
        options: Options,
        auth: Auth,
        mut replicator: impl FnMut(u16, OnDurable) -> Box<dyn Replicator>,
    ) -> (Self, Vec<Lane>) {
        let lanes = options.lanes.max(1);
        let broker = Self(Arc::new(Shared {
            options,
            auth,
            vhosts: Vhosts::default(),
            lanes: OnceLock::new(),
            connections_made: AtomicU64::new(1),
            system: Arc::new(Mailbox::new(ConnectionId(0), INTERNAL.into())),
            connections: DashMap::default(),
            alarms: AtomicU8::new(0),
            requesters: Requesters::default(),
            parameters: parameter::Registry::default(),
            events: Arc::default(),
            keeper: Arc::default(),
            commits: Arc::new(Commits::new(unix_ms())),
            loader: OnceLock::new(),
            stopped: AtomicBool::new(false),
            totals: Totals::default(),
            refused_logins: login_log::RefusedLogins::default(),
            login_sources: login_sources::LoginSources::default(),
            started: Instant::now(),
            started_ms: unix_ms(),
        }));
        broker.watch_auth();
        let handles: Vec<LaneHandle> = (0..lanes).map(|_| LaneHandle::default()).collect();
        let lanes = (0..)
            .zip(&handles)
            .map(|(index, handle)| {
                let replicator = replicator(index, handle.on_durable());
                Lane::new(index, handle.clone(), broker.clone(), replicator)
            })
            .collect();
        let _ = broker.0.lanes.set(handles);
        (broker, lanes)
    }

    /// Users and permissions.
    pub fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// Adds a vhost; one that exists is left as it is.
    pub fn add_vhost(&self, name: &str) -> Arc<Vhost> {
        if let Some(vhost) = self.vhost(name) {
            return vhost;
        }
        let vhost = self.add_bare_vhost(name);
        self.0.options.new_vhosts.furnish(self, &vhost);
        vhost
    }

    /// The same for one that was there before, and has what it has.
    fn add_bare_vhost(&self, name: &str) -> Arc<Vhost> {
        let vhost = self.0.vhosts.add(name, &self.0.events, &self.0.keeper);
        self.0.keeper.system_changed();
        self.add_event_exchange(&vhost);
        self.events().tell("vhost.created", INTERNAL, || [("name", name.into())]);
        vhost
    }

    fn events(&self) -> &Events {
        &self.0.events
    }

    /// Looks a vhost up.
    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.0.vhosts.get(name)
    }

    /// All vhosts.
    pub fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.0.vhosts.all()
    }

    /// Deletes a vhost with all that is in it; its connections are closed (EC-27).
    pub fn delete_vhost(&self, name: &str) -> Result<(), DeleteVhostError> {
        let vhost = self.0.vhosts.remove_unprotected(name)?;
        self.close_where(|connected| Arc::ptr_eq(&connected.vhost, &vhost), &Refusal::VhostDeleted(name.into()));
        for queue in vhost.close() {
            let op = Op::Delete { queue: queue.clone(), reply: None, if_unused: false, if_empty: false };
            self.lane(queue.key.lane).send(self.system_mailbox(), vec![op], 0);
        }
        self.0.totals.gone_vhosts.lock().unwrap_or_else(PoisonError::into_inner).add(&vhost.traffic());
        self.0.auth.delete_vhost(name);
        self.0.keeper.system_changed();
        self.events().tell("vhost.deleted", INTERNAL, || [("name", name.into())]);
        Ok(())
    }

    /// Deletes a user; the user's connections are closed (EC-27). False: there was none.
    pub fn delete_user(&self, name: &str) -> bool {
        let deleted = self.0.auth.delete_user(name);
        if deleted {
            self.close_where(|connected| *connected.user == *name, &Refusal::UserDeleted(name.into()));
        }
        deleted
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.0.connections.len()
    }

    /// Closes every connection with connection.close 320 and this text (EC-28).
    pub fn close_connections(&self, text: &str) {
        self.close_where(|_| true, &Refusal::Forced(text.into()));
    }

    /// Closes the connections with this name (`peer -> local`, or the client's `connection_name`) with
    /// connection.close 320 and the reason (EC-26). Gives how many there were.
    pub fn close_connection(&self, name: &str, reason: &str) -> usize {
        let named = |connected: &Connected| {
            connected.info.name == name || connected.info.user_provided_name.as_deref() == Some(name)
        };
        self.close_where(named, &Refusal::Forced(reason.into()))
    }

    fn close_where(&self, chosen: impl Fn(&Connected) -> bool, refusal: &Refusal) -> usize {
        let mut closed = 0;
        for connected in self.0.connections.iter().filter(|connected| chosen(connected)) {
            connected.mailbox.put_one(Event::Close(Box::new(refusal.clone())));
            closed += 1;
        }
        closed
    }

    /// Ends the lanes, once they have done what was sent to them. Connections should be closed by then.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        for lane in self.lanes() {
            lane.close();
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    fn lanes(&self) -> &[LaneHandle] {
        self.0.lanes.get().map_or(&[], Vec::as_slice)
    }

    fn lane(&self, index: u16) -> &LaneHandle {
        &self.lanes()[usize::from(index)]
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    /// Has messages read from disk, and sent to the lane.
    fn load(&self, load: Load, lane: &LaneHandle) {
        if let Some(loader) = self.0.loader.get() {
            loader.load(load, lane);
        }
    }

    /// Has chunks written anew, and the lane told.
    fn rewrite(&self, moves: Vec<Move>, lane: &LaneHandle) {
        if let Some(loader) = self.0.loader.get() {
            loader.rewrite(moves, lane);
        }
    }

    /// Reads what lanes wait for, where there is no thread to do so.
    #[cfg(test)]
    fn read_loads(&self) {
        self.0.loader.get().into_iter().for_each(Loader::work_off);
    }

    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.0.connections_made.fetch_add(1, Ordering::Relaxed))
    }

    /// A new queue's place: queues go round the lanes.
    fn next_queue(&self) -> QueueKey {
        let id = self.0.keeper.number();
        let lanes = self.lanes().len().max(1) as u64;
        // A remainder of at most 64 lanes.
        QueueKey { lane: (id.0 % lanes) as u16, id }
    }

    fn system_mailbox(&self) -> &Arc<Mailbox> {
        &self.0.system
    }

    /// Finds the queue, or creates it in the name of `from`. The flag says that it was created.
    fn find_or_create_queue(
        &self,
        vhost: &Vhost,
        from: &Arc<Mailbox>,
        name: &str,
        options: QueueOptions,
    ) -> Result<(Arc<QueueHandle>, bool), Refusal> {
        vhost.find_or_create_queue(name, from.user(), || {
            let key = self.next_queue();
            let in_force = vhost.policies_now().for_queue(name, &options);
            let (name, in_vhost) = (name.into(), vhost.name().clone());
            let declared_by = from.user().clone();
            let handle = Arc::new(QueueHandle::new(key, name, in_vhost, Arc::new(options), declared_by, in_force));
            Totals::count(&self.0.totals.queues_created);
            let queue = self.new_queue(handle.clone());
            let written = vhost.keep_queue(&handle);
            // Before anybody can find the handle: their first operation must come behind this one.
            let operation = Op::Create { queue: Box::new(queue), written };
            self.lane(key.lane).send(from, vec![operation], OPERATION_BYTES);
            Ok(handle)
        })
    }

    /// How long a delivery may go unsettled where nothing closer to it says, in ms.
    pub fn consumer_timeout_ms(&self) -> u64 {
        u64::try_from(self.0.options.consumer_timeout.as_millis()).unwrap_or(u64::MAX)
    }

    /// An empty queue, not yet in its lane.
    fn new_queue(&self, handle: Arc<QueueHandle>) -> Queue {
        let timeout_ms = self.consumer_timeout_ms();
        let meter = self.lane(handle.key.lane).meter();
        let mut queue = Queue::new(handle, timeout_ms, self.clock_ms(Instant::now()), meter);
        if self.0.options.counts_pairs {
            queue.count_arrivals();
        }
        queue
    }

    /// A lane has deleted a queue.
    fn queue_deleted(&self, queue: &Arc<QueueHandle>, counters: &Counters, by: &str) {
        Totals::count(&self.0.totals.queues_deleted);
        let mut gone = self.0.totals.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone[queue.options.queue_type as usize].add(counters);
        drop(gone);
        if let Some(vhost) = self.vhost(&queue.vhost) {
            vhost.traffic.queue_deleted(counters);
            vhost.remove_queue(queue, by);
        }
    }

    /// The clock of everything that expires: milliseconds since 1970 as the system had them when the broker started,
    /// and from then on without its leaps.
    fn clock_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.0.started).as_millis();
        self.0.started_ms + u64::try_from(since).unwrap_or(u64::MAX / 2)
    }

    fn instant_of(&self, clock_ms: u64) -> Instant {
        // Ten years at most ahead, see TTL_MS_MAX; a clock that cannot say that far says "in a year".
        let year = Duration::from_secs(365 * 24 * 3600);
        let since_ms = clock_ms.saturating_sub(self.0.started_ms);
        self.0.started.checked_add(Duration::from_millis(since_ms)).unwrap_or_else(|| Instant::now() + year)
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("connections", &self.connection_count()).finish_non_exhaustive()
    }
}
