//! Settings that an operator changes while the broker runs. As in RabbitMQ they hold until it ends: the configuration says
//! what they are at the next start.

use std::fmt::Debug;

use crate::broker::Watermark;

/// What such settings move: memory, disk and log are not the API's own.
pub trait Settings: Debug + Send + Sync {
    /// Resident memory above which publishers are blocked, in bytes; `None`: unknown.
    fn memory_limit_bytes(&self) -> Option<u64>;

    /// Free disk space below which publishers are blocked, in bytes; `None`: they are not.
    fn disk_free_limit_bytes(&self) -> Option<u64>;

    /// Is in force when it returns, as RabbitMQ's `set_vm_memory_high_watermark`.
    fn set_memory_high_watermark(&self, watermark: Watermark) -> Result<(), SettingError>;

    /// Is in force when it returns, as RabbitMQ's `set_disk_free_limit`.
    fn set_disk_free_limit(&self, limit: Watermark) -> Result<(), SettingError>;

    /// Logs from this of RabbitMQ's levels on, as its `set_log_level`.
    fn set_log_level(&self, level: &str) -> Result<(), SettingError>;
}

/// Why a setting stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A part of nobody knows how much.
    #[error("the memory of this machine is unknown: give a number of bytes")]
    UnknownMemory,
    /// There is no disk to look at.
    #[error("nothing is kept on disk: there is no free space to watch")]
    NoDisk,
    /// RabbitMQ's words for a level that it does not know.
    #[error("level {0} is not supported. Try one of debug, info, warning, error, critical, none")]
    NoSuchLevel(String),
    /// The log is that of a program which the broker is a part of.
    #[error("the log is not the broker's own: the program that it is a part of says what is logged")]
    ForeignLog,
}

/// A broker of which nothing is known and nothing can be set.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSettings;

impl Settings for NoSettings {
    fn memory_limit_bytes(&self) -> Option<u64> {
        None
    }

    fn disk_free_limit_bytes(&self) -> Option<u64> {
        None
    }

    fn set_memory_high_watermark(&self, _: Watermark) -> Result<(), SettingError> {
        Err(SettingError::UnknownMemory)
    }

    fn set_disk_free_limit(&self, _: Watermark) -> Result<(), SettingError> {
        Err(SettingError::NoDisk)
    }

    fn set_log_level(&self, _: &str) -> Result<(), SettingError> {
        Err(SettingError::ForeignLog)
    }
}
