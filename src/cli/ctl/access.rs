//! What users may do.

use hyper::Method;
use serde_json::{Value as Json, json};

use super::broker::{Broker, path};
use super::failure::{Failure, NO_USER, UNAVAILABLE};
use super::line::Line;
use super::listing::{List, no_vhost};
use super::output::Outcome;
use super::request::{self, Missing, Send, done};
use super::table::{BOTH, CTL, Command, Run};
use super::users::no_such_user;

const COLUMNS: &str = "user vhost exchange configure write read";

const OF_VHOST: List = List {
    path: "vhosts/{vhost}/permissions",
    shown: &["user", "configure", "write", "read"],
    plain: COLUMNS,
    missing: Some(no_vhost),
    columns: &[],
};

const OF_USER: List = List {
    path: "users/{username}/permissions",
    shown: &["vhost", "configure", "write", "read"],
    plain: COLUMNS,
    missing: Some(no_such_user),
    columns: &[],
};

const TOPIC_OF_VHOST: List = List {
    path: "vhosts/{vhost}/topic-permissions",
    shown: &["user", "exchange", "write", "read"],
    plain: COLUMNS,
    missing: Some(no_vhost),
    columns: &[],
};

const TOPIC_OF_USER: List = List {
    path: "users/{username}/topic-permissions",
    shown: &["vhost", "exchange", "write", "read"],
    plain: COLUMNS,
    missing: Some(no_such_user),
    columns: &[],
};

/// The API has one answer for a vhost and a user that are not there.
fn put(line: &Line, broker: &Broker, template: &str, body: &Json) -> Result<Outcome, Failure> {
    let response = broker.send(Method::PUT, &request::path(line, template), body)?;
    if response.is_success() {
        return Ok(Outcome::Done);
    }
    let vhost = line.vhost();
    if broker.find(&path(["vhosts", vhost]))?.is_none() {
        return Err(Failure::error(UNAVAILABLE, format!("Virtual host {vhost} does not exist")));
    }
    let user = line.text("username");
    if broker.find(&path(["users", user]))?.is_none() {
        return Err(Failure::error(NO_USER, format!("User {user} does not exist")));
    }
    done(&response, || Err(response.refusal()))
}

fn permissions(line: &Line) -> Json {
    json!({"configure": line.text("conf"), "write": line.text("write"), "read": line.text("read")})
}

fn set(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    put(line, broker, "permissions/{vhost}/{username}", &permissions(line))
}

fn set_everywhere(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let vhosts = broker.get("vhosts?columns=name")?;
    for vhost in vhosts.as_array().into_iter().flatten().filter_map(|vhost| vhost["name"].as_str()) {
        let user = line.text("username");
        let response = broker.send(Method::PUT, &path(["permissions", vhost, user]), &permissions(line))?;
        if !response.is_success() && broker.find(&path(["users", user]))?.is_none() {
            return Err(Failure::error(NO_USER, format!("User {user} does not exist")));
        }
        done(&response, || Err(response.refusal()))?;
    }
    Ok(Outcome::Done)
}

fn set_topic(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let body = json!({"exchange": line.text("exchange"), "write": line.text("write"), "read": line.text("read")});
    put(line, broker, "topic-permissions/{vhost}/{username}", &body)
}

fn clear_topic(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let path = match line.get("exchange") {
        Some(_) => request::path(line, "topic-permissions/{vhost}/{username}/{exchange}"),
        None => request::path(line, "topic-permissions/{vhost}/{username}"),
    };
    let on = line.get("exchange").map(|exchange| format!(" on \"{exchange}\"")).unwrap_or_default();
    line.announce(&format!(
        "Clearing topic permissions{on} for user \"{}\" in vhost \"{}\" ...",
        line.text("username"),
        line.vhost()
    ));
    done(&broker.send(Method::DELETE, &path, &Json::Null)?, || Ok(Outcome::Done))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("clear_permissions", "[--vhost <vhost>] <username>"),
        "Revokes user permissions for a vhost",
        "Clearing permissions for user \"{username}\" in vhost \"{vhost}\" ...",
        Run::Send(Send::delete("permissions/{vhost}/{username}", Missing::Nothing)),
    ),
    Command::new(
        CTL,
        ("clear_topic_permissions", "[--vhost <vhost>] <username> [<exchange>]"),
        "Clears user topic permissions for a vhost or exchange",
        "",
        Run::Do(clear_topic),
    ),
    Command::new(
        BOTH,
        ("list_permissions", "[--vhost <vhost>] [--no-table-headers]"),
        "Lists user permissions in a virtual host",
        "Listing permissions for vhost \"{vhost}\" ...",
        Run::List(&OF_VHOST),
    ),
    Command::new(
        BOTH,
        ("list_topic_permissions", "[--vhost <vhost>] [--no-table-headers]"),
        "Lists topic permissions in a virtual host",
        "Listing topic permissions for vhost \"{vhost}\" ...",
        Run::List(&TOPIC_OF_VHOST),
    ),
    Command::new(
        BOTH,
        ("list_user_permissions", "[--no-table-headers] <username>"),
        "Lists permissions of a user across all virtual hosts",
        "Listing permissions for user \"{username}\" ...",
        Run::List(&OF_USER),
    ),
    Command::new(
        BOTH,
        ("list_user_topic_permissions", "[--no-table-headers] <username>"),
        "Lists user topic permissions",
        "Listing topic permissions for user \"{username}\" ...",
        Run::List(&TOPIC_OF_USER),
    ),
    Command::new(
        CTL,
        ("set_permissions", "[--vhost <vhost>] <username> <conf> <write> <read>"),
        "Sets user permissions for a vhost",
        "Setting permissions for user \"{username}\" in vhost \"{vhost}\" ...",
        Run::Do(set),
    ),
    Command::new(
        CTL,
        ("set_permissions_globally", "<username> <conf> <write> <read>"),
        "Sets user permissions for all virtual hosts",
        "Setting permissions for user \"{username}\" in all virtual hosts ...",
        Run::Do(set_everywhere),
    ),
    Command::new(
        CTL,
        ("set_topic_permissions", "[--vhost <vhost>] <username> <exchange> <write> <read>"),
        "Sets user topic permissions for an exchange",
        "Setting topic permissions on \"{exchange}\" for user \"{username}\" in vhost \"{vhost}\" ...",
        Run::Do(set_topic),
    ),
];
