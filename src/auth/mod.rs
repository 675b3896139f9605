//! Who may connect and what they may touch: RabbitMQ's internal authentication and authorisation backend.
//!
//! [`Auth`] owns users (password hash, tags, limits) and, per user and virtual host, the permission triple
//! and the topic permissions. It lives in memory; whoever owns it persists it through the records of
//! [`definitions`](UserRecord), which have the JSON shape of RabbitMQ's definition files.
//!
//! It must never do I/O, wait, or know what a virtual host or an exchange is: both are names here, so
//! the caller checks that they exist. Nothing in here prints a password or a hash: the `Debug` of every type
//! that holds one leaves it out.
//!
//! Start reading at [`Auth::authenticate`] (connection start) and [`Access`] (every later decision).

mod authority;
mod change;
mod definitions;
mod error;
mod password;
mod password_rule;
mod pattern;
mod pcre;
mod permission;
mod sasl;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use authority::{
    Asked, Authority, Authorizer, Denied, Later, Origin, Question, RenewError, Renewed, Resource, Verdict,
};
pub use change::{AuthChange, AuthObserver, OnAuthChange};
pub use definitions::{PermissionRecord, TopicPermissionRecord, UserRecord};
pub use error::AuthError;
pub use password::{HashingAlgorithm, PasswordHash, Secret};
pub use password_rule::PasswordRule;
pub use pattern::{Pattern, PatternError};
pub use permission::{Access, Right};
pub use sasl::{Mechanism, Refused, loggable};
pub use user::{User, UserLimits};

use permission::{Permission, TopicPermission};
use sasl::Credentials;

/// The longest user name, in bytes: AMQP carries it as a shortstr in the `user-id` property.
pub const USER_NAME_SIZE_MAX: usize = 255;

/// The internal backend: a cheap handle, every clone sees the same users.
///
/// All methods are synchronous and brief. A decision taken from it ([`Access`], [`User`]) is a snapshot: keep it
/// for as long as [`Auth::version`] stands still.
#[derive(Clone)]
pub struct Auth {
    shared: Arc<Shared>,
}

struct Shared {
    /// What to compare with when there is no such user.
    decoy: PasswordHash,
    /// Changes only while `state` is locked for writing, so it is exact while `state` is locked for reading.
    version: AtomicU64,
    /// Whom logins are put to instead; the internal backend may be one of those it asks.
    authority: OnceLock<Arc<dyn Authority>>,
    observer: OnceLock<AuthObserver>,
    on_change: OnceLock<OnAuthChange>,
    passwords: OnceLock<Passwords>,
    state: RwLock<State>,
}

/// How passwords are set.
#[derive(Default)]
struct Passwords {
    algorithm: HashingAlgorithm,
    rule: PasswordRule,
}

struct State {
    accounts: BTreeMap<String, Account>,
    loopback_users: BTreeSet<String>,
}

/// A user with everything granted to it, so that deleting it leaves nothing behind.
struct Account {
    user: Arc<User>,
    /// By virtual host.
    grants: BTreeMap<String, Grant>,
}

#[derive(Default)]
struct Grant {
    /// `None` when only topic permissions were set: the user has no access to the virtual host.
    permission: Option<Arc<Permission>>,
    /// By exchange. Shared with the snapshots, copied when changed.
    topics: Arc<BTreeMap<String, TopicPermission>>,
}

impl Default for Auth {
    fn default() -> Self {
        Self::new()
    }
}

impl Auth {
    /// A backend without users, where `guest` (once created) may connect over loopback only, as RabbitMQ ships.
    pub fn new() -> Self {
        let state = State { accounts: BTreeMap::new(), loopback_users: BTreeSet::from(["guest".to_owned()]) };
        let decoy = PasswordHash::new("decoy", HashingAlgorithm::default());
        let version = AtomicU64::new(0);
        let (observer, on_change, passwords) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (authority, state) = (OnceLock::new(), RwLock::new(state));
        Self { shared: Arc::new(Shared { decoy, version, authority, observer, on_change, passwords, state }) }
    }

    /// A number that grows with every change. One atomic load: fit to be asked per message.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// From now on `observer` hears of changes made one by one; an import of definitions is not told. Only the first
    /// one ever set counts.
    pub fn set_observer(&self, observer: AuthObserver) {
        let _ = self.shared.observer.set(observer);
    }

    /// From now on logins are put to a chain of backends. Only the first one ever set counts.
    pub fn set_authority(&self, authority: Arc<dyn Authority>) {
        let _ = self.shared.authority.set(authority);
    }

