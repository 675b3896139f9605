//! Who may do what: the three patterns of a user on a vhost, and topic permissions.

use lapin::BasicProperties;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use lepus::Server;

use crate::common::client::{next, text};
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, builder, connect_as, eventually};

/// A server with an administrator, and a user `app` with these rights on `/`.
async fn server(configure: &str, write: &str, read: &str, topic: &str) -> Server {
    let definitions = format!(
        r#"{{
            "users": [
                {{"name": "guest", "password": "guest", "tags": "administrator"}},
                {{"name": "app", "password": "secret", "tags": ""}}
            ],
            "vhosts": [{{"name": "/"}}],
            "permissions": [
                {{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}},
                {{"user": "app", "vhost": "/", "configure": "{configure}", "write": "{write}", "read": "{read}"}}
            ],
            "topic_permissions": [{topic}],
            "queues": [{{"name": "open", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {{}}}}]
        }}"#
    );
    builder().definitions_json(definitions).start().await.expect("the broker starts")
}

/// A raw connection of `app` with channel 1 open.
async fn app(server: &Server) -> Raw {
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.login_as(b"\0app\0secret").await;
    raw.channel(1).await;
    raw
}

fn refused(right: &str, what: &str, method: (u16, u16)) -> Close {
    let text = format!("ACCESS_REFUSED - {right} access to {what} in vhost '/' refused for user 'app'");
    Close { code: 403, text, method }
}

/// FEATURES US-2, EH-6, RO-7: each method needs its right, named in the refusal.
#[tokio::test]
async fn methods_need_their_rights() {
    let server = server("^none$", "^none$", "^none$", "").await;
    let mut raw = app(&server).await;
    let cases = [
        (id::QUEUE_DECLARE, args::queue_declare("new", 0), "configure", "queue 'new'"),
        (id::QUEUE_DECLARE, args::queue_declare("open", 2), "configure", "queue 'open'"),
        (id::QUEUE_DECLARE, args::queue_declare("open", 1), "configure", "queue 'open'"),
        (id::QUEUE_DELETE, args::queue_delete("open", 0), "configure", "queue 'open'"),
        (id::QUEUE_PURGE, args::queue_purge("open"), "read", "queue 'open'"),
        (id::GET, args::get("open", true), "read", "queue 'open'"),
        (id::CONSUME, args::consume("open", "c", 0), "read", "queue 'open'"),
        (id::QUEUE_BIND, args::queue_bind("open", "amq.direct", "k"), "write", "queue 'open'"),
        (id::QUEUE_UNBIND, args::queue_unbind("open", "amq.direct", "k"), "write", "queue 'open'"),
        (id::EXCHANGE_DECLARE, args::exchange_declare("new", "direct", 0), "configure", "exchange 'new'"),
        (id::EXCHANGE_DELETE, args::exchange_delete("old", 0), "configure", "exchange 'old'"),
        (id::EXCHANGE_BIND, args::exchange_bind("amq.direct", "amq.topic", "k"), "write", "exchange 'amq.direct'"),
    ];
    for (method, arguments, right, what) in cases {
        raw.method(1, method, arguments).await;
        assert_eq!(raw.expect_channel_close(1).await, refused(right, what, method));
        raw.channel(1).await;
    }
}

/// FEATURES US-2, EH-6: publishing needs write on the exchange; the default exchange goes by `amq.default`.
#[tokio::test]
async fn publishing_needs_write() {
    let server = server(".*", "^amq[.]direct$", ".*", "").await;
    let mut raw = app(&server).await;
    raw.send(&raw::publish(1, "amq.direct", "open", b"x")).await;
    raw.expect_alive(1).await;
    raw.send(&raw::publish(1, "amq.fanout", "open", b"x")).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("write", "exchange 'amq.fanout'", id::PUBLISH));
    raw.channel(1).await;
    raw.send(&raw::publish(1, "", "open", b"x")).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("write", "exchange 'amq.default'", id::PUBLISH));
}

/// FEATURES US-1: patterns are not anchored; an empty one matches nothing that has a name.
#[tokio::test]
async fn patterns_are_not_anchored() {
    let server = server("mine", "", "mine", "").await;
    let mut raw = app(&server).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("is mine too", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::GET, args::get("is mine too", true), id::GET_EMPTY).await;
    raw.send(&raw::publish(1, "amq.direct", "k", b"x")).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("write", "exchange 'amq.direct'", id::PUBLISH));
    raw.channel(1).await;
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("yours", 0)).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("configure", "queue 'yours'", id::QUEUE_DECLARE));
}

