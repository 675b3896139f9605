//! `/api/connections`, `/api/channels`, `/api/consumers`.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::pairs::Pairs;
use super::queues::{idle_since, put_garbage_collection};
use crate::broker::{
    ChannelReport, ConnectionId, ConnectionReport, ConnectionSummary, ConsumerPlace, ConsumerReport, QueueHandle,
    QueueReport, QueueType,
};
use crate::hashing::Hashing;
use crate::management::Management;
use crate::management::call::Call;
use crate::management::list;
use crate::management::names::arguments;
use crate::management::ranges::{Ranges, put, put_details, put_message_stats};
use crate::management::rates::now_ms;
use crate::management::record::{Columns, Record};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::{DELIVERED, OCTETS, PUBLISHED, channel_sample, nothing};

/// How long connections have to answer; one whose client does not read does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// What connections are asked to close with.
const CLOSED: &str = "Closed via management plugin";

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    match (call.method.as_str(), path) {
        (_, ["connections"]) => connections(call, management, visible(call, management)).await,
        (_, ["vhosts", vhost, kind]) => {
            call.vhost(management, vhost)?;
            let mut own = visible(call, management);
            own.retain(|connection| **connection.vhost.name() == **vhost);
            if *kind == "channels" {
                channels(call, management, own).await
            } else {
                connections(call, management, own).await
            }
        }
        (_, ["connections", "username", user]) if *user != call.user.name && !call.is_monitor() => {
            Err(Refused::not_authorised("User not authorised to access object"))
        }
        ("GET", ["connections", "username", user]) => {
            let mut own = visible(call, management);
            own.retain(|connection| *connection.user == **user);
            connections(call, management, own).await
        }
        ("DELETE", ["connections", "username", user]) if *user != call.user.name && !call.is_administrator() => {
            Err(Refused::not_authorised("User not authorised to access object"))
        }
        ("DELETE", ["connections", "username", user]) => {
            for connection in visible(call, management).iter().filter(|connection| *connection.user == **user) {
                close(call, management, connection)?;
            }
            Ok(Reply::NoContent)
        }
        (method, ["connections", name, rest @ ..]) => {
            let found = management.broker().connections().into_iter().find(|connection| connection.info.name == *name);
            let connection = found.ok_or_else(Refused::no_object)?;
            check_visible(call, &connection)?;
            match (method, rest) {
                ("DELETE", _) => {
                    close(call, management, &connection)?;
                    Ok(Reply::NoContent)
                }
                (_, []) => {
                    let ranges = call.ranges()?;
                    let reports = management.broker().inspect_connections(&[connection.id], PATIENCE).await;
                    let report = reports.get(&connection.id);
                    Ok(Reply::Written(Record::written(&call.query, |record| {
                        put_connection(record, management, &connection, report, ranges, Some(""));
                    })))
                }
                (_, ["sessions"]) => Err(Refused::bad_request("connection does not use AMQP 1.0")),
                _ => channels(call, management, vec![connection]).await,
            }
        }
        (_, ["channels"]) => channels(call, management, visible(call, management)).await,
        (_, ["channels", name]) => channel(call, management, name).await,
        (_, ["consumers", vhost @ ..]) => {
            let vhosts = match vhost {
                [name, ..] => vec![call.known_vhost(management, name)?],
                [] => call.visible_vhosts(management),
            };
            let mut queues = Vec::new();
            for vhost in vhosts {
                queues.extend(vhost.queues());
            }
            queues.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
            let mut inspections = management.broker().inspections(&queues);
            let mut consumed = Vec::new();
            while let Some(some) = inspections.next().await {
                consumed.extend(some.into_iter().filter(|(_, report)| !report.consumers.is_empty()));
            }
            let with = consumed.iter().map(|(queue, report)| (&***queue, report));
            let consumers = consumers(management, with.collect()).await;
            let write = |consumer: &Consumer<'_>, out: &mut Vec<u8>, columns: Columns<'_>| {
                Record::write(out, columns, |record| consumer.put(record, management));
            };
            // They have no names.
            list::shape_items(consumers, &call.query, |_| Cow::Borrowed(""), write).await
        }
        _ => Err(Refused::no_object()),
    }
}

/// Those of all users for a monitor, else one's own.
fn visible(call: &Call, management: &Management) -> Vec<ConnectionSummary> {
    let mut all = management.broker().connections();
    all.retain(|connection| call.is_monitor() || *connection.user == *call.user.name);
    all
}

