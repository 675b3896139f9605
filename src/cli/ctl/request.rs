//! Requests that need no more than a path and a body.

use hyper::Method;
use serde_json::Value as Json;

use super::broker::{Broker, Response};
use super::failure::{DATA, Failure};
use super::line::Line;
use super::output::Outcome;

/// A request, and what it means if there is nothing of that name.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) method: Method,
    /// Below `/api/`, with names of arguments in braces.
    pub(super) path: &'static str,
    pub(super) body: fn(&Line) -> Result<Json, Failure>,
    pub(super) missing: Missing,
}

/// What 404 means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Missing {
    /// That nothing is to be done.
    Nothing,
    Vhost,
    Parameter,
    Object,
}

impl Missing {
    /// The outcome of an answer of 404.
    pub(super) fn outcome(self, line: &Line) -> Result<Outcome, Failure> {
        Err(match self {
            Self::Nothing => return Ok(Outcome::Done),
            Self::Vhost => Failure::no_vhost(line.vhost()),
            Self::Parameter => Failure::error(super::failure::UNAVAILABLE, "Parameter does not exist"),
            Self::Object => Failure::plain(DATA, "Object (queue, stream, exchange, etc) was not found"),
        })
    }
}

impl Send {
    pub(super) const fn put(path: &'static str, body: fn(&Line) -> Result<Json, Failure>) -> Self {
        Self { method: Method::PUT, path, body, missing: Missing::Vhost }
    }

    pub(super) const fn post(path: &'static str) -> Self {
        Self { method: Method::POST, path, body: nothing, missing: Missing::Vhost }
    }

    pub(super) const fn delete(path: &'static str, missing: Missing) -> Self {
        Self { method: Method::DELETE, path, body: nothing, missing }
    }

    pub(super) fn run(&self, line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
        let body = (self.body)(line)?;
        let response = broker.send(self.method.clone(), &path(line, self.path), &body)?;
        done(&response, || self.missing.outcome(line))
    }
}

fn nothing(_: &Line) -> Result<Json, Failure> {
    Ok(Json::Null)
}

/// A path with what the line has for the names in it.
pub(super) fn path(line: &Line, template: &str) -> String {
    Line::fill(template, |name| crate::management::percent_encoded(&line.named(name)))
}

/// Nothing to print, or why it was refused.
pub(super) fn done(
    response: &Response,
    missing: impl FnOnce() -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    match response.status {
        404 => missing(),
        _ if response.is_success() => Ok(Outcome::Done),
        _ => Err(response.refusal()),
    }
}

/// A JSON document that was given as an argument.
pub(super) fn document(line: &Line, name: &str) -> Result<Json, Failure> {
    let text = line.text(name);
    serde_json::from_str(text).map_err(|_| {
        let text = format!("Could not parse JSON document: {{error,{{failed_to_decode_json,<<\"{text}\">>}}}}");
        Failure::error(super::failure::UNAVAILABLE, text)
    })
}
