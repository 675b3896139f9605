//! Lists: which rows the API has for them, and which columns there are.

use serde_json::{Map, Value as Json};

use super::broker::Broker;
use super::failure::Failure;
use super::line::Line;
use super::output::{Item, Outcome, Rows};
use super::request::path;
use super::table::{BOTH, CTL, Command, Run};

/// A list.
#[derive(Debug)]
pub(super) struct List {
    /// Below `/api/`, with names of arguments in braces.
    pub(super) path: &'static str,
    pub(super) columns: &'static [Column],
    /// Those that are shown if none are named.
    pub(super) shown: &'static [&'static str],
    /// What there is to say if the path is not there; `None`: an empty list.
    pub(super) missing: Option<fn(&Line) -> Failure>,
}

/// A column: its name, where in a record it is, and what it holds.
#[derive(Debug)]
pub(super) struct Column(pub(super) &'static str, pub(super) &'static str, pub(super) Holds);

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// What the JSON says.
    Value,
    /// Arguments of AMQP.
    Arguments,
    /// `[{a, b}]`.
    Pairs,
    /// The JSON itself, as text.
    Document,
    /// A map, empty if nothing is known.
    Map,
    /// The same in all rows.
    Always(&'static str),
    /// What there is no name for in RabbitMQ's API.
    Nothing,
}

impl Column {
    fn item(&self, record: &Json) -> Item {
        let value = find(record, self.1);
        let fields = || value.as_object().cloned().unwrap_or_default();
        match self.2 {
            Holds::Value => Item::of(value),
            Holds::Arguments => Item::Arguments(fields()),
            Holds::Pairs => Item::Pairs(fields()),
            Holds::Map => Item::Map(fields()),
            Holds::Document if value.is_null() => Item::None,
            Holds::Document => Item::text(value.to_string()),
            Holds::Always(text) => Item::text(text),
            Holds::Nothing => Item::None,
        }
    }
}

/// `a.b` is the `b` of `a`.
fn find<'a>(record: &'a Json, place: &str) -> &'a Json {
    place.split('.').fold(record, |value, name| &value[name])
}

impl List {
    /// Refuses columns that there are not.
    pub(super) fn check(&self, line: &Line) -> Result<(), Failure> {
        let unknown: Vec<&str> = wanted(line).filter(|name| self.column(name).is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Failure::arguments(format!("Info key(s) {} are not supported", unknown.join(","))))
    }

    pub(super) fn run(&self, line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
        let records = match (broker.find(&path(line, self.path))?, self.missing) {
            (Some(records), _) => records,
            (None, Some(failure)) => return Err(failure(line)),
            (None, None) => Json::Null,
        };
        Ok(self.rows(line, &records))
    }

    /// The columns that the line asks for.
    pub(super) fn rows(&self, line: &Line, records: &Json) -> Outcome {
        let named: Vec<&str> = wanted(line).collect();
        let columns: Vec<&Column> = match named.is_empty() {
            true => self.shown.iter().filter_map(|name| self.column(name)).collect(),
            false => named.iter().filter_map(|name| self.column(name)).collect(),
        };
        let row = |record: &Json| columns.iter().map(|column| column.item(record)).collect();
        Outcome::Rows(Rows {
            columns: columns.iter().map(|column| column.0.to_owned()).collect(),
            values: records.as_array().into_iter().flatten().map(row).collect(),
        })
    }

    fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.0 == name)
    }
}

