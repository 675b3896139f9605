//! A user as the rest of the broker sees it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Authorizer, PasswordHash};

/// One user: identity, tags and limits; its permissions are asked by [`Auth::access`](super::Auth::access), or of its
/// [`Authorizer`].
#[derive(Debug, Clone)]
pub struct User {
    /// Unique, case-sensitive.
    pub name: String,
    /// `administrator`, `monitoring`, `policymaker`, `management`, `impersonator`, or any other word.
    pub tags: Vec<String>,
    /// How much it may open.
    pub limits: UserLimits,
    pub(super) password: PasswordHash,
    /// See [`User::operator`].
    pub(super) operator: bool,
    pub(super) authorizer: Option<Arc<dyn Authorizer>>,
}

impl User {
    /// Whoever runs the broker's machine: an administrator with all permissions in every virtual host. It is stored
    /// nowhere, no login gives it, and a stored user of the same name is another one. RabbitMQ's tools act as `rmq-cli`.
    pub fn operator() -> Self {
        let tags = vec!["administrator".to_owned()];
        Self { operator: true, ..Self::of_backend("rmq-cli".to_owned(), tags, UserLimits::default(), None) }
    }

    /// Whether it is [`User::operator`].
    pub fn is_operator(&self) -> bool {
        self.operator
    }

    /// A user whom another backend has let in, and of whom `authorizer` knows what it may do.
    pub fn of_backend(
        name: String,
        tags: Vec<String>,
        limits: UserLimits,
        authorizer: Option<Arc<dyn Authorizer>>,
    ) -> Self {
        Self { name, tags, limits, password: PasswordHash::none(), operator: false, authorizer }
    }

    /// Who says what it may do; `None`: the internal backend.
    pub fn authorizer(&self) -> Option<&Arc<dyn Authorizer>> {
        self.authorizer.as_ref()
    }

    /// Whether the user carries this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// May do everything over the management API.
    pub fn is_administrator(&self) -> bool {
        self.has_tag("administrator")
    }

    /// May publish with a `user-id` that is not its own.
    pub fn is_impersonator(&self) -> bool {
        self.has_tag("impersonator")
    }

    /// Whether a password could ever log this user in; false after [`Secret::None`](super::Secret::None).
    pub fn has_password(&self) -> bool {
        !self.password.is_empty()
    }
}

/// Limits of one user over all virtual hosts, with RabbitMQ's names in JSON.
///
/// As RabbitMQ keeps them: absent or negative means no limit, 0 refuses everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UserLimits {
    /// Connections open at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Channels open at the same time over all connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<i64>,
}

impl UserLimits {
    /// The effective limit of connections.
    pub fn connections(&self) -> Option<u64> {
        self.max_connections.and_then(|limit| u64::try_from(limit).ok())
    }

    /// The effective limit of channels.
    pub fn channels(&self) -> Option<u64> {
        self.max_channels.and_then(|limit| u64::try_from(limit).ok())
    }

    /// These, and of another set those that are absent here.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            max_connections: self.max_connections.or(other.max_connections),
            max_channels: self.max_channels.or(other.max_channels),
        }
    }
}
