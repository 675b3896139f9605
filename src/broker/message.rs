//! A message as the broker holds it: one allocation, shared by every queue and delivery that has it.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use triomphe::ThinArc;

use crate::replicate::LentMessage;
use crate::wire::address_parts;

/// Bodies of at least this many bytes are kept as shared [`Bytes`] instead of being copied into the message's own
/// allocation. Smaller ones are copied, so that a waiting message can never pin a read buffer of 64 KiB.
pub const LARGE_BODY_MIN: usize = 4096;

/// What a message costs in memory beyond its bytes: the allocation's header, and its place in a queue.
const OVERHEAD_BYTES: usize = 64;

/// A message body on its way in.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Shorter than [`LARGE_BODY_MIN`]: copied into the message.
    Small(&'a [u8]),
    /// Kept by reference count.
    Large(Bytes),
}

impl Body<'_> {
    /// Body length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(bytes) => bytes.len(),
        }
    }

    /// True for a body of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(bytes) => bytes,
        }
    }
}

/// The few properties that the broker itself acts on, read once when the message is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// delivery-mode 2.
    pub persistent: bool,
    /// The priority property. Absent, it is 0 for classic queues and 4 for quorum queues.
    pub priority: Option<u8>,
    /// The expiration property in milliseconds.
    pub expiration_ms: Option<u64>,
    /// It has an id by which a queue may tell duplicates (XT-11).
    pub has_id: bool,
    /// It has a sequence number of its producer.
    pub is_numbered: bool,
    /// It is a dead letter, whose history the broker wrote.
    pub has_died: bool,
}

impl Facts {
    /// It says who it is, so that it can be told when it comes again.
    pub(super) fn is_identified(self) -> bool {
        self.has_id | self.is_numbered
    }
}

struct Meta {
    facts: Facts,
    address_len: u16,
    properties_len: u32,
    has_bcc: bool,
    more: Option<Box<More>>,
}

/// What few messages have: a large body, several queues.
#[derive(Default)]
pub(super) struct More {
    large_body: Option<Bytes>,
    sharing: Option<Sharing>,
}

impl More {
    /// Of a message that several queues have.
    pub(super) fn of_shared(sharing: Sharing) -> Box<Self> {
        Box::new(Self { large_body: None, sharing: Some(sharing) })
    }
}

/// What a message that several queues have knows of that.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// How often it is written that queues have it: once for each lane, or for each queue.
    pub(super) writers: u16,
    /// Where the log has it, once it has been written first.
    pub(super) logged: OnceLock<Logged>,
    /// Where the segments have it.
    pub(super) lent: LentMessage,
}

/// A message in the log, for whoever else has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    /// By which it is spoken of.
    pub(super) id: u64,
    /// So many checkpoints had the lane begun that wrote it. The log is cut by checkpoints: one that has begun another
    /// meanwhile cannot rely on it.
    pub(super) checkpoints: u32,
}

impl Sharing {
    /// Of a message of which it will be written no more than so often that queues have it.
    pub(super) fn of_writers(writers: u16) -> Self {
        Self { writers, ..Self::default() }
    }
}

/// What a message is made of.
pub(super) struct Parts<'a> {
    /// `exchange shortstr | routing-key shortstr`.
    pub(super) address: &'a [u8],
    /// Raw flags and values of the content header.
    pub(super) properties: &'a [u8],
    pub(super) body: Body<'a>,
    pub(super) facts: Facts,
    /// Keys that no client is told.
    pub(super) bcc: &'a [String],
    /// If several queues get it; a large body is added.
    pub(super) more: Option<Box<More>>,
}

/// A published message. Cloning counts a reference.
///
/// The bytes are laid out as they came and as they will leave:
///
/// ```text
/// | exchange shortstr | routing-key shortstr | property flags and values | keys of BCC (if any) | body (if small) |
/// |<---------------- address -------------->|<------ properties ------->|
/// ```
/// Keys of BCC are told to no client; they stay for the day the message is dead-lettered: `size u32 | shortstr ...`.
#[derive(Clone)]
pub struct Message(ThinArc<Meta, u8>);

impl Message {
    /// Builds a message. `address` is `exchange shortstr | routing-key shortstr`, `properties` the raw flags and
    /// values of the content header; `scratch` is a buffer to assemble in, kept by the caller to save allocations.
    pub fn new(address: &[u8], properties: &[u8], body: Body<'_>, facts: Facts, scratch: &mut Vec<u8>) -> Self {
        Self::of(Parts { address, properties, body, facts, bcc: &[], more: None }, scratch)
    }

    /// Builds a message; `scratch` as for [`Self::new`].
    #[inline]
    pub(super) fn of(parts: Parts<'_>, scratch: &mut Vec<u8>) -> Self {
        let Parts { address, properties, body, facts, bcc, mut more } = parts;
        scratch.clear();
        scratch.extend_from_slice(address);
        scratch.extend_from_slice(properties);
        if !bcc.is_empty() {
            put_keys(bcc, scratch);
        }
        match body {
            Body::Small(bytes) => scratch.extend_from_slice(bytes),
            Body::Large(bytes) => more.get_or_insert_default().large_body = Some(bytes),
        }
        let meta = Meta {
            facts,
            // Two shortstrs: at most 512 bytes.
            address_len: address.len() as u16,
            // A content header fits a frame, whose size is 32 bits.
            properties_len: properties.len() as u32,
            has_bcc: !bcc.is_empty(),
            more,
        };
        Self(ThinArc::from_header_and_slice(meta, scratch))
    }

    fn meta(&self) -> &Meta {
        &self.0.header.header
    }

