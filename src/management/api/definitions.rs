//! `/api/definitions`: export and import.

use serde_json::{Map, Value as Json, json};

use crate::broker::{DefinitionsError, Vhost};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::reply::{Outcome, Refused, Reply};

/// What an export of one vhost has of that of all.
const OF_VHOST: [&str; 5] = ["parameters", "policies", "queues", "exchanges", "bindings"];

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    Level::Administrator.require(&call.user)?;
    let broker = management.broker();
    let vhost = match path {
        [_, vhost] => Some(broker.vhost(vhost).ok_or_else(|| match call.method.as_str() {
            "GET" => Refused::bad_request("vhost_not_found"),
            _ => Refused::not_found("vhost_not_found"),
        })?),
        _ => None,
    };
    match (call.method.as_str(), vhost) {
        ("GET", None) => {
            let mut all = broker.export_definitions();
            all["original_cluster_name"] = super::nodes::cluster_name(management).into();
            all["explanation"] = format!("Definitions of cluster '{}'", super::nodes::cluster_name(management)).into();
            Ok(Reply::Json(all))
        }
        ("GET", Some(vhost)) => Ok(Reply::Json(of_vhost(broker.export_definitions(), &vhost))),
        (_, vhost) => import(call, management, vhost.as_deref()),
    }
}

fn of_vhost(mut all: Json, vhost: &Vhost) -> Json {
    let name = &**vhost.name();
    let own = all["vhosts"].as_array().and_then(|vhosts| vhosts.iter().find(|record| record["name"] == name)).cloned();
    let own = own.unwrap_or_default();
    let mut export = json!({
        "rabbitmq_definition_format": "single_virtual_host",
        "original_vhost_name": name,
        "explanation": format!("Definitions of virtual host '{name}'"),
        "description": own["metadata"]["description"],
        "metadata": own["metadata"],
        "limits": own["limits"],
    });
    for key in ["rabbit_version", "rabbitmq_version", "product_name", "product_version"] {
        export[key] = all[key].take();
    }
    for key in OF_VHOST {
        let mut records = all[key].as_array().cloned().unwrap_or_default();
        records.retain(|record| record["vhost"] == name);
        for record in records.iter_mut().filter_map(Json::as_object_mut) {
            record.remove("vhost");
        }
        export[key] = records.into();
    }
    export
}

fn import(call: &Call, management: &Management, vhost: Option<&Vhost>) -> Outcome {
    let broken = || Refused::bad_request("failed_to_parse_json");
    let uploaded = uploaded(call).ok_or_else(broken)?;
    let mut definitions: Map<String, Json> = serde_json::from_slice(uploaded).map_err(|_| broken())?;
    if let Some(vhost) = vhost {
        // What belongs to all vhosts is not for a file of one.
        definitions.retain(|key, _| OF_VHOST.contains(&key.as_str()));
        for records in definitions.values_mut().filter_map(Json::as_array_mut) {
            for record in records.iter_mut().filter_map(Json::as_object_mut) {
                record.insert("vhost".to_owned(), (**vhost.name()).into());
            }
        }
    }
    let text = Json::Object(definitions).to_string();
    management.broker().import_definitions(&text).map_err(|error: DefinitionsError| match error {
        DefinitionsError::VhostMissing { vhost, .. } => {
            Refused::bad_request(format!("Please create virtual host \"{vhost}\" prior to importing definitions."))
        }
        other => Refused::bad_request(other.to_string()),
    })?;
    Ok(Reply::NoContent)
}

/// The JSON itself, or the file that a form uploads.
fn uploaded(call: &Call) -> Option<&[u8]> {
    let body = &call.body[..];
    let Some((_, boundary)) = call.content_type.split_once("boundary=") else { return Some(body) };
    if !call.content_type.to_ascii_lowercase().starts_with("multipart/form-data") {
        return Some(body);
    }
    let boundary = format!("--{}", boundary.split(';').next()?.trim().trim_matches('"'));
    let mut rest = after(body, boundary.as_bytes())?;
    while let Some(part) = after(rest, b"\r\n\r\n") {
        let head = &rest[..rest.len() - part.len()];
        let end = find(part, boundary.as_bytes())?;
        if find(head, b"name=\"file\"").is_some() {
            return part.get(..end)?.strip_suffix(b"\r\n");
        }
        rest = part.get(end + boundary.len()..)?;
    }
    None
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    text.get(find(text, what)? + what.len()..)
}
