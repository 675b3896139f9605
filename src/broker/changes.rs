//! What has happened to the messages of a lane's queues that the log keeps: which are gone, which came back, which
//! were delivered. Queues note it as they work; the lane writes it down at the end of its turn.

use super::event::QueueId;

/// Numbers `first..=last` of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) queue: QueueId,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// A message that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Back {
    pub(super) queue: QueueId,
    pub(super) seq: u64,
    pub(super) deliveries: u32,
    pub(super) failures: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Nothing is noted where nothing is kept.
    pub(super) are_kept: bool,
    /// Gone for good, in runs.
    pub(super) removed: Vec<Run>,
    pub(super) returned: Vec<Back>,
    /// Up to which number messages were delivered; a queue may be there more than once.
    pub(super) delivered: Vec<(QueueId, u64)>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() & self.returned.is_empty() & self.delivered.is_empty()
    }

    pub(super) fn removed(&mut self, queue: QueueId, seq: u64) {
        if !self.are_kept {
            return;
        }
        match self.removed.last_mut() {
            Some(run) if run.queue == queue && run.last + 1 == seq => run.last = seq,
            _ => self.removed.push(Run { queue, first: seq, last: seq }),
        }
    }

    /// Takes back what was said of this message: it was gone before the log heard of it. False: it is not gone.
    pub(super) fn was_removed(&mut self, queue: QueueId, seq: u64) -> bool {
        let holds = |run: &Run| run.queue == queue && (run.first..=run.last).contains(&seq);
        let Some(at) = self.removed.iter().rposition(holds) else {
            return false;
        };
        let run = &mut self.removed[at];
        // A new message is the last of its run; what is said of one that the log does not know harms nobody.
        if run.first == seq {
            self.removed.remove(at);
        } else if run.last == seq {
            run.last -= 1;
        }
        true
    }

    pub(super) fn returned(&mut self, back: Back) {
        if self.are_kept {
            self.returned.push(back);
        }
    }

    pub(super) fn delivered(&mut self, queue: QueueId, seq: u64) {
        if !self.are_kept {
            return;
        }
        match self.delivered.last_mut() {
            Some((last, up_to)) if *last == queue => *up_to = seq.max(*up_to),
            _ => self.delivered.push((queue, seq)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let (a, b) = (QueueId(1), QueueId(2));
        let mut changes = Changes { are_kept: true, ..Changes::default() };
        for (queue, seq) in [(a, 1), (a, 2), (b, 3), (a, 3), (a, 5)] {
            changes.removed(queue, seq);
        }
        let run = |queue, first, last| Run { queue, first, last };
        assert_eq!(changes.removed, [run(a, 1, 2), run(b, 3, 3), run(a, 3, 3), run(a, 5, 5)]);
        assert!(changes.was_removed(a, 2) && changes.was_removed(a, 5) && !changes.was_removed(b, 2));
        assert_eq!(changes.removed, [run(a, 1, 1), run(b, 3, 3), run(a, 3, 3)]);
        for (queue, seq) in [(a, 7), (a, 6), (b, 1)] {
            changes.delivered(queue, seq);
        }
        assert_eq!(changes.delivered, [(a, 7), (b, 1)]);
    }

    #[test]
    fn nothing_is_noted_where_nothing_is_kept() {
        let mut changes = Changes::default();
        changes.removed(QueueId(1), 1);
        changes.delivered(QueueId(1), 1);
        changes.returned(Back { queue: QueueId(1), seq: 1, deliveries: 1, failures: 0 });
        assert!(changes.is_empty());
    }
}
