//! Binding to an exchange that has kept its last messages: the new destination gets them (XT-9).

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::Broker;
use super::exchange::Routable;
use super::inbox::Op;
use super::message::Message;
use super::refusal::Refusal;
use super::route::Targets;
use super::vhost::{Destination, Exchange, Vhost};
use crate::wire::{Properties, Table};

impl Broker {
    /// Binds, and hands on what the source has kept if the binding is new.
    pub(super) fn bind(
        &self,
        vhost: &Arc<Vhost>,
        source: &Arc<Exchange>,
        destination: &Destination,
        key: &str,
        arguments: &Table,
        by: &str,
    ) -> Result<(), Refusal> {
        if !vhost.bind(source, destination, key, arguments, by)? {
            return Ok(());
        }
        let Some(history) = &source.history else { return Ok(()) };
        let messages = history.lock().unwrap_or_else(PoisonError::into_inner).messages();
        for message in messages {
            match destination {
                Destination::Queue(queue) => self.send(&Targets::One(queue.key), &message),
                Destination::Exchange(name) => {
                    if let Some(exchange) = vhost.exchange(name) {
                        self.route_again(vhost, &exchange, &message);
                    }
                }
            }
        }
        Ok(())
    }

    fn route_again(&self, vhost: &Arc<Vhost>, exchange: &Arc<Exchange>, message: &Message) {
        let Ok(properties) = Properties::decode(message.properties()) else { return };
        let own_key = message.routing_key();
        let more = properties.headers.and_then(|headers| headers.get(b"CC")).and_then(|value| value.array());
        let more: Vec<String> = more
            .into_iter()
            .flatten()
            .filter_map(|key| Some(String::from_utf8_lossy(key.longstr()?).into_owned()))
            .collect();
        let mut keys = vec![&*own_key];
        keys.extend(more.iter().map(String::as_str));
        let now_ms = || self.clock_ms(Instant::now());
        let found = vhost.route(exchange, &Routable { keys: &keys, properties: &properties }, &now_ms);
        self.send(&Targets::new(vhost, &found, &keys), message);
    }

    /// Sends a message that has been sent before, in the broker's own name.
    fn send(&self, targets: &Targets, message: &Message) {
        self.send_once(targets, &message.shared_anew(targets.more()));
    }

    fn send_once(&self, targets: &Targets, message: &Message) {
        let send =
            |lane, operation| self.lane(lane).send(self.system_mailbox(), vec![operation], message.memory_bytes());
        match targets {
            Targets::Nowhere | Targets::Reply(_) => {}
            Targets::One(queue) => {
                send(queue.lane, Op::Publish { queue: queue.id, message: message.clone(), by: None });
            }
            Targets::Many(lanes) => {
                for targets in lanes.iter() {
                    let queues = targets.queues.clone();
                    send(targets.lane, Op::PublishMany { queues, message: message.clone(), by: None });
                }
            }
            Targets::Detour(detour) => {
                for exchange in &detour.remembering {
                    exchange.remember(message);
                }
                for hold in &detour.held {
                    let lane = self.lane_of_exchange(&hold.exchange);
                    send(lane, Op::Hold { hold: Box::new(hold.clone()), message: message.clone(), confirm: None });
                }
                self.send_once(&detour.queues, message);
                let lanes = detour.queues.lanes_of_queues();
                for admission in &detour.admitted {
                    for lane in &lanes {
                        send(*lane, Op::Note { admission: admission.clone(), parts: lanes.len() as u16 });
                    }
                }
            }
        }
    }
}
