//! What must hold for any bytes: the entry points of the fuzz targets in `fuzz/`, and a test that runs them over their
//! seeds and what is near to them. The targets include this file, so that it uses nothing but the public codec.

#![allow(unreachable_pub, reason = "the fuzz targets reach it")]

use crate::wire::{
    ContentHeader, FrameKind, Method, MethodError, Properties, Publish, RawTable, Table, Value, address_parts, cut,
    write_content, write_deliver, write_frame, write_heartbeat, write_publish,
};

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// As in `cargo fuzz run <name>`.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
    /// What to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target { name: "frame", run: fuzz_frame, seeds: frame_seeds },
    Target { name: "method", run: fuzz_method, seeds: method_seeds },
    Target { name: "table", run: fuzz_table, seeds: table_seeds },
    Target { name: "properties", run: fuzz_properties, seeds: properties_seeds },
];

const PAYLOAD_MAX: u32 = 4096;

/// A stream of frames: what is cut is what was there, nothing is cut too early, and what is inside can be looked at.
pub fn fuzz_frame(mut stream: &[u8]) {
    loop {
        let (frame, taken) = match cut(stream, PAYLOAD_MAX) {
            Ok(Some(found)) => found,
            Ok(None) => return assert!(stream.len() < 8 + PAYLOAD_MAX as usize),
            Err(error) => {
                assert!(error.code().is_hard() && !error.to_string().is_empty());
                return;
            }
        };
        let mut again = Vec::new();
        write_frame(&mut again, frame.kind, frame.channel, |out| out.extend_from_slice(frame.payload));
        assert_eq!(again, stream[..taken]);
        assert_eq!(cut(&stream[..taken - 1], PAYLOAD_MAX), Ok(None));
        match frame.kind {
            FrameKind::Method => fuzz_method(frame.payload),
            FrameKind::Header => {
                let header = ContentHeader::decode(frame.payload).expect("cut saw to its length");
                assert_eq!(header.properties.len() + 12, frame.payload.len());
                fuzz_properties(header.properties);
            }
            FrameKind::Body | FrameKind::Heartbeat => {}
        }
        stream = &stream[taken..];
    }
}

/// The payload of a method frame: what is read is written and read again, and a publish reads the same by hand.
pub fn fuzz_method(payload: &[u8]) {
    let decoded = Method::decode(payload);
    if let Some(arguments) = payload.strip_prefix(&Publish::IDS) {
        match (Publish::decode(arguments), &decoded) {
            (Ok(publish), Ok(Method::BasicPublish { exchange, routing_key, mandatory, immediate })) => {
                assert_eq!((publish.exchange, publish.routing_key), (exchange.as_bytes(), routing_key.as_bytes()));
                assert_eq!((publish.mandatory, publish.immediate), (*mandatory, *immediate));
                assert_eq!(publish.address, &arguments[2..arguments.len() - 1]);
                assert_eq!(address_parts(publish.address), (publish.exchange, publish.routing_key));
            }
            // A publish alone is not asked to be UTF-8.
            (Ok(publish), Err(MethodError::MalformedUtf8 { .. })) => {
                assert!(str::from_utf8(publish.exchange).is_err() || str::from_utf8(publish.routing_key).is_err());
            }
            (by_hand, by_table) => assert_eq!(by_hand.as_ref().err(), by_table.as_ref().err()),
        }
    }
    let method = match decoded {
        Ok(method) => method,
        Err(error) => {
            assert!(error.code().is_hard() && error.to_string().len() < 1000);
            return;
        }
    };
    let mut again = Vec::new();
    method.encode(&mut again);
    // Reserved arguments and spare bits become zero; the rest stays.
    assert!(again.len() <= payload.len());
    assert_eq!(again[..4], payload[..4]);
    assert_eq!(Method::decode(&again), Ok(method));
    assert_eq!(
        method.ids(),
        (u16::from_be_bytes([payload[0], payload[1]]), u16::from_be_bytes([payload[2], payload[3]]))
    );
    match method {
        Method::ConnectionStart { server_properties: table, .. }
        | Method::ConnectionStartOk { client_properties: table, .. }
        | Method::ExchangeDeclare { arguments: table, .. }
        | Method::QueueDeclare { arguments: table, .. }
        | Method::BasicConsume { arguments: table, .. } => fuzz_table(table.0),
        _ => {}
    }
}

