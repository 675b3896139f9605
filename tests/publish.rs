//! basic.publish: content in all its forms, and where it goes.

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::common::client::text;
use crate::common::raw::{self, Args, Close, Raw, id};
use crate::common::{ChannelExt, args, builder, start, start_client, table, within};

/// FEATURES RO-3, M-20: the default exchange routes by queue name, and the delivery names what was published.
#[tokio::test]
async fn default_exchange_routes_by_queue_name() {
    let (_server, client) = start_client().await;
    client.queue("inbox").await;
    client.publish("", "inbox", b"hello").await;
    let message = client.get("inbox").await.expect("a message");
    assert_eq!(text(&message), "hello");
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "inbox"));
    assert!(!message.redelivered);
    assert!(client.get("inbox").await.is_none());
}

/// FEATURES BP-1: all fourteen properties come back byte for byte.
#[tokio::test]
async fn properties_pass_through_byte_for_byte() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("p", 0), id::QUEUE_DECLARE_OK).await;
    let headers = Args::new().field("k", b'S', &Args::new().longstr(b"v").0);
    let properties = Args::new()
        .short(0xFFFC)
        .shortstr(b"text/plain")
        .shortstr(b"gzip")
        .table(headers)
        .octet(1)
        .octet(7)
        .shortstr(b"correlation")
        .shortstr(b"reply-to")
        .shortstr(b"60000")
        .shortstr(b"message-id")
        .longlong(1_700_000_000)
        .shortstr(b"type")
        .shortstr(b"guest")
        .shortstr(b"app")
        .shortstr(b"cluster")
        .0;
    raw.send(&raw::publish_with(1, args::publish("", "p", 0), &properties, b"body")).await;
    raw.call(1, id::GET, args::get("p", true), id::GET_OK).await;
    assert_eq!(raw.content(1).await, (properties, b"body".to_vec()));
}

/// FEATURES BP-5: every value type of a header table passes through with its tag.
#[tokio::test]
async fn header_values_of_every_type_pass_through() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("h", 0), id::QUEUE_DECLARE_OK).await;
    // In the order of their names: RabbitMQ 4 sorts them.
    let fields = Args::new()
        .field("array", b'A', &Args::new().longstr(&[b't', 1, b'V']).0)
        .field("binary", b'x', &Args::new().longstr(&[0, 1, 2]).0)
        .field("bool", b't', &[1])
        .field("decimal", b'D', &[2, 0, 0, 0, 99])
        .field("f32", b'f', &1.5_f32.to_be_bytes())
        .field("f64", b'd', &1.5_f64.to_be_bytes())
        .field("i16", b's', &[0x80, 0])
        .field("i32", b'I', &[0x80, 0, 0, 0])
        .field("i64", b'l', &[0x80, 0, 0, 0, 0, 0, 0, 0])
        .field("i8", b'b', &[0x80])
        .field("longstr", b'S', &Args::new().longstr(b"\xff text").0)
        .field("table", b'F', &Args::new().table(Args::new().field("in", b't', &[0])).0)
        .field("timestamp", b'T', &[0, 0, 0, 0, 0, 0, 0, 1])
        .field("u16", b'u', &[0x80, 0])
        .field("u32", b'i', &[0x80, 0, 0, 0])
        .field("u8", b'B', &[0x80])
        .field("void", b'V', &[]);
    let properties = Args::new().short(0x2000).table(fields).0;
    raw.send(&raw::publish_with(1, args::publish("", "h", 0), &properties, b"")).await;
    raw.call(1, id::GET, args::get("h", true), id::GET_OK).await;
    assert_eq!(raw.content(1).await, (properties, Vec::new()));
}

/// FEATURES FR-4: an empty body is a header and no body frame, both ways.
#[tokio::test]
async fn an_empty_body_has_no_body_frame() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("e", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "", "e", b"")).await;
    raw.call(1, id::GET, args::get("e", true), id::GET_OK).await;
    assert_eq!(raw.content(1).await.1, b"");
    raw.expect_alive(1).await;
}

