//! `lepus perf rpc`: remote procedure calls. Requesters keep a number of calls in flight, responders send each body
//! back; a call's latency is from its request to its reply.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::args::RpcArgs;
use super::connection::{Connection, PerfError, Uri, check_close};
use super::meter::new_histogram;
use super::process::{Process, Sample};
use super::report::Latency;
use crate::wire::{
    ContentHeader, Frame, FrameKind, Method, MethodError, Properties, RawTable, write_content, write_publish,
};

/// What replies are sent straight to the requester with.
const DIRECT: &str = "amq.rabbitmq.reply-to";
/// How long a run takes that is bounded by nothing else.
const DEFAULT_SECONDS: f64 = 10.0;
/// How often a thread looks whether the run is over.
const LOOK: Duration = Duration::from_millis(100);
/// Replies that have not come this long after the last are lost.
const GRACE: Duration = Duration::from_secs(5);

/// Runs calls until `-z` seconds are over or each requester has had `-C` replies. True: every call was answered.
pub(super) fn run(args: &RpcArgs) -> Result<bool, PerfError> {
    let uri = Uri::parse(&args.uri)?;
    let process = args.broker_pid.map(Process::new).transpose()?;
    let seconds = args.time.or(args.calls.is_none().then_some(DEFAULT_SECONDS));
    let responders = (0..args.responders.max(1)).map(|index| Responder::open(&uri, args, index));
    let responders = responders.collect::<Result<Vec<_>, _>>()?;
    let requesters = (0..args.requesters.max(1)).map(|index| Requester::open(&uri, args, index));
    let requesters = requesters.collect::<Result<Vec<_>, _>>()?;
    let (stop, answered) = (AtomicBool::new(false), AtomicBool::new(false));
    let before = process.as_ref().map(Process::sample).transpose()?;
    let started = Instant::now();
    let (requested, responded) = std::thread::scope(|scope| {
        let responders: Vec<_> = responders.into_iter().map(|each| scope.spawn(|| each.run(&answered))).collect();
        let requesters: Vec<_> = requesters.into_iter().map(|each| scope.spawn(|| each.run(&stop))).collect();
        while !requesters.iter().all(ScopedJoinHandle::is_finished) {
            let over = seconds.is_some_and(|seconds| started.elapsed().as_secs_f64() >= seconds);
            if over || responders.iter().any(ScopedJoinHandle::is_finished) {
                stop.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let requested = join(requesters);
        answered.store(true, Ordering::Relaxed);
        (requested, join(responders))
    });
    let after = process.as_ref().map(Process::sample).transpose()?;
    responded?;
    let report = Report::new(args, &requested?, before.zip(after));
    report.print(args.json);
    Ok(report.unanswered == 0)
}

/// What all of them came to, or the first error.
fn join<T>(threads: Vec<ScopedJoinHandle<'_, Result<T, PerfError>>>) -> Result<Vec<T>, PerfError> {
    let joined = |thread: ScopedJoinHandle<'_, Result<T, PerfError>>| {
        thread.join().unwrap_or_else(|_| Err(PerfError::Protocol("a thread of the run panicked".into())))
    };
    threads.into_iter().map(joined).collect()
}

fn consume(connection: &mut Connection, queue: &str) -> Result<(), PerfError> {
    let consume = Method::BasicConsume {
        queue,
        consumer_tag: "",
        no_local: false,
        no_ack: true,
        exclusive: false,
        nowait: false,
        arguments: RawTable::default(),
    };
    connection.call(1, &consume, |method| matches!(method, Method::BasicConsumeOk { .. }))
}

/// Declares a queue that goes with its consumer, or with its connection; gives its name.
fn declare(connection: &mut Connection, queue: &str, exclusive: bool) -> Result<String, PerfError> {
    let declare = Method::QueueDeclare {
        queue,
        passive: false,
        durable: false,
        exclusive,
        auto_delete: true,
        nowait: false,
        arguments: RawTable::default(),
    };
    let mut declared = String::new();
    connection.call(1, &declare, |method| match method {
        Method::QueueDeclareOk { queue, .. } => {
            (*queue).clone_into(&mut declared);
            true
        }
        _ => false,
    })?;
    Ok(declared)
}

// --- requests ---

struct Requester<'a> {
    connection: Connection,
    queue: &'a str,
    reply_to: String,
    body: Vec<u8>,
    in_flight: usize,
    calls_max: u64,
    calls: Calls,
}

