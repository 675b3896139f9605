//! Which of a queue's messages lie in chunks, so that the log need not keep them; and moving them there.

use std::collections::BTreeMap;

use super::ready::Entry;
use super::{Owner, Queue};
use crate::broker::kept;
use crate::broker::message::Message;
use crate::replicate::{Chunk, ChunkPlace, MessageBytes, Place, QueueState, Record, Records, Segments};

/// A chunk is full with this many bytes.
const CHUNK_BYTES: u32 = 256 << 10;

/// The chunks of a queue.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// By the number of the first message that was put in. Those of one queue may overlap, as priorities do.
    chunks: BTreeMap<u64, Chunk>,
    /// All kept messages with lower numbers are in chunks.
    below: u64,
    /// Where the next checkpoint puts [`Self::below`]: what is older then has stayed for long.
    mark: u64,
}

impl Stored {
    /// Forgets a message. Gives the chunk that nobody wants any more.
    #[inline]
    pub(super) fn remove(&mut self, seq: u64) -> Option<ChunkPlace> {
        if self.chunks.is_empty() { None } else { self.remove_from_chunk(seq) }
    }

    fn remove_from_chunk(&mut self, seq: u64) -> Option<ChunkPlace> {
        let (first, chunk) = self.chunks.range_mut(..=seq).rev().find(|(_, chunk)| chunk.members.contains(seq))?;
        chunk.members.remove(seq);
        if !chunk.members.is_empty() {
            return None;
        }
        let (first, place) = (*first, chunk.place);
        self.chunks.remove(&first);
        Some(place)
    }

    pub(super) fn add(&mut self, chunk: Chunk) {
        if let Some(first) = chunk.members.first() {
            self.chunks.insert(first, chunk);
        }
    }

    /// Takes up what the log has kept; `next_seq` is the number of the next message.
    pub(super) fn recover(&mut self, chunks: Vec<Chunk>, next_seq: u64) {
        self.below = chunks.iter().filter_map(|chunk| chunk.members.last()).max().map_or(0, |last| last + 1);
        self.mark = next_seq;
        chunks.into_iter().for_each(|chunk| self.add(chunk));
    }

    /// All places, to be given up with the queue.
    pub(super) fn places(&self) -> impl Iterator<Item = ChunkPlace> {
        self.chunks.values().map(|chunk| chunk.place)
    }
}

/// A message to be moved to a chunk.
struct Old<'a> {
    seq: u64,
    expires_ms: u64,
    message: &'a Message,
}

impl<'a> Old<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self { seq: entry.seq, expires_ms: entry.expires_ms, message: &entry.message }
    }
}

impl Queue {
    /// A checkpoint: what has stayed since the last one moves to chunks, and the records say what there is.
    pub(in crate::broker) fn checkpoint(&mut self, segments: &Segments, records: &mut Records) {
        self.move_old(segments);
        let chunks = self.stored.chunks.values().cloned().collect();
        let (queue, next_seq) = (self.id().0, self.ready.next_seq);
        records.put_queue(&QueueState { queue, next_seq, delivered_before: self.delivered_before, chunks });
        let unacked = self.owners.iter().flat_map(|(_, owner)| owner.unacked.iter());
        for entry in unacked.chain(self.ready.returned()).filter(|entry| self.keeps(&entry.message)) {
            let Entry { seq, deliveries, failures, .. } = *entry;
            let is_implied = failures == 0 && deliveries == 1 && seq < self.delivered_before;
            if !is_implied {
                records.put(&Record::Return { queue, seq, deliveries, failures });
            }
        }
    }

    fn move_old(&mut self, segments: &Segments) {
        let (from, to) = (self.stored.below, self.stored.mark);
        (self.stored.below, self.stored.mark) = (to, self.ready.next_seq);
        if from == to || self.ready.is_empty() && self.owners.iter().all(|(_, owner)| owner.unacked.is_empty()) {
            return;
        }
        let is_old = |seq: u64| (from..to).contains(&seq);
        let unacked = self.owners.iter().flat_map(|(_, owner): (usize, &Owner)| owner.unacked.iter());
        let returned = unacked.chain(self.ready.returned()).filter(|entry| is_old(entry.seq)).map(Old::of);
        let fresh = self.ready.fresh_between(from, to);
        let fresh = fresh.map(|(message, expires_ms, seq)| Old { seq, expires_ms, message });
        let mut old: Vec<Old<'_>> = returned.chain(fresh).filter(|old| self.keeps(old.message)).collect();
        old.sort_unstable_by_key(|old| old.seq);
        let queue = self.id().0;
        let (mut made, mut room) = (Vec::new(), Vec::new());
        let mut chunk = segments.chunk();
        for Old { seq, expires_ms, message } in old {
            let (address, properties, body) = (message.address(), message.properties(), message.body());
            let bytes = MessageBytes { address, properties, hidden: kept::hidden(message, &mut room), body };
            chunk.add(Place { queue, seq, expires_ms }, bytes);
            if chunk.len() >= CHUNK_BYTES {
                made.push(segments.put(std::mem::replace(&mut chunk, segments.chunk())));
            }
        }
        if !chunk.is_empty() {
            made.push(segments.put(chunk));
        }
        made.into_iter().for_each(|chunk| self.stored.add(chunk));
    }
}
