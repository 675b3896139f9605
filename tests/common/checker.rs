//! Numbered messages, and a checker that knows when one is lost, doubled or overtaken.

use std::collections::BTreeMap;

/// One numbered message: which publisher, the how-manieth of it, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    pub(crate) number: u64,
}

impl Stamp {
    /// The body that carries it.
    pub(crate) fn body(self) -> Vec<u8> {
        let mut body = self.publisher.to_be_bytes().to_vec();
        body.extend(self.number.to_be_bytes());
        body
    }

    /// Reads it back.
    pub(crate) fn of(body: &[u8]) -> Self {
        let (publisher, number) = body.split_at(4);
        Self {
            publisher: u32::from_be_bytes(publisher.try_into().expect("a stamped body")),
            number: u64::from_be_bytes(number.try_into().expect("a stamped body")),
        }
    }
}

/// What one consumer saw, in order.
#[derive(Debug, Default)]
pub(crate) struct Seen(pub(crate) Vec<Stamp>);

impl Seen {
    /// Asserts that the numbers of each publisher only rise: the broker lets no message overtake another on the way
    /// from one channel through one queue to one consumer.
    pub(crate) fn assert_in_order(&self) {
        let mut last = BTreeMap::new();
        for stamp in &self.0 {
            if let Some(before) = last.insert(stamp.publisher, stamp.number) {
                assert!(before < stamp.number, "{stamp:?} came after number {before}");
            }
        }
    }
}

/// Asserts that together the consumers saw every number below `count` of each publisher exactly once.
pub(crate) fn assert_exactly_once(consumers: &[Seen], publishers: u32, count: u64) {
    let mut times = BTreeMap::new();
    for stamp in consumers.iter().flat_map(|seen| &seen.0) {
        *times.entry((stamp.publisher, stamp.number)).or_insert(0_u32) += 1;
    }
    for publisher in 0..publishers {
        for number in 0..count {
            let seen = times.remove(&(publisher, number)).unwrap_or(0);
            assert_eq!(seen, 1, "message {number} of publisher {publisher} was seen {seen} times");
        }
    }
    assert!(times.is_empty(), "messages nobody published: {times:?}");
}
