//! Frames of a channel that came while it waits for an answer.

use crate::amqp::content::Complete;
use crate::wire::{BASIC_CLASS, Frame, FrameKind, Publish, write_frame};

/// Beyond this many bytes the socket is not read until the answer has come.
const BYTES_MAX: usize = 128 * 1024;

/// Whole frames, as they came.
#[derive(Debug, Default)]
pub(in crate::amqp) struct Backlog {
    frames: Vec<u8>,
    /// Bytes at the front that are handled already.
    done: usize,
}

impl Backlog {
    pub(in crate::amqp) fn push(&mut self, frame: Frame<'_>) {
        write_frame(&mut self.frames, frame.kind, frame.channel, |out| out.extend_from_slice(frame.payload));
    }

    /// As the frames it came in, or could have come in.
    pub(in crate::amqp) fn push_publish(&mut self, channel: u16, publish: &Complete<'_>) {
        let out = &mut self.frames;
        write_frame(out, FrameKind::Method, channel, |out| {
            out.extend_from_slice(&Publish::IDS);
            // The ticket, which means nothing any more.
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(publish.address);
            out.push(u8::from(publish.mandatory) | u8::from(publish.immediate) << 1);
        });
        write_frame(out, FrameKind::Header, channel, |out| {
            out.extend_from_slice(&BASIC_CLASS.to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&publish.size.to_be_bytes());
            out.extend_from_slice(publish.properties);
        });
        if publish.size > 0 {
            write_frame(out, FrameKind::Body, channel, |out| out.extend_from_slice(publish.body.bytes()));
        }
    }

    /// What waits behind it.
    pub(in crate::amqp) fn append(&mut self, behind: Self) {
        if self.frames.len() == self.done {
            *self = behind;
        } else {
            self.frames.extend_from_slice(behind.frames.get(behind.done..).unwrap_or_default());
        }
    }

    /// So much waits that the socket should not be read.
    pub(in crate::amqp) fn is_full(&self) -> bool {
        self.frames.len() - self.done >= BYTES_MAX
    }

    /// All bytes, and how many at the front are handled.
    pub(in crate::amqp) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.frames, self.done)
    }

    /// The other way round. What is handled is thrown away when it is most of it, so that frames that wait again and
    /// again are not moved each time.
    pub(in crate::amqp) fn from_parts(mut frames: Vec<u8>, mut done: usize) -> Self {
        if done > frames.len() / 2 {
            frames.drain(..done);
            done = 0;
        }
        Self { frames, done }
    }
}
