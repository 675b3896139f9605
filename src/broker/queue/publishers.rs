//! Who publishes to a quorum queue, for listings.

use std::collections::HashSet;

use super::{Queue, QueueType};
use crate::broker::event::ChannelKey;
use crate::broker::mailbox::ConnectionId;
use crate::hashing::Hashing;

/// A channel that publishes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(in crate::broker) struct PublisherKey {
    pub(in crate::broker) connection: ConnectionId,
    pub(in crate::broker) channel: ChannelKey,
}

/// Channels that have published to a queue and are open.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    /// The one that did last, which is likely to be the next one.
    last: Option<PublisherKey>,
    all: HashSet<PublisherKey, Hashing>,
}

impl Publishers {
    /// Only a quorum queue knows them, as in RabbitMQ.
    pub(super) fn of_type(queue_type: QueueType) -> Option<Box<Self>> {
        (queue_type == QueueType::Quorum).then(Box::default)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Queue {
    /// A message comes from there. True: the first one, and whoever publishes is to be taken out again.
    #[inline]
    pub(in crate::broker) fn note_publisher(&mut self, key: PublisherKey) -> bool {
        let Some(publishers) = &mut self.publishers else { return false };
        if publishers.last == Some(key) {
            return false;
        }
        publishers.last = Some(key);
        publishers.all.insert(key)
    }

    /// The channel is closed.
    pub(in crate::broker) fn publisher_gone(&mut self, key: PublisherKey) {
        if let Some(publishers) = &mut self.publishers {
            publishers.last = publishers.last.filter(|last| *last != key);
            publishers.all.remove(&key);
        }
    }

    /// Those that were noted and are not gone.
    pub(in crate::broker) fn publishers(&self) -> impl Iterator<Item = PublisherKey> {
        self.publishers.iter().flat_map(|publishers| &publishers.all).copied()
    }
}
