//! exchange.declare, delete, bind and unbind: what exchanges are, apart from how they route.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::common::client::refused;
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, start, start_client, table, within};

/// FEATURES XT-1, M-9: every vhost starts with these, and passive declares find them whatever else they say.
#[tokio::test]
async fn predeclared_exchanges_exist() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    for name in ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"] {
        let passive = args::exchange_declare(name, "nonsense", 1 | 4);
        raw.call(1, id::EXCHANGE_DECLARE, passive, id::EXCHANGE_DECLARE_OK).await;
    }
    for (name, kind) in [("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.match", "headers")] {
        raw.call(1, id::EXCHANGE_DECLARE, args::exchange_declare(name, kind, 2), id::EXCHANGE_DECLARE_OK).await;
    }
}

/// FEATURES M-9, EH-4: declaring again is fine if it is the same, and told apart by the first field that differs.
#[tokio::test]
async fn declaring_again_must_agree() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let declare = |kind, bits| args::exchange_declare("x", kind, bits);
    for _ in 0..2 {
        raw.call(1, id::EXCHANGE_DECLARE, declare("direct", 2), id::EXCHANGE_DECLARE_OK).await;
    }
    let cases = [
        ("fanout", 2, "type", "'fanout'", "'direct'"),
        ("direct", 0, "durable", "'false'", "'true'"),
        ("direct", 2 | 4, "auto_delete", "'true'", "'false'"),
        ("direct", 2 | 8, "internal", "'true'", "'false'"),
    ];
    for (kind, bits, field, received, current) in cases {
        raw.method(1, id::EXCHANGE_DECLARE, declare(kind, bits)).await;
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg '{field}' for exchange 'x' in vhost '/': received {received} but \
             current is {current}"
        );
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method: id::EXCHANGE_DECLARE });
        raw.channel(1).await;
    }
}

/// FEATURES QU-5, EH-4: of an exchange's arguments only the alternate exchange is compared.
#[tokio::test]
async fn of_the_arguments_only_the_alternate_exchange_is_compared() {
    let (_server, client) = start_client().await;
    let declare = async |channel: &lapin::Channel, arguments: FieldTable| {
        let options = ExchangeDeclareOptions::default();
        within(channel.exchange_declare("x".into(), ExchangeKind::Direct, options, arguments)).await
    };
    declare(&client, table([("x-colour", AMQPValue::LongString("red".into()))])).await.expect("declare-ok");
    declare(&client, table([("x-colour", AMQPValue::LongInt(1))])).await.expect("declare-ok");
    let text = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received \
                the value 'spare' of type 'longstr' but current is none";
    let other = table([("alternate-exchange", AMQPValue::LongString("spare".into()))]);
    refused(declare(&client, other), 406, text).await;
}

/// FEATURES EC-21: an unknown type closes the channel, as in RabbitMQ 4.
#[tokio::test]
async fn unknown_types_are_refused() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::EXCHANGE_DECLARE, args::exchange_declare("x", "x-no-such-type", 0)).await;
    let close = raw.expect_channel_close(1).await;
    assert_eq!((close.code, close.method), (406, id::EXCHANGE_DECLARE));
    assert_eq!(close.text, "PRECONDITION_FAILED - unknown exchange type 'x-no-such-type'");
}

/// FEATURES EH-2: a passive declare of what is not there.
#[tokio::test]
async fn passive_declares_need_existence() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::EXCHANGE_DECLARE, args::exchange_declare("nix", "direct", 1)).await;
    let text = "NOT_FOUND - no exchange 'nix' in vhost '/'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method: id::EXCHANGE_DECLARE });
}

/// FEATURES EH-8, EH-9, EH-10, XT-2: the default exchange and the names `amq.*` are the server's.
#[tokio::test]
async fn the_servers_own_exchanges_are_protected() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let default = "operation not permitted on the default exchange";
    let cases = [
        (id::EXCHANGE_DECLARE, args::exchange_declare("", "direct", 2), default),
        (id::EXCHANGE_DECLARE, args::exchange_declare("", "direct", 1), default),
        (id::EXCHANGE_DELETE, args::exchange_delete("", 0), default),
        (id::QUEUE_BIND, args::queue_bind("q", "", "q"), default),
        (id::QUEUE_UNBIND, args::queue_unbind("q", "", "q"), default),
        (id::EXCHANGE_BIND, args::exchange_bind("amq.fanout", "", "k"), default),
        (
            id::EXCHANGE_DECLARE,
            args::exchange_declare("amq.mine", "direct", 0),
            "exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        ),
        (
            id::EXCHANGE_DELETE,
            args::exchange_delete("amq.topic", 0),
            "deletion of system exchange 'amq.topic' in vhost '/' not allowed",
        ),
    ];
    for (method, arguments, text) in cases {
        raw.method(1, method, arguments).await;
        let text = format!("ACCESS_REFUSED - {text}");
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 403, text, method });
        raw.channel(1).await;
    }
}

