//! Refused logins in the log: who tried from where. A flood of them is a few lines a second, with how many were left out.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tracing::info;

use super::Broker;

/// Lines a second.
const LINES_MAX: u32 = 10;

/// What was told in this second.
#[derive(Debug, Default)]
pub(super) struct RefusedLogins(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Since the start of the broker.
    second: u64,
    lines: u32,
    left_out: u64,
}

impl RefusedLogins {
    /// Whether one more may be told in this second, and how many were not told before it.
    fn tell(&self, second: u64) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.second != second {
            (told.second, told.lines) = (second, 0);
        }
        if told.lines == LINES_MAX {
            told.left_out += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.left_out))
    }
}

impl Broker {
    /// Tells of a login that was refused; `reason` names the user and no secret.
    pub fn log_refused_login(&self, protocol: &str, mechanism: &str, from: Option<SocketAddr>, reason: &dyn Display) {
        if let Some(left_out) = self.0.refused_logins.tell(self.0.started.elapsed().as_secs()) {
            let from = from.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()).to_string());
            let left_out = (left_out > 0).then_some(left_out);
            info!(target: "connection", from, protocol, mechanism, %reason, left_out, "login refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines() {
        let logins = RefusedLogins::default();
        assert!((0..LINES_MAX).all(|_| logins.tell(0) == Some(0)));
        assert_eq!([logins.tell(0), logins.tell(0)], [None, None]);
        assert_eq!([logins.tell(1), logins.tell(1)], [Some(2), Some(0)]);
    }
}
