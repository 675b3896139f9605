//! Closing connections.

use std::time::Duration;

use hyper::Method;
use serde_json::Value as Json;

use super::broker::{Broker, path};
use super::failure::{Failure, UNAVAILABLE};
use super::line::Line;
use super::output::Outcome;
use super::request::done;
use super::table::{CTL, Command, Run};

/// Closes one by its name; false if it is not there.
fn close(line: &Line, broker: &Broker, name: &str) -> Result<bool, Failure> {
    let reason = [("x-reason", line.text("explanation").to_owned())];
    let response = broker.send_with(Method::DELETE, &path(["connections", name]), &Json::Null, &reason)?;
    done(&response, || Ok(Outcome::Done))?;
    Ok(response.is_success())
}

fn close_one(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("connection");
    match close(line, broker, name)? {
        true => Ok(Outcome::Done),
        false => Err(Failure::error(UNAVAILABLE, format!("There is no connection of the name '{name}'"))),
    }
}

/// The names of those for which a column of the list has this value.
fn names(broker: &Broker, wanted: Option<(&str, &str)>) -> Result<Vec<String>, Failure> {
    let all = broker.get("connections?columns=name,vhost,user")?;
    let own = all.as_array().into_iter().flatten();
    let own = own.filter(|connection| wanted.is_none_or(|(column, value)| connection[column] == value));
    Ok(own.filter_map(|connection| connection["name"].as_str().map(str::to_owned)).collect())
}

fn close_all(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let limit = line.number("limit").and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let which = limit.map_or("all".to_owned(), |limit| limit.to_string());
    let place = match line.has("global") {
        true => format!("to node {} (in all virtual hosts)", broker.node()),
        false => format!("in vhost {}", line.vhost()),
    };
    line.announce(&format!("Closing {which} connections {place}, reason: {}...", line.text("explanation")));
    let wanted = if line.has("global") { None } else { Some(("vhost", line.vhost())) };
    let delay_ms = line.number("per-connection-delay").and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default();
    let mut closed = 0;
    for name in names(broker, wanted)?.iter().take(limit.unwrap_or(usize::MAX)) {
        closed += usize::from(close(line, broker, name)?);
        broker.pause(Duration::from_millis(delay_ms));
    }
    Ok(Outcome::said(format!("Closed {closed} connections")))
}

fn close_all_of_user(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    for name in names(broker, Some(("user", line.text("username"))))? {
        close(line, broker, &name)?;
    }
    Ok(Outcome::Done)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        (
            "close_all_connections",
            "[--vhost <vhost>] [--global] [--per-connection-delay <delay>] [--limit <limit>] <explanation>",
        ),
        "Closes all connections of a vhost, or of the node",
        "",
        Run::Do(close_all),
    ),
    Command::new(
        CTL,
        ("close_all_user_connections", "<username> <explanation>"),
        "Closes all connections of a user",
        "Closing connections of user {username}, reason: {explanation}...",
        Run::Do(close_all_of_user),
    ),
    Command::new(
        CTL,
        ("close_connection", "<connection> <explanation>"),
        "Closes a connection, by what list_connections shows as its pid or name",
        "Closing connection {connection}, reason: {explanation}...",
        Run::Do(close_one),
    ),
];
