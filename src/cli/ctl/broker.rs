//! The broker at the other end: its management API, on the local socket or over TCP, with TLS or without.
//!
//! hyper's client half speaks HTTP on both; the server half is in the program anyway.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use rustix::process::Pid;
use rustls::pki_types::ServerName;
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::failure::{DATA, Failure, SOFTWARE, TRY_AGAIN, UNAVAILABLE};
use super::line::Line;
use crate::cli::serve::LOCAL_SOCKET;
use crate::config::env;
use crate::management::percent_encoded;
use crate::server::{Options, Storage};
use crate::tls_client::{self, TlsClientOptions};

/// Where commands that name no data directory look, as `lepus serve` does.
const DATA_DIR: &str = crate::cli::serve::DATA_DIR;

/// What RabbitMQ's tools wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long the broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// RabbitMQ's ports of the API.
const PORT: u16 = 15672;
const TLS_PORT: u16 = 15671;

/// See the module's documentation.
pub(super) struct Broker {
    runtime: Runtime,
    place: Place,
    tls: Option<Secured>,
    /// `Basic ...`; none on the local socket.
    authorization: Option<String>,
    timeout: Duration,
    node: OnceCell<String>,
    /// `--node`.
    named: Option<String>,
}

/// Where the broker is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Url(Url),
}

/// `http[s]://host:port/prefix`.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    is_tls: bool,
    host: String,
    port: u16,
    /// What stands before the API's paths: nothing, or begins with a slash.
    prefix: String,
}

/// What makes a connection TLS, and whose certificate is expected at its other end.
struct Secured {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) text: String,
    /// Null if it has no JSON.
    pub(super) json: Json,
}

impl Response {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Why a request was refused.
    pub(super) fn refusal(&self) -> Failure {
        let reason = match &self.json["reason"] {
            Json::String(reason) => reason.clone(),
            Json::Null if self.text.is_empty() => format!("the broker answered with status {}", self.status),
            Json::Null => self.text.clone(),
            other => other.to_string(),
        };
        Failure::error(if self.status >= 500 && self.status != 503 { SOFTWARE } else { UNAVAILABLE }, reason)
    }
}

