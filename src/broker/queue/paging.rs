//! Paging: a backlog lies on disk, in chunks of messages in order; what is next for consumers is read ahead of them.
//! The lane says when memory is short, and has chunks read beside its own work.

use std::collections::{BTreeMap, VecDeque};

use super::entry::{Entry, NEVER};
use super::level::{Fresh, Paged};
use super::ready::weight;
use super::transient::Transient;
use super::{Kept, Queue};
use crate::broker::compaction::Move;
use crate::broker::effects::Effects;
use crate::broker::event::QueueId;
use crate::broker::kept;
use crate::broker::message::Message;
use crate::broker::stored::CHUNK_BYTES;
use crate::replicate::{Chunk, ChunkBuilder, ChunkPlace, Place, RecoveredMessage, RecoveredQueue, Runs, Segments};

/// Messages that a queue wants to have in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) struct Load {
    pub(in crate::broker) queue: QueueId,
    pub(in crate::broker) level: usize,
    pub(in crate::broker) place: ChunkPlace,
}

/// What was read: each message with its place; `None`: it cannot be understood.
pub(in crate::broker) type Loaded = Vec<(Place, Option<Message>)>;

/// What the last life knew of messages that are on disk still.
#[derive(Debug, Default)]
pub(super) struct FormerLife {
    /// Those before this number were delivered.
    delivered_before: u64,
    /// Number: deliveries, failures.
    pub(super) counts: BTreeMap<u64, (u32, u32)>,
}

/// A chunk being filled with messages of one priority.
struct Page {
    chunk: ChunkBuilder,
    /// Those that the log keeps.
    kept: Runs,
    expires: bool,
    transient: Transient,
}

impl Page {
    fn new(segments: &Segments) -> Self {
        Self { chunk: segments.chunk(), kept: Runs::default(), expires: false, transient: Transient::default() }
    }
}

impl Queue {
    /// What its waiting messages take in memory, in bytes.
    pub(in crate::broker) fn memory_bytes(&self) -> usize {
        self.ready.memory_bytes()
    }

    /// Moves waiting messages to disk, all but the first `keep_bytes` of each priority and not many more than
    /// `bytes_max` at a time. Gives the memory that is free now, in bytes; less than `bytes_max`: there is nothing more
    /// to move.
    pub(in crate::broker) fn page_out(
        &mut self,
        segments: &Segments,
        keep_bytes: usize,
        bytes_max: usize,
        fx: &mut Effects,
    ) -> usize {
        // Their ids are in the messages.
        if self.duplicates.by_id() {
            return 0;
        }
        let mut freed = 0;
        for index in 0..self.ready.levels.len() {
            let level = &mut self.ready.levels[index];
            if level.paged.is_empty() {
                let mut kept_bytes = 0;
                let keep = level.head.iter().take_while(|fresh| {
                    kept_bytes += fresh.message.memory_bytes();
                    kept_bytes <= keep_bytes
                });
                let keep = keep.count();
                level.tail = level.head.split_off(keep);
                level.head.shrink_to_fit();
            }
            while freed < bytes_max && !self.ready.levels[index].tail.is_empty() {
                freed += self.page_chunk(index, segments, fx);
            }
            let level = &mut self.ready.levels[index];
            if level.paged.is_empty() {
                level.head.append(&mut level.tail);
            }
            if level.tail.is_empty() {
                level.tail = VecDeque::new();
            }
            if freed >= bytes_max {
                break;
            }
        }
        freed
    }

    /// Moves the first of the tail. Gives the memory that is free now, in bytes.
    fn page_chunk(&mut self, index: usize, segments: &Segments, fx: &mut Effects) -> usize {
        let queue = self.id().0;
        let (mut page, mut room, mut freed) = (Page::new(segments), Vec::new(), 0);
        while page.chunk.len() < CHUNK_BYTES
            && let Some(Fresh { message, expires_ms, seq }) = self.ready.levels[index].tail.pop_front()
        {
            kept::put(&mut page.chunk, Place { queue, seq, expires_ms }, &message, &mut room);
            page.expires |= expires_ms != NEVER;
            page.transient.add(&message);
            if self.keeps(&message) {
                page.kept.push(seq);
                fx.given_up.extend(self.stored.remove(level_number(index), seq));
            }
            freed += weight(&message);
        }
        self.ready.weigh(-freed);
        let Chunk { place, members, body_bytes, .. } = segments.put(page.chunk);
        if !page.kept.is_empty() {
            segments.want_again(place);
            let lost_bytes = if self.kept == Kept::Persistent { page.transient.bytes } else { 0 };
            self.stored.add(Chunk {
                place,
                members: page.kept,
                body_bytes: body_bytes - lost_bytes,
                level: level_number(index),
                expires: page.expires,
            });
        }
        let paged = Paged { place, members, body_bytes, expires: page.expires, transient: page.transient };
        self.ready.levels[index].paged.push_back(paged);
        usize::try_from(freed).unwrap_or_default()
    }

