//! The families of metrics that are told of many objects of one kind, with RabbitMQ's names and groups.

use super::text::Kind::{self, Counter, Gauge};
use crate::broker::{ChannelReport, ConnectionReport, LoginCounts, QueueReport};
use crate::management::api::queues::{MESSAGE_BYTES, QUEUE_BYTES};

/// A number of each object of a kind.
pub(super) struct Family<T: 'static> {
    /// `family=` in `/metrics/detailed`.
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) value: fn(&T) -> f64,
}

const fn family<T>(
    group: &'static str,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> f64,
) -> Family<T> {
    Family { group, name, kind, help, value }
}

/// Where nothing counts.
fn nothing<T>(_: &T) -> f64 {
    0.0
}

fn messages(queue: &QueueReport) -> f64 {
    (queue.ready + queue.unacked) as f64
}

fn bytes(queue: &QueueReport) -> f64 {
    (queue.ready_bytes + queue.unacked_bytes) as f64
}

fn capacity(queue: &QueueReport) -> f64 {
    f64::from(u8::from(queue.consumers.iter().any(|consumer| consumer.is_active && consumer.has_credit)))
}

fn memory(queue: &QueueReport) -> f64 {
    QUEUE_BYTES as f64 + messages(queue) * MESSAGE_BYTES as f64 + bytes(queue)
}

pub(super) const LOGIN_SOURCE: &str = "auth_attempt_detailed_metrics";

/// Of sources of logins, if an operator wants them counted.
pub(super) const LOGIN_SOURCES: &[Family<LoginCounts>] = &[
    family(LOGIN_SOURCE, "auth_attempts_detailed_total", Counter, "Logins tried, by source", |l| l.all as f64),
    family(LOGIN_SOURCE, "auth_attempts_detailed_succeeded_total", Counter, "Logins that succeeded, by source", |l| {
        l.all.saturating_sub(l.refused) as f64
    }),
    family(LOGIN_SOURCE, "auth_attempts_detailed_failed_total", Counter, "Logins that were refused, by source", |l| {
        l.refused as f64
    }),
];

const COARSE: &str = "queue_coarse_metrics";
pub(super) const QUEUE_METRICS: &str = "queue_metrics";
pub(super) const QUEUE_CONSUMER_COUNT: &str = "queue_consumer_count";
const DELIVERY: &str = "queue_delivery_metrics";

