//! Runtime parameters: values that an operator keeps under (vhost, component, name), and global ones under a name.
//!
//! `vhost-limits` and `operator_policy` are parameters only by their look: their values live where they are used. Other
//! components have to be made known by whoever understands them, with a check.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thiserror::Error;

use super::Broker;
use super::events::INTERNAL;
use super::json::field_value;
use super::policy::{PolicyError, PolicyKind, PolicySpec, term};
use super::vhost::{Vhost, VhostSettings};
use crate::wire::Value;

const VHOST_LIMITS: &str = "vhost-limits";
const OPERATOR_POLICY: &str = "operator_policy";

/// A parameter that cannot be set: RabbitMQ's texts.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct ParameterError(String);

impl From<PolicyError> for ParameterError {
    fn from(error: PolicyError) -> Self {
        Self(error.to_string())
    }
}

/// Looks at name and value before they are kept; the error is the text for whoever sets them.
pub type ParameterCheck = fn(name: &str, value: &Json) -> Result<(), String>;

/// A parameter of a vhost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Parameter {
    /// Whose value it is.
    pub component: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Json,
}

/// A parameter of the cluster.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GlobalParameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Json,
}

/// The parameters that a vhost keeps, by component and name.
#[derive(Debug, Default)]
pub(super) struct Parameters(Mutex<BTreeMap<(String, String), Json>>);

impl Parameters {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Json>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Components that are known beside the two of this file, and the global parameters.
#[derive(Debug, Default)]
pub(super) struct Registry {
    components: Mutex<BTreeMap<String, ParameterCheck>>,
    globals: Mutex<BTreeMap<String, Json>>,
}

impl Registry {
    fn globals(&self) -> MutexGuard<'_, BTreeMap<String, Json>> {
        self.globals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn components(&self) -> MutexGuard<'_, BTreeMap<String, ParameterCheck>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Makes a component of parameters known: from now on they can be set, if the check agrees.
    pub fn add_parameter_component(&self, component: &str, check: ParameterCheck) {
        self.0.parameters.components().insert(component.to_owned(), check);
    }

    /// Makes those of another broker known here.
    pub(super) fn copy_parameter_components(&self, other: &Self) {
        let theirs = other.0.parameters.components().clone();
        *self.0.parameters.components() = theirs;
    }

    /// Sets a parameter of a vhost. Those of `vhost-limits` and `operator_policy` take effect as well.
    pub fn set_parameter(&self, vhost: &Vhost, component: &str, name: &str, value: Json) -> Result<(), ParameterError> {
        match component {
            VHOST_LIMITS => {
                set_limits(vhost, &value)?;
                self.events().tell("vhost.limits.set", INTERNAL, || [("name", (**vhost.name()).into())]);
                return Ok(());
            }
            OPERATOR_POLICY => {
                let spec = policy_spec(name, value)?;
                return Ok(self.set_policy(vhost, PolicyKind::Operator, name, spec)?);
            }
            "policy" => return Err(ParameterError("policies may not be set using this method".into())),
            _ => {}
        }
        let check = self.0.parameters.components().get(component).copied();
        let Some(check) = check else {
            return Err(ParameterError(format!("component {component} not found")));
        };
        check(name, &value).map_err(ParameterError)?;
        self.put_parameter(vhost, component, name, value);
        Ok(())
    }

    /// As [`Self::set_parameter`], but one of a component that nobody knows is kept, listed and exported as well: the
    /// definitions of a RabbitMQ with plugins can be taken as they are, and taken back. False: nobody knows it.
    pub(super) fn import_parameter(&self, vhost: &Vhost, parameter: Parameter) -> Result<bool, ParameterError> {
        let Parameter { component, name, value } = parameter;
        let is_own = matches!(component.as_str(), VHOST_LIMITS | OPERATOR_POLICY | "policy");
        if is_own || self.0.parameters.components().contains_key(&component) {
            return self.set_parameter(vhost, &component, &name, value).map(|()| true);
        }
        self.put_parameter(vhost, &component, &name, value);
        Ok(false)
    }

    fn put_parameter(&self, vhost: &Vhost, component: &str, name: &str, value: Json) {
        let told = value.clone();
        vhost.keeper().system_changed();
        vhost.parameters().lock().insert((component.to_owned(), name.to_owned()), value);
        self.events().tell("parameter.set", INTERNAL, || {
            [
                ("vhost", (**vhost.name()).into()),
                ("component", component.into()),
                ("name", name.into()),
                ("value", field_value(told).unwrap_or(Value::Void)),
            ]
        });
    }

