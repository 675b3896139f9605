//! What the operating system tells of the process, for `/api/nodes`. Zero where it cannot be known.

use std::fs;
use std::path::Path;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    /// Memory of the process that is in RAM.
    pub(super) resident_bytes: u64,
    /// Descriptors in use.
    pub(super) descriptors: u64,
    /// And as many as there may be.
    pub(super) descriptors_max: u64,
    /// Of the file system of the data directory.
    pub(super) disk_free_bytes: u64,
}

impl Machine {
    /// The file system is that of the working directory where there is no data directory.
    pub(super) fn look_at(data_dir: Option<&Path>) -> Self {
        let data_dir = data_dir.unwrap_or(Path::new("."));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            resident_bytes: number_after(&status, "VmRSS:").unwrap_or_default() * 1024,
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            descriptors_max: number_after(&limits, "Max open files").unwrap_or_default(),
            disk_free_bytes: rustix::fs::statvfs(data_dir).map_or(0, |disk| disk.f_bavail * disk.f_frsize),
        }
    }
}

/// The first number of the line that begins so.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_their_lines() {
        let text = "VmPeak:\t 9 kB\nVmRSS:\t    5120 kB\nMax open files            1024      4096    files\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(5120));
        assert_eq!(number_after(text, "Max open files"), Some(1024));
        assert_eq!(number_after(text, "Nothing"), None);
    }
}
