//! Which channels publish to which queues of a lane, as far as these count them: so that a channel that is closed is found
//! where it was counted.

use std::collections::BTreeSet;

use super::event::{ChannelKey, QueueId};
use super::mailbox::ConnectionId;
use super::queue::{PublisherKey, Queue};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Publishing(BTreeSet<(PublisherKey, QueueId)>);

impl Publishing {
    /// A client's message comes to a queue.
    #[inline]
    pub(super) fn note(&mut self, queue: &mut Queue, by: Option<PublisherKey>) {
        if let Some(by) = by
            && queue.note_publisher(by)
        {
            self.add(by, queue.handle().key.id);
        }
    }

    #[cold]
    fn add(&mut self, publisher: PublisherKey, queue: QueueId) {
        self.0.insert((publisher, queue));
    }

    pub(super) fn remove(&mut self, publisher: PublisherKey, queue: QueueId) {
        self.0.remove(&(publisher, queue));
    }

    /// Takes out those of a connection, or of one of its channels.
    pub(super) fn take(
        &mut self,
        connection: ConnectionId,
        channel: Option<ChannelKey>,
    ) -> Vec<(PublisherKey, QueueId)> {
        let first = channel.unwrap_or(ChannelKey { number: 0, epoch: 0 });
        let last = channel.unwrap_or(ChannelKey { number: u16::MAX, epoch: u32::MAX });
        let bound = |channel, queue| (PublisherKey { connection, channel }, QueueId(queue));
        let taken: Vec<_> = self.0.range(bound(first, 0)..=bound(last, u64::MAX)).copied().collect();
        taken.iter().for_each(|taken| {
            self.0.remove(taken);
        });
        taken
    }
}