fn check_visible(call: &Call, connection: &ConnectionSummary) -> Result<(), Refused> {
    if call.is_monitor() || *connection.user == *call.user.name {
        return Ok(());
    }
    Err(Refused::not_authorised("User not authorised to access object"))
}

fn close(call: &Call, management: &Management, connection: &ConnectionSummary) -> Result<(), Refused> {
    if *connection.user != *call.user.name && !call.is_administrator() {
        return Err(Refused::not_authorised("User not authorised to access object"));
    }
    let reason = call.reason.as_deref().unwrap_or(CLOSED);
    management.broker().close_connection(&connection.info.name, reason);
    Ok(())
}

async fn reports_of(
    management: &Management,
    connections: &[ConnectionSummary],
) -> HashMap<ConnectionId, ConnectionReport, Hashing> {
    let ids: Vec<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
    management.broker().inspect_connections(&ids, PATIENCE).await
}

async fn connections(call: &Call, management: &Management, connections: Vec<ConnectionSummary>) -> Outcome {
    let ranges = call.ranges()?;
    let reports = reports_of(management, &connections).await;
    let write = |connection: &ConnectionSummary, out: &mut Vec<u8>, columns: Columns<'_>| {
        let report = reports.get(&connection.id);
        Record::write(out, columns, |record| put_connection(record, management, connection, report, ranges, None));
    };
    list::shape_items(connections, &call.query, |connection| Cow::Borrowed(&connection.info.name), write).await
}

/// `absent` stands for what there is not: null in a list, an empty text where one connection is asked for.
fn put_connection(
    record: &mut Record<'_>,
    management: &Management,
    connection: &ConnectionSummary,
    report: Option<&ConnectionReport>,
    ranges: Ranges,
    absent: Option<&str>,
) {
    let handshake = &connection.info.handshake;
    let (peer, local) = (ends(handshake.peer), ends(handshake.local));
    let tls = handshake.tls.as_deref();
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    let since = connection.connected_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let silent = ConnectionReport::default();
    let report = report.unwrap_or(&silent);
    record.put("name", &connection.info.name);
    record.put("user", &*connection.user);
    record.put("user_who_performed_action", &*connection.user);
    record.put("vhost", &**connection.vhost.name());
    record.put("node", management.node());
    record.put("type", "network");
    record.put("protocol", "AMQP 0-9-1");
    record.put("state", report.state.as_str());
    record.put("auth_mechanism", &handshake.auth_mechanism);
    record.json("client_properties", || arguments(&handshake.client_properties));
    record.put("channel_max", handshake.channel_max);
    record.put("frame_max", handshake.frame_max);
    record.put("timeout", handshake.heartbeat_s);
    record.put("connected_at", u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    record.put("channels", report.channels.len());
    record.put("peer_host", peer.0);
    record.put("peer_port", peer.1);
    record.put("host", local.0);
    record.put("port", local.1);
    record.put("ssl", tls.is_some());
    record.put("ssl_protocol", tls.map(|tls| tls.protocol).or(absent));
    record.put("ssl_key_exchange", tls.map(|tls| tls.key_exchange).or(absent));
    record.put("ssl_cipher", tls.map(|tls| tls.cipher).or(absent));
    record.put("ssl_hash", tls.map(|tls| tls.hash).or(absent));
    record.put("peer_cert_subject", certificate.map(|own| own.subject.as_str()).or(absent));
    record.put("peer_cert_issuer", certificate.map(|own| own.issuer.as_str()).or(absent));
    record.put("peer_cert_validity", certificate.map(|own| own.validity.as_str()).or(absent));
    record.put("peer_cert_serial_number", certificate.map(|own| own.serial_number.as_str()).or(absent));
    record.put("recv_cnt", report.reads);
    record.put("send_cnt", report.writes);
    record.put("send_pend", 0);
    record.put("reductions", 0);
    record.object("garbage_collection", put_garbage_collection);
    management.rates().of_connection(connection.id, |past| {
        put(record, &OCTETS, &[report.received_bytes, report.sent_bytes], past, ranges.data_rates);
        put_details(record, "reductions_details", past, nothing, ranges.data_rates);
    });
    record.put_some("user_provided_name", connection.info.user_provided_name.as_deref());
}

fn ends(address: Option<SocketAddr>) -> (String, u16) {
    address.map_or((String::new(), 0), |address| (address.ip().to_canonical().to_string(), address.port()))
}

/// What stands for its connection in other records.
fn put_connection_details(record: &mut Record<'_>, connection: &ConnectionSummary) {
    let (host, port) = ends(connection.info.handshake.peer);
    record.put("name", &connection.info.name);
    record.put("peer_host", host);
    record.put("peer_port", port);
}

/// The connection that has a queue for itself.
pub(in crate::management) fn put_owner(record: &mut Record<'_>, management: &Management, id: ConnectionId) {
    let found = management.broker().connections().into_iter().find(|connection| connection.id == id);
    found.iter().for_each(|connection| put_connection_details(record, connection));
}

async fn channels(call: &Call, management: &Management, connections: Vec<ConnectionSummary>) -> Outcome {
    let ranges = call.ranges()?;
    let reports = reports_of(management, &connections).await;
    let mut channels = Vec::new();
    for connection in &connections {
        let own = reports.get(&connection.id).into_iter().flat_map(|report| &report.channels);
        channels.extend(own.map(|channel| (connection, channel)));
    }
    let write =
        |(connection, channel): &(&ConnectionSummary, &ChannelReport), out: &mut Vec<u8>, columns: Columns<'_>| {
            Record::write(out, columns, |record| put_channel(record, management, connection, channel, ranges));
        };
    list::shape_items(
        channels,
        &call.query,
        |(connection, channel)| channel_name(connection, channel.number).into(),
        write,
    )
    .await
}

