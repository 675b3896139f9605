//! Field tables: what every argument and header travels in.
//!
//! ```text
//! table = length u32 | (name shortstr | value)*        value = tag u8 | content
//! ```
//! Order and duplicates are kept, so that what is read is written back byte for byte; the one exception is RabbitMQ's
//! own: `L` is read as a signed 64-bit integer and written as `l`.

use nom::IResult;
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::map;
use nom::multi::{length_data, many0};
use nom::number::complete::{be_f32, be_f64, be_i8, be_i16, be_i32, be_i64, be_u8, be_u16, be_u32, be_u64};
use thiserror::Error;

/// How deep tables and arrays may nest: enough for anybody, and no way to exhaust the stack.
pub const TABLE_DEPTH_MAX: usize = 64;

/// A table that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TableError {
    /// Cut short, an unknown tag, or a length beyond the end.
    #[error("malformed field table")]
    Malformed,
    /// Nested beyond [`TABLE_DEPTH_MAX`].
    #[error("field table nested more than {TABLE_DEPTH_MAX} deep")]
    TooDeep,
}

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
        tag_name(self.tag())
    }

    /// Equal as RabbitMQ compares arguments and headers: integers by value across widths, everything else strictly.
    pub fn same_value(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Table(a), Self::Table(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|((ka, va), (kb, vb))| ka == kb && va.same_value(vb))
            }
            (Self::Array(a), Self::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_value(b)),
            _ => match (self.as_integer(), other.as_integer()) {
                (Some(a), Some(b)) => a == b,
                _ => self == other,
            },
        }
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

    fn encode(&self, out: &mut Vec<u8>) {
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

fn tag_name(tag: u8) -> &'static str {
    match tag {
        b't' => "bool",
        b'b' => "byte",
        b'B' => "unsignedbyte",
        b's' => "short",
        b'u' => "unsignedshort",
        b'I' => "signedint",
        b'i' => "unsignedint",
        b'l' | b'L' => "long",
        b'f' => "float",
        b'd' => "double",
        b'D' => "decimal",
        b'S' => "longstr",
        b'x' => "binary",
        b'T' => "timestamp",
        b'F' => "table",
        b'A' => "array",
        _ => "void",
    }
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
        check_depth(raw, false, 0)?;
        match entries(raw) {
            Ok(([], entries)) => Ok(Self(entries)),
            _ => Err(TableError::Malformed),
        }
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

type Entries = Vec<(Vec<u8>, Value)>;

fn entries(input: &[u8]) -> IResult<&[u8], Entries> {
    many0((map(shortstr, <[u8]>::to_vec), value)).parse(input)
}

fn shortstr(input: &[u8]) -> IResult<&[u8], &[u8]> {
    length_data(be_u8).parse(input)
}

fn longstr(input: &[u8]) -> IResult<&[u8], &[u8]> {
    length_data(be_u32).parse(input)
}

/// Depth is bounded by [`check_depth`], which every way in runs first.
fn value(input: &[u8]) -> IResult<&[u8], Value> {
    let (input, tag) = be_u8(input)?;
    match tag {
        b't' => map(be_u8, |b| Value::Bool(b != 0)).parse(input),
        b'b' => map(be_i8, Value::I8).parse(input),
        b'B' => map(be_u8, Value::U8).parse(input),
        b's' => map(be_i16, Value::I16).parse(input),
        b'u' => map(be_u16, Value::U16).parse(input),
        b'I' => map(be_i32, Value::I32).parse(input),
        b'i' => map(be_u32, Value::U32).parse(input),
        b'l' | b'L' => map(be_i64, Value::I64).parse(input),
        b'f' => map(be_f32, Value::F32).parse(input),
        b'd' => map(be_f64, Value::F64).parse(input),
        b'D' => map((be_u8, be_u32), |(scale, value)| Value::Decimal { scale, value }).parse(input),
        b'S' => map(longstr, |bytes| Value::LongString(bytes.to_vec())).parse(input),
        b'x' => map(longstr, |bytes| Value::Binary(bytes.to_vec())).parse(input),
        b'T' => map(be_u64, Value::Timestamp).parse(input),
        b'F' => nested(input, |raw| map(entries, |entries| Value::Table(Table(entries))).parse(raw)),
        b'A' => nested(input, |raw| map(many0(value), Value::Array).parse(raw)),
        b'V' => Ok((input, Value::Void)),
        _ => Err(malformed(input)),
    }
}

/// Content with a length before it, all of which must be read.
fn nested<'a>(input: &'a [u8], read: impl FnOnce(&'a [u8]) -> IResult<&'a [u8], Value>) -> IResult<&'a [u8], Value> {
    let (input, raw) = longstr(input)?;
    match read(raw)? {
        ([], value) => Ok((input, value)),
        (rest, _) => Err(malformed(rest)),
    }
}

