//! From the protocol header to an open vhost.
//!
//! ```text
//! client          | header        start-ok      tune-ok         open
//! server          |        start          tune                        open-ok
//! step            | Header StartOk        TuneOk        Open          (opened)
//! ```

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tracing::info;

use super::outbound::Outbound;
use super::reply::{Fault, Ids, Sin};
use super::{CLOSE_TIMEOUT_MAX, Options, Peer};
use crate::auth::{Asked, Denied, Later, Mechanism, Refused, User, Verdict, loggable};
use crate::broker::{self, Broker, Client, ConnectionInfo, RABBITMQ_VERSION};
use crate::wire::{FRAME_OVERHEAD, Frame, FrameKind, Method, RawTable, ReplyCode, Table, TableError, Value};

/// What a server answers to a header it does not accept: the version it speaks.
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// What stands for it where attempts to log in are told.
const PROTOCOL: &str = "amqp091";
/// Smallest frame_max a client may ask for (0-9-1 spec 4.2.3; RabbitMQ 4.1 raised it to 8192).
const FRAME_MAX_MIN: u32 = 4096;

/// HS-1: 0-9-1, and the header of 0-9 that RabbitMQ takes for it. 4.x refuses 0-8.
fn accepts(header: &[u8; 8]) -> bool {
    [PROTOCOL_HEADER, *b"AMQP\x01\x01\x00\x09"].contains(header)
}

/// PR-1, PR-2.
fn write_start(options: &Options, peer: &Peer, out: &mut Vec<u8>) {
    let capabilities = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ];
    let capabilities: Table = capabilities.into_iter().map(|name| (name, Value::Bool(true))).collect();
    let information = "Lepus: a RabbitMQ-compatible broker. Licensed under the Apache License 2.0";
    let mut properties: Table = [
        ("capabilities", Value::Table(capabilities)),
        ("cluster_name", options.cluster_name.as_str().into()),
        ("copyright", "Copyright (c) the Lepus authors".into()),
        ("information", information.into()),
        ("platform", concat!("Lepus/", env!("CARGO_PKG_VERSION")).into()),
        ("product", "RabbitMQ".into()),
        ("version", RABBITMQ_VERSION.into()),
    ]
    .into_iter()
    .collect();
    for (key, value) in options.server_properties.iter() {
        properties.insert(key, value.clone());
    }
    properties.sort();
    let mut encoded = Vec::new();
    properties.encode_bare(&mut encoded);
    Method::ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties: RawTable(&encoded),
        mechanisms: offered(options, peer).map(Mechanism::as_str).collect::<Vec<_>>().join(" ").as_bytes(),
        locales: b"en_US",
    }
    .encode_frame(0, out);
}

/// The mechanisms that this client may choose from. Some take the first.
fn offered(options: &Options, peer: &Peer) -> impl Iterator<Item = Mechanism> {
    let has_certificate = peer.has_certificate();
    options.mechanisms.iter().copied().filter(move |mechanism| *mechanism != Mechanism::External || has_certificate)
}

/// Who it is. A mechanism that was not offered is none (HS-10).
fn authenticate(mechanism: &str, response: &[u8], server: Server<'_>) -> Asked<Result<Arc<User>, Refused>> {
    let (auth, from) = (server.broker.auth(), server.peer.origin());
    match offered(server.options, server.peer).find(|offered| offered.as_str() == mechanism) {
        None => Asked::Now(Err(Refused::Malformed)),
        Some(Mechanism::External) => match server.peer.tls.as_ref().and_then(|tls| tls.user.as_deref()) {
            Some(name) => auth.log_in_proved(name, from),
            None => Asked::Now(Err(Refused::Nameless)),
        },
        Some(Mechanism::Anonymous) => {
            let (name, password) = &server.options.anonymous_login;
            auth.log_in(name, password.as_bytes(), from)
        }
        Some(by_password) => auth.log_in_by(by_password, response, from),
    }
}

const START_OK_IDS: Ids = (10, 11);
const TUNE_IDS: Ids = (10, 30);
const OPEN_IDS: Ids = (10, 40);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Handshake {
    step: Step,
    /// It must be over by then (HS-8).
    until: Instant,
}

#[derive(Debug)]
enum Step {
    Header,
    StartOk,
    /// Nothing is read before the backends have answered.
    LoggingIn(Box<Applicant>, Later<Result<Arc<User>, Refused>>),
    TuneOk(LoggedIn),
    Open(LoggedIn, Tuned),
    /// Nothing is read before the user's backend has answered.
    Opening(LoggedIn, Tuned, String, Later<Verdict>),
}

/// Wants to log in.
#[derive(Debug)]
struct Applicant {
    properties: ClientProperties,
    mechanism: String,
    /// All that the client said.
    sent: Table,
}