/// Of queues.
pub(super) const QUEUES: &[Family<QueueReport>] = &[
    family(COARSE, "queue_messages_ready", Gauge, "Messages ready to be delivered to consumers", |q| q.ready as f64),
    family(COARSE, "queue_messages_unacked", Gauge, "Messages delivered but not acknowledged", |q| q.unacked as f64),
    family(COARSE, "queue_messages", Gauge, "Messages of a queue, ready and unacknowledged", messages),
    family(COARSE, "queue_process_reductions_total", Counter, "Always 0: a queue is no process", nothing),
    family(QUEUE_CONSUMER_COUNT, "queue_consumers", Gauge, "Consumers on a queue", |q| q.consumers.len() as f64),
    family(QUEUE_METRICS, "queue_consumer_capacity", Gauge, "1 if some consumer can take a message now", capacity),
    family(QUEUE_METRICS, "queue_consumer_utilisation", Gauge, "Same as consumer capacity", capacity),
    family(QUEUE_METRICS, "queue_process_memory_bytes", Gauge, "Memory of a queue in bytes, estimated", memory),
    family(QUEUE_METRICS, "queue_messages_ram", Gauge, "Messages in memory", messages),
    family(QUEUE_METRICS, "queue_messages_ram_bytes", Gauge, "Size of messages in memory", bytes),
    family(QUEUE_METRICS, "queue_messages_ready_ram", Gauge, "Ready messages in memory", |q| q.ready as f64),
    family(QUEUE_METRICS, "queue_messages_unacked_ram", Gauge, "Unacknowledged messages in memory", |q| {
        q.unacked as f64
    }),
    family(QUEUE_METRICS, "queue_messages_persistent", Gauge, "Messages that a restart would not lose", |q| {
        q.persistent as f64
    }),
    family(QUEUE_METRICS, "queue_messages_persistent_bytes", Gauge, "Size of those messages", |q| {
        q.persistent_bytes as f64
    }),
    family(QUEUE_METRICS, "queue_messages_bytes", Gauge, "Size of ready and unacknowledged messages", bytes),
    family(QUEUE_METRICS, "queue_messages_ready_bytes", Gauge, "Size of ready messages", |q| q.ready_bytes as f64),
    family(QUEUE_METRICS, "queue_messages_unacked_bytes", Gauge, "Size of unacknowledged messages", |q| {
        q.unacked_bytes as f64
    }),
    family(QUEUE_METRICS, "queue_disk_reads_total", Counter, "Always 0: reads are not counted by queue", nothing),
    family(QUEUE_METRICS, "queue_disk_writes_total", Counter, "Always 0: writes are not counted by queue", nothing),
    family("queue_exchange_metrics", "queue_exchange_messages_published_total", Counter, PUBLISHED, published),
    family("channel_queue_exchange_metrics", "queue_messages_published_total", Counter, PUBLISHED, published),
    family(DELIVERY, "queue_get_ack_total", Counter, "Messages got, to be acknowledged", |q| q.counters.get as f64),
    family(DELIVERY, "queue_get_total", Counter, "Messages got without acknowledgement", |q| {
        q.counters.get_no_ack as f64
    }),
    family(DELIVERY, "queue_messages_delivered_ack_total", Counter, "Messages delivered, to be acknowledged", |q| {
        q.counters.deliver as f64
    }),
    family(DELIVERY, "queue_messages_delivered_total", Counter, "Messages delivered without acknowledgement", |q| {
        q.counters.deliver_no_ack as f64
    }),
    family(DELIVERY, "queue_messages_redelivered_total", Counter, "Messages delivered or got once more", |q| {
        q.counters.redeliver as f64
    }),
    family(DELIVERY, "queue_messages_acked_total", Counter, "Messages acknowledged", |q| q.counters.ack as f64),
    family(DELIVERY, "queue_get_empty_total", Counter, "Gets that found no message", |q| q.counters.get_empty as f64),
];

const PUBLISHED: &str = "Messages that came into a queue";

fn published(queue: &QueueReport) -> f64 {
    queue.counters.publish as f64
}

const CHANNEL: &str = "channel_metrics";
const CHANNEL_EXCHANGE: &str = "channel_exchange_metrics";
const CHANNEL_QUEUE: &str = "channel_queue_metrics";

/// Of channels.
pub(super) const CHANNELS: &[Family<ChannelReport>] = &[
    family(CHANNEL, "channel_consumers", Gauge, "Consumers on a channel", |c| c.consumers.len() as f64),
    family(CHANNEL, "channel_messages_unacked", Gauge, "Messages delivered but not acknowledged", |c| c.unacked as f64),
    family(CHANNEL, "channel_messages_unconfirmed", Gauge, "Messages published but not confirmed", |c| {
        c.unconfirmed as f64
    }),
    family(CHANNEL, "channel_messages_uncommitted", Gauge, "Messages of a transaction that is not committed", |c| {
        c.uncommitted as f64
    }),
    family(
        CHANNEL,
        "channel_acks_uncommitted",
        Gauge,
        "Acknowledgements of a transaction that is not committed",
        |c| c.acks_uncommitted as f64,
    ),
    family(CHANNEL, "consumer_prefetch", Gauge, "Limit of unacknowledged messages for each consumer", |c| {
        f64::from(c.prefetch)
    }),
    family(CHANNEL, "channel_prefetch", Gauge, "Limit of unacknowledged messages for the channel", |c| {
        f64::from(c.global_prefetch)
    }),
    family("channel_process_metrics", "channel_process_reductions_total", Counter, "Always 0", nothing),
    family(CHANNEL_EXCHANGE, "channel_messages_published_total", Counter, "Messages published", |c| {
        c.counters.publish as f64
    }),
    family(CHANNEL_EXCHANGE, "channel_messages_confirmed_total", Counter, "Messages published and confirmed", |c| {
        c.confirmed as f64
    }),
    family(CHANNEL_EXCHANGE, "channel_messages_unroutable_returned_total", Counter, "Messages returned", |c| {
        c.returned as f64
    }),
    family(
        CHANNEL_EXCHANGE,
        "channel_messages_unroutable_dropped_total",
        Counter,
        "Messages dropped as unroutable",
        |c| c.dropped as f64,
    ),
    family(CHANNEL_QUEUE, "channel_get_ack_total", Counter, "Messages got, to be acknowledged", |c| {
        c.counters.get as f64
    }),
    family(CHANNEL_QUEUE, "channel_get_total", Counter, "Messages got without acknowledgement", |c| {
        c.counters.get_no_ack as f64
    }),
    family(
        CHANNEL_QUEUE,
        "channel_messages_delivered_ack_total",
        Counter,
        "Messages delivered, to be acknowledged",
        |c| c.counters.deliver as f64,
    ),
    family(
        CHANNEL_QUEUE,
        "channel_messages_delivered_total",
        Counter,
        "Messages delivered without acknowledgement",
        |c| c.counters.deliver_no_ack as f64,
    ),
    family(CHANNEL_QUEUE, "channel_messages_redelivered_total", Counter, "Messages delivered or got once more", |c| {
        c.counters.redeliver as f64
    }),
    family(CHANNEL_QUEUE, "channel_messages_acked_total", Counter, "Messages acknowledged", |c| c.counters.ack as f64),
    family(CHANNEL_QUEUE, "channel_get_empty_total", Counter, "Gets that found no message", |c| {
        c.counters.get_empty as f64
    }),
];

