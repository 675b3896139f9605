//! All paths: which methods each takes, and who serves it. The two tables say the same, which a test checks.

use std::net::SocketAddr;

use super::Management;
use super::api;
use super::call::Call;
use super::reply::{Outcome, Refused, Reply};

/// The methods of a path below `/api`, HEAD and OPTIONS aside; `None`: there is no such path.
pub(super) fn methods(path: &[&str]) -> Option<&'static str> {
    Some(match path {
        ["whoami" | "overview" | "nodes" | "extensions" | "users" | "permissions" | "topic-permissions" | "vhosts"]
        | ["version" | "index.html"]
        | ["connections" | "channels" | "consumers" | "exchanges" | "queues" | "bindings"]
        | ["policies" | "operator-policies" | "parameters" | "global-parameters" | "vhost-limits" | "user-limits"]
        | ["feature-flags" | "deprecated-features"]
        | ["nodes", _]
        | ["nodes", _, "memory"]
        | ["nodes", _, "memory", "relative" | "ets"]
        | ["config", "effective"]
        | ["deprecated-features", "used"]
        | ["users", "without-permissions"]
        | ["users", _, "permissions" | "topic-permissions" | "queues"]
        | ["vhosts", _, "permissions" | "topic-permissions" | "connections" | "channels"]
        | ["auth", "hash_password", _]
        | ["connections", _, "channels" | "sessions"]
        | ["channels", _]
        | ["consumers", _]
        | ["exchanges", _]
        | ["exchanges", _, _, "bindings", "source" | "destination"]
        | ["queues", _]
        | ["queues", _, _, "bindings"]
        | ["bindings", _]
        | ["policies" | "operator-policies" | "vhost-limits" | "user-limits", _]
        | ["parameters", _]
        | ["parameters", _, _]
        | ["aliveness-test", _]
        | ["healthchecks", "node"]
        | ["healthchecks", "node", _]
        | ["health", "checks", ..] => "GET",
        ["nodes", _, "vm_memory_high_watermark" | "disk_free_limit" | "log_level" | "track_auth_attempt_source"] => {
            "PUT"
        }
        ["cluster-name"] => "GET PUT",
        ["definitions" | "all-configuration"] | ["definitions", _] => "GET POST",
        ["users", "bulk-delete"] | ["login"] | ["rebalance", "queues"] => "POST",
        ["vhosts", _]
        | ["users", _]
        | ["permissions", _, _]
        | ["topic-permissions", _, _]
        | ["exchanges", _, _]
        | ["queues", _, _]
        | ["policies" | "operator-policies", _, _]
        | ["parameters", _, _, _]
        | ["global-parameters", _] => "GET PUT DELETE",
        ["topic-permissions", _, _, _]
        | ["connections", _]
        | ["connections", "username", _]
        | ["auth", "attempts", _]
        | ["auth", "attempts", _, "source"]
        | ["bindings", _, "e", _, "q" | "e", _, _] => "GET DELETE",
        ["vhosts", _, "deletion", "protection"] => "POST DELETE",
        ["vhosts", _, "start", _] | ["exchanges", _, _, "publish"] | ["queues", _, _, "get" | "actions" | "move"] => {
            "POST"
        }
        ["queues", _, _, "contents"] | ["reset"] | ["reset", _] => "DELETE",
        ["bindings", _, "e", _, "q" | "e", _] => "GET POST",
        ["vhost-limits" | "user-limits", _, _] => "PUT DELETE",
        ["feature-flags", _, "enable"] => "PUT",
        _ => return None,
    })
}

/// No login is asked for.
pub(super) fn is_open(path: &[String]) -> bool {
    match path {
        [only] => ["login", "index.html", "version"].contains(&only.as_str()),
        [health, checks, check] => health == "health" && checks == "checks" && api::health::is_open(check),
        _ => false,
    }
}

/// Serves what needs no login.
pub(super) async fn open(path: &[String], body: &[u8], peer: SocketAddr, management: &Management) -> Outcome {
    match path {
        [only] if only == "login" => api::misc::login(body, peer, management).await,
        [_, _, _] => api::health::ok(),
        [only] if only == "version" => Ok(Reply::Json(crate::broker::RABBITMQ_VERSION.into())),
        _ => Ok(Reply::Text("text/html", api::misc::INDEX.to_owned())),
    }
}

/// Serves a call whose method its path takes.
pub(super) async fn serve(call: &Call, management: &Management) -> Outcome {
    let names: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let m = management;
    match (call.method.as_str(), &names[..]) {
        (_, ["whoami"]) => Ok(Reply::Json(api::users::whoami(&call.user, m))),
        (_, ["overview"]) => api::overview::overview(call, m).await,
        (_, ["nodes" | "cluster-name" | "extensions" | "config", ..]) => api::nodes::serve(call, m, &names).await,
        (_, ["vhosts", _, "connections" | "channels"]) => api::connections::serve(call, m, &names).await,
        (_, ["vhosts", ..]) => api::vhosts::serve(call, m, &names).await,
        (_, ["users", _, "queues"]) => api::queues::serve(call, m, &names).await,
        (_, ["users", ..]) => api::users::serve(call, m, &names),
        (_, ["permissions" | "topic-permissions", ..]) => api::permissions::serve(call, m, &names),
        (_, ["exchanges", ..]) => api::exchanges::serve(call, m, &names).await,
        (_, ["queues", _, _, "get"]) => api::messages::get(call, m, &names).await,
        (_, ["queues", _, _, "move"]) => api::moving::serve(call, m, &names).await,
        (_, ["queues", ..]) => api::queues::serve(call, m, &names).await,
        (_, ["bindings", ..]) => api::bindings::serve(call, m, &names).await,
        (_, ["connections" | "channels" | "consumers", ..]) => api::connections::serve(call, m, &names).await,
        (_, ["policies" | "operator-policies", ..]) => api::policies::serve(call, m, &names),
        (_, ["parameters" | "global-parameters", ..]) => api::parameters::serve(call, m, &names),
        (_, ["vhost-limits" | "user-limits", ..]) => api::limits::serve(call, m, &names),
        (_, ["definitions" | "all-configuration", ..]) => api::definitions::serve(call, m, &names),
        (_, ["aliveness-test" | "healthchecks" | "health", ..]) => api::health::serve(call, m, &names),
        (_, ["feature-flags" | "deprecated-features" | "auth" | "reset" | "rebalance", ..]) => {
            api::misc::serve(call, &names, m)
        }
        _ => Err(Refused::no_object()),
    }
}
