//! What the node is and has: status, listeners, memory.

use serde_json::{Map, Value as Json, json};

use super::broker::{Broker, path};
use super::failure::Failure;
use super::line::Line;
use super::output::Outcome;
use super::table::{BOTH, Command, DIAGNOSTICS, Run};
use crate::broker::RABBITMQ_VERSION;

/// A unit, how many bytes it is, and who takes it.
const UNITS: [(&str, f64); 7] = [
    ("bytes", 1.0),
    ("mb", 1e6),
    ("mib", 1_048_576.0),
    ("gb", 1e9),
    ("gib", 1_073_741_824.0),
    ("tb", 1e12),
    ("tib", 1_099_511_627_776.0),
];

/// Who listens where.
pub(super) struct Listener {
    address: String,
    pub(super) port: u64,
    protocol: String,
}

impl Listener {
    pub(super) fn all(broker: &Broker) -> Result<Vec<Self>, Failure> {
        let overview = broker.get("overview?columns=listeners")?;
        let listeners = overview["listeners"].as_array().into_iter().flatten();
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let read = |record: &Json| Self {
            address: text(&record["ip_address"]),
            port: record["port"].as_u64().unwrap_or_default(),
            protocol: text(&record["protocol"]),
        };
        Ok(listeners.map(read).collect())
    }

    fn interface(&self) -> String {
        if self.address.contains(':') { format!("[{}]", self.address) } else { self.address.clone() }
    }

    /// An address to connect to: of this machine, or of that host.
    pub(super) fn reachable(&self, host: Option<&str>) -> String {
        let any = ["::", "0.0.0.0"].contains(&self.address.as_str());
        let host = match host {
            Some(host) => host.to_owned(),
            None if any => "localhost".to_owned(),
            None => self.interface(),
        };
        format!("{host}:{}", self.port)
    }

    /// RabbitMQ's words for a protocol.
    fn purpose(&self) -> &str {
        match self.protocol.as_str() {
            "amqp" => "AMQP 0-9-1",
            "amqp/ssl" => "AMQP 0-9-1 over TLS",
            "http" => "HTTP API",
            "https" => "HTTP API over TLS (HTTPS)",
            "http/prometheus" => "Prometheus exporter API over HTTP",
            "https/prometheus" => "Prometheus exporter API over TLS (HTTPS)",
            other => other,
        }
    }

    fn told(&self, interface: &str) -> String {
        format!(
            "{interface}: {}, port: {}, protocol: {}, purpose: {}",
            self.interface(),
            self.port,
            self.protocol,
            self.purpose()
        )
    }

    fn json(&self, node: &str) -> Json {
        json!({
            "node": node,
            "interface": self.interface(),
            "port": self.port,
            "protocol": self.protocol,
            "purpose": self.purpose(),
        })
    }
}

fn listeners(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let all = Listener::all(broker)?;
    let text = all.iter().map(|listener| listener.told("Interface")).collect::<Vec<_>>().join("\n");
    let records: Vec<Json> = all.iter().map(|listener| listener.json(broker.node())).collect();
    Ok(Outcome::Said(text, json!({"node": broker.node(), "result": "ok", "listeners": records})))
}

/// The units of a command are the first so many, and those with decimals only.
fn check_unit_of(line: &Line, units: &[&str]) -> Result<(), Failure> {
    match line.get("unit") {
        Some(unit) if !units.contains(&unit.to_lowercase().as_str()) => Err(Failure::arguments(format!(
            "\"unit '{unit}' is not supported. Please use one of: {}\"",
            units.join(", ")
        ))),
        _ => Ok(()),
    }
}

fn check_unit(line: &Line) -> Result<(), Failure> {
    check_unit_of(line, &UNITS.map(|(name, _)| name))
}

fn check_memory_unit(line: &Line) -> Result<(), Failure> {
    check_unit_of(line, &["bytes", "mb", "gb"])
}

/// A number of bytes in a unit.
struct In<'a>(&'a str, f64);

impl In<'_> {
    fn of(line: &Line) -> In<'static> {
        let wanted = line.get("unit").unwrap_or("gb").to_lowercase();
        let (name, bytes) = UNITS.into_iter().find(|(name, _)| *name == wanted).unwrap_or(("gb", 1e9));
        In(name, bytes)
    }

    fn told(&self, bytes: f64) -> String {
        format!("{} {}", decimals(bytes / self.1, 4), self.0)
    }
}

/// At most so many decimals, at least one.
fn decimals(value: f64, most: i32) -> String {
    let scale = 10_f64.powi(most);
    format!("{:?}", (value * scale).round() / scale)
}

/// A kind of memory: its name, bytes, and share in percent.
type Kind = (String, f64, f64);