impl Broker {
    /// Where the command line says, else the environment, else the data directory that `lepus serve` would have.
    pub(super) fn new(line: &Line, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let given = |option: &str, name: &str| line.option(option).map(str::to_owned).or_else(|| variable(name));
        let failed = |error: io::Error| Failure::error(SOFTWARE, error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        // What is typed wins over the environment, whatever it is.
        let socket = line.option("socket").map(PathBuf::from);
        let socket = socket.or_else(|| line.option("data-dir").map(|path| PathBuf::from(path).join(LOCAL_SOCKET)));
        let url = given("url", "LEPUS_URL").filter(|_| socket.is_none());
        let (place, login) = match url {
            Some(url) => url_parts(&url)?,
            None => {
                let socket = socket.or_else(|| variable("LEPUS_SOCKET").map(PathBuf::from));
                (Place::Socket(socket.unwrap_or_else(|| default_data_dir(&variable).join(LOCAL_SOCKET))), None)
            }
        };
        let needs_login = matches!(place, Place::Url(_));
        let tls = match &place {
            Place::Url(url) if url.is_tls => Some(Secured::new(line, url)?),
            _ => None,
        };
        let (url_user, url_password) = login.unzip();
        let user = given("username", "LEPUS_USERNAME").or(url_user);
        let password = given("password", "LEPUS_PASSWORD").or(url_password);
        let login = match (user, password) {
            (None, None) if !needs_login => None,
            (user, password) => {
                Some((user.unwrap_or_else(|| "guest".to_owned()), password.unwrap_or_else(|| "guest".to_owned())))
            }
        };
        Ok(Self {
            runtime,
            place,
            tls,
            authorization: login.map(|(user, password)| basic(&user, &password)),
            timeout: line.timeout(TIMEOUT),
            node: OnceCell::new(),
            named: line.option("node").map(str::to_owned),
        })
    }

    /// The broker's name for itself; that of the command line if it does not say.
    pub(super) fn node(&self) -> &str {
        self.node.get_or_init(|| {
            let told = self.get("nodes?columns=name").ok().and_then(|json| Some(json[0]["name"].as_str()?.to_owned()));
            told.or_else(|| self.named.clone()).unwrap_or_else(|| "rabbit@localhost".to_owned())
        })
    }

    /// Can it be reached?
    pub(super) fn ping(&self) -> Result<(), Failure> {
        let response = self.send(Method::GET, "version", &Json::Null)?;
        if response.is_success() {
            return Ok(());
        }
        let text =
            format!("what answers is no management API: it has nothing to tell of its version ({})", response.status);
        Err(Failure::error(UNAVAILABLE, text))
    }

    /// What is at a path; a refusal is a failure.
    pub(super) fn get(&self, path: &str) -> Result<Json, Failure> {
        let response = self.send(Method::GET, path, &Json::Null)?;
        if response.is_success() { Ok(response.json) } else { Err(response.refusal()) }
    }

    /// What is at a path; `None` if nothing is.
    pub(super) fn find(&self, path: &str) -> Result<Option<Json>, Failure> {
        let response = self.send(Method::GET, path, &Json::Null)?;
        match response.status {
            404 => Ok(None),
            _ if response.is_success() => Ok(Some(response.json)),
            _ => Err(response.refusal()),
        }
    }

    pub(super) fn send(&self, method: Method, path: &str, body: &Json) -> Result<Response, Failure> {
        self.send_with(method, path, body, &[])
    }

    /// With the login of this user in place of one's own.
    pub(super) fn get_as(&self, user: &str, password: &str, path: &str) -> Result<Response, Failure> {
        self.send_with(Method::GET, path, &Json::Null, &[("authorization", basic(user, password))])
    }

    /// With headers of its own.
    pub(super) fn send_with(
        &self,
        method: Method,
        path: &str,
        body: &Json,
        headers: &[(&str, String)],
    ) -> Result<Response, Failure> {
        let (prefix, host) = match &self.place {
            Place::Socket(_) => ("", "lepus".to_owned()),
            Place::Url(url) => (url.prefix.as_str(), url.address()),
        };
        let mut request = Request::builder().method(method).uri(format!("{prefix}/api/{path}"));
        request = request.header(header::HOST, host);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = match &self.authorization {
                Some(authorization) => request.header(header::AUTHORIZATION, authorization),
                None => request,
            };
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body));
        let request = request.map_err(|error| Failure::error(SOFTWARE, error.to_string()))?;
        let exchange = async { tokio::time::timeout(self.timeout, self.exchange(request)).await };
        match self.runtime.block_on(exchange) {
            Ok(answer) => answer,
            Err(_) => {
                let ms = self.timeout.as_millis();
                let text = format!("Error: the broker did not answer in time. Timeout value used: {ms}");
                Err(Failure::plain(TRY_AGAIN, text))
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| Failure::error(UNAVAILABLE, format!("the broker hung up: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        // The connection is driven until the answer is there, and then dropped.
        let (status, body) = tokio::select! {
            answer = answer => answer.map_err(broken)?,
            Err(error) = connection => return Err(broken(error)),
        };
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Response { status, json: serde_json::from_slice(&body).unwrap_or_default(), text })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let url = match &self.place {
            Place::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Place::Url(url) => url,
        };
        let stream = TcpStream::connect(url.address()).await?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => Ok(Box::new(tls.connector.connect(tls.name.clone(), stream).await?)),
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let (place, advice) = match &self.place {
            Place::Socket(path) => (
                path.display().to_string(),
                "\n * It keeps its data in another directory than this command looks in: name it with --data-dir, or the \
                 socket itself with --socket\n * It runs in memory only and was not told to open a socket: give it \
                 --local-socket or --http-listen\n * It runs on another machine: name its management API with --url \
                 http://HOST:PORT",
            ),
            Place::Url(url) if url.is_tls => (
                url.address(),
                "\n * Its management API listens elsewhere, or without TLS: see its --https-listen\n * Its certificate is \
                 not for this host, or of an authority that is not known here: name that with --tls-ca-cert-file",
            ),
            Place::Url(url) => {
                (url.address(), "\n * Its management API listens elsewhere, or in TLS: see its --http-listen")
            }
        };
        let text = format!(
            "Error: unable to reach the broker at {place}: {error}\n\nMost common reasons for this are:\n\n * The broker is \
             not running{advice}"
        );
        Failure::plain(UNAVAILABLE, text)
    }

    /// The broker's process, where it is on this machine.
    pub(super) fn process(&self) -> Result<Pid, Failure> {
        let Place::Socket(path) = &self.place else {
            return Err(Failure::error(UNAVAILABLE, "a broker is stopped on its own machine only: not with --url"));
        };
        let process = self.runtime.block_on(async { UnixStream::connect(path).await?.peer_cred() });
        let process = process.map_err(|error| self.unreachable(&error))?.pid().and_then(Pid::from_raw);
        process.ok_or_else(|| Failure::error(UNAVAILABLE, "the system does not tell the broker's process"))
    }

    /// Lets some time go by.
    pub(super) fn pause(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// The host of this API, for its other ports; `None`: this machine.
    pub(super) fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Socket(_) => None,
            Place::Url(url) => Some(&url.host),
        }
    }

    /// Can a connection to that address be had?
    pub(super) fn can_connect(&self, address: &str) -> bool {
        let connecting = async { tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await };
        self.runtime.block_on(connecting).is_ok_and(|connected| connected.is_ok())
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The data directory that `lepus serve` would have in this environment.
fn default_data_dir(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let mut options = Options::default();
    // What else the environment says wrong is no matter of this command.
    let _ = env::apply(&mut options, variable);
    match options.storage {
        Some(Storage::Directory(path)) => path,
        _ => DATA_DIR.into(),
    }
}

impl Secured {
    /// With what the line says of certificates, in the words of rabbitmqadmin.
    fn new(line: &Line, url: &Url) -> Result<Self, Failure> {
        let path = |option: &str| line.option(option).map(PathBuf::from);
        let options = TlsClientOptions {
            authorities: path("tls-ca-cert-file"),
            verify_none: line.has("insecure"),
            certificates: path("tls-cert-file"),
            key: path("tls-key-file"),
        };
        if options.certificates.is_some() != options.key.is_some() {
            let text = "Bad argument: --tls-cert-file and --tls-key-file belong together";
            return Err(Failure::bad_argument(text));
        }
        let config = tls_client::config(&options).map_err(|error| Failure::error(DATA, error.to_string()))?;
        let bare = url.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| Failure::bad_argument(format!("Bad argument: --url: '{}' is no name of a host", url.host)))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

impl Url {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// `http[s]://[user:password@]host[:port][/prefix]`, and the login in it.
fn url_parts(url: &str) -> Result<(Place, Option<(String, String)>), Failure> {
    let bad = || Failure::bad_argument("Bad argument: --url: expected http://HOST:PORT or https://HOST:PORT");
    let (is_tls, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return Err(bad()),
        None => (false, url),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, authority),
    };
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        (decoded(user), decoded(password))
    });
    let usual = if is_tls { TLS_PORT } else { PORT };
    let (host, port) = match address.rsplit_once(':') {
        // The colons of an address of IPv6 stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
        _ => (address, usual),
    };
    if host.is_empty() {
        return Err(bad());
    }
    let prefix = path.trim_end_matches('/').to_owned();
    Ok((Place::Url(Url { is_tls, host: host.to_owned(), port, prefix }), login))
}

fn decoded(text: &str) -> String {
    crate::management::percent_decoded(text)
}

/// A path of encoded names.
pub(super) fn path<const N: usize>(names: [&str; N]) -> String {
    names.map(percent_encoded).join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let at = |is_tls: bool, host: &str, port: u16, prefix: &str| {
            Place::Url(Url { is_tls, host: host.to_owned(), port, prefix: prefix.to_owned() })
        };
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(url_parts("http://h:1/").unwrap(), (at(false, "h", 1, ""), None));
        assert_eq!(url_parts("h").unwrap(), (at(false, "h", 15672, ""), None));
        assert_eq!(url_parts("https://h").unwrap(), (at(true, "h", 15671, ""), None));
        assert_eq!(url_parts("http://[::1]:5").unwrap(), (at(false, "[::1]", 5, ""), None));
        assert_eq!(url_parts("https://[::1]/rabbit/").unwrap(), (at(true, "[::1]", 15671, "/rabbit"), None));
        assert_eq!(url_parts("http://a%40b:p%3A@h").unwrap(), (at(false, "h", 15672, ""), login("a@b", "p:")));
        for bad in ["ftp://h", "http://", "https://:5", "http://h:port", "http://h:99999"] {
            assert!(url_parts(bad).is_err(), "{bad}");
        }
    }
}
