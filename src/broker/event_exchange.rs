//! `amq.rabbitmq.event` (EV-1): each event is a message without a body, whose key says what has happened and whose
//! headers say to what.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::events::Sink;
use super::exchange::{ExchangeType, Routable};
use super::inbox::Op;
use super::message::{Body, Facts, Message};
use super::vhost::{Exchange, Vhost};
use super::{Broker, Shared};
use crate::wire::{Properties, RawTable, Table, Value};

/// Its name.
pub(super) const EVENT_EXCHANGE: &str = "amq.rabbitmq.event";
/// The vhost that has it.
pub(super) const EVENT_VHOST: &str = "/";

/// Puts events into the exchange. It does not keep the broker alive.
struct EventExchange {
    broker: Weak<Shared>,
    vhost: Weak<Vhost>,
    exchange: Weak<Exchange>,
}

impl Sink for EventExchange {
    fn is_wanted(&self) -> bool {
        let exchange = self.exchange.upgrade();
        exchange.is_some_and(|it| !it.bindings.read().unwrap_or_else(PoisonError::into_inner).is_empty())
    }

    fn take(&self, key: &'static str, mut headers: Table) {
        let (Some(broker), Some(vhost), Some(exchange)) =
            (self.broker.upgrade(), self.vhost.upgrade(), self.exchange.upgrade())
        else {
            return;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        headers.insert("timestamp_in_ms", Value::I64(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)));
        headers.sort();
        let mut encoded = Vec::new();
        headers.encode_bare(&mut encoded);
        let properties = Properties {
            headers: Some(RawTable(&encoded)),
            delivery_mode: Some(2),
            timestamp: Some(now.as_secs()),
            ..Properties::default()
        };
        Broker(broker).publish_own(&vhost, &exchange, key, &properties, Body::Small(&[]));
    }
}

impl Broker {
    /// The exchange for events, in the vhost that was just made, if it is the one for it.
    pub(super) fn add_event_exchange(&self, vhost: &Arc<Vhost>) {
        if **vhost.name() != *EVENT_VHOST {
            return;
        }
        let Some(exchange) = vhost.add_internal_exchange(EVENT_EXCHANGE, ExchangeType::Topic) else {
            return;
        };
        self.0.events.set_sink(Box::new(EventExchange {
            broker: Arc::downgrade(&self.0),
            vhost: Arc::downgrade(vhost),
            exchange: Arc::downgrade(&exchange),
        }));
    }

    /// Publishes a message of the broker's own. Nobody waits for it to arrive.
    pub(super) fn publish_own(
        &self,
        vhost: &Arc<Vhost>,
        exchange: &Arc<Exchange>,
        key: &str,
        properties: &Properties<'_>,
        body: Body<'_>,
    ) {
        let message = own_message(&exchange.name, key, properties, body);
        let keys = [key];
        let routable = Routable { keys: &keys, properties };
        for queue in vhost.route(exchange, &routable, &|| self.clock_ms(Instant::now())).queues {
            let publish = Op::Publish { queue: queue.key.id, message: message.clone(), by: None };
            self.lane(queue.key.lane).send(self.system_mailbox(), vec![publish], message.memory_bytes());
        }
    }
}

/// A message of the broker's own; a name or key that is too long for the wire is cut.
pub(super) fn own_message(exchange: &str, key: &str, properties: &Properties<'_>, body: Body<'_>) -> Message {
    let mut address = Vec::new();
    for part in [exchange, key] {
        let part = &part.as_bytes()[..part.len().min(255)];
        address.push(part.len() as u8);
        address.extend_from_slice(part);
    }
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    let facts = Facts { persistent: properties.delivery_mode == Some(2), ..Facts::default() };
    Message::new(&address, &raw, body, facts, &mut Vec::new())
}
