//! `/api/policies`, `/api/operator-policies`.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::broker::{Policy, PolicyKind, PolicySpec, Vhost};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::call::Call;
use crate::management::reply::{Outcome, Refused, Reply};

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let kind = if path[0] == "policies" { PolicyKind::User } else { PolicyKind::Operator };
    if let [_, vhost @ ..] = path
        && vhost.len() < 2
    {
        let vhosts = call.vhosts(management, vhost.first().copied())?;
        return Ok(Reply::List(vhosts.iter().flat_map(|vhost| list(vhost, kind)).collect()));
    }
    let [_, vhost, name] = path else { return Err(Refused::no_object()) };
    if kind == PolicyKind::Operator {
        Level::Administrator.require(&call.user)?;
    }
    Level::Policymaker.require(&call.user)?;
    let vhost = call.vhost(management, vhost)?;
    let find = || vhost.policies(kind).into_iter().find(|policy| **policy.name() == **name);
    let broker = management.broker();
    match call.method.as_str() {
        "GET" => find().map(|policy| Reply::Json(record(&vhost, &policy))).ok_or_else(Refused::no_object),
        "PUT" => {
            let fields = call.object_with(&["pattern", "definition"])?;
            let existed = find().is_some();
            // Only `definition` has one type; what the others are is the policy's own business.
            let spec = serde_json::from_value::<PolicySpec>(Json::Object(fields.0))
                .map_err(|error| Refused::validation_failed(&error))?;
            broker.set_policy(&vhost, kind, name, spec).map_err(|error| Refused::validation_failed(&error))?;
            Ok(Reply::put(existed))
        }
        _ if broker.delete_policy(&vhost, kind, name) => Ok(Reply::NoContent),
        _ => Err(Refused::no_object()),
    }
}

fn list(vhost: &Arc<Vhost>, kind: PolicyKind) -> Vec<Json> {
    vhost.policies(kind).iter().map(|policy| record(vhost, policy)).collect()
}

fn record(vhost: &Vhost, policy: &Policy) -> Json {
    let mut record = json!(policy.spec());
    record["vhost"] = (**vhost.name()).into();
    record["name"] = (**policy.name()).into();
    record
}
