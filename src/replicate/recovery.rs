//! From the log to what it says: definitions, and the messages of each queue.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::chunks::{Chunk, ChunkPlace, Chunks};
use super::lent::{BORROWING, BlockPlace, Borrowing, LENDING, Lending};
use super::notes::Notes;
use super::record::{MessageBytes, Place, QUEUE, QueueState, Record};
use super::runs::Runs;
use super::segments::SEGMENT;
use super::sharing::Sharing;
use super::transactions::{Removed, Transactions, Whole};
use crate::hashing::Hashing;
use crate::store::{self, CHECKPOINT, Damage, Disk, Log, LogError, LogOptions, Position, Reader, read_checkpoint};

/// A message of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredMessage<M> {
    /// Its number.
    pub seq: u64,
    /// When it expires, in ms since 1970; `u64::MAX`: never.
    pub expires_ms: u64,
    /// How often it was delivered, as far as that is known.
    pub deliveries: u32,
    /// How often that failed.
    pub failures: u32,
    /// What was made of its bytes.
    pub message: M,
}

/// What the log says of a queue.
#[derive(Debug)]
pub struct RecoveredQueue<M> {
    /// Greater than the number of any message the queue ever had.
    pub next_seq: u64,
    /// Where its older messages are.
    pub chunks: Chunks,
    /// In the order of their numbers.
    messages: VecDeque<(u64, Option<RecoveredMessage<M>>)>,
    /// Messages before this number were delivered.
    pub delivered_before: u64,
    /// What is known of messages in chunks: number, deliveries, failures.
    returned: BTreeMap<u64, (u32, u32)>,
    notes: Notes,
}

impl<M> Default for RecoveredQueue<M> {
    fn default() -> Self {
        let (chunks, messages, returned) = (Chunks::default(), VecDeque::new(), BTreeMap::new());
        Self { next_seq: 0, chunks, messages, delivered_before: 0, returned, notes: Notes::default() }
    }
}

impl<M> RecoveredQueue<M> {
    /// Its messages that are in no chunk, in the order of their numbers.
    pub fn take_messages(&mut self) -> impl Iterator<Item = RecoveredMessage<M>> + use<M> {
        let before = self.delivered_before;
        let messages = std::mem::take(&mut self.messages);
        messages.into_iter().filter_map(|(_, message)| message).map(move |mut message| {
            if message.seq < before {
                message.deliveries = message.deliveries.max(1);
            }
            message
        })
    }

    /// Its messages that are in no chunk, as [`Self::take_messages`] would give them: number, whether it was delivered.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = (u64, bool, &M)> {
        let messages = self.messages.iter().filter_map(|(_, message)| message.as_ref());
        messages.map(|message| {
            let was_delivered = message.deliveries > 0 || message.seq < self.delivered_before;
            (message.seq, was_delivered, &message.message)
        })
    }

    /// What it remembers, in the order in which it was noted first: key, value.
    pub fn notes(&self) -> Vec<(&[u8], u64)> {
        self.notes.in_order()
    }

    /// A message of a chunk, with what is known of it.
    pub fn with_counts(&self, seq: u64, expires_ms: u64, message: M) -> RecoveredMessage<M> {
        let (deliveries, failures) = self.counts(seq);
        RecoveredMessage { seq, expires_ms, deliveries, failures, message }
    }

    /// How often a message of a chunk was delivered, and how often that failed.
    pub fn counts(&self, seq: u64) -> (u32, u32) {
        let (deliveries, failures) = self.returned.get(&seq).copied().unwrap_or_default();
        (deliveries.max((seq < self.delivered_before).into()), failures)
    }

    /// What is known of single messages in chunks: number, deliveries, failures.
    pub fn take_counts(&mut self) -> BTreeMap<u64, (u32, u32)> {
        std::mem::take(&mut self.returned)
    }

    /// It may lie in a chunk already, or have been read before.
    fn is_new(&self, seq: u64) -> bool {
        self.messages.back().is_none_or(|(last, _)| *last < seq) && !self.chunks.contains(seq)
    }

    /// A message that is in no chunk, if it is there still.
    fn message(&mut self, seq: u64) -> Option<&mut RecoveredMessage<M>> {
        let at = self.messages.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.messages.get_mut(at)?.1.as_mut()
    }

    fn add(&mut self, message: RecoveredMessage<M>) {
        self.next_seq = self.next_seq.max(message.seq + 1);
        self.messages.push_back((message.seq, Some(message)));
    }

    fn remove(&mut self, first: u64, last: u64) {
        self.next_seq = self.next_seq.max(last + 1);
        self.chunks.remove_run(first, last);
        let start = self.messages.partition_point(|(seq, _)| *seq < first);
        for (seq, message) in self.messages.range_mut(start..) {
            if *seq > last {
                break;
            }
            *message = None;
        }
        while let Some((_, None)) = self.messages.front() {
            self.messages.pop_front();
        }
    }

    fn returned(&mut self, seq: u64, deliveries: u32, failures: u32) {
        match self.messages.binary_search_by_key(&seq, |(seq, _)| *seq) {
            Ok(at) => {
                if let Some((_, Some(message))) = self.messages.get_mut(at) {
                    (message.deliveries, message.failures) = (deliveries, failures);
                }
            }
            Err(_) => drop(self.returned.insert(seq, (deliveries, failures))),
        }
    }
}

