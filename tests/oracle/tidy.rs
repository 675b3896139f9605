//! What a scenario made in the broker, and its removal at the end.

use std::collections::BTreeMap;

use super::answer::ANSWER_TIMEOUT;
use super::args::Args;
use super::player::{Next, Player};
use super::scenario::Step;
use super::value::Value;

/// Something to be deleted.
#[derive(PartialEq)]
pub(super) struct Made {
    vhost: String,
    method: &'static str,
    name: Vec<u8>,
}

impl Player<'_> {
    pub(super) fn remember_declared(&mut self, step: &Step, method: &str, args: &Args) -> Result<(), String> {
        let (deletion, field) = match method {
            "queue.declare" => ("queue.delete", "queue"),
            "exchange.declare" => ("exchange.delete", "exchange"),
            _ => return Ok(()),
        };
        let name = args.bytes(field).unwrap_or_default();
        let prefix = self.prefix.as_bytes();
        let is_own = name.windows(prefix.len()).any(|part| part == prefix);
        if is_own && args.number("passive")?.unwrap_or(0) == 0 {
            self.remember_made(step, deletion, name.to_vec());
        }
        Ok(())
    }

    pub(super) fn remember_made(&mut self, step: &Step, method: &'static str, name: Vec<u8>) {
        let vhost = match self.places.get(&step.connection) {
            Some(place) => place.vhost.clone(),
            None => return,
        };
        let made = Made { vhost, method, name };
        if !self.made.contains(&made) {
            self.made.push(made);
        }
    }

    /// Deletes what the scenario left behind. A broker that refuses has shown so in the transcript.
    pub(super) fn tidy_up(&mut self) {
        let made = std::mem::take(&mut self.made);
        let mut by_vhost: BTreeMap<&str, Vec<&Made>> = BTreeMap::new();
        for thing in &made {
            by_vhost.entry(&thing.vhost).or_default().push(thing);
        }
        for (vhost, things) in by_vhost {
            let mut step = Step::on("tidy".to_owned());
            let before = self.transcript.len();
            let connected = self.parse(&format!("vhost=\"{vhost}\"")).and_then(|args| self.connect(&step, &args));
            self.transcript.truncate(before);
            if connected != Ok(Next::Continue) {
                continue;
            }
            for (thing, channel) in things.into_iter().zip(1..) {
                step.channel = channel;
                let field = if thing.method == "queue.delete" { "queue" } else { "exchange" };
                let args = Args::of([(field, Value::Str(thing.name.clone()))]);
                let deleted = self.open(&step).and_then(|_| {
                    let method = self.send_method(&step, thing.method, &args)?;
                    self.gather(&step, ANSWER_TIMEOUT, &mut |event| method.is_answered_by(event.name()))
                });
                self.transcript.truncate(before);
                if deleted.is_err() {
                    break;
                }
            }
        }
    }
}
