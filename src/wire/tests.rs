//! What is written is read back, whatever it is; what cannot be read is an error and never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        (-1e30f32..1e30).prop_map(Value::F32),
        (-1e300f64..1e300).prop_map(Value::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        vec(any::<u8>(), 0..20).prop_map(Value::LongString),
        vec(any::<u8>(), 0..20).prop_map(Value::Binary),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Void),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((vec(any::<u8>(), 0..10), inner), 0..6).prop_map(|entries| Value::Table(entries.into_iter().collect())),
        ]
    })
}

fn table() -> impl Strategy<Value = Table> {
    vec((vec(any::<u8>(), 0..12), value()), 0..8).prop_map(|entries| entries.into_iter().collect())
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

/// Every method with arguments made of these.
fn methods<'a>(text: &'a str, raw: &'a [u8], number: u64, flags: u8) -> Vec<Method<'a>> {
    let bit = |index: u8| flags >> index & 1 != 0;
    let (long, short) = (number as u32, number as u16);
    let arguments = RawTable(raw);
    let (queue, exchange, routing_key, consumer_tag) = (text, text, text, text);
    let (nowait, passive, durable, auto_delete) = (bit(0), bit(1), bit(2), bit(3));
    let (delivery_tag, multiple, requeue) = (number, bit(4), bit(5));
    vec![
        Method::ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: arguments,
            mechanisms: raw,
            locales: raw,
        },
        Method::ConnectionStartOk { client_properties: arguments, mechanism: text, response: raw, locale: text },
        Method::ConnectionSecure { challenge: raw },
        Method::ConnectionSecureOk { response: raw },
        Method::ConnectionTune { channel_max: short, frame_max: long, heartbeat: short },
        Method::ConnectionTuneOk { channel_max: short, frame_max: long, heartbeat: short },
        Method::ConnectionOpen { virtual_host: text },
        Method::ConnectionOpenOk {},
        Method::ConnectionClose { reply_code: short, reply_text: text, class_id: short, method_id: short },
        Method::ConnectionCloseOk {},
        Method::ConnectionBlocked { reason: text },
        Method::ConnectionUnblocked {},
        Method::ConnectionUpdateSecret { new_secret: raw, reason: text },
        Method::ConnectionUpdateSecretOk {},
        Method::ChannelOpen {},
        Method::ChannelOpenOk {},
        Method::ChannelFlow { active: bit(6) },
        Method::ChannelFlowOk { active: bit(6) },
        Method::ChannelClose { reply_code: short, reply_text: text, class_id: short, method_id: short },
        Method::ChannelCloseOk {},
        Method::AccessRequest { realm: text, exclusive: bit(0), passive, active: bit(2), write: bit(3), read: bit(4) },
        Method::AccessRequestOk { ticket: short },
        Method::ExchangeDeclare {
            exchange,
            kind: text,
            passive,
            durable,
            auto_delete,
            internal: bit(7),
            nowait,
            arguments,
        },
        Method::ExchangeDeclareOk {},
        Method::ExchangeDelete { exchange, if_unused: bit(6), nowait },
        Method::ExchangeDeleteOk {},
        Method::ExchangeBind { destination: text, source: text, routing_key, nowait, arguments },
        Method::ExchangeBindOk {},
        Method::ExchangeUnbind { destination: text, source: text, routing_key, nowait, arguments },
        Method::ExchangeUnbindOk {},
        Method::QueueDeclare { queue, passive, durable, exclusive: bit(7), auto_delete, nowait, arguments },
        Method::QueueDeclareOk { queue, message_count: long, consumer_count: long },
        Method::QueueBind { queue, exchange, routing_key, nowait, arguments },
        Method::QueueBindOk {},
        Method::QueuePurge { queue, nowait },
        Method::QueuePurgeOk { message_count: long },
        Method::QueueDelete { queue, if_unused: bit(6), if_empty: bit(7), nowait },
        Method::QueueDeleteOk { message_count: long },
        Method::QueueUnbind { queue, exchange, routing_key, arguments },
        Method::QueueUnbindOk {},
        Method::BasicQos { prefetch_size: long, prefetch_count: short, global: bit(6) },
        Method::BasicQosOk {},
        Method::BasicConsume {
            queue,
            consumer_tag,
            no_local: bit(1),
            no_ack: bit(2),
            exclusive: bit(3),
            nowait,
            arguments,
        },
        Method::BasicConsumeOk { consumer_tag },
        Method::BasicCancel { consumer_tag, nowait },
        Method::BasicCancelOk { consumer_tag },
        Method::BasicPublish { exchange, routing_key, mandatory: bit(1), immediate: bit(2) },
        Method::BasicReturn { reply_code: short, reply_text: text, exchange, routing_key },
        Method::BasicDeliver { consumer_tag, delivery_tag, redelivered: bit(1), exchange, routing_key },
        Method::BasicGet { queue, no_ack: bit(2) },
        Method::BasicGetOk { delivery_tag, redelivered: bit(1), exchange, routing_key, message_count: long },
        Method::BasicGetEmpty {},
        Method::BasicAck { delivery_tag, multiple },
        Method::BasicReject { delivery_tag, requeue },
        Method::BasicRecoverAsync { requeue },
        Method::BasicRecover { requeue },
        Method::BasicRecoverOk {},
        Method::BasicNack { delivery_tag, multiple, requeue },
        Method::ConfirmSelect { nowait },
        Method::ConfirmSelectOk {},
        Method::TxSelect {},
        Method::TxSelectOk {},
        Method::TxCommit {},
        Method::TxCommitOk {},
        Method::TxRollback {},
        Method::TxRollbackOk {},
    ]
}