    /// From now on `on_change` is called after every change, of whatever kind. Only the first one ever set counts.
    pub fn set_on_change(&self, on_change: OnAuthChange) {
        let _ = self.shared.on_change.set(on_change);
    }

    /// How passwords are kept that are set from now on, and which may be. Only the first call ever counts.
    pub fn set_password_rule(&self, algorithm: HashingAlgorithm, rule: PasswordRule) {
        let _ = self.shared.passwords.set(Passwords { algorithm, rule });
    }

    fn hashed(&self, user: &str, secret: Secret<'_>) -> Result<PasswordHash, AuthError> {
        let Passwords { algorithm, rule } = self.shared.passwords.get_or_init(Passwords::default);
        if let Secret::Password(password) = secret {
            rule.check(password)?;
        }
        PasswordHash::from_secret(user, secret, *algorithm)
    }

    fn tell(&self, change: AuthChange<'_>) {
        if let Some(observer) = self.shared.observer.get() {
            observer(change);
        }
    }

    /// Creates a user, or replaces its password and tags; its limits and permissions stay.
    ///
    /// [`Secret::None`] leaves the user unable to log in with a password, whatever it had before, as RabbitMQ does
    /// for a `PUT` without password.
    pub fn put_user(
        &self,
        name: &str,
        secret: Secret<'_>,
        tags: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), AuthError> {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        let password = self.hashed(name, secret)?;
        let change = UserChange::new(name, password, tags.clone(), UserLimits::default())?;
        let mut existed = false;
        self.change(|state| {
            existed = state.accounts.contains_key(name);
            change.apply(state);
            true
        });
        self.tell(if existed { AuthChange::PasswordChanged(name) } else { AuthChange::UserCreated(name) });
        self.tell(AuthChange::TagsSet(name, &tags));
        Ok(())
    }

    /// Replaces the password of an existing user and nothing else.
    pub fn set_password(&self, name: &str, secret: Secret<'_>) -> Result<(), AuthError> {
        let password = self.hashed(name, secret)?;
        self.change_user(name, |user| User { password, ..user })?;
        self.tell(AuthChange::PasswordChanged(name));
        Ok(())
    }

    /// Replaces the tags of an existing user and nothing else.
    pub fn set_user_tags(
        &self,
        name: &str,
        tags: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), AuthError> {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        let told = tags.clone();
        self.change_user(name, |user| User { tags, ..user })?;
        self.tell(AuthChange::TagsSet(name, &told));
        Ok(())
    }

    /// Replaces the limits of an existing user.
    pub fn set_user_limits(&self, name: &str, limits: UserLimits) -> Result<(), AuthError> {
        self.change_user(name, |user| User { limits, ..user })
    }

    /// Deletes a user and all its permissions. False if there was none.
    pub fn delete_user(&self, name: &str) -> bool {
        let deleted = self.change(|state| state.accounts.remove(name).is_some());
        if deleted {
            self.tell(AuthChange::UserDeleted(name));
        }
        deleted
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.read().accounts.get(name).map(|account| Arc::clone(&account.user))
    }

