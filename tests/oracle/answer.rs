//! The steps of a scenario that wait: what they wait for, and what they write down.

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::args::Args;
use super::client::{Event, Progress};
use super::player::{Next, Player};
use super::render::event_line;
use super::scenario::Step;
use super::value::Value;

/// How long an answer may take; a broker that is slower is reported as silent.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long `quiet` listens unless told.
const QUIET_MS: u64 = 150;
/// Questions a `sync` with a queue asks.
const SYNC_ROUNDS: usize = 3;
/// Between two questions of `until`.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why waiting stopped.
#[derive(PartialEq)]
pub(super) enum Stop {
    Satisfied,
    /// The channel or the connection was closed, so what was awaited will not come.
    Closed,
    TimedOut,
}

/// What waiting for one thing brought.
pub(super) enum Awaited {
    Came(Event),
    /// It will not come; why was written down.
    Refused,
    Silence,
}

impl Awaited {
    pub(super) fn next(&self) -> Next {
        match self {
            Self::Silence => Next::GiveUp,
            Self::Came(_) | Self::Refused => Next::Continue,
        }
    }
}

/// Which publishes of a channel were confirmed.
#[derive(Default)]
pub(super) struct Confirms {
    /// Tags below this were already written down.
    shown: u64,
    outcomes: BTreeMap<u64, &'static str>,
}

impl Confirms {
    fn record(&mut self, outcome: &'static str, tag: u64, is_multiple: bool) {
        let first = if is_multiple { self.shown + 1 } else { tag };
        for tag in first..=tag {
            self.outcomes.entry(tag).or_insert(outcome);
        }
    }

    fn has(&self, count: u64) -> bool {
        (self.shown + 1..=self.shown + count).all(|tag| self.outcomes.contains_key(&tag))
    }
}

