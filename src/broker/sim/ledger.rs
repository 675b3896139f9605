//! What a client knows of its messages, and what may be made of that after a crash.

use std::collections::{BTreeMap, BTreeSet};

use crate::replicate::Written;

/// How the queues differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// In order of their numbers.
    Plain,
    /// First by priority, which is the number's remainder by three.
    Priorities,
    /// What was given back goes before all.
    Quorum,
    /// What is rejected goes to [`Kind::Letters`].
    Rejecting,
    /// Dead letters, which may come twice and in any order.
    Letters,
}

/// The queues, which go round the lanes.
pub(super) const QUEUES: [(&str, Kind); 7] = [
    ("a", Kind::Plain),
    ("b", Kind::Plain),
    ("c", Kind::Plain),
    ("priorities", Kind::Priorities),
    ("quorum", Kind::Quorum),
    ("letters", Kind::Letters),
    ("rejecting", Kind::Rejecting),
];
pub(super) const LETTERS: usize = 5;
pub(super) const REJECTING: usize = 6;

/// A message of a queue: it is there, or it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Sent, and nothing was said of it.
    Sent,
    /// Confirmed, or seen after a crash: it must be there.
    Kept,
    /// Purged, or its queue deleted, and no answer yet: may be there.
    Loose,
    /// Acked; `None`: no lane knows yet. It may be there.
    Acked(Option<Written>),
    /// Acked in a transaction that is not answered.
    InTransaction,
    /// Rejected: there, or a letter.
    Rejected,
    /// It must not be there.
    Gone,
}

/// A transaction that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) puts: Vec<(usize, u64)>,
    pub(super) removes: Vec<(usize, u64)>,
    /// Whatever it removes was there for sure.
    pub(super) is_certain: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) next: u64,
    pub(super) queues: [BTreeMap<u64, State>; QUEUES.len()],
    pub(super) transactions: BTreeMap<u64, Transaction>,
    /// Letters that were acked at some time.
    pub(super) letters_taken: BTreeSet<u64>,
    /// Some bits were flipped: what is lost or comes back must be told, and that is all.
    pub(super) is_damaged: bool,
}

/// What is in each queue, in the order in which it is delivered.
pub(super) type Found = [Vec<u64>; QUEUES.len()];

impl Ledger {
    pub(super) fn state(&self, queue: usize, number: u64) -> Option<State> {
        self.queues[queue].get(&number).copied()
    }

    pub(super) fn set(&mut self, queue: usize, number: u64, state: State) {
        self.queues[queue].insert(number, state);
    }

    /// The broker has answered for it.
    pub(super) fn keep(&mut self, queue: usize, number: u64) {
        if self.state(queue, number) == Some(State::Sent) {
            self.set(queue, number, State::Kept);
        }
    }

    pub(super) fn ack(&mut self, queue: usize, number: u64) {
        self.set(queue, number, State::Acked(None));
        if queue == LETTERS {
            self.letters_taken.insert(number);
        }
    }

    /// What must be there.
    pub(super) fn kept(&self, queue: usize) -> Vec<u64> {
        let kept = self.queues[queue].iter().filter(|(_, state)| **state == State::Kept);
        kept.map(|(number, _)| *number).collect()
    }

    /// Purged or deleted.
    pub(super) fn loosen(&mut self, queue: usize) {
        for state in self.queues[queue].values_mut().filter(|state| **state != State::Gone) {
            *state = State::Loose;
        }
        if queue == LETTERS {
            let letters = self.queues[LETTERS].keys();
            self.letters_taken.extend(letters);
            // What is rejected may have been there, though no client has seen it.
            let rejected = self.queues[REJECTING].iter().filter(|(_, state)| **state == State::Rejected);
            self.letters_taken.extend(rejected.map(|(number, _)| *number));
        }
        // Nothing can be said of a transaction any more that had to do with it.
        self.transactions
            .retain(|_, transaction| transaction.puts.iter().chain(&transaction.removes).all(|(of, _)| *of != queue));
    }

    /// The deleted queue is gone for good.
    pub(super) fn deleted(&mut self, queue: usize) {
        for state in self.queues[queue].values_mut().filter(|state| **state == State::Loose) {
            *state = State::Gone;
        }
    }

    /// Every lane has worked on what was sent, and what they wrote ends here.
    pub(super) fn worked(&mut self, end: Written) {
        for state in self.queues.iter_mut().flat_map(BTreeMap::values_mut) {
            if let State::Acked(None) = state {
                *state = State::Acked(Some(end));
            }
        }
    }

