//! One TCP connection as a raw AMQP 0-9-1 peer: writes whatever it is told, sorts what comes back by channel.
//!
//! It never answers by itself (no close-ok, no heartbeat): the scenario decides what is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::methods::{Method, properties};
use super::value::{Value, Wire};

/// Type, channel and size in front of a payload, and the end octet behind it.
pub(crate) const FRAME_OVERHEAD: usize = 8;
pub(crate) const FRAME_END: u8 = 0xCE;
pub(crate) const FRAME_METHOD: u8 = 1;
pub(crate) const FRAME_HEADER: u8 = 2;
pub(crate) const FRAME_BODY: u8 = 3;
const FRAME_HEARTBEAT: u8 = 8;

/// A frame announced larger than this is reported instead of awaited.
const PAYLOAD_MAX: usize = 64 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a peer can see happen on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    Method(Received),
    Heartbeat,
    /// The eight bytes with which a broker refuses a protocol header.
    ProtocolHeader([u8; 8]),
    /// Bytes no broker may send.
    Violation(String),
    End(End),
}

impl Event {
    /// The name of the method, or an empty string if this is something else.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Method(received) => received.method.name,
            _ => "",
        }
    }
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Eof,
    Reset,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eof => "eof",
            Self::Reset => "reset",
        })
    }
}

/// A method as it came, with its content if it carries one.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: &'static Method,
    pub(crate) fields: Vec<(&'static str, Value)>,
    pub(crate) content: Option<Content>,
}

impl Received {
    /// The field or property called `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        let properties = self.content.iter().flat_map(|content| &content.properties);
        self.fields.iter().chain(properties).find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// A message.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) properties: Vec<(&'static str, Value)>,
    pub(crate) body: Vec<u8>,
    /// Payload sizes of the body frames.
    pub(crate) frames: Vec<usize>,
}

/// Whether reading brought something.
#[derive(Debug)]
pub(crate) enum Progress {
    Something,
    Ended(End),
    TimedOut,
}

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    inboxes: BTreeMap<u16, VecDeque<Event>>,
    assemblies: BTreeMap<u16, Assembly>,
    end: Option<End>,
    held: Option<Vec<u8>>,
    /// Write one byte at a time.
    pub(crate) dribble: bool,
    /// Whole frames larger than this, from either side, are wrong once it is negotiated.
    pub(crate) frame_max: usize,
    /// Channels that were opened and not closed since.
    pub(crate) open_channels: BTreeSet<u16>,
    /// Channels that the broker closed and that wait for close-ok.
    closed_channels: BTreeSet<u16>,
    /// The broker has sent connection.open-ok.
    pub(crate) is_open: bool,
    /// Either side has sent connection.close.
    pub(crate) is_closing: bool,
}

