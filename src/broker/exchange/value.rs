//! When two field values are the same: as arguments of two bindings, and as condition and header.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use crate::wire::{RawValue, Table, Value, erlang_binary};

/// Arguments sorted by name, so that their order makes no difference. Of equal names the first stays first.
pub(super) fn sorted(arguments: &Table) -> Table {
    let mut sorted = arguments.clone();
    sorted.sort();
    sorted
}

/// Whether two bindings have the same arguments: the same names with values of the same type, also in nested tables,
/// where order counts. Floats compare by their bits, so that a binding on NaN can be found again.
pub(super) fn same_arguments(a: &Table, b: &Table) -> bool {
    a.len() == b.len()
        && a.iter().zip(b.iter()).all(|((name_a, a), (name_b, b))| name_a == name_b && same_argument(a, b))
}

/// Agrees with [`same_arguments`].
pub(super) fn hash_arguments(arguments: &Table, hasher: &mut impl Hasher) {
    hasher.write_usize(arguments.len());
    for (name, value) in arguments.iter() {
        name.hash(hasher);
        hash_argument(value, hasher);
    }
}

fn same_argument(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (Value::Table(a), Value::Table(b)) => same_arguments(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_argument(a, b)),
        _ => a == b,
    }
}

fn hash_argument(value: &Value, hasher: &mut impl Hasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Table(table) => hash_arguments(table, hasher),
        Value::Array(values) => {
            hasher.write_usize(values.len());
            for value in values {
                hash_argument(value, hasher);
            }
        }
        _ => Comparand::of(value).hash(hasher),
    }
}

/// A field value as a headers exchange compares it.
///
/// RabbitMQ compares what is left of a value when its type tag is taken off, so the width of an integer and of a float
/// makes no difference, nor whether bytes came as `S` or `x`. 3.10 finds 1 and 1.0 and timestamp 1 the same; 4.x does
/// not, and its timestamps match nothing, not even themselves. Here numbers and timestamps keep their kind. Nested tables and arrays keep their types.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Comparand<'a> {
    Bool(bool),
    Integer(i64),
    /// Seconds; never the same as an integer (XT-4: no cross-type).
    Timestamp(u64),
    /// The bits of an f64.
    Float(u64),
    Decimal(u8, u32),
    Bytes(Cow<'a, [u8]>),
    Nested(Nested<'a>),
    Void,
}

/// A table or an array.
#[derive(Clone, Debug)]
pub(super) struct Nested<'a>(Cow<'a, Value>);

impl PartialEq for Nested<'_> {
    fn eq(&self, other: &Self) -> bool {
        same_argument(&self.0, &other.0)
    }
}

impl Eq for Nested<'_> {}

impl Hash for Nested<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_argument(&self.0, hasher);
    }
}

impl<'a> Comparand<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        Self::new(Cow::Borrowed(value))
    }

    /// `None` if the value cannot be decoded.
    pub(super) fn of_raw(value: &RawValue<'a>) -> Option<Self> {
        match value.longstr() {
            Some(bytes) => Some(Self::Bytes(Cow::Borrowed(bytes))),
            None => value.to_value().ok().map(|value| Self::new(Cow::Owned(value))),
        }
    }

    pub(super) fn to_owned(value: &Value) -> Comparand<'static> {
        Comparand::new(Cow::Owned(value.clone()))
    }

    fn new(value: Cow<'a, Value>) -> Self {
        match *value {
            Value::Bool(value) => return Self::Bool(value),
            Value::I8(n) => return Self::Integer(n.into()),
            Value::U8(n) => return Self::Integer(n.into()),
            Value::I16(n) => return Self::Integer(n.into()),
            Value::U16(n) => return Self::Integer(n.into()),
            Value::I32(n) => return Self::Integer(n.into()),
            Value::U32(n) => return Self::Integer(n.into()),
            Value::I64(n) => return Self::Integer(n),
            Value::Timestamp(seconds) => return Self::Timestamp(seconds),
            Value::F32(x) => return Self::Float(f64::from(x).to_bits()),
            Value::F64(x) => return Self::Float(x.to_bits()),
            Value::Decimal { scale, value } => return Self::Decimal(scale, value),
            Value::Void => return Self::Void,
            Value::LongString(_) | Value::Binary(_) | Value::Table(_) | Value::Array(_) => {}
        }
        match value {
            Cow::Borrowed(Value::LongString(bytes) | Value::Binary(bytes)) => Self::Bytes(Cow::Borrowed(bytes)),
            Cow::Owned(Value::LongString(bytes) | Value::Binary(bytes)) => Self::Bytes(Cow::Owned(bytes)),
            nested => Self::Nested(Nested(nested)),
        }
    }
}

/// The value as Erlang prints it, for error texts. RabbitMQ breaks the lines of long terms, we do not.
pub(in crate::broker) fn erlang_term(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I8(n) => n.to_string(),
        Value::U8(n) => n.to_string(),
        Value::I16(n) => n.to_string(),
        Value::U16(n) => n.to_string(),
        Value::I32(n) => n.to_string(),
        Value::U32(n) => n.to_string(),
        Value::I64(n) => n.to_string(),
        Value::Timestamp(n) => n.to_string(),
        Value::F32(x) => erlang_float((*x).into()),
        Value::F64(x) => erlang_float(*x),
        Value::Decimal { scale, value } => format!("{{{scale},{value}}}"),
        Value::LongString(bytes) | Value::Binary(bytes) => erlang_binary(bytes),
        Value::Table(table) => erlang_list(table.iter().map(|(name, value)| {
            let (name, kind) = (erlang_binary(name), value.type_name());
            format!("{{{name},{kind},{}}}", erlang_term(value))
        })),
        Value::Array(values) => {
            erlang_list(values.iter().map(|value| format!("{{{},{}}}", value.type_name(), erlang_term(value))))
        }
        Value::Void => "undefined".to_owned(),
    }
}

fn erlang_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// Like Rust's, but with a digit after the point also before an exponent: `1.0e22`.
fn erlang_float(x: f64) -> String {
    let text = format!("{x:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}
