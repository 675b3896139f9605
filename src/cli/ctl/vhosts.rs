//! Virtual hosts.

use hyper::Method;
use serde_json::{Map, Value as Json, json};

use super::broker::{Broker, path};
use super::failure::{DATA, Failure, SOFTWARE};
use super::line::Line;
use super::listing;
use super::output::Outcome;
use super::request::{Missing, Send, document, done};
use super::table::{BOTH, CTL, Command, Run};
use super::users;

const QUEUE_TYPES: [&str; 3] = ["quorum", "stream", "classic"];

/// The options that say what a vhost is, with the API's names.
const SETTINGS: [(&str, &str); 4] = [
    ("description", "description"),
    ("tags", "tags"),
    ("default-queue-type", "default_queue_type"),
    ("protected-from-deletion", "protected_from_deletion"),
];

fn check_queue_type(line: &Line) -> Result<(), Failure> {
    match line.get("default-queue-type") {
        Some(given) if !QUEUE_TYPES.contains(&given) => Err(Failure::bad_argument(format!(
            "Bad argument: Default queue type must be one of: {}. Provided: {given}",
            QUEUE_TYPES.join(", ")
        ))),
        _ => Ok(()),
    }
}

fn check_metadata(line: &Line) -> Result<(), Failure> {
    if SETTINGS.iter().all(|(option, _)| !line.has(option)) {
        return Err(Failure::arguments("not enough arguments."));
    }
    check_queue_type(line)
}