/// The entries of a field table: raw and decoded say the same, and what is written again means the same.
pub fn fuzz_table(raw: &[u8]) {
    let table = RawTable(raw);
    let parsed = Table::parse(raw);
    assert_eq!(table.check(), parsed.as_ref().map(drop).map_err(|error| *error));
    for (name, value) in table.iter() {
        assert!(table.get(name).is_some());
        let decoded = value.to_value();
        if let Some(elements) = value.array() {
            let count = elements.count();
            assert!(decoded.is_err() || matches!(&decoded, Ok(Value::Array(values)) if values.len() == count));
        }
        if let Ok(decoded) = decoded {
            assert_eq!(decoded.type_name(), value.type_name());
        }
    }
    let Ok(parsed) = parsed else { return };
    assert!(table.iter().map(|(name, _)| name).eq(parsed.iter().map(|(name, _)| name)));
    let mut again = Vec::new();
    parsed.encode_bare(&mut again);
    // Byte for byte but for bools and `L`, which have their length all the same.
    assert_eq!(again.len(), raw.len());
    let mut third = Vec::new();
    Table::parse(&again).expect("what we wrote").encode_bare(&mut third);
    assert_eq!(again, third);
}

/// Flags and values: what is read is written again, byte for byte.
pub fn fuzz_properties(raw: &[u8]) {
    let decoded = Properties::decode(raw);
    if let Some(delivery_mode) = Properties::delivery_mode_alone(raw) {
        assert_eq!(decoded, Ok(Properties { delivery_mode, ..Properties::default() }));
    }
    let Ok(properties) = decoded else { return };
    let mut expected = raw.to_vec();
    // The flag that belongs to nothing.
    expected[1] &= !2;
    let mut again = Vec::new();
    properties.encode(&mut again);
    assert_eq!(again, expected);
    fuzz_table(properties.headers.unwrap_or_default().0);
}

fn sample_table() -> Vec<u8> {
    let inner = Table::from_iter([("k", Value::Void), ("n", Value::I64(-4))]);
    let values = [
        ("t", Value::Bool(true)),
        ("b", Value::I8(-1)),
        ("B", Value::U8(255)),
        ("s", Value::I16(-2)),
        ("u", Value::U16(2)),
        ("I", Value::I32(-3)),
        ("i", Value::U32(3)),
        ("f", Value::F32(1.5)),
        ("d", Value::F64(f64::NAN)),
        ("D", Value::Decimal { scale: 2, value: 314 }),
        ("S", Value::from("text")),
        ("x", Value::Binary(vec![0, 255])),
        ("T", Value::Timestamp(1_700_000_000)),
        ("F", Value::Table(inner.clone())),
        ("A", Value::Array(vec![Value::Table(inner), Value::Array(vec![Value::I32(1)])])),
        ("t", Value::Bool(false)),
    ];
    let mut raw = Vec::new();
    Table::from_iter(values).encode_bare(&mut raw);
    raw
}

fn table_seeds() -> Vec<Vec<u8>> {
    let mut deep = Vec::new();
    for _ in 0..140 {
        deep = [b"\x01aF", &(deep.len() as u32).to_be_bytes()[..], &deep].concat();
    }
    vec![Vec::new(), b"\x01vL\0\0\0\0\0\0\0\x05".to_vec(), sample_table(), deep]
}

fn properties_seeds() -> Vec<Vec<u8>> {
    let headers = sample_table();
    let all = Properties {
        content_type: Some(b"text/plain"),
        content_encoding: Some(b"utf-8"),
        headers: Some(RawTable(&headers)),
        delivery_mode: Some(2),
        priority: Some(3),
        correlation_id: Some(b"c"),
        reply_to: Some(b"r"),
        expiration: Some(b"60000"),
        message_id: Some(b"m"),
        timestamp: Some(1_700_000_000),
        kind: Some(b"k"),
        user_id: Some(b"guest"),
        app_id: Some(b"a"),
        cluster_id: Some(b""),
    };
    let some = Properties { delivery_mode: Some(2), ..Properties::default() };
    let encoded = |properties: Properties<'_>| {
        let mut raw = Vec::new();
        properties.encode(&mut raw);
        raw
    };
    vec![encoded(all), encoded(some), vec![0, 0], vec![0, 2], vec![0, 1, 0, 0]]
}

