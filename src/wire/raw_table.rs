//! Field tables as they lie in a frame: the grammar, and reading without decoding.
//!
//! ```text
//! table = length u32 | (name shortstr | value)*
//! array = length u32 | value*
//! value = tag u8 | content, by tag (BP-5):
//!     t b B    1 byte      I i f      4 bytes     S x   length u32 | bytes
//!     s u      2 bytes     l L d T    8 bytes     F     table
//!     V        nothing     D          5 bytes     A     array
//! ```

use std::iter;

use nom::bytes::complete::take;
use nom::combinator::{fail, map};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u32};
use nom::sequence::pair;
use nom::{IResult, Parser};
use thiserror::Error;

use super::table::{Table, Value};

/// How deep tables and arrays may nest: enough for anybody, and no way to exhaust the stack. RabbitMQ has no limit.
pub const TABLE_DEPTH_MAX: usize = 128;

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

/// The bytes of a table's entries, without the length before them, not looked at yet.
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

    /// Is it well-formed, all the way down? Nothing is allocated.
    pub fn check(&self) -> Result<(), TableError> {
        RawValue { tag: b'F', bytes: self.0 }.check(0)
    }

    /// Entries in order, up to the first that cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], RawValue<'a>)> + use<'a> {
        entries(self.0).map_while(Result::ok)
    }

    /// Writes the entries with the first value of this name replaced, all others byte for byte as they are.
    pub fn encode_with(&self, key: &[u8], replacement: &Value, out: &mut Vec<u8>) {
        let mut is_replaced = false;
        for (name, value) in self.iter() {
            // A name was read as a shortstr.
            out.push(name.len() as u8);
            out.extend_from_slice(name);
            if !is_replaced && name == key {
                is_replaced = true;
                replacement.encode(out);
            } else {
                value.encode(out);
            }
        }
    }

    /// The first value of this name (BP-6); nothing is decoded or allocated.
    pub fn get(&self, key: &[u8]) -> Option<RawValue<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

/// A value that is not decoded: its tag, and its content without any length before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawValue<'a> {
    pub(super) tag: u8,
    pub(super) bytes: &'a [u8],
}

impl<'a> RawValue<'a> {
    /// The type as RabbitMQ's error texts name it.
    pub fn type_name(&self) -> &'static str {
        type_name(self.tag)
    }

    /// The bytes of a long string.
    pub fn longstr(&self) -> Option<&'a [u8]> {
        (self.tag == b'S').then_some(self.bytes)
    }

    /// The elements of an array, up to the first that cannot be read.
    pub fn array(&self) -> Option<impl Iterator<Item = RawValue<'a>> + use<'a>> {
        (self.tag == b'A').then(|| elements(self.bytes).map_while(Result::ok))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag);
        if matches!(self.tag, b'S' | b'x' | b'F' | b'A') {
            // It was read with such a length.
            out.extend((self.bytes.len() as u32).to_be_bytes());
        }
        out.extend_from_slice(self.bytes);
    }

    /// Decodes it.
    pub fn to_value(&self) -> Result<Value, TableError> {
        Value::decode(*self, 1)
    }

    /// `depth` counts the tables and arrays around it.
    fn check(self, depth: usize) -> Result<(), TableError> {
        self.check_depth(depth)?;
        match self.tag {
            b'F' => entries(self.bytes).try_for_each(|entry| entry?.1.check(depth + 1)),
            b'A' => elements(self.bytes).try_for_each(|element| element?.check(depth + 1)),
            _ => Ok(()),
        }
    }

    /// May there be one more table or array inside of `depth` others?
    pub(super) fn check_depth(self, depth: usize) -> Result<(), TableError> {
        let is_nesting = matches!(self.tag, b'F' | b'A');
        if is_nesting && depth > TABLE_DEPTH_MAX { Err(TableError::TooDeep) } else { Ok(()) }
    }
}

/// The names of RabbitMQ's types for the tags.
pub(super) fn type_name(tag: u8) -> &'static str {
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

/// The entries of a table; what cannot be read is the last.
pub(super) fn entries(raw: &[u8]) -> impl Iterator<Item = Result<(&[u8], RawValue<'_>), TableError>> {
    all(raw, |input| pair(length_data(be_u8), value).parse(input))
}

/// The elements of an array; what cannot be read is the last.
pub(super) fn elements(raw: &[u8]) -> impl Iterator<Item = Result<RawValue<'_>, TableError>> {
    all(raw, value)
}

fn all<'a, T>(
    mut rest: &'a [u8],
    parse: impl Fn(&'a [u8]) -> IResult<&'a [u8], T>,
) -> impl Iterator<Item = Result<T, TableError>> {
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = parse(rest);
        rest = parsed.as_ref().map_or(&[], |(behind, _)| behind);
        Some(parsed.map(|(_, item)| item).map_err(|_| TableError::Malformed))
    })
}

fn value(input: &[u8]) -> IResult<&[u8], RawValue<'_>> {
    let (input, tag) = be_u8(input)?;
    let size = match tag {
        b'V' => 0usize,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'x' | b'F' | b'A' => return map(length_data(be_u32), |bytes| RawValue { tag, bytes }).parse(input),
        _ => return fail().parse(input),
    };
    map(take(size), |bytes| RawValue { tag, bytes }).parse(input)
}