/// FEATURES FR-5: frames that leave are filled: 131072 bytes go out as 131064 and 8.
#[tokio::test]
async fn large_bodies_leave_in_full_frames() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("big", 0), id::QUEUE_DECLARE_OK).await;
    // Comes in in frames of another size, which is nobody's business.
    let body: Vec<u8> = (0..131_072_u32).map(|n| n as u8).collect();
    let mut bytes = raw::method(1, id::PUBLISH, args::publish("", "big", 0));
    bytes.extend(raw::header(1, body.len() as u64));
    for chunk in body.chunks(50_000) {
        bytes.extend(raw::frame(raw::BODY, 1, chunk));
    }
    raw.send(&bytes).await;
    raw.call(1, id::GET, args::get("big", true), id::GET_OK).await;
    let header = raw.next().await.expect("a content header");
    assert_eq!(header.kind, raw::HEADER);
    let (first, second) = (raw.next().await.expect("a body"), raw.next().await.expect("a body"));
    assert_eq!((first.payload.len(), second.payload.len()), (131_064, 8));
    assert_eq!([first.payload, second.payload].concat(), body);
}

/// FEATURES FR-5, FR-2: a client that tuned small frames gets small frames.
#[tokio::test]
async fn deliveries_fit_the_negotiated_frame() {
    let server = start().await;
    let tune = |tune| raw::Tune { frame_max: 8192, heartbeat: 0, ..tune };
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), tune).await;
    raw.channel(1).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("small", 0), id::QUEUE_DECLARE_OK).await;
    let body = vec![7; 20_000];
    let mut bytes = raw::method(1, id::PUBLISH, args::publish("", "small", 0));
    bytes.extend(raw::header(1, body.len() as u64));
    for chunk in body.chunks(8184) {
        bytes.extend(raw::frame(raw::BODY, 1, chunk));
    }
    raw.send(&bytes).await;
    raw.call(1, id::GET, args::get("small", true), id::GET_OK).await;
    let mut sizes = Vec::new();
    raw.next().await.expect("a content header");
    while sizes.iter().sum::<usize>() < body.len() {
        sizes.push(raw.next().await.expect("a body").payload.len());
    }
    assert_eq!(sizes, [8184, 8184, 3632]);
}

/// FEATURES PC-7, M-21: an unroutable mandatory message comes back whole, with 312 NO_ROUTE.
#[tokio::test]
async fn mandatory_and_unroutable_is_returned() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let properties = Args::new().short(0x8000).shortstr(b"text/plain").0;
    raw.send(&raw::publish_with(1, args::publish("amq.direct", "nowhere", 1), &properties, b"lost")).await;
    let frame = raw.expect(1, id::RETURN).await;
    let mut args = frame.args();
    assert_eq!((args.short(), args.shortstr()), (312, "NO_ROUTE".to_owned()));
    assert_eq!((args.shortstr(), args.shortstr()), ("amq.direct".to_owned(), "nowhere".to_owned()));
    assert_eq!(raw.content(1).await, (properties, b"lost".to_vec()));
}

/// A connection remembers only so many routes. What it publishes to more queues than that is looked up: queues that go
/// and come are seen, and so are permissions.
#[tokio::test]
async fn more_queues_than_a_connection_remembers() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let name = |number: usize| format!("inbox-{number}");
    const QUEUES: usize = 1100;
    for number in 0..QUEUES {
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare(&name(number), 0), id::QUEUE_DECLARE_OK).await;
    }
    for round in [b"first", b"again"] {
        let messages: Vec<u8> = (0..QUEUES).flat_map(|number| raw::publish(1, "", &name(number), round)).collect();
        raw.send(&messages).await;
    }
    for number in 0..QUEUES {
        for expected in [b"first", b"again"] {
            raw.call(1, id::GET, args::get(&name(number), true), id::GET_OK).await;
            assert_eq!(raw.content(1).await.1, expected, "queue {number}");
        }
    }
    let vhost = server.broker().vhost("/").expect("the default vhost");
    let published = vhost.exchange("").expect("the default exchange").published();
    assert_eq!(published, (2 * QUEUES as u64, 2 * QUEUES as u64));

    let last = name(QUEUES - 1);
    let mandatory = raw::publish_with(1, args::publish("", &last, 1), &[0, 0], b"nobody");
    raw.call(1, id::QUEUE_DELETE, args::queue_delete(&last, 0), id::QUEUE_DELETE_OK).await;
    raw.send(&mandatory).await;
    raw.expect(1, id::RETURN).await;
    assert_eq!(raw.content(1).await.1, b"nobody");
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare(&last, 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&mandatory).await;
    raw.call(1, id::GET, args::get(&last, true), id::GET_OK).await;
    assert_eq!(raw.content(1).await.1, b"nobody");

    server.broker().auth().set_permissions("/", "guest", ".*", "^$", ".*").expect("valid patterns");
    raw.send(&mandatory).await;
    let text =
        "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'guest'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 403, text, method: id::PUBLISH });
}

