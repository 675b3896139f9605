//! What the numbers of a sample are, with RabbitMQ's names.

use super::history::Read;
use super::machine::Machine;
use crate::broker::{BrokerTotals, ChannelReport, Counters, PublishCounts, QueueReport, Traffic};

// What happened to messages stands first in samples of queues, channels and vhosts.
const PUBLISH: usize = 0;
const DELIVER: usize = 1;
const DELIVER_NO_ACK: usize = 2;
const GET: usize = 3;
const GET_NO_ACK: usize = 4;
const GET_EMPTY: usize = 5;
const REDELIVER: usize = 6;
const ACK: usize = 7;
pub(super) const COUNTERS_LEN: usize = 8;

pub(super) const QUEUE_LEN: usize = COUNTERS_LEN + 2;
const QUEUE_READY: usize = 8;
const QUEUE_UNACKED: usize = 9;

// And what only publishers know stands next in those of channels and vhosts.
const CONFIRM: usize = 8;
const RETURN: usize = 9;
const DROP: usize = 10;
pub(super) const CHANNEL_LEN: usize = COUNTERS_LEN + 3;

pub(super) const VHOST_LEN: usize = CHANNEL_LEN + 4;
const READY: usize = 11;
const UNACKED: usize = 12;
const RECEIVED: usize = 13;
const SENT: usize = 14;

pub(super) const CONNECTION_LEN: usize = 2;
pub(super) const EXCHANGE_LEN: usize = 2;
pub(super) const NODE_LEN: usize = 11;

pub(super) type ChannelSample = [u64; CHANNEL_LEN];

/// A number with its name.
#[derive(Clone, Copy)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// Where its rate and samples stand.
    pub(super) details: &'static str,
    pub(super) read: Read,
}

/// A number's name, and how it is read out of a sample.
macro_rules! series {
    ($name:literal, $read:expr) => {
        Series { name: $name, details: concat!($name, "_details"), read: $read }
    };
}

/// Nothing is counted.
pub(super) const fn nothing(_: &[u64]) -> u64 {
    0
}

/// Of a queue.
pub(super) const LENGTHS: [Series; 3] = [
    series!("messages", |values| values[QUEUE_READY] + values[QUEUE_UNACKED]),
    series!("messages_ready", |values| values[QUEUE_READY]),
    series!("messages_unacknowledged", |values| values[QUEUE_UNACKED]),
];

/// Of a vhost.
pub(super) const VHOST_LENGTHS: [Series; 3] = [
    series!("messages", |values| values[READY] + values[UNACKED]),
    series!("messages_ready", |values| values[READY]),
    series!("messages_unacknowledged", |values| values[UNACKED]),
];

/// Of a vhost.
pub(super) const VHOST_OCTETS: [Series; 2] =
    [series!("recv_oct", |values| values[RECEIVED]), series!("send_oct", |values| values[SENT])];

/// Of a connection.
pub(super) const OCTETS: [Series; 2] =
    [series!("recv_oct", |values| values[0]), series!("send_oct", |values| values[1])];

/// Of an exchange.
pub(super) const EXCHANGE: [Series; 2] =
    [series!("publish_in", |values| values[0]), series!("publish_out", |values| values[1])];

/// `message_stats` of what came in; a queue knows the first only.
pub(super) const PUBLISHED: [Series; 4] = [
    series!("publish", |values| values[PUBLISH]),
    series!("confirm", |values| values[CONFIRM]),
    series!("return_unroutable", |values| values[RETURN]),
    series!("drop_unroutable", |values| values[DROP]),
];

/// `message_stats` of RabbitMQ's store, which has none here.
pub(super) const DISK: [Series; 2] = [series!("disk_reads", nothing), series!("disk_writes", nothing)];

/// `message_stats` of what went out.
pub(super) const DELIVERED: [Series; 8] = [
    series!("deliver", |values| values[DELIVER]),
    series!("deliver_no_ack", |values| values[DELIVER_NO_ACK]),
    series!("get", |values| values[GET]),
    series!("get_no_ack", |values| values[GET_NO_ACK]),
    series!("get_empty", |values| values[GET_EMPTY]),
    series!("deliver_get", |values| values[DELIVER] + values[DELIVER_NO_ACK] + values[GET] + values[GET_NO_ACK]),
    series!("redeliver", |values| values[REDELIVER]),
    series!("ack", |values| values[ACK]),
];

/// Of the node.
pub(super) const MACHINE: [Series; 4] = [
    series!("mem_used", |values| values[0]),
    series!("fd_used", |values| values[1]),
    series!("disk_free", |values| values[2]),
    series!("sockets_used", |values| values[3]),
];

/// Of the node, too: what came and went.
pub(super) const CHURN: [Series; 7] = [
    series!("connection_created", |values| values[4]),
    series!("connection_closed", |values| values[5]),
    series!("channel_created", |values| values[6]),
    series!("channel_closed", |values| values[7]),
    series!("queue_declared", |values| values[8]),
    series!("queue_created", |values| values[9]),
    series!("queue_deleted", |values| values[10]),
];

