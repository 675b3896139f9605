//! What is written down, and how it is read again. The bytes are drawn in `store/FORMAT.md`.

use super::chunks::{Chunk, ChunkPlace};
use super::runs::Runs;
use crate::store;

/// A message's place in one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The queue's number.
    pub queue: u64,
    /// The message's number in the queue.
    pub seq: u64,
    /// When it expires there, in ms since 1970; `u64::MAX`: never.
    pub expires_ms: u64,
}

/// A message as it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageBytes<'a> {
    /// `exchange shortstr | routing-key shortstr`.
    pub address: &'a [u8],
    /// Raw property flags and values.
    pub properties: &'a [u8],
    /// Whatever the broker wants to know of it besides.
    pub hidden: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// Something that has happened and is to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A message is in these queues, which are all of one lane.
    Enqueue {
        /// Where.
        places: &'a [Place],
        /// What.
        message: MessageBytes<'a>,
    },
    /// A message is in these queues, which are all of one lane, and in others, of which [`Record::Also`] speaks.
    Shared {
        /// By which the others speak of it.
        id: u64,
        /// There are no more than so many records of it, this one among them.
        records: u16,
        /// Where.
        places: &'a [Place],
        /// What.
        message: MessageBytes<'a>,
    },
    /// A message that is written elsewhere, before or after, is in these queues too.
    Also {
        /// As in [`Record::Shared`].
        id: u64,
        /// Where.
        places: &'a [Place],
    },
    /// Messages `first..=last` of a queue are gone. Numbers that are not there are passed over.
    Remove {
        /// The queue's number.
        queue: u64,
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A message came back.
    Return {
        /// The queue's number.
        queue: u64,
        /// The message's number.
        seq: u64,
        /// How often it was delivered.
        deliveries: u32,
        /// How often that failed.
        failures: u32,
    },
    /// Messages up to this one were delivered at least once.
    Deliver {
        /// The queue's number.
        queue: u64,
        /// The number.
        up_to: u64,
    },
    /// A definition as it is now.
    Put {
        /// Which one.
        key: &'a [u8],
        /// What it says.
        value: &'a [u8],
    },
    /// A definition is gone.
    Delete {
        /// Which one.
        key: &'a [u8],
    },
    /// A queue, or an exchange with a number of its own, remembers something, with the greatest value it was ever noted
    /// with.
    Note {
        /// The queue's number.
        queue: u64,
        /// So many lanes note it; it counts if all have.
        parts: u16,
        /// What it says.
        value: u64,
        /// Of what.
        key: &'a [u8],
    },
    /// Everything of this queue is gone.
    Forget {
        /// The queue's number.
        queue: u64,
    },
    /// What follows, up to [`Record::PartEnd`], is one of `parts` parts of a transaction: it counts if all are there.
    Part {
        /// A number that no other transaction has.
        transaction: u64,
        /// Each in a log of its own.
        parts: u16,
    },
    /// The part is over.
    PartEnd,
    /// A transaction is whole: what is read of it counts, and its other parts need not be found. In checkpoints only.
    Whole {
        /// Its number.
        transaction: u64,
    },
    /// A process begins to write: parts that are not over will never be.
    Start,
}

/// What a checkpoint says of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueState {
    /// The queue's number.
    pub queue: u64,
    /// Greater than the number of any message it ever had.
    pub next_seq: u64,
    /// Messages before this number were delivered at least once.
    pub delivered_before: u64,
    /// Where those of its messages are that the log need not keep.
    pub chunks: Vec<Chunk>,
}

/// A [`QueueState`], in a checkpoint.
pub(super) const QUEUE: u8 = 8;

impl Place {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.queue, self.seq, self.expires_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn decode(from: &mut Bytes<'_>) -> Option<Self> {
        Some(Self { queue: from.u64()?, seq: from.u64()?, expires_ms: from.u64()? })
    }

    /// `n u32 | places`.
    fn encode_all(places: &[Self], out: &mut Vec<u8>) {
        // A lane that owns 2^32 queues has no memory left for their names.
        out.extend_from_slice(&(places.len() as u32).to_le_bytes());
        places.iter().for_each(|place| place.encode(out));
    }

    fn decode_all(from: &mut Bytes<'_>, into: &mut Vec<Self>) -> Option<()> {
        into.clear();
        for _ in 0..from.u32()? {
            into.push(Self::decode(from)?);
        }
        Some(())
    }
}

impl ChunkPlace {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.0.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
    }

    pub(super) fn decode(from: &mut Bytes<'_>) -> Option<Self> {
        Some(Self { position: store::Position(from.u64()?), length: from.u32()? })
    }
}

/// Some message of a chunk expires.
const EXPIRES: u8 = 1;