/// FEATURES US-2, RO-7: a binding needs read on its source.
#[tokio::test]
async fn binding_needs_read_on_the_source() {
    let server = server(".*", ".*", "^open$", "").await;
    let mut raw = app(&server).await;
    raw.method(1, id::QUEUE_BIND, args::queue_bind("open", "amq.direct", "k")).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("read", "exchange 'amq.direct'", id::QUEUE_BIND));
    raw.channel(1).await;
    raw.method(1, id::EXCHANGE_BIND, args::exchange_bind("amq.topic", "amq.direct", "k")).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("read", "exchange 'amq.direct'", id::EXCHANGE_BIND));
}

/// FEATURES QU-10: any right will do for a passive declare.
#[tokio::test]
async fn any_right_allows_a_passive_declare() {
    let server = server("", "", "^open$", "").await;
    let mut raw = app(&server).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("open", 1), id::QUEUE_DECLARE_OK).await;
}

/// FEATURES DX-8, RO-5: dead-letter and alternate exchanges need rights of their own.
#[tokio::test]
async fn referring_to_exchanges_needs_rights() {
    let server = server(".*", "^(q|x)$", ".*", "").await;
    let mut raw = app(&server).await;
    let name = |exchange: &[u8]| Args::new().longstr(exchange).0;
    let dlx = Args::new().field("x-dead-letter-exchange", b'S', &name(b"amq.fanout"));
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare_with("q", 0, dlx)).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("write", "exchange 'amq.fanout'", id::QUEUE_DECLARE));
    raw.channel(1).await;
    let alternate = Args::new().field("alternate-exchange", b'S', &name(b"amq.fanout"));
    let declare = Args::new().short(0).shortstr(b"x").shortstr(b"direct").octet(0).table(alternate);
    raw.method(1, id::EXCHANGE_DECLARE, declare).await;
    assert_eq!(raw.expect_channel_close(1).await, refused("write", "exchange 'amq.fanout'", id::EXCHANGE_DECLARE));
}

/// FEATURES US-3, EH-7: topic permissions check routing keys at publish and binding keys at bind.
#[tokio::test]
async fn topic_permissions_check_keys() {
    let topic =
        r#"{"user": "app", "vhost": "/", "exchange": "amq.topic", "write": "^{username}[.]", "read": "^all[.]"}"#;
    let server = server(".*", ".*", ".*", topic).await;
    let mut raw = app(&server).await;
    raw.send(&raw::publish(1, "amq.topic", "app.news", b"x")).await;
    raw.call(1, id::QUEUE_BIND, args::queue_bind("open", "amq.topic", "all.#"), id::QUEUE_BIND_OK).await;
    raw.send(&raw::publish(1, "amq.topic", "other.news", b"x")).await;
    let text = "ACCESS_REFUSED - write access to topic 'other.news' in exchange 'amq.topic' in vhost '/' refused for \
                user 'app'"
        .to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 403, text, method: id::PUBLISH });
    raw.channel(1).await;
    raw.method(1, id::QUEUE_BIND, args::queue_bind("open", "amq.topic", "some.#")).await;
    let text = "ACCESS_REFUSED - read access to topic 'some.#' in exchange 'amq.topic' in vhost '/' refused for user \
                'app'"
        .to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 403, text, method: id::QUEUE_BIND });
}

/// FEATURES RO-1: what is wrong with a publish is found in this order, whatever else is wrong with it.
#[tokio::test]
async fn a_publish_is_checked_in_order() {
    let topic = r#"{"user": "app", "vhost": "/", "exchange": "amq.topic", "write": "^only$", "read": ".*"}"#;
    let server = server(".*", "^(amq[.]topic|inner|missing)$", ".*", topic).await;
    let mut raw = app(&server).await;
    raw.call(1, id::EXCHANGE_DECLARE, args::exchange_declare("inner", "fanout", 8), id::EXCHANGE_DECLARE_OK).await;
    let headers = Args::new().field("CC", b'S', &Args::new().longstr(b"not an array").0);
    let all_wrong = Args::new().short(0x2110).table(headers.clone()).shortstr(b"soon").shortstr(b"somebody").0;
    let no_expiration = Args::new().short(0x2010).table(headers).shortstr(b"somebody").0;
    let user_only = Args::new().short(0x0010).shortstr(b"somebody").0;
    let cases = [
        ("forbidden", &all_wrong, "ACCESS_REFUSED - write access to exchange 'forbidden'"),
        ("missing", &all_wrong, "NOT_FOUND - no exchange 'missing'"),
        ("inner", &all_wrong, "ACCESS_REFUSED - cannot publish to internal exchange 'inner'"),
        ("amq.topic", &all_wrong, "PRECONDITION_FAILED - invalid expiration 'soon'"),
        ("amq.topic", &no_expiration, "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\""),
        ("amq.topic", &user_only, "ACCESS_REFUSED - write access to topic 'key'"),
    ];
    for (exchange, properties, text) in cases {
        raw.send(&raw::publish_with(1, args::publish(exchange, "key", 0), properties, b"")).await;
        let close = raw.expect_channel_close(1).await;
        assert!(close.text.starts_with(text), "{exchange}: {}", close.text);
        raw.channel(1).await;
    }
}

