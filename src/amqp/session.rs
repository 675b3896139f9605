//! One connection, sans I/O: bytes come in by [`Session::receive`], what the broker says by [`Session::event`], time by
//! [`Session::timeout`]; frames leave through [`Outbound`].
//!
//! ```text
//! Header -> StartOk -> TuneOk -> Open -> Running -> (client closes) Finishing -> Ended
//!    |         |          |       |         `-----> (server closes) Closing ---> Ended
//!    `---------`-- Silent (a refusal nobody is told of) --`-------------------> Ended
//! ```

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::{Channel, Surroundings, second_open};
use super::handshake::{self, ClientProperties, LoggedIn, PROTOCOL_HEADER, Tuned};
use super::heartbeat::Heartbeats;
use super::outbound::Outbound;
use super::reply::{Fault, Sin};
use super::{Options, Peer};
use crate::auth::{Mechanism, Refused};
use crate::broker::{Alarms, Answer, Broker, ChannelKey, Client, ConnectionInfo, Event, Reply};
use crate::wire::{self, Frame, FrameKind, Method, ReplyCode, cut};

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

/// How long a peer that sent what cannot be read has to read why.
const FRAME_ERROR_GRACE: Duration = Duration::from_secs(3);
/// Longest wait for close-ok.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// The channel key under which the session's own requests go.
const CONNECTION: ChannelKey = ChannelKey { number: 0, epoch: 0 };

enum Phase {
    Header,
    StartOk,
    TuneOk(LoggedIn),
    Open(LoggedIn, Tuned),
    Running(Box<Running>),
    /// The client closed; its exclusive queues go before close-ok does.
    Finishing(Box<Client>),
    /// The server closes; the client's exclusive queues go before the close method does.
    Closing {
        client: Option<Box<Client>>,
        /// Not sent yet.
        sin: Option<Sin>,
        text: String,
        until: Instant,
        /// What comes cannot be cut into frames any more.
        deaf: bool,
    },
    /// Refused without a word; the socket closes after a while.
    Silent {
        until: Instant,
        ended: Ended,
    },
    Ended(Ended),
}

struct Running {
    client: Client,
    tuned: Tuned,
    properties: ClientProperties,
    channels: HashMap<u16, ChannelSlot, foldhash::fast::RandomState>,
    channels_opened: u32,
    next_ticket: u64,
    heartbeats: Option<Heartbeats>,
    /// FL-1: it published while an alarm was on.
    blocked: bool,
}

enum ChannelSlot {
    Open(Box<Channel>),
    /// The server closed it: everything but close and close-ok is dropped (M-7).
    Closing,
}

/// See the module's documentation.
pub struct Session {
    phase: Phase,
    broker: Broker,
    options: Arc<Options>,
    peer: Peer,
    /// For everything before open.
    handshake_until: Instant,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(broker: Broker, options: Arc<Options>, peer: Peer, now: Instant) -> Self {
        let handshake_until = now + options.handshake_timeout;
        Self { phase: Phase::Header, broker, options, peer, handshake_until }
    }

