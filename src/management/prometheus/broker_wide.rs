//! Metrics of the broker as a whole, and of its node.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Scrape;
use super::families::ZEROS;
use super::snapshot::{Snapshot, type_label};
use super::text::Kind::{self, Counter, Gauge, Untyped};
use super::text::{Labels, Page};
use crate::broker::{Counters, Death, DeathStrategy, QueueType, RABBITMQ_VERSION};
use crate::management::Management;
use crate::management::api::nodes::{ERLANG_VERSION, cluster_name};

/// The one protocol there is.
const PROTOCOL: (&str, &str) = ("protocol", "amqp091");

const QUEUE_TYPES: [QueueType; 2] = [QueueType::Classic, QueueType::Quorum];

pub(super) fn identity(page: &mut Page, scrape: &Scrape, management: &Management) {
    page.family("=rabbitmq_build_info", Untyped, "Versions of RabbitMQ and Erlang that Lepus stands for");
    let build = [
        ("rabbitmq_version", RABBITMQ_VERSION),
        ("prometheus_plugin_version", RABBITMQ_VERSION),
        ("prometheus_client_version", env!("CARGO_PKG_VERSION")),
        ("erlang_version", ERLANG_VERSION),
    ];
    page.sample(&Labels::new(build), 1.0);
    page.family("=rabbitmq_identity_info", Untyped, "The node and its cluster");
    let cluster = cluster_name(management);
    // The same as long as the cluster has this name.
    let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(cluster.as_bytes())[..16]);
    let identity = [
        ("rabbitmq_node", management.node()),
        ("rabbitmq_cluster", &cluster),
        ("rabbitmq_cluster_permanent_id", &format!("rabbitmq-cluster-id-{digest}")),
        ("rabbitmq_endpoint", scrape.endpoint()),
    ];
    page.sample(&Labels::new(identity), 1.0);
}

pub(super) fn node(page: &mut Page, scrape: &Scrape, snapshot: &Snapshot, management: &Management) {
    let (totals, machine) = (&snapshot.totals, &snapshot.machine);
    let uptime_s = management.uptime_ms() as f64 / 1000.0;
    let (churn, coarse, node) = ("connection_churn_metrics", "node_coarse_metrics", "node_metrics");
    let told: [(&str, &str, Kind, &str, f64); 18] = [
        (churn, "connections_opened_total", Counter, "Connections opened", totals.connection_created as f64),
        (churn, "connections_closed_total", Counter, "Connections ended", totals.connection_closed as f64),
        (churn, "channels_opened_total", Counter, "Channels opened", totals.channel_created as f64),
        (churn, "channels_closed_total", Counter, "Channels ended", totals.channel_closed as f64),
        (churn, "queues_declared_total", Counter, "Queues declared", totals.queue_declared as f64),
        (churn, "queues_created_total", Counter, "Queues created", totals.queue_created as f64),
        (churn, "queues_deleted_total", Counter, "Queues deleted", totals.queue_deleted as f64),
        (coarse, "process_open_fds", Gauge, "Open file descriptors", machine.descriptors as f64),
        (coarse, "process_open_tcp_sockets", Gauge, "Connections of clients", snapshot.connection_count as f64),
        (coarse, "process_resident_memory_bytes", Gauge, "Memory in RAM", machine.resident_bytes as f64),
        (coarse, "disk_space_available_bytes", Gauge, "Free disk space", machine.disk_free_bytes as f64),
        (node, "process_max_fds", Gauge, "Limit of file descriptors", machine.descriptors_max as f64),
        (node, "process_max_tcp_sockets", Gauge, "The same: each is one", machine.descriptors_max as f64),
        (node, "resident_memory_limit_bytes", Gauge, "Memory above which publishers are blocked", {
            management.memory_limit() as f64
        }),
        (node, "disk_space_available_limit_bytes", Gauge, "Free disk space below which publishers are blocked", {
            management.disk_free_limit() as f64
        }),
        (node, "erlang_processes_limit", Gauge, "As RabbitMQ has it", 1_048_576.0),
        (node, "erlang_net_ticktime_seconds", Gauge, "As RabbitMQ has it", 60.0),
        (node, "erlang_uptime_seconds", Gauge, "Time since the broker started", uptime_s),
    ];
    for (group, name, kind, help, value) in told {
        if scrape.wants(group) {
            page.one(name, kind, help, value);
        }
    }
    for (_, name, kind) in ZEROS.iter().filter(|(group, ..)| scrape.wants(group)) {
        page.one(name, *kind, "Always 0: there is no such thing here", 0.0);
    }
}