    /// `exchange shortstr | routing-key shortstr`, as basic.deliver wants them.
    pub fn address(&self) -> &[u8] {
        &self.0.slice[..usize::from(self.meta().address_len)]
    }

    /// The exchange it was published to.
    pub fn exchange(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(address_parts(self.address()).0)
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(address_parts(self.address()).1)
    }

    /// Property flags and values, byte for byte as published.
    pub fn properties(&self) -> &[u8] {
        let from = usize::from(self.meta().address_len);
        &self.0.slice[from..from + self.meta().properties_len as usize]
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        match self.body_shared() {
            Some(bytes) => bytes,
            None => {
                let rest = self.behind_properties();
                if self.meta().has_bcc { cut_keys(rest).1 } else { rest }
            }
        }
    }

    fn behind_properties(&self) -> &[u8] {
        &self.0.slice[usize::from(self.meta().address_len) + self.meta().properties_len as usize..]
    }

    /// The keys of BCC as they are kept, for [`keys_in`].
    pub(super) fn bcc_bytes(&self) -> &[u8] {
        if !self.meta().has_bcc {
            return &[];
        }
        let rest = self.behind_properties();
        &rest[..rest.len() - cut_keys(rest).1.len()]
    }

    /// The routing keys that came in the BCC header.
    pub fn bcc(&self) -> Vec<String> {
        keys_in(self.bcc_bytes())
    }

    /// The same message with other properties.
    pub fn with_properties(&self, address: &[u8], properties: &[u8], facts: Facts, bcc: &[String]) -> Self {
        let body = self.body_again();
        Self::of(Parts { address, properties, body, facts, bcc, more: None }, &mut Vec::new())
    }

    /// The same message, to be routed once more: what it knew of its sharing was of another route.
    pub(super) fn shared_anew(&self, more: Option<Box<More>>) -> Self {
        let (address, properties, facts) = (self.address(), self.properties(), self.facts());
        let parts = Parts { address, properties, body: self.body_again(), facts, bcc: &self.bcc(), more };
        Self::of(parts, &mut Vec::new())
    }

    /// The body, to build another message with.
    pub(super) fn body_again(&self) -> Body<'_> {
        match self.body_shared() {
            Some(shared) => Body::Large(shared.clone()),
            None => Body::Small(self.body()),
        }
    }

    /// The body by reference count, if it is a large one.
    pub fn body_shared(&self) -> Option<&Bytes> {
        self.meta().more.as_ref()?.large_body.as_ref()
    }

    /// Several queues have it.
    pub(super) fn sharing(&self) -> Option<&Sharing> {
        self.meta().more.as_ref()?.sharing.as_ref()
    }

    /// What the broker read from the properties when it was published.
    pub fn facts(&self) -> Facts {
        self.meta().facts
    }

    /// Memory this message holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let more = self.meta().more.as_ref().map_or(0, |_| size_of::<More>());
        OVERHEAD_BYTES + self.0.slice.len() + more + self.body_shared().map_or(0, Bytes::len)
    }
}

/// `size u32 | shortstr ...`; a key longer than any routing key can be names no binding and is left out.
fn put_keys(keys: &[String], into: &mut Vec<u8>) {
    let at = into.len();
    into.extend_from_slice(&[0; 4]);
    for key in keys {
        if let Ok(len) = u8::try_from(key.len()) {
            into.push(len);
            into.extend_from_slice(key.as_bytes());
        }
    }
    // Smaller than the header they came in.
    let size = (into.len() - at - 4) as u32;
    into[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// The keys that [`put_keys`] wrote.
pub(super) fn keys_in(bytes: &[u8]) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = cut_keys(bytes).0;
    while let Some((key, more)) = rest.split_first().and_then(|(len, rest)| rest.split_at_checked((*len).into())) {
        keys.push(String::from_utf8_lossy(key).into_owned());
        rest = more;
    }
    keys
}

/// What [`put_keys`] wrote, and what comes behind.
fn cut_keys(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
        return (&[], bytes);
    };
    rest.split_at_checked(u32::from_be_bytes(*size) as usize).unwrap_or((&[], rest))
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &self.exchange())
            .field("routing_key", &self.routing_key())
            .field("body_len", &self.body().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_went_in() {
        let mut scratch = Vec::new();
        let message =
            Message::new(b"\x02ex\x03key", b"\x10\x00\x02", Body::Small(b"hello"), Facts::default(), &mut scratch);
        assert_eq!(message.exchange(), "ex");
        assert_eq!(message.routing_key(), "key");
        assert_eq!(message.properties(), b"\x10\x00\x02");
        assert_eq!(message.body(), b"hello");
        assert!(message.bcc().is_empty());
        let bcc = ["a".to_owned(), String::new(), "b.c".to_owned(), "x".repeat(256)];
        let facts = Facts::default();
        let body = Body::Small(b"hello");
        let parts = Parts { address: b"\x00\x01q", properties: b"\x00\x00", body, facts, bcc: &bcc, more: None };
        let message = Message::of(parts, &mut scratch);
        assert_eq!((message.body(), message.bcc()), (&b"hello"[..], bcc[..3].to_vec()));
        let other = message.with_properties(message.address(), b"\x10\x00\x02", facts, &message.bcc());
        assert_eq!((other.body(), other.bcc()), (&b"hello"[..], bcc[..3].to_vec()));
        let large = Bytes::from(vec![7; LARGE_BODY_MIN]);
        let message =
            Message::new(b"\x00\x01q", b"\x00\x00", Body::Large(large.clone()), Facts::default(), &mut scratch);
        assert_eq!(message.body(), &large[..]);
        assert_eq!(message.routing_key(), "q");
        assert!(message.memory_bytes() > LARGE_BODY_MIN);
    }
}