    /// Clears a parameter. False: there was none.
    pub fn delete_parameter(&self, vhost: &Vhost, component: &str, name: &str) -> bool {
        match component {
            VHOST_LIMITS => {
                let had = limits(&vhost.settings()).is_some();
                vhost.change_settings(|settings| (settings.connections_max, settings.queues_max) = (None, None));
                had
            }
            OPERATOR_POLICY => self.delete_policy(vhost, PolicyKind::Operator, name),
            _ => {
                let had = vhost.parameters().lock().remove(&(component.to_owned(), name.to_owned())).is_some();
                if had {
                    vhost.keeper().system_changed();
                    let told =
                        || [("vhost", (**vhost.name()).into()), ("component", component.into()), ("name", name.into())];
                    self.events().tell("parameter.cleared", INTERNAL, told);
                }
                had
            }
        }
    }

    /// All parameters of a vhost, limits and operator policies among them.
    pub fn parameters(&self, vhost: &Vhost) -> Vec<Parameter> {
        let parameter =
            |component: &str, name: &str, value| Parameter { component: component.into(), name: name.into(), value };
        let operator = vhost.policies(PolicyKind::Operator).into_iter();
        operator
            .map(|policy| parameter(OPERATOR_POLICY, policy.name(), json!(policy.spec())))
            .chain(limits(&vhost.settings()).map(|limits| parameter(VHOST_LIMITS, "limits", limits)))
            .chain(
                vhost
                    .parameters()
                    .lock()
                    .iter()
                    .map(|((component, name), value)| parameter(component, name, value.clone())),
            )
            .collect()
    }

    /// Sets a global parameter; its value may be anything.
    pub fn set_global_parameter(&self, name: &str, value: Json) {
        self.0.parameters.globals().insert(name.to_owned(), value);
        self.0.keeper.system_changed();
    }

    /// Clears a global parameter. False: there was none.
    pub fn delete_global_parameter(&self, name: &str) -> bool {
        self.0.keeper.system_changed();
        self.0.parameters.globals().remove(name).is_some()
    }

    /// All global parameters, by name.
    pub fn global_parameters(&self) -> Vec<GlobalParameter> {
        let globals = self.0.parameters.globals();
        globals.iter().map(|(name, value)| GlobalParameter { name: name.clone(), value: value.clone() }).collect()
    }
}

/// The limits that are set, with RabbitMQ's names.
pub(super) fn limits(settings: &VhostSettings) -> Option<Json> {
    let mut limits = serde_json::Map::new();
    limits.extend(settings.connections_max.map(|max| ("max-connections".to_owned(), max.into())));
    limits.extend(settings.queues_max.map(|max| ("max-queues".to_owned(), max.into())));
    (!limits.is_empty()).then_some(Json::Object(limits))
}

/// US-6: replaces the limits; a negative one is none.
pub(super) fn set_limits(vhost: &Vhost, value: &Json) -> Result<(), ParameterError> {
    let Some(limits) = value.as_object() else {
        return Err(ParameterError(format!("limits should be an object, actually was {}", term(value))));
    };
    let unknown: Vec<String> = limits
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "max-connections" | "max-queues"))
        .map(|(name, value)| format!("{{<<\"{name}\">>,{}}}", term(value)))
        .collect();
    if !unknown.is_empty() {
        return Err(ParameterError(format!("Unrecognised terms [{}] in limits", unknown.join(","))));
    }
    let limit = |name: &str| match limits.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(limit) => Ok(u64::try_from(limit).ok()),
            None => Err(ParameterError(format!("{name} should be a number, actually was {}", term(value)))),
        },
    };
    let (connections_max, queues_max) = (limit("max-connections")?, limit("max-queues")?);
    vhost.change_settings(|settings| (settings.connections_max, settings.queues_max) = (connections_max, queues_max));
    Ok(())
}

fn policy_spec(name: &str, value: Json) -> Result<PolicySpec, ParameterError> {
    for key in ["definition", "pattern"] {
        if value.get(key).is_none() {
            return Err(ParameterError(format!("Key \"{key}\" not found in {name}")));
        }
    }
    serde_json::from_value(value).map_err(|error| ParameterError(error.to_string()))
}
