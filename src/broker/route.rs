//! From an exchange and a key to the queues: walking exchanges, and a per-connection cache of what came out.

use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::backlog::{Hold, delay_ms};
use super::dedup::{self, Admission, Id};
use super::event::{QueueId, QueueKey};
use super::exchange::Routable;
use super::message::{Message, More, Sharing};
use super::recent_history;
use super::reply_to::Requester;
use super::traffic::{Passed, Passing};
use super::vhost::{Destination, Exchange, QueueHandle, Vhost};
use crate::hashing::Hashing;

/// Routes a connection remembers.
const CACHED_ROUTES_MAX: usize = 1024;
/// A client that remembers so many starts over after this many publishes by queues' names that it does not remember:
/// those it remembers may be of yesterday.
const LOOKUPS_A_START: u32 = 64 * 1024;

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
    /// Not to queues only.
    Detour(Arc<Detour>),
}

/// A route that takes a message to more than queues.
#[derive(Debug)]
pub(super) struct Detour {
    pub(super) queues: Targets,
    /// Exchanges that hold it back.
    pub(super) held: Vec<Hold>,
    /// Exchanges that keep a copy.
    pub(super) remembering: Vec<Arc<Exchange>>,
    /// What is to be noted behind it by every lane that gets it.
    pub(super) admitted: Vec<Arc<Admission>>,
}

impl Targets {
    /// The lanes of its queues, each once.
    pub(super) fn lanes_of_queues(&self) -> SmallVec<[u16; 4]> {
        match self {
            Self::Nowhere | Self::Reply(_) => SmallVec::new(),
            Self::One(queue) => SmallVec::from_slice(&[queue.lane]),
            Self::Many(lanes) => lanes.iter().map(|targets| targets.lane).collect(),
            Self::Detour(detour) => detour.queues.lanes_of_queues(),
        }
    }

    /// How many confirms will come from lanes.
    pub(super) fn lanes(&self) -> u16 {
        match self {
            Self::Nowhere | Self::Reply(_) => 0,
            Self::One(_) => 1,
            Self::Many(lanes) => lanes.len() as u16,
            // A message passes few exchanges that delay.
            Self::Detour(detour) => detour.queues.lanes() + detour.held.len() as u16,
        }
    }

    /// What a message is to know that takes this route, if several queues get it.
    pub(super) fn more(&self) -> Option<Box<More>> {
        match self {
            Self::Nowhere | Self::One(_) | Self::Reply(_) => None,
            Self::Many(lanes) => Some(More::of_shared(Sharing::of_writers(lanes.len() as u16))),
            Self::Detour(detour) => detour.queues.more(),
        }
    }

