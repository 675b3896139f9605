//! What an operator changes while the server runs: the alarms' limits, and what is logged.

use std::fmt;
use std::sync::Arc;

use super::disk::DiskAlarm;
use super::memory::MemoryAlarm;
use crate::broker::Watermark;
use crate::management::{SettingError, Settings};

/// Changes what the process logs. Whoever starts a server owns the log, and may let operators change its level.
#[derive(Clone)]
pub struct LogLevels(Arc<SetLevel>);

/// Whether there is a level of that name.
type SetLevel = dyn Fn(&str) -> bool + Send + Sync;

impl LogLevels {
    /// `set` gets one of RabbitMQ's names of levels, and says whether it is one.
    pub fn new(set: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevels")
    }
}

/// A server's settings.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) memory: Arc<MemoryAlarm>,
    /// `None`: nothing is kept on disk.
    pub(super) disk: Option<Arc<DiskAlarm>>,
    pub(super) log: Option<LogLevels>,
}

impl Settings for Live {
    fn memory_limit_bytes(&self) -> Option<u64> {
        self.memory.watermark_bytes()
    }

    fn disk_free_limit_bytes(&self) -> Option<u64> {
        self.disk.as_ref()?.limit_bytes()
    }

    fn set_memory_high_watermark(&self, watermark: Watermark) -> Result<(), SettingError> {
        self.memory.set_watermark(watermark).ok_or(SettingError::UnknownMemory)
    }

    fn set_disk_free_limit(&self, limit: Watermark) -> Result<(), SettingError> {
        let disk = self.disk.as_ref().ok_or(SettingError::NoDisk)?;
        disk.set_limit(limit).ok_or(SettingError::UnknownMemory)
    }

    fn set_log_level(&self, level: &str) -> Result<(), SettingError> {
        let LogLevels(set) = self.log.as_ref().ok_or(SettingError::ForeignLog)?;
        if set(level) { Ok(()) } else { Err(SettingError::NoSuchLevel(level.to_owned())) }
    }
}