    /// Asks for the next messages if few are left in memory and somebody wants them, or they may expire.
    pub(super) fn load_ahead(&mut self, is_wanted: bool, fx: &mut Effects) {
        let Some(index) = self.ready.next_level() else { return };
        let queue = self.id();
        let level = &mut self.ready.levels[index];
        let Some(paged) = level.paged.front() else { return };
        let is_wanted = is_wanted || paged.expires && level.is_behind_page();
        if is_wanted && !level.is_loading && (level.head.len() as u64) < paged.members.count() {
            let place = paged.place;
            level.is_loading = true;
            fx.loads.push(Load { queue, level: index, place });
        }
    }

    /// The next message is on disk: it is asked for.
    pub(in crate::broker) fn must_load(&mut self, fx: &mut Effects) -> bool {
        let must = self.ready.is_behind_page();
        if must {
            self.load_ahead(true, fx);
        }
        must
    }

    /// Messages that were asked for are here. Gives how many cannot be read and are lost.
    pub(in crate::broker) fn loaded(&mut self, load: &Load, messages: Loaded, now_ms: u64, fx: &mut Effects) -> u64 {
        let Some(level) = self.ready.levels.get_mut(load.level) else { return 0 };
        // They may have been purged meanwhile.
        if !level.is_loading || level.paged.front().is_none_or(|paged| paged.place != load.place) {
            return 0;
        }
        level.is_loading = false;
        let Some(paged) = level.paged.pop_front() else { return 0 };
        let mut missing = paged.members.clone();
        self.ready.len -= usize::try_from(paged.members.count()).unwrap_or_default();
        self.ready.body_bytes -= paged.body_bytes.min(self.ready.body_bytes);
        self.ready.transient -= paged.transient;
        let (mut fresh, mut returned) = (Vec::new(), Vec::new());
        for (Place { seq, expires_ms, .. }, message) in messages {
            if let Some(message) = message
                && missing.remove(seq)
            {
                let (deliveries, failures) = self.former_counts(seq);
                let entry = Entry { message, expires_ms, seq, deliveries, failures };
                if deliveries > 0 { returned.push(entry) } else { fresh.push(entry) }
            }
        }
        self.ready.unpage(load.level, fresh);
        returned.into_iter().for_each(|entry| self.recover_entry(entry, now_ms));
        for (first, last) in missing.iter() {
            for seq in first..=last {
                fx.changes.removed(load.queue, seq);
                fx.given_up.extend(self.stored.remove(level_number(load.level), seq));
            }
        }
        fx.given_up.push(load.place);
        self.dispatch(now_ms, fx);
        self.enforce_length(fx);
        missing.count()
    }

    fn former_counts(&mut self, seq: u64) -> (u32, u32) {
        let Some(former) = &mut self.former_life else { return (0, 0) };
        let (deliveries, failures) = former.counts.remove(&seq).unwrap_or_default();
        (deliveries.max((seq < former.delivered_before).into()), failures)
    }

    /// Of its chunks those to be read at once, and those that wait on disk: one after the other they give all messages
    /// between their first and their last in order.
    pub(in crate::broker) fn split(&self, content: &RecoveredQueue<Option<Message>>) -> (Vec<Chunk>, Vec<Chunk>) {
        let chunks: Vec<Chunk> = content.chunks.iter().cloned().collect();
        if self.duplicates.by_id() {
            return (chunks, Vec::new());
        }
        let (mut at_once, mut paged) = (Vec::new(), Vec::new());
        for of_level in chunks.chunk_by(|a, b| a.level == b.level) {
            let overlap = |pair: &[Chunk]| pair[0].members.last() >= pair[1].members.first();
            let in_order_from = of_level.windows(2).rposition(overlap).map_or(0, |at| at + 2);
            let level = of_level.first().map_or(0, |chunk| usize::from(chunk.level));
            let end = of_level.last().and_then(|chunk| chunk.members.last());
            // What was delivered goes before all that is on disk; the others go behind it, if they came later.
            let is_between = |(seq, was_delivered, message): &(u64, bool, &Option<Message>)| {
                let is_of_level = message.as_ref().is_some_and(|message| self.ready.level_of(message) == level);
                (*was_delivered || Some(*seq) < end) && is_of_level
            };
            let last_between = content.messages().rev().find(is_between).map(|(seq, ..)| seq);
            let undivided_from = of_level.partition_point(|chunk| chunk.members.first() < last_between);
            let (read, waits) = of_level.split_at(in_order_from.max(undivided_from));
            at_once.extend_from_slice(read);
            paged.extend_from_slice(waits);
        }
        (at_once, paged)
    }

