//! `/api/permissions`, `/api/topic-permissions`.

use serde_json::{Value as Json, json};

use crate::auth::Auth;
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::reply::{Outcome, Refused, Reply};

/// Those of users and vhosts that are `wanted`.
pub(in crate::management) fn list(auth: &Auth, of_topics: bool, wanted: impl Fn(&str, &str) -> bool) -> Vec<Json> {
    if of_topics {
        let records = auth.export_topic_permissions().into_iter();
        return records.filter(|record| wanted(&record.user, &record.vhost)).map(|record| json!(record)).collect();
    }
    let records = auth.export_permissions().into_iter();
    records.filter(|record| wanted(&record.user, &record.vhost)).map(|record| json!(record)).collect()
}

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    Level::Administrator.require(&call.user)?;
    let auth = management.broker().auth();
    let is_there = |vhost: &str, user: &str| management.broker().vhost(vhost).is_some() && auth.user(user).is_some();
    let found = |had: bool| if had { Ok(Reply::NoContent) } else { Err(Refused::no_object()) };
    match (call.method.as_str(), path) {
        (_, [kind]) => Ok(Reply::List(list(auth, *kind == "topic-permissions", |_, _| true))),
        ("PUT", [kind, vhost, user]) => {
            let of_topics = *kind == "topic-permissions";
            let keys: &[&str] =
                if of_topics { &["exchange", "write", "read"] } else { &["configure", "write", "read"] };
            let fields = call.object_with(keys)?;
            let [first, write, read] = [keys[0], keys[1], keys[2]].map(|key| fields.required(key));
            let (first, write, read) = (first?, write?, read?);
            if !is_there(vhost, user) {
                return Err(Refused::bad_request("vhost_or_user_not_found"));
            }
            if of_topics {
                // Whatever the exchange, as in RabbitMQ.
                let existed = !list(auth, true, |u, v| u == *user && v == *vhost).is_empty();
                auth.set_topic_permissions(vhost, user, first, write, read)?;
                return Ok(Reply::put(existed));
            }
            let existed = auth.access(user, vhost).is_some();
            auth.set_permissions(vhost, user, first, write, read)?;
            Ok(Reply::put(existed))
        }
        ("GET", ["permissions", vhost, user]) => {
            let mut found = list(auth, false, |u, v| u == *user && v == *vhost);
            found.pop().map(Reply::Json).ok_or_else(Refused::no_object)
        }
        ("DELETE", ["permissions", vhost, user]) => found(auth.clear_permissions(vhost, user)),
        ("GET", ["topic-permissions", vhost, user, exchange @ ..]) => {
            let mut found = list(auth, true, |u, v| u == *user && v == *vhost);
            if let [exchange] = exchange {
                found.retain(|record| record["exchange"] == *exchange);
            }
            if found.is_empty() { Err(Refused::no_object()) } else { Ok(Reply::List(found)) }
        }
        ("DELETE", ["topic-permissions", vhost, user, exchange @ ..]) => {
            found(auth.clear_topic_permissions(vhost, user, exchange.first().copied()))
        }
        _ => Err(Refused::no_object()),
    }
}
