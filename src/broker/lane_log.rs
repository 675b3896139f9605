//! A lane's dealings with the log and the segments: what is written down at the end of an operation, and what is moved
//! between memory and disk.

use super::changes::Back;
use super::dedup::{self, Admission};
use super::event::QueueId;
use super::inbox::Op;
use super::kept;
use super::lane::{Lane, WaitingGet};
use super::message::{Logged, Message, Sharing};
use super::queue::{Load, Loaded, Published, PublisherKey};
use crate::replicate::{Place, Record, Records};

impl Lane {
    /// A queue that is gone has no say: the message counts as accepted (PC-6).
    #[inline]
    pub(super) fn publish(&mut self, id: QueueId, message: Message, by: Option<PublisherKey>, now_ms: u64) -> bool {
        let Some(queue) = self.queues.get_mut(&id) else { return true };
        self.publishing.note(queue, by);
        if !(self.fx.changes.are_kept && queue.keeps(&message)) {
            return queue.publish(message, now_ms, &mut self.fx) != Published::Refused;
        }
        let published = queue.publish(message.clone(), now_ms, &mut self.fx);
        self.note_place(id, &message, published);
        self.write_message(&message);
        published != Published::Refused
    }

    /// Every queue gets it, whatever the others say. The log gets it once.
    pub(super) fn publish_many(
        &mut self,
        queues: &[QueueId],
        message: &Message,
        by: Option<PublisherKey>,
        now_ms: u64,
    ) -> bool {
        let mut accepted = true;
        for id in queues {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            self.publishing.note(queue, by);
            let is_kept = self.fx.changes.are_kept && queue.keeps(message);
            let published = queue.publish(message.clone(), now_ms, &mut self.fx);
            if is_kept {
                self.note_place(*id, message, published);
            }
            accepted &= published != Published::Refused;
        }
        self.write_message(message);
        accepted
    }

    /// The log is to know of some of this.
    pub(super) fn keeps_of(&self, operations: &[Op]) -> bool {
        let keeps = |id: &QueueId, message| self.queues.get(id).is_some_and(|queue| queue.keeps(message));
        operations.iter().any(|operation| match operation {
            Op::Publish { queue, message, .. } => keeps(queue, message),
            Op::PublishMany { queues, message, .. } => queues.iter().any(|queue| keeps(queue, message)),
            Op::Hold { hold, .. } => hold.exchange.number.is_some(),
            Op::Note { .. } => true,
            Op::Settle { queue, .. } => self.queues.get(queue).is_some_and(|queue| queue.handle().options.durable),
            _ => false,
        })
    }

    /// Notes where a message was put, if it is there still.
    #[inline]
    fn note_place(&mut self, id: QueueId, message: &Message, published: Published) {
        if let Published::Taken { seq, expires_ms } = published {
            if !self.fx.changes.was_removed(id, seq) {
                self.places.push(Place { queue: id.0, seq, expires_ms });
            }
            if message.facts().is_numbered {
                self.numbered.push(id.0);
            }
        }
    }

    /// At the places that were noted; with how far its producer has come, which is to be known when it is gone.
    #[inline]
    fn write_message(&mut self, message: &Message) {
        if !self.places.is_empty() {
            let sharing = message.sharing().filter(|sharing| sharing.writers > 1);
            self.write_places(message, sharing);
        }
        if !self.numbered.is_empty() {
            self.write_number(message);
        }
    }

    /// A message that an exchange holds back. What it shares it shares with queues.
    pub(super) fn write_held(&mut self, place: Place, message: &Message) {
        self.places.push(place);
        self.write_places(message, None);
        if message.facts().is_numbered {
            self.numbered.push(place.queue);
            self.write_number(message);
        }
    }

    /// What an exchange is to know of the message before.
    pub(super) fn note_admission(&mut self, admission: &Admission, parts: u16) {
        if self.fx.changes.are_kept {
            let noted = admission.note(parts, |record| self.replicator.append(record));
            self.appended = noted.unwrap_or(self.appended);
        }
    }

