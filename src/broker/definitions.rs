//! Definitions: RabbitMQ's JSON of users, vhosts, permissions, parameters, policies, exchanges, queues and bindings,
//! imported. The way back is `export.rs`.
//!
//! As RabbitMQ does (DF-4), an import adds and never takes away: what exists with other properties is left as it is, and a
//! binding with a missing end is skipped. Unlike there, an import with an error in it changes nothing.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;
use tracing::warn;

use super::events::INTERNAL;
use super::exchange::ExchangeType;
use super::json::table_of_json;
use super::parameter::{GlobalParameter, Parameter, ParameterError};
use super::policy::{PolicyError, PolicyKind, PolicySpec};
use super::queue::QueueOptions;
use super::refusal::Refusal;
use super::vhost::{Destination, ExchangeDefinition, Vhost, VhostSettings};
use super::{Broker, Options};
use crate::auth::{Auth, AuthError, PermissionRecord, TopicPermissionRecord, UserRecord};
use crate::wire::{Table, Value};

/// Definitions that cannot be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DefinitionsError {
    /// Not JSON, or not of the right shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A bad user, or permissions of nobody.
    #[error("{0}")]
    Auth(#[from] AuthError),
    /// Something lives in a vhost that is neither there nor defined.
    #[error("{what} is in vhost '{vhost}', which does not exist")]
    VhostMissing {
        /// What lives there.
        what: String,
        /// The vhost.
        vhost: String,
    },
    /// A policy that cannot be set.
    #[error("{error} (vhost: \"{vhost}\" key: \"{name}\")")]
    Policy {
        /// Its vhost.
        vhost: String,
        /// Its name.
        name: String,
        /// Why.
        error: PolicyError,
    },
    /// A parameter that cannot be set.
    #[error("{error} (vhost: \"{vhost}\" / component: \"{component}\" / key: \"{name}\")")]
    Parameter {
        /// Its vhost.
        vhost: String,
        /// Its component.
        component: String,
        /// Its name.
        name: String,
        /// Why.
        error: ParameterError,
    },
    /// A queue, exchange or binding that a client could not declare either.
    #[error("{what}: {refusal}")]
    Refused {
        /// Which one.
        what: String,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// A name or a routing key that no short string holds.
    #[error("{what} should be less than 255 bytes, actually was {length}")]
    NameTooLong {
        /// Whose.
        what: String,
        /// How long it is.
        length: usize,
    },
    /// An argument that AMQP has no value for.
    #[error("{what}: argument '{argument}' has no value")]
    NullArgument {
        /// Of which queue, exchange or binding.
        what: String,
        /// Its name.
        argument: String,
    },
}

/// The file, as far as Lepus understands it (DF-1, DF-2). Other keys are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Definitions {
    users: Vec<UserRecord>,
    vhosts: Vec<VhostRecord>,
    permissions: Vec<PermissionRecord>,
    topic_permissions: Vec<TopicPermissionRecord>,
    parameters: Vec<ParameterRecord>,
    global_parameters: Vec<GlobalParameter>,
    policies: Vec<PolicyRecord>,
    queues: Vec<QueueRecord>,
    exchanges: Vec<ExchangeRecord>,
    bindings: Vec<BindingRecord>,
}

#[derive(Deserialize)]
struct VhostRecord {
    name: String,
    /// RabbitMQ 3 spells it in one word.
    #[serde(default, alias = "defaultqueuetype")]
    default_queue_type: Option<String>,
    #[serde(default)]
    metadata: VhostMetadata,
    #[serde(default)]
    limits: VhostLimits,
    #[serde(default)]
    tracing: Option<bool>,
}

#[derive(Default, Deserialize)]
struct VhostMetadata {
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<String>,
    /// What is protected stays so if this is absent.
    protected_from_deletion: Option<bool>,
    default_queue_type: Option<String>,
}

/// Negative is without limit.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VhostLimits {
    max_connections: Option<i64>,
    max_queues: Option<i64>,
}

impl VhostLimits {
    fn apply(&self, settings: &mut VhostSettings) {
        let limit = |limit: i64| u64::try_from(limit).ok();
        if let Some(max) = self.max_connections {
            settings.connections_max = limit(max);
        }
        if let Some(max) = self.max_queues {
            settings.queues_max = limit(max);
        }
    }
}

#[derive(Deserialize)]
struct ParameterRecord {
    vhost: String,
    #[serde(flatten)]
    parameter: Parameter,
}

