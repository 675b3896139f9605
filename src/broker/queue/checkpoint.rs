//! A queue's checkpoint: its messages move to chunks.

use super::entry::{Entry, NEVER};
use super::paging::level_number;
use super::{Owner, Queue};
use crate::broker::kept;
use crate::broker::message::Message;
use crate::broker::stored::CHUNK_BYTES;
use crate::replicate::{Chunk, Place, QueueState, Record, Records, Segments};

/// A message to be moved to a chunk.
struct Old<'a> {
    level: usize,
    seq: u64,
    expires_ms: u64,
    message: &'a Message,
}

impl Queue {
    /// A checkpoint: what has stayed since the last one moves to chunks, and the records say what there is.
    pub(in crate::broker) fn checkpoint(&mut self, segments: &Segments, records: &mut Records) {
        let (queue, next_seq) = (self.id().0, self.ready.next_seq);
        let old = self.stored.advance(next_seq);
        if !old.is_empty() {
            let made = self.move_old(old.start, old.end, segments);
            made.into_iter().for_each(|chunk| self.stored.add(chunk));
        }
        let chunks = self.stored.chunks();
        let state = QueueState { queue, next_seq, delivered_before: self.delivered_before, chunks };
        records.put_queue(&state, segments);
        self.say_counts(records);
        for (value, key) in self.duplicates.producers().notes() {
            records.put(&Record::Note { queue, parts: 1, value, key: &key });
        }
    }

    fn say_counts(&self, records: &mut Records) {
        let queue = self.id().0;
        let unacked = self.owners.iter().flat_map(|(_, owner)| owner.unacked.iter());
        let back = self.ready.returned().chain(self.set_aside());
        for entry in unacked.chain(back).filter(|entry| self.keeps(&entry.message)) {
            let Entry { seq, deliveries, failures, .. } = *entry;
            let is_implied = failures == 0 && deliveries == 1 && seq < self.delivered_before;
            if !is_implied {
                records.put(&Record::Return { queue, seq, deliveries, failures });
            }
        }
        for (seq, (deliveries, failures)) in self.former_life.iter().flat_map(|former| &former.counts) {
            let (seq, deliveries, failures) = (*seq, *deliveries, *failures);
            records.put(&Record::Return { queue, seq, deliveries, failures });
        }
    }

    /// Moves what is in memory, is kept, and has a number from `from` to below `to`. A chunk holds one priority and does
    /// not reach over pages, so that chunks can be pages in the next life.
    fn move_old(&self, from: u64, to: u64, segments: &Segments) -> Vec<Chunk> {
        let is_old = |old: &Old<'_>| {
            let is_stored = || self.stored.has(level_number(old.level), old.seq);
            (from..to).contains(&old.seq) && self.keeps(old.message) && !is_stored()
        };
        let mut groups: Vec<Old<'_>> = Vec::new();
        let unacked = self.owners.iter().flat_map(|(_, owner): (usize, &Owner)| owner.unacked.iter());
        groups.extend(
            unacked
                .chain(self.ready.returned())
                .chain(self.set_aside())
                .map(|entry| self.old(&entry.message, entry.expires_ms, entry.seq)),
        );
        groups.extend(
            self.ready.fresh_between(from, to).map(|(message, expires_ms, seq)| self.old(message, expires_ms, seq)),
        );
        groups.retain(is_old);
        groups.sort_unstable_by_key(|old| (old.level, old.seq));
        let mut made = Vec::new();
        for group in groups.chunk_by(|a, b| a.level == b.level && !self.is_page_between(a, b)) {
            made.extend(self.store(group, segments));
        }
        made
    }

    fn old<'a>(&self, message: &'a Message, expires_ms: u64, seq: u64) -> Old<'a> {
        Old { level: self.ready.level_of(message), seq, expires_ms, message }
    }

    /// Something of the same priority lies in a chunk between the two.
    fn is_page_between(&self, a: &Old<'_>, b: &Old<'_>) -> bool {
        self.stored.is_between(level_number(a.level), a.seq, b.seq)
    }

    fn store(&self, group: &[Old<'_>], segments: &Segments) -> Vec<Chunk> {
        let queue = self.id().0;
        let (mut made, mut room) = (Vec::new(), Vec::new());
        let mut rest = group.iter().peekable();
        while let Some(first) = rest.peek() {
            let level = level_number(first.level);
            let (mut chunk, mut expires) = (segments.chunk(), false);
            while chunk.len() < CHUNK_BYTES
                && let Some(Old { seq, expires_ms, message, .. }) = rest.next()
            {
                expires |= *expires_ms != NEVER;
                kept::put(&mut chunk, Place { queue, seq: *seq, expires_ms: *expires_ms }, message, &mut room);
            }
            made.push(Chunk { level, expires, ..segments.put(chunk) });
        }
        made
    }
}
