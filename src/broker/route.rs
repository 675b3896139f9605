//! From an exchange and a key to the queues: walking exchanges, and a per-connection cache of what came out.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use smallvec::SmallVec;

use super::event::{QueueId, QueueKey};
use super::exchange::ExchangeType;
use super::reply_to::Requester;
use super::vhost::{Destination, Exchange, QueueHandle, Vhost};
use crate::wire::RawTable;

/// Routes a connection remembers; beyond that it starts over.
const CACHED_ROUTES_MAX: usize = 1024;

/// The queues of one lane that a message goes to.
#[derive(Clone, Debug)]
pub(super) struct LaneTargets {
    pub(super) lane: u16,
    pub(super) queues: Arc<[QueueId]>,
}

/// Where a message goes.
#[derive(Clone, Debug)]
pub(super) enum Targets {
    Nowhere,
    One(QueueKey),
    /// By lane.
    Many(Arc<[LaneTargets]>),
    /// Straight to whoever asked; nobody if the requester is gone.
    Reply(Option<Arc<Requester>>),
}

impl Targets {
    /// How many lanes will confirm.
    pub(super) fn lanes(&self) -> u16 {
        match self {
            Self::Nowhere | Self::Reply(_) => 0,
            Self::One(_) => 1,
            Self::Many(lanes) => lanes.len() as u16,
        }
    }

    /// It goes somewhere, be it to a requester that is gone (DR-6).
    pub(super) fn is_routed(&self) -> bool {
        !matches!(self, Self::Nowhere)
    }

    pub(super) fn new(found: &Found) -> Self {
        match found.queues.as_slice() {
            [] => Self::Nowhere,
            [one] => Self::One(one.key),
            many => {
                let mut by_lane: Vec<(u16, Vec<QueueId>)> = Vec::new();
                for queue in many {
                    match by_lane.iter_mut().find(|(lane, _)| *lane == queue.key.lane) {
                        Some((_, queues)) => queues.push(queue.key.id),
                        None => by_lane.push((queue.key.lane, vec![queue.key.id])),
                    }
                }
                Self::Many(
                    by_lane.into_iter().map(|(lane, queues)| LaneTargets { lane, queues: queues.into() }).collect(),
                )
            }
        }
    }
}

/// The queues a message is routed to, each once (RO-2).
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) queues: SmallVec<[Arc<QueueHandle>; 4]>,
    /// Exchanges seen, so that a cycle ends.
    seen: SmallVec<[Arc<str>; 4]>,
    /// Some exchange on the way looks at headers: the key alone does not tell the route.
    by_headers: bool,
}

impl Found {
    fn add(&mut self, queue: &Arc<QueueHandle>) {
        // Most messages go to few queues; for the others a scan would be quadratic.
        if self.queues.len() < 16 && self.queues.iter().any(|known| known.key == queue.key) {
            return;
        }
        self.queues.push(queue.clone());
    }

    fn remove_duplicates(&mut self) {
        if self.queues.len() > 16 {
            self.queues.sort_unstable_by_key(|queue| (queue.key.lane, queue.key.id));
            self.queues.dedup_by_key(|queue| queue.key);
        }
    }
}

impl Vhost {
    /// Finds the queues for a message with these routing keys (the first its own, the others from CC and BCC).
    pub(super) fn route(&self, exchange: &Arc<Exchange>, keys: &[&str], headers: Option<RawTable<'_>>) -> Found {
        let mut found = Found::default();
        let mut walk: SmallVec<[Arc<Exchange>; 4]> = SmallVec::new();
        found.seen.push(exchange.name.clone());
        walk.push(exchange.clone());
        while let Some(exchange) = walk.pop() {
            let mut next: SmallVec<[Arc<str>; 4]> = SmallVec::new();
            let routed = self.route_one(&exchange, keys, headers, &mut found, &mut next);
            // RO-5: the alternate exchange is for what the exchange itself routes nowhere.
            if !routed {
                next.extend(exchange.alternate());
            }
            for name in next {
                if found.seen.contains(&name) {
                    continue;
                }
                found.seen.push(name.clone());
                walk.extend(self.exchange(&name));
            }
        }
        found.remove_duplicates();
        found
    }

    /// One step: queues are added to `found`, exchanges to `next`. False: no binding matched.
    fn route_one(
        &self,
        exchange: &Exchange,
        keys: &[&str],
        headers: Option<RawTable<'_>>,
        found: &mut Found,
        next: &mut SmallVec<[Arc<str>; 4]>,
    ) -> bool {
        let mut routed = false;
        if exchange.name.is_empty() {
            for key in keys {
                if let Some(queue) = self.queue(key) {
                    routed = true;
                    found.add(&queue);
                }
            }
            return routed;
        }
        let bindings = exchange.bindings.read().unwrap_or_else(PoisonError::into_inner);
        found.by_headers |= bindings.depends_on_headers();
        // An exchange that does not look at the key is asked once, or each key would route again.
        let keys =
            if matches!(exchange.kind, ExchangeType::Fanout | ExchangeType::Headers) { &keys[..1] } else { keys };
        for key in keys {
            bindings.route(key, headers, &mut |destination| {
                routed = true;
                match destination {
                    Destination::Queue(queue) => found.add(queue),
                    Destination::Exchange(name) => next.push(name.clone()),
                }
            });
        }
        routed
    }
}

/// A route as it was at one version of everything it depends on.
#[derive(Clone, Debug)]
pub(super) struct CachedRoute {
    pub(super) targets: Targets,
    versions: Versions,
    /// The default exchange's only target: that route is good as long as the queue lives, whatever else changes.
    queue: Option<Arc<QueueHandle>>,
}

/// What a cached decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Versions {
    pub(super) vhost: u64,
    pub(super) auth: u64,
}

impl CachedRoute {
    /// `None` if the route must be found anew for each message.
    pub(super) fn new(exchange: &Exchange, found: &Found, versions: Versions) -> Option<Self> {
        if found.by_headers {
            return None;
        }
        let by_default = exchange.name.is_empty();
        let queue = match found.queues.as_slice() {
            [one] if by_default => Some(one.clone()),
            // A queue of that name may come at any time, without a binding being made.
            _ if by_default => return None,
            _ => None,
        };
        Some(Self { targets: Targets::new(found), versions, queue })
    }

    fn is_valid(&self, now: Versions) -> bool {
        match &self.queue {
            Some(queue) => self.versions.auth == now.auth && queue.is_alive(),
            None => self.versions == now,
        }
    }
}

/// Routes by address (`exchange shortstr | routing-key shortstr`). The last one used is looked at first.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    last: Option<(Box<[u8]>, CachedRoute)>,
    by_address: HashMap<Box<[u8]>, CachedRoute, foldhash::fast::RandomState>,
}

impl RouteCache {
    pub(super) fn get(&mut self, address: &[u8], now: Versions) -> Option<&Targets> {
        let is_last = self.last.as_ref().is_some_and(|(last, route)| **last == *address && route.is_valid(now));
        if !is_last {
            let route = self.by_address.get(address).filter(|route| route.is_valid(now))?;
            self.last = Some((address.into(), route.clone()));
        }
        self.last.as_ref().map(|(_, route)| &route.targets)
    }

    pub(super) fn insert(&mut self, address: &[u8], route: CachedRoute) {
        if self.by_address.len() >= CACHED_ROUTES_MAX {
            self.by_address.clear();
        }
        self.by_address.insert(address.into(), route);
    }
}
