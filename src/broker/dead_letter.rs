//! Dead letters: what a queue gives up goes to its dead-letter exchange, with the story of its deaths in the headers.

use std::time::{SystemTime, UNIX_EPOCH};

use super::effects::{DeadLetter, Remains};
use super::event::QueueId;
use super::exchange::Routable;
use super::lane::Lane;
use super::message::{Facts, Message};
use super::queue::Death;
use super::receipts::{Origin, Sent};
use super::vhost::QueueHandle;
use crate::wire::{Properties, RawTable, Table, Value};

/// A dead letter ready to be routed.
struct Letter {
    message: Message,
    keys: Vec<String>,
    headers: Table,
}

impl Lane {
    /// Sends one dead letter, and tells its queue, if that still has something of it.
    pub(super) fn bury(&mut self, dead: DeadLetter, now_ms: u64) {
        let sent = self.route_letter(&dead, now_ms).unwrap_or_default();
        let DeadLetter { queue, remains, .. } = dead;
        if let Some(queue) = self.queues.get_mut(&queue.key.id) {
            queue.buried(remains, sent, now_ms, &mut self.fx);
        }
    }

    /// A missing exchange drops it silently (DX-7), unless it is to arrive at least once.
    fn route_letter(&mut self, dead: &DeadLetter, now_ms: u64) -> Option<Sent> {
        let target = &dead.target;
        let vhost = self.broker().vhost(&dead.queue.vhost)?;
        let exchange = vhost.exchange(&target.exchange)?;
        let honours = self.broker().0.options.honours_client_deaths;
        let letter = compose(dead, &target.exchange, target.routing_key.as_deref(), honours)?;
        let properties = Properties::decode(letter.message.properties()).ok()?;
        let keys: Vec<&str> = letter.keys.iter().map(String::as_str).collect();
        let found = vhost.route(&exchange, &Routable { keys: &keys, properties: &properties }, &|| now_ms);
        let (seq, taken, was_held): (_, &[QueueId], _) = match &dead.remains {
            Remains::Nothing => (None, &[], false),
            Remains::Place(entry) => (Some(entry.seq), &[], false),
            Remains::All { seq, taken, is_held } => (Some(*seq), taken, *is_held),
        };
        let mut sent = Sent::default();
        let shared = found.shared(&letter.message);
        for queue in found.queues.iter().filter(|queue| !taken.contains(&queue.key.id)) {
            if dead.death != Death::Rejected && is_cycle(&letter.headers, &queue.name) {
                continue;
            }
            let message = shared.as_ref().unwrap_or(&letter.message).clone();
            match seq {
                None => self.pass_on(queue.key, message, now_ms),
                Some(seq) => {
                    self.send_letter(queue.key, message, Origin { queue: dead.queue.key, seq }, &mut sent, now_ms);
                }
            }
        }
        if !was_held {
            sent.is_held = !found.held.is_empty();
            let of = seq.map(|seq| Origin { queue: dead.queue.key, seq });
            sent.awaited += self.detour(&vhost, &found, &keys, &letter.message, of, now_ms);
        }
        Some(sent)
    }
}

/// The message under its new address, with the death recorded. `None` if its properties cannot be read, which the
/// publish made sure of.
fn compose(
    dead: &DeadLetter,
    exchange: &str,
    routing_key: Option<&str>,
    honours_client_deaths: bool,
) -> Option<Letter> {
    let message = &dead.message;
    let properties = Properties::decode(message.properties()).ok()?;
    let mut headers = properties.headers.unwrap_or_default().parse().ok()?;
    if !honours_client_deaths && !message.facts().has_died {
        forget_deaths(&mut headers);
    }
    let own_keys = own_keys(message, &headers);
    record_death(&mut headers, &dead.queue, dead.death, message, &own_keys, properties.expiration);

    // DX-2: BCC routes again, and is told as little as before.
    let bcc = if routing_key.is_some() { Vec::new() } else { message.bcc() };
    let mut keys = routing_key.map_or(own_keys, |key| vec![key.into()]);
    keys.extend(bcc.iter().cloned());
    let mut address = Vec::new();
    for part in [exchange, routing_key.unwrap_or(&message.routing_key())] {
        let part = &part.as_bytes()[..part.len().min(255)];
        address.push(part.len() as u8);
        address.extend(part);
    }
    let mut encoded = Vec::new();
    headers.encode_bare(&mut encoded);
    let mut raw = Vec::new();
    // TL-3: without its expiration, or it would expire again at once.
    Properties { headers: Some(RawTable(&encoded)), expiration: None, ..properties }.encode(&mut raw);
    // It is no resend of its producer's, though it has the number still.
    let facts = Facts { expiration_ms: None, is_numbered: false, has_died: true, ..message.facts() };
    let message = message.with_properties(&address, &raw, facts, &bcc);
    Some(Letter { message, keys, headers })
}

