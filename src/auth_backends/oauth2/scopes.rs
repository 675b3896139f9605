//! The scopes of a token: what its claims say, in all the places where they may say it, with the prefix taken off.

use serde_json::Value as Json;

use super::ResourceServer;
use super::token::Claims;

/// A token with more of them is refused.
const SCOPES_MAX: usize = 2048;

/// Where a requesting party token has its scopes.
const REQUESTING_PARTY_TOKEN: &str = "authorization.permissions.scopes";

/// How deep a path into the claims may go.
const PATH_MAX: usize = 16;

/// Sorted, each once. `None`: there are too many.
pub(super) fn scopes(server: &ResourceServer, claims: &Claims) -> Option<Vec<String>> {
    let mut scopes = words(claims.get("scope"));
    found(server, claims, REQUESTING_PARTY_TOKEN, &mut scopes);
    for path in server.additional_scopes_key.iter().flat_map(|paths| paths.split_whitespace()) {
        found(server, claims, path, &mut scopes);
    }
    let aliases = scopes.iter().filter_map(|scope| server.scope_aliases.get(scope));
    let meant: Vec<String> = aliases.flatten().cloned().collect();
    scopes.extend(meant);
    authorization_details(server, claims, &mut scopes);
    let prefix = server.scope_prefix();
    let mut scopes: Vec<String> =
        scopes.iter().filter_map(|scope| scope.strip_prefix(&*prefix)).map(str::to_owned).collect();
    scopes.sort_unstable();
    scopes.dedup();
    (scopes.len() <= SCOPES_MAX).then_some(scopes)
}

/// The tags among scopes.
pub(super) fn tags(scopes: &[String]) -> Vec<String> {
    let tags = scopes.iter().filter_map(|scope| scope.strip_prefix("tag:"));
    tags.filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// A list of texts, or a text with spaces between them.
fn words(value: Option<&Json>) -> Vec<String> {
    match value {
        Some(Json::String(text)) => text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Adds what stands at the end of a path of keys with dots between them. On its way it goes through every object of a list.
fn found(server: &ResourceServer, claims: &Claims, path: &str, scopes: &mut Vec<String>) {
    let keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).take(PATH_MAX).collect();
    let Some((first, rest)) = keys.split_first() else { return };
    if let Some(value) = claims.get(*first) {
        walk(server, value, rest, scopes);
    }
}

fn walk(server: &ResourceServer, value: &Json, keys: &[&str], scopes: &mut Vec<String>) {
    let Some((key, rest)) = keys.split_first() else {
        return match value {
            // Scopes of this resource server, without its prefix.
            Json::Object(by_server) => {
                let own = words(by_server.get(&server.id));
                scopes.extend(own.into_iter().map(|scope| format!("{}.{scope}", server.id)));
            }
            other => scopes.extend(words(Some(other))),
        };
    };
    match value {
        Json::Object(object) => {
            if let Some(value) = object.get(*key) {
                walk(server, value, rest, scopes);
            }
        }
        Json::Array(list) => {
            for object in list.iter().filter_map(Json::as_object) {
                if let Some(value) = object.get(*key) {
                    walk(server, value, rest, scopes);
                }
            }
        }
        _ => {}
    }
}

/// Adds what rich authorization requests (RFC 9396) of the resource server's type grant.
fn authorization_details(server: &ResourceServer, claims: &Claims, scopes: &mut Vec<String>) {
    const TAGS: [&str; 4] = ["monitoring", "administrator", "management", "policymaker"];
    const RIGHTS: [&str; 3] = ["configure", "write", "read"];
    let Some(kind) = server.resource_server_type.as_deref().filter(|kind| !kind.is_empty()) else { return };
    let Some(details) = claims.get("authorization_details").and_then(Json::as_array) else { return };
    for detail in details.iter().filter(|detail| detail.get("type").and_then(Json::as_str) == Some(kind)) {
        let (Some(actions), Some(locations)) = (detail.get("actions"), detail.get("locations")) else { continue };
        let places: Vec<String> = listed(locations).iter().filter_map(|location| place(server, location)).collect();
        if places.is_empty() {
            continue;
        }
        for action in listed(actions) {
            if TAGS.contains(&action) {
                scopes.push(format!("{}.tag:{action}", server.id));
            } else if RIGHTS.contains(&action) {
                scopes.extend(places.iter().map(|place| format!("{}.{action}:{place}", server.id)));
            }
            // There may be as many as actions times places.
            if scopes.len() > SCOPES_MAX * 2 {
                return;
            }
        }
    }
}

/// A text alone, or those of a list.
fn listed(value: &Json) -> Vec<&str> {
    match value {
        Json::String(text) => vec![text],
        Json::Array(list) => list.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// `cluster:<pattern>/vhost:<pattern>/queue:<pattern>/...`, as a scope has it. `None`: it is not of this cluster, or of a
/// queue and an exchange of different names.
fn place(server: &ResourceServer, location: &str) -> Option<String> {
    let attribute = |wanted: &str| {
        let pairs = location.split('/').filter_map(|pair| pair.split_once(':'));
        let value = pairs.filter(|(key, _)| *key == wanted).map(|(_, value)| value).next_back()?;
        // As RabbitMQ: what comes behind a second colon is not looked at.
        value.split(':').find(|part| !part.is_empty())
    };
    if !super::grants::is_match(attribute("cluster")?, &server.id) {
        return None;
    }
    let (queue, exchange) = (attribute("queue"), attribute("exchange"));
    if let (Some(queue), Some(exchange)) = (queue, exchange)
        && queue != exchange
    {
        return None;
    }
    let name = queue.or(exchange).unwrap_or("*");
    Some(format!("{}/{name}/{}", attribute("vhost").unwrap_or("*"), attribute("routing-key").unwrap_or("*")))
}
