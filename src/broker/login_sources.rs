//! Who tried to log in from where: attempts counted for each address, user and protocol (`track_auth_attempt_source`).
//!
//! It is off unless an operator wants it, as in RabbitMQ. Whoever attacks chooses addresses and names, so what is remembered
//! is bounded: the sources that were quiet for longest are forgotten.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use super::Broker;

/// Sources remembered of each of two generations; with names of any length some megabytes.
const SOURCES_MAX: usize = 5_000;

/// Longer names are cut: the broker has none.
const NAME_BYTES_MAX: usize = 255;

/// Where an attempt came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginSource {
    /// The client's address; that of the machine behind a proxy that tells it.
    pub address: IpAddr,
    /// Who it says to be; empty for a token that is refused.
    pub user: Box<str>,
    /// `amqp091` or `http`.
    pub protocol: &'static str,
}

/// What came from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginCounts {
    /// All attempts.
    pub all: u64,
    /// Those that were refused.
    pub refused: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct LoginSources {
    is_on: AtomicBool,
    seen: Mutex<Seen>,
}

/// Two generations: a source that tries again comes into the young one; when that is full it becomes the old one, and what
/// was in the old one and did not come again is forgotten. So no attempt costs more than another.
#[derive(Debug, Default)]
struct Seen {
    young: HashMap<LoginSource, LoginCounts>,
    old: HashMap<LoginSource, LoginCounts>,
}

impl Seen {
    fn count(&mut self, source: LoginSource, succeeded: bool) {
        if self.young.len() == SOURCES_MAX && !self.young.contains_key(&source) {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.remove(&source).unwrap_or_default();
        let counts = self.young.entry(source).or_insert(before);
        counts.all += 1;
        counts.refused += u64::from(!succeeded);
    }
}

impl Broker {
    /// Counts attempts by their source from now on, or no more; what was counted stays.
    pub fn track_login_sources(&self, is_on: bool) {
        self.0.login_sources.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Counts an attempt, if that is wanted.
    pub fn count_login_source(&self, protocol: &'static str, address: IpAddr, user: &str, succeeded: bool) {
        let sources = &self.0.login_sources;
        if !sources.is_on.load(Ordering::Relaxed) {
            return;
        }
        let user = user[..user.floor_char_boundary(NAME_BYTES_MAX)].into();
        let source = LoginSource { address: address.to_canonical(), user, protocol };
        sources.seen.lock().unwrap_or_else(PoisonError::into_inner).count(source, succeeded);
    }

    /// The sources that are remembered, in order.
    pub fn login_sources(&self) -> Vec<(LoginSource, LoginCounts)> {
        let seen = self.0.login_sources.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all = seen.young.iter().chain(&seen.old);
        let mut all: Vec<_> = all.map(|(source, counts)| (source.clone(), *counts)).collect();
        drop(seen);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Begins to count anew.
    pub fn forget_login_sources(&self) {
        *self.0.login_sources.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn source(number: u128, user: &str) -> LoginSource {
        LoginSource { address: Ipv6Addr::from(number).into(), user: user.into(), protocol: "amqp091" }
    }

    /// However many addresses an attack has, and whatever names: memory is bounded, and whoever comes again is remembered.
    #[test]
    fn an_attack_from_everywhere_is_bounded() {
        let mut seen = Seen::default();
        let own = source(0, "hare");
        for number in 0..10 * SOURCES_MAX as u128 {
            seen.count(source(number, &format!("fox {number}")), false);
            if number % 1000 == 0 {
                seen.count(own.clone(), number % 2000 == 0);
            }
            assert!(seen.young.len() <= SOURCES_MAX && seen.old.len() <= SOURCES_MAX);
        }
        let counted = seen.young.get(&own).or_else(|| seen.old.get(&own)).copied();
        assert_eq!(counted, Some(LoginCounts { all: 50, refused: 25 }));
    }

    /// A source is in one generation only.
    #[test]
    fn generations_do_not_overlap() {
        let mut seen = Seen::default();
        seen.count(source(0, "hare"), true);
        (1..=SOURCES_MAX as u128).for_each(|number| seen.count(source(number, "fox"), false));
        assert_eq!((seen.young.len(), seen.old.len()), (1, SOURCES_MAX));
        seen.count(source(0, "hare"), false);
        assert_eq!((seen.young.len(), seen.old.len()), (2, SOURCES_MAX - 1));
        assert_eq!(seen.young[&source(0, "hare")], LoginCounts { all: 2, refused: 1 });
    }
}
