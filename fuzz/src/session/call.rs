//! Methods that clients send.

use arbitrary::{Arbitrary, Result, Unstructured};
use lepus::wire::{Method, RawTable};

use super::values::{Arguments, Bits, Name, Tag};

/// A method.
#[derive(Clone, Debug, Arbitrary)]
pub enum Call {
    ChannelOpen,
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow(bool),
    ExchangeDeclare {
        exchange: Name,
        kind: Name,
        bits: Bits,
        internal: bool,
        arguments: Arguments,
    },
    ExchangeDelete {
        exchange: Name,
        if_unused: bool,
        nowait: bool,
    },
    ExchangeBind {
        destination: Name,
        source: Name,
        key: Name,
        nowait: bool,
        arguments: Arguments,
    },
    ExchangeUnbind {
        destination: Name,
        source: Name,
        key: Name,
        nowait: bool,
        arguments: Arguments,
    },
    QueueDeclare {
        queue: Name,
        bits: Bits,
        arguments: Arguments,
    },
    QueueBind {
        queue: Name,
        exchange: Name,
        key: Name,
        nowait: bool,
        arguments: Arguments,
    },
    QueueUnbind {
        queue: Name,
        exchange: Name,
        key: Name,
        arguments: Arguments,
    },
    QueuePurge {
        queue: Name,
        nowait: bool,
    },
    QueueDelete {
        queue: Name,
        if_unused: bool,
        if_empty: bool,
        nowait: bool,
    },
    Qos {
        size: bool,
        count: u8,
        global: bool,
    },
    Consume {
        queue: Name,
        tag: Name,
        no_ack: bool,
        bits: Bits,
        arguments: Arguments,
    },
    Cancel {
        tag: Name,
        nowait: bool,
    },
    Get {
        queue: Name,
        no_ack: bool,
    },
    Ack {
        tag: Tag,
        multiple: bool,
    },
    Nack {
        tag: Tag,
        multiple: bool,
        requeue: bool,
    },
    Reject {
        tag: Tag,
        requeue: bool,
    },
    Recover {
        requeue: bool,
        waits: bool,
    },
    ConfirmSelect {
        nowait: bool,
    },
    TxSelect,
    TxCommit,
    TxRollback,
    AccessRequest,
    ConnectionStartOk {
        mechanism: u8,
        right: bool,
    },
    ConnectionTuneOk {
        channel_max: u16,
        frame_max: u32,
        heartbeat: u16,
    },
    ConnectionOpen {
        missing: bool,
    },
    ConnectionClose,
    ConnectionCloseOk,
    UpdateSecret,
    /// Only servers send it; with content.
    Deliver,
    /// Only servers send it.
    ServerOnly(u8),
}

impl Call {
    /// One of those that do no harm.
    pub(super) fn likely(u: &mut Unstructured<'_>) -> Result<Self> {
        let nowait = false;
        Ok(match u.int_in_range(0..=15)? {
            0 | 1 => Self::QueueDeclare { queue: u.arbitrary()?, bits: u.arbitrary()?, arguments: u.arbitrary()? },
            2 | 3 => Self::Consume {
                queue: u.arbitrary()?,
                tag: Name::NO_TAG,
                no_ack: u.arbitrary()?,
                bits: u.arbitrary()?,
                arguments: u.arbitrary()?,
            },
            4 => Self::Get { queue: u.arbitrary()?, no_ack: u.arbitrary()? },
            5 => Self::Ack { tag: Tag::Recent(u.int_in_range(0..=3)?), multiple: u.arbitrary()? },
            6 => Self::Ack { tag: Tag::Small(0), multiple: true },
            7 => Self::Nack { tag: Tag::Small(0), multiple: true, requeue: u.arbitrary()? },
            8 => Self::Reject { tag: Tag::Recent(u.int_in_range(0..=3)?), requeue: u.arbitrary()? },
            9 => Self::QueueBind {
                queue: u.arbitrary()?,
                exchange: u.arbitrary()?,
                key: u.arbitrary()?,
                nowait: u.arbitrary()?,
                arguments: u.arbitrary()?,
            },
            10 => Self::ConfirmSelect { nowait },
            11 => Self::Qos { size: false, count: u.int_in_range(0..=8)?, global: u.arbitrary()? },
            12 => Self::Cancel { tag: u.arbitrary()?, nowait: u.arbitrary()? },
            13 => Self::ExchangeDeclare {
                exchange: u.arbitrary()?,
                kind: u.arbitrary()?,
                bits: u.arbitrary()?,
                internal: false,
                arguments: u.arbitrary()?,
            },
            14 => [Self::TxSelect, Self::TxCommit, Self::TxRollback][u.choose_index(3)?].clone(),
            _ => match u.int_in_range(0..=2)? {
                0 => Self::QueueDelete { queue: u.arbitrary()?, if_unused: false, if_empty: false, nowait },
                1 => Self::QueuePurge { queue: u.arbitrary()?, nowait },
                _ => Self::Recover { requeue: true, waits: u.arbitrary()? },
            },
        })
    }

