//! Users and permissions as records: the `users`, `permissions` and `topic_permissions` of RabbitMQ's definition files
//! and of its HTTP API.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::password::{HashingAlgorithm, PasswordHash, Secret};
use super::permission::{Permission, TopicPermission};
use super::{Auth, AuthError, State, User, UserChange, UserLimits};

/// One of `users`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The user.
    pub name: String,
    /// Base64; empty or absent (with no `password`): no password logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// `rabbit_password_hashing_sha256` (also if absent), `_sha512` or `_md5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashing_algorithm: Option<String>,
    /// Required, if only to say that there are none. Read from an array or a comma separated string.
    #[serde(default, deserialize_with = "tags_in_either_form")]
    pub tags: Option<Vec<String>>,
    /// Those that are absent stay as they are for an existing user.
    #[serde(default)]
    pub limits: UserLimits,
    /// In the clear, instead of the hash; never exported.
    #[serde(default, skip_serializing)]
    pub password: Option<String>,
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("name", &self.name)
            .field("tags", &self.tags)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// One of `permissions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionRecord {
    /// Whose.
    pub user: String,
    /// Where.
    pub vhost: String,
    /// What it may declare and delete.
    pub configure: String,
    /// What it may publish to and bind.
    pub write: String,
    /// What it may consume and bind from.
    pub read: String,
}

/// One of `topic_permissions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPermissionRecord {
    /// Whose.
    pub user: String,
    /// Where.
    pub vhost: String,
    /// On which topic exchange.
    pub exchange: String,
    /// Which keys it may publish with.
    pub write: String,
    /// Which keys it may bind with.
    pub read: String,
}

impl Auth {
    /// All users, by name, with their hashes.
    pub fn export_users(&self) -> Vec<UserRecord> {
        self.users().iter().map(|user| UserRecord::from(&**user)).collect()
    }

    /// All permissions, by user and virtual host.
    pub fn export_permissions(&self) -> Vec<PermissionRecord> {
        let state = self.read();
        let mut records = Vec::new();
        for (user, vhost, grant) in state.grants() {
            if let Some(permission) = &grant.permission {
                records.push(PermissionRecord::new(user, vhost, permission));
            }
        }
        records
    }

    /// All topic permissions, by user, virtual host and exchange.
    pub fn export_topic_permissions(&self) -> Vec<TopicPermissionRecord> {
        let state = self.read();
        let mut records = Vec::new();
        for (user, vhost, grant) in state.grants() {
            for (exchange, permission) in grant.topics.iter() {
                records.push(TopicPermissionRecord::new(user, vhost, exchange, permission));
            }
        }
        records
    }

    /// Creates or replaces users: all of them, or none if one is wrong.
    pub fn import_users(&self, records: &[UserRecord]) -> Result<(), AuthError> {
        let changes = records.iter().map(UserRecord::to_change).collect::<Result<Vec<_>, _>>()?;
        self.change(|state| {
            let changed = !changes.is_empty();
            for change in changes {
                change.apply(state);
            }
            changed
        });
        Ok(())
    }

    /// Sets permissions: all of them, or none if one is wrong or its user missing.
    pub fn import_permissions(&self, records: &[PermissionRecord]) -> Result<(), AuthError> {
        let compiled = records
            .iter()
            .map(|record| Permission::new(&record.vhost, &record.user, &record.configure, &record.write, &record.read))
            .collect::<Result<Vec<_>, _>>()?;
        self.import_grants(records.iter().map(|record| &*record.user), |state| {
            for (record, permission) in records.iter().zip(compiled) {
                if let Some(account) = state.accounts.get_mut(&record.user) {
                    account.grants.entry(record.vhost.clone()).or_default().permission = Some(permission.into());
                }
            }
        })
    }

    /// Sets topic permissions: all of them, or none if one is wrong or its user missing.
    pub fn import_topic_permissions(&self, records: &[TopicPermissionRecord]) -> Result<(), AuthError> {
        let compiled = records
            .iter()
            .map(|record| TopicPermission::new(&record.vhost, &record.user, &record.write, &record.read))
            .collect::<Result<Vec<_>, _>>()?;
        self.import_grants(records.iter().map(|record| &*record.user), |state| {
            for (record, permission) in records.iter().zip(compiled) {
                if let Some(account) = state.accounts.get_mut(&record.user) {
                    let grant = account.grants.entry(record.vhost.clone()).or_default();
                    Arc::make_mut(&mut grant.topics).insert(record.exchange.clone(), permission);
                }
            }
        })
    }

    /// Checks that all users exist and applies the change, under one lock.
    fn import_grants<'a>(
        &self,
        users: impl Iterator<Item = &'a str>,
        apply: impl FnOnce(&mut State),
    ) -> Result<(), AuthError> {
        let mut users = users.peekable();
        if users.peek().is_none() {
            return Ok(());
        }
        let mut missing = None;
        self.change(|state| {
            missing = users.find(|user| !state.accounts.contains_key(*user));
            if missing.is_none() {
                apply(state);
            }
            missing.is_none()
        });
        missing.map_or(Ok(()), |user| Err(AuthError::NoSuchUser(user.to_owned())))
    }
}

impl UserRecord {
    fn to_change(&self) -> Result<UserChange, AuthError> {
        let algorithm = match &self.hashing_algorithm {
            None => HashingAlgorithm::default(),
            Some(name) => HashingAlgorithm::parse(name).ok_or_else(|| AuthError::UnknownHashingAlgorithm {
                user: self.name.clone(),
                algorithm: name.clone(),
            })?,
        };
        let secret = match (&self.password, &self.password_hash) {
            (Some(_), Some(_)) => return Err(AuthError::PasswordAndHash(self.name.clone())),
            (Some(password), None) => Secret::Password(password),
            (None, Some(hash)) => Secret::Hash { hash, algorithm },
            (None, None) => Secret::None,
        };
        let tags = self.tags.clone().ok_or_else(|| AuthError::TagsNotPresent(self.name.clone()))?;
        let password = PasswordHash::from_secret(&self.name, secret, HashingAlgorithm::default())?;
        UserChange::new(&self.name, password, tags, self.limits)
    }
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            password_hash: Some(user.password.to_base64()),
            hashing_algorithm: Some(user.password.algorithm().as_str().to_owned()),
            tags: Some(user.tags.clone()),
            limits: user.limits,
            password: None,
        }
    }
}

impl PermissionRecord {
    pub(super) fn new(user: &str, vhost: &str, permission: &Permission) -> Self {
        Self {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            configure: permission.configure.as_str().to_owned(),
            write: permission.write.as_str().to_owned(),
            read: permission.read.as_str().to_owned(),
        }
    }
}

impl TopicPermissionRecord {
    pub(super) fn new(user: &str, vhost: &str, exchange: &str, permission: &TopicPermission) -> Self {
        Self {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            exchange: exchange.to_owned(),
            write: permission.write.source().to_owned(),
            read: permission.read.source().to_owned(),
        }
    }
}

/// RabbitMQ trims each tag in both forms, and drops the empty ones of the comma separated form.
fn tags_in_either_form<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "tags must be an array of strings or a comma separated string")]
    enum Tags {
        Array(Vec<String>),
        Separated(String),
    }
    Ok(Some(match Tags::deserialize(deserializer)? {
        Tags::Array(tags) => tags.iter().map(|tag| tag.trim().to_owned()).collect(),
        Tags::Separated(tags) => {
            tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
        }
    }))
}
