//! Scenario files: `compat/oracle/scenarios/<area>.txt`, see `compat/oracle/README.md`.

use std::fs;
use std::path::Path;

/// A named sequence of steps.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// `<area>/<name>`.
    pub(crate) name: String,
    /// Takes seconds: started before all others.
    pub(crate) is_slow: bool,
    pub(crate) steps: Vec<Step>,
}

/// One line of a scenario.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    /// As written; transcripts repeat it.
    pub(crate) text: String,
    /// The connection, empty for a step without one (`sleep`).
    pub(crate) connection: String,
    pub(crate) channel: u16,
    pub(crate) verb: String,
    pub(crate) arguments: String,
}

impl Step {
    /// Something the player does by itself on `connection`.
    pub(crate) fn on(connection: String) -> Self {
        Self { connection, ..Self::default() }
    }
}

/// All scenarios under `directory`, by area and then in the order of the file.
pub(crate) fn load_all(directory: &Path) -> Result<Vec<Scenario>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let mut scenarios: Vec<Scenario> = Vec::new();
    for path in paths {
        let area = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path).map_err(failed)?;
        let parsed = parse(&area, &text).map_err(|error| format!("{area}.txt: {error}"))?;
        scenarios.extend(parsed);
    }
    Ok(scenarios)
}

/// The scenarios of one file.
pub(crate) fn parse(area: &str, text: &str) -> Result<Vec<Scenario>, String> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix("== ") {
            let (name, is_slow) = match heading.strip_suffix(" slow") {
                Some(name) => (name, true),
                None => (heading, false),
            };
            let name = format!("{area}/{name}");
            if name.contains(' ') || scenarios.iter().any(|other| other.name == name) {
                return Err(format!("line {}: bad or repeated name {name}", index + 1));
            }
            scenarios.push(Scenario { name, is_slow, steps: Vec::new() });
            continue;
        }
        let scenario = scenarios.last_mut().ok_or("a step before any heading")?;
        let step = parse_step(line).ok_or_else(|| format!("line {}: {line}", index + 1))?;
        scenario.steps.push(step);
    }
    Ok(scenarios)
}

fn parse_step(line: &str) -> Option<Step> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric());
    let (connection, channel, rest) = match line.split_once(": ") {
        Some((place, rest)) if !place.contains(' ') => match place.split_once('.') {
            Some((connection, channel)) => (connection, channel.parse().ok()?, rest),
            None => (place, 0, rest),
        },
        _ => ("", 0, line),
    };
    let (verb, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
    is_name(connection).then(|| Step {
        text: line.to_owned(),
        connection: connection.to_owned(),
        channel,
        verb: verb.to_owned(),
        arguments: arguments.trim().to_owned(),
    })
}
