//! A consumer: deliveries are cut in place, counted, timed and acked.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::{Connection, PerfError, check_close};
use super::meter::{Meter, Shared};
use super::scenario::Scenario;
use crate::wire::{Frame, FrameKind, Method, RawTable, write_ack};

/// Above this rate of arrival only each so many-th message is timed: a histogram costs more than a message.
const SAMPLE_EVERY: u64 = 16;
/// How often a consumer looks whether the run is over.
const LOOK: Duration = Duration::from_millis(100);
/// basic.deliver.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

pub(super) fn run(scenario: &Scenario, shared: &Shared, index: usize) -> Result<(), PerfError> {
    let result = subscribe(scenario, index).and_then(|connection| {
        shared.consumer_ready();
        Consumer::new(scenario, shared, index).consume(connection)
    });
    shared.finished();
    if result.is_err() {
        shared.stop();
    }
    result
}

fn subscribe(scenario: &Scenario, index: usize) -> Result<Connection, PerfError> {
    let mut connection = scenario.connect(&format!("perf-consumer-{index}"))?;
    for channel in 1..=scenario.consumer_channels {
        connection.open_channel(channel)?;
        for (count, global) in [(scenario.qos, false), (scenario.global_qos, true)] {
            if count > 0 {
                let qos = Method::BasicQos { prefetch_size: 0, prefetch_count: count, global };
                connection.call(channel, &qos, |method| matches!(method, Method::BasicQosOk {}))?;
            }
        }
        for queue in scenario.consumed_queues(index) {
            let consume = Method::BasicConsume {
                queue,
                consumer_tag: "",
                no_local: false,
                no_ack: scenario.autoack,
                exclusive: false,
                nowait: false,
                arguments: RawTable::default(),
            };
            connection.call(channel, &consume, |method| matches!(method, Method::BasicConsumeOk { .. }))?;
        }
    }
    Ok(connection)
}

struct Consumer<'a> {
    scenario: &'a Scenario,
    shared: &'a Shared,
    meter: &'a Meter,
    received: u64,
    /// Of the content under way.
    delivery_tag: u64,
    missing: u64,
    body_begins: bool,
    /// Unacked since the last ack, by channel.
    unacked: HashMap<u16, u32>,
    /// Last number seen of each producer.
    numbers: HashMap<u32, u32>,
    timed: bool,
    sample_every: u64,
}

impl<'a> Consumer<'a> {
    fn new(scenario: &'a Scenario, shared: &'a Shared, index: usize) -> Self {
        let slow = scenario.rate.is_some() || scenario.confirm.is_some() || scenario.consumer_rate.is_some();
        Self {
            scenario,
            shared,
            meter: &shared.consumers[index],
            received: 0,
            delivery_tag: 0,
            missing: 0,
            body_begins: false,
            unacked: HashMap::new(),
            numbers: HashMap::new(),
            timed: scenario.has_stamps(),
            sample_every: if slow { 1 } else { SAMPLE_EVERY },
        }
    }

    fn consume(&mut self, mut connection: Connection) -> Result<(), PerfError> {
        connection.set_read_timeout(LOOK)?;
        let started = Instant::now();
        let mut acks = Vec::new();
        let shared = self.shared;
        let done = |consumer: &Self| consumer.scenario.consumer_messages.is_some_and(|max| consumer.received >= max);
        while !shared.is_stopped() && !done(self) {
            let allowed = self.allowed(started);
            if self.received >= allowed {
                std::thread::sleep(self.pause(started));
                continue;
            }
            let meter = self.meter;
            let mut latency = None;
            connection.read_frames(|frame| {
                let histogram = latency.get_or_insert_with(|| meter.latency());
                self.frame(frame, &mut acks, histogram)?;
                Ok(!done(self) && self.received < allowed)
            })?;
            drop(latency);
            meter.messages.store(self.received, Ordering::Relaxed);
            if !acks.is_empty() {
                connection.write(&acks)?;
                acks.clear();
            }
        }
        for (channel, unacked) in std::mem::take(&mut self.unacked) {
            if unacked > 0 {
                write_ack(&mut acks, channel, 0, true);
            }
        }
        connection.write(&acks)?;
        connection.close()
    }

