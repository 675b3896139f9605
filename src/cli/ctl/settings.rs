//! Settings of the running broker.

use hyper::Method;
use serde_json::{Value as Json, json};

use super::broker::{Broker, path};
use super::failure::{Failure, UNAVAILABLE};
use super::line::Line;
use super::output::Outcome;
use super::request::done;
use super::table::{CTL, Command, Run};
use crate::config::{logging, quantity};
use crate::server::{SettingError, Watermark};

/// What the API tells of settings: RabbitMQ's name, and where it stands in the record of the node.
const SETTINGS: &[(&str, &str)] = &[
    ("data_dir", "db_dir"),
    ("disk_free_limit", "disk_free_limit"),
    ("vm_memory_high_watermark_absolute", "mem_limit"),
    ("rates_mode", "rates_mode"),
    ("net_ticktime", "net_ticktime"),
    ("config_files", "config_files"),
    ("log_files", "log_files"),
];

/// RabbitMQ prints the environment of its Erlang applications, which there are none of here.
fn environment(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let node = broker.get(&path(["nodes", broker.node()]))?;
    let listeners = broker.get("overview?columns=listeners")?;
    let of = |protocol: &str| {
        let all = listeners["listeners"].as_array().into_iter().flatten();
        let own = all.filter(|listener| listener["protocol"] == protocol);
        let pairs = own.map(|listener| format!("{{{},{}}}", listener["ip_address"], listener["port"]));
        format!("[{}]", pairs.collect::<Vec<_>>().join(","))
    };
    let mut terms: Vec<(&str, String)> = SETTINGS
        .iter()
        .filter(|(_, field)| !node[field].is_null())
        .map(|(name, field)| (*name, term(&node[field])))
        .collect();
    terms.push(("tcp_listeners", of("amqp")));
    terms.push(("ssl_listeners", of("amqp/ssl")));
    terms.sort_by_key(|(name, _)| *name);
    let lines: Vec<String> = terms.iter().map(|(name, term)| format!("{{{name},{term}}}")).collect();
    let json = serde_json::json!({"rabbit": terms.iter().map(|(name, term)| (*name, term.as_str())).collect::<std::collections::BTreeMap<_, _>>()});
    Ok(Outcome::Said(format!("[{{rabbit,\n     [{}]}}]", lines.join(",\n      ")), json))
}

