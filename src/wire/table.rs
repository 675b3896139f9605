//! Field tables in memory. Order and duplicates are kept, so that what was read is written back byte for byte. Two
//! things come back as RabbitMQ writes them: `L`, read as a signed 64-bit integer, as `l`; and any bool but 0 as 1.

use super::raw_table::{RawValue, TableError, elements, entries, type_name};

/// A field value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L` when read.
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`
    Decimal {
        /// Digits after the point.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// `S`: text or bytes.
    LongString(Vec<u8>),
    /// `x`
    Binary(Vec<u8>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `A`
    Array(Vec<Self>),
    /// `V`
    Void,
}

impl Value {
    /// Any integer type.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::I8(n) => Some((*n).into()),
            Self::U8(n) => Some((*n).into()),
            Self::I16(n) => Some((*n).into()),
            Self::U16(n) => Some((*n).into()),
            Self::I32(n) => Some((*n).into()),
            Self::U32(n) => Some((*n).into()),
            Self::I64(n) => Some(*n),
            _ => None,
        }
    }

    /// A long string that is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::LongString(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The type as RabbitMQ's error texts name it.
    pub fn type_name(&self) -> &'static str {
        type_name(self.tag())
    }

    /// Equal as RabbitMQ compares the arguments of a declaration: integers by value across widths, everything else,
    /// also what is inside of tables and arrays, strictly.
    pub fn same_value(&self, other: &Self) -> bool {
        match (self.as_integer(), other.as_integer()) {
            (Some(a), Some(b)) => a == b,
            _ => self == other,
        }
    }

    /// `depth` counts the tables and arrays around it.
    pub(super) fn decode(raw: RawValue<'_>, depth: usize) -> Result<Self, TableError> {
        raw.check_depth(depth)?;
        let RawValue { tag, bytes } = raw;
        Ok(match tag {
            b't' => Self::Bool(array(bytes)? != [0]),
            b'b' => Self::I8(i8::from_be_bytes(array(bytes)?)),
            b'B' => Self::U8(u8::from_be_bytes(array(bytes)?)),
            b's' => Self::I16(i16::from_be_bytes(array(bytes)?)),
            b'u' => Self::U16(u16::from_be_bytes(array(bytes)?)),
            b'I' => Self::I32(i32::from_be_bytes(array(bytes)?)),
            b'i' => Self::U32(u32::from_be_bytes(array(bytes)?)),
            b'l' | b'L' => Self::I64(i64::from_be_bytes(array(bytes)?)),
            b'f' => Self::F32(f32::from_be_bytes(array(bytes)?)),
            b'd' => Self::F64(f64::from_be_bytes(array(bytes)?)),
            b'D' => {
                let [scale, value @ ..] = array::<5>(bytes)?;
                Self::Decimal { scale, value: u32::from_be_bytes(value) }
            }
            b'S' => Self::LongString(bytes.to_vec()),
            b'x' => Self::Binary(bytes.to_vec()),
            b'T' => Self::Timestamp(u64::from_be_bytes(array(bytes)?)),
            b'F' => Self::Table(Table::decode(bytes, depth)?),
            b'A' => {
                let values = elements(bytes).map(|element| Self::decode(element?, depth + 1));
                Self::Array(values.collect::<Result<_, _>>()?)
            }
            b'V' => Self::Void,
            _ => return Err(TableError::Malformed),
        })
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Bool(_) => b't',
            Self::I8(_) => b'b',
            Self::U8(_) => b'B',
            Self::I16(_) => b's',
            Self::U16(_) => b'u',
            Self::I32(_) => b'I',
            Self::U32(_) => b'i',
            Self::I64(_) => b'l',
            Self::F32(_) => b'f',
            Self::F64(_) => b'd',
            Self::Decimal { .. } => b'D',
            Self::LongString(_) => b'S',
            Self::Binary(_) => b'x',
            Self::Timestamp(_) => b'T',
            Self::Table(_) => b'F',
            Self::Array(_) => b'A',
            Self::Void => b'V',
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match self {
            Self::Bool(b) => out.push((*b).into()),
            Self::I8(n) => out.extend(n.to_be_bytes()),
            Self::U8(n) => out.push(*n),
            Self::I16(n) => out.extend(n.to_be_bytes()),
            Self::U16(n) => out.extend(n.to_be_bytes()),
            Self::I32(n) => out.extend(n.to_be_bytes()),
            Self::U32(n) => out.extend(n.to_be_bytes()),
            Self::I64(n) => out.extend(n.to_be_bytes()),
            Self::F32(n) => out.extend(n.to_be_bytes()),
            Self::F64(n) => out.extend(n.to_be_bytes()),
            Self::Decimal { scale, value } => {
                out.push(*scale);
                out.extend(value.to_be_bytes());
            }
            Self::LongString(bytes) | Self::Binary(bytes) => {
                out.extend((bytes.len() as u32).to_be_bytes());
                out.extend(bytes);
            }
            Self::Timestamp(seconds) => out.extend(seconds.to_be_bytes()),
            Self::Table(table) => table.encode(out),
            Self::Array(values) => with_length(out, |out| values.iter().for_each(|value| value.encode(out))),
            Self::Void => {}
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::LongString(text.as_bytes().to_vec())
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TableError> {
    bytes.try_into().map_err(|_| TableError::Malformed)
}

fn with_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    write(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A table in memory.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table(Vec<(Vec<u8>, Value)>);

impl Table {
    /// Reads the entries, without the length before them.
    pub fn parse(raw: &[u8]) -> Result<Self, TableError> {
        Self::decode(raw, 0)
    }

    fn decode(raw: &[u8], depth: usize) -> Result<Self, TableError> {
        let entries = entries(raw).map(|entry| {
            let (name, value) = entry?;
            Ok((name.to_vec(), Value::decode(value, depth + 1)?))
        });
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Writes length and entries.
    pub fn encode(&self, out: &mut Vec<u8>) {
        with_length(out, |out| self.encode_bare(out));
    }

    /// Writes the entries only.
    pub fn encode_bare(&self, out: &mut Vec<u8>) {
        for (key, value) in &self.0 {
            let key = &key[..key.len().min(255)];
            out.push(key.len() as u8);
            out.extend(key);
            value.encode(out);
        }
    }

    /// The first value of this name (BP-6).
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Value> {
        let key = key.as_ref();
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, key: impl AsRef<[u8]>, value: Value) {
        self.0.push((key.as_ref().to_vec(), value));
    }

    /// Replaces the first value of this name, or adds it at the end.
    pub fn insert(&mut self, key: impl AsRef<[u8]>, value: Value) {
        let key = key.as_ref();
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.push(key, value),
        }
    }

    /// Removes all values of this name and gives the first.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Option<Value> {
        let key = key.as_ref();
        let at = self.0.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(name, _)| name != key);
        Some(value)
    }

    /// Sorts by name, as RabbitMQ does when it adds a header.
    pub fn sort(&mut self) {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    }

    /// Entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Value)> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: AsRef<[u8]>> FromIterator<(K, Value)> for Table {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.as_ref().to_vec(), value)).collect())
    }
}
