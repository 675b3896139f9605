//! Definitions exported: everything that an import makes, in the JSON of RabbitMQ 4 (DF-1 to DF-3).

use serde_json::{Map, Value as Json, json};

use super::json::json_of_table;
use super::parameter::limits;
use super::policy::PolicyKind;
use super::vhost::{Destination, QueueHandle, Vhost};
use super::{Broker, RABBITMQ_VERSION};

impl Broker {
    /// What an operator sets: everything but exchanges, queues and bindings.
    pub(super) fn export_system(&self) -> Json {
        let mut vhosts = self.vhosts();
        vhosts.sort_by(|a, b| a.name().cmp(b.name()));
        let all = |records: &dyn Fn(&Vhost) -> Vec<Json>| vhosts.iter().flat_map(|vhost| records(vhost)).collect();
        let parameters: Vec<Json> = all(&|vhost| {
            let parameters = self.parameters(vhost).into_iter();
            parameters.map(|parameter| in_vhost(vhost, json!(parameter))).collect()
        });
        let policies: Vec<Json> = all(&policies);
        let vhost_records: Vec<Json> = vhosts.iter().map(|vhost| vhost_record(vhost)).collect();
        json!({
            "rabbit_version": RABBITMQ_VERSION,
            "rabbitmq_version": RABBITMQ_VERSION,
            "product_name": "Lepus",
            "product_version": env!("CARGO_PKG_VERSION"),
            "rabbitmq_definition_format": "cluster",
            "users": self.auth().export_users(),
            "vhosts": vhost_records,
            "permissions": self.auth().export_permissions(),
            "topic_permissions": self.auth().export_topic_permissions(),
            "parameters": parameters,
            "global_parameters": self.global_parameters(),
            "policies": policies,
        })
    }

    /// Users with their password hashes, vhosts, permissions, parameters, policies, queues, exchanges and bindings. What
    /// every broker has by itself, what goes with its connection, and internal exchanges are left out, as in RabbitMQ 4.
    pub fn export_definitions(&self) -> Json {
        let mut vhosts = self.vhosts();
        vhosts.sort_by(|a, b| a.name().cmp(b.name()));
        let all = |records: &dyn Fn(&Vhost) -> Vec<Json>| vhosts.iter().flat_map(|vhost| records(vhost)).collect();
        let (queues, exchanges, bindings): (Vec<Json>, Vec<Json>, Vec<Json>) =
            (all(&queues), all(&exchanges), all(&bindings));
        let mut definitions = self.export_system();
        definitions["queues"] = queues.into();
        definitions["exchanges"] = exchanges.into();
        definitions["bindings"] = bindings.into();
        definitions
    }
}

fn vhost_record(vhost: &Vhost) -> Json {
    let settings = vhost.settings();
    let mut metadata = Map::new();
    metadata.insert("description".into(), settings.description.as_str().into());
    metadata.insert("tags".into(), json!(settings.tags));
    metadata.extend(settings.default_queue_type.as_deref().map(|name| ("default_queue_type".into(), name.into())));
    if settings.protected_from_deletion {
        metadata.insert("protected_from_deletion".into(), true.into());
    }
    let limits = limits(&settings).unwrap_or_else(|| json!({}));
    let mut record = json!({"name": **vhost.name(), "limits": limits, "metadata": metadata});
    if vhost.is_tracing() {
        record["tracing"] = true.into();
    }
    record
}

/// The record with its vhost.
fn in_vhost(vhost: &Vhost, mut record: Json) -> Json {
    record["vhost"] = (&**vhost.name()).into();
    record
}

fn policies(vhost: &Vhost) -> Vec<Json> {
    let with_name = |policy: std::sync::Arc<super::Policy>| {
        let mut record = in_vhost(vhost, json!(policy.spec()));
        record["name"] = (&**policy.name()).into();
        record
    };
    vhost.policies(PolicyKind::User).into_iter().map(with_name).collect()
}

fn is_kept(queue: &QueueHandle) -> bool {
    queue.options.exclusive.is_none()
}

fn queues(vhost: &Vhost) -> Vec<Json> {
    let mut queues = vhost.queues();
    queues.retain(|queue| is_kept(queue));
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    let record = |queue: std::sync::Arc<QueueHandle>| {
        let options = &queue.options;
        json!({
            "name": *queue.name,
            "vhost": **vhost.name(),
            "type": options.queue_type.as_str(),
            "durable": options.durable,
            "auto_delete": options.auto_delete,
            "arguments": json_of_table(&options.arguments),
        })
    };
    queues.into_iter().map(record).collect()
}

fn exchanges(vhost: &Vhost) -> Vec<Json> {
    let mut exchanges = vhost.exchanges();
    exchanges.retain(|exchange| !exchange.name.is_empty() && !exchange.name.starts_with("amq.") && !exchange.internal);
    exchanges.sort_by(|a, b| a.name.cmp(&b.name));
    let record = |exchange: std::sync::Arc<super::Exchange>| {
        json!({
            "name": *exchange.name,
            "vhost": **vhost.name(),
            "type": exchange.kind.as_str(),
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            "arguments": json_of_table(&exchange.arguments),
        })
    };
    exchanges.into_iter().map(record).collect()
}

fn bindings(vhost: &Vhost) -> Vec<Json> {
    let mut records = Vec::new();
    let mut exchanges = vhost.exchanges();
    exchanges.sort_by(|a, b| a.name.cmp(&b.name));
    for source in exchanges {
        source.each_binding(|key, table, destination| {
            let (name, kind) = match destination {
                Destination::Queue(queue) if !is_kept(queue) => return,
                Destination::Queue(queue) => (&queue.name, "queue"),
                Destination::Exchange(name) => (name, "exchange"),
            };
            records.push(json!({
                "source": *source.name,
                "vhost": **vhost.name(),
                "destination": **name,
                "destination_type": kind,
                "routing_key": key,
                "arguments": json_of_table(table),
            }));
        });
    }
    records
}