    /// Queues that it goes to; a requester counts as one.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Nowhere => 0,
            Self::One(_) | Self::Reply(_) => 1,
            // A vhost never has 2^32 queues.
            Self::Many(lanes) => lanes.iter().map(|targets| targets.queues.len() as u32).sum(),
            Self::Detour(detour) => detour.queues.count(),
        }
    }

    /// It goes somewhere, be it to a requester that is gone (DR-6). What is only held back counts as routed nowhere
    /// (XT-10).
    pub(super) fn is_routed(&self) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Detour(detour) => detour.queues.is_routed(),
            _ => true,
        }
    }

    /// What a walk for these keys has found.
    pub(super) fn new(vhost: &Arc<Vhost>, found: &Found, keys: &[&str]) -> Self {
        let queues = Self::of_queues(&found.queues);
        if found.held.is_empty() && found.remembering.is_empty() && found.admitted.is_empty() {
            return queues;
        }
        let held = found.holds(vhost, keys);
        let (remembering, admitted) = (found.remembering.to_vec(), found.admitted.to_vec());
        Self::Detour(Arc::new(Detour { queues, held, remembering, admitted }))
    }

    fn of_queues(queues: &[Arc<QueueHandle>]) -> Self {
        match queues {
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

/// What a walk finds: the queues a message is routed to, each once (RO-2), and what else is to be done with it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) queues: SmallVec<[Arc<QueueHandle>; 4]>,
    /// Exchanges that hold it back, and for how many ms.
    pub(super) held: SmallVec<[(Arc<Exchange>, u64); 1]>,
    /// Exchanges that keep it for queues bound later.
    pub(super) remembering: SmallVec<[Arc<Exchange>; 1]>,
    /// What is to be noted behind it.
    pub(super) admitted: SmallVec<[Arc<Admission>; 1]>,
    /// Exchanges seen, so that a cycle ends.
    seen: SmallVec<[Arc<str>; 4]>,
    /// The next message of this key may go elsewhere: some exchange on the way looks at more, or does more.
    is_unique: bool,
}

impl Found {
    /// What exchanges are to hold back of a message with these keys.
    pub(super) fn holds(&self, vhost: &Arc<Vhost>, keys: &[&str]) -> Vec<Hold> {
        let more: Option<Arc<[Box<str>]>> = (keys.len() > 1).then(|| keys.iter().map(|key| Box::from(*key)).collect());
        let hold = |(exchange, delay_ms): &(Arc<Exchange>, u64)| Hold {
            vhost: vhost.clone(),
            exchange: exchange.clone(),
            keys: more.clone(),
            delay_ms: *delay_ms,
        };
        self.held.iter().map(hold).collect()
    }

    /// The message as it is to be sent to each of the queues, if there are several.
    pub(super) fn shared(&self, message: &Message) -> Option<Message> {
        let writers = u16::try_from(self.queues.len()).ok().filter(|queues| *queues > 1)?;
        Some(message.shared_anew(Some(More::of_shared(Sharing::of_writers(writers)))))
    }

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
    /// Finds where a message goes. It is the same walk however the message comes to the exchange: published, from
    /// another exchange, dead-lettered or after a delay. The time in ms is asked for if it matters.
    pub(super) fn route(&self, exchange: &Arc<Exchange>, message: &Routable<'_>, now_ms: &dyn Fn() -> u64) -> Found {
        let mut found = Found::default();
        let mut walk: SmallVec<[Arc<Exchange>; 4]> = SmallVec::new();
        found.seen.push(exchange.name.clone());
        walk.push(exchange.clone());
        while let Some(exchange) = walk.pop() {
            let mut next: SmallVec<[Arc<str>; 4]> = SmallVec::new();
            let routed = match passes(&exchange, message, now_ms, &mut found) {
                Passes::On => self.route_one(&exchange, message, &mut found, &mut next),
                // Whether it is routed nowhere shows when its time has come.
                Passes::Later => true,
                Passes::Never => false,
            };
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
        message: &Routable<'_>,
        found: &mut Found,
        next: &mut SmallVec<[Arc<str>; 4]>,
    ) -> bool {
        let mut routed = false;
        if exchange.name.is_empty() {
            for key in message.keys {
                if let Some(queue) = self.queue(key) {
                    routed = true;
                    found.add(&queue);
                }
            }
            return routed;
        }
        let bindings = exchange.bindings.read().unwrap_or_else(PoisonError::into_inner);
        found.is_unique |= !bindings.routes_by_key_alone();
        bindings.route(message, &mut |destination| {
            routed = true;
            match destination {
                Destination::Queue(queue) => found.add(queue),
                Destination::Exchange(name) => next.push(name.clone()),
            }
        });
        routed
    }
}

/// Whether an exchange lets a message on to its bindings.
enum Passes {
    On,
    Later,
    /// A duplicate.
    Never,
}

/// What an exchange does with a message before its bindings are looked at.
fn passes(exchange: &Arc<Exchange>, message: &Routable<'_>, now_ms: &dyn Fn() -> u64, found: &mut Found) -> Passes {
    if exchange.options.is_plain() {
        return Passes::On;
    }
    found.is_unique = true;
    let headers = message.properties.headers;
    if exchange.options.delays
        && let Some(delay_ms) = delay_ms(headers)
    {
        found.held.push((exchange.clone(), delay_ms));
        return Passes::Later;
    }
    if let Some(headers) = headers
        && let Some(seen) = &exchange.seen
        && let Some(id) = Id::of(headers)
    {
        let admitted =
            seen.lock().unwrap_or_else(PoisonError::into_inner).admit(&id, dedup::cache_ttl_ms(headers), now_ms());
        let Some(expires_ms) = admitted else { return Passes::Never };
        if exchange.number.is_some() && message.properties.delivery_mode == Some(2) {
            found.admitted.push(Arc::new(Admission { exchange: exchange.clone(), id, expires_ms }));
        }
    }
    if exchange.history.is_some() && !recent_history::is_excluded(headers) {
        found.remembering.push(exchange.clone());
    }
    Passes::On
}

/// A route as it was at one version of everything it depends on.
#[derive(Clone, Debug)]
pub(super) struct CachedRoute {
    pub(super) targets: Targets,
    versions: Versions,
    /// The default exchange's only target: that route is good as long as the queue lives, whatever else changes.
    queue: Option<Arc<QueueHandle>>,
    passed: Arc<Passed>,
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
        if found.is_unique {
            return None;
        }
        let by_default = exchange.name.is_empty();
        let queue = match found.queues.as_slice() {
            [one] if by_default => Some(one.clone()),
            // A queue of that name may come at any time, without a binding being made.
            _ if by_default => return None,
            _ => None,
        };
        Some(Self { targets: Targets::of_queues(&found.queues), versions, queue, passed: exchange.passed.clone() })
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
    known: Vec<Known>,
    /// Where each address is in `known`.
    places: HashTable<u32>,
    hasher: Hashing,
    /// In `known`.
    last: Option<u32>,
    /// Messages that took the last one and are not in `passing` yet.
    uses: u64,
    /// Publishes that were looked up since it was full.
    lookups: u32,
    passing: Passing,
}

#[derive(Debug)]
struct Known {
    address: Box<[u8]>,
    route: CachedRoute,
}

impl RouteCache {
    #[inline]
    pub(super) fn get(&mut self, address: &[u8], now: Versions) -> Option<&Targets> {
        if self.last().is_none_or(|last| *last.address != *address) {
            self.look_up(address);
        }
        self.last().filter(|last| last.route.is_valid(now)).map(|last| &last.route.targets)
    }

    /// Makes the route of this address the last one used.
    #[inline(never)]
    fn look_up(&mut self, address: &[u8]) {
        self.settle_last();
        self.last = self.place_of(address);
    }

    fn last(&self) -> Option<&Known> {
        self.known.get(self.last? as usize)
    }

    fn place_of(&self, address: &[u8]) -> Option<u32> {
        let is_same = |at: &u32| self.known.get(*at as usize).is_some_and(|known| *known.address == *address);
        self.places.find(self.hasher.hash_one(address), is_same).copied()
    }

    /// A message takes the route that was got last.
    pub(super) fn count_last(&mut self) {
        self.uses += 1;
    }

    /// A message takes a route that was not in the cache, from an exchange with this.
    pub(super) fn count(&mut self, passed: &Arc<Passed>, targets: &Targets) {
        self.passing.add(passed, 1, targets.count().into());
    }

    fn settle_last(&mut self) {
        let uses = std::mem::take(&mut self.uses);
        if uses > 0
            && let Some(Known { route, .. }) = self.last.and_then(|at| self.known.get(at as usize))
        {
            self.passing.add(&route.passed, uses, uses * u64::from(route.targets.count()));
        }
    }

    /// Adds to the exchanges' own numbers what was counted here.
    pub(super) fn tell_passed(&mut self) {
        self.settle_last();
        self.passing.flush();
    }

    /// It is full, and a publish that is not in it is better looked up than put in: whoever publishes to many queues in
    /// turn would put every message's route in, and out again before it is used.
    pub(super) fn is_crowded(&mut self) -> bool {
        if self.known.len() < CACHED_ROUTES_MAX {
            return false;
        }
        self.lookups += 1;
        if self.lookups == LOOKUPS_A_START {
            self.start_over();
        }
        true
    }

    pub(super) fn insert(&mut self, address: &[u8], route: CachedRoute) {
        self.settle_last();
        if let Some(known) = self.place_of(address).and_then(|at| self.known.get_mut(at as usize)) {
            known.route = route;
            return;
        }
        if self.known.len() >= CACHED_ROUTES_MAX {
            self.start_over();
        }
        // Far from 2^32.
        let at = self.known.len() as u32;
        self.known.push(Known { address: address.into(), route });
        let Self { known, places, hasher, .. } = self;
        let hash_at = |at: &u32| known.get(*at as usize).map_or(0, |known| hasher.hash_one(&*known.address));
        places.insert_unique(hash_at(&at), at, hash_at);
    }

    fn start_over(&mut self) {
        self.settle_last();
        self.last = None;
        self.known.clear();
        self.places.clear();
        self.lookups = 0;
    }
}
