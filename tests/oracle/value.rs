//! Field values: how a scenario writes them, how the wire carries them, how a transcript shows them.
//!
//! Deliberately not the broker's codec: a second opinion. The tags are RabbitMQ's dialect of the
//! specification's table (`s` is a 16-bit integer, `l` and `L` are 64-bit integers).

use super::render::Names;

/// One field value together with the type tag it travels under.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    /// An integer under one of the tags `b B s u I i l L`.
    Int(u8, i128),
    Float(f32),
    Double(f64),
    Decimal(u8, u32),
    Str(Vec<u8>),
    Bytes(Vec<u8>),
    Time(u64),
    Table(Vec<(Vec<u8>, Self)>),
    Array(Vec<Self>),
    Void,
    /// Bytes put in place of tag and value, for malformed tables; never decoded.
    Raw(Vec<u8>),
}

/// The integer tags with their names in scenarios and their width in bytes.
const INTEGERS: &[(u8, &str, usize)] = &[
    (b'b', "i8", 1),
    (b'B', "u8", 1),
    (b's', "i16", 2),
    (b'u', "u16", 2),
    (b'I', "i32", 4),
    (b'i', "u32", 4),
    (b'l', "i64", 8),
    (b'L', "long-long", 8),
];

/// Tables inside tables deeper than this are refused rather than followed.
const DEPTH_MAX: usize = 64;

impl Value {
    /// An integer value from the name of its type in scenarios.
    pub(crate) fn integer(type_name: &str, number: i128) -> Option<Self> {
        INTEGERS.iter().find(|(_, name, _)| *name == type_name).map(|(tag, _, _)| Self::Int(*tag, number))
    }

    /// Appends tag and value.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.extend([b't', u8::from(*value)]),
            Self::Int(tag, number) => {
                out.push(*tag);
                let bytes = number.to_be_bytes();
                out.extend(&bytes[bytes.len() - int_width(*tag)..]);
            }
            Self::Float(value) => {
                out.push(b'f');
                out.extend(value.to_be_bytes());
            }
            Self::Double(value) => {
                out.push(b'd');
                out.extend(value.to_be_bytes());
            }
            Self::Decimal(scale, number) => {
                out.extend([b'D', *scale]);
                out.extend(number.to_be_bytes());
            }
            Self::Str(bytes) => encode_long(b'S', bytes, out),
            Self::Bytes(bytes) => encode_long(b'x', bytes, out),
            Self::Time(seconds) => {
                out.push(b'T');
                out.extend(seconds.to_be_bytes());
            }
            Self::Table(entries) => {
                out.push(b'F');
                encode_table(entries, out);
            }
            Self::Array(items) => {
                let mut inner = Vec::new();
                items.iter().for_each(|item| item.encode(&mut inner));
                encode_long(b'A', &inner, out);
            }
            Self::Void => out.push(b'V'),
            Self::Raw(bytes) => out.extend(bytes),
        }
    }

    /// As a transcript shows it; the same as a scenario would write it.
    pub(crate) fn render(&self, names: &mut Names) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(tag, number) => format!("{} {number}", int_name(*tag)),
            Self::Float(value) => format!("f32 {value}"),
            Self::Double(value) => format!("f64 {value}"),
            Self::Decimal(scale, number) => format!("decimal {scale}/{number}"),
            Self::Str(bytes) => names.quoted(bytes),
            Self::Bytes(bytes) => format!("bytes {}", hex(bytes)),
            Self::Time(seconds) => format!("time {}", names.time(*seconds)),
            Self::Table(entries) => render_table(entries, names),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| item.render(names)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Void => "void".to_owned(),
            Self::Raw(bytes) => format!("raw 0x{}", hex(bytes)),
        }
    }
}

/// Appends a table with its length in front.
pub(crate) fn encode_table(entries: &[(Vec<u8>, Value)], out: &mut Vec<u8>) {
    let inner = encode_entries(entries);
    out.extend((inner.len() as u32).to_be_bytes());
    out.extend(inner);
}

/// The entries of a table without the length in front (what AMQPLAIN sends).
pub(crate) fn encode_entries(entries: &[(Vec<u8>, Value)]) -> Vec<u8> {
    let mut inner = Vec::new();
    for (key, value) in entries {
        inner.push(key.len() as u8);
        inner.extend(key);
        value.encode(&mut inner);
    }
    inner
}

