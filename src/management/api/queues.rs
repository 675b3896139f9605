//! `/api/queues`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::{bindings, connections};
use crate::broker::{Policy, QueueDeclare, QueueHandle, QueueReport, QueueType, table_of_json};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::list;
use crate::management::names::{arguments, timestamp};
use crate::management::ranges::{Ranges, details, put, put_message_stats};
use crate::management::rates::now_ms;
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::{DELIVERED, LENGTHS, PUBLISHED, queue_sample};
use crate::management::visit::Visit;

/// What a queue without messages takes, and a message beside its body, in bytes: for `memory`, which is an estimate.
pub(in crate::management) const QUEUE_BYTES: u64 = 1024;
pub(in crate::management) const MESSAGE_BYTES: u64 = 128;

/// A queue that nobody used for less than this is not idle, in ms.
const IDLE_MS_MIN: u64 = 5_000;

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    match (call.method.as_str(), path) {
        (_, ["queues"] | ["queues", _]) => {
            // A vhost cannot be told from this word, in RabbitMQ neither.
            let vhost = path.get(1).copied().filter(|name| *name != "detailed");
            list_queues(call, management, vhost).await
        }
        ("GET", ["queues", vhost, name]) => {
            let queue = find(call, management, vhost, name)?;
            let record = detailed(management, &queue, call.ranges()?).await.ok_or_else(Refused::no_object)?;
            Ok(Reply::Json(record))
        }
        ("PUT", ["queues", vhost, name]) => declare(call, management, vhost, name).await,
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
            Level::Administrator.require(&call.user)?;
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
    let ranges = call.ranges()?;
    let totals_only = call.query.is_true("enable_queue_totals");
    if call.query.is_true("disable_stats") && !totals_only {
        return Ok(Reply::List(queues.iter().map(|queue| declared(management, queue)).collect()));
    }
    let in_order = call.query.get("sort").is_none_or(|column| ["name", "vhost"].contains(&column));
    if call.query.get("page").is_none() || !in_order {
        return Ok(Reply::List(all_counted(management, &queues, totals_only, ranges).await));
    }
    // A page is found by names alone, and only its queues are asked for their counts.
    let name = |queue: &Arc<QueueHandle>| queue.name.to_string();
    let (chosen, around) = list::cut(queues, &call.query, name, |a, b, column| match column {
        "name" => a.name.cmp(&b.name),
        _ => a.vhost.cmp(&b.vhost),
    })?;
    let items = all_counted(management, &chosen, totals_only, ranges).await;
    Ok(Reply::Shaped(list::wrap(items, around, &call.query)))
}

/// Queues whose records are made at one go; then others on this thread have their turn.
const RECORDS_A_TURN: usize = 128;

async fn all_counted(
    management: &Management,
    queues: &[Arc<QueueHandle>],
    totals_only: bool,
    ranges: Ranges,
) -> Vec<Json> {
    let mut records = Vec::with_capacity(queues.len());
    for some in queues.chunks(RECORDS_A_TURN) {
        let reports = management.broker().inspect_queues(some).await;
        for queue in some {
            let Some(report) = reports.get(&queue.key.id) else { continue };
            if totals_only {
                let mut record = declared(management, queue);
                put_counts(management, &mut record, queue, report, ranges, false);
                records.push(record);
            } else {
                let mut record = counted(management, queue, report, ranges);
                if let Some(fields) = record.as_object_mut() {
                    // One queue says that it has no policy, a list leaves it out.
                    fields.retain(|name, value| !(value.is_null() && name.ends_with("policy")));
                }
                records.push(record);
            }
        }
        tokio::task::yield_now().await;
    }
    records
}

async fn declare(call: &Call, management: &Management, vhost: &str, name: &str) -> Outcome {
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
    visit.ask(|client, reply| client.queue_declare(reply, declare.clone())).await?;
    Ok(Reply::put(existed))
}

/// What is known without asking the lane.
fn declared(management: &Management, queue: &QueueHandle) -> Json {
    let options = &queue.options;
    let mut shown = arguments(&options.arguments);
    shown["x-queue-type"] = options.queue_type.as_str().into();
    let in_force = queue.in_force();
    let name_of = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|policy| policy.name().to_string());
    let mut record = json!({
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
        "effective_policy_definition": in_force.definition(),
        "policy": name_of(&in_force.policy),
        "operator_policy": name_of(&in_force.operator),
    });
    if options.queue_type == QueueType::Quorum {
        let node = management.node();
        let limit = queue.settings().delivery_limit;
        merge(&mut record, json!({"leader": node, "members": [node], "online": [node], "delivery_limit": limit}));
    }
    record
}