/// Columns may be apart by commas, too.
fn wanted(line: &Line) -> impl Iterator<Item = &str> {
    line.rest().iter().flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

use Holds::{Always, Arguments, Document, Map as MapOf, Nothing, Pairs, Value};

const QUEUES: List = List {
    path: "queues/{vhost}",
    shown: &["name", "messages"],
    missing: None,
    columns: &[
        Column("name", "name", Value),
        Column("durable", "durable", Value),
        Column("auto_delete", "auto_delete", Value),
        Column("arguments", "arguments", Arguments),
        Column("policy", "policy", Value),
        Column("operator_policy", "operator_policy", Value),
        Column("effective_policy_definition", "effective_policy_definition", MapOf),
        // There are no Erlang processes: a queue is known by its name.
        Column("pid", "name", Value),
        Column("owner_pid", "owner_pid_details.name", Value),
        Column("exclusive", "exclusive", Value),
        Column("exclusive_consumer_pid", "", Nothing),
        Column("exclusive_consumer_tag", "exclusive_consumer_tag", Value),
        Column("messages_ready", "messages_ready", Value),
        Column("messages_unacknowledged", "messages_unacknowledged", Value),
        Column("messages", "messages", Value),
        Column("messages_ready_ram", "messages_ready_ram", Value),
        Column("messages_unacknowledged_ram", "messages_unacknowledged_ram", Value),
        Column("messages_ram", "messages_ram", Value),
        Column("messages_persistent", "messages_persistent", Value),
        Column("message_bytes", "message_bytes", Value),
        Column("message_bytes_ready", "message_bytes_ready", Value),
        Column("message_bytes_unacknowledged", "message_bytes_unacknowledged", Value),
        Column("message_bytes_ram", "message_bytes_ram", Value),
        Column("message_bytes_persistent", "message_bytes_persistent", Value),
        Column("head_message_timestamp", "head_message_timestamp", Value),
        Column("disk_reads", "message_stats.disk_reads", Value),
        Column("disk_writes", "message_stats.disk_writes", Value),
        Column("consumers", "consumers", Value),
        Column("consumer_utilisation", "consumer_utilisation", Value),
        Column("consumer_capacity", "consumer_capacity", Value),
        Column("memory", "memory", Value),
        Column("state", "state", Value),
        Column("type", "type", Value),
        Column("leader", "node", Value),
        Column("members", "members", Value),
        Column("online", "online", Value),
    ],
};

const EXCHANGES: List = List {
    path: "exchanges/{vhost}",
    shown: &["name", "type"],
    missing: None,
    columns: &[
        Column("name", "name", Value),
        Column("type", "type", Value),
        Column("durable", "durable", Value),
        Column("auto_delete", "auto_delete", Value),
        Column("internal", "internal", Value),
        Column("arguments", "arguments", Arguments),
        Column("policy", "policy", Value),
    ],
};

const BINDINGS: List = List {
    path: "bindings/{vhost}",
    shown: &["source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"],
    missing: None,
    columns: &[
        Column("source_name", "source", Value),
        Column("source_kind", "", Always("exchange")),
        Column("destination_name", "destination", Value),
        Column("destination_kind", "destination_type", Value),
        Column("routing_key", "routing_key", Value),
        Column("arguments", "arguments", Arguments),
        Column("vhost", "vhost", Value),
    ],
};

const CONNECTIONS: List = List {
    path: "connections",
    shown: &["user", "peer_host", "peer_port", "state"],
    missing: None,
    columns: &[
        // A connection is closed by its name.
        Column("pid", "name", Value),
        Column("name", "name", Value),
        Column("user_provided_name", "user_provided_name", Value),
        Column("port", "port", Value),
        Column("host", "host", Value),
        Column("peer_port", "peer_port", Value),
        Column("peer_host", "peer_host", Value),
        Column("ssl", "ssl", Value),
        Column("ssl_protocol", "ssl_protocol", Value),
        Column("ssl_key_exchange", "ssl_key_exchange", Value),
        Column("ssl_cipher", "ssl_cipher", Value),
        Column("ssl_hash", "ssl_hash", Value),
        Column("peer_cert_subject", "peer_cert_subject", Value),
        Column("peer_cert_issuer", "peer_cert_issuer", Value),
        Column("peer_cert_validity", "peer_cert_validity", Value),
        Column("state", "state", Value),
        Column("channels", "channels", Value),
        Column("protocol", "protocol", Value),
        Column("auth_mechanism", "auth_mechanism", Value),
        Column("user", "user", Value),
        Column("vhost", "vhost", Value),
        Column("timeout", "timeout", Value),
        Column("frame_max", "frame_max", Value),
        Column("channel_max", "channel_max", Value),
        Column("client_properties", "client_properties", Arguments),
        Column("recv_oct", "recv_oct", Value),
        Column("recv_cnt", "recv_cnt", Value),
        Column("send_oct", "send_oct", Value),
        Column("send_cnt", "send_cnt", Value),
        Column("send_pend", "send_pend", Value),
        Column("connected_at", "connected_at", Value),
        Column("node", "node", Value),
    ],
};

const CHANNELS: List = List {
    path: "channels",
    shown: &["pid", "user", "consumer_count", "messages_unacknowledged"],
    missing: None,
    columns: &[
        Column("pid", "name", Value),
        Column("connection", "connection_details.name", Value),
        Column("name", "name", Value),
        Column("number", "number", Value),
        Column("user", "user", Value),
        Column("vhost", "vhost", Value),
        Column("transactional", "transactional", Value),
        Column("confirm", "confirm", Value),
        Column("consumer_count", "consumer_count", Value),
        Column("messages_unacknowledged", "messages_unacknowledged", Value),
        Column("messages_uncommitted", "messages_uncommitted", Value),
        Column("acks_uncommitted", "acks_uncommitted", Value),
        Column("messages_unconfirmed", "messages_unconfirmed", Value),
        Column("prefetch_count", "prefetch_count", Value),
        Column("state", "state", Value),
    ],
};

const CONSUMERS: List = List {
    path: "consumers/{vhost}",
    shown: &["queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments"],
    missing: None,
    columns: &[
        Column("queue_name", "queue.name", Value),
        Column("channel_pid", "channel_details.name", Value),
        Column("consumer_tag", "consumer_tag", Value),
        Column("ack_required", "ack_required", Value),
        Column("prefetch_count", "prefetch_count", Value),
        Column("active", "active", Value),
        Column("activity_status", "activity_status", Value),
        Column("arguments", "arguments", Arguments),
    ],
};

pub(super) const VHOSTS: List = List {
    path: "vhosts",
    shown: &["name"],
    missing: None,
    columns: &[
        Column("name", "name", Value),
        Column("description", "description", Value),
        Column("tags", "tags", Value),
        Column("default_queue_type", "default_queue_type", Value),
        Column("protected_from_deletion", "protected_from_deletion", Value),
        Column("tracing", "tracing", Value),
        Column("metadata", "metadata", MapOf),
        Column("cluster_state", "cluster_state", Pairs),
    ],
};

/// Policies and operator policies.
pub(super) const fn policies(path: &'static str) -> List {
    List {
        path,
        shown: &["vhost", "name", "pattern", "apply-to", "definition", "priority"],
        missing: Some(no_vhost),
        columns: &[
            Column("vhost", "vhost", Value),
            Column("name", "name", Value),
            Column("pattern", "pattern", Value),
            Column("apply-to", "apply-to", Value),
            Column("definition", "definition", Document),
            Column("priority", "priority", Value),
        ],
    }
}

pub(super) fn no_vhost(line: &Line) -> Failure {
    Failure::no_vhost(line.vhost())
}

/// Only one node, which is up: all queues are online and here, none are offline.
fn queues(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    if line.has("offline") && !line.has("online") {
        return Ok(QUEUES.rows(line, &Json::Null));
    }
    let Some(mut queues) = broker.find(&path(line, QUEUES.path))? else { return Ok(QUEUES.rows(line, &Json::Null)) };
    for queue in queues.as_array_mut().into_iter().flatten() {
        // A classic queue has one member; RabbitMQ does not say which of its members are online.
        let node = queue["node"].clone();
        if let Some(fields) = queue.as_object_mut().filter(|fields| !fields.contains_key("members")) {
            fields.insert("members".to_owned(), Json::Array(vec![node]));
        }
    }
    Ok(QUEUES.rows(line, &queues))
}

/// Every queue is asked for its counts; those of lanes that do not answer are left out of the second list.
fn unresponsive_queues(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let all = broker.find(&(path(line, QUEUES.path) + "?disable_stats=true"))?.unwrap_or_default();
    let answered = broker.find(&path(line, QUEUES.path))?.unwrap_or_default();
    let names = |list: &Json| -> Map<String, Json> {
        let named = list.as_array().into_iter().flatten();
        named.filter_map(|queue| Some((queue["name"].as_str()?.to_owned(), queue.clone()))).collect()
    };
    let answered = names(&answered);
    let silent = names(&all).into_iter().filter(|(name, _)| !answered.contains_key(name)).map(|(_, queue)| queue);
    let list = List { shown: &["name"], ..QUEUES };
    Ok(list.rows(line, &silent.collect()))
}

fn queue_columns(line: &Line) -> Result<(), Failure> {
    QUEUES.check(line)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        BOTH,
        ("list_bindings", "[--vhost <vhost>] [--no-table-headers] [<column> ...]"),
        "Lists all bindings on a vhost",
        "Listing bindings for vhost {vhost}...",
        Run::List(&BINDINGS),
    ),
    Command::new(
        BOTH,
        ("list_channels", "[--no-table-headers] [<column> ...]"),
        "Lists all channels in the node",
        "Listing channels ...",
        Run::List(&CHANNELS),
    ),
    Command::new(
        BOTH,
        ("list_connections", "[--no-table-headers] [<column> ...]"),
        "Lists AMQP connections for the node",
        "Listing connections ...",
        Run::List(&CONNECTIONS),
    ),
    Command::new(
        BOTH,
        ("list_consumers", "[--vhost <vhost>] [--no-table-headers] [<column> ...]"),
        "Lists all consumers for a vhost",
        "Listing consumers in vhost {vhost} ...",
        Run::List(&CONSUMERS),
    ),
    Command::new(
        BOTH,
        ("list_exchanges", "[--vhost <vhost>] [--no-table-headers] [<column> ...]"),
        "Lists exchanges",
        "Listing exchanges for vhost {vhost} ...",
        Run::List(&EXCHANGES),
    ),
    Command::new(
        BOTH,
        ("list_queues", "[--vhost <vhost>] [--online] [--offline] [--local] [--no-table-headers] [<column> ...]"),
        "Lists queues and their properties",
        "Timeout: {seconds} seconds ...\nListing queues for vhost {vhost} ...",
        Run::Do(queues),
    )
    .checked(queue_columns),
    Command::new(
        BOTH,
        ("list_unresponsive_queues", "[--vhost <vhost>] [--no-table-headers] [<column> ...]"),
        "Tests queues to respond within timeout. Lists those which did not respond",
        "Listing unresponsive queues for vhost {vhost} ...",
        Run::Do(unresponsive_queues),
    )
    .checked(queue_columns),
    Command::new(
        CTL,
        ("list_node_auth_attempt_stats", "[--no-table-headers]"),
        "Lists authentication attempts on the target node",
        "Listing authentication\n attempts for node \"{node}\" ...",
        Run::Do(attempts),
    ),
];

const ATTEMPTS: List = List {
    path: "auth/attempts",
    shown: &["protocol", "auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"],
    missing: None,
    columns: &[
        Column("protocol", "protocol", Value),
        Column("auth_attempts", "auth_attempts", Value),
        Column("auth_attempts_failed", "auth_attempts_failed", Value),
        Column("auth_attempts_succeeded", "auth_attempts_succeeded", Value),
    ],
};

fn attempts(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let records = broker.get(&format!("{}/{}", ATTEMPTS.path, crate::management::percent_encoded(broker.node())))?;
    Ok(ATTEMPTS.rows(line, &records))
}
