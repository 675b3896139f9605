//! Every method of 0-9-1 as RabbitMQ speaks it, from one table: class and method id, direction, fields. Reserved
//! arguments (before and after the braces of the table) are read and dropped, and written as zero.

use thiserror::Error;

use super::erlang::erlang_numbers;
use super::frame::{FrameKind, write_frame};
use super::raw_table::RawTable;
use super::reply_code::ReplyCode;

const CONNECTION_CLASS: u16 = 10;
/// Class basic.
pub const BASIC_CLASS: u16 = 60;
/// Longest short string, in bytes.
const SHORTSTR_MAX: usize = 255;
const DOTS: &str = "...";

/// A method that cannot be read; `Display` is the reply text without the `CONSTANT - ` prefix.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MethodError {
    /// No such method. RabbitMQ drops the connection without a word (FR-9).
    #[error("unknown method {class_id}/{method_id}")]
    UnknownMethod {
        /// As it came.
        class_id: u16,
        /// As it came.
        method_id: u16,
    },
    /// EC-9.
    #[error("cannot decode {}", erlang_numbers(arguments))]
    Malformed {
        /// The method's class.
        class_id: u16,
        /// The method's id.
        method_id: u16,
        /// What could not be decoded, as much of it as a reply text has room for.
        arguments: Vec<u8>,
    },
    /// BP-7.
    #[error("Malformed UTF-8 in shortstr")]
    MalformedUtf8 {
        /// The method's class.
        class_id: u16,
        /// The method's id.
        method_id: u16,
    },
    /// Not even the ids, or not a whole content header: [`cut`](super::cut) lets no such frame pass.
    #[error("frame too short")]
    TooShort,
}

impl MethodError {
    pub(super) fn malformed(class_id: u16, method_id: u16, arguments: &[u8]) -> Self {
        let shown = arguments.get(..SHORTSTR_MAX / 2).unwrap_or(arguments);
        Self::Malformed { class_id, method_id, arguments: shown.to_vec() }
    }

    /// The reply code.
    pub fn code(&self) -> ReplyCode {
        match self {
            Self::UnknownMethod { .. } => ReplyCode::CommandInvalid,
            _ => ReplyCode::FrameError,
        }
    }

    /// Class id for the close method; 0 where no method is to blame.
    pub fn class_id(&self) -> u16 {
        self.blamed().0
    }

    /// Method id for the close method; 0 where no method is to blame.
    pub fn method_id(&self) -> u16 {
        self.blamed().1
    }

    fn blamed(&self) -> (u16, u16) {
        match *self {
            Self::UnknownMethod { class_id, method_id } | Self::Malformed { class_id, method_id, .. } => {
                (class_id, method_id)
            }
            // RabbitMQ blames the method only on channel 0, which is where this class is at home.
            Self::MalformedUtf8 { class_id: CONNECTION_CLASS, method_id } => (CONNECTION_CLASS, method_id),
            Self::MalformedUtf8 { .. } | Self::TooShort => (0, 0),
        }
    }
}

/// An argument ends beyond the end of the frame.
struct Short;

/// Reads arguments in order. Adjacent bits share an octet.
struct Fields<'a> {
    rest: &'a [u8],
    bits: Option<(u8, u32)>,
    /// So far. Checked last: RabbitMQ first takes the arguments apart, then looks at the texts.
    is_utf8: bool,
}

trait Field<'a>: Sized {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Short>;
    fn write(&self, w: &mut Writer<'_>);
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Bits written into the last octet.
    bits: u32,
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        self.bits = None;
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        self.take(N)?.try_into().map_err(|_| Short)
    }
}

impl<'a> Field<'a> for bool {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Short> {
        let (octet, index) = match fields.bits {
            Some((octet, index)) if index < 8 => (octet, index),
            _ => {
                let [octet] = fields.array()?;
                (octet, 0)
            }
        };
        fields.bits = Some((octet, index + 1));
        Ok(octet >> index & 1 != 0)
    }

    fn write(&self, w: &mut Writer<'_>) {
        if w.bits == 0 || w.bits == 8 {
            w.out.push(0);
            w.bits = 0;
        }
        if let Some(octet) = w.out.last_mut() {
            *octet |= u8::from(*self) << w.bits;
        }
        w.bits += 1;
    }
}

