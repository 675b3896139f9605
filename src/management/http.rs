//! HTTP on one connection: reads requests, logs users in, writes answers. The only file here that knows hyper's bodies.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Management;
use super::access::{Admitted, Level};
use super::assets;
use super::body::Body;
use super::call::{Call, Query, name_of};
use super::list;
use super::names::percent_encoded;
use super::oauth::{self, LogonType};
use super::record::{Columns, paths_of};
use super::reply::{Outcome, Refused, Reply};
use super::routes;
use crate::auth;

/// How long the head of a request may take; an idle connection ends after as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request may take to be read and served.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What may be asked for; anything else is no method at all.
const KNOWN_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS, Method::PATCH];

/// RabbitMQ's default.
const CONTENT_SECURITY: &str = "script-src 'self'; object-src 'self'";

/// Serves one connection to its end, or until `stop` turns true.
pub async fn serve<S>(stream: S, peer: SocketAddr, management: Management, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |request| {
        let management = management.clone();
        async move { respond(request, peer, &management).await }
    };
    speak(stream, stop, answer).await;
}

/// The same for a process of whoever runs the broker: it needs no login, and may log in as a user all the same.
pub async fn serve_operator<S>(stream: S, management: Management, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |mut request: Request<Incoming>| {
        let management = management.clone();
        request.extensions_mut().insert(Operator);
        async move { respond(request, (Ipv4Addr::LOCALHOST, 0).into(), &management).await }
    };
    speak(stream, stop, answer).await;
}

/// What marks a request that came through [`serve_operator`].
#[derive(Clone, Copy)]
struct Operator;

/// Reads requests and writes what `answer` makes of them, until the end or until `stop` turns true.
pub(super) async fn speak<S, A, F>(stream: S, mut stop: watch::Receiver<bool>, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    // An error here is the client's: it has gone, or does not speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn respond(request: Request<Incoming>, peer: SocketAddr, management: &Management) -> Response<Body> {
    let prefix = prefix(&request, management);
    if let Some(path) = request.uri().path().strip_prefix(prefix).filter(|path| !is_of_api(path)) {
        return match path {
            // What the page names lies below it.
            "" => located(empty(StatusCode::MOVED_PERMANENTLY), Some(format!("{prefix}/"))),
            "/oauth.json" => {
                let oauth = management.options().oauth.as_ref();
                with_body(StatusCode::OK, "application/json", oauth::told(oauth))
            }
            "/login" if request.method() == Method::POST => sent_with_token(request, peer, management).await,
            _ => assets::serve(request.method(), path, request.headers(), management.options().oauth.as_ref()),
        };
    }
    let origin = allowed_origin(request.headers(), &management.options().cors_origins);
    let head = request.method() == Method::HEAD;
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, answer(request, peer, management)).await {
        Ok(response) => response,
        Err(_) => written(Err(Refused::unavailable())),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding, origin"));
    let policy = management.options().content_security.as_deref().unwrap_or(CONTENT_SECURITY);
    headers.extend(HeaderValue::from_str(policy).ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    let hsts = management.options().hsts.as_deref().and_then(|policy| HeaderValue::from_str(policy).ok());
    headers.extend(hsts.map(|policy| (header::STRICT_TRANSPORT_SECURITY, policy)));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if head {
        *response.body_mut() = Body::default();
    }
    response
}

/// What stands before all paths. Nothing does on the local socket: nobody is in front of it.
fn prefix<'a>(request: &Request<Incoming>, management: &'a Management) -> &'a str {
    if request.extensions().get::<Operator>().is_some() { "" } else { &management.options().path_prefix }
}

/// The provider sends a user with a token. The page finds it behind the `#`, which no browser tells anybody.
async fn sent_with_token(request: Request<Incoming>, peer: SocketAddr, management: &Management) -> Response<Body> {
    let options = management.options();
    if !options.oauth.as_ref().is_some_and(|oauth| oauth.logon_type == LogonType::Provider) {
        return refusal(&Refused::no_object());
    }
    let read = Limited::new(request.into_body(), options.body_size_max).collect();
    let Ok(Ok(body)) = tokio::time::timeout(REQUEST_TIMEOUT, read).await else {
        return refusal(&Refused::bad_request("the body cannot be read"));
    };
    let form = Query::parse(&String::from_utf8_lossy(&body.to_bytes()));
    let token = form.get("access_token").unwrap_or_default();
    let told = match authenticate("", token.as_bytes(), peer, management).await {
        Ok(_) => format!("access_token={}", percent_encoded(token)),
        Err(refused) => format!("error={}", percent_encoded(refused.reason.as_str().unwrap_or_default())),
    };
    located(empty(StatusCode::SEE_OTHER), Some(format!("{}/#{told}", options.path_prefix)))
}

fn is_of_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// CORS: the request's origin, if its scripts may use the API.
fn allowed_origin(headers: &HeaderMap, allowed: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let is_allowed = allowed.iter().any(|own| own == "*" || own.as_bytes() == origin.as_bytes());
    is_allowed.then(|| origin.clone())
}

