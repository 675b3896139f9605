//! What a process costs, from /proc.

use std::fs;

use super::connection::PerfError;

/// A process to watch.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
}

/// A reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// User and system time of all threads, seconds.
    pub(super) cpu_s: f64,
    pub(super) rss_bytes: u64,
}

/// What the kernel counts CPU time in; fixed for programs since Linux 2.6.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

impl Process {
    pub(super) fn new(pid: u32) -> Result<Self, PerfError> {
        let process = Self { pid };
        process.sample()?;
        Ok(process)
    }

    pub(super) fn sample(&self) -> Result<Sample, PerfError> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = fs::read_to_string(&path).map_err(PerfError::io(path.clone()))?;
        let malformed = || PerfError::Protocol(format!("{path} is not what it was"));
        // Fields are counted behind the command's name, which may contain anything.
        let (_, fields) = stat.rsplit_once(')').ok_or_else(malformed)?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).ok_or_else(malformed);
        Ok(Sample { cpu_s: (field(11)? + field(12)?) as f64 / TICKS_PER_S, rss_bytes: field(21)? * PAGE_BYTES })
    }
}