/// Logged in.
#[derive(Clone, Debug)]
struct LoggedIn {
    user: Arc<User>,
    properties: ClientProperties,
    mechanism: String,
    /// All that the client said.
    sent: Table,
}

/// What a header or frame led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// The next is awaited.
    Next,
    /// A protocol that is not spoken here; the answer is written (HS-2).
    BadHeader,
    /// The login failed; what is to be told of it is written (HS-9, HS-10).
    LoginRefused(Refused),
    /// open-ok is written.
    Opened(Opened),
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) client: Box<Client>,
    pub(super) tuned: Tuned,
    pub(super) properties: ClientProperties,
}

/// What it meets: the broker, how sessions behave, who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'a> {
    pub(super) broker: &'a Broker,
    pub(super) options: &'a Options,
    pub(super) peer: &'a Peer,
}

impl Handshake {
    pub(super) fn new(until: Instant) -> Self {
        Self { step: Step::Header, until }
    }

    /// When it must be over.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// The protocol header has not come yet; frames come after it.
    pub(super) fn awaits_header(&self) -> bool {
        matches!(self.step, Step::Header)
    }

    /// A backend is asked; what the client sends meanwhile waits.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::LoggingIn(..) | Step::Opening(..))
    }

    /// Whether the client is told what is wrong; before it has agreed on limits there is silence only. RabbitMQ is
    /// silent about a bad tune-ok, too, which helps nobody (section 8).
    pub(super) fn tells(&self, sin: &Sin) -> bool {
        matches!(self.step, Step::Open(..) | Step::Opening(..)) || (sin.class_id, sin.method_id) == TUNE_IDS
    }

    /// Largest payload accepted now.
    pub(super) fn payload_max(&self, options: &Options) -> u32 {
        match &self.step {
            Step::Open(_, tuned) | Step::Opening(_, tuned, ..) => tuned.payload_max(),
            _ => options.initial_frame_max,
        }
    }

    /// The first eight bytes.
    pub(super) fn header(&mut self, header: &[u8; 8], options: &Options, peer: &Peer, out: &mut Outbound) -> Progress {
        if !accepts(header) {
            out.frames(|out| out.extend_from_slice(&PROTOCOL_HEADER));
            return Progress::BadHeader;
        }
        out.frames(|out| write_start(options, peer, out));
        self.step = Step::StartOk;
        Progress::Next
    }

    /// A frame after the header.
    pub(super) fn frame(
        &mut self,
        frame: Frame<'_>,
        server: Server<'_>,
        out: &mut Outbound,
    ) -> Result<Progress, Fault> {
        if frame.kind == FrameKind::Heartbeat {
            return Ok(Progress::Next);
        }
        if frame.kind != FrameKind::Method || frame.channel != 0 {
            return Err(Fault::unexpected_frame((0, 0), "unexpected frame in handshake"));
        }
        let unreadable = |error| Fault::unreadable(frame.kind, frame.payload, &error);
        let method = Method::decode(frame.payload).map_err(unreadable)?;
        match (&self.step, method) {
            (Step::StartOk, Method::ConnectionStartOk { client_properties, mechanism, response, .. }) => {
                let (properties, sent) = ClientProperties::read(client_properties)?;
                let applicant = Applicant { properties, mechanism: mechanism.to_owned(), sent };
                Ok(self.login(applicant, response, server, out))
            }
            (Step::TuneOk(logged_in), Method::ConnectionTuneOk { channel_max, frame_max, heartbeat }) => {
                let tuned = Tuned::agree(server.options, channel_max, frame_max, heartbeat)?;
                self.step = Step::Open(logged_in.clone(), tuned);
                Ok(Progress::Next)
            }
            (Step::Open(logged_in, tuned), Method::ConnectionOpen { virtual_host }) => {
                let (logged_in, tuned) = (logged_in.clone(), *tuned);
                let asked = match logged_in.user.authorizer() {
                    Some(authorizer) if server.broker.vhost(virtual_host).is_some() => {
                        authorizer.admit(virtual_host, Some(server.peer.origin()))
                    }
                    // That it is not there is found out when it is opened.
                    Some(_) => Asked::Now(Err(Denied::default())),
                    None => Asked::Now(Ok(())),
                };
                match asked {
                    Asked::Now(admitted) => {
                        open(&logged_in, tuned, virtual_host, admitted, server, out).map(Progress::Opened)
                    }
                    Asked::Later(answer) => {
                        self.step = Step::Opening(logged_in, tuned, virtual_host.to_owned(), answer);
                        Ok(Progress::Next)
                    }
                }
            }
            (step, method) => {
                let state = match step {
                    Step::Header | Step::StartOk | Step::LoggingIn(..) => "starting",
                    Step::TuneOk(_) => "tuning",
                    Step::Open(..) | Step::Opening(..) => "opening",
                };
                let text = format!("unexpected method in connection state {state}");
                Err(Fault::connection(ReplyCode::ChannelError, method.ids(), text))
            }
        }
    }

    fn login(&mut self, applicant: Applicant, response: &[u8], server: Server<'_>, out: &mut Outbound) -> Progress {
        let asked = authenticate(&applicant.mechanism, response, server);
        match asked {
            Asked::Now(answer) => self.logged_in(applicant, answer, server, out),
            Asked::Later(answer) => {
                self.step = Step::LoggingIn(Box::new(applicant), answer);
                Progress::Next
            }
        }
    }

    fn logged_in(
        &mut self,
        applicant: Applicant,
        answer: Result<Arc<User>, Refused>,
        server: Server<'_>,
        out: &mut Outbound,
    ) -> Progress {
        let Applicant { properties, mechanism, sent } = applicant;
        match answer {
            Ok(user) => {
                server.broker.count_login_source(PROTOCOL, server.peer.peer_addr.ip(), &user.name, true);
                server.broker.tell_login(true, &user.name, &server.peer.connection_name(), &mechanism);
                let Options { channel_max, frame_max, heartbeat_s, .. } = *server.options;
                let tune = Method::ConnectionTune { channel_max, frame_max, heartbeat: heartbeat_s };
                out.frames(|out| tune.encode_frame(0, out));
                self.step = Step::TuneOk(LoggedIn { user, properties, mechanism, sent });
                Progress::Next
            }
            Err(refused) => {
                server.broker.count_login_source(PROTOCOL, server.peer.peer_addr.ip(), refused.user(), false);
                server.broker.tell_login(false, refused.user(), &server.peer.connection_name(), &mechanism);
                server.broker.log_refused_login(
                    "AMQP 0-9-1",
                    &loggable(&mechanism),
                    Some(server.peer.peer_addr),
                    &refused,
                );
                if properties.authentication_failure_close && refused != Refused::Malformed {
                    let text = format!(
                        "Login was refused using authentication mechanism {mechanism}. For details see the broker \
                         logfile."
                    );
                    let sin = Sin::new(ReplyCode::AccessRefused, (0, 0), text);
                    out.frames(|out| sin.connection_close(out));
                }
                Progress::LoginRefused(refused)
            }
        }
    }

    /// Goes on, if what a backend was asked has been answered.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        server: Server<'_>,
        out: &mut Outbound,
    ) -> Poll<Result<Progress, Fault>> {
        match &mut self.step {
            Step::LoggingIn(_, answer) => {
                let answer = ready!(Pin::new(answer).poll(cx));
                match mem::replace(&mut self.step, Step::StartOk) {
                    Step::LoggingIn(applicant, _) => Poll::Ready(Ok(self.logged_in(*applicant, answer, server, out))),
                    step => {
                        self.step = step;
                        Poll::Pending
                    }
                }
            }
            Step::Opening(logged_in, tuned, vhost, answer) => {
                let admitted = ready!(Pin::new(answer).poll(cx));
                let opened = open(logged_in, *tuned, vhost, admitted, server, out);
                // A fault is told as of one that is opening.
                self.step = Step::Open(logged_in.clone(), *tuned);
                Poll::Ready(opened.map(Progress::Opened))
            }
            Step::Header | Step::StartOk | Step::TuneOk(_) | Step::Open(..) => Poll::Pending,
        }
    }
}

