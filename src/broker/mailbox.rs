//! A connection's mailbox: lanes put events in, the connection's task takes them out. And the two byte counts that
//! keep both directions bounded.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::event::Event;

/// Deliveries waiting in a mailbox above this many bytes make its consumers not-ready: an unread socket costs this
/// much, however much the queue holds.
const DELIVERIES_BYTES_MAX: usize = 1 << 20;

/// What a connection may have on its way to the lanes, in bytes, before its socket is no longer read.
const INFLIGHT_BYTES_MAX: usize = 1 << 20;

/// Names a connection for the life of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<Event>,
    /// Of the deliveries among `events`.
    bytes: usize,
    waker: Option<Waker>,
}

/// One per connection, shared by the connection's task and the lanes.
#[derive(Debug)]
pub struct Mailbox {
    id: ConnectionId,
    /// In whose name it sends.
    user: Arc<str>,
    inbox: Mutex<Inbox>,
    /// `Inbox::bytes`, to be read without the lock.
    deliveries_bytes: AtomicUsize,
    /// Lanes (one bit each, the last for all beyond 63) that hold messages back for this connection.
    stalled_lanes: AtomicU64,
    /// Bytes of operations sent to lanes and not yet worked through.
    inflight_bytes: AtomicUsize,
    /// The task stopped reading its socket and wants to be woken when `inflight_bytes` falls.
    congested: AtomicBool,
}

impl Mailbox {
    pub(super) fn new(id: ConnectionId, user: Arc<str>) -> Self {
        Self {
            id,
            user,
            inbox: Mutex::default(),
            deliveries_bytes: AtomicUsize::new(0),
            stalled_lanes: AtomicU64::new(0),
            inflight_bytes: AtomicUsize::new(0),
            congested: AtomicBool::new(false),
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// Puts events in, in order, and wakes the connection once. `bytes` counts their deliveries. Leaves `events` empty.
    pub(super) fn put(&self, events: &mut Vec<Event>, bytes: usize) {
        let waker = {
            let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.bytes += bytes;
            self.deliveries_bytes.store(inbox.bytes, Ordering::SeqCst);
            if inbox.events.is_empty() {
                mem::swap(&mut inbox.events, events);
            } else {
                inbox.events.append(events);
            }
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts a single event in.
    pub(super) fn put_one(&self, event: Event) {
        self.put(&mut vec![event], 0);
    }

    /// Takes everything out; or, false, has `waker` called when there is something.
    pub(super) fn take(&self, into: &mut Vec<Event>, waker: &Waker) -> bool {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.events.is_empty() {
            if !inbox.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
                inbox.waker = Some(waker.clone());
            }
            return false;
        }
        if into.is_empty() {
            mem::swap(&mut inbox.events, into);
        } else {
            into.append(&mut inbox.events);
        }
        inbox.bytes = 0;
        self.deliveries_bytes.store(0, Ordering::SeqCst);
        true
    }

    /// Lanes that held back since the last call, as bits. Called after [`Self::take`].
    pub(super) fn take_stalled(&self) -> u64 {
        if self.stalled_lanes.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        self.stalled_lanes.swap(0, Ordering::SeqCst)
    }

    /// As many deliveries wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.deliveries_bytes.load(Ordering::Relaxed) >= DELIVERIES_BYTES_MAX
    }

    /// A lane holds messages back until the connection says otherwise. False: there is room by now, go on.
    pub(super) fn stall(&self, lane: u16) -> bool {
        self.stalled_lanes.fetch_or(lane_bit(lane), Ordering::SeqCst);
        // The task may have taken everything between the check and the mark, and would then not look again.
        if self.deliveries_bytes.load(Ordering::SeqCst) == 0 {
            self.stalled_lanes.fetch_and(!lane_bit(lane), Ordering::SeqCst);
            return false;
        }
        true
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.inflight_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A lane has worked through `bytes` of this connection's operations.
    pub(super) fn worked(&self, bytes: usize) {
        let before = self.inflight_bytes.fetch_sub(bytes, Ordering::SeqCst);
        if before >= INFLIGHT_BYTES_MAX && self.congested.swap(false, Ordering::SeqCst) {
            let waker = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The connection's share of the lanes is used up. If so, the task is woken when that changes.
    pub(super) fn is_congested(&self) -> bool {
        if self.inflight_bytes.load(Ordering::Relaxed) < INFLIGHT_BYTES_MAX {
            return false;
        }
        self.congested.store(true, Ordering::SeqCst);
        self.inflight_bytes.load(Ordering::SeqCst) >= INFLIGHT_BYTES_MAX
    }
}

/// The bit of a lane in `stalled_lanes`; lanes beyond the 63rd share the last bit.
pub(super) fn lane_bit(lane: u16) -> u64 {
    1 << lane.min(63)
}
