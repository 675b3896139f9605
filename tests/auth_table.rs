//! What is refused to whom: every operation, with each right it needs taken away, by every backend.
//!
//! The table says which questions an operation asks, in order. A user who is granted all of them may do it; one who lacks
//! one is refused with that one's text; and none is needed that is not in the table.

use std::collections::BTreeMap;

use lepus::Server;
use lepus::auth_backends::{Entry, HttpOptions, Kind, OAuth2Options, Options, ProviderOptions, ResourceServer};
use serde_json::json;

use crate::common::raw::{self, Args, Raw, id};
use crate::common::service::{Said, Service};
use crate::common::tokens::{Signer, claims, file, set};
use crate::common::{args, builder};

/// A right, on a thing.
type Need = (&'static str, &'static str, &'static str);

/// What is done, what it needs, and what answers it; `None`: nothing does.
struct Operation {
    what: &'static str,
    needs: &'static [Need],
    frames: Vec<u8>,
    answer: Option<(u16, u16)>,
}

fn call(method: (u16, u16), args: Args) -> Vec<u8> {
    raw::method(1, method, args)
}

fn operations() -> Vec<Operation> {
    let operation = |what, needs, frames, answer| Operation { what, needs, frames, answer };
    let dead_letter = Args::new().field("x-dead-letter-exchange", b'S', &Args::new().longstr(b"x").0);
    let alternate = Args::new().field("alternate-exchange", b'S', &Args::new().longstr(b"x").0);
    let with_alternate = Args::new().short(0).shortstr(b"n").shortstr(b"direct").octet(0).table(alternate);
    vec![
        operation(
            "queue.declare",
            &[("configure", "queue", "n")],
            call(id::QUEUE_DECLARE, args::queue_declare("n", 0)),
            Some(id::QUEUE_DECLARE_OK),
        ),
        operation(
            "queue.declare with a dead-letter exchange",
            &[("configure", "queue", "n"), ("read", "queue", "n"), ("write", "exchange", "x")],
            call(id::QUEUE_DECLARE, args::queue_declare_with("n", 0, dead_letter)),
            Some(id::QUEUE_DECLARE_OK),
        ),
        operation(
            "queue.bind",
            &[("write", "queue", "q"), ("read", "exchange", "x")],
            call(id::QUEUE_BIND, args::queue_bind("q", "x", "k")),
            Some(id::QUEUE_BIND_OK),
        ),
        operation(
            "queue.unbind",
            &[("write", "queue", "q"), ("read", "exchange", "x")],
            call(id::QUEUE_UNBIND, args::queue_unbind("q", "x", "k")),
            Some(id::QUEUE_UNBIND_OK),
        ),
        operation(
            "queue.bind to a topic",
            &[("write", "queue", "q"), ("read", "exchange", "t"), ("read", "topic", "k")],
            call(id::QUEUE_BIND, args::queue_bind("q", "t", "k")),
            Some(id::QUEUE_BIND_OK),
        ),
        operation(
            "queue.purge",
            &[("read", "queue", "q")],
            call(id::QUEUE_PURGE, args::queue_purge("q")),
            Some(id::QUEUE_PURGE_OK),
        ),
        operation(
            "queue.delete",
            &[("configure", "queue", "q")],
            call(id::QUEUE_DELETE, args::queue_delete("q", 0)),
            Some(id::QUEUE_DELETE_OK),
        ),
        operation("basic.get", &[("read", "queue", "q")], call(id::GET, args::get("q", true)), Some(id::GET_EMPTY)),
        operation(
            "basic.consume",
            &[("read", "queue", "q")],
            call(id::CONSUME, args::consume("q", "c", 0)),
            Some(id::CONSUME_OK),
        ),
        operation("basic.publish", &[("write", "exchange", "x")], raw::publish(1, "x", "k", b"b"), None),
        operation(
            "basic.publish to the default exchange",
            &[("write", "exchange", "amq.default")],
            raw::publish(1, "", "q", b"b"),
            None,
        ),
        operation(
            "basic.publish to a topic",
            &[("write", "exchange", "t"), ("write", "topic", "k")],
            raw::publish(1, "t", "k", b"b"),
            None,
        ),
        operation(
            "exchange.declare",
            &[("configure", "exchange", "n")],
            call(id::EXCHANGE_DECLARE, args::exchange_declare("n", "fanout", 0)),
            Some(id::EXCHANGE_DECLARE_OK),
        ),
        operation(
            "exchange.declare with an alternate exchange",
            &[("configure", "exchange", "n"), ("read", "exchange", "n"), ("write", "exchange", "x")],
            call(id::EXCHANGE_DECLARE, with_alternate),
            Some(id::EXCHANGE_DECLARE_OK),
        ),
        operation(
            "exchange.delete",
            &[("configure", "exchange", "x")],
            call(id::EXCHANGE_DELETE, args::exchange_delete("x", 0)),
            Some(id::EXCHANGE_DELETE_OK),
        ),
        operation(
            "exchange.bind",
            &[("write", "exchange", "y"), ("read", "exchange", "x")],
            call(id::EXCHANGE_BIND, args::exchange_bind("y", "x", "k")),
            Some(id::EXCHANGE_BIND_OK),
        ),
    ]
}

/// What keeps a backend going.
struct Backend {
    options: Options,
    /// Of the internal backend.
    permissions: serde_json::Value,
    topics: serde_json::Value,
    password: String,
    _service: Option<Service>,
}

fn internal(needs: &[Need]) -> Backend {
    let of = |right: &str| {
        let names: Vec<String> = needs
            .iter()
            .filter(|(own, kind, _)| *own == right && *kind != "topic")
            .map(|(_, _, name)| format!("^{name}$"))
            .collect();
        names.join("|")
    };
    let has_topic = |right: &str| needs.iter().any(|(own, kind, _)| *own == right && *kind == "topic");
    let topic = |right: &str| if has_topic(right) { "^k$" } else { "" };
    let permission =
        json!({"user": "app", "vhost": "/", "configure": of("configure"), "write": of("write"), "read": of("read")});
    let topics = json!({"user": "app", "vhost": "/", "exchange": "t", "write": topic("write"), "read": topic("read")});
    Backend {
        options: Options::default(),
        permissions: json!([permission]),
        topics: json!([topics]),
        password: "secret".to_owned(),
        _service: None,
    }
}

fn oauth2(needs: &[Need]) -> Backend {
    let signer = Signer::new("k", "ES256");
    let signing_keys = BTreeMap::from([("k".to_owned(), file(&set(&[&signer])))]);
    let provider = ProviderOptions { signing_keys, ..Default::default() };
    // A scope of one exchange with a key grants the exchange as well, whatever the key.
    let has_topic = |right: &str| needs.iter().any(|(own, kind, _)| *own == right && *kind == "topic");
    let mut scopes = vec!["rabbitmq.read:*/nothing".to_owned()];
    for (right, kind, name) in needs {
        match *kind {
            "topic" => {}
            _ if *name == "t" && has_topic(right) => scopes.push(format!("rabbitmq.{right}:*/{name}/k")),
            _ => scopes.push(format!("rabbitmq.{right}:*/{name}")),
        }
    }
    let mut claims = claims(&scopes.join(" "));
    claims["sub"] = "app".into();
    let oauth2 =
        OAuth2Options { resource_servers: vec![ResourceServer::new("rabbitmq")], provider, ..Default::default() };
    Backend {
        options: Options { chain: vec![Entry::both(Kind::OAuth2)], oauth2, ..Options::default() },
        permissions: json!([]),
        topics: json!([]),
        password: signer.token(&claims),
        _service: None,
    }
}

async fn http(needs: &[Need]) -> Backend {
    let needs = needs.to_vec();
    let service = Service::start(move |asked| {
        let (right, kind, key) = (asked.get("permission"), asked.get("resource"), asked.get("routing_key"));
        let name = if kind == "topic" { key } else { asked.get("name") };
        let granted = needs.contains(&(right, kind, name));
        if granted || ["/user", "/vhost"].contains(&&*asked.path) { Said::from("allow") } else { "deny".into() }
    })
    .await;
    let http = HttpOptions {
        user_path: service.url("/user"),
        vhost_path: service.url("/vhost"),
        resource_path: service.url("/resource"),
        topic_path: service.url("/topic"),
        ..HttpOptions::default()
    };
    Backend {
        options: Options { chain: vec![Entry::both(Kind::Http)], http, ..Options::default() },
        permissions: json!([]),
        topics: json!([]),
        password: "secret".to_owned(),
        _service: Some(service),
    }
}

async fn server(backend: &Backend) -> Server {
    let exchange = |name: &str, kind: &str| json!({"name": name, "vhost": "/", "type": kind, "durable": true, "auto_delete": false, "internal": false, "arguments": {}});
    let definitions = json!({
        "users": [{"name": "app", "password": "secret", "tags": ""}],
        "vhosts": [{"name": "/"}],
        "permissions": backend.permissions,
        "topic_permissions": backend.topics,
        "queues": [{"name": "q", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {}}],
        "exchanges": [exchange("x", "direct"), exchange("y", "direct"), exchange("t", "topic")],
    });
    let server = builder().auth_backends(backend.options.clone()).definitions_json(definitions.to_string());
    server.start().await.expect("the broker starts")
}

/// Does it as a user of this backend, and gives the text of the refusal if there is one.
async fn attempt(backend: Backend, operation: &Operation) -> Option<String> {
    let server = server(&backend).await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.login_as(format!("\0app\0{}", backend.password).as_bytes()).await;
    raw.channel(1).await;
    raw.send(&operation.frames).await;
    // A passive declare, so that something comes whatever happened before.
    raw.method(1, id::CONFIRM_SELECT, Args::new().octet(0)).await;
    let expected = operation.answer.unwrap_or(id::CONFIRM_SELECT_OK);
    let frame = raw.next().await.expect("an answer");
    match frame.method() {
        Some(id::CHANNEL_CLOSE) => {
            let mut args = frame.args();
            assert_eq!(args.short(), 403, "{}", operation.what);
            Some(args.shortstr())
        }
        answer => {
            assert_eq!(answer, Some(expected), "{}", operation.what);
            None
        }
    }
}

fn refusal((right, kind, name): &Need) -> String {
    let what = match *kind {
        "topic" => format!("topic '{name}' in exchange 't'"),
        kind => format!("{kind} '{name}'"),
    };
    format!("ACCESS_REFUSED - {right} access to {what} in vhost '/' refused for user 'app'")
}

/// FEATURES US-2, US-9, EH-6, EH-7: operation by right by backend.
#[tokio::test]
async fn what_is_refused_to_whom() {
    for operation in operations() {
        let what = operation.what;
        for missing in 0..=operation.needs.len() {
            let granted: Vec<Need> =
                operation.needs.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, need)| *need).collect();
            let expected = operation.needs.get(missing).map(refusal);
            assert_eq!(attempt(internal(&granted), &operation).await, expected, "internal: {what} without {missing}");
            assert_eq!(attempt(oauth2(&granted), &operation).await, expected, "oauth2: {what} without {missing}");
            assert_eq!(attempt(http(&granted).await, &operation).await, expected, "http: {what} without {missing}");
        }
    }
}
