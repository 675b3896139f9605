//! Dead letters that the queue still has something of: at most once, their place in the log until they are in the log
//! where they go; at least once (DX-11), all of them until every queue has taken them.

use std::collections::{BTreeMap, VecDeque};

use super::Queue;
use super::entry::{Entry, NEVER};
use super::settings::QueueSettings;
use crate::broker::effects::{DeadLetter, Effects, Remains};
use crate::broker::event::QueueId;
use crate::broker::message::Message;
use crate::broker::receipts::{Reception, Sent};
use crate::broker::reports::DeathStrategy;

/// At least once: so many are on their way at a time, as in RabbitMQ.
const ON_THE_WAY_MAX: usize = 32;

/// What nobody took is tried again after this time, and then after twice as long each time.
const AGAIN_MS: u64 = 1000;

/// RabbitMQ's time for a dead letter that nobody took.
const AGAIN_MS_MAX: u64 = 180_000;

/// Why a message left its queue without being acked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// basic.reject or basic.nack without requeue.
    Rejected,
    /// Its time to live ran out.
    Expired,
    /// The queue was full.
    MaxLength,
    /// Returned too often.
    DeliveryLimit,
}

impl Death {
    pub(in crate::broker) const COUNT: usize = 4;

    /// The reason in `x-death`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A dead letter on its way, at least once.
#[derive(Debug)]
struct OnTheWay {
    entry: Entry,
    death: Death,
    /// Queues of other lanes that have not answered.
    awaited: usize,
    /// Queues that have it.
    taken: Vec<QueueId>,
    /// An exchange holds it back, and sends it on by itself.
    is_held: bool,
    /// Some queue is full.
    refused: bool,
    tries: u32,
    /// When to try again; [`NEVER`] while answers are awaited.
    again_ms: u64,
}

impl OnTheWay {
    fn has_arrived(&self) -> bool {
        !self.refused && (self.is_held || !self.taken.is_empty())
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// At most once: number, and how many queues of other lanes have not answered.
    leaving: BTreeMap<u64, (Entry, usize)>,
    /// At least once: to be sent when others have arrived.
    waiting: VecDeque<(Entry, Death)>,
    on_the_way: BTreeMap<u64, OnTheWay>,
    /// Sum of the body lengths of those that go at least once.
    body_bytes: u64,
}

impl Letters {
    /// Those that go at least once.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.on_the_way.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.len() == 0
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// All that the log may know.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let leaving = self.leaving.values().map(|(entry, _)| entry);
        let waiting = self.waiting.iter().map(|(entry, _)| entry);
        leaving.chain(waiting).chain(self.on_the_way.values().map(|letter| &letter.entry))
    }

    /// When to try one again.
    pub(super) fn next_ms(&self) -> u64 {
        self.on_the_way.values().map(|letter| letter.again_ms).min().unwrap_or(NEVER)
    }
}

impl Queue {
    /// A message is given up, for the dead-letter exchange if there is one.
    pub(super) fn dead_letter(&mut self, entry: Entry, death: Death, fx: &mut Effects) {
        self.duplicates.remove(&entry.message);
        self.count_death(death, fx);
        if self.settings.dead_letter.is_none() {
            self.gone(&entry, fx);
        } else if self.settings.dead_letters_at_least_once {
            let letters = &mut self.aside().letters;
            letters.body_bytes += entry.message.body().len() as u64;
            letters.waiting.push_back((entry, death));
            self.send_letters(fx);
        } else {
            let message = entry.message.clone();
            let is_kept = fx.changes.are_kept && self.keeps(&message);
            self.bury(message, death, if is_kept { Remains::Place(entry) } else { Remains::Nothing }, fx);
        }
    }

    fn count_death(&self, death: Death, fx: &mut Effects) {
        let strategy = match &self.settings.dead_letter {
            None => DeathStrategy::Disabled,
            Some(_) if self.settings.dead_letters_at_least_once => DeathStrategy::AtLeastOnce,
            Some(_) => DeathStrategy::AtMostOnce,
        };
        fx.deaths.get_or_insert_default().count(self.options().queue_type, strategy, death);
    }

    /// A publish is refused, and goes to the dead-letter exchange.
    pub(super) fn bury_refused(&mut self, message: Message, fx: &mut Effects) {
        self.duplicates.remove(&message);
        self.count_death(Death::MaxLength, fx);
        self.bury(message, Death::MaxLength, Remains::Nothing, fx);
    }

    /// The message goes to the dead-letter exchange when the operation is done.
    pub(super) fn bury(&self, message: Message, death: Death, remains: Remains, fx: &mut Effects) {
        if let Some(target) = &self.settings.dead_letter {
            fx.dead.push(DeadLetter { queue: self.handle.clone(), target: target.clone(), message, death, remains });
        }
    }