const CONNECTION: &str = "connection_metrics";
const CONNECTION_COARSE: &str = "connection_coarse_metrics";

/// Of connections.
pub(super) const CONNECTIONS: &[Family<ConnectionReport>] = &[
    family(CONNECTION_COARSE, "connection_incoming_bytes_total", Counter, "Bytes received", |c| {
        c.received_bytes as f64
    }),
    family(CONNECTION_COARSE, "connection_outgoing_bytes_total", Counter, "Bytes sent", |c| c.sent_bytes as f64),
    family(CONNECTION_COARSE, "connection_process_reductions_total", Counter, "Always 0", nothing),
    family(CONNECTION, "connection_incoming_packets_total", Counter, "Reads of the socket", |c| c.reads as f64),
    family(CONNECTION, "connection_outgoing_packets_total", Counter, "Writes to the socket", |c| c.writes as f64),
    family(
        CONNECTION,
        "connection_pending_packets",
        Gauge,
        "Always 0: a connection writes what it has at once",
        nothing,
    ),
    family(CONNECTION, "connection_channels", Gauge, "Channels of a connection", |c| c.channels.len() as f64),
];

/// What RabbitMQ tells of its Erlang machine and its stores, and counts nothing here: dashboards ask for them.
pub(super) const ZEROS: &[(&str, &str, Kind)] = &[
    ("node_coarse_metrics", "erlang_processes_used", Gauge),
    ("node_coarse_metrics", "erlang_gc_runs_total", Counter),
    ("node_coarse_metrics", "erlang_gc_reclaimed_bytes_total", Counter),
    ("node_coarse_metrics", "erlang_scheduler_context_switches_total", Counter),
    ("node_metrics", "erlang_scheduler_run_queue", Gauge),
    ("node_persister_metrics", "io_read_ops_total", Counter),
    ("node_persister_metrics", "io_read_bytes_total", Counter),
    ("node_persister_metrics", "io_write_ops_total", Counter),
    ("node_persister_metrics", "io_write_bytes_total", Counter),
    ("node_persister_metrics", "io_sync_ops_total", Counter),
    ("node_persister_metrics", "io_seek_ops_total", Counter),
    ("node_persister_metrics", "io_reopen_ops_total", Counter),
    ("node_persister_metrics", "schema_db_ram_tx_total", Counter),
    ("node_persister_metrics", "schema_db_disk_tx_total", Counter),
    ("node_persister_metrics", "msg_store_read_total", Counter),
    ("node_persister_metrics", "msg_store_write_total", Counter),
    ("node_persister_metrics", "queue_index_read_ops_total", Counter),
    ("node_persister_metrics", "queue_index_write_ops_total", Counter),
    ("node_persister_metrics", "io_read_time_seconds_total", Counter),
    ("node_persister_metrics", "io_write_time_seconds_total", Counter),
    ("node_persister_metrics", "io_sync_time_seconds_total", Counter),
    ("node_persister_metrics", "io_seek_time_seconds_total", Counter),
];
