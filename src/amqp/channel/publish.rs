//! Publishing: plain, confirmed, or in a transaction.

use super::{State, Surroundings};
use crate::amqp::confirm::Confirms;
use crate::amqp::content::{Complete, PUBLISH_IDS};
use crate::amqp::reply::{Fault, Ids};
use crate::amqp::tx::Tx;
use crate::broker::{Message, Publish, Routed};
use crate::wire::{self, Method, ReplyCode};

/// Neither, one or the other (EH-22).
#[derive(Debug, Default)]
pub(super) enum Mode {
    #[default]
    Plain,
    Confirm(Confirms),
    Tx(Box<Tx>),
}

impl State {
    /// A publish, or what waits until the user's backend has said whether it may be made.
    #[inline]
    pub(super) fn publish_or_wait(
        &mut self,
        complete: Complete<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        if !around.client.may_have_to_ask() {
            return self.publish(complete, around);
        }
        match self.publish(complete.clone(), around) {
            Err(Fault::Unanswered) => {
                self.wait_for_verdicts(around);
                self.backlog.push_publish(self.key.number, &complete);
                Ok(())
            }
            published => published,
        }
    }

    /// M-20: a publish is never waited for.
    fn publish(&mut self, complete: Complete<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        if complete.immediate {
            return Err(Fault::not_implemented(PUBLISH_IDS, "immediate=true"));
        }
        let (size, max) = (complete.size, around.message_size_max);
        if size > max {
            let text = format!("message size {size} is larger than configured max size {max}");
            return Err(Fault::channel(ReplyCode::PreconditionFailed, PUBLISH_IDS, text));
        }
        let confirm = match &mut self.mode {
            Mode::Confirm(confirms) => Some(confirms.upcoming()),
            Mode::Plain | Mode::Tx(_) => None,
        };
        let Complete { address, mandatory, properties, body, .. } = complete;
        let publish = Publish { channel: self.key, address, properties, body, mandatory, confirm };
        let refused = |refusal| Fault::refused(&refusal, PUBLISH_IDS);
        if let Mode::Tx(tx) = &mut self.mode {
            tx.publish(around.client.prepare(publish).map_err(refused)?, mandatory);
            return Ok(());
        }
        let routed = around.client.publish(publish).map_err(refused)?;
        if let Mode::Confirm(confirms) = &mut self.mode {
            confirms.count_one();
        }
        self.counters.publish += 1;
        if !routed.is_routed {
            self.unroutable.0 += u64::from(mandatory);
            self.unroutable.1 += u64::from(!mandatory);
        }
        if let Some(partners) = &mut self.partners {
            let (exchange, _) = wire::address_parts(address);
            partners.published(&String::from_utf8_lossy(exchange), routed.is_routed, mandatory, &self.mode);
        }
        if let Some(message) = &routed.returned {
            self.return_unroutable(message, around);
        }
        if let Some(number) = confirm {
            self.expect_confirm(number, &routed, around);
        }
        Ok(())
    }

    fn expect_confirm(&mut self, number: u64, routed: &Routed, around: &mut Surroundings<'_>) {
        let Mode::Confirm(confirms) = &mut self.mode else {
            return;
        };
        match (routed.lanes, &routed.returned) {
            // PC-3: the ack comes right behind its return.
            (_, Some(_)) => around.out.frames(|out| wire::write_ack(out, self.key.number, number, false)),
            (0, None) => confirms.ack(number),
            (lanes, None) => confirms.wait(number, lanes),
        }
    }

    /// PC-7.
    pub(super) fn return_unroutable(&self, message: &Message, around: &mut Surroundings<'_>) {
        let number = self.key.number;
        let code = ReplyCode::NoRoute;
        around.out.frames(|out| {
            wire::write_return(out, number, code as u16, code.constant_name(), message.address());
        });
        around.out.content(number, message, around.frame_max);
    }

    /// M-26.
    pub(super) fn confirm_select(
        &mut self,
        nowait: bool,
        ids: Ids,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        match self.mode {
            Mode::Tx(_) => {
                let text = "cannot switch from tx to confirm mode";
                return Err(Fault::channel(ReplyCode::PreconditionFailed, ids, text));
            }
            Mode::Confirm(_) => {}
            Mode::Plain => self.mode = Mode::Confirm(Confirms::default()),
        }
        self.write_unless(nowait, around, &Method::ConfirmSelectOk {})
    }
}
