//! Plugins: those that are built in are always on, and there are no others.

use super::broker::Broker;
use super::failure::{Failure, UNAVAILABLE};
use super::line::Line;
use super::output::{Item, Outcome, Rows};
use super::table::{Command, Run, Tool};
use crate::auth::Pattern;
use crate::broker::RABBITMQ_VERSION;
use crate::config::plugins::BUILT_IN;

const PLUGINS: &[Tool] = &[Tool::Plugins];

/// The names given of which none is built in.
fn unknown(line: &Line) -> Vec<&str> {
    line.rest().iter().map(String::as_str).filter(|name| !BUILT_IN.contains(name)).collect()
}

fn enable(line: &Line) -> Result<Outcome, Failure> {
    if line.has("all") || unknown(line).is_empty() {
        return Ok(Outcome::said("These plugins are built in and always on."));
    }
    let text = format!("The following plugins are not built in: {}", unknown(line).join(", "));
    Err(Failure::error(UNAVAILABLE, text))
}

fn disable(line: &Line) -> Result<Outcome, Failure> {
    let known: Vec<&str> = line.rest().iter().map(String::as_str).filter(|name| BUILT_IN.contains(name)).collect();
    if known.is_empty() && !line.has("all") {
        return Ok(Outcome::said("There are no such plugins: nothing to do."));
    }
    Err(Failure::error(
        UNAVAILABLE,
        "What is built in cannot be taken out: leave out the listeners that you do not want",
    ))
}

fn list(line: &Line) -> Result<Outcome, Failure> {
    let pattern = line.get("pattern").unwrap_or(".*");
    line.announce(&format!("Listing plugins with pattern \"{pattern}\" ..."));
    let bad = |error| Failure::bad_argument(format!("Bad argument: {error}"));
    let matcher = Pattern::new(pattern).map_err(bad)?;
    let found: Vec<&str> = BUILT_IN.into_iter().filter(|name| matcher.matches(name)).collect();
    let text = match line.has("minimal") {
        true => found.join("\n"),
        false => {
            let width = found.iter().map(|name| name.len()).max().unwrap_or_default();
            line.announce(" Configured: E = explicitly enabled; e = implicitly enabled\n | Status: * = built in\n |/");
            found.iter().map(|name| format!("[E*] {name:width$} {RABBITMQ_VERSION}")).collect::<Vec<_>>().join("\n")
        }
    };
    let plugins: Vec<_> = found
        .iter()
        .map(|name| serde_json::json!({"name": name, "version": RABBITMQ_VERSION, "enabled": "enabled", "running": true}))
        .collect();
    Ok(Outcome::Said(text, serde_json::json!({"status": "running", "plugins": plugins})))
}

fn is_enabled(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (names, node) = (line.rest().join(", "), broker.node());
    line.announce(&format!("Asking node {node} if plugin {names} is enabled..."));
    let missing = unknown(line);
    if missing.is_empty() {
        return Ok(Outcome::passed(format!("Plugin {names} is enabled on node {node}")));
    }
    let text = format!(
        "Plugin {} is not enabled on node {node}. Enabled plugins and dependencies: {}",
        missing.join(", "),
        BUILT_IN.join(", ")
    );
    Err(Failure::error(UNAVAILABLE, text))
}

fn check_some(line: &Line) -> Result<(), Failure> {
    if line.rest().is_empty() && !line.has("all") { Err(Failure::arguments("not enough arguments.")) } else { Ok(()) }
}

fn directories(_: &Line) -> Result<Outcome, Failure> {
    let columns = ["directory", "path"].map(str::to_owned).to_vec();
    Ok(Outcome::Rows(Rows {
        columns,
        values: vec![vec![Item::text("Plugin archives directory"), Item::text("(built in)")]],
    }))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        PLUGINS,
        ("directories", ""),
        "Displays plugin directories: there are none",
        "",
        Run::Alone(directories),
    ),
    Command::new(
        PLUGINS,
        ("disable", "[--all] [--offline] [--online] [<plugin> ...]"),
        "Disables plugins: what is built in stays",
        "",
        Run::Alone(disable),
    )
    .checked(check_some),
    Command::new(
        PLUGINS,
        ("enable", "[--all] [--offline] [--online] [<plugin> ...]"),
        "Enables plugins: what is built in is on",
        "",
        Run::Alone(enable),
    )
    .checked(check_some),
    Command::new(
        PLUGINS,
        ("is_enabled", "[--offline] [--online] [<plugin> ...]"),
        "Health check that exits with a non-zero code if provided plugins are not enabled",
        "",
        Run::Do(is_enabled),
    )
    .checked(check_some),
    Command::new(
        PLUGINS,
        ("list", "[--verbose|-v] [--minimal|-m] [--enabled|-E] [--implicitly-enabled|-e] [<pattern>]"),
        "Lists plugins and their state",
        "",
        Run::Alone(list),
    ),
    Command::new(
        PLUGINS,
        ("set", "[--offline] [--online] [<plugin> ...]"),
        "Enables these plugins: what is built in is on, the others as well",
        "",
        Run::Alone(enable),
    ),
];
