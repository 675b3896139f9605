//! Any sequence of policies set and cleared and things declared and deleted comes to what a look at all of it says.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::Auth;
use crate::broker::exchange::ExchangeType;
use crate::broker::refusal::Named;
use crate::broker::vhost::ExchangeDefinition;
use crate::broker::{Broker, Options, Vhost};
use crate::wire::Table;

fn spec(pattern: &str, apply_to: &str, definition: Json, priority: i64) -> PolicySpec {
    let Json::Object(definition) = definition else { panic!("an object") };
    PolicySpec { pattern: pattern.into(), apply_to: apply_to.into(), definition, priority: priority.into() }
}

#[derive(Clone, Debug)]
enum Step {
    Set(PolicyKind, String, PolicySpec),
    Clear(PolicyKind, String),
    Queue(String, bool),
    DeleteQueue(String),
    Exchange(String),
    DeleteExchange(String),
}

fn kind() -> impl Strategy<Value = PolicyKind> {
    prop_oneof![Just(PolicyKind::User), Just(PolicyKind::Operator)]
}

fn step() -> impl Strategy<Value = Step> {
    let applies =
        prop::sample::select(vec!["all", "queues", "exchanges", "classic_queues", "quorum_queues", "streams"]);
    let definitions = prop::sample::select(vec![
        json!({"max-length": 3}),
        json!({"max-length": 7, "message-ttl": 100}),
        json!({"delivery-limit": 4}),
        json!({"overflow": "reject-publish"}),
    ]);
    let set = (kind(), "[p-r]", "[ab.^]{0,2}", applies, definitions, 0..3_i64);
    prop_oneof![
        set.prop_map(|(kind, name, pattern, applies, definition, priority)| {
            Step::Set(kind, name, spec(&pattern, applies, definition, priority))
        }),
        (kind(), "[p-r]").prop_map(|(kind, name)| Step::Clear(kind, name)),
        ("[ab]{1,2}", any::<bool>()).prop_map(|(name, quorum)| Step::Queue(name, quorum)),
        "[ab]{1,2}".prop_map(Step::DeleteQueue),
        "[ab]{1,2}".prop_map(Step::Exchange),
        "[ab]{1,2}".prop_map(Step::DeleteExchange),
    ]
}

fn run(broker: &Broker, vhost: &Vhost, step: Step) {
    match step {
        Step::Set(kind, name, spec) => broker.set_policy(vhost, kind, &name, spec).expect("valid"),
        Step::Clear(kind, name) => drop(broker.delete_policy(vhost, kind, &name)),
        Step::Queue(name, quorum) => {
            let mut arguments = Table::default();
            arguments.push("x-queue-type", if quorum { "quorum" } else { "classic" }.into());
            let options = QueueOptions::parse(&Named::queue(&name, &"v".into()), true, None, false, false, arguments);
            let from = broker.system_mailbox();
            broker.find_or_create_queue(vhost, from, &name, options.expect("valid")).expect("declared");
        }
        Step::DeleteQueue(name) => {
            if let Some(queue) = vhost.queue(&name) {
                vhost.remove_queue(&queue, "me");
            }
        }
        Step::Exchange(name) => {
            let (kind, arguments) = (ExchangeType::Fanout, Table::default());
            let definition = ExchangeDefinition {
                name: &name,
                kind,
                durable: true,
                auto_delete: false,
                internal: false,
                arguments,
                number: None,
            };
            vhost.declare_exchange(definition, "me").expect("declared");
        }
        Step::DeleteExchange(name) => vhost.delete_exchange(&name, false, "me").expect("deleted"),
    }
}

/// The best of all policies, looked for without any help of the code under test but the pattern itself.
fn naive(vhost: &Vhost, kind: PolicyKind, name: &str, queue_type: Option<QueueType>) -> Option<Arc<Policy>> {
    let mut best: Option<Arc<Policy>> = None;
    for policy in vhost.policies(kind) {
        let classic = queue_type == Some(QueueType::Classic);
        let covers = match policy.spec.apply_to.as_str() {
            "all" => true,
            "queues" => queue_type.is_some(),
            "exchanges" => queue_type.is_none(),
            "classic_queues" => classic,
            "quorum_queues" => queue_type == Some(QueueType::Quorum),
            _ => false,
        };
        let known = !classic || !policy.definition().contains_key("delivery-limit");
        let better = best.as_ref().is_none_or(|best| policy.priority > best.priority);
        if covers && known && policy.pattern.matches(name) && better {
            best = Some(policy);
        }
    }
    best
}

proptest! {
    /// FEATURES PO-2, PO-7, PO-8.
    #[test]
    fn what_is_in_force_is_what_matches_best(steps in prop::collection::vec(step(), 0..40)) {
        let (broker, _lanes) = Broker::new(Options { lanes: 1, ..Options::default() }, Auth::new());
        let vhost = broker.add_vhost("v");
        for step in steps {
            run(&broker, &vhost, step);
        }
        for queue in vhost.queues() {
            let queue_type = Some(queue.options.queue_type);
            let expected = InForce {
                policy: naive(&vhost, PolicyKind::User, &queue.name, queue_type),
                operator: naive(&vhost, PolicyKind::Operator, &queue.name, queue_type),
            };
            prop_assert_eq!(queue.settings(), expected.settings(&queue.options));
            prop_assert_eq!(&*queue.in_force(), &expected);
        }
        for exchange in vhost.exchanges() {
            let in_force = exchange.in_force();
            prop_assert_eq!(&in_force.policy, &naive(&vhost, PolicyKind::User, &exchange.name, None));
            prop_assert_eq!(&in_force.operator, &None);
        }
    }
}

/// FEATURES PO-1, PO-6: what is wrong with a policy beside its definition.
#[test]
fn bad_policies_are_told() {
    let good = || spec("a", "all", json!({"max-length": 1}), 0);
    let refused = |spec| Policy::new(PolicyKind::User, "p", spec).expect_err("refused").to_string();
    assert_eq!(refused(PolicySpec { pattern: 5.into(), ..good() }), "pattern should be a binary but was 5");
    let text = "pattern should be regular expression but is invalid: ";
    assert!(refused(PolicySpec { pattern: "(".into(), ..good() }).starts_with(text));
    assert_eq!(
        refused(PolicySpec { apply_to: "x".into(), ..good() }),
        "apply-to 'x' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
         'exchanges', or 'all'"
    );
    let text = "priority should be a number, actually was <<\"x\">>";
    assert_eq!(refused(PolicySpec { priority: "x".into(), ..good() }), text);
    assert!(Policy::new(PolicyKind::User, "p", PolicySpec { priority: json!(1.5), ..good() }).is_ok());
}
