//! The hot path, by hand: publishes read in place, deliveries and acks written straight into a buffer.
//!
//! In basic.publish, deliver, return and get-ok the exchange and the routing key stand side by side as short strings;
//! together they are the *address*, which is taken from a publish and copied into a delivery as it is.

use super::frame::{
    CONTENT_HEADER_LEN, FRAME_END, FRAME_OVERHEAD, FrameKind, HEADER_LEN, METHOD_IDS_LEN, frame_head, write_frame,
};
use super::method::{BASIC_CLASS, MethodError, write_shortstr};

const PUBLISH: u16 = 40;
const DELIVER: u16 = 60;

/// basic.publish, read in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// `exchange shortstr | routing-key shortstr`.
    pub address: &'a [u8],
    /// The exchange; empty is the default one. RabbitMQ does not ask whether it is UTF-8, nor of the key.
    pub exchange: &'a [u8],
    /// The routing key.
    pub routing_key: &'a [u8],
    /// Return it if it is routed nowhere.
    pub mandatory: bool,
    /// Not supported by RabbitMQ.
    pub immediate: bool,
}

impl<'a> Publish<'a> {
    /// Class and method id, the first bytes of the frame's payload.
    pub const IDS: [u8; 4] = [0, 60, 0, 40];

    /// Reads the arguments, which follow the ids.
    #[inline]
    pub fn decode(arguments: &'a [u8]) -> Result<Self, MethodError> {
        Self::read(arguments).ok_or_else(|| MethodError::malformed(BASIC_CLASS, PUBLISH, arguments))
    }

    /// As [`Self::decode`], without a word on what is wrong.
    #[inline]
    pub fn read(arguments: &'a [u8]) -> Option<Self> {
        // Behind the reserved ticket.
        let names = arguments.get(2..)?;
        let (exchange, rest) = shortstr(names)?;
        let (routing_key, rest) = shortstr(rest)?;
        let [bits] = rest else { return None };
        Some(Self {
            address: &names[..names.len() - rest.len()],
            exchange,
            routing_key,
            mandatory: bits & 1 != 0,
            immediate: bits & 2 != 0,
        })
    }
}

#[inline]
fn shortstr(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The two short strings of an address, without their lengths; empty if it is none.
pub fn address_parts(address: &[u8]) -> (&[u8], &[u8]) {
    let parts = shortstr(address).and_then(|(exchange, rest)| Some((exchange, shortstr(rest)?.0)));
    parts.unwrap_or_default()
}

/// A content header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentHeader<'a> {
    /// 60 for everything that carries content.
    pub class_id: u16,
    /// Always 0.
    pub weight: u16,
    /// Length of the body that follows, in bytes.
    pub body_size: u64,
    /// Property flags and values, raw.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, MethodError> {
        let Some((fixed, properties)) = payload.split_first_chunk::<12>() else {
            return Err(MethodError::TooShort);
        };
        let [class_high, class_low, weight_high, weight_low, body_size @ ..] = *fixed;
        Ok(Self {
            class_id: u16::from_be_bytes([class_high, class_low]),
            weight: u16::from_be_bytes([weight_high, weight_low]),
            body_size: u64::from_be_bytes(body_size),
            properties,
        })
    }
}

fn method(out: &mut Vec<u8>, channel: u16, id: u16, write: impl FnOnce(&mut Vec<u8>)) {
    write_frame(out, FrameKind::Method, channel, |out| {
        let [class, id] = [BASIC_CLASS.to_be_bytes(), id.to_be_bytes()];
        out.extend_from_slice(&[class[0], class[1], id[0], id[1]]);
        write(out);
    });
}

/// basic.deliver. `consumer_tag` is a short string with its length octet.
#[inline]
pub fn write_deliver(
    out: &mut Vec<u8>,
    channel: u16,
    consumer_tag: &[u8],
    delivery_tag: u64,
    redelivered: bool,
    address: &[u8],
) {
    let mut tag_and_bit = [0; 9];
    tag_and_bit[..8].copy_from_slice(&delivery_tag.to_be_bytes());
    tag_and_bit[8] = redelivered.into();
    let arguments_len = consumer_tag.len() + tag_and_bit.len() + address.len();
    out.extend_from_slice(&method_head(channel, DELIVER, arguments_len));
    out.extend_from_slice(consumer_tag);
    out.extend_from_slice(&tag_and_bit);
    out.extend_from_slice(address);
    out.push(FRAME_END);
}