/// All memory, and its kinds, the largest first.
fn breakdown(broker: &Broker) -> Result<(f64, Vec<Kind>), Failure> {
    let told = broker.get(&format!("{}/memory", path(["nodes", broker.node()])))?;
    let memory = &told["memory"];
    let total = memory["total"]["rss"].as_f64().unwrap_or_default();
    let kinds = memory.as_object().into_iter().flatten();
    let mut kinds: Vec<Kind> = kinds
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .map(|(name, bytes)| (name, bytes, if total > 0.0 { bytes / total * 100.0 } else { 0.0 }))
        .collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok((total, kinds))
}

fn memory_breakdown(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let unit = In::of(line);
    let (_, kinds) = breakdown(broker)?;
    let told = |(name, bytes, share): &Kind| format!("{name}: {} ({}%)\n", unit.told(*bytes), decimals(*share, 2));
    let text: String = kinds.iter().map(told).collect();
    let json: Map<String, Json> = kinds
        .iter()
        .map(|(name, bytes, share)| (name.clone(), json!({"bytes": *bytes as u64, "percentage": share})))
        .collect();
    Ok(Outcome::Said(text, json.into()))
}

/// Paragraphs with a title.
struct Report(String);

impl Report {
    fn section(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        let mut lines: Vec<String> = lines.into_iter().collect();
        if lines.is_empty() {
            lines.push("(none)".to_owned());
        }
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0 += &format!("{title}\n\n{}\n", lines.join("\n"));
    }

    fn outcome(self, json: Json) -> Outcome {
        Outcome::Said(self.0.trim_end().to_owned(), json)
    }
}

fn alarms(node: &Json) -> Vec<String> {
    let of = |field: &str, text: &str| {
        (node[field] == true).then(|| format!("{text} alarm on node {}", text_of(&node["name"])))
    };
    [of("mem_alarm", "Memory"), of("disk_free_alarm", "Free disk space")].into_iter().flatten().collect()
}

fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

fn status(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let unit = In::of(line);
    let name = broker.node();
    let node = broker.get(&path(["nodes", name]))?;
    let overview = broker.get("overview?columns=object_totals,erlang_full_version,crypto_lib_version")?;
    let vhosts = broker.get("vhosts?columns=name")?.as_array().map_or(0, Vec::len);
    let (total, kinds) = breakdown(broker)?;
    let all = Listener::all(broker)?;
    let (totals, uptime) = (&overview["object_totals"], node["uptime"].as_u64().unwrap_or_default() / 1000);
    let alarms = alarms(&node);
    let bytes = |field: &str| node[field].as_f64().unwrap_or_default();
    let mut report = Report(String::new());
    report.section(
        "Runtime",
        [
            format!("OS PID: {}", text_of(&node["os_pid"])),
            "OS: Linux".to_owned(),
            format!("Uptime (seconds): {uptime}"),
            format!("Is under maintenance?: {}", node["being_drained"] == true),
            format!("RabbitMQ version: {RABBITMQ_VERSION}"),
            format!("Lepus version: {}", env!("CARGO_PKG_VERSION")),
            format!("Node name: {name}"),
            format!("Crypto library: {}", text_of(&overview["crypto_lib_version"])),
        ],
    );
    report.section("Data directory", [format!("Node data directory: {}", text_of(&node["db_dir"]))]);
    let files = node["config_files"].as_array().into_iter().flatten().map(|file| format!(" * {}", text_of(file)));
    report.section("Config files", files);
    let files = node["log_files"].as_array().into_iter().flatten().map(|file| format!(" * {}", text_of(file)));
    report.section("Log file(s)", files);
    report.section("Alarms", alarms.clone());
    let share = |(name, bytes, share): &Kind| format!("{name}: {} ({} %)", unit.told(*bytes), decimals(*share, 2));
    let memory = [
        format!("Total memory used: {}", unit.told(total)),
        "Calculation strategy: rss".to_owned(),
        format!("Memory high watermark setting: {}\n", unit.told(bytes("mem_limit"))),
    ];
    report.section("Memory", memory.into_iter().chain(kinds.iter().map(share)));
    report.section(
        "Free Disk Space",
        [
            format!("Low free disk space watermark: {}", unit.told(bytes("disk_free_limit"))),
            format!("Free disk space: {}", unit.told(bytes("disk_free"))),
        ],
    );
    report.section(
        "Totals",
        [
            format!("Connection count: {}", text_of(&totals["connections"])),
            format!("Queue count: {}", text_of(&totals["queues"])),
            format!("Virtual host count: {vhosts}"),
        ],
    );
    report.section("Listeners", all.iter().map(|listener| listener.told("Interface")));
    let memory: Map<String, Json> = kinds.into_iter().map(|(name, bytes, _)| (name, json!(bytes as u64))).collect();
    Ok(report.outcome(json!({
        "pid": text_of(&node["os_pid"]).parse::<u64>().ok(),
        "os": "Linux",
        "uptime": uptime,
        "is_under_maintenance": node["being_drained"] == true,
        "rabbitmq_version": RABBITMQ_VERSION,
        "erlang_version": overview["erlang_full_version"],
        "crypto_lib_version": overview["crypto_lib_version"],
        "data_directory": node["db_dir"],
        "config_files": node["config_files"],
        "log_files": node["log_files"],
        "alarms": alarms,
        "memory": memory,
        "vm_memory_high_watermark_limit": node["mem_limit"],
        "disk_free_limit": node["disk_free_limit"],
        "disk_free": node["disk_free"],
        "file_descriptors": {"total_used": node["fd_used"], "total_limit": node["fd_total"]},
        "totals": {
            "connection_count": totals["connections"],
            "queue_count": totals["queues"],
            "virtual_host_count": vhosts,
        },
        "listeners": all.iter().map(|listener| listener.json(name)).collect::<Vec<_>>(),
    })))
}

