//! `/api/vhost-limits`, `/api/user-limits`.

use serde_json::{Map, Value as Json, json};

use crate::auth::{AuthError, UserLimits};
use crate::broker::Vhost;
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::reply::{Outcome, Refused, Reply};

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    if path[0] == "vhost-limits" {
        of_vhosts(call, management, &path[1..])
    } else {
        of_users(call, management, &path[1..])
    }
}

fn limits_of(management: &Management, vhost: &Vhost) -> Map<String, Json> {
    let parameters = management.broker().parameters(vhost).into_iter();
    let limits = parameters.filter(|parameter| parameter.component == "vhost-limits").map(|parameter| parameter.value);
    limits.filter_map(|value| value.as_object().cloned()).next().unwrap_or_default()
}

fn of_vhosts(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let [vhost, name] = path else {
        let vhosts = match path {
            [name, ..] => vec![call.known_vhost(management, name)?],
            [] => call.known_vhosts(management),
        };
        let record = |vhost: &std::sync::Arc<Vhost>| {
            let limits = limits_of(management, vhost);
            (!limits.is_empty()).then(|| json!({"vhost": **vhost.name(), "value": limits}))
        };
        return Ok(Reply::List(vhosts.iter().filter_map(record).collect()));
    };
    Level::Administrator.require(&call.user)?;
    let vhost = call.vhost(management, vhost)?;
    let mut limits = limits_of(management, &vhost);
    if call.method == hyper::Method::PUT {
        let value = call.object_with(&["value"])?.0.remove("value").unwrap_or_default();
        limits.insert((*name).to_owned(), value);
    } else {
        limits.remove(*name);
    }
    let set = management.broker().set_parameter(&vhost, "vhost-limits", "limits", Json::Object(limits));
    set.map_err(|error| Refused::validation_failed(&error))?;
    Ok(Reply::NoContent)
}

fn of_users(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let own = matches!(path, [name] if *name == call.user.name);
    if let [_] = path {
        if !own && !call.is_monitor() {
            return Err(Refused::not_authorised("User not authorised to access object"));
        }
    } else {
        Level::Administrator.require(&call.user)?;
    }
    let auth = management.broker().auth();
    let record = |name: &str, limits: UserLimits| {
        (limits != UserLimits::default()).then(|| json!({"user": name, "value": limits}))
    };
    let [name, limit] = path else {
        let mut users = auth.users();
        if let [name] = path {
            users.retain(|user| user.name == *name);
            if users.is_empty() {
                return Err(Refused::no_object());
            }
        }
        return Ok(Reply::List(users.iter().filter_map(|user| record(&user.name, user.limits)).collect()));
    };
    let user = auth.user(name).ok_or_else(|| Refused::bad_value("no_such_user", *name))?;
    let mut limits = user.limits;
    let value = if call.method == hyper::Method::PUT {
        let fields = call.object_with(&["value"])?;
        match fields.get("value").and_then(Json::as_i64) {
            Some(value) => Some(value),
            None => {
                let given = fields.get("value").cloned().unwrap_or_default();
                return Err(Refused::bad_request(format!(
                    "{limit} should be a number, actually was {}",
                    erlang(&given)
                )));
            }
        }
    } else {
        None
    };
    match *limit {
        "max-connections" => limits.max_connections = value,
        "max-channels" => limits.max_channels = value,
        other => {
            let given = value.map_or(Json::Null, Json::from);
            let terms = format!("Unrecognised terms [{{<<\"{other}\">>,{given}}}] in user-limits");
            return Err(Refused::bad_request(terms));
        }
    }
    auth.set_user_limits(name, limits).map_err(|error: AuthError| Refused::from(error))?;
    Ok(Reply::NoContent)
}

/// As Erlang prints it: texts are binaries.
fn erlang(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("<<\"{text}\">>"))
}
