//! A command line: the command, its arguments by name, its options.

use std::collections::BTreeMap;
use std::time::Duration;

use super::failure::Failure;
use super::output::Format;
use super::table::{self, Command, Tool};
use super::usage::{GENERAL, Switch, Usage};

/// Options whose value is a number.
const NUMBERS: &[&str] = &["timeout", "priority", "limit", "per-connection-delay", "within", "pid", "number"];

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) tool: Tool,
    pub(super) command: &'static Command,
    arguments: BTreeMap<&'static str, String>,
    /// What stands for `[<name> ...]`.
    rest: Vec<String>,
    options: BTreeMap<&'static str, String>,
}

/// What was typed.
#[derive(Debug)]
pub(super) enum Typed {
    Line(Box<Line>),
    /// A command with its help.
    Help(Option<String>),
    /// A command that there is not.
    Unknown(String),
    /// A command with something that it does not take.
    Wrong(&'static Command, Failure),
}

/// Reads what was typed after the tool's name.
pub(super) fn read(tool: Tool, words: &[String]) -> Typed {
    let asks_for_help = words.iter().any(|word| ["-?", "--help", "-h"].contains(&word.as_str()));
    let Some(at) = command_at(words) else { return Typed::Help(None) };
    let name = &words[at];
    if name == "help" {
        return Typed::Help(words.get(at + 1).cloned());
    }
    let Some(command) = table::find(tool, name) else { return Typed::Unknown(name.clone()) };
    if asks_for_help {
        return Typed::Help(Some(name.clone()));
    }
    match Line::new(tool, command, words, at) {
        Ok(line) => Typed::Line(Box::new(line)),
        Err(failure) => Typed::Wrong(command, failure),
    }
}

/// Where the command is: the first word that is no option and no option's value.
fn command_at(words: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if !word.starts_with('-') {
            return Some(at);
        }
        let takes_next = GENERAL.iter().any(|switch| switch.has_value && is(switch, word));
        at += if takes_next { 2 } else { 1 };
    }
    None
}

/// Is the word this option, its value not in it?
fn is(switch: &Switch, word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(name) => name.replace('_', "-") == switch.name,
        None => word.strip_prefix('-').is_some_and(|rest| switch.letter.is_some_and(|own| rest == own.to_string())),
    }
}

impl Line {
    fn new(tool: Tool, command: &'static Command, words: &[String], at: usize) -> Result<Self, Failure> {
        let usage = Usage::read(command.usage);
        let mut given = Given::default();
        let own = usage.switches.iter().filter(|own| !GENERAL.iter().any(|general| general.name == own.name));
        let switches: Vec<Switch> = own.chain(GENERAL).copied().collect();
        let others = words.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, word)| word.as_str());
        given.read(others, &switches);
        if !given.invalid.is_empty() {
            let invalid = given.invalid.iter().map(|(name, value)| format!("{name} : {value}"));
            let invalid = invalid.collect::<Vec<_>>().join("\n");
            return Err(Failure::arguments(format!("Invalid options for this command:\n{invalid}")));
        }
        let mut line = Self { tool, command, arguments: BTreeMap::new(), rest: Vec::new(), options: given.options };
        line.name(&usage, given.arguments)?;
        Ok(line)
    }

    fn name(&mut self, usage: &Usage, given: Vec<String>) -> Result<(), Failure> {
        if given.len() < usage.required.len() {
            return Err(Failure::arguments("not enough arguments."));
        }
        let mut given = given.into_iter();
        for name in usage.required.iter().chain(&usage.optional) {
            if let Some(value) = given.next() {
                self.arguments.insert(name, value);
            }
        }
        self.rest = given.collect();
        if let Some(name) = usage.rest {
            self.arguments.insert(name, self.rest.join(", "));
        } else if !self.rest.is_empty() {
            return Err(Failure::arguments("too many arguments."));
        }
        Ok(())
    }

    /// An argument, or an option's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).or_else(|| self.options.get(name)).map(String::as_str)
    }

    /// An option's value: some arguments have the same name.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The same as [`Self::get`], empty if it was not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn vhost(&self) -> &str {
        self.get("vhost").unwrap_or("/")
    }

    pub(super) fn rest(&self) -> &[String] {
        &self.rest
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// Was read as a number.
    pub(super) fn number(&self, option: &str) -> Option<i64> {
        self.options.get(option)?.parse().ok()
    }

    pub(super) fn timeout(&self, default: Duration) -> Duration {
        let seconds = self.number("timeout").and_then(|seconds| u64::try_from(seconds).ok());
        seconds.filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs)
    }

    /// Does nobody want to know what is about to be done? Programs do not either.
    pub(super) fn is_quiet(&self) -> bool {
        self.has("quiet") || self.has("silent") || Format::of(self).is_ok_and(Format::is_for_programs)
    }

    /// Says something of what is done, unless nobody wants to know.
    pub(super) fn announce(&self, text: &str) {
        if !self.is_quiet() {
            super::print(&format!("{text}\n"));
        }
    }

    /// The text with each `{name}` replaced by what `value` makes of it.
    pub(super) fn fill(template: &str, mut value: impl FnMut(&str) -> String) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            filled.push_str(before);
            filled.push_str(&value(name));
            rest = after;
        }
        filled + rest
    }

    /// What stands for a name in such a text.
    pub(super) fn named(&self, name: &str) -> String {
        match name {
            "vhost" => self.get("vhost").unwrap_or("/").to_owned(),
            _ => self.text(name).to_owned(),
        }
    }
}