/// Writes a short string. What is longer than fits ends in dots instead: so RabbitMQ cuts reply texts, the only ones
/// that get so long.
pub(super) fn write_shortstr(out: &mut Vec<u8>, text: &str) {
    let (text, dots) = match text.len() {
        0..=SHORTSTR_MAX => (text, ""),
        _ => (&text[..text.floor_char_boundary(SHORTSTR_MAX - DOTS.len())], DOTS),
    };
    out.push((text.len() + dots.len()) as u8);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(dots.as_bytes());
}

macro_rules! integer_fields {
    ($($type:ty),*) => {$(
        impl<'a> Field<'a> for $type {
            fn read(fields: &mut Fields<'a>) -> Result<Self, Short> {
                fields.array().map(Self::from_be_bytes)
            }

            fn write(&self, w: &mut Writer<'_>) {
                w.bits = 0;
                w.out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
integer_fields!(u8, u16, u32, u64);

impl<'a> Field<'a> for &'a str {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Short> {
        let [length] = fields.array()?;
        Ok(std::str::from_utf8(fields.take(length.into())?).unwrap_or_else(|_| {
            fields.is_utf8 = false;
            ""
        }))
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bits = 0;
        write_shortstr(w.out, self);
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Short> {
        let length = u32::from_be_bytes(fields.array()?);
        fields.take(length as usize)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bits = 0;
        w.out.extend_from_slice(&(self.len() as u32).to_be_bytes());
        w.out.extend_from_slice(self);
    }
}

impl<'a> Field<'a> for RawTable<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Short> {
        <&[u8]>::read(fields).map(RawTable)
    }

    fn write(&self, w: &mut Writer<'_>) {
        self.0.write(w);
    }
}

macro_rules! field_type {
    (octet) => { u8 };
    (short) => { u16 };
    (long) => { u32 };
    (longlong) => { u64 };
    (bit) => { bool };
    (shortstr) => { &'a str };
    (longstr) => { &'a [u8] };
    (table) => { RawTable<'a> };
}

macro_rules! is_server {
    (server) => {
        true
    };
    (client) => {
        false
    };
    (both) => {
        false
    };
}

/// `Variant class id "name" sender [reserved types] { field: type, ... } [reserved types]`
macro_rules! methods {
    ($($variant:ident $class:literal $id:literal $text:literal $sender:ident
        [$($lead:ident)*] { $($field:ident: $type:ident),* $(,)? } [$($tail:ident)*])*) => {
        /// A method with its arguments, borrowed from the frame.
        #[derive(Clone, Copy, PartialEq, Debug)]
        #[expect(missing_docs, reason = "variants and fields are those of the 0-9-1 specification")]
        pub enum Method<'a> {
            $($variant { $($field: field_type!($type)),* },)*
        }

        impl<'a> Method<'a> {
            fn read(class: u16, id: u16, fields: &mut Fields<'a>) -> Result<Option<Self>, Short> {
                Ok(Some(match (class, id) {
                    $(($class, $id) => {
                        $(let _ = <field_type!($lead)>::read(fields)?;)*
                        $(let $field = <field_type!($type)>::read(fields)?;)*
                        $(let _ = <field_type!($tail)>::read(fields)?;)*
                        Self::$variant { $($field),* }
                    })*
                    _ => return Ok(None),
                }))
            }

            fn write(&self, w: &mut Writer<'_>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        $(<field_type!($lead)>::default().write(w);)*
                        $($field.write(w);)*
                        $(<field_type!($tail)>::default().write(w);)*
                    })*
                }
            }

            /// Class and method id.
            pub fn ids(&self) -> (u16, u16) {
                match self {
                    $(Self::$variant { .. } => ($class, $id),)*
                }
            }

            /// `class.method`, as the specification writes it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $text,)*
                }
            }

            /// Only a server sends it.
            pub fn is_from_server_only(&self) -> bool {
                match self {
                    $(Self::$variant { .. } => is_server!($sender),)*
                }
            }
        }
    };
}

