//! `lepus perf`: a load generator for any AMQP 0-9-1 broker, with the flags of RabbitMQ's PerfTest. A client: it knows
//! the codec and nothing of the broker. One thread for each connection, blocking sockets, frames built beforehand, so
//! that the generator is not what is measured. Start reading at [`run`].

mod args;
mod ballast;
mod churn;
mod connection;
mod consumer;
mod link;
mod meter;
mod process;
mod producer;
mod report;
mod rpc;
mod scenario;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::args::{Args, Churn, Mode, RpcArgs, translate};
pub use self::connection::PerfError;

use self::ballast::Ballast;
use self::meter::Shared;
use self::process::Process;
use self::report::Report;
use self::scenario::Scenario;

/// Said on standard error when everything is declared and consumed from, for whoever wants to watch the broker from then
/// on.
const SENDING: &str = "sending";

/// Runs the load and prints its report. True: nothing went wrong.
pub fn run(args: &Args) -> Result<bool, PerfError> {
    if let Some(Mode::Rpc(args)) = &args.mode {
        return rpc::run(args);
    }
    if let Some(kind) = args.churn {
        return churn::run(args, kind);
    }
    let scenario = Arc::new(Scenario::new(args)?);
    let process = args.broker_pid.map(Process::new).transpose()?;
    scenario.declare()?;
    let ballast = Ballast::load(&scenario)?;
    let shared = Arc::new(Shared::new(&scenario));
    let mut threads = Vec::new();
    for index in 0..scenario.consumers {
        let (scenario, shared) = (scenario.clone(), shared.clone());
        threads.push(std::thread::spawn(move || consumer::run(&scenario, &shared, index)));
    }
    shared.wait_for_consumers();
    // What declaring and subscribing cost belongs to no message.
    let before = process.as_ref().map(Process::sample).transpose()?;
    eprintln!("{SENDING}");
    let started = Instant::now();
    for index in 0..scenario.producers {
        let (scenario, shared) = (scenario.clone(), shared.clone());
        threads.push(std::thread::spawn(move || producer::run(&scenario, &shared, index)));
    }
    let rss_max = watch(&scenario, &shared, started, process.as_ref(), args.json);
    let after = process.as_ref().map(Process::sample).transpose()?;
    let elapsed = shared.elapsed(started);
    let mut failed = None;
    for thread in threads {
        if let Ok(Err(error)) = thread.join() {
            failed.get_or_insert(error);
        }
    }
    let report = Report::new(&scenario, &shared, elapsed, before.zip(after), rss_max);
    report.print(args.json);
    scenario.delete();
    ballast.drop_all()?;
    match failed {
        Some(error) => Err(error),
        None => Ok(!report.has_violations()),
    }
}

/// Prints a line each interval until the run is over; gives the largest RSS seen, in bytes.
fn watch(
    scenario: &Scenario,
    shared: &Shared,
    started: Instant,
    process: Option<&Process>,
    quiet: bool,
) -> Option<u64> {
    let mut last = shared.counts();
    let mut last_at = started;
    let mut next_line = started + scenario.interval;
    let mut rss_max = None;
    let mut progress_at = started;
    while !shared.is_stopped() {
        let now = Instant::now();
        let over = scenario.time.is_some_and(|time| now >= started + time);
        let counts = shared.counts();
        if counts != last {
            progress_at = now;
        }
        // A run by counts ends when everybody has theirs, or when nothing comes any more.
        let counted_out = scenario.is_counted_out(&counts) || shared.active() == 0;
        let stalled = scenario.time.is_none() && now > progress_at + STALL;
        if over || counted_out || stalled {
            shared.stop();
            break;
        }
        if let Some(rss) = process.and_then(|process| process.sample().ok()).map(|sample| sample.rss_bytes) {
            rss_max = rss_max.max(Some(rss));
        }
        if now >= next_line {
            if !quiet {
                report::print_line(now - started, &last, &counts, now - last_at, shared);
            }
            last = counts;
            last_at = now;
            next_line += scenario.interval;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    rss_max
}

/// A run by counts gives up after this long without a message.
const STALL: Duration = Duration::from_secs(10);
