//! A service that is asked over HTTP (`auth_http.*`): `allow`, `allow` and tags, or `deny`, perhaps with a reason.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use tracing::{info, warn};

use super::cache::{Cache, Fingerprints};
use super::chain::{Known, Reason};
use super::fetch::Fetcher;
use super::{CacheOptions, Error};
use crate::auth::{Asked, Authorizer, Denied, Later, Origin, Question, Resource, Verdict};
use crate::tls_client::TlsClientOptions;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// `auth_http.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// `http_method`. Default GET.
    pub method: Method,
    /// `user_path`: may this user log in?
    pub user_path: String,
    /// `vhost_path`: may it use this vhost?
    pub vhost_path: String,
    /// `resource_path`: may it do this to that queue or exchange?
    pub resource_path: String,
    /// `topic_path`: may it use this key?
    pub topic_path: String,
    /// `connection_timeout`. Default 15 s.
    pub connection_timeout: Duration,
    /// `request_timeout`, connecting included. Default 15 s.
    pub request_timeout: Duration,
    /// `authorization_failure_disclosure`: clients are told the reasons behind `deny`. Default false.
    pub discloses_reasons: bool,
    /// `ssl_options.*`.
    pub tls: TlsClientOptions,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let path = |name: &str| format!("http://localhost:8000/auth/{name}");
        Self {
            method: Method::Get,
            user_path: path("user"),
            vhost_path: path("vhost"),
            resource_path: path("resource"),
            topic_path: path("topic"),
            connection_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(15),
            discloses_reasons: false,
            tls: TlsClientOptions::default(),
        }
    }
}

/// How the service is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// With a query behind the path.
    Get,
    /// With a form.
    Post,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Http {
    options: HttpOptions,
    fetcher: Fetcher,
    cache: Option<Answers>,
}

/// What is remembered of its answers.
#[derive(Debug)]
struct Answers {
    keeps_refusals: bool,
    /// Without the parameters themselves: one of them is a password.
    said: Cache<[u8; 32], Said>,
    fingerprints: Fingerprints,
}

/// What it said.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    /// And tags.
    Allow(Vec<String>),
    Deny(Option<String>),
}

type Parameters<'a> = Vec<(&'static str, &'a str)>;

impl Http {
    pub(super) const NAME: &'static str = "rabbit_auth_backend_http";

    pub(super) fn new(options: &HttpOptions, cache: Option<CacheOptions>) -> Result<Self, Error> {
        for (setting, value) in [
            ("auth_http.user_path", &options.user_path),
            ("auth_http.vhost_path", &options.vhost_path),
            ("auth_http.resource_path", &options.resource_path),
            ("auth_http.topic_path", &options.topic_path),
        ] {
            check_url(setting, value)?;
        }
        let fetcher = Fetcher::new(&options.tls, options.connection_timeout, options.request_timeout)?;
        let cache = cache.map(|CacheOptions { ttl, refusals, .. }| Answers {
            keeps_refusals: refusals,
            said: Cache::new(ttl),
            fingerprints: Fingerprints::default(),
        });
        Ok(Self { options: options.clone(), fetcher, cache })
    }

    pub(super) async fn log_in(self: &Arc<Self>, name: &str, password: Option<&[u8]>) -> Result<Known, Reason> {
        let password = password.map(String::from_utf8_lossy);
        let parameters = [("username", name)].into_iter();
        let parameters = parameters.chain(password.iter().map(|password| ("password", &**password))).collect();
        match self.ask(&self.options.user_path, parameters).await {
            Ok(Said::Allow(tags)) => {
                let authorizer = Some(self.authorizer(name.to_owned(), tags.clone()));
                Ok(Known { name: name.to_owned(), tags, authorizer })
            }
            Ok(Said::Deny(reason)) => {
                if let Some(reason) = reason {
                    info!(user = ?name, reason, "the HTTP service refused a login");
                }
                Err("Denied by the backing HTTP service".to_owned())
            }
            Err(error) => {
                warn!(user = ?name, error, "the HTTP service could not be asked about a login");
                Err(format!("{} failed authenticating: {error}", Self::NAME))
            }
        }
    }

    /// Asks the service what a user of this name and tags may do.
    pub(super) fn authorizer(self: &Arc<Self>, name: String, tags: Vec<String>) -> Arc<dyn Authorizer> {
        Arc::new(HttpUser { http: self.clone(), name, tags })
    }

    async fn ask(&self, path: &str, parameters: Parameters<'_>) -> Result<Said, String> {
        let query = query(&parameters);
        let key = self.cache.as_ref().map(|answers| answers.fingerprints.of(&[path.as_bytes(), query.as_bytes()]));
        if let (Some(answers), Some(key)) = (&self.cache, &key)
            && let Some(said) = answers.said.get(key, Instant::now())
        {
            return Ok(said);
        }
        let said = self.ask_service(path, query).await?;
        if let (Some(answers), Some(key)) = (&self.cache, key)
            && (answers.keeps_refusals || matches!(said, Said::Allow(_)))
        {
            answers.said.put(key, said.clone(), Instant::now());
        }
        Ok(said)
    }

