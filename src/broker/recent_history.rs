//! What an exchange of type `x-recent-history` keeps of its messages, for queues that are bound later (XT-9).

use std::collections::VecDeque;

use super::message::Message;
use crate::wire::{RawTable, Value};

/// Bytes that the messages of one exchange may hold: beyond, the oldest go although the length would allow them.
const BYTES_MAX: usize = 64 << 20;

/// The last messages of one exchange, the newest last.
#[derive(Debug)]
pub(super) struct RecentHistory {
    length_max: usize,
    messages: VecDeque<Message>,
    bytes: usize,
}

impl RecentHistory {
    /// Keeps the last `length_max` messages.
    pub(super) fn new(length_max: usize) -> Self {
        Self { length_max, messages: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a message, and forgets those there is no room for.
    pub(super) fn add(&mut self, message: Message) {
        self.bytes += message.memory_bytes();
        self.messages.push_back(message);
        while self.messages.len() > self.length_max || (self.bytes > BYTES_MAX && self.messages.len() > 1) {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= oldest.memory_bytes();
            }
        }
    }

    /// All of them, the oldest first.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.messages.iter().cloned().collect()
    }
}

/// The publisher wants the message not to be kept.
pub(super) fn is_excluded(headers: Option<RawTable<'_>>) -> bool {
    let value = headers.and_then(|headers| headers.get(b"x-recent-history-no-store"));
    value.and_then(|value| value.to_value().ok()) == Some(Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{Body, Facts};

    fn message(body: Body<'_>) -> Message {
        Message::new(b"\x01x\x01k", b"\x00\x00", body, Facts::default(), &mut Vec::new())
    }

    /// FEATURES XT-9.
    #[test]
    fn the_last_ones_are_kept_and_memory_is_bounded() {
        let mut history = RecentHistory::new(3);
        for body in [b"1", b"2", b"3", b"4"] {
            history.add(message(Body::Small(body)));
        }
        let bodies: Vec<_> = history.messages().iter().map(|message| message.body().to_vec()).collect();
        assert_eq!(bodies, [b"2", b"3", b"4"]);

        let mut history = RecentHistory::new(usize::MAX);
        for _ in 0..10 {
            history.add(message(Body::Large(vec![0; BYTES_MAX / 4].into())));
        }
        assert_eq!(history.messages().len(), 3);
        history.add(message(Body::Large(vec![0; 2 * BYTES_MAX].into())));
        assert_eq!(history.messages().len(), 1, "one is always kept");
    }
}
