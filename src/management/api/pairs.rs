//! What a channel, an exchange or a queue shows of those that messages come from and go to: `publishes`, `deliveries`,
//! `incoming`, `outgoing`. The lists are empty unless `management.rates_mode` is `detailed`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::connections::{channel_name, put_channel_details};
use crate::broker::{ConnectionId, ConnectionSummary, QueueHandle, QueueId, Vhost};
use crate::management::Management;
use crate::management::histories::Histories;
use crate::management::history::Past;
use crate::management::ranges::{Ranges, put};
use crate::management::record::Record;
use crate::management::series::{DELIVERED, PUBLISHED, Series};

/// Whom something passes to or comes from.
enum Partner<'a> {
    Channel(&'a ConnectionSummary, u16),
    Exchange(&'a str),
    Queue(&'a QueueHandle),
}

impl Partner<'_> {
    fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Channel(connection, number) => channel_name(connection, *number).into(),
            Self::Exchange(name) => Cow::Borrowed(name),
            Self::Queue(queue) => Cow::Borrowed(&queue.name),
        }
    }

    fn put(&self, record: &mut Record<'_>, management: &Management, vhost: &Vhost) {
        let kind = match self {
            Self::Channel(connection, number) => {
                return record
                    .object("channel_details", |own| put_channel_details(own, management, connection, *number));
            }
            Self::Exchange(_) => "exchange",
            Self::Queue(_) => "queue",
        };
        record.object(kind, |own| {
            own.put("name", &*self.name());
            own.put("vhost", &**vhost.name());
        });
    }
}

/// What passes to or from a partner: as it was last, and before.
struct Told<'a> {
    partner: Partner<'a>,
    now: &'a [u64],
    past: &'a dyn Past,
}

/// By the partners' names.
fn told<'a, K: Hash + Eq, const N: usize>(
    histories: &'a Histories<K, N>,
    partner: impl Fn(&'a K) -> Option<Partner<'a>>,
) -> Vec<Told<'a>> {
    let told = histories.iter().filter_map(|(key, now, past)| Some(Told { partner: partner(key)?, now, past }));
    let mut told: Vec<_> = told.collect();
    told.sort_by(|a, b| a.partner.name().cmp(&b.partner.name()));
    told
}

/// The lists of one object of a vhost.
pub(super) struct Pairs<'a> {
    management: &'a Management,
    vhost: &'a Vhost,
    ranges: Ranges,
    /// Partners there are; those that are gone are not told of.
    channels: HashMap<ConnectionId, ConnectionSummary>,
    queues: HashMap<QueueId, Arc<QueueHandle>>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(management: &'a Management, vhost: &'a Vhost, ranges: Ranges) -> Self {
        let (mut channels, mut queues) = (HashMap::new(), HashMap::new());
        if management.rates().pairs().is_some() {
            let connections = management.broker().connections().into_iter();
            let own = connections.filter(|connection| connection.vhost.name() == vhost.name());
            channels.extend(own.map(|connection| (connection.id, connection)));
            queues.extend(vhost.queues().into_iter().map(|queue| (queue.key.id, queue)));
        }
        Self { management, vhost, ranges, channels, queues }
    }

    fn channel(&self, (connection, number): (ConnectionId, u16)) -> Option<Partner<'_>> {
        self.channels.get(&connection).map(|connection| Partner::Channel(connection, number))
    }

    fn queue(&self, id: QueueId) -> Option<Partner<'_>> {
        self.queues.get(&id).map(|queue| Partner::Queue(queue))
    }

    fn put(&self, record: &mut Record<'_>, name: &'static str, told: &[Told<'_>], series: &[Series]) {
        record.list(name, told, |Told { partner, now, past }, record| {
            partner.put(record, self.management, self.vhost);
            record.object("stats", |stats| put(stats, series, now, Some(*past), self.ranges.msg_rates));
        });
    }

    /// `publishes` and `deliveries`.
    pub(super) fn put_of_channel(&self, record: &mut Record<'_>, channel: (ConnectionId, u16)) {
        let Some(pairs) = self.management.rates().pairs() else {
            return put_none(record, ["publishes", "deliveries"]);
        };
        {
            let publishes = pairs.publishes();
            let to = told(&publishes, |(own, name)| (*own == channel).then(|| Partner::Exchange(name)));
            self.put(record, "publishes", &to, &PUBLISHED);
        }
        let deliveries = pairs.deliveries();
        let from = told(&deliveries, |(own, queue)| (*own == channel).then(|| self.queue(*queue))?);
        self.put(record, "deliveries", &from, &DELIVERED);
    }

    /// `incoming` and `outgoing`.
    pub(super) fn put_of_exchange(&self, record: &mut Record<'_>, name: &str) {
        let Some(pairs) = self.management.rates().pairs() else {
            return put_none(record, ["incoming", "outgoing"]);
        };
        {
            let publishes = pairs.publishes();
            let from = told(&publishes, |(channel, own)| (**own == *name).then(|| self.channel(*channel))?);
            self.put(record, "incoming", &from, &PUBLISHED);
        }
        let arrivals = pairs.arrivals();
        let to = told(&arrivals, |(queue, own)| (**own == *name).then(|| self.queue(*queue))?);
        self.put(record, "outgoing", &to, &PUBLISHED[..1]);
    }

    /// `incoming` and `deliveries`.
    pub(super) fn put_of_queue(&self, record: &mut Record<'_>, id: QueueId) {
        let Some(pairs) = self.management.rates().pairs() else {
            return put_none(record, ["incoming", "deliveries"]);
        };
        {
            let arrivals = pairs.arrivals();
            let from = told(&arrivals, |(own, name)| (*own == id).then(|| Partner::Exchange(name)));
            self.put(record, "incoming", &from, &PUBLISHED[..1]);
        }
        let deliveries = pairs.deliveries();
        let to = told(&deliveries, |(channel, own)| (*own == id).then(|| self.channel(*channel))?);
        self.put(record, "deliveries", &to, &DELIVERED);
    }
}

fn put_none(record: &mut Record<'_>, names: [&'static str; 2]) {
    names.into_iter().for_each(|name| record.put(name, [(); 0]));
}