/// A table as transcripts show it, entries in wire order.
pub(crate) fn render_table(entries: &[(Vec<u8>, Value)], names: &mut Names) -> String {
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| format!("{}: {}", names.word(key), value.render(names))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A cursor over bytes of the wire; every reading method answers `None` past the end.
pub(crate) struct Wire<'a>(pub(crate) &'a [u8]);

impl<'a> Wire<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian unsigned integer of `width` bytes.
    pub(crate) fn uint(&mut self, width: usize) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn short_string(&mut self) -> Option<&'a [u8]> {
        let length = self.uint(1)? as usize;
        self.take(length)
    }

    pub(crate) fn long_string(&mut self) -> Option<&'a [u8]> {
        let length = self.uint(4)? as usize;
        self.take(length)
    }

    pub(crate) fn table(&mut self) -> Option<Vec<(Vec<u8>, Value)>> {
        self.table_at(0)
    }

    fn table_at(&mut self, depth: usize) -> Option<Vec<(Vec<u8>, Value)>> {
        let mut inner = Wire(self.long_string()?);
        let mut entries = Vec::new();
        while !inner.0.is_empty() {
            let key = inner.short_string()?.to_vec();
            entries.push((key, inner.value(depth)?));
        }
        Some(entries)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        let tag = *self.take(1)?.first()?;
        Some(match tag {
            b't' => Value::Bool(self.uint(1)? != 0),
            b'b' => Value::Int(tag, i128::from(self.uint(1)? as i8)),
            b's' => Value::Int(tag, i128::from(self.uint(2)? as i16)),
            b'I' => Value::Int(tag, i128::from(self.uint(4)? as i32)),
            b'l' | b'L' => Value::Int(tag, i128::from(self.uint(8)? as i64)),
            b'B' => Value::Int(tag, i128::from(self.uint(1)?)),
            b'u' => Value::Int(tag, i128::from(self.uint(2)?)),
            b'i' => Value::Int(tag, i128::from(self.uint(4)?)),
            b'f' => Value::Float(f32::from_bits(self.uint(4)? as u32)),
            b'd' => Value::Double(f64::from_bits(self.uint(8)?)),
            b'D' => Value::Decimal(self.uint(1)? as u8, self.uint(4)? as u32),
            b'S' => Value::Str(self.long_string()?.to_vec()),
            b'x' => Value::Bytes(self.long_string()?.to_vec()),
            b'T' => Value::Time(self.uint(8)?),
            b'F' => Value::Table(self.table_at(depth + 1)?),
            b'A' => {
                let mut inner = Wire(self.long_string()?);
                let mut items = Vec::new();
                while !inner.0.is_empty() {
                    items.push(inner.value(depth + 1)?);
                }
                Value::Array(items)
            }
            b'V' => Value::Void,
            _ => return None,
        })
    }
}

fn encode_long(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn int_name(tag: u8) -> &'static str {
    integer_type(tag).1
}

fn int_width(tag: u8) -> usize {
    integer_type(tag).2
}

fn integer_type(tag: u8) -> &'static (u8, &'static str, usize) {
    INTEGERS.iter().find(|(known, _, _)| *known == tag).expect("integers are only made with the tags of the list")
}

#[cfg(test)]
mod tests {
    use super::{Value, Wire, encode_table};

    #[test]
    fn tables_come_back_as_they_were() {
        let nested = vec![(b"x".to_vec(), Value::Decimal(2, 314))];
        let table = vec![
            (b"int".to_vec(), Value::Int(b's', -300)),
            (b"unsigned".to_vec(), Value::Int(b'i', 4_294_967_295)),
            (b"text".to_vec(), Value::Str(b"\xff".to_vec())),
            (b"array".to_vec(), Value::Array(vec![Value::Void, Value::Time(7), Value::Double(0.5)])),
            (b"table".to_vec(), Value::Table(nested)),
        ];
        let mut bytes = Vec::new();
        encode_table(&table, &mut bytes);
        assert_eq!(Wire(&bytes).table(), Some(table));
        bytes.pop();
        assert_eq!(Wire(&bytes).table(), None);
    }
}
