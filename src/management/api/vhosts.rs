//! `/api/vhosts`.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::permissions;
use crate::broker::{DeleteVhostError, Vhost};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::{Call, Fields};
use crate::management::list;
use crate::management::ranges::{Ranges, put, put_message_stats};
use crate::management::record::{Columns, Record};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::{DELIVERED, PUBLISHED, VHOST_LENGTHS, VHOST_OCTETS, VhostSample};

/// What `default_queue_type` may be.
const QUEUE_TYPES: [&str; 3] = ["classic", "quorum", "stream"];

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    if let ["vhosts"] = path {
        let (vhosts, ranges) = (call.known_vhosts(management), call.ranges()?);
        let samples = management.vhost_samples(&vhosts).await;
        let write = |(vhost, now): &(&Arc<Vhost>, VhostSample), out: &mut Vec<u8>, columns: Columns<'_>| {
            Record::write(out, columns, |record| put_counted(record, management, vhost, now, ranges));
        };
        let with: Vec<_> = vhosts.iter().zip(samples).collect();
        return list::shape_items(with, &call.query, |(vhost, _)| Cow::Borrowed(vhost.name()), write).await;
    }
    Level::Administrator.require(&call.user)?;
    let broker = management.broker();
    let name = path.get(1).copied().unwrap_or_default();
    let vhost = broker.vhost(name);
    match (call.method.as_str(), path) {
        ("PUT", ["vhosts", _]) => put_vhost(call, management, name, vhost.is_some()),
        ("GET", ["vhosts", _]) => {
            let (vhost, ranges) = (vhost.ok_or_else(Refused::no_object)?, call.ranges()?);
            let samples = management.vhost_samples(std::slice::from_ref(&vhost)).await;
            let now = samples.first().ok_or_else(Refused::no_object)?;
            Ok(Reply::Written(Record::written(&call.query, |record| {
                put_counted(record, management, &vhost, now, ranges)
            })))
        }
        ("DELETE", ["vhosts", _]) => {
            broker.delete_vhost(name).map_err(|error| match error {
                DeleteVhostError::Protected(name) => Refused::precondition_failed(format!(
                    "Refusing to delete virtual host '{name}' because it is protected from deletion"
                )),
                _ => Refused::no_object(),
            })?;
            Ok(Reply::NoContent)
        }
        ("GET", ["vhosts", _, kind]) => {
            vhost.ok_or_else(Refused::no_object)?;
            Ok(Reply::List(permissions::list(broker.auth(), *kind == "topic-permissions", |_, own| own == name)))
        }
        (method, ["vhosts", _, "deletion", "protection"]) => {
            let is_protected = method == "POST";
            let vhost = vhost.ok_or_else(Refused::no_object)?;
            vhost.change_settings(|settings| settings.protected_from_deletion = is_protected);
            Ok(Reply::NoContent)
        }
        // One that exists is running.
        (_, ["vhosts", _, "start", node]) if *node == management.node() => {
            vhost.ok_or_else(Refused::no_object)?;
            Ok(Reply::NoContent)
        }
        _ => Err(Refused::no_object()),
    }
}

fn put_counted(record: &mut Record<'_>, management: &Management, vhost: &Vhost, now: &VhostSample, ranges: Ranges) {
    let settings = vhost.settings();
    let default_type = settings.default_queue_type.as_deref().unwrap_or("classic");
    record.put("name", &**vhost.name());
    record.put("description", &settings.description);
    record.put("tags", &settings.tags);
    record.put("default_queue_type", default_type);
    record.put("protected_from_deletion", settings.protected_from_deletion);
    record.object("metadata", |metadata| {
        metadata.put("description", &settings.description);
        metadata.put("tags", &settings.tags);
        metadata.put("default_queue_type", default_type);
        metadata.put_some("protected_from_deletion", settings.protected_from_deletion.then_some(true));
    });
    record.put("tracing", vhost.is_tracing());
    record.json("cluster_state", || json!({management.node(): "running"}));
    let now = &now.values;
    management.rates().of_vhost(vhost.name(), |past| {
        put(record, &VHOST_LENGTHS, now, past, ranges.lengths);
        put(record, &VHOST_OCTETS, now, past, ranges.data_rates);
        put_message_stats(record, &[&PUBLISHED, &DELIVERED], now, past, ranges.msg_rates);
    });
}

fn put_vhost(call: &Call, management: &Management, name: &str, existed: bool) -> Outcome {
    let fields = call.object()?;
    let default_type = match fields.text("default_queue_type")? {
        None => fields.text("defaultqueuetype")?,
        given => given,
    };
    if let Some(unknown) = default_type.filter(|given| !QUEUE_TYPES.contains(given)) {
        return Err(Refused::bad_request(format!("{unknown} is not a valid queue type")));
    }
    let (description, tags) = (fields.text("description")?.unwrap_or_default(), tags(&fields)?);
    let tracing = fields.get("tracing").map(|_| fields.flag("tracing")).transpose()?;
    let protected =
        fields.get("protected_from_deletion").map(|_| fields.flag("protected_from_deletion")).transpose()?;
    let vhost = management.broker().add_vhost(name);
    vhost.change_settings(|settings| {
        settings.description = description.to_owned();
        settings.tags = tags;
        // A new one may have begun with one.
        let own = settings.default_queue_type.take().filter(|_| !existed);
        settings.default_queue_type = default_type.map(Into::into).or(own);
        settings.protected_from_deletion = protected.unwrap_or(settings.protected_from_deletion);
    });
    if let Some(tracing) = tracing {
        vhost.set_tracing(tracing);
    }
    if !existed && !call.user.is_operator() {
        // RabbitMQ's API gives whoever makes a vhost all permissions there, its command line nobody.
        management.broker().auth().set_permissions(name, &call.user.name, ".*", ".*", ".*")?;
    }
    Ok(Reply::put(existed))
}

fn tags(fields: &Fields) -> Result<Vec<String>, Refused> {
    let trimmed = |text: &str| Some(text.trim().to_owned()).filter(|tag| !tag.is_empty());
    match fields.get("tags") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(text)) => Ok(text.split(',').filter_map(trimmed).collect()),
        Some(Json::Array(values)) => Ok(values.iter().filter_map(Json::as_str).filter_map(trimmed).collect()),
        Some(other) => Err(Refused::bad_value("bad_tags", other.clone())),
    }
}
