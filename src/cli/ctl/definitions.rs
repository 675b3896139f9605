//! Definitions, to and from files.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use hyper::Method;
use serde_json::Value as Json;

use super::broker::Broker;
use super::failure::{DATA, Failure, UNAVAILABLE};
use super::line::Line;
use super::output::Outcome;
use super::table::{CTL, Command, Run};

fn check_format(line: &Line) -> Result<(), Failure> {
    match line.get("format") {
        None | Some("json" | "JSON") => Ok(()),
        Some(other) => Err(Failure::bad_argument(format!(
            "Bad argument: format '{other}' is not supported: definitions are JSON here"
        ))),
    }
}

fn check_export(line: &Line) -> Result<(), Failure> {
    check_format(line)?;
    let path = line.text("file_path");
    let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if path != "-" && !folder.is_dir() => {
            Err(Failure::bad_argument(format!("Bad argument: Directory {} does not exist", folder.display())))
        }
        _ => Ok(()),
    }
}

fn check_import(line: &Line) -> Result<(), Failure> {
    check_format(line)?;
    match line.get("file_path") {
        Some(path) if !Path::new(path).is_file() => {
            Err(Failure::bad_argument(format!("Bad argument: File {path} does not exist")))
        }
        _ => Ok(()),
    }
}

fn export(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let path = line.text("file_path");
    let definitions = broker.get("definitions")?.to_string();
    if path == "-" {
        return Ok(Outcome::said(definitions));
    }
    line.announce(&format!("Exporting definitions in JSON to a file at \"{path}\" ..."));
    let failed = |error: io::Error| Failure::error(UNAVAILABLE, format!("{path}: {error}"));
    fs::write(path, definitions).map_err(failed)?;
    Ok(Outcome::Done)
}

fn import(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let mut text = String::new();
    let read = match line.get("file_path") {
        Some(path) => {
            line.announce(&format!("Importing definitions in JSON from a file at \"{path}\" ..."));
            fs::read_to_string(path).map(|file| text = file)
        }
        None => {
            line.announce("Importing definitions in JSON from standard input ...");
            io::stdin().lock().read_to_string(&mut text).map(drop)
        }
    };
    read.map_err(|error| Failure::error(DATA, format!("the definitions cannot be read: {error}")))?;
    let definitions: Json = serde_json::from_str(&text).map_err(|error| {
        Failure::error(DATA, format!("Failed to deserialise input (format: JSON) (error: {error})"))
    })?;
    let response = broker.send(Method::POST, "definitions", &definitions)?;
    if !response.is_success() {
        return Err(response.refusal());
    }
    if line.is_quiet() {
        return Ok(Outcome::Done);
    }
    // RabbitMQ goes on with it after this.
    Ok(Outcome::said("Successfully started definition import. It is complete."))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("export_definitions", "<file_path> [--format <json>]"),
        "Exports definitions in JSON; - stands for the standard output",
        "",
        Run::Do(export),
    )
    .checked(check_export),
    Command::new(
        CTL,
        ("import_definitions", "[<file_path>] [--format <json>] [--skip-if-unchanged]"),
        "Imports definitions in JSON from a file or the standard input",
        "",
        Run::Do(import),
    )
    .checked(check_import),
];
