//! `/api/queues`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::pairs::Pairs;
use super::{bindings, connections};
use crate::broker::{QueueDeclare, QueueHandle, QueueReport, QueueType, table_of_json};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::list::{self, Chosen, List};
use crate::management::names::{Timestamp, arguments, sort_by_name};
use crate::management::ranges::{Ranges, put, put_details, put_message_stats};
use crate::management::rates::now_ms;
use crate::management::record::{Columns, Record};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::{DELIVERED, LENGTHS, PUBLISHED, nothing, queue_sample};
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
            let is_detailed = path.get(1) == Some(&"detailed");
            let vhost = path.get(1).copied().filter(|_| !is_detailed);
            let absent = if is_detailed { Absent::Null } else { Absent::LeftOut };
            list_queues(call, management, (vhost, None), absent).await
        }
        (_, ["users", user, "queues"]) => list_queues(call, management, (None, Some(user)), Absent::LeftOut).await,
        ("GET", ["queues", vhost, name]) => {
            let queue = find(call, management, vhost, name)?;
            detailed(call, management, &queue).await
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

/// Those of one vhost, if any is named, and that one user has declared.
async fn list_queues(
    call: &Call,
    management: &Management,
    (vhost, user): (Option<&str>, Option<&str>),
    absent: Absent,
) -> Outcome {
    let mut queues = Vec::new();
    for vhost in call.vhosts(management, vhost)? {
        let mut own = vhost.queues();
        own.retain(|queue| user.is_none_or(|user| *queue.declared_by == *user));
        sort_by_name(&mut own, |queue| &queue.name);
        queues.append(&mut own);
    }
    let query = &call.query;
    let telling = Telling { management, ranges: call.ranges()?, now_ms: now_ms(), absent };
    let totals_only = query.is_true("enable_queue_totals");
    if query.is_true("disable_stats") && !totals_only {
        let write = |queue: &Arc<QueueHandle>, out: &mut Vec<u8>, columns: Columns<'_>| {
            Record::write(out, columns, |record| put_declared(record, management, queue, Absent::Null));
        };
        return list::shape_items(queues, query, |queue| Cow::Borrowed(&queue.name), write).await;
    }
    let write = |queue: &QueueHandle, report: &QueueReport, out: &mut Vec<u8>, columns: Columns<'_>| {
        Record::write(out, columns, |record| {
            if totals_only {
                put_declared(record, management, queue, Absent::Null);
                telling.put_lengths(record, queue, report);
            } else {
                telling.put_counted(record, queue, report);
            }
        });
    };
    let by: Option<fn(&QueueHandle) -> &Arc<str>> = match query.get("sort") {
        None | Some("name") => Some(|queue| &queue.name),
        Some("vhost") => Some(|queue| &queue.vhost),
        Some(_) => None,
    };
    let Some(by) = by else {
        let mut inspections = management.broker().close_inspections(&queues);
        let mut counted = Vec::with_capacity(queues.len());
        while let Some(some) = inspections.next().await {
            counted.extend(some);
        }
        let write = |(queue, report): &Counted<'_>, out: &mut Vec<u8>, columns: Columns<'_>| {
            write(queue, report, out, columns);
        };
        return list::shape_items(counted, query, |(queue, _)| Cow::Borrowed(&queue.name), write).await;
    };
    // A page is found by names alone, and only its queues are asked for their counts.
    let mut chosen = Chosen::new(queues, query, |queue| Cow::Borrowed(&queue.name))?;
    if query.get("sort").is_some() {
        chosen.items.sort_by(|a, b| by(a).cmp(by(b)));
    }
    let (queues, around) = chosen.page(query)?;
    // What a lane says of some queues is written while it is in the processor's cache.
    let mut list = List::new(queues.len(), around, query);
    let mut inspections = management.broker().close_inspections(&queues);
    while let Some(some) = inspections.next().await {
        for (queue, report) in &some {
            list.add(|out, columns| write(queue, report, out, columns));
        }
    }
    Ok(list.written())
}

/// A queue, and what its lane says of it.
type Counted<'a> = (&'a Arc<QueueHandle>, QueueReport);

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

/// What is told of a policy, a tag or a moment that there is not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Null: of a queue that is asked for, and in `/queues/detailed`.
    Null,
    /// Nothing: in other lists.
    LeftOut,
}

impl Absent {
    fn put(self, record: &mut Record<'_>, name: &'static str, value: Option<impl Serialize>) {
        match self {
            Self::Null => record.put(name, value),
            Self::LeftOut => record.put_some(name, value),
        }
    }
}

/// What is known without asking the lane.
fn put_declared(record: &mut Record<'_>, management: &Management, queue: &QueueHandle, absent: Absent) {
    let options = &queue.options;
    let queue_type = options.queue_type.as_str();
    record.put("name", &*queue.name);
    record.put("vhost", &*queue.vhost);
    record.put("type", queue_type);
    record.put("durable", options.durable);
    record.put("auto_delete", options.auto_delete);
    record.put("exclusive", options.exclusive.is_some());
    record.put("internal", false);
    record.put("internal_owner", false);
    record.object("arguments", |shown| {
        if !options.arguments.is_empty()
            && let Json::Object(mut own) = arguments(&options.arguments)
        {
            own.remove("x-queue-type");
            shown.fields(&own);
        }
        shown.put("x-queue-type", queue_type);
    });
    record.put("node", management.node());
    record.put("state", "running");
    let in_force = queue.in_force();
    record.json("effective_policy_definition", || in_force.definition().into());
    for (name, policy) in [("policy", &in_force.policy), ("operator_policy", &in_force.operator)] {
        absent.put(record, name, policy.as_ref().map(|policy| &**policy.name()));
    }
    if options.queue_type == QueueType::Quorum {
        let node = management.node();
        record.put("leader", node);
        record.put("members", [node]);
        record.put("online", [node]);
        record.put("delivery_limit", queue.settings().delivery_limit);
    }
}

