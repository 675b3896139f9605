//! Setting and clearing policies while queues and exchanges live (PO-7).

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Policy, PolicyError, PolicyKind, PolicySpec};
use crate::broker::Broker;
use crate::broker::events::INTERNAL;
use crate::broker::inbox::Op;
use crate::broker::json::field_value;
use crate::broker::vhost::Vhost;
use crate::wire::Value;

impl Broker {
    /// Sets a policy of a vhost, or replaces the one of this name. When this returns, new queues and exchanges have it
    /// and the lanes of those there are know what changed. The cost is that of matching every queue and exchange of the
    /// vhost; no lane waits for that.
    pub fn set_policy(&self, vhost: &Vhost, kind: PolicyKind, name: &str, spec: PolicySpec) -> Result<(), PolicyError> {
        let policy = Arc::new(Policy::new(kind, name, spec)?);
        let told = policy.clone();
        self.change_policies(vhost, |vhost| {
            vhost.replace_policies(|policies| {
                policies.of_mut(kind).insert(policy.name.clone(), policy);
            });
        });
        self.events().tell("policy.set", INTERNAL, || {
            [
                ("vhost", (**vhost.name()).into()),
                ("name", name.into()),
                ("pattern", told.pattern.as_str().into()),
                ("apply-to", told.spec.apply_to.as_str().into()),
                ("definition", field_value(Json::Object(told.spec.definition.clone())).unwrap_or(Value::Void)),
                ("priority", Value::I64(told.priority as i64)),
            ]
        });
        Ok(())
    }

    /// Clears a policy; what it set goes back to the next one, or to the arguments. False: there was none.
    pub fn delete_policy(&self, vhost: &Vhost, kind: PolicyKind, name: &str) -> bool {
        let mut existed = false;
        self.change_policies(vhost, |vhost| {
            vhost.replace_policies(|policies| existed = policies.of_mut(kind).remove(name).is_some());
        });
        if existed {
            let told = || [("vhost", (**vhost.name()).into()), ("name", name.into())];
            self.events().tell("policy.cleared", INTERNAL, told);
        }
        existed
    }

    /// Changes the policies, then gives them to all there is. Whoever declares something at the same time takes the
    /// new policies, or is seen here: both the change and a declare hold the vhost's lock of changes.
    fn change_policies(&self, vhost: &Vhost, change: impl FnOnce(&Vhost)) {
        let _changing = vhost.policy_changes();
        change(vhost);
        let policies = vhost.policies_now();
        for queue in vhost.queues() {
            let in_force = policies.for_queue(&queue.name, &queue.options);
            if *queue.in_force() == in_force {
                continue;
            }
            let (before, after) = (queue.settings(), in_force.settings(&queue.options));
            queue.put_in_force(in_force);
            if before != after {
                let op = Op::Settings { queue: queue.key.id, settings: Box::new(after) };
                self.lane(queue.key.lane).send(self.system_mailbox(), vec![op], 0);
            }
        }
        vhost.match_exchanges(&policies);
    }
}

impl Vhost {
    /// The policies of one kind, by name.
    pub fn policies(&self, kind: PolicyKind) -> Vec<Arc<Policy>> {
        self.policies_now().of(kind).values().cloned().collect()
    }
}