async fn answer(request: Request<Incoming>, peer: SocketAddr, management: &Management) -> Response<Body> {
    let prefix = prefix(&request, management);
    let Some(path) = request.uri().path().strip_prefix(prefix) else {
        return written(Err(Refused::no_object()));
    };
    if path == "/api" || path == "/api/" {
        return located(empty(StatusCode::MOVED_PERMANENTLY), Some(format!("{prefix}/api/index.html")));
    }
    let Some(below) = path.strip_prefix("/api/") else {
        return written(Err(Refused::no_object()));
    };
    if !KNOWN_METHODS.contains(request.method()) {
        return empty(StatusCode::NOT_IMPLEMENTED);
    }
    // An empty name between two slashes is one: that of the default exchange. A slash at the end is nothing.
    let segments: Option<Vec<String>> = below.strip_suffix('/').unwrap_or(below).split('/').map(name_of).collect();
    let Some(segments) = segments else { return empty(StatusCode::BAD_REQUEST) };
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(methods) = routes::methods(&names) else {
        return written(Err(Refused::no_object()));
    };
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if method == Method::OPTIONS {
        return options(request.headers(), methods, management.options().cors_max_age_s);
    }
    if !methods.split(' ').any(|own| own == method.as_str()) {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        allow(&mut response, methods);
        return response;
    }
    let of_definitions = method == Method::GET && ["definitions", "all-configuration"].contains(&names[0]);
    let (known, query) =
        (request.headers().get(header::IF_NONE_MATCH).cloned(), request.uri().query().map(Query::parse));
    let outcome = called(request, segments, method, peer, management).await;
    let mut response = match outcome {
        Ok(Reply::Written(body)) if of_definitions => file(body, known.as_ref(), &query.unwrap_or_default()),
        other => written(other),
    };
    allow(&mut response, methods);
    response
}

/// Something to be kept: it has a tag, is not sent to whoever has it, and `download` names the file.
fn file(body: Bytes, known: Option<&HeaderValue>, query: &Query) -> Response<Body> {
    let digest = Sha256::digest(&body);
    let mut response = with_body(StatusCode::OK, "application/json", body);
    let tag = HeaderValue::from_str(&format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12])));
    let Ok(tag) = tag else { return response };
    if known
        .is_some_and(|known| known.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii() == tag.as_bytes()))
    {
        response = empty(StatusCode::NOT_MODIFIED);
    }
    response.headers_mut().insert(header::ETAG, tag);
    if let Some(Ok(name)) =
        query.get("download").map(|name| HeaderValue::from_str(&format!("attachment; filename={name}")))
    {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

async fn called(
    request: Request<Incoming>,
    path: Vec<String>,
    method: Method,
    peer: SocketAddr,
    management: &Management,
) -> Outcome {
    let (head, body) = request.into_parts();
    let needs_login = head.extensions.get::<Operator>().is_none() || head.headers.contains_key(header::AUTHORIZATION);
    let user = match needs_login {
        _ if routes::is_open(&path) => None,
        true => {
            let is_operator = head.extensions.get::<Operator>().is_some();
            let takes_passwords = is_operator || !management.options().basic_auth_disabled;
            Some(log_in(&head.headers, takes_passwords, peer, management).await?)
        }
        false => Some(Arc::new(auth::User::operator())),
    };
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match Limited::new(body, management.options().body_size_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Refused::bad_request("Exceeded HTTP request body size limit"));
        }
        Err(_) => return Err(Refused::bad_request("the body cannot be read")),
    };
    let Some(user) = user else {
        return routes::open(&path, &body, peer, management).await;
    };
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let admitted = Admitted::ask(&user, peer, management).await;
    let call = Call {
        method,
        path,
        query: if management.options().disable_stats { query.with("disable_stats", "true") } else { query },
        body,
        content_type: text("content-type").unwrap_or_default(),
        reason: text("x-reason"),
        user,
        admitted,
    };
    call.check_names()?;
    if call.method != Method::GET {
        let outcome = routes::serve(&call, management).await;
        management.cache().clear();
        return outcome;
    }
    // Rights are part of what was asked: the operator may have the name of a user.
    let asked =
        is_kept(&call, management).then(|| (call.user.clone(), format!("{} {}", call.user.tags.join(","), head.uri)));
    let begun = Instant::now();
    if let Some((user, asked)) = &asked
        && let Some(answer) = management.cache().get(&user.name, asked, begun)
    {
        return Ok(Reply::Written(answer));
    }
    let reply = shaped(&call, management).await?;
    if let (Some((user, asked)), Reply::Written(answer)) = (asked, &reply) {
        management.cache().put(&user.name, &asked, answer, begun, Instant::now());
    }
    Ok(reply)
}

/// Queues and connections of a broker that is large.
const LARGE: usize = 1_000;