fn cluster_status(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let name = broker.node();
    let node = broker.get(&path(["nodes", name]))?;
    let cluster_name = text_of(&broker.get("cluster-name")?["name"]);
    let flags = broker.get("feature-flags")?;
    let all = Listener::all(broker)?;
    let (cores, alarms) = (text_of(&node["processors"]), alarms(&node));
    let mut report = Report(String::new());
    report.section(
        "Basics",
        [format!("Cluster name: {cluster_name}"), format!("Total CPU cores available cluster-wide: {cores}")],
    );
    report.section("Cluster Tags", []);
    report.section("Disk Nodes", [name.to_owned()]);
    report.section("Running Nodes", [name.to_owned()]);
    let versions = format!("RabbitMQ {RABBITMQ_VERSION} as Lepus {}", env!("CARGO_PKG_VERSION"));
    report.section("Versions", [format!("{name}: {versions}")]);
    report.section("CPU Cores", [format!("Node: {name}, available CPU cores: {cores}")]);
    report.section("Maintenance status", [format!("Node: {name}, status: not under maintenance")]);
    report.section("Alarms", alarms.clone());
    report.section("Network Partitions", []);
    report.section("Listeners", all.iter().map(|listener| format!("Node: {name}, {}", listener.told("interface"))));
    let flag = |flag: &Json| format!("Flag: {}, state: {}", text_of(&flag["name"]), text_of(&flag["state"]));
    report.section("Feature flags", flags.as_array().into_iter().flatten().map(flag));
    Ok(report.outcome(json!({
        "cluster_name": cluster_name,
        "cluster_tags": [],
        "disk_nodes": [name],
        "running_nodes": [name],
        "versions": {name: {"rabbitmq_name": "RabbitMQ", "rabbitmq_version": RABBITMQ_VERSION}},
        "cpu_cores": {name: node["processors"]},
        "maintenance_status": {name: "not under maintenance"},
        "alarms": alarms,
        "partitions": {},
        "listeners": {name: all.iter().map(|listener| listener.json(name)).collect::<Vec<_>>()},
        "feature_flags": flags,
    })))
}

fn server_version(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let version = text_of(&broker.get("version")?);
    Ok(Outcome::Said(version.clone(), json!({"result": "ok", "value": version})))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        BOTH,
        ("status", "[--unit <unit>]"),
        "Displays status of a node",
        "Status of node {node} ...",
        Run::Do(status),
    )
    .checked(check_unit),
    Command::new(
        BOTH,
        ("cluster_status", ""),
        "Displays the cluster: this node",
        "Cluster status of node {node} ...",
        Run::Do(cluster_status),
    ),
    Command::new(
        DIAGNOSTICS,
        ("listeners", ""),
        "Lists active connection listeners (bound interface, port, protocol) on the target node",
        "Asking node {node} to report its protocol listeners ...",
        Run::Do(listeners),
    ),
    Command::new(
        DIAGNOSTICS,
        ("memory_breakdown", "[--unit <unit>]"),
        "Provides a memory usage breakdown on the target node",
        "Reporting memory breakdown on node {node}...",
        Run::Do(memory_breakdown),
    )
    .checked(check_memory_unit),
    Command::new(
        DIAGNOSTICS,
        ("server_version", ""),
        "Displays server version on the target node",
        "Asking node {node} for its RabbitMQ version...",
        Run::Do(server_version),
    ),
];
