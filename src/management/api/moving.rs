//! `/api/queues/{vhost}/{queue}/move`: messages of a queue on to another queue or to an exchange. RabbitMQ has its UI
//! set up a shovel for that; here it is one request.
//!
//! No message is lost: each is taken from its queue when every queue it goes to has confirmed it, and goes back to its
//! place if one refuses it. Whoever is killed in between leaves it in both.

use std::time::{Duration, Instant};

use serde_json::json;

use super::exchanges::own_name;
use super::messages::take;
use crate::broker::{Got, Onward, Refusal, Settlement};
use crate::management::Management;
use crate::management::call::{Call, Fields, NAME_BYTES_MAX};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::visit::{CHANNEL, Visit};

/// Messages that are on their way at once: enough that a disk syncs many at a time.
const WINDOW: u64 = 256;
/// Bytes of bodies that are, and the message that goes beyond.
const WINDOW_BYTES: usize = 8 << 20;
/// One request moves for so long; whoever wants more asks again.
const SPELL: Duration = Duration::from_secs(10);

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let [_, vhost, name, _] = path else { return Err(Refused::no_object()) };
    let known = management.broker().vhost(vhost).ok_or_else(|| Refused::not_found("vhost_not_found"))?;
    let queue = known.queue(name).ok_or_else(|| Refused::not_found("queue_not_found"))?;
    let fields = call.object_with(&["destination"])?;
    let to = destination(&fields, name)?;
    match to {
        Onward::Queue(queue) => known.queue(queue).map(|_| ()).ok_or_else(|| Refused::not_found("queue_not_found"))?,
        Onward::Exchange(exchange, _) => {
            known.exchange(exchange).map(|_| ()).ok_or_else(|| Refused::not_found("exchange_not_found"))?;
        }
    }
    let visit = Visit::new(call, management, vhost)?;
    let wanted = match fields.integer("count")? {
        Some(count) => u64::try_from(count).map_err(|_| Refused::bad_value("bad_count", count))?,
        // Not those that arrive meanwhile: they might be the same, moved in a circle.
        None => {
            let reports = management.broker().inspect_queues(std::slice::from_ref(&queue)).await;
            reports.get(&queue.key.id).map_or(0, |report| report.ready)
        }
    };
    let mut moving = Moving { visit, queue: name, to, moved: 0, sequence: 0 };
    let remaining = moving.run(wanted).await?;
    Ok(Reply::Json(json!({"moved": moving.moved, "remaining": remaining})))
}

fn destination<'a>(fields: &'a Fields, queue: &str) -> Result<Onward<'a>, Refused> {
    let name = fields.required("destination")?;
    let key = fields.text("routing_key")?;
    if name.len() > NAME_BYTES_MAX || key.is_some_and(|key| key.len() > NAME_BYTES_MAX) {
        return Err(Refused::bad_request("routing_key_too_long"));
    }
    match fields.text("destination_type")?.unwrap_or("queue") {
        "queue" if name == queue => Err(Refused::bad_request("a queue cannot be moved to itself")),
        "queue" => Ok(Onward::Queue(name)),
        "exchange" => Ok(Onward::Exchange(own_name(name), key)),
        other => Err(Refused::bad_value("bad_destination_type", other)),
    }
}

struct Moving<'a> {
    visit: Visit,
    queue: &'a str,
    to: Onward<'a>,
    moved: u64,
    /// Of the last message that was sent on.
    sequence: u64,
}

/// Why it ends before the end.
enum Stop {
    Refused(Refusal),
    Unroutable,
    Rejected,
}

impl Moving<'_> {
    /// Moves so many messages, or for as long as a request may; says how many it could not come to.
    async fn run(&mut self, wanted: u64) -> Result<u64, Refused> {
        let until = Instant::now() + SPELL;
        while self.moved < wanted && Instant::now() < until {
            let window = WINDOW.min(wanted - self.moved);
            let taken = take(&mut self.visit, self.queue, false, window, WINDOW_BYTES).await;
            let taken = taken.map_err(|refusal| self.ended(&Stop::Refused(refusal)))?;
            if taken.is_empty() {
                return Ok(0);
            }
            self.pass_on(taken).await.map_err(|stop| self.ended(&stop))?;
        }
        Ok(wanted - self.moved)
    }

    /// Sends messages on, and settles each as its confirms say.
    async fn pass_on(&mut self, taken: Vec<Got>) -> Result<(), Stop> {
        let first = self.sequence + 1;
        let (mut sent, mut lanes, mut stop) = (Vec::new(), Vec::new(), None);
        for got in taken {
            if stop.is_none() {
                let sequence = self.sequence + 1;
                match self.visit.client().send_on(CHANNEL, &got.delivery.message, self.to, sequence) {
                    Ok(0) => stop = Some(Stop::Unroutable),
                    Ok(count) => {
                        self.sequence = sequence;
                        lanes.push(count);
                        sent.push(got.delivery.source);
                        continue;
                    }
                    Err(refusal) => stop = Some(Stop::Refused(refusal)),
                }
            }
            self.settle(got.delivery.source, Settlement::Nack { requeue: true });
        }
        let accepted = self.visit.confirmed(first, lanes).await;
        for (source, accepted) in sent.into_iter().zip(accepted) {
            if accepted {
                self.moved += 1;
                self.settle(source, Settlement::Ack);
            } else {
                stop.get_or_insert(Stop::Rejected);
                self.settle(source, Settlement::Nack { requeue: true });
            }
        }
        self.visit.client().flush();
        stop.map_or(Ok(()), Err)
    }

    fn settle(&mut self, source: crate::broker::Source, how: Settlement) {
        self.visit.client().settle(source.queue, source.owner, source.number, source.number, how);
    }

    fn ended(&self, stop: &Stop) -> Refused {
        let why = match stop {
            Stop::Refused(refusal) if self.moved == 0 => return Refused::of_messages(refusal),
            Stop::Refused(refusal) => refusal.to_string(),
            Stop::Unroutable => "the next is not routed to any queue".to_owned(),
            Stop::Rejected => "the destination rejected the next: it is full".to_owned(),
        };
        Refused::bad_request(format!("{} messages moved, then: {why}", self.moved))
    }
}