    /// Appends the method's frame. The last delivery of the channel had `last_tag`.
    pub fn write(&self, channel: u16, last_tag: u64, out: &mut Vec<u8>) {
        let raw = match self {
            Self::ExchangeDeclare { arguments, .. }
            | Self::ExchangeBind { arguments, .. }
            | Self::ExchangeUnbind { arguments, .. }
            | Self::QueueDeclare { arguments, .. }
            | Self::QueueBind { arguments, .. }
            | Self::QueueUnbind { arguments, .. }
            | Self::Consume { arguments, .. } => arguments.encode(),
            _ => Vec::new(),
        };
        let arguments = RawTable(&raw);
        let method = self
            .of_connection()
            .or_else(|| self.of_exchanges(arguments))
            .or_else(|| self.of_queues(arguments))
            .unwrap_or_else(|| self.of_messages(arguments, last_tag));
        method.encode_frame(channel, out);
    }

    fn of_connection(&self) -> Option<Method<'static>> {
        Some(match *self {
            Self::ConnectionStartOk { mechanism, right } => {
                let mechanism = ["PLAIN", "AMQPLAIN", "ANONYMOUS", "EXTERNAL"][usize::from(mechanism) % 4];
                let response: &[u8] = if right { b"\0guest\0guest" } else { b"\x05LOGINS\0\0\0\x05guest" };
                Method::ConnectionStartOk { client_properties: RawTable(&[]), mechanism, response, locale: "en_US" }
            }
            Self::ConnectionTuneOk { channel_max, frame_max, heartbeat } => {
                Method::ConnectionTuneOk { channel_max, frame_max, heartbeat }
            }
            Self::ConnectionOpen { missing } => {
                Method::ConnectionOpen { virtual_host: if missing { "missing" } else { "/" } }
            }
            Self::ConnectionClose => {
                Method::ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 }
            }
            Self::ConnectionCloseOk => Method::ConnectionCloseOk {},
            Self::UpdateSecret => Method::ConnectionUpdateSecret { new_secret: b"s", reason: "r" },
            Self::ChannelOpen => Method::ChannelOpen {},
            Self::ChannelClose => {
                Method::ChannelClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 }
            }
            Self::ChannelCloseOk => Method::ChannelCloseOk {},
            Self::ChannelFlow(active) => Method::ChannelFlow { active },
            Self::AccessRequest => Method::AccessRequest {
                realm: "/",
                exclusive: false,
                passive: true,
                active: true,
                write: true,
                read: true,
            },
            Self::ServerOnly(which) => match which % 4 {
                0 => Method::BasicGetEmpty {},
                1 => Method::QueueDeclareOk { queue: "q", message_count: 0, consumer_count: 0 },
                2 => Method::ConnectionBlocked { reason: "r" },
                _ => Method::BasicCancelOk { consumer_tag: "a" },
            },
            _ => return None,
        })
    }

    fn of_exchanges<'a>(&self, arguments: RawTable<'a>) -> Option<Method<'a>> {
        Some(match *self {
            Self::ExchangeDeclare { exchange, kind, bits, internal, .. } => Method::ExchangeDeclare {
                exchange: exchange.exchange(),
                kind: kind.kind(),
                passive: bits.passive.0,
                durable: bits.durable.0,
                auto_delete: bits.auto_delete.0,
                internal,
                nowait: bits.nowait,
                arguments,
            },
            Self::ExchangeDelete { exchange, if_unused, nowait } => {
                Method::ExchangeDelete { exchange: exchange.exchange(), if_unused, nowait }
            }
            Self::ExchangeBind { destination, source, key, nowait, .. } => {
                let (destination, source) = (destination.exchange(), source.exchange());
                Method::ExchangeBind { destination, source, routing_key: key.key(), nowait, arguments }
            }
            Self::ExchangeUnbind { destination, source, key, nowait, .. } => {
                let (destination, source) = (destination.exchange(), source.exchange());
                Method::ExchangeUnbind { destination, source, routing_key: key.key(), nowait, arguments }
            }
            _ => return None,
        })
    }

    fn of_queues<'a>(&self, arguments: RawTable<'a>) -> Option<Method<'a>> {
        Some(match *self {
            Self::QueueDeclare { queue, bits, .. } => Method::QueueDeclare {
                queue: queue.queue(),
                passive: bits.passive.0,
                durable: bits.durable.0,
                exclusive: bits.exclusive.0,
                auto_delete: bits.auto_delete.0,
                nowait: bits.nowait,
                arguments,
            },
            Self::QueueBind { queue, exchange, key, nowait, .. } => {
                let (queue, exchange) = (queue.queue(), exchange.exchange());
                Method::QueueBind { queue, exchange, routing_key: key.key(), nowait, arguments }
            }
            Self::QueueUnbind { queue, exchange, key, .. } => {
                let (queue, exchange) = (queue.queue(), exchange.exchange());
                Method::QueueUnbind { queue, exchange, routing_key: key.key(), arguments }
            }
            Self::QueuePurge { queue, nowait } => Method::QueuePurge { queue: queue.queue(), nowait },
            Self::QueueDelete { queue, if_unused, if_empty, nowait } => {
                Method::QueueDelete { queue: queue.queue(), if_unused, if_empty, nowait }
            }
            _ => return None,
        })
    }

    fn of_messages<'a>(&self, arguments: RawTable<'a>, last_tag: u64) -> Method<'a> {
        match *self {
            Self::Qos { size, count, global } => {
                Method::BasicQos { prefetch_size: size.into(), prefetch_count: count.into(), global }
            }
            Self::Consume { queue, tag, no_ack, bits, .. } => Method::BasicConsume {
                queue: queue.queue(),
                consumer_tag: tag.tag(),
                no_local: bits.passive.0,
                no_ack,
                exclusive: bits.exclusive.0,
                nowait: bits.nowait,
                arguments,
            },
            Self::Cancel { tag, nowait } => Method::BasicCancel { consumer_tag: tag.tag(), nowait },
            Self::Get { queue, no_ack } => Method::BasicGet { queue: queue.queue(), no_ack },
            Self::Ack { tag, multiple } => Method::BasicAck { delivery_tag: tag.get(last_tag), multiple },
            Self::Nack { tag, multiple, requeue } => {
                Method::BasicNack { delivery_tag: tag.get(last_tag), multiple, requeue }
            }
            Self::Reject { tag, requeue } => Method::BasicReject { delivery_tag: tag.get(last_tag), requeue },
            Self::Recover { requeue, waits: true } => Method::BasicRecover { requeue },
            Self::Recover { requeue, waits: false } => Method::BasicRecoverAsync { requeue },
            Self::ConfirmSelect { nowait } => Method::ConfirmSelect { nowait },
            Self::TxSelect => Method::TxSelect {},
            Self::TxCommit => Method::TxCommit {},
            Self::TxRollback => Method::TxRollback {},
            // What is left.
            _ => Method::BasicDeliver {
                consumer_tag: "a",
                delivery_tag: 1,
                redelivered: false,
                exchange: "",
                routing_key: "q",
            },
        }
    }
}
