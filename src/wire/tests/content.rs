//! The hand-written path beside the table of methods.

use proptest::prelude::*;

use super::{bytes, shortstr};
use crate::wire::{
    ContentHeader, Frame, FrameKind, Method, MethodError, Publish, address_parts, body_payload_max, cut, write_ack,
    write_content, write_deliver, write_get_ok, write_heartbeat, write_nack, write_publish, write_return,
};

/// All the frames of a buffer.
fn frames(mut buffer: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !buffer.is_empty() {
        let (frame, taken) = cut(buffer, u32::MAX).unwrap().unwrap();
        frames.push(frame);
        buffer = &buffer[taken..];
    }
    frames
}

/// What `Method` writes.
fn encoded(method: Method<'_>, channel: u16) -> Vec<u8> {
    let mut out = Vec::new();
    method.encode_frame(channel, &mut out);
    out
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn prefixed(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

proptest! {
    /// M-20 to M-23: the same bytes as by `Method`, and the same reading.
    #[test]
    fn by_hand_as_by_table(
        texts in proptest::array::uniform3(shortstr()), bits: [bool; 2], channel: u16, tag: u64, count: u32, code: u16,
    ) {
        let [exchange, routing_key, text] = texts.each_ref().map(String::as_str);
        let [yes, other] = bits;
        let address = [prefixed(exchange), prefixed(routing_key)].concat();
        prop_assert_eq!(address_parts(&address), (exchange.as_bytes(), routing_key.as_bytes()));

        let method = Method::BasicPublish { exchange, routing_key, mandatory: yes, immediate: false };
        let publish = written(|out| write_publish(out, channel, exchange, routing_key, yes));
        prop_assert_eq!(&publish, &encoded(method, channel));
        let arguments = frames(&publish)[0].payload.strip_prefix(&Publish::IDS).unwrap();
        let (exchange_bytes, key_bytes) = (exchange.as_bytes(), routing_key.as_bytes());
        let read = Publish {
            address: &address, exchange: exchange_bytes, routing_key: key_bytes, mandatory: yes, immediate: false,
        };
        prop_assert_eq!(Publish::decode(arguments), Ok(read));

        let deliver = Method::BasicDeliver {
            consumer_tag: text, delivery_tag: tag, redelivered: yes, exchange, routing_key,
        };
        let by_hand = written(|out| write_deliver(out, channel, &prefixed(text), tag, yes, &address));
        prop_assert_eq!(by_hand, encoded(deliver, channel));

        let returned = Method::BasicReturn { reply_code: code, reply_text: text, exchange, routing_key };
        let by_hand = written(|out| write_return(out, channel, code, text, &address));
        prop_assert_eq!(by_hand, encoded(returned, channel));

        let got = Method::BasicGetOk {
            delivery_tag: tag, redelivered: yes, exchange, routing_key, message_count: count,
        };
        let by_hand = written(|out| write_get_ok(out, channel, tag, yes, &address, count));
        prop_assert_eq!(by_hand, encoded(got, channel));

        let ack = Method::BasicAck { delivery_tag: tag, multiple: yes };
        prop_assert_eq!(written(|out| write_ack(out, channel, tag, yes)), encoded(ack, channel));
        let nack = Method::BasicNack { delivery_tag: tag, multiple: yes, requeue: other };
        prop_assert_eq!(written(|out| write_nack(out, channel, tag, yes, other)), encoded(nack, channel));
    }

    /// FR-4, FR-5: a header, and body frames that are full but for the last.
    #[test]
    fn bodies_fill_their_frames(body in bytes(100), properties in bytes(20), channel: u16, frame_max in 9..60u32) {
        let out = written(|out| write_content(out, channel, &properties, &body, frame_max));
        let frames = frames(&out);
        prop_assert!(frames.iter().all(|frame| frame.channel == channel));
        let (header, pieces) = frames.split_first().unwrap();
        let expected = ContentHeader { class_id: 60, weight: 0, body_size: body.len() as u64, properties: &properties };
        prop_assert_eq!(header.kind, FrameKind::Header);
        prop_assert_eq!(ContentHeader::decode(header.payload), Ok(expected));
        prop_assert!(pieces.iter().all(|frame| frame.kind == FrameKind::Body));
        let sizes: Vec<_> = pieces.iter().map(|frame| frame.payload.len()).collect();
        let full = frame_max as usize - 8;
        let mut expected = vec![full; body.len() / full];
        expected.extend(Some(body.len() % full).filter(|rest| *rest > 0));
        prop_assert_eq!(sizes, expected);
        prop_assert_eq!(pieces.iter().flat_map(|frame| frame.payload).copied().collect::<Vec<u8>>(), body);
    }

    /// Half an address has no parts, and no bytes can make it panic.
    #[test]
    fn address_of_any_bytes(address in bytes(20)) {
        let (exchange, routing_key) = address_parts(&address);
        prop_assert!(exchange.len() + routing_key.len() <= address.len());
    }
}

/// A publish alone is not asked to be UTF-8: RabbitMQ routes it by its bytes (BP-7 holds for all other methods).
#[test]
fn publish_of_any_bytes() {
    let arguments = b"\0\0\x01\xff\x02\xff\xfe\x01";
    let publish = Publish::decode(arguments).unwrap();
    assert_eq!((publish.exchange, publish.routing_key), (&b"\xff"[..], &b"\xff\xfe"[..]));
    assert_eq!((publish.address, publish.mandatory, publish.immediate), (&arguments[2..7], true, false));
}

/// HS-5: frame_max 0 is no limit.
#[test]
fn room_for_a_body() {
    assert_eq!(body_payload_max(131_072), 131_064);
    assert_eq!(body_payload_max(0), u32::MAX as usize);
    // Cannot be negotiated, and must not stop a writer for ever.
    assert_eq!(body_payload_max(8), 1);
    let out = written(|out| write_content(out, 1, &[0, 0], &[7; 300_000], 0));
    assert_eq!(frames(&out).len(), 2);
}

#[test]
fn heartbeats() {
    assert_eq!(written(write_heartbeat), [8, 0, 0, 0, 0, 0, 0, 0xCE]);
}

/// FR-6, EC-7: class and weight are read, whatever they are; the session judges them.
#[test]
fn content_headers() {
    let payload = [0, 50, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0x80];
    let header = ContentHeader { class_id: 50, weight: 1, body_size: 256, properties: &[0x80] };
    assert_eq!(ContentHeader::decode(&payload), Ok(header));
    assert_eq!(ContentHeader::decode(&payload[..11]), Err(MethodError::TooShort));
}
