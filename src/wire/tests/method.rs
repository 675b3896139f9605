//! Every method, beside another codec's reading of the specification.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::{AMQPClass, access, basic, channel, confirm, connection, exchange, queue, tx};
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};
use proptest::prelude::*;

use super::{bare, bytes, shortstr};
use crate::wire::{FrameKind, Method, MethodError, Publish, RawTable, ReplyCode, Table, Value, cut};

/// What the arguments of all methods are made of.
#[derive(Clone, Debug)]
struct Arguments {
    texts: [String; 3],
    blob: Vec<u8>,
    entry: i32,
    bits: [bool; 5],
    octets: [u8; 2],
    shorts: [u16; 3],
    longs: [u32; 2],
    longlong: u64,
}

fn arguments() -> impl Strategy<Value = Arguments> {
    let texts = proptest::array::uniform3(shortstr());
    (texts, bytes(300), any::<(i32, [bool; 5], [u8; 2], [u16; 3], [u32; 2], u64)>()).prop_map(
        |(texts, blob, (entry, bits, octets, shorts, longs, longlong))| Arguments {
            texts,
            blob,
            entry,
            bits,
            octets,
            shorts,
            longs,
            longlong,
        },
    )
}

/// Each method twice: as theirs and as ours.
macro_rules! both {
    ($($class:ident $their:ident $their_class:ident $our:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        vec![$((
            AMQPClass::$their_class($class::AMQPMethod::$their($class::$their { $($field: $value.theirs()),* })),
            Method::$our { $($field: $value.ours()),* },
        )),*]
    };
}

/// An argument as both codecs want it.
trait Argument<'a>: Copy {
    type Theirs;
    type Ours;
    fn theirs(self) -> Self::Theirs;
    fn ours(self) -> Self::Ours;
}

#[derive(Clone, Copy)]
struct Same<T>(T);

#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

#[derive(Clone, Copy)]
struct Blob<'a>(&'a [u8]);

#[derive(Clone, Copy)]
struct Entries<'a>(&'a FieldTable, &'a [u8]);

impl<T: Copy> Argument<'_> for Same<T> {
    type Theirs = T;
    type Ours = T;

    fn theirs(self) -> T {
        self.0
    }

    fn ours(self) -> T {
        self.0
    }
}

impl<'a> Argument<'a> for Text<'a> {
    type Theirs = ShortString;
    type Ours = &'a str;

    fn theirs(self) -> ShortString {
        ShortString::try_new(self.0).unwrap()
    }

    fn ours(self) -> &'a str {
        self.0
    }
}

impl<'a> Argument<'a> for Blob<'a> {
    type Theirs = LongString;
    type Ours = &'a [u8];

    fn theirs(self) -> LongString {
        self.0.into()
    }

    fn ours(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Argument<'a> for Entries<'a> {
    type Theirs = FieldTable;
    type Ours = RawTable<'a>;

    fn theirs(self) -> FieldTable {
        self.0.clone()
    }

    fn ours(self) -> RawTable<'a> {
        RawTable(self.1)
    }
}

