//! From the log to what it says: definitions, and the messages of each queue.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::record::{MessageBytes, Place, Record};
use crate::store::{self, Damage, Disk, Log, LogError, LogOptions};

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
    /// In the order of their numbers.
    messages: VecDeque<(u64, Option<RecoveredMessage<M>>)>,
    delivered_up_to: Option<u64>,
}

impl<M> Default for RecoveredQueue<M> {
    fn default() -> Self {
        Self { next_seq: 0, messages: VecDeque::new(), delivered_up_to: None }
    }
}

impl<M> RecoveredQueue<M> {
    /// Its messages, in the order of their numbers.
    pub fn into_messages(self) -> impl Iterator<Item = RecoveredMessage<M>> {
        let delivered = self.delivered_up_to;
        self.messages.into_iter().filter_map(|(_, message)| message).map(move |mut message| {
            if delivered.is_some_and(|up_to| message.seq <= up_to) {
                message.deliveries = message.deliveries.max(1);
            }
            message
        })
    }

    fn add(&mut self, message: RecoveredMessage<M>) {
        // Numbers are given in the order of the log.
        if message.seq >= self.next_seq {
            self.next_seq = message.seq + 1;
            self.messages.push_back((message.seq, Some(message)));
        }
    }

    fn remove(&mut self, first: u64, last: u64) {
        self.next_seq = self.next_seq.max(last + 1);
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

    fn find(&mut self, seq: u64) -> Option<&mut RecoveredMessage<M>> {
        let at = self.messages.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.messages.get_mut(at)?.1.as_mut()
    }
}

/// What the log says.
#[derive(Debug)]
pub struct Recovered<M> {
    /// Definitions by key.
    pub definitions: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Queues by number, also of such as have no definition any more.
    pub queues: HashMap<u64, RecoveredQueue<M>>,
    /// What could not be read though it was promised.
    pub damages: Vec<Damage>,
}

impl<M: Clone> Recovered<M> {
    fn new() -> Self {
        Self { definitions: BTreeMap::new(), queues: HashMap::new(), damages: Vec::new() }
    }

    fn apply(&mut self, record: Record<'_>, make: &mut impl FnMut(MessageBytes<'_>) -> M) {
        match record {
            Record::Enqueue { places, message } => {
                let message = make(message);
                for &Place { queue, seq, expires_ms } in places {
                    let (deliveries, failures, message) = (0, 0, message.clone());
                    let message = RecoveredMessage { seq, expires_ms, deliveries, failures, message };
                    self.queues.entry(queue).or_default().add(message);
                }
            }
            Record::Remove { queue, first, last } => self.queues.entry(queue).or_default().remove(first, last),
            Record::Return { queue, seq, deliveries, failures } => {
                if let Some(message) = self.queues.entry(queue).or_default().find(seq) {
                    message.deliveries = deliveries;
                    message.failures = failures;
                }
            }
            Record::Deliver { queue, up_to } => {
                let delivered = &mut self.queues.entry(queue).or_default().delivered_up_to;
                *delivered = (*delivered).max(Some(up_to));
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
        }
    }
}

/// Opens the log and reads it.
pub(super) fn recover<D: Disk, M: Clone>(
    disk: Arc<D>,
    options: LogOptions,
    mut make: impl FnMut(MessageBytes<'_>) -> M,
) -> Result<(Log<D>, Recovered<M>), LogError> {
    let mut recovered = Recovered::new();
    let mut unknown = None;
    let (log, damages) = Log::open(disk, options, store::Position::default(), |record| {
        let mut places = Vec::new();
        match Record::decode(record.kind, record.payload, &mut places) {
            Some(known) => recovered.apply(known, &mut make),
            None => unknown = Some(record.position),
        }
    })?;
    if let Some(position) = unknown {
        return Err(LogError::Unknown { position });
    }
    recovered.damages = damages;
    Ok((log, recovered))
}
