//! What is to be written to the socket: small frames in one buffer, large bodies by reference between them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::broker::Message;
use crate::wire::{FRAME_END, body_payload_max, write_body_frame_head, write_content, write_content_header};

/// Bodies of at least this many bytes are not copied for each consumer.
const SHARED_BODY_MIN: usize = 32 * 1024;
/// Above this many bytes the session takes no more deliveries.
const FULL_BYTES: usize = 256 * 1024;
/// A drained buffer larger than this is given back.
const KEPT_CAPACITY: usize = 4 * 1024;
/// How many pieces one vectored write takes.
pub(super) const PIECES_MAX: usize = 64;

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Outbound {
    /// Written before `tail`, in order.
    pieces: VecDeque<Piece>,
    tail: Vec<u8>,
    /// Bytes of the first piece (or of `tail`, if there are no pieces) that are written already.
    written: usize,
    /// Bytes in all, without what is written.
    len: usize,
}

impl Outbound {
    /// Lets `write` append frames.
    pub(super) fn frames<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.tail.len();
        let result = write(&mut self.tail);
        self.len += self.tail.len() - before;
        result
    }

    /// Appends header and body frames of a message.
    pub(super) fn content(&mut self, channel: u16, message: &Message, frame_max: u32) {
        match message.body_shared() {
            Some(body) if body.len() >= SHARED_BODY_MIN => {
                self.frames(|out| write_content_header(out, channel, message.properties(), body.len() as u64));
                self.shared_body(channel, body, frame_max);
            }
            _ => self.frames(|out| write_content(out, channel, message.properties(), message.body(), frame_max)),
        }
    }

    fn shared_body(&mut self, channel: u16, body: &Bytes, frame_max: u32) {
        let piece_max = body_payload_max(frame_max);
        let mut from = 0;
        while from < body.len() {
            let to = body.len().min(from.saturating_add(piece_max));
            self.frames(|out| write_body_frame_head(out, channel, to - from));
            self.pieces.push_back(Piece::Own(std::mem::take(&mut self.tail)));
            self.pieces.push_back(Piece::Shared(body.slice(from..to)));
            self.len += to - from;
            self.frames(|out| out.push(FRAME_END));
            from = to;
        }
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// So much to write that nothing should be added that can wait.
    pub fn is_full(&self) -> bool {
        self.len >= FULL_BYTES
    }

    /// The next bytes, for a vectored write. Gives how many slices are filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let mut filled = 0;
        let mut skip = self.written;
        for bytes in self.pieces.iter().map(Piece::bytes).chain([self.tail.as_slice()]) {
            let rest = &bytes[skip.min(bytes.len())..];
            skip = 0;
            if rest.is_empty() {
                continue;
            }
            slices[filled] = IoSlice::new(rest);
            filled += 1;
            if filled == PIECES_MAX {
                break;
            }
        }
        filled
    }

    /// `n` bytes were written.
    pub fn advance(&mut self, n: usize) {
        self.len -= n;
        self.written += n;
        while let Some(first) = self.pieces.front() {
            let length = first.bytes().len();
            if self.written < length {
                return;
            }
            self.written -= length;
            self.pieces.pop_front();
        }
        if self.written == self.tail.len() {
            self.written = 0;
            if self.tail.capacity() > KEPT_CAPACITY {
                self.tail = Vec::new();
            } else {
                self.tail.clear();
            }
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub fn release_memory(&mut self) {
        if self.is_empty() {
            self.tail = Vec::new();
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Body, Facts};
    use crate::wire::{ContentHeader, FrameKind, cut};

    fn drain(out: &mut Outbound, at_a_time: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let filled = out.slices(&mut slices);
            let before = written.len();
            written.extend(slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(at_a_time));
            out.advance(written.len() - before);
        }
        written
    }

    /// FEATURES FR-4, FR-5: frames are filled, an empty body has none.
    #[test]
    fn bodies_are_cut_to_frames_however_they_are_written() {
        for length in [0, 1, 4088, 4089, 131_072, 200_000] {
            let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let shared = Body::Large(Bytes::from(body.clone()));
            let message = Message::new(b"\0\0", b"\0\0", shared, Facts::default(), &mut Vec::new());
            for at_a_time in [usize::MAX, 1000, 7] {
                let mut out = Outbound::default();
                out.content(3, &message, 4096);
                let written = drain(&mut out, at_a_time);
                let mut rest = written.as_slice();
                let mut pieces = Vec::new();
                while let Some((frame, taken)) = cut(rest, 4096).unwrap() {
                    assert_eq!(frame.channel, 3);
                    match frame.kind {
                        FrameKind::Header => {
                            assert_eq!(ContentHeader::decode(frame.payload).unwrap().body_size, length as u64);
                        }
                        _ => pieces.push(frame.payload.to_vec()),
                    }
                    rest = &rest[taken..];
                }
                assert!(rest.is_empty());
                assert!(pieces.iter().rev().skip(1).all(|piece| piece.len() == 4088));
                assert_eq!(pieces.concat(), body);
            }
        }
    }
}
