//! AMQP 0-9-1 by hand over a socket: what a well-behaved client library would never send.
//!
//! Frames are built and read here from the specification's tables, not with the crate's own codec: a mistake made
//! twice would otherwise agree with itself.
//!
//! ```text
//! | type u8 | channel u16 | size u32 | payload ... | 0xCE |
//! method payload: | class u16 | method u16 | arguments ... |
//! header payload: | class u16 | weight u16 = 0 | body size u64 | flags u16 | values ... |
//! ```

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// Frame types.
pub(crate) const METHOD: u8 = 1;
/// See [`METHOD`].
pub(crate) const HEADER: u8 = 2;
/// See [`METHOD`].
pub(crate) const BODY: u8 = 3;
/// See [`METHOD`].
pub(crate) const HEARTBEAT: u8 = 8;

/// The last octet of a frame.
pub(crate) const FRAME_END: u8 = 0xCE;

/// Class and method ids used by the tests.
pub(crate) mod id {
    pub(crate) const START: (u16, u16) = (10, 10);
    pub(crate) const START_OK: (u16, u16) = (10, 11);
    pub(crate) const TUNE: (u16, u16) = (10, 30);
    pub(crate) const TUNE_OK: (u16, u16) = (10, 31);
    pub(crate) const OPEN: (u16, u16) = (10, 40);
    pub(crate) const OPEN_OK: (u16, u16) = (10, 41);
    pub(crate) const CLOSE: (u16, u16) = (10, 50);
    pub(crate) const CLOSE_OK: (u16, u16) = (10, 51);
    pub(crate) const BLOCKED: (u16, u16) = (10, 60);
    pub(crate) const UNBLOCKED: (u16, u16) = (10, 61);
    pub(crate) const UPDATE_SECRET: (u16, u16) = (10, 70);
    pub(crate) const UPDATE_SECRET_OK: (u16, u16) = (10, 71);
    pub(crate) const CHANNEL_OPEN: (u16, u16) = (20, 10);
    pub(crate) const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
    pub(crate) const CHANNEL_FLOW: (u16, u16) = (20, 20);
    pub(crate) const CHANNEL_FLOW_OK: (u16, u16) = (20, 21);
    pub(crate) const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    pub(crate) const CHANNEL_CLOSE_OK: (u16, u16) = (20, 41);
    pub(crate) const ACCESS_REQUEST: (u16, u16) = (30, 10);
    pub(crate) const ACCESS_REQUEST_OK: (u16, u16) = (30, 11);
    pub(crate) const EXCHANGE_DECLARE: (u16, u16) = (40, 10);
    pub(crate) const EXCHANGE_DECLARE_OK: (u16, u16) = (40, 11);
    pub(crate) const EXCHANGE_DELETE: (u16, u16) = (40, 20);
    pub(crate) const EXCHANGE_DELETE_OK: (u16, u16) = (40, 21);
    pub(crate) const EXCHANGE_BIND: (u16, u16) = (40, 30);
    pub(crate) const EXCHANGE_BIND_OK: (u16, u16) = (40, 31);
    pub(crate) const EXCHANGE_UNBIND: (u16, u16) = (40, 40);
    pub(crate) const EXCHANGE_UNBIND_OK: (u16, u16) = (40, 51);
    pub(crate) const QUEUE_DECLARE: (u16, u16) = (50, 10);
    pub(crate) const QUEUE_DECLARE_OK: (u16, u16) = (50, 11);
    pub(crate) const QUEUE_BIND: (u16, u16) = (50, 20);
    pub(crate) const QUEUE_BIND_OK: (u16, u16) = (50, 21);
    pub(crate) const QUEUE_PURGE: (u16, u16) = (50, 30);
    pub(crate) const QUEUE_PURGE_OK: (u16, u16) = (50, 31);
    pub(crate) const QUEUE_DELETE: (u16, u16) = (50, 40);
    pub(crate) const QUEUE_DELETE_OK: (u16, u16) = (50, 41);
    pub(crate) const QUEUE_UNBIND: (u16, u16) = (50, 50);
    pub(crate) const QUEUE_UNBIND_OK: (u16, u16) = (50, 51);
    pub(crate) const QOS: (u16, u16) = (60, 10);
    pub(crate) const QOS_OK: (u16, u16) = (60, 11);
    pub(crate) const CONSUME: (u16, u16) = (60, 20);
    pub(crate) const CONSUME_OK: (u16, u16) = (60, 21);
    pub(crate) const CANCEL: (u16, u16) = (60, 30);
    pub(crate) const CANCEL_OK: (u16, u16) = (60, 31);
    pub(crate) const PUBLISH: (u16, u16) = (60, 40);
    pub(crate) const RETURN: (u16, u16) = (60, 50);
    pub(crate) const DELIVER: (u16, u16) = (60, 60);
    pub(crate) const GET: (u16, u16) = (60, 70);
    pub(crate) const GET_OK: (u16, u16) = (60, 71);
    pub(crate) const GET_EMPTY: (u16, u16) = (60, 72);
    pub(crate) const ACK: (u16, u16) = (60, 80);
    pub(crate) const REJECT: (u16, u16) = (60, 90);
    pub(crate) const RECOVER_ASYNC: (u16, u16) = (60, 100);
    pub(crate) const RECOVER: (u16, u16) = (60, 110);
    pub(crate) const RECOVER_OK: (u16, u16) = (60, 111);
    pub(crate) const NACK: (u16, u16) = (60, 120);
    pub(crate) const CONFIRM_SELECT: (u16, u16) = (85, 10);
    pub(crate) const CONFIRM_SELECT_OK: (u16, u16) = (85, 11);
    pub(crate) const TX_SELECT: (u16, u16) = (90, 10);
    pub(crate) const TX_SELECT_OK: (u16, u16) = (90, 11);
    pub(crate) const TX_COMMIT: (u16, u16) = (90, 20);
    pub(crate) const TX_COMMIT_OK: (u16, u16) = (90, 21);
    pub(crate) const TX_ROLLBACK: (u16, u16) = (90, 30);
    pub(crate) const TX_ROLLBACK_OK: (u16, u16) = (90, 31);
}