methods! {
    ConnectionStart 10 10 "connection.start" server
        [] { version_major: octet, version_minor: octet, server_properties: table, mechanisms: longstr, locales: longstr } []
    ConnectionStartOk 10 11 "connection.start-ok" client
        [] { client_properties: table, mechanism: shortstr, response: longstr, locale: shortstr } []
    ConnectionSecure 10 20 "connection.secure" server [] { challenge: longstr } []
    ConnectionSecureOk 10 21 "connection.secure-ok" client [] { response: longstr } []
    ConnectionTune 10 30 "connection.tune" server [] { channel_max: short, frame_max: long, heartbeat: short } []
    ConnectionTuneOk 10 31 "connection.tune-ok" client [] { channel_max: short, frame_max: long, heartbeat: short } []
    ConnectionOpen 10 40 "connection.open" client [] { virtual_host: shortstr } [shortstr bit]
    ConnectionOpenOk 10 41 "connection.open-ok" server [] {} [shortstr]
    ConnectionClose 10 50 "connection.close" both
        [] { reply_code: short, reply_text: shortstr, class_id: short, method_id: short } []
    ConnectionCloseOk 10 51 "connection.close-ok" both [] {} []
    ConnectionBlocked 10 60 "connection.blocked" server [] { reason: shortstr } []
    ConnectionUnblocked 10 61 "connection.unblocked" server [] {} []
    ConnectionUpdateSecret 10 70 "connection.update-secret" client [] { new_secret: longstr, reason: shortstr } []
    ConnectionUpdateSecretOk 10 71 "connection.update-secret-ok" server [] {} []
    ChannelOpen 20 10 "channel.open" client [shortstr] {} []
    ChannelOpenOk 20 11 "channel.open-ok" server [longstr] {} []
    ChannelFlow 20 20 "channel.flow" both [] { active: bit } []
    ChannelFlowOk 20 21 "channel.flow-ok" both [] { active: bit } []
    ChannelClose 20 40 "channel.close" both
        [] { reply_code: short, reply_text: shortstr, class_id: short, method_id: short } []
    ChannelCloseOk 20 41 "channel.close-ok" both [] {} []
    AccessRequest 30 10 "access.request" client
        [] { realm: shortstr, exclusive: bit, passive: bit, active: bit, write: bit, read: bit } []
    AccessRequestOk 30 11 "access.request-ok" server [] { ticket: short } []
    ExchangeDeclare 40 10 "exchange.declare" client
        [short] { exchange: shortstr, kind: shortstr, passive: bit, durable: bit, auto_delete: bit, internal: bit,
                  nowait: bit, arguments: table } []
    ExchangeDeclareOk 40 11 "exchange.declare-ok" server [] {} []
    ExchangeDelete 40 20 "exchange.delete" client [short] { exchange: shortstr, if_unused: bit, nowait: bit } []
    ExchangeDeleteOk 40 21 "exchange.delete-ok" server [] {} []
    ExchangeBind 40 30 "exchange.bind" client
        [short] { destination: shortstr, source: shortstr, routing_key: shortstr, nowait: bit, arguments: table } []
    ExchangeBindOk 40 31 "exchange.bind-ok" server [] {} []
    ExchangeUnbind 40 40 "exchange.unbind" client
        [short] { destination: shortstr, source: shortstr, routing_key: shortstr, nowait: bit, arguments: table } []
    ExchangeUnbindOk 40 51 "exchange.unbind-ok" server [] {} []
    QueueDeclare 50 10 "queue.declare" client
        [short] { queue: shortstr, passive: bit, durable: bit, exclusive: bit, auto_delete: bit, nowait: bit,
                  arguments: table } []
    QueueDeclareOk 50 11 "queue.declare-ok" server [] { queue: shortstr, message_count: long, consumer_count: long } []
    QueueBind 50 20 "queue.bind" client
        [short] { queue: shortstr, exchange: shortstr, routing_key: shortstr, nowait: bit, arguments: table } []
    QueueBindOk 50 21 "queue.bind-ok" server [] {} []
    QueuePurge 50 30 "queue.purge" client [short] { queue: shortstr, nowait: bit } []
    QueuePurgeOk 50 31 "queue.purge-ok" server [] { message_count: long } []
    QueueDelete 50 40 "queue.delete" client
        [short] { queue: shortstr, if_unused: bit, if_empty: bit, nowait: bit } []
    QueueDeleteOk 50 41 "queue.delete-ok" server [] { message_count: long } []
    QueueUnbind 50 50 "queue.unbind" client
        [short] { queue: shortstr, exchange: shortstr, routing_key: shortstr, arguments: table } []
    QueueUnbindOk 50 51 "queue.unbind-ok" server [] {} []
    BasicQos 60 10 "basic.qos" client [] { prefetch_size: long, prefetch_count: short, global: bit } []
    BasicQosOk 60 11 "basic.qos-ok" server [] {} []
    BasicConsume 60 20 "basic.consume" client
        [short] { queue: shortstr, consumer_tag: shortstr, no_local: bit, no_ack: bit, exclusive: bit, nowait: bit,
                  arguments: table } []
    BasicConsumeOk 60 21 "basic.consume-ok" server [] { consumer_tag: shortstr } []
    BasicCancel 60 30 "basic.cancel" both [] { consumer_tag: shortstr, nowait: bit } []
    BasicCancelOk 60 31 "basic.cancel-ok" both [] { consumer_tag: shortstr } []
    BasicPublish 60 40 "basic.publish" client
        [short] { exchange: shortstr, routing_key: shortstr, mandatory: bit, immediate: bit } []
    BasicReturn 60 50 "basic.return" server
        [] { reply_code: short, reply_text: shortstr, exchange: shortstr, routing_key: shortstr } []
    BasicDeliver 60 60 "basic.deliver" server
        [] { consumer_tag: shortstr, delivery_tag: longlong, redelivered: bit, exchange: shortstr,
             routing_key: shortstr } []
    BasicGet 60 70 "basic.get" client [short] { queue: shortstr, no_ack: bit } []
    BasicGetOk 60 71 "basic.get-ok" server
        [] { delivery_tag: longlong, redelivered: bit, exchange: shortstr, routing_key: shortstr,
             message_count: long } []
    BasicGetEmpty 60 72 "basic.get-empty" server [shortstr] {} []
    BasicAck 60 80 "basic.ack" both [] { delivery_tag: longlong, multiple: bit } []
    BasicReject 60 90 "basic.reject" client [] { delivery_tag: longlong, requeue: bit } []
    BasicRecoverAsync 60 100 "basic.recover-async" client [] { requeue: bit } []
    BasicRecover 60 110 "basic.recover" client [] { requeue: bit } []
    BasicRecoverOk 60 111 "basic.recover-ok" server [] {} []
    BasicNack 60 120 "basic.nack" both [] { delivery_tag: longlong, multiple: bit, requeue: bit } []
    ConfirmSelect 85 10 "confirm.select" client [] { nowait: bit } []
    ConfirmSelectOk 85 11 "confirm.select-ok" server [] {} []
    TxSelect 90 10 "tx.select" client [] {} []
    TxSelectOk 90 11 "tx.select-ok" server [] {} []
    TxCommit 90 20 "tx.commit" client [] {} []
    TxCommitOk 90 21 "tx.commit-ok" server [] {} []
    TxRollback 90 30 "tx.rollback" client [] {} []
    TxRollbackOk 90 31 "tx.rollback-ok" server [] {} []
}

