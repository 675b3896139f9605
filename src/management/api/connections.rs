//! `/api/connections`, `/api/channels`, `/api/consumers`.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value as Json, json};

use super::queues::{garbage_collection, idle_since};
use crate::broker::{
    ChannelReport, ConnectionId, ConnectionReport, ConnectionSummary, ConsumerPlace, ConsumerReport, QueueHandle,
    QueueReport,
};
use crate::management::Management;
use crate::management::call::Call;
use crate::management::names::arguments;
use crate::management::ranges::{Ranges, details, put, put_message_stats};
use crate::management::rates::now_ms;
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::{DELIVERED, OCTETS, PUBLISHED, channel_sample};

/// How long connections have to answer; one whose client does not read does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// What connections are asked to close with.
const CLOSED: &str = "Closed via management plugin";

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let ranges = call.ranges()?;
    match (call.method.as_str(), path) {
        (_, ["connections"]) => connections(management, visible(call, management), ranges).await,
        (_, ["vhosts", vhost, kind]) => {
            call.vhost(management, vhost)?;
            let mut own = visible(call, management);
            own.retain(|connection| **connection.vhost.name() == **vhost);
            if *kind == "channels" {
                channels(management, own, ranges).await
            } else {
                connections(management, own, ranges).await
            }
        }
        (_, ["connections", "username", user]) if *user != call.user.name && !call.is_monitor() => {
            Err(Refused::not_authorised("User not authorised to access object"))
        }
        ("GET", ["connections", "username", user]) => {
            let mut own = visible(call, management);
            own.retain(|connection| *connection.user == **user);
            connections(management, own, ranges).await
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
                    let reports = management.broker().inspect_connections(&[connection.id], PATIENCE).await;
                    let mut record = connection_record(management, &connection, reports.get(&connection.id), ranges);
                    // What a list shows as null is an empty text where one is asked for.
                    for value in record.as_object_mut().into_iter().flat_map(Map::values_mut) {
                        if value.is_null() {
                            *value = "".into();
                        }
                    }
                    Ok(Reply::Json(record))
                }
                (_, ["sessions"]) => Err(Refused::bad_request("connection does not use AMQP 1.0")),
                _ => channels(management, vec![connection], ranges).await,
            }
        }
        (_, ["channels"]) => channels(management, visible(call, management), ranges).await,
        (_, ["channels", name]) => channel(call, management, name, ranges).await,
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
            let reports = management.broker().inspect_queues(&queues).await;
            let with = queues.iter().filter_map(|queue| Some((&**queue, reports.get(&queue.key.id)?)));
            Ok(Reply::List(consumers(management, with.collect()).await))
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
) -> HashMap<ConnectionId, ConnectionReport> {
    let ids: Vec<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
    management.broker().inspect_connections(&ids, PATIENCE).await
}

async fn connections(management: &Management, connections: Vec<ConnectionSummary>, ranges: Ranges) -> Outcome {
    let reports = reports_of(management, &connections).await;
    let record =
        |connection: &ConnectionSummary| connection_record(management, connection, reports.get(&connection.id), ranges);
    Ok(Reply::List(connections.iter().map(record).collect()))
}

