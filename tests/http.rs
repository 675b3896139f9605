//! The management HTTP API, from outside: plain requests over a socket.

use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicRejectOptions};
use lepus::Server;
use serde_json::{Value as Json, json};

use crate::common::http::{Http, Response};
use crate::common::place::Place;
use crate::common::{ChannelExt, builder, connect, connect_as, eventually, table, within};

/// A broker with the API, and users of all tags.
async fn start() -> (Server, Http) {
    let mut builder = builder().http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
    for tag in ["management", "policymaker", "monitoring"] {
        builder = builder.user(tag, "pass", &[tag]);
    }
    let server = builder.user("nobody", "pass", &[]).start().await.expect("the broker starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    (server, http)
}

fn refused(response: &Response) -> (u16, String) {
    let reason = match &response.json["reason"] {
        Json::String(reason) => reason.clone(),
        other => other.to_string(),
    };
    (response.status, format!("{}: {reason}", response.json["error"].as_str().unwrap_or_default()))
}

/// FEATURES section 4.1: who may use it, and what a refusal looks like.
#[tokio::test]
async fn logins_are_checked() {
    let (_server, http) = start().await;
    let whoami = http.get("whoami").await;
    assert_eq!(
        (whoami.status, &whoami.json["name"], &whoami.json["tags"]),
        (200, &json!("guest"), &json!(["administrator"]))
    );
    assert_eq!(refused(&http.like("guest:wrong").get("whoami").await), (401, "not_authorized: Not_Authorized".into()));
    assert_eq!(refused(&http.like("who:guest").get("whoami").await), (401, "not_authorized: Not_Authorized".into()));
    assert_eq!(
        refused(&http.like("nobody:pass").get("whoami").await),
        (401, "not_authorised: Not management user".into())
    );
    let bare = http.anonymous("GET", "whoami").await;
    assert_eq!((bare.status, bare.text.as_str()), (401, ""));
    assert_eq!(bare.header("www-authenticate").as_deref(), Some("Basic realm=\"RabbitMQ Management\""));
    assert_eq!(http.like("guest:wrong").get("whoami").await.header("www-authenticate"), None);
    assert_eq!(refused(&http.get("nosuch").await), (404, "Object Not Found: Not Found".into()));
    let response = http.send("PUT", "whoami", "").await;
    assert_eq!((response.status, response.header("allow").as_deref()), (405, Some("HEAD, GET, OPTIONS")));
}

/// As recorded from RabbitMQ 4.3.6: what listens for HTTP, and the protocol of what tells metrics.
#[tokio::test]
async fn contexts_are_what_listens_for_http() {
    let server = builder().http("127.0.0.1:0").prometheus("127.0.0.1:0").start().await.expect("the broker starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    let contexts = http.get("overview").await.json["contexts"].clone();
    let told =
        contexts.as_array().expect("a list").iter().map(|context| (&context["description"], &context["protocol"]));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(&json!("RabbitMQ Management"), &Json::Null), (&json!("RabbitMQ Prometheus"), &json!("'http/prometheus'"))]
    );
}

/// FEATURES section 4.1: who has no permissions in a vhost sees nothing of it.
#[tokio::test]
async fn vhosts_of_others_are_hidden() {
    let (_server, http) = start().await;
    assert_eq!(http.put("vhosts/secret", &json!({})).await.status, 201);
    let other = http.like("management:pass");
    for path in ["queues/secret", "exchanges/secret/amq.direct", "bindings/secret"] {
        assert_eq!(refused(&other.get(path).await), (404, "not_found: Not Found".into()), "{path}");
    }
    assert_eq!(refused(&other.put("queues/secret/q", &json!({})).await), (404, "not_found: Not Found".into()));
    let names: Vec<Json> = other.get("vhosts").await.items().iter().map(|vhost| vhost["name"].clone()).collect();
    assert_eq!(names, ["/"]);
}

