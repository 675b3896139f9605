//! Definitions as the journal keeps them: what is declared durable. The way back is `recover.rs`.
//!
//! Exchanges, queues and bindings are a record each. All else an operator sets - users, permissions, vhosts, policies,
//! parameters - is small and changes rarely: it is one record, written anew by [`Broker::keep_system`].

use std::sync::PoisonError;

use super::Broker;
use super::event::QueueId;
use super::vhost::{Destination, Exchange, QueueHandle, Vhost};
use crate::replicate::{Record, Records, Written};
use crate::wire::Table;

/// What a key begins with.
pub(super) const SYSTEM: u8 = b's';
pub(super) const EXCHANGE: u8 = b'x';
pub(super) const QUEUE: u8 = b'q';
pub(super) const BINDING: u8 = b'b';

/// Flags of an exchange or a queue.
pub(super) const AUTO_DELETE: u8 = 1;
pub(super) const INTERNAL: u8 = 2;
/// The exchange has a number of its own.
pub(super) const NUMBERED: u8 = 4;

/// It is known who declared the queue: releases before did not keep that.
pub(super) const DECLARED_BY: u8 = 8;

/// What a binding leads to, in its key.
pub(super) const TO_QUEUE: u8 = 0;
pub(super) const TO_EXCHANGE: u8 = 1;

impl Vhost {
    pub(super) fn keep_exchange(&self, exchange: &Exchange) {
        if self.keeper().keeps() && is_kept(exchange) {
            let (key, value) = (exchange_key(self.name(), &exchange.name), exchange_value(exchange));
            self.keeper().write(|journal| journal.put(&key, &value));
        }
    }

    pub(super) fn forget_exchange(&self, exchange: &Exchange) {
        if is_kept(exchange) {
            let key = exchange_key(self.name(), &exchange.name);
            self.keeper().write(|journal| match exchange.number {
                None => journal.delete(&key),
                Some(number) => journal.forget(number.0, &key),
            });
        }
    }

    /// To be called before the queue has a message.
    pub(super) fn keep_queue(&self, queue: &QueueHandle) -> Option<Written> {
        if !queue.options.durable {
            return None;
        }
        self.keeper().write(|journal| journal.put(&queue_key(queue.key.id), &queue_value(queue)))
    }

    pub(super) fn forget_queue(&self, queue: &QueueHandle) {
        if queue.options.durable {
            self.keeper().write(|journal| journal.forget(queue.key.id.0, &queue_key(queue.key.id)));
        }
    }

    /// A binding is there, or is gone.
    pub(super) fn keep_binding(
        &self,
        is_there: bool,
        source: &Exchange,
        (destination, routing_key, arguments): (&Destination, &str, &Table),
    ) {
        if !source.durable || !self.keeper().keeps() {
            return;
        }
        if self.is_durable(destination) {
            let key = binding_key(self.name(), &source.name, destination, routing_key, arguments);
            self.keeper().write(|journal| if is_there { journal.put(&key, b"") } else { journal.delete(&key) });
        }
    }
}

/// Predeclared exchanges are there anyway.
fn is_kept(exchange: &Exchange) -> bool {
    exchange.durable && !exchange.name.is_empty() && !exchange.name.starts_with("amq.")
}

fn put(text: &[u8], into: &mut Vec<u8>) {
    // Names, keys and arguments came in a frame.
    into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    into.extend_from_slice(text);
}

fn exchange_key(vhost: &str, name: &str) -> Vec<u8> {
    let mut key = vec![EXCHANGE];
    put(vhost.as_bytes(), &mut key);
    put(name.as_bytes(), &mut key);
    key
}

/// `flags u8 | number u64 (if there is one) | type text | arguments`.
fn exchange_value(exchange: &Exchange) -> Vec<u8> {
    let auto_delete = if exchange.auto_delete { AUTO_DELETE } else { 0 };
    let internal = if exchange.internal { INTERNAL } else { 0 };
    let numbered = if exchange.number.is_some() { NUMBERED } else { 0 };
    let mut value = vec![auto_delete | internal | numbered];
    value.extend(exchange.number.iter().flat_map(|number| number.0.to_le_bytes()));
    put(exchange.kind.as_str().as_bytes(), &mut value);
    exchange.arguments.encode_bare(&mut value);
    value
}