fn connection_record(
    management: &Management,
    connection: &ConnectionSummary,
    report: Option<&ConnectionReport>,
    ranges: Ranges,
) -> Json {
    let handshake = &connection.info.handshake;
    let (peer, local) = (ends(handshake.peer), ends(handshake.local));
    let tls = handshake.tls.as_deref();
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    let since = connection.connected_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let silent = ConnectionReport::default();
    let report_or = report.unwrap_or(&silent);
    let mut record = json!({
        "name": connection.info.name,
        "user": *connection.user,
        "user_who_performed_action": *connection.user,
        "vhost": **connection.vhost.name(),
        "node": management.node(),
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "state": report_or.state.as_str(),
        "auth_mechanism": handshake.auth_mechanism,
        "client_properties": arguments(&handshake.client_properties),
        "channel_max": handshake.channel_max,
        "frame_max": handshake.frame_max,
        "timeout": handshake.heartbeat_s,
        "connected_at": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        "channels": report_or.channels.len(),
        "peer_host": peer.0,
        "peer_port": peer.1,
        "host": local.0,
        "port": local.1,
        "ssl": tls.is_some(),
        "ssl_protocol": tls.map(|tls| tls.protocol),
        "ssl_key_exchange": tls.map(|tls| tls.key_exchange),
        "ssl_cipher": tls.map(|tls| tls.cipher),
        "ssl_hash": tls.map(|tls| tls.hash),
        "peer_cert_subject": certificate.map(|certificate| &certificate.subject),
        "peer_cert_issuer": certificate.map(|certificate| &certificate.issuer),
        "peer_cert_validity": certificate.map(|certificate| &certificate.validity),
        "peer_cert_serial_number": certificate.map(|certificate| &certificate.serial_number),
        "recv_cnt": report_or.reads,
        "send_cnt": report_or.writes,
        "send_pend": 0,
        "reductions": 0,
        "garbage_collection": garbage_collection(),
    });
    management.rates().of_connection(connection.id, |past| {
        if let Some(fields) = record.as_object_mut() {
            let now = [report_or.received_bytes, report_or.sent_bytes];
            put(fields, &OCTETS, &now, past, ranges.data_rates);
            fields.insert("reductions_details".to_owned(), details(past, |_| 0, ranges.data_rates));
        }
    });
    if let Some(name) = &connection.info.user_provided_name {
        record["user_provided_name"] = name.as_str().into();
    }
    record
}

fn ends(address: Option<SocketAddr>) -> (String, u16) {
    address.map_or((String::new(), 0), |address| (address.ip().to_canonical().to_string(), address.port()))
}

/// What stands for its connection in other records.
fn connection_details(connection: &ConnectionSummary) -> Json {
    let (host, port) = ends(connection.info.handshake.peer);
    json!({"name": connection.info.name, "peer_host": host, "peer_port": port})
}

/// The connection that has a queue for itself.
pub(in crate::management) fn owner(management: &Management, id: ConnectionId) -> Json {
    let found = management.broker().connections().into_iter().find(|connection| connection.id == id);
    found.map_or(json!({}), |connection| connection_details(&connection))
}

async fn channels(management: &Management, connections: Vec<ConnectionSummary>, ranges: Ranges) -> Outcome {
    let reports = reports_of(management, &connections).await;
    let mut records = Vec::new();
    for connection in &connections {
        let channels = reports.get(&connection.id).into_iter().flat_map(|report| &report.channels);
        records.extend(channels.map(|channel| channel_record(management, connection, channel, ranges)));
    }
    Ok(Reply::List(records))
}

/// `<connection> (n)`.
async fn channel(call: &Call, management: &Management, name: &str, ranges: Ranges) -> Outcome {
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
    let mut record = channel_record(management, &connection, channel, ranges);
    let queues = connection.vhost.queues();
    let of = |consumer: &ConsumerReport| queues.iter().find(|queue| queue.key == consumer.queue);
    let consuming: Vec<_> = channel.consumers.iter().filter_map(of).cloned().collect();
    let reports = management.broker().inspect_queues(&consuming).await;
    let mut details = Vec::new();
    for consumer in &channel.consumers {
        let Some(queue) = of(consumer) else { continue };
        let places = reports.get(&queue.key.id).into_iter().flat_map(|report| &report.consumers);
        let place = places.into_iter().find(|place| place.owner == consumer.owner);
        details.extend(place.map(|place| consumer_record(management, queue, place, &connection, consumer)));
    }
    record["consumer_details"] = details.into();
    record["publishes"] = json!([]);
    record["deliveries"] = json!([]);
    Ok(Reply::Json(record))
}

fn channel_name(connection: &ConnectionSummary, number: u16) -> String {
    format!("{} ({number})", connection.info.name)
}