    /// How many messages it may have had by now.
    fn allowed(&self, started: Instant) -> u64 {
        self.scenario.consumer_rate.map_or(u64::MAX, |rate| (started.elapsed().as_secs_f64() * rate) as u64 + 1)
    }

    /// How long until another message is allowed; the end of the run is looked for meanwhile.
    fn pause(&self, started: Instant) -> Duration {
        let Some(rate) = self.scenario.consumer_rate else { return Duration::ZERO };
        let at = started + Duration::from_secs_f64(self.received as f64 / rate);
        at.saturating_duration_since(Instant::now()).min(LOOK)
    }

    fn frame(
        &mut self,
        frame: Frame<'_>,
        acks: &mut Vec<u8>,
        latency: &mut Option<hdrhistogram::Histogram<u64>>,
    ) -> Result<(), PerfError> {
        match frame.kind {
            FrameKind::Method => self.method(frame.payload)?,
            FrameKind::Header => {
                let size = frame.payload.get(4..12).and_then(|size| size.try_into().ok()).map_or(0, u64::from_be_bytes);
                self.missing = size;
                self.body_begins = true;
                if size == 0 {
                    self.complete(frame.channel, acks);
                }
            }
            FrameKind::Body => {
                if std::mem::take(&mut self.body_begins) {
                    self.look_at(frame.payload, latency);
                }
                self.missing = self.missing.saturating_sub(frame.payload.len() as u64);
                if self.missing == 0 {
                    self.complete(frame.channel, acks);
                }
            }
            FrameKind::Heartbeat => {}
        }
        Ok(())
    }

    fn method(&mut self, payload: &[u8]) -> Result<(), PerfError> {
        let Some(arguments) = payload.strip_prefix(&DELIVER) else {
            let method = Method::decode(payload).map_err(|error| PerfError::Protocol(error.to_string()))?;
            if let Method::BasicCancel { .. } = method {
                return Err(PerfError::Protocol("the broker cancelled the consumer".into()));
            }
            return check_close(&method);
        };
        let tag = arguments.split_first().and_then(|(length, rest)| rest.get(usize::from(*length)..));
        let tag = tag.and_then(|rest| rest.first_chunk()).map(|tag| u64::from_be_bytes(*tag));
        self.delivery_tag = tag.ok_or_else(|| PerfError::Protocol("short basic.deliver".into()))?;
        Ok(())
    }

    fn look_at(&mut self, body: &[u8], latency: &mut Option<hdrhistogram::Histogram<u64>>) {
        if self.timed
            && self.received.is_multiple_of(self.sample_every)
            && let Some(sent_ns) = body.first_chunk().map(|ns| u64::from_be_bytes(*ns))
        {
            Meter::record(latency, self.shared.now_ns().saturating_sub(sent_ns));
        }
        if self.scenario.check
            && let Some((producer, number)) = body.get(8..12).zip(body.get(12..16))
            && let (Ok(producer), Ok(number)) = (producer.try_into(), number.try_into())
        {
            let (producer, number) = (u32::from_be_bytes(producer), u32::from_be_bytes(number));
            // With one consumer on the queue every number must come; with several, each sees a rising part of them.
            let alone = self.scenario.consumers <= self.scenario.queues.len() && self.scenario.consumer_channels == 1;
            let expected = match self.numbers.insert(producer, number) {
                None => !alone || number == 0,
                Some(last) if alone => number == last.wrapping_add(1),
                Some(last) => number > last,
            };
            if !expected {
                self.meter.violations.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn complete(&mut self, channel: u16, acks: &mut Vec<u8>) {
        self.received += 1;
        if self.scenario.autoack {
            return;
        }
        let unacked = self.unacked.entry(channel).or_default();
        *unacked += 1;
        if *unacked >= self.scenario.ack_every {
            *unacked = 0;
            write_ack(acks, channel, self.delivery_tag, self.scenario.ack_every > 1);
        }
    }
}
