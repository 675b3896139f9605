//! Health checks: what probes of containers ask. Exit code 69 for ill health.

use serde_json::Value as Json;

use super::broker::{Broker, Response};
use super::failure::{Failure, UNAVAILABLE};
use super::line::Line;
use super::output::Outcome;
use super::status::Listener;
use super::table::{BOTH, CTL, Command, DIAGNOSTICS, Run, Tool};

const CLUSTER_CHECKERS: &[Tool] = &[Tool::Ctl, Tool::Diagnostics, Tool::Upgrade];
const CHECKERS: &[Tool] = &[Tool::Diagnostics, Tool::Queues];

const UNITS: [&str; 4] = ["days", "weeks", "months", "years"];

/// What a check of the API says: 503 is ill health.
fn check(broker: &Broker, path: &str) -> Result<Response, Failure> {
    let response = broker.send(hyper::Method::GET, &format!("health/checks/{path}"), &Json::Null)?;
    if response.is_success() || response.status == 503 { Ok(response) } else { Err(response.refusal()) }
}

fn ping(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    broker.ping()?;
    Ok(Outcome::said("Ping succeeded"))
}

fn check_running(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let node = broker.node();
    if check(broker, "is-in-service")?.is_success() {
        return Ok(Outcome::said(format!("RabbitMQ on node {node} is fully booted and running")));
    }
    Err(Failure::error(UNAVAILABLE, format!("RabbitMQ on node {node} is not running or has not fully booted yet")))
}

fn is_booting(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let node = broker.node();
    Ok(Outcome::said(format!(
        "RabbitMQ on node {node} is fully booted (check with is_running), stopped or has not started booting yet"
    )))
}

/// Alarms in RabbitMQ's words.
fn alarms_of(response: &Response) -> Vec<String> {
    let alarms = response.json["alarms"].as_array();
    let told = alarms.into_iter().flatten().map(|alarm| {
        let what = match alarm["resource"].as_str() {
            Some("disk") => "Free disk space",
            _ => "Memory",
        };
        format!("{what} alarm on node {}", alarm["node"].as_str().unwrap_or_default())
    });
    told.collect()
}

/// The sentence for good health, and whether ill health ends in a failure.
fn alarms(broker: &Broker, path: &str, good: &str, ill_fails: bool) -> Result<Outcome, Failure> {
    let response = check(broker, path)?;
    let node = broker.node();
    if response.is_success() {
        return Ok(Outcome::Said(
            format!("Node {node} reported no {good}"),
            serde_json::json!({"result": "ok", "node": node, "alarms": []}),
        ));
    }
    let text = format!("Node {node} reported alarms:\n\n{}", alarms_of(&response).join("\n"));
    if ill_fails {
        return Err(Failure::error(UNAVAILABLE, text));
    }
    let json = serde_json::json!({"result": "ok", "node": node, "alarms": response.json["alarms"]});
    Ok(Outcome::Said(text, json))
}

fn check_alarms(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    alarms(broker, "alarms", "alarms, local or clusterwide", true)
}

fn check_local_alarms(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    alarms(broker, "local-alarms", "local alarms", true)
}

fn list_alarms(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    alarms(broker, "alarms", "alarms, local or clusterwide", false)
}

fn check_port_argument(line: &Line) -> Result<(), Failure> {
    match line.text("port").parse::<u16>() {
        Ok(port) if port > 0 => Ok(()),
        _ => Err(Failure::bad_argument("Bad argument: Argument must be a positive integer")),
    }
}

fn check_port(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (port, node) = (line.text("port"), broker.node());
    let response = check(broker, &format!("port-listener/{port}"))?;
    if response.is_success() {
        return Ok(Outcome::passed(format!("A listener for port {port} is running on node {node}.")));
    }
    let ports = joined(&response.json["ports"]);
    let text = format!(
        "No listener for port {port} is active on node {node}. Found listeners that use the following ports: {ports}"
    );
    Err(Failure::plain(UNAVAILABLE, text))
}

