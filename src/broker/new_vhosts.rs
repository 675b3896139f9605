//! What vhosts begin with, as the operator's configuration says: a default queue type, limits, operator policies. It can be
//! changed in each of them later on.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Broker;
use super::policy::{PolicyError, PolicyKind, PolicySpec};
use super::vhost::Vhost;
use crate::auth::{Pattern, PatternError};

/// Limits of new vhosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultLimits {
    /// The names of those they are for, a regular expression.
    pub vhosts: String,
    /// `max-connections`; `None` is without limit.
    pub connections_max: Option<u64>,
    /// `max-queues`; `None` is without limit.
    pub queues_max: Option<u64>,
}

/// An operator policy of new vhosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPolicy {
    /// Its name.
    pub name: String,
    /// The names of those that get it, a regular expression.
    pub vhosts: String,
    /// The names of queues it is for.
    pub pattern: String,
    /// `queues`, ...
    pub apply_to: String,
    /// What it sets, with the names of policies.
    pub definition: Vec<(&'static str, u64)>,
}

/// Why vhosts cannot begin with this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewVhostsError {
    /// A pattern of vhosts that is none.
    #[error("the pattern of vhosts '{pattern}' is not valid: {source}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A policy that cannot be set.
    #[error("the default operator policy '{name}' is not valid: {source}")]
    Policy {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: PolicyError,
    },
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct NewVhosts {
    /// What a queue is that names no type.
    pub queue_type: Option<Arc<str>>,
    limits: Vec<(Pattern, DefaultLimits)>,
    policies: Vec<(Pattern, String, PolicySpec)>,
}

impl NewVhosts {
    /// Of limits that match the same vhost the first count.
    pub fn add_limits(&mut self, limits: &DefaultLimits) -> Result<(), NewVhostsError> {
        self.limits.push((pattern(&limits.vhosts)?, limits.clone()));
        Ok(())
    }

    /// Adds an operator policy.
    pub fn add_policy(&mut self, policy: &DefaultPolicy) -> Result<(), NewVhostsError> {
        let DefaultPolicy { name, vhosts, pattern: queues, apply_to, definition } = policy;
        let spec = PolicySpec {
            pattern: queues.as_str().into(),
            apply_to: apply_to.clone(),
            definition: definition.iter().map(|(name, value)| ((*name).to_owned(), Json::from(*value))).collect(),
            priority: 0.into(),
        };
        let failed = |source| NewVhostsError::Policy { name: name.clone(), source };
        super::policy::Policy::new(PolicyKind::Operator, name, spec.clone()).map_err(failed)?;
        self.policies.push((pattern(vhosts)?, name.clone(), spec));
        Ok(())
    }

    /// Gives a vhost that was just made what it begins with.
    pub(super) fn furnish(&self, broker: &Broker, vhost: &Vhost) {
        let limits = self.limits.iter().find(|(pattern, _)| pattern.matches(vhost.name())).map(|(_, limits)| limits);
        if self.queue_type.is_some() || limits.is_some() {
            vhost.change_settings(|settings| {
                settings.default_queue_type.clone_from(&self.queue_type);
                settings.connections_max = limits.and_then(|limits| limits.connections_max);
                settings.queues_max = limits.and_then(|limits| limits.queues_max);
            });
        }
        for (_, name, spec) in self.policies.iter().filter(|(pattern, ..)| pattern.matches(vhost.name())) {
            if let Err(error) = broker.set_policy(vhost, PolicyKind::Operator, name, spec.clone()) {
                tracing::error!(vhost = %vhost.name(), policy = name, %error, "a default policy cannot be set");
            }
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, NewVhostsError> {
    Pattern::new(text).map_err(|source| NewVhostsError::Pattern { pattern: text.to_owned(), source })
}
