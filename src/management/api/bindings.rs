//! `/api/bindings`.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::exchanges::own_name;
use crate::broker::{Destination, Exchange, QueueHandle, Vhost, table_of_json};
use crate::management::Management;
use crate::management::call::{Call, NAME_BYTES_MAX};
use crate::management::names::{arguments, percent_encoded, properties_key, sort_by_name};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::visit::Visit;
use crate::wire::Table;

/// A binding that was found.
struct Found {
    key: String,
    table: Table,
}

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let [_, vhost_name, _, source, kind, destination, props @ ..] = path else {
        let vhosts = call.vhosts(management, path.get(1).copied())?;
        return Ok(Reply::List(vhosts.iter().flat_map(|vhost| list(vhost)).collect()));
    };
    let to_queue = *kind == "q";
    let (source, destination) = (own_name(source), if to_queue { destination } else { own_name(destination) });
    let vhost = call.vhost(management, vhost_name)?;
    if call.method == hyper::Method::POST {
        return bind(call, management, vhost_name, source, (to_queue, destination)).await;
    }
    let wanted = |record: &Json| {
        record["source"] == source
            && record["destination"] == destination
            && record["destination_type"] == if to_queue { "queue" } else { "exchange" }
    };
    let mut records = list(&vhost);
    records.retain(wanted);
    let [props] = props else { return Ok(Reply::List(records)) };
    let is_named = |record: &Json| record["properties_key"].as_str().is_some_and(|own| names(props, own));
    let record = records.into_iter().find(is_named);
    let record = record.ok_or_else(Refused::no_object)?;
    if call.method == hyper::Method::GET {
        return Ok(Reply::Json(record));
    }
    unbind(call, management, &vhost, (source, to_queue, destination), props).await
}

/// Whether what stands in a path is this `properties_key`. That is encoded already, and the path was decoded: it is itself
/// in the path of whoever encodes it again, as rabbitmqadmin does, and decoded in that of whoever does not.
fn names(in_path: &str, own: &str) -> bool {
    in_path == own || crate::management::call::decoded(own) == in_path
}

async fn bind(
    call: &Call,
    management: &Management,
    vhost: &str,
    source: &str,
    (to_queue, destination): (bool, &str),
) -> Outcome {
    let fields = call.object()?;
    let key = fields.text("routing_key")?.unwrap_or_default().to_owned();
    if key.len() > NAME_BYTES_MAX {
        return Err(Refused::bad_request("routing_key_too_long"));
    }
    let table = table_of_json(fields.object("arguments")?)
        .map_err(|argument| Refused::bad_value("unsupported_argument", argument))?;
    let props = properties_key(&key, &table);
    let mut visit = Visit::new(call, management, vhost)?;
    visit
        .ask(|client, reply| {
            if to_queue {
                client.queue_bind(reply, destination, source, &key, table.clone())
            } else {
                client.exchange_bind(reply, destination, source, &key, table.clone())
            }
        })
        .await?;
    Ok(Reply::Created(Some(format!("{}/{props}", percent_encoded(destination)))))
}

async fn unbind(
    call: &Call,
    management: &Management,
    vhost: &Arc<Vhost>,
    (source, to_queue, destination): (&str, bool, &str),
    props: &str,
) -> Outcome {
    let exchange = vhost.exchange(source).ok_or_else(Refused::no_object)?;
    let mut found = None;
    exchange.each_binding(|key, table, to| {
        let is_it = match to {
            Destination::Queue(queue) => to_queue && *queue.name == *destination,
            Destination::Exchange(name) => !to_queue && **name == *destination,
        };
        if is_it && names(props, &properties_key(key, table)) {
            found = Some(Found { key: key.to_owned(), table: table.clone() });
        }
    });
    let Found { key, table } = found.ok_or_else(Refused::no_object)?;
    let mut visit = Visit::new(call, management, vhost.name())?;
    visit
        .ask(|client, reply| {
            if to_queue {
                client.queue_unbind(reply, destination, source, &key, table.clone())
            } else {
                client.exchange_unbind(reply, destination, source, &key, table.clone())
            }
        })
        .await?;
    Ok(Reply::NoContent)
}

fn record(vhost: &Vhost, source: &str, (kind, destination): (&str, &str), key: &str, table: &Table) -> Json {
    json!({
        "source": source,
        "vhost": **vhost.name(),
        "destination": destination,
        "destination_type": kind,
        "routing_key": key,
        "arguments": arguments(table),
        "properties_key": properties_key(key, table),
    })
}

fn implicit(vhost: &Vhost, queue: &QueueHandle) -> Json {
    record(vhost, "", ("queue", &queue.name), &queue.name, &Table::default())
}

/// All of a vhost: those of the default exchange, which are implicit, go first.
fn list(vhost: &Vhost) -> Vec<Json> {
    let mut queues = vhost.queues();
    sort_by_name(&mut queues, |queue| &queue.name);
    let mut records: Vec<Json> = queues.iter().map(|queue| implicit(vhost, queue)).collect();
    let mut exchanges = vhost.exchanges();
    sort_by_name(&mut exchanges, |exchange| &exchange.name);
    for exchange in exchanges {
        records.extend(explicit(vhost, &exchange));
    }
    records
}

fn explicit(vhost: &Vhost, source: &Exchange) -> Vec<Json> {
    let mut records = Vec::new();
    source.each_binding(|key, table, destination| {
        let to = match destination {
            Destination::Queue(queue) => ("queue", &*queue.name),
            Destination::Exchange(name) => ("exchange", &**name),
        };
        records.push(record(vhost, &source.name, to, key, table));
    });
    records
}

pub(in crate::management) fn from_exchange(vhost: &Vhost, source: &Exchange) -> Vec<Json> {
    if source.name.is_empty() {
        let mut records = list(vhost);
        records.retain(|record| record["source"] == "");
        return records;
    }
    explicit(vhost, source)
}

pub(in crate::management) fn to_exchange(vhost: &Vhost, name: &str) -> Vec<Json> {
    let mut records = list(vhost);
    records.retain(|record| record["destination_type"] == "exchange" && record["destination"] == name);
    records
}

pub(in crate::management) fn to_queue(vhost: &Vhost, queue: &QueueHandle) -> Vec<Json> {
    let mut records = list(vhost);
    records.retain(|record| record["destination_type"] == "queue" && record["destination"] == *queue.name);
    records
}
