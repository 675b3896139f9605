//! The properties of a content header: flags, then the values whose flag is set, in flag order.

use thiserror::Error;

use super::table::RawTable;

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
/// Another flag word follows.
const MORE_FLAGS: u16 = 1;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], PropertiesError> {
        let (bytes, rest) = self.0.split_at_checked(n).ok_or(PropertiesError)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PropertiesError> {
        self.bytes(N)?.try_into().map_err(|_| PropertiesError)
    }

    fn shortstr(&mut self) -> Result<&'a [u8], PropertiesError> {
        let [length] = self.array()?;
        self.bytes(length.into())
    }

    fn table(&mut self) -> Result<RawTable<'a>, PropertiesError> {
        let length = u32::from_be_bytes(self.array()?);
        self.bytes(length as usize).map(RawTable)
    }
}

impl<'a> Properties<'a> {
    /// Reads flags and values in one pass; nothing may follow them.
    pub fn decode(raw: &'a [u8]) -> Result<Self, PropertiesError> {
        let mut read = Reader(raw);
        let flags = u16::from_be_bytes(read.array()?);
        if flags & MORE_FLAGS != 0 {
            // Class basic has no property beyond the first word.
            return Err(PropertiesError);
        }
        let mut properties = Self::default();
        let has = |flag: u16| flags & flag != 0;
        if has(CONTENT_TYPE) {
            properties.content_type = Some(read.shortstr()?);
        }
        if has(CONTENT_ENCODING) {
            properties.content_encoding = Some(read.shortstr()?);
        }
        if has(HEADERS) {
            properties.headers = Some(read.table()?);
        }
        if has(DELIVERY_MODE) {
            properties.delivery_mode = Some(read.array::<1>()?[0]);
        }
        if has(PRIORITY) {
            properties.priority = Some(read.array::<1>()?[0]);
        }
        if has(CORRELATION_ID) {
            properties.correlation_id = Some(read.shortstr()?);
        }
        if has(REPLY_TO) {
            properties.reply_to = Some(read.shortstr()?);
        }
        if has(EXPIRATION) {
            properties.expiration = Some(read.shortstr()?);
        }
        if has(MESSAGE_ID) {
            properties.message_id = Some(read.shortstr()?);
        }
        if has(TIMESTAMP) {
            properties.timestamp = Some(u64::from_be_bytes(read.array()?));
        }
        if has(KIND) {
            properties.kind = Some(read.shortstr()?);
        }
        if has(USER_ID) {
            properties.user_id = Some(read.shortstr()?);
        }
        if has(APP_ID) {
            properties.app_id = Some(read.shortstr()?);
        }
        if has(CLUSTER_ID) {
            properties.cluster_id = Some(read.shortstr()?);
        }
        if read.0.is_empty() { Ok(properties) } else { Err(PropertiesError) }
    }

    /// Writes flags and values.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend([0, 0]);
        let mut flags = 0;
        let mut shortstr = |out: &mut Vec<u8>, flag: u16, value: Option<&[u8]>| {
            if let Some(value) = value {
                flags |= flag;
                let value = &value[..value.len().min(255)];
                out.push(value.len() as u8);
                out.extend(value);
            }
        };
        shortstr(out, CONTENT_TYPE, self.content_type);
        shortstr(out, CONTENT_ENCODING, self.content_encoding);
        if let Some(headers) = self.headers {
            out.extend((headers.0.len() as u32).to_be_bytes());
            out.extend(headers.0);
        }
        out.extend(self.delivery_mode);
        out.extend(self.priority);
        shortstr(out, CORRELATION_ID, self.correlation_id);
        shortstr(out, REPLY_TO, self.reply_to);
        shortstr(out, EXPIRATION, self.expiration);
        shortstr(out, MESSAGE_ID, self.message_id);
        out.extend(self.timestamp.into_iter().flat_map(u64::to_be_bytes));
        shortstr(out, KIND, self.kind);
        shortstr(out, USER_ID, self.user_id);
        shortstr(out, APP_ID, self.app_id);
        shortstr(out, CLUSTER_ID, self.cluster_id);
        let others = [
            (HEADERS, self.headers.is_some()),
            (DELIVERY_MODE, self.delivery_mode.is_some()),
            (PRIORITY, self.priority.is_some()),
            (TIMESTAMP, self.timestamp.is_some()),
        ];
        flags |= others.iter().filter(|(_, has)| *has).fold(0, |all, (flag, _)| all | flag);
        out[at..at + 2].copy_from_slice(&flags.to_be_bytes());
    }
}
