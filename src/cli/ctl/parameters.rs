//! Runtime parameters.

use serde_json::{Value as Json, json};

use super::broker::{Broker, path};
use super::failure::Failure;
use super::line::Line;
use super::listing::{Column, Holds, List, no_vhost};
use super::output::Outcome;
use super::request::{Missing, Send, document};
use super::table::{BOTH, CTL, Command, Run};

const PARAMETERS: List = List {
    path: "parameters",
    shown: &["component", "name", "value"],
    missing: None,
    plain: "component name",
    columns: &[Column("value", "value", Holds::Document)],
};

const GLOBAL: List = List { path: "global-parameters", shown: &["name", "value"], ..PARAMETERS };

/// The API has those of all vhosts, or of one component.
fn list(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    broker.find(&path(["vhosts", line.vhost()]))?.ok_or_else(|| no_vhost(line))?;
    let mut all = broker.get(PARAMETERS.path)?.as_array().cloned().unwrap_or_default();
    all.retain(|parameter| parameter["vhost"] == line.vhost());
    Ok(PARAMETERS.rows(line, &all.into()))
}

fn value(line: &Line) -> Result<Json, Failure> {
    let value = document(line, "value")?;
    let mut body = json!({"name": line.text("name"), "value": value});
    if let Some(component) = line.get("component_name") {
        body["component"] = component.into();
        body["vhost"] = line.vhost().into();
    }
    Ok(body)
}

fn cluster_name(line: &Line) -> Result<Json, Failure> {
    Ok(json!({"name": line.text("name")}))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("clear_global_parameter", "<name>"),
        "Clears a global runtime parameter",
        "Clearing global runtime parameter \"{name}\" ...",
        Run::Send(Send::delete("global-parameters/{name}", Missing::Parameter)),
    ),
    Command::new(
        CTL,
        ("clear_parameter", "[--vhost <vhost>] <component_name> <name>"),
        "Clears a runtime parameter",
        "Clearing runtime parameter \"{name}\" for component \"{component_name}\" on vhost \"{vhost}\" ...",
        Run::Send(Send::delete("parameters/{component_name}/{vhost}/{name}", Missing::Parameter)),
    ),
    Command::new(
        BOTH,
        ("list_global_parameters", "[--no-table-headers]"),
        "Lists global runtime parameters",
        "Listing global runtime parameters ...",
        Run::List(&GLOBAL),
    ),
    Command::new(
        BOTH,
        ("list_parameters", "[--vhost <vhost>] [--no-table-headers]"),
        "Lists runtime parameters for a virtual host",
        "Listing runtime parameters for vhost \"{vhost}\" ...",
        Run::Do(list),
    ),
    Command::new(
        CTL,
        ("set_cluster_name", "<name>"),
        "Sets the cluster name",
        "Setting cluster name to {name} ...",
        Run::Send(Send::put("cluster-name", cluster_name)),
    ),
    Command::new(
        CTL,
        ("set_global_parameter", "<name> <value>"),
        "Sets a runtime parameter",
        "Setting global runtime parameter \"{name}\" to \"{value}\" ...",
        Run::Send(Send::put("global-parameters/{name}", value)),
    ),
    Command::new(
        CTL,
        ("set_parameter", "[--vhost <vhost>] <component_name> <name> <value>"),
        "Sets a runtime parameter",
        "Setting runtime parameter \"{name}\" for component \"{component_name}\" to \"{value}\" in vhost \"{vhost}\" ...",
        Run::Send(Send::put("parameters/{component_name}/{vhost}/{name}", value)),
    ),
];