/// Method arguments, or any other run of AMQP fields, being written.
#[derive(Clone, Default)]
pub(crate) struct Args(pub(crate) Vec<u8>);

impl Args {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn octet(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn longlong(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn shortstr(mut self, value: &[u8]) -> Self {
        self.0.push(u8::try_from(value.len()).expect("a shortstr has at most 255 bytes"));
        self.0.extend(value);
        self
    }

    pub(crate) fn longstr(self, value: &[u8]) -> Self {
        self.long(u32::try_from(value.len()).expect("a test string is short")).bytes(value)
    }

    /// A table of ready-made `name, tag and value` bytes; see [`Self::field`].
    pub(crate) fn table(self, fields: Self) -> Self {
        self.longstr(&fields.0)
    }

    /// One field of a table: name, type tag, value bytes.
    pub(crate) fn field(self, name: &str, tag: u8, value: &[u8]) -> Self {
        self.shortstr(name.as_bytes()).octet(tag).bytes(value)
    }

    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Class and method id of a method frame.
    pub(crate) fn method(&self) -> Option<(u16, u16)> {
        let mut fields = Fields(&self.payload);
        (self.kind == METHOD).then(|| (fields.short(), fields.short()))
    }

    /// The arguments of a method frame, for reading.
    pub(crate) fn args(&self) -> Fields<'_> {
        Fields(&self.payload[4..])
    }
}

/// Fields being read.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    pub(crate) fn octet(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    pub(crate) fn long(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    pub(crate) fn longlong(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    pub(crate) fn shortstr(&mut self) -> String {
        let len = usize::from(self.octet());
        String::from_utf8_lossy(self.take(len)).into_owned()
    }

    pub(crate) fn longstr(&mut self) -> &'a [u8] {
        let len = self.long() as usize;
        self.take(len)
    }
}

/// A close sent by the broker: of the connection or of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) text: String,
    /// The method that failed; (0, 0) when it was no method.
    pub(crate) method: (u16, u16),
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a test payload is short");
    Args::new().octet(kind).short(channel).long(size).bytes(payload).octet(FRAME_END).0
}

/// The bytes of a method frame.
pub(crate) fn method(channel: u16, (class, id): (u16, u16), args: Args) -> Vec<u8> {
    frame(METHOD, channel, &Args::new().short(class).short(id).bytes(&args.0).0)
}

/// The bytes of a content header frame of class basic without properties.
pub(crate) fn header(channel: u16, body_size: u64) -> Vec<u8> {
    header_with(channel, body_size, &[0, 0])
}

