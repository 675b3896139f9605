//! What methods and headers are filled with.

use arbitrary::{Arbitrary, Result, Unstructured};
use lepus::wire::{Properties, RawTable, Table, Value};

/// Of a queue, an exchange, a key or a consumer tag.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Name(u8);

impl Name {
    /// As a consumer tag: the server shall make one.
    pub(super) const NO_TAG: Self = Self(2);

    fn of(self, names: &[&'static str]) -> &'static str {
        names[usize::from(self.0) % names.len()]
    }

    pub(super) fn queue(self) -> &'static str {
        self.of(&["q", "q", "q", "q", "r", "r", "r", "s", "", "amq.rabbitmq.reply-to", "missing", "amq.x", "q\r\n"])
    }

    pub(super) fn exchange(self) -> &'static str {
        self.of(&[
            "",
            "",
            "",
            "",
            "e",
            "f",
            "amq.direct",
            "amq.fanout",
            "amq.topic",
            "amq.headers",
            "e",
            "e",
            "e",
            "missing",
        ])
    }

    pub(super) fn key(self) -> &'static str {
        self.of(&["q", "q", "q", "r", "r", "s", "", "a.b", "a.*", "#", "missing", "amq.rabbitmq.reply-to.x"])
    }

    pub(super) fn tag(self) -> &'static str {
        self.of(&["a", "b", "", ""])
    }

    pub(super) fn kind(self) -> &'static str {
        self.of(&["direct", "fanout", "topic", "headers", "", "x-none"])
    }
}

/// Properties: none, mostly.
#[derive(Clone, Copy, Debug)]
pub struct Props(Option<Looked>);

impl<'a> Arbitrary<'a> for Props {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(if u.ratio(1, 4)? { Some(u.arbitrary()?) } else { None }))
    }
}

/// Those that a broker looks at.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Looked {
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    expiration: Option<i16>,
    reply_to: bool,
    user_id: Option<Few>,
    cc: Option<Name>,
    bcc: Option<Name>,
    /// A CC that is no list.
    bad_cc: Few,
}

impl Props {
    pub(super) fn encode(self) -> Vec<u8> {
        self.0.map_or(vec![0, 0], Looked::encode)
    }
}

impl Looked {
    fn encode(self) -> Vec<u8> {
        let mut headers = Table::default();
        for (key, name) in [("CC", self.cc), ("BCC", self.bcc)] {
            if let Some(name) = name {
                headers.push(key, Value::Array(vec![name.key().into(), name.queue().into()]));
            }
        }
        if self.bad_cc.0 {
            headers.push("CC", Value::I32(1));
        }
        let mut raw_headers = Vec::new();
        headers.encode_bare(&mut raw_headers);
        let expiration = self.expiration.map(|ms| ms.to_string());
        let properties = Properties {
            headers: (!headers.is_empty()).then_some(RawTable(&raw_headers)),
            delivery_mode: self.delivery_mode,
            priority: self.priority,
            expiration: expiration.as_deref().map(str::as_bytes),
            reply_to: self.reply_to.then_some(b"amq.rabbitmq.reply-to"),
            user_id: self.user_id.map(|wrong| if wrong.0 { &b"other"[..] } else { b"guest" }),
            ..Properties::default()
        };
        let mut raw = Vec::new();
        properties.encode(&mut raw);
        raw
    }
}

/// True now and then.
#[derive(Clone, Copy, Debug)]
pub struct Few(pub(super) bool);

impl<'a> Arbitrary<'a> for Few {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(u.arbitrary::<u8>()? > 224))
    }
}

/// Arguments of a declare, a bind or a consume: none, mostly.
#[derive(Clone, Debug)]
pub struct Arguments(Vec<(u8, Argument)>);

impl<'a> Arbitrary<'a> for Arguments {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(if u.ratio(1, 4)? { u.arbitrary()? } else { Vec::new() }))
    }
}

/// Its value.
#[derive(Clone, Debug, Arbitrary)]
pub enum Argument {
    Number(i32),
    Small(u8),
    Truth(bool),
    Queue(Name),
    Exchange(Name),
    Word(u8),
}

impl Arguments {
    pub(super) fn encode(&self) -> Vec<u8> {
        const KEYS: [&str; 13] = [
            "x-max-length",
            "x-message-ttl",
            "x-expires",
            "x-max-length-bytes",
            "x-overflow",
            "x-dead-letter-exchange",
            "x-dead-letter-routing-key",
            "x-max-priority",
            "x-single-active-consumer",
            "x-priority",
            "x-queue-type",
            "alternate-exchange",
            "x-match",
        ];
        const WORDS: [&str; 7] =
            ["drop-head", "reject-publish", "reject-publish-dlx", "classic", "quorum", "any", "all"];
        let value = |argument: &Argument| match argument {
            Argument::Number(number) => Value::I32(*number),
            Argument::Small(number) => Value::U8(*number),
            Argument::Truth(truth) => Value::Bool(*truth),
            Argument::Queue(name) => name.queue().into(),
            Argument::Exchange(name) => name.exchange().into(),
            Argument::Word(index) => WORDS[usize::from(*index) % WORDS.len()].into(),
        };
        let key = |index: u8| KEYS[usize::from(index) % KEYS.len()];
        let table: Table = self.0.iter().take(4).map(|(index, argument)| (key(*index), value(argument))).collect();
        let mut raw = Vec::new();
        table.encode_bare(&mut raw);
        raw
    }
}

/// Flags of a declare, and others.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Bits {
    pub(super) passive: Few,
    pub(super) durable: Few,
    pub(super) exclusive: Few,
    pub(super) auto_delete: Few,
    pub(super) nowait: bool,
}

/// A delivery tag.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Tag {
    /// So many before the last that was delivered.
    Recent(u8),
    Small(u8),
    Any(u64),
}

impl Tag {
    pub(super) fn get(self, last: u64) -> u64 {
        match self {
            Self::Recent(before) => last.saturating_sub(before.into()),
            Self::Small(tag) => tag.into(),
            Self::Any(tag) => tag,
        }
    }
}