/// FEATURES section 4.1: users, permissions and vhosts, made and unmade.
#[tokio::test]
async fn users_and_vhosts_come_and_go() {
    let (_server, http) = start().await;
    assert_eq!(
        refused(&http.put("users/a", &json!({"password": "x"})).await),
        (400, "bad_request: tags_not_present".into())
    );
    let both = json!({"tags": "", "password": "x", "password_hash": "eA=="});
    let text = "bad_request: both_password_and_password_hash_are_provided".to_owned();
    assert_eq!(refused(&http.put("users/a", &both).await), (400, text));
    let body = json!({"tags": "management, other", "password": "x"});
    assert_eq!(http.put("users/a", &body).await.status, 201);
    assert_eq!(http.put("users/a", &body).await.status, 204);
    assert_eq!(http.get("users/a").await.json["tags"], json!(["management", "other"]));
    assert_eq!(http.like("a:x").get("whoami").await.status, 200);

    let vhost = json!({"description": "d", "tags": "t,u", "default_queue_type": "quorum", "tracing": true});
    assert_eq!(http.put("vhosts/v%2F1", &vhost).await.status, 201);
    let shown = http.get("vhosts/v%2F1").await.json;
    assert_eq!((&shown["name"], &shown["tags"], &shown["tracing"]), (&json!("v/1"), &json!(["t", "u"]), &json!(true)));
    let bad = http.put("vhosts/v2", &json!({"default_queue_type": "zzz"})).await;
    assert_eq!(refused(&bad), (400, "bad_request: zzz is not a valid queue type".into()));

    let all = json!({"configure": ".*", "write": ".*", "read": ""});
    assert_eq!(
        refused(&http.put("permissions/v%2F1/a", &json!({"write": ""})).await),
        (400, "bad_request: [{key_missing,configure},{key_missing,read}]".into())
    );
    assert_eq!(
        refused(&http.put("permissions/none/a", &all).await),
        (400, "bad_request: vhost_or_user_not_found".into())
    );
    assert_eq!(http.put("permissions/v%2F1/a", &all).await.status, 201);
    assert_eq!(http.put("permissions/v%2F1/a", &all).await.status, 204);
    assert_eq!(http.get("permissions/v%2F1/a").await.json["read"], "");
    let topic = json!({"exchange": "amq.topic", "write": "w", "read": "r"});
    assert_eq!(http.put("topic-permissions/v%2F1/a", &topic).await.status, 201);
    assert_eq!(http.get("users/a/topic-permissions").await.items().len(), 1);
    assert_eq!(http.delete("topic-permissions/v%2F1/a/amq.topic").await.status, 204);
    assert_eq!(http.delete("topic-permissions/v%2F1/a").await.status, 404);
    assert_eq!(http.delete("permissions/v%2F1/a").await.status, 204);
    assert_eq!(http.delete("permissions/v%2F1/a").await.status, 404);

    assert_eq!(http.send("POST", "vhosts/v%2F1/deletion/protection", "").await.status, 204);
    assert_eq!(http.delete("vhosts/v%2F1").await.status, 412);
    assert_eq!(http.delete("vhosts/v%2F1/deletion/protection").await.status, 204);
    assert_eq!(http.delete("vhosts/v%2F1").await.status, 204);
    assert_eq!(http.delete("vhosts/v%2F1").await.status, 404);
    assert_eq!(http.send("POST", "users/bulk-delete", r#"{"users": ["a"]}"#).await.status, 204);
    assert_eq!(http.get("users/a").await.status, 404);
}

/// FEATURES section 4.1: queues, exchanges and bindings, made, shown and unmade.
#[tokio::test]
async fn queues_exchanges_and_bindings() {
    let (_server, http) = start().await;
    let queue = json!({"durable": true, "arguments": {"x-max-length": 10}});
    assert_eq!(http.put("queues/%2F/q", &queue).await.status, 201);
    assert_eq!(http.put("queues/%2F/q", &queue).await.status, 204);
    let other = http.put("queues/%2F/q", &json!({"durable": false})).await;
    let text =
        "bad_request: inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'";
    assert_eq!(refused(&other), (400, text.into()));
    assert_eq!(
        refused(&http.put("queues/%2F/amq.q", &json!({})).await),
        (401, "not_authorised: Access refused.".into())
    );
    assert_eq!(refused(&http.put("queues/none/q", &json!({})).await), (404, "not_found: vhost_not_found".into()));
    assert_eq!(http.put("exchanges/%2F/x", &json!({"type": "topic"})).await.status, 201);
    assert_eq!(
        refused(&http.put("exchanges/%2F/x", &json!({"type": "magic"})).await),
        (400, "bad_request: unknown exchange type 'magic'".into())
    );

    let bind = r#"{"routing_key": "a.#", "arguments": {"n": 1}}"#;
    let bound = http.send("POST", "bindings/%2F/e/x/q/q", bind).await;
    assert_eq!(bound.status, 201);
    let location = bound.header("location").expect("it says where");
    let (_, props) = location.split_once('/').expect("queue and key");
    let path = format!("bindings/%2F/e/x/q/q/{props}");
    assert_eq!(http.get(&path).await.json["routing_key"], "a.#");
    assert_eq!(http.get("queues/%2F/q/bindings").await.items().len(), 2);
    assert_eq!(http.get("exchanges/%2F/x/bindings/source").await.items().len(), 1);
    assert_eq!(http.delete(&path).await.status, 204);
    assert_eq!(http.delete(&path).await.status, 404);
    let missing = http.send("POST", "bindings/%2F/e/x/q/none", "{}").await;
    assert_eq!(refused(&missing), (404, "not_found: no queue 'none' in vhost '/'".into()));

    let shown = http.get("queues/%2F/q").await.json;
    assert_eq!(shown["arguments"], json!({"x-max-length": 10, "x-queue-type": "classic"}));
    assert_eq!((&shown["messages"], &shown["consumers"]), (&json!(0), &json!(0)));
    assert_eq!(http.delete("exchanges/%2F/x").await.status, 204);
    assert_eq!(http.delete("queues/%2F/q?if-unused=true").await.status, 204);
    assert_eq!(http.delete("queues/%2F/q").await.status, 404);
}

/// FEATURES section 4.1: publish, get, purge.
#[tokio::test]
async fn messages_go_in_and_out() {
    let (_server, http) = start().await;
    http.put("queues/%2F/q", &json!({})).await;
    let properties = json!({"delivery_mode": 2, "headers": {"l": [1, {"k": "v"}], "b": true}, "type": "t"});
    let publish = |key: &str, payload: &str, encoding: &str| {
        json!({"properties": properties, "routing_key": key, "payload": payload, "payload_encoding": encoding})
            .to_string()
    };
    let path = "exchanges/%2F/amq.default/publish";
    assert_eq!(http.send("POST", path, &publish("q", "aGk=", "base64")).await.json, json!({"routed": true}));
    assert_eq!(http.send("POST", path, &publish("none", "hi", "string")).await.json, json!({"routed": false}));
    assert_eq!(
        refused(&http.send("POST", path, &publish("q", "#", "base64")).await),
        (400, r##"bad_request: ["not_base64","#"]"##.into())
    );
    let none = http.send("POST", "exchanges/%2F/none/publish", &publish("q", "hi", "string")).await;
    assert_eq!(refused(&none), (404, "not_found: exchange_not_found".into()));

    let get = |mode: &str| json!({"count": 5, "ackmode": mode, "encoding": "auto"}).to_string();
    let got = http.send("POST", "queues/%2F/q/get", &get("ack_requeue_true")).await;
    let message = &got.items()[0];
    assert_eq!((&message["payload"], &message["redelivered"]), (&json!("hi"), &json!(false)));
    assert_eq!(message["properties"], properties);
    let again = eventually("it is back", async || {
        let got = http.send("POST", "queues/%2F/q/get", &get("ack_requeue_false")).await;
        got.items().first().cloned()
    });
    assert_eq!(again.await["redelivered"], true);
    assert_eq!(http.send("POST", "queues/%2F/q/get", &get("ack_requeue_true")).await.items().len(), 0);
    let bad = http.send("POST", "queues/%2F/q/get", &get("zzz")).await;
    assert_eq!(bad.status, 400);
    for _ in 0..3 {
        http.send("POST", path, &publish("q", "hi", "string")).await;
    }
    let shown = http.get("queues/%2F/q").await.json;
    assert_eq!((&shown["messages_ready"], &shown["message_stats"]["publish"]), (&json!(3), &json!(4)));
    assert_eq!(http.delete("queues/%2F/q/contents").await.status, 204);
    assert_eq!(http.get("queues/%2F/q").await.json["messages"], 0);
}

/// FEATURES section 4.1: what a queue tells of its messages, as recorded from RabbitMQ 4.3.6.
#[tokio::test]
async fn queues_tell_what_messages_they_have() {
    let (server, http) = start().await;
    let client = connect(&server).await;
    http.put("queues/%2F/classic", &json!({"durable": true})).await;
    http.put("queues/%2F/short", &json!({})).await;
    http.put(
        "queues/%2F/quorum",
        &json!({"durable": true, "arguments": {"x-queue-type": "quorum", "x-delayed-retry-type": "failed",
                                               "x-delayed-retry-min": 60_000}}),
    )
    .await;
    client.confirms().await;
    for (mode, timestamp) in [(1, 1_700_000_001), (2, 1_700_000_002), (2, 1_700_000_003)] {
        let properties = BasicProperties::default().with_delivery_mode(mode).with_timestamp(timestamp);
        client.publish_with("", "classic", &[0; 10], properties.clone()).await;
        client.publish_with("", "short", &[0; 10], properties).await;
    }
    for priority in [None, Some(1), Some(1), Some(9), Some(200)] {
        let properties = BasicProperties::default().with_delivery_mode(1);
        let properties = priority.map_or(properties.clone(), |priority| properties.with_priority(priority));
        within(client.publish_with("", "quorum", b"xx", properties).await).await.expect("confirmed");
    }
    // The head counts where it is out, too.
    let first = client.get("classic").await.expect("a message");
    let told = async |queue: &str, fields: &[&str]| {
        let told = http.get(&format!("queues/%2F/{queue}")).await.json;
        fields.iter().map(|field| told[field].clone()).collect::<Vec<_>>()
    };
    let counts =
        ["messages", "messages_persistent", "message_bytes", "message_bytes_persistent", "head_message_timestamp"];
    assert_eq!(told("classic", &counts).await, json!([3, 2, 30, 20, 1_700_000_001]).as_array().unwrap()[..]);
    assert_eq!(told("short", &counts).await, json!([3, 0, 30, 0, 1_700_000_001]).as_array().unwrap()[..]);
    first.ack(BasicAckOptions::default()).await.expect("it is acked");
    eventually("the next is the head", async || {
        (told("classic", &counts).await == json!([2, 2, 20, 20, 1_700_000_002]).as_array().unwrap()[..]).then_some(())
    })
    .await;

    let highest = client.get("quorum").await.expect("a message");
    let next = client.get("quorum").await.expect("a message");
    highest.nack(BasicNackOptions { multiple: false, requeue: true }).await.expect("it goes back");
    next.reject(BasicRejectOptions { requeue: true }).await.expect("it comes back later");
    let own = [
        "messages_ready",
        "messages_by_priority",
        "messages_active_priorities",
        "messages_ready_returned",
        "messages_delayed",
        "delayed_retry",
        "messages_dlx",
    ];
    let expected = json!([4, {"1": 2, "4": 1}, 2, 1, 1, "failed", 0]);
    eventually("one is back", async || (told("quorum", &own).await == expected.as_array().unwrap()[..]).then_some(()))
        .await;
}

/// As recorded from RabbitMQ 4.3.6: lists name the consumer that is alone, or the active one, and say when the oldest
/// message was sent. What there is not is left out, but in `/queues/detailed`. A quorum queue does not say that a consumer
/// has as much as it may, a single active consumer neither.
#[tokio::test]
async fn lists_of_queues_name_consumers_that_stand_out() {
    let (server, http) = start().await;
    let client = connect(&server).await;
    let kinds = [
        ("alone", json!({})),
        ("active", json!({"x-single-active-consumer": true})),
        ("both", json!({"x-queue-type": "quorum", "x-single-active-consumer": true})),
        ("many", json!({"x-queue-type": "quorum"})),
        ("none", json!({})),
        ("open", json!({})),
    ];
    for (queue, arguments) in &kinds {
        http.put(&format!("queues/%2F/{queue}"), &json!({"durable": true, "arguments": arguments})).await;
    }
    client.qos(1, false).await;
    let exclusive = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    let _consumer = client.consume_with("alone", "a", exclusive, table([])).await.expect("consume-ok");
    let mut consumers = Vec::new();
    for (queue, tag) in [("active", "b"), ("active", "c"), ("both", "d"), ("many", "e"), ("open", "f")] {
        consumers.push(client.consume(queue, tag).await);
    }
    let properties = BasicProperties::default().with_timestamp(1_700_000_001);
    client.confirms().await;
    for queue in ["alone", "active", "both", "many", "open"] {
        within(client.publish_with("", queue, b"x", properties.clone()).await).await.expect("confirmed");
    }
    let fields = ["single_active_consumer_tag", "exclusive_consumer_tag", "head_message_timestamp"];
    let told = async |path: &str| {
        let listed = http.get(path).await;
        let of = |queue: &Json| json!(fields.map(|field| queue.get(field).cloned().unwrap_or(json!("absent"))));
        json!(listed.items().iter().map(of).collect::<Vec<_>>())
    };
    let sent = 1_700_000_001;
    // By name: active, alone, both, many, none, open.
    let expected = json!([
        ["b", "absent", sent],
        ["absent", "a", sent],
        ["d", "absent", "absent"],
        ["absent", "absent", "absent"],
        ["absent", "absent", "absent"],
        ["absent", "absent", sent],
    ]);
    assert_eq!(told("queues/%2F").await, expected);
    assert_eq!(told("queues?sort=consumers&sort_reverse=true").await[0], expected[0]);
    let expected = json!([
        ["b", null, sent],
        [null, "a", sent],
        ["d", "absent", "absent"],
        [null, "absent", "absent"],
        [null, null, null],
        [null, null, sent],
    ]);
    assert_eq!(told("queues/detailed").await, expected);
    let consumers = http.get("consumers").await;
    let of = |consumer: &Json| (consumer["consumer_tag"].clone(), consumer["activity_status"].clone());
    let expected = [
        ("b", "single_active"),
        ("c", "waiting"),
        ("a", "blocked"),
        ("d", "single_active"),
        ("e", "up"),
        ("f", "blocked"),
    ];
    assert_eq!(
        consumers.items().iter().map(of).collect::<Vec<_>>(),
        expected.map(|(tag, how)| (tag.into(), how.into()))
    );
    client.basic_cancel("b".into(), BasicCancelOptions::default()).await.expect("cancel-ok");
    eventually("the next is active", async || (told("queues/%2F").await[0][0] == "c").then_some(())).await;
}

/// As recorded from RabbitMQ 4.3.6: a quorum queue counts the open channels that have published to it, others do not.
#[tokio::test]
async fn quorum_queues_count_who_publishes() {
    let (server, http) = start().await;
    let client = connect(&server).await;
    for queue in ["q", "other"] {
        let declared = &json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
        http.put(&format!("queues/%2F/{queue}"), declared).await;
        http.send("POST", &format!("bindings/%2F/e/amq.fanout/q/{queue}"), "{}").await;
    }
    http.put("queues/%2F/classic", &json!({})).await;
    let publishers = async |queue: &str| http.get(&format!("queues/%2F/{queue}")).await.json["publishers"].clone();
    assert_eq!(publishers("q").await, 0);
    let (second, third) = (client.another_channel().await, connect(&server).await);
    client.confirms().await;
    for _ in 0..2 {
        within(client.publish("", "q", b"x").await).await.expect("confirmed");
        second.publish("", "q", b"x").await;
        client.publish("", "classic", b"x").await;
    }
    eventually("two publish", async || (publishers("q").await == 2).then_some(())).await;
    assert_eq!((publishers("other").await, publishers("classic").await), (json!(0), Json::Null));
    third.tx_select().await.expect("select-ok");
    third.publish("amq.fanout", "", b"x").await;
    third.tx_commit().await.expect("commit-ok");
    assert_eq!((publishers("q").await, publishers("other").await), (json!(3), json!(1)));
    let listed = http.get("queues?columns=name,publishers").await;
    assert_eq!(listed.items()[2], json!({"name": "q", "publishers": 3}));
    second.close(200, "".into()).await.expect("close-ok");
    eventually("a channel is closed", async || (publishers("q").await == 2).then_some(())).await;
    third.close().await;
    eventually("a connection is closed", async || (publishers("q").await == 1).then_some(())).await;
    assert_eq!(publishers("other").await, 0);
    // What the API publishes comes from a channel that is closed at once.
    let publish = json!({"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"});
    http.send("POST", "exchanges/%2F/amq.default/publish", &publish.to_string()).await;
    assert_eq!(publishers("q").await, 1);
    // The queue that takes another's place knows nobody.
    http.delete("queues/%2F/q").await;
    http.put("queues/%2F/q", &json!({"durable": true, "arguments": {"x-queue-type": "quorum"}})).await;
    assert_eq!(publishers("q").await, 0);
    within(client.publish("", "q", b"x").await).await.expect("confirmed");
    assert_eq!(publishers("q").await, 1);
}

/// FEATURES section 4.1, as recorded from RabbitMQ 4.3.6: whoever may use the API sees what somebody has declared where it
/// may look, and a user that there is not has declared nothing. It is known after a restart, too.
#[tokio::test]
async fn queues_are_known_by_who_declared_them() {
    let place = Place::new();
    let open = |builder: lepus::ServerBuilder| {
        let builder = builder.http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
        builder.user("hare", "pass", &["management"])
    };
    let server = place.start_as(open).await;
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    let names = async |http: &Http, user: &str| {
        let listed = http.get(&format!("users/{user}/queues")).await;
        assert_eq!(listed.status, 200);
        listed.items().iter().map(|queue| queue["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    http.put("vhosts/other", &json!({})).await;
    http.put("permissions/%2F/hare", &json!({"configure": ".*", "write": ".*", "read": ".*"})).await;
    for (queue, who) in [("a", "guest:guest"), ("b", "hare:pass"), ("c", "guest:guest")] {
        assert_eq!(http.like(who).put(&format!("queues/%2F/{queue}"), &json!({"durable": true})).await.status, 201);
    }
    http.put("queues/other/d", &json!({"durable": true})).await;
    let client = connect_as(&server, "hare", "pass", "/").await.expect("it connects");
    client.queue("short").await;
    assert_eq!(names(&http, "guest").await, ["a", "c", "d"]);
    assert_eq!(names(&http, "hare").await, ["b", "short"]);
    assert_eq!(names(&http.like("hare:pass"), "guest").await, ["a", "c"], "where it may look");
    let page = http.get("users/guest/queues?page=2&page_size=2").await;
    assert_eq!((page.json["items"][0]["name"].as_str(), &page.json["total_count"]), (Some("d"), &json!(3)));
    assert_eq!(names(&http, "nobody").await, [""; 0]);
    client.close().await;
    server.shutdown().await;
    let server = place.start_as(open).await;
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    assert_eq!(
        (names(&http, "guest").await, names(&http, "hare").await.len()),
        (vec!["a".to_owned(), "c".to_owned(), "d".to_owned()], 1)
    );
}

/// FEATURES section 4.1: connections, channels and consumers are shown and closed.
#[tokio::test]
async fn connections_are_shown_and_closed() {
    let (server, http) = start().await;
    let client = connect(&server).await;
    client.queue("q").await;
    let channel = client.another_channel().await;
    let _consumer = channel.consume("q", "c").await;
    let connection = http.get("connections").await.items()[0].clone();
    assert_eq!((&connection["user"], &connection["channels"]), (&json!("guest"), &json!(2)));
    assert!(connection["recv_oct"].as_u64().unwrap_or_default() > 0);
    assert_eq!(connection["client_properties"]["capabilities"]["basic.nack"], true);
    let consumers = http.get("consumers/%2F").await;
    assert_eq!(consumers.items()[0]["queue"], json!({"name": "q", "vhost": "/"}));
    let shown = http.get("queues/%2F/q").await.json;
    assert_eq!((&shown["consumers"], shown["consumer_details"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    let channels = http.get("channels").await;
    let consuming = channels.items().iter().find(|channel| channel["consumer_count"] == 1).cloned();
    let name = consuming.expect("one consumes")["name"].as_str().expect("a name").replace(' ', "%20");
    let one = http.get(&format!("channels/{}", name.replace('>', "%3E"))).await;
    assert_eq!(one.json["consumer_details"].as_array().map(Vec::len), Some(1));
    channel.publish("", "q", b"hi").await.await.expect("it is taken");
    channel.publish("", "none", b"hi").await.await.expect("it is dropped");
    let counted = eventually("the channel has counted", async || {
        let stats = http.get("channels").await.items().last()?["message_stats"].clone();
        (stats["publish"] == 2 && stats["deliver"] == 1).then_some(stats)
    });
    assert_eq!(counted.await["drop_unroutable"], 1);
    assert_eq!(http.get("overview").await.json["message_stats"]["drop_unroutable"], 1);

    let own = http.like("management:pass").get("connections").await;
    assert!(own.items().is_empty(), "others see their own only");
    let name = connection["name"].as_str().expect("a name").replace(' ', "%20").replace('>', "%3E");
    assert_eq!(http.like("monitoring:pass").delete(&format!("connections/{name}")).await.status, 401);
    assert_eq!(http.delete(&format!("connections/{name}")).await.status, 204);
    eventually("it is closed", async || http.get("connections").await.items().is_empty().then_some(())).await;
    assert_eq!(http.delete(&format!("connections/{name}")).await.status, 404);
}

/// FEATURES section 4.1: what cannot be read is refused.
#[tokio::test]
async fn bad_input_is_refused() {
    let mut builder = builder().http("127.0.0.1:0").http_body_size_max(1000);
    builder = builder.http_cors_origin("http://ui.example");
    let server = builder.start().await.expect("the broker starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    let response = http.put("queues/%2F/q", &json!({"durable": "maybe"})).await;
    assert_eq!(refused(&response), (400, r#"bad_request: ["not_boolean","maybe"]"#.into()));
    let of_bytes = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
    assert_eq!(http.send("PUT", "queues/%2F/q", &of_bytes(1000)).await.status, 201);
    let response = http.send("PUT", "queues/%2F/q", &of_bytes(1001)).await;
    assert_eq!(refused(&response), (400, "bad_request: Exceeded HTTP request body size limit".into()));
    for body in ["{bad", "[]"] {
        let response = http.send("POST", "definitions", body).await;
        assert_eq!(refused(&response).0, 400, "{body}");
    }
    assert_eq!(http.get("queues?page=0").await.status, 400);
    let response = http.with_origin("http://ui.example").get("overview").await;
    assert_eq!(response.header("access-control-allow-origin").as_deref(), Some("http://ui.example"));
    let response = http.with_origin("http://evil.example").get("overview").await;
    assert_eq!(response.header("access-control-allow-origin"), None);
}

/// FEATURES section 4.1: logins are counted, those refused too.
#[tokio::test]
async fn logins_are_counted() {
    let (server, http) = start().await;
    let _client = connect(&server).await;
    http.like("guest:wrong").get("whoami").await;
    let node = http.get("nodes").await.items()[0]["name"].as_str().expect("a name").to_owned();
    let attempts = http.get(&format!("auth/attempts/{node}")).await;
    let of = |protocol: &str| attempts.items().iter().find(|record| record["protocol"] == protocol).cloned();
    let (own, amqp) = (of("http").expect("http"), of("amqp091").expect("amqp091"));
    assert_eq!((&own["auth_attempts"], &own["auth_attempts_failed"]), (&json!(3), &json!(1)));
    assert_eq!((&amqp["auth_attempts_succeeded"], &amqp["auth_attempts_failed"]), (&json!(1), &json!(0)));
}

/// FEATURES section 4.1: health checks say where it listens.
#[tokio::test]
async fn health_checks_answer() {
    let (server, http) = start().await;
    let port = server.amqp_addr().port();
    let answer = http.get(&format!("health/checks/port-listener/{port}")).await;
    assert_eq!((answer.status, answer.json), (200, json!({"status": "ok", "port": port})));
    let answer = http.get("health/checks/port-listener/1").await;
    assert_eq!((answer.status, &answer.json["reason"]), (503, &json!("No active listener")));
    assert_eq!(http.get("health/checks/protocol-listener/amqp091,http").await.status, 200);
    assert_eq!(http.get("health/checks/protocol-listener/mqtt").await.status, 503);
    server.broker().set_alarm(lepus::broker::Alarm::Memory, true);
    let answer = http.get("health/checks/alarms").await;
    assert_eq!((answer.status, &answer.json["alarms"][0]["resource"]), (503, &json!("memory")));
    assert_eq!(http.get("nodes").await.items()[0]["mem_alarm"], true);
}

/// FEATURES section 4.1: policies, parameters and limits.
#[tokio::test]
async fn policies_parameters_and_limits() {
    let (_server, http) = start().await;
    let policy = json!({"pattern": "^q", "definition": {"max-length": 5}, "priority": 1, "apply-to": "queues"});
    assert_eq!(http.put("policies/%2F/p", &policy).await.status, 201);
    assert_eq!(http.put("policies/%2F/p", &policy).await.status, 204);
    http.put("queues/%2F/q", &json!({})).await;
    let shown = http.get("queues/%2F/q").await.json;
    assert_eq!((&shown["policy"], &shown["effective_policy_definition"]), (&json!("p"), &json!({"max-length": 5})));
    let bad = http.put("policies/%2F/p2", &json!({"pattern": "^q", "definition": {"zz": 1}})).await;
    let text = "bad_request: Validation failed\n\n[{<<\"zz\">>,1}] are not recognised policy settings\n";
    assert_eq!(refused(&bad), (400, text.into()));
    assert_eq!(http.delete("policies/%2F/p").await.status, 204);
    assert_eq!(http.get("policies/%2F/p").await.status, 404);

    assert_eq!(http.put("vhost-limits/%2F/max-queues", &json!({"value": 7})).await.status, 204);
    assert_eq!(http.get("vhost-limits/%2F").await.json, json!([{"vhost": "/", "value": {"max-queues": 7}}]));
    assert_eq!(http.get("parameters/vhost-limits/%2F/limits").await.json["value"], json!({"max-queues": 7}));
    assert_eq!(http.delete("vhost-limits/%2F/max-queues").await.status, 204);
    assert_eq!(http.get("vhost-limits/%2F").await.json, json!([]));
    assert_eq!(http.put("user-limits/guest/max-channels", &json!({"value": 9})).await.status, 204);
    assert_eq!(http.get("user-limits/guest").await.json, json!([{"user": "guest", "value": {"max-channels": 9}}]));

    assert_eq!(http.put("global-parameters/g", &json!({"value": [1]})).await.status, 201);
    assert_eq!(http.get("global-parameters/g").await.json, json!({"name": "g", "value": [1]}));
    assert_eq!(http.delete("global-parameters/g").await.status, 204);
    assert_eq!(http.put("cluster-name", &json!({"name": "ours"})).await.status, 204);
    assert_eq!(http.get("cluster-name").await.json, json!({"name": "ours"}));
}

/// FEATURES DF-1, DF-4: definitions go out and come back, as JSON and as an uploaded file.
#[tokio::test]
async fn definitions_go_out_and_come_back() {
    let (_server, http) = start().await;
    http.put("queues/%2F/q", &json!({"durable": true})).await;
    let exported = http.get("definitions").await;
    assert_eq!(exported.json["queues"][0]["name"], "q");
    http.delete("queues/%2F/q").await;
    assert_eq!(http.send("POST", "definitions", &exported.text).await.status, 204);
    assert_eq!(http.get("queues/%2F/q").await.status, 200);
    let of_vhost = http.get("definitions/%2F").await;
    assert_eq!(of_vhost.json["queues"][0].get("vhost"), None);
    http.put("vhosts/v", &json!({})).await;
    assert_eq!(http.send("POST", "definitions/v", &of_vhost.text).await.status, 204);
    assert_eq!(http.get("queues/v/q").await.status, 200);
    http.delete("queues/%2F/q").await;
    let form = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"d\"\r\n\r\n{}\r\n--XX--\r\n",
        exported.text
    );
    let response = http.send_as("POST", "definitions", &form, "multipart/form-data; boundary=XX").await;
    assert_eq!(response.status, 204);
    assert_eq!(http.get("queues/%2F/q").await.status, 200);
}

/// FEATURES section 4.1: lists are paged, sorted and reduced; all queues of several lanes are counted.
#[tokio::test]
async fn long_lists_are_paged() {
    let (_server, http) = start().await;
    for n in 0..25 {
        http.put(&format!("queues/%2F/q{n:02}"), &json!({})).await;
    }
    let page = http.get("queues?page=3&page_size=10&sort=name&columns=name").await.json;
    assert_eq!((&page["item_count"], &page["page_count"], &page["total_count"]), (&json!(5), &json!(3), &json!(25)));
    assert_eq!(page["items"][0], json!({"name": "q20"}));
    assert_eq!(http.get("overview").await.json["object_totals"]["queues"], 25);
    let more: Vec<Json> = (0..300)
        .map(|n| json!({"name": format!("r{n:03}"), "vhost": "/", "durable": true, "auto_delete": false}))
        .collect();
    assert_eq!(http.send("POST", "definitions", &json!({"queues": more}).to_string()).await.status, 204);
    let all = http.get("queues?sort=messages&columns=name,messages").await;
    assert_eq!((all.items().len(), &all.items()[0]["messages"]), (325, &json!(0)));
    let found = http.get("queues?page=2&page_size=100&name=%5Er&use_regex=true&sort_reverse=true").await.json;
    assert_eq!((&found["filtered_count"], &found["items"][0]["name"]), (&json!(300), &json!("r199")));
    let plain = http.get("queues?disable_stats=true").await;
    assert_eq!(plain.items()[0].get("messages"), None);
}

/// A binding is named by its properties_key, encoded once or, as RabbitMQ's own tools do, once more.
#[tokio::test]
async fn a_binding_is_found_by_its_key_however_encoded() {
    let (_server, http) = start().await;
    http.put("queues/%2F/q", &json!({})).await;
    let by_name = "bindings/%2F/e/amq.topic/q/q";
    for key in ["a.%23", "a.%2523"] {
        http.send("POST", by_name, r##"{"routing_key": "a.#"}"##).await;
        assert_eq!(http.get(&format!("{by_name}/{key}")).await.json["routing_key"], "a.#", "{key}");
        assert_eq!(http.delete(&format!("{by_name}/{key}")).await.status, 204, "{key}");
        assert_eq!(http.get(by_name).await.items().len(), 0, "{key}");
    }
}

/// The default exchange has an empty name, also in a path.
#[tokio::test]
async fn an_empty_name_in_a_path_is_the_default_exchange() {
    let (_server, http) = start().await;
    http.put("queues/%2F/q", &json!({})).await;
    let message = r#"{"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"}"#;
    for name in ["", "amq.default"] {
        let published = http.send("POST", &format!("exchanges/%2F/{name}/publish"), message).await;
        assert_eq!((published.status, &published.json), (200, &json!({"routed": true})), "{name:?}");
    }
    assert_eq!(http.get("queues/%2F/").await.items().len(), 1);
    assert_eq!(http.get("/whoami").await.status, 404);
}
