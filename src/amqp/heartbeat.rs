//! Whether the peer is alive, and telling it that this side is (HS-7).

use std::time::{Duration, Instant};

use super::outbound::Outbound;
use crate::wire::write_heartbeat;

/// What went over the socket since the session last asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Something was written.
    pub sent: bool,
    /// Something was read; or nobody read, so that silence means nothing.
    pub received: bool,
}

/// The clock of a connection that agreed on an interval.
///
/// ```text
/// interval        0         1         2         3
/// sent            |----h----h----h----h----h----h     where nothing else was sent for half an interval
/// received        |-x-------|---------|---------|     x: the last the peer said
///                           heard     1 missed  2 missed: it is gone, after 2 to 3 intervals
/// ```
#[derive(Debug)]
pub(super) struct Heartbeats {
    interval: Duration,
    next_send: Instant,
    sent: bool,
    next_check: Instant,
    received: bool,
    /// Checks in a row that found nothing received.
    missed: u32,
}

impl Heartbeats {
    /// `None`: the client wants none.
    pub(super) fn new(interval_s: u16, now: Instant) -> Option<Self> {
        let interval = Duration::from_secs(interval_s.into());
        (interval_s > 0).then(|| Self {
            interval,
            next_send: now + interval / 2,
            sent: false,
            next_check: now + interval,
            received: true,
            missed: 0,
        })
    }

    /// When [`Self::tick`] wants to be called.
    pub(super) fn next_tick(&self) -> Instant {
        self.next_send.min(self.next_check)
    }

    /// Sends a heartbeat if one is due. True: the peer is gone.
    pub(super) fn tick(&mut self, now: Instant, traffic: Traffic, out: &mut Outbound) -> bool {
        self.sent |= traffic.sent;
        self.received |= traffic.received;
        if self.next_send <= now {
            if !std::mem::take(&mut self.sent) {
                out.frames(write_heartbeat);
            }
            self.next_send = now + self.interval / 2;
        }
        if self.next_check <= now {
            let alive = std::mem::take(&mut self.received);
            self.missed = if alive { 0 } else { self.missed + 1 };
            self.next_check = now + self.interval;
        }
        self.missed >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds at which a heartbeat was sent, and at which the peer was given up, if it says something at `heard`.
    fn run(interval_s: u16, heard: &[u64], sends: bool) -> (Vec<f64>, Option<f64>) {
        let start = Instant::now();
        let mut heartbeats = Heartbeats::new(interval_s, start).unwrap();
        let (mut beats, mut before) = (Vec::new(), start);
        for _ in 0..40 {
            let now = heartbeats.next_tick();
            let within = |second: &u64| (before..now).contains(&(start + Duration::from_secs(*second)));
            let traffic = Traffic { sent: sends, received: heard.iter().any(within) };
            before = now;
            let mut out = Outbound::default();
            let gone = heartbeats.tick(now, traffic, &mut out);
            let second = (now - start).as_secs_f64();
            if !out.is_empty() {
                beats.push(second);
            }
            if gone {
                return (beats, Some(second));
            }
        }
        (beats, None)
    }

    /// FEATURES HS-7: heartbeats at 1, 2, 3, 4, 5 s and the drop at 6 s for an interval of 2 s.
    #[test]
    fn a_silent_peer_is_dropped_after_two_to_three_intervals() {
        let (beats, gone) = run(2, &[], false);
        assert_eq!(gone, Some(6.0));
        assert_eq!(beats, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(run(2, &[3], false).1, Some(8.0));
        assert_eq!(run(2, &[3, 4], false).1, Some(10.0));
    }

    /// FEATURES FR-11.
    #[test]
    fn traffic_stands_for_heartbeats() {
        let heard: Vec<u64> = (0..100).collect();
        assert_eq!(run(2, &heard, true), (Vec::new(), None));
        let heard: Vec<u64> = (0..30).map(|n| 50 + 60 * n).collect();
        assert_eq!(run(60, &heard, false).1, None);
    }

    #[test]
    fn zero_is_none() {
        assert!(Heartbeats::new(0, Instant::now()).is_none());
    }
}
