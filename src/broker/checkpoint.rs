//! A checkpoint of the broker: each lane says in its own time what its queues have, then the definitions are added,
//! and the log before can go. Lanes work on meanwhile: what they say may be younger than the checkpoint's begin, and the
//! log that follows may repeat it.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Broker;
use super::gathering::{Gathering, Part};
use super::inbox::Op;
use super::lane::Lane;
use crate::replicate::{BegunCheckpoint, LocalLog, Record, Records};

/// A lane says this much in one turn.
const BYTES_A_TURN: usize = 256 << 10;
const QUEUES_A_TURN: usize = 256;

/// How often it is looked whether the lanes still run.
const STOPPED_LOOK: Duration = Duration::from_millis(50);

/// A checkpoint that the lanes were asked for.
pub(super) struct Asked {
    begun: BegunCheckpoint,
    gathering: Arc<Gathering>,
}

impl Broker {
    /// Makes a checkpoint. Waits for all lanes and for the disk; not to be called where others wait.
    ///
    /// # Errors
    /// The disk's; the checkpoint before stands then.
    pub fn checkpoint(&self, log: &LocalLog) -> io::Result<()> {
        let asked = self.ask_for_checkpoint(log);
        self.finish_checkpoint(log, asked)
    }

    pub(super) fn ask_for_checkpoint(&self, log: &LocalLog) -> Asked {
        // Before the log is looked at: whatever is whole by now lies before.
        let begun = log.begin_checkpoint(self.0.commits.underway());
        let gathering = Arc::new(Gathering::default());
        gathering.said().lanes_left = self.lanes().len();
        for lane in self.lanes() {
            lane.send(self.system_mailbox(), vec![Op::Checkpoint { gathering: gathering.clone() }], 0);
        }
        Asked { begun, gathering }
    }

    /// It can be finished without waiting for lanes.
    #[cfg(test)]
    pub(super) fn is_said(&self, asked: &Asked) -> bool {
        asked.gathering.said().lanes_left == 0 && self.0.commits.underway().is_empty()
    }

    pub(super) fn finish_checkpoint(&self, log: &LocalLog, asked: Asked) -> io::Result<()> {
        let Asked { begun, gathering } = asked;
        let commits = &self.0.commits;
        let mut said = gathering.said();
        while said.lanes_left > 0 {
            // A lane that has ended says nothing.
            if self.is_stopped() {
                return Err(io::Error::other("the broker is stopped"));
            }
            said = gathering.all.wait_timeout(said, STOPPED_LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut records = std::mem::take(&mut said.records);
        drop(said);
        self.say_definitions(&mut |key, value| records.put(&Record::Put { key, value }));
        self.say_seen(&mut records);
        if !commits.wait_for(&commits.underway(), STOPPED_LOOK, || !self.is_stopped()) {
            return Err(io::Error::other("the broker is stopped"));
        }
        log.finish_checkpoint(begun, records)?;
        self.compact(log.segments());
        Ok(())
    }
}

impl Lane {
    pub(super) fn begin_checkpoint(&mut self, gathering: Arc<Gathering>) {
        self.checkpoints += 1;
        let queues = self.durable_queues();
        // One that is not finished has been given up by whoever began it.
        self.checkpoint = Some(Part { gathering, queues });
    }

    /// Goes on with a checkpoint; true: there is more to do.
    pub(super) fn go_on_with_checkpoint(&mut self) -> bool {
        let Some(mut part) = self.checkpoint.take() else {
            return false;
        };
        let mut records = Records::default();
        for _ in 0..QUEUES_A_TURN {
            let Some(id) = part.queues.pop() else { break };
            self.checkpoint_queue(id, &mut records);
            if records.len() >= BYTES_A_TURN {
                break;
            }
        }
        let is_done = part.queues.is_empty();
        part.gathering.add(records, false);
        if !is_done {
            self.checkpoint = Some(part);
        }
        !is_done
    }
}