/// What the log says.
#[derive(Debug)]
pub struct Recovered<M> {
    /// Definitions by key.
    pub definitions: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Queues by number, also of such as have no definition any more.
    pub queues: HashMap<u64, RecoveredQueue<M>, Hashing>,
    /// What could not be read though it was promised.
    pub damages: Vec<Damage>,
    /// Messages that were in files which are not there any more: a queue's number, and theirs.
    pub lost: Vec<(u64, Runs)>,
    /// Greater than the number of any transaction that the log speaks of.
    pub transactions_end: u64,
    transactions: Transactions,
    sharing: Sharing<M>,
    /// By the place of a chunk: the blocks of lent messages that it needs.
    lending: HashMap<Position, Vec<BlockPlace>, Hashing>,
}

impl<M: Clone + Default> Recovered<M> {
    pub(super) fn new() -> Self {
        Self {
            definitions: BTreeMap::new(),
            queues: HashMap::default(),
            damages: Vec::new(),
            lost: Vec::new(),
            transactions_end: 0,
            transactions: Transactions::default(),
            sharing: Sharing::default(),
            lending: HashMap::default(),
        }
    }

    /// `source` is who wrote it. `make` builds a message; it is told whether several queues have it.
    pub(super) fn apply(
        &mut self,
        source: u32,
        record: Record<'_>,
        make: &mut impl FnMut(MessageBytes<'_>, bool) -> M,
    ) {
        match record {
            Record::Enqueue { places, message } => {
                let mut made = None;
                self.place(source, places, || made.get_or_insert_with(|| make(message, places.len() > 1)).clone());
            }
            Record::Shared { id, records, places, message } => {
                let message = make(message, true);
                self.place(source, places, || message.clone());
                for (queue, seq) in self.sharing.written(id, records, message.clone()) {
                    if let Some(known) = self.queues.get_mut(&queue).and_then(|queue| queue.message(seq)) {
                        known.message = message.clone();
                    }
                }
            }
            Record::Also { id, places } => {
                let message = self.sharing.also(id, places);
                self.place(source, places, || message.clone().unwrap_or_default());
            }
            Record::Remove { queue, first, last } => {
                if self.transactions.removes(source, (queue, first, last)) {
                    self.remove((queue, first, last));
                }
            }
            Record::Return { queue, seq, deliveries, failures } => {
                self.queues.entry(queue).or_default().returned(seq, deliveries, failures);
            }
            Record::Deliver { queue, up_to } => {
                let delivered = &mut self.queues.entry(queue).or_default().delivered_before;
                *delivered = (*delivered).max(up_to.saturating_add(1));
            }
            Record::Note { queue, parts, value, key } => {
                if self.transactions.notes(source, queue, value, key) {
                    self.note(queue, parts, value, key);
                }
            }
            Record::Put { key, value } => {
                self.definitions.insert(key.into(), value.into());
            }
            Record::Delete { key } => {
                self.definitions.remove(key);
            }
            Record::Forget { queue } => {
                self.queues.remove(&queue);
            }
            Record::Part { transaction, parts } => self.transactions.begin(source, transaction, parts),
            Record::PartEnd => {
                let Whole { removed, noted } = self.transactions.end(source);
                removed.into_iter().for_each(|removed| self.remove(removed));
                noted.iter().for_each(|(queue, value, key)| self.note(*queue, 1, *value, key));
            }
            Record::Whole { transaction } => self.transactions.is_whole(transaction),
            Record::Start => {
                self.transactions.started();
                self.sharing.started();
            }
        }
    }

    fn place(&mut self, source: u32, places: &[Place], mut message: impl FnMut() -> M) {
        self.transactions.placed(source, places);
        for &Place { queue, seq, expires_ms } in places {
            let queue = self.queues.entry(queue).or_default();
            if queue.is_new(seq) {
                queue.add(RecoveredMessage { seq, expires_ms, deliveries: 0, failures: 0, message: message() });
            }
        }
    }

    fn note(&mut self, queue: u64, parts: u16, value: u64, key: &[u8]) {
        self.queues.entry(queue).or_default().notes.add(parts, value, key);
    }

    fn remove(&mut self, (queue, first, last): Removed) {
        self.queues.entry(queue).or_default().remove(first, last);
    }

    /// Takes back the messages that nobody wrote down, and those of transactions that were never committed. Where
    /// something is damaged, the part that is missing may be the damage, and a message too many is better than one too
    /// few.
    pub(super) fn roll_back(&mut self, is_damaged: bool) {
        let mut lost: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (queue, seq) in std::mem::take(&mut self.sharing).unwritten() {
            if self.queues.get_mut(&queue).is_some_and(|queue| queue.message(seq).is_some()) {
                self.remove((queue, seq, seq));
                lost.entry(queue).or_default().push(seq);
            }
        }
        // What was not damaged was never promised.
        for (queue, mut seqs) in lost.into_iter().filter(|_| is_damaged) {
            seqs.sort_unstable();
            self.lost.push((queue, seqs.into_iter().collect()));
        }
        let transactions = std::mem::take(&mut self.transactions);
        self.transactions_end = transactions.numbers_end();
        if !is_damaged {
            transactions.never_committed().for_each(|(queue, seq)| self.remove((queue, seq, seq)));
        }
    }

    fn take_up(&mut self, state: QueueState) {
        let queue = self.queues.entry(state.queue).or_default();
        queue.next_seq = state.next_seq;
        queue.delivered_before = state.delivered_before;
        state.chunks.into_iter().for_each(|chunk| queue.chunks.add(chunk));
    }

    fn lent(&mut self, Lending { chunk, blocks }: Lending) {
        self.lending.insert(chunk, blocks);
    }

    /// Gives up the chunks of a segment file that is gone.
    fn give_up(&mut self, file: u32) {
        let (mut end, mut lost) = (0, Vec::new());
        for (number, queue) in &mut self.queues {
            let (gone, left): (Vec<_>, Vec<_>) =
                queue.chunks.iter().cloned().partition(|chunk| chunk.place.position.file() == file);
            if gone.is_empty() {
                continue;
            }
            queue.chunks = Chunks::default();
            left.into_iter().for_each(|chunk| queue.chunks.add(chunk));
            for chunk in gone {
                end = end.max(chunk.place.position.offset().saturating_add(chunk.place.length));
                lost.push((*number, chunk.members));
            }
        }
        let place = |offset| Position::new(file, offset);
        let name = store::file_name(SEGMENT, file);
        self.damages.push(Damage { file: name, from: place(0), to: place(end), is_missing: true });
        self.lost.append(&mut lost);
    }

    /// Gives up the messages that chunks borrow from a segment file that is gone, as far as the chunks can be read.
    fn give_up_lent<D: Disk>(&mut self, file: u32, reader: &Reader<D>) {
        let is_gone = |block: &BlockPlace| block.place.position.file() == file;
        let Self { queues, lending, lost, .. } = self;
        for (number, queue) in queues {
            let needs = |chunk: &&Chunk| lending.get(&chunk.place.position).is_some_and(|all| all.iter().any(is_gone));
            let chunks: Vec<Chunk> = queue.chunks.iter().filter(needs).cloned().collect();
            for Chunk { place, members, level, .. } in chunks {
                let blocks = lending.get(&place.position).into_iter().flatten().filter(|block| is_gone(block));
                let gone: HashSet<Position, Hashing> = blocks.map(|block| block.block).collect();
                let mut seqs = Vec::new();
                // What else is damaged there is told when it is wanted.
                let _ = reader.block(place.position, place.length, |record| {
                    let borrowing = Borrowing::decode(record.payload).filter(|_| record.kind == BORROWING);
                    let borrowing = borrowing.filter(|borrowing| gone.contains(&borrowing.lent.block));
                    seqs.extend(borrowing.map(|borrowing| borrowing.place.seq).filter(|seq| members.contains(*seq)));
                });
                for seq in &seqs {
                    queue.chunks.remove(level, *seq);
                }
                if !seqs.is_empty() {
                    lost.push((*number, seqs.into_iter().collect()));
                }
            }
        }
        self.lending.values_mut().for_each(|blocks| blocks.retain(|block| !is_gone(block)));
    }

    /// Everything that still lies in chunks, with the blocks of lent messages that it needs.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (ChunkPlace, &[BlockPlace])> {
        self.queues.values().flat_map(|queue| queue.chunks.iter()).map(|chunk| {
            let blocks = self.lending.get(&chunk.place.position);
            (chunk.place, blocks.map_or(&[] as &[_], Vec::as_slice))
        })
    }
}

