//! Users, their passwords, and what they may do: RabbitMQ's internal backend. Vhosts are names here. It knows nothing
//! of protocols or queues. Start reading at [`Auth`].

mod password;
mod permission;
mod records;
mod sasl;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thiserror::Error;

use self::permission::{Pattern, Permission, TopicPermission};

pub use self::password::{HashingAlgorithm, PasswordHash};
pub use self::permission::{Access, Right};
pub use self::records::{PermissionRecord, Tags, TopicPermissionRecord, UserLimits, UserRecord};
pub use self::sasl::Mechanism;

/// A change that cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AuthError {
    /// Permissions for nobody.
    #[error("user '{0}' does not exist")]
    NoSuchUser(String),
    /// A pattern that is not a regular expression.
    #[error("'{pattern}' is not a valid regular expression: {reason}")]
    BadPattern {
        /// As given.
        pattern: String,
        /// Where it fails.
        reason: String,
    },
    /// A hash that is not base64, or made by an unknown algorithm.
    #[error("user '{0}' has an invalid password_hash or hashing_algorithm")]
    BadHash(String),
}

/// Why a login failed; for the log. The client learns less.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// No such user, or another password.
    #[error("invalid credentials")]
    BadCredentials,
    /// SA-6.
    #[error("user can only connect via localhost")]
    Loopback,
    /// HS-10: not a response of the mechanism.
    #[error("malformed response")]
    Malformed,
}

/// How a user proves to be one.
#[derive(Clone)]
pub enum Secret<'a> {
    /// A password, hashed here.
    Password(&'a str),
    /// A hash made elsewhere.
    Hash(PasswordHash),
    /// Nobody logs in by password.
    None,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// `administrator`, ...
    pub tags: Vec<String>,
    /// How many connections and channels at once.
    pub limits: UserLimits,
    hash: PasswordHash,
}

impl User {
    /// Has the user this tag?
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// For export.
    pub fn hash(&self) -> &PasswordHash {
        &self.hash
    }
}

#[derive(Default)]
struct State {
    users: BTreeMap<String, Arc<User>>,
    /// By vhost, then user.
    permissions: BTreeMap<(String, String), Permission>,
    topics: BTreeMap<(String, String), Vec<TopicPermission>>,
    loopback_users: BTreeSet<String>,
}

#[derive(Default)]
struct Shared {
    state: RwLock<State>,
    version: AtomicU64,
}

/// All users of a broker; a cheap handle.
#[derive(Clone, Default)]
pub struct Auth(Arc<Shared>);

impl Auth {
    /// Nobody; `guest` is loopback only (US-8).
    pub fn new() -> Self {
        let auth = Self::default();
        auth.set_loopback_users(["guest"]);
        auth
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Moves with every change: whoever remembers a decision asks again when it moved.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Adds a user or changes password and tags of one.
    pub fn put_user(&self, name: &str, secret: Secret<'_>, tags: impl IntoIterator<Item = impl Into<String>>) {
        let hash = match secret {
            Secret::Password(password) => PasswordHash::of(password),
            Secret::Hash(hash) => hash,
            Secret::None => PasswordHash::default(),
        };
        let tags = tags.into_iter().map(Into::into).collect();
        let mut state = self.write();
        let limits = state.users.get(name).map(|user| user.limits).unwrap_or_default();
        state.users.insert(name.into(), Arc::new(User { name: name.into(), tags, limits, hash }));
        drop(state);
        self.changed();
    }

    /// Removes a user with all permissions. False: there was none.
    pub fn delete_user(&self, name: &str) -> bool {
        let mut state = self.write();
        let existed = state.users.remove(name).is_some();
        state.permissions.retain(|(_, user), _| user != name);
        state.topics.retain(|(_, user), _| user != name);
        drop(state);
        self.changed();
        existed
    }

    /// Looks a user up.
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.read().users.get(name).cloned()
    }