    /// Sends what has waited for others to arrive.
    fn send_letters(&mut self, fx: &mut Effects) {
        let Some(aside) = &mut self.aside else { return };
        let mut sent = Vec::new();
        let letters = &mut aside.letters;
        while letters.on_the_way.len() < ON_THE_WAY_MAX
            && let Some((entry, death)) = letters.waiting.pop_front()
        {
            sent.push((entry.seq, entry.message.clone(), death));
            let letter = OnTheWay {
                entry,
                death,
                awaited: 0,
                taken: Vec::new(),
                is_held: false,
                refused: false,
                tries: 0,
                again_ms: NEVER,
            };
            letters.on_the_way.insert(letter.entry.seq, letter);
        }
        for (seq, message, death) in sent {
            self.bury(message, death, Remains::All { seq, taken: Vec::new(), is_held: false }, fx);
        }
    }

    /// Sends those again whose time has come, but not to queues that have them.
    pub(super) fn send_letters_again(&mut self, now_ms: u64, fx: &mut Effects) {
        let Some(aside) = &mut self.aside else { return };
        let mut again = Vec::new();
        for (seq, letter) in &mut aside.letters.on_the_way {
            if letter.again_ms <= now_ms {
                (letter.again_ms, letter.refused) = (NEVER, false);
                let remains = Remains::All { seq: *seq, taken: letter.taken.clone(), is_held: letter.is_held };
                again.push((letter.entry.message.clone(), letter.death, remains));
            }
        }
        for (message, death, remains) in again {
            self.bury(message, death, remains, fx);
        }
    }

    /// A dead letter was sent.
    pub(in crate::broker) fn buried(&mut self, remains: Remains, sent: Sent, now_ms: u64, fx: &mut Effects) {
        match remains {
            Remains::Nothing => {}
            Remains::Place(entry) if sent.awaited == 0 => self.gone(&entry, fx),
            Remains::Place(entry) => {
                self.aside().letters.leaving.insert(entry.seq, (entry, sent.awaited));
            }
            Remains::All { seq, .. } => {
                let Some(letter) = self.aside().letters.on_the_way.get_mut(&seq) else { return };
                letter.awaited += sent.awaited;
                letter.taken.extend(sent.taken);
                letter.refused |= sent.refused;
                letter.is_held |= sent.is_held;
                self.conclude(seq, now_ms, fx);
            }
        }
    }

    /// A queue of another lane has answered for a dead letter. One that is no longer here was purged, or dropped when the
    /// strategy changed.
    pub(in crate::broker) fn received(
        &mut self,
        seq: u64,
        by: QueueId,
        reception: Reception,
        now_ms: u64,
        fx: &mut Effects,
    ) {
        let Some(aside) = &mut self.aside else { return };
        if let Some((_, awaited)) = aside.letters.leaving.get_mut(&seq) {
            *awaited -= 1;
            if *awaited == 0
                && let Some((entry, _)) = aside.letters.leaving.remove(&seq)
            {
                self.gone(&entry, fx);
                self.aside_shrank();
            }
        } else if let Some(letter) = aside.letters.on_the_way.get_mut(&seq) {
            letter.awaited -= 1;
            match reception {
                Reception::Taken => letter.taken.push(by),
                Reception::Refused => letter.refused = true,
                Reception::Gone => {}
            }
            self.conclude(seq, now_ms, fx);
        }
    }

    /// Looks whether a dead letter has arrived everywhere, once all have answered.
    fn conclude(&mut self, seq: u64, now_ms: u64, fx: &mut Effects) {
        let letters = &mut self.aside().letters;
        let Some(letter) = letters.on_the_way.get_mut(&seq) else { return };
        if letter.awaited > 0 {
            return;
        }
        if !letter.has_arrived() {
            letter.again_ms = now_ms + (AGAIN_MS << letter.tries.min(16)).min(AGAIN_MS_MAX);
            letter.tries += 1;
            return self.set_timer(fx);
        }
        if let Some(letter) = letters.on_the_way.remove(&seq) {
            letters.body_bytes -= letter.entry.message.body().len() as u64;
            fx.deaths.get_or_insert_default().confirmed += 1;
            self.gone(&letter.entry, fx);
        }
        self.send_letters(fx);
        self.aside_shrank();
    }

    /// Dead letters change with the settings: those that were to arrive at least once are dropped if that is over, as in
    /// RabbitMQ, and those that nobody took try their new target at once.
    pub(super) fn letters_change(&mut self, new: &QueueSettings, now_ms: u64, fx: &mut Effects) {
        if !new.dead_letters_at_least_once {
            self.drop_letters(fx);
        } else if self.settings.dead_letter != new.dead_letter
            && let Some(aside) = &mut self.aside
        {
            for letter in aside.letters.on_the_way.values_mut().filter(|letter| letter.again_ms != NEVER) {
                letter.again_ms = now_ms;
            }
        }
    }

    /// Drops those that go at least once.
    pub(super) fn drop_letters(&mut self, fx: &mut Effects) {
        let Some(aside) = &mut self.aside else { return };
        let letters = &mut aside.letters;
        letters.body_bytes = 0;
        let waiting = std::mem::take(&mut letters.waiting).into_iter().map(|(entry, _)| entry);
        let on_the_way = std::mem::take(&mut letters.on_the_way).into_values().map(|letter| letter.entry);
        for entry in on_the_way.chain(waiting) {
            self.gone(&entry, fx);
        }
        self.aside_shrank();
    }
}
