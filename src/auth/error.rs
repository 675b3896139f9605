//! What can be wrong with a change.

use thiserror::Error;

use super::{PatternError, Right, USER_NAME_SIZE_MAX};

/// Why a change was not made. Every text names the item it is about and none contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthError {
    /// A change to a user that does not exist.
    #[error("user '{0}' does not exist")]
    NoSuchUser(String),
    /// An empty name, or one longer than [`USER_NAME_SIZE_MAX`].
    #[error("user name '{0}' must have 1 to {USER_NAME_SIZE_MAX} bytes")]
    BadUserName(String),
    /// A password hash that is not base64.
    #[error("password_hash of user '{user}' is not base64")]
    BadPasswordHash {
        /// Whose hash it is.
        user: String,
    },
    /// A password with fewer characters than it must have.
    #[error("minimum required password length is {0}")]
    PasswordTooShort(usize),
    /// A password that the rule of passwords does not match.
    #[error("provided password does not match the validator regular expression")]
    PasswordDoesNotMatch,
    /// A hashing algorithm other than RabbitMQ's three.
    #[error("hashing_algorithm '{algorithm}' of user '{user}' is not supported")]
    UnknownHashingAlgorithm {
        /// Whose hash it is.
        user: String,
        /// The name given.
        algorithm: String,
    },
    /// A user record with a password and a password hash.
    #[error("both password and password_hash are provided for user '{0}'")]
    PasswordAndHash(String),
    /// A user record without `tags`, which RabbitMQ requires even when there are none.
    #[error("tags of user '{0}' are not present")]
    TagsNotPresent(String),
    /// A pattern of vhosts that is not a regular expression.
    #[error("vhost pattern of user '{user}' is not a valid pattern: {source}")]
    BadVhostPattern {
        /// Whose it is.
        user: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A permission that is not a regular expression.
    #[error("{right} permission of user '{user}' in vhost '{vhost}' is not a valid pattern: {source}")]
    BadPattern {
        /// Whose permission it is.
        user: String,
        /// In which virtual host.
        vhost: String,
        /// Which of the patterns.
        right: Right,
        /// What is wrong with it.
        source: PatternError,
    },
}