    /// Everybody, by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.read().users.values().cloned().collect()
    }

    /// Changes a user's limits.
    pub fn set_user_limits(&self, name: &str, limits: UserLimits) -> Result<(), AuthError> {
        let mut state = self.write();
        let user = state.users.get_mut(name).ok_or_else(|| AuthError::NoSuchUser(name.into()))?;
        Arc::make_mut(user).limits = limits;
        drop(state);
        self.changed();
        Ok(())
    }

    /// Gives a user the three patterns in a vhost.
    pub fn set_permissions(
        &self,
        vhost: &str,
        user: &str,
        configure: &str,
        write: &str,
        read: &str,
    ) -> Result<(), AuthError> {
        let permission =
            Permission { configure: Pattern::new(configure)?, write: Pattern::new(write)?, read: Pattern::new(read)? };
        let mut state = self.write();
        if !state.users.contains_key(user) {
            return Err(AuthError::NoSuchUser(user.into()));
        }
        state.permissions.insert((vhost.into(), user.into()), permission);
        drop(state);
        self.changed();
        Ok(())
    }

    /// Takes a user's permissions in a vhost away.
    pub fn clear_permissions(&self, vhost: &str, user: &str) {
        self.write().permissions.remove(&(vhost.into(), user.into()));
        self.changed();
    }

    /// Restricts a user's keys on a topic exchange.
    pub fn set_topic_permissions(
        &self,
        vhost: &str,
        user: &str,
        exchange: &str,
        write: &str,
        read: &str,
    ) -> Result<(), AuthError> {
        let topic =
            TopicPermission { exchange: exchange.into(), write: Pattern::new(write)?, read: Pattern::new(read)? };
        let mut state = self.write();
        if !state.users.contains_key(user) {
            return Err(AuthError::NoSuchUser(user.into()));
        }
        let topics = state.topics.entry((vhost.into(), user.into())).or_default();
        topics.retain(|known| *known.exchange != *exchange);
        topics.push(topic);
        drop(state);
        self.changed();
        Ok(())
    }

    /// Lifts the restrictions of one topic exchange, or of all.
    pub fn clear_topic_permissions(&self, vhost: &str, user: &str, exchange: Option<&str>) {
        if let Some(topics) = self.write().topics.get_mut(&(vhost.into(), user.into())) {
            topics.retain(|topic| exchange.is_some_and(|exchange| *topic.exchange != *exchange));
        }
        self.changed();
    }

    /// A vhost is gone, and all permissions in it.
    pub fn delete_vhost(&self, vhost: &str) {
        let mut state = self.write();
        state.permissions.retain(|(of, _), _| of != vhost);
        state.topics.retain(|(of, _), _| of != vhost);
        drop(state);
        self.changed();
    }

    /// Who may connect from this machine only; nobody if empty.
    pub fn set_loopback_users(&self, users: impl IntoIterator<Item = impl Into<String>>) {
        self.write().loopback_users = users.into_iter().map(Into::into).collect();
        self.changed();
    }

    /// Checks a login.
    pub fn authenticate(
        &self,
        mechanism: Mechanism,
        response: &[u8],
        from_loopback: bool,
    ) -> Result<Arc<User>, Refused> {
        let (name, password) = mechanism.credentials(response)?;
        let user = self.user(name).filter(|user| user.hash.verify(password)).ok_or(Refused::BadCredentials)?;
        if !from_loopback && self.read().loopback_users.contains(name) {
            return Err(Refused::Loopback);
        }
        Ok(user)
    }

    /// What a user may do in a vhost; `None` without an entry for it.
    pub fn access(&self, user: &str, vhost: &str) -> Option<Access> {
        let state = self.read();
        let key = (vhost.to_owned(), user.to_owned());
        let permission = state.permissions.get(&key)?;
        let topics = state.topics.get(&key).map_or(&[][..], Vec::as_slice);
        // A topic pattern that is no expression once the names are filled in allows nothing.
        Some(Access::new(permission, topics, user, vhost).unwrap_or_default())
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("users", &self.read().users.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let auth = Auth::new();
        auth.put_user("guest", Secret::Password("guest"), ["administrator"]);
        auth.put_user("ann", Secret::Password("secret"), [] as [&str; 0]);
        auth
    }

    /// FEATURES SA-6, US-8.
    #[test]
    fn logins_are_checked() {
        let auth = auth();
        let login =
            |response: &[u8], loopback| auth.authenticate(Mechanism::Plain, response, loopback).map(|u| u.name.clone());
        assert_eq!(login(b"\0guest\0guest", true).unwrap(), "guest");
        assert_eq!(login(b"\0guest\0guest", false), Err(Refused::Loopback));
        assert_eq!(login(b"\0ann\0secret", false).unwrap(), "ann");
        assert_eq!(login(b"\0ann\0wrong", false), Err(Refused::BadCredentials));
        assert_eq!(login(b"\0ann\0", false), Err(Refused::BadCredentials));
        assert_eq!(login(b"\0bob\0secret", false), Err(Refused::BadCredentials));
        auth.set_loopback_users([] as [&str; 0]);
        assert!(login(b"\0guest\0guest", false).is_ok());
    }

    /// FEATURES US-1, US-3.
    #[test]
    fn permissions_are_per_vhost_and_topics_restrict() {
        let auth = auth();
        assert!(auth.access("ann", "/").is_none());
        let version = auth.version();
        auth.set_permissions("/", "ann", "^ann-", ".*", "").unwrap();
        auth.set_topic_permissions("/", "ann", "amq.topic", "^{username}\\.", ".*").unwrap();
        assert!(auth.version() > version);
        let access = auth.access("ann", "/").unwrap();
        assert!(access.allows(Right::Configure, "ann-1") && !access.allows(Right::Configure, "bob-1"));
        assert!(access.allows(Right::Write, "x") && !access.allows(Right::Read, "x"));
        assert!(access.allows_topic(Right::Write, "amq.topic", "ann.log"));
        assert!(!access.allows_topic(Right::Write, "amq.topic", "bob.log"));
        assert!(access.allows_topic(Right::Write, "other", "bob.log"));
        assert_eq!(auth.set_permissions("/", "bob", "", "", ""), Err(AuthError::NoSuchUser("bob".into())));
        assert!(auth.delete_user("ann") && auth.access("ann", "/").is_none());
    }
}
