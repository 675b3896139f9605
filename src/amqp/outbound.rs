//! What is to be written to the socket: frames in one buffer, large bodies by reference between them.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use bytes::{Buf, Bytes};

use super::HUGE_BODY_MIN;
use super::report::Counted;
use crate::broker::Message;
use crate::wire::{FRAME_END, body_payload_max, write_body_frame_head, write_content, write_content_header};

/// Bodies of at least this many bytes are not copied for each consumer.
const SHARED_BODY_MIN: usize = 32 * 1024;
/// Above this many bytes nothing is added that can wait.
const FULL_BYTES: usize = 256 * 1024;
/// So much of a huge body is written at a time.
pub(super) const HUGE_BODY_A_WRITE: usize = 256 * 1024;
/// How many pieces one vectored write takes.
pub(super) const PIECES_MAX: usize = 64;

/// A large body, or the piece of it that goes into one frame.
#[derive(Debug)]
struct Shared {
    /// It goes before the byte of `own` with this index.
    at: usize,
    bytes: Bytes,
}

/// See the module's documentation.
///
/// ```text
/// own     | method header body-head | end body-head | end method ... |
/// shared                            ^ bytes         ^ bytes
/// ```
#[derive(Debug, Default)]
pub struct Outbound {
    own: Vec<u8>,
    /// Bytes of `own` that are written already.
    own_written: usize,
    shared: VecDeque<Shared>,
    shared_len: usize,
    sent: Counted,
}

