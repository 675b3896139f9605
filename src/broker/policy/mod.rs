//! Policies: settings that an operator gives to all queues and exchanges whose names match a pattern.
//!
//! One policy and one operator policy are in force for an object: those of the highest priority that match (PO-2). What
//! they come to together with the arguments is [`InForce`]. This file is the model and the matching; `validate.rs` holds
//! the rules for definitions, `merge.rs` what two policies come to, `apply.rs` changes while queues live.

mod apply;
mod merge;
#[cfg(test)]
mod tests;
mod validate;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use thiserror::Error;

pub(super) use self::validate::term;
use super::queue::{QueueOptions, QueueSettings, QueueType};
use crate::auth::Pattern;

/// The JSON object of a policy's keys and values.
pub type Definition = serde_json::Map<String, Json>;

/// A policy that cannot be set: RabbitMQ's texts, to which its HTTP API adds `Validation failed`.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct PolicyError(pub(super) String);

/// Whose policy it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PolicyKind {
    /// Of the vhost's users, all keys.
    User,
    /// Of the operator, who limits what users may set; few keys.
    Operator,
}

/// What a policy applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    All,
    /// Queues of all types.
    Queues,
    /// Exchanges.
    Exchanges,
    /// Classic queues.
    ClassicQueues,
    /// Quorum queues.
    QuorumQueues,
    /// Streams.
    Streams,
}

impl ApplyTo {
    fn parse(name: &str) -> Result<Self, PolicyError> {
        Ok(match name {
            "all" => Self::All,
            "queues" => Self::Queues,
            "exchanges" => Self::Exchanges,
            "classic_queues" => Self::ClassicQueues,
            "quorum_queues" => Self::QuorumQueues,
            "streams" => Self::Streams,
            _ => {
                return Err(PolicyError(format!(
                    "apply-to '{name}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', \
                     'streams', 'exchanges', or 'all'"
                )));
            }
        })
    }

    fn covers(self, object: Object) -> bool {
        match (self, object) {
            (Self::All, _) | (Self::Exchanges, Object::Exchange) | (Self::Queues, Object::Queue(_)) => true,
            (Self::ClassicQueues, Object::Queue(queue_type)) => queue_type == QueueType::Classic,
            (Self::QuorumQueues, Object::Queue(queue_type)) => queue_type == QueueType::Quorum,
            _ => false,
        }
    }
}

/// What a policy may match.
#[derive(Clone, Copy, Debug)]
enum Object {
    Exchange,
    Queue(QueueType),
}

/// A policy as it comes: of definitions, or the body of an HTTP request (PO-1).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicySpec {
    /// Which names it matches.
    pub pattern: Json,
    /// `all` if absent.
    #[serde(default = "all")]
    pub apply_to: String,
    /// What it sets.
    pub definition: Definition,
    /// The highest wins; 0 if absent.
    #[serde(default = "zero")]
    pub priority: Json,
}

fn all() -> String {
    "all".into()
}

fn zero() -> Json {
    0.into()
}

/// A policy that was found valid.
#[derive(Debug)]
pub struct Policy {
    name: Arc<str>,
    spec: PolicySpec,
    pattern: Pattern,
    apply_to: ApplyTo,
    priority: f64,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.spec == other.spec
    }
}

impl Policy {
    /// Checks what is to be set, with RabbitMQ's complaints (PO-4 to PO-6).
    pub fn new(kind: PolicyKind, name: &str, spec: PolicySpec) -> Result<Self, PolicyError> {
        let Some(pattern) = spec.pattern.as_str() else {
            let shown = validate::term(&spec.pattern);
            return Err(PolicyError(format!("pattern should be a binary but was {shown}")));
        };
        // An empty permission matches nothing, an empty regular expression everything.
        let pattern = Pattern::new(if pattern.is_empty() { ".*" } else { pattern }).map_err(|error| {
            PolicyError(format!("pattern should be regular expression but is invalid: {}", error.reason))
        })?;
        let apply_to = ApplyTo::parse(&spec.apply_to)?;
        let Some(priority) = spec.priority.as_f64() else {
            let shown = validate::term(&spec.priority);
            return Err(PolicyError(format!("priority should be a number, actually was {shown}")));
        };
        validate::definition(kind, &spec.definition)?;
        Ok(Self { name: name.into(), spec, pattern, apply_to, priority })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// As it was set.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// What it sets.
    pub fn definition(&self) -> &Definition {
        &self.spec.definition
    }

    fn matches(&self, object: Object, name: &str) -> bool {
        self.apply_to.covers(object)
            && self.pattern.matches(name)
            && match object {
                Object::Queue(queue_type) => merge::is_known_to(queue_type, self.definition()),
                Object::Exchange => true,
            }
    }

    /// Of two that match: the higher priority, and with the same the name that comes first. RabbitMQ leaves that open.
    fn rank(&self, other: &Self) -> Ordering {
        self.priority.total_cmp(&other.priority).then_with(|| other.name.cmp(&self.name))
    }
}

/// The policies of a vhost.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    user: BTreeMap<Arc<str>, Arc<Policy>>,
    operator: BTreeMap<Arc<str>, Arc<Policy>>,
}

impl Policies {
    pub(super) fn of(&self, kind: PolicyKind) -> &BTreeMap<Arc<str>, Arc<Policy>> {
        match kind {
            PolicyKind::User => &self.user,
            PolicyKind::Operator => &self.operator,
        }
    }

    fn of_mut(&mut self, kind: PolicyKind) -> &mut BTreeMap<Arc<str>, Arc<Policy>> {
        match kind {
            PolicyKind::User => &mut self.user,
            PolicyKind::Operator => &mut self.operator,
        }
    }

    fn matching(&self, object: Object, name: &str) -> InForce {
        let best = |kind: PolicyKind| {
            let matching = self.of(kind).values().filter(|policy| policy.matches(object, name));
            matching.max_by(|a, b| a.rank(b)).cloned()
        };
        InForce { policy: best(PolicyKind::User), operator: best(PolicyKind::Operator) }
    }

    /// What is in force for a queue with this declaration.
    pub(super) fn for_queue(&self, name: &str, options: &QueueOptions) -> InForce {
        self.matching(Object::Queue(options.queue_type), name)
    }

    /// What is in force for an exchange; operators have nothing to say about those.
    pub(super) fn for_exchange(&self, name: &str) -> InForce {
        InForce { operator: None, ..self.matching(Object::Exchange, name) }
    }
}

/// The policies that apply to one queue or exchange (PO-8).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InForce {
    /// The policy.
    pub policy: Option<Arc<Policy>>,
    /// The operator policy; exchanges have none.
    pub operator: Option<Arc<Policy>>,
}

impl InForce {
    /// What the two come to: `effective_policy_definition`.
    pub fn definition(&self) -> Definition {
        merge::definitions(
            self.policy.as_deref().map(Policy::definition),
            self.operator.as_deref().map(Policy::definition),
        )
    }

    /// What they come to with a queue's arguments.
    pub(super) fn settings(&self, options: &QueueOptions) -> QueueSettings {
        if self.policy.is_none() && self.operator.is_none() {
            return options.settings.clone();
        }
        merge::settings(options, &self.definition())
    }

    /// The alternate exchange that the policy sets.
    pub(super) fn alternate(&self) -> Option<Arc<str>> {
        let name = self.policy.as_deref()?.definition().get("alternate-exchange")?.as_str()?;
        Some(name.into()).filter(|name: &Arc<str>| !name.is_empty())
    }
}
