//! Attempts to log in, and where they come from.

use hyper::Method;
use serde_json::json;

use super::broker::{Broker, path};
use super::failure::Failure;
use super::line::Line;
use super::listing::List;
use super::output::Outcome;
use super::request::done;
use super::table::{CTL, Command, DIAGNOSTICS, Run};

const BY_PROTOCOL: List = List {
    path: "auth/attempts",
    shown: &["protocol", "auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"],
    missing: None,
    plain: "protocol auth_attempts auth_attempts_failed auth_attempts_succeeded",
    columns: &[],
};

const BY_SOURCE: &[&str] =
    &["remote_address", "username", "protocol", "auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"];

fn list(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let attempts = path(["auth", "attempts", broker.node()]);
    if !line.has("by-source") {
        return Ok(BY_PROTOCOL.rows(line, &broker.get(&attempts)?));
    }
    let by_source = List {
        shown: BY_SOURCE,
        plain: "remote_address username protocol auth_attempts auth_attempts_failed auth_attempts_succeeded",
        ..BY_PROTOCOL
    };
    Ok(by_source.rows(line, &broker.get(&format!("{attempts}/source"))?))
}

fn track(broker: &Broker, is_on: bool) -> Result<Outcome, Failure> {
    let path = path(["nodes", broker.node(), "track_auth_attempt_source"]);
    let response = broker.send(Method::PUT, &path, &json!({"enabled": is_on}))?;
    done(&response, || Err(response.refusal()))
}

fn enable(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    track(broker, true)
}

fn disable(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    track(broker, false)
}

fn reset(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let response = broker.send(Method::DELETE, &path(["auth", "attempts", broker.node()]), &serde_json::Value::Null)?;
    done(&response, || Err(response.refusal()))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        DIAGNOSTICS,
        ("disable_auth_attempt_source_tracking", ""),
        "Disables the tracking of peer IP address and username of authentication attempts",
        "Disabling authentication attempt source tracking ...",
        Run::Do(disable),
    ),
    Command::new(
        DIAGNOSTICS,
        ("enable_auth_attempt_source_tracking", ""),
        "Enables the tracking of peer IP address and username of authentication attempts",
        "Enabling authentication attempt source tracking ...",
        Run::Do(enable),
    ),
    Command::new(
        CTL,
        ("list_node_auth_attempt_stats", "[--by-source] [--no-table-headers]"),
        "Lists authentication attempts on the target node",
        "Listing authentication\n attempts for node \"{node}\" ...",
        Run::Do(list),
    ),
    Command::new(
        DIAGNOSTICS,
        ("reset_node_auth_attempt_metrics", ""),
        "Resets auth attempt metrics on the target node",
        "Reset auth attempt metrics on node {node} ...",
        Run::Do(reset),
    ),
];
