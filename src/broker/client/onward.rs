//! Sending on what lay in a queue: what moving messages takes.

use super::Client;
use crate::auth::Right;
use crate::broker::event::ChannelKey;
use crate::broker::held::Publisher;
use crate::broker::message::{Body, Facts, Message};
use crate::broker::publish::Publish;
use crate::broker::refusal::Refusal;
use crate::broker::request::Prepared;
use crate::broker::route::Targets;
use crate::wire::address_parts;

/// Where a message goes on to.
#[derive(Clone, Copy, Debug)]
pub enum Onward<'a> {
    /// Into this queue and no other, whatever CC says.
    Queue(&'a str),
    /// Published to this exchange; without a key by the one it has.
    Exchange(&'a str, Option<&'a str>),
}

impl Client {
    /// Says how many lanes will confirm it under `sequence`; none: it goes nowhere, and nothing was sent.
    ///
    /// It is no resend of its producer's: its number was looked at when it first came.
    pub fn send_on(
        &mut self,
        channel: ChannelKey,
        message: &Message,
        to: Onward<'_>,
        sequence: u64,
    ) -> Result<u16, Refusal> {
        let Prepared { targets, message } = match to {
            Onward::Queue(queue) => self.prepare_for_queue(message, queue)?,
            Onward::Exchange(exchange, key) => {
                let (_, own_key) = address_parts(message.address());
                self.prepare_for_exchange(channel, message, exchange, key.map_or(own_key, str::as_bytes))?
            }
        };
        let lanes = targets.lanes();
        if lanes > 0 {
            self.published.all += 1;
            self.published.confirmable += 1;
            self.published.routed += targets.count();
            self.push_publish(targets, message, Some(Publisher { channel, sequence: Some(sequence) }));
        }
        Ok(lanes)
    }

    fn prepare_for_queue(&mut self, message: &Message, queue: &str) -> Result<Prepared, Refusal> {
        self.check_exchange(Right::Write, "")?;
        let queue = self.unlocked(self.vhost.require_queue(queue)?)?;
        let address = address("", queue.name.as_bytes());
        let facts = Facts { is_numbered: false, ..message.facts() };
        let message = message.with_properties(&address, message.properties(), facts, &message.bcc());
        Ok(Prepared { targets: Targets::One(queue.key), message })
    }

    fn prepare_for_exchange(
        &mut self,
        channel: ChannelKey,
        message: &Message,
        exchange: &str,
        routing_key: &[u8],
    ) -> Result<Prepared, Refusal> {
        let address = address(exchange, routing_key);
        let body = match message.body_shared() {
            Some(shared) => Body::Large(shared.clone()),
            None => Body::Small(message.body()),
        };
        let properties = message.properties();
        let publish = Publish { channel, address: &address, properties, body, mandatory: false, confirm: None };
        let Prepared { targets, message: prepared } = self.prepare(publish)?;
        let facts = Facts { is_numbered: false, has_died: message.facts().has_died, ..prepared.facts() };
        let message = prepared.with_properties(&address, prepared.properties(), facts, &prepared.bcc());
        Ok(Prepared { targets, message })
    }
}

/// `exchange shortstr | routing-key shortstr`, of names that fit one.
fn address(exchange: &str, routing_key: &[u8]) -> Vec<u8> {
    let mut address = Vec::with_capacity(2 + exchange.len() + routing_key.len());
    for part in [exchange.as_bytes(), routing_key] {
        address.push(part.len() as u8);
        address.extend_from_slice(part);
    }
    address
}
