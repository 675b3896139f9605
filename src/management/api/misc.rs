//! Feature flags, deprecated features, logins, and what a single broker has nothing to do for.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::users::whoami;
use crate::auth::{HashingAlgorithm, PasswordHash};
use crate::broker::{LoginCounts, LoginSource};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::{Call, Query};
use crate::management::http::{authenticate, no_passwords};
use crate::management::reply::{Outcome, Refused, Reply};

/// `/api/index.html`.
pub(in crate::management) const INDEX: &str = "<!DOCTYPE html>\n<title>HTTP API</title>\n<p>The management HTTP API of \
    RabbitMQ, as described at <a href=\"https://www.rabbitmq.com/docs/http-api-reference\">rabbitmq.com</a>.\n";

/// Flags of RabbitMQ that tools look at: what they stand for is always on.
const FEATURE_FLAGS: [(&str, &str); 8] = [
    (
        "detailed_queues_endpoint",
        "Add a detailed queues HTTP API endpoint. Reduce number of metrics in the default endpoint.",
    ),
    ("direct_exchange_routing_v2", "v2 direct exchange routing implementation"),
    ("drop_unroutable_metric", "Count unroutable publishes to be dropped in stats"),
    ("empty_basic_get_metric", "Count AMQP `basic.get` on empty queues in stats"),
    ("implicit_default_bindings", "Default bindings are now implicit, instead of being stored in the database"),
    ("quorum_queue", "Support queues of type `quorum`"),
    ("user_limits", "Configure connection and channel limits for a user"),
    ("virtual_host_metadata", "Virtual host metadata (description, tags, etc)"),
];

const TRANSIENT_QUEUES: &str = "transient_nonexcl_queues";

/// What RabbitMQ gives up: the name, whether it works here, and how far RabbitMQ is with it.
const DEPRECATED_FEATURES: [(&str, &str, &str); 8] = [
    ("amqp_address_v1", "denied", "denied_by_default"),
    ("amqp_filter_set_bug", "denied", "denied_by_default"),
    ("classic_queue_mirroring", "denied", "removed"),
    ("global_qos", "permitted", "denied_by_default"),
    ("management_metrics_collection", "permitted", "permitted_by_default"),
    ("queue_master_locator", "permitted", "denied_by_default"),
    ("ram_node_type", "denied", "removed"),
    (TRANSIENT_QUEUES, "permitted", "permitted_by_default"),
];

pub(in crate::management) fn serve(call: &Call, path: &[&str], management: &Management) -> Outcome {
    match path {
        ["feature-flags"] => {
            Ok(Reply::List(FEATURE_FLAGS.iter().map(|(name, desc)| feature_flag(name, desc)).collect()))
        }
        ["feature-flags", name, "enable"] => {
            Level::Administrator.require(&call.user)?;
            if FEATURE_FLAGS.iter().any(|(own, _)| own == name) {
                return Ok(Reply::NoContent);
            }
            Err(Refused::bad_request("unsupported"))
        }
        ["deprecated-features", rest @ ..] => Ok(Reply::List(deprecated_features(management, !rest.is_empty()))),
        ["auth", "hash_password", password] => {
            Level::Administrator.require(&call.user)?;
            let hash = PasswordHash::new(password, HashingAlgorithm::default()).to_base64();
            Ok(Reply::Json(json!({"ok": hash})))
        }
        ["auth", "attempts", node, ..] => {
            let is_reset = call.method == hyper::Method::DELETE;
            let level = if is_reset { Level::Administrator } else { Level::Monitoring };
            level.require(&call.user)?;
            if *node != management.node() {
                return Err(Refused::no_object());
            }
            match (is_reset, path.last()) {
                (true, _) => {
                    management.reset_logins();
                    Ok(Reply::NoContent)
                }
                (_, Some(&"source")) => Ok(Reply::Json(sources(management))),
                _ => Ok(Reply::List(attempts(management))),
            }
        }
        ["reset", node @ ..] => {
            Level::Administrator.require(&call.user)?;
            if node.first().is_some_and(|node| *node != management.node()) {
                return Err(Refused::no_object());
            }
            management.rates().reset();
            Ok(Reply::NoContent)
        }
        ["rebalance", "queues"] => {
            Level::Administrator.require(&call.user)?;
            Ok(Reply::NoContent)
        }
        _ => Err(Refused::no_object()),
    }
}

fn attempts(management: &Management) -> Vec<Json> {
    let record = |(protocol, all, refused): (&str, u64, u64)| {
        json!({
            "protocol": protocol,
            "auth_attempts": all,
            "auth_attempts_failed": refused,
            "auth_attempts_succeeded": all.saturating_sub(refused),
        })
    };
    management.logins().into_iter().filter(|(_, all, _)| *all > 0).map(record).collect()
}

/// Only while an operator wants them counted. As in RabbitMQ the list is not cut into pages.
fn sources(management: &Management) -> Json {
    let record = |(source, counts): (LoginSource, LoginCounts)| {
        json!({
            "remote_address": source.address.to_string(),
            "username": source.user,
            "protocol": source.protocol,
            "auth_attempts": counts.all,
            "auth_attempts_failed": counts.refused,
            "auth_attempts_succeeded": counts.all.saturating_sub(counts.refused),
        })
    };
    management.broker().login_sources().into_iter().map(record).collect()
}

/// Those that somebody uses, or all.
fn deprecated_features(management: &Management, only_used: bool) -> Vec<Json> {
    // The others leave no trace when they are used.
    let has_transient = || {
        let queues = management.broker().vhosts().into_iter().flat_map(|vhost| vhost.queues());
        queues.into_iter().any(|queue| !queue.options.durable && queue.options.exclusive.is_none())
    };
    let is_wanted = |name: &str| !only_used || name == TRANSIENT_QUEUES && has_transient();
    let wanted = DEPRECATED_FEATURES.iter().filter(|(name, ..)| is_wanted(name));
    wanted
        .map(|(name, state, phase)| {
            json!({
                "name": name,
                "state": state,
                "desc": "",
                "deprecation_phase": phase,
                "doc_url": "",
                "provided_by": "rabbit",
            })
        })
        .collect()
}

fn feature_flag(name: &str, desc: &str) -> Json {
    json!({
        "name": name,
        "desc": desc,
        "doc_url": "",
        "state": "enabled",
        "stability": "required",
        "require_level": "hard",
        "experiment_level": "supported",
        "callbacks": [],
        "provided_by": "rabbit",
    })
}

/// `/api/login`: a form with name and password; gives what stands in the header of later requests.
pub(in crate::management) async fn login(body: &[u8], peer: SocketAddr, management: &Management) -> Outcome {
    if management.options().basic_auth_disabled {
        return Err(no_passwords());
    }
    let form = Query::parse(&String::from_utf8_lossy(body));
    let (name, password) = (form.get("username").unwrap_or_default(), form.get("password").unwrap_or_default());
    let user = authenticate(name, password.as_bytes(), peer, management).await?;
    let token = STANDARD.encode(format!("{name}:{password}"));
    Ok(Reply::Json(json!({"user": whoami(&user, management), "token": {"type": "basic", "value": token}})))
}