#[derive(Deserialize)]
struct PolicyRecord {
    vhost: String,
    name: String,
    #[serde(flatten)]
    spec: PolicySpec,
}

type Arguments = serde_json::Map<String, Json>;

#[derive(Deserialize)]
struct QueueRecord {
    name: String,
    vhost: String,
    durable: bool,
    auto_delete: bool,
    #[serde(rename = "type")]
    queue_type: Option<String>,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Deserialize)]
struct ExchangeRecord {
    name: String,
    vhost: String,
    #[serde(rename = "type")]
    kind: String,
    durable: bool,
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Deserialize)]
struct BindingRecord {
    source: String,
    vhost: String,
    destination: String,
    destination_type: DestinationType,
    routing_key: String,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DestinationType {
    Queue,
    Exchange,
}

impl Broker {
    /// Imports definitions, all of them or, if there is anything wrong with them, none.
    pub fn import_definitions(&self, json: &str) -> Result<(), DefinitionsError> {
        // What it says in the log is said when it is done.
        let silence = tracing::subscriber::NoSubscriber::default();
        tracing::subscriber::with_default(silence, || self.rehearsal()?.apply_definitions(json))?;
        self.apply_definitions(json)
    }

    /// A broker with the vhosts and users of this one, to import definitions into first.
    fn rehearsal(&self) -> Result<Self, DefinitionsError> {
        let (rehearsal, _) = Self::new(Options { lanes: 1, ..Options::default() }, Auth::new());
        rehearsal.auth().import_users(&self.auth().export_users())?;
        for vhost in self.vhosts() {
            rehearsal.add_vhost(vhost.name());
        }
        rehearsal.copy_parameter_components(self);
        Ok(rehearsal)
    }

    /// Imports definitions up to the first that is wrong.
    fn apply_definitions(&self, json: &str) -> Result<(), DefinitionsError> {
        self.take_definitions(json, |name| self.add_vhost(name))
    }

    /// Takes up what this broker had itself, before it was restarted.
    pub(super) fn restore_definitions(&self, json: &str) -> Result<(), DefinitionsError> {
        self.take_definitions(json, |name| self.vhost(name).unwrap_or_else(|| self.add_bare_vhost(name)))
    }

    fn take_definitions(&self, json: &str, add_vhost: impl Fn(&str) -> Arc<Vhost>) -> Result<(), DefinitionsError> {
        let definitions: Definitions = serde_json::from_str(json)?;
        self.auth().import_users(&definitions.users)?;
        for record in &definitions.vhosts {
            check_length(|| format!("vhost '{}'", record.name), &record.name)?;
            let default_type = record.default_queue_type.as_ref().or(record.metadata.default_queue_type.as_ref());
            let existed = self.vhost(&record.name).is_some();
            let vhost = add_vhost(&record.name);
            if let Some(tracing) = record.tracing {
                vhost.set_tracing(tracing);
            }
            vhost.change_settings(|settings| {
                record.limits.apply(settings);
                // A new one may have begun with one.
                let own = settings.default_queue_type.take().filter(|_| !existed);
                let given = default_type.filter(|name| *name != "undefined").map(|name| name.as_str().into());
                settings.default_queue_type = given.or(own);
                settings.description.clone_from(&record.metadata.description);
                settings.tags.clone_from(&record.metadata.tags);
                if let Some(protected) = record.metadata.protected_from_deletion {
                    settings.protected_from_deletion = protected;
                }
            });
        }
        for record in &definitions.permissions {
            self.vhost_of(&record.vhost, || format!("a permission of user '{}'", record.user))?;
            let PermissionRecord { vhost, user, configure, write, read } = record;
            self.auth().set_permissions(vhost, user, configure, write, read)?;
        }
        for record in &definitions.topic_permissions {
            self.vhost_of(&record.vhost, || format!("a topic permission of user '{}'", record.user))?;
            let TopicPermissionRecord { vhost, user, exchange, write, read } = record;
            self.auth().set_topic_permissions(vhost, user, exchange, write, read)?;
        }
        for record in definitions.parameters {
            self.import_parameter_record(record)?;
        }
        for GlobalParameter { name, value } in definitions.global_parameters {
            self.set_global_parameter(&name, value);
        }
        for record in definitions.policies {
            self.import_policy(record)?;
        }
        for record in definitions.queues {
            self.import_queue(record)?;
        }
        for record in definitions.exchanges {
            self.import_exchange(record)?;
        }
        for record in definitions.bindings {
            self.import_binding(record)?;
        }
        Ok(())
    }

