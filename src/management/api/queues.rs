//! `/api/queues`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

use super::{bindings, connections};
use crate::broker::{Counters, QueueDeclare, QueueHandle, QueueReport, QueueType, table_of_json};
use crate::management::Management;
use crate::management::call::Call;
use crate::management::list;
use crate::management::names::{arguments, timestamp};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::visit::Visit;

/// What a queue without messages takes, and a message beside its body, in bytes: for `memory`, which is an estimate.
pub(in crate::management) const QUEUE_BYTES: u64 = 1024;
pub(in crate::management) const MESSAGE_BYTES: u64 = 128;

/// A queue that nobody used for less than this is not idle, in ms.
const IDLE_MS_MIN: u64 = 10_000;

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    match (call.method.as_str(), path) {
        (_, ["queues"] | ["queues", _]) => {
            // A vhost cannot be told from this word, in RabbitMQ neither.
            let vhost = path.get(1).copied().filter(|name| *name != "detailed");
            list_queues(call, management, vhost).await
        }
        ("GET", ["queues", vhost, name]) => {
            let queue = find(call, management, vhost, name)?;
            let record = detailed(management, &queue).await.ok_or_else(Refused::no_object)?;
            Ok(Reply::Json(record))
        }
        ("PUT", ["queues", vhost, name]) => put(call, management, vhost, name).await,
        ("DELETE", ["queues", vhost, name]) => {
            find(call, management, vhost, name)?;
            let (if_unused, if_empty) = (call.query.is_true("if-unused"), call.query.is_true("if-empty"));
            let mut visit = Visit::new(call, management, vhost)?;
            visit.ask(|client, reply| client.queue_delete(reply, name, if_unused, if_empty)).await?;
            Ok(Reply::NoContent)
        }
        (_, ["queues", vhost, name, "bindings"]) => {
            let queue = find(call, management, vhost, name)?;
            let vhost = call.vhost(management, vhost)?;
            Ok(Reply::List(bindings::to_queue(&vhost, &queue)))
        }
        (_, ["queues", vhost, name, "contents"]) => {
            find(call, management, vhost, name)?;
            let mut visit = Visit::new(call, management, vhost)?;
            visit.ask(|client, reply| client.queue_purge(reply, name)).await?;
            Ok(Reply::NoContent)
        }
        (_, ["queues", vhost, name, "actions"]) => {
            let queue = management.broker().vhost(vhost).and_then(|vhost| vhost.queue(name));
            queue.ok_or_else(|| Refused::not_found("queue_not_found"))?;
            match call.object_with(&["action"])?.required("action")? {
                // All mirrors there are have everything.
                "sync" | "cancel_sync" => Ok(Reply::NoContent),
                other => Err(Refused::bad_value("unknown", other)),
            }
        }
        _ => Err(Refused::no_object()),
    }
}

fn find(call: &Call, management: &Management, vhost: &str, name: &str) -> Result<Arc<QueueHandle>, Refused> {
    call.vhost(management, vhost)?.queue(name).ok_or_else(Refused::no_object)
}

async fn list_queues(call: &Call, management: &Management, vhost: Option<&str>) -> Outcome {
    let mut queues = Vec::new();
    for vhost in call.vhosts(management, vhost)? {
        let mut own = vhost.queues();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        queues.append(&mut own);
    }
    let totals_only = call.query.is_true("enable_queue_totals");
    if call.query.is_true("disable_stats") && !totals_only {
        return Ok(Reply::List(queues.iter().map(|queue| declared(management, queue)).collect()));
    }
    let in_order = call.query.get("sort").is_none_or(|column| ["name", "vhost"].contains(&column));
    if call.query.get("page").is_none() || !in_order {
        return Ok(Reply::List(all_counted(management, &queues, totals_only).await));
    }
    // A page is found by names alone, and only its queues are asked for their counts.
    let name = |queue: &Arc<QueueHandle>| queue.name.to_string();
    let (chosen, around) = list::cut(queues, &call.query, name, |a, b, column| match column {
        "name" => a.name.cmp(&b.name),
        _ => a.vhost.cmp(&b.vhost),
    })?;
    let items = all_counted(management, &chosen, totals_only).await;
    Ok(Reply::Shaped(list::wrap(items, around, &call.query)))
}

/// Queues whose records are made at one go; then others on this thread have their turn.
const RECORDS_A_TURN: usize = 128;