/// As Erlang writes it.
fn term(value: &Json) -> String {
    match value {
        Json::Array(values) => format!("[{}]", values.iter().map(term).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// A limit of memory or of free disk space.
struct Limit {
    watermark: Watermark,
    /// In the words of the command line.
    told: String,
}

impl Limit {
    /// As the API takes it.
    fn body(&self) -> Json {
        match self.watermark {
            Watermark::Fraction(fraction) => json!({"relative": fraction}),
            Watermark::Bytes(bytes) => json!({"absolute": bytes}),
        }
    }
}

fn memory_high_watermark(line: &Line) -> Result<Limit, Failure> {
    match either(line, "fraction", "absolute", "value")? {
        Either::First(text) => match fraction(text) {
            None => Err(bad("")),
            Some(fraction) if !(0.0..=1.0).contains(&fraction) => {
                Err(bad(": The threshold should be a fraction between 0.0 and 1.0"))
            }
            Some(fraction) => Ok(Limit { watermark: Watermark::Fraction(fraction), told: text.to_owned() }),
        },
        Either::Second(text) => match quantity::bytes(text) {
            Some(bytes) => Ok(Limit { watermark: Watermark::Bytes(bytes), told: format!("{text} bytes") }),
            None => Err(match text.trim_start_matches(|c: char| c.is_ascii_digit()) {
                rest if rest.len() == text.len() => bad(""),
                rest if rest.starts_with('.') => bad(": The threshold should be an integer."),
                _ => bad(": Invalid units."),
            }),
        },
    }
}

fn disk_free_limit(line: &Line) -> Result<Limit, Failure> {
    let limit = match either(line, "disk_limit", "mem_relative", "fraction")? {
        Either::First(text) => quantity::bytes(text)
            .map(|bytes| Limit { watermark: Watermark::Bytes(bytes), told: format!("{text} bytes") }),
        Either::Second(text) => fraction(text).filter(|fraction| *fraction >= 0.0).map(|fraction| Limit {
            watermark: Watermark::Fraction(fraction),
            told: format!("{text} times the total RAM"),
        }),
    };
    limit.ok_or_else(|| bad(""))
}

/// `<first> | word <second>`.
enum Either<'a> {
    First(&'a str),
    Second(&'a str),
}

fn either<'a>(line: &'a Line, first: &str, word: &str, second: &str) -> Result<Either<'a>, Failure> {
    match (line.text(first), line.get(second)) {
        (given, Some(value)) if given == word => Ok(Either::Second(value)),
        (given, None) if given == word => Err(Failure::arguments("not enough arguments.")),
        (given, None) => Ok(Either::First(given)),
        (_, Some(_)) => Err(Failure::arguments("too many arguments.")),
    }
}

fn bad(why: &str) -> Failure {
    Failure::bad_argument(format!("Bad argument{}", if why.is_empty() { "." } else { why }))
}

/// A number as Erlang writes it: with a digit at each end.
fn fraction(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let is_number = is_digit(digits.chars().next()) && is_digit(digits.chars().next_back());
    text.parse().ok().filter(|fraction: &f64| is_number && fraction.is_finite())
}

fn set_memory_high_watermark(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let limit = memory_high_watermark(line)?;
    line.announce(&format!("Setting memory threshold on {} to {} ...", broker.node(), limit.told));
    set(broker, "vm_memory_high_watermark", &limit.body())
}

fn set_disk_free_limit(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let limit = disk_free_limit(line)?;
    line.announce(&format!("Setting disk free limit on {} to {} ...", broker.node(), limit.told));
    set(broker, "disk_free_limit", &limit.body())
}

/// Before anything is said of it, as by RabbitMQ's tool.
fn check_log_level(line: &Line) -> Result<(), Failure> {
    let name = line.text("log_level");
    if logging::level(name).is_some() {
        return Ok(());
    }
    let error = SettingError::NoSuchLevel(name.to_owned());
    Err(Failure::error(UNAVAILABLE, error.to_string()))
}

fn set_log_level(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    set(broker, "log_level", &json!({"level": line.text("log_level")}))
}

fn set(broker: &Broker, setting: &str, body: &Json) -> Result<Outcome, Failure> {
    let response = broker.send(Method::PUT, &path(["nodes", broker.node(), setting]), body)?;
    done(&response, || Err(response.refusal()))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        CTL,
        ("environment", ""),
        "Displays settings of the running broker",
        "Application environment of node {node} ...",
        Run::Do(environment),
    ),
    Command::new(
        CTL,
        ("set_disk_free_limit", "<disk_limit> | mem_relative <fraction>"),
        "Sets the disk_free_limit setting, until the broker stops",
        "",
        Run::Do(set_disk_free_limit),
    )
    .checked(|line| disk_free_limit(line).map(drop)),
    Command::new(
        CTL,
        ("set_log_level", "<log_level>"),
        "Sets log level in the running node, until it stops or reads its configuration again",
        "Setting log level to \"{log_level}\" ...",
        Run::Do(set_log_level),
    )
    .checked(check_log_level),
    Command::new(
        CTL,
        ("set_vm_memory_high_watermark", "<fraction> | absolute <value>"),
        "Sets the vm_memory_high_watermark setting, until the broker stops",
        "",
        Run::Do(set_memory_high_watermark),
    )
    .checked(|line| memory_high_watermark(line).map(drop)),
];

#[cfg(test)]
mod tests {
    use super::super::line::{Typed, read};
    use super::super::table::Tool;
    use super::*;

    fn limit(words: &[&str]) -> Result<(Json, String), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let line = match read(Tool::Ctl, &words) {
            Typed::Line(line) => line,
            Typed::Wrong(_, failure) => return Err(failure.text),
            other => panic!("{other:?}"),
        };
        let limit = match words[0].as_str() {
            "set_disk_free_limit" => disk_free_limit(&line),
            _ => memory_high_watermark(&line),
        };
        limit.map(|limit| (limit.body(), limit.told)).map_err(|failure| failure.text)
    }

    /// As RabbitMQ 4.3.6 has them.
    #[test]
    fn limits_are_read_and_refused_as_by_rabbitmqctl() {
        let memory = |words: &[&str]| limit(&[&["set_vm_memory_high_watermark"], words].concat());
        let disk = |words: &[&str]| limit(&[&["set_disk_free_limit"], words].concat());
        let relative = |fraction: f64, told: &str| Ok((json!({"relative": fraction}), told.to_owned()));
        let absolute = |bytes: u64, told: &str| Ok((json!({"absolute": bytes}), told.to_owned()));
        let wrong = |text: &str| Err(text.to_owned());
        for (text, fraction) in [("0", 0.0), ("0.4", 0.4), ("1", 1.0), ("1.0", 1.0), ("1e-1", 0.1)] {
            assert_eq!(memory(&[text]), relative(fraction, text));
        }
        for text in ["1.1", "-0.5"] {
            assert_eq!(memory(&[text]), wrong("Bad argument: The threshold should be a fraction between 0.0 and 1.0"));
        }
        for text in ["abc", "2GB", "", "0.5x", ".5", "1.", "inf", "NaN"] {
            assert_eq!(memory(&[text]), wrong("Bad argument."), "{text}");
        }
        assert_eq!(memory(&["absolute", "1kB"]), absolute(1000, "1kB bytes"));
        assert_eq!(memory(&["absolute", "2GiB"]), absolute(2 << 30, "2GiB bytes"));
        for text in ["1.5GB", "1000.7"] {
            assert_eq!(memory(&["absolute", text]), wrong("Bad argument: The threshold should be an integer."));
        }
        assert_eq!(memory(&["absolute", "12 parsecs"]), wrong("Bad argument: Invalid units."));
        assert_eq!(memory(&["absolute", "abc"]), wrong("Bad argument."));
        assert_eq!(memory(&["absolute"]), wrong("not enough arguments."));
        assert_eq!(memory(&["0.5", "0.6"]), wrong("too many arguments."));
        assert_eq!(memory(&["absolute", "1GB", "x"]), wrong("too many arguments."));
        assert_eq!(disk(&["1GB"]), absolute(1_000_000_000, "1GB bytes"));
        assert_eq!(disk(&["0"]), absolute(0, "0 bytes"));
        assert_eq!(disk(&["mem_relative", "1.5"]), relative(1.5, "1.5 times the total RAM"));
        for words in [&["1.5"][..], &["1.5GB"], &["-5"], &["much"], &["mem_relative", "-1"], &["mem_relative", "1GB"]] {
            assert_eq!(disk(words), wrong("Bad argument."), "{words:?}");
        }
        assert_eq!(disk(&["mem_relative"]), wrong("not enough arguments."));
        assert_eq!(disk(&["absolute", "1GB"]), wrong("too many arguments."));
    }
}