/// Counters of RabbitMQ's store and metadata that count nothing here.
pub(super) const ZERO_COUNTERS: [Series; 17] = [
    series!("gc_num", nothing),
    series!("gc_bytes_reclaimed", nothing),
    series!("context_switches", nothing),
    series!("io_read_count", nothing),
    series!("io_read_bytes", nothing),
    series!("io_write_count", nothing),
    series!("io_write_bytes", nothing),
    series!("io_sync_count", nothing),
    series!("io_seek_count", nothing),
    series!("io_reopen_count", nothing),
    series!("mnesia_ram_tx_count", nothing),
    series!("mnesia_disk_tx_count", nothing),
    series!("msg_store_read_count", nothing),
    series!("msg_store_write_count", nothing),
    series!("queue_index_write_count", nothing),
    series!("queue_index_read_count", nothing),
    series!("proc_used", nothing),
];

/// And the means of their times.
pub(super) const ZERO_TIMES: [Series; 4] = [
    series!("io_read_avg_time", nothing),
    series!("io_write_avg_time", nothing),
    series!("io_sync_avg_time", nothing),
    series!("io_seek_avg_time", nothing),
];

fn counters(counters: &Counters, into: &mut [u64]) {
    let Counters { publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, redeliver, ack } = *counters;
    let values = [publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, redeliver, ack];
    into.iter_mut().zip(values).for_each(|(own, value)| *own += value);
}

pub(super) fn queue_sample(report: &QueueReport) -> [u64; QUEUE_LEN] {
    let mut sample = [0; QUEUE_LEN];
    counters(&report.counters, &mut sample);
    (sample[QUEUE_READY], sample[QUEUE_UNACKED]) = (report.ready, report.unacked);
    sample
}

pub(super) fn channel_sample(report: &ChannelReport) -> ChannelSample {
    let mut sample = [0; CHANNEL_LEN];
    counters(&report.counters, &mut sample);
    (sample[CONFIRM], sample[RETURN], sample[DROP]) = (report.confirmed, report.returned, report.dropped);
    sample
}

/// What a channel has published to an exchange.
pub(super) fn publish_sample(counts: &PublishCounts) -> ChannelSample {
    let mut sample = [0; CHANNEL_LEN];
    (sample[PUBLISH], sample[CONFIRM]) = (counts.publish, counts.confirmed);
    (sample[RETURN], sample[DROP]) = (counts.returned, counts.dropped);
    sample
}

/// What a channel has got from a queue.
pub(super) fn delivery_sample(own: &Counters) -> [u64; COUNTERS_LEN] {
    let mut sample = [0; COUNTERS_LEN];
    counters(own, &mut sample);
    sample
}

/// What is known of a vhost, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct VhostSample {
    pub(super) values: [u64; VHOST_LEN],
    /// Of its queues.
    pub(super) consumers: usize,
}

impl VhostSample {
    pub(super) fn add(&mut self, other: &Self) {
        self.consumers += other.consumers;
        self.values.iter_mut().zip(other.values).for_each(|(own, other)| *own += other);
    }

    /// What came into queues is not what was published: a message may go to several, or to none.
    fn add_counters(&mut self, of_queues: &Counters) {
        counters(&Counters { publish: 0, ..*of_queues }, &mut self.values);
    }

    pub(super) fn add_queue(&mut self, report: &QueueReport) {
        self.consumers += report.consumers.len();
        self.add_counters(&report.counters);
        self.values[READY] += report.ready;
        self.values[UNACKED] += report.unacked;
    }

    pub(super) fn add_octets(&mut self, (received, sent): (u64, u64)) {
        self.values[RECEIVED] += received;
        self.values[SENT] += sent;
    }

    fn add_published(&mut self, publish: u64, confirm: u64, returned: u64, dropped: u64) {
        for (at, count) in [(PUBLISH, publish), (CONFIRM, confirm), (RETURN, returned), (DROP, dropped)] {
            self.values[at] += count;
        }
    }

    /// What no queue and no open connection knows.
    pub(super) fn add_traffic(&mut self, traffic: &Traffic) {
        self.add_published(traffic.publish, traffic.confirmed, traffic.returned, traffic.dropped);
        self.add_counters(&traffic.gone);
        self.add_octets((traffic.received_bytes, traffic.sent_bytes));
    }

    /// The same of all vhosts, those included that are deleted.
    pub(super) fn add_totals(&mut self, totals: &BrokerTotals) {
        self.add_published(totals.publish, totals.confirmed, totals.return_unroutable, totals.drop_unroutable);
        self.add_counters(&totals.gone);
        self.add_octets((totals.received_bytes, totals.sent_bytes));
    }
}

pub(super) fn node_sample(machine: &Machine, connections: u64, totals: &BrokerTotals) -> [u64; NODE_LEN] {
    [
        machine.resident_bytes,
        machine.descriptors,
        machine.disk_free_bytes,
        connections,
        totals.connection_created,
        totals.connection_closed,
        totals.channel_created,
        totals.channel_closed,
        totals.queue_declared,
        totals.queue_created,
        totals.queue_deleted,
    ]
}