pub(super) fn logins(page: &mut Page, scrape: &Scrape, management: &Management) {
    if !scrape.wants("auth_attempt_metrics") {
        return;
    }
    let logins = management.all_logins();
    let mut tell = |name, help, value: fn(u64, u64) -> u64| {
        page.family(name, Counter, help);
        for (protocol, all, refused) in logins {
            page.sample(&Labels::new([("protocol", protocol)]), value(all, refused) as f64);
        }
    };
    tell("auth_attempts_total", "Logins tried", |all, _| all);
    tell("auth_attempts_succeeded_total", "Logins that succeeded", |all, refused| all.saturating_sub(refused));
    tell("auth_attempts_failed_total", "Logins that were refused", |_, refused| refused);
}

pub(super) fn exchanges(page: &mut Page, scrape: &Scrape, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    // Messages are counted by exchange in sum only.
    if *scrape == Scrape::Aggregated {
        page.one("exchange_messages_confirmed_total", Counter, "Messages confirmed", totals.confirmed as f64);
        page.one("exchange_messages_published_total", Counter, "Messages published", totals.publish as f64);
        let (returned, dropped) = (totals.return_unroutable as f64, totals.drop_unroutable as f64);
        page.one("exchange_messages_unroutable_returned_total", Counter, "Messages returned", returned);
        page.one("exchange_messages_unroutable_dropped_total", Counter, "Messages dropped as unroutable", dropped);
        return;
    }
    let Scrape::Detailed(_) = scrape else { return };
    if scrape.wants("vhost_status") {
        page.family("=rabbitmq_cluster_vhost_status", Gauge, "1: the vhost runs");
        for vhost in &snapshot.vhosts {
            page.sample(&Labels::new([("vhost", vhost.name())]), 1.0);
        }
    }
    let vhosts = snapshot.vhosts.iter().filter(|vhost| scrape.wants_vhost(vhost.name()));
    let all: Vec<_> = vhosts.flat_map(|vhost| vhost.exchanges().into_iter().map(move |own| (vhost, own))).collect();
    let labels = |vhost: &str, exchange: &crate::broker::Exchange| {
        Labels::new([("vhost", vhost), ("exchange", &exchange.name), ("type", exchange.kind.as_str())])
    };
    if scrape.wants("exchange_names") {
        page.family("=rabbitmq_cluster_exchange_name", Gauge, "Exchanges there are");
        for (vhost, exchange) in &all {
            page.sample(&labels(vhost.name(), exchange), 1.0);
        }
    }
    if scrape.wants("exchange_bindings") {
        page.family("=rabbitmq_cluster_exchange_bindings", Gauge, "Bindings from an exchange");
        for (vhost, exchange) in &all {
            let mut count = 0_u64;
            exchange.each_binding(|_, _, _| count += 1);
            page.sample(&labels(vhost.name(), exchange), count as f64);
        }
    }
}

fn consumers(snapshot: &Snapshot) -> f64 {
    snapshot.queues.iter().map(|queue| queue.report.consumers.len()).sum::<usize>() as f64
}

pub(super) fn objects(page: &mut Page, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    let channels = totals.channel_created.saturating_sub(totals.channel_closed);
    page.one("connections", Gauge, "Open connections", snapshot.connection_count as f64);
    page.one("channels", Gauge, "Open channels", channels as f64);
    page.one("consumers", Gauge, "Consumers", consumers(snapshot));
    page.one("queues", Gauge, "Queues", snapshot.queue_count as f64);
}

pub(super) fn global(page: &mut Page, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    let of_protocol = Labels::new([PROTOCOL]);
    let told = [
        ("received", "Messages received", totals.publish),
        ("received_confirm", "Messages received from publishers that want confirms", totals.confirmable),
        ("confirmed", "Messages confirmed", totals.confirmed),
        ("routed", "Messages routed to queues, each as often as it has queues", totals.routed),
        ("unroutable_returned", "Messages routed nowhere and returned", totals.return_unroutable),
        ("unroutable_dropped", "Messages routed nowhere and dropped", totals.drop_unroutable),
    ];
    for (name, help, value) in told {
        page.family(&format!("global_messages_{name}_total"), Counter, help);
        page.sample(&of_protocol, value as f64);
    }
    let publishers = snapshot.channels.iter().filter(|(_, channel)| channel.counters.publish > 0).count();
    for (name, help, value) in [
        ("global_publishers", "Channels that have published", publishers as f64),
        ("global_consumers", "Consumers", consumers(snapshot)),
    ] {
        page.family(name, Gauge, help);
        page.sample(&of_protocol, value);
    }
    deliveries(page, snapshot);
    deaths(page, snapshot);
}