    async fn ask_service(&self, path: &str, query: String) -> Result<Said, String> {
        let request = match self.options.method {
            Method::Get => {
                let mark = if path.contains('?') { '&' } else { '?' };
                Request::get(format!("{path}{mark}{query}")).body(Full::default())
            }
            Method::Post => Request::post(path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(query))),
        };
        let request = request.map_err(|_| "bad_request".to_owned())?;
        let (status, body) = self.fetcher.fetch(request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
        if status != StatusCode::OK && status != StatusCode::CREATED {
            return Err(format!("status {}", status.as_u16()));
        }
        str::from_utf8(&body).ok().and_then(said).ok_or_else(|| "bad_response".to_owned())
    }

    /// An answer to a question about a user who is in.
    async fn verdict(&self, path: &str, parameters: Parameters<'_>, user: &str) -> Verdict {
        match self.ask(path, parameters).await {
            Ok(Said::Allow(_)) => Ok(()),
            Ok(Said::Deny(None)) => Err(Denied::default()),
            Ok(Said::Deny(Some(reason))) => {
                info!(user = ?user, reason, "the HTTP service refused access");
                let discloses = self.options.discloses_reasons;
                Err(if discloses { Denied::because(Self::NAME, &reason) } else { Denied::default() })
            }
            Err(error) => {
                warn!(user = ?user, error, "the HTTP service could not be asked about access");
                Err(Denied::failed(Self::NAME, &error))
            }
        }
    }
}

/// Reads an answer; whoever says something else says nothing.
fn said(body: &str) -> Option<Said> {
    let body = body.trim();
    if let Some(reason) = body.strip_prefix("deny ") {
        return Some(Said::Deny(Some(reason.trim().to_owned())));
    }
    let lower = body.to_lowercase();
    let mut words = lower.split_whitespace();
    match words.next()? {
        "allow" => Some(Said::Allow(words.map(str::to_owned).collect())),
        "deny" => Some(Said::Deny(None)),
        _ => None,
    }
}

pub(super) fn check_url(setting: &'static str, value: &str) -> Result<Uri, Error> {
    let bad = || Error::Url { setting, value: value.to_owned() };
    let uri: Uri = value.parse().map_err(|_| bad())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err(bad()),
    }
}

/// `name=value&...`
fn query(parameters: &Parameters<'_>) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'~' | b'_' => text.push(byte.into()),
                b' ' => text.push('+'),
                other => text.push_str(&format!("%{other:02X}")),
            }
        }
    }
    text
}

/// What a user whom the service has let in may do: it is asked.
#[derive(Debug)]
struct HttpUser {
    http: Arc<Http>,
    name: String,
    tags: Vec<String>,
}

impl Authorizer for HttpUser {
    fn admit(&self, vhost: &str, from: Option<Origin>) -> Asked<Verdict> {
        let (http, name, vhost, tags) = (self.http.clone(), self.name.clone(), vhost.to_owned(), self.tags.join(" "));
        let ip = from.map(|from| IpAddr::to_canonical(&from.ip).to_string()).unwrap_or_default();
        Asked::Later(Later::new(async move {
            let parameters = vec![("username", &*name), ("vhost", &*vhost), ("ip", &*ip), ("tags", &*tags)];
            http.verdict(&http.options.vhost_path, parameters, &name).await
        }))
    }

    fn ask(&self, question: &Question) -> Asked<Verdict> {
        let (http, name, tags) = (self.http.clone(), self.name.clone(), self.tags.join(" "));
        let Question { vhost, right, resource, name: thing } = question.clone();
        Asked::Later(Later::new(async move {
            let (path, kind, key) = match &resource {
                Resource::Queue => (&http.options.resource_path, "queue", None),
                Resource::Exchange => (&http.options.resource_path, "exchange", None),
                Resource::Topic(key) => (&http.options.topic_path, "topic", Some(key)),
            };
            let mut parameters = vec![
                ("username", &*name),
                ("vhost", &*vhost),
                ("resource", kind),
                ("name", &thing),
                ("permission", right.as_str()),
                ("tags", &tags),
            ];
            if let Some(key) = key {
                let of_topic =
                    [("routing_key", &**key), ("variable_map.username", &name), ("variable_map.vhost", &vhost)];
                parameters.extend(of_topic);
            }
            http.verdict(path, parameters, &name).await
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_rabbitmq_reads_them() {
        let allow = |tags: &[&str]| Some(Said::Allow(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        assert_eq!(said("allow"), allow(&[]));
        assert_eq!(said(" Allow \n"), allow(&[]));
        assert_eq!(said("allow Administrator  x"), allow(&["administrator", "x"]));
        assert_eq!(said("deny"), Some(Said::Deny(None)));
        assert_eq!(said("DENY\n"), Some(Said::Deny(None)));
        assert_eq!(said("deny Out of Hours"), Some(Said::Deny(Some("Out of Hours".to_owned()))));
        for other in ["", "   ", "allowed", "yes", "{\"allow\":true}", "refuse"] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        let parameters = vec![("username", "a b&c=d"), ("vhost", "/"), ("tags", ""), ("name", "é~._-")];
        assert_eq!(query(&parameters), "username=a+b%26c%3Dd&vhost=%2F&tags=&name=%C3%A9~._-");
    }

    #[test]
    fn only_urls_are_taken() {
        for good in ["http://localhost:8000/auth/user", "https://a.example/u?x=1"] {
            check_url("auth_http.user_path", good).expect(good);
        }
        for bad in ["", "localhost", "/auth/user", "ftp://a/b", "http://"] {
            check_url("auth_http.user_path", bad).expect_err(bad);
        }
    }
}