/// `<connection> (n)`.
async fn channel(call: &Call, management: &Management, name: &str) -> Outcome {
    let ranges = call.ranges()?;
    let number = |connection: &ConnectionSummary| {
        let rest = name.strip_prefix(connection.info.name.as_str())?;
        rest.strip_prefix(" (")?.strip_suffix(')')?.parse::<u16>().ok()
    };
    let mut all = management.broker().connections().into_iter();
    let found = all.find_map(|connection| Some((number(&connection)?, connection)));
    let (number, connection) = found.ok_or_else(Refused::no_object)?;
    check_visible(call, &connection)?;
    let reports = management.broker().inspect_connections(&[connection.id], PATIENCE).await;
    let channels = reports.get(&connection.id).map(|report| &report.channels[..]).unwrap_or_default();
    let channel = channels.iter().find(|channel| channel.number == number).ok_or_else(Refused::no_object)?;
    let queues = connection.vhost.queues();
    let of = |consumer: &ConsumerReport| queues.iter().find(|queue| queue.key == consumer.queue);
    let consuming: Vec<_> = channel.consumers.iter().filter_map(of).cloned().collect();
    let reports = management.broker().inspect_queues(&consuming).await;
    let mut consumers = Vec::new();
    for consumer in &channel.consumers {
        let Some(queue) = of(consumer) else { continue };
        let places = reports.get(&queue.key.id).into_iter().flat_map(|report| &report.consumers);
        let place = places.into_iter().find(|place| place.owner == consumer.owner);
        let report = consumer.clone();
        consumers.extend(place.map(|place| Consumer { queue, place: *place, connection: connection.clone(), report }));
    }
    Ok(Reply::Written(Record::written(&call.query, |record| {
        put_channel(record, management, &connection, channel, ranges);
        record.list("consumer_details", &consumers, |consumer, record| consumer.put(record, management));
        Pairs::new(management, &connection.vhost, ranges).put_of_channel(record, (connection.id, number));
    })))
}

pub(super) fn channel_name(connection: &ConnectionSummary, number: u16) -> String {
    format!("{} ({number})", connection.info.name)
}

/// What stands for a channel in other records.
pub(super) fn put_channel_details(
    record: &mut Record<'_>,
    management: &Management,
    connection: &ConnectionSummary,
    number: u16,
) {
    let (host, port) = ends(connection.info.handshake.peer);
    record.put("connection_name", &connection.info.name);
    record.put("name", channel_name(connection, number));
    record.put("node", management.node());
    record.put("number", number);
    record.put("peer_host", host);
    record.put("peer_port", port);
    record.put("user", &*connection.user);
}

