//! What a client does with deliveries: ack, nack, reject, recover; and transactions, which put that off.

use super::publish::Mode;
use super::{Request, State, Surroundings};
use crate::amqp::reply::{Fault, Ids};
use crate::amqp::tx::{Commit, Tx};
use crate::amqp::unacked::Held;
use crate::broker::{Client, Settlement, Source};
use crate::wire::{Method, ReplyCode};

/// Settles deliveries one by one; runs of one owner go to the broker as one range.
struct Settling<'c> {
    client: &'c mut Client,
    how: Settlement,
    /// The first of a run and the number of its last.
    run: Option<(Source, u64)>,
    /// Deliveries that were counted in the channel's limiter.
    counted: u32,
}

impl<'c> Settling<'c> {
    fn new(client: &'c mut Client, how: Settlement) -> Self {
        Self { client, how, run: None, counted: 0 }
    }

    fn add(&mut self, held: Held) {
        self.counted += u32::from(held.counted);
        let source = held.source;
        match &mut self.run {
            Some((first, last))
                if (first.queue, first.owner) == (source.queue, source.owner) && source.number == *last + 1 =>
            {
                *last += 1;
            }
            _ => {
                self.end_run();
                self.run = Some((source, source.number));
            }
        }
    }

    fn end_run(&mut self) {
        if let Some((Source { queue, owner, number }, last)) = self.run.take() {
            self.client.settle(queue, owner, number, last, self.how);
        }
    }

    /// Gives the number of those that were counted.
    fn finish(mut self) -> u32 {
        self.end_run();
        self.counted
    }
}

impl State {
    /// M-23, DL-2, EH-13.
    pub(super) fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        how: Settlement,
        ids: Ids,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let is_known = match &mut self.mode {
            Mode::Tx(tx) => self.unacked.take(tag, multiple, |tag, held| tx.settle(tag, held, how)),
            Mode::Plain | Mode::Confirm(_) => {
                let mut settling = Settling::new(around.client, how);
                let before = self.unacked.len();
                // Only acks are counted.
                let mut partners = self.partners.as_mut().filter(|_| how == Settlement::Ack);
                let is_known = self.unacked.take(tag, multiple, |_, held| {
                    if let Some(partners) = &mut partners {
                        partners.queue(held.source.queue.id).ack += 1;
                    }
                    settling.add(held);
                });
                if how == Settlement::Ack {
                    self.counters.ack += (before - self.unacked.len()) as u64;
                }
                let counted = settling.finish();
                self.release(counted, around);
                is_known
            }
        };
        if is_known {
            return Ok(());
        }
        Err(Fault::channel(ReplyCode::PreconditionFailed, ids, format!("unknown delivery tag {tag}")))
    }

    /// M-24, TX-1: requeues what was not settled yet.
    pub(super) fn recover(
        &mut self,
        requeue: bool,
        answers: bool,
        ids: Ids,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        if !requeue {
            return Err(Fault::not_implemented(ids, "requeue=false"));
        }
        let mut settling = Settling::new(around.client, Settlement::Nack { requeue: true });
        self.unacked.take(0, true, |_, held| settling.add(held));
        let counted = settling.finish();
        self.release(counted, around);
        self.write_unless(!answers, around, &Method::BasicRecoverOk {})
    }

    /// Makes room in the channel-wide prefetch.
    fn release(&self, counted: u32, around: &mut Surroundings<'_>) {
        if counted > 0 {
            self.limiter.release(counted);
            around.client.resume(self.key);
        }
    }

    // --- transactions ---

    /// M-25.
    pub(super) fn tx_select(&mut self, ids: Ids, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        match self.mode {
            Mode::Confirm(_) => {
                let text = "cannot switch from confirm to tx mode";
                return Err(Fault::channel(ReplyCode::PreconditionFailed, ids, text));
            }
            Mode::Tx(_) => {}
            Mode::Plain => self.mode = Mode::Tx(Box::default()),
        }
        self.write(around, &Method::TxSelectOk {})
    }

    fn tx(&mut self, ids: Ids) -> Result<&mut Tx, Fault> {
        match &mut self.mode {
            Mode::Tx(tx) => Ok(tx),
            Mode::Plain | Mode::Confirm(_) => {
                Err(Fault::channel(ReplyCode::PreconditionFailed, ids, "channel is not transactional"))
            }
        }
    }

    /// TX-2: mandatory messages that go nowhere are returned before commit-ok.
    pub(super) fn tx_commit(&mut self, ids: Ids, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let Commit { publishes, returned, settlements, counted } = self.tx(ids)?.take_commit();
        for message in &returned {
            self.return_unroutable(message, around);
        }
        self.limiter.release(counted);
        self.request(ids, Request::Commit, around, |client, reply| Ok(client.commit(reply, publishes, settlements)))?;
        if counted > 0 {
            around.client.resume(self.key);
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, all_accepted: bool, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        if !all_accepted {
            return Err(Fault::channel(ReplyCode::PreconditionFailed, (90, 20), "partial tx completion"));
        }
        self.write(around, &Method::TxCommitOk {})
    }

    /// TX-3: nothing was published, nothing settled.
    pub(super) fn tx_rollback(&mut self, ids: Ids, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let taken = self.tx(ids)?.take_rollback();
        self.unacked.restore(taken);
        self.write(around, &Method::TxRollbackOk {})
    }
}