    /// The session is over once what is in [`Outbound`] is written.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.phase {
            Phase::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Whether the socket should be read.
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Running(running) => running.wants_input(),
            Phase::Ended(_) => false,
            _ => true,
        }
    }

    /// The door to the broker, for taking events.
    pub fn client(&mut self) -> Option<&mut Client> {
        match &mut self.phase {
            Phase::Running(running) => Some(&mut running.client),
            Phase::Finishing(client) => Some(client),
            Phase::Closing { client, .. } => client.as_deref_mut(),
            _ => None,
        }
    }

    // --- bytes in ---

    /// Handles all whole frames at the front of `input`; gives the number of bytes it is done with.
    pub fn receive(&mut self, now: Instant, input: &[u8], out: &mut Outbound) -> usize {
        let mut done = 0;
        if let Phase::Running(running) = &mut self.phase
            && let Some(heartbeats) = &mut running.heartbeats
        {
            heartbeats.received();
        }
        while self.wants_input() {
            let rest = &input[done..];
            if rest.is_empty() {
                break;
            }
            match self.receive_one(now, rest, out) {
                0 => break,
                taken => done += taken,
            }
        }
        done
    }

    /// One protocol header or frame; 0: more bytes are needed.
    fn receive_one(&mut self, now: Instant, input: &[u8], out: &mut Outbound) -> usize {
        let payload_max = match &self.phase {
            Phase::Header => return self.header(input, out),
            Phase::Silent { .. } | Phase::Ended(_) | Phase::Closing { deaf: true, .. } => return input.len(),
            Phase::StartOk | Phase::TuneOk(_) => self.options.initial_frame_max,
            Phase::Open(_, tuned) => tuned.payload_max(),
            Phase::Running(running) => running.tuned.payload_max(),
            Phase::Finishing(_) | Phase::Closing { .. } => u32::MAX,
        };
        let (frame, taken) = match cut(input, payload_max) {
            Ok(Some(cut)) => cut,
            Ok(None) => return 0,
            Err(error) => {
                // Where the next frame would begin is anybody's guess.
                self.fail(now, error.into(), out);
                return input.len();
            }
        };
        // What follows a fault is still read: the client may be closing, too (M-2).
        if let Err(fault) = self.frame(now, frame, out) {
            self.fail(now, fault, out);
        }
        taken
    }

    fn frame(&mut self, now: Instant, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        match &mut self.phase {
            Phase::Running(_) if frame.channel == 0 => self.connection_frame(frame, out),
            Phase::Running(running) => running.channel_frame(&self.options, frame, out),
            Phase::Closing { .. } => {
                self.closing_frame(frame, out);
                Ok(())
            }
            Phase::Finishing(_) => Ok(()),
            _ => self.handshake_frame(now, frame, out),
        }
    }

    fn header(&mut self, input: &[u8], out: &mut Outbound) -> usize {
        let Some(header) = input.first_chunk::<8>() else {
            return 0;
        };
        if handshake::accepts(header) {
            out.frames(|out| handshake::write_start(&self.options, out));
            self.phase = Phase::StartOk;
        } else {
            out.frames(|out| out.extend_from_slice(&PROTOCOL_HEADER));
            self.phase = Phase::Ended(Ended::BadHeader);
        }
        header.len()
    }

    fn handshake_frame(&mut self, now: Instant, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        if frame.kind == FrameKind::Heartbeat {
            return Ok(());
        }
        if frame.kind != FrameKind::Method || frame.channel != 0 {
            return Err(Fault::connection(ReplyCode::UnexpectedFrame, (0, 0), "unexpected frame in handshake"));
        }
        let method = Method::decode(frame.payload)?;
        match (mem::replace(&mut self.phase, Phase::Header), method) {
            (Phase::StartOk, Method::ConnectionStartOk { client_properties, mechanism, response, .. }) => {
                let properties = ClientProperties::read(client_properties)?;
                self.login(now, properties, mechanism, response, out)
            }
            (Phase::TuneOk(logged_in), Method::ConnectionTuneOk { channel_max, frame_max, heartbeat }) => {
                let tuned = Tuned::agree(&self.options, channel_max, frame_max, heartbeat)?;
                self.phase = Phase::Open(logged_in, tuned);
                Ok(())
            }
            // php-amqplib may send tune-ok twice.
            (Phase::Open(logged_in, _), Method::ConnectionTuneOk { channel_max, frame_max, heartbeat }) => {
                let tuned = Tuned::agree(&self.options, channel_max, frame_max, heartbeat)?;
                self.phase = Phase::Open(logged_in, tuned);
                Ok(())
            }
            (Phase::Open(logged_in, tuned), Method::ConnectionOpen { virtual_host }) => {
                self.open(now, logged_in, tuned, virtual_host, out)
            }
            (phase, method) => {
                let state = match phase {
                    Phase::StartOk => "starting",
                    Phase::TuneOk(_) => "tuning",
                    _ => "opening",
                };
                self.phase = phase;
                let text = format!("unexpected method in connection state {state}");
                Err(Fault::connection(ReplyCode::ChannelError, method.ids(), text))
            }
        }
    }

    fn login(
        &mut self,
        now: Instant,
        properties: ClientProperties,
        mechanism: &str,
        response: &[u8],
        out: &mut Outbound,
    ) -> Result<(), Fault> {
        let known = Mechanism::parse(mechanism);
        let login = known
            .ok_or(Refused::Malformed)
            .and_then(|mechanism| self.broker.auth().authenticate(mechanism, response, self.peer.is_loopback()));
        match login {
            Ok(user) => {
                let Options { channel_max, frame_max, heartbeat_s, .. } = *self.options;
                let tune = Method::ConnectionTune { channel_max, frame_max, heartbeat: heartbeat_s };
                out.frames(|out| tune.encode_frame(0, out));
                self.phase = Phase::TuneOk(LoggedIn { user, properties });
            }
            Err(refused) => {
                // HS-9, HS-10.
                if properties.authentication_failure_close && refused != Refused::Malformed {
                    let text = format!(
                        "Login was refused using authentication mechanism {mechanism}. For details see the broker \
                         logfile."
                    );
                    let sin = Sin::new(ReplyCode::AccessRefused, (0, 0), text);
                    out.frames(|out| sin.connection_close(out));
                }
                let until = now + self.options.auth_failure_delay;
                self.phase = Phase::Silent { until, ended: Ended::LoginRefused(refused) };
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        now: Instant,
        logged_in: LoggedIn,
        tuned: Tuned,
        vhost: &str,
        out: &mut Outbound,
    ) -> Result<(), Fault> {
        let LoggedIn { user, properties } = logged_in.clone();
        let info = ConnectionInfo {
            name: self.peer.connection_name(),
            user_provided_name: properties.connection_name.clone(),
        };
        // A fault is answered in this phase.
        self.phase = Phase::Open(logged_in, tuned);
        let client =
            Client::open(&self.broker, user, vhost, info).map_err(|refusal| Fault::refused(&refusal, (10, 40)))?;
        out.frames(|out| Method::ConnectionOpenOk {}.encode_frame(0, out));
        self.phase = Phase::Running(Box::new(Running {
            client,
            tuned,
            properties,
            channels: HashMap::default(),
            channels_opened: 0,
            next_ticket: 0,
            heartbeats: Heartbeats::new(tuned.heartbeat_s, now),
            blocked: false,
        }));
        Ok(())
    }

    // --- running: channel 0 ---

    fn connection_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        match frame.kind {
            FrameKind::Heartbeat => return Ok(()),
            FrameKind::Method => {}
            _ => {
                let text = format!("type {}, all octets = {}", frame.kind as u8, wire::erlang_binary(frame.payload));
                return Err(Fault::connection(ReplyCode::UnexpectedFrame, (0, 0), text));
            }
        }
        let method = Method::decode(frame.payload)?;
        match method {
            Method::ConnectionClose { .. } => {
                self.finish(out);
                Ok(())
            }
            Method::ConnectionCloseOk {} => {
                self.phase = Phase::Ended(Ended::ClosedByClient);
                Ok(())
            }
            Method::ConnectionUpdateSecret { .. } => {
                // SA-7: passwords of the internal backend do not expire.
                out.frames(|out| Method::ConnectionUpdateSecretOk {}.encode_frame(0, out));
                Ok(())
            }
            _ => {
                let text = "unexpected method in connection state running";
                Err(Fault::connection(ReplyCode::ChannelError, method.ids(), text))
            }
        }
    }

    /// The client closes (M-2).
    fn finish(&mut self, out: &mut Outbound) {
        let Phase::Running(running) = mem::replace(&mut self.phase, Phase::Ended(Ended::ClosedByClient)) else {
            return;
        };
        let mut client = Box::new(running.client);
        match client.close(Reply { channel: CONNECTION, ticket: 0 }) {
            Answer::Now(_) => out.frames(|out| Method::ConnectionCloseOk {}.encode_frame(0, out)),
            Answer::Later => self.phase = Phase::Finishing(client),
        }
    }

    // --- closing ---

    /// A fault that is not a channel's.
    fn fail(&mut self, now: Instant, fault: Fault, out: &mut Outbound) {
        let (Fault::Connection(sin) | Fault::Channel(sin)) = fault;
        let is_frame_error = sin.code == ReplyCode::FrameError && (sin.class_id, sin.method_id) == (0, 0);
        match mem::replace(&mut self.phase, Phase::Ended(Ended::Disconnected)) {
            Phase::Running(running) => {
                let timeout = match running.tuned.heartbeat_s {
                    0 => CLOSE_TIMEOUT_MAX,
                    seconds => CLOSE_TIMEOUT_MAX.min(Duration::from_secs(seconds.into())),
                };
                let timeout = if is_frame_error { FRAME_ERROR_GRACE } else { timeout };
                self.close(now + timeout, Some(Box::new(running.client)), sin, is_frame_error, out);
            }
            // Logged in: it is told. RabbitMQ says nothing about a failed tune-ok, which helps nobody.
            Phase::Open(..) | Phase::Header | Phase::TuneOk(_) => {
                self.close(now + FRAME_ERROR_GRACE, None, sin, is_frame_error, out);
            }
            Phase::StartOk => {
                let until = now + self.options.auth_failure_delay;
                self.phase = Phase::Silent { until, ended: Ended::HandshakeFailed(sin.reply_text()) };
            }
            phase => self.phase = phase,
        }
    }

    fn close(&mut self, until: Instant, mut client: Option<Box<Client>>, sin: Sin, deaf: bool, out: &mut Outbound) {
        let text = sin.reply_text();
        let answer = client.as_mut().map(|client| client.close(Reply { channel: CONNECTION, ticket: 0 }));
        let sin = match answer {
            Some(Answer::Later) => Some(sin),
            _ => {
                out.frames(|out| sin.connection_close(out));
                None
            }
        };
        self.phase = Phase::Closing { client, sin, text, until, deaf };
    }

    fn closing_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) {
        let Phase::Closing { text, .. } = &self.phase else {
            return;
        };
        if frame.kind != FrameKind::Method || frame.channel != 0 {
            return;
        }
        match Method::decode(frame.payload) {
            Ok(Method::ConnectionCloseOk {}) => self.phase = Phase::Ended(Ended::ClosedByServer(text.clone())),
            Ok(Method::ConnectionClose { .. }) => {
                out.frames(|out| Method::ConnectionCloseOk {}.encode_frame(0, out));
            }
            _ => {}
        }
    }

    // --- what the broker says ---

    /// Handles one event of the client's mailbox.
    pub fn event(&mut self, now: Instant, event: Event, out: &mut Outbound) {
        match (&mut self.phase, event) {
            (Phase::Running(_), Event::Close(refusal)) => {
                self.fail(now, Fault::refused(&refusal, (0, 0)), out);
            }
            (Phase::Running(running), event) => {
                if let Err(fault) = running.event(&self.options, event, out) {
                    self.fail(now, fault, out);
                }
            }
            (Phase::Finishing(_), Event::Done { .. }) => {
                out.frames(|out| Method::ConnectionCloseOk {}.encode_frame(0, out));
                self.phase = Phase::Ended(Ended::ClosedByClient);
            }
            (Phase::Closing { client, sin, .. }, Event::Done { channel: CONNECTION, .. }) => {
                *client = None;
                if let Some(sin) = sin.take() {
                    out.frames(|out| sin.connection_close(out));
                }
            }
            _ => {}
        }
    }

    /// To be called when a batch of input or events is handled: writes confirms, hands batches to lanes.
    pub fn flush(&mut self, out: &mut Outbound) {
        if let Phase::Running(running) = &mut self.phase {
            running.flush(out);
        }
    }

    // --- time ---

    /// When [`Self::timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Header | Phase::StartOk | Phase::TuneOk(_) | Phase::Open(..) => Some(self.handshake_until),
            Phase::Running(running) => running.heartbeats.as_ref().map(Heartbeats::next_timeout),
            Phase::Closing { until, .. } | Phase::Silent { until, .. } => Some(*until),
            Phase::Finishing(_) | Phase::Ended(_) => None,
        }
    }

    /// Does what is due. `sent`: something was written to the socket since the last call.
    pub fn timeout(&mut self, now: Instant, sent: bool, out: &mut Outbound) {
        if let Phase::Running(running) = &mut self.phase {
            // FL-2: nobody listens to a blocked connection, so its silence means nothing.
            let listens = !running.blocked;
            if let Some(heartbeats) = &mut running.heartbeats
                && heartbeats.beat(now, sent, listens, out)
            {
                self.phase = Phase::Ended(Ended::HeartbeatTimeout);
            }
            return;
        }
        match &mut self.phase {
            Phase::Closing { until, text, .. } if *until <= now => {
                self.phase = Phase::Ended(Ended::ClosedByServer(mem::take(text)));
            }
            Phase::Silent { until, ended } if *until <= now => self.phase = Phase::Ended(ended.clone()),
            Phase::Header | Phase::StartOk | Phase::TuneOk(_) | Phase::Open(..) if self.handshake_until <= now => {
                self.phase = Phase::Ended(Ended::HandshakeTimeout);
            }
            _ => {}
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub fn release_memory(&mut self) {
        if let Phase::Running(running) = &mut self.phase {
            for slot in running.channels.values_mut() {
                if let ChannelSlot::Open(channel) = slot {
                    channel.release_memory();
                }
            }
        }
    }
}

impl Running {
    fn wants_input(&self) -> bool {
        let backlogged = |slot: &ChannelSlot| matches!(slot, ChannelSlot::Open(channel) if channel.is_backlogged());
        !self.blocked && !self.channels.values().any(backlogged)
    }

    /// A frame of a channel, open or not.
    fn channel_frame(&mut self, options: &Options, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        match self.channels.get_mut(&frame.channel) {
            Some(ChannelSlot::Open(channel)) if channel.is_waiting() => {
                channel.defer(frame);
                Ok(())
            }
            Some(ChannelSlot::Open(_)) => self.open_channel_frame(options, frame, out),
            Some(ChannelSlot::Closing) => self.closing_channel_frame(frame, out),
            None => self.new_channel_frame(frame, out),
        }
    }

    fn closing_channel_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        if frame.kind != FrameKind::Method {
            return Ok(());
        }
        match Method::decode(frame.payload) {
            Ok(Method::ChannelCloseOk {}) => {
                self.channels.remove(&frame.channel);
            }
            Ok(Method::ChannelClose { .. }) => {
                out.frames(|out| Method::ChannelCloseOk {}.encode_frame(frame.channel, out));
            }
            // M-7: the number is free after close-ok, not before.
            Ok(method @ Method::ChannelOpen {}) => return Err(second_open(method.ids())),
            _ => {}
        }
        Ok(())
    }

    /// The first frame on a number opens the channel, or is an error; the limit is on how many are open (M-29, M-30).
    fn new_channel_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        let channel_max = self.tuned.channel_max;
        if channel_max != 0 && self.channels.len() >= usize::from(channel_max) {
            let open = self.channels.len();
            let text =
                format!("number of channels opened ({open}) has reached the negotiated channel_max ({channel_max})");
            return Err(Fault::connection(ReplyCode::NotAllowed, (0, 0), text));
        }
        if let Some(limit) = self.client.user().limits.max_channels.and_then(|limit| u64::try_from(limit).ok())
            && self.channels.len() as u64 >= limit
        {
            let user = self.client.user().name.clone();
            let refusal = crate::broker::Refusal::UserChannelLimit { user, limit };
            return Err(Fault::refused(&refusal, (0, 0)));
        }
        if frame.kind != FrameKind::Method {
            let text = "expected method frame, got non method frame instead";
            return Err(Fault::connection(ReplyCode::UnexpectedFrame, (0, 0), text));
        }
        match Method::decode(frame.payload)? {
            Method::ChannelOpen {} => {
                self.channels_opened += 1;
                let key = ChannelKey { number: frame.channel, epoch: self.channels_opened };
                self.channels.insert(frame.channel, ChannelSlot::Open(Box::new(Channel::new(key))));
                out.frames(|out| Method::ChannelOpenOk {}.encode_frame(frame.channel, out));
                Ok(())
            }
            // A close-ok that crossed with the client's own close.
            Method::ChannelCloseOk {} => Ok(()),
            method => Err(Fault::connection(ReplyCode::ChannelError, method.ids(), "expected 'channel.open'")),
        }
    }

    fn open_channel_frame(&mut self, options: &Options, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        if frame.kind == FrameKind::Method
            && let Some(rest) = frame.payload.strip_prefix(&[0, 20, 0])
            && matches!(rest.first(), Some(40 | 41))
        {
            return self.client_closes_channel(frame, out);
        }
        self.with_channel(options, frame.channel, out, |channel, around| channel.frame(frame, around))
    }

    fn client_closes_channel(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        match Method::decode(frame.payload)? {
            Method::ChannelClose { .. } => {
                if let Some(ChannelSlot::Open(mut channel)) = self.channels.remove(&frame.channel) {
                    channel.write_confirms(out);
                    self.client.channel_closed(channel.key());
                }
                out.frames(|out| Method::ChannelCloseOk {}.encode_frame(frame.channel, out));
                Ok(())
            }
            method => {
                // Nothing was closed that it could answer.
                Err(Fault::connection(ReplyCode::CommandInvalid, method.ids(), "unimplemented method"))
            }
        }
    }

    /// Lets an open channel handle something; its own faults close it, a connection's come out.
    fn with_channel(
        &mut self,
        options: &Options,
        number: u16,
        out: &mut Outbound,
        handle: impl FnOnce(&mut Channel, &mut Surroundings<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some(ChannelSlot::Open(channel)) = self.channels.get_mut(&number) else {
            return Ok(());
        };
        let mut published = false;
        let mut around = Surroundings {
            client: &mut self.client,
            out,
            frame_max: self.tuned.frame_max,
            message_size_max: options.max_message_size,
            consumer_max: options.consumer_max_per_channel,
            takes_cancel: self.properties.consumer_cancel_notify,
            next_ticket: &mut self.next_ticket,
            published: &mut published,
        };
        let handled = handle(channel, &mut around);
        if published {
            self.block_if_alarmed(out);
        }
        match handled {
            Err(Fault::Channel(sin)) => {
                self.close_channel(number, &sin, out);
                Ok(())
            }
            other => other,
        }
    }

    fn close_channel(&mut self, number: u16, sin: &Sin, out: &mut Outbound) {
        if let Some(ChannelSlot::Open(mut channel)) = self.channels.insert(number, ChannelSlot::Closing) {
            channel.write_confirms(out);
            self.client.channel_closed(channel.key());
        }
        out.frames(|out| sin.channel_close(number, out));
    }

    // --- alarms ---

    /// FL-1: a connection that publishes while an alarm is on is told once, and not read any more.
    fn block_if_alarmed(&mut self, out: &mut Outbound) {
        let alarms = self.client.alarms();
        if alarms.is_empty() || self.blocked {
            return;
        }
        self.blocked = true;
        if self.properties.connection_blocked {
            let blocked = Method::ConnectionBlocked { reason: alarms.reason() };
            out.frames(|out| blocked.encode_frame(0, out));
        }
    }

    fn alarms_changed(&mut self, alarms: Alarms, out: &mut Outbound) {
        if self.blocked && alarms.is_empty() {
            self.blocked = false;
            if self.properties.connection_blocked {
                out.frames(|out| Method::ConnectionUnblocked {}.encode_frame(0, out));
            }
        }
    }

    // --- events ---

    fn event(&mut self, options: &Options, event: Event, out: &mut Outbound) -> Result<(), Fault> {
        match event {
            Event::Deliver(delivery) => {
                // One for a channel that is closed goes back by itself: the lane hears of the closing.
                if let Some(channel) = self.channel(delivery.channel) {
                    let frame_max = channel.1;
                    channel.0.deliver(&delivery, out, frame_max);
                }
                Ok(())
            }
            Event::Confirm { channel, first, last, accepted } => {
                if let Some((channel, _)) = self.channel(channel) {
                    channel.confirmed(first, last, accepted);
                }
                Ok(())
            }
            Event::Done { channel: key, ticket, result } => {
                if self.channel(key).is_none() {
                    return Ok(());
                }
                self.with_channel(options, key.number, out, |channel, around| {
                    channel.complete(ticket, result, around)
                })?;
                self.replay(options, key, out)
            }
            Event::ConsumerCancelled { channel: key, consumer } => {
                if self.channel(key).is_none() {
                    return Ok(());
                }
                self.with_channel(options, key.number, out, |channel, around| {
                    channel.cancelled_by_broker(consumer, around);
                    Ok(())
                })
            }
            Event::Alarms(alarms) => {
                self.alarms_changed(alarms, out);
                Ok(())
            }
            // Handled by the session.
            Event::Close(_) => Ok(()),
        }
    }

    /// The channel an event is for, if it is still that one; and frame_max.
    fn channel(&mut self, key: ChannelKey) -> Option<(&mut Channel, u32)> {
        match self.channels.get_mut(&key.number) {
            Some(ChannelSlot::Open(channel)) if channel.key() == key => Some((channel, self.tuned.frame_max)),
            _ => None,
        }
    }

    /// Handles frames that waited behind an answer, up to the next that must wait.
    fn replay(&mut self, options: &Options, key: ChannelKey, out: &mut Outbound) -> Result<(), Fault> {
        let Some((channel, _)) = self.channel(key) else {
            return Ok(());
        };
        if channel.is_waiting() {
            return Ok(());
        }
        let backlog = channel.take_backlog();
        let mut rest = backlog.as_slice();
        while !rest.is_empty() {
            if let Some((channel, _)) = self.channel(key)
                && channel.is_waiting()
            {
                channel.restore_backlog(rest.to_vec());
                break;
            }
            let Some((frame, taken)) = cut(rest, u32::MAX)? else {
                break;
            };
            rest = &rest[taken..];
            self.channel_frame(options, frame, out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Outbound) {
        for slot in self.channels.values_mut() {
            if let ChannelSlot::Open(channel) = slot {
                channel.write_confirms(out);
            }
        }
        self.client.flush();
    }
}
