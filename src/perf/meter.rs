//! Counters and histograms that all threads of a run share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::scenario::Scenario;

/// Sums over all threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) confirmed: u64,
    pub(super) nacked: u64,
    pub(super) returned: u64,
}

/// One thread's counters, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Meter {
    pub(super) messages: AtomicU64,
    pub(super) confirmed: AtomicU64,
    pub(super) nacked: AtomicU64,
    pub(super) returned: AtomicU64,
    /// Lost, duplicated or out of order, if checked.
    pub(super) violations: AtomicU64,
    /// Nanoseconds.
    latency: Mutex<Option<Histogram<u64>>>,
}

impl Meter {
    /// Not to be held while waiting for the broker: the report wants it, too.
    pub(super) fn latency(&self) -> MutexGuard<'_, Option<Histogram<u64>>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a latency in ns.
    pub(super) fn record(histogram: &mut Option<Histogram<u64>>, ns: u64) {
        let histogram = histogram.get_or_insert_with(new_histogram);
        histogram.saturating_record(ns);
    }
}

/// 1 µs to 10 minutes with three digits.
pub(super) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1000, 600_000_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds are valid"))
}

/// See the module's documentation.
pub(super) struct Shared {
    pub(super) producers: Vec<Meter>,
    pub(super) consumers: Vec<Meter>,
    stop: AtomicBool,
    consumers_ready: AtomicUsize,
    active: AtomicUsize,
    stopped_at: Mutex<Option<Instant>>,
    epoch: Instant,
}

impl Shared {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let meters = |count: usize| (0..count).map(|_| Meter::default()).collect();
        Self {
            producers: meters(scenario.producers),
            consumers: meters(scenario.consumers),
            stop: AtomicBool::new(false),
            consumers_ready: AtomicUsize::new(0),
            active: AtomicUsize::new(scenario.producers + scenario.consumers),
            stopped_at: Mutex::default(),
            epoch: Instant::now(),
        }
    }

    /// Nanoseconds since the run began: what bodies are stamped with.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn consumer_ready(&self) {
        self.consumers_ready.fetch_add(1, Ordering::SeqCst);
    }

    /// Consumers subscribe before the first message is sent; one that fails stops the run.
    pub(super) fn wait_for_consumers(&self) {
        while self.consumers_ready.load(Ordering::SeqCst) < self.consumers.len() && !self.is_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn finished(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        if !self.stop.swap(true, Ordering::SeqCst) {
            *self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// From the first message to the stop.
    pub(super) fn elapsed(&self, started: Instant) -> Duration {
        let stopped = *self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.unwrap_or_else(Instant::now).saturating_duration_since(started)
    }

    pub(super) fn counts(&self) -> Counts {
        let sum = |meters: &[Meter], field: fn(&Meter) -> &AtomicU64| {
            meters.iter().map(|meter| field(meter).load(Ordering::Relaxed)).sum()
        };
        Counts {
            sent: sum(&self.producers, |meter| &meter.messages),
            received: sum(&self.consumers, |meter| &meter.messages),
            confirmed: sum(&self.producers, |meter| &meter.confirmed),
            nacked: sum(&self.producers, |meter| &meter.nacked),
            returned: sum(&self.producers, |meter| &meter.returned),
        }
    }

    pub(super) fn violations(&self) -> u64 {
        self.consumers.iter().map(|meter| meter.violations.load(Ordering::Relaxed)).sum()
    }

    /// All latencies of one side, put together.
    pub(super) fn histogram(meters: &[Meter]) -> Option<Histogram<u64>> {
        let mut all: Option<Histogram<u64>> = None;
        for meter in meters {
            if let Some(own) = &*meter.latency() {
                let _ = all.get_or_insert_with(new_histogram).add(own);
            }
        }
        all
    }
}
