//! One connection, sans I/O: bytes come in by [`Session::receive`], what the broker says by [`Session::events`], time by
//! [`Session::timeout`]; frames leave through [`Outbound`].
//!
//! ```text
//! Handshake -> Running -> Finishing (the client closes) -> Ended
//!     |   |       `-----> Closing   (the server closes) -> Ended
//!     |   `-------------> Closing   (refused, and told)
//!     `-----------------> Silent    (refused, and not told) -> Ended
//! ```

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{fmt, mem};

use tracing::{debug, info};

use super::closing::{Closing, Finishing};
use super::handshake::{Handshake, Progress, Server};
use super::heartbeat::Traffic;
use super::outbound::Outbound;
use super::reply::Fault;
use super::running::{Leave, Running};
use super::{Options, Peer};
use crate::auth::Refused;
use crate::broker::{Broker, Client, Event};
use crate::wire::{FrameError, cut};

/// Why a session is over; for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ended {
    /// The client closed it properly.
    ClosedByClient,
    /// The server closed it; the reply text.
    ClosedByServer(String),
    /// The peer closed the socket, or it failed.
    Disconnected,
    /// Nothing came for more than two heartbeat intervals.
    HeartbeatTimeout,
    /// The handshake took too long.
    HandshakeTimeout,
    /// Not a protocol spoken here.
    BadHeader,
    /// Login refused.
    LoginRefused(Refused),
    /// The handshake was not one; the reason.
    HandshakeFailed(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByClient => f.write_str("closed by the client"),
            Self::ClosedByServer(text) => f.write_str(text),
            Self::Disconnected => f.write_str("client unexpectedly closed TCP connection"),
            Self::HeartbeatTimeout => f.write_str("missed heartbeats from client"),
            Self::HandshakeTimeout => f.write_str("handshake timeout"),
            Self::BadHeader => f.write_str("bad protocol header"),
            Self::LoginRefused(refused) => write!(f, "login refused: {refused}"),
            Self::HandshakeFailed(text) => write!(f, "handshake failed: {text}"),
        }
    }
}

impl Ended {
    /// RabbitMQ cuts such a connection off instead of closing it: the peer sees a reset (HS-3, HS-7 to HS-10).
    pub fn is_abrupt(&self) -> bool {
        !matches!(self, Self::ClosedByClient | Self::ClosedByServer(_) | Self::Disconnected)
    }
}

/// How long a peer that sent what cannot be read, or was refused at the door, has to read why.
const REFUSED_GRACE: Duration = Duration::from_secs(3);

enum Phase {
    Handshake(Handshake),
    Running(Box<Running>),
    Finishing(Box<Finishing>),
    Closing(Box<Closing>),
    /// Refused without a word; the socket closes after a while.
    Silent {
        until: Instant,
        ended: Ended,
    },
    Ended(Ended),
}

/// See the module's documentation.
pub struct Session {
    phase: Phase,
    broker: Broker,
    options: Arc<Options>,
    peer: Peer,
    /// The user and the vhost, once it is open, and behind its end.
    login: Option<(Arc<str>, Arc<str>)>,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(broker: Broker, options: Arc<Options>, peer: Peer, now: Instant) -> Self {
        let handshake = Handshake::new(now + options.handshake_timeout);
        Self { phase: Phase::Handshake(handshake), broker, options, peer, login: None }
    }

    /// The session is over once what is in [`Outbound`] is written.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.phase {
            Phase::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// The connection is open, or was.
    pub fn has_opened(&self) -> bool {
        self.login.is_some()
    }

    /// The client has closed and has its answer: the connection is over and only the socket is still there, until the
    /// client ends it.
    pub fn is_closed(&self) -> bool {
        matches!(&self.phase, Phase::Finishing(finishing) if finishing.is_answered())
    }

    /// What the log says of the end.
    pub fn tell_end(&self, ended: &Ended) {
        let (user, vhost) = self.login.as_ref().map(|(user, vhost)| (&**user, &**vhost)).unzip();
        let connection = self.peer.connection_name();
        match ended {
            // Told when it happened.
            Ended::LoginRefused(_) => {}
            // A balancer that looks whether somebody listens.
            Ended::Disconnected if !self.has_opened() => {
                debug!(target: "connection", connection, "closed before a login");
            }
            ended => info!(target: "connection", connection, user, vhost, reason = %ended, "closing AMQP connection"),
        }
    }

    /// How the connection ends if the client ends the stream now.
    pub fn end_of_stream(&self) -> Ended {
        match &self.phase {
            Phase::Ended(ended) => ended.clone(),
            _ if self.is_closed() => Ended::ClosedByClient,
            _ => Ended::Disconnected,
        }
    }

