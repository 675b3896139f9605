//! Bad input to the management HTTP API: what is no JSON, no name, too large, or damaged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lepus::Server;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::common::builder;
use crate::common::http::{Http, Response};

async fn start() -> (Server, Http) {
    let builder = builder().http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
    let server = builder.start().await.expect("the broker starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    (server, http)
}

fn refused(response: &Response) -> (u16, String) {
    let reason = match &response.json["reason"] {
        Json::String(reason) => reason.clone(),
        other => other.to_string(),
    };
    (response.status, reason)
}

/// FEATURES section 4.1: every path that reads a body refuses what is none, in RabbitMQ's words, and does nothing.
#[tokio::test]
async fn bodies_that_are_no_objects_are_refused() {
    let (_server, http) = start().await;
    let paths = [
        ("PUT", "queues/%2F/q"),
        ("PUT", "exchanges/%2F/x"),
        ("POST", "bindings/%2F/e/amq.topic/q/q"),
        ("PUT", "vhosts/v"),
        ("PUT", "users/u"),
        ("PUT", "permissions/%2F/guest"),
        ("PUT", "topic-permissions/%2F/guest"),
        ("PUT", "policies/%2F/p"),
        ("PUT", "operator-policies/%2F/p"),
        ("PUT", "parameters/vhost-limits/%2F/limits"),
        ("PUT", "global-parameters/g"),
        ("PUT", "vhost-limits/%2F/max-queues"),
        ("PUT", "user-limits/guest/max-channels"),
        ("PUT", "cluster-name"),
        ("POST", "exchanges/%2F/amq.topic/publish"),
        ("POST", "users/bulk-delete"),
    ];
    for (method, path) in paths {
        for body in ["{bad", "[]", "5", "{\"a\": 1}}", "\u{0}", "{\"a\":\"\u{1}\"}"] {
            let answer = http.send(method, path, body).await;
            assert_eq!(refused(&answer), (400, "not_json".to_owned()), "{method} {path} {body:?}");
        }
        let twice = http.send(method, path, "\"{}\"").await;
        assert!(refused(&twice).1.starts_with("invalid payload: the request body JSON-decoded to a string."), "{path}");
        let deep = "[".repeat(100_000);
        assert_eq!(http.send(method, path, &format!("{{\"arguments\": {deep}")).await.status, 400, "{path}");
    }
    assert_eq!(http.get("queues").await.items().len(), 0);
    assert_eq!(http.get("vhosts").await.items().len(), 1);
    assert_eq!(http.get("users").await.items().len(), 1);
}

/// FEATURES section 4.1: values of the wrong type are refused, and the field's value is named.
#[tokio::test]
async fn values_of_the_wrong_type_are_refused() {
    let (_server, http) = start().await;
    let message = |field: &str, value: Json| {
        let mut message = json!({"properties": {}, "routing_key": "k", "payload": "p", "payload_encoding": "string"});
        message[field] = value;
        message
    };
    let policy = |field: &str, value: Json| {
        let mut policy = json!({"pattern": "x", "definition": {"max-length": 1}});
        policy[field] = value;
        policy
    };
    let cases = [
        ("PUT", "queues/%2F/q", json!({"durable": 1})),
        ("PUT", "queues/%2F/q", json!({"auto_delete": null})),
        ("PUT", "queues/%2F/q", json!({"arguments": 5})),
        ("PUT", "queues/%2F/q", json!({"arguments": {"x-max-length": "a"}})),
        ("PUT", "queues/%2F/q", json!({"arguments": {"x-expires": null}})),
        ("PUT", "exchanges/%2F/x", json!({"type": 5})),
        ("PUT", "exchanges/%2F/x", json!({"internal": "perhaps"})),
        ("PUT", "users/u", json!({"tags": 5, "password": "x"})),
        ("PUT", "users/u", json!({"tags": [5], "password": "x"})),
        ("PUT", "users/u", json!({"tags": "", "password": 5})),
        ("PUT", "users/u", json!({"tags": "", "password_hash": 5})),
        ("PUT", "users/u", json!({"tags": "", "password_hash": "eA==", "hashing_algorithm": "none"})),
        ("PUT", "vhosts/v", json!({"tags": 5})),
        ("PUT", "vhosts/v", json!({"description": 5})),
        ("PUT", "vhosts/v", json!({"default_queue_type": 5})),
        ("PUT", "permissions/%2F/guest", json!({"configure": 5, "write": "", "read": ""})),
        ("PUT", "permissions/%2F/guest", json!({"configure": "(", "write": "", "read": ""})),
        ("PUT", "policies/%2F/p", policy("pattern", json!(5))),
        ("PUT", "policies/%2F/p", policy("pattern", json!("("))),
        ("PUT", "policies/%2F/p", policy("definition", json!(5))),
        ("PUT", "policies/%2F/p", policy("definition", json!({}))),
        ("PUT", "policies/%2F/p", policy("definition", json!({"max-length": "a"}))),
        ("PUT", "policies/%2F/p", policy("priority", json!("high"))),
        ("PUT", "policies/%2F/p", policy("apply-to", json!("everything"))),
        ("PUT", "vhost-limits/%2F/max-queues", json!({"value": 1.5})),
        ("PUT", "user-limits/guest/max-channels", json!({"value": "many"})),
        ("POST", "bindings/%2F/e/amq.topic/q/q", json!({"routing_key": 5})),
        ("POST", "bindings/%2F/e/amq.topic/q/q", json!({"arguments": [1]})),
        ("POST", "exchanges/%2F/amq.topic/publish", message("properties", json!(5))),
        ("POST", "exchanges/%2F/amq.topic/publish", message("routing_key", json!(5))),
        ("POST", "exchanges/%2F/amq.topic/publish", message("routing_key", json!("k".repeat(256)))),
        ("POST", "exchanges/%2F/amq.topic/publish", message("payload", json!(5))),
        ("POST", "exchanges/%2F/amq.topic/publish", message("payload_encoding", json!("rot13"))),
        ("POST", "exchanges/%2F/amq.topic/publish", message("properties", json!({"priority": 256}))),
        ("POST", "exchanges/%2F/amq.topic/publish", message("properties", json!({"message_id": "i".repeat(256)}))),
        ("POST", "queues/%2F/q/get", json!({"count": 1.5, "ackmode": "ack_requeue_true", "encoding": "auto"})),
        ("POST", "users/bulk-delete", json!({"users": "guest"})),
    ];
    for (method, path, body) in cases {
        let answer = http.send(method, path, &body.to_string()).await;
        assert_eq!((answer.status, &answer.json["error"]), (400, &json!("bad_request")), "{method} {path} {body}");
        assert!(!refused(&answer).1.is_empty(), "{path} {body}");
    }
    assert_eq!(http.get("queues").await.items().len(), 0);
    assert_eq!(http.get("policies").await.items().len(), 0);
    assert_eq!(http.get("permissions/%2F/guest").await.json["configure"], ".*");
    for (method, path) in [
        ("PUT", "queues/none/q"),
        ("PUT", "policies/none/p"),
        ("GET", "queues/none"),
        ("GET", "bindings/none/e/x/q/q"),
        ("GET", "vhost-limits/none"),
        ("POST", "definitions/none"),
        ("DELETE", "vhosts/none"),
        ("PUT", "parameters/vhost-limits/none/limits"),
        ("GET", "consumers/none"),
        ("POST", "queues/none/q/get"),
        ("POST", "exchanges/none/x/publish"),
        ("DELETE", "queues/none/q/contents"),
    ] {
        let body = json!({"pattern": "", "definition": {"max-length": 1}, "value": {}, "count": 1, "properties": {},
            "ackmode": "ack_requeue_true", "encoding": "auto", "routing_key": "", "payload": "", "payload_encoding": ""});
        assert_eq!(http.send(method, path, &body.to_string()).await.status, 404, "{method} {path}");
    }
}

/// FEATURES section 4.1: names are percent-encoded bytes of UTF-8, up to 255 of them.
#[tokio::test]
async fn names_of_all_bytes_go_both_ways() {
    let (_server, http) = start().await;
    let mut names: Vec<String> = (0..=127_u8).map(|byte| format!("a{}b", char::from(byte))).collect();
    names.extend(["%", "é", "兎", "a/b/c", "..", "#", "?q=1", " ", "\u{10ffff}", "\u{feff}"].map(str::to_owned));
    names.push("x".repeat(255));
    names.push("é".repeat(127));
    for name in &names {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(http.put(&format!("queues/%2F/{encoded}"), &json!({})).await.status, 201, "{name:?}");
        assert_eq!(http.get(&format!("queues/%2F/{encoded}")).await.json["name"], **name, "{name:?}");
        let bound = http.send("POST", &format!("bindings/%2F/e/amq.topic/q/{encoded}"), "{}").await;
        let location = bound.header("location").expect("it says where");
        let (_, props) = location.split_once('/').expect("queue and key");
        let binding = http.get(&format!("bindings/%2F/e/amq.topic/q/{encoded}/{props}")).await;
        assert_eq!(binding.json["destination"], **name, "{name:?}");
    }
    assert_eq!(http.get("queues").await.items().len(), names.len());
    for (path, kind) in [
        ("queues/%2F/", "queue"),
        ("exchanges/%2F/", "exchange"),
        ("vhosts/", "vhost"),
        ("policies/%2F/", "policy"),
        ("users/", "user"),
    ] {
        let body = json!({"tags": "", "pattern": "", "definition": {"max-length": 1}});
        for (name, length) in [("x".repeat(256), 256), ("é".repeat(128), 256), ("x".repeat(4000), 4000)] {
            let encoded = name.replace('é', "%C3%A9");
            let answer = http.put(&format!("{path}{encoded}"), &body).await;
            let text = format!("{kind} should be less than 255 bytes, actually was {length}\n");
            assert_eq!(refused(&answer), (400, text));
            assert_eq!(http.get(&format!("{path}{encoded}")).await.status, 404, "{kind}");
        }
    }
    for name in ["%", "a%", "a%2", "a%zz", "%ff", "%E2%82", "%C0%80", "%ED%A0%80"] {
        for method in ["GET", "PUT", "DELETE"] {
            assert_eq!(http.send(method, &format!("queues/%2F/{name}"), "{}").await.status, 400, "{method} {name}");
        }
    }
}

/// FEATURES section 4.1: what is no method, and what a path does not take.
#[tokio::test]
async fn methods_are_known_or_not() {
    let (_server, http) = start().await;
    assert_eq!(http.send("FOO", "overview", "").await.status, 501);
    assert_eq!(http.send("PATCH", "overview", "").await.status, 405);
    assert_eq!(http.send("POST", "queues", "{}").await.status, 405);
    assert_eq!(
        http.send("OPTIONS", "queues/%2F/q", "").await.header("allow").as_deref(),
        Some("HEAD, GET, PUT, DELETE, OPTIONS")
    );
    let head = http.send("HEAD", "overview", "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

/// FEATURES DF-4: damaged definitions change nothing and say what is wrong, however late it comes.
#[tokio::test]
async fn damaged_definitions_change_nothing() {
    let (_server, http) = start().await;
    let good = json!({
        "users": [{"name": "u", "password_hash": "", "tags": ["management"]}],
        "vhosts": [{"name": "v"}],
        "permissions": [{"user": "u", "vhost": "v", "configure": ".*", "write": ".*", "read": ".*"}],
        "queues": [{"name": "q", "vhost": "v", "durable": true, "auto_delete": false, "arguments": {}}],
        "exchanges": [{"name": "x", "vhost": "v", "type": "fanout", "durable": true, "auto_delete": false}],
    });
    let binding =
        json!({"source": "x", "vhost": "v", "destination": "q", "destination_type": "queue", "routing_key": ""});
    let damaged = |key: &str, value: Json| {
        let mut all = good.clone();
        match &mut all[key] {
            Json::Array(records) => records.push(value),
            other => *other = json!([value]),
        }
        all
    };
    let mut unbound = binding.clone();
    unbound["vhost"] = "gone".into();
    let cases = [
        (damaged("bindings", unbound), "Please create virtual host \"gone\" prior to importing definitions."),
        (damaged("bindings", json!({"source": "x", "vhost": "v"})), "missing field `destination`"),
        (damaged("queues", json!({"name": "r", "vhost": "v", "durable": "yes", "auto_delete": false})), "invalid type"),
        (
            damaged(
                "queues",
                json!({"name": "r", "vhost": "v", "durable": true, "auto_delete": false,
            "arguments": {"x-max-length": "many"}}),
            ),
            "queue 'r'",
        ),
        (
            damaged(
                "exchanges",
                json!({"name": "y", "vhost": "v", "type": "magic", "durable": true, "auto_delete": false}),
            ),
            "exchange 'y': unknown exchange type 'magic'",
        ),
        (damaged("policies", json!({"name": "p", "vhost": "v", "pattern": "", "definition": {"what": 1}})), "p"),
        (damaged("users", json!({"name": "w", "password": "x", "tags": 5})), "tags must be"),
        (
            damaged("permissions", json!({"user": "nobody", "vhost": "v", "configure": "", "write": "", "read": ""})),
            "nobody",
        ),
        (
            damaged(
                "parameters",
                json!({"component": "vhost-limits", "vhost": "v", "name": "limits", "value": {"x": 1}}),
            ),
            "limits",
        ),
        (json!({"vhosts": [{"name": "v"}], "queues": 5}), "invalid type"),
    ];
    let before = http.get("definitions").await.text;
    for (definitions, text) in &cases {
        let answer = http.send("POST", "definitions", &definitions.to_string()).await;
        let (status, reason) = refused(&answer);
        assert!(status == 400 && reason.contains(text), "{status} {reason}, not {text}");
        assert_eq!(http.get("definitions").await.text, before, "{text}");
    }
    // Cut off anywhere, it is no JSON.
    let whole = good.to_string();
    for end in (1..whole.len()).step_by(37) {
        let answer = http.send("POST", "definitions", &whole[..end]).await;
        assert_eq!(refused(&answer), (400, "failed_to_parse_json".to_owned()), "{end}");
    }
    assert_eq!(http.get("definitions").await.text, before);
    assert_eq!(http.send("POST", "definitions", &whole).await.status, 204);
    assert_eq!(http.send("POST", "definitions", &damaged("bindings", binding).to_string()).await.status, 204);
    assert_eq!(http.get("bindings/v/e/x/q/q").await.items().len(), 1);
}

/// FEATURES section 4.1: definitions have a tag, and are not sent to whoever has them.
#[tokio::test]
async fn definitions_have_a_tag() {
    let (_server, http) = start().await;
    let tag = http.get("definitions").await.header("etag").expect("a tag");
    assert_eq!(http.get("definitions").await.header("etag").as_ref(), Some(&tag));
    let again = http.with_header("If-None-Match", &tag).get("definitions").await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(http.put("vhosts/v", &json!({})).await.status, 201);
    let changed = http.with_header("If-None-Match", &tag).get("definitions").await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag));
    let file = http.get("definitions?download=mine.json").await;
    assert_eq!(file.header("content-disposition").as_deref(), Some("attachment; filename=mine.json"));
}

/// FEATURES section 4.1: whoever guesses passwords disturbs nobody, and is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_wrong_logins_disturb_nobody() {
    let (_server, http) = start().await;
    let done = Arc::new(AtomicBool::new(false));
    let (mut guessers, mut others) = (JoinSet::new(), JoinSet::new());
    for _ in 0..4 {
        let guesser = http.like("guest:wrong");
        guessers.spawn(async move {
            for _ in 0..250 {
                assert_eq!(guesser.get("overview").await.status, 401);
            }
        });
    }
    others.spawn({
        let (http, done) = (http.clone(), done.clone());
        async move {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let since = Instant::now();
                assert_eq!(http.get("whoami").await.status, 200);
                slowest = slowest.max(since.elapsed());
            }
            slowest
        }
    });
    while let Some(guesser) = guessers.join_next().await {
        guesser.expect("it is refused, always");
    }
    done.store(true, Ordering::Relaxed);
    let slowest = others.join_next().await.expect("there are others").expect("they are served");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let node = http.get("nodes").await.items()[0]["name"].as_str().expect("a name").to_owned();
    let attempts = http.get(&format!("auth/attempts/{node}")).await.items()[0].clone();
    assert_eq!((&attempts["protocol"], &attempts["auth_attempts_failed"]), (&json!("http"), &json!(1000)));
    assert_eq!(http.delete(&format!("auth/attempts/{node}")).await.status, 204);
    let attempts = http.get(&format!("auth/attempts/{node}")).await.items()[0].clone();
    assert_eq!((&attempts["auth_attempts"], &attempts["auth_attempts_failed"]), (&json!(1), &json!(0)));
}
