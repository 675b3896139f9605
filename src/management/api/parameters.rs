//! `/api/parameters`, `/api/global-parameters`.

use serde_json::{Value as Json, json};

use crate::broker::{GlobalParameter, Parameter, Vhost};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::reply::{Outcome, Refused, Reply};

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    Level::Policymaker.require(&call.user)?;
    if path[0] == "global-parameters" {
        return serve_global(call, management, &path[1..]);
    }
    let of_vhost = |vhost: &Vhost| -> Vec<Json> {
        let all = management.broker().parameters(vhost).into_iter();
        let wanted = all.filter(|parameter| path.get(1).is_none_or(|component| parameter.component == *component));
        wanted.map(|parameter| record(vhost, &parameter)).collect()
    };
    let [_, component, vhost, name] = path else {
        let vhosts = call.vhosts(management, path.get(2).copied())?;
        return Ok(Reply::List(vhosts.iter().flat_map(|vhost| of_vhost(vhost)).collect()));
    };
    let vhost = call.vhost(management, vhost)?;
    let find = || of_vhost(&vhost).into_iter().find(|parameter| parameter["name"] == *name);
    match call.method.as_str() {
        "GET" => find().map(Reply::Json).ok_or_else(Refused::no_object),
        "PUT" => {
            let value = call.object_with(&["value"])?.0.remove("value").unwrap_or_default();
            let existed = find().is_some();
            let set = management.broker().set_parameter(&vhost, component, name, value);
            set.map_err(|error| Refused::validation_failed(&error))?;
            Ok(Reply::put(existed))
        }
        _ if management.broker().delete_parameter(&vhost, component, name) => Ok(Reply::NoContent),
        _ => Err(Refused::no_object()),
    }
}

fn record(vhost: &Vhost, parameter: &Parameter) -> Json {
    let mut record = json!(parameter);
    record["vhost"] = (**vhost.name()).into();
    record
}

fn serve_global(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let broker = management.broker();
    let all = broker.global_parameters();
    let [name] = path else {
        return Ok(Reply::List(all.iter().map(|parameter| json!(parameter)).collect()));
    };
    let found = all.into_iter().find(|parameter: &GlobalParameter| parameter.name == *name);
    match call.method.as_str() {
        "GET" => found.map(|parameter| Reply::Json(json!(parameter))).ok_or_else(Refused::no_object),
        "PUT" => {
            let value = call.object_with(&["value"])?.0.remove("value").unwrap_or_default();
            broker.set_global_parameter(name, value);
            Ok(Reply::put(found.is_some()))
        }
        _ if broker.delete_global_parameter(name) => Ok(Reply::NoContent),
        _ => Err(Refused::no_object()),
    }
}