/// `number u64`.
pub(super) fn queue_key(id: QueueId) -> Vec<u8> {
    let mut key = vec![QUEUE];
    key.extend_from_slice(&id.0.to_le_bytes());
    key
}

/// `flags u8 | who declared it text (if that is known) | vhost text | name text | arguments`.
fn queue_value(queue: &QueueHandle) -> Vec<u8> {
    let mut value = vec![DECLARED_BY | if queue.options.auto_delete { AUTO_DELETE } else { 0 }];
    put(queue.declared_by.as_bytes(), &mut value);
    put(queue.vhost.as_bytes(), &mut value);
    put(queue.name.as_bytes(), &mut value);
    queue.options.arguments.encode_bare(&mut value);
    value
}

/// `vhost text | source text | to u8 | queue's number u64, or exchange text | routing key text | arguments`.
fn binding_key(vhost: &str, source: &str, destination: &Destination, routing_key: &str, arguments: &Table) -> Vec<u8> {
    let mut key = vec![BINDING];
    put(vhost.as_bytes(), &mut key);
    put(source.as_bytes(), &mut key);
    match destination {
        Destination::Queue(queue) => {
            key.push(TO_QUEUE);
            key.extend_from_slice(&queue.key.id.0.to_le_bytes());
        }
        Destination::Exchange(name) => {
            key.push(TO_EXCHANGE);
            put(name.as_bytes(), &mut key);
        }
    }
    put(routing_key.as_bytes(), &mut key);
    arguments.encode_bare(&mut key);
    key
}

impl Vhost {
    fn say_definitions(&self, say: &mut impl FnMut(&[u8], &[u8])) {
        for queue in self.queues().iter().filter(|queue| queue.options.durable) {
            say(&queue_key(queue.key.id), &queue_value(queue));
        }
        for exchange in self.exchanges() {
            if is_kept(&exchange) {
                say(&exchange_key(self.name(), &exchange.name), &exchange_value(&exchange));
            }
            if !exchange.durable {
                continue;
            }
            let mut bindings = Vec::new();
            exchange.each_binding(|routing_key, arguments, destination| {
                // Exchanges are looked up behind the lock.
                let key = binding_key(self.name(), &exchange.name, destination, routing_key, arguments);
                bindings.push((destination.clone(), key));
            });
            for (destination, key) in bindings {
                if self.is_durable(&destination) {
                    say(&key, b"");
                }
            }
        }
    }

    fn is_durable(&self, destination: &Destination) -> bool {
        match destination {
            // One that is just being deleted is not found. A record too many that is taken back harms nobody.
            Destination::Exchange(name) => self.exchange(name).is_none_or(|exchange| exchange.durable),
            Destination::Queue(queue) => queue.options.durable,
        }
    }
}

impl Broker {
    /// All definitions that are kept, for a checkpoint.
    pub(super) fn say_definitions(&self, say: &mut impl FnMut(&[u8], &[u8])) {
        say(&[SYSTEM], self.export_system().to_string().as_bytes());
        for vhost in self.vhosts() {
            vhost.say_definitions(say);
        }
    }

    /// The ids that exchanges are to know in the next life, for a checkpoint.
    pub(super) fn say_seen(&self, records: &mut Records) {
        for exchange in self.vhosts().iter().flat_map(|vhost| vhost.exchanges()) {
            if let (Some(number), Some(seen)) = (exchange.number, &exchange.seen) {
                for (value, key) in seen.lock().unwrap_or_else(PoisonError::into_inner).notes() {
                    records.put(&Record::Note { queue: number.0, parts: 1, value, key: &key });
                }
            }
        }
    }

    /// Waits until something changes that [`Self::keep_system`] keeps.
    pub async fn system_changed(&self) {
        self.0.keeper.wait_for_system().await;
    }

    /// Has users, permissions, vhosts, policies and parameters kept as they are now.
    pub fn keep_system(&self) {
        let json = self.export_system().to_string();
        self.0.keeper.write(|journal| journal.put(&[SYSTEM], json.as_bytes()));
    }
}
