//! Compaction: what is still wanted of a segment file of which little is left is written once more, so that the file can
//! go. It is read and written beside the lanes' work; the next checkpoint speaks of the new places, and the one behind that
//! removes the file.

use std::collections::HashSet;
use std::sync::Arc;

use super::Broker;
use super::event::QueueId;
use super::inbox::Op;
use super::lane::Lane;
use crate::hashing::Hashing;
use crate::replicate::{ChunkPlace, Runs, Segments};

/// A chunk to be written anew.
#[derive(Debug)]
pub(super) struct Move {
    /// Whose it is; also an exchange that holds messages back.
    pub(super) queue: QueueId,
    /// The priority of its messages.
    pub(super) level: u8,
    pub(super) from: ChunkPlace,
    /// The messages that are still wanted.
    pub(super) members: Runs,
}

impl Broker {
    /// Has files compacted of which little is left.
    pub(super) fn compact(&self, segments: &Segments) {
        let files: Arc<[u32]> = segments.sparse().into();
        if files.is_empty() {
            return;
        }
        segments.move_lent(&files);
        for lane in self.lanes() {
            lane.send(self.system_mailbox(), vec![Op::Compact { files: files.clone() }], 0);
        }
    }
}

impl Lane {
    /// Has the lane's chunks in these files written anew.
    pub(super) fn compact(&mut self, files: &[u32]) {
        let mut moves = Vec::new();
        for (id, queue) in &self.queues {
            queue.chunks_in(files, &mut |level, from, members| {
                moves.push(Move { queue: *id, level, from, members: members.clone() });
            });
        }
        self.backlogs.chunks_in(files, &mut moves);
        // One place may be a page and kept: the page is the first, and has all that the other has.
        let mut places = HashSet::<_, Hashing>::default();
        moves.retain(|chunk| places.insert(chunk.from));
        // In the order in which they lie there.
        moves.sort_unstable_by_key(|chunk| chunk.from);
        self.broker().rewrite(moves, self.inbox());
    }

    /// A chunk was written anew. `None`: it cannot be read, and stays where it is.
    pub(super) fn moved(&mut self, moved: &Move, to: Option<ChunkPlace>) {
        let (Some(to), Some(segments)) = (to, self.replicator.segments()) else { return };
        let owners = match self.queues.get_mut(&moved.queue) {
            Some(queue) => queue.moved(moved, to),
            None => self.backlogs.moved(moved, to),
        };
        // The new place is wanted once as it is.
        match owners {
            0 => segments.give_up(to),
            more => (1..more).for_each(|_| segments.want_again(to)),
        }
        (0..owners).for_each(|_| segments.give_up(moved.from));
    }
}