fn check_protocol(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (protocol, node) = (line.text("protocol"), broker.node());
    let response = check(broker, &format!("protocol-listener/{}", crate::management::percent_encoded(protocol)))?;
    if response.is_success() {
        return Ok(Outcome::passed(format!("A listener for protocol {protocol} is running on node {node}.")));
    }
    let protocols = joined(&response.json["protocols"]);
    let text = format!(
        "No listener for protocol {protocol} is active on node {node}. Found listeners for the following protocols: \
         {protocols}"
    );
    Err(Failure::error(UNAVAILABLE, text))
}

fn joined(values: &Json) -> String {
    let values = values.as_array().into_iter().flatten();
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    values.map(text).collect::<Vec<_>>().join(", ")
}

/// Connects from here to every port that the broker listens on.
fn check_connectivity(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let node = broker.node();
    let listeners = Listener::all(broker)?;
    let (mut reached, mut missed) = (Vec::new(), Vec::new());
    for listener in &listeners {
        let address = listener.reachable(broker.host());
        if !line.is_quiet() {
            line.announce(&format!("Will connect to {address}"));
        }
        let list = if broker.can_connect(&address) { &mut reached } else { &mut missed };
        list.push(listener.port.to_string());
    }
    if missed.is_empty() {
        return Ok(Outcome::passed(format!("Successfully connected to ports {} on node {node}.", reached.join(", "))));
    }
    let text = format!("Connection attempts failed on ports {} of node {node}", missed.join(", "));
    Err(Failure::error(UNAVAILABLE, text))
}

fn check_vhosts(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let node = broker.node();
    if check(broker, "virtual-hosts")?.is_success() {
        return Ok(Outcome::passed(format!("Node {node} reported all vhosts as running")));
    }
    Err(Failure::error(UNAVAILABLE, format!("Some virtual hosts on node {node} are down")))
}

fn check_unit(line: &Line) -> Result<(), Failure> {
    match line.get("unit") {
        Some(unit) if !UNITS.contains(&unit) => Err(Failure::arguments(format!(
            "\"unit '{unit}' is not supported. Please use one of: {}\"",
            UNITS.join(", ")
        ))),
        _ => Ok(()),
    }
}

fn check_certificates(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let (within, unit) = (line.number("within").unwrap_or(4), line.get("unit").unwrap_or("weeks"));
    let response = check(broker, &format!("certificate-expiration/{within}/{unit}"))?;
    let unit = if within == 1 { unit.trim_end_matches('s') } else { unit };
    if response.is_success() {
        return Ok(Outcome::passed(format!("No certificates are expiring within {within} {unit}.")));
    }
    Err(Failure::error(UNAVAILABLE, response.json["reason"].as_str().unwrap_or("Certificates expire").to_owned()))
}

fn check_quorum(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let node = broker.node();
    if check(broker, "node-is-quorum-critical")?.is_success() {
        return Ok(Outcome::passed(format!(
            "Node {node} seems to be the only one in a single node cluster, the check does not apply"
        )));
    }
    Err(Failure::error(UNAVAILABLE, format!("Node {node} is critical for the quorum of some queues")))
}

fn check_metadata(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    check(broker, "metadata-store/initialized")?;
    Ok(Outcome::passed(format!("Metadata store on node {} has completed its initialization", broker.node())))
}

fn check_synced(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    Ok(Outcome::passed(format!("All replicas of node {} have finished their initial sync", broker.node())))
}

fn check_cluster_size(_: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    check(broker, "reached-target-cluster-size")?;
    Ok(Outcome::passed(format!("Target cluster size has been reached on node {}", broker.node())))
}

