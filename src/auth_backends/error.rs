//! Why backends cannot be used as they are set.

use std::path::PathBuf;

use crate::tls_client::FileError;

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An address that is none.
    #[error("{setting}: '{value}' is no http or https URL")]
    Url {
        /// RabbitMQ's name of the setting.
        setting: &'static str,
        /// As given.
        value: String,
    },
    /// An algorithm that is not known.
    #[error("auth_oauth2.algorithms: '{0}' is not supported")]
    Algorithm(String),
    /// A provider that is named and not described.
    #[error("auth_oauth2.oauth_providers: there is no provider '{0}'")]
    NoProvider(String),
    /// No resource server: no token would ever be accepted.
    #[error("auth_oauth2.resource_server_id is needed, or one of auth_oauth2.resource_servers")]
    NoResourceServer,
    /// Users of a directory, and none to ask.
    #[error("auth_ldap.servers is needed")]
    NoLdapServer,
    /// A name without a password, or the other way round.
    #[error("{0}: user_dn and password belong together")]
    HalfBind(&'static str),
    /// A cache of something that is not cached.
    #[error("auth_cache.cached_backend: must be internal, http, ldap or dummy")]
    NotCacheable,
}

impl From<FileError> for Error {
    fn from(FileError { path, reason }: FileError) -> Self {
        Self::File { path, reason }
    }
}