/// The log, read.
pub(super) struct Opened<D: Disk, M> {
    pub(super) log: Log<D>,
    pub(super) recovered: Recovered<M>,
    /// Of the last checkpoint; 0: there is none.
    pub(super) checkpoint: u32,
    /// The first file of the log that is there.
    pub(super) first_file: u32,
    /// Segment files get numbers from here on.
    pub(super) segment: u32,
}

/// Opens the log and reads it: the last checkpoint, and what came behind.
pub(super) fn recover<D: Disk, M: Clone + Default>(
    disk: &Arc<D>,
    options: LogOptions,
    mut make: impl FnMut(MessageBytes<'_>, bool) -> M,
) -> Result<Opened<D, M>, LogError> {
    let mut recovered = Recovered::new();
    let mut unknown = None;
    let (checkpoint, damaged) = read_checkpoint(&**disk, options.node, |record| {
        let mut places = Vec::new();
        let is_known = match record.kind {
            QUEUE => QueueState::decode(record.payload).map(|state| recovered.take_up(state)),
            LENDING => Lending::decode(record.payload).map(|lending| recovered.lent(lending)),
            kind => Record::decode(kind, record.payload, &mut places)
                .map(|known| recovered.apply(record.source, known, &mut make)),
        };
        if is_known.is_none() {
            unknown = Some((CHECKPOINT, record.position));
        }
    })?;
    if let Some(file) = damaged.into_iter().next() {
        // Those before it are gone, and so is what they spoke of.
        return Err(LogError::Checkpoint { file });
    }
    let (log, damages) = Log::open(disk.clone(), options, checkpoint.replay_from, |record| {
        let mut places = Vec::new();
        match Record::decode(record.kind, record.payload, &mut places) {
            Some(known) => recovered.apply(record.source, known, &mut make),
            None => unknown = Some(("log", record.position)),
        }
    })?;
    if let Some((log, position)) = unknown {
        return Err(LogError::Unknown { file: store::file_name(log, position.file()), offset: position.offset() });
    }
    recovered.roll_back(!damages.is_empty());
    recovered.damages = damages;
    let files_of = |(chunk, blocks): (ChunkPlace, &[BlockPlace])| {
        let blocks = blocks.iter().map(|block| block.place.file());
        blocks.chain([chunk.file()]).collect::<Vec<u32>>()
    };
    let wanted: HashSet<u32, Hashing> = recovered.chunks().flat_map(files_of).collect();
    let reader = Reader::new(disk.clone(), SEGMENT);
    for file in &wanted {
        if !store::is_there(&**disk, &store::file_name(SEGMENT, *file), options.node)? {
            recovered.give_up(*file);
            recovered.give_up_lent(*file, &reader);
        }
    }
    let segment = remove_unwanted(&**disk, options.node, &wanted)?;
    let first_file = checkpoint.replay_from.file().max(1);
    Ok(Opened { log, recovered, checkpoint: checkpoint.number, first_file, segment })
}

/// Removes segment files that nobody wants anything of. Gives the number of the next one.
fn remove_unwanted<D: Disk>(disk: &D, node: [u8; 16], wanted: &HashSet<u32, Hashing>) -> Result<u32, LogError> {
    let failed = |file: &str| {
        let file = file.to_owned();
        move |error| LogError::of(file, error)
    };
    let mut next = wanted.iter().max().map_or(1, |last| last + 1);
    for name in disk.list().map_err(failed("data directory"))? {
        if let Some(number) = store::number_of(&name, SEGMENT) {
            next = next.max(number + 1);
            if !wanted.contains(&number) && store::is_ours(disk, &name, node).map_err(failed(&name))? {
                disk.remove(&name).map_err(failed(&name))?;
            }
        }
    }
    Ok(next)
}
