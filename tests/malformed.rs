//! What no client should send: broken frames, frames out of order, sizes beyond every limit. The broker answers with
//! the error the specification names, closes what it must, and goes on serving everybody else.

use futures_util::future::join_all;
use lepus::wire::TABLE_DEPTH_MAX;

use crate::common::raw::{self, Args, Close, Raw, Tune, frame, header, id, method};
use crate::common::{ChannelExt, args, connect, eventually, start};

/// Sends bytes on an open connection with channel 1; they must close it.
async fn close_after(server: &lepus::Server, bytes: &[u8]) -> Close {
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.send(bytes).await;
    raw.expect_close().await
}

fn publish() -> Vec<u8> {
    method(1, id::PUBLISH, args::publish("", "q", 0))
}

/// FEATURES FR-2, EC-1: a payload larger than the frame negotiated.
#[tokio::test]
async fn a_frame_too_large() {
    let server = start().await;
    let close = close_after(&server, &frame(raw::METHOD, 1, &vec![0; 131_073])).await;
    assert_eq!((close.code, close.method), (501, (0, 0)));
    assert_eq!(close.text, "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}");
}

/// FEATURES EC-1: the size alone is enough; nobody waits for four gigabytes.
#[tokio::test]
async fn a_size_of_four_gigabytes() {
    let server = start().await;
    let close = close_after(&server, &[raw::METHOD, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).await;
    assert_eq!(close.code, 501);
    assert!(close.text.contains("{frame_too_large,4294967295,"), "{}", close.text);
}

/// FEATURES FR-2: eight bytes more than announced are tolerated, as RabbitMQ does.
#[tokio::test]
async fn eight_bytes_too_many_are_tolerated() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let mut bytes = publish();
    bytes.extend(header(1, 131_072));
    bytes.extend(frame(raw::BODY, 1, &vec![7; 131_072]));
    raw.send(&bytes).await;
    raw.expect_alive(1).await;
}

/// FEATURES FR-1, EC-2: a frame that does not end in 0xCE.
#[tokio::test]
async fn a_wrong_end_octet() {
    let server = start().await;
    let mut bytes = method(1, id::TX_SELECT, Args::new());
    *bytes.last_mut().expect("an end octet") = 0xCD;
    let close = close_after(&server, &bytes).await;
    assert_eq!((close.code, close.method), (501, (0, 0)));
    assert_eq!(close.text, "FRAME_ERROR - type 1, all octets = <<0,90,0,10>>: {invalid_frame_end_marker,205}");
}

/// FEATURES FR-1, EC-3: a frame type nobody knows.
#[tokio::test]
async fn an_unknown_frame_type() {
    let server = &start().await;
    // All at once: after such an error the broker hangs up three seconds later.
    join_all([0, 4, 9, 255].map(|kind| async move {
        let close = close_after(server, &frame(kind, 0, b"abc")).await;
        assert_eq!((close.code, close.method), (501, (0, 0)));
        assert_eq!(close.text, format!("FRAME_ERROR - type {kind}, all octets = <<\"abc\">>: unknown_frame"));
    }))
    .await;
}

/// FEATURES FR-10, EC-4: heartbeats belong on channel 0 and are empty.
#[tokio::test]
async fn heartbeats_out_of_place() {
    let server = start().await;
    let close = close_after(&server, &frame(raw::HEARTBEAT, 1, b"")).await;
    assert_eq!(close.code, 505);
    assert_eq!(close.text, "UNEXPECTED_FRAME - type 8, all octets = <<>>");
    let close = close_after(&server, &frame(raw::HEARTBEAT, 0, b"x")).await;
    assert_eq!(close.code, 501);
}

/// FEATURES EC-5: content without a method.
#[tokio::test]
async fn content_where_a_method_is_due() {
    let server = start().await;
    for bytes in [header(1, 0), frame(raw::BODY, 1, b"x")] {
        let close = close_after(&server, &bytes).await;
        assert_eq!(close.code, 505);
        assert_eq!(close.text, "UNEXPECTED_FRAME - expected method frame, got non method frame instead");
    }
}