impl Player<'_> {
    /// Takes what comes on the step's channel up to what `is_last` recognises, or up to the close of
    /// the channel or the connection.
    pub(super) fn gather(
        &mut self,
        step: &Step,
        timeout: Duration,
        is_last: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<(Stop, Vec<Event>), String> {
        let client = &mut self.place(step)?.client;
        let deadline = Instant::now() + timeout;
        let mut events = Vec::new();
        loop {
            while let Some(event) = client.take(step.channel) {
                let is_satisfied = is_last(&event);
                let is_close = matches!(event.name(), "channel.close" | "connection.close");
                events.push(event);
                if is_satisfied {
                    return Ok((Stop::Satisfied, events));
                } else if is_close {
                    return Ok((Stop::Closed, events));
                }
            }
            if let Some(close) = client.take_connection_close() {
                events.push(close);
                return Ok((Stop::Closed, events));
            }
            match client.read(deadline) {
                Progress::Something => {}
                Progress::TimedOut => return Ok((Stop::TimedOut, events)),
                Progress::Ended(end) => {
                    let end = Event::End(end);
                    let stop = if is_last(&end) { Stop::Satisfied } else { Stop::Closed };
                    events.push(end);
                    return Ok((stop, events));
                }
            }
        }
    }

    pub(super) fn wait(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        args.only(&["after"])?;
        let target = args.word(0).ok_or("wait for what?")?;
        let count = args.word(1).map_or(Ok(1), |word| word.parse::<usize>());
        let mut missing = count.map_err(|_| "how many?")?;
        if target == "close"
            && let Some(range) = args.bytes("after")
        {
            let range = parse_range(&String::from_utf8_lossy(range)).ok_or("after=1.5..3 seconds")?;
            return self.wait_close_within(step, &range);
        }
        let stop = self.collect(step, args, &mut |event| {
            missing -= usize::from(is_target(event, target));
            missing == 0
        })?;
        self.after(stop)
    }

    /// Waits for the end of the TCP connection and writes down whether it came in time.
    fn wait_close_within(&mut self, step: &Step, range: &Range<f64>) -> Result<Next, String> {
        let started = Instant::now();
        let longest = Duration::from_secs_f64(range.end) + Duration::from_secs(1);
        let (_, events) = self.gather(step, longest, &mut |event| is_target(event, "close"))?;
        let waited = started.elapsed().as_secs_f64();
        let events: Vec<_> = events.into_iter().filter(|event| !matches!(event, Event::Heartbeat)).collect();
        self.write_down(step, &events);
        if range.contains(&waited) {
            self.note(&format!("(after {} to {} s)", range.start, range.end));
        } else {
            self.note(&format!("(after {waited:.1} s)"));
        }
        Ok(Next::Continue)
    }

    pub(super) fn quiet(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        let milliseconds = match args.word(0) {
            Some(word) => word.parse().map_err(|_| "how long?")?,
            None => QUIET_MS,
        };
        let (_, events) = self.gather(step, Duration::from_millis(milliseconds), &mut |_| false)?;
        if events.is_empty() {
            self.note("(nothing)");
        }
        self.write_down(step, &events);
        Ok(Next::Continue)
    }

    /// A round trip on the channel: everything the broker had to say before is written down, the
    /// answer itself is not. With a queue the question goes through that queue, several times, since
    /// RabbitMQ's queues answer such questions before older work.
    pub(super) fn sync(&mut self, step: &Step, queue: Option<&str>) -> Result<Next, String> {
        if self.place(step)?.client.is_deaf(step.channel) {
            self.note("(closed)");
            return Ok(Next::Continue);
        }
        let Some(queue) = queue else {
            return self.round_trip(step, "channel.flow", "active=1");
        };
        let question = format!("passive=1 queue=\"{queue}\"");
        for _ in 0..SYNC_ROUNDS {
            self.round_trip(step, "channel.flow", "active=1")?;
            let next = self.round_trip(step, "queue.declare", &question)?;
            if next == Next::GiveUp || self.place(step)?.client.is_deaf(step.channel) {
                return Ok(next);
            }
        }
        Ok(Next::Continue)
    }

    fn round_trip(&mut self, step: &Step, question: &str, arguments: &str) -> Result<Next, String> {
        let args = self.parse(arguments)?;
        self.send_method(step, question, &args)?;
        Ok(self.awaited(step, &format!("{question}-ok"))?.next())
    }

    /// Asks again and again: `until field=number method ...` until the answer says so, `until closed
    /// method ...` until the channel is closed for it, `until answered method ...` (on a channel opened
    /// anew each time) until it is not.
    pub(super) fn until(&mut self, step: &Step) -> Result<Next, String> {
        let (condition, question) = step.arguments.split_once(' ').ok_or("until what?")?;
        let (verb, arguments) = question.split_once(' ').unwrap_or((question, ""));
        let args = self.parse(arguments)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let method = self.send_method(step, verb, &args)?;
            let (stop, mut events) =
                self.gather(step, ANSWER_TIMEOUT, &mut |event| method.is_answered_by(event.name()))?;
            let last = events.last();
            let is_over = match (condition, condition.split_once('=')) {
                ("answered", _) => last.is_none_or(|event| event.name() != "channel.close"),
                ("closed", _) => stop != Stop::Satisfied,
                (_, Some((field, wanted))) => {
                    stop != Stop::Satisfied || last.is_some_and(|event| says(event, field, wanted))
                }
                _ => return Err(format!("until {condition}?")),
            };
            if is_over || Instant::now() > deadline {
                self.write_down(step, &events);
                return self.after(stop);
            }
            events.pop();
            self.write_down(step, &events);
            if stop == Stop::Closed {
                self.send_method(step, "channel.close-ok", &Args::default())?;
                self.open(step)?;
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// Waits for the next confirms and writes them down one by one, however they were bundled.
    pub(super) fn confirms(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        let count = args.word(0).and_then(|word| word.parse::<u64>().ok());
        let count = count.ok_or("how many confirms?")?;
        let place = self.place(step)?;
        let mut confirms = place.confirms.remove(&step.channel).unwrap_or_default();
        let (stop, events) = self.gather(step, ANSWER_TIMEOUT, &mut |event| {
            if let Event::Method(received) = event
                && let ("basic.ack" | "basic.nack", Some(Value::Int(_, tag))) =
                    (received.method.name, received.field("delivery_tag"))
            {
                let is_multiple = received.field("multiple") == Some(&Value::Bool(true));
                confirms.record(&received.method.name["basic.".len()..], *tag as u64, is_multiple);
            }
            confirms.has(count)
        })?;
        let (settlements, others): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| matches!(event.name(), "basic.ack" | "basic.nack"));
        self.write_down(step, &others);
        if !settlements.is_empty() {
            let range = confirms.shown + 1..=confirms.shown + count;
            let shown: Vec<_> =
                confirms.outcomes.range(range).map(|(tag, outcome)| format!("{tag}={outcome}")).collect();
            self.note(&format!("confirms {}", shown.join(" ")));
        }
        confirms.shown += count;
        self.place(step)?.confirms.insert(step.channel, confirms);
        self.after(stop)
    }

    /// Writes down everything up to what `is_last` recognises, and keeps the values the step asks for.
    pub(super) fn collect(
        &mut self,
        step: &Step,
        args: &Args,
        is_last: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<Stop, String> {
        let (stop, events) = self.gather(step, ANSWER_TIMEOUT, is_last)?;
        if let Some(Event::Method(received)) = events.last() {
            for (variable, field) in &args.saves {
                if let Some(Value::Str(bytes)) = received.field(field) {
                    self.variables.insert(variable.clone(), bytes.clone());
                }
            }
        }
        self.write_down(step, &events);
        Ok(stop)
    }

    /// Waits for `name`, which is not written down; anything else is.
    pub(super) fn awaited(&mut self, step: &Step, name: &str) -> Result<Awaited, String> {
        let (stop, mut events) = self.gather(step, ANSWER_TIMEOUT, &mut |event| event.name() == name)?;
        let last = match stop {
            Stop::Satisfied => events.pop(),
            Stop::Closed | Stop::TimedOut => None,
        };
        self.write_down(step, &events);
        if stop == Stop::TimedOut {
            self.note("(no answer)");
            return Ok(Awaited::Silence);
        }
        Ok(last.map_or(Awaited::Refused, Awaited::Came))
    }

    fn write_down(&mut self, step: &Step, events: &[Event]) {
        for event in events {
            if let Event::Method(received) = event
                && received.method.name == "queue.declare-ok"
                && let Some(Value::Str(name)) = received.field("queue")
                && name.starts_with(b"amq.gen-")
            {
                let name = name.clone();
                self.remember_made(step, "queue.delete", name);
            }
            let is_channel_event =
                step.channel != 0 && !matches!(event, Event::End(_)) && event.name() != "connection.close";
            let place = match is_channel_event {
                true => format!("{}.{}", step.connection, step.channel),
                false => step.connection.clone(),
            };
            let line = event_line(&place, event, &mut self.names);
            self.note(&line);
        }
    }

    pub(super) fn note(&mut self, line: &str) {
        self.transcript.push_str("    ");
        self.transcript.push_str(line);
        self.transcript.push('\n');
    }

    pub(super) fn after(&mut self, stop: Stop) -> Result<Next, String> {
        if stop == Stop::TimedOut {
            self.note("(no answer)");
            return Ok(Next::GiveUp);
        }
        Ok(Next::Continue)
    }
}

/// Whether the number called `field` is `wanted`.
fn says(event: &Event, field: &str, wanted: &str) -> bool {
    match event {
        Event::Method(received) => match received.field(field) {
            Some(Value::Int(_, number)) => number.to_string() == wanted,
            _ => false,
        },
        _ => false,
    }
}

fn is_target(event: &Event, target: &str) -> bool {
    match (event, target) {
        (Event::End(_), "close") => true,
        (Event::Heartbeat, "heartbeat") => true,
        (Event::ProtocolHeader(_), "protocol-header") => true,
        (event, name) => event.name() == name,
    }
}

fn parse_range(text: &str) -> Option<Range<f64>> {
    let (start, end) = text.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}
