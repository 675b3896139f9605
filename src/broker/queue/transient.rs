//! Messages of a queue that are not persistent, counted where messages come and go: those are fewer than the others in the
//! queues that keep any, so a message that is kept pays no more than a look at what it is.

use std::ops::{AddAssign, SubAssign};

use crate::broker::message::Message;

/// See the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Transient {
    pub(super) messages: u64,
    /// Sum of their body lengths.
    pub(super) bytes: u64,
}

impl Transient {
    fn of(message: &Message) -> Self {
        Self { messages: 1, bytes: message.body().len() as u64 }
    }

    #[inline]
    pub(super) fn add(&mut self, message: &Message) {
        if !message.facts().persistent {
            *self += Self::of(message);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, message: &Message) {
        if !message.facts().persistent {
            *self -= Self::of(message);
        }
    }
}

impl AddAssign for Transient {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Transient {
    fn sub_assign(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}
