//! What a broker is expected to say: recorded transcripts, and the list of wanted differences.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::scenario::Scenario;

/// Transcripts by scenario name.
pub(crate) type Transcripts = BTreeMap<String, String>;

/// Whose transcripts to compare with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Broker {
    /// RabbitMQ 4.3, which sets the standard.
    Standard,
    /// RabbitMQ 3.10, whose transcripts are kept only where they differ from the standard.
    Older,
    /// The standard, changed by `compat/DIFFERENCES.md`.
    Lepus,
}

impl Broker {
    /// The name, also of its directory below `recorded`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "4.3",
            Self::Older => "3.10",
            Self::Lepus => "lepus",
        }
    }
}

/// In a hand-written transcript: any text.
const ANYTHING: &str = "$any";

/// Everything recorded, and what Lepus does otherwise on purpose.
#[derive(Debug)]
pub(crate) struct Expectations {
    standard: Transcripts,
    older: Transcripts,
    own: Transcripts,
    differences: BTreeMap<String, Basis>,
}

/// Where the transcript of a wanted difference comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Basis {
    /// `as 3.10`
    Older,
    /// `own`: hand-written in `recorded/lepus`.
    Own,
    /// `loose`: in `recorded/lepus`, as the standard but with some text left open.
    Loose,
}

impl Expectations {
    /// Reads `directory/recorded` and the table in `directory/../DIFFERENCES.md`.
    pub(crate) fn load(directory: &Path) -> Result<Self, String> {
        let recorded = directory.join("recorded");
        let list = directory.with_file_name("DIFFERENCES.md");
        let text = fs::read_to_string(&list).unwrap_or_default();
        Ok(Self {
            standard: load_transcripts(&recorded.join(Broker::Standard.name()))?,
            older: load_transcripts(&recorded.join(Broker::Older.name()))?,
            own: load_transcripts(&recorded.join(Broker::Lepus.name()))?,
            differences: parse_differences(&text)?,
        })
    }

    /// What `broker` should say in scenario `name`.
    pub(crate) fn expected(&self, broker: Broker, name: &str) -> Option<&str> {
        let standard = self.standard.get(name);
        let found = match (broker, self.differences.get(name)) {
            (Broker::Lepus, Some(Basis::Own | Basis::Loose)) => self.own.get(name),
            (Broker::Lepus, Some(Basis::Older)) | (Broker::Older, _) => self.older.get(name).or(standard),
            _ => standard,
        };
        found.map(String::as_str)
    }

    /// What is wrong with the records themselves: nothing may be missing, stale, or listed as a
    /// difference without being one.
    pub(crate) fn problems(&self, scenarios: &[Scenario]) -> Vec<String> {
        let known: BTreeSet<_> = scenarios.iter().map(|scenario| &scenario.name).collect();
        let mut problems = Vec::new();
        for name in &known {
            if !self.standard.contains_key(*name) {
                problems.push(format!("{name}: no transcript of 4.3"));
            }
        }
        let lists = [
            ("4.3", self.standard.keys().collect::<Vec<_>>()),
            ("3.10", self.older.keys().collect()),
            ("lepus", self.own.keys().collect()),
            ("DIFFERENCES.md", self.differences.keys().collect()),
        ];
        for (list, names) in lists {
            let strangers = names.into_iter().filter(|name| !known.contains(name));
            problems.extend(strangers.map(|name| format!("{name}: in {list} but no scenario")));
        }
        for name in self.own.keys() {
            if !matches!(self.differences.get(name), Some(Basis::Own | Basis::Loose)) {
                problems.push(format!("{name}: own transcript, but DIFFERENCES.md says nothing"));
            }
        }
        for (name, basis) in &self.differences {
            let is_same = |other: Option<&String>| match (other, self.expected(Broker::Lepus, name)) {
                (Some(other), Some(expected)) => agrees(expected, other),
                _ => false,
            };
            match basis {
                Basis::Older if !self.older.contains_key(name) => {
                    problems.push(format!("{name}: listed as 3.10, which does as 4.3"));
                }
                Basis::Own if !self.own.contains_key(name) => {
                    problems.push(format!("{name}: listed as own, but recorded/lepus lacks it"));
                }
                Basis::Own if is_same(self.standard.get(name)) || is_same(self.older.get(name)) => {
                    problems.push(format!("{name}: listed as own, but it is as recorded"));
                }
                _ => {}
            }
        }
        problems
    }
}

