//! Transactions whose parts are in the log of several lanes: all of a transaction counts, or nothing of it. Parts are
//! read one after the other, between records of others.
//!
//! Messages of a part are taken in at once, since what follows may speak of them; that others are gone is believed when
//! the transaction is whole. Both can wait for the end: a number is never given twice, so a message that is gone may be
//! removed at any later time.

use std::collections::{HashMap, HashSet};

use super::record::Place;
use crate::hashing::Hashing;

/// `queue, first, last` of messages that are gone.
pub(super) type Removed = (u64, u64, u64);

/// `queue, value, key` of something to be remembered.
pub(super) type Noted = (u64, u64, Box<[u8]>);

/// What counts now that a transaction is whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) removed: Vec<Removed>,
    pub(super) noted: Vec<Noted>,
}

/// A transaction that is not whole as yet.
#[derive(Debug, Default)]
struct Unfinished {
    parts_read: u16,
    placed: Vec<(u64, u64)>,
    whole: Whole,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Known to be whole, wherever their parts are.
    whole: HashSet<u64, Hashing>,
    /// By the source that is in the middle of a part: the transaction, and how many parts it has.
    open: HashMap<u32, (u64, u16), Hashing>,
    unfinished: HashMap<u64, Unfinished, Hashing>,
    /// Greater than the number of any.
    end: u64,
}

impl Transactions {
    pub(super) fn is_whole(&mut self, transaction: u64) {
        self.end = self.end.max(transaction.saturating_add(1));
        self.whole.insert(transaction);
    }

    pub(super) fn begin(&mut self, source: u32, transaction: u64, parts: u16) {
        self.end = self.end.max(transaction.saturating_add(1));
        self.open.remove(&source);
        if !self.whole.contains(&transaction) {
            self.open.insert(source, (transaction, parts));
        }
    }

    /// The part is read. Gives what counts with the transaction, if this was the last part.
    pub(super) fn end(&mut self, source: u32) -> Whole {
        let Some((transaction, parts)) = self.open.remove(&source) else { return Whole::default() };
        let unfinished = self.unfinished.entry(transaction).or_default();
        unfinished.parts_read += 1;
        if unfinished.parts_read < parts {
            return Whole::default();
        }
        self.unfinished.remove(&transaction).unwrap_or_default().whole
    }

    /// A process began: what the one before left open is not going on.
    pub(super) fn started(&mut self) {
        self.open.clear();
    }

    /// The transaction whose part `source` is in the middle of.
    fn of(&mut self, source: u32) -> Option<&mut Unfinished> {
        // Few logs have any.
        if self.open.is_empty() {
            return None;
        }
        let (transaction, _) = self.open.get(&source)?;
        Some(self.unfinished.entry(*transaction).or_default())
    }

    /// A message was put into these places.
    pub(super) fn placed(&mut self, source: u32, places: &[Place]) {
        if let Some(unfinished) = self.of(source) {
            unfinished.placed.extend(places.iter().map(|place| (place.queue, place.seq)));
        }
    }

    /// Messages are gone; false: that is not to be believed yet.
    pub(super) fn removes(&mut self, source: u32, removed: Removed) -> bool {
        match self.of(source) {
            None => true,
            Some(unfinished) => {
                unfinished.whole.removed.push(removed);
                false
            }
        }
    }

    /// Something is to be remembered; false: not yet.
    pub(super) fn notes(&mut self, source: u32, queue: u64, value: u64, key: &[u8]) -> bool {
        match self.of(source) {
            None => true,
            Some(unfinished) => {
                unfinished.whole.noted.push((queue, value, key.into()));
                false
            }
        }
    }

    /// Greater than the number of any that the log speaks of.
    pub(super) fn numbers_end(&self) -> u64 {
        self.end
    }

    /// The log has been read. Gives the places of messages that came with transactions of which parts are missing.
    pub(super) fn never_committed(self) -> impl Iterator<Item = (u64, u64)> {
        self.unfinished.into_values().flat_map(|unfinished| unfinished.placed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MessageBytes;
    use super::super::record::Record;
    use super::super::recovery::Recovered;
    use super::*;

    const QUEUES: [u64; 2] = [10, 11];

    /// Queue 10 with message 0; the first lane of a transaction acks it and puts 1 there, the second puts 0 into queue
    /// 11. What the log says, up to so many records, and what is there then.
    fn after(log: &[(u32, Record<'_>)], damaged: bool) -> [Vec<u64>; 2] {
        let mut recovered = Recovered::<()>::new();
        recovered.apply(0, enqueue(3), &mut |_, _| ());
        for (source, record) in log {
            recovered.apply(*source, *record, &mut |_, _| ());
        }
        recovered.roll_back(damaged);
        QUEUES.map(|queue| {
            let mut queue = recovered.queues.remove(&queue).unwrap_or_default();
            queue.take_messages().map(|message| message.seq).collect()
        })
    }

    const PLACES: [Place; 4] = [
        Place { queue: 10, seq: 1, expires_ms: u64::MAX },
        Place { queue: 11, seq: 0, expires_ms: u64::MAX },
        Place { queue: 10, seq: 2, expires_ms: u64::MAX },
        Place { queue: 10, seq: 0, expires_ms: u64::MAX },
    ];
    const MESSAGE: MessageBytes<'static> =
        MessageBytes { address: b"\0\0", properties: b"\0\0", hidden: b"\0", body: b"" };

    fn enqueue(index: usize) -> Record<'static> {
        Record::Enqueue { places: &PLACES[index..=index], message: MESSAGE }
    }

    const PART: Record<'static> = Record::Part { transaction: 7, parts: 2 };
    const ACK: Record<'static> = Record::Remove { queue: 10, first: 0, last: 0 };

    /// Two lanes' parts, and what others do in between.
    fn log() -> Vec<(u32, Record<'static>)> {
        vec![
            (0, PART),
            (1, PART),
            (0, ACK),
            (0, enqueue(0)),
            (0, Record::PartEnd),
            (0, enqueue(2)),
            (1, enqueue(1)),
            (1, Record::PartEnd),
        ]
    }

    #[test]
    fn all_counts_or_nothing() {
        let log = log();
        assert_eq!(after(&log, false), [vec![1, 2], vec![0]]);
        for end in 0..log.len() {
            let behind: &[u64] = if end > 5 { &[2] } else { &[] };
            assert_eq!(after(&log[..end], false), [[&[0], behind].concat(), vec![]], "up to record {end}");
        }
    }

    #[test]
    fn where_something_is_damaged_no_message_is_taken_back() {
        assert_eq!(after(&log()[..7], true), [vec![0, 1, 2], vec![0]]);
    }

    /// The other part lies before what is read of the log.
    #[test]
    fn a_checkpoint_knows_what_is_whole() {
        let mut log = vec![(0, Record::Whole { transaction: 7 }), (0, PART), (0, ACK), (0, enqueue(0))];
        assert_eq!(after(&log, false), [vec![1], vec![]]);
        log.remove(0);
        assert_eq!(after(&log, false), [vec![0], vec![]]);
    }

    #[test]
    fn a_part_ends_with_the_process() {
        let acked = [(0, PART), (0, enqueue(0)), (0, Record::Start), (0, ACK), (0, enqueue(2)), (0, Record::PartEnd)];
        assert_eq!(after(&acked, false), [vec![2], vec![]]);
    }
}
