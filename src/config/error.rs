//! A setting that cannot be understood.

/// A setting that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is '{value}', but must be {expected}")]
pub struct Error {
    /// The environment variable.
    pub setting: &'static str,
    /// As given.
    pub value: String,
    /// What is allowed, in words.
    pub expected: &'static str,
}
