//! A publish arrives as method, header, body frames; this is the only place that knows the order.

use bytes::Bytes;

use super::reply::Fault;
use crate::broker::{Body, LARGE_BODY_MIN};
use crate::wire::{BASIC_CLASS, ContentHeader, Frame, FrameKind, Publish, ReplyCode};

/// FR-7: no body is larger, whatever the configured limit.
const BODY_BYTES_MAX: u64 = 512 << 20;
/// A body of several frames has room set aside for as many as this of the size of its first: what is announced and
/// never comes costs no memory.
const RESERVED_FRAMES: u64 = 4;
/// basic.publish, to blame.
pub(super) const PUBLISH_IDS: (u16, u16) = (60, 40);

#[derive(Debug, Default)]
enum Expect {
    #[default]
    Method,
    Header,
    Body {
        missing: u64,
    },
}

/// A publish being put together. Buffers are kept for the next one, unless they have grown large.
#[derive(Debug, Default)]
pub(super) struct Content {
    expect: Expect,
    address: Vec<u8>,
    exchange_len: usize,
    mandatory: bool,
    properties: Vec<u8>,
    body: Vec<u8>,
}

/// A publish that is all there.
pub(super) struct Complete<'a> {
    pub(super) address: &'a [u8],
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    pub(super) mandatory: bool,
    pub(super) properties: &'a [u8],
    pub(super) body: Body<'a>,
}

impl Content {
    /// No content is under way: methods may come.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.expect, Expect::Method)
    }

    /// basic.publish has come.
    pub(super) fn begin(&mut self, publish: &Publish<'_>) {
        self.address.clear();
        self.address.extend_from_slice(publish.address);
        self.exchange_len = publish.exchange.len();
        self.mandatory = publish.mandatory;
        self.expect = Expect::Header;
    }

    /// Takes the next frame of the publish. Gives the publish when it was the last one.
    pub(super) fn frame<'a>(&'a mut self, frame: Frame<'a>) -> Result<Option<Complete<'a>>, Fault> {
        match (&self.expect, frame.kind) {
            (Expect::Method, _) => {
                Err(unexpected((0, 0), "expected method frame, got non method frame instead".into()))
            }
            (Expect::Header, FrameKind::Header) => self.header(frame.payload),
            (Expect::Header, _) => Err(unexpected(
                PUBLISH_IDS,
                format!("expected content header for class {BASIC_CLASS}, got non content header frame instead"),
            )),
            (Expect::Body { missing }, FrameKind::Body) => {
                let missing = *missing;
                self.body(frame.payload, missing)
            }
            (Expect::Body { .. }, _) => {
                Err(unexpected(PUBLISH_IDS, "expected content body, got non content body frame instead".into()))
            }
        }
    }

    fn header<'a>(&'a mut self, payload: &'a [u8]) -> Result<Option<Complete<'a>>, Fault> {
        let header = ContentHeader::decode(payload)?;
        if header.class_id != BASIC_CLASS {
            let class = header.class_id;
            let text = format!("expected content header for class {BASIC_CLASS}, got one for class {class} instead");
            return Err(unexpected(PUBLISH_IDS, text));
        }
        if header.weight != 0 {
            // FR-6.
            let text = format!("expected content header for class {BASIC_CLASS}, got non content header frame instead");
            return Err(unexpected(PUBLISH_IDS, text));
        }
        if header.body_size > BODY_BYTES_MAX {
            let text = format!("content body size {} exceeds maximum allowed size {BODY_BYTES_MAX}", header.body_size);
            return Err(Fault::connection(ReplyCode::FrameError, PUBLISH_IDS, text));
        }
        self.properties.clear();
        self.properties.extend_from_slice(header.properties);
        self.body = Vec::new();
        if header.body_size == 0 {
            return Ok(Some(self.complete(Body::Small(&[]))));
        }
        self.expect = Expect::Body { missing: header.body_size };
        Ok(None)
    }

    fn body<'a>(&'a mut self, payload: &'a [u8], missing: u64) -> Result<Option<Complete<'a>>, Fault> {
        let length = payload.len() as u64;
        if length > missing {
            let text = "content body frame exceeds remaining content size";
            return Err(Fault::connection(ReplyCode::FrameError, PUBLISH_IDS, text));
        }
        if length == missing && self.body.is_empty() {
            // The usual case: the whole body in one frame, taken from the read buffer.
            let body = if payload.len() < LARGE_BODY_MIN {
                Body::Small(payload)
            } else {
                Body::Large(Bytes::copy_from_slice(payload))
            };
            return Ok(Some(self.complete(body)));
        }
        if self.body.is_empty() {
            self.body.reserve(missing.min(length * RESERVED_FRAMES) as usize);
        }
        self.body.extend_from_slice(payload);
        if length < missing {
            self.expect = Expect::Body { missing: missing - length };
            return Ok(None);
        }
        let body = std::mem::take(&mut self.body);
        if body.len() < LARGE_BODY_MIN {
            self.body = body;
            self.expect = Expect::Method;
            return Ok(Some(self.parts(Body::Small(&self.body))));
        }
        Ok(Some(self.complete(Body::Large(Bytes::from(body)))))
    }

    fn complete<'a>(&'a mut self, body: Body<'a>) -> Complete<'a> {
        self.expect = Expect::Method;
        self.parts(body)
    }

    fn parts<'a>(&'a self, body: Body<'a>) -> Complete<'a> {
        // The address was read as UTF-8 when the method came.
        let text = |range: std::ops::Range<usize>| {
            self.address.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
        };
        Complete {
            address: &self.address,
            exchange: text(1..1 + self.exchange_len),
            routing_key: text(2 + self.exchange_len..self.address.len()),
            mandatory: self.mandatory,
            properties: &self.properties,
            body,
        }
    }

    /// Gives back memory that an idle channel does not need.
    pub(super) fn release_memory(&mut self) {
        if self.is_idle() {
            *self = Self::default();
        }
    }
}

fn unexpected(ids: (u16, u16), text: String) -> Fault {
    Fault::connection(ReplyCode::UnexpectedFrame, ids, text)
}
