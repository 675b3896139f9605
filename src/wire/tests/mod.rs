//! The codec against itself (what is written is read again), against another codec, and against arbitrary bytes.

mod content;
mod frame;
mod fuzz;
mod method;
mod properties;
mod table;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::{Table, Value};

/// Text of up to 255 bytes.
fn shortstr() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|mut text| {
        text.truncate(text.floor_char_boundary(255));
        text
    })
}

fn bytes(length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=length_max)
}

/// A table of any types and names, also twice the same name.
fn table() -> impl Strategy<Value = Table> {
    vec((name(), value()), 0..6).prop_map(Table::from_iter)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"a".to_vec()), bytes(255)]
}

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
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        bytes(300).prop_map(Value::LongString),
        bytes(300).prop_map(Value::Binary),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Void),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec((name(), inner.clone()), 0..6).prop_map(|entries| Value::Table(Table::from_iter(entries))),
            vec(inner, 0..6).prop_map(Value::Array),
        ]
    })
}

fn bare(table: &Table) -> Vec<u8> {
    let mut raw = Vec::new();
    table.encode_bare(&mut raw);
    raw
}
