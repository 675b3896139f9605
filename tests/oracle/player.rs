//! Plays one scenario against a broker and writes down what the broker says.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use super::answer::{Awaited, Confirms};
use super::args::Args;
use super::client::{Client, Event, FRAME_BODY, frame};
use super::encode::{body_frames, header_frame, method_frame, property_names, raw_frame, start_ok};
use super::methods::Method;
use super::render::Names;
use super::scenario::{Scenario, Step};
use super::tidy::Made;
use super::value::Value;

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

/// Where `connect` goes unless told.
const VHOST: &str = "oracle";

/// Plays `scenario` and returns its transcript. `prefix` makes the names of this run unique.
pub(crate) fn play(address: SocketAddr, scenario: &Scenario, prefix: &str) -> Result<String, String> {
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

pub(super) struct Player<'a> {
    address: SocketAddr,
    pub(super) prefix: &'a str,
    pub(super) names: Names,
    pub(super) variables: HashMap<String, Vec<u8>>,
    pub(super) places: BTreeMap<String, Place>,
    /// What was declared, to be deleted at the end.
    pub(super) made: Vec<Made>,
    pub(super) transcript: String,
}

/// A connection of the scenario.
pub(super) struct Place {
    pub(super) client: Client,
    pub(super) vhost: String,
    /// Confirms of each channel.
    pub(super) confirms: BTreeMap<u16, Confirms>,
}

/// What a step means for the rest of the scenario.
#[derive(PartialEq)]
pub(super) enum Next {
    Continue,
    /// The broker owes an answer; everything after this would only measure time-outs.
    GiveUp,
}

impl Player<'_> {
    fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            self.transcript.push_str(&step.text);
            self.transcript.push('\n');
            let next = self.step(step).map_err(|error| format!("{}: {error}", step.text))?;
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
                    sleep(Duration::from_millis(milliseconds.ok_or("sleep how long?")?));
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
                let bytes = frame(FRAME_BODY, step.channel, &args.joined_words());
                self.send(step, &bytes)
            }
            "wait" => self.wait(step, &args),
            "quiet" => self.quiet(step, &args),
            "sync" => self.sync(step, args.word(0)),
            "until" => self.until(step),
            "confirms" => self.confirms(step, &args),
            "send" => {
                let (verb, arguments) = step.arguments.split_once(' ').unwrap_or((&step.arguments, ""));
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
                let stop = self.collect(step, &args, &mut |event| method.is_answered_by(event.name()))?;
                self.after(stop)
            }
        }
    }

    // Connections and channels.

    fn open_tcp(&mut self, connection: &str, vhost: &str) -> Result<(), String> {
        let client = Client::connect(self.address).map_err(|error| error.to_string())?;
        let place = Place { client, vhost: vhost.to_owned(), confirms: BTreeMap::new() };
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
    pub(super) fn connect(&mut self, step: &Step, args: &Args) -> Result<Next, String> {
        args.only(CONNECT_ARGUMENTS)?;
        let vhost = args.text("vhost", VHOST);
        let on_zero = Step { channel: 0, ..step.clone() };
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
        let tune_ok = self.parse(&format!("channel_max={channel_max} frame_max={frame_max} heartbeat={heartbeat}"))?;
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
    pub(super) fn open(&mut self, step: &Step) -> Result<Next, String> {
        self.send_method(step, "channel.open", &Args::default())?;
        if self.place(step)?.client.is_holding() {
            return Ok(Next::Continue);
        }
        Ok(self.awaited(step, "channel.open-ok")?.next())
    }

    // Sending.

    fn send(&mut self, step: &Step, bytes: &[u8]) -> Result<Next, String> {
        self.place(step)?.client.send(bytes);
        Ok(Next::Continue)
    }

    pub(super) fn send_method(&mut self, step: &Step, name: &str, args: &Args) -> Result<&'static Method, String> {
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

    /// Makes sure that nothing is left unsaid: a round trip on every open channel, then a proper close.
    fn end(&mut self) -> Result<(), String> {
        let before = self.transcript.len();
        let connections: Vec<_> = self.places.keys().cloned().collect();
        for connection in connections {
            let mut step = Step::on(connection);
            let client = &mut self.place(&step)?.client;
            client.release();
            if client.has_ended() || client.is_closing || !client.is_open {
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

    pub(super) fn parse(&self, arguments: &str) -> Result<Args, String> {
        Args::parse(arguments, &|name| match self.variables.get(name) {
            Some(value) => value.clone(),
            None => format!("{}{name}", self.prefix).into_bytes(),
        })
    }

    pub(super) fn place(&mut self, step: &Step) -> Result<&mut Place, String> {
        let place = self.places.get_mut(&step.connection);
        place.ok_or_else(|| format!("{} is not connected", step.connection))
    }
}