    /// Takes up what the log has kept of it; to be called before anything else. `read` are messages of chunks that are
    /// to be in memory, `paged` the chunks that are not, see [`Self::split`].
    pub(in crate::broker) fn recover(
        &mut self,
        mut content: RecoveredQueue<Option<Message>>,
        mut read: Vec<RecoveredMessage<Option<Message>>>,
        paged: Vec<Chunk>,
    ) {
        self.ready.next_seq = content.next_seq;
        self.delivered_before = content.delivered_before;
        self.duplicates.producers().recover(&content.notes());
        let in_log = content.messages().next().map(|(seq, ..)| seq);
        read.extend(content.take_messages());
        read.sort_unstable_by_key(|message| message.seq);
        let is_before_pages = |message: &RecoveredMessage<Option<Message>>| {
            let level = message.message.as_ref().map(|message| level_number(self.ready.level_of(message)));
            let mut pages = paged.iter().filter(|page| Some(page.level) == level);
            pages.next().is_some_and(|page| Some(message.seq) < page.members.first())
        };
        let (before, behind): (Vec<_>, Vec<_>) = read.into_iter().partition(is_before_pages);
        self.recover_messages(before);
        for Chunk { place, members, body_bytes, level, expires } in paged {
            // What is not persistent has not outlived the last life, or is of a quorum queue, which keeps all.
            let transient = Transient::default();
            self.ready.recover_page(level.into(), Paged { place, members, body_bytes, expires, transient });
        }
        self.recover_messages(behind);
        let former = FormerLife { delivered_before: content.delivered_before, counts: content.take_counts() };
        self.former_life = Some(Box::new(former));
        self.stored.recover(content.chunks, in_log, content.next_seq);
    }

    fn recover_messages(&mut self, messages: Vec<RecoveredMessage<Option<Message>>>) {
        for RecoveredMessage { seq, expires_ms, deliveries, failures, message } in messages {
            // What could not be read was told when it was.
            if let Some(message) = message {
                self.duplicates.add(&message, true);
                self.recover_entry(Entry { message, expires_ms, seq, deliveries, failures }, self.used_ms);
            }
        }
    }

    /// Removes all waiting messages. Gives their number.
    pub(super) fn drop_all(&mut self, fx: &mut Effects) -> u32 {
        let count = self.messages();
        let (entries, paged) = self.ready.take_all();
        for entry in entries {
            self.forget(&entry, fx);
        }
        for (level, paged) in paged {
            fx.given_up.push(paged.place);
            let level = level_number(level);
            let (first, last) = (paged.members.first().unwrap_or(u64::MAX), paged.members.last().unwrap_or(0));
            for seq in self.stored.members_of(level, paged.place, first, last) {
                fx.changes.removed(self.handle.key.id, seq);
                fx.given_up.extend(self.stored.remove(level, seq));
            }
        }
        count
    }

    /// What lies in these files, pages first: priority, place, and the messages that are wanted.
    pub(in crate::broker) fn chunks_in(&self, files: &[u32], found: &mut impl FnMut(u8, ChunkPlace, &Runs)) {
        for (index, level) in self.ready.levels.iter().enumerate() {
            for paged in level.paged.iter().filter(|paged| files.contains(&paged.place.file())) {
                found(level_number(index), paged.place, &paged.members);
            }
        }
        for chunk in self.stored.chunks_in(files) {
            found(chunk.level, chunk.place, &chunk.members);
        }
    }

    /// A chunk was written anew. Gives how often it was one of this queue's: as a page, and as what the log need not
    /// keep. A page that is just being read stays where it is.
    pub(in crate::broker) fn moved(&mut self, moved: &Move, to: ChunkPlace) -> usize {
        let mut owners = usize::from(self.stored.moved(moved, to));
        if let Some(level) = self.ready.levels.get_mut(usize::from(moved.level)) {
            let at = level.paged.partition_point(|paged| paged.members.first() < moved.members.first());
            let is_being_read = at == 0 && level.is_loading;
            if let Some(paged) = level.paged.get_mut(at).filter(|paged| paged.place == moved.from && !is_being_read) {
                paged.place = to;
                owners += 1;
            }
        }
        owners
    }

    /// The places of everything on disk, to be given up with the queue.
    pub(super) fn pages(&self) -> impl Iterator<Item = ChunkPlace> {
        let paged = self.ready.levels.iter().flat_map(|level| level.paged.iter().map(|paged| paged.place));
        paged.chain(self.stored.places())
    }
}

/// Of 256 at most.
pub(super) fn level_number(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}