    fn import_parameter_record(&self, record: ParameterRecord) -> Result<(), DefinitionsError> {
        let ParameterRecord { vhost: vhost_name, parameter } = record;
        let (component, name) = (parameter.component.clone(), parameter.name.clone());
        let vhost = self.vhost_of(&vhost_name, || format!("parameter '{name}'"))?;
        match self.import_parameter(&vhost, parameter) {
            Ok(true) => Ok(()),
            Ok(false) => {
                warn!(vhost = vhost_name, component, name, "a parameter that has no effect here is kept as it is");
                Ok(())
            }
            Err(error) => Err(DefinitionsError::Parameter { vhost: vhost_name, component, name, error }),
        }
    }

    fn import_policy(&self, record: PolicyRecord) -> Result<(), DefinitionsError> {
        let PolicyRecord { vhost: vhost_name, name, spec } = record;
        check_length(|| format!("policy '{name}'"), &name)?;
        let vhost = self.vhost_of(&vhost_name, || format!("policy '{name}'"))?;
        let set = self.set_policy(&vhost, PolicyKind::User, &name, spec);
        set.map_err(|error| DefinitionsError::Policy { vhost: vhost_name, name, error })
    }

    fn vhost_of(&self, vhost: &str, what: impl FnOnce() -> String) -> Result<Arc<Vhost>, DefinitionsError> {
        self.vhost(vhost).ok_or_else(|| DefinitionsError::VhostMissing { what: what(), vhost: vhost.to_owned() })
    }

    fn import_queue(&self, record: QueueRecord) -> Result<(), DefinitionsError> {
        let what = format!("queue '{}'", record.name);
        check_length(|| what.clone(), &record.name)?;
        let vhost = self.vhost_of(&record.vhost, || what.clone())?;
        if vhost.queue(&record.name).is_some() {
            return Ok(());
        }
        let mut arguments = table(&what, record.arguments)?;
        if let Some(queue_type) = record.queue_type.filter(|_| arguments.get("x-queue-type").is_none()) {
            arguments.push("x-queue-type", Value::LongString(queue_type.into_bytes()));
        }
        let named = vhost.queue_named(&record.name);
        QueueOptions::parse(&named, record.durable, None, record.auto_delete, false, arguments)
            .and_then(|options| self.find_or_create_queue(&vhost, self.system_mailbox(), &record.name, options))
            .map(drop)
            .map_err(refused(what))
    }

    fn import_exchange(&self, record: ExchangeRecord) -> Result<(), DefinitionsError> {
        let what = format!("exchange '{}'", record.name);
        check_length(|| what.clone(), &record.name)?;
        let vhost = self.vhost_of(&record.vhost, || what.clone())?;
        if vhost.exchange(&record.name).is_some() {
            return Ok(());
        }
        let arguments = table(&what, record.arguments)?;
        let Some(kind) = ExchangeType::parse(&record.kind) else {
            return Err(refused(what)(Refusal::UnknownExchangeType(record.kind)));
        };
        let definition = ExchangeDefinition {
            name: &record.name,
            kind,
            durable: record.durable,
            auto_delete: record.auto_delete,
            internal: record.internal,
            arguments,
            number: None,
        };
        vhost.declare_exchange(definition, INTERNAL).map_err(refused(what))
    }