/// What stands before the arguments of a method.
#[inline]
fn method_head(channel: u16, id: u16, arguments_len: usize) -> [u8; HEADER_LEN + METHOD_IDS_LEN] {
    let mut head = [0; HEADER_LEN + METHOD_IDS_LEN];
    let (frame, ids) = head.split_at_mut(HEADER_LEN);
    frame.copy_from_slice(&frame_head(FrameKind::Method, channel, METHOD_IDS_LEN + arguments_len));
    ids[..2].copy_from_slice(&BASIC_CLASS.to_be_bytes());
    ids[2..].copy_from_slice(&id.to_be_bytes());
    head
}

/// basic.return.
pub fn write_return(out: &mut Vec<u8>, channel: u16, reply_code: u16, reply_text: &str, address: &[u8]) {
    method(out, channel, 50, |out| {
        out.extend_from_slice(&reply_code.to_be_bytes());
        write_shortstr(out, reply_text);
        out.extend_from_slice(address);
    });
}

/// basic.get-ok.
pub fn write_get_ok(
    out: &mut Vec<u8>,
    channel: u16,
    delivery_tag: u64,
    redelivered: bool,
    address: &[u8],
    message_count: u32,
) {
    method(out, channel, 71, |out| {
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(redelivered.into());
        out.extend_from_slice(address);
        out.extend_from_slice(&message_count.to_be_bytes());
    });
}

/// basic.publish, for clients.
pub fn write_publish(out: &mut Vec<u8>, channel: u16, exchange: &str, routing_key: &str, mandatory: bool) {
    method(out, channel, PUBLISH, |out| {
        out.extend_from_slice(&[0, 0]);
        write_shortstr(out, exchange);
        write_shortstr(out, routing_key);
        out.push(mandatory.into());
    });
}

/// A content header frame.
#[inline]
pub fn write_content_header(out: &mut Vec<u8>, channel: u16, properties: &[u8], body_size: u64) {
    let mut head = [0; HEADER_LEN + CONTENT_HEADER_LEN];
    let (frame, fixed) = head.split_at_mut(HEADER_LEN);
    frame.copy_from_slice(&frame_head(FrameKind::Header, channel, CONTENT_HEADER_LEN + properties.len()));
    // The weight between them stays 0.
    fixed[..2].copy_from_slice(&BASIC_CLASS.to_be_bytes());
    fixed[4..].copy_from_slice(&body_size.to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(properties);
    out.push(FRAME_END);
}

/// Header frame and body frames, each as full as `frame_max` allows (FR-5); no body frame for an empty body (FR-4).
#[inline]
pub fn write_content(out: &mut Vec<u8>, channel: u16, properties: &[u8], body: &[u8], frame_max: u32) {
    write_content_header(out, channel, properties, body.len() as u64);
    for piece in body.chunks(body_payload_max(frame_max)) {
        write_body_frame_head(out, channel, piece.len());
        out.extend_from_slice(piece);
        out.push(FRAME_END);
    }
}

/// How much body a frame carries, in bytes; a frame_max of 0 is as large as the size field can say.
pub fn body_payload_max(frame_max: u32) -> usize {
    match frame_max {
        0 => u32::MAX as usize,
        max => (max as usize).saturating_sub(FRAME_OVERHEAD).max(1),
    }
}

/// What stands before a piece of body; [`FRAME_END`] goes behind it.
#[inline]
pub fn write_body_frame_head(out: &mut Vec<u8>, channel: u16, length: usize) {
    out.extend_from_slice(&frame_head(FrameKind::Body, channel, length));
}

/// basic.ack.
pub fn write_ack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool) {
    method(out, channel, 80, |out| {
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(multiple.into());
    });
}

/// basic.nack.
pub fn write_nack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool, requeue: bool) {
    method(out, channel, 120, |out| {
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(u8::from(multiple) | u8::from(requeue) << 1);
    });
}

/// A heartbeat frame.
pub fn write_heartbeat(out: &mut Vec<u8>) {
    write_frame(out, FrameKind::Heartbeat, 0, |_| {});
}
