//! The disk alarm: compares what is free where the data directory lies with the limit, and tells the broker (FL-1).
//!
//! RabbitMQ looks the less often the more is free, and so does this, but more often, since this broker fills a disk faster;
//! so that publishing goes on soon after somebody has made room, too. However low the limit is, publishers are blocked
//! while there is room for what the broker itself has to write until consumers have made more.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;
use tokio::sync::watch;
use tracing::{info, warn};

use super::memory;
use super::options::Watermark;
use crate::broker::{Alarm, Broker};

const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(10);
/// While the alarm is on.
const INTERVAL_ALARMED: Duration = Duration::from_millis(500);

/// No disk is filled faster than this.
const FILLED_BYTES_PER_MS: u64 = 2_000_000;

/// The limit in bytes: a fraction is one of memory, as RabbitMQ's `disk_free_limit.relative`. `None` where the memory
/// cannot be known.
pub(super) fn limit_bytes(limit: Watermark, memory_bytes: Option<u64>) -> Option<u64> {
    memory::watermark_bytes(limit, memory_bytes)
}

/// Watches until aborted, or until nobody can set another limit any more. `reserve_bytes` are to be free in any case.
pub(super) async fn watch(
    broker: Broker,
    path: PathBuf,
    mut limits: watch::Receiver<Watermark>,
    memory_bytes: Option<u64>,
    reserve_bytes: u64,
) {
    let mut disk = Disk::default();
    loop {
        let limit = *limits.borrow_and_update();
        let Some(limit_bytes) = limit_bytes(limit, memory_bytes) else {
            warn!("the memory of this machine is unknown, and the limit of free disk space a part of it: it is off");
            if limits.changed().await.is_err() {
                return;
            }
            continue;
        };
        let limit_bytes = limit_bytes.max(reserve_bytes);
        let interval = disk.look(free_bytes(&path), limit_bytes, |is_on| broker.set_alarm(Alarm::Disk, is_on));
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            changed = limits.changed() => if changed.is_err() { return },
        }
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
