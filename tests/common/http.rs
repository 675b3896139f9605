//! Requests to the management API, one connection each.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// Sends requests as one user.
#[derive(Clone)]
pub(crate) struct Http {
    address: SocketAddr,
    user: Option<String>,
    headers: Vec<(&'static str, String)>,
    prefix: &'static str,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) text: String,
    /// Null if the body is none.
    pub(crate) json: Json,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    /// The values of a list.
    pub(crate) fn items(&self) -> &[Json] {
        self.json.as_array().unwrap_or_else(|| panic!("not a list: {} {}", self.status, self.text))
    }
}

impl Http {
    /// As `name:password`.
    pub(crate) fn new(address: SocketAddr, user: &str) -> Self {
        Self { address, user: Some(user.to_owned()), headers: Vec::new(), prefix: "" }
    }

    /// As the bearer of a token.
    pub(crate) fn bearer(address: SocketAddr, token: &str) -> Self {
        let headers = vec![("Authorization", format!("Bearer {token}"))];
        Self { address, user: None, headers, prefix: "" }
    }

    /// The same as another user.
    pub(crate) fn like(&self, user: &str) -> Self {
        Self::new(self.address, user)
    }

    /// The same with this before all paths.
    pub(crate) fn below(&self, prefix: &'static str) -> Self {
        Self { prefix, ..self.clone() }
    }

    /// The same from a page of this origin.
    pub(crate) fn with_origin(&self, origin: &str) -> Self {
        self.with_header("Origin", origin)
    }

    /// The same with one more header.
    pub(crate) fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.push((name, value.to_owned()));
        other
    }

    pub(crate) async fn anonymous(&self, method: &str, path: &str) -> Response {
        let nobody = Self { user: None, ..self.clone() };
        nobody.send(method, path, "").await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send("GET", path, "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, "").await
    }

    pub(crate) async fn put(&self, path: &str, body: &Json) -> Response {
        self.send("PUT", path, &body.to_string()).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Response {
        self.send_as(method, path, body, "application/json").await
    }

    pub(crate) async fn send_as(&self, method: &str, path: &str, body: &str, kind: &str) -> Response {
        let prefix = self.prefix;
        let mut head = format!(
            "{method} {prefix}/api/{path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        );
        if let Some(user) = &self.user {
            head += &format!("Authorization: Basic {}\r\n", STANDARD.encode(user));
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        exchange(self.address, &format!("{head}{body}")).await
    }
}

/// A request without a login to any path.
pub(crate) async fn fetch(address: SocketAddr, method: &str, path: &str) -> Response {
    fetch_with(address, method, path, "").await
}

/// The same with more headers, each with the end of its line.
pub(crate) async fn fetch_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> Response {
    exchange(address, &format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")).await
}

/// A form that is sent without a login.
pub(crate) async fn send_form(address: SocketAddr, path: &str, form: &str) -> Response {
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{kind}\r\nContent-Length: {}", form.len());
    exchange(address, &format!("{head}\r\n\r\n{form}")).await
}

async fn exchange(address: SocketAddr, request: &str) -> Response {
    let mut stream = within(TcpStream::connect(address)).await.expect("it listens");
    within(stream.write_all(request.as_bytes())).await.expect("it reads");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("it answers");
    parse(&String::from_utf8(answer).expect("text"))
}

fn parse(answer: &str) -> Response {
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not HTTP: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Response {
        status,
        headers: lines.filter_map(header).collect(),
        text: text.to_owned(),
        json: serde_json::from_str(text).unwrap_or_default(),
    }
}
