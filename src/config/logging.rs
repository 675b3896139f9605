//! Where the log goes, and what of it: RabbitMQ's `log.*`.

use std::path::PathBuf;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// What is logged where nothing closer says; in this process's words, as all levels here.
    pub level: Option<&'static str>,
    /// What is logged of a category: `connection`, `channel`, `queue`, `user`.
    pub categories: Vec<(String, &'static str)>,
    /// Standard error.
    pub console: Option<Output>,
    /// A file.
    pub file: Option<LogFile>,
    /// The exchange `amq.rabbitmq.log`.
    pub exchange: Option<Output>,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: None, categories: Vec::new(), console: Some(Output::default()), file: None, exchange: None }
    }
}

impl Logging {
    /// Where it goes, as RabbitMQ tells it.
    pub fn files(&self) -> Vec<String> {
        let file = self.file.as_ref().map(|file| {
            // Whoever is told may be in another directory.
            std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone()).display().to_string()
        });
        file.into_iter().chain(self.console.map(|_| "<stderr>".to_owned())).collect()
    }
}

/// What of the log one place gets, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Nothing below it.
    pub level: Option<&'static str>,
    /// How a line looks.
    pub format: Format,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// A file that the log goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Which.
    pub path: PathBuf,
    /// What and how.
    pub output: Output,
    /// A longer one is put aside.
    pub rotation_bytes: Option<u64>,
    /// So many are kept.
    pub kept: u32,
}

/// RabbitMQ's names of levels.
pub fn level(name: &str) -> Option<&'static str> {
    Some(match name {
        "debug" => "debug",
        "info" | "notice" => "info",
        "warning" => "warn",
        "error" | "critical" | "alert" | "emergency" => "error",
        "none" => "off",
        _ => return None,
    })
}
