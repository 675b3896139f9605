//! `/api/health/checks`, `/api/aliveness-test`, `/api/healthchecks/node`.

use serde_json::{Value as Json, json};

use crate::management::Management;
use crate::management::call::Call;
use crate::management::reply::{Outcome, Refused, Reply};

/// Checks that load balancers make without a login. One node that answers passes all of them.
pub(in crate::management) fn is_open(check: &str) -> bool {
    ["is-in-service", "below-node-connection-limit", "ready-to-serve-clients", "reached-target-cluster-size"]
        .contains(&check)
}

pub(in crate::management) fn ok() -> Outcome {
    Ok(Reply::Json(json!({"status": "ok"})))
}

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    match path {
        ["aliveness-test", vhost] => {
            call.vhost(management, vhost)?;
            if call.may_use(management, vhost) { ok() } else { Err(Refused::not_authorised("Access refused.")) }
        }
        ["healthchecks", "node", node @ ..] => {
            if node.first().is_some_and(|node| *node != management.node()) {
                return Err(Refused::no_object());
            }
            alarms(management)
        }
        ["health", "checks", check @ ..] => serve_check(call, management, check),
        _ => Err(Refused::no_object()),
    }
}

fn serve_check(call: &Call, management: &Management, check: &[&str]) -> Outcome {
    match check {
        ["alarms" | "local-alarms"] => alarms(management),
        ["node-is-quorum-critical" | "node-is-mirror-sync-critical"] => {
            Ok(Reply::Json(json!({"status": "ok", "reason": "single node cluster"})))
        }
        // Vhosts run as long as they exist; metadata lives in this process; one node has all leaders.
        ["virtual-hosts"]
        | ["metadata-store", "initialized"]
        | ["metadata-store", "initialized", "with-data"]
        | ["quorum-queues-without-elected-leaders", "all-vhosts"]
        | ["quorum-queues-without-elected-leaders", "all-vhosts", "pattern", _] => ok(),
        ["quorum-queues-without-elected-leaders", "vhost", vhost]
        | ["quorum-queues-without-elected-leaders", "vhost", vhost, "pattern", _] => {
            call.known_vhost(management, vhost)?;
            ok()
        }
        ["port-listener", port] => {
            let port: u16 = port.parse().map_err(|_| Refused::bad_request("Invalid port"))?;
            port_listener(management, port)
        }
        ["protocol-listener", protocols] => protocol_listener(management, protocols),
        ["certificate-expiration", within, unit] => {
            within.parse::<u32>().map_err(|_| Refused::bad_request("Invalid expiration value."))?;
            if !["days", "weeks", "months", "years"].contains(unit) {
                return Err(Refused::bad_request(
                    "Time unit not recognised. Supported units: days, weeks, months, years.",
                ));
            }
            ok()
        }
        _ => Err(Refused::no_object()),
    }
}

fn alarms(management: &Management) -> Outcome {
    let alarms = management.broker().alarms();
    if alarms.is_empty() {
        return ok();
    }
    let alarm = |on: bool, resource: &str| on.then(|| json!({"node": management.node(), "resource": resource}));
    let on: Vec<Json> =
        [alarm(alarms.memory(), "memory"), alarm(alarms.disk(), "disk")].into_iter().flatten().collect();
    Ok(Reply::Failed(json!({"status": "failed", "reason": "There are alarms in effect in the cluster", "alarms": on})))
}

fn port_listener(management: &Management, port: u16) -> Outcome {
    let mut ports: Vec<u16> = management.options().listeners.iter().map(|listener| listener.address.port()).collect();
    if ports.contains(&port) {
        return Ok(Reply::Json(json!({"status": "ok", "port": port})));
    }
    ports.dedup();
    let failed = json!({"status": "failed", "reason": "No active listener", "missing": port, "ports": ports});
    Ok(Reply::Failed(failed))
}

/// RabbitMQ's other names of a protocol.
fn protocol_name(given: &str) -> &str {
    match given.trim() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" | "amqp" => "amqp",
        "amqps" | "amqp/ssl" => "amqp/ssl",
        "management" | "http" => "http",
        other => other,
    }
}

fn protocol_listener(management: &Management, protocols: &str) -> Outcome {
    let mut active: Vec<&str> = management.options().listeners.iter().map(|listener| listener.protocol).collect();
    active.sort_unstable();
    active.dedup();
    let missing: Vec<&str> =
        protocols.split(',').filter(|protocol| !active.contains(&protocol_name(protocol))).collect();
    if missing.is_empty() {
        return Ok(Reply::Json(json!({"status": "ok", "protocols": active})));
    }
    let failed = json!({"status": "failed", "reason": "No active listener", "missing": missing, "protocols": active});
    Ok(Reply::Failed(failed))
}