fn open(
    logged_in: &LoggedIn,
    tuned: Tuned,
    vhost: &str,
    admitted: Verdict,
    server: Server<'_>,
    out: &mut Outbound,
) -> Result<Opened, Fault> {
    let LoggedIn { user, properties, mechanism, sent } = logged_in.clone();
    let info = ConnectionInfo {
        name: server.peer.connection_name(),
        user_provided_name: properties.connection_name.clone(),
        handshake: broker::Handshake {
            peer: Some(server.peer.peer_addr),
            local: Some(server.peer.local_addr),
            auth_mechanism: mechanism,
            client_properties: sent,
            frame_max: tuned.frame_max,
            channel_max: tuned.channel_max,
            heartbeat_s: tuned.heartbeat_s,
            tls: server.peer.tls.as_ref().map(|tls| tls.report.clone()),
        },
    };
    let (connection, info_name, user_name) =
        (info.name.clone(), properties.connection_name.as_deref().map(loggable), user.name.clone());
    let client = Client::open_admitted(server.broker, user, vhost, info, admitted)
        .map_err(|refusal| Fault::refused(&refusal, OPEN_IDS))?;
    let client_name = info_name.as_deref();
    info!(
        target: "connection",
        connection, user = user_name, vhost, client_name, "user authenticated and granted access to vhost"
    );
    out.frames(|out| Method::ConnectionOpenOk {}.encode_frame(0, out));
    Ok(Opened { client: Box::new(client), tuned, properties })
}