proptest! {
    #[test]
    fn tables_are_read_as_they_were_written(table in table()) {
        let mut bare = Vec::new();
        table.encode_bare(&mut bare);
        let read = Table::parse(&bare).unwrap();
        prop_assert_eq!(&read, &table);
        let mut again = Vec::new();
        read.encode_bare(&mut again);
        prop_assert_eq!(&again, &bare);
        let raw = RawTable(&bare);
        prop_assert_eq!(raw.check(), Ok(()));
        prop_assert_eq!(raw.iter().count(), table.len());
        for (key, value) in table.iter() {
            let first = table.get(key).unwrap();
            prop_assert_eq!(&raw.get(key).unwrap().to_value().unwrap(), first);
            prop_assert_eq!(raw.get(key).unwrap().type_name(), first.type_name());
            prop_assert!(value.same_value(value));
        }
    }

    #[test]
    fn methods_are_read_as_they_were_written(
        text in "\\PC{0,40}", raw in bytes(40), number: u64, flags: u8, channel: u16,
    ) {
        for method in methods(&text, &raw, number, flags) {
            let mut out = Vec::new();
            method.encode_frame(channel, &mut out);
            let (frame, taken) = cut(&out, 4096).unwrap().unwrap();
            prop_assert_eq!((frame.kind, frame.channel, taken), (FrameKind::Method, channel, out.len()));
            prop_assert_eq!(Method::decode(frame.payload), Ok(method));
        }
    }

    #[test]
    fn a_method_cut_short_or_drawn_out_is_an_error(text in "[a-z]{0,20}", raw in bytes(20), number: u64, at: prop::sample::Index) {
        for method in methods(&text, &raw, number, 0) {
            let mut payload = Vec::new();
            method.encode(&mut payload);
            let shorter = &payload[..at.index(payload.len())];
            prop_assert_ne!(Method::decode(shorter), Ok(method));
            payload.push(0);
            prop_assert!(Method::decode(&payload).is_err());
        }
    }

    #[test]
    fn properties_are_read_as_they_were_written(
        texts in vec(prop::option::of(bytes(20)), 10), headers in prop::option::of(bytes(30)),
        mode: Option<u8>, priority: Option<u8>, timestamp: Option<u64>,
    ) {
        let text = |index: usize| texts[index].as_deref();
        let properties = Properties {
            content_type: text(0), content_encoding: text(1), headers: headers.as_deref().map(RawTable),
            delivery_mode: mode, priority, correlation_id: text(2), reply_to: text(3), expiration: text(4),
            message_id: text(5), timestamp, kind: text(6), user_id: text(7), app_id: text(8), cluster_id: text(9),
        };
        let mut raw = Vec::new();
        properties.encode(&mut raw);
        prop_assert_eq!(Properties::decode(&raw), Ok(properties));
    }

    /// FEATURES FR-1, FR-2: a frame is cut once it is whole, however it arrives.
    #[test]
    fn frames_are_cut_when_they_are_whole(payload in bytes(200), channel: u16, tail in bytes(20)) {
        let mut out = Vec::new();
        write_frame(&mut out, FrameKind::Body, channel, |out| out.extend(&payload));
        for at in 0..out.len() {
            prop_assert_eq!(cut(&out[..at], 4096), Ok(None));
        }
        let whole = out.len();
        out.extend(tail);
        let (frame, taken) = cut(&out, 4096).unwrap().unwrap();
        prop_assert_eq!((frame.payload, frame.channel, taken), (payload.as_slice(), channel, whole));
        if !payload.is_empty() {
            let too_small = payload.len() as u32 - 1;
            prop_assert!(matches!(cut(&out[..7], too_small), Err(FrameError::TooLarge { .. })), "known by the header");
        }
    }

    #[test]
    fn no_bytes_panic(input in bytes(300)) {
        let _ = cut(&input, 200);
        let _ = Method::decode(&input);
        let _ = Table::parse(&input);
        let _ = RawTable(&input).check();
        let _ = RawTable(&input).iter().count();
        let _ = Properties::decode(&input);
        let _ = Publish::decode(&input);
        let _ = ContentHeader::decode(&input);
        let _ = address_parts(&input);
    }

    /// A publish read in place is the publish read by the table of methods.
    #[test]
    fn publishes_are_read_alike(text in "\\PC{0,40}", key in "\\PC{0,40}", mandatory: bool) {
        let mut out = Vec::new();
        write_publish(&mut out, 1, &text, &key, mandatory);
        let (frame, _) = cut(&out, 4096).unwrap().unwrap();
        let method = Method::BasicPublish { exchange: &text, routing_key: &key, mandatory, immediate: false };
        prop_assert_eq!(Method::decode(frame.payload), Ok(method));
        let publish = Publish::decode(frame.payload.strip_prefix(&Publish::IDS).unwrap()).unwrap();
        prop_assert_eq!(publish.mandatory, mandatory);
        prop_assert_eq!(address_parts(publish.address), (text.as_bytes(), key.as_bytes()));
    }
}

/// FEATURES BP-5: `L` is read as a signed integer and written as `l`.
#[test]
fn the_other_long_long_is_the_same() {
    let table = Table::parse(b"\x01aL\xff\xff\xff\xff\xff\xff\xff\xfe").unwrap();
    assert_eq!(table.get("a"), Some(&Value::I64(-2)));
}

/// Nesting up to the limit is read, one more is refused, and none of it overflows the stack.
#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| {
        let mut table = Table::default();
        for _ in 0..depth {
            table = [("t", Value::Table(table))].into_iter().collect();
        }
        let mut raw = Vec::new();
        table.encode_bare(&mut raw);
        Table::parse(&raw).map(drop)
    };
    assert_eq!(nested(TABLE_DEPTH_MAX), Ok(()));
    assert_eq!(nested(TABLE_DEPTH_MAX + 1), Err(TableError::TooDeep));
    let mut deep = Vec::new();
    for length in (0..100_000u32).rev() {
        deep.extend(b"\x01tF");
        deep.extend((length * 8).to_be_bytes());
    }
    assert!(Table::parse(&deep).is_err());
}
