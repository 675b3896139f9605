//! Messages of several records while the log is read: one has the message, the others, before or behind it, say where
//! else it is.

use std::collections::HashMap;

use super::record::Place;
use crate::hashing::Hashing;

/// A queue's number and a message's.
type At = (u64, u64);

#[derive(Debug)]
struct Message<M> {
    /// With how many records there are of it at most. `None`: it was not read as yet.
    written: Option<(M, u16)>,
    /// So many others were read.
    others: u16,
    /// Where it is, if it was not read as yet.
    places: Vec<At>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Sharing<M> {
    by_id: HashMap<u64, Message<M>, Hashing>,
    /// Where messages were that nobody wrote before the process ended.
    unwritten: Vec<At>,
}

impl<M> Default for Sharing<M> {
    fn default() -> Self {
        Self { by_id: HashMap::default(), unwritten: Vec::new() }
    }
}

impl<M: Clone> Sharing<M> {
    fn of(&mut self, id: u64) -> &mut Message<M> {
        self.by_id.entry(id).or_insert_with(|| Message { written: None, others: 0, places: Vec::new() })
    }

    /// The record that has the message, of which there are so many records at most. Gives where it is known to be by now.
    pub(super) fn written(&mut self, id: u64, records: u16, message: M) -> Vec<At> {
        let known = self.of(id);
        known.written = Some((message, records));
        let places = std::mem::take(&mut known.places);
        self.forget_if_all_read(id);
        places
    }

    /// It is in these places too. `None`: what it is will be read later.
    pub(super) fn also(&mut self, id: u64, places: &[Place]) -> Option<M> {
        let known = self.of(id);
        known.others += 1;
        let message = known.written.as_ref().map(|(message, _)| message.clone());
        if message.is_none() {
            known.places.extend(places.iter().map(|place| (place.queue, place.seq)));
        }
        self.forget_if_all_read(id);
        message
    }

    fn forget_if_all_read(&mut self, id: u64) {
        let known = self.of(id);
        if known.written.as_ref().is_some_and(|(_, records)| known.others + 1 >= *records) {
            self.by_id.remove(&id);
        }
    }

    /// A process began: what the one before did not write never was.
    pub(super) fn started(&mut self) {
        self.unwritten.extend(self.by_id.drain().flat_map(|(_, message)| message.places));
    }

    /// The log has been read. Gives where messages would be that nobody wrote.
    pub(super) fn unwritten(mut self) -> Vec<At> {
        self.started();
        self.unwritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [Place; 1] = [Place { queue: 1, seq: 2, expires_ms: 3 }];

    #[test]
    fn whoever_has_a_message_finds_it() {
        let mut sharing = Sharing::default();
        assert_eq!(sharing.written(7, 3, "m"), []);
        assert_eq!(sharing.also(7, &HERE), Some("m"));
        assert_eq!(sharing.also(7, &HERE), Some("m"));
        assert!(sharing.by_id.is_empty(), "all was read");
        assert_eq!(sharing.also(8, &HERE), None);
        assert_eq!(sharing.written(8, 2, "n"), [(1, 2)]);
        assert!(sharing.by_id.is_empty());
        sharing.also(9, &HERE);
        sharing.started();
        assert_eq!(sharing.written(9, 2, "of another process"), []);
        sharing.also(10, &HERE);
        assert_eq!(sharing.unwritten(), [(1, 2), (1, 2)]);
    }
}