/// FEATURES M-10, trap 9: deleting what is not there succeeds.
#[tokio::test]
async fn deleting_a_missing_exchange_succeeds() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::EXCHANGE_DELETE, args::exchange_delete("nix", 0), id::EXCHANGE_DELETE_OK).await;
}

/// FEATURES M-10, EH-14: if-unused looks at the bindings from the exchange.
#[tokio::test]
async fn delete_if_unused() {
    let (_server, client) = start_client().await;
    client.exchange("x", ExchangeKind::Fanout).await;
    client.queue("q").await;
    client.bind("q", "x", "").await;
    let unused = ExchangeDeleteOptions { if_unused: true, nowait: false };
    let other = client.another_channel().await;
    let text = "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use";
    refused(other.exchange_delete("x".into(), unused), 406, text).await;
    within(client.queue_unbind("q".into(), "x".into(), "".into(), FieldTable::default())).await.expect("unbind-ok");
    within(client.exchange_delete("x".into(), unused)).await.expect("delete-ok");
}

/// FEATURES RO-9, trap 11: an auto-delete exchange goes with its last binding as a source, not before it had one.
#[tokio::test]
async fn auto_delete_goes_with_the_last_binding() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::EXCHANGE_DECLARE, args::exchange_declare("x", "fanout", 4), id::EXCHANGE_DECLARE_OK).await;
    for queue in ["q", "r"] {
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare(queue, 0), id::QUEUE_DECLARE_OK).await;
        raw.call(1, id::QUEUE_BIND, args::queue_bind(queue, "x", ""), id::QUEUE_BIND_OK).await;
    }
    raw.call(1, id::QUEUE_UNBIND, args::queue_unbind("q", "x", ""), id::QUEUE_UNBIND_OK).await;
    let passive = || args::exchange_declare("x", "fanout", 1);
    raw.call(1, id::EXCHANGE_DECLARE, passive(), id::EXCHANGE_DECLARE_OK).await;
    raw.call(1, id::QUEUE_DELETE, args::queue_delete("r", 0), id::QUEUE_DELETE_OK).await;
    raw.method(1, id::EXCHANGE_DECLARE, passive()).await;
    assert_eq!(raw.expect_channel_close(1).await.text, "NOT_FOUND - no exchange 'x' in vhost '/'");
}

/// FEATURES M-11, M-16, EH-1, EH-2: both ends of a binding must exist; taking away one that is not there succeeds.
#[tokio::test]
async fn bindings_need_both_ends() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let cases = [
        (id::EXCHANGE_BIND, args::exchange_bind("amq.fanout", "nix", ""), "no exchange 'nix' in vhost '/'"),
        (id::EXCHANGE_BIND, args::exchange_bind("nix", "amq.fanout", ""), "no exchange 'nix' in vhost '/'"),
        (id::QUEUE_BIND, args::queue_bind("q", "nix", ""), "no exchange 'nix' in vhost '/'"),
        (id::QUEUE_BIND, args::queue_bind("nix", "amq.fanout", ""), "no queue 'nix' in vhost '/'"),
    ];
    for (method, arguments, text) in cases {
        raw.method(1, method, arguments).await;
        let text = format!("NOT_FOUND - {text}");
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method });
        raw.channel(1).await;
    }
    raw.call(1, id::EXCHANGE_BIND, args::exchange_bind("amq.topic", "amq.direct", "k"), id::EXCHANGE_BIND_OK).await;
    let unbind = args::exchange_bind("amq.topic", "amq.fanout", "never bound");
    raw.call(1, id::EXCHANGE_UNBIND, unbind, id::EXCHANGE_UNBIND_OK).await;
    raw.call(1, id::QUEUE_UNBIND, args::queue_unbind("q", "amq.fanout", "never"), id::QUEUE_UNBIND_OK).await;
    raw.call(1, id::QUEUE_UNBIND, args::queue_unbind("nix", "amq.fanout", ""), id::QUEUE_UNBIND_OK).await;
    raw.call(1, id::QUEUE_UNBIND, args::queue_unbind("q", "nix", ""), id::QUEUE_UNBIND_OK).await;
}

/// FEATURES RO-8: bindings with the same key and other arguments are others; an unbind must match exactly.
#[tokio::test]
async fn bindings_differ_by_their_arguments() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    let arguments = |n: i32| table([("n", AMQPValue::LongInt(n))]);
    client.bind_with("q", "amq.direct", "k", arguments(1)).await;
    client.bind_with("q", "amq.direct", "k", arguments(2)).await;
    client.bind_with("q", "amq.direct", "k", arguments(2)).await;
    let unbind = async |n| {
        within(client.queue_unbind("q".into(), "amq.direct".into(), "k".into(), arguments(n)))
            .await
            .expect("unbind-ok");
        client.publish("amq.direct", "k", b"x").await;
        client.drain("q").await.len()
    };
    assert_eq!(unbind(3).await, 1);
    assert_eq!(unbind(2).await, 1);
    assert_eq!(unbind(1).await, 0);
}