    /// All users, by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.read().accounts.values().map(|account| Arc::clone(&account.user)).collect()
    }

    /// Sets what `user` may configure, write and read in `vhost`, each a pattern over resource names ([`Pattern`]).
    pub fn set_permissions(
        &self,
        vhost: &str,
        user: &str,
        configure: &str,
        write: &str,
        read: &str,
    ) -> Result<(), AuthError> {
        let permission = Permission::new(vhost, user, configure, write, read)?;
        self.change_grant(vhost, user, |grant| grant.permission = Some(Arc::new(permission)))?;
        self.tell(AuthChange::PermissionCreated { user, vhost, patterns: [configure, write, read] });
        Ok(())
    }

    /// Takes away a user's access to a virtual host; its topic permissions there stay. False if it had none.
    pub fn clear_permissions(&self, vhost: &str, user: &str) -> bool {
        let had = self.clear_grant(vhost, user, |grant| grant.permission.take().is_some());
        if had {
            self.tell(AuthChange::PermissionDeleted { user, vhost });
        }
        had
    }

    /// Restricts what `user` may publish to (`write`) and bind with (`read`) on one topic exchange, each a pattern
    /// over routing keys in which `{username}`, `{vhost}` and `{client_id}` stand for their values.
    pub fn set_topic_permissions(
        &self,
        vhost: &str,
        user: &str,
        exchange: &str,
        write: &str,
        read: &str,
    ) -> Result<(), AuthError> {
        let permission = TopicPermission::new(vhost, user, write, read)?;
        self.change_grant(vhost, user, |grant| {
            Arc::make_mut(&mut grant.topics).insert(exchange.to_owned(), permission);
        })?;
        self.tell(AuthChange::TopicPermissionCreated { user, vhost, exchange, patterns: [write, read] });
        Ok(())
    }

    /// Lifts a user's topic restrictions: on one exchange, or with `None` on all of the virtual host. False if there
    /// were none.
    pub fn clear_topic_permissions(&self, vhost: &str, user: &str, exchange: Option<&str>) -> bool {
        let had = self.clear_grant(vhost, user, |grant| match exchange {
            _ if grant.topics.is_empty() => false,
            Some(exchange) => Arc::make_mut(&mut grant.topics).remove(exchange).is_some(),
            None => {
                grant.topics = Arc::default();
                true
            }
        });
        if had {
            self.tell(AuthChange::TopicPermissionDeleted { user, vhost });
        }
        had
    }

    /// Drops every permission in a virtual host that is gone, so that a later one of the same name starts clean.
    pub fn delete_vhost(&self, vhost: &str) {
        self.change(|state| {
            let mut changed = false;
            for account in state.accounts.values_mut() {
                changed |= account.grants.remove(vhost).is_some();
            }
            changed
        });
    }

    /// Names the users that may connect over loopback only; none lifts the restriction (`loopback_users = none`).
    /// They need not exist.
    pub fn set_loopback_users(&self, names: impl IntoIterator<Item = impl Into<String>>) {
        let names = names.into_iter().map(Into::into).collect();
        self.change(|state| {
            state.loopback_users = names;
            true
        });
    }

    /// Decides a SASL login from the client's (only) response, by whichever backends there are.
    pub fn log_in_by(&self, mechanism: Mechanism, response: &[u8], from: Origin) -> Asked<Result<Arc<User>, Refused>> {
        if self.shared.authority.get().is_none() {
            return Asked::Now(self.authenticate(mechanism, response, from.is_loopback()));
        }
        match Credentials::parse(mechanism, response) {
            Err(refused) => Asked::Now(Err(refused)),
            Ok(Credentials { user, password }) => match str::from_utf8(user) {
                Ok(name) => self.log_in(name, password, from),
                Err(_) => Asked::Now(Err(Refused::bad_credentials(&String::from_utf8_lossy(user)))),
            },
        }
    }

    /// Decides a login by name and password, or token, by whichever backends there are.
    pub fn log_in(&self, name: &str, password: &[u8], from: Origin) -> Asked<Result<Arc<User>, Refused>> {
        match self.shared.authority.get() {
            Some(authority) => authority.log_in(self, name, Some(password), from),
            None => Asked::Now(self.authenticate_password(name, password, from.is_loopback())),
        }
    }

    /// Decides a login of whom something else has proved to be of this name, such as a certificate.
    pub fn log_in_proved(&self, name: &str, from: Origin) -> Asked<Result<Arc<User>, Refused>> {
        match self.shared.authority.get() {
            Some(authority) => authority.log_in(self, name, None, from),
            None => Asked::Now(self.authenticate_name(name, from.is_loopback())),
        }
    }

    /// Refuses a user whom a backend has let in, but who may only come from the machine itself (SA-6).
    pub fn check_loopback(&self, name: &str, from: Origin) -> Result<(), Refused> {
        if from.is_loopback() || !self.read().loopback_users.contains(name) {
            return Ok(());
        }
        Err(Refused::loopback(name))
    }

    /// Decides a SASL login from the client's (only) response, by the internal backend alone.
    pub fn authenticate(
        &self,
        mechanism: Mechanism,
        response: &[u8],
        from_loopback: bool,
    ) -> Result<Arc<User>, Refused> {
        let Credentials { user, password } = Credentials::parse(mechanism, response)?;
        match str::from_utf8(user) {
            Ok(name) => self.authenticate_password(name, password, from_loopback),
            Err(_) => Err(Refused::bad_credentials(&String::from_utf8_lossy(user))),
        }
    }

    /// Decides a login by name and password, by the internal backend alone.
    pub fn authenticate_password(
        &self,
        name: &str,
        password: &[u8],
        from_loopback: bool,
    ) -> Result<Arc<User>, Refused> {
        let (user, loopback_only) = {
            let state = self.read();
            let user = state.accounts.get(name).map(|account| Arc::clone(&account.user));
            (user, state.loopback_users.contains(name))
        };
        // An unknown user costs the same hashing as a known one, so that timing does not tell which names exist.
        let matches = match &user {
            Some(user) => user.password.verify(password),
            None => self.shared.decoy.verify(password),
        };
        match user {
            Some(user) if matches && loopback_only && !from_loopback => Err(Refused::loopback(&user.name)),
            Some(user) if matches => Ok(user),
            _ => Err(Refused::bad_credentials(name)),
        }
    }

    /// Decides a login of whom something else has proved to be of this name, such as a certificate.
    pub fn authenticate_name(&self, name: &str, from_loopback: bool) -> Result<Arc<User>, Refused> {
        let state = self.read();
        match state.accounts.get(name) {
            Some(_) if state.loopback_users.contains(name) && !from_loopback => Err(Refused::loopback(name)),
            Some(account) => Ok(Arc::clone(&account.user)),
            None => Err(Refused::bad_credentials(name)),
        }
    }

    /// What `user` may do in `vhost`; `None` if it has no permissions there, which closes a connection with 530.
    pub fn access(&self, user: &str, vhost: &str) -> Option<Access> {
        let state = self.read();
        let account = state.accounts.get(user)?;
        let grant = account.grants.get(vhost)?;
        let permission = grant.permission.as_ref()?;
        let version = self.version();
        Some(Access::new(version, Arc::clone(permission), Arc::clone(&grant.topics)))
    }

    /// The same for who has logged in, or needs no login.
    pub fn access_of(&self, user: &User, vhost: &str) -> Option<Access> {
        if user.is_operator() { Some(Access::of_operator(self.version())) } else { self.access(&user.name, vhost) }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while changing cannot leave half a change that matters: every change is one map operation per item.
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change and, if it says that it did something, moves the version. Returns what it said.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.write();
        let changed = change(&mut state);
        if changed {
            self.shared.version.fetch_add(1, Ordering::Release);
            drop(state);
            if let Some(on_change) = self.shared.on_change.get() {
                on_change();
            }
        }
        changed
    }

    fn change_user(&self, name: &str, change: impl FnOnce(User) -> User) -> Result<(), AuthError> {
        let known = self.change(|state| match state.accounts.get_mut(name) {
            Some(account) => {
                account.user = Arc::new(change(User::clone(&account.user)));
                true
            }
            None => false,
        });
        if known { Ok(()) } else { Err(AuthError::NoSuchUser(name.to_owned())) }
    }

    fn change_grant(&self, vhost: &str, user: &str, change: impl FnOnce(&mut Grant)) -> Result<(), AuthError> {
        let known = self.change(|state| match state.accounts.get_mut(user) {
            Some(account) => {
                change(account.grants.entry(vhost.to_owned()).or_default());
                true
            }
            None => false,
        });
        if known { Ok(()) } else { Err(AuthError::NoSuchUser(user.to_owned())) }
    }

    fn clear_grant(&self, vhost: &str, user: &str, clear: impl FnOnce(&mut Grant) -> bool) -> bool {
        self.change(|state| {
            let Some(account) = state.accounts.get_mut(user) else {
                return false;
            };
            let Some(grant) = account.grants.get_mut(vhost) else {
                return false;
            };
            let cleared = clear(grant);
            if grant.permission.is_none() && grant.topics.is_empty() {
                account.grants.remove(vhost);
            }
            cleared
        })
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl State {
    /// (user, virtual host, what is granted there), in order.
    fn grants(&self) -> impl Iterator<Item = (&str, &str, &Grant)> {
        self.accounts.iter().flat_map(|(user, account)| {
            account.grants.iter().map(move |(vhost, grant)| (user.as_str(), vhost.as_str(), grant))
        })
    }
}

/// A user to create or replace, checked and hashed before any lock is taken.
struct UserChange {
    name: String,
    password: PasswordHash,
    tags: Vec<String>,
    /// Those named replace, the others stay as they are.
    limits: UserLimits,
}

impl UserChange {
    fn new(name: &str, password: PasswordHash, tags: Vec<String>, limits: UserLimits) -> Result<Self, AuthError> {
        if name.is_empty() || name.len() > USER_NAME_SIZE_MAX {
            return Err(AuthError::BadUserName(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), password, tags, limits })
    }

    fn apply(self, state: &mut State) {
        let Self { name, password, tags, limits } = self;
        let limits = match state.accounts.get(&name) {
            Some(account) => limits.or(account.user.limits),
            None => limits,
        };
        let user = Arc::new(User { name: name.clone(), tags, limits, password, operator: false, authorizer: None });
        match state.accounts.get_mut(&name) {
            Some(account) => account.user = user,
            None => {
                state.accounts.insert(name, Account { user, grants: BTreeMap::new() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