/// Gives when its counts last changed, in ms, as far as that is known.
fn put_counts(
    management: &Management,
    record: &mut Json,
    queue: &QueueHandle,
    report: &QueueReport,
    ranges: Ranges,
    with_stats: bool,
) -> Option<u64> {
    let now = queue_sample(report);
    management.rates().of_queue(queue.key.id, |past| {
        if let Some(fields) = record.as_object_mut() {
            put(fields, &LENGTHS, &now, past, ranges.lengths);
        }
        if with_stats {
            record["reductions_details"] = details(past, |_| 0, ranges.msg_rates);
            put_message_stats(record, &[&PUBLISHED[..1], &DELIVERED], &now, past, ranges.msg_rates);
        }
        past.map(|past| past.changed_ms())
    })
}

/// How many of its messages, and how many of their bytes, outlive the broker. A durable classic queue does not count them.
fn persistent(queue: &QueueHandle, messages: u64, bytes: u64) -> Option<(Json, Json)> {
    match (queue.options.queue_type, queue.options.durable) {
        (QueueType::Quorum, _) => Some((messages.into(), bytes.into())),
        (QueueType::Classic, false) => Some((0.into(), 0.into())),
        (QueueType::Classic, true) => None,
    }
}

/// Since when something is idle, if it is.
pub(in crate::management) fn idle_since(idle_ms: u64) -> Option<String> {
    let since = SystemTime::now().checked_sub(Duration::from_millis(idle_ms));
    since.filter(|_| idle_ms >= IDLE_MS_MIN).map(timestamp)
}

/// A queue in a list.
fn counted(management: &Management, queue: &QueueHandle, report: &QueueReport, ranges: Ranges) -> Json {
    let mut record = declared(management, queue);
    let changed_ms = put_counts(management, &mut record, queue, report, ranges, true);
    let bytes = report.ready_bytes + report.unacked_bytes;
    let messages = report.ready + report.unacked;
    let can_take = report.consumers.iter().any(|consumer| consumer.is_active && consumer.has_credit);
    let more = json!({
        "consumers": report.consumers.len(),
        "consumer_capacity": if can_take { 1.0 } else { 0.0 },
        "consumer_utilisation": if can_take { 1.0 } else { 0.0 },
        "memory": QUEUE_BYTES + messages * MESSAGE_BYTES + bytes,
        "message_bytes": bytes,
        "message_bytes_ready": report.ready_bytes,
        "message_bytes_unacknowledged": report.unacked_bytes,
        "message_bytes_ram": bytes,
        "messages_ram": messages,
        "messages_ready_ram": report.ready,
        "messages_unacknowledged_ram": report.unacked,
        "reductions": 0,
    });
    merge(&mut record, more);
    if let Some(persistent) = persistent(queue, messages, bytes) {
        (record["messages_persistent"], record["message_bytes_persistent"]) = persistent;
    }
    // What clients did with the queue itself its lane knows; when messages went through it last the samples say.
    let idle_ms = changed_ms.map_or(u64::MAX, |changed_ms| now_ms().saturating_sub(changed_ms)).min(report.idle_ms);
    if let Some(since) = idle_since(idle_ms) {
        record["idle_since"] = since.into();
    }
    match queue.options.queue_type {
        QueueType::Classic => record["storage_version"] = 2.into(),
        QueueType::Quorum => {
            let node = management.node();
            let members = json!({
                "open_files": {node: 0},
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
async fn detailed(management: &Management, queue: &Arc<QueueHandle>, ranges: Ranges) -> Option<Json> {
    let reports = management.broker().inspect_queues(std::slice::from_ref(queue)).await;
    let report = reports.get(&queue.key.id)?;
    let mut record = counted(management, queue, report, ranges);
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
    record["garbage_collection"] = garbage_collection();
    record["consumer_details"] = consumers.into();
    record["incoming"] = json!([]);
    record["deliveries"] = json!([]);
    if let Some(owner) = queue.options.exclusive {
        record["owner_pid_details"] = connections::owner(management, owner);
    }
    Some(record)
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
