//! Settings of the running broker.

use serde_json::Value as Json;

use super::broker::{Broker, path};
use super::failure::Failure;
use super::line::Line;
use super::output::Outcome;
use super::table::{CTL, Command, Run};

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
        ("set_disk_free_limit", "<disk_limit> [<fraction>]"),
        "Sets the disk_free_limit setting: not while the broker runs",
        "",
        Run::Refuse(
            "is not possible while the broker runs: start it with another --disk-free-limit or disk_free_limit",
        ),
    ),
    Command::new(
        CTL,
        ("set_log_level", "<log_level>"),
        "Sets log level: not while the broker runs",
        "",
        Run::Refuse("is not possible while the broker runs: start it with another --log-level or log.console.level"),
    ),
    Command::new(
        CTL,
        ("set_vm_memory_high_watermark", "<fraction> [<memory_limit>]"),
        "Sets the vm_memory_high_watermark setting: not while the broker runs",
        "",
        Run::Refuse(
            "is not possible while the broker runs: start it with another --memory-high-watermark or \
             vm_memory_high_watermark",
        ),
    ),
];