fn put_channel(
    record: &mut Record<'_>,
    management: &Management,
    connection: &ConnectionSummary,
    channel: &ChannelReport,
    ranges: Ranges,
) {
    record.put("name", channel_name(connection, channel.number));
    record.put("number", channel.number);
    record.put("user", &*connection.user);
    record.put("user_who_performed_action", &*connection.user);
    record.put("vhost", &**connection.vhost.name());
    record.put("node", management.node());
    record.put("state", "running");
    record.object("connection_details", |details| put_connection_details(details, connection));
    record.put("confirm", channel.confirm);
    record.put("transactional", channel.transactional);
    record.put("consumer_count", channel.consumers.len());
    record.put("prefetch_count", channel.prefetch);
    record.put("global_prefetch_count", channel.global_prefetch);
    record.put("messages_unacknowledged", channel.unacked);
    record.put("messages_unconfirmed", channel.unconfirmed);
    record.put("messages_uncommitted", channel.uncommitted);
    record.put("acks_uncommitted", channel.acks_uncommitted);
    record.put("pending_raft_commands", 0);
    record.put("cached_segments", 0);
    record.put("reductions", 0);
    record.object("garbage_collection", put_garbage_collection);
    let (now, now_ms) = (channel_sample(channel), now_ms());
    let idle = management.rates().of_channel(connection.id, channel.number, |past| {
        put_details(record, "reductions_details", past, nothing, ranges.msg_rates);
        put_message_stats(record, &[&PUBLISHED, &DELIVERED], &now, past, ranges.msg_rates);
        past.and_then(|past| idle_since(now_ms.saturating_sub(past.changed_ms()), now_ms))
    });
    record.put_some("idle_since", idle);
}

/// A consumer: what its queue knows of it, and what its connection does.
pub(in crate::management) struct Consumer<'a> {
    queue: &'a QueueHandle,
    place: ConsumerPlace,
    connection: ConnectionSummary,
    report: ConsumerReport,
}

/// The consumers of one queue.
pub(in crate::management) async fn consumers_of<'a>(
    management: &Management,
    queue: &'a QueueHandle,
    report: &QueueReport,
) -> Vec<Consumer<'a>> {
    consumers(management, vec![(queue, report)]).await
}

/// Each queue knows who consumes; tags and arguments are known to the connections only.
async fn consumers<'a>(management: &Management, queues: Vec<(&'a QueueHandle, &QueueReport)>) -> Vec<Consumer<'a>> {
    let asked: BTreeSet<ConnectionId> =
        queues.iter().flat_map(|(_, report)| &report.consumers).map(|place| place.connection).collect();
    let ids: Vec<ConnectionId> = asked.iter().copied().collect();
    let reports = management.broker().inspect_connections(&ids, PATIENCE).await;
    let all = management.broker().connections();
    let connections: HashMap<ConnectionId, &ConnectionSummary> =
        all.iter().filter(|connection| asked.contains(&connection.id)).map(|c| (c.id, c)).collect();
    let mut consumers = Vec::new();
    for (queue, report) in queues {
        for place in &report.consumers {
            let channels = reports.get(&place.connection).into_iter().flat_map(|report| &report.channels);
            let known = channels
                .flat_map(|channel| &channel.consumers)
                .find(|consumer| consumer.queue == queue.key && consumer.owner == place.owner);
            if let (Some(report), Some(connection)) = (known, connections.get(&place.connection)) {
                let (connection, report) = ((*connection).clone(), report.clone());
                consumers.push(Consumer { queue, place: *place, connection, report });
            }
        }
    }
    consumers
}

impl Consumer<'_> {
    pub(in crate::management) fn put(&self, record: &mut Record<'_>, management: &Management) {
        let Self { queue, place, connection, report } = self;
        // RabbitMQ's quorum queues do not say which consumers have as much as they may.
        let status = match queue.options.queue_type {
            _ if !place.is_active => "waiting",
            _ if queue.options.single_active_consumer => "single_active",
            QueueType::Classic if !place.has_credit => "blocked",
            _ => "up",
        };
        record.put("consumer_tag", &report.tag);
        record.object("queue", |own| {
            own.put("name", &*queue.name);
            own.put("vhost", &*queue.vhost);
        });
        record.put("ack_required", !report.no_ack);
        record.put("prefetch_count", report.prefetch);
        record.put("exclusive", report.exclusive);
        record.json("arguments", || arguments(&report.arguments));
        record.put("active", place.is_active);
        record.put("activity_status", status);
        let timeout_ms = queue.settings().consumer_timeout_ms;
        record.put("consumer_timeout", timeout_ms.unwrap_or(management.broker().consumer_timeout_ms()));
        record.object("channel_details", |details| {
            put_channel_details(details, management, connection, place.channel.number);
        });
    }
}