/// FEATURES 1.5, M-1 to M-26; access.request-ok apart, whose ticket the other codec does not know.
fn methods<'a>(arguments: &'a Arguments, entries: Entries<'a>) -> Vec<(AMQPClass, Method<'a>)> {
    let Arguments { texts, blob, bits, octets, shorts, longs, longlong, .. } = arguments;
    let [a, b, c] = texts.each_ref().map(|text| Text(text));
    let [x, y, z, v, w] = bits.map(Same);
    let [o, p] = octets.map(Same);
    let [s, t, u] = shorts.map(Same);
    let [m, n] = longs.map(Same);
    let (blob, tag) = (Blob(blob), Same(*longlong));
    both! {
        connection Start Connection ConnectionStart
            { version_major: o, version_minor: p, server_properties: entries, mechanisms: blob, locales: blob }
        connection StartOk Connection ConnectionStartOk
            { client_properties: entries, mechanism: a, response: blob, locale: b }
        connection Secure Connection ConnectionSecure { challenge: blob }
        connection SecureOk Connection ConnectionSecureOk { response: blob }
        connection Tune Connection ConnectionTune { channel_max: s, frame_max: m, heartbeat: t }
        connection TuneOk Connection ConnectionTuneOk { channel_max: s, frame_max: m, heartbeat: t }
        connection Open Connection ConnectionOpen { virtual_host: a }
        connection OpenOk Connection ConnectionOpenOk {}
        connection Close Connection ConnectionClose { reply_code: s, reply_text: a, class_id: t, method_id: u }
        connection CloseOk Connection ConnectionCloseOk {}
        connection Blocked Connection ConnectionBlocked { reason: a }
        connection Unblocked Connection ConnectionUnblocked {}
        connection UpdateSecret Connection ConnectionUpdateSecret { new_secret: blob, reason: a }
        connection UpdateSecretOk Connection ConnectionUpdateSecretOk {}
        channel Open Channel ChannelOpen {}
        channel OpenOk Channel ChannelOpenOk {}
        channel Flow Channel ChannelFlow { active: x }
        channel FlowOk Channel ChannelFlowOk { active: x }
        channel Close Channel ChannelClose { reply_code: s, reply_text: a, class_id: t, method_id: u }
        channel CloseOk Channel ChannelCloseOk {}
        access Request Access AccessRequest { realm: a, exclusive: x, passive: y, active: z, write: v, read: w }
        exchange Declare Exchange ExchangeDeclare
            { exchange: a, kind: b, passive: x, durable: y, auto_delete: z, internal: v, nowait: w, arguments: entries }
        exchange DeclareOk Exchange ExchangeDeclareOk {}
        exchange Delete Exchange ExchangeDelete { exchange: a, if_unused: x, nowait: y }
        exchange DeleteOk Exchange ExchangeDeleteOk {}
        exchange Bind Exchange ExchangeBind { destination: a, source: b, routing_key: c, nowait: x, arguments: entries }
        exchange BindOk Exchange ExchangeBindOk {}
        exchange Unbind Exchange ExchangeUnbind
            { destination: a, source: b, routing_key: c, nowait: x, arguments: entries }
        exchange UnbindOk Exchange ExchangeUnbindOk {}
        queue Declare Queue QueueDeclare
            { queue: a, passive: x, durable: y, exclusive: z, auto_delete: v, nowait: w, arguments: entries }
        queue DeclareOk Queue QueueDeclareOk { queue: a, message_count: m, consumer_count: n }
        queue Bind Queue QueueBind { queue: a, exchange: b, routing_key: c, nowait: x, arguments: entries }
        queue BindOk Queue QueueBindOk {}
        queue Purge Queue QueuePurge { queue: a, nowait: x }
        queue PurgeOk Queue QueuePurgeOk { message_count: m }
        queue Delete Queue QueueDelete { queue: a, if_unused: x, if_empty: y, nowait: z }
        queue DeleteOk Queue QueueDeleteOk { message_count: m }
        queue Unbind Queue QueueUnbind { queue: a, exchange: b, routing_key: c, arguments: entries }
        queue UnbindOk Queue QueueUnbindOk {}
        basic QosOk Basic BasicQosOk {}
        basic Consume Basic BasicConsume
            { queue: a, consumer_tag: b, no_local: x, no_ack: y, exclusive: z, nowait: v, arguments: entries }
        basic ConsumeOk Basic BasicConsumeOk { consumer_tag: a }
        basic Cancel Basic BasicCancel { consumer_tag: a, nowait: x }
        basic CancelOk Basic BasicCancelOk { consumer_tag: a }
        basic Publish Basic BasicPublish { exchange: a, routing_key: b, mandatory: x, immediate: y }
        basic Return Basic BasicReturn { reply_code: s, reply_text: a, exchange: b, routing_key: c }
        basic Deliver Basic BasicDeliver
            { consumer_tag: a, delivery_tag: tag, redelivered: x, exchange: b, routing_key: c }
        basic Get Basic BasicGet { queue: a, no_ack: x }
        basic GetOk Basic BasicGetOk
            { delivery_tag: tag, redelivered: x, exchange: a, routing_key: b, message_count: m }
        basic GetEmpty Basic BasicGetEmpty {}
        basic Ack Basic BasicAck { delivery_tag: tag, multiple: x }
        basic Reject Basic BasicReject { delivery_tag: tag, requeue: x }
        basic RecoverAsync Basic BasicRecoverAsync { requeue: x }
        basic Recover Basic BasicRecover { requeue: x }
        basic RecoverOk Basic BasicRecoverOk {}
        basic Nack Basic BasicNack { delivery_tag: tag, multiple: x, requeue: y }
        confirm Select Confirm ConfirmSelect { nowait: x }
        confirm SelectOk Confirm ConfirmSelectOk {}
        tx Select Tx TxSelect {}
        tx SelectOk Tx TxSelectOk {}
        tx Commit Tx TxCommit {}
        tx CommitOk Tx TxCommitOk {}
        tx Rollback Tx TxRollback {}
        tx RollbackOk Tx TxRollbackOk {}
    }
}

