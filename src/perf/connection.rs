//! A blocking AMQP client, as small as a load generator can do with.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use thiserror::Error;

use super::link::Link;
use crate::wire::{Frame, FrameKind, Method, RawTable, Table, Value, cut};

/// What can go wrong in a run.
#[derive(Debug, Error)]
pub enum PerfError {
    /// A flag that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The broker closed the connection or a channel.
    #[error("the broker closed it: {code} {text}")]
    Closed {
        /// Reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// The broker sent what no broker should.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl PerfError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// `amqp://user:password@host:port/vhost`, or `amqps://`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Uri {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) address: String,
    pub(super) vhost: String,
    tls: bool,
}

impl Uri {
    pub(super) fn parse(text: &str) -> Result<Self, PerfError> {
        let bad = || PerfError::Usage(format!("'{text}' is not amqp://user:password@host:port/vhost, nor amqps://"));
        let (tls, rest) = match (text.strip_prefix("amqps://"), text.strip_prefix("amqp://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(bad()),
        };
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, vhost)) => (authority, decode(vhost).ok_or_else(bad)?),
            None => (rest, "/".into()),
        };
        let (login, host) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let port = if tls { 5671 } else { 5672 };
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
        let decoded = |text| decode(text).ok_or_else(bad);
        let vhost = if vhost.is_empty() { "/".into() } else { vhost };
        Ok(Self { user: decoded(user)?, password: decoded(password)?, address, vhost, tls })
    }

    fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or(&self.address, |(host, _)| host)
    }
}

/// Percent-decodes.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

const READ_BUFFER_BYTES: usize = 256 * 1024;
const IDLE_BUFFER_BYTES: usize = 512;
/// A broker that says nothing for this long has failed a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An open connection.
pub(super) struct Connection {
    link: Link,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    pub(super) frame_max: u32,
}

impl Connection {
    pub(super) fn open(uri: &Uri, heartbeat_s: u16, name: &str) -> Result<Self, PerfError> {
        let host = uri.tls.then(|| uri.host());
        let link = Link::open(&uri.address, host).map_err(PerfError::io(format!("connect to {}", uri.address)))?;
        link.stream().set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(PerfError::io("read timeout"))?;
        let mut connection = Self { link, buffer: vec![0; READ_BUFFER_BYTES], from: 0, to: 0, frame_max: 131_072 };
        connection.write(b"AMQP\x00\x00\x09\x01")?;
        connection.expect(|method| matches!(method, Method::ConnectionStart { .. }))?;
        let capabilities: Table = ["consumer_cancel_notify", "connection.blocked", "authentication_failure_close"]
            .into_iter()
            .map(|name| (name, Value::Bool(true)))
            .collect();
        let properties: Table = [
            ("capabilities", Value::Table(capabilities)),
            ("product", "lepus perf".into()),
            ("connection_name", name.into()),
        ]
        .into_iter()
        .collect();
        let mut encoded = Vec::new();
        properties.encode_bare(&mut encoded);
        let response = format!("\0{}\0{}", uri.user, uri.password);
        connection.send(
            0,
            &Method::ConnectionStartOk {
                client_properties: RawTable(&encoded),
                mechanism: "PLAIN",
                response: response.as_bytes(),
                locale: "en_US",
            },
        )?;
        let mut tuned = (0, 0);
        connection.expect(|method| match *method {
            Method::ConnectionTune { channel_max, frame_max, .. } => {
                tuned = (channel_max, frame_max);
                true
            }
            _ => false,
        })?;
        let (channel_max, frame_max) = tuned;
        connection.frame_max = if frame_max == 0 { 131_072 } else { frame_max };
        let mut out = Vec::new();
        Method::ConnectionTuneOk { channel_max, frame_max: connection.frame_max, heartbeat: heartbeat_s }
            .encode_frame(0, &mut out);
        Method::ConnectionOpen { virtual_host: &uri.vhost }.encode_frame(0, &mut out);
        connection.write(&out)?;
        connection.expect(|method| matches!(method, Method::ConnectionOpenOk {}))?;
        Ok(connection)
    }

    pub(super) fn open_channel(&mut self, number: u16) -> Result<(), PerfError> {
        self.call(number, &Method::ChannelOpen {}, |method| matches!(method, Method::ChannelOpenOk {}))
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.link.stream()
    }

