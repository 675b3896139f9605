//! `lepus ctl`: the words of RabbitMQ's command line tools, spoken to a running broker over its management API.
//!
//! `table.rs` has all commands: most are a line of usage, a text and a request, and those that are more have a function in
//! the file of their group. Output and exit codes are those of RabbitMQ 4.3. Called by the name of one of RabbitMQ's tools,
//! the program is that tool. Start reading in [`run`].

mod access;
mod attempts;
mod broker;
mod connections;
mod definitions;
mod failure;
mod feature_flags;
mod health;
mod help;
mod line;
mod listing;
mod logs;
mod lone;
mod node;
mod output;
mod parameters;
mod password;
mod plugins;
mod policies;
mod queues;
mod refused;
mod report;
mod request;
mod settings;
mod status;
mod table;
mod terms;
mod usage;
mod users;
mod vhosts;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use self::broker::Broker;
use self::failure::{Failure, Kind, UNAVAILABLE, USAGE};
use self::line::{Line, Typed};
use self::output::{Format, Outcome};
use self::table::{Command, Run, Tool};

pub(super) use self::help::clap_commands;

/// What is shown as the timeout of a list if none was given.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the command if the program was called by the name of one of RabbitMQ's tools.
pub(super) fn run_as_tool(words: &[String]) -> Option<ExitCode> {
    let (program, words) = words.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    Tool::of_name(name).map(|tool| run_tool(tool, words))
}

/// Runs `lepus ctl` with these words.
pub(super) fn run(words: &[String]) -> ExitCode {
    run_tool(Tool::Lepus, words)
}

fn run_tool(tool: Tool, words: &[String]) -> ExitCode {
    let failed = match line::read(tool, words) {
        Typed::Line(line) => match execute(&line) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => (Some(line.command), failure),
        },
        Typed::Wrong(command, failure) => (Some(command), failure),
        Typed::Help(None) if words.is_empty() => {
            complain(&help::all(tool));
            return ExitCode::from(USAGE);
        }
        Typed::Help(None) => {
            print(&help::all(tool));
            return ExitCode::SUCCESS;
        }
        Typed::Help(Some(name)) => match table::find(tool, &name) {
            Some(command) => {
                print(&help::of(tool, command));
                return ExitCode::SUCCESS;
            }
            None => (None, Failure::error(USAGE, format!("\nCommand '{name}' not found."))),
        },
        Typed::Unknown(name) => {
            complain(&help::unknown(tool, &name));
            return ExitCode::from(USAGE);
        }
    };
    let (command, failure) = failed;
    complain(&told(tool, command, words, &failure));
    ExitCode::from(failure.code)
}

/// Checks everything, reaches the broker, says what is done, and does it.
fn execute(line: &Line) -> Result<(), Failure> {
    // A format that there is not is told before anything is done.
    Format::of(line)?;
    let command = line.command;
    (command.check)(line)?;
    if let Run::List(list) = &command.run {
        list.check(line)?;
    }
    match &command.run {
        Run::Refuse(reason) => Err(Failure::error(UNAVAILABLE, format!("{} {reason}", command.name))),
        _ if line.has("dry-run") => {
            announce(line, None);
            Ok(())
        }
        Run::Alone(run) => {
            announce(line, None);
            show(line, &run(line)?)
        }
        Run::Unreached(run) => {
            let broker = Broker::new(line, variable)?;
            announce(line, Some(&broker));
            show(line, &run(line, &broker)?)
        }
        Run::Send(_) | Run::List(_) | Run::Do(_) => {
            let broker = Broker::new(line, variable)?;
            broker.ping()?;
            tell(line, &broker)
        }
    }
}

/// Says what a broker that can be reached is asked, and what it answers.
fn tell(line: &Line, broker: &Broker) -> Result<(), Failure> {
    announce(line, Some(broker));
    let outcome = match &line.command.run {
        Run::Send(send) => send.run(line, broker)?,
        Run::List(list) => list.run(line, broker)?,
        Run::Do(run) => run(line, broker)?,
        Run::Unreached(_) | Run::Alone(_) | Run::Refuse(_) => Outcome::Done,
    };
    show(line, &outcome)
}

fn show(line: &Line, outcome: &Outcome) -> Result<(), Failure> {
    let with_header = !line.has("silent") && !line.has("no-table-headers");
    print(&Format::of(line)?.shown(outcome, with_header));
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says what is about to be done, unless nobody wants to know.
fn announce(line: &Line, broker: Option<&Broker>) {
    if line.is_quiet() || line.command.banner.is_empty() {
        return;
    }
    let text = Line::fill(line.command.banner, |name| match name {
        "node" => broker.map_or_else(|| line.named(name), |broker| broker.node().to_owned()),
        "seconds" => format!("{:?}", line.timeout(LIST_TIMEOUT).as_secs_f64()),
        "ms" => line.timeout(LIST_TIMEOUT).as_millis().to_string(),
        "priority" => line.get(name).unwrap_or("0").to_owned(),
        other => line.named(other),
    });
    line.announce(&text);
}

/// Whoever does not read to the end is not told that.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A failure in words.
fn told(tool: Tool, command: Option<&Command>, words: &[String], failure: &Failure) -> String {
    let text = &failure.text;
    match (failure.kind, command) {
        (Kind::Arguments, Some(command)) => format!(
            "Error (argument validation): {text}\nArguments given:\n\t{}\n\nUsage\n\n{}",
            words.join(" "),
            help::usage(tool, command)
        ),
        (Kind::Plain, _) => text.clone(),
        _ => format!("Error:\n{text}"),
    }
}
