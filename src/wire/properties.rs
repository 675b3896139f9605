//! The properties of a content header: flags, then the values whose flag is set, in flag order.

use thiserror::Error;

use super::raw_table::RawTable;

/// Properties that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("malformed content properties")]
pub struct PropertiesError;

/// All fourteen properties of class basic, borrowed from the raw bytes and not decoded further (BP-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Properties<'a> {
    /// MIME type.
    pub content_type: Option<&'a [u8]>,
    /// MIME encoding.
    pub content_encoding: Option<&'a [u8]>,
    /// Headers.
    pub headers: Option<RawTable<'a>>,
    /// 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// 0 to 255.
    pub priority: Option<u8>,
    /// For replies.
    pub correlation_id: Option<&'a [u8]>,
    /// For replies.
    pub reply_to: Option<&'a [u8]>,
    /// Decimal milliseconds.
    pub expiration: Option<&'a [u8]>,
    /// The application's.
    pub message_id: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// `type`: the application's.
    pub kind: Option<&'a [u8]>,
    /// The publisher's user.
    pub user_id: Option<&'a [u8]>,
    /// The application's.
    pub app_id: Option<&'a [u8]>,
    /// Of no meaning.
    pub cluster_id: Option<&'a [u8]>,
}

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const KIND: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
/// Another word of flags follows.
const MORE_FLAGS: u16 = 1;

impl<'a> Properties<'a> {
    /// Reads flags and values in one pass.
    ///
    /// A second word of flags is refused: class basic has no property beyond the first. So are bytes behind the last
    /// value. The one flag that belongs to nothing (bit 1) is passed over, as RabbitMQ does.
    pub fn decode(raw: &'a [u8]) -> Result<Self, PropertiesError> {
        Self::decode_inlined(raw)
    }

    /// As [`Self::decode`], as a part of the caller: a property that it does not look at is checked and passed over.
    #[inline(always)]
    pub fn decode_inlined(raw: &'a [u8]) -> Result<Self, PropertiesError> {
        let (flags, rest) = raw.split_first_chunk().ok_or(PropertiesError)?;
        let flags = u16::from_be_bytes(*flags);
        if flags & MORE_FLAGS != 0 {
            return Err(PropertiesError);
        }
        let mut values = Values { rest, flags };
        // In the order of the flags: struct expressions are evaluated as they are written.
        let properties = Self {
            content_type: values.next(CONTENT_TYPE, Values::shortstr)?,
            content_encoding: values.next(CONTENT_ENCODING, Values::shortstr)?,
            headers: values.next(HEADERS, Values::table)?,
            delivery_mode: values.next(DELIVERY_MODE, Values::octet)?,
            priority: values.next(PRIORITY, Values::octet)?,
            correlation_id: values.next(CORRELATION_ID, Values::shortstr)?,
            reply_to: values.next(REPLY_TO, Values::shortstr)?,
            expiration: values.next(EXPIRATION, Values::shortstr)?,
            message_id: values.next(MESSAGE_ID, Values::shortstr)?,
            timestamp: values.next(TIMESTAMP, |values| values.array().map(u64::from_be_bytes))?,
            kind: values.next(KIND, Values::shortstr)?,
            user_id: values.next(USER_ID, Values::shortstr)?,
            app_id: values.next(APP_ID, Values::shortstr)?,
            cluster_id: values.next(CLUSTER_ID, Values::shortstr)?,
        };
        if values.rest.is_empty() { Ok(properties) } else { Err(PropertiesError) }
    }

    /// The delivery mode, of properties that say nothing else, as those of many messages do; or those that say nothing.
    #[inline]
    pub fn delivery_mode_alone(raw: &[u8]) -> Option<Option<u8>> {
        const FLAGS: [u8; 2] = DELIVERY_MODE.to_be_bytes();
        match *raw {
            [0, 0] => Some(None),
            [high, low, mode] if [high, low] == FLAGS => Some(Some(mode)),
            _ => None,
        }
    }

    /// Writes flags and values.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        let mut w = Writer { out, flags: 0 };
        w.shortstr(CONTENT_TYPE, self.content_type);
        w.shortstr(CONTENT_ENCODING, self.content_encoding);
        w.table(HEADERS, self.headers);
        w.bytes(DELIVERY_MODE, self.delivery_mode.map(u8::to_be_bytes));
        w.bytes(PRIORITY, self.priority.map(u8::to_be_bytes));
        w.shortstr(CORRELATION_ID, self.correlation_id);
        w.shortstr(REPLY_TO, self.reply_to);
        w.shortstr(EXPIRATION, self.expiration);
        w.shortstr(MESSAGE_ID, self.message_id);
        w.bytes(TIMESTAMP, self.timestamp.map(u64::to_be_bytes));
        w.shortstr(KIND, self.kind);
        w.shortstr(USER_ID, self.user_id);
        w.shortstr(APP_ID, self.app_id);
        w.shortstr(CLUSTER_ID, self.cluster_id);
        let flags = w.flags.to_be_bytes();
        out[at..at + 2].copy_from_slice(&flags);
    }
}

/// What is still to be read, and the flags that say what it is.
struct Values<'a> {
    rest: &'a [u8],
    flags: u16,
}

impl<'a> Values<'a> {
    #[inline(always)]
    fn next<T>(
        &mut self,
        flag: u16,
        read: impl FnOnce(&mut Self) -> Result<T, PropertiesError>,
    ) -> Result<Option<T>, PropertiesError> {
        if self.flags & flag == 0 { Ok(None) } else { read(self).map(Some) }
    }

    #[inline(always)]
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], PropertiesError> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(PropertiesError)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], PropertiesError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(PropertiesError)?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline(always)]
    fn octet(&mut self) -> Result<u8, PropertiesError> {
        self.array().map(|[octet]| octet)
    }

    #[inline(always)]
    fn shortstr(&mut self) -> Result<&'a [u8], PropertiesError> {
        let length = self.octet()?;
        self.bytes(length.into())
    }

    #[inline(always)]
    fn table(&mut self) -> Result<RawTable<'a>, PropertiesError> {
        let length = u32::from_be_bytes(self.array()?);
        self.bytes(length as usize).map(RawTable)
    }
}

/// Writes values and gathers their flags.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    flags: u16,
}

impl Writer<'_> {
    fn bytes(&mut self, flag: u16, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = value {
            self.flags |= flag;
            self.out.extend_from_slice(value.as_ref());
        }
    }

    /// At most 255 bytes of it, which is all there can be of what was read.
    fn shortstr(&mut self, flag: u16, value: Option<&[u8]>) {
        if let Some(value) = value {
            let value = &value[..value.len().min(usize::from(u8::MAX))];
            self.out.push(value.len() as u8);
            self.bytes(flag, Some(value));
        }
    }

    fn table(&mut self, flag: u16, value: Option<RawTable<'_>>) {
        if let Some(RawTable(entries)) = value {
            self.out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
            self.bytes(flag, Some(entries));
        }
    }
}