impl Outbound {
    /// Lets `write` append frames.
    pub(super) fn frames<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        write(&mut self.own)
    }

    /// Appends header and body frames of a message.
    pub(super) fn content(&mut self, channel: u16, message: &Message, frame_max: u32) {
        match message.body_shared() {
            Some(body) if body.len() >= SHARED_BODY_MIN => {
                write_content_header(&mut self.own, channel, message.properties(), body.len() as u64);
                self.shared_body(channel, body, frame_max);
            }
            _ => write_content(&mut self.own, channel, message.properties(), message.body(), frame_max),
        }
    }

    fn shared_body(&mut self, channel: u16, body: &Bytes, frame_max: u32) {
        let piece_max = body_payload_max(frame_max);
        let mut from = 0;
        while from < body.len() {
            let to = body.len().min(from.saturating_add(piece_max));
            write_body_frame_head(&mut self.own, channel, to - from);
            self.shared.push_back(Shared { at: self.own.len(), bytes: body.slice(from..to) });
            self.own.push(FRAME_END);
            from = to;
        }
        self.shared_len += body.len();
    }

    /// What was written so far.
    pub(super) fn traffic(&self) -> Counted {
        self.sent
    }

    /// Bytes to write.
    pub fn len(&self) -> usize {
        self.own.len() - self.own_written + self.shared_len
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So much to write that nothing should be added that can wait.
    pub fn is_full(&self) -> bool {
        self.len() >= FULL_BYTES
    }

    /// A huge body waits to be written, or so many that they are as much.
    pub fn has_huge_body(&self) -> bool {
        self.shared_len as u64 >= HUGE_BODY_MIN
    }

    /// The next bytes, for a vectored write. Gives how many slices are filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let mut filled = 0;
        let mut fill = |bytes: &'a [u8]| {
            if !bytes.is_empty()
                && let Some(slice) = slices.get_mut(filled)
            {
                *slice = IoSlice::new(bytes);
                filled += 1;
            }
        };
        let mut from = self.own_written;
        let mut room = if self.has_huge_body() { HUGE_BODY_A_WRITE } else { usize::MAX };
        // A piece and what stands before it.
        for shared in self.shared.iter().take(PIECES_MAX) {
            fill(&self.own[from..shared.at]);
            let piece = &shared.bytes[..shared.bytes.len().min(room)];
            fill(piece);
            room -= piece.len();
            if room == 0 {
                return filled;
            }
            from = shared.at;
        }
        if self.shared.len() <= PIECES_MAX {
            fill(&self.own[from..]);
        }
        filled
    }

    /// `n` bytes were written.
    pub fn advance(&mut self, mut n: usize) {
        self.sent.add(n);
        while let Some(shared) = self.shared.front_mut() {
            let before = n.min(shared.at - self.own_written);
            self.own_written += before;
            n -= before;
            let within = n.min(shared.bytes.len());
            shared.bytes.advance(within);
            self.shared_len -= within;
            n -= within;
            if self.own_written < shared.at || !shared.bytes.is_empty() {
                return;
            }
            self.shared.pop_front();
        }
        self.own_written += n;
        if self.own_written == self.own.len() {
            self.own.clear();
            self.own_written = 0;
        }
    }

    /// Takes a buffer to write into, if it has none with something in it.
    pub(super) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.own.is_empty() {
            mem::swap(&mut self.own, buffer);
        }
    }

    /// Gives the buffer back, unless most of it is waiting to be written: what is left of a little is kept in a
    /// buffer of its own size, and of nothing in none.
    pub(super) fn give_back(&mut self, buffer: &mut Vec<u8>) {
        let rest = self.own.len() - self.own_written;
        if self.shared.is_empty() {
            self.shared = VecDeque::new();
        }
        if rest > 0 && self.own.capacity() <= 2 * rest {
            return;
        }
        let rest = self.own[self.own_written..].to_vec();
        for shared in &mut self.shared {
            shared.at -= self.own_written;
        }
        self.own_written = 0;
        let mut used = mem::replace(&mut self.own, rest);
        used.clear();
        if used.capacity() > buffer.capacity() {
            *buffer = used;
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

    /// Even if all of it is in one frame.
    #[test]
    fn a_write_takes_a_part_of_a_huge_body() {
        let body: Vec<u8> = (0..HUGE_BODY_MIN + 1000).map(|n| (n % 251) as u8).collect();
        let shared = Body::Large(Bytes::from(body.clone()));
        let message = Message::new(b"\0\0", b"\0\0", shared, Facts::default(), &mut Vec::new());
        for frame_max in [0, 100_000] {
            let (mut out, mut plain) = (Outbound::default(), Vec::new());
            out.content(1, &message, frame_max);
            write_content(&mut plain, 1, b"\0\0", &body, frame_max);
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let filled = out.slices(&mut slices);
            let first: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            assert!((HUGE_BODY_A_WRITE..HUGE_BODY_A_WRITE + 100).contains(&first));
            assert!(drain(&mut out, usize::MAX) == plain);
        }
    }

    /// Whatever the socket takes at a time, and whenever the buffer is lent and given back, bytes come out once and in
    /// order.
    #[test]
    fn partial_writes_lose_and_repeat_nothing() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};

        for seed in 0..100 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut out, mut plain) = (Outbound::default(), Vec::new());
            let (mut buffer, mut written) = (Vec::new(), Vec::new());
            for round in 0..50_u8 {
                out.lend(&mut buffer);
                for _ in 0..random.random_range(0..4) {
                    let length = [0, 10, 5000, SHARED_BODY_MIN, 100_000][random.random_range(0..5)];
                    let body = vec![round; length];
                    let message = Message::new(
                        b"\0\0",
                        b"\0\0",
                        Body::Large(Bytes::from(body.clone())),
                        Facts::default(),
                        &mut Vec::new(),
                    );
                    out.content(1, &message, 8192);
                    write_content(&mut plain, 1, b"\0\0", &body, 8192);
                }
                for _ in 0..random.random_range(0..4) {
                    let mut slices = [IoSlice::new(&[]); PIECES_MAX];
                    let filled = out.slices(&mut slices);
                    let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                    let n = random.random_range(0..=all.len());
                    written.extend(&all[..n]);
                    out.advance(n);
                }
                out.give_back(&mut buffer);
                assert!(buffer.is_empty());
                assert_eq!(out.len(), plain.len() - written.len());
            }
            written.extend(drain(&mut out, usize::MAX));
            assert!(written == plain, "seed {seed}");
            out.give_back(&mut buffer);
            assert_eq!(out.own.capacity() + out.shared.capacity(), 0);
        }
    }

    /// A connection that has nothing to write has no buffer; one that a slow reader keeps waiting has what it needs.
    #[test]
    fn buffers_are_given_back() {
        let (mut out, mut buffer) = (Outbound::default(), Vec::with_capacity(100_000));
        out.lend(&mut buffer);
        out.frames(|own| own.extend([1; 1000]));
        out.advance(1000);
        out.give_back(&mut buffer);
        assert!(buffer.capacity() >= 100_000 && out.own.capacity() == 0);
        out.lend(&mut buffer);
        out.frames(|own| own.extend([1; 1000]));
        out.advance(900);
        out.give_back(&mut buffer);
        assert!(buffer.capacity() >= 100_000 && out.own.capacity() == 100);
        assert_eq!(out.len(), 100);
    }
}