/// What the client said of itself (PR-3, PR-4).
#[derive(Clone, Debug, Default)]
pub(super) struct ClientProperties {
    authentication_failure_close: bool,
    pub(super) consumer_cancel_notify: bool,
    pub(super) connection_blocked: bool,
    pub(super) connection_name: Option<String>,
}

impl ClientProperties {
    /// What matters of it, and all.
    fn read(raw: RawTable<'_>) -> Result<(Self, Table), Fault> {
        let malformed = |error: TableError| Fault::connection(ReplyCode::SyntaxError, START_OK_IDS, error.to_string());
        let properties = raw.parse().map_err(malformed)?;
        let capability = |name: &str| match properties.get("capabilities") {
            Some(Value::Table(capabilities)) => capabilities.get(name) == Some(&Value::Bool(true)),
            _ => false,
        };
        let read = Self {
            authentication_failure_close: capability("authentication_failure_close"),
            consumer_cancel_notify: capability("consumer_cancel_notify"),
            connection_blocked: capability("connection.blocked"),
            connection_name: properties.get("connection_name").and_then(Value::as_str).map(Into::into),
        };
        Ok((read, properties))
    }
}

/// Limits both sides have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tuned {
    /// Of the largest frame in bytes; 0 is without limit.
    pub(super) frame_max: u32,
    pub(super) channel_max: u16,
    /// Seconds; 0 is none.
    pub(super) heartbeat_s: u16,
}

impl Tuned {
    /// Checks tune-ok (HS-6). RabbitMQ goes silent where it fails; 4.x's source has this close method for it.
    fn agree(options: &Options, channel_max: u16, frame_max: u32, heartbeat_s: u16) -> Result<Self, Fault> {
        check("frame_max", FRAME_MAX_MIN, options.frame_max, frame_max)?;
        check("channel_max", 0, options.channel_max.into(), channel_max.into())?;
        Ok(Self { frame_max, channel_max, heartbeat_s })
    }

    /// How long close-ok is waited for.
    pub(super) fn close_timeout(self) -> Duration {
        match self.heartbeat_s {
            0 => CLOSE_TIMEOUT_MAX,
            seconds => CLOSE_TIMEOUT_MAX.min(Duration::from_secs(seconds.into())),
        }
    }

    /// Largest payload accepted: the whole frame_max, 8 more than the specification allows (FR-2).
    pub(super) fn payload_max(self) -> u32 {
        if self.frame_max == 0 { u32::MAX - FRAME_OVERHEAD as u32 } else { self.frame_max }
    }
}

fn check(field: &str, min: u32, server: u32, client: u32) -> Result<(), Fault> {
    let failed = |relation: &str, bound: &str, limit: u32| {
        let detail = if client == 0 && field == "channel_max" { " (no limit)" } else { "" };
        let text =
            format!("negotiated {field} = {client}{detail} is {relation} than the {bound} allowed value ({limit})");
        Err(Fault::connection(ReplyCode::NotAllowed, TUNE_IDS, text))
    };
    if client != 0 && client < min {
        return failed("lower", "minimum", min);
    }
    if server != 0 && (client == 0 || client > server) {
        return failed("higher", "maximum", server);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES HS-6.
    #[test]
    fn tune_ok_stays_within_what_was_offered() {
        let agree = |channel_max, frame_max| Tuned::agree(&Options::default(), channel_max, frame_max, 0);
        assert!(agree(2047, 131_072).is_ok() && agree(1, 4096).is_ok());
        let text = |result: Result<Tuned, Fault>| match result {
            Err(Fault::Connection(sin)) => sin.text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(agree(1, 4095)), "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)");
        assert_eq!(
            text(agree(1, 131_073)),
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"
        );
        assert_eq!(
            text(agree(0, 4096)),
            "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"
        );
        assert_eq!(text(agree(1, 0)), "negotiated frame_max = 0 is higher than the maximum allowed value (131072)");
    }

    /// FEATURES HS-1.
    #[test]
    fn headers_of_0_9_are_taken_too() {
        assert!(accepts(b"AMQP\x00\x00\x09\x01") && accepts(b"AMQP\x01\x01\x00\x09"));
        assert!(!accepts(b"AMQP\x01\x01\x08\x00"));
        assert!(!accepts(b"AMQP\x03\x01\x00\x00") && !accepts(b"GET / HT"));
    }
}
