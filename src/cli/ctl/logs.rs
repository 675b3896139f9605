//! The broker's log: where it goes, its last lines, a new file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use rustix::process::{Signal, kill_process};

use super::broker::{Broker, path};
use super::failure::{Failure, SOFTWARE, UNAVAILABLE};
use super::line::Line;
use super::output::Outcome;
use super::table::{CTL, Command, DIAGNOSTICS, Run};

/// Lines that are shown if no number is given.
const LINES: usize = 50;

/// How far back lines are looked for.
const TAIL_BYTES: u64 = 4 << 20;

fn files(broker: &Broker) -> Result<Vec<String>, Failure> {
    let node = broker.get(&path(["nodes", broker.node()]))?;
    let files = node["log_files"].as_array().into_iter().flatten();
    Ok(files.filter_map(|file| file.as_str().map(str::to_owned)).collect())
}

fn location(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    Ok(Outcome::said(files(broker)?.join("\n")))
}

fn wanted(line: &Line) -> usize {
    line.number("number").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(LINES)
}

/// Its file is read by this process: the API does not show the log.
fn tail(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    if broker.host().is_some() {
        let text = "the log is read on the broker's own machine only: not with --url";
        return Err(Failure::error(UNAVAILABLE, text));
    }
    let file = files(broker)?.into_iter().find(|file| !file.starts_with('<'));
    let file = file.ok_or_else(|| {
        Failure::error(UNAVAILABLE, "the log goes to no file: start the broker with --log-file or log.file")
    })?;
    let failed = |error: io::Error| Failure::error(SOFTWARE, format!("cannot read {file}: {error}"));
    let text = end_of(&file).map_err(failed)?;
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(wanted(line));
    Ok(Outcome::said(lines[first..].join("\n")))
}

/// The last lines of a file, the first of them cut off.
fn end_of(path: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// SIGHUP, as `logrotate` would: the file that was put aside is let go, and the configuration's levels count again.
fn rotate(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let failed = |error: rustix::io::Errno| Failure::error(SOFTWARE, format!("the process cannot be told: {error}"));
    kill_process(broker.process()?, Signal::HUP).map_err(failed)?;
    Ok(Outcome::Done)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        DIAGNOSTICS,
        ("log_location", ""),
        "Shows where the log goes",
        "Log file location(s) on node {node} ...",
        Run::Do(location),
    ),
    Command::new(
        DIAGNOSTICS,
        ("log_tail", "[--number|-N <number>]"),
        "Prints the last lines of the log's file; on the broker's own machine only",
        "",
        Run::Do(|line, broker| {
            line.announce(&format!("Last {} log lines on node {} ...", wanted(line), broker.node()));
            tail(line, broker)
        }),
    ),
    Command::new(
        CTL,
        ("rotate_logs", ""),
        "Opens the log's file anew, which was put aside; on the broker's own machine only",
        "Rotating logs for node {node} ...",
        Run::Do(rotate),
    ),
];