fn malformed(input: &[u8]) -> nom::Err<nom::error::Error<&[u8]>> {
    nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Switch))
}

/// Walks values without building them: everything is well-formed and not too deep.
fn check_depth(mut raw: &[u8], is_array: bool, depth: usize) -> Result<(), TableError> {
    if depth > TABLE_DEPTH_MAX {
        return Err(TableError::TooDeep);
    }
    while !raw.is_empty() {
        if !is_array {
            raw = shortstr(raw).map_err(|_| TableError::Malformed)?.0;
        }
        let (rest, value) = raw_value(raw).map_err(|_| TableError::Malformed)?;
        if matches!(value.tag, b'F' | b'A') {
            check_depth(value.bytes, value.tag == b'A', depth + 1)?;
        }
        raw = rest;
    }
    Ok(())
}

/// A value that is not decoded: its tag, and its content without any length before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawValue<'a> {
    tag: u8,
    bytes: &'a [u8],
}

fn raw_value(input: &[u8]) -> IResult<&[u8], RawValue<'_>> {
    let (input, tag) = be_u8(input)?;
    let (input, bytes) = match tag {
        b't' | b'b' | b'B' => take(1usize).parse(input)?,
        b's' | b'u' => take(2usize).parse(input)?,
        b'I' | b'i' | b'f' => take(4usize).parse(input)?,
        b'l' | b'L' | b'd' | b'T' => take(8usize).parse(input)?,
        b'D' => take(5usize).parse(input)?,
        b'S' | b'x' | b'F' | b'A' => longstr(input)?,
        b'V' => (input, &input[..0]),
        _ => return Err(malformed(input)),
    };
    Ok((input, RawValue { tag, bytes }))
}

impl<'a> RawValue<'a> {
    /// The type as RabbitMQ's error texts name it.
    pub fn type_name(&self) -> &'static str {
        tag_name(self.tag)
    }

    /// The bytes of a long string.
    pub fn longstr(&self) -> Option<&'a [u8]> {
        (self.tag == b'S').then_some(self.bytes)
    }

    /// The elements of an array, up to the first that cannot be read.
    pub fn array(&self) -> Option<impl Iterator<Item = RawValue<'a>> + use<'a>> {
        let mut raw = (self.tag == b'A').then_some(self.bytes)?;
        Some(std::iter::from_fn(move || {
            let (rest, value) = raw_value(raw).ok()?;
            raw = rest;
            Some(value)
        }))
    }

    /// Decodes it.
    pub fn to_value(&self) -> Result<Value, TableError> {
        let mut whole = vec![self.tag];
        if matches!(self.tag, b'S' | b'x' | b'F' | b'A') {
            whole.extend((self.bytes.len() as u32).to_be_bytes());
        }
        whole.extend(self.bytes);
        if matches!(self.tag, b'F' | b'A') {
            check_depth(self.bytes, self.tag == b'A', 1)?;
        }
        match value(&whole) {
            Ok(([], value)) => Ok(value),
            _ => Err(TableError::Malformed),
        }
    }
}

/// The bytes of a table's entries, not looked at yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawTable<'a>(pub &'a [u8]);

impl<'a> RawTable<'a> {
    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decodes everything.
    pub fn parse(&self) -> Result<Table, TableError> {
        Table::parse(self.0)
    }

    /// Is it well-formed?
    pub fn check(&self) -> Result<(), TableError> {
        check_depth(self.0, false, 0)
    }

    /// Entries in order, up to the first that cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], RawValue<'a>)> + use<'a> {
        let mut raw = self.0;
        std::iter::from_fn(move || {
            let (rest, key) = shortstr(raw).ok()?;
            let (rest, value) = raw_value(rest).ok()?;
            raw = rest;
            Some((key, value))
        })
    }

    /// The first value of this name; nothing is decoded or allocated.
    pub fn get(&self, key: &[u8]) -> Option<RawValue<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}