/// Since when something is idle, if it is.
pub(in crate::management) fn idle_since(idle_ms: u64, now_ms: u64) -> Option<Timestamp> {
    now_ms.checked_sub(idle_ms).filter(|_| idle_ms >= IDLE_MS_MIN).map(Timestamp::new)
}

/// What the records of one answer have in common.
struct Telling<'a> {
    management: &'a Management,
    ranges: Ranges,
    now_ms: u64,
    absent: Absent,
}

impl Telling<'_> {
    fn put_lengths(&self, record: &mut Record<'_>, queue: &QueueHandle, report: &QueueReport) {
        self.management.rates().of_queue(queue.key.id, |past| {
            put(record, &LENGTHS, &queue_sample(report), past, self.ranges.lengths);
        });
    }

    /// What a list shows of a queue.
    fn put_counted(&self, record: &mut Record<'_>, queue: &QueueHandle, report: &QueueReport) {
        let Self { management, ranges, now_ms, absent } = *self;
        put_declared(record, management, queue, absent);
        let now = queue_sample(report);
        let changed_ms = management.rates().of_queue(queue.key.id, |past| {
            put(record, &LENGTHS, &now, past, ranges.lengths);
            put_details(record, "reductions_details", past, nothing, ranges.msg_rates);
            put_message_stats(record, &[&PUBLISHED[..1], &DELIVERED], &now, past, ranges.msg_rates);
            past.map(|past| past.changed_ms())
        });
        let bytes = report.ready_bytes + report.unacked_bytes;
        let messages = report.ready + report.unacked;
        let can_take = report.consumers.iter().any(|consumer| consumer.is_active && consumer.has_credit);
        record.put("consumers", report.consumers.len());
        record.put("consumer_capacity", if can_take { 1.0 } else { 0.0 });
        record.put("consumer_utilisation", if can_take { 1.0 } else { 0.0 });
        record.put("memory", QUEUE_BYTES + messages * MESSAGE_BYTES + bytes);
        record.put("message_bytes", bytes);
        record.put("message_bytes_ready", report.ready_bytes);
        record.put("message_bytes_unacknowledged", report.unacked_bytes);
        record.put("message_bytes_ram", bytes);
        record.put("messages_ram", messages);
        record.put("messages_ready_ram", report.ready);
        record.put("messages_unacknowledged_ram", report.unacked);
        record.put("reductions", 0);
        record.put("messages_persistent", report.persistent);
        record.put("message_bytes_persistent", report.persistent_bytes);
        // What clients did with the queue itself its lane knows; when messages went through it last the samples say.
        let idle_ms = changed_ms.map_or(u64::MAX, |changed_ms| now_ms.saturating_sub(changed_ms)).min(report.idle_ms);
        record.put_some("idle_since", idle_since(idle_ms, now_ms));
        absent.put(record, "single_active_consumer_tag", report.single_active_tag.as_deref());
        match &report.quorum {
            None => {
                record.put("storage_version", 2);
                absent.put(record, "exclusive_consumer_tag", report.exclusive_tag.as_deref());
                absent.put(record, "head_message_timestamp", report.head_timestamp_s);
            }
            Some(own) => {
                record.put("publishers", own.publishers);
                record.json("open_files", || json!({management.node(): 0}));
                let retry = queue.settings().delayed_retry;
                record.put("delayed_retry", retry.map_or("disabled", |retry| retry.what.as_str()));
                record.json("messages_by_priority", || {
                    own.by_priority.iter().map(|(priority, length)| (priority.to_string(), json!(length))).collect()
                });
                record.put("messages_active_priorities", own.by_priority.len());
                record.put("messages_ready_returned", own.returned);
                record.put("messages_delayed", own.delayed);
                record.put("messages_dlx", own.dead_letters);
                record.put("message_bytes_dlx", own.dead_letters_bytes);
            }
        }
        if absent == Absent::Null {
            record.object("garbage_collection", put_garbage_collection);
        }
    }
}

/// One queue, with its consumers.
async fn detailed(call: &Call, management: &Management, queue: &Arc<QueueHandle>) -> Outcome {
    let telling = Telling { management, ranges: call.ranges()?, now_ms: now_ms(), absent: Absent::Null };
    let report = management.broker().inspect_queue(queue).await.ok_or_else(Refused::no_object)?;
    let consumers = connections::consumers_of(management, queue, &report).await;
    let options = &queue.options;
    Ok(Reply::Written(Record::written(&call.query, |record| {
        telling.put_counted(record, queue, &report);
        record.list("consumer_details", &consumers, |consumer, record| consumer.put(record, management));
        if let Some(vhost) = management.broker().vhost(&queue.vhost) {
            Pairs::new(management, &vhost, telling.ranges).put_of_queue(record, queue.key.id);
        }
        if let Some(owner) = options.exclusive {
            record.object("owner_pid_details", |details| connections::put_owner(details, management, owner));
        }
    })))
}

/// There is no collector; tools show these fields.
pub(in crate::management) fn put_garbage_collection(record: &mut Record<'_>) {
    for name in ["fullsweep_after", "max_heap_size", "min_bin_vheap_size", "min_heap_size", "minor_gcs"] {
        record.put(name, 0);
    }
}