/// An unroutable message that is not mandatory is dropped without a word.
#[tokio::test]
async fn unroutable_is_dropped_silently() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.send(&raw::publish(1, "amq.direct", "nowhere", b"lost")).await;
    raw.send(&raw::publish(1, "", "no such queue", b"lost")).await;
    raw.expect_alive(1).await;
}

/// FEATURES EH-2, PC-8: publishing to a missing exchange closes the channel; what follows on it is discarded.
#[tokio::test]
async fn unknown_exchange_closes_the_channel() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let mut bytes = raw::publish(1, "nix", "q", b"1");
    bytes.extend(raw::publish(1, "", "q", b"2"));
    raw.send(&bytes).await;
    let text = "NOT_FOUND - no exchange 'nix' in vhost '/'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 404, text, method: id::PUBLISH });
    raw.channel(1).await;
    raw.call(1, id::GET, args::get("q", true), id::GET_EMPTY).await;
}

/// FEATURES EH-11.
#[tokio::test]
async fn internal_exchanges_take_no_publishes() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::EXCHANGE_DECLARE, args::exchange_declare("inner", "fanout", 8), id::EXCHANGE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "inner", "", b"1")).await;
    let text = "ACCESS_REFUSED - cannot publish to internal exchange 'inner' in vhost '/'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 403, text, method: id::PUBLISH });
}

/// FEATURES EC-18, M-20.
#[tokio::test]
async fn immediate_is_not_implemented() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.send(&raw::publish_with(1, args::publish("", "q", 2), &[0, 0], b"now")).await;
    let text = "NOT_IMPLEMENTED - immediate=true".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 540, text, method: id::PUBLISH });
}

/// FEATURES RO-2: a queue gets one copy, however many bindings match.
#[tokio::test]
async fn a_queue_gets_one_copy() {
    let (_server, client) = start_client().await;
    client.queue("once").await;
    for key in ["a.#", "#.b", "a.b", "*.*"] {
        client.bind("once", "amq.topic", key).await;
    }
    client.publish("amq.topic", "a.b", b"1").await;
    assert_eq!(client.drain("once").await, ["1"]);
}

/// FEATURES RO-4: CC and BCC add routing keys; CC is delivered, BCC is not.
#[tokio::test]
async fn cc_and_bcc_add_routing_keys() {
    let (_server, client) = start_client().await;
    for queue in ["to", "cc", "bcc"] {
        client.queue(queue).await;
    }
    let keys = |key: &str| AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongString(key.into())]));
    let properties = BasicProperties::default().with_headers(table([("CC", keys("cc")), ("BCC", keys("bcc"))]));
    client.publish_with("", "to", b"copy", properties).await;
    for queue in ["to", "cc", "bcc"] {
        let message = client.get(queue).await.unwrap_or_else(|| panic!("{queue} got nothing"));
        assert_eq!(message.routing_key.as_str(), "to");
        let headers = message.properties.headers().clone().expect("headers");
        assert_eq!(headers, table([("CC", keys("cc"))]));
    }
}

/// FEATURES EH-21.
#[tokio::test]
async fn cc_must_be_an_array() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let headers = Args::new().field("CC", b'S', &Args::new().longstr(b"cc").0);
    let properties = Args::new().short(0x2000).table(headers).0;
    raw.send(&raw::publish_with(1, args::publish("", "to", 0), &properties, b"")).await;
    let close = raw.expect_channel_close(1).await;
    assert_eq!((close.code, close.method), (406, id::PUBLISH));
    let text = "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}";
    assert_eq!(close.text, text);
}

