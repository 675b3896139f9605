//! Plays one scenario against a broker and writes down what the broker says.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::args::Args;
use super::client::{Client, End, Event, Progress, frame};
use super::encode::{body_frames, header_frame, method_frame, property_names};
use super::methods::Method;
use super::render::{Names, event_line};
use super::scenario::{Scenario, Step};
use super::value::{Value, encode_entries};

/// How long an answer may take; a broker that is slower is reported as silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `quiet` listens unless told.
const QUIET_MS: u64 = 150;
/// Questions a `sync` with a queue asks.
const SYNC_ROUNDS: usize = 3;
/// Between two questions of `until`.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Arguments of `connect`.
const CONNECT_ARGUMENTS: &[&str] = &[
    "user",
    "password",
    "vhost",
    "mechanism",
    "response",
    "client_properties",
    "capabilities",
    "channel_max",
    "frame_max",
    "heartbeat",
];

/// Who `connect` and the tidying up log in as: may do everything in every vhost of `setup.json`.
const USER: &str = "oracle";
const VHOST: &str = "oracle";

/// Plays `scenario` and returns its transcript. `prefix` makes the names of this run unique.
pub(crate) fn play(
    address: SocketAddr,
    scenario: &Scenario,
    prefix: &str,
) -> Result<String, String> {
    let mut player = Player {
        address,
        prefix,
        names: Names::new(prefix),
        variables: HashMap::new(),
        places: BTreeMap::new(),
        made: Vec::new(),
        transcript: String::new(),
    };
    let outcome = player.play(&scenario.steps);
    player.places.clear();
    player.tidy_up();
    outcome.map(|()| player.transcript)
}

struct Player<'a> {
    address: SocketAddr,
    prefix: &'a str,
    names: Names,
    variables: HashMap<String, Vec<u8>>,
    places: BTreeMap<String, Place>,
    /// What was declared, to be deleted at the end.
    made: Vec<Made>,
    transcript: String,
}

/// A connection of the scenario.
struct Place {
    client: Client,
    vhost: String,
    /// Confirms of each channel.
    confirms: BTreeMap<u16, Confirms>,
}

#[derive(PartialEq)]
struct Made {
    vhost: String,
    method: &'static str,
    name: Vec<u8>,
}

