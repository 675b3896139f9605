//! What an exchange of type `x-recent-history` keeps of its messages, for queues that are bound later (XT-9).

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::Broker;
use super::exchange::Routable;
use super::lane::Op;
use super::message::Message;
use super::refusal::Refusal;
use super::route::Targets;
use super::vhost::{Destination, Exchange, Vhost};
use crate::wire::{Properties, RawTable, Table, Value};

/// Bytes that the messages of one exchange may hold: beyond, the oldest go although the length would allow them.
const BYTES_MAX: usize = 64 << 20;

/// The last messages of one exchange, the newest last.
#[derive(Debug)]
pub(super) struct RecentHistory {
    length_max: usize,
    messages: VecDeque<Message>,
    bytes: usize,
}

impl RecentHistory {
    /// Keeps the last `length_max` messages.
    pub(super) fn new(length_max: usize) -> Self {
        Self { length_max, messages: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a message, and forgets those there is no room for.
    pub(super) fn add(&mut self, message: Message) {
        self.bytes += message.memory_bytes();
        self.messages.push_back(message);
        while self.messages.len() > self.length_max || (self.bytes > BYTES_MAX && self.messages.len() > 1) {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= oldest.memory_bytes();
            }
        }
    }

    /// All of them, the oldest first.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.messages.iter().cloned().collect()
    }
}

/// The publisher wants the message not to be kept.
pub(super) fn is_excluded(headers: Option<RawTable<'_>>) -> bool {
    let value = headers.and_then(|headers| headers.get(b"x-recent-history-no-store"));
    value.and_then(|value| value.to_value().ok()) == Some(Value::Bool(true))
}

impl Broker {
    /// Binds, and hands on what the source has kept if the binding is new.
    pub(super) fn bind(
        &self,
        vhost: &Arc<Vhost>,
        source: &Arc<Exchange>,
        destination: &Destination,
        key: &str,
        arguments: &Table,
    ) -> Result<(), Refusal> {
        if !vhost.bind(source, destination, key, arguments)? {
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
        let now_ms = || self.clock_ms(std::time::Instant::now());
        let found = vhost.route(exchange, &Routable { keys: &keys, properties: &properties }, &now_ms);
        self.send(&Targets::new(vhost, &found, &keys), message);
    }

    /// Sends a message where it goes, in the broker's own name.
    fn send(&self, targets: &Targets, message: &Message) {
        let send =
            |lane, operation| self.lane(lane).send(self.system_mailbox(), vec![operation], message.memory_bytes());
        match targets {
            Targets::Nowhere | Targets::Reply(_) => {}
            Targets::One(queue) => {
                send(queue.lane, Op::Publish { queue: queue.id, message: message.clone(), confirm: None });
            }
            Targets::Many(lanes) => {
                for targets in lanes.iter() {
                    let queues = targets.queues.clone();
                    send(targets.lane, Op::PublishMany { queues, message: message.clone(), confirm: None });
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
                self.send(&detour.queues, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{Body, Facts};

    fn message(body: Body<'_>) -> Message {
        Message::new(b"\x01x\x01k", b"\x00\x00", body, Facts::default(), &mut Vec::new())
    }

    /// FEATURES XT-9.
    #[test]
    fn the_last_ones_are_kept_and_memory_is_bounded() {
        let mut history = RecentHistory::new(3);
        for body in [b"1", b"2", b"3", b"4"] {
            history.add(message(Body::Small(body)));
        }
        let bodies: Vec<_> = history.messages().iter().map(|message| message.body().to_vec()).collect();
        assert_eq!(bodies, [b"2", b"3", b"4"]);

        let mut history = RecentHistory::new(usize::MAX);
        for _ in 0..10 {
            history.add(message(Body::Large(vec![0; BYTES_MAX / 4].into())));
        }
        assert_eq!(history.messages().len(), 3);
        history.add(message(Body::Large(vec![0; 2 * BYTES_MAX].into())));
        assert_eq!(history.messages().len(), 1, "one is always kept");
    }
}