proptest! {
    /// M-1 to M-26: what we write, another codec reads; and so do we.
    #[test]
    fn every_method_is_read_by_another_codec(arguments in arguments(), channel: u16) {
        let mut theirs = FieldTable::default();
        theirs.insert("key".into(), AMQPValue::LongInt(arguments.entry));
        let ours = bare(&Table::from_iter([("key", Value::I32(arguments.entry))]));
        for (theirs, method) in methods(&arguments, Entries(&theirs, &ours)) {
            let mut frame = Vec::new();
            method.encode_frame(channel, &mut frame);
            let parsed = parse_frame(frame.as_slice());
            prop_assert_eq!(parsed.unwrap(), (&[][..], AMQPFrame::Method(channel, theirs)));
            let (cut, taken) = cut(&frame, u32::MAX).unwrap().unwrap();
            prop_assert_eq!((cut.kind, cut.channel, taken), (FrameKind::Method, channel, frame.len()));
            prop_assert_eq!(Method::decode(cut.payload), Ok(method));
        }
    }

    /// EC-9: no method can be cut short, or have bytes behind it.
    #[test]
    fn arguments_must_fill_the_frame(arguments in arguments(), more in 1..4usize) {
        for (_, method) in methods(&arguments, Entries(&FieldTable::default(), b"")) {
            let mut payload = Vec::new();
            method.encode(&mut payload);
            let (class_id, method_id) = method.ids();
            let malformed = |arguments: &[u8]| {
                let arguments = arguments.get(..127).unwrap_or(arguments).to_vec();
                Err(MethodError::Malformed { class_id, method_id, arguments })
            };
            for end in 4..payload.len() {
                // A text may be cut in the middle of a character: that is found last.
                prop_assert_eq!(Method::decode(&payload[..end]), malformed(&payload[4..end]));
            }
            payload.resize(payload.len() + more, 0);
            prop_assert_eq!(Method::decode(&payload), malformed(&payload[4..]));
            prop_assert_eq!(Method::decode(&payload[..3]), Err(MethodError::TooShort));
        }
    }
}

