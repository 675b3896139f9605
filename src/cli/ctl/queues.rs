//! What is done to queues.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value as Json, json};

use super::broker::Broker;
use super::failure::{DATA, Failure, UNAVAILABLE, USAGE};
use super::line::Line;
use super::output::{Format, Item, Outcome, Rows};
use super::request::{Missing, Send, done, path};
use super::table::{CTL, Command, DIAGNOSTICS, Run, Tool};

const QUEUES: &[Tool] = &[Tool::Queues];
const UPGRADE: &[Tool] = &[Tool::Upgrade];
const QUEUES_AND_UPGRADE: &[Tool] = &[Tool::Queues, Tool::Upgrade];
const QUEUES_AND_DIAGNOSTICS: &[Tool] = &[Tool::Queues, Tool::Diagnostics];

/// What RabbitMQ waits for a quorum.
const QUORUM_TIMEOUT: Duration = Duration::from_secs(120);

/// What a peek shows of a body.
const PEEK_BYTES: usize = 64;

/// What a peek may have to take and give back.
const PEEK_MAX: u32 = 1000;

fn delete(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (name, vhost) = (line.text("queue_name"), line.vhost());
    let conditions = [("if-empty", "queue is empty"), ("if-unused", "queue is unused")];
    let given: Vec<_> = conditions.into_iter().filter(|(option, _)| line.has(option)).collect();
    let said = given.iter().map(|(_, text)| format!("if {text}")).collect::<Vec<_>>().join(" and ");
    let said = if said.is_empty() { said } else { format!(" {said}") };
    line.announce(&format!("Deleting queue '{name}' on vhost '{vhost}'{said} ..."));
    let path = path(line, "queues/{vhost}/{queue_name}");
    let missing = || Failure::error(USAGE, "No such queue was found");
    let queue = broker.find(&path)?.ok_or_else(missing)?;
    let query = given.iter().map(|(option, _)| format!("{option}=true")).collect::<Vec<_>>().join("&");
    done(&broker.send(Method::DELETE, &format!("{path}?{query}"), &Json::Null)?, || Err(missing()))?;
    let ready = queue["messages_ready"].as_u64().unwrap_or_default();
    Ok(Outcome::said(format!("Queue was successfully deleted with {ready} ready messages")))
}

fn quorum_queue(line: &Line, broker: &Broker) -> Result<Json, Failure> {
    let queue = broker.find(&path(line, "queues/{vhost}/{queue}"))?;
    let queue = queue.ok_or_else(|| Failure::plain(DATA, "Object (queue, stream, exchange, etc) was not found"))?;
    match queue["type"] == "quorum" {
        true => Ok(queue),
        false => Err(Failure::error(UNAVAILABLE, "Cannot do this on a classic queue: it is not replicated")),
    }
}

/// The log is the node's, not the queue's: there is one member and nothing to tell of its indexes.
fn quorum_status(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let queue = quorum_queue(line, broker)?;
    let columns = ["Node Name", "Raft State", "Membership"].map(str::to_owned).to_vec();
    let values = vec![vec![Item::of(&queue["node"]), Item::text("leader"), Item::text("voter")]];
    Ok(Outcome::Rows(Rows { columns, values }))
}

/// One node leads all queues already.
fn rebalance(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    done(&broker.send(Method::POST, "rebalance/queues", &Json::Null)?, || Ok(Outcome::Done))?;
    let queues = broker.get("queues?disable_stats=true&columns=type")?;
    let count = queues.as_array().into_iter().flatten().filter(|queue| queue["type"] == "quorum").count();
    let columns = ["Node name", "Number of quorum queues"].map(str::to_owned).to_vec();
    Ok(Outcome::Rows(Rows { columns, values: vec![vec![Item::text(broker.node()), Item::Number(count.into())]] }))
}

fn check_position(line: &Line) -> Result<(), Failure> {
    match line.text("position").parse::<u32>() {
        Ok(position) if (1..=PEEK_MAX).contains(&position) => Ok(()),
        _ => Err(Failure::bad_argument(format!("Bad argument: position must be a number from 1 to {PEEK_MAX}"))),
    }
}

