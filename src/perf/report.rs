//! Progress lines and the summary.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::meter::{Counts, Shared};
use super::process::Sample;
use super::scenario::Scenario;

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    min: f64,
    median: f64,
    p75: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1000.0;
        let quantile = |q| us(histogram.value_at_quantile(q));
        Self {
            min: us(histogram.min()),
            median: quantile(0.5),
            p75: quantile(0.75),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: us(histogram.max()),
        }
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, median, p75, p95, p99, p999, max } = self;
        write!(f, "{min:.0}/{median:.0}/{p75:.0}/{p95:.0}/{p99:.0}/{p999:.0}/{max:.0} µs")
    }
}

/// What the broker's process cost.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    cpu_s: f64,
    cpu_us_per_message: f64,
    rss_bytes_before: u64,
    rss_bytes_after: u64,
    rss_bytes_max: u64,
}

/// The end of a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    seconds: f64,
    sent: u64,
    received: u64,
    confirmed: u64,
    nacked: u64,
    returned: u64,
    sent_per_s: f64,
    received_per_s: f64,
    confirmed_per_s: f64,
    violations: u64,
    consumer_latency_us: Option<Latency>,
    confirm_latency_us: Option<Latency>,
    broker: Option<Cost>,
}

impl Report {
    pub(super) fn new(
        scenario: &Scenario,
        shared: &Shared,
        elapsed: Duration,
        cost: Option<(Sample, Sample)>,
        rss_max: Option<u64>,
    ) -> Self {
        let Counts { sent, received, confirmed, nacked, returned } = shared.counts();
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let messages = if scenario.producers > 0 { sent } else { received };
        let broker = cost.map(|(before, after)| {
            let cpu_s = after.cpu_s - before.cpu_s;
            Cost {
                cpu_s,
                cpu_us_per_message: cpu_s * 1e6 / messages.max(1) as f64,
                rss_bytes_before: before.rss_bytes,
                rss_bytes_after: after.rss_bytes,
                rss_bytes_max: rss_max.unwrap_or(0).max(after.rss_bytes),
            }
        });
        Self {
            seconds,
            sent,
            received,
            confirmed,
            nacked,
            returned,
            sent_per_s: sent as f64 / seconds,
            received_per_s: received as f64 / seconds,
            confirmed_per_s: confirmed as f64 / seconds,
            violations: shared.violations(),
            consumer_latency_us: Shared::histogram(&shared.consumers).as_ref().map(Latency::of),
            confirm_latency_us: Shared::histogram(&shared.producers).as_ref().map(Latency::of),
            broker,
        }
    }

    pub(super) fn has_violations(&self) -> bool {
        self.violations > 0
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            match serde_json::to_string(self) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("no report: {error}"),
            }
            return;
        }
        println!(
            "sent {} ({:.0}/s), received {} ({:.0}/s), confirmed {}, nacked {}, returned {} in {:.2} s",
            self.sent,
            self.sent_per_s,
            self.received,
            self.received_per_s,
            self.confirmed,
            self.nacked,
            self.returned,
            self.seconds
        );
        let quantiles = "min/median/75th/95th/99th/99.9th/max";
        if let Some(latency) = &self.consumer_latency_us {
            println!("consumer latency {quantiles}: {latency}");
        }
        if let Some(latency) = &self.confirm_latency_us {
            println!("confirm latency {quantiles}: {latency}");
        }
        if let Some(cost) = &self.broker {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "broker: {:.2} s CPU, {:.3} µs a message, RSS {:.1} -> {:.1} MiB, at most {:.1} MiB",
                cost.cpu_s,
                cost.cpu_us_per_message,
                mib(cost.rss_bytes_before),
                mib(cost.rss_bytes_after),
                mib(cost.rss_bytes_max)
            );
        }
        if self.violations > 0 {
            println!("{} messages lost, duplicated or out of order", self.violations);
        }
    }
}

/// One line of progress.
pub(super) fn print_line(at: Duration, last: &Counts, counts: &Counts, over: Duration, shared: &Shared) {
    let rate = |before: u64, after: u64| (after - before) as f64 / over.as_secs_f64().max(1e-9);
    let confirmed = if counts.confirmed > 0 {
        format!(
            ", confirmed {:.0}/s, nacked {:.0}/s",
            rate(last.confirmed, counts.confirmed),
            rate(last.nacked, counts.nacked)
        )
    } else {
        String::new()
    };
    let latency = Shared::histogram(&shared.consumers).as_ref().map(Latency::of);
    let latency = latency.map(|latency| format!(", latency so far {latency}")).unwrap_or_default();
    println!(
        "{:.1} s: sent {:.0}/s, received {:.0}/s{confirmed}{latency}",
        at.as_secs_f64(),
        rate(last.sent, counts.sent),
        rate(last.received, counts.received)
    );
}
