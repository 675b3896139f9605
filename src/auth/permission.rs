//! What a user may do in a vhost: patterns over the names of queues and exchanges.

use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};

use super::AuthError;

/// What a permission is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Declare and delete.
    Configure,
    /// Publish; bind (the destination).
    Write,
    /// Consume, get, purge; bind (the source).
    Read,
}

impl Right {
    /// As reply texts name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// How much a pattern may backtrack before it counts as not matching.
const BACKTRACK_MAX: usize = 10_000;

/// A regular expression as permissions have them: unanchored; the empty one matches only the empty name (US-1).
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: Arc<str>,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Everything,
    EmptyOnly,
    Regex(Arc<Regex>),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, AuthError> {
        let rule = match text {
            "" | "^$" => Rule::EmptyOnly,
            ".*" | "^.*" | "^.*$" | ".*$" => Rule::Everything,
            _ => {
                let regex = RegexBuilder::new(text).backtrack_limit(BACKTRACK_MAX).build();
                Rule::Regex(Arc::new(
                    regex.map_err(|error| AuthError::BadPattern { pattern: text.into(), reason: error.to_string() })?,
                ))
            }
        };
        Ok(Self { text: text.into(), rule })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match &self.rule {
            Rule::Everything => true,
            Rule::EmptyOnly => name.is_empty(),
            Rule::Regex(regex) => regex.is_match(name).unwrap_or(false),
        }
    }
}

/// Configure, write and read.
#[derive(Clone, Debug)]
pub(super) struct Permission {
    pub(super) configure: Pattern,
    pub(super) write: Pattern,
    pub(super) read: Pattern,
}

/// Write and read of one topic exchange; patterns may contain `{username}` and `{vhost}`.
#[derive(Clone, Debug)]
pub(super) struct TopicPermission {
    pub(super) exchange: Arc<str>,
    pub(super) write: Pattern,
    pub(super) read: Pattern,
}

/// What one user may do in one vhost, as of one version of the users. The default allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    permission: Option<Permission>,
    topics: Vec<TopicPermission>,
}

impl Access {
    /// Variables in topic patterns are filled in here, once.
    pub(super) fn new(
        permission: &Permission,
        topics: &[TopicPermission],
        user: &str,
        vhost: &str,
    ) -> Result<Self, AuthError> {
        let fill = |pattern: &Pattern| {
            let text = pattern.as_str();
            if !text.contains('{') {
                return Ok(pattern.clone());
            }
            Pattern::new(&text.replace("{username}", user).replace("{vhost}", vhost))
        };
        let topics = topics.iter().map(|topic| {
            let TopicPermission { exchange, write, read } = topic;
            Ok(TopicPermission { exchange: exchange.clone(), write: fill(write)?, read: fill(read)? })
        });
        Ok(Self { permission: Some(permission.clone()), topics: topics.collect::<Result<_, AuthError>>()? })
    }

    /// The default exchange is asked for as `amq.default`.
    pub fn allows(&self, right: Right, name: &str) -> bool {
        let Some(permission) = &self.permission else {
            return false;
        };
        let pattern = match right {
            Right::Configure => &permission.configure,
            Right::Write => &permission.write,
            Right::Read => &permission.read,
        };
        pattern.matches(name)
    }

    /// May this routing key be published to, or bound with, a topic exchange? Without an entry it may (US-3).
    pub fn allows_topic(&self, right: Right, exchange: &str, routing_key: &str) -> bool {
        let Some(topic) = self.topics.iter().find(|topic| *topic.exchange == *exchange) else {
            return true;
        };
        match right {
            Right::Read => topic.read.matches(routing_key),
            Right::Write | Right::Configure => topic.write.matches(routing_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES US-1.
    #[test]
    fn patterns_are_unanchored_and_the_empty_one_matches_nothing_usable() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        assert!(matches(".*", "anything") && matches("q", "a-q-b") && matches("^amq\\.", "amq.topic"));
        assert!(!matches("", "q") && matches("", "") && !matches("^q$", "qq"));
        assert!(matches("^(?!secret)", "public") && !matches("^(?!secret)", "secret.1"));
        assert!(Pattern::new("(").is_err());
    }

    #[test]
    fn a_pattern_that_explodes_refuses() {
        let name = "a".repeat(40) + "b";
        assert!(!Pattern::new("^(?=(a+)+$)").unwrap().matches(&name));
    }
}