/// The calls of one requester.
struct Calls {
    /// When each call under way was made; a call's correlation id is its place here.
    made_at: Vec<Option<Instant>>,
    made: u64,
    answered: u64,
    histogram: Histogram<u64>,
    first_at: Instant,
    last_at: Instant,
}

impl<'a> Requester<'a> {
    fn open(uri: &Uri, args: &'a RpcArgs, index: usize) -> Result<Self, PerfError> {
        let mut connection = Connection::open(uri, 0, &format!("perf-requester-{index}"))?;
        connection.open_channel(1)?;
        let reply_to = if args.reply_queue { declare(&mut connection, "", true)? } else { DIRECT.to_owned() };
        consume(&mut connection, &reply_to)?;
        let now = Instant::now();
        let calls = Calls {
            made_at: vec![None; args.in_flight.max(1)],
            made: 0,
            answered: 0,
            histogram: new_histogram(),
            first_at: now,
            last_at: now,
        };
        Ok(Self {
            connection,
            queue: &args.queue,
            reply_to,
            body: vec![b'x'; args.size],
            in_flight: args.in_flight.max(1),
            calls_max: args.calls.unwrap_or(u64::MAX),
            calls,
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Calls, PerfError> {
        self.connection.set_read_timeout(LOOK)?;
        self.calls.first_at = Instant::now();
        let mut free: Vec<usize> = (0..self.in_flight).collect();
        let (mut out, mut reply) = (Vec::new(), Content::default());
        loop {
            let now = Instant::now();
            let goes_on = !stop.load(Ordering::Relaxed);
            while goes_on
                && self.calls.made < self.calls_max
                && let Some(place) = free.pop()
            {
                self.request(place, now, &mut out);
            }
            if free.len() == self.in_flight || (!goes_on && now > self.calls.last_at + GRACE) {
                break;
            }
            self.connection.write(&out)?;
            out.clear();
            let calls = &mut self.calls;
            self.connection.read_frames(|frame| {
                if reply.frame(frame)? {
                    free.push(calls.answered(&reply)?);
                }
                Ok(true)
            })?;
        }
        self.connection.close()?;
        Ok(self.calls)
    }

    fn request(&mut self, place: usize, now: Instant, out: &mut Vec<u8>) {
        let id = place.to_string();
        let (correlation_id, reply_to) = (Some(id.as_bytes()), Some(self.reply_to.as_bytes()));
        let mut properties = Vec::new();
        Properties { correlation_id, reply_to, ..Properties::default() }.encode(&mut properties);
        write_publish(out, 1, "", self.queue, false);
        write_content(out, 1, &properties, &self.body, self.connection.frame_max);
        self.calls.made_at[place] = Some(now);
        self.calls.made += 1;
    }
}

impl Calls {
    /// Counts a call; gives its place, which is free now.
    fn answered(&mut self, reply: &Content) -> Result<usize, PerfError> {
        let properties = reply.properties()?;
        let id = properties.correlation_id.and_then(|id| std::str::from_utf8(id).ok()?.parse::<usize>().ok());
        let made = id.and_then(|place| Some((place, self.made_at.get_mut(place)?.take()?)));
        let (place, made_at) = made.ok_or_else(|| PerfError::Protocol("a reply to no call under way".into()))?;
        self.last_at = Instant::now();
        let ns = self.last_at.saturating_duration_since(made_at).as_nanos();
        self.histogram.saturating_record(u64::try_from(ns).unwrap_or(u64::MAX));
        self.answered += 1;
        Ok(place)
    }
}

// --- responses ---

struct Responder {
    connection: Connection,
}

impl Responder {
    fn open(uri: &Uri, args: &RpcArgs, index: usize) -> Result<Self, PerfError> {
        let mut connection = Connection::open(uri, 0, &format!("perf-responder-{index}"))?;
        connection.open_channel(1)?;
        declare(&mut connection, &args.queue, false)?;
        consume(&mut connection, &args.queue)?;
        Ok(Self { connection })
    }

    fn run(mut self, over: &AtomicBool) -> Result<(), PerfError> {
        self.connection.set_read_timeout(LOOK)?;
        let frame_max = self.connection.frame_max;
        let (mut out, mut request) = (Vec::new(), Content::default());
        while !over.load(Ordering::Relaxed) {
            self.connection.read_frames(|frame| {
                if request.frame(frame)? {
                    respond(&request, frame_max, &mut out)?;
                }
                Ok(true)
            })?;
            self.connection.write(&out)?;
            out.clear();
        }
        self.connection.close()
    }
}

/// The body goes back as it came. A request that names nobody is dropped.
fn respond(request: &Content, frame_max: u32, out: &mut Vec<u8>) -> Result<(), PerfError> {
    let Properties { reply_to, correlation_id, .. } = request.properties()?;
    let Some(reply_to) = reply_to.and_then(|name| std::str::from_utf8(name).ok()) else { return Ok(()) };
    let mut properties = Vec::new();
    Properties { correlation_id, ..Properties::default() }.encode(&mut properties);
    write_publish(out, 1, "", reply_to, false);
    write_content(out, 1, &properties, &request.body, frame_max);
    Ok(())
}

/// The content of the last delivery.
#[derive(Default)]
struct Content {
    properties: Vec<u8>,
    body: Vec<u8>,
    /// Bytes of the body that have not come.
    missing: u64,
}

impl Content {
    /// Takes the next frame. True: a content is all there.
    fn frame(&mut self, frame: Frame<'_>) -> Result<bool, PerfError> {
        let unreadable = |error: MethodError| PerfError::Protocol(error.to_string());
        match frame.kind {
            FrameKind::Method => {
                let method = Method::decode(frame.payload).map_err(unreadable)?;
                if let Method::BasicCancel { .. } = method {
                    return Err(PerfError::Protocol("the broker cancelled the consumer".into()));
                }
                check_close(&method)?;
                return Ok(false);
            }
            FrameKind::Header => {
                let header = ContentHeader::decode(frame.payload).map_err(unreadable)?;
                self.properties.clear();
                self.properties.extend_from_slice(header.properties);
                self.body.clear();
                self.missing = header.body_size;
            }
            FrameKind::Body => {
                self.body.extend_from_slice(frame.payload);
                self.missing = self.missing.saturating_sub(frame.payload.len() as u64);
            }
            FrameKind::Heartbeat => return Ok(false),
        }
        Ok(self.missing == 0)
    }

    fn properties(&self) -> Result<Properties<'_>, PerfError> {
        Properties::decode(&self.properties).map_err(|error| PerfError::Protocol(error.to_string()))
    }
}

// --- the report ---

#[derive(Debug, Serialize)]
struct Report {
    reply_to: &'static str,
    in_flight: usize,
    calls: u64,
    unanswered: u64,
    seconds: f64,
    calls_per_s: f64,
    latency_us: Option<Latency>,
    broker_cpu_us_per_call: Option<f64>,
}

impl Report {
    fn new(args: &RpcArgs, requested: &[Calls], cost: Option<(Sample, Sample)>) -> Self {
        let mut histogram = new_histogram();
        for calls in requested {
            // They have the same bounds.
            let _ = histogram.add(&calls.histogram);
        }
        let calls: u64 = requested.iter().map(|calls| calls.answered).sum();
        let made: u64 = requested.iter().map(|calls| calls.made).sum();
        let first_at = requested.iter().map(|calls| calls.first_at).min();
        let last_at = requested.iter().map(|calls| calls.last_at).max();
        let seconds = first_at.zip(last_at).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        Self {
            reply_to: if args.reply_queue { "queue" } else { "direct" },
            in_flight: args.in_flight.max(1),
            calls,
            unanswered: made - calls,
            seconds,
            calls_per_s: calls as f64 / seconds.max(1e-9),
            latency_us: (calls > 0).then(|| Latency::of(&histogram)),
            broker_cpu_us_per_call: cost
                .map(|(before, after)| (after.cpu_s - before.cpu_s) * 1e6 / calls.max(1) as f64),
        }
    }

    fn print(&self, json: bool) {
        if json {
            match serde_json::to_string(self) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("no report: {error}"),
            }
            return;
        }
        let Self { calls, seconds, calls_per_s, unanswered, .. } = self;
        println!("{calls} calls in {seconds:.2} s: {calls_per_s:.0}/s, {unanswered} unanswered");
        if let Some(latency) = &self.latency_us {
            println!("latency min/median/75th/95th/99th/99.9th/max: {latency}");
        }
        if let Some(cpu_us) = self.broker_cpu_us_per_call {
            println!("broker: {cpu_us:.2} µs CPU a call");
        }
    }
}
