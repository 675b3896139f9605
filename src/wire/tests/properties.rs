//! Properties, also as another codec reads them.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, parse_frame};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::{AMQPValue, FieldTable};
use proptest::option::of;
use proptest::prelude::*;

use super::{bare, shortstr, table};
use crate::wire::{Properties, PropertiesError, RawTable, Table, Value, write_content_header};

/// Every property, or not.
#[derive(Clone, Debug)]
struct Owned {
    strings: [Option<String>; 10],
    headers: Option<Table>,
    octets: [Option<u8>; 2],
    timestamp: Option<u64>,
}

fn owned() -> impl Strategy<Value = Owned> {
    let strings = proptest::array::uniform10(of(shortstr()));
    (strings, of(table()), any::<[Option<u8>; 2]>(), any::<Option<u64>>())
        .prop_map(|(strings, headers, octets, timestamp)| Owned { strings, headers, octets, timestamp })
}

impl Owned {
    fn borrowed<'a>(&'a self, headers: Option<&'a [u8]>) -> Properties<'a> {
        let [content_type, content_encoding, correlation_id, reply_to, expiration, message_id, rest @ ..] =
            self.strings.each_ref().map(|text| text.as_ref().map(String::as_bytes));
        let [kind, user_id, app_id, cluster_id] = rest;
        let [delivery_mode, priority] = self.octets;
        Properties {
            content_type,
            content_encoding,
            headers: headers.map(RawTable),
            delivery_mode,
            priority,
            correlation_id,
            reply_to,
            expiration,
            message_id,
            timestamp: self.timestamp,
            kind,
            user_id,
            app_id,
            cluster_id,
        }
    }
}

fn encoded(properties: &Properties<'_>) -> Vec<u8> {
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    raw
}

proptest! {
    /// BP-1: all fourteen, byte for byte.
    #[test]
    fn written_properties_are_read_again(owned in owned()) {
        let headers = owned.headers.as_ref().map(bare);
        let properties = owned.borrowed(headers.as_deref());
        let raw = encoded(&properties);
        let read = Properties::decode(&raw).unwrap();
        prop_assert_eq!(read, properties);
        prop_assert_eq!(encoded(&read), raw.clone());
        for end in 0..raw.len() {
            prop_assert_eq!(Properties::decode(&raw[..end]), Err(PropertiesError));
        }
    }

    /// One property changed, the others as they were.
    #[test]
    fn one_property_can_be_replaced(owned in owned()) {
        let headers = owned.headers.as_ref().map(bare);
        let before = owned.borrowed(headers.as_deref());
        let after = Properties { expiration: None, ..before };
        let raw = encoded(&after);
        let read = Properties::decode(&raw).unwrap();
        prop_assert_eq!(Properties { expiration: before.expiration, ..read }, before);
    }
}

/// BP-1: the order of flags and values, by an independent codec.
#[test]
fn another_codec_reads_the_same() {
    let headers = bare(&Table::from_iter([("a", Value::I32(-1)), ("b", Value::from("text"))]));
    let properties = Properties {
        content_type: Some(b"text/plain"),
        content_encoding: Some(b"utf-8"),
        headers: Some(RawTable(&headers)),
        delivery_mode: Some(2),
        priority: Some(3),
        correlation_id: Some(b"c1"),
        reply_to: Some(b"somewhere"),
        expiration: Some(b"60000"),
        message_id: Some(b"m1"),
        timestamp: Some(1_700_000_000),
        kind: Some(b"kind"),
        user_id: Some(b"guest"),
        app_id: Some(b"app"),
        cluster_id: Some(b"cluster"),
    };
    let mut theirs_headers = FieldTable::default();
    theirs_headers.insert("a".into(), AMQPValue::LongInt(-1));
    theirs_headers.insert("b".into(), AMQPValue::LongString("text".into()));
    let theirs = AMQPProperties::default()
        .with_content_type("text/plain".into())
        .with_content_encoding("utf-8".into())
        .with_headers(theirs_headers)
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c1".into())
        .with_reply_to("somewhere".into())
        .with_expiration("60000".into())
        .with_message_id("m1".into())
        .with_timestamp(1_700_000_000)
        .with_type("kind".into())
        .with_user_id("guest".into())
        .with_app_id("app".into())
        .with_cluster_id("cluster".into());
    let mut frame = Vec::new();
    write_content_header(&mut frame, 5, &encoded(&properties), 77);
    let (rest, parsed) = parse_frame(frame.as_slice()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(parsed, AMQPFrame::Header(5, AMQPContentHeader { class_id: 60, body_size: 77, properties: theirs }));
}

/// Flags: none; the one that belongs to nothing is passed over as by RabbitMQ; a second word is refused, and so are
/// bytes behind the last value, on which RabbitMQ crashes (541).
#[test]
fn flags() {
    assert_eq!(Properties::decode(&[0, 0]), Ok(Properties::default()));
    assert_eq!(Properties::decode(&[0, 2]), Ok(Properties::default()));
    let with_type = Properties { content_type: Some(b"a"), ..Properties::default() };
    assert_eq!(Properties::decode(&[0x80, 2, 1, b'a']), Ok(with_type));
    for bad in [&[][..], &[0], &[0, 1], &[0, 1, 0, 0], b"\0\0more", b"\x80\0\x01ax", &[0x80, 0], b"\x80\0\x02a"] {
        assert_eq!(Properties::decode(bad), Err(PropertiesError), "{bad:?}");
    }
}

/// Flags of any other property are not passed over.
#[test]
fn a_delivery_mode_alone() {
    for (raw, alone) in [
        (&[0, 0][..], Some(None)),
        (&[0x10, 0, 2], Some(Some(2))),
        (&[0x10, 0], None),
        (&[0x10, 0, 2, 0], None),
        (&[0x10, 2, 2], None),
        (&[0x08, 0, 2], None),
        (&[0x18, 0, 2], None),
        (&[0x18, 0, 2, 5], None),
        (&[0], None),
    ] {
        assert_eq!(Properties::delivery_mode_alone(raw), alone, "{raw:?}");
        let read = alone.map(|delivery_mode| Properties { delivery_mode, ..Properties::default() });
        assert!(read.is_none_or(|read| Properties::decode(raw) == Ok(read)));
    }
}

/// An empty value is not an absent one.
#[test]
fn empty_is_not_absent() {
    let empty = Properties { content_type: Some(b""), headers: Some(RawTable(b"")), ..Properties::default() };
    let raw = encoded(&empty);
    assert_eq!(raw, [0xA0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Properties::decode(&raw), Ok(empty));
}
