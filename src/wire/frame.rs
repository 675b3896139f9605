//! The envelope everything travels in.
//!
//! ```text
//! | type u8 | channel u16 | size u32 | payload (size bytes) | 0xCE |
//! ```

use std::fmt;

use thiserror::Error;

use super::erlang::erlang_binary;
use super::reply_code::ReplyCode;

/// Bytes of a frame that are not payload.
pub const FRAME_OVERHEAD: usize = 8;
/// The last octet of every frame.
pub const FRAME_END: u8 = 0xCE;
/// Type, channel and size.
pub(super) const HEADER_LEN: usize = 7;
/// Class and method id.
pub(super) const METHOD_IDS_LEN: usize = 4;
/// Class, weight and body size.
pub(super) const CONTENT_HEADER_LEN: usize = 12;
/// The longest payload that error texts show whole.
const OCTETS_SHOWN: usize = 16;

/// The frame types of 0-9-1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// A method.
    Method = 1,
    /// A content header.
    Header = 2,
    /// A piece of a content body.
    Body = 3,
    /// Nothing, to show that the peer lives.
    Heartbeat = 8,
}

/// A frame, borrowed from the read buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: FrameKind,
    /// 0 is the connection itself.
    pub channel: u16,
    /// Everything between the header and the end octet.
    pub payload: &'a [u8],
}

/// A frame that cannot be accepted; `Display` is RabbitMQ's reply text without the `CONSTANT - ` prefix.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// EC-1. `limit` is what the text says.
    #[error("type {kind}, all octets = <<>>: {{frame_too_large,{size},{limit}}}")]
    TooLarge {
        /// Frame type as it came.
        kind: u8,
        /// Payload size announced, in bytes.
        size: u32,
        /// Largest payload by the negotiated frame_max, in bytes.
        limit: u32,
    },
    /// EC-2.
    #[error("type {kind}, {octets}: {{invalid_frame_end_marker,{found}}}")]
    BadEnd {
        /// Frame type as it came.
        kind: u8,
        /// The payload.
        octets: Octets,
        /// What stood in place of 0xCE.
        found: u8,
    },
    /// EC-3, FR-10: a type that does not exist, or one whose payload cannot be: a heartbeat with any, a method without
    /// ids, a content header without its fixed part.
    #[error("type {kind}, {octets}: unknown_frame")]
    UnknownKind {
        /// Frame type as it came.
        kind: u8,
        /// The payload.
        octets: Octets,
    },
    /// EC-4.
    #[error("type 8, all octets = <<>>")]
    HeartbeatOnChannel,
}

impl FrameError {
    /// The reply code.
    pub fn code(&self) -> ReplyCode {
        match self {
            Self::HeartbeatOnChannel => ReplyCode::UnexpectedFrame,
            _ => ReplyCode::FrameError,
        }
    }

    /// Where the frame at the start of `input` that had this error ends; `None`: where its size says is no place to
    /// go on.
    pub fn frame_end(&self, input: &[u8]) -> Option<usize> {
        if matches!(self, Self::TooLarge { .. }) {
            return None;
        }
        let size = input.get(3..)?.first_chunk()?;
        usize::try_from(u32::from_be_bytes(*size)).ok()?.checked_add(FRAME_OVERHEAD)
    }
}

/// The payload of a bad frame as RabbitMQ's texts show it: whole if short, else its first 16 octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Octets {
    shown: Vec<u8>,
    is_all: bool,
}

impl Octets {
    /// Takes from the payload what is shown of it.
    pub fn of(payload: &[u8]) -> Self {
        let shown = payload.get(..OCTETS_SHOWN).unwrap_or(payload);
        Self { shown: shown.to_vec(), is_all: shown.len() == payload.len() }
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = erlang_binary(&self.shown);
        if self.is_all {
            write!(f, "all octets = {octets}")
        } else {
            write!(f, "first {OCTETS_SHOWN} octets = {octets}")
        }
    }
}

/// Cuts one frame off the front of `input`; also gives the bytes it took. `Ok(None)`: more are needed.
///
/// A payload of up to `payload_max` bytes is accepted, 8 more than the negotiated frame_max strictly allows, as
/// RabbitMQ does (FR-2). The size is checked as soon as it is there, before anything is buffered.
///
/// The payload of a method has room for the ids, that of a content header for its fixed part.
#[inline]
pub fn cut(input: &[u8], payload_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let [type_octet, channel_high, channel_low, size @ ..] = *header;
    let size = u32::from_be_bytes(size);
    if size > payload_max {
        let limit = payload_max.saturating_sub(FRAME_OVERHEAD as u32);
        return Err(FrameError::TooLarge { kind: type_octet, size, limit });
    }
    let Some((payload, [end, ..])) = rest.split_at_checked(size as usize) else {
        return Ok(None);
    };
    if *end != FRAME_END {
        return Err(FrameError::BadEnd { kind: type_octet, octets: Octets::of(payload), found: *end });
    }
    let channel = u16::from_be_bytes([channel_high, channel_low]);
    let kind = match type_octet {
        1 if payload.len() >= METHOD_IDS_LEN => FrameKind::Method,
        2 if payload.len() >= CONTENT_HEADER_LEN => FrameKind::Header,
        3 => FrameKind::Body,
        8 if payload.is_empty() && channel == 0 => FrameKind::Heartbeat,
        8 if payload.is_empty() => return Err(FrameError::HeartbeatOnChannel),
        _ => return Err(FrameError::UnknownKind { kind: type_octet, octets: Octets::of(payload) }),
    };
    Ok(Some((Frame { kind, channel, payload }, HEADER_LEN + payload.len() + 1)))
}

/// Cuts a frame off the front of `input` that is expected to be of this kind and channel: gives its payload, and what is
/// behind it. `None`: it is not, or not all there, or cannot be accepted; [`cut`] finds out which.
#[inline]
pub fn cut_expected(input: &[u8], kind: FrameKind, channel: u16, payload_max: u32) -> Option<(&[u8], &[u8])> {
    let (header, rest) = input.split_first_chunk::<HEADER_LEN>()?;
    let [type_octet, channel_high, channel_low, size @ ..] = *header;
    let size = u32::from_be_bytes(size);
    if type_octet != kind as u8 || u16::from_be_bytes([channel_high, channel_low]) != channel || size > payload_max {
        return None;
    }
    match rest.split_at_checked(size as usize)? {
        (payload, [FRAME_END, behind @ ..]) => Some((payload, behind)),
        _ => None,
    }
}

/// What stands before the payload.
#[inline]
pub(super) fn frame_head(kind: FrameKind, channel: u16, payload_len: usize) -> [u8; HEADER_LEN] {
    let [channel_high, channel_low] = channel.to_be_bytes();
    let [size_0, size_1, size_2, size_3] = (payload_len as u32).to_be_bytes();
    [kind as u8, channel_high, channel_low, size_0, size_1, size_2, size_3]
}

/// Writes a frame whose payload `write` appends.
pub fn write_frame(out: &mut Vec<u8>, kind: FrameKind, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(kind as u8);
    out.extend(channel.to_be_bytes());
    out.extend([0; 4]);
    write(out);
    let size = (out.len() - at - HEADER_LEN) as u32;
    out[at + 3..at + HEADER_LEN].copy_from_slice(&size.to_be_bytes());
    out.push(FRAME_END);
}