impl<'a> Method<'a> {
    /// Reads the payload of a method frame.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MethodError> {
        let (class_id, rest) = payload.split_first_chunk().ok_or(MethodError::TooShort)?;
        let (method_id, rest) = rest.split_first_chunk().ok_or(MethodError::TooShort)?;
        let (class_id, method_id) = (u16::from_be_bytes(*class_id), u16::from_be_bytes(*method_id));
        let mut fields = Fields { rest, bits: None, is_utf8: true };
        match Self::read(class_id, method_id, &mut fields) {
            Ok(None) => Err(MethodError::UnknownMethod { class_id, method_id }),
            Ok(Some(method)) if fields.rest.is_empty() => {
                if fields.is_utf8 {
                    Ok(method)
                } else {
                    Err(MethodError::MalformedUtf8 { class_id, method_id })
                }
            }
            Ok(Some(_)) | Err(Short) => Err(MethodError::malformed(class_id, method_id, rest)),
        }
    }

    /// Appends ids and arguments: the payload of a method frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (class_id, method_id) = self.ids();
        out.extend_from_slice(&class_id.to_be_bytes());
        out.extend_from_slice(&method_id.to_be_bytes());
        self.write(&mut Writer { out, bits: 0 });
    }

    /// Appends a whole method frame.
    pub fn encode_frame(&self, channel: u16, out: &mut Vec<u8>) {
        write_frame(out, FrameKind::Method, channel, |out| self.encode(out));
    }

    /// A content header and body follow it.
    pub fn has_content(&self) -> bool {
        matches!(self.ids(), (BASIC_CLASS, 40 | 50 | 60 | 71))
    }
}
