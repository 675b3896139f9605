//! What a request comes to: an answer, or RabbitMQ's `{"error", "reason"}` with its status.

use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value as Json, json};

use crate::auth::AuthError;
use crate::broker::Refusal;
use crate::wire::ReplyCode;

/// A request that was served.
#[derive(Debug)]
pub(super) enum Reply {
    /// 200 with one value.
    Json(Json),
    /// 200 with values that the query may filter, sort, cut into pages, and reduce to some columns.
    List(Vec<Json>),
    /// 201; the path of what was made, below that of the request.
    Created(Option<String>),
    /// 204.
    NoContent,
    /// A health check that failed: 503.
    Failed(Json),
    /// JSON that is written already.
    Written(Bytes),
    /// Not JSON: its type, and the text.
    Text(&'static str, String),
}

impl Reply {
    /// PUT: 201 for what is new, 204 for what was there.
    pub(super) fn put(existed: bool) -> Self {
        if existed { Self::NoContent } else { Self::Created(None) }
    }
}

/// A request that was not.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) reason: Json,
}

pub(super) type Outcome = Result<Reply, Refused>;

impl Refused {
    fn new(status: StatusCode, error: &'static str, reason: impl Into<Json>) -> Self {
        Self { status, error, reason: reason.into() }
    }

    /// There is no such path, or nothing of that name.
    pub(super) fn no_object() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Object Not Found", "Not Found")
    }

    pub(super) fn not_found(reason: impl Into<Json>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    pub(super) fn bad_request(reason: impl Into<Json>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    pub(super) fn bad_value(what: &str, value: impl Into<Json>) -> Self {
        Self::bad_request(json!([what, value.into()]))
    }

    pub(super) fn bad_page(error: &'static str, reason: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, reason)
    }

    pub(super) fn not_authorised(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorised", reason)
    }

    /// The login itself: RabbitMQ spells it in the other way there.
    pub(super) fn not_authorized(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorized", reason)
    }

    pub(super) fn precondition_failed(reason: String) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", reason)
    }

    /// The broker is too busy, or stops.
    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", "the broker does not answer")
    }

    /// As it tells of publishes and gets: with the text that a client would be told.
    pub(super) fn of_messages(refusal: &Refusal) -> Self {
        let (code, name) = (refusal.code() as u16, refusal.code().constant_name());
        match refusal.code() {
            ReplyCode::AccessRefused => Self::not_authorised(&format!("{name} - {refusal}")),
            _ => Self::bad_request(format!("{code} {name} - {refusal}")),
        }
    }

    pub(super) fn validation_failed(error: &impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Validation failed\n\n{error}\n"))
    }
}

impl From<Refusal> for Refused {
    /// As the API tells of a channel or connection that RabbitMQ closes on it.
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::VhostNotFound(_) => return Self::not_found("vhost_not_found"),
            Refusal::VhostAccess { .. } => return Self::not_authorised("Access refused."),
            _ => {}
        }
        match refusal.code() {
            ReplyCode::NotFound => Self::not_found(refusal.to_string()),
            ReplyCode::AccessRefused => Self::not_authorised("Access refused."),
            _ => Self::bad_request(refusal.to_string()),
        }
    }
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        match &error {
            AuthError::NoSuchUser(_) => Self::bad_request("vhost_or_user_not_found"),
            AuthError::TagsNotPresent(_) => Self::bad_request("tags_not_present"),
            AuthError::PasswordAndHash(_) => Self::bad_request("both_password_and_password_hash_are_provided"),
            _ => Self::bad_request(error.to_string()),
        }
    }
}