/// The bytes of a content header frame of class basic; `properties` are flags and values.
pub(crate) fn header_with(channel: u16, body_size: u64, properties: &[u8]) -> Vec<u8> {
    frame(HEADER, channel, &Args::new().short(60).short(0).longlong(body_size).bytes(properties).0)
}

/// The frames of a small publish.
pub(crate) fn publish(channel: u16, exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
    publish_with(channel, super::args::publish(exchange, key, 0), &[0, 0], body)
}

/// The frames of a small publish with these arguments and properties (flags and values).
pub(crate) fn publish_with(channel: u16, args: Args, properties: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = method(channel, id::PUBLISH, args);
    bytes.extend(header_with(channel, body.len() as u64, properties));
    if !body.is_empty() {
        bytes.extend(frame(BODY, channel, body));
    }
    bytes
}

/// connection.open arguments.
pub(crate) fn open(vhost: &[u8]) -> Args {
    Args::new().shortstr(vhost).shortstr(b"").octet(0)
}

/// What connection.tune offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tune {
    pub(crate) channel_max: u16,
    pub(crate) frame_max: u32,
    pub(crate) heartbeat: u16,
}

/// A socket that speaks frames.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    /// Connects and says nothing yet.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("the listener accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream }
    }

    /// Connects and goes through the handshake as guest on the vhost `/`, without heartbeats.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, Args::new(), |tune| Tune { heartbeat: 0, ..tune }).await
    }

    /// Connects and goes through the handshake with these client capabilities (a table's fields) and this tuning.
    pub(crate) async fn open_with(address: SocketAddr, capabilities: Args, tune: impl FnOnce(Tune) -> Tune) -> Self {
        let mut raw = Self::connect(address).await;
        raw.handshake(capabilities, tune).await;
        raw
    }

    /// A connection with channel 1 open.
    pub(crate) async fn open_channel(address: SocketAddr) -> Self {
        let mut raw = Self::open(address).await;
        raw.channel(1).await;
        raw
    }

    async fn handshake(&mut self, capabilities: Args, tune: impl FnOnce(Tune) -> Tune) {
        let offered = self.login(capabilities, b"\0guest\0guest").await;
        self.tune_ok(tune(offered)).await;
        self.method(0, id::OPEN, open(b"/")).await;
        self.expect(0, id::OPEN_OK).await;
    }

    /// Goes through the handshake as another user, without heartbeats.
    pub(crate) async fn login_as(&mut self, response: &[u8]) {
        let tune = self.login(Args::new(), response).await;
        self.tune_ok(Tune { heartbeat: 0, ..tune }).await;
        self.method(0, id::OPEN, open(b"/")).await;
        self.expect(0, id::OPEN_OK).await;
    }

    /// connection.tune-ok.
    pub(crate) async fn tune_ok(&mut self, Tune { channel_max, frame_max, heartbeat }: Tune) {
        self.method(0, id::TUNE_OK, Args::new().short(channel_max).long(frame_max).short(heartbeat)).await;
    }

    /// Protocol header, start, start-ok with PLAIN `response`; gives what connection.tune offers.
    pub(crate) async fn login(&mut self, capabilities: Args, response: &[u8]) -> Tune {
        self.send(b"AMQP\x00\x00\x09\x01").await;
        self.expect(0, id::START).await;
        self.start_ok(capabilities, b"PLAIN", response).await;
        let tune = self.expect(0, id::TUNE).await;
        let mut args = tune.args();
        Tune { channel_max: args.short(), frame_max: args.long(), heartbeat: args.short() }
    }

    /// connection.start-ok.
    pub(crate) async fn start_ok(&mut self, capabilities: Args, mechanism: &[u8], response: &[u8]) {
        let capabilities = Args::new().table(capabilities).0;
        let properties = Args::new().field("capabilities", b'F', &capabilities);
        let args = Args::new().table(properties).shortstr(mechanism).longstr(response).shortstr(b"en_US");
        self.method(0, id::START_OK, args).await;
    }

    /// Opens a channel.
    pub(crate) async fn channel(&mut self, channel: u16) {
        self.method(channel, id::CHANNEL_OPEN, Args::new().shortstr(b"")).await;
        self.expect(channel, id::CHANNEL_OPEN_OK).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.expect("the socket takes it");
    }

    /// Sends bytes to a peer that may be gone or not reading by now; says whether they were taken.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Sends a method.
    pub(crate) async fn method(&mut self, channel: u16, id: (u16, u16), args: Args) {
        self.send(&method(channel, id, args)).await;
    }

    /// Sends a method and reads the answer.
    pub(crate) async fn call(&mut self, channel: u16, id: (u16, u16), args: Args, answer: (u16, u16)) -> Frame {
        self.method(channel, id, args).await;
        self.expect(channel, answer).await
    }

    /// Reads the next frame that is not a heartbeat; `None` when the peer has gone.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within(async {
            loop {
                let frame = self.read_frame().await?;
                if frame.kind != HEARTBEAT {
                    return Some(frame);
                }
            }
        })
        .await
    }

    /// Reads the next frame, heartbeats included; `None` when the peer has gone.
    pub(crate) async fn read_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut fields = Fields(&head);
        let (kind, channel, size) = (fields.octet(), fields.short(), fields.long());
        let mut payload = vec![0; size as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let mut end = [0];
        self.stream.read_exact(&mut end).await.ok()?;
        assert_eq!(end, [FRAME_END], "the broker's own frames are well-formed");
        Some(Frame { kind, channel, payload })
    }

    /// The next frame, which must be this method.
    pub(crate) async fn expect(&mut self, channel: u16, id: (u16, u16)) -> Frame {
        let frame = self.next().await.unwrap_or_else(|| panic!("expected {id:?}, but the broker hung up"));
        if frame.method() != Some(id) || frame.channel != channel {
            panic!("expected {id:?} on channel {channel}, got {:?}", Described(&frame));
        }
        frame
    }

    /// Reads the content that follows a deliver, get-ok or return: property bytes and body.
    pub(crate) async fn content(&mut self, channel: u16) -> (Vec<u8>, Vec<u8>) {
        let frame = self.next().await.expect("a content header");
        assert_eq!((frame.kind, frame.channel), (HEADER, channel), "a content header");
        let mut fields = Fields(&frame.payload);
        assert_eq!((fields.short(), fields.short()), (60, 0), "class basic, weight 0");
        let size = usize::try_from(fields.longlong()).expect("a test body is short");
        let properties = fields.0.to_vec();
        let mut body = Vec::with_capacity(size);
        while body.len() < size {
            let frame = self.next().await.expect("a content body");
            assert_eq!((frame.kind, frame.channel), (BODY, channel), "a content body");
            body.extend(frame.payload);
        }
        (properties, body)
    }

    /// The next frame must close the connection. It is answered, and the broker must hang up then.
    pub(crate) async fn expect_close(&mut self) -> Close {
        let close = self.close_method(0, id::CLOSE).await;
        self.try_send(&method(0, id::CLOSE_OK, Args::new())).await;
        self.expect_end().await;
        close
    }

    /// The next frame must close this channel. It is answered.
    pub(crate) async fn expect_channel_close(&mut self, channel: u16) -> Close {
        let close = self.close_method(channel, id::CHANNEL_CLOSE).await;
        self.method(channel, id::CHANNEL_CLOSE_OK, Args::new()).await;
        close
    }

    /// The next frame must be this kind of close. It is not answered.
    pub(crate) async fn close_method(&mut self, channel: u16, id: (u16, u16)) -> Close {
        let frame = self.expect(channel, id).await;
        let mut args = frame.args();
        Close { code: args.short(), text: args.shortstr(), method: (args.short(), args.short()) }
    }

    /// The broker hangs up; whatever it still says is read and dropped.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = within(self.stream.read_to_end(&mut rest)).await;
    }

    /// The channel answers, so everything sent before was taken without a close.
    pub(crate) async fn expect_alive(&mut self, channel: u16) {
        self.call(channel, id::CHANNEL_FLOW, Args::new().octet(1), id::CHANNEL_FLOW_OK).await;
    }
}

/// A frame in words: a close with its text, or the ids.
struct Described<'a>(&'a Frame);

impl std::fmt::Debug for Described<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.method() {
            Some(id @ (id::CLOSE | id::CHANNEL_CLOSE)) => {
                let mut args = self.0.args();
                write!(f, "close {id:?} on channel {}: {} {}", self.0.channel, args.short(), args.shortstr())
            }
            Some(id) => write!(f, "method {id:?} on channel {}", self.0.channel),
            None => write!(f, "frame of type {} on channel {}", self.0.kind, self.0.channel),
        }
    }
}
