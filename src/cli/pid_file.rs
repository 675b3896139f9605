//! The file that says which process the broker is, for scripts that wait for it (`rabbitmqctl wait`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::warn;

/// Where it is to be. RabbitMQ has one beside its data if nobody says; that has its node's name, and none is made here.
const VARIABLE: &str = "RABBITMQ_PID_FILE";

/// Removes the file when it is dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file that the environment names, and its directories. The broker runs without it if it must.
    pub(super) fn from_environment() -> Option<Self> {
        let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)?;
        match write(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                warn!(path = %path.display(), %error, "the file of {VARIABLE} cannot be written");
                None
            }
        }
    }
}

fn write(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, format!("{}\n", std::process::id()))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
