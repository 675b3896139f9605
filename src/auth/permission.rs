//! What a user may do in one virtual host.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{AuthError, Pattern, PatternError};

/// What is about to be done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Declare or delete.
    Configure,
    /// Publish to an exchange, bind a destination.
    Write,
    /// Consume, get or purge a queue, bind a source.
    Read,
}

impl Right {
    /// The word in RabbitMQ's refusals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The permissions of one user in one virtual host as of one version: cheap to clone, never changes. The default
/// allows nothing.
#[derive(Debug, Clone, Default)]
pub struct Access {
    version: u64,
    permission: Arc<Permission>,
    topics: Arc<BTreeMap<String, TopicPermission>>,
}

impl Access {
    pub(super) fn new(
        version: u64,
        permission: Arc<Permission>,
        topics: Arc<BTreeMap<String, TopicPermission>>,
    ) -> Self {
        Self { version, permission, topics }
    }

    /// Everything, of [`User::operator`](super::User::operator).
    pub(super) fn of_operator(version: u64) -> Self {
        let all = || Pattern::new(".*").expect("a pattern that matches every name");
        let permission = Permission { configure: all(), write: all(), read: all() };
        Self { version, permission: Arc::new(permission), topics: Arc::default() }
    }

    /// The [`Auth::version`](super::Auth::version) this was read at: when that has moved, ask for a new one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether this may be done to the exchange or queue of that name. The default exchange is asked as `amq.default`.
    pub fn allows(&self, right: Right, name: &str) -> bool {
        let Permission { configure, write, read } = &*self.permission;
        match right {
            Right::Configure => configure.matches(name),
            Right::Write => write.matches(name),
            Right::Read => read.matches(name),
        }
    }

    /// Whether this may be done on a topic exchange with that routing key (publish) or binding key (bind), besides
    /// what [`Access::allows`] says of the exchange. Without an entry for the exchange it may.
    pub fn allows_topic(&self, right: Right, exchange: &str, routing_key: &str) -> bool {
        match (self.topics.get(exchange), right) {
            (Some(topic), Right::Write) => topic.write.pattern.matches(routing_key),
            (Some(topic), Right::Read) => topic.read.pattern.matches(routing_key),
            (None, _) | (_, Right::Configure) => true,
        }
    }

    /// The same permissions with `{client_id}` standing for this value: an MQTT client's identifier. AMQP connections
    /// have none, and there the variable matches only its own text.
    pub fn with_client_id(self, client_id: &str) -> Self {
        if !self.topics.values().any(TopicPermission::has_client_id) {
            return self;
        }
        let topics = self.topics.iter().map(|(exchange, topic)| (exchange.clone(), topic.with_client_id(client_id)));
        Self { topics: Arc::new(topics.collect()), ..self }
    }
}

/// The permission triple.
#[derive(Debug, Default)]
pub(super) struct Permission {
    pub(super) configure: Pattern,
    pub(super) write: Pattern,
    pub(super) read: Pattern,
}

impl Permission {
    pub(super) fn new(vhost: &str, user: &str, configure: &str, write: &str, read: &str) -> Result<Self, AuthError> {
        let bad = |right| move |source| bad_pattern(vhost, user, right, source);
        Ok(Self {
            configure: Pattern::new(configure).map_err(bad(Right::Configure))?,
            write: Pattern::new(write).map_err(bad(Right::Write))?,
            read: Pattern::new(read).map_err(bad(Right::Read))?,
        })
    }
}

/// What one user may do with which keys on one topic exchange.
#[derive(Debug, Clone)]
pub(super) struct TopicPermission {
    pub(super) write: Template,
    pub(super) read: Template,
}

impl TopicPermission {
    pub(super) fn new(vhost: &str, user: &str, write: &str, read: &str) -> Result<Self, AuthError> {
        let bad = |right| move |source| bad_pattern(vhost, user, right, source);
        let known = [("username", user), ("vhost", vhost)];
        Ok(Self {
            write: Template::new(write, &known).map_err(bad(Right::Write))?,
            read: Template::new(read, &known).map_err(bad(Right::Read))?,
        })
    }

    fn has_client_id(&self) -> bool {
        self.write.has_client_id() || self.read.has_client_id()
    }

    fn with_client_id(&self, client_id: &str) -> Self {
        Self { write: self.write.with_client_id(client_id), read: self.read.with_client_id(client_id) }
    }
}

fn bad_pattern(vhost: &str, user: &str, right: Right, source: PatternError) -> AuthError {
    AuthError::BadPattern { user: user.to_owned(), vhost: vhost.to_owned(), right, source }
}

/// A pattern with variables, as it was written and as it is matched.
#[derive(Debug, Clone)]
pub(super) struct Template {
    source: Arc<str>,
    /// `source` with user and virtual host filled in.
    filled: Arc<str>,
    pattern: Pattern,
}

impl Template {
    const CLIENT_ID: &'static str = "client_id";

    fn new(source: &str, known: &[(&str, &str)]) -> Result<Self, PatternError> {
        let filled = fill(source, known);
        // Without a client the variable is left as text, whose braces the regex syntax would misread.
        let pattern = Pattern::new(&fill(&filled, &[(Self::CLIENT_ID, "{client_id}")]))?;
        Ok(Self { source: source.into(), filled: filled.into(), pattern })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    fn has_client_id(&self) -> bool {
        self.filled.contains("{client_id}")
    }

    fn with_client_id(&self, client_id: &str) -> Self {
        // The value is escaped, so the pattern stays valid unless the variable stands in syntax, as in a group's name.
        let pattern = Pattern::new(&fill(&self.filled, &[(Self::CLIENT_ID, client_id)])).unwrap_or_default();
        Self { pattern, ..self.clone() }
    }
}

/// Replaces `{name}` by the value, escaped: a user called `.*` gets no more than others.
fn fill(source: &str, variables: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let variable =
            variables.iter().find_map(|(name, value)| Some((value, after.strip_prefix(name)?.strip_prefix('}')?)));
        rest = match variable {
            Some((value, after)) => {
                filled.push_str(&Pattern::escape(value));
                after
            }
            None => {
                filled.push('{');
                after
            }
        };
    }
    filled.push_str(rest);
    filled
}
