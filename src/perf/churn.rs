//! Opening and closing instead of sending: connections, channels, queues, bindings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum as _;

use super::args::{Args, Churn};
use super::connection::{Connection, PerfError, Uri};
use super::process::Process;
use crate::wire::{Method, RawTable};

/// How long a run takes that is bounded by nothing else.
const DEFAULT_SECONDS: f64 = 10.0;

/// Runs `-x` loops until `-z` seconds are over or each has done `-C` rounds.
pub(super) fn run(args: &Args, kind: Churn) -> Result<bool, PerfError> {
    let uri = Arc::new(Uri::parse(&args.uri)?);
    let process = args.broker_pid.map(Process::new).transpose()?;
    let before = process.as_ref().map(Process::sample).transpose()?;
    let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let started = Instant::now();
    let max = args.pmessages.unwrap_or(u64::MAX);
    let threads: Vec<_> = (0..args.producers.max(1))
        .map(|index| {
            let (uri, rounds, stop) = (uri.clone(), rounds.clone(), stop.clone());
            std::thread::spawn(move || Loop { uri: &uri, rounds: &rounds, stop: &stop, max }.run(kind, index))
        })
        .collect();
    let until = args.time.or(args.pmessages.is_none().then_some(DEFAULT_SECONDS));
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        if until.is_some_and(|seconds| started.elapsed().as_secs_f64() >= seconds) {
            stop.store(true, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let elapsed = started.elapsed().as_secs_f64();
    for thread in threads {
        if let Ok(Err(error)) = thread.join() {
            return Err(error);
        }
    }
    let after = process.as_ref().map(Process::sample).transpose()?;
    let rounds = rounds.load(Ordering::Relaxed);
    let cpu_us = before.zip(after).map(|(before, after)| (after.cpu_s - before.cpu_s) * 1e6 / rounds.max(1) as f64);
    let rate = rounds as f64 / elapsed;
    if args.json {
        let kind = kind.to_possible_value();
        let summary = serde_json::json!({
            "churn": kind.as_ref().map(|kind| kind.get_name()), "rounds": rounds, "seconds": elapsed, "per_s": rate,
            "broker_cpu_us_per_round": cpu_us,
        });
        println!("{summary}");
    } else {
        println!("{rounds} rounds of {kind:?} in {elapsed:.2} s: {rate:.0}/s");
        if let Some(cpu_us) = cpu_us {
            println!("broker: {cpu_us:.2} µs CPU a round");
        }
    }
    Ok(true)
}

struct Loop<'a> {
    uri: &'a Uri,
    rounds: &'a AtomicU64,
    stop: &'a AtomicBool,
    max: u64,
}

impl Loop<'_> {
    fn run(&self, kind: Churn, index: usize) -> Result<(), PerfError> {
        match kind {
            Churn::Connections => self.repeat(|_| {
                let mut connection = self.connect(index)?;
                connection.open_channel(1)?;
                connection.close()
            }),
            Churn::Channels => self.connected(index, |connection, _| {
                connection.open_channel(2)?;
                let close = Method::ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
                connection.call(2, &close, |method| matches!(method, Method::ChannelCloseOk {}))
            }),
            Churn::Queues => self.connected(index, |connection, round| {
                let queue = format!("perf-churn-{index}-{round}");
                declare(connection, &queue)?;
                let delete = Method::QueueDelete { queue: &queue, if_unused: false, if_empty: false, nowait: false };
                connection.call(1, &delete, |method| matches!(method, Method::QueueDeleteOk { .. }))
            }),
            Churn::Binds | Churn::BindsAndUnbinds => {
                let queue = format!("perf-churn-{index}");
                self.connected(index, |connection, round| {
                    if round == 0 {
                        declare(connection, &queue)?;
                    }
                    let key = format!("key-{round}");
                    bind(connection, &queue, &key)?;
                    if kind == Churn::BindsAndUnbinds { unbind(connection, &queue, &key) } else { Ok(()) }
                })
            }
        }
    }

    fn connect(&self, index: usize) -> Result<Connection, PerfError> {
        Connection::open(self.uri, 0, &format!("perf-churn-{index}"))
    }

    fn connected(
        &self,
        index: usize,
        mut round: impl FnMut(&mut Connection, u64) -> Result<(), PerfError>,
    ) -> Result<(), PerfError> {
        let mut connection = self.connect(index)?;
        connection.open_channel(1)?;
        self.repeat(|number| round(&mut connection, number))?;
        connection.close()
    }

    fn repeat(&self, mut round: impl FnMut(u64) -> Result<(), PerfError>) -> Result<(), PerfError> {
        let mut number = 0;
        while number < self.max && !self.stop.load(Ordering::Relaxed) {
            round(number)?;
            number += 1;
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn declare(connection: &mut Connection, queue: &str) -> Result<(), PerfError> {
    let declare = Method::QueueDeclare {
        queue,
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: false,
        arguments: RawTable::default(),
    };
    connection.call(1, &declare, |method| matches!(method, Method::QueueDeclareOk { .. }))
}

fn bind(connection: &mut Connection, queue: &str, key: &str) -> Result<(), PerfError> {
    let arguments = RawTable::default();
    let bind = Method::QueueBind { queue, exchange: "amq.direct", routing_key: key, nowait: false, arguments };
    connection.call(1, &bind, |method| matches!(method, Method::QueueBindOk {}))
}

fn unbind(connection: &mut Connection, queue: &str, key: &str) -> Result<(), PerfError> {
    let unbind =
        Method::QueueUnbind { queue, exchange: "amq.direct", routing_key: key, arguments: RawTable::default() };
    connection.call(1, &unbind, |method| matches!(method, Method::QueueUnbindOk {}))
}