/// Words, sorted out.
#[derive(Debug, Default)]
struct Given {
    arguments: Vec<String>,
    options: BTreeMap<&'static str, String>,
    invalid: Vec<(String, String)>,
}

impl Given {
    fn read<'a>(&mut self, words: impl Iterator<Item = &'a str>, switches: &[Switch]) {
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                self.arguments.extend(words.map(str::to_owned));
                return;
            }
            // `-5` is a number.
            if !word.starts_with('-') || word == "-" || word.parse::<f64>().is_ok() {
                self.arguments.push(word.to_owned());
                continue;
            }
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value)),
                _ => (word, None),
            };
            let Some(switch) = switches.iter().find(|switch| is(switch, name)) else {
                self.invalid.push((name.to_owned(), inline.unwrap_or_default().to_owned()));
                continue;
            };
            let value = match (switch.has_value, inline) {
                (false, None | Some("true")) => String::new(),
                (false, Some("false")) => continue,
                (false, Some(_)) => {
                    self.invalid.push((name.to_owned(), inline.unwrap_or_default().to_owned()));
                    continue;
                }
                (true, Some(value)) => value.to_owned(),
                (true, None) => match words.next() {
                    Some(value) => value.to_owned(),
                    None => {
                        self.invalid.push((name.to_owned(), String::new()));
                        continue;
                    }
                },
            };
            if NUMBERS.contains(&switch.name) && value.parse::<i64>().is_err() {
                self.invalid.push((name.to_owned(), value));
                continue;
            }
            self.options.insert(switch.name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Typed {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read(Tool::Ctl, &words)
    }

    fn good(words: &[&str]) -> Line {
        match line(words) {
            Typed::Line(line) => *line,
            other => panic!("{other:?}"),
        }
    }

    fn wrong(words: &[&str]) -> String {
        match line(words) {
            Typed::Wrong(_, failure) => failure.text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_anywhere() {
        for words in [
            &["-p", "v", "set_permissions", "u", "a", "b", "c", "-q"][..],
            &["set_permissions", "--vhost=v", "u", "--quiet", "a", "b", "c"],
            &["-n", "rabbit@x", "set_permissions", "u", "a", "b", "-p", "v", "-q", "c"],
        ] {
            let line = good(words);
            assert_eq!((line.vhost(), line.text("username"), line.text("read")), ("v", "u", "c"));
            assert!(line.has("quiet") && !line.has("silent"));
        }
        assert_eq!(good(&["set_user_tags", "--", "-u", "-t"]).rest(), ["-t"]);
        assert_eq!(good(&["set_policy", "a", "b", "{}", "--priority", "-3"]).number("priority"), Some(-3));
    }

    #[test]
    fn what_a_command_does_not_take_is_refused() {
        assert_eq!(wrong(&["list_queues", "--nosuch"]), "Invalid options for this command:\n--nosuch : ");
        assert_eq!(wrong(&["list_queues", "-t", "x"]), "Invalid options for this command:\n-t : x");
        assert_eq!(wrong(&["list_queues", "-p"]), "Invalid options for this command:\n-p : ");
        assert_eq!(wrong(&["add_vhost"]), "not enough arguments.");
        assert_eq!(wrong(&["add_vhost", "a", "b"]), "too many arguments.");
        assert!(matches!(line(&["nosuch"]), Typed::Unknown(name) if name == "nosuch"));
        assert!(matches!(line(&["-q"]), Typed::Help(None)));
    }

    #[test]
    fn texts_are_filled_once() {
        let text = Line::fill("a {x} {y}", |name| format!("{{{name}!}}"));
        assert_eq!(text, "a {x!} {y!}");
    }
}