async fn all_counted(management: &Management, queues: &[Arc<QueueHandle>], totals_only: bool) -> Vec<Json> {
    let mut records = Vec::with_capacity(queues.len());
    for some in queues.chunks(RECORDS_A_TURN) {
        let reports = management.broker().inspect_queues(some).await;
        for queue in some {
            let Some(report) = reports.get(&queue.key.id) else { continue };
            if totals_only {
                let mut record = declared(management, queue);
                put_counts(&mut record, report);
                records.push(record);
            } else {
                records.push(counted(management, queue, report));
            }
        }
        tokio::task::yield_now().await;
    }
    records
}

async fn put(call: &Call, management: &Management, vhost: &str, name: &str) -> Outcome {
    let fields = call.object()?;
    let mut arguments = table_of_json(fields.object("arguments")?)
        .map_err(|argument| Refused::bad_value("unsupported_argument", argument))?;
    if let Some(queue_type) = fields.text("type")?.filter(|_| arguments.get("x-queue-type").is_none()) {
        arguments.push("x-queue-type", queue_type.into());
    }
    let known = management.broker().vhost(vhost).ok_or_else(|| Refused::not_found("vhost_not_found"))?;
    let existed = known.queue(name).is_some();
    let declare = QueueDeclare {
        queue: name,
        passive: false,
        durable: fields.flag("durable")?,
        exclusive: fields.flag("exclusive")?,
        auto_delete: fields.flag("auto_delete")?,
        arguments,
    };
    let mut visit = Visit::new(call, management, vhost)?;
    visit.ask(|client, reply| client.queue_declare(reply, declare)).await?;
    Ok(Reply::put(existed))
}

/// What is known without asking the lane.
fn declared(management: &Management, queue: &QueueHandle) -> Json {
    let options = &queue.options;
    let mut shown = arguments(&options.arguments);
    shown["x-queue-type"] = options.queue_type.as_str().into();
    json!({
        "name": *queue.name,
        "vhost": *queue.vhost,
        "type": options.queue_type.as_str(),
        "durable": options.durable,
        "auto_delete": options.auto_delete,
        "exclusive": options.exclusive.is_some(),
        "internal": false,
        "internal_owner": false,
        "arguments": shown,
        "node": management.node(),
        "state": "running",
    })
}

fn put_counts(record: &mut Json, report: &QueueReport) {
    let counts = [
        ("messages", report.ready + report.unacked),
        ("messages_ready", report.ready),
        ("messages_unacknowledged", report.unacked),
    ];
    for (name, count) in counts {
        record[name] = count.into();
        record[format!("{name}_details")] = json!({"rate": 0.0});
    }
}

/// A queue in a list.
fn counted(management: &Management, queue: &QueueHandle, report: &QueueReport) -> Json {
    let mut record = declared(management, queue);
    put_counts(&mut record, report);
    let in_force = queue.in_force();
    let bytes = report.ready_bytes + report.unacked_bytes;
    let messages = report.ready + report.unacked;
    let can_take = report.consumers.iter().any(|consumer| consumer.is_active && consumer.has_credit);
    let more = json!({
        "consumers": report.consumers.len(),
        "consumer_capacity": if can_take { 1.0 } else { 0.0 },
        "consumer_utilisation": if can_take { 1.0 } else { 0.0 },
        "effective_policy_definition": in_force.definition(),
        "memory": QUEUE_BYTES + messages * MESSAGE_BYTES + bytes,
        "message_bytes": bytes,
        "message_bytes_ready": report.ready_bytes,
        "message_bytes_unacknowledged": report.unacked_bytes,
        "message_bytes_ram": bytes,
        "messages_ram": messages,
        "messages_ready_ram": report.ready,
        "messages_unacknowledged_ram": report.unacked,
        "reductions": 0,
        "reductions_details": {"rate": 0.0},
    });
    merge(&mut record, more);
    for (kind, policy) in [("policy", &in_force.policy), ("operator_policy", &in_force.operator)] {
        if let Some(policy) = policy {
            record[kind] = (**policy.name()).into();
        }
    }
    put_stats(&mut record, stats(&report.counters, management.rate_of_queue(queue.key.id)));
    if report.idle_ms >= IDLE_MS_MIN && report.consumers.is_empty() {
        let since = SystemTime::now().checked_sub(Duration::from_millis(report.idle_ms));
        record["idle_since"] = since.map(timestamp).into();
    }
    match queue.options.queue_type {
        QueueType::Classic => record["storage_version"] = 2.into(),
        QueueType::Quorum => {
            let node = management.node();
            let members = json!({
                "leader": node,
                "members": [node],
                "online": [node],
                "open_files": {node: 0},
                "delivery_limit": queue.settings().delivery_limit,
                "delayed_retry": "disabled",
                "messages_delayed": 0,
                // Dead letters leave at once.
                "messages_dlx": 0,
                "message_bytes_dlx": 0,
            });
            merge(&mut record, members);
        }
    }
    record
}

