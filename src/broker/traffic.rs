//! What went through a vhost, an exchange or a connection. Whoever is busy there counts for itself, and adds up here once
//! a batch or once a read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Broker;
use super::mailbox::ConnectionId;
use super::reports::Counters;
use super::vhost::{Exchange, Vhost};

/// Exchanges that a client counts for at a time.
const PASSING_MAX: usize = 16;

/// A client's publishes since it last told of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    pub(super) all: u32,
    pub(super) confirmable: u32,
    pub(super) confirmed: u32,
    pub(super) routed: u32,
    pub(super) returned: u32,
    pub(super) dropped: u32,
}

/// Of a vhost.
#[derive(Debug, Default)]
pub(super) struct VhostTraffic {
    publish: AtomicU64,
    confirmable: AtomicU64,
    confirmed: AtomicU64,
    routed: AtomicU64,
    returned: AtomicU64,
    dropped: AtomicU64,
    /// Of connections that are closed.
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// Of queues that are deleted.
    gone: Mutex<Counters>,
}

/// [`Vhost::traffic`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Publishes of clients.
    pub publish: u64,
    /// Those that wanted a confirm.
    pub confirmable: u64,
    /// Those that were told ack.
    pub confirmed: u64,
    /// Queues that publishes went to.
    pub routed: u64,
    /// Those that were routed nowhere and returned.
    pub returned: u64,
    /// Those that were routed nowhere and dropped.
    pub dropped: u64,
    /// Bytes that connections read which are closed.
    pub received_bytes: u64,
    /// And wrote.
    pub sent_bytes: u64,
    /// What happened to messages of queues that are deleted.
    pub gone: Counters,
}

impl Traffic {
    /// Adds another's numbers.
    pub(super) fn add(&mut self, other: &Self) {
        self.publish += other.publish;
        self.confirmable += other.confirmable;
        self.confirmed += other.confirmed;
        self.routed += other.routed;
        self.returned += other.returned;
        self.dropped += other.dropped;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.gone.add(&other.gone);
    }
}

impl VhostTraffic {
    /// Once for each batch, not for each message.
    pub(super) fn published(&self, published: Published) {
        let Published { all, confirmable, confirmed, routed, returned, dropped } = published;
        let counts = [
            (&self.publish, all),
            (&self.confirmable, confirmable),
            (&self.confirmed, confirmed),
            (&self.routed, routed),
            (&self.returned, returned),
            (&self.dropped, dropped),
        ];
        for (total, count) in counts {
            if count > 0 {
                total.fetch_add(count.into(), Ordering::Relaxed);
            }
        }
    }

    /// A connection has ended.
    pub(super) fn connection_closed(&self, octets: &Octets) {
        let (received, sent) = octets.both();
        self.received_bytes.fetch_add(received, Ordering::Relaxed);
        self.sent_bytes.fetch_add(sent, Ordering::Relaxed);
    }

    /// A queue has ended.
    pub(super) fn queue_deleted(&self, counters: &Counters) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).add(counters);
    }
}

impl Vhost {
    /// What clients did here since it was made; what happened in its queues they know themselves.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let own = &self.traffic;
        Traffic {
            publish: read(&own.publish),
            confirmable: read(&own.confirmable),
            confirmed: read(&own.confirmed),
            routed: read(&own.routed),
            returned: read(&own.returned),
            dropped: read(&own.dropped),
            received_bytes: read(&own.received_bytes),
            sent_bytes: read(&own.sent_bytes),
            gone: *own.gone.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Bytes that a connection has read and written.
#[derive(Debug, Default)]
pub(super) struct Octets {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Octets {
    pub(super) fn put_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn put_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    fn both(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// An open connection's traffic, known without asking it.
#[derive(Clone, Debug)]
pub struct ConnectionTraffic {
    /// Which one.
    pub id: ConnectionId,
    /// Its vhost's name.
    pub vhost: Arc<str>,
    /// Bytes read.
    pub received_bytes: u64,
    /// Bytes written.
    pub sent_bytes: u64,
}

impl Broker {
    /// What the open connections have read and written.
    pub fn connection_traffic(&self) -> Vec<ConnectionTraffic> {
        let one = |connected: &super::Connected| {
            let (received_bytes, sent_bytes) = connected.octets.both();
            let vhost = connected.vhost.name().clone();
            ConnectionTraffic { id: connected.mailbox.id(), vhost, received_bytes, sent_bytes }
        };
        self.0.connections.iter().map(|connected| one(&connected)).collect()
    }
}

/// Publishes to an exchange, and the queues they went to.
#[derive(Debug, Default)]
pub(super) struct Passed {
    published: AtomicU64,
    routed: AtomicU64,
}

impl Exchange {
    /// Publishes of clients to it, and how many copies of them queues got.
    pub fn published(&self) -> (u64, u64) {
        (self.passed.published.load(Ordering::Relaxed), self.passed.routed.load(Ordering::Relaxed))
    }
}

/// What one client has published to exchanges since it last told of it.
#[derive(Debug, Default)]
pub(super) struct Passing(Vec<(Arc<Passed>, u64, u64)>);

impl Passing {
    pub(super) fn add(&mut self, exchange: &Arc<Passed>, published: u64, routed: u64) {
        if let Some(known) = self.0.iter_mut().find(|(own, ..)| Arc::ptr_eq(own, exchange)) {
            known.1 += published;
            known.2 += routed;
            return;
        }
        if self.0.len() >= PASSING_MAX {
            self.flush();
            self.0.clear();
        }
        self.0.push((exchange.clone(), published, routed));
    }

    pub(super) fn flush(&mut self) {
        for (exchange, published, routed) in &mut self.0 {
            if *published > 0 {
                exchange.published.fetch_add(std::mem::take(published), Ordering::Relaxed);
            }
            if *routed > 0 {
                exchange.routed.fetch_add(std::mem::take(routed), Ordering::Relaxed);
            }
        }
    }
}
