//! Definitions in RabbitMQ's JSON format, imported at start.

use crate::common::client::{connect_as, text};
use crate::common::raw::{self, Args, Raw, id};
use crate::common::{ChannelExt, Client, args, builder};

const DEFINITIONS: &str = r#"{
    "rabbit_version": "3.10.8",
    "rabbitmq_version": "3.10.8",
    "product_name": "RabbitMQ",
    "something unknown": [1, 2, 3],
    "users": [
        {"name": "hashed", "password_hash": "AQIDBAO9p3dPKhIHOt/iH3FWOTm8ShLDdng5mu4y0QLb6Cq5",
         "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "administrator,monitoring", "limits": {}},
        {"name": "plain", "password": "plain", "tags": ["management"]}
    ],
    "vhosts": [{"name": "/"}, {"name": "shop", "metadata": {"description": "a shop", "tags": []}}],
    "permissions": [
        {"user": "hashed", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"},
        {"user": "plain", "vhost": "shop", "configure": "", "write": "", "read": ".*"}
    ],
    "topic_permissions": [],
    "parameters": [],
    "global_parameters": [{"name": "cluster_name", "value": "rabbit@here"}],
    "policies": [],
    "queues": [
        {"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false,
         "arguments": {"x-max-length": 2, "x-queue-type": "classic"}},
        {"name": "spare", "vhost": "shop", "type": "classic", "durable": false, "auto_delete": false, "arguments": {}}
    ],
    "exchanges": [
        {"name": "in", "vhost": "shop", "type": "topic", "durable": true, "auto_delete": false, "internal": false,
         "arguments": {"alternate-exchange": "rest"}},
        {"name": "rest", "vhost": "shop", "type": "fanout", "durable": true, "auto_delete": false, "internal": true,
         "arguments": {}}
    ],
    "bindings": [
        {"source": "in", "vhost": "shop", "destination": "orders", "destination_type": "queue",
         "routing_key": "order.#", "arguments": {}},
        {"source": "in", "vhost": "shop", "destination": "rest", "destination_type": "exchange",
         "routing_key": "lost", "arguments": {}},
        {"source": "rest", "vhost": "shop", "destination": "spare", "destination_type": "queue",
         "routing_key": "", "arguments": {}},
        {"source": "in", "vhost": "shop", "destination": "not there", "destination_type": "queue",
         "routing_key": "order.#", "arguments": {}}
    ]
}"#;

/// FEATURES DF-1, DF-2, DF-4, DF-5: users, permissions, queues, exchanges and bindings are there and work.
#[tokio::test]
async fn everything_is_imported() {
    let server = builder().definitions_json(DEFINITIONS).start().await.expect("the broker starts");
    let client = connect_as(&server, "hashed", "test12", "shop").await.expect("the hash is of this password");
    for n in 0..3 {
        client.publish("in", "order.new", n.to_string().as_bytes()).await;
    }
    client.publish("in", "lost", b"bound").await;
    client.publish("in", "elsewhere", b"unroutable").await;
    assert_eq!(client.drain("orders").await, ["1", "2"], "x-max-length is 2");
    assert_eq!(client.drain("spare").await, ["bound", "unroutable"]);
    let reader = connect_as(&server, "plain", "plain", "shop").await.expect("connects");
    client.publish("", "spare", b"x").await;
    let message = crate::common::eventually("the message", async || reader.get("spare").await).await;
    assert_eq!(text(&message), "x");
}

/// FEATURES DF-6: with definitions there is no default user.
#[tokio::test]
async fn no_default_user_beside_definitions() {
    let server = builder().definitions_json(DEFINITIONS).start().await.expect("the broker starts");
    assert!(Client::open(&format!("amqp://guest:guest@{}/%2f", server.amqp_addr())).await.is_err());
}

/// FEATURES DF-6: definitions come from a file as well.
#[tokio::test]
async fn definitions_come_from_a_file() {
    let path = std::env::temp_dir().join(format!("lepus-definitions-{}.json", std::process::id()));
    std::fs::write(&path, DEFINITIONS).expect("a file can be written");
    let server = builder().definitions(&path).start().await;
    std::fs::remove_file(&path).expect("and taken away");
    let server = server.expect("the broker starts");
    connect_as(&server, "plain", "plain", "shop").await.expect("connects");
    let error = builder().definitions(&path).start().await.expect_err("the file is gone").to_string();
    assert!(error.contains("cannot read definitions") && error.contains("lepus-definitions"), "{error}");
}

/// FEATURES DF-4: what cannot be understood stops the start, and says why.
#[tokio::test]
async fn bad_definitions_stop_the_start() {
    let cases = [
        ("{", "EOF"),
        (r#"{"users": [{"name": "x", "password_hash": "AQID!", "tags": ""}]}"#, "password"),
        (
            r#"{"queues": [{"name": "q", "vhost": "nowhere", "durable": true, "auto_delete": false, "arguments": {}}]}"#,
            "nowhere",
        ),
        (r#"{"permissions": [{"user": "ghost", "vhost": "/", "configure": "", "write": "", "read": ""}]}"#, "/"),
    ];
    for (definitions, part) in cases {
        let error = builder().definitions_json(definitions).start().await.expect_err(definitions).to_string();
        assert!(error.starts_with("cannot import definitions") && error.contains(part), "{error}");
    }
}

/// FEATURES DF-2, QU-5: arguments keep their types: a redeclare by a client agrees.
#[tokio::test]
async fn imported_queues_can_be_declared_again() {
    let server = builder().definitions_json(DEFINITIONS).start().await.expect("the broker starts");
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let tune = raw.login(Args::new(), b"\0hashed\0test12").await;
    raw.tune_ok(tune).await;
    raw.method(0, id::OPEN, raw::open(b"shop")).await;
    raw.expect(0, id::OPEN_OK).await;
    raw.channel(1).await;
    let arguments = Args::new().field("x-max-length", b'I', &[0, 0, 0, 2]);
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare_with("orders", 2, arguments), id::QUEUE_DECLARE_OK).await;
}

/// FEATURES DF-4: parameters of plugins that are not here are kept, listed and exported again; they cannot be set.
#[tokio::test]
async fn parameters_of_other_plugins_are_kept() {
    let definitions = r#"{"vhosts": [{"name": "/"}], "parameters": [
        {"vhost": "/", "component": "shovel", "name": "s", "value": {"src-uri": "amqp://", "dest-uri": ["amqp://"]}},
        {"vhost": "/", "component": "federation-upstream", "name": "up", "value": {"uri": "amqp://"}}]}"#;
    let server = builder().definitions_json(definitions).start().await.expect("the broker starts");
    let exported = server.broker().export_definitions();
    let vhost = server.broker().vhost("/").expect("the vhost");
    let components: Vec<String> = server.broker().parameters(&vhost).into_iter().map(|p| p.component).collect();
    assert_eq!(components, ["federation-upstream", "shovel"]);
    let again = builder().definitions_json(exported.to_string()).start().await.expect("the broker starts");
    assert_eq!(again.broker().export_definitions()["parameters"], exported["parameters"]);
    let error = server.broker().set_parameter(&vhost, "shovel", "s", serde_json::json!({})).expect_err("unknown");
    assert_eq!(error.to_string(), "component shovel not found");
    assert!(server.broker().delete_parameter(&vhost, "shovel", "s"), "it can be taken away");
}