impl QueueState {
    /// `queue u64 | next u64 | delivered u64 | for each chunk: position u64, length u32, bodies u64, priority u8, flags u8,
    /// runs u32, for each: first u64, last u64`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.queue, self.next_seq, self.delivered_before] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for chunk in &self.chunks {
            chunk.place.encode(out);
            out.extend_from_slice(&chunk.body_bytes.to_le_bytes());
            out.extend_from_slice(&[chunk.level, if chunk.expires { EXPIRES } else { 0 }]);
            // No more runs than messages, of which a chunk has less than 2^32.
            out.extend_from_slice(&(chunk.members.iter().count() as u32).to_le_bytes());
            for (first, last) in chunk.members.iter() {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&last.to_le_bytes());
            }
        }
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut from = Bytes(payload);
        let (queue, next_seq, delivered_before) = (from.u64()?, from.u64()?, from.u64()?);
        let mut chunks = Vec::new();
        while !from.0.is_empty() {
            let place = ChunkPlace::decode(&mut from)?;
            let (body_bytes, level, flags, runs) = (from.u64()?, from.u8()?, from.u8()?, from.u32()?);
            let mut members = Runs::default();
            for _ in 0..runs {
                members.push_run(from.u64()?, from.u64()?);
            }
            chunks.push(Chunk { place, members, body_bytes, level, expires: flags & EXPIRES != 0 });
        }
        Some(Self { queue, next_seq, delivered_before, chunks })
    }
}

const ENQUEUE: u8 = 1;
const REMOVE: u8 = 2;
const RETURN: u8 = 3;
const DELIVER: u8 = 4;
const PUT: u8 = 5;
const DELETE: u8 = 6;
const FORGET: u8 = 7;
const PART: u8 = 9;
const PART_END: u8 = 10;
const WHOLE: u8 = 11;
const START: u8 = 12;
const NOTE: u8 = 13;
const SHARED: u8 = 14;
const ALSO: u8 = 15;

impl<'a> Record<'a> {
    /// What kind of record it is, in the log.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Enqueue { .. } => ENQUEUE,
            Self::Shared { .. } => SHARED,
            Self::Also { .. } => ALSO,
            Self::Remove { .. } => REMOVE,
            Self::Return { .. } => RETURN,
            Self::Deliver { .. } => DELIVER,
            Self::Put { .. } => PUT,
            Self::Delete { .. } => DELETE,
            Self::Forget { .. } => FORGET,
            Self::Part { .. } => PART,
            Self::PartEnd => PART_END,
            Self::Whole { .. } => WHOLE,
            Self::Start => START,
            Self::Note { .. } => NOTE,
        }
    }

    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_le_bytes());
        match *self {
            Self::Enqueue { places, message } => {
                Place::encode_all(places, out);
                message.encode(out);
            }
            Self::Shared { id, records, places, message } => {
                put(out, id);
                out.extend_from_slice(&records.to_le_bytes());
                Place::encode_all(places, out);
                message.encode(out);
            }
            Self::Also { id, places } => {
                put(out, id);
                Place::encode_all(places, out);
            }
            Self::Remove { queue, first, last } => {
                put(out, queue);
                put(out, first);
                put(out, last);
            }
            Self::Return { queue, seq, deliveries, failures } => {
                put(out, queue);
                put(out, seq);
                out.extend_from_slice(&deliveries.to_le_bytes());
                out.extend_from_slice(&failures.to_le_bytes());
            }
            Self::Deliver { queue, up_to } => {
                put(out, queue);
                put(out, up_to);
            }
            Self::Put { key, value } => {
                // Made of names of at most 255 bytes each, and routing keys and arguments that came in one frame.
                out.extend_from_slice(&(key.len() as u32).to_le_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Self::Delete { key } => out.extend_from_slice(key),
            Self::Note { queue, parts, value, key } => {
                put(out, queue);
                out.extend_from_slice(&parts.to_le_bytes());
                put(out, value);
                out.extend_from_slice(key);
            }
            Self::Forget { queue } => put(out, queue),
            Self::Part { transaction, parts } => {
                put(out, transaction);
                out.extend_from_slice(&parts.to_le_bytes());
            }
            Self::Whole { transaction } => put(out, transaction),
            Self::PartEnd | Self::Start => {}
        }
    }

    /// Reads a record; `places` is room for those of a message. `None`: it says nothing known.
    pub(super) fn decode(kind: u8, payload: &'a [u8], places: &'a mut Vec<Place>) -> Option<Self> {
        let mut from = Bytes(payload);
        let record = match kind {
            ENQUEUE => {
                Place::decode_all(&mut from, places)?;
                return Some(Self::Enqueue { places, message: MessageBytes::decode(from.0)? });
            }
            SHARED => {
                let (id, records) = (from.u64()?, from.u16()?);
                Place::decode_all(&mut from, places)?;
                return Some(Self::Shared { id, records, places, message: MessageBytes::decode(from.0)? });
            }
            ALSO => {
                let id = from.u64()?;
                Place::decode_all(&mut from, places)?;
                Self::Also { id, places }
            }
            REMOVE => Self::Remove { queue: from.u64()?, first: from.u64()?, last: from.u64()? },
            RETURN => {
                Self::Return { queue: from.u64()?, seq: from.u64()?, deliveries: from.u32()?, failures: from.u32()? }
            }
            DELIVER => Self::Deliver { queue: from.u64()?, up_to: from.u64()? },
            PUT => {
                let length = from.u32()?;
                let key = from.take(length as usize)?;
                return Some(Self::Put { key, value: from.0 });
            }
            DELETE => return Some(Self::Delete { key: payload }),
            FORGET => Self::Forget { queue: from.u64()? },
            PART => Self::Part { transaction: from.u64()?, parts: from.u16()? },
            PART_END => Self::PartEnd,
            WHOLE => Self::Whole { transaction: from.u64()? },
            START => Self::Start,
            NOTE => {
                let (queue, parts, value) = (from.u64()?, from.u16()?, from.u64()?);
                return Some(Self::Note { queue, parts, value, key: from.0 });
            }
            _ => return None,
        };
        from.0.is_empty().then_some(record)
    }
}