    /// Somebody else may read the stream.
    pub(super) fn is_plain(&self) -> bool {
        !self.link.is_tls()
    }

    /// For a connection that is to be silent: gives its buffer back.
    pub(super) fn shrink(&mut self) {
        self.buffer = vec![0; IDLE_BUFFER_BYTES];
        (self.from, self.to) = (0, 0);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PerfError> {
        self.link.write_all(bytes).map_err(PerfError::io("write"))
    }

    pub(super) fn send(&mut self, channel: u16, method: &Method<'_>) -> Result<(), PerfError> {
        let mut out = Vec::new();
        method.encode_frame(channel, &mut out);
        self.write(&out)
    }

    /// Sends a method and waits for its answer.
    pub(super) fn call(
        &mut self,
        channel: u16,
        method: &Method<'_>,
        is_answer: impl FnMut(&Method<'_>) -> bool,
    ) -> Result<(), PerfError> {
        self.send(channel, method)?;
        self.expect(is_answer)
    }

    fn expect(&mut self, mut is_answer: impl FnMut(&Method<'_>) -> bool) -> Result<(), PerfError> {
        let mut found = false;
        while !found {
            let read = self.read_frames(|frame| {
                if frame.kind != FrameKind::Method {
                    return Ok(true);
                }
                let method = Method::decode(frame.payload).map_err(|error| PerfError::Protocol(error.to_string()))?;
                check_close(&method)?;
                found = is_answer(&method);
                Ok(!found)
            })?;
            if !found && !read {
                return Err(PerfError::Protocol("no answer".into()));
            }
        }
        Ok(())
    }

    /// Handles the frames that are there, reading once if there are none; `handle` says whether it wants more. False:
    /// nothing came within the read timeout.
    pub(super) fn read_frames(
        &mut self,
        mut handle: impl FnMut(Frame<'_>) -> Result<bool, PerfError>,
    ) -> Result<bool, PerfError> {
        let mut handled = false;
        loop {
            while let Some((frame, taken)) = cut(&self.buffer[self.from..self.to], u32::MAX)
                .map_err(|error| PerfError::Protocol(error.to_string()))?
            {
                self.from += taken;
                handled = true;
                if !handle(frame)? {
                    return Ok(true);
                }
            }
            if handled {
                return Ok(true);
            }
            self.make_room();
            match self.link.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Err(PerfError::io("read")(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.to += read,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(false);
                }
                Err(error) => return Err(PerfError::io("read")(error)),
            }
        }
    }

    fn make_room(&mut self) {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        if self.to == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> Result<(), PerfError> {
        let timeout = timeout.max(Duration::from_micros(1));
        self.stream().set_read_timeout(Some(timeout)).map_err(PerfError::io("read timeout"))
    }

    pub(super) fn close(mut self) -> Result<(), PerfError> {
        self.stream().set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(PerfError::io("read timeout"))?;
        let close = Method::ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
        self.call(0, &close, |method| matches!(method, Method::ConnectionCloseOk {}))
    }
}

/// A close from the broker is an error wherever it comes.
pub(super) fn check_close(method: &Method<'_>) -> Result<(), PerfError> {
    match method {
        Method::ConnectionClose { reply_code, reply_text, .. }
        | Method::ChannelClose { reply_code, reply_text, .. } => {
            Err(PerfError::Closed { code: *reply_code, text: (*reply_text).to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read() {
        let uri = Uri::parse("amqp://me:p%40ss@host:1234/%2ftest").unwrap();
        assert_eq!((uri.user.as_str(), uri.password.as_str()), ("me", "p@ss"));
        assert_eq!((uri.address.as_str(), uri.vhost.as_str()), ("host:1234", "/test"));
        let uri = Uri::parse("amqp://localhost").unwrap();
        assert_eq!((uri.user.as_str(), uri.address.as_str(), uri.vhost.as_str()), ("guest", "localhost:5672", "/"));
        let uri = Uri::parse("amqps://localhost").unwrap();
        assert_eq!((uri.tls, uri.host(), uri.address.as_str()), (true, "localhost", "localhost:5671"));
        assert!(Uri::parse("http://localhost").is_err() && Uri::parse("amqp://h/%zz").is_err());
    }
}
