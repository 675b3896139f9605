//! Publishing: plain, confirmed, or in a transaction.

use super::{State, Surroundings};
use crate::amqp::confirm::Confirms;
use crate::amqp::content::{Complete, PUBLISH_IDS};
use crate::amqp::reply::{Fault, Ids};
use crate::amqp::tx::Tx;
use crate::broker::{ChannelKey, Message, Publish, Routed};
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
    /// M-20: a publish is never waited for.
    pub(super) fn publish(&mut self, complete: &Complete<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        if complete.immediate {
            return Err(Fault::not_implemented(PUBLISH_IDS, "immediate=true"));
        }
        let (size, max) = (complete.size, around.message_size_max);
        if size > max {
            let text = format!("message size {size} is larger than configured max size {max}");
            return Err(Fault::channel(ReplyCode::PreconditionFailed, PUBLISH_IDS, text));
        }
        match &mut self.mode {
            Mode::Plain => {
                let routed = self.send(complete, None, around)?;
                if let Some(message) = &routed.returned {
                    self.return_unroutable(message, around);
                }
            }
            Mode::Confirm(confirms) => {
                let number = confirms.next();
                let routed = self.send(complete, Some(number), around)?;
                self.expect_confirm(number, &routed, around);
            }
            Mode::Tx(tx) => {
                let prepared = around.client.prepare(to_publish(self.key, complete, None));
                let prepared = prepared.map_err(|refusal| Fault::refused(&refusal, PUBLISH_IDS))?;
                tx.publish(prepared, complete.mandatory);
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        complete: &Complete<'_>,
        confirm: Option<u64>,
        around: &mut Surroundings<'_>,
    ) -> Result<Routed, Fault> {
        let routed = around.client.publish(to_publish(self.key, complete, confirm));
        routed.map_err(|refusal| Fault::refused(&refusal, PUBLISH_IDS))
    }

    fn expect_confirm(&mut self, number: u64, routed: &Routed, around: &mut Surroundings<'_>) {
        if let Some(message) = &routed.returned {
            // PC-3: the ack comes right behind its return.
            self.return_unroutable(message, around);
            around.out.frames(|out| wire::write_ack(out, self.key.number, number, false));
            return;
        }
        if let Mode::Confirm(confirms) = &mut self.mode {
            match routed.lanes {
                0 => confirms.ack(number),
                lanes => confirms.wait(number, lanes),
            }
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

fn to_publish<'c>(channel: ChannelKey, complete: &'c Complete<'_>, confirm: Option<u64>) -> Publish<'c> {
    let &Complete { address, ref exchange, ref routing_key, mandatory, properties, ref body, .. } = complete;
    Publish { channel, address, exchange, routing_key, properties, body: body.clone(), mandatory, confirm }
}
