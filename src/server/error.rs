//! Why a server did not start.

use std::io;
use std::path::PathBuf;

use crate::auth::AuthError;
use crate::auth_backends;
use crate::broker::{DefinitionsError, NewVhostsError, RecoverError};
use crate::store::{DataDirError, LogError};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither the builder nor the configuration said where messages are kept.
    #[error("nothing says where messages are kept: call data_dir(), or in_memory()")]
    StorageNotChosen,
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log in the data directory cannot be read.
    #[error("data directory: {0}")]
    Log(#[from] LogError),
    /// What the log says cannot be taken up.
    #[error("data directory: {0}")]
    Recover(#[from] RecoverError),
    /// The system does not let the data directory be read.
    #[error("data directory: {0}")]
    Storage(io::Error),
    /// An address to listen on that cannot be read.
    #[error("cannot listen on '{address}': expected HOST:PORT or PORT")]
    Address {
        /// As given.
        address: String,
    },
    /// An address to listen on that cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As given.
        address: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("cannot use {} for TLS: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Versions or cipher suites that cannot be had.
    #[error("cannot use the settings of TLS: {reason}")]
    TlsSettings {
        /// What is wrong with them.
        reason: String,
    },
    /// Listeners for TLS without a certificate to show.
    #[error("nothing says which certificate to show: give a certificate and its key")]
    TlsWithoutCertificate,
    /// Clients' certificates are to be verified and nobody is named to verify them by.
    #[error("verify_peer needs the certificates of the clients' authorities (cacertfile)")]
    TlsWithoutAuthorities,
    /// An option outside its range.
    #[error("{option} is {value}, but must be {expected}")]
    OutOfRange {
        /// RabbitMQ's name of the option.
        option: &'static str,
        /// As given.
        value: String,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// What new vhosts are to begin with cannot be had.
    #[error("{source}")]
    NewVhosts {
        /// What is wrong with it.
        source: NewVhostsError,
    },
    /// Backends of logins and permissions that cannot be used.
    #[error(transparent)]
    AuthBackends(#[from] auth_backends::Error),
    /// A user that cannot be created.
    #[error("cannot create user '{user}': {source}")]
    User {
        /// The name.
        user: String,
        /// What is wrong with it.
        source: Box<AuthError>,
    },
    /// A definitions file that cannot be read.
    #[error("cannot read definitions from {}: {source}", path.display())]
    DefinitionsRead {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Definitions that cannot be applied.
    #[error("cannot import definitions{}: {source}", from(origin.as_ref()))]
    Definitions {
        /// The file they came from, if any.
        origin: Option<PathBuf>,
        /// What is wrong with them.
        source: Box<DefinitionsError>,
    },
}

fn from(origin: Option<&PathBuf>) -> String {
    origin.map(|path| format!(" from {}", path.display())).unwrap_or_default()
}