/// FEATURES EC-6, EC-7: something else where a content header is due.
#[tokio::test]
async fn no_header_where_one_is_due() {
    let server = start().await;
    let wrong = "expected content header for class 60, got";
    let mut bytes = publish();
    bytes.extend(method(1, id::TX_SELECT, Args::new()));
    let close = close_after(&server, &bytes).await;
    let text = format!("UNEXPECTED_FRAME - {wrong} non content header frame instead");
    assert_eq!(close, Close { code: 505, text, method: id::PUBLISH });
    let mut bytes = publish();
    bytes.extend(frame(raw::BODY, 1, b"x"));
    let close = close_after(&server, &bytes).await;
    assert_eq!((close.code, close.method), (505, id::PUBLISH));
    let mut bytes = publish();
    bytes.extend(frame(raw::HEADER, 1, &Args::new().short(50).short(0).longlong(0).short(0).0));
    let close = close_after(&server, &bytes).await;
    let text = format!("UNEXPECTED_FRAME - {wrong} one for class 50 instead");
    assert_eq!((close.code, close.text), (505, text));
}

/// FEATURES EC-8: something else where a content body is due.
#[tokio::test]
async fn no_body_where_one_is_due() {
    let server = start().await;
    for wrong in [method(1, id::TX_SELECT, Args::new()), header(1, 3)] {
        let mut bytes = publish();
        bytes.extend(header(1, 3));
        bytes.extend(wrong);
        let close = close_after(&server, &bytes).await;
        assert_eq!(close.code, 505);
        assert_eq!(close.text, "UNEXPECTED_FRAME - expected content body, got non content body frame instead");
    }
}

/// FEATURES FR-6: the weight of a content header is zero.
#[tokio::test]
async fn a_header_with_weight() {
    let server = start().await;
    let mut bytes = publish();
    bytes.extend(frame(raw::HEADER, 1, &Args::new().short(60).short(1).longlong(0).short(0).0));
    let close = close_after(&server, &bytes).await;
    assert_eq!(close.code, 505);
}

/// FEATURES FR-7: fragments that total more than was announced.
#[tokio::test]
async fn more_body_than_announced() {
    let server = start().await;
    let mut bytes = publish();
    bytes.extend(header(1, 3));
    bytes.extend(frame(raw::BODY, 1, b"ab"));
    bytes.extend(frame(raw::BODY, 1, b"cd"));
    let close = close_after(&server, &bytes).await;
    assert_eq!(close.code, 501);
    assert_eq!(close.text, "FRAME_ERROR - content body frame exceeds remaining content size");
}

/// FEATURES FR-9: methods that do not exist, as the version decision of section 8 has it: a close, not a reset.
#[tokio::test]
async fn an_unknown_method() {
    let server = start().await;
    for id in [(50, 99), (99, 10), (0, 0), (0xFFFF, 0xFFFF)] {
        let close = close_after(&server, &method(1, id, Args::new())).await;
        assert!(close.code == 503 || close.code == 502, "{id:?}: {close:?}");
    }
}

/// FEATURES EC-9, FR-9: arguments that end too early, or go on too long, or are tables that cannot be read.
#[tokio::test]
async fn arguments_that_cannot_be_read() {
    let server = start().await;
    let declare = |table: &[u8]| Args::new().short(0).shortstr(b"q").octet(0).longstr(table);
    let cases = [
        (id::QUEUE_DECLARE, Args::new()),
        (id::QUEUE_DECLARE, Args::new().short(0).octet(200).bytes(b"short")),
        (id::QUEUE_DECLARE, Args::new().short(0).shortstr(b"q").octet(0).long(1000).bytes(b"short")),
        (id::QUEUE_DECLARE, Args::new().short(0).shortstr(b"q").octet(0).long(u32::MAX)),
        (id::QUEUE_DECLARE, declare(&Args::new().field("k", b'Z', b"").0)),
        (id::QUEUE_DECLARE, declare(&Args::new().field("k", b'S', &[0, 0, 1, 0]).0)),
        (id::QUEUE_DECLARE, declare(&Args::new().field("k", b'A', &[0, 0, 0, 1, b'I']).0)),
        (id::QUEUE_DECLARE, declare(b"\x05k")),
        (id::ACK, Args::new().long(0)),
        (id::PUBLISH, Args::new().short(0).shortstr(b"x")),
    ];
    for (method_id, arguments) in cases {
        let close = close_after(&server, &method(1, method_id, arguments.clone())).await;
        assert!(matches!(close.code, 501 | 502), "{arguments:?}: {close:?}", arguments = arguments.0);
    }
}

