//! Heartbeats (HS-7): told when something is sent or received, and asked now and then whether the peer is gone.

use std::mem;
use std::time::{Duration, Instant};

use super::outbound::Outbound;
use crate::wire;

/// Whether both sides are alive.
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
    pub(super) fn new(seconds: u16, now: Instant) -> Option<Self> {
        let interval = Duration::from_secs(seconds.into());
        (seconds > 0).then(|| Self {
            interval,
            next_send: now + interval / 2,
            sent: false,
            next_check: now + interval,
            received: true,
            missed: 0,
        })
    }

    /// Bytes have come, whatever they are (FR-11).
    pub(super) fn received(&mut self) {
        self.received = true;
    }

    /// When [`Self::beat`] wants to be called.
    pub(super) fn next_timeout(&self) -> Instant {
        self.next_send.min(self.next_check)
    }

    /// Sends a heartbeat if nothing else was `sent` for half the interval. True: the peer was silent for too long while
    /// the socket was read (`listens`).
    pub(super) fn beat(&mut self, now: Instant, sent: bool, listens: bool, out: &mut Outbound) -> bool {
        self.sent |= sent;
        if self.next_send <= now {
            if !mem::take(&mut self.sent) {
                out.frames(wire::write_heartbeat);
            }
            self.next_send = now + self.interval / 2;
        }
        if self.next_check <= now {
            let alive = mem::take(&mut self.received) || !listens;
            self.missed = if alive { 0 } else { self.missed + 1 };
            self.next_check = now + self.interval;
        }
        self.missed >= 2
    }
}