/// FEATURES US-8: users given to the builder may do everything on its vhosts.
#[tokio::test]
async fn users_of_the_builder_may_do_everything() {
    let server = builder().user("one", "first", &[]).vhost("shop").start().await.expect("the broker starts");
    let client = connect_as(&server, "one", "first", "shop").await.expect("connects");
    client.queue("q").await;
    client.publish("", "q", b"x").await;
    assert_eq!(client.drain("q").await, ["x"]);
    assert!(connect_as(&server, "one", "wrong", "shop").await.is_err());
    assert!(connect_as(&server, "guest", "guest", "shop").await.is_err(), "no default user beside given ones");
}

/// FEATURES US-5: rights count from their change on, also on channels that used others before.
#[tokio::test]
async fn changed_rights_count_at_once() {
    let server = server(".*", ".*", ".*", "").await;
    let auth = server.broker().auth();
    let mut raw = app(&server).await;
    for _ in 0..2 {
        raw.send(&raw::publish(1, "amq.fanout", "k", b"x")).await;
        raw.expect_alive(1).await;
        auth.set_permissions("/", "app", ".*", "^$", ".*").expect("valid");
        raw.send(&raw::publish(1, "amq.fanout", "k", b"x")).await;
        assert_eq!(raw.expect_channel_close(1).await, refused("write", "exchange 'amq.fanout'", id::PUBLISH));
        auth.set_permissions("/", "app", ".*", ".*", ".*").expect("valid");
        raw.channel(1).await;
    }
}

/// FEATURES US-4: a tag is any word; of all of them only `impersonator` lets a client publish as somebody else.
#[tokio::test]
async fn tags_matter_for_the_user_id() {
    let server = server(".*", ".*", ".*", "").await;
    let claim =
        raw::publish_with(1, args::publish("", "open", 0), &Args::new().short(0x0010).shortstr(b"guest").0, b"");
    for tags in [vec![], vec!["administrator", "monitoring", "any word"], vec!["impersonator", "any word"]] {
        server.broker().auth().set_user_tags("app", tags.clone()).expect("the user exists");
        let mut raw = app(&server).await;
        raw.send(&claim).await;
        if tags.contains(&"impersonator") {
            raw.expect_alive(1).await;
        } else {
            let text =
                "PRECONDITION_FAILED - user_id property set to 'guest' but authenticated user was 'app'".to_owned();
            assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method: id::PUBLISH });
        }
    }
}

/// FEATURES DR-10: a requester needs no right on the pseudo queue; a responder needs write on the default exchange.
#[tokio::test]
async fn direct_replies_need_write_on_the_default_exchange() {
    let server = server("^$", "^amq[.]default$", "^open$", "").await;
    let requester = connect_as(&server, "app", "secret", "%2f").await.expect("the client connects");
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let name = "amq.rabbitmq.reply-to";
    let mut replies = requester.consume_with(name, "c", no_ack, FieldTable::default()).await.expect("basic.consume-ok");
    let properties = BasicProperties::default().with_reply_to(name.into());
    requester.publish_with("", "open", b"question", properties).await;
    let request = eventually("the request", async || requester.get("open").await).await;
    let back = request.properties.reply_to().as_ref().expect("a name to reply to").to_string();
    let mut responder = app(&server).await;
    responder.send(&raw::publish(1, "", &back, b"answer")).await;
    assert_eq!(text(&next(&mut replies).await), "answer");
    server.broker().auth().set_permissions("/", "app", "^$", "^$", "^open$").expect("valid");
    responder.send(&raw::publish(1, "", &back, b"answer")).await;
    assert_eq!(responder.expect_channel_close(1).await, refused("write", "exchange 'amq.default'", id::PUBLISH));
}