    fn write_number(&mut self, message: &Message) {
        dedup::note_of(message, |value, key| {
            for queue in self.numbered.drain(..) {
                self.appended = self.replicator.append(Record::Note { queue, parts: 1, value, key });
            }
        });
    }

    /// Of several records only the first has the message. Whoever waits for it is told when all are durable.
    fn write_places(&mut self, message: &Message, sharing: Option<&Sharing>) {
        let logged = sharing.map(|sharing| (self.logged(sharing), sharing.writers));
        let (places, hidden) = (&self.places, &mut self.hidden);
        let record = match logged {
            Some(((Logged { id, .. }, true), records)) => {
                Record::Shared { id, records, places, message: kept::bytes(message, hidden) }
            }
            Some(((Logged { id, checkpoints }, false), _)) if checkpoints == self.checkpoints => {
                Record::Also { id, places }
            }
            _ => Record::Enqueue { places, message: kept::bytes(message, hidden) },
        };
        self.appended = self.replicator.append(record);
        self.places.clear();
    }

    /// How the log speaks of a message; true: for the first time.
    fn logged(&mut self, sharing: &Sharing) -> (Logged, bool) {
        let mut is_first = false;
        let logged = sharing.logged.get_or_init(|| {
            is_first = true;
            self.shared_messages += 1;
            // Unlike those of other lanes.
            let id = u64::from(self.index()) << 48 | self.shared_messages;
            Logged { id, checkpoints: self.checkpoints }
        });
        (*logged, is_first)
    }

    /// What became of messages that the log knows. Behind the messages of the same operation: a dead letter is in the
    /// log before its original is gone from it.
    #[inline]
    pub(super) fn write_changes(&mut self) {
        if !self.fx.changes.is_empty() | !self.fx.given_up.is_empty() {
            self.write_all_changes();
        }
    }

    fn write_all_changes(&mut self) {
        let Self { fx, replicator, .. } = self;
        for run in fx.changes.removed.drain(..) {
            replicator.append(Record::Remove { queue: run.queue.0, first: run.first, last: run.last });
        }
        for back in fx.changes.returned.drain(..) {
            let Back { queue, seq, deliveries, failures } = back;
            replicator.append(Record::Return { queue: queue.0, seq, deliveries, failures });
        }
        for (queue, up_to) in fx.changes.delivered.drain(..) {
            replicator.append(Record::Deliver { queue: queue.0, up_to });
        }
        if let Some(segments) = replicator.segments() {
            fx.given_up.drain(..).for_each(|place| segments.give_up(place));
        }
    }

    /// By number; exchanges that hold messages are among them.
    pub(super) fn durable_queues(&self) -> Vec<QueueId> {
        let durable = self.queues.iter().filter(|(_, queue)| queue.handle().options.durable);
        let mut ids: Vec<QueueId> = durable.map(|(id, _)| *id).chain(self.backlogs.numbers()).collect();
        // A lane does the same whenever the same happens: simulations rely on it.
        ids.sort_unstable();
        ids
    }

    pub(super) fn checkpoint_queue(&mut self, id: QueueId, records: &mut Records) {
        let Some(segments) = self.replicator.segments() else { return };
        match self.queues.get_mut(&id) {
            Some(queue) => queue.checkpoint(segments, records),
            None => self.backlogs.checkpoint(id, segments, records),
        }
    }

    // --- paging ---

    /// Messages that a queue wanted are here.
    pub(super) fn loaded(&mut self, load: &Load, messages: Loaded, now_ms: u64) {
        let Some(queue) = self.queues.get_mut(&load.queue) else { return };
        let lost = queue.loaded(load, messages, now_ms, &mut self.fx);
        if lost > 0 {
            let name = &queue.handle().name;
            tracing::error!(queue = %name, lost, "messages on disk cannot be read: they are lost");
        }
        self.follow_up(now_ms);
        let (ready, waiting) = std::mem::take(&mut self.waiting_gets)
            .into_iter()
            .partition(|get: &WaitingGet| get.handle.key.id == load.queue);
        self.waiting_gets = waiting;
        let ready: Vec<WaitingGet> = ready;
        for get in ready {
            self.get(get, now_ms);
        }
    }
}