/// FEATURES BP-7: names are UTF-8.
#[tokio::test]
async fn a_name_that_is_not_text() {
    let server = start().await;
    let declare = Args::new().short(0).shortstr(b"\xff\xfe").octet(0).table(Args::new());
    let close = close_after(&server, &method(1, id::QUEUE_DECLARE, declare)).await;
    assert_eq!((close.code, close.method), (501, (0, 0)));
    assert_eq!(close.text, "FRAME_ERROR - Malformed UTF-8 in shortstr");
}

/// FEATURES BP-5, FR-9: properties that cannot be read.
#[tokio::test]
async fn properties_that_cannot_be_read() {
    let server = start().await;
    let cases: [&[u8]; 5] =
        [b"", b"\x80", b"\x80\x00\x20text", b"\x20\x00\xff\xff\xff\xff", b"\x20\x00\x00\x00\x00\x03\x01kZ"];
    for properties in cases {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
        raw.send(&raw::publish_with(1, args::publish("", "q", 0), properties, b"")).await;
        let close = raw.expect_close().await;
        assert!(matches!(close.code, 501 | 502), "{properties:?}: {close:?}");
    }
}

/// A method frame too short to name a method. FEATURES EC-9.
#[tokio::test]
async fn a_method_frame_without_a_method() {
    let server = &start().await;
    join_all([&b""[..], b"\x00", b"\x00\x0a\x00"].map(|payload| async move {
        let close = close_after(server, &frame(raw::METHOD, 1, payload)).await;
        assert!(matches!(close.code, 501..=503), "{close:?}");
    }))
    .await;
}

/// FEATURES BP-5: tables nested deeper than anybody needs do not bring the broker down.
#[tokio::test]
async fn tables_nested_thousandfold() {
    let server = start().await;
    let mut table = Args::new();
    for _ in 0..10_000 {
        let inner = Args::new().table(table).0;
        table = Args::new().field("n", b'F', &inner);
    }
    let declare = args::queue_declare_with("q", 0, table);
    let close = close_after(&server, &method(1, id::QUEUE_DECLARE, declare)).await;
    assert!(matches!(close.code, 501 | 502), "{close:?}");
    let client = connect(&server).await;
    drop(client);
}

/// Bytes that are not AMQP at all, at every stage: the end, and nobody else notices. FEATURES FR-1, HS-2.
#[tokio::test]
async fn noise_at_every_stage() {
    let server = start().await;
    let mut noise = Vec::new();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    while noise.len() < 64 << 10 {
        // Marsaglia's xorshift, so that every run sends the same.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_be_bytes());
    }
    let mut greeted = Raw::connect(server.amqp_addr()).await;
    greeted.send(b"AMQP\x00\x00\x09\x01").await;
    greeted.expect(0, id::START).await;
    let mut in_content = Raw::open_channel(server.amqp_addr()).await;
    in_content.send(&publish()).await;
    let stages = [Raw::connect(server.amqp_addr()).await, greeted, Raw::open(server.amqp_addr()).await, in_content];
    let noise = &noise;
    join_all(stages.map(|mut raw| async move {
        raw.try_send(noise).await;
        raw.expect_end().await;
    }))
    .await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.expect_alive(1).await;
}

