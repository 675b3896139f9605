//! The oracle comparison: scenarios of raw AMQP 0-9-1, played against any broker, and the transcripts of
//! real RabbitMQ to compare with.
//!
//! Start reading at `compat/oracle/README.md` (the format of scenarios and transcripts), then `player`.
//! Nothing here uses the library under test: methods, tables and frames are written a second time on
//! purpose, so that a misreading of the specification is not confirmed by itself.

mod answer;
mod args;
mod client;
pub(crate) mod compare;
mod encode;
mod methods;
mod player;
mod render;
mod scenario;
mod tidy;
mod value;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use compare::{Broker, Expectations, agrees, difference};
use scenario::Scenario;

/// Where scenarios, users and transcripts are kept.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compat/oracle");

/// Scenarios played at the same time: they mostly wait.
const PARALLEL: usize = 40;

/// The transcript of every scenario played, or why it could not be played.
pub(crate) type Report = BTreeMap<String, Result<String, String>>;

/// `compat/oracle`; `setup.json` in it must be loaded by the broker before anything is played.
pub(crate) fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// The scenarios whose `<area>/<name>` contains one of the words of `filter` (separated by commas) and
/// none of those written with a `!` in front. An empty filter means all.
pub(crate) fn scenarios(filter: &str) -> Result<Vec<Scenario>, String> {
    let words = filter.split(',').filter(|word| !word.is_empty());
    let (refused, wanted): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with('!'));
    let mut scenarios = scenario::load_all(&directory().join("scenarios"))?;
    scenarios.retain(|Scenario { name, .. }| {
        (wanted.is_empty() || wanted.iter().any(|word| name.contains(word)))
            && !refused.iter().any(|word| name.contains(&word[1..]))
    });
    Ok(scenarios)
}

/// Plays `scenarios` against the broker at `address`, many at a time.
pub(crate) fn run_all(address: SocketAddr, scenarios: &[Scenario]) -> Report {
    let (slow, quick): (Vec<_>, Vec<_>) = scenarios.iter().partition(|scenario| scenario.is_slow);
    let in_order = [slow, quick].concat();
    let run = RandomState::new().build_hasher().finish() & 0xF_FFFF;
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(in_order.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = in_order.get(index) else {
                        return;
                    };
                    let prefix = format!("{run:05x}{index:03x}-");
                    let outcome = player::play(address, scenario, &prefix);
                    let mut report = report.lock().expect("no scenario panics holding it");
                    report.insert(scenario.name.clone(), outcome);
                }
            });
        }
    });
    report.into_inner().expect("no scenario panics holding it")
}

/// Plays the scenarios matching `filter` and compares with what `broker` should say. Returns how many
/// agreed, or a text showing every disagreement.
pub(crate) fn verify(address: SocketAddr, broker: Broker, filter: &str) -> Result<usize, String> {
    let expectations = Expectations::load(directory())?;
    let mut failures = expectations.problems(&scenarios("")?);
    let report = run_all(address, &scenarios(filter)?);
    for (name, outcome) in &report {
        match (outcome, expectations.expected(broker, name)) {
            (Err(error), _) => failures.push(format!("{name}: {error}")),
            (Ok(_), None) => {}
            (Ok(actual), Some(expected)) if agrees(expected, actual) => {}
            (Ok(actual), Some(expected)) => {
                failures.push(format!("{name}:\n{}", difference(expected, actual)));
            }
        }
    }
    if failures.is_empty() {
        return Ok(report.len());
    }
    let (wrong, played) = (failures.len(), report.len());
    failures.push(format!("{wrong} of {played} scenarios or records are not as {}", broker.name()));
    Err(failures.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::{Expectations, directory, scenarios};

    /// Every scenario has a transcript, every transcript a scenario, every listed difference is one.
    #[test]
    fn records_are_complete() {
        let expectations = Expectations::load(directory()).expect("the records can be read");
        let problems = expectations.problems(&scenarios("").expect("the scenarios can be read"));
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