    fn import_binding(&self, record: BindingRecord) -> Result<(), DefinitionsError> {
        let what = format!("binding of '{}' to '{}'", record.destination, record.source);
        check_length(|| format!("routing key of {what}"), &record.routing_key)?;
        let vhost = self.vhost_of(&record.vhost, || what.clone())?;
        let destination = match record.destination_type {
            DestinationType::Queue => vhost.queue(&record.destination).map(Destination::Queue),
            DestinationType::Exchange => {
                vhost.exchange(&record.destination).map(|exchange| Destination::Exchange(exchange.name.clone()))
            }
        };
        // The default exchange's bindings are implicit.
        let source = vhost.exchange(&record.source).filter(|source| !source.name.is_empty());
        let (Some(source), Some(destination)) = (source, destination) else { return Ok(()) };
        let arguments = table(&what, record.arguments)?;
        self.bind(&vhost, &source, &destination, &record.routing_key, &arguments, INTERNAL).map_err(refused(what))
    }
}

fn check_length(what: impl FnOnce() -> String, name: &str) -> Result<(), DefinitionsError> {
    match name.len() {
        0..=255 => Ok(()),
        length => Err(DefinitionsError::NameTooLong { what: what(), length }),
    }
}

fn refused(what: String) -> impl FnOnce(Refusal) -> DefinitionsError {
    |refusal| DefinitionsError::Refused { what, refusal: Box::new(refusal) }
}

/// Arguments in JSON as an AMQP table, with the types RabbitMQ gives them.
fn table(what: &str, arguments: Arguments) -> Result<Table, DefinitionsError> {
    table_of_json(arguments).map_err(|argument| DefinitionsError::NullArgument { what: what.to_owned(), argument })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> Broker {
        Broker::new(Options { lanes: 1, ..Options::default() }, Auth::new()).0
    }

    /// FEATURES DF-4: an import merges; what exists stays as it is, and missing ends are skipped.
    #[test]
    fn an_import_merges() {
        let broker = broker();
        let json = |durable: bool| {
            serde_json::json!({
                "vhosts": [{"name": "v"}],
                "queues": [{"name": "q", "vhost": "v", "durable": durable, "auto_delete": false, "arguments": {}}],
                "exchanges": [{"name": "x", "vhost": "v", "type": "fanout", "durable": durable, "auto_delete": false}],
                "bindings": [
                    {"source": "x", "vhost": "v", "destination": "q", "destination_type": "queue", "routing_key": ""},
                    {"source": "x", "vhost": "v", "destination": "?", "destination_type": "queue", "routing_key": ""},
                    {"source": "?", "vhost": "v", "destination": "x", "destination_type": "exchange", "routing_key": ""}
                ]
            })
            .to_string()
        };
        broker.import_definitions(&json(true)).unwrap();
        broker.import_definitions(&json(false)).unwrap();
        let vhost = broker.vhost("v").unwrap();
        assert!(vhost.queue("q").unwrap().options.durable && vhost.exchange("x").unwrap().durable);
        assert_eq!(vhost.queue_count(), 1);
    }

    /// FEATURES DF-4, where RabbitMQ keeps what came before an error: nothing is changed, and the error says what it is of.
    #[test]
    fn an_import_with_an_error_changes_nothing() {
        let broker = broker();
        broker.add_vhost("v");
        let long = "x".repeat(256);
        let queue = |name: &str, more: &str| {
            format!(r#""queues": [{{"name": "{name}", "vhost": "v", "durable": true, "auto_delete": false{more}}}]"#)
        };
        let wrong = [
            (
                r#""exchanges": [{"name": "x", "vhost": "v", "type": "magic", "durable": true, "auto_delete": false}]"#
                    .into(),
                "exchange 'x': unknown exchange type 'magic'".to_owned(),
            ),
            (
                queue("q", r#", "arguments": {"x-expires": null}"#),
                "queue 'q': argument 'x-expires' has no value".to_owned(),
            ),
            (queue(&long, ""), format!("queue '{long}' should be less than 255 bytes, actually was 256")),
            (
                r#""permissions": [{"user": "?", "vhost": "v", "configure": "", "write": "", "read": ""}]"#.into(),
                "user '?' does not exist".to_owned(),
            ),
            (
                r#""permissions": [{"user": "u", "vhost": "?", "configure": "", "write": "", "read": ""}]"#.into(),
                "a permission of user 'u' is in vhost '?', which does not exist".to_owned(),
            ),
        ];
        let good = r#""users": [{"name": "u", "password": "p", "tags": ""}], "vhosts": [{"name": "w"}],
            "global_parameters": [{"name": "g", "value": 1}], "policies": [
            {"name": "p", "vhost": "v", "pattern": ".*", "definition": {"max-length": 1}, "priority": 0, "apply-to": "all"}]"#;
        for (wrong, text) in wrong {
            let error = broker.import_definitions(&format!("{{{good}, {wrong}}}")).unwrap_err().to_string();
            assert_eq!(error, text);
            assert!(broker.vhost("w").is_none() && broker.auth().user("u").is_none(), "{text}");
            assert!(broker.global_parameters().is_empty(), "{text}");
            assert!(broker.vhost("v").unwrap().policies(PolicyKind::User).is_empty(), "{text}");
        }
        let longest = queue(&long[1..], "");
        broker.import_definitions(&format!("{{{good}, {longest}}}")).unwrap();
        assert_eq!(broker.vhost("v").unwrap().queue_count(), 1);
    }
}