/// Takes one figure of a queue's.
type Count = fn(&Counters) -> u64;

/// Of queues that are, and of those that are gone, so that none ever falls.
fn deliveries(page: &mut Page, snapshot: &Snapshot) {
    let gone = &snapshot.totals.gone;
    let mut quorum = snapshot.totals.gone_quorum;
    // Those of all queues, less the others'.
    let mut all = *gone;
    for queue in &snapshot.queues {
        all.add(&queue.report.counters);
        if queue.handle.options.queue_type == QueueType::Quorum {
            quorum.add(&queue.report.counters);
        }
    }
    let told: [(&str, &str, Count); 8] = [
        ("delivered", "Messages delivered or got", |c| c.deliver + c.deliver_no_ack + c.get + c.get_no_ack),
        ("delivered_consume_auto_ack", "Messages delivered without acknowledgement", |c| c.deliver_no_ack),
        ("delivered_consume_manual_ack", "Messages delivered, to be acknowledged", |c| c.deliver),
        ("delivered_get_auto_ack", "Messages got without acknowledgement", |c| c.get_no_ack),
        ("delivered_get_manual_ack", "Messages got, to be acknowledged", |c| c.get),
        ("get_empty", "Gets that found no message", |c| c.get_empty),
        ("redelivered", "Messages delivered or got once more", |c| c.redeliver),
        ("acknowledged", "Messages acknowledged", |c| c.ack),
    ];
    for (name, help, value) in told {
        page.family(&format!("global_messages_{name}_total"), Counter, help);
        for queue_type in QUEUE_TYPES {
            let count = match queue_type {
                QueueType::Classic => value(&all) - value(&quorum),
                QueueType::Quorum => value(&quorum),
            };
            page.sample(&Labels::new([PROTOCOL, ("queue_type", type_label(queue_type))]), count as f64);
        }
    }
}

fn deaths(page: &mut Page, snapshot: &Snapshot) {
    let deaths = &snapshot.totals.deaths;
    let strategies = [
        (DeathStrategy::AtMostOnce, "at_most_once"),
        (DeathStrategy::AtLeastOnce, "at_least_once"),
        (DeathStrategy::Disabled, "disabled"),
    ];
    let label = |queue_type, strategy| {
        Labels::new([("queue_type", type_label(queue_type)), ("dead_letter_strategy", strategy)])
    };
    for (death, help) in [
        (Death::Expired, "Messages whose time was over"),
        (Death::MaxLength, "Messages for which a queue was too full"),
        (Death::Rejected, "Messages that consumers rejected"),
        (Death::DeliveryLimit, "Messages delivered too often"),
    ] {
        page.family(&format!("global_messages_dead_lettered_{}_total", death.reason()), Counter, help);
        for queue_type in QUEUE_TYPES {
            for (strategy, name) in strategies {
                // Classic queues know neither.
                let is_quorums = strategy == DeathStrategy::AtLeastOnce || death == Death::DeliveryLimit;
                if queue_type == QueueType::Quorum || !is_quorums {
                    page.sample(&label(queue_type, name), deaths.of(queue_type, strategy, death) as f64);
                }
            }
        }
    }
    page.family("global_messages_dead_lettered_confirmed_total", Counter, "Dead letters that have arrived");
    page.sample(&label(QueueType::Quorum, "at_least_once"), deaths.confirmed as f64);
}

pub(super) fn alarms(page: &mut Page, snapshot: &Snapshot, management: &Management) {
    let alarms = management.broker().alarms();
    let is = |is_on: bool| f64::from(u8::from(is_on));
    page.one("alarms_free_disk_space_watermark", Untyped, "1: there is too little free disk space", is(alarms.disk()));
    page.one("alarms_memory_used_watermark", Untyped, "1: too much memory is used", is(alarms.memory()));
    let machine = &snapshot.machine;
    let none_left = machine.descriptors_max > 0 && machine.descriptors >= machine.descriptors_max;
    page.one("alarms_file_descriptor_limit", Untyped, "1: there are no file descriptors left", is(none_left));
    page.one("unreachable_cluster_peers_count", Gauge, "Nodes of the cluster that cannot be reached", 0.0);
    let started = management.0.started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    page.one("=process_start_time_seconds", Gauge, "When the broker started", started.as_secs() as f64);
}
