//! A producer: frames built beforehand, patched with time and number, and written as many at once as the pace allows.

use std::collections::VecDeque;
use std::io::Read;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::{Connection, PerfError, check_close};
use super::meter::{Meter, Shared};
use super::scenario::Scenario;
use crate::wire::{Frame, FrameKind, Method, write_content, write_publish};

/// Unpaced messages are written in pieces of about this many bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// A paced producer rests so long at least: one that sent each message when it is due would take the core whose messages
/// it measures.
const PAUSE_MIN: Duration = Duration::from_micros(200);
/// Where the stamp stands in a body: `| ns u64 | producer u32 | number u32 |`.
const STAMP_LEN: usize = 16;

/// A publish whose body can be patched.
struct Template {
    frames: Vec<u8>,
    /// Where the body begins.
    body_at: usize,
    body_len: usize,
}

impl Template {
    fn new(scenario: &Scenario, key: &str, channel: u16, size: usize, frame_max: u32) -> Self {
        let mut frames = Vec::new();
        write_publish(&mut frames, channel, &scenario.exchange, key, scenario.mandatory);
        write_content(&mut frames, channel, &scenario.properties, &[], frame_max);
        let body_at = frames.len() + 7;
        frames.clear();
        write_publish(&mut frames, channel, &scenario.exchange, key, scenario.mandatory);
        write_content(&mut frames, channel, &scenario.properties, &vec![b'x'; size], frame_max);
        Self { frames, body_at, body_len: size }
    }

    fn append(&self, out: &mut Vec<u8>, stamp: &[u8; STAMP_LEN]) {
        let at = out.len() + self.body_at;
        out.extend_from_slice(&self.frames);
        let stamped = STAMP_LEN.min(self.body_len);
        if self.body_len >= 12 {
            out[at..at + stamped].copy_from_slice(&stamp[..stamped]);
        }
    }
}

pub(super) fn run(scenario: &Scenario, shared: &Shared, index: usize) -> Result<(), PerfError> {
    let result = Producer::open(scenario, shared, index).and_then(|mut producer| producer.produce());
    shared.finished();
    if result.is_err() {
        shared.stop();
    }
    result
}

struct Producer<'a> {
    scenario: &'a Scenario,
    shared: &'a Shared,
    meter: &'a Meter,
    index: usize,
    connection: Option<Connection>,
    /// By size, then channel, then routing key.
    templates: Vec<Template>,
    sent: u64,
    /// When each unconfirmed message was sent, by channel in turn.
    unconfirmed: VecDeque<(u64, u64)>,
}

impl<'a> Producer<'a> {
    fn open(scenario: &'a Scenario, shared: &'a Shared, index: usize) -> Result<Self, PerfError> {
        let mut connection = scenario.connect(&format!("perf-producer-{index}"))?;
        let channels = if scenario.confirm.is_some() { 1 } else { scenario.producer_channels };
        for channel in 1..=channels {
            connection.open_channel(channel)?;
        }
        if scenario.confirm.is_some() {
            let select = Method::ConfirmSelect { nowait: false };
            connection.call(1, &select, |method| matches!(method, Method::ConfirmSelectOk {}))?;
        }
        let frame_max = connection.frame_max;
        let templates = scenario
            .routing_keys(index)
            .flat_map(|key| (1..=channels).map(move |channel| (key, channel)))
            .flat_map(|(key, channel)| scenario.sizes.iter().map(move |size| (key, channel, *size)))
            .map(|(key, channel, size)| Template::new(scenario, key, channel, size, frame_max))
            .collect();
        let meter = &shared.producers[index];
        Ok(Self {
            scenario,
            shared,
            meter,
            index,
            connection: Some(connection),
            templates,
            sent: 0,
            unconfirmed: VecDeque::new(),
        })
    }

