//! What queues and exchanges remember beside their messages, as it is read from the log.

use std::collections::HashMap;

use crate::hashing::Hashing;

#[derive(Debug)]
struct Note {
    value: u64,
    /// So many lanes have noted it.
    said: u16,
    parts: u16,
    /// Which one it was, counted from the first.
    order: usize,
}

/// What one of them remembers: of each key the greatest value, if all lanes that were to note it have.
#[derive(Debug, Default)]
pub(super) struct Notes {
    by_key: HashMap<Box<[u8]>, Note, Hashing>,
}

impl Notes {
    /// One of `parts` lanes has noted it.
    pub(super) fn add(&mut self, parts: u16, value: u64, key: &[u8]) {
        let order = self.by_key.len();
        let Some(note) = self.by_key.get_mut(key) else {
            self.by_key.insert(key.into(), Note { value, said: 1, parts, order });
            return;
        };
        if value == note.value {
            note.said = note.said.saturating_add(1);
        } else if value > note.value {
            (note.value, note.said, note.parts) = (value, 1, parts);
        }
    }

    /// Key and value, in the order in which they were noted first.
    pub(super) fn in_order(&self) -> Vec<(&[u8], u64)> {
        let mut notes: Vec<_> = self.by_key.iter().filter(|(_, note)| note.said >= note.parts).collect();
        notes.sort_unstable_by_key(|(_, note)| note.order);
        notes.into_iter().map(|(key, note)| (&**key, note.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_noted_counts() {
        let mut notes = Notes::default();
        for (parts, value, key) in [(1, 7, "a"), (2, 9, "b"), (2, 9, "c"), (1, 8, "a"), (2, 9, "c"), (1, 3, "a")] {
            notes.add(parts, value, key.as_bytes());
        }
        assert_eq!(notes.in_order(), [(&b"a"[..], 8), (b"c", 9)]);
    }
}