fn channel_record(
    management: &Management,
    connection: &ConnectionSummary,
    channel: &ChannelReport,
    ranges: Ranges,
) -> Json {
    let mut record = json!({
        "name": channel_name(connection, channel.number),
        "number": channel.number,
        "user": *connection.user,
        "user_who_performed_action": *connection.user,
        "vhost": **connection.vhost.name(),
        "node": management.node(),
        "state": "running",
        "connection_details": connection_details(connection),
        "confirm": channel.confirm,
        "transactional": channel.transactional,
        "consumer_count": channel.consumers.len(),
        "prefetch_count": channel.prefetch,
        "global_prefetch_count": channel.global_prefetch,
        "messages_unacknowledged": channel.unacked,
        "messages_unconfirmed": channel.unconfirmed,
        "messages_uncommitted": channel.uncommitted,
        "acks_uncommitted": channel.acks_uncommitted,
        "pending_raft_commands": 0,
        "cached_segments": 0,
        "reductions": 0,
        "garbage_collection": garbage_collection(),
    });
    let now = channel_sample(channel);
    let idle = management.rates().of_channel(connection.id, channel.number, |past| {
        record["reductions_details"] = details(past, |_| 0, ranges.msg_rates);
        put_message_stats(&mut record, &[&PUBLISHED, &DELIVERED], &now, past, ranges.msg_rates);
        past.and_then(|past| idle_since(now_ms().saturating_sub(past.changed_ms())))
    });
    if let Some(since) = idle {
        record["idle_since"] = since.into();
    }
    record
}

/// The consumers of one queue.
pub(in crate::management) async fn consumers_of(
    management: &Management,
    queue: &QueueHandle,
    report: &QueueReport,
) -> Vec<Json> {
    consumers(management, vec![(queue, report)]).await
}

/// Each queue knows who consumes; tags and arguments are known to the connections only.
async fn consumers(management: &Management, queues: Vec<(&QueueHandle, &QueueReport)>) -> Vec<Json> {
    let asked: BTreeSet<ConnectionId> =
        queues.iter().flat_map(|(_, report)| &report.consumers).map(|place| place.connection).collect();
    let ids: Vec<ConnectionId> = asked.iter().copied().collect();
    let reports = management.broker().inspect_connections(&ids, PATIENCE).await;
    let all = management.broker().connections();
    let connections: HashMap<ConnectionId, &ConnectionSummary> =
        all.iter().filter(|connection| asked.contains(&connection.id)).map(|c| (c.id, c)).collect();
    let mut records = Vec::new();
    for (queue, report) in queues {
        for place in &report.consumers {
            let channels = reports.get(&place.connection).into_iter().flat_map(|report| &report.channels);
            let consumer = channels
                .flat_map(|channel| &channel.consumers)
                .find(|consumer| consumer.queue == queue.key && consumer.owner == place.owner);
            if let (Some(consumer), Some(connection)) = (consumer, connections.get(&place.connection)) {
                records.push(consumer_record(management, queue, place, connection, consumer));
            }
        }
    }
    records
}

fn consumer_record(
    management: &Management,
    queue: &QueueHandle,
    place: &ConsumerPlace,
    connection: &ConnectionSummary,
    consumer: &ConsumerReport,
) -> Json {
    let (host, port) = ends(connection.info.handshake.peer);
    let status = match (place.is_active, place.has_credit) {
        (false, _) => "waiting",
        (true, true) if queue.options.single_active_consumer => "single_active",
        (true, true) => "up",
        (true, false) => "blocked",
    };
    json!({
        "consumer_tag": consumer.tag,
        "queue": {"name": *queue.name, "vhost": *queue.vhost},
        "ack_required": !consumer.no_ack,
        "prefetch_count": consumer.prefetch,
        "exclusive": consumer.exclusive,
        "arguments": arguments(&consumer.arguments),
        "active": place.is_active,
        "activity_status": status,
        "consumer_timeout": queue.settings().consumer_timeout_ms.unwrap_or(management.broker().consumer_timeout_ms()),
        "channel_details": {
            "connection_name": connection.info.name,
            "name": channel_name(connection, place.channel.number),
            "node": management.node(),
            "number": place.channel.number,
            "peer_host": host,
            "peer_port": port,
            "user": *connection.user,
        },
    })
}
