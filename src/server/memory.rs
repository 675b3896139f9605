//! The memory alarm: compares resident memory with the high watermark and tells the broker.
//!
//! RabbitMQ measures the same way (`vm_memory_calculation_strategy = rss`, FL-1). The total is the machine's memory,
//! or the control group's limit if that is less, so that a broker in a container blocks publishers before the kernel
//! kills it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::broker::{Alarm, Broker, Watermark};

/// How often resident memory is looked at. At 2 GB/s of publishes this much time is worth 200 MB.
const INTERVAL: Duration = Duration::from_millis(100);

/// The alarm goes off again when memory is below the watermark by one part in this many: publishers are not blocked
/// and unblocked with every page.
const HYSTERESIS: u64 = 20;

/// Without an alarm the allocator is nudged once in this many intervals.
const NUDGE_TICKS: u32 = 10;

/// Larger than what the allocator serves from its small pages, so that it looks at its arenas.
const NUDGE_BYTES: usize = 32 << 20;

/// A control group without a limit shows a number near 2^63 in version 1.
const UNLIMITED: u64 = 1 << 60;

/// The watermark in bytes; `None` where the total cannot be known. `total_bytes` stands for what the machine has.
pub(super) fn watermark_bytes(watermark: Watermark, total_bytes: Option<u64>) -> Option<u64> {
    match watermark {
        Watermark::Bytes(bytes) => Some(bytes),
        Watermark::Fraction(fraction) => {
            total_bytes.or_else(self::total_bytes).map(|total| (total as f64 * fraction) as u64)
        }
    }
}

/// The alarm, and the watermark that it is about.
#[derive(Debug)]
pub(super) struct MemoryAlarm {
    broker: Broker,
    /// What fractions are of, if not of the machine's memory.
    total_bytes: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: it is a part of nobody knows how much, and there is no alarm.
    watermark_bytes: Option<u64>,
    is_alarmed: bool,
}

impl MemoryAlarm {
    pub(super) fn new(broker: Broker, watermark: Watermark, total_bytes: Option<u64>) -> Self {
        let watermark_bytes = watermark_bytes(watermark, total_bytes);
        if watermark_bytes.is_none() {
            warn!("the memory of this machine is unknown: the memory alarm is off");
        }
        Self { broker, total_bytes, state: Mutex::new(State { watermark_bytes, is_alarmed: false }) }
    }

    pub(super) fn watermark_bytes(&self) -> Option<u64> {
        self.state().watermark_bytes
    }

    /// Another watermark is in force when this returns: the alarm is what it has to be. `None`: it is a part of a total
    /// that is unknown, and nothing has changed.
    pub(super) fn set_watermark(&self, watermark: Watermark) -> Option<()> {
        let watermark_bytes = watermark_bytes(watermark, self.total_bytes)?;
        let mut state = self.state();
        state.watermark_bytes = Some(watermark_bytes);
        info!(watermark_bytes, "memory high watermark set");
        if let Some(resident_bytes) = resident_bytes() {
            // What holds a cleared alarm back is for changes of memory, not for those of the watermark.
            self.set(&mut state, is_alarmed(false, resident_bytes, watermark_bytes), resident_bytes);
        }
        Some(())
    }

    /// Watches until aborted. Its only event is the tick of a clock.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quiet_ticks = 0;
        loop {
            ticks.tick().await;
            let Some(resident_bytes) = resident_bytes() else {
                warn!("resident memory cannot be read here: the memory alarm is off");
                return;
            };
            let is_alarmed = self.look(resident_bytes);
            quiet_ticks += 1;
            if is_alarmed || quiet_ticks == NUDGE_TICKS {
                quiet_ticks = 0;
                nudge_allocator();
            }
        }
    }

    /// Whether the alarm is on with so much memory.
    fn look(&self, resident_bytes: u64) -> bool {
        let mut state = self.state();
        if let Some(watermark_bytes) = state.watermark_bytes {
            let is_alarmed = is_alarmed(state.is_alarmed, resident_bytes, watermark_bytes);
            self.set(&mut state, is_alarmed, resident_bytes);
        }
        state.is_alarmed
    }

    fn set(&self, state: &mut State, is_alarmed: bool, resident_bytes: u64) {
        if is_alarmed == state.is_alarmed {
            return;
        }
        state.is_alarmed = is_alarmed;
        self.broker.set_alarm(Alarm::Memory, is_alarmed);
        let watermark_bytes = state.watermark_bytes;
        if is_alarmed {
            warn!(resident_bytes, watermark_bytes, "memory alarm set: publishers are blocked");
        } else {
            info!(resident_bytes, watermark_bytes, "memory alarm cleared");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the allocator give free memory back to the system. mimalloc does so some time after memory was freed, but only
/// when it is called for more; when publishers are blocked and the queues are empty nobody calls, resident memory
/// stays where it was, and the alarm with it. The memory is never touched, so it costs an address range for a moment.
fn nudge_allocator() {
    let mut nothing: Vec<u8> = Vec::new();
    // Not there, not needed.
    let _ = nothing.try_reserve_exact(NUDGE_BYTES);
    std::hint::black_box(&mut nothing);
}

fn is_alarmed(was_alarmed: bool, resident_bytes: u64, watermark_bytes: u64) -> bool {
    if was_alarmed {
        resident_bytes > watermark_bytes - watermark_bytes / HYSTERESIS
    } else {
        resident_bytes > watermark_bytes
    }
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Memory this process may use.
fn total_bytes() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit_files(&groups).iter().filter_map(|file| limit(&fs::read_to_string(file).ok()?)).min();
    Some(limit.map_or(machine, |limit| limit.min(machine)))
}

/// The value of a `Key:   123 kB` line, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the limits of this process's control groups are written, from `/proc/self/cgroup`. A group's limit also
/// binds the groups inside it, so every ancestor counts; inside a container the paths may not exist, the root does.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let path = path.trim_start_matches('/');
        files.extend(Path::new(path).ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// A limit in bytes; `None` for `max` and for numbers that mean it.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_clears_below_the_mark_it_was_set_at() {
        assert!(!is_alarmed(false, 1000, 1000));
        assert!(is_alarmed(false, 1001, 1000));
        assert!(is_alarmed(true, 951, 1000));
        assert!(!is_alarmed(true, 950, 1000));
    }

    #[test]
    fn proc_lines_are_read() {
        assert_eq!(kilobytes("VmPeak:\t  9 kB\nVmRSS:\t    5120 kB\n", "VmRSS:"), Some(5120 * 1024));
        assert_eq!(kilobytes("VmPeak:\t  9 kB\n", "VmRSS:"), None);
        assert_eq!(kilobytes("VmRSS: many kB\n", "VmRSS:"), None);
    }

    #[test]
    fn limits_of_all_enclosing_groups_count() {
        let files = limit_files("0::/user/app\n5:cpu,memory:/box\n3:cpuset:/\nnonsense\n");
        let expected = [
            "/sys/fs/cgroup/user/app/memory.max",
            "/sys/fs/cgroup/user/memory.max",
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory/box/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("104857600\n"), Some(104_857_600));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_measured() {
        let resident = resident_bytes().expect("/proc/self/status has VmRSS");
        let total = total_bytes().expect("/proc/meminfo has MemTotal");
        assert!(resident > 0 && resident < total);
        assert_eq!(watermark_bytes(Watermark::Fraction(0.5), None), Some(total / 2));
        assert_eq!(watermark_bytes(Watermark::Fraction(0.5), Some(1000)), Some(500));
    }
}
