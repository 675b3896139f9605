//! An open connection: its channels, and what concerns them all. Start reading at [`Running::receive`].

use std::collections::HashMap;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tracing::{Level, enabled, info};

use super::Options;
use super::channel::{Backlog, Channel, Handled, Surroundings};
use super::content::{Content, PUBLISH_IDS, Part};
use super::credential::Credential;
use super::handshake::{ClientProperties, Opened, Tuned};
use super::heartbeat::{Heartbeats, Traffic};
use super::outbound::Outbound;
use super::reply::{Fault, Ids, NO_METHOD, Sin, octets, second_open};
use super::report::Counted;
use crate::broker::{Alarms, ChannelKey, Client, ConnectionState, Event, Outcome, Refusal};
use crate::hashing::Hashing;
use crate::wire::{FRAME_OVERHEAD, Frame, FrameError, FrameKind, Method, Publish, ReplyCode, cut};

/// See the module's documentation.
pub(super) struct Running {
    client: Box<Client>,
    tuned: Tuned,
    properties: ClientProperties,
    /// Largest body in bytes.
    message_size_max: u64,
    /// Consumers of a channel at once.
    consumer_max: Option<u32>,
    /// With the name of the node.
    channel_max_per_node: Option<Box<(u64, String)>>,
    channels: HashMap<u16, Slot, Hashing>,
    channels_opened: u32,
    next_ticket: u64,
    heartbeats: Option<Heartbeats>,
    /// FL-1: it published while an alarm was on.
    is_blocked: bool,
    /// Channels whose backlog is as long as it may be.
    backlogged: usize,
    /// The last frame of a channel belongs to a huge body that is not all there.
    takes_huge_body: bool,
    /// Numbers of channels that have confirms to tell; some more than once.
    confirming: Vec<u16>,
    /// The channel number that the client closed last.
    closed_last: Option<u16>,
    received: Counted,
    credential: Credential,
}

/// A channel number in use. All count towards the limit (M-29, M-30).
enum Slot {
    /// Its first method has content, which is waited for: then it is an error.
    Unopened(Box<Content>),
    Open(Box<Channel>),
    /// The server closed it: everything but close and close-ok is dropped (M-7).
    Closing,
}

/// connection.update-secret, to blame.
const UPDATE_SECRET_IDS: Ids = (10, 70);

/// Why a connection is not running any more.
#[derive(Debug)]
pub(super) enum Leave {
    /// connection.close has come.
    ClientCloses,
    Fault(Fault),
    /// The frame behind the ones that were handled.
    FrameError(FrameError),
}

impl Running {
    pub(super) fn new(opened: Opened, options: &Options, now: Instant) -> Self {
        let Opened { client, tuned, properties } = opened;
        let credential = Credential::new(&client, now);
        Self {
            client,
            heartbeats: Heartbeats::new(tuned.heartbeat_s, now),
            tuned,
            properties,
            message_size_max: options.max_message_size,
            consumer_max: options.consumer_max_per_channel,
            channel_max_per_node: options.channel_max_per_node.map(|limit| Box::new((limit, options.node.clone()))),
            channels: HashMap::default(),
            channels_opened: 0,
            next_ticket: 0,
            is_blocked: false,
            backlogged: 0,
            takes_huge_body: false,
            confirming: Vec::new(),
            closed_last: None,
            received: Counted::default(),
            credential,
        }
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Leaves all channels.
    pub(super) fn into_client(self) -> Box<Client> {
        for slot in self.channels.values() {
            if let Slot::Open(channel) = slot {
                channel.tell_consumers_gone(&self.client);
                self.client.tell_channel(false, channel.key());
            }
        }
        self.client
    }

    pub(super) fn received(&self) -> Counted {
        self.received
    }

    pub(super) fn open_channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values().filter_map(|slot| match slot {
            Slot::Open(channel) => Some(&**channel),
            Slot::Unopened(_) | Slot::Closing => None,
        })
    }

