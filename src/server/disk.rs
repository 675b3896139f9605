//! The disk alarm: compares what is free where the data directory lies with the limit, and tells the broker (FL-1).
//!
//! RabbitMQ looks the less often the more is free, and so does this, but more often, since this broker fills a disk faster;
//! so that publishing goes on soon after somebody has made room, too. However low the limit is, publishers are blocked
//! while there is room for what the broker itself has to write until consumers have made more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::statvfs;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::memory;
use crate::broker::{Alarm, Broker, Watermark};

const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// While the alarm is on.
const INTERVAL_ALARMED: Duration = Duration::from_millis(500);

/// No disk is filled faster than this.
const FILLED_BYTES_PER_MS: u64 = 2_000_000;

/// The alarm, and the limit that it is about.
#[derive(Debug)]
pub(super) struct DiskAlarm {
    broker: Broker,
    path: PathBuf,
    /// What fractions are of, if not of the machine's memory.
    memory_bytes: Option<u64>,
    /// What is to be free in any case.
    reserve_bytes: u64,
    state: Mutex<State>,
    /// The limit is another: when to look again is, too.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    /// As it was set, and as it is shown; `None`: a part of nobody knows how much, and the reserve is all there is.
    limit_bytes: Option<u64>,
    disk: Disk,
}

impl DiskAlarm {
    /// `limit` may be a fraction of memory, as RabbitMQ's `disk_free_limit.relative`.
    pub(super) fn new(
        broker: Broker,
        path: PathBuf,
        limit: Watermark,
        memory_bytes: Option<u64>,
        reserve_bytes: u64,
    ) -> Self {
        let limit_bytes = memory::watermark_bytes(limit, memory_bytes);
        if limit_bytes.is_none() {
            warn!("the memory of this machine is unknown, and the limit of free disk space a part of it: it is off");
        }
        let state = Mutex::new(State { limit_bytes, disk: Disk::default() });
        Self { broker, path, memory_bytes, reserve_bytes, state, moved: Notify::new() }
    }

    pub(super) fn limit_bytes(&self) -> Option<u64> {
        self.state().limit_bytes
    }

    /// Another limit is in force when this returns: the alarm is what it has to be. `None`: it is a part of a total that is
    /// unknown, and nothing has changed.
    pub(super) fn set_limit(&self, limit: Watermark) -> Option<()> {
        let limit_bytes = memory::watermark_bytes(limit, self.memory_bytes)?;
        self.state().limit_bytes = Some(limit_bytes);
        info!(limit_bytes, "limit of free disk space set");
        self.look();
        self.moved.notify_one();
        Some(())
    }

    /// Watches until aborted. Events: the time to look again, another limit.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            let interval = self.look();
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.moved.notified() => {}
            }
        }
    }

    /// Measures, and gives the time until that is to be done again.
    fn look(&self) -> Duration {
        let mut state = self.state();
        let limit_bytes = state.limit_bytes.unwrap_or_default().max(self.reserve_bytes);
        state.disk.look(free_bytes(&self.path), limit_bytes, |is_on| self.broker.set_alarm(Alarm::Disk, is_on))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is free to this process on the disk of a directory.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What is known of the disk.
#[derive(Debug, Default)]
struct Disk {
    is_alarmed: bool,
    is_unknown: bool,
}

impl Disk {
    /// Takes a measurement, tells `set` if the alarm changes, and gives the time until the next.
    fn look(&mut self, free: io::Result<u64>, limit_bytes: u64, set: impl FnOnce(bool)) -> Duration {
        let free_bytes = match free {
            Ok(free_bytes) => free_bytes,
            Err(error) => {
                if !self.is_unknown {
                    warn!(%error, "free disk space cannot be read: the disk alarm stays as it is");
                }
                self.is_unknown = true;
                return INTERVAL_MAX;
            }
        };
        self.is_unknown = false;
        let is_alarmed = free_bytes < limit_bytes;
        if is_alarmed != self.is_alarmed {
            self.is_alarmed = is_alarmed;
            set(is_alarmed);
            if is_alarmed {
                warn!("Free disk space is insufficient. Free bytes: {free_bytes}. Limit: {limit_bytes}");
            } else {
                info!("Free disk space is sufficient. Free bytes: {free_bytes}. Limit: {limit_bytes}");
            }
        }
        if is_alarmed { INTERVAL_ALARMED } else { interval(free_bytes - limit_bytes) }
    }
}

/// How long not to look with so many bytes to go.
fn interval(bytes: u64) -> Duration {
    Duration::from_millis(bytes / 2 / FILLED_BYTES_PER_MS).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES FL-1.
    #[test]
    fn the_alarm_is_on_below_the_limit() {
        let mut disk = Disk::default();
        let mut set = Vec::new();
        let mut look = |free| disk.look(free, 1000, |is_on| set.push(is_on));
        for free in [1001, 1000, 999, 0, 1000, 2000, 999] {
            look(Ok(free));
        }
        look(Err(io::ErrorKind::NotFound.into()));
        look(Ok(1000));
        assert_eq!(set, [true, false, true, false]);
    }

    #[test]
    fn it_looks_more_often_when_little_is_left() {
        let mut disk = Disk::default();
        let mut interval = |free| disk.look(Ok(free), 1 << 20, |_| ()).as_millis();
        assert_eq!(interval(1 << 20), 10);
        assert_eq!(interval((1 << 20) + 8_000_000_000), 2000);
        assert_eq!(interval(u64::MAX), 10_000);
        assert_eq!(interval(0), 500);
        assert_eq!(disk.look(Err(io::ErrorKind::NotFound.into()), 0, |_| ()), INTERVAL_MAX);
    }

    #[test]
    fn a_directory_can_be_measured() {
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
        assert!(free_bytes(Path::new("/nowhere/at/all")).is_err());
    }
}