/// DX-5: what a publisher sent as its history.
fn forget_deaths(headers: &mut Table) {
    headers.remove("x-death");
    for what in ["queue", "reason", "exchange"] {
        headers.remove(format!("x-first-death-{what}"));
        headers.remove(format!("x-last-death-{what}"));
    }
}

/// Its routing key and those from the CC header (DX-2).
fn own_keys(message: &Message, headers: &Table) -> Vec<String> {
    let mut keys = vec![message.routing_key().into_owned()];
    if let Some(Value::Array(more)) = headers.get("CC") {
        keys.extend(more.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    keys
}

/// DX-3, DX-4: one entry for each (queue, reason), newest first; a repeat counts up and moves to the front.
fn record_death(
    headers: &mut Table,
    queue: &QueueHandle,
    death: Death,
    message: &Message,
    keys: &[String],
    expiration: Option<&[u8]>,
) {
    // DX-5: anything that is no history is replaced.
    let mut history = match headers.remove("x-death") {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    let same = |entry: &Value| match entry {
        Value::Table(entry) => {
            entry.get("queue").and_then(Value::as_str) == Some(&queue.name)
                && entry.get("reason").and_then(Value::as_str) == Some(death.reason())
        }
        _ => false,
    };
    let entry = match history.iter().position(same).map(|at| history.remove(at)) {
        Some(Value::Table(mut entry)) => {
            let count = entry.get("count").and_then(Value::as_integer).unwrap_or(0);
            entry.insert("count", Value::I64(count.saturating_add(1)));
            entry
        }
        _ => first_death(queue, death, message, keys, expiration),
    };
    history.insert(0, Value::Table(entry));
    headers.insert("x-death", Value::Array(history));

    let exchange = message.exchange();
    let last = [("queue", &*queue.name), ("reason", death.reason()), ("exchange", &*exchange)];
    for (what, value) in last {
        let first = format!("x-first-death-{what}");
        if headers.get(&first).is_none() {
            headers.insert(first, value.into());
        }
        headers.insert(format!("x-last-death-{what}"), value.into());
    }
    headers.sort();
}

fn first_death(
    queue: &QueueHandle,
    death: Death,
    message: &Message,
    keys: &[String],
    expiration: Option<&[u8]>,
) -> Table {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut entry = Table::default();
    if let Some(expiration) = expiration {
        entry.push("original-expiration", Value::LongString(expiration.to_vec()));
    }
    entry.push("count", Value::I64(1));
    entry.push("reason", death.reason().into());
    entry.push("queue", (*queue.name).into());
    entry.push("time", Value::Timestamp(seconds));
    entry.push("exchange", (*message.exchange()).into());
    entry.push("routing-keys", Value::Array(keys.iter().map(|key| key.as_str().into()).collect()));
    entry
}

/// DX-6: a message does not come back to a queue it died in by itself; a rejection in between makes it a new journey.
fn is_cycle(headers: &Table, queue: &str) -> bool {
    let Some(Value::Array(history)) = headers.get("x-death") else {
        return false;
    };
    for entry in history {
        let Value::Table(entry) = entry else { continue };
        if entry.get("reason").and_then(Value::as_str) == Some("rejected") {
            return false;
        }
        if entry.get("queue").and_then(Value::as_str) == Some(queue) {
            return true;
        }
    }
    false
}
