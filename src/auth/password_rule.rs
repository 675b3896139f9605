//! Which passwords may be set: RabbitMQ's `credential_validator`. Hashes that were made elsewhere are not looked at.

use super::{AuthError, Pattern, PatternError};

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum PasswordRule {
    /// `rabbit_credential_validator_accept_everything`.
    #[default]
    Any,
    /// `rabbit_credential_validator_min_password_length`: characters.
    MinLength(usize),
    /// `rabbit_credential_validator_password_regexp`.
    Matches(Pattern),
}

impl PasswordRule {
    /// One that passwords have to match.
    pub fn matching(regexp: &str) -> Result<Self, PatternError> {
        Pattern::new(regexp).map(Self::Matches)
    }

    pub(super) fn check(&self, password: &str) -> Result<(), AuthError> {
        match self {
            Self::MinLength(length) if password.chars().count() < *length => Err(AuthError::PasswordTooShort(*length)),
            Self::Matches(pattern) if !pattern.matches(password) => Err(AuthError::PasswordDoesNotMatch),
            _ => Ok(()),
        }
    }
}