/// FEATURES M-13, RO-2: binding twice is binding once.
#[tokio::test]
async fn binding_twice_is_binding_once() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    for _ in 0..2 {
        client.bind("q", "amq.direct", "k").await;
    }
    client.publish("amq.direct", "k", b"x").await;
    assert_eq!(client.drain("q").await, ["x"]);
    within(client.queue_unbind("q".into(), "amq.direct".into(), "k".into(), FieldTable::default()))
        .await
        .expect("unbind-ok");
    client.publish("amq.direct", "k", b"x").await;
    assert!(client.drain("q").await.is_empty());
}

/// FEATURES BP-8: line ends are taken out of names.
#[tokio::test]
async fn line_ends_are_stripped_from_names() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::EXCHANGE_DECLARE, args::exchange_declare("a\r\nb", "fanout", 0), id::EXCHANGE_DECLARE_OK).await;
    raw.call(1, id::EXCHANGE_DECLARE, args::exchange_declare("ab", "fanout", 1), id::EXCHANGE_DECLARE_OK).await;
    let frame = raw.call(1, id::QUEUE_DECLARE, args::queue_declare("c\r\nd", 0), id::QUEUE_DECLARE_OK).await;
    assert_eq!(frame.args().shortstr(), "cd");
    raw.call(1, id::QUEUE_BIND, args::queue_bind("c\nd", "a\nb", ""), id::QUEUE_BIND_OK).await;
    raw.send(&raw::publish(1, "ab", "", b"x")).await;
    raw.call(1, id::GET, args::get("cd", true), id::GET_OK).await;
}

/// FEATURES M-28: with nowait the answer is left out; errors still close the channel.
#[tokio::test]
async fn nowait_leaves_the_answer_out() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let mut bytes = raw::method(1, id::EXCHANGE_DECLARE, args::exchange_declare("x", "fanout", 16));
    bytes.extend(raw::method(1, id::QUEUE_DECLARE, args::queue_declare("q", 16)));
    let bind = |bit| Args::new().short(0).shortstr(b"q").shortstr(b"x").shortstr(b"").octet(bit).table(Args::new());
    bytes.extend(raw::method(1, id::QUEUE_BIND, bind(1)));
    bytes.extend(raw::publish(1, "x", "", b"1"));
    bytes.extend(raw::method(1, id::QUEUE_PURGE, Args::new().short(0).shortstr(b"q").octet(1)));
    bytes.extend(raw::publish(1, "x", "", b"2"));
    bytes.extend(raw::method(1, id::CONSUME, args::consume("q", "c", 8)));
    raw.send(&bytes).await;
    raw.expect(1, id::DELIVER).await;
    assert_eq!(raw.content(1).await.1, b"2");
    let mut bytes = raw::method(1, id::CANCEL, args::cancel("c", 1));
    bytes.extend(raw::method(1, id::QUEUE_DELETE, args::queue_delete("q", 4)));
    bytes.extend(raw::method(1, id::EXCHANGE_DELETE, args::exchange_delete("x", 2)));
    raw.send(&bytes).await;
    raw.expect_alive(1).await;
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("q", 1 | 16)).await;
    assert_eq!(raw.expect_channel_close(1).await.text, "NOT_FOUND - no queue 'q' in vhost '/'");
}

/// A deleted exchange takes its bindings along, in both directions. FEATURES M-10.
#[tokio::test]
async fn deleting_an_exchange_removes_its_bindings() {
    let (_server, client) = start_client().await;
    client.exchange("x", ExchangeKind::Fanout).await;
    client.queue("q").await;
    client.bind("q", "x", "").await;
    within(client.exchange_delete("x".into(), ExchangeDeleteOptions::default())).await.expect("delete-ok");
    client.exchange("x", ExchangeKind::Fanout).await;
    client.publish("x", "", b"x").await;
    assert!(client.drain("q").await.is_empty());
}

/// FEATURES EH-31: a topic binding may have any number of `#`, as in 3.10.
#[tokio::test]
async fn topic_bindings_have_any_number_of_hashes() {
    let (_server, client) = start_client().await;
    client.queue("q").await;
    client.bind("q", "amq.topic", "#.a.#.b.#.c.#").await;
    for (key, routed) in [("a.b.c", 1), ("x.a.y.y.b.c.z", 1), ("c.b.a", 0)] {
        client.publish("amq.topic", key, b"m").await;
        client.queue("q").await;
        assert_eq!(client.drain("q").await.len(), routed, "{key}");
    }
}
