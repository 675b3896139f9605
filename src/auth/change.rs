//! What has changed, for whoever wants to tell others.

/// A change that was made to users or permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthChange<'a> {
    /// There is a user who was not there before.
    UserCreated(&'a str),
    /// A user is gone.
    UserDeleted(&'a str),
    /// A user has another password, or none.
    PasswordChanged(&'a str),
    /// A user has these tags.
    TagsSet(&'a str, &'a [String]),
    /// A user may do this in a vhost.
    PermissionCreated {
        /// Who.
        user: &'a str,
        /// Where.
        vhost: &'a str,
        /// Patterns: configure, write, read.
        patterns: [&'a str; 3],
    },
    /// A user may not use a vhost any more.
    PermissionDeleted {
        /// Who.
        user: &'a str,
        /// Where.
        vhost: &'a str,
    },
    /// A user is restricted on a topic exchange.
    TopicPermissionCreated {
        /// Who.
        user: &'a str,
        /// Where.
        vhost: &'a str,
        /// On which exchange.
        exchange: &'a str,
        /// Patterns: write, read.
        patterns: [&'a str; 2],
    },
    /// A user is not restricted any more.
    TopicPermissionDeleted {
        /// Who.
        user: &'a str,
        /// Where.
        vhost: &'a str,
    },
}

/// Hears of changes, after they are made.
pub type AuthObserver = Box<dyn Fn(AuthChange<'_>) + Send + Sync>;

/// Is called after a change.
pub type OnAuthChange = Box<dyn Fn() + Send + Sync>;