/// What the options say.
fn settings(line: &Line) -> Map<String, Json> {
    let given = SETTINGS.iter().filter_map(|(option, name)| Some((*name, line.get(option)?)));
    given.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn add(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let settings = settings(line);
    let path = path(["vhosts", line.text("vhost")]);
    // Without settings one that exists is left alone.
    if settings.is_empty() && broker.find(&path)?.is_some() {
        return Ok(Outcome::Done);
    }
    done(&broker.send(Method::PUT, &path, &settings.into())?, || Err(listing::no_vhost(line)))
}

/// Changes some settings of a vhost; the API replaces all of them.
fn change(broker: &Broker, name: &str, settings: Map<String, Json>, missing: Failure) -> Result<Outcome, Failure> {
    let path = path(["vhosts", name]);
    let Some(vhost) = broker.find(&path)? else { return Err(missing) };
    let known = SETTINGS.iter().map(|(_, name)| *name).chain(["tracing"]);
    let mut all: Map<String, Json> = known.map(|name| (name.to_owned(), vhost[name].clone())).collect();
    all.extend(settings);
    done(&broker.send(Method::PUT, &path, &all.into())?, || Err(missing))
}

fn update(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("vhost");
    change(broker, name, settings(line), Failure::no_vhost(name))
}

fn set_tags(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("vhost");
    let tags = Map::from_iter([("tags".to_owned(), line.rest().into())]);
    change(broker, name, tags, Failure::error(DATA, format!("Virtual host \"{name}\" does not exist")))
}

fn trace(line: &Line, broker: &Broker, on: bool) -> Result<Outcome, Failure> {
    let name = line.vhost();
    change(broker, name, Map::from_iter([("tracing".to_owned(), on.into())]), Failure::no_vhost(name))?;
    Ok(Outcome::said(format!("Trace {} for vhost {name}", if on { "enabled" } else { "disabled" })))
}

fn trace_on(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    trace(line, broker, true)
}

fn trace_off(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    trace(line, broker, false)
}

fn delete(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = line.text("vhost");
    let response = broker.send(Method::DELETE, &path(["vhosts", name]), &Json::Null)?;
    if response.status == 412 {
        let text = "Cannot delete this virtual host: it is protected from deletion. To lift the protection, inspect and \
                    update its metadata";
        return Err(Failure::error(DATA, text));
    }
    done(&response, || Err(Failure::no_vhost(name)))
}

/// One that exists is running.
fn restart(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (name, node) = (line.vhost(), broker.node());
    line.announce(&format!("Trying to restart vhost '{name}' on node '{node}' ..."));
    let response = broker.send(Method::POST, &path(["vhosts", name, "start", node]), &Json::Null)?;
    done(&response, || {
        let reason = format!("{{:no_such_vhost, \"{name}\"}}");
        Err(Failure::error(SOFTWARE, format!("Failed to start vhost '{name}' on node '{node}'Reason: {reason}")))
    })?;
    Ok(Outcome::said(format!("Vhost '{name}' is already running on node '{node}'")))
}

fn set_limits(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let limits = document(line, "definition")?;
    let path = path(["parameters", "vhost-limits", line.vhost(), "limits"]);
    let body = json!({"component": "vhost-limits", "vhost": line.vhost(), "name": "limits", "value": limits});
    done(&broker.send(Method::PUT, &path, &body)?, || Err(listing::no_vhost(line)))
}

fn list_limits(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    users::limits(line, broker, ("vhost-limits", "vhost"), "vhost", |broker, name| {
        broker.find(&path(["vhosts", name]))?.map(|_| "").ok_or_else(|| Failure::no_vhost(name))
    })
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        (
            "add_vhost",
            "<vhost> [--description <description>] [--tags <tag1,tag2>] [--default-queue-type <quorum|classic|stream>]",
        ),
        "Creates a virtual host",
        "Adding vhost \"{vhost}\" ...",
        Run::Do(add),
    )
    .checked(check_queue_type),
    Command::new(
        CTL,
        ("clear_vhost_limits", "[--vhost <vhost>]"),
        "Clears virtual host limits",
        "Clearing vhost \"{vhost}\" limits ...",
        Run::Send(Send::delete("parameters/vhost-limits/{vhost}/limits", Missing::Parameter)),
    ),
    Command::new(
        CTL,
        ("delete_vhost", "<vhost>"),
        "Deletes a virtual host",
        "Deleting vhost \"{vhost}\" ...",
        Run::Do(delete),
    ),
    Command::new(
        CTL,
        ("disable_vhost_deletion_protection", "<vhost>"),
        "Removes deletion protection from a virtual host (so that it can be deleted)",
        "Removing deletion protection from virtual host \"{vhost}\" by updating its metadata...",
        Run::Send(Send::delete("vhosts/{vhost}/deletion/protection", Missing::Vhost)),
    ),
    Command::new(
        CTL,
        ("enable_vhost_deletion_protection", "<vhost>"),
        "Protects a virtual host from deletion (until the protection is removed)",
        "Protecting virtual host \"{vhost}\" from removal by updating its metadata...",
        Run::Send(Send::post("vhosts/{vhost}/deletion/protection")),
    ),
    Command::new(
        BOTH,
        ("list_vhost_limits", "[--vhost <vhost>] [--global]"),
        "Displays configured virtual host limits",
        "",
        Run::Do(list_limits),
    ),
    Command::new(
        BOTH,
        ("list_vhosts", "[--no-table-headers] [<column> ...]"),
        "Lists virtual hosts",
        "Listing vhosts ...",
        Run::List(&listing::VHOSTS),
    ),
    Command::new(
        CTL,
        ("restart_vhost", "[--vhost <vhost>]"),
        "Restarts a failed vhost: here one that exists is running",
        "",
        Run::Do(restart),
    ),
    Command::new(
        CTL,
        ("set_vhost_limits", "[--vhost <vhost>] <definition>"),
        "Sets virtual host limits",
        "Setting vhost limits to \"{definition}\" for vhost \"{vhost}\" ...",
        Run::Do(set_limits),
    ),
    Command::new(
        CTL,
        ("set_vhost_tags", "<vhost> [<tag> ...]"),
        "Sets virtual host tags",
        "Setting tags for virtual host \"{vhost}\" to [{tag}] ...",
        Run::Do(set_tags),
    ),
    Command::new(
        CTL,
        ("trace_off", "[--vhost <vhost>]"),
        "Stops copying messages of a vhost to amq.rabbitmq.trace",
        "Stopping tracing for vhost \"{vhost}\" ...",
        Run::Do(trace_off),
    ),
    Command::new(
        CTL,
        ("trace_on", "[--vhost <vhost>]"),
        "Copies messages published and delivered in a vhost to amq.rabbitmq.trace",
        "Starting tracing for vhost \"{vhost}\" ...",
        Run::Do(trace_on),
    ),
    Command::new(
        CTL,
        (
            "update_vhost_metadata",
            "<vhost> [--description <description>] [--tags <tag1,tag2>] [--default-queue-type <quorum|classic|stream>] \
             [--protected-from-deletion <true|false>]",
        ),
        "Updates metadata (tags, description, default queue type, protection from deletion) a virtual host",
        "Updating metadata of vhost \"{vhost}\" ...",
        Run::Do(update),
    )
    .checked(check_metadata),
];
