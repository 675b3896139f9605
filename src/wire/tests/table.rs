//! Field tables: raw and in memory.

use proptest::prelude::*;

use super::{bare, bytes, table, value};
use crate::wire::{RawTable, TABLE_DEPTH_MAX, Table, TableError, Value};

proptest! {
    /// BP-5, BP-6: order, duplicates and types are kept, byte for byte.
    #[test]
    fn written_tables_are_read_again(table in table()) {
        let raw = bare(&table);
        let read = Table::parse(&raw).unwrap();
        // As bytes, since a float may be no number.
        prop_assert_eq!(bare(&read), raw.clone());
        prop_assert_eq!(read.len(), table.len());
        prop_assert_eq!(RawTable(&raw).check(), Ok(()));
        let mut with_length = Vec::new();
        table.encode(&mut with_length);
        prop_assert_eq!(&with_length[..4], (raw.len() as u32).to_be_bytes());
        prop_assert_eq!(&with_length[4..], raw);
    }

    /// Looking into a raw table finds what the decoded one has.
    #[test]
    fn raw_and_decoded_say_the_same(table in table()) {
        let raw = bare(&table);
        let raw = RawTable(&raw);
        prop_assert_eq!(raw.is_empty(), table.is_empty());
        prop_assert_eq!(raw.iter().count(), table.len());
        for ((raw_name, raw_value), (name, value)) in raw.iter().zip(table.iter()) {
            prop_assert_eq!(raw_name, name);
            prop_assert_eq!(raw_value.type_name(), value.type_name());
            let first = raw.get(name).unwrap().to_value().unwrap();
            prop_assert_eq!(one(&first), one(table.get(name).unwrap()));
            if let Value::LongString(text) = value {
                prop_assert_eq!(raw_value.longstr(), Some(text.as_slice()));
            }
            if let Value::Array(values) = value {
                prop_assert_eq!(raw_value.array().unwrap().count(), values.len());
            }
        }
    }

    /// Cut anywhere but between entries, it is malformed; and what is whole of it can still be looked at.
    /// One value is replaced, the rest stays as it is.
    #[test]
    fn a_value_is_replaced_in_place(table in table(), other in value(), place in any::<prop::sample::Index>()) {
        let raw = bare(&table);
        let mut expected = table.clone();
        let key = match table.len() {
            0 => b"none".to_vec(),
            len => {
                let key = table.iter().nth(place.index(len)).map(|(key, _)| key.to_vec()).unwrap();
                expected.insert(&key, other.clone());
                key
            }
        };
        let mut written = Vec::new();
        RawTable(&raw).encode_with(&key, &other, &mut written);
        prop_assert_eq!(written, bare(&expected));
    }

    #[test]
    fn cut_tables_are_malformed(table in table(), value in value()) {
        let mut whole = table;
        let before = bare(&whole).len();
        whole.push("last", value);
        let raw = bare(&whole);
        for end in before + 1..raw.len() {
            prop_assert_eq!(Table::parse(&raw[..end]), Err(TableError::Malformed));
            prop_assert_eq!(RawTable(&raw[..end]).check(), Err(TableError::Malformed));
            prop_assert_eq!(RawTable(&raw[..end]).iter().count(), whole.len() - 1);
        }
    }

    /// Any bytes at all: checking and parsing agree.
    #[test]
    fn checking_and_parsing_agree(raw in bytes(60)) {
        prop_assert_eq!(RawTable(&raw).check(), Table::parse(&raw).map(drop));
    }
}

fn one(value: &Value) -> Vec<u8> {
    bare(&Table::from_iter([("v", value.clone())]))
}

/// BP-5: each tag with its bytes and RabbitMQ's name for the type.
#[test]
fn tags() {
    let inner = Table::from_iter([("k", Value::Void)]);
    let rows: [(&[u8], Value, &str); 17] = [
        (b"t\x01", Value::Bool(true), "bool"),
        (b"b\xff", Value::I8(-1), "byte"),
        (b"B\xff", Value::U8(255), "unsignedbyte"),
        (b"s\xff\xfe", Value::I16(-2), "short"),
        (b"u\xff\xfe", Value::U16(65_534), "unsignedshort"),
        (b"I\xff\xff\xff\xfd", Value::I32(-3), "signedint"),
        (b"i\xff\xff\xff\xfd", Value::U32(4_294_967_293), "unsignedint"),
        (b"l\xff\xff\xff\xff\xff\xff\xff\xfc", Value::I64(-4), "long"),
        (b"f\x3f\xc0\0\0", Value::F32(1.5), "float"),
        (b"d\xc0\x02\0\0\0\0\0\0", Value::F64(-2.25), "double"),
        (b"D\x02\0\0\x01\x3a", Value::Decimal { scale: 2, value: 314 }, "decimal"),
        (b"S\0\0\0\x04text", Value::from("text"), "longstr"),
        (b"x\0\0\0\x02\0\xff", Value::Binary(vec![0, 255]), "binary"),
        (b"T\0\0\0\0\x65\x53\xf1\0", Value::Timestamp(1_700_000_000), "timestamp"),
        (b"F\0\0\0\x03\x01kV", Value::Table(inner), "table"),
        (b"A\0\0\0\x03Vt\0", Value::Array(vec![Value::Void, Value::Bool(false)]), "array"),
        (b"V", Value::Void, "void"),
    ];
    for (bytes, value, name) in rows {
        let raw = [b"\x01v", bytes].concat();
        assert_eq!(Table::parse(&raw).unwrap().get("v"), Some(&value));
        assert_eq!(one(&value), raw);
        assert_eq!(value.type_name(), name);
        assert_eq!(RawTable(&raw).get(b"v").unwrap().type_name(), name);
    }
}

