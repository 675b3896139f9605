//! Settling deliveries, at once or in a transaction.

use super::{Channel, Mode, Request, Surroundings, not_implemented};
use crate::amqp::reply::Fault;
use crate::amqp::tx::{Commit, Tx};
use crate::amqp::unacked::Held;
use crate::broker::{Settlement, Source};
use crate::wire::{self, Method, ReplyCode};

impl Channel {
    pub(super) fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        how: Settlement,
        ids: (u16, u16),
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let unknown = || Fault::channel(ReplyCode::PreconditionFailed, ids, format!("unknown delivery tag {tag}"));
        let taken = self.unacked.take(tag, multiple).ok_or_else(unknown)?;
        if let Mode::Tx(tx) = &mut self.mode {
            tx.settle(taken, how);
            return Ok(());
        }
        self.settle_all(taken.iter().map(|(_, held)| held), how, around);
        Ok(())
    }

    /// Runs of one owner go as one range.
    fn settle_all<'h>(&self, held: impl Iterator<Item = &'h Held>, how: Settlement, around: &mut Surroundings<'_>) {
        let mut run: Option<(Source, u64)> = None;
        let mut counted = 0;
        for held in held {
            let source = held.source;
            counted += u32::from(held.counted);
            match &mut run {
                Some((first, last))
                    if first.queue == source.queue && first.owner == source.owner && source.number == *last + 1 =>
                {
                    *last += 1;
                }
                run => {
                    if let Some((first, last)) = run.replace((source, source.number)) {
                        around.client.settle(first.queue, first.owner, first.number, last, how);
                    }
                }
            }
        }
        if let Some((first, last)) = run {
            around.client.settle(first.queue, first.owner, first.number, last, how);
        }
        self.release(counted, around);
    }

    /// Makes room in the channel-wide prefetch.
    fn release(&self, counted: u32, around: &mut Surroundings<'_>) {
        if counted > 0 {
            self.limiter.release(counted);
            around.client.resume(self.key);
        }
    }

    pub(super) fn recover(
        &mut self,
        requeue: bool,
        ids: (u16, u16),
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        if !requeue {
            return Err(not_implemented(ids, "requeue=false"));
        }
        let taken = self.unacked.take(0, true).unwrap_or_default();
        self.settle_all(taken.iter().map(|(_, held)| held), Settlement::Nack { requeue: true }, around);
        Ok(())
    }

    // --- transactions ---

    pub(super) fn tx_select(&mut self, ids: (u16, u16), around: &mut Surroundings<'_>) -> Result<(), Fault> {
        match self.mode {
            Mode::Confirm(_) => {
                let text = "cannot switch from confirm to tx mode";
                return Err(Fault::channel(ReplyCode::PreconditionFailed, ids, text));
            }
            Mode::Tx(_) => {}
            Mode::Plain => self.mode = Mode::Tx(Tx::default()),
        }
        self.write(around, &Method::TxSelectOk {})
    }

    pub(super) fn tx_commit(&mut self, ids: (u16, u16), around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let Mode::Tx(tx) = &mut self.mode else {
            return Err(not_transactional(ids));
        };
        let Commit { publishes, returned, settlements, counted } = tx.take_commit();
        // TX-2: what goes nowhere is returned now, before commit-ok.
        for message in returned {
            let number = self.key.number;
            let code = ReplyCode::NoRoute;
            around.out.frames(|out| {
                wire::write_return(out, number, code as u16, code.constant_name(), message.address());
            });
            around.out.content(number, &message, around.frame_max);
        }
        self.release(counted, around);
        self.request(ids, Request::Commit, around, |client, reply| Ok(client.commit(reply, publishes, settlements)))
    }

    pub(super) fn committed(&mut self, all_accepted: bool, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        if !all_accepted {
            return Err(Fault::channel(ReplyCode::PreconditionFailed, (90, 20), "partial tx completion"));
        }
        self.write(around, &Method::TxCommitOk {})
    }

    pub(super) fn tx_rollback(&mut self, ids: (u16, u16), around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let Mode::Tx(tx) = &mut self.mode else {
            return Err(not_transactional(ids));
        };
        let taken = tx.take_rollback();
        self.unacked.restore(taken);
        self.write(around, &Method::TxRollbackOk {})
    }
}

fn not_transactional(ids: (u16, u16)) -> Fault {
    Fault::channel(ReplyCode::PreconditionFailed, ids, "channel is not transactional")
}