/// Takes the messages up to that place and puts them back: they are redelivered from then on.
fn peek(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    quorum_queue(line, broker)?;
    let position: u32 = line.text("position").parse().unwrap_or_default();
    let body = json!({"count": position, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": PEEK_BYTES});
    let response = broker.send(Method::POST, &path(line, "queues/{vhost}/{queue}/get"), &body)?;
    if !response.is_success() {
        return Err(response.refusal());
    }
    let message = response.json.get(position as usize - 1);
    let missing = || Failure::error(UNAVAILABLE, "Target queue does not have a message at that position");
    let message = message.ok_or_else(missing)?;
    let mut rows = vec![
        ("routing_keys".to_owned(), Item::of(&message["routing_key"])),
        ("exchange".to_owned(), Item::of(&message["exchange"])),
        (format!("payload (max {PEEK_BYTES} bytes)"), Item::of(&message["payload"])),
    ];
    let headers = message["properties"]["headers"].as_object().into_iter().flatten();
    rows.extend(headers.map(|(name, value)| (format!("header.{name}"), Item::of(value))));
    let values = rows.into_iter().map(|(name, value)| vec![Item::text(name), value]).collect();
    Ok(Outcome::Rows(Rows { columns: vec!["keys".to_owned(), "values".to_owned()], values }))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("delete_queue", "[--vhost <vhost>] <queue_name> [--if-empty|-e] [--if-unused|-u]"),
        "Deletes a queue",
        "",
        Run::Do(delete),
    ),
    Command::new(
        CTL,
        ("purge_queue", "[--vhost <vhost>] <queue>"),
        "Purges a queue (removes all messages in it)",
        "Purging queue '{queue}' in vhost '{vhost}' ...",
        Run::Send(Send::delete("queues/{vhost}/{queue}/contents", Missing::Object)),
    ),
    Command::new(
        QUEUES,
        ("peek", "[--vhost <vhost>] <queue> <position>"),
        "Peeks at a message of a quorum queue",
        "Peeking at quorum queue {queue} at position {position} on node {node} ...",
        Run::Do(peek),
    )
    .checked(check_position)
    .shown_as(Format::PrettyTable),
    Command::new(
        QUEUES_AND_DIAGNOSTICS,
        ("quorum_status", "[--vhost <vhost>] <queue>"),
        "Displays the quorum status of a queue",
        "Status of queue {queue} on node {node} ...",
        Run::Do(quorum_status),
    )
    .shown_as(Format::PrettyTable),
    Command::new(
        QUEUES,
        ("rebalance", "<all|classic|quorum|stream> [--vhost-pattern <pattern>] [--queue-pattern <pattern>]"),
        "Rebalances leaders of queues over the nodes: here there is one, and all are on it",
        "Re-balancing leaders of all queues...",
        Run::Do(rebalance),
    )
    .shown_as(Format::PrettyTable),
    Command::new(
        DIAGNOSTICS,
        ("check_for_quorum_queues_without_an_elected_leader", "[--vhost <vhost>] [--across-all-vhosts] [<pattern>]"),
        "Checks that quorum queue have elected and available leader replicas",
        "Checking for quorum queues without an elected leader ...",
        Run::Do(without_leader),
    ),
    Command::new(
        QUEUES_AND_UPGRADE,
        ("await_online_quorum_plus_one", ""),
        "Waits until queues would have a quorum without this node: with one node there is nothing to wait for",
        "",
        Run::Do(await_quorum),
    ),
    Command::new(
        UPGRADE,
        ("post_upgrade", ""),
        "Runs post-upgrade tasks: there are none",
        "Executing post upgrade tasks...\nRebalancing queue masters...",
        Run::Send(Send::post("rebalance/queues")),
    ),
];

/// As RabbitMQ answers on a node that is alone.
fn await_quorum(line: &Line, _: &Broker) -> Result<Outcome, Failure> {
    let seconds = line.timeout(QUORUM_TIMEOUT).as_secs();
    line.announce(&format!(
        "Will wait for a quorum + 1 of nodes to be online for all quorum queues and streams for {seconds} seconds..."
    ));
    Ok(Outcome::passed("Target node seems to be the only one in a single node cluster, the command does not apply"))
}

fn without_leader(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    broker.get("health/checks/quorum-queues-without-elected-leaders/all-vhosts")?;
    Ok(Outcome::passed("Node reported all quorum queues as having responsive leader replicas"))
}