fn method_seeds() -> Vec<Vec<u8>> {
    let entries = sample_table();
    let arguments = RawTable(&entries);
    let (exchange, routing_key, queue, nowait) = ("amq.topic", "a.é.c", "q", true);
    let methods = [
        Method::ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: arguments,
            mechanisms: b"PLAIN AMQPLAIN",
            locales: b"en_US",
        },
        Method::ConnectionStartOk {
            client_properties: arguments,
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            locale: "en_US",
        },
        Method::ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 60 },
        Method::ConnectionOpen { virtual_host: "/" },
        Method::ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 },
        Method::ChannelOpen {},
        Method::AccessRequest { realm: "r", exclusive: true, passive: true, active: true, write: true, read: true },
        Method::ExchangeDeclare {
            exchange,
            kind: "topic",
            passive: false,
            durable: true,
            auto_delete: true,
            internal: true,
            nowait,
            arguments,
        },
        Method::ExchangeBind { destination: exchange, source: "amq.fanout", routing_key, nowait, arguments },
        Method::QueueDeclare {
            queue,
            passive: true,
            durable: true,
            exclusive: true,
            auto_delete: true,
            nowait,
            arguments,
        },
        Method::QueueUnbind { queue, exchange, routing_key, arguments },
        Method::BasicConsume {
            queue,
            consumer_tag: "tag",
            no_local: true,
            no_ack: true,
            exclusive: true,
            nowait,
            arguments,
        },
        Method::BasicPublish { exchange, routing_key, mandatory: true, immediate: true },
        Method::BasicGetEmpty {},
        Method::BasicNack { delivery_tag: 7, multiple: true, requeue: true },
    ];
    let encoded = |method: Method<'_>| {
        let mut payload = Vec::new();
        method.encode(&mut payload);
        payload
    };
    methods.into_iter().map(encoded).collect()
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let mut publish = Vec::new();
    write_publish(&mut publish, 1, "amq.direct", "key", true);
    for properties in properties_seeds() {
        write_content(&mut publish, 1, &properties, b"a body of several frames", 16);
    }
    write_heartbeat(&mut publish);
    let mut methods = Vec::new();
    for payload in method_seeds() {
        write_frame(&mut methods, FrameKind::Method, 3, |out| out.extend_from_slice(&payload));
    }
    let mut delivery = Vec::new();
    write_deliver(&mut delivery, 1, b"\x03tag", 1, true, b"\x00\x01q");
    write_content(&mut delivery, 1, &[0, 0], b"body", PAYLOAD_MAX);
    let heartbeat_on_channel = vec![8, 0, 1, 0, 0, 0, 0, 0xCE];
    vec![publish, methods, delivery, heartbeat_on_channel, b"AMQP\0\0\x09\x01".to_vec(), vec![1, 0, 1, 0, 0, 16, 1]]
}

#[cfg(test)]
proptest::proptest! {
    #[test]
    fn any_bytes(data in super::bytes(300)) {
        for target in TARGETS {
            (target.run)(&data);
        }
    }
}

/// Changed octets of one seed at most, so that the test stays short.
#[cfg(test)]
const CHANGES_MAX: usize = 150;

/// The seeds, each cut short and with octets changed, over all of its length.
#[test]
fn seeds_and_what_is_near_to_them() {
    for Target { name, run, seeds } in TARGETS {
        let seeds = seeds();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            run(&seed);
            for at in (0..seed.len()).step_by(1 + seed.len() / CHANGES_MAX) {
                run(&seed[..at]);
                for octet in [0, 1, 127, 255, seed[at] ^ 1, seed[at] ^ 0x20, seed[at] ^ 0x80] {
                    let mut near = seed.clone();
                    near[at] = octet;
                    run(&near);
                }
            }
        }
    }
}