    /// Whether [`Self::receive`] would take anything.
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Running(running) => running.wants_input(),
            Phase::Handshake(handshake) => !handshake.is_waiting(),
            Phase::Ended(_) => false,
            _ => true,
        }
    }

    /// Part of a huge body has come, and more must come.
    pub fn takes_huge_body(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if running.takes_huge_body())
    }

    /// The door to the broker, for taking events; `None` before it is open and when it is closed.
    pub fn client(&mut self) -> Option<&mut Client> {
        match &mut self.phase {
            Phase::Running(running) => Some(running.client()),
            Phase::Finishing(finishing) => finishing.client(),
            Phase::Closing(closing) => closing.client(),
            Phase::Handshake(_) | Phase::Silent { .. } | Phase::Ended(_) => None,
        }
    }

    // --- bytes in ---

    /// Handles whole frames at the front of `input`, as many as it wants; gives the number of bytes it is done with.
    pub fn receive(&mut self, now: Instant, input: &[u8], out: &mut Outbound) -> usize {
        let mut done = 0;
        while self.wants_input() {
            let taken = match input.get(done..) {
                Some(rest) if !rest.is_empty() => self.receive_some(now, rest, out),
                _ => break,
            };
            if taken == 0 {
                break;
            }
            done += taken;
        }
        done
    }

    /// Frames of one phase; 0: more bytes are needed.
    fn receive_some(&mut self, now: Instant, input: &[u8], out: &mut Outbound) -> usize {
        match &mut self.phase {
            Phase::Handshake(_) => self.handshake_frame(now, input, out),
            Phase::Running(running) => {
                let (taken, leave) = running.receive(input, out);
                match leave {
                    None => return taken,
                    Some(Leave::ClientCloses) => self.finish(now, out),
                    Some(Leave::Fault(fault)) => self.fail(now, fault, out),
                    Some(Leave::FrameError(error)) => return taken + self.fail_frame(now, &input[taken..], error, out),
                }
                taken
            }
            Phase::Finishing(finishing) => finishing.receive(input, out),
            Phase::Closing(closing) => {
                let (taken, answered) = closing.receive(input, out);
                if answered {
                    self.phase = Phase::Ended(Ended::ClosedByServer(closing.take_text()));
                }
                taken
            }
            Phase::Silent { .. } | Phase::Ended(_) => input.len(),
        }
    }

    // --- handshake ---

    fn handshake_frame(&mut self, now: Instant, input: &[u8], out: &mut Outbound) -> usize {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return 0;
        };
        if handshake.awaits_header() {
            let Some(header) = input.first_chunk() else {
                return 0;
            };
            let progress = handshake.header(header, &self.options, &self.peer, out);
            self.progress(now, progress);
            return header.len();
        }
        let (frame, taken) = match cut(input, handshake.payload_max(&self.options)) {
            Ok(Some(found)) => found,
            Ok(None) => return 0,
            Err(error) => return self.fail_frame(now, input, error, out),
        };
        let server = Server { broker: &self.broker, options: &self.options, peer: &self.peer };
        match handshake.frame(frame, server, out) {
            Ok(progress) => self.progress(now, progress),
            Err(fault) => self.fail(now, fault, out),
        }
        taken
    }

    fn progress(&mut self, now: Instant, progress: Progress) {
        self.phase = match progress {
            Progress::Next => return,
            Progress::BadHeader => Phase::Ended(Ended::BadHeader),
            Progress::LoginRefused(refused) => {
                Phase::Silent { until: now + self.options.auth_failure_delay, ended: Ended::LoginRefused(refused) }
            }
            Progress::Opened(opened) => {
                let mut running = Box::new(Running::new(opened, &self.options, now));
                self.login = Some(running.client().login());
                Phase::Running(running)
            }
        };
    }

    // --- the end ---

    /// The client closes (M-2).
    fn finish(&mut self, now: Instant, out: &mut Outbound) {
        match mem::replace(&mut self.phase, Phase::Ended(Ended::ClosedByClient)) {
            Phase::Running(running) => {
                let tuned = running.tuned();
                let until = now + tuned.close_timeout();
                let finishing = Finishing::new(running.into_client(), tuned.payload_max(), until, out);
                self.phase = Phase::Finishing(Box::new(finishing));
            }
            phase => self.phase = phase,
        }
    }

    /// A frame that cannot be accepted, at the front of `input`. Gives what to pass over: all, if nobody knows where
    /// the next frame begins.
    fn fail_frame(&mut self, now: Instant, input: &[u8], error: FrameError, out: &mut Outbound) -> usize {
        let end = error.frame_end(input);
        self.fail(now, error.into(), out);
        if end.is_none()
            && let Phase::Closing(closing) = &mut self.phase
        {
            closing.stop_listening(now + REFUSED_GRACE);
        }
        end.unwrap_or(input.len())
    }

    /// A fault that is not a channel's.
    fn fail(&mut self, now: Instant, fault: Fault, out: &mut Outbound) {
        let sin = fault.into_sin();
        match mem::replace(&mut self.phase, Phase::Ended(Ended::Disconnected)) {
            Phase::Running(running) => {
                let tuned = running.tuned();
                let until = now + tuned.close_timeout();
                let closing = Closing::new(Some(running.into_client()), sin, until, tuned.payload_max(), out);
                self.phase = Phase::Closing(Box::new(closing));
            }
            Phase::Handshake(handshake) if handshake.tells(&sin) => {
                let payload_max = handshake.payload_max(&self.options);
                let closing = Closing::new(None, sin, now + REFUSED_GRACE, payload_max, out);
                self.phase = Phase::Closing(Box::new(closing));
            }
            Phase::Handshake(_) => {
                let until = now + self.options.auth_failure_delay;
                self.phase = Phase::Silent { until, ended: Ended::HandshakeFailed(sin.reply_text()) };
            }
            phase => self.phase = phase,
        }
    }

    // --- what the broker says ---

    /// Handles what has come in the client's mailbox; leaves `events` empty.
    pub fn events(&mut self, now: Instant, events: &mut Vec<Event>, out: &mut Outbound) {
        let mut done = 0;
        while done < events.len() {
            let rest = &mut events[done..];
            match &mut self.phase {
                Phase::Running(running) => {
                    let (handled, fault) = running.events(rest, out);
                    done += handled;
                    if let Some(fault) = fault {
                        self.fail(now, fault, out);
                    }
                    continue;
                }
                Phase::Finishing(finishing) => finishing.event(&rest[0], out),
                Phase::Closing(closing) => closing.event(&rest[0], out),
                Phase::Handshake(_) | Phase::Silent { .. } | Phase::Ended(_) => {}
            }
            done += 1;
        }
        events.clear();
    }

    /// To be called when a batch of input or events is handled: writes confirms, hands batches to lanes.
    pub fn flush(&mut self, out: &mut Outbound) {
        if let Phase::Running(running) = &mut self.phase {
            running.flush(out);
        }
    }

    /// To be called when something was written.
    pub fn sent(&self, out: &Outbound) {
        if let Phase::Running(running) = &self.phase {
            running.sent(out);
        }
    }

    // --- what backends answer ---

    /// Takes what a backend was asked for the connection as a whole, if it is answered: a login, the way into a vhost, a
    /// new secret. Has the task woken when it is. True: something has moved.
    pub fn poll_backends(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut Outbound) -> bool {
        match &mut self.phase {
            Phase::Handshake(handshake) => {
                let server = Server { broker: &self.broker, options: &self.options, peer: &self.peer };
                match handshake.poll(cx, server, out) {
                    Poll::Pending => return false,
                    Poll::Ready(Ok(progress)) => self.progress(now, progress),
                    Poll::Ready(Err(fault)) => self.fail(now, fault, out),
                }
            }
            Phase::Running(running) => match running.poll_credential(cx, now, out) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => self.flush(out),
                Poll::Ready(Err(fault)) => self.fail(now, fault, out),
            },
            _ => return false,
        }
        true
    }

    // --- time ---

    /// When [`Self::timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(handshake) => Some(handshake.until()),
            Phase::Running(running) => running.next_timeout(),
            Phase::Finishing(finishing) => Some(finishing.until()),
            Phase::Closing(closing) => Some(closing.until()),
            Phase::Silent { until, .. } => Some(*until),
            Phase::Ended(_) => None,
        }
    }

    /// Does what is due. `traffic` is what went over the socket since the last call.
    pub fn timeout(&mut self, now: Instant, traffic: Traffic, out: &mut Outbound) {
        if let Phase::Running(running) = &mut self.phase
            && let Err(fault) = running.expire(now)
        {
            return self.fail(now, fault, out);
        }
        let ended = match &mut self.phase {
            Phase::Running(running) => running.beat(now, traffic, out).then_some(Ended::HeartbeatTimeout),
            Phase::Handshake(handshake) => (handshake.until() <= now).then_some(Ended::HandshakeTimeout),
            Phase::Finishing(finishing) => (finishing.until() <= now).then_some(Ended::ClosedByClient),
            Phase::Closing(closing) => (closing.until() <= now).then(|| Ended::ClosedByServer(closing.take_text())),
            Phase::Silent { until, ended } => (*until <= now).then(|| ended.clone()),
            Phase::Ended(_) => None,
        };
        if let Some(ended) = ended {
            self.phase = Phase::Ended(ended);
        }
    }
}
