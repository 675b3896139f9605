//! `/api/users`, `/api/whoami`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::auth::{AuthError, HashingAlgorithm, Secret, User, UserRecord};
use crate::management::Management;
use crate::management::access::Level;
use crate::management::api::permissions;
use crate::management::call::{Call, Fields};
use crate::management::reply::{Outcome, Refused, Reply};

/// Who asks.
pub(in crate::management) fn whoami(user: &User, management: &Management) -> Json {
    let mut own = json!({"name": user.name, "tags": user.tags, "is_internal_user": user.authorizer().is_none()});
    if let Some(minutes) = management.options().login_session_minutes {
        own["login_session_timeout"] = minutes.into();
    }
    own
}

pub(in crate::management) fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    Level::Administrator.require(&call.user)?;
    let auth = management.broker().auth();
    match (call.method.as_str(), path) {
        (_, ["users"]) => Ok(Reply::List(auth.export_users().into_iter().map(record).collect())),
        ("GET", ["users", "without-permissions"]) => {
            let granted = auth.export_permissions();
            let mut users = auth.export_users();
            users.retain(|user| granted.iter().all(|permission| permission.user != user.name));
            Ok(Reply::List(users.into_iter().map(record).collect()))
        }
        ("POST", ["users", "bulk-delete"]) => bulk_delete(call, management),
        ("GET", ["users", name, kind]) => {
            auth.user(name).ok_or_else(Refused::no_object)?;
            Ok(Reply::List(permissions::list(auth, *kind == "topic-permissions", |user, _| user == *name)))
        }
        ("GET", ["users", name]) => {
            let user = auth.user(name).ok_or_else(Refused::no_object)?;
            Ok(Reply::Json(record(UserRecord::from(&*user))))
        }
        ("PUT", ["users", name]) => put(call, management, name),
        ("DELETE", ["users", name]) => {
            if management.broker().delete_user(name) {
                Ok(Reply::NoContent)
            } else {
                Err(Refused::no_object())
            }
        }
        _ => Err(Refused::no_object()),
    }
}

fn record(user: UserRecord) -> Json {
    json!(user)
}

fn put(call: &Call, management: &Management, name: &str) -> Outcome {
    let auth = management.broker().auth();
    let fields = call.object()?;
    let tags = tags(&fields)?;
    let algorithm = match fields.text("hashing_algorithm")? {
        None => HashingAlgorithm::default(),
        Some(given) => HashingAlgorithm::parse(given)
            .ok_or_else(|| AuthError::UnknownHashingAlgorithm { user: name.to_owned(), algorithm: given.to_owned() })?,
    };
    let secret = match (fields.text("password")?, fields.text("password_hash")?) {
        (Some(_), Some(_)) => return Err(AuthError::PasswordAndHash(name.to_owned()).into()),
        (Some(password), None) => Secret::Password(password),
        (None, Some(hash)) => {
            STANDARD.decode(hash).map_err(|_| Refused::bad_value("not_base64", hash))?;
            Secret::Hash { hash, algorithm }
        }
        (None, None) => Secret::None,
    };
    let existed = auth.user(name).is_some();
    auth.put_user(name, secret, tags)?;
    Ok(Reply::put(existed))
}

/// An array, or a text with commas.
fn tags(fields: &Fields) -> Result<Vec<String>, Refused> {
    let trimmed = |text: &str| Some(text.trim().to_owned()).filter(|tag| !tag.is_empty());
    match fields.get("tags") {
        None => Err(Refused::bad_request("tags_not_present")),
        Some(Json::String(text)) => Ok(text.split(',').filter_map(trimmed).collect()),
        Some(Json::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map(|tag| tag.trim().to_owned()))
            .collect::<Option<_>>()
            .ok_or_else(|| Refused::bad_value("bad_tags", values.clone())),
        Some(other) => Err(Refused::bad_value("bad_tags", other.clone())),
    }
}

fn bulk_delete(call: &Call, management: &Management) -> Outcome {
    let fields = call.object_with(&["users"])?;
    let names = fields.get("users").and_then(Json::as_array).ok_or_else(|| Refused::bad_request("not_json"))?;
    for name in names.iter().filter_map(Json::as_str) {
        management.broker().delete_user(name);
    }
    Ok(Reply::NoContent)
}