/// What a message begins with: the lengths of its parts but the body's.
const LENGTHS_BYTES: usize = 2 + 4 + 4;

impl<'a> MessageBytes<'a> {
    /// `address length u16 | properties length u32 | hidden length u32 | address | properties | hidden | body`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // An address is two shortstrs, properties and what is hidden came in a frame.
        out.extend_from_slice(&(self.address.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.properties.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.hidden.len() as u32).to_le_bytes());
        for part in [self.address, self.properties, self.hidden, self.body] {
            out.extend_from_slice(part);
        }
    }

    /// Bytes when encoded.
    pub(super) fn len(&self) -> usize {
        LENGTHS_BYTES + self.address.len() + self.properties.len() + self.hidden.len() + self.body.len()
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Bytes(bytes);
        let (address, properties, hidden) = (from.u16()?, from.u32()?, from.u32()?);
        Some(Self {
            address: from.take(address.into())?,
            properties: from.take(properties as usize)?,
            hidden: from.take(hidden as usize)?,
            body: from.0,
        })
    }
}

/// Takes numbers and stretches off the front.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.number().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.number().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.number().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_were_written() {
        let chunk = |file: u32, numbers: &[u64]| {
            let mut members = Runs::default();
            numbers.iter().for_each(|number| members.push(*number));
            let place = ChunkPlace { position: store::Position::new(file, 64), length: 1000 };
            Chunk { place, members, body_bytes: 7, level: file as u8, expires: file == 1 }
        };
        for chunks in [vec![], vec![chunk(1, &[1, 2, 3, 7]), chunk(2, &[])]] {
            let state = QueueState { queue: 1, next_seq: 2, delivered_before: 3, chunks };
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            assert_eq!(QueueState::decode(&bytes).as_ref(), Some(&state));
            assert_eq!(QueueState::decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let message = MessageBytes { address: b"\0\x01q", properties: b"\x10\0\x02", hidden: b"", body: b"hello" };
        let places = [
            Place { queue: 7, seq: 1, expires_ms: u64::MAX },
            Place { queue: 8, seq: u64::MAX, expires_ms: 1_790_000_000_000 },
        ];
        let records = [
            Record::Enqueue { places: &places, message },
            Record::Enqueue { places: &[], message: MessageBytes { hidden: b"bcc", body: b"", ..message } },
            Record::Shared { id: 7, records: 2, places: &places, message },
            Record::Also { id: 7, places: &places },
            Record::Remove { queue: 1, first: 2, last: 3 },
            Record::Return { queue: 1, seq: 2, deliveries: 3, failures: u32::MAX },
            Record::Deliver { queue: 1, up_to: 2 },
            Record::Put { key: b"key", value: b"value" },
            Record::Delete { key: b"key" },
            Record::Forget { queue: 9 },
            Record::Part { transaction: u64::MAX, parts: 2 },
            Record::PartEnd,
            Record::Whole { transaction: 7 },
            Record::Start,
            Record::Note { queue: 7, parts: 2, value: u64::MAX, key: b"key" },
        ];
        let mut room = Vec::new();
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(Record::decode(record.kind(), &bytes, &mut room), Some(record));
            if !bytes.is_empty() && !matches!(record, Record::Delete { .. }) {
                assert_eq!(Record::decode(record.kind(), &bytes[..1], &mut room), None);
            }
        }
        assert_eq!(Record::decode(200, b"", &mut room), None);
    }
}