/// May the answer be some seconds old? Not where little is to be told, nor of what is kept elsewhere.
fn is_kept(call: &Call, management: &Management) -> bool {
    let broker = management.broker();
    let queues: usize = broker.vhosts().iter().map(|vhost| vhost.queue_count()).sum();
    queues + broker.connection_count() > LARGE && !["definitions", "all-configuration"].contains(&call.path[0].as_str())
}

async fn shaped(call: &Call, management: &Management) -> Outcome {
    match routes::serve(call, management).await? {
        Reply::List(values) => list::shape(values, &call.query).await,
        Reply::Json(value) => {
            let (paths, mut out) = (paths_of(&call.query), Vec::new());
            Columns::of(&paths).write(&mut out, &value);
            Ok(Reply::Written(out.into()))
        }
        other => Ok(other),
    }
}

/// Where only tokens are taken (`management.disable_basic_auth`).
pub(super) fn no_passwords() -> Refused {
    Refused::not_authorised("HTTP access denied: basic auth disabled")
}

/// Basic authentication, or a token; whoever has no tag of the API is refused, too.
async fn log_in(
    headers: &HeaderMap,
    takes_passwords: bool,
    peer: SocketAddr,
    management: &Management,
) -> Result<Arc<auth::User>, Refused> {
    let missing = || match takes_passwords {
        true => Refused::not_authorized(""),
        false => Refused::not_authorised("HTTP access denied: no credentials"),
    };
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let failed = || Refused::not_authorized("Not_Authorized");
    let (scheme, credentials) = value.split_once(' ').ok_or_else(failed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return authenticate("", credentials.trim().as_bytes(), peer, management).await;
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(failed());
    }
    if !takes_passwords {
        return Err(no_passwords());
    }
    let decoded = STANDARD.decode(credentials.trim()).map_err(|_| failed())?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(failed)?;
    let name = str::from_utf8(&decoded[..colon]).map_err(|_| failed())?;
    authenticate(name, &decoded[colon + 1..], peer, management).await
}

/// The user of this name and password, or token, if it may use the API from there.
pub(super) async fn authenticate(
    name: &str,
    password: &[u8],
    peer: SocketAddr,
    management: &Management,
) -> Result<Arc<auth::User>, Refused> {
    let from = auth::Origin { ip: peer.ip() };
    let authenticated = management.broker().auth().log_in(name, password, from).wait().await;
    management.count_login(authenticated.is_ok());
    let user = authenticated.as_ref().map_or(name, |user| &user.name);
    management.broker().count_login_source("http", peer.ip(), user, authenticated.is_ok());
    if let Err(refused) = &authenticated {
        management.broker().log_refused_login("HTTP", "basic", Some(peer), refused);
    }
    let user = authenticated.map_err(|refused| match refused {
        auth::Refused::Loopback { .. } => Refused::not_authorized("User can only log in via localhost"),
        _ => Refused::not_authorized("Not_Authorized"),
    })?;
    Level::Management.require(&user)?;
    Ok(user)
}

fn options(request: &HeaderMap, methods: &'static str, max_age_s: u32) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    allow(&mut response, methods);
    if request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let allowed = response.headers().get(header::ALLOW).cloned();
        let headers = response.headers_mut();
        headers.extend(allowed.map(|methods| (header::ACCESS_CONTROL_ALLOW_METHODS, methods)));
        if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(max_age_s));
    }
    response
}

pub(super) fn allow(response: &mut Response<Body>, methods: &'static str) {
    let text = format!("HEAD, {}, OPTIONS", methods.replace(' ', ", "));
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::ALLOW, value);
    }
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

pub(super) fn with_body(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_body(status: StatusCode, value: &Json) -> Response<Body> {
    with_body(status, "application/json", value.to_string())
}

fn written(outcome: Outcome) -> Response<Body> {
    match outcome {
        Ok(Reply::Json(value)) => json_body(StatusCode::OK, &value),
        Ok(Reply::List(values)) => json_body(StatusCode::OK, &Json::Array(values)),
        Ok(Reply::Failed(value)) => json_body(StatusCode::SERVICE_UNAVAILABLE, &value),
        Ok(Reply::Written(answer)) => with_body(StatusCode::OK, "application/json", answer),
        Ok(Reply::Text(kind, text)) => with_body(StatusCode::OK, kind, text),
        Ok(Reply::NoContent) => empty(StatusCode::NO_CONTENT),
        Ok(Reply::Created(location)) => located(empty(StatusCode::CREATED), location),
        Err(refused) => refusal(&refused),
    }
}

fn located(mut response: Response<Body>, location: Option<String>) -> Response<Body> {
    if let Some(value) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

pub(super) fn refusal(refused: &Refused) -> Response<Body> {
    // Without any credentials RabbitMQ asks for them, and says nothing; wrong ones it does not ask for again.
    let asks = refused.status == StatusCode::UNAUTHORIZED && refused.reason == "";
    if !asks {
        return json_body(refused.status, &json!({"error": refused.error, "reason": refused.reason}));
    }
    let mut response = empty(refused.status);
    let realm = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    response
}
