//! Starting, waiting for, and stopping the broker's process.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::broker::Broker;
use super::failure::{Failure, SOFTWARE, TRY_AGAIN};
use super::line::Line;
use super::output::Outcome;
use super::table::{BOTH, CTL, Command, Run};

/// How long a start may take, unless the line says otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a stop may take: connections are closed in order, and what is kept is made ready for the next start.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Looks again and again until there is something, or the time is over.
fn wait_for<T>(
    line: &Line,
    broker: &Broker,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let timeout = line.timeout(timeout);
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            let (name, ms) = (line.command.name, timeout.as_millis());
            return Err(Failure::plain(
                TRY_AGAIN,
                format!("Error: operation {name} timed out. Timeout value used: {ms}"),
            ));
        }
        broker.pause(LOOK_INTERVAL);
    }
}

fn await_startup(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    wait_for(line, broker, START_TIMEOUT, || Ok(broker.ping().ok()))?;
    Ok(Outcome::Done)
}

fn await_nodes(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    if line.text("count") != "1" {
        let text = "this broker runs alone: no other node will ever come";
        return Err(Failure::error(super::failure::UNAVAILABLE, text));
    }
    await_startup(line, broker)
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

fn check_wait(line: &Line) -> Result<(), Failure> {
    match (line.get("pidfile"), line.get("pid")) {
        (None, None) => Err(Failure::arguments("\"No pid or pidfile specified\"")),
        (Some(_), Some(_)) => Err(Failure::arguments("\"Cannot specify both pid and pidfile\"")),
        _ => Ok(()),
    }
}

fn read_pid(path: &str) -> Option<Pid> {
    fs::read_to_string(path).ok()?.trim().parse().ok().and_then(Pid::from_raw)
}

fn wait(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let pid = match line.get("pidfile") {
        Some(path) => {
            line.announce(&format!("Waiting for pid file '{path}' to appear"));
            let pid = wait_for(line, broker, START_TIMEOUT, || Ok(read_pid(path)))?;
            line.announce(&format!("pid is {}", pid.as_raw_nonzero()));
            pid
        }
        None => {
            let pid = line.number("pid").and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            pid.ok_or_else(|| Failure::arguments("\"pid must be a positive number\""))?
        }
    };
    line.announce(&format!(
        "Waiting for the broker to accept commands while OS process {} is running",
        pid.as_raw_nonzero()
    ));
    wait_for(line, broker, START_TIMEOUT, || match (broker.ping(), is_alive(pid)) {
        (Ok(()), _) => Ok(Some(())),
        (_, true) => Ok(None),
        (_, false) => Err(Failure::error(SOFTWARE, format!("process {} is not running", pid.as_raw_nonzero()))),
    })?;
    line.announce(&format!("Applications rabbit are running on node {}", broker.node()));
    Ok(Outcome::Done)
}

/// SIGTERM, as a supervisor would; then waits for the end.
fn stop(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let pid = broker.process()?;
    let failed = |error: rustix::io::Errno| Failure::error(SOFTWARE, format!("the process cannot be stopped: {error}"));
    kill_process(pid, Signal::TERM).map_err(failed)?;
    wait_for(line, broker, STOP_TIMEOUT, || Ok((!is_alive(pid) || is_zombie(pid)).then_some(())))?;
    Ok(Outcome::Done)
}

fn shut_down(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (pid, node) = (broker.process()?.as_raw_nonzero(), broker.node().to_owned());
    line.announce(&format!("Shutting down RabbitMQ node {node} running at PID {pid}"));
    line.announce(&format!("Waiting for PID {pid} to terminate"));
    stop(line, broker)?;
    Ok(Outcome::said(format!("RabbitMQ node {node} running at PID {pid} successfully shut down")))
}

/// Has ended, and its parent has not looked yet.
fn is_zombie(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(CTL, ("await_startup", ""), "Waits for the broker to start", "", Run::Unreached(await_startup)),
    Command::new(
        CTL,
        ("await_online_nodes", "<count>"),
        "Waits for <count> nodes: here there is one",
        "",
        Run::Unreached(await_nodes),
    ),
    Command::new(
        CTL,
        ("shutdown", "[--wait]"),
        "Stops the broker and waits for its end; on its own machine only",
        "",
        Run::Do(shut_down),
    ),
    Command::new(
        CTL,
        ("stop", "[<pidfile>]"),
        "Stops the broker and waits for its end; on its own machine only",
        "Stopping and halting node {node} ...",
        Run::Do(stop),
    ),
    Command::new(
        BOTH,
        ("wait", "[<pidfile>] [--pid|-P <pid>]"),
        "Waits for the broker of a process, or of a file with its number, to start",
        "",
        Run::Unreached(wait),
    )
    .checked(check_wait),
];