/// A method whose content has not fully come yet.
#[derive(Debug)]
struct Assembly {
    received: Received,
    body_size: Option<u64>,
    content: Content,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Self {
            stream,
            unread: Vec::new(),
            inboxes: BTreeMap::new(),
            assemblies: BTreeMap::new(),
            end: None,
            held: None,
            dribble: false,
            frame_max: usize::MAX,
            open_channels: BTreeSet::new(),
            closed_channels: BTreeSet::new(),
            is_open: false,
            is_closing: false,
        })
    }

    /// Sends `bytes`, or keeps them until `release`. A broker that no longer listens is not an error:
    /// what it has to say is still to be read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.held {
            Some(held) => held.extend(bytes),
            None => self.write(bytes),
        }
    }

    /// From now on keep what is sent, so that it leaves in one piece.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether what is sent is being kept.
    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Sends what was kept.
    pub(crate) fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(&held);
        }
    }

    /// Ends the TCP connection without a word.
    pub(crate) fn drop_tcp(&mut self) {
        // The broker may have gone first; there is nothing to do about it here.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.end = Some(End::Eof);
    }

    /// Whether the connection ended and everything before the end was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Takes note of a method that is being sent.
    pub(crate) fn sending(&mut self, channel: u16, method: &str) {
        match method {
            "channel.close" => {
                self.open_channels.remove(&channel);
            }
            "channel.close-ok" => {
                self.closed_channels.remove(&channel);
            }
            "connection.close" => self.is_closing = true,
            _ => {}
        }
    }

    /// Whether the broker has closed the channel or the connection, so that it will not answer, and
    /// everything before that was taken.
    pub(crate) fn is_deaf(&self, channel: u16) -> bool {
        let is_closed = self.closed_channels.contains(&channel) || self.is_closing;
        let has_more = |channel| self.inboxes.get(&channel).is_some_and(|inbox| !inbox.is_empty());
        is_closed && !has_more(channel) && !has_more(0)
    }

    /// The next thing that was received for `channel`.
    pub(crate) fn take(&mut self, channel: u16) -> Option<Event> {
        self.inboxes.get_mut(&channel)?.pop_front()
    }

    /// Removes and returns a waiting connection.close.
    pub(crate) fn take_connection_close(&mut self) -> Option<Event> {
        let inbox = self.inboxes.get_mut(&0)?;
        let index = inbox.iter().position(|event| event.name() == "connection.close")?;
        inbox.remove(index)
    }

    /// Reads until at least one more thing was received, the connection ended, or `deadline` passed.
    pub(crate) fn read(&mut self, deadline: Instant) -> Progress {
        let mut chunk = [0; 64 << 10];
        loop {
            if self.cut_frame() {
                return Progress::Something;
            }
            if let Some(end) = self.end {
                return Progress::Ended(end);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Progress::TimedOut;
            }
            // A zero time-out is refused by the system; `left` was just seen to be more.
            let armed = self.stream.set_read_timeout(Some(left));
            match armed.and_then(|()| self.stream.read(&mut chunk)) {
                Ok(0) => self.end = Some(End::Eof),
                Ok(count) => self.unread.extend(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Progress::TimedOut,
                    ErrorKind::Interrupted => {}
                    _ => self.end = Some(End::Reset),
                },
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let step = if self.dribble { 1 } else { bytes.len().max(1) };
        for piece in bytes.chunks(step) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// Moves one complete frame from the unread bytes to its inbox. False if there is none.
    fn cut_frame(&mut self) -> bool {
        if self.unread.starts_with(b"AMQP") {
            let Some(header) = self.unread.first_chunk::<8>().copied() else {
                return false;
            };
            self.unread.drain(..8);
            self.push(0, Event::ProtocolHeader(header));
            return true;
        }
        let mut wire = Wire(&self.unread);
        let (Some(kind), Some(channel), Some(size)) = (wire.uint(1), wire.uint(2), wire.uint(4)) else {
            return false;
        };
        let (channel, size) = (channel as u16, size as usize);
        if size > PAYLOAD_MAX {
            self.unread.clear();
            self.push(0, Event::Violation(format!("frame of {size} bytes")));
            return true;
        }
        let (Some(payload), Some(end)) = (wire.take(size), wire.take(1)) else {
            return false;
        };
        let (payload, is_ended) = (payload.to_vec(), end == [FRAME_END]);
        self.unread.drain(..size + FRAME_OVERHEAD);
        if !is_ended || size + FRAME_OVERHEAD > self.frame_max {
            self.push(channel, Event::Violation(format!("bad frame of {size} bytes")));
        }
        if let Some(event) = self.assemble(kind as u8, channel, &payload) {
            self.push(channel, event);
        }
        true
    }

    fn push(&mut self, channel: u16, event: Event) {
        match event.name() {
            "channel.open-ok" => {
                self.open_channels.insert(channel);
            }
            "channel.close" => {
                self.open_channels.remove(&channel);
                self.closed_channels.insert(channel);
            }
            "connection.open-ok" => self.is_open = true,
            "connection.close" => self.is_closing = true,
            _ => {}
        }
        self.inboxes.entry(channel).or_default().push_back(event);
    }

    /// The event a frame completes, if it completes one.
    fn assemble(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Option<Event> {
        let pending = self.assemblies.remove(&channel);
        match (kind, pending) {
            (FRAME_HEARTBEAT, pending) => {
                if let Some(pending) = pending {
                    self.assemblies.insert(channel, pending);
                }
                Some(Event::Heartbeat)
            }
            (FRAME_METHOD, None) => match decode_method(payload) {
                Some(received) if received.method.has_content() => {
                    let assembly = Assembly { received, body_size: None, content: Content::default() };
                    self.assemblies.insert(channel, assembly);
                    None
                }
                Some(received) => Some(Event::Method(received)),
                None => Some(violation("undecodable method", payload)),
            },
            (FRAME_HEADER, Some(mut assembly)) if assembly.body_size.is_none() => {
                let Some((size, properties)) = decode_header(payload) else {
                    return Some(violation("undecodable content header", payload));
                };
                assembly.body_size = Some(size);
                assembly.content.properties = properties;
                self.finish(channel, assembly)
            }
            (FRAME_BODY, Some(mut assembly)) if assembly.body_size.is_some() => {
                assembly.content.body.extend(payload);
                assembly.content.frames.push(payload.len());
                self.finish(channel, assembly)
            }
            (kind, _) => Some(violation(&format!("misplaced frame type {kind}"), payload)),
        }
    }

    fn finish(&mut self, channel: u16, mut assembly: Assembly) -> Option<Event> {
        let missing = assembly.body_size? > assembly.content.body.len() as u64;
        if missing {
            self.assemblies.insert(channel, assembly);
            return None;
        }
        assembly.received.content = Some(assembly.content);
        Some(Event::Method(assembly.received))
    }
}

/// A frame with its envelope.
pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(FRAME_END);
    bytes
}

fn violation(what: &str, payload: &[u8]) -> Event {
    let head = &payload[..payload.len().min(32)];
    Event::Violation(format!("{what}, payload 0x{}", super::value::hex(head)))
}

fn decode_method(payload: &[u8]) -> Option<Received> {
    let mut wire = Wire(payload);
    let (class, id) = (wire.uint(2)? as u16, wire.uint(2)? as u16);
    let method = Method::with_ids(class, id)?;
    let mut fields = Vec::new();
    // Neighbouring bits share octets, lowest bit first.
    let mut bits: Option<(u64, u8)> = None;
    for (name, kind) in method.fields() {
        let value = if kind == 'b' {
            let (octet, used) = match bits {
                Some((octet, used)) if used < 8 => (octet, used),
                _ => (wire.uint(1)?, 0),
            };
            bits = Some((octet, used + 1));
            Value::Bool(octet >> used & 1 == 1)
        } else {
            bits = None;
            decode_field(&mut wire, kind)?
        };
        fields.push((name, value));
    }
    wire.0.is_empty().then_some(Received { method, fields, content: None })
}

fn decode_field(wire: &mut Wire<'_>, kind: char) -> Option<Value> {
    Some(match kind {
        'o' => Value::Int(b'B', i128::from(wire.uint(1)?)),
        'w' => Value::Int(b'u', i128::from(wire.uint(2)?)),
        'l' => Value::Int(b'i', i128::from(wire.uint(4)?)),
        'q' => Value::Int(b'l', i128::from(wire.uint(8)?)),
        's' => Value::Str(wire.short_string()?.to_vec()),
        'S' => Value::Str(wire.long_string()?.to_vec()),
        _ => Value::Table(wire.table()?),
    })
}

/// Body size and properties.
fn decode_header(payload: &[u8]) -> Option<(u64, Vec<(&'static str, Value)>)> {
    let mut wire = Wire(payload);
    let (class, weight) = (wire.uint(2)?, wire.uint(2)?);
    let size = wire.uint(8)?;
    let flags = wire.uint(2)?;
    let mut present = Vec::new();
    for (index, (name, kind)) in properties().enumerate() {
        if flags >> (15 - index) & 1 == 1 {
            present.push((name, decode_field(&mut wire, kind)?));
        }
    }
    (class == 60 && weight == 0 && wire.0.is_empty()).then_some((size, present))
}
