//! What can be wrong with a configuration.

use std::path::PathBuf;

/// What can be wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be understood.
    #[error("{setting} is '{value}', but must be {expected}")]
    Value {
        /// The environment variable, or the key and where it stands.
        setting: String,
        /// As given.
        value: String,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// A key that RabbitMQ does not know either.
    #[error("{place}: unknown key '{key}'{}", nearest.map(|nearest| format!(", did you mean '{nearest}'?")).unwrap_or_default())]
    UnknownKey {
        /// `file:line`.
        place: String,
        /// The key.
        key: String,
        /// A known key much like it.
        nearest: Option<&'static str>,
    },
    /// A key that must not be there, or not so.
    #[error("{place}: {key}: {reason}")]
    Refused {
        /// `file:line`.
        place: String,
        /// The key.
        key: String,
        /// Why, and what to do instead.
        reason: String,
    },
    /// An environment variable that would mean something else than its user thinks.
    #[error("{name} is set, but is not supported: {instead}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A line that is no setting.
    #[error("{place}: {reason}")]
    Syntax {
        /// `file:line`.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}
