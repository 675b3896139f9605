//! Policies and operator policies.

use serde_json::{Value as Json, json};

use super::broker::{Broker, path};
use super::failure::Failure;
use super::line::Line;
use super::listing::{self, List};
use super::output::Outcome;
use super::request::{Missing, Send, document};
use super::table::{BOTH, CTL, Command, DIAGNOSTICS, Run};
use crate::auth::Pattern;

const POLICIES: List = listing::policies("policies/{vhost}");
const OPERATOR_POLICIES: List = listing::policies("operator-policies/{vhost}");

/// Words of policies that mirror classic queues, in RabbitMQ before 4.
const MIRRORING: &str = "ha-";

fn policy(line: &Line) -> Result<Json, Failure> {
    Ok(json!({
        "pattern": line.text("pattern"),
        "definition": document(line, "definition")?,
        "priority": line.number("priority").unwrap_or_default(),
        "apply-to": line.get("apply-to").unwrap_or("all"),
    }))
}

/// The kinds of objects that `apply-to` names.
fn applies(policy: &Json, kind: &str) -> bool {
    match policy["apply-to"].as_str() {
        Some("all") => true,
        Some("exchanges") => kind == "exchange",
        Some("queues") => kind != "exchange",
        Some(other) => other.trim_end_matches('s') == kind,
        None => false,
    }
}

/// Those whose pattern matches a name, the one in force first.
fn that_match(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("object-name");
    let wanted = line.get("object-type").unwrap_or("queue");
    let queue = broker.find(&path(["queues", line.vhost(), name]))?.filter(|_| wanted == "queue");
    let kind =
        queue.map_or_else(|| wanted.to_owned(), |queue| format!("{}_queue", queue["type"].as_str().unwrap_or("")));
    let all = broker.find(&path(["policies", line.vhost()]))?.ok_or_else(|| listing::no_vhost(line))?;
    let matches = |policy: &&Json| {
        let pattern = Pattern::new(policy["pattern"].as_str().unwrap_or_default());
        applies(policy, &kind) && pattern.is_ok_and(|pattern| pattern.matches(name))
    };
    let mut found: Vec<Json> = all.as_array().into_iter().flatten().filter(matches).cloned().collect();
    found.sort_by_key(|policy| -policy["priority"].as_i64().unwrap_or_default());
    Ok(POLICIES.rows(line, &found.into()))
}

fn mirroring(broker: &Broker, kind: &str) -> Result<Vec<Json>, Failure> {
    let mirrors = |policy: &Json| {
        let words = policy["definition"].as_object();
        words.is_some_and(|words| words.keys().any(|word| word.starts_with(MIRRORING)))
    };
    let mut all = broker.get(kind)?.as_array().cloned().unwrap_or_default();
    all.retain(mirrors);
    Ok(all)
}

fn list_mirroring(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    Ok(POLICIES.rows(line, &mirroring(broker, "policies")?.into()))
}

fn list_operator_mirroring(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    Ok(OPERATOR_POLICIES.rows(line, &mirroring(broker, "operator-policies")?.into()))
}

fn check_mirroring(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let found = mirroring(broker, "policies")?.len() + mirroring(broker, "operator-policies")?.len();
    if found == 0 {
        return Ok(Outcome::passed("Cluster reported no policies that enable classic queue mirroring"));
    }
    let text = format!("There are {found} policies that enable classic queue mirroring, which does nothing here");
    Err(Failure::error(super::failure::UNAVAILABLE, text))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("clear_operator_policy", "[--vhost <vhost>] <name>"),
        "Clears an operator policy",
        "Clearing operator policy \"{name}\" on vhost \"{vhost}\" ...",
        Run::Send(Send::delete("operator-policies/{vhost}/{name}", Missing::Parameter)),
    ),
    Command::new(
        CTL,
        ("clear_policy", "[--vhost <vhost>] <name>"),
        "Clears (removes) a policy",
        "Clearing policy \"{name}\" on vhost \"{vhost}\" ...",
        Run::Send(Send::delete("policies/{vhost}/{name}", Missing::Parameter)),
    ),
    Command::new(
        BOTH,
        ("list_operator_policies", "[--vhost <vhost>] [--no-table-headers]"),
        "Lists operator policy overrides for a virtual host",
        "Listing operator policy overrides for vhost \"{vhost}\" ...",
        Run::List(&OPERATOR_POLICIES),
    ),
    Command::new(
        BOTH,
        ("list_policies", "[--vhost <vhost>] [--no-table-headers]"),
        "Lists all policies in a virtual host",
        "Listing policies for vhost \"{vhost}\" ...",
        Run::List(&POLICIES),
    ),
    Command::new(
        CTL,
        (
            "set_operator_policy",
            "[--vhost <vhost>] [--priority <priority>] [--apply-to <apply-to>] <name> <pattern> <definition>",
        ),
        "Sets an operator policy that overrides a subset of arguments in user policies",
        "Setting operator policy override \"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \
         \"{priority}\" for vhost \"{vhost}\" ...",
        Run::Send(Send::put("operator-policies/{vhost}/{name}", policy)),
    ),
    Command::new(
        CTL,
        (
            "set_policy",
            "[--vhost <vhost>] [--priority <priority>] [--apply-to <apply-to>] <name> <pattern> <definition>",
        ),
        "Sets or updates a policy",
        "Setting policy \"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \"{priority}\" for vhost \
         \"{vhost}\" ...",
        Run::Send(Send::put("policies/{vhost}/{name}", policy)),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_if_cluster_has_classic_queue_mirroring_policy", ""),
        "Health check that exits with a non-zero code if there are policies that enable classic queue mirroring",
        "Checking if cluster has any classic queue mirroring policy ...",
        Run::Do(check_mirroring),
    ),
    Command::new(
        DIAGNOSTICS,
        ("list_operator_policies_with_classic_queue_mirroring", "[--no-table-headers]"),
        "List all operator policies that enable classic queue mirroring",
        "Listing operator policies with classic queue mirroring ...",
        Run::Do(list_operator_mirroring),
    ),
    Command::new(
        DIAGNOSTICS,
        (
            "list_policies_that_match",
            "[--vhost <vhost>] [--object-type <queue|exchange>] [--no-table-headers] <object-name>",
        ),
        "Lists all policies matching a queue/exchange (only the highest priority policy is active)",
        "Listing policies that match {object-name} in vhost {vhost} ...",
        Run::Do(that_match),
    ),
    Command::new(
        DIAGNOSTICS,
        ("list_policies_with_classic_queue_mirroring", "[--no-table-headers]"),
        "List all policies that enable classic queue mirroring",
        "Listing policies with classic queue mirroring ...",
        Run::Do(list_mirroring),
    ),
];
