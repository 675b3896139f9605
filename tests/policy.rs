//! Policies as clients feel them: limits, dead letters and alternates that change while queues and exchanges live.

use std::sync::Arc;

use lapin::options::QueueDeclareOptions;
use lepus::Server;
use lepus::broker::{DeleteVhostError, PolicyKind, PolicySpec, Vhost};
use serde_json::json;

use crate::common::{ChannelExt, Client, connect, eventually, start_client, table};

fn vhost(server: &Server) -> Arc<Vhost> {
    server.broker().vhost("/").expect("the vhost")
}

/// Publishes, and waits until the queue's lane has what was published.
async fn publish(client: &Client, exchange: &str, key: &str, body: &str, queue: &str) {
    client.publish(exchange, key, body.as_bytes()).await;
    client.queue(queue).await;
}

fn set(server: &Server, kind: PolicyKind, name: &str, pattern: &str, definition: serde_json::Value) {
    let spec: PolicySpec =
        serde_json::from_value(json!({"pattern": pattern, "definition": definition})).expect("a policy");
    server.broker().set_policy(&vhost(server), kind, name, spec).expect("valid");
}

/// FEATURES PO-7: a lowered limit drops at once, with dead-lettering; clearing it lifts it.
#[tokio::test]
async fn a_limit_applies_at_once() {
    let (server, client) = start_client().await;
    client.queue("q").await;
    client.queue("dead").await;
    for n in 0..4 {
        publish(&client, "", "q", &n.to_string(), "q").await;
    }
    let definition = json!({"max-length": 2, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"});
    set(&server, PolicyKind::User, "p", "^q$", definition);
    assert_eq!(client.drain("dead").await, ["0", "1"]);
    assert_eq!(client.drain("q").await, ["2", "3"]);
    assert!(server.broker().delete_policy(&vhost(&server), PolicyKind::User, "p"));
    for n in 0..4 {
        publish(&client, "", "q", &n.to_string(), "q").await;
    }
    assert_eq!(client.drain("q").await.len(), 4);
}

/// FEATURES PO-2, PO-3, PO-8: a new queue has the policy at once, an operator limits it, and both are told.
#[tokio::test]
async fn a_new_queue_has_it() {
    let (server, client) = start_client().await;
    set(&server, PolicyKind::User, "p", "^q", json!({"max-length": 9}));
    set(&server, PolicyKind::Operator, "op", "^q", json!({"max-length": 1}));
    client.queue("q").await;
    publish(&client, "", "q", "a", "q").await;
    publish(&client, "", "q", "b", "q").await;
    assert_eq!(client.drain("q").await, ["b"]);
    let in_force = vhost(&server).queue("q").expect("the queue").in_force();
    assert_eq!(in_force.policy.as_ref().map(|policy| &**policy.name()), Some("p"));
    assert_eq!(in_force.operator.as_ref().map(|policy| &**policy.name()), Some("op"));
    assert_eq!(json!(in_force.definition()), json!({"max-length": 1}));
}

/// FEATURES PO-7: the alternate exchange of a policy, for routes that were used before, too.
#[tokio::test]
async fn an_alternate_exchange_switches() {
    let (server, client) = start_client().await;
    client.queue("rest").await;
    client.bind("rest", "amq.fanout", "").await;
    publish(&client, "amq.direct", "nowhere", "lost", "rest").await;
    set(&server, PolicyKind::User, "p", "^amq.direct$", json!({"alternate-exchange": "amq.fanout"}));
    publish(&client, "amq.direct", "nowhere", "found", "rest").await;
    assert!(server.broker().delete_policy(&vhost(&server), PolicyKind::User, "p"));
    publish(&client, "amq.direct", "nowhere", "lost", "rest").await;
    assert_eq!(client.drain("rest").await, ["found"]);
}

/// FEATURES PO-7: a time to live is for messages to come, as RabbitMQ 4.3 and 3.10 did; expires starts to run.
#[tokio::test]
async fn times_start_to_run() {
    let (server, client) = start_client().await;
    client.queue("q").await;
    publish(&client, "", "q", "stays", "q").await;
    set(&server, PolicyKind::User, "p", "^q$", json!({"message-ttl": 0}));
    publish(&client, "", "q", "goes", "q").await;
    assert_eq!(client.drain("q").await, ["stays"]);
    set(&server, PolicyKind::User, "p", "^q$", json!({"expires": 1}));
    eventually("the queue has gone", async || vhost(&server).queue("q").is_none().then_some(())).await;
}

/// FEATURES US-6, US-7, DF-1, DF-2, PO-5: what is exported can be imported, and is the same again.
#[tokio::test]
async fn an_export_comes_back() {
    let (server, client) = start_client().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    client.declare("q", durable, table([])).await.expect("declared");
    client.bind("q", "amq.topic", "a.#").await;
    set(&server, PolicyKind::User, "p", "^q$", json!({"max-length": 5, "ha-mode": "all"}));
    set(&server, PolicyKind::Operator, "op", "^q$", json!({"max-length": 3}));
    let broker = server.broker();
    broker.set_parameter(&vhost(&server), "vhost-limits", "limits", json!({"max-queues": 7})).expect("valid");
    broker.set_global_parameter("cluster_tags", json!({"a": 1}));
    vhost(&server).change_settings(|settings| {
        settings.description = "a shop".into();
        settings.tags = vec!["x".into()];
        settings.protected_from_deletion = true;
    });
    assert_eq!(broker.delete_vhost("/"), Err(DeleteVhostError::Protected("/".into())));
    let exported = broker.export_definitions();
    let copy = crate::common::builder().definitions_json(exported.to_string()).start().await.expect("starts");
    // The first import adds what 4.x says beside the arguments, the type; from then on nothing changes.
    let again = copy.broker().export_definitions();
    for key in
        ["users", "vhosts", "permissions", "parameters", "global_parameters", "policies", "exchanges", "bindings"]
    {
        assert_eq!(again[key], exported[key], "{key}");
    }
    connect(&copy).await;
    assert_eq!(vhost(&copy).queue("q").expect("the queue").settings().length_max, Some(3));
}

/// FEATURES US-6, PO-6: what a parameter may not be.
#[tokio::test]
async fn bad_parameters_are_told() {
    let (server, _client) = start_client().await;
    let cases = [
        ("vhost-limits", json!({"foo": 5}), "Unrecognised terms [{<<\"foo\">>,5}] in limits"),
        ("vhost-limits", json!({"max-queues": "x"}), "max-queues should be a number, actually was <<\"x\">>"),
        ("foo", json!(1), "component foo not found"),
        ("policy", json!(1), "policies may not be set using this method"),
        ("operator_policy", json!({"pattern": "a"}), "Key \"definition\" not found in n"),
    ];
    for (component, value, text) in cases {
        let error = server.broker().set_parameter(&vhost(&server), component, "n", value).expect_err(component);
        assert_eq!(error.to_string(), text);
    }
}

/// FEATURES PO-1, PO-2: a policy for other names, for other kinds of things, or of lower priority, does nothing; an
/// empty pattern is in every name.
#[tokio::test]
async fn a_policy_that_matches_nothing_does_nothing() {
    let (server, client) = start_client().await;
    client.queue("q").await;
    let limit = json!({"max-length": 1});
    let others = [
        ("^nothing$", "all", 9),
        ("^q$", "exchanges", 9),
        ("^q$", "quorum_queues", 9),
        ("^q$", "streams", 9),
        ("Q", "queues", 9),
        ("", "queues", -1),
    ];
    set(&server, PolicyKind::User, "mine", "^q$", json!({"max-length": 2}));
    for (n, (pattern, apply_to, priority)) in others.iter().enumerate() {
        let spec = json!({"pattern": pattern, "apply-to": apply_to, "priority": priority, "definition": limit});
        let spec = serde_json::from_value(spec).expect("a policy");
        server.broker().set_policy(&vhost(&server), PolicyKind::User, &n.to_string(), spec).expect("valid");
    }
    let publish_three = async || {
        for body in ["a", "b", "c"] {
            publish(&client, "", "q", body, "q").await;
        }
        client.drain("q").await.len()
    };
    assert_eq!(publish_three().await, 2);
    assert!(server.broker().delete_policy(&vhost(&server), PolicyKind::User, "mine"));
    assert_eq!(publish_three().await, 1, "the empty pattern is what is left");
    assert!(server.broker().delete_policy(&vhost(&server), PolicyKind::User, "5"));
    assert_eq!(publish_three().await, 3);
    assert!(!server.broker().delete_policy(&vhost(&server), PolicyKind::User, "5"));
}
