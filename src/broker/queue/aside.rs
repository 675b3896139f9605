//! What a queue has beside its waiting messages: those that come back later, and dead letters that are not yet where
//! they go. Few queues ever have any, so nothing else pays for more than a look whether there is.

use super::Queue;
use super::entry::{Entry, NEVER};
use super::letters::Letters;
use super::retry::Delayed;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) delayed: Delayed,
    pub(super) letters: Letters,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.delayed.is_empty() && self.letters.is_empty()
    }

    fn next_ms(&self) -> u64 {
        self.delayed.next_ms().min(self.letters.next_ms())
    }
}

impl Queue {
    pub(super) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Something was taken out of it.
    pub(super) fn aside_shrank(&mut self) {
        if self.aside.as_ref().is_some_and(|aside| aside.is_empty()) {
            self.aside = None;
        }
    }

    /// When something there is due.
    pub(super) fn aside_next_ms(&self) -> u64 {
        self.aside.as_ref().map_or(NEVER, |aside| aside.next_ms())
    }

    /// All messages there.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = &Entry> {
        self.aside.iter().flat_map(|aside| aside.delayed.iter().chain(aside.letters.iter()))
    }

    /// Messages that count towards the length: the waiting ones, those that come back, and dead letters that are still
    /// here (QQ-8, DX-11).
    #[inline]
    pub(in crate::broker) fn length(&self) -> u64 {
        let aside = self.aside.as_ref().map_or(0, |aside| aside.delayed.len() + aside.letters.len());
        (self.ready.len() + aside) as u64
    }

    /// The bytes of their bodies.
    #[inline]
    pub(super) fn length_bytes(&self) -> u64 {
        let aside = self.aside.as_ref().map_or(0, |aside| aside.delayed.body_bytes() + aside.letters.body_bytes());
        self.ready.body_bytes() + aside
    }

    /// A purge: gives how many that came to.
    pub(super) fn drop_aside(&mut self, fx: &mut super::Effects) -> u32 {
        let Some(aside) = &mut self.aside else { return 0 };
        let delayed = aside.delayed.take();
        let count = delayed.len() + aside.letters.len();
        for entry in delayed {
            self.forget(&entry, fx);
        }
        self.drop_letters(fx);
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