    pub(super) fn tuned(&self) -> Tuned {
        self.tuned
    }

    pub(super) fn wants_input(&self) -> bool {
        !self.is_blocked && self.backlogged == 0 && !self.credential.is_renewing()
    }

    /// The last frame of a channel belongs to a huge body that is not all there.
    pub(super) fn takes_huge_body(&self) -> bool {
        self.takes_huge_body
    }

    pub(super) fn state(&self) -> ConnectionState {
        if self.is_blocked {
            ConnectionState::Blocked
        } else if !self.client.alarms().is_empty() {
            ConnectionState::Blocking
        } else if self.backlogged > 0 || self.client.is_congested() {
            ConnectionState::Flow
        } else {
            ConnectionState::Running
        }
    }

    // --- frames ---

    /// Handles whole frames as long as it wants any. Gives the bytes it is done with, and why it leaves, if it does.
    pub(super) fn receive(&mut self, input: &[u8], out: &mut Outbound) -> (usize, Option<Leave>) {
        let (done, leave) = self.receive_frames(input, out);
        self.received.add(done);
        self.client.put_received(self.received.bytes);
        (done, leave)
    }

    fn receive_frames(&mut self, input: &[u8], out: &mut Outbound) -> (usize, Option<Leave>) {
        let payload_max = self.tuned.payload_max();
        let mut done = 0;
        while self.wants_input()
            && let Some(rest) = input.get(done..)
        {
            let (frame, taken) = match cut(rest, payload_max) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => return (done, Some(Leave::FrameError(error))),
            };
            let (taken, handled) = match frame.channel {
                0 => (taken, self.connection_frame(frame, out)),
                _ => {
                    let (taken, handled) = self.channel_frames(frame, rest, out);
                    (taken, handled.map_err(Leave::Fault))
                }
            };
            done += taken;
            if let Err(leave) = handled {
                return (done, Some(leave));
            }
        }
        (done, None)
    }

    fn connection_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Leave> {
        match frame.kind {
            FrameKind::Heartbeat => return Ok(()),
            FrameKind::Method => {}
            FrameKind::Header | FrameKind::Body => {
                let text = format!("type {}, {}", frame.kind as u8, octets(frame.payload));
                return Err(Leave::Fault(Fault::unexpected_frame(NO_METHOD, text)));
            }
        }
        match decode(frame).map_err(Leave::Fault)? {
            Method::ConnectionClose { .. } => Err(Leave::ClientCloses),
            Method::ConnectionUpdateSecret { new_secret, .. } => {
                match self.client.renew(new_secret) {
                    Some(renewal) => self.credential.renew(renewal),
                    // SA-7: passwords of the internal backend do not expire.
                    None => out.frames(|out| Method::ConnectionUpdateSecretOk {}.encode_frame(0, out)),
                }
                Ok(())
            }
            method => {
                let text = "unexpected method in connection state running";
                Err(Leave::Fault(Fault::connection(ReplyCode::ChannelError, method.ids(), text)))
            }
        }
    }

    /// A frame of a channel, open or not, at the front of `input`. If it begins publishes that are all there, those are
    /// handled with it. Gives the bytes that are done with.
    fn channel_frames(&mut self, frame: Frame<'_>, input: &[u8], out: &mut Outbound) -> (usize, Result<(), Fault>) {
        let number = frame.channel;
        let one_frame = FRAME_OVERHEAD + frame.payload.len();
        let channel = match self.channels.get_mut(&number) {
            Some(Slot::Open(channel)) => channel,
            _ => return (one_frame, self.unusual_channel_frame(frame, out)),
        };
        if channel.is_waiting() {
            self.backlogged += usize::from(channel.defer(frame));
            return (one_frame, Ok(()));
        }
        let had_confirms = channel.has_confirms();
        let mut around = Surroundings {
            client: &mut self.client,
            out,
            frame_max: self.tuned.frame_max,
            message_size_max: self.message_size_max,
            consumer_max: self.consumer_max,
            next_ticket: &mut self.next_ticket,
        };
        let begins_publish = frame.kind == FrameKind::Method && frame.payload.starts_with(&Publish::IDS);
        let whole = if begins_publish && channel.is_between_methods() {
            channel.publishes(input, self.tuned.payload_max(), &mut around)
        } else {
            None
        };
        let (done, handled) = whole.unwrap_or_else(|| (one_frame, channel.frame(frame, &mut around)));
        self.takes_huge_body = channel.takes_huge_body();
        self.backlogged += usize::from(channel.is_stuck());
        let has_news = !had_confirms && channel.has_confirms();
        let handled = self.after(number, handled, has_news, out);
        if handled.is_ok() && frame.kind == FrameKind::Header {
            self.block_if_alarmed(out);
        }
        (done, handled)
    }

    fn unusual_channel_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        match self.channels.get_mut(&frame.channel) {
            Some(Slot::Unopened(content)) => match content.frame(frame, 0)? {
                Part::More => Ok(()),
                Part::Publish(_) => Err(not_open(PUBLISH_IDS)),
                Part::Server(ids) => Err(not_open(ids)),
                Part::Method(method) => Err(not_open(method.ids())),
            },
            Some(Slot::Closing) => self.closing_channel_frame(frame, out),
            Some(Slot::Open(_)) | None => self.new_channel_frame(frame, out),
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
            Ok(Method::ChannelClose { .. }) => write_close_ok(frame.channel, out),
            // The number is not free before close-ok (M-7).
            Ok(method @ Method::ChannelOpen {}) => return Err(second_open(method.ids())),
            _ => {}
        }
        Ok(())
    }

    /// The first frame on a number opens the channel, or is an error; the limit is on how many are in use.
    fn new_channel_frame(&mut self, frame: Frame<'_>, out: &mut Outbound) -> Result<(), Fault> {
        let number = frame.channel;
        self.check_channel_limits()?;
        let mut content = Box::<Content>::default();
        let slot = match content.frame(frame, 0)? {
            Part::Method(Method::ChannelOpen {}) => {
                self.channels_opened += 1;
                let key = ChannelKey { number, epoch: self.channels_opened };
                out.frames(|out| Method::ChannelOpenOk {}.encode_frame(number, out));
                self.client.channel_opened(key);
                Slot::Open(Box::new(Channel::new(key, self.client.counts_pairs())))
            }
            // A second close, sent before the answer to the first had come, has its answer.
            Part::Method(Method::ChannelClose { .. }) if self.closed_last == Some(number) => return Ok(()),
            Part::Method(method) => return Err(not_open(method.ids())),
            Part::More | Part::Publish(_) | Part::Server(_) => Slot::Unopened(content),
        };
        self.channels.insert(number, slot);
        Ok(())
    }

    /// EC-10, EC-11.
    fn check_channel_limits(&self) -> Result<(), Fault> {
        let in_use = self.channels.len();
        let channel_max = self.tuned.channel_max;
        if channel_max != 0 && in_use >= usize::from(channel_max) {
            let text =
                format!("number of channels opened ({in_use}) has reached the negotiated channel_max ({channel_max})");
            return Err(Fault::connection(ReplyCode::NotAllowed, NO_METHOD, text));
        }
        if let Some(limit) = self.channel_max_per_node.as_ref().filter(|limit| self.client.node_channels() >= limit.0) {
            let (limit, node) = (limit.0, &limit.1);
            let text =
                format!("number of channels opened on node '{node}' has reached the maximum allowed limit of {limit}");
            return Err(Fault::connection(ReplyCode::NotAllowed, NO_METHOD, text));
        }
        let user = self.client.user();
        match user.limits.max_channels.and_then(|limit| u64::try_from(limit).ok()) {
            Some(limit) if in_use as u64 >= limit => {
                let refusal = Refusal::UserChannelLimit { user: user.name.clone(), limit };
                Err(Fault::refused(&refusal, NO_METHOD))
            }
            _ => Ok(()),
        }
    }

    /// What a channel made of something: its own faults close it, a connection's come out.
    fn after(
        &mut self,
        number: u16,
        handled: Result<Handled, Fault>,
        has_news: bool,
        out: &mut Outbound,
    ) -> Result<(), Fault> {
        if has_news {
            self.confirming.push(number);
        }
        match handled {
            Ok(Handled::Done) => {}
            Ok(Handled::Closed) => {
                self.leave_channel(number, out);
                self.closed_last = Some(number);
                write_close_ok(number, out);
            }
            Err(Fault::Channel(sin)) => self.close_channel(number, &sin, out),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn close_channel(&mut self, number: u16, sin: &Sin, out: &mut Outbound) {
        if enabled!(target: "channel", Level::INFO) {
            let (connection, (user, vhost)) = (self.client.connection_name(), self.client.login());
            let (channel, reason) = (number, sin.reply_text());
            info!(target: "channel", connection, channel, user = &*user, vhost = &*vhost, reason, "closing a channel");
        }
        self.leave_channel(number, out);
        self.channels.insert(number, Slot::Closing);
        out.frames(|out| sin.channel_close(number, out));
    }

    fn leave_channel(&mut self, number: u16, out: &mut Outbound) {
        if let Some(Slot::Open(mut channel)) = self.channels.remove(&number) {
            self.backlogged -= usize::from(channel.is_stuck());
            self.client.count_confirmed(channel.write_confirms(out));
            channel.tell_consumers_gone(&self.client);
            self.client.channel_closed(channel.key());
        }
    }

    // --- alarms ---

    /// FL-1: a connection that publishes while an alarm is on is told once, and not read any more. A message is held up
    /// at its header, before it is all there.
    fn block_if_alarmed(&mut self, out: &mut Outbound) {
        let alarms = self.client.alarms();
        if alarms.is_empty() || self.is_blocked {
            return;
        }
        self.is_blocked = true;
        if self.properties.connection_blocked {
            let blocked = Method::ConnectionBlocked { reason: alarms.reason() };
            out.frames(|out| blocked.encode_frame(0, out));
        }
    }

    fn alarms_changed(&mut self, alarms: Alarms, out: &mut Outbound) {
        if self.is_blocked && alarms.is_empty() {
            self.is_blocked = false;
            if self.properties.connection_blocked {
                out.frames(|out| Method::ConnectionUnblocked {}.encode_frame(0, out));
            }
        }
    }

    // --- events ---

    /// What the broker says. Whatever is for a channel that is closed, or for an earlier one of its number, is dropped:
    /// the lane hears of the closing and takes back what it delivered. Gives how many events are handled: all, up to a
    /// fault.
    pub(super) fn events(&mut self, events: &mut [Event], out: &mut Outbound) -> (usize, Option<Fault>) {
        // Events are large and mostly deliveries: they are looked at where they are.
        let mut done = 0;
        while let Some(event) = events.get_mut(done) {
            if let Event::Deliver(first) = event {
                done += self.deliveries(first.channel, &events[done..], out);
                continue;
            }
            done += 1;
            if let Err(fault) = self.event(event, out) {
                return (done, Some(fault));
            }
        }
        (done, None)
    }

    /// The deliveries at the front of `events` that are for this channel; gives how many.
    fn deliveries(&mut self, key: ChannelKey, events: &[Event], out: &mut Outbound) -> usize {
        let run = events.iter().map_while(|event| match event {
            Event::Deliver(delivery) if delivery.channel == key => Some(delivery),
            _ => None,
        });
        match open_channel(&mut self.channels, key) {
            Some(channel) => channel.deliver(run, out, self.tuned.frame_max),
            None => run.count(),
        }
    }

    fn event(&mut self, event: &mut Event, out: &mut Outbound) -> Result<(), Fault> {
        match event {
            // Handled in runs.
            Event::Deliver(_) => {}
            Event::Confirm { channel: key, first, last, accepted } => {
                if let Some(channel) = self.channel(*key) {
                    let had_confirms = channel.has_confirms();
                    channel.confirmed(*first, *last, *accepted);
                    if !had_confirms && channel.has_confirms() {
                        self.confirming.push(key.number);
                    }
                }
            }
            Event::Done { channel: key, ticket, result } => {
                let result = std::mem::replace(result, Ok(Outcome::Done)).map_err(|refusal| *refusal);
                return self.complete(*key, *ticket, result, out);
            }
            Event::ConsumerCancelled { channel: key, consumer } => {
                self.cancelled_by_broker(*key, *consumer, out);
            }
            Event::DeliveryTimedOut { channel: key, consumer, timeout_ms } => {
                return self.delivery_timed_out(*key, *consumer, *timeout_ms, out);
            }
            Event::Alarms(alarms) => self.alarms_changed(*alarms, out),
            Event::Inquiry(inquiry) => inquiry.answer(self.client.id(), self.report(out, inquiry.is_brief)),
            Event::Close(refusal) => return Err(Fault::refused(refusal, NO_METHOD)),
        }
        Ok(())
    }

    fn cancelled_by_broker(&mut self, key: ChannelKey, slot: u32, out: &mut Outbound) {
        let takes_cancel = self.properties.consumer_cancel_notify;
        if let Some(channel) = open_channel(&mut self.channels, key) {
            channel.cancelled_by_broker(slot, takes_cancel, &self.client, out);
        }
    }

    /// FL-5: the consumer is cancelled if the queue did so and the client understands it, else the channel closes.
    fn delivery_timed_out(
        &mut self,
        key: ChannelKey,
        consumer: Option<u32>,
        timeout_ms: u64,
        out: &mut Outbound,
    ) -> Result<(), Fault> {
        if self.channel(key).is_none() {
            return Ok(());
        }
        if let Some(slot) = consumer.filter(|_| self.properties.consumer_cancel_notify) {
            self.cancelled_by_broker(key, slot, out);
            return Ok(());
        }
        let refusal = Refusal::DeliveryTimeout { channel: key.number, timeout_ms };
        self.after(key.number, Err(Fault::refused(&refusal, NO_METHOD)), false, out)
    }

    /// The answer to what a channel waits for, and the frames behind it.
    fn complete(
        &mut self,
        key: ChannelKey,
        ticket: u64,
        result: Result<Outcome, Refusal>,
        out: &mut Outbound,
    ) -> Result<(), Fault> {
        let channel = match self.channels.get_mut(&key.number) {
            Some(Slot::Open(channel)) if channel.key() == key => channel,
            _ => return Ok(()),
        };
        // Taken before the answer may close the channel: what waited is handled all the same.
        let (backlog, was_full) = channel.take_backlog();
        self.backlogged -= usize::from(was_full);
        let had_confirms = channel.has_confirms();
        let mut around = Surroundings {
            client: &mut self.client,
            out,
            frame_max: self.tuned.frame_max,
            message_size_max: self.message_size_max,
            consumer_max: self.consumer_max,
            next_ticket: &mut self.next_ticket,
        };
        let handled = channel.complete(ticket, result, &mut around);
        let has_news = !had_confirms && channel.has_confirms();
        self.after(key.number, handled, has_news, out)?;
        self.replay(key.number, backlog, out)
    }

    /// The channel an event is for, if it is still that one.
    fn channel(&mut self, key: ChannelKey) -> Option<&mut Channel> {
        open_channel(&mut self.channels, key)
    }

    /// Handles frames of a number that waited behind an answer, up to the next one that must wait.
    fn replay(&mut self, number: u16, backlog: Backlog, out: &mut Outbound) -> Result<(), Fault> {
        let (frames, mut done) = backlog.into_parts();
        while let Some(rest) = frames.get(done..)
            && let Some((frame, _)) = cut(rest, u32::MAX)?
        {
            if let Some(Slot::Open(channel)) = self.channels.get_mut(&number)
                && channel.is_waiting()
            {
                self.backlogged += usize::from(channel.restore_backlog(Backlog::from_parts(frames, done)));
                return Ok(());
            }
            let (taken, handled) = self.channel_frames(frame, rest, out);
            done += taken;
            handled?;
        }
        Ok(())
    }

    /// Writes confirms, hands batches to lanes.
    pub(super) fn flush(&mut self, out: &mut Outbound) {
        for number in self.confirming.drain(..) {
            if let Some(Slot::Open(channel)) = self.channels.get_mut(&number) {
                self.client.count_confirmed(channel.write_confirms(out));
            }
        }
        self.client.flush();
    }

    pub(super) fn sent(&self, out: &Outbound) {
        self.client.put_sent(out.traffic().bytes);
    }

    // --- the user's credential ---

    /// Takes the answer to a new secret, if it has come (SA-7).
    pub(super) fn poll_credential(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outbound,
    ) -> Poll<Result<(), Fault>> {
        let user = ready!(self.credential.poll(cx)).map_err(|refusal| Fault::refused(&refusal, UPDATE_SECRET_IDS))?;
        self.client.set_user(user);
        self.credential = Credential::new(&self.client, now);
        let takes_cancel = self.properties.consumer_cancel_notify;
        let queues = self.client.queue_names();
        for slot in self.channels.values_mut() {
            if let Slot::Open(channel) = slot {
                channel.recheck_consumers(&queues, takes_cancel, &mut self.client, out);
            }
        }
        out.frames(|out| Method::ConnectionUpdateSecretOk {}.encode_frame(0, out));
        Poll::Ready(Ok(()))
    }

    // --- time ---

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let heartbeat = self.heartbeats.as_ref().map(Heartbeats::next_tick);
        heartbeat.into_iter().chain(self.credential.next_timeout()).min()
    }

    /// Does what is due. SA-8: the connection goes with the user's credential.
    pub(super) fn expire(&mut self, now: Instant) -> Result<(), Fault> {
        if self.credential.has_expired(now) {
            return Err(Fault::refused(&Refusal::CredentialExpired, NO_METHOD));
        }
        if self.credential.forgets(now) {
            self.client.forget_verdicts();
        }
        Ok(())
    }

    /// True: the peer is gone (HS-7).
    pub(super) fn beat(&mut self, now: Instant, traffic: Traffic, out: &mut Outbound) -> bool {
        // FL-2: nobody listens to a blocked connection, so its silence means nothing.
        let traffic = Traffic { received: traffic.received || self.is_blocked, ..traffic };
        self.heartbeats.as_mut().is_some_and(|heartbeats| heartbeats.tick(now, traffic, out))
    }
}

fn decode(frame: Frame<'_>) -> Result<Method<'_>, Fault> {
    Method::decode(frame.payload).map_err(|error| Fault::unreadable(frame.kind, frame.payload, &error))
}

fn write_close_ok(number: u16, out: &mut Outbound) {
    out.frames(|out| Method::ChannelCloseOk {}.encode_frame(number, out));
}

/// EC-13.
fn not_open(ids: (u16, u16)) -> Fault {
    Fault::connection(ReplyCode::ChannelError, ids, "expected 'channel.open'")
}

fn open_channel(channels: &mut HashMap<u16, Slot, Hashing>, key: ChannelKey) -> Option<&mut Channel> {
    match channels.get_mut(&key.number) {
        Some(Slot::Open(channel)) if channel.key() == key => Some(channel),
        _ => None,
    }
}