/// The table of methods says what each is, and nothing twice.
#[test]
fn names_ids_and_senders() {
    let arguments = Arguments {
        texts: Default::default(),
        blob: Vec::new(),
        entry: 0,
        bits: [false; 5],
        octets: [0; 2],
        shorts: [0; 3],
        longs: [0; 2],
        longlong: 0,
    };
    let table = FieldTable::default();
    let mut methods: Vec<_> = methods(&arguments, Entries(&table, b"")).into_iter().map(|(_, method)| method).collect();
    methods.push(Method::BasicQos { prefetch_size: 0, prefetch_count: 0, global: false });
    methods.push(Method::AccessRequestOk { ticket: 1 });
    let mut ids: Vec<_> = methods.iter().map(Method::ids).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names: Vec<_> = methods.iter().map(Method::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((ids.len(), names.len()), (66, 66));
    for method in methods {
        let (name, variant) = (method.name(), format!("{method:?}"));
        let variant = variant.split(' ').next().unwrap().to_lowercase();
        assert_eq!(name.replace(['.', '-'], ""), variant);
        let carries = ["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"].contains(&name);
        assert_eq!(method.has_content(), carries, "{name}");
        // Answers come from the server, but for those of requests that come from it.
        let from_client = ["connection.start-ok", "connection.secure-ok", "connection.tune-ok"];
        let from_both = ["connection.close-ok", "channel.close-ok", "channel.flow-ok", "basic.cancel-ok"];
        let only_server = [
            "connection.start",
            "connection.secure",
            "connection.tune",
            "connection.blocked",
            "connection.unblocked",
            "basic.return",
            "basic.deliver",
            "basic.get-empty",
        ];
        let is_answer = name.ends_with("-ok") && !from_client.contains(&name) && !from_both.contains(&name);
        assert_eq!(method.is_from_server_only(), is_answer || only_server.contains(&name), "{name}");
    }
}

/// M-17 and M-8: the other codec writes prefetch-size and the ticket as zero.
#[test]
fn reserved_by_the_other_codec() {
    let qos = Method::BasicQos { prefetch_size: 0x0102_0304, prefetch_count: 5, global: true };
    let ticket = Method::AccessRequestOk { ticket: 1 };
    for (method, payload) in [(qos, &[0, 60, 0, 10, 1, 2, 3, 4, 0, 5, 1][..]), (ticket, &[0, 30, 0, 11, 0, 1])] {
        let mut written = Vec::new();
        method.encode(&mut written);
        assert_eq!(written, payload);
        assert_eq!(Method::decode(payload), Ok(method));
    }
}

/// M-8: a ticket is read and dropped; M-1: so is the insist bit that some clients set. Spare bits mean nothing.
#[test]
fn reserved_arguments_are_dropped() {
    let get = Method::decode(b"\0\x3c\0\x46\xff\xff\x01q\xff");
    assert_eq!(get, Ok(Method::BasicGet { queue: "q", no_ack: true }));
    let open = Method::decode(b"\0\x0a\0\x28\x01/\x03abc\x01");
    assert_eq!(open, Ok(Method::ConnectionOpen { virtual_host: "/" }));
}

/// EC-9, BP-7, FR-9: what RabbitMQ 4.3 answers, but for the unknown method, at which it hangs up.
#[test]
fn unreadable_methods_are_told_in_rabbitmqs_words() {
    for (payload, code, ids, text) in [
        (&b"\0\x32\0\x0a\0\0"[..], 501, (50, 10), "cannot decode <<0,0>>"),
        (b"\0\x32\0\x1e\0\0\x05ab", 501, (50, 30), "cannot decode <<0,0,5,97,98>>"),
        (b"\0\x32\0\x1ehello", 501, (50, 30), "cannot decode <<104,101,108,108,111>>"),
        (b"\0\x14\0\x14\x01more", 501, (20, 20), "cannot decode <<1,109,111,114,101>>"),
        (b"\0\x3c\0\x28\0\0\0", 501, (60, 40), "cannot decode <<0,0,0>>"),
        (b"\0\x3c\0\x46\0\0\x01\xff\0", 501, (0, 0), "Malformed UTF-8 in shortstr"),
        (b"\0\x14\0\x0a\x01\xff", 501, (0, 0), "Malformed UTF-8 in shortstr"),
        (b"\0\x0a\0\x32\0\xc8\x01\xff\0\0\0\0", 501, (10, 50), "Malformed UTF-8 in shortstr"),
        // Both: the arguments come first.
        (b"\0\x3c\0\x46\0\0\x01\xff", 501, (60, 70), "cannot decode <<0,0,1,255>>"),
        (b"\0\x32\0\x63", 503, (50, 99), "unknown method 50/99"),
        (b"\0\x3c\0\xc8\x01t\0\0\0\0\0\0\0\0", 503, (60, 200), "unknown method 60/200"),
    ] {
        let error = Method::decode(payload).unwrap_err();
        let told = (error.code() as u16, (error.class_id(), error.method_id()), error.to_string());
        assert_eq!(told, (code, ids, text.to_owned()), "{payload:?}");
        if let Some(arguments) = payload.strip_prefix(&Publish::IDS) {
            assert_eq!(Publish::decode(arguments), Err(error));
        }
    }
}

/// FEATURES section 1, EC-29: reply texts are cut to 255 bytes; RabbitMQ ends them in dots.
#[test]
fn long_reply_texts_end_in_dots() {
    let cut_to = |text: &str| {
        let mut payload = Vec::new();
        let code = ReplyCode::PreconditionFailed as u16;
        Method::ChannelClose { reply_code: code, reply_text: text, class_id: 1, method_id: 2 }.encode(&mut payload);
        let decoded = Method::decode(&payload);
        let Ok(Method::ChannelClose { reply_code: 406, reply_text, class_id: 1, method_id: 2 }) = decoded else {
            panic!("{decoded:?}");
        };
        reply_text.to_owned()
    };
    assert_eq!(cut_to(&"x".repeat(255)), "x".repeat(255));
    assert_eq!(cut_to(&"x".repeat(256)), format!("{}...", "x".repeat(252)));
    // Not in the middle of a character.
    assert_eq!(cut_to(&format!("x{}", "é".repeat(200))), format!("x{}...", "é".repeat(125)));
}
