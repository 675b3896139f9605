//! Users and permissions in the shapes of RabbitMQ's definitions files (FEATURES DF-2).

use serde::{Deserialize, Serialize};

use super::{Auth, AuthError, HashingAlgorithm, PasswordHash, Secret};

/// Limits of a user; negative is without limit, as absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserLimits {
    /// Connections at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Channels at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<i64>,
}

/// Tags, which RabbitMQ 3.8 wrote as one string with commas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tags {
    /// An array.
    List(Vec<String>),
    /// `administrator,monitoring`
    Commas(String),
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Tags {
    fn to_list(&self) -> Vec<String> {
        match self {
            Self::List(tags) => tags.clone(),
            Self::Commas(tags) => {
                tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Into::into).collect()
            }
        }
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserRecord {
    /// The name.
    pub name: String,
    /// base64( salt + digest ); empty: no login by password.
    #[serde(default)]
    pub password_hash: String,
    /// How the hash was made.
    #[serde(default = "default_algorithm")]
    pub hashing_algorithm: String,
    /// In place of a hash, when importing.
    #[serde(default, skip_serializing)]
    pub password: Option<String>,
    /// `administrator`, ...
    #[serde(default)]
    pub tags: Tags,
    /// `max-connections`, `max-channels`.
    #[serde(default)]
    pub limits: UserLimits,
}

fn default_algorithm() -> String {
    HashingAlgorithm::default().as_str().into()
}

impl UserRecord {
    fn hash(&self) -> Result<PasswordHash, AuthError> {
        if let Some(password) = &self.password {
            return Ok(PasswordHash::of(password));
        }
        HashingAlgorithm::parse(&self.hashing_algorithm)
            .and_then(|algorithm| PasswordHash::from_base64(&self.password_hash, algorithm))
            .ok_or_else(|| AuthError::BadHash(self.name.clone()))
    }
}

/// A user's permissions in a vhost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the definitions file")]
pub struct PermissionRecord {
    pub user: String,
    pub vhost: String,
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// A user's topic permissions in a vhost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the definitions file")]
pub struct TopicPermissionRecord {
    pub user: String,
    pub vhost: String,
    pub exchange: String,
    pub write: String,
    pub read: String,
}

impl Auth {
    /// Adds users; nobody if one of them is invalid.
    pub fn import_users(&self, records: &[UserRecord]) -> Result<(), AuthError> {
        let hashes = records.iter().map(UserRecord::hash).collect::<Result<Vec<_>, _>>()?;
        for (record, hash) in records.iter().zip(hashes) {
            self.put_user(&record.name, Secret::Hash(hash), record.tags.to_list());
            self.set_user_limits(&record.name, record.limits)?;
        }
        Ok(())
    }

    /// Everybody, with hashes.
    pub fn export_users(&self) -> Vec<UserRecord> {
        let record = |user: &super::User| UserRecord {
            name: user.name.clone(),
            password_hash: user.hash().to_base64(),
            hashing_algorithm: user.hash().algorithm().as_str().into(),
            password: None,
            tags: Tags::List(user.tags.clone()),
            limits: user.limits,
        };
        self.users().iter().map(|user| record(user)).collect()
    }

    /// All permissions.
    pub fn export_permissions(&self) -> Vec<PermissionRecord> {
        let state = self.read();
        let record = |((vhost, user), permission): (&(String, String), &super::Permission)| PermissionRecord {
            user: user.clone(),
            vhost: vhost.clone(),
            configure: permission.configure.as_str().into(),
            write: permission.write.as_str().into(),
            read: permission.read.as_str().into(),
        };
        state.permissions.iter().map(record).collect()
    }

    /// All topic permissions.
    pub fn export_topic_permissions(&self) -> Vec<TopicPermissionRecord> {
        let state = self.read();
        let mut records = Vec::new();
        for ((vhost, user), topics) in &state.topics {
            records.extend(topics.iter().map(|topic| TopicPermissionRecord {
                user: user.clone(),
                vhost: vhost.clone(),
                exchange: topic.exchange.to_string(),
                write: topic.write.as_str().into(),
                read: topic.read.as_str().into(),
            }));
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_back_as_they_were_exported() {
        let auth = Auth::new();
        auth.put_user("ann", Secret::Password("secret"), ["management"]);
        let exported = auth.export_users();
        let other = Auth::new();
        other.import_users(&exported).unwrap();
        assert_eq!(other.export_users(), exported);
        let text = r#"{"name":"bob","password":"p","tags":"a, b"}"#;
        let record: UserRecord = serde_json::from_str(text).unwrap();
        other.import_users(&[record]).unwrap();
        assert_eq!(other.user("bob").unwrap().tags, ["a", "b"]);
    }

    #[test]
    fn an_invalid_user_imports_nobody() {
        let good = serde_json::json!({"name": "good", "password": "p", "tags": []});
        let bad = serde_json::json!({"name": "bad", "password_hash": "***", "tags": []});
        let records: Vec<UserRecord> = serde_json::from_value(serde_json::json!([good, bad])).unwrap();
        let auth = Auth::new();
        assert_eq!(auth.import_users(&records), Err(AuthError::BadHash("bad".into())));
        assert!(auth.users().is_empty());
    }
}