/// A connection cut in the middle of a frame or a message leaves nothing behind. FEATURES FR-5.
#[tokio::test]
async fn cut_in_the_middle() {
    let server = start().await;
    let mut whole = publish();
    whole.extend(header(1, 5));
    whole.extend(frame(raw::BODY, 1, b"he"));
    whole.extend(frame(raw::BODY, 1, b"llo"));
    for cut in 0..whole.len() {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.send(&whole[..cut]).await;
    }
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&whole).await;
    raw.call(1, id::GET, args::get("q", true), id::GET_OK).await;
    assert_eq!(raw.content(1).await.1, b"hello");
    raw.call(1, id::GET, args::get("q", true), id::GET_EMPTY).await;
}

/// FEATURES EC-5, M-30: a body frame on a channel that was never opened.
#[tokio::test]
async fn content_on_a_channel_never_opened() {
    let server = start().await;
    let close = close_after(&server, &frame(raw::BODY, 9, b"x")).await;
    assert!(matches!(close.code, 504 | 505), "{close:?}");
}

/// FEATURES FR-5, HS-6: the frame size a client asked for binds the client, too.
#[tokio::test]
async fn the_negotiated_size_binds_the_client() {
    let server = start().await;
    let tune = |tune| Tune { frame_max: 8192, heartbeat: 0, ..tune };
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), tune).await;
    raw.channel(1).await;
    let mut bytes = publish();
    bytes.extend(header(1, 8193));
    bytes.extend(frame(raw::BODY, 1, &[0; 8193]));
    raw.send(&bytes).await;
    let close = raw.expect_close().await;
    assert_eq!(close.code, 501);
    assert_eq!(close.text, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,8193,8184}");
}

/// The fields of a table with `depth` tables in each other, and one value in the innermost.
fn nested(depth: usize) -> Args {
    (0..depth)
        .fold(Args::new().field("n", b't', &[1]), |table, _| Args::new().field("n", b'F', &Args::new().table(table).0))
}

/// FEATURES BP-5: headers nested as deep as may be are handed on as they came, and live through a death; one more is
/// refused wherever a table stands.
#[tokio::test]
async fn tables_nested_to_the_limit() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let dead = Args::new().field("x-dead-letter-exchange", b'S', &Args::new().longstr(b"").0).field(
        "x-dead-letter-routing-key",
        b'S',
        &Args::new().longstr(b"dead").0,
    );
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("dead", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare_with("q", 0, dead), id::QUEUE_DECLARE_OK).await;
    let headers = |depth| Args::new().short(0x2000).table(nested(depth)).0;
    let send = |depth| raw::publish_with(1, args::publish("", "q", 0), &headers(depth), b"");
    raw.send(&send(TABLE_DEPTH_MAX)).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("dead", 1), id::QUEUE_DECLARE_OK).await;
    let client = connect(&server).await;
    let got = client.get("q").await.expect("it arrives");
    client.reject(got.delivery_tag, false).await;
    let letter = eventually("the dead letter", async || client.get("dead").await).await;
    let headers = letter.properties.headers().clone().expect("headers");
    assert!(headers.contains_key("n") && headers.contains_key("x-death"));
    assert_eq!(got.properties.headers().as_ref().and_then(|sent| sent.inner().get("n")), headers.inner().get("n"));
    let declare = args::queue_declare_with("r", 0, nested(TABLE_DEPTH_MAX));
    raw.call(1, id::QUEUE_DECLARE, declare, id::QUEUE_DECLARE_OK).await;
    let beyond = TABLE_DEPTH_MAX + 1;
    for bytes in [
        send(beyond),
        method(1, id::QUEUE_DECLARE, args::queue_declare_with("s", 0, nested(beyond))),
        method(1, id::CONSUME, args::consume_with("q", "c", 0, nested(beyond))),
    ] {
        let close = close_after(&server, &bytes).await;
        assert!(matches!(close.code, 501 | 502), "{close:?}");
    }
}
