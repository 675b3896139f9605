//! One request, read and authenticated.

use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Map, Value as Json};

use super::access::Admitted;
use super::ranges::Ranges;
use super::rates::now_ms;
use super::reply::Refused;
use crate::auth::User;

/// The longest short string of AMQP, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Call {
    /// GET also stands for HEAD.
    pub(super) method: Method,
    /// What follows `/api`, decoded.
    pub(super) path: Vec<String>,
    pub(super) query: Query,
    pub(super) body: Bytes,
    pub(super) content_type: String,
    /// `X-Reason`.
    pub(super) reason: Option<String>,
    pub(super) user: Arc<User>,
    pub(super) admitted: Admitted,
}

/// The parameters behind the `?`, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        };
        Self(text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    /// The same as if that stood there.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(own, _)| own != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

/// A name in a path, percent-decoded; `None` if it is none: a `%` without two hexadecimal digits, or no UTF-8.
pub(super) fn name_of(segment: &str) -> Option<String> {
    let escapes = segment.split('%').skip(1);
    let is_escaped = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !escapes.into_iter().all(is_escaped) {
        return None;
    }
    String::from_utf8(bytes_of(segment)).ok()
}

/// Percent-decoded as far as that makes sense.
pub(crate) fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&bytes_of(text)).into_owned()
}

fn bytes_of(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = |at: usize| bytes.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            // Two hexadecimal digits are at most 255.
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

impl Call {
    /// Nothing is made whose name no short string of AMQP holds.
    pub(super) fn check_names(&self) -> Result<(), Refused> {
        let long = self.path.iter().map(String::len).find(|length| *length > NAME_BYTES_MAX);
        match long {
            Some(length) if self.method == Method::PUT => {
                let kind = self.path[0].trim_end_matches('s').replace("policie", "policy").replace('-', " ");
                Err(Refused::bad_request(format!("{kind} should be less than 255 bytes, actually was {length}\n")))
            }
            _ => Ok(()),
        }
    }

    /// The samples that are wanted.
    pub(super) fn ranges(&self) -> Result<Ranges, Refused> {
        Ranges::parse(&self.query, now_ms())
    }

    /// The body as an object; an empty one has no keys.
    pub(super) fn object(&self) -> Result<Fields, Refused> {
        if self.body.is_empty() {
            return Ok(Fields(Map::new()));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Json::Object(fields)) => Ok(Fields(fields)),
            Ok(Json::Null) => Ok(Fields(Map::new())),
            Ok(Json::String(_)) => Err(Refused::bad_request(
                "invalid payload: the request body JSON-decoded to a string. Is the input doubly-JSON-encoded?",
            )),
            _ => Err(Refused::bad_request("not_json")),
        }
    }

    /// The body as an object with all these keys.
    pub(super) fn object_with(&self, keys: &[&str]) -> Result<Fields, Refused> {
        let fields = self.object()?;
        let missing: Vec<String> = keys
            .iter()
            .filter(|key| !fields.0.contains_key(**key))
            .map(|key| format!("{{key_missing,{key}}}"))
            .collect();
        if missing.is_empty() {
            return Ok(fields);
        }
        Err(Refused::bad_request(format!("[{}]", missing.join(","))))
    }
}

/// The keys and values of a body.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Map<String, Json>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// A text; anything else is a mistake.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Refused> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(Refused::bad_value("not_a_string", other.clone())),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refused> {
        self.text(name)?.ok_or_else(|| Refused::bad_request(format!("[{{key_missing,{name}}}]")))
    }

    /// A truth, also as a text; false if absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refused> {
        match self.get(name) {
            None | Some(Json::Bool(false)) => Ok(false),
            Some(Json::Bool(true)) => Ok(true),
            Some(Json::String(text)) if text == "true" => Ok(true),
            Some(Json::String(text)) if text == "false" || text.is_empty() => Ok(false),
            Some(other) => Err(Refused::bad_value("not_boolean", other.clone())),
        }
    }

    /// An integer, also as a text.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Refused> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) if number.is_i64() => Ok(number.as_i64()),
            Some(Json::String(text)) if text.parse::<i64>().is_ok() => Ok(text.parse().ok()),
            Some(other) => Err(Refused::bad_value("not_integer", other.clone())),
        }
    }

    /// An object; empty if absent.
    pub(super) fn object(&self, name: &str) -> Result<Map<String, Json>, Refused> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(Map::new()),
            Some(Json::Object(fields)) => Ok(fields.clone()),
            // What Erlang has for an empty map.
            Some(Json::Array(values)) if values.is_empty() => Ok(Map::new()),
            Some(other) => Err(Refused::bad_value("not_an_object", other.clone())),
        }
    }
}