    fn produce(&mut self) -> Result<(), PerfError> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        match self.scenario.confirm {
            Some(window) => self.produce_confirmed(&mut connection, window)?,
            None => self.produce_unconfirmed(&mut connection)?,
        }
        // A broker in the middle of an alarm would never answer a close.
        let _ = connection.stream().shutdown(Shutdown::Write);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.shared.is_stopped() || self.scenario.producer_messages.is_some_and(|max| self.sent >= max)
    }

    /// How many messages may be sent by now.
    fn due(&self, started: Instant) -> u64 {
        let by_rate = self.scenario.rate.map_or(u64::MAX, |rate| (started.elapsed().as_secs_f64() * rate) as u64 + 1);
        by_rate.min(self.scenario.producer_messages.unwrap_or(u64::MAX)).saturating_sub(self.sent)
    }

    /// How long until another message is due.
    fn pause(&self, started: Instant) -> Duration {
        let Some(rate) = self.scenario.rate else { return Duration::ZERO };
        let at = started + Duration::from_secs_f64(self.sent as f64 / rate);
        at.saturating_duration_since(Instant::now()).min(Duration::from_millis(100))
    }

    fn append(&mut self, out: &mut Vec<u8>, now_ns: u64) {
        let mut stamp = [0; STAMP_LEN];
        stamp[..8].copy_from_slice(&now_ns.to_be_bytes());
        stamp[8..12].copy_from_slice(&(self.index as u32).to_be_bytes());
        stamp[12..].copy_from_slice(&(self.sent as u32).to_be_bytes());
        let template = usize::try_from(self.sent).unwrap_or(0) % self.templates.len();
        self.templates[template].append(out, &stamp);
        self.sent += 1;
    }

    fn produce_unconfirmed(&mut self, connection: &mut Connection) -> Result<(), PerfError> {
        // Somebody must read what the broker says, or it could not close the connection in words. In TLS nobody else can.
        let reader = connection.is_plain().then(|| self.spawn_reader(connection)).transpose()?;
        let started = Instant::now();
        let mut out = Vec::with_capacity(2 * WRITE_BYTES);
        let mut result = Ok(());
        while !self.is_done() {
            let due = self.due(started);
            if due == 0 {
                std::thread::sleep(self.pause(started).max(PAUSE_MIN));
                continue;
            }
            out.clear();
            let now_ns = self.shared.now_ns();
            let before = self.sent;
            while self.sent - before < due && out.len() < WRITE_BYTES {
                self.append(&mut out, now_ns);
            }
            result = connection.write(&out);
            if result.is_err() {
                break;
            }
            self.meter.messages.store(self.sent, Ordering::Relaxed);
        }
        if result.is_err() {
            // What the broker said is the better explanation.
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = connection.stream().shutdown(Shutdown::Both);
        match reader.map(std::thread::JoinHandle::join) {
            Some(Ok(Err(closed @ PerfError::Closed { .. }))) => Err(closed),
            _ => result,
        }
    }

    fn spawn_reader(
        &self,
        connection: &Connection,
    ) -> Result<std::thread::JoinHandle<Result<(), PerfError>>, PerfError> {
        let mut stream = connection.stream().try_clone().map_err(PerfError::io("clone socket"))?;
        stream.set_read_timeout(None).map_err(PerfError::io("read timeout"))?;
        Ok(std::thread::spawn(move || {
            let mut buffer = Vec::new();
            let mut chunk = vec![0; 16 * 1024];
            loop {
                let read = stream.read(&mut chunk).map_err(PerfError::io("read"))?;
                if read == 0 {
                    return Ok(());
                }
                buffer.extend_from_slice(&chunk[..read]);
                let mut from = 0;
                while let Ok(Some((frame, taken))) = crate::wire::cut(&buffer[from..], u32::MAX) {
                    from += taken;
                    if frame.kind == FrameKind::Method
                        && let Ok(method) = Method::decode(frame.payload)
                        && let Err(closed) = check_close(&method)
                    {
                        let _ = stream.shutdown(Shutdown::Both);
                        return Err(closed);
                    }
                }
                buffer.drain(..from);
            }
        }))
    }

    fn produce_confirmed(&mut self, connection: &mut Connection, window: usize) -> Result<(), PerfError> {
        let started = Instant::now();
        let mut out = Vec::with_capacity(2 * WRITE_BYTES);
        while !self.is_done() || (!self.unconfirmed.is_empty() && !self.shared.is_stopped()) {
            let room = window.saturating_sub(self.unconfirmed.len()) as u64;
            let due = if self.is_done() { 0 } else { self.due(started).min(room) };
            if due > 0 {
                out.clear();
                let now_ns = self.shared.now_ns();
                let before = self.sent;
                while self.sent - before < due && out.len() < WRITE_BYTES {
                    self.append(&mut out, now_ns);
                    self.unconfirmed.push_back((self.sent, now_ns));
                }
                connection.write(&out)?;
                self.meter.messages.store(self.sent, Ordering::Relaxed);
                if self.unconfirmed.len() < window && self.scenario.rate.is_none() {
                    continue;
                }
            }
            let pause = if self.scenario.rate.is_some() && self.unconfirmed.len() < window {
                self.pause(started)
            } else {
                Duration::from_millis(100)
            };
            self.read_confirms(connection, pause)?;
        }
        Ok(())
    }

    fn read_confirms(&mut self, connection: &mut Connection, at_most: Duration) -> Result<(), PerfError> {
        connection.set_read_timeout(at_most)?;
        let (shared, meter, unconfirmed) = (self.shared, self.meter, &mut self.unconfirmed);
        let mut latency = None;
        connection.read_frames(|frame| {
            let histogram = latency.get_or_insert_with(|| meter.latency());
            confirm(frame, unconfirmed, meter, |sent_ns| Meter::record(histogram, shared.now_ns() - sent_ns))?;
            Ok(true)
        })?;
        Ok(())
    }
}

fn confirm(
    frame: Frame<'_>,
    unconfirmed: &mut VecDeque<(u64, u64)>,
    meter: &Meter,
    mut record: impl FnMut(u64),
) -> Result<(), PerfError> {
    if frame.kind != FrameKind::Method {
        return Ok(());
    }
    let method = Method::decode(frame.payload).map_err(|error| PerfError::Protocol(error.to_string()))?;
    check_close(&method)?;
    let (tag, multiple, counter) = match method {
        Method::BasicAck { delivery_tag, multiple } => (delivery_tag, multiple, &meter.confirmed),
        Method::BasicNack { delivery_tag, multiple, .. } => (delivery_tag, multiple, &meter.nacked),
        Method::BasicReturn { .. } => {
            meter.returned.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        _ => return Ok(()),
    };
    if multiple {
        while let Some((number, sent_ns)) = unconfirmed.front().copied()
            && (number <= tag || tag == 0)
        {
            unconfirmed.pop_front();
            counter.fetch_add(1, Ordering::Relaxed);
            record(sent_ns);
        }
    } else if let Ok(at) = unconfirmed.binary_search_by_key(&tag, |(number, _)| *number)
        && let Some((_, sent_ns)) = unconfirmed.remove(at)
    {
        counter.fetch_add(1, Ordering::Relaxed);
        record(sent_ns);
    }
    Ok(())
}