/// One queue, with its consumers.
async fn detailed(management: &Management, queue: &Arc<QueueHandle>) -> Option<Json> {
    let reports = management.broker().inspect_queues(std::slice::from_ref(queue)).await;
    let report = reports.get(&queue.key.id)?;
    let mut record = counted(management, queue, report);
    let consumers = connections::consumers_of(management, queue, report).await;
    let tag_where = |wanted: &dyn Fn(&Json) -> bool| {
        consumers.iter().find(|consumer| wanted(consumer)).map(|consumer| consumer["consumer_tag"].clone())
    };
    let exclusive = tag_where(&|consumer| consumer["exclusive"] == true).unwrap_or_default();
    let active = tag_where(&|consumer| consumer["active"] == true && queue.options.single_active_consumer);
    record["single_active_consumer_tag"] = active.unwrap_or_default();
    if queue.options.queue_type == QueueType::Classic {
        record["exclusive_consumer_tag"] = exclusive;
        record["head_message_timestamp"] = Json::Null;
    }
    for kind in ["policy", "operator_policy"] {
        // One queue says that it has none, a list leaves it out.
        if record.get(kind).is_none() {
            record[kind] = Json::Null;
        }
    }
    record["garbage_collection"] = garbage_collection();
    record["consumer_details"] = consumers.into();
    record["incoming"] = json!([]);
    record["deliveries"] = json!([]);
    if let Some(owner) = queue.options.exclusive {
        record["owner_pid_details"] = connections::owner(management, owner);
    }
    Some(record)
}

/// Where nothing ever happened there is nothing to show.
pub(in crate::management) fn put_stats(record: &mut Json, stats: Map<String, Json>) {
    if !stats.is_empty() {
        record["message_stats"] = stats.into();
    }
}

/// RabbitMQ's names, each with its rate; none if nothing ever happened.
pub(in crate::management) fn stats(counters: &Counters, rates: impl Fn(&str) -> f64) -> Map<String, Json> {
    let mut stats = Map::new();
    let named = named(counters);
    if named.iter().all(|(_, count)| *count == 0) {
        return stats;
    }
    for (name, count) in named {
        stats.insert(name.to_owned(), count.into());
        stats.insert(format!("{name}_details"), json!({"rate": rates(name)}));
    }
    stats
}

/// The counters with RabbitMQ's names.
pub(in crate::management) fn named(counters: &Counters) -> [(&'static str, u64); 9] {
    let Counters { publish, deliver, deliver_no_ack, get, get_no_ack, get_empty, redeliver, ack } = *counters;
    [
        ("publish", publish),
        ("deliver", deliver),
        ("deliver_no_ack", deliver_no_ack),
        ("get", get),
        ("get_no_ack", get_no_ack),
        ("get_empty", get_empty),
        ("deliver_get", deliver + deliver_no_ack + get + get_no_ack),
        ("redeliver", redeliver),
        ("ack", ack),
    ]
}

/// There is no collector; tools show these fields.
pub(in crate::management) fn garbage_collection() -> Json {
    json!({"fullsweep_after": 0, "max_heap_size": 0, "min_bin_vheap_size": 0, "min_heap_size": 0, "minor_gcs": 0})
}

/// Adds the fields of one object to another.
pub(in crate::management) fn merge(into: &mut Json, from: Json) {
    if let (Json::Object(into), Json::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// Sums over queues.
#[derive(Default)]
pub(in crate::management) struct Totals {
    pub(in crate::management) ready: u64,
    pub(in crate::management) unacked: u64,
    pub(in crate::management) consumers: usize,
    pub(in crate::management) counters: Counters,
}

impl Totals {
    pub(in crate::management) async fn add(&mut self, management: &Management, queues: &[Arc<QueueHandle>]) {
        for report in management.broker().inspect_queues(queues).await.values() {
            self.ready += report.ready;
            self.unacked += report.unacked;
            self.consumers += report.consumers.len();
            self.counters.add(&report.counters);
        }
    }

    /// `messages` and its kin.
    pub(in crate::management) fn put_counts(&self, record: &mut Json) {
        let counts = [
            ("messages", self.ready + self.unacked),
            ("messages_ready", self.ready),
            ("messages_unacknowledged", self.unacked),
        ];
        for (name, count) in counts {
            record[name] = count.into();
            record[format!("{name}_details")] = json!({"rate": 0.0});
        }
    }

    /// `message_stats`, if anything ever happened.
    pub(in crate::management) fn put_stats(&self, record: &mut Json) {
        put_stats(record, stats(&self.counters, |_| 0.0));
    }
}
