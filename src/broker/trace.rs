//! The firehose (EV-2): in a vhost that is traced, a copy of each publish and of each delivery goes to
//! `amq.rabbitmq.trace`, with what is known of it in the headers.

use super::client::Client;
use super::event::{ChannelKey, Delivery, Event, Outcome};
use super::event_exchange::own_message;
use super::exchange::Routable;
use super::message::{Body, Message};
use super::route::{Found, Targets};
use crate::wire::{Properties, RawTable, Table, Value};

/// Its name; every vhost has it.
pub(super) const TRACE_EXCHANGE: &str = "amq.rabbitmq.trace";

impl Client {
    /// A publish that was routed; copies themselves are not traced.
    pub(super) fn trace_publish(&mut self, channel: ChannelKey, message: &Message, keys: &[&str], found: &Found) {
        let exchange = message.exchange();
        if exchange == TRACE_EXCHANGE {
            return;
        }
        let queues = found.queues.iter().map(|queue| Value::from(&*queue.name)).collect();
        self.trace(
            &format!("publish.{exchange}"),
            channel,
            message,
            texts(keys.iter().copied()),
            ("routed_queues", Value::Array(queues)),
        );
    }

    /// What is delivered among these events, to a consumer or a get.
    pub(super) fn trace_deliveries(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Deliver(delivery) => self.trace_delivery(delivery),
                Event::Done { result: Ok(Outcome::Got(Some(got))), .. } => self.trace_delivery(&got.delivery),
                _ => {}
            }
        }
    }

    fn trace_delivery(&mut self, delivery: &Delivery) {
        let Some(queue) = self.queue_name(delivery.source.queue) else {
            return;
        };
        let message = &delivery.message;
        if message.exchange() == TRACE_EXCHANGE {
            return;
        }
        let key = message.routing_key();
        let redelivered = Value::I32(delivery.redelivered.into());
        self.trace(
            &format!("deliver.{queue}"),
            delivery.channel,
            message,
            texts([&*key].into_iter()),
            ("redelivered", redelivered),
        );
    }

    fn trace(&mut self, key: &str, channel: ChannelKey, message: &Message, keys: Value, more: (&'static str, Value)) {
        let Some(exchange) = self.traced_vhost().exchange(TRACE_EXCHANGE) else {
            return;
        };
        let mut headers = Table::from_iter([
            ("exchange_name", Value::from(&*message.exchange())),
            ("routing_keys", keys),
            ("properties", Value::Table(readable(message))),
            ("vhost", self.vhost().into()),
            ("user", self.user().name.as_str().into()),
            ("connection", self.connection_name().as_str().into()),
            ("channel", Value::I32(channel.number.into())),
            more,
        ]);
        headers.sort();
        let mut encoded = Vec::new();
        headers.encode_bare(&mut encoded);
        let properties = Properties { headers: Some(RawTable(&encoded)), ..Properties::default() };
        let body = match message.body_shared() {
            Some(shared) => Body::Large(shared.clone()),
            None => Body::Small(message.body()),
        };
        let copy = own_message(TRACE_EXCHANGE, key, &properties, body);
        let keys = [key];
        let vhost = self.traced_vhost().clone();
        let found = vhost.route(&exchange, &Routable { keys: &keys, properties: &properties }, &|| 0);
        self.push_own(Targets::new(&vhost, &found, &keys), copy);
    }
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    Value::Array(texts.map(Value::from).collect())
}

/// The properties under their names; numbers have 32 bits, also the timestamp.
fn readable(message: &Message) -> Table {
    let mut table = Table::default();
    let Ok(properties) = Properties::decode(message.properties()) else {
        return table;
    };
    let texts = [
        ("content_type", properties.content_type),
        ("content_encoding", properties.content_encoding),
        ("correlation_id", properties.correlation_id),
        ("reply_to", properties.reply_to),
        ("expiration", properties.expiration),
        ("message_id", properties.message_id),
        ("type", properties.kind),
        ("user_id", properties.user_id),
        ("app_id", properties.app_id),
        ("cluster_id", properties.cluster_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            table.push(name, Value::LongString(text.to_vec()));
        }
    }
    if let Some(headers) = properties.headers.and_then(|headers| headers.parse().ok()) {
        table.push("headers", Value::Table(headers));
    }
    let numbers = [
        ("delivery_mode", properties.delivery_mode.map(u64::from)),
        ("priority", properties.priority.map(u64::from)),
        ("timestamp", properties.timestamp),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            table.push(name, i32::try_from(number).map_or(Value::I64(number as i64), Value::I32));
        }
    }
    table.sort();
    table
}
