//! Backends of logins and permissions besides the internal one: tokens of OAuth 2, a service that speaks HTTP, a directory
//! that speaks LDAP, a cache in front of them, and the chain that puts them in an order (`auth_backends.N`), with RabbitMQ's settings and meanings.
//!
//! Whatever they wait for, they wait for in the task of the connection that asked, for a bounded time; what fails is a no.
//! No password and no token is ever put into an error or a line of the log. Start reading at [`Chain`].

mod cache;
mod chain;
mod error;
mod fetch;
mod http;
mod ldap;
mod oauth2;

use std::time::Duration;

pub use self::chain::Chain;
pub use self::error::Error;
pub use self::http::{HttpOptions, Method};
pub use self::ldap::{Bind, LdapOptions, Query};
pub use self::oauth2::{OAuth2Options, ProviderOptions, ResourceServer};
pub use crate::tls_client::TlsClientOptions;

/// The settings of all backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `auth_backends.N`, in the order they are asked.
    pub chain: Vec<Entry>,
    /// `auth_oauth2.*`.
    pub oauth2: OAuth2Options,
    /// `auth_http.*`.
    pub http: HttpOptions,
    /// `auth_ldap.*`.
    pub ldap: LdapOptions,
    /// `auth_cache.*`.
    pub cache: CacheOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chain: vec![Entry::both(Kind::Internal)],
            oauth2: OAuth2Options::default(),
            http: HttpOptions::default(),
            ldap: LdapOptions::default(),
            cache: CacheOptions::default(),
        }
    }
}

impl Options {
    /// Only the internal backend is asked: no chain is needed.
    pub fn is_internal_only(&self) -> bool {
        self.chain == [Entry::both(Kind::Internal)]
    }
}

/// One place in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `authn`: who lets users in.
    pub authn: Kind,
    /// `authz`: who says what they may do.
    pub authz: Kind,
}

impl Entry {
    /// The same backend does both.
    pub fn both(kind: Kind) -> Self {
        Self { authn: kind, authz: kind }
    }
}

/// A backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Users and permissions of the broker itself.
    Internal,
    /// Tokens.
    OAuth2,
    /// A service that is asked over HTTP.
    Http,
    /// A directory.
    Ldap,
    /// Another one, whose answers are remembered.
    Cache,
    /// Lets nobody in.
    Dummy,
}

/// `auth_cache.*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheOptions {
    /// `cached_backend`: [`Kind::Internal`], [`Kind::Http`], [`Kind::Ldap`] or [`Kind::Dummy`] for both. What the internal backend says is
    /// in memory anyway, and not remembered a second time.
    pub cached: Entry,
    /// `cache_ttl`: how long. Default 15 s.
    pub ttl: Duration,
    /// `cache_refusals`: refusals, too. Default false.
    pub refusals: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { cached: Entry::both(Kind::Internal), ttl: Duration::from_secs(15), refusals: false }
    }
}