/// BP-5: `L` comes back as `l`, and as the oracle shows, any bool but 0 as 1.
#[test]
fn what_comes_back_otherwise() {
    assert_eq!(one(Table::parse(b"\x01vL\0\0\0\0\0\0\0\x05").unwrap().get("v").unwrap()), b"\x01vl\0\0\0\0\0\0\0\x05");
    assert_eq!(one(Table::parse(b"\x01vt\x02").unwrap().get("v").unwrap()), b"\x01vt\x01");
}

/// FR-9: unknown tags, lengths beyond the end, half an element.
#[test]
fn malformed() {
    for raw in [
        &b"\x01"[..],
        b"\x05a",
        b"\x01a",
        b"\x01aZxxxx",
        b"\x01aU\0\0",
        b"\x01aI\0\0",
        b"\x01aS\0\0\0\xffabc",
        b"\x01aS\xff\xff\xff\xffabc",
        b"\x01aA\0\0\0\x02I\0",
        b"\x01aF\0\0\0\x02\x01k",
    ] {
        assert_eq!(Table::parse(raw), Err(TableError::Malformed), "{raw:?}");
        assert_eq!(RawTable(raw).check(), Err(TableError::Malformed), "{raw:?}");
    }
}

/// A hostile depth is an error, and takes no more of the stack than a decent one.
#[test]
fn depth_is_limited() {
    let nested = |tag: u8, depth: usize| {
        let mut raw = Vec::new();
        for _ in 0..depth {
            let name: &[u8] = if tag == b'F' { b"\x01a" } else { b"" };
            let length = (raw.len() as u32).to_be_bytes();
            raw = [name, &[tag], &length, &raw].concat();
        }
        if tag == b'A' { [b"\x01a", raw.as_slice()].concat() } else { raw }
    };
    for tag in [b'F', b'A'] {
        let deepest = nested(tag, TABLE_DEPTH_MAX);
        assert_eq!(RawTable(&deepest).check(), Ok(()));
        let read = Table::parse(&deepest).unwrap();
        assert_eq!(bare(&read), deepest);
        assert_eq!(read.clone(), read);
        let value = RawTable(&deepest).get(b"a").unwrap().to_value().unwrap();
        assert_eq!(Some(&value), read.get("a"));
        for depth in [TABLE_DEPTH_MAX + 1, 2_000] {
            let deeper = nested(tag, depth);
            assert_eq!(RawTable(&deeper).check(), Err(TableError::TooDeep));
            assert_eq!(Table::parse(&deeper), Err(TableError::TooDeep));
            assert_eq!(RawTable(&deeper).get(b"a").unwrap().to_value(), Err(TableError::TooDeep));
        }
    }
}

/// BP-6: the first of a name counts; adding keeps order.
#[test]
fn names_twice() {
    let mut table = Table::from_iter([("b", Value::I32(1)), ("a", Value::I32(2)), ("b", Value::I32(3))]);
    assert_eq!(table.get("b"), Some(&Value::I32(1)));
    table.insert("b", Value::Void);
    table.insert("c", Value::I32(4));
    let names: Vec<_> = table.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"b", b"a", b"b", b"c"]);
    assert_eq!(table.get("b"), Some(&Value::Void));
    table.sort();
    assert_eq!(table.iter().map(|(name, _)| name[0]).collect::<Vec<_>>(), *b"abbc");
    assert_eq!(table.remove("b"), Some(Value::Void));
    assert_eq!((table.remove("b"), table.len()), (None, 2));
}

/// EH-4: integers are equal across widths, nothing else is across types.
#[test]
fn same_value() {
    let integers =
        [Value::I8(5), Value::U8(5), Value::I16(5), Value::U16(5), Value::I32(5), Value::U32(5), Value::I64(5)];
    for a in &integers {
        assert!(integers.iter().all(|b| a.same_value(b)));
        assert_eq!(a.as_integer(), Some(5));
        for other in [Value::I32(6), Value::F64(5.0), Value::Timestamp(5), Value::from("5"), Value::Void] {
            assert!(!a.same_value(&other) && !other.same_value(a));
        }
        let in_array = |value: &Value| Value::Array(vec![value.clone()]);
        assert_eq!(in_array(a).same_value(&in_array(&Value::I32(5))), *a == Value::I32(5));
    }
    assert!(!Value::from("5").same_value(&Value::Binary(b"5".to_vec())));
    assert_eq!((Value::from("é").as_str(), Value::LongString(vec![0xFF]).as_str()), (Some("é"), None));
}