/// Whether a transcript is as expected. How TCP ends (a FIN or an RST) is not compared: it depends on
/// what the peer had in flight. `$any` in the expectation stands for any text.
pub(crate) fn agrees(expected: &str, actual: &str) -> bool {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return true,
            (Some(expected), Some(actual)) if line_agrees(expected, actual) => {}
            _ => return false,
        }
    }
}

/// The lines that differ, with those expected marked `-` and those received marked `+`.
pub(crate) fn difference(expected: &str, actual: &str) -> String {
    let expected: Vec<_> = expected.lines().collect();
    let actual: Vec<_> = actual.lines().collect();
    let pairs = expected.iter().zip(&actual);
    let same_start = pairs.take_while(|(a, b)| line_agrees(a, b)).count();
    let pairs = expected[same_start..].iter().rev().zip(actual[same_start..].iter().rev());
    let same_end = pairs.take_while(|(a, b)| line_agrees(a, b)).count();
    let mut shown = String::new();
    for line in &expected[..same_start] {
        shown.push_str(&format!("  {line}\n"));
    }
    for line in &expected[same_start..expected.len() - same_end] {
        shown.push_str(&format!("- {line}\n"));
    }
    for line in &actual[same_start..actual.len() - same_end] {
        shown.push_str(&format!("+ {line}\n"));
    }
    shown
}

fn line_agrees(expected: &str, actual: &str) -> bool {
    let expected = expected.replace("closed (reset)", "closed (eof)");
    let actual = actual.replace("closed (reset)", "closed (eof)");
    matches(&expected, &actual)
}

/// Whether `actual` is `pattern`, in which `$any` stands for any text.
fn matches(pattern: &str, actual: &str) -> bool {
    let Some((start, pattern)) = pattern.split_once(ANYTHING) else {
        return pattern == actual;
    };
    actual.strip_prefix(start).is_some_and(|rest| {
        let ends = rest.char_indices().map(|(index, _)| index);
        ends.chain([rest.len()]).any(|index| matches(pattern, &rest[index..]))
    })
}

/// Every `<area>.txt` in `directory`; none if there is no such directory.
fn load_transcripts(directory: &Path) -> Result<Transcripts, String> {
    let mut transcripts = Transcripts::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(transcripts);
    };
    for entry in entries {
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        let path = entry.map_err(failed)?.path();
        let text = fs::read_to_string(&path).map_err(failed)?;
        let area = path.file_stem().unwrap_or_default().to_string_lossy();
        for part in format!("\n{text}").split("\n== ").skip(1) {
            let (name, transcript) = part.split_once('\n').unwrap_or((part, ""));
            let transcript = format!("{}\n", transcript.trim_end());
            transcripts.insert(format!("{area}/{name}"), transcript);
        }
    }
    Ok(transcripts)
}

/// The rows of the table: `| scenario | basis | reason |`.
fn parse_differences(text: &str) -> Result<BTreeMap<String, Basis>, String> {
    let mut differences = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let &["", name, basis, reason, ""] = cells.as_slice() else {
            continue;
        };
        if !name.contains('/') {
            continue;
        }
        let basis = match basis {
            "as 3.10" => Basis::Older,
            "own" => Basis::Own,
            "loose" => Basis::Loose,
            other => return Err(format!("DIFFERENCES.md: {name}: unknown basis {other}")),
        };
        if reason.is_empty() || differences.insert(name.to_owned(), basis).is_some() {
            return Err(format!("DIFFERENCES.md: {name}: no reason, or listed twice"));
        }
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::{agrees, difference};

    #[test]
    fn the_way_tcp_ends_is_not_compared() {
        assert!(agrees("x\n    a closed (reset)\n", "x\n    a closed (eof)\n"));
        assert!(!agrees("x\n    a closed (reset)\n", "x\n"));
    }

    #[test]
    fn any_text_may_be_left_open() {
        let expected = "    a connection.close code=503 text=\"$any\"\n";
        assert!(agrees(expected, "    a connection.close code=503 text=\"COMMAND_INVALID\"\n"));
        assert!(!agrees(expected, "    a connection.close code=502 text=\"SYNTAX_ERROR\"\n"));
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(difference("a\nb\nd\n", "a\nc\nd\n"), "  a\n- b\n+ c\n");
    }
}