/// FEATURES RO-5: an alternate exchange gets what its exchange routes nowhere, and counts as a route.
#[tokio::test]
async fn alternate_exchange_takes_the_unroutable() {
    let (_server, client) = start_client().await;
    client.exchange("spare", ExchangeKind::Fanout).await;
    client.queue("found").await;
    client.bind("found", "spare", "").await;
    let arguments = table([("alternate-exchange", AMQPValue::LongString("spare".into()))]);
    let options = ExchangeDeclareOptions::default();
    within(client.exchange_declare("main".into(), ExchangeKind::Direct, options, arguments)).await.expect("declared");
    client.queue("known").await;
    client.bind("known", "main", "known").await;
    client.confirms().await;
    client.publish_confirmed("main", "known", b"1").await;
    let confirm = within(client.publish_mandatory("main", "unknown", b"2").await).await.expect("a confirm");
    assert_eq!(confirm, lapin::Confirmation::Ack(None), "it was routed, so it is not returned");
    assert_eq!(client.drain("known").await, ["1"]);
    let message = client.get("found").await.expect("a message");
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("main", "unknown"));
}

/// FEATURES RO-6, RO-2, M-11: exchanges bound to exchanges, in a circle too, deliver once.
#[tokio::test]
async fn exchanges_bound_in_a_circle_deliver_once() {
    let (_server, client) = start_client().await;
    for name in ["a", "b"] {
        client.exchange(name, ExchangeKind::Fanout).await;
        client.queue(&format!("q{name}")).await;
        client.bind(&format!("q{name}"), name, "").await;
    }
    for (destination, source) in [("b", "a"), ("a", "b")] {
        let (options, arguments) = (ExchangeBindOptions::default(), FieldTable::default());
        within(client.exchange_bind(destination.into(), source.into(), "".into(), options, arguments))
            .await
            .expect("exchange.bind-ok");
    }
    client.publish("a", "key", b"1").await;
    assert_eq!(client.drain("qa").await, ["1"]);
    let message = client.get("qb").await.expect("a message");
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("a", "key"));
    assert!(client.get("qb").await.is_none());
}

/// FEATURES BP-2: whatever is not 2 is transient.
#[tokio::test]
async fn odd_delivery_modes_are_taken() {
    let (_server, client) = start_client().await;
    client.queue("modes").await;
    for mode in [0, 1, 2, 3] {
        client.publish_with("", "modes", b"m", BasicProperties::default().with_delivery_mode(mode)).await;
    }
    for mode in [0, 1, 2, 3] {
        let message = client.get("modes").await.expect("a message");
        assert_eq!(*message.properties.delivery_mode(), Some(mode));
    }
}

/// FEATURES BP-3.
#[tokio::test]
async fn bad_expirations_close_the_channel() {
    let server = start().await;
    let mut raw = Raw::open(server.amqp_addr()).await;
    let cases = [
        ("", "no_integer"),
        ("soon", "no_integer"),
        ("10x", "{leftover_string,\"x\"}"),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ];
    for (expiration, reason) in cases {
        raw.channel(1).await;
        let properties = Args::new().short(0x0100).shortstr(expiration.as_bytes()).0;
        raw.send(&raw::publish_with(1, args::publish("", "q", 0), &properties, b"")).await;
        let text = format!("PRECONDITION_FAILED - invalid expiration '{expiration}': {reason}");
        assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method: id::PUBLISH });
    }
}

/// FEATURES BP-4.
#[tokio::test]
async fn user_id_must_be_the_own_one() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let claim = |user: &[u8]| {
        let properties = Args::new().short(0x0010).shortstr(user).0;
        raw::publish_with(1, args::publish("", "q", 0), &properties, b"")
    };
    raw.send(&claim(b"guest")).await;
    raw.expect_alive(1).await;
    raw.send(&claim(b"root")).await;
    let text = "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method: id::PUBLISH });
}

/// FEATURES FR-8: too large a message closes the channel when all of it has come.
#[tokio::test]
async fn a_message_above_the_limit_closes_the_channel() {
    let server = builder().message_size_max(1000).start().await.expect("the broker starts");
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "", "q", &[0; 1000])).await;
    raw.expect_alive(1).await;
    raw.send(&raw::publish(1, "", "q", &[0; 1001])).await;
    let text = "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000".to_owned();
    assert_eq!(raw.expect_channel_close(1).await, Close { code: 406, text, method: id::PUBLISH });
}

/// FEATURES FR-7: a body above the hard ceiling is refused by its header.
#[tokio::test]
async fn a_body_above_the_ceiling_closes_the_connection() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let mut bytes = raw::method(1, id::PUBLISH, args::publish("", "q", 0));
    bytes.extend(raw::header(1, 536_870_913));
    raw.send(&bytes).await;
    let close = raw.expect_close().await;
    assert_eq!(close.code, 501);
    assert_eq!(close.text, "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912");
}
