//! What clients say: methods, content, and what is neither.

use arbitrary::{Arbitrary, Result, Unstructured};
use lepus::wire::{FrameKind, write_content, write_content_header, write_frame, write_heartbeat, write_publish};

use super::call::Call;
use super::values::{Name, Props};

/// Something a client sends. Names are few, so that they meet.
#[derive(Clone, Debug)]
pub enum Said {
    Call {
        channel: Number,
        call: Call,
    },
    Publish {
        channel: Number,
        exchange: Name,
        key: Name,
        mandatory: bool,
        properties: Props,
        body: Length,
    },
    /// A channel closes and opens again.
    Reopen {
        channel: Number,
    },
    Heartbeat,
    Odd(Odd),
}

impl<'a> Arbitrary<'a> for Said {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? {
            0..140 => Self::Call { channel: u.arbitrary()?, call: Call::likely(u)? },
            140..146 => Self::Call { channel: u.arbitrary()?, call: u.arbitrary()? },
            146..240 => Self::Publish {
                channel: u.arbitrary()?,
                exchange: u.arbitrary()?,
                key: u.arbitrary()?,
                mandatory: u.arbitrary()?,
                properties: u.arbitrary()?,
                body: u.arbitrary()?,
            },
            240..248 => Self::Heartbeat,
            248..253 => Self::Reopen { channel: u.arbitrary()? },
            253..=255 => Self::Odd(u.arbitrary()?),
        })
    }
}

/// What no client should send, or not in this order.
#[derive(Clone, Debug, Arbitrary)]
pub enum Odd {
    /// One that stops short of its last bytes.
    PublishPart {
        channel: Number,
        key: Name,
        body: Length,
        cut: u8,
    },
    /// A method with one octet changed.
    Changed {
        channel: Number,
        call: Call,
        at: u8,
        octet: u8,
    },
    /// A content header, wherever it comes.
    Header {
        channel: Number,
        properties: Props,
        size: Size,
    },
    Body {
        channel: Number,
        body: Length,
    },
    /// A header as its bytes.
    RawHeader {
        channel: Number,
        class: u16,
        weight: u8,
        size: Size,
        rest: Vec<u8>,
    },
    /// A frame with any payload; its length and end may be wrong.
    Raw {
        kind: u8,
        channel: Number,
        payload: Vec<u8>,
        longer: i8,
        end: u8,
    },
    Method {
        channel: Number,
        class: u8,
        method: u8,
        arguments: Vec<u8>,
    },
    Heartbeat {
        channel: Number,
    },
    Bytes(Vec<u8>),
}

/// A channel's number: 1 or 2, mostly.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Number(u8);

impl Number {
    fn get(self) -> u16 {
        match self.0 {
            0..160 => 1,
            160..246 => 2,
            246..252 => 3,
            252 => 0,
            253 => 4,
            254 => 2047,
            255 => 65_535,
        }
    }
}

/// Of a body: short, mostly.
#[derive(Clone, Copy, Debug)]
pub struct Length(usize);

impl<'a> Arbitrary<'a> for Length {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(match u.arbitrary::<u8>()? {
            length @ 0..230 => length.into(),
            230..248 => u.int_in_range(0..=5000)?,
            // More than is copied for each consumer.
            248..252 => 40_000,
            // More than one frame.
            252..=255 => 140_000,
        }))
    }
}

/// The size that a header announces.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Size {
    Body(Length),
    Any(u64),
}

impl Size {
    fn get(self) -> u64 {
        match self {
            Self::Body(length) => length.0 as u64,
            Self::Any(size) => size,
        }
    }
}

const FRAME_MAX: u32 = 131_072;

impl Said {
    /// Appends its bytes. `last_tag` gives that of a channel's last delivery.
    pub fn write(&self, last_tag: impl Fn(u16) -> u64, out: &mut Vec<u8>) {
        match self {
            Self::Call { channel, call } => call.write(channel.get(), last_tag(channel.get()), out),
            Self::Reopen { channel } => {
                Call::ChannelClose.write(channel.get(), 0, out);
                Call::ChannelOpen.write(channel.get(), 0, out);
            }
            Self::Publish { channel, exchange, key, mandatory, properties, body } => {
                write_publish(out, channel.get(), exchange.exchange(), key.key(), *mandatory);
                write_content(out, channel.get(), &properties.encode(), &vec![7; body.0], FRAME_MAX);
            }
            Self::Heartbeat => write_heartbeat(out),
            Self::Odd(odd) => odd.write(out),
        }
    }
}

impl Odd {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::PublishPart { channel, key, body, cut } => {
                let mut whole = Vec::new();
                write_publish(&mut whole, channel.get(), "", key.key(), false);
                write_content(&mut whole, channel.get(), &[0, 0], &vec![7; body.0], FRAME_MAX);
                whole.truncate(whole.len().saturating_sub(usize::from(*cut)));
                out.extend(whole);
            }
            Self::Changed { channel, call, at, octet } => {
                let begin = out.len();
                call.write(channel.get(), 0, out);
                let length = out.len() - begin;
                out[begin + usize::from(*at) % length] = *octet;
            }
            Self::Header { channel, properties, size } => {
                write_content_header(out, channel.get(), &properties.encode(), size.get());
            }
            Self::Body { channel, body } => {
                let body = vec![7; body.0.min(FRAME_MAX as usize - 8)];
                write_frame(out, FrameKind::Body, channel.get(), |out| out.extend(body));
            }
            Self::RawHeader { channel, class, weight, size, rest } => {
                write_frame(out, FrameKind::Header, channel.get(), |out| {
                    out.extend(class.to_be_bytes());
                    out.extend(u16::from(*weight).to_be_bytes());
                    out.extend(size.get().to_be_bytes());
                    out.extend(rest);
                });
            }
            Self::Raw { kind, channel, payload, longer, end } => {
                out.push(*kind);
                out.extend(channel.get().to_be_bytes());
                let announced = (payload.len() as u32).wrapping_add_signed(i32::from(*longer));
                out.extend(announced.to_be_bytes());
                out.extend(payload);
                out.push(*end);
            }
            Self::Method { channel, class, method, arguments } => {
                write_frame(out, FrameKind::Method, channel.get(), |out| {
                    out.extend([0, *class, 0, *method]);
                    out.extend(arguments);
                });
            }
            Self::Heartbeat { channel } => write_frame(out, FrameKind::Heartbeat, channel.get(), |_| {}),
            Self::Bytes(bytes) => out.extend(bytes),
        }
    }
}
