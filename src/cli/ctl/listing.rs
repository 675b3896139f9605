//! Lists: which rows the API has for them, and which columns there are.

use serde_json::{Map, Value as Json};

use super::broker::Broker;
use super::failure::Failure;
use super::line::Line;
use super::output::{Item, Outcome, Rows};
use super::request::path;
use super::table::{BOTH, Command, Run};

/// A list.
#[derive(Debug)]
pub(super) struct List {
    /// Below `/api/`, with names of arguments in braces.
    pub(super) path: &'static str,
    /// Columns that show the JSON of their own name, with spaces between them.
    pub(super) plain: &'static str,
    /// The others.
    pub(super) columns: &'static [Column],
    /// Those that are shown if none are named.
    pub(super) shown: &'static [&'static str],
    /// What there is to say if the path is not there; `None`: an empty list.
    pub(super) missing: Option<fn(&Line) -> Failure>,
}

/// A column: its name, where in a record it is, and what it holds.
#[derive(Clone, Copy, Debug)]
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
        let columns: Vec<Column> = match named.is_empty() {
            true => self.shown.iter().filter_map(|name| self.column(name)).collect(),
            false => named.iter().filter_map(|name| self.column(name)).collect(),
        };
        let row = |record: &Json| columns.iter().map(|column| column.item(record)).collect();
        Outcome::Rows(Rows {
            columns: columns.iter().map(|column| column.0.to_owned()).collect(),
            values: records.as_array().into_iter().flatten().map(row).collect(),
        })
    }

    /// All its columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.plain.split_whitespace().chain(self.columns.iter().map(|column| column.0))
    }

    fn column(&self, name: &str) -> Option<Column> {
        let special = self.columns.iter().find(|column| column.0 == name).copied();
        let plain = || self.plain.split_whitespace().find(|own| *own == name);
        special.or_else(|| plain().map(|own| Column(own, own, Holds::Value)))
    }
}

/// Columns may be apart by commas, too.
fn wanted(line: &Line) -> impl Iterator<Item = &str> {
    line.rest().iter().flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

use Holds::{Always, Arguments, Document, Map as MapOf, Nothing, Pairs, Value};

pub(super) const QUEUES: List = List {
    path: "queues/{vhost}",
    shown: &["name", "messages"],
    missing: None,
    plain: "name durable auto_delete policy operator_policy exclusive exclusive_consumer_tag messages_ready \
            messages_unacknowledged messages messages_ready_ram messages_unacknowledged_ram messages_ram \
            messages_persistent message_bytes message_bytes_ready message_bytes_unacknowledged message_bytes_ram \
            message_bytes_persistent head_message_timestamp consumers consumer_utilisation consumer_capacity \
            memory state type members online",
    columns: &[
        Column("arguments", "arguments", Arguments),
        Column("effective_policy_definition", "effective_policy_definition", MapOf),
        // There are no Erlang processes: a queue is known by its name.
        Column("pid", "name", Value),
        Column("owner_pid", "owner_pid_details.name", Value),
        Column("exclusive_consumer_pid", "", Nothing),
        Column("disk_reads", "message_stats.disk_reads", Value),
        Column("disk_writes", "message_stats.disk_writes", Value),
        Column("leader", "node", Value),
    ],
};

pub(super) const EXCHANGES: List = List {
    path: "exchanges/{vhost}",
    shown: &["name", "type"],
    missing: None,
    plain: "name type durable auto_delete internal policy",
    columns: &[Column("arguments", "arguments", Arguments)],
};

const BINDINGS: List = List {
    path: "bindings/{vhost}",
    shown: &["source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"],
    missing: None,
    plain: "routing_key vhost",
    columns: &[
        Column("source_name", "source", Value),
        Column("source_kind", "", Always("exchange")),
        Column("destination_name", "destination", Value),
        Column("destination_kind", "destination_type", Value),
        Column("arguments", "arguments", Arguments),
    ],
};

pub(super) const CONNECTIONS: List = List {
    path: "connections",
    shown: &["user", "peer_host", "peer_port", "state"],
    missing: None,
    plain: "name user_provided_name port host peer_port peer_host ssl ssl_protocol ssl_key_exchange ssl_cipher \
            ssl_hash peer_cert_subject peer_cert_issuer peer_cert_validity state channels protocol \
            auth_mechanism user vhost timeout frame_max channel_max recv_oct recv_cnt send_oct send_cnt \
            send_pend connected_at node",
    columns: &[
        // A connection is closed by its name.
        Column("pid", "name", Value),
        Column("client_properties", "client_properties", Arguments),
    ],
};

pub(super) const CHANNELS: List = List {
    path: "channels",
    shown: &["pid", "user", "consumer_count", "messages_unacknowledged"],
    missing: None,
    plain: "name number user vhost transactional confirm consumer_count messages_unacknowledged \
            messages_uncommitted acks_uncommitted messages_unconfirmed prefetch_count state",
    columns: &[Column("pid", "name", Value), Column("connection", "connection_details.name", Value)],
};

const CONSUMERS: List = List {
    path: "consumers/{vhost}",
    shown: &["queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments"],
    missing: None,
    plain: "consumer_tag ack_required prefetch_count active activity_status",
    columns: &[
        Column("queue_name", "queue.name", Value),
        Column("channel_pid", "channel_details.name", Value),
        Column("arguments", "arguments", Arguments),
    ],
};

pub(super) const VHOSTS: List = List {
    path: "vhosts",
    shown: &["name"],
    missing: None,
    plain: "name description tags default_queue_type protected_from_deletion tracing",
    columns: &[Column("metadata", "metadata", MapOf), Column("cluster_state", "cluster_state", Pairs)],
};

/// Policies and operator policies.
pub(super) const fn policies(path: &'static str) -> List {
    List {
        path,
        shown: &["vhost", "name", "pattern", "apply-to", "definition", "priority"],
        missing: Some(no_vhost),
        plain: "vhost name pattern apply-to priority",
        columns: &[Column("definition", "definition", Document)],
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
];