/// Which publishes of a channel were confirmed.
#[derive(Default)]
struct Confirms {
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

/// Why waiting stopped.
#[derive(PartialEq)]
enum Stop {
    Satisfied,
    /// The channel or the connection was closed, so what was awaited will not come.
    Closed,
    TimedOut,
}

/// What waiting for one thing brought.
enum Awaited {
    Came(Event),
    /// It will not come; why was written down.
    Refused,
    Silence,
}

impl Awaited {
    fn next(&self) -> Next {
        match self {
            Self::Silence => Next::GiveUp,
            Self::Came(_) | Self::Refused => Next::Continue,
        }
    }
}

/// What a step means for the rest of the scenario.
#[derive(PartialEq)]
enum Next {
    Continue,
    /// The broker owes an answer; everything after this would only measure time-outs.
    GiveUp,
}

impl Player<'_> {
    fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            self.transcript.push_str(&step.text);
            self.transcript.push('\n');
            let next = self
                .step(step)
                .map_err(|error| format!("{}: {error}", step.text))?;
            if next == Next::GiveUp {
                return Ok(());
            }
        }
        self.end()
    }

    fn step(&mut self, step: &Step) -> Result<Next, String> {
        let args = self.parse(&step.arguments)?;
        if step.connection.is_empty() {
            return match step.verb.as_str() {
                "sleep" => {
                    let milliseconds = args.word(0).and_then(|word| word.parse().ok());
                    sleep(Duration::from_millis(
                        milliseconds.ok_or("sleep how long?")?,
                    ));
                    Ok(Next::Continue)
                }
                _ => Err("unknown step".to_owned()),
            };
        }
        match step.verb.as_str() {
            "tcp" => {
                self.open_tcp(&step.connection, VHOST)?;
                Ok(Next::Continue)
            }
            "start" => Ok(self.start(step, VHOST)?.next()),
            "connect" => self.connect(step, &args),
            "open" => self.open(step),
            "hold" | "flush" | "dribble" | "drop" => {
                let client = &mut self.place(step)?.client;
                match step.verb.as_str() {
                    "hold" => client.hold(),
                    "flush" => client.release(),
                    "dribble" => client.dribble = true,
                    _ => client.drop_tcp(),
                }
                Ok(Next::Continue)
            }
            "bytes" => self.send(step, &args.joined_words()),
            "frame" => {
                let bytes = raw_frame(step.channel, &args)?;
                self.send(step, &bytes)
            }
            "publish" => self.publish(step, &args),
            "header" => {
                args.only(&[&property_names()[..], &["class", "weight", "size"]].concat())?;
                let bytes = header_frame(step.channel, &args, &[])?;
                self.send(step, &bytes)
            }
            "body" => {
                let bytes = frame(
                    super::client::FRAME_BODY,
                    step.channel,
                    &args.joined_words(),
                );
                self.send(step, &bytes)
            }
            "wait" => self.wait(step, &args),
            "quiet" => self.quiet(step, &args),
            "sync" => self.sync(step, args.word(0)),
            "until" => self.until(step),
            "confirms" => self.confirms(step, &args),
            "send" => {
                let (verb, arguments) = step
                    .arguments
                    .split_once(' ')
                    .unwrap_or((&step.arguments, ""));
                let args = self.parse(arguments)?;
                self.send_method(step, verb, &args)?;
                Ok(Next::Continue)
            }
            verb => {
                let was_deaf = self.place(step)?.client.is_deaf(step.channel);
                let method = self.send_method(step, verb, &args)?;
                let nowait = args.number("nowait")?.unwrap_or(0) != 0;
                let is_holding = self.place(step)?.client.is_holding();
                if is_holding || nowait || !method.has_answer() {
                    return Ok(Next::Continue);
                }
                if was_deaf {
                    self.note("(closed)");
                    return Ok(Next::Continue);
                }
                let stop = self.collect(step, &args, &mut |event| {
                    method.is_answered_by(event.name())
                })?;
                self.after(stop)
            }
        }
    }

    // Connections and channels.

    fn open_tcp(&mut self, connection: &str, vhost: &str) -> Result<(), String> {
        let client = Client::connect(self.address).map_err(|error| error.to_string())?;
        let place = Place {
            client,
            vhost: vhost.to_owned(),
            confirms: BTreeMap::new(),
        };
        self.places.insert(connection.to_owned(), place);
        Ok(())
    }

    /// As far as connection.start, which is not written down.
    fn start(&mut self, step: &Step, vhost: &str) -> Result<Awaited, String> {
        self.open_tcp(&step.connection, vhost)?;
        self.place(step)?.client.send(b"AMQP\0\0\x09\x01");
        self.awaited(step, "connection.start")
    }

    /// The whole handshake; writes down only a refusal. With a channel number also opens that channel.
    fn connect(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        args.only(CONNECT_ARGUMENTS)?;
        let vhost = args.text("vhost", VHOST);
        let on_zero = Step {
            channel: 0,
            ..step.clone()
        };
        let started = self.start(&on_zero, vhost)?;
        let Awaited::Came(_) = started else {
            return Ok(started.next());
        };
        self.place(step)?.client.send(&start_ok(args));
        let tuned = self.awaited(&on_zero, "connection.tune")?;
        let Awaited::Came(Event::Method(tune)) = &tuned else {
            return Ok(tuned.next());
        };
        let chosen = |name| match (args.number(name)?, tune.field(name)) {
            (Some(number), _) => Ok(number),
            (None, Some(Value::Int(_, offered))) => Ok(*offered as u64),
            (None, _) => Err(format!("no {name} in connection.tune")),
        };
        let (channel_max, frame_max) = (chosen("channel_max")?, chosen("frame_max")?);
        let heartbeat = args.number("heartbeat")?.unwrap_or(0);
        let tune_ok = self.parse(&format!(
            "channel_max={channel_max} frame_max={frame_max} heartbeat={heartbeat}"
        ))?;
        self.send_method(&on_zero, "connection.tune-ok", &tune_ok)?;
        let open = Args::of([("virtual_host", Value::Str(vhost.into()))]);
        self.send_method(&on_zero, "connection.open", &open)?;
        let opened = self.awaited(&on_zero, "connection.open-ok")?;
        let Awaited::Came(_) = opened else {
            return Ok(opened.next());
        };
        self.place(step)?.client.frame_max = match frame_max {
            0 => usize::MAX,
            limit => limit as usize,
        };
        match step.channel {
            0 => Ok(Next::Continue),
            _ => self.open(step),
        }
    }

    /// Opens a channel; writes down only a refusal.
    fn open(&mut self, step: &Step) -> Result<Next, String> {
        self.send_method(step, "channel.open", &Args::default())?;
        if self.place(step)?.client.is_holding() {
            return Ok(Next::Continue);
        }
        Ok(self.awaited(step, "channel.open-ok")?.next())
    }

    /// Waits for `name`, which is not written down; anything else is.
    fn awaited(&mut self, step: &Step, name: &str) -> Result<Awaited, String> {
        let (stop, mut events) =
            self.gather(step, ANSWER_TIMEOUT, &mut |event| event.name() == name)?;
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

    // Sending.

    fn send(&mut self, step: &Step, bytes: &[u8]) -> Result<Next, String> {
        self.place(step)?.client.send(bytes);
        Ok(Next::Continue)
    }

    fn send_method(
        &mut self,
        step: &Step,
        name: &str,
        args: &Args,
    ) -> Result<&'static Method, String> {
        let method = Method::named(name).ok_or_else(|| format!("unknown step {name}"))?;
        let fields: Vec<_> = method.fields().map(|(name, _)| name).collect();
        args.only(&fields)?;
        let bytes = method_frame(step.channel, method, args)?;
        self.remember_declared(step, name, args)?;
        let client = &mut self.place(step)?.client;
        client.send(&bytes);
        client.sending(step.channel, name);
        Ok(method)
    }

    fn publish(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        let method = Method::named("basic.publish").expect("the table has it");
        let fields: Vec<_> = method.fields().map(|(name, _)| name).collect();
        args.only(&[&fields[..], &property_names()[..], &["body"]].concat())?;
        let body = args.bytes("body").unwrap_or_default();
        let mut bytes = method_frame(step.channel, method, args)?;
        bytes.extend(header_frame(step.channel, args, body)?);
        let frame_max = self.place(step)?.client.frame_max;
        bytes.extend(body_frames(step.channel, body, frame_max));
        self.send(step, &bytes)
    }

    // Receiving.

    fn wait(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        args.only(&["after"])?;
        let target = args.word(0).ok_or("wait for what?")?;
        let count = args.word(1).map_or(Ok(1), |word| word.parse::<usize>());
        let mut missing = count.map_err(|_| "how many?")?;
        if target == "close"
            && let Some(range) = args.bytes("after")
        {
            let range =
                parse_range(&String::from_utf8_lossy(range)).ok_or("after=1.5..3 seconds")?;
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
        let events: Vec<_> = events
            .into_iter()
            .filter(|event| !matches!(event, Event::Heartbeat))
            .collect();
        self.write_down(step, &events);
        if range.contains(&waited) {
            self.note(&format!("(after {} to {} s)", range.start, range.end));
        } else {
            self.note(&format!("(after {waited:.1} s)"));
        }
        Ok(Next::Continue)
    }

    fn quiet(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
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
    fn sync(&mut self, step: &Step, queue: Option<&str>) -> Result<Next, String> {
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

    /// `until field=value method ...`: asks again and again until the answer says so; `until closed
    /// method ...`: until the answer is that the channel is closed.
    fn until(&mut self, step: &Step) -> Result<Next, String> {
        let (condition, question) = step.arguments.split_once(' ').ok_or("until what?")?;
        let wanted = condition.split_once('=');
        if wanted.is_none() && condition != "closed" {
            return Err("until field=value, or until closed".to_owned());
        }
        let (verb, arguments) = question.split_once(' ').unwrap_or((question, ""));
        let args = self.parse(arguments)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let method = self.send_method(step, verb, &args)?;
            let (stop, mut events) = self.gather(step, ANSWER_TIMEOUT, &mut |event| {
                method.is_answered_by(event.name())
            })?;
            let is_met = match (events.last(), wanted) {
                (Some(Event::Method(received)), Some((field, wanted))) => {
                    matches!(received.field(field), Some(Value::Int(_, number)) if number.to_string() == wanted)
                }
                _ => false,
            };
            let is_over = is_met || stop != Stop::Satisfied || Instant::now() > deadline;
            if !is_over {
                events.pop();
            }
            self.write_down(step, &events);
            if is_over {
                return self.after(stop);
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// Waits for the next confirms and writes them down one by one, however they were bundled.
    fn confirms(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
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
                confirms.record(
                    &received.method.name["basic.".len()..],
                    *tag as u64,
                    is_multiple,
                );
            }
            confirms.has(count)
        })?;
        let (settlements, others): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| matches!(event.name(), "basic.ack" | "basic.nack"));
        self.write_down(step, &others);
        if !settlements.is_empty() {
            let range = confirms.shown + 1..=confirms.shown + count;
            let shown: Vec<_> = confirms
                .outcomes
                .range(range)
                .map(|(tag, outcome)| format!("{tag}={outcome}"))
                .collect();
            self.note(&format!("confirms {}", shown.join(" ")));
        }
        confirms.shown += count;
        self.place(step)?.confirms.insert(step.channel, confirms);
        self.after(stop)
    }

    /// Writes down everything up to what `is_last` recognises, and keeps the values the step asks for.
    fn collect(
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

    fn gather(
        &mut self,
        step: &Step,
        timeout: Duration,
        is_last: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<(Stop, Vec<Event>), String> {
        let channel = step.channel;
        let client = &mut self.place(step)?.client;
        let deadline = Instant::now() + timeout;
        let mut events = Vec::new();
        loop {
            while let Some(event) = client.take(channel) {
                let is_satisfied = is_last(&event);
                let is_close =
                    event.name() == "channel.close" || event.name() == "connection.close";
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
                Progress::Ended => {
                    let end = Event::End(client.end().unwrap_or(End::Eof));
                    let is_satisfied = is_last(&end);
                    events.push(end);
                    let stop = if is_satisfied {
                        Stop::Satisfied
                    } else {
                        Stop::Closed
                    };
                    return Ok((stop, events));
                }
                Progress::TimedOut => return Ok((Stop::TimedOut, events)),
            }
        }
    }

    // Writing down.

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
            let is_channel_event = step.channel != 0
                && !matches!(event, Event::End(_))
                && event.name() != "connection.close";
            let place = match is_channel_event {
                true => format!("{}.{}", step.connection, step.channel),
                false => step.connection.clone(),
            };
            let line = event_line(&place, event, &mut self.names);
            self.note(&line);
        }
    }

    fn note(&mut self, line: &str) {
        self.transcript.push_str("    ");
        self.transcript.push_str(line);
        self.transcript.push('\n');
    }

    fn after(&mut self, stop: Stop) -> Result<Next, String> {
        if stop == Stop::TimedOut {
            self.note("(no answer)");
            return Ok(Next::GiveUp);
        }
        Ok(Next::Continue)
    }

    /// Makes sure that nothing is left unsaid: a round trip on every open channel, then a proper close.
    fn end(&mut self) -> Result<(), String> {
        let before = self.transcript.len();
        let connections: Vec<_> = self.places.keys().cloned().collect();
        for connection in connections {
            let mut step = Step {
                text: String::new(),
                connection,
                channel: 0,
                verb: String::new(),
                arguments: String::new(),
            };
            let client = &mut self.place(&step)?.client;
            client.release();
            if client.end().is_some() || client.is_closing || !client.is_open {
                continue;
            }
            for channel in client.open_channels.clone() {
                step.channel = channel;
                self.sync(&step, None)?;
            }
            step.channel = 0;
            if !self.place(&step)?.client.is_closing {
                let args = self.parse("reply_code=200 reply_text=done")?;
                self.send_method(&step, "connection.close", &args)?;
                self.awaited(&step, "connection.close-ok")?;
            }
        }
        if self.transcript.len() > before {
            self.transcript.insert_str(before, "end\n");
        }
        Ok(())
    }

    // Names and what was made under them.

    fn parse(&self, arguments: &str) -> Result<Args, String> {
        Args::parse(arguments, &|name| match self.variables.get(name) {
            Some(value) => value.clone(),
            None => format!("{}{name}", self.prefix).into_bytes(),
        })
    }

    fn place(&mut self, step: &Step) -> Result<&mut Place, String> {
        let place = self.places.get_mut(&step.connection);
        place.ok_or_else(|| format!("{} is not connected", step.connection))
    }

    fn remember_declared(&mut self, step: &Step, method: &str, args: &Args) -> Result<(), String> {
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

    fn remember_made(&mut self, step: &Step, method: &'static str, name: Vec<u8>) {
        let vhost = match self.places.get(&step.connection) {
            Some(place) => place.vhost.clone(),
            None => return,
        };
        let made = Made {
            vhost,
            method,
            name,
        };
        if !self.made.contains(&made) {
            self.made.push(made);
        }
    }

    /// Deletes what the scenario left behind. A broker that refuses has shown so in the transcript.
    fn tidy_up(&mut self) {
        let made = std::mem::take(&mut self.made);
        let mut by_vhost: BTreeMap<&str, Vec<&Made>> = BTreeMap::new();
        for thing in &made {
            by_vhost.entry(&thing.vhost).or_default().push(thing);
        }
        for (vhost, things) in by_vhost {
            let mut step = Step {
                text: String::new(),
                connection: "tidy".to_owned(),
                channel: 0,
                verb: String::new(),
                arguments: String::new(),
            };
            let before = self.transcript.len();
            let connected = self
                .parse(&format!("vhost=\"{vhost}\""))
                .and_then(|args| self.connect(&step, &args));
            self.transcript.truncate(before);
            if connected != Ok(Next::Continue) {
                continue;
            }
            for (thing, channel) in things.into_iter().zip(1..) {
                step.channel = channel;
                let field = if thing.method == "queue.delete" {
                    "queue"
                } else {
                    "exchange"
                };
                let args = Args::of([(field, Value::Str(thing.name.clone()))]);
                let deleted = self.open(&step).and_then(|_| {
                    let method = self.send_method(&step, thing.method, &args)?;
                    self.gather(&step, ANSWER_TIMEOUT, &mut |event| {
                        method.is_answered_by(event.name())
                    })
                });
                self.transcript.truncate(before);
                if deleted.is_err() {
                    break;
                }
            }
        }
    }
}

/// The start-ok of `connect`: by default PLAIN with the capabilities that official clients announce.
fn start_ok(args: &Args) -> Vec<u8> {
    let user = args.text("user", USER).as_bytes();
    let password = args.bytes("password").unwrap_or(user);
    let mechanism = args.text("mechanism", "PLAIN");
    let response = match (args.bytes("response"), mechanism) {
        (Some(response), _) => response.to_vec(),
        (None, "AMQPLAIN") => encode_entries(&[
            (b"LOGIN".to_vec(), Value::Str(user.to_vec())),
            (b"PASSWORD".to_vec(), Value::Str(password.to_vec())),
        ]),
        (None, _) => [b"\0", user, b"\0", password].concat(),
    };
    let capabilities = match args.value("capabilities") {
        Some(given) => given.clone(),
        None => Value::Table(
            [
                "authentication_failure_close",
                "basic.nack",
                "connection.blocked",
                "consumer_cancel_notify",
                "publisher_confirms",
            ]
            .map(|name| (name.as_bytes().to_vec(), Value::Bool(true)))
            .to_vec(),
        ),
    };
    let mut properties = match args.value("client_properties") {
        Some(Value::Table(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    properties.push((b"capabilities".to_vec(), capabilities));
    let start_ok = Args::of([
        ("client_properties", Value::Table(properties)),
        ("mechanism", Value::Str(mechanism.into())),
        ("response", Value::Str(response)),
        ("locale", Value::Str("en_US".into())),
    ]);
    let method = Method::named("connection.start-ok").expect("the table has it");
    method_frame(0, method, &start_ok).expect("all fields are of their kind")
}

/// `frame type=1 payload=0x.. size=4 end=206`: size and end octet as they should be, unless given.
fn raw_frame(channel: u16, args: &Args) -> Result<Vec<u8>, String> {
    args.only(&["type", "payload", "size", "end"])?;
    let kind = args.number("type")?.ok_or("frame of which type?")?;
    let payload = args.bytes("payload").unwrap_or_default();
    let mut bytes = frame(kind as u8, channel, payload);
    if let Some(size) = args.number("size")? {
        bytes[3..7].copy_from_slice(&(size as u32).to_be_bytes());
    }
    if let Some(end) = args.number("end")? {
        bytes.pop();
        bytes.push(end as u8);
    }
    Ok(bytes)
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
