//! Which of a queue's messages lie in chunks, so that the log need not keep them; and moving them there.

use super::entry::{Entry, NEVER};
use super::level::Paged;
use super::paging::{CHUNK_BYTES, bytes_of, level_number};
use super::{Owner, Queue};
use crate::broker::message::Message;
use crate::replicate::{Chunk, ChunkPlace, Chunks, Place, QueueState, Record, Records, Segments};

/// The chunks of a queue.
#[derive(Debug, Default)]
pub(super) struct Stored {
    chunks: Chunks,
    /// No message with this number or a higher one is in a chunk.
    end: u64,
    /// All kept messages with lower numbers are in chunks.
    below: u64,
    /// Where the next checkpoint puts [`Self::below`]: what is older then has stayed for long.
    mark: u64,
}

impl Stored {
    /// Forgets a message. Gives the chunk that nobody wants any more.
    #[inline]
    pub(super) fn remove(&mut self, level: usize, seq: u64) -> Option<ChunkPlace> {
        if seq >= self.end || self.chunks.is_empty() { None } else { self.chunks.remove(level_number(level), seq) }
    }

    /// The kept messages of a page.
    pub(super) fn members_of(&self, level: usize, paged: &Paged) -> Vec<u64> {
        let (first, last) = (paged.members.first().unwrap_or(u64::MAX), paged.members.last().unwrap_or(0));
        let mut begun = self.chunks.range(level_number(level), first, last);
        let chunk = begun.find(|chunk| chunk.place == paged.place);
        chunk.into_iter().flat_map(|chunk| chunk.members.iter()).flat_map(|(first, last)| first..=last).collect()
    }

    pub(super) fn add(&mut self, chunk: Chunk) {
        self.end = self.end.max(chunk.members.last().map_or(0, |last| last + 1));
        self.chunks.add(chunk);
    }

    /// Takes up what the log has kept: chunks, and the messages from number `in_log` on that are in none; `next_seq` is
    /// the number of the next message.
    pub(super) fn recover(&mut self, chunks: Chunks, in_log: Option<u64>, next_seq: u64) {
        self.end = chunks.iter().filter_map(|chunk| chunk.members.last()).max().map_or(0, |last| last + 1);
        // What is paged out goes to chunks before what is older and stays in memory.
        self.below = in_log.map_or(self.end, |first| first.min(self.end));
        self.mark = next_seq;
        self.chunks = chunks;
    }

    /// All places, to be given up with the queue.
    pub(super) fn places(&self) -> impl Iterator<Item = ChunkPlace> {
        self.chunks.iter().map(|chunk| chunk.place)
    }
}

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
        let (from, to) = (self.stored.below, self.stored.mark);
        (self.stored.below, self.stored.mark) = (to, self.ready.next_seq);
        if from < to {
            let made = self.move_old(from, to, segments);
            made.into_iter().for_each(|chunk| self.stored.add(chunk));
        }
        let chunks = self.stored.chunks.iter().cloned().collect();
        let (queue, next_seq) = (self.id().0, self.ready.next_seq);
        records.put_queue(&QueueState { queue, next_seq, delivered_before: self.delivered_before, chunks });
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
            let is_stored = || self.stored.chunks.find(level_number(old.level), old.seq).is_some();
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
        self.stored.chunks.begins_between(level_number(a.level), a.seq, b.seq)
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
                chunk.add(Place { queue, seq: *seq, expires_ms: *expires_ms }, bytes_of(message, &mut room));
            }
            made.push(Chunk { level, expires, ..segments.put(chunk) });
        }
        made
    }
}