    /// What was written is durable.
    pub(super) fn synced(&mut self, synced: Written) {
        for (queue, messages) in self.queues.iter_mut().enumerate() {
            for state in messages.values_mut() {
                if let State::Acked(Some(at)) = state
                    && *at <= synced
                    && queue != LETTERS
                {
                    *state = State::Gone;
                }
            }
        }
    }

    pub(super) fn committed(&mut self, ticket: u64) {
        let Some(Transaction { puts, removes, .. }) = self.transactions.remove(&ticket) else { return };
        puts.into_iter().for_each(|(queue, number)| self.keep(queue, number));
        for (queue, number) in removes {
            if self.state(queue, number) == Some(State::InTransaction) {
                self.set(queue, number, State::Gone);
            }
        }
    }

    /// Whether what is there after a crash may be so.
    pub(super) fn check(&self, found: &Found) -> Result<(), String> {
        for (queue, numbers) in found.iter().enumerate() {
            let (name, kind) = QUEUES[queue];
            let there: BTreeSet<u64> = numbers.iter().copied().collect();
            if kind != Kind::Letters && there.len() != numbers.len() {
                return Err(format!("{name}: some are there twice: {numbers:?}"));
            }
            // A message whose return cannot be read comes behind those whose can.
            if !self.is_damaged {
                check_order(kind, numbers).map_err(|wrong| format!("{name}: {wrong}"))?;
            }
            for number in &there {
                match self.state(queue, *number) {
                    None if kind != Kind::Letters => return Err(format!("{name}: {number} was never sent")),
                    Some(State::Gone) if kind != Kind::Letters && !self.is_damaged => {
                        return Err(format!("{name}: {number} was gone for good, and is back"));
                    }
                    _ => {}
                }
            }
            let is_lost = |number: &u64, state: State| match state {
                State::Kept => !there.contains(number),
                State::Rejected => {
                    !there.contains(number) && !found[LETTERS].contains(number) && !self.letters_taken.contains(number)
                }
                _ => false,
            };
            let lost: Vec<u64> =
                self.queues[queue].iter().filter(|(n, state)| is_lost(n, **state)).map(|(n, _)| *n).collect();
            if !lost.is_empty() && !self.is_damaged {
                return Err(format!("{name}: {lost:?} are lost, there are {numbers:?}"));
            }
        }
        if self.is_damaged { Ok(()) } else { self.check_transactions(found) }
    }

    fn check_transactions(&self, found: &Found) -> Result<(), String> {
        for Transaction { puts, removes, .. } in self.transactions.values().filter(|one| one.is_certain) {
            let is_there = |(queue, number): &(usize, u64)| found[*queue].contains(number);
            let in_state = |state| move |(queue, number): &&(usize, u64)| self.state(*queue, *number) == Some(state);
            let mut whole = puts.iter().filter(in_state(State::Sent)).map(is_there);
            let mut gone = removes.iter().filter(in_state(State::InTransaction)).map(|at| !is_there(at));
            let Some(first) = whole.next().or_else(|| gone.next()) else { continue };
            if whole.chain(gone).any(|other| other != first) {
                return Err(format!("half of a transaction: {puts:?} put, {removes:?} removed, found {found:?}"));
            }
        }
        Ok(())
    }

    /// From here on what is found is what there is.
    pub(super) fn resolve(&mut self, found: &Found) {
        self.transactions.clear();
        for (queue, numbers) in found.iter().enumerate() {
            let there: BTreeSet<u64> = numbers.iter().copied().collect();
            for (number, state) in &mut self.queues[queue] {
                *state = if there.contains(number) { State::Kept } else { State::Gone };
            }
            self.queues[queue].extend(there.into_iter().map(|number| (number, State::Kept)));
        }
        let letters = &found[LETTERS];
        self.letters_taken.retain(|number| !letters.contains(number));
    }
}

fn check_order(kind: Kind, numbers: &[u64]) -> Result<(), String> {
    let is_sorted = match kind {
        Kind::Plain => numbers.is_sorted(),
        Kind::Priorities => numbers.is_sorted_by_key(|number| (2 - number % 3, *number)),
        Kind::Quorum | Kind::Rejecting | Kind::Letters => true,
    };
    if is_sorted { Ok(()) } else { Err(format!("out of order: {numbers:?}")) }
}