const IS_RUNNING: &str = "Asking node {node} for its status ...";
const METADATA: &str = "Checking if metadata store on node {node} has finished initializing ...";

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        BOTH,
        ("ping", ""),
        "Checks that the broker's process is up and answers",
        "Will ping {node}. This only checks if the OS process is running and answers. Timeout: {ms} ms.",
        Run::Do(ping),
    ),
    Command::new(
        DIAGNOSTICS,
        ("alarms", ""),
        "Lists resource alarms (local or cluster-wide) in effect on the target node",
        "Asking node {node} to report any known resource alarms ...",
        Run::Do(list_alarms),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_alarms", ""),
        "Health check that exits with a non-zero code if the target node reports any alarms, local or cluster-wide",
        "Asking node {node} to report any local resource alarms ...",
        Run::Do(check_alarms),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_certificate_expiration", "[--within <period>] [--unit <unit>]"),
        "Checks the expiration date of every certificate of the node",
        "Checking certificate expiration for all certificates on node {node} ...",
        Run::Do(check_certificates),
    )
    .checked(check_unit),
    Command::new(
        DIAGNOSTICS,
        ("check_if_metadata_store_is_initialized", ""),
        "Health check that exits with a non-zero code if the metadata store has not yet finished initializing",
        METADATA,
        Run::Do(check_metadata),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_if_metadata_store_is_initialized_with_data", ""),
        "Health check that exits with a non-zero code if the metadata store has not yet finished initializing",
        METADATA,
        Run::Do(check_metadata),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_if_new_quorum_queue_replicas_have_finished_initial_sync", ""),
        "Health check that exits with a non-zero code if replicas are still catching up",
        "Checking if there are new quorum queue replicas on node {node} ...",
        Run::Do(check_synced),
    ),
    Command::new(
        CHECKERS,
        ("check_if_node_is_quorum_critical", ""),
        "Health check that exits with a non-zero code if queues would lose their quorum without the node",
        "Checking if node {node} is critical for quorum of any queues/streams ...",
        Run::Do(check_quorum),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_local_alarms", ""),
        "Health check that exits with a non-zero code if the target node has any local alarms",
        "Asking node {node} to report any local resource alarms ...",
        Run::Do(check_local_alarms),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_port_connectivity", ""),
        "Basic TCP connectivity health check for each listener's port on the target node",
        "Testing TCP connections to all active listeners on node {node} ...",
        Run::Do(check_connectivity),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_port_listener", "<port>"),
        "Health check that exits with a non-zero code if target node does not have an active listener for given port",
        "Asking node {node} if there's an active listener on port {port} ...",
        Run::Do(check_port),
    )
    .checked(check_port_argument),
    Command::new(
        DIAGNOSTICS,
        ("check_protocol_listener", "<protocol>"),
        "Health check that exits with a non-zero code if target node does not have an active listener for given protocol",
        "Asking node {node} if there's an active listener for protocol {protocol} ...",
        Run::Do(check_protocol),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_running", ""),
        "Health check that exits with a non-zero code if the broker on the target node is not running",
        "Checking if RabbitMQ is running on node {node} ...",
        Run::Do(check_running),
    ),
    Command::new(
        DIAGNOSTICS,
        ("check_virtual_hosts", ""),
        "Health check that checks if all vhosts are running in the target node",
        "Checking if all vhosts are running on node {node} ...",
        Run::Do(check_vhosts),
    ),
    Command::new(
        CLUSTER_CHECKERS,
        ("has_reached_target_cluster_size", ""),
        "Health check that exits with a non-zero code if the cluster has not yet reached its target size",
        "Checking if target cluster size has been reached on node {node} ...",
        Run::Do(check_cluster_size),
    ),
    Command::new(
        DIAGNOSTICS,
        ("is_booting", ""),
        "Checks if the broker is still booting on the target node",
        "Asking node {node} for its boot status ...",
        Run::Do(is_booting),
    ),
    Command::new(
        DIAGNOSTICS,
        ("is_running", ""),
        "Checks if the broker is fully booted and running on the target node",
        IS_RUNNING,
        Run::Do(check_running),
    ),
    Command::new(
        CTL,
        ("node_health_check", ""),
        "Deprecated, as in RabbitMQ: use the checks of rabbitmq-diagnostics",
        "This command is DEPRECATED and is a no-op. It will be removed in a future version. \nUse one of the options covered \
         in https://www.rabbitmq.com/monitoring.html#health-checks instead.",
        Run::Alone(nothing),
    ),
];

fn nothing(_: &Line) -> Result<Outcome, Failure> {
    Ok(Outcome::Done)
}
