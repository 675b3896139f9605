//! From the protocol header to connection.open-ok, and every way to fail on it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::common::raw::{self, Args, Close, Fields, Raw, Tune, id, open};
use crate::common::{builder, start};

fn capability(name: &str) -> Args {
    Args::new().field(name, b't', &[1])
}

/// A table as read: names, tags, and the value bytes of strings, bools and tables.
fn fields(table: &[u8]) -> BTreeMap<String, (u8, Vec<u8>)> {
    let (mut rest, mut read) = (Fields(table), BTreeMap::new());
    while !rest.0.is_empty() {
        let (name, tag) = (rest.shortstr(), rest.octet());
        let value = match tag {
            b't' => rest.take(1).to_vec(),
            b'S' | b'F' => rest.longstr().to_vec(),
            other => panic!("field {name} has the tag {}", char::from(other)),
        };
        read.insert(name, (tag, value));
    }
    read
}

/// FEATURES HS-1, HS-4, PR-1, PR-2, SA-4: what connection.start says.
#[tokio::test]
async fn start_introduces_the_server() {
    let server = builder().cluster_name("lepus@test").start().await.expect("the broker starts");
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.send(b"AMQP\x00\x00\x09\x01").await;
    let frame = raw.expect(0, id::START).await;
    let mut args = frame.args();
    assert_eq!((args.octet(), args.octet()), (0, 9));
    let properties = fields(args.longstr());
    let mechanisms = String::from_utf8(args.longstr().to_vec()).expect("text");
    for mechanism in ["PLAIN", "AMQPLAIN"] {
        assert!(mechanisms.split(' ').any(|offered| offered == mechanism), "{mechanisms}");
    }
    assert_eq!(args.longstr(), b"en_US");
    for name in ["copyright", "information", "platform", "product", "version", "cluster_name"] {
        assert_eq!(properties.get(name).map(|(tag, _)| *tag), Some(b'S'), "{name}");
    }
    assert_eq!(properties["product"].1, b"RabbitMQ");
    assert_eq!(properties["cluster_name"].1, b"lepus@test");
    let version = String::from_utf8(properties["version"].1.clone()).expect("text");
    assert!(version.split('.').count() == 3 && version.split('.').all(|n| n.parse::<u32>().is_ok()), "{version}");
    let capabilities = fields(&properties["capabilities"].1);
    for name in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ] {
        assert_eq!(capabilities.get(name), Some(&(b't', vec![1])), "{name}");
    }
}

/// FEATURES HS-5: the limits offered, by default and as set.
#[tokio::test]
async fn tune_offers_the_limits() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let tune = raw.login(Args::new(), b"\0guest\0guest").await;
    assert_eq!(tune, Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 });
    let builder = builder().channel_max(7).frame_size_max(10_000).heartbeat_s(9);
    let server = builder.start().await.expect("the broker starts");
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let tune = raw.login(Args::new(), b"\0guest\0guest").await;
    assert_eq!(tune, Tune { channel_max: 7, frame_max: 10_000, heartbeat: 9 });
}

/// FEATURES HS-1: 0-9 and 0-9-1 headers are the same protocol.
#[tokio::test]
async fn the_older_header_is_accepted() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.send(b"AMQP\x01\x01\x00\x09").await;
    raw.expect(0, id::START).await;
}

/// FEATURES HS-2: another header is answered with the one that is spoken, and the end.
#[tokio::test]
async fn other_headers_are_answered_with_ours() {
    let server = start().await;
    for header in [
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x00\x00\x0a\x01",
        b"HTTP/1.1",
        b"GET / HT",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.send(header).await;
        let mut answer = [0; 8];
        crate::common::within(tokio::io::AsyncReadExt::read_exact(&mut raw.stream, &mut answer))
            .await
            .expect("8 bytes");
        assert_eq!(&answer, b"AMQP\x00\x00\x09\x01");
        raw.expect_end().await;
    }
}

/// FEATURES HS-4, HS-13, M-1, SA-1: everything at once, in one segment or byte by byte.
#[tokio::test]
async fn the_client_may_send_everything_at_once_or_bit_by_bit() {
    let server = start().await;
    let capabilities = Args::new().table(Args::new().field("capabilities", b'F', &Args::new().table(Args::new()).0));
    let start_ok = capabilities.shortstr(b"PLAIN").longstr(b"\0guest\0guest").shortstr(b"en_US");
    let mut bytes = b"AMQP\x00\x00\x09\x01".to_vec();
    bytes.extend(raw::method(0, id::START_OK, start_ok));
    bytes.extend(raw::method(0, id::TUNE_OK, Args::new().short(100).long(131_072).short(0)));
    bytes.extend(raw::method(0, id::OPEN, open(b"/")));
    bytes.extend(raw::method(1, id::CHANNEL_OPEN, Args::new().shortstr(b"")));
    for piece in [bytes.len(), 1] {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        for part in bytes.chunks(piece) {
            raw.send(part).await;
        }
        raw.expect(0, id::START).await;
        raw.expect(0, id::TUNE).await;
        let frame = raw.expect(0, id::OPEN_OK).await;
        assert_eq!(frame.args().shortstr(), "");
        raw.expect(1, id::CHANNEL_OPEN_OK).await;
    }
}

/// FEATURES SA-2: AMQPLAIN is a table without its length.
#[tokio::test]
async fn amqplain_logs_in() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.send(b"AMQP\x00\x00\x09\x01").await;
    raw.expect(0, id::START).await;
    let guest = Args::new().longstr(b"guest").0;
    let response = Args::new().field("LOGIN", b'S', &guest).field("PASSWORD", b'S', &guest);
    raw.start_ok(Args::new(), b"AMQPLAIN", &response.0).await;
    raw.expect(0, id::TUNE).await;
}

/// FEATURES HS-9, SA-6: a failed login is told at once to a client that understands.
#[tokio::test]
async fn a_failed_login_is_told_to_those_who_understand() {
    let server = &start().await;
    // All at once: the broker hangs up three seconds later.
    join_all([&b"\0guest\0wrong"[..], b"\0nobody\0guest", b"\0guest\0"].map(|response| async move {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        raw.start_ok(capability("authentication_failure_close"), b"PLAIN", response).await;
        let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the \
                    broker logfile."
            .to_owned();
        assert_eq!(raw.close_method(0, id::CLOSE).await, Close { code: 403, text, method: (0, 0) });
        raw.expect_end().await;
    }))
    .await;
}

/// FEATURES HS-9, HS-10, SA-1: to others there is only the end; so it is for responses that make no sense.
#[tokio::test]
async fn a_failed_login_of_others_just_ends() {
    let server = &start().await;
    let cases: [(&[u8], &[u8]); 5] = [
        (b"PLAIN", b"\0guest\0wrong"),
        (b"PLAIN", b"guest guest"),
        (b"PLAIN", b"admin\0guest\0guest"),
        (b"CRAM-MD5", b"x"),
        (b"AMQPLAIN", b"\xff\xff"),
    ];
    join_all(cases.map(|(mechanism, response)| async move {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        raw.start_ok(Args::new(), mechanism, response).await;
        assert_eq!(raw.next().await, None);
    }))
    .await;
}

/// FEATURES HS-6: a tune-ok beyond what was offered ends the connection; 4096 is the least.
#[tokio::test]
async fn tune_ok_must_stay_within_the_offer() {
    let server = start().await;
    let offer = Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 0 };
    let bad = [
        Tune { frame_max: 4095, ..offer },
        Tune { frame_max: 131_073, ..offer },
        Tune { channel_max: 2048, ..offer },
        Tune { channel_max: 0, ..offer },
    ];
    for tune in bad {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        raw.login(Args::new(), b"\0guest\0guest").await;
        raw.tune_ok(tune).await;
        raw.try_send(&raw::method(0, id::OPEN, open(b"/"))).await;
        let frame = raw.next().await;
        assert!(frame.is_none_or(|frame| frame.method() == Some(id::CLOSE)), "{tune:?} was accepted");
    }
    for tune in [offer, Tune { frame_max: 4096, ..offer }] {
        Raw::open_with(server.amqp_addr(), Args::new(), |_| tune).await;
    }
}

/// FEATURES HS-11, HS-12: a vhost that is not there, or not for this user.
#[tokio::test]
async fn open_needs_a_vhost_one_may_use() {
    let server = builder().user("guest", "guest", &["administrator"]).vhost("/").start().await.expect("starts");
    server.broker().add_vhost("closed");
    let cases = [
        (&b"nowhere"[..], "NOT_ALLOWED - vhost nowhere not found"),
        (b"closed", "NOT_ALLOWED - access to vhost 'closed' refused for user 'guest'"),
    ];
    for (vhost, text) in cases {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        let tune = raw.login(Args::new(), b"\0guest\0guest").await;
        raw.tune_ok(tune).await;
        raw.method(0, id::OPEN, open(vhost)).await;
        assert_eq!(raw.expect_close().await, Close { code: 530, text: text.to_owned(), method: id::OPEN });
    }
}

/// FEATURES HS-11: the node's limit of connections.
#[tokio::test]
async fn the_nodes_connection_limit_holds() {
    let server = builder().connection_max(2).start().await.expect("the broker starts");
    let first = Raw::open(server.amqp_addr()).await;
    let _second = Raw::open(server.amqp_addr()).await;
    let mut third = Raw::connect(server.amqp_addr()).await;
    let tune = third.login(Args::new(), b"\0guest\0guest").await;
    third.tune_ok(tune).await;
    third.method(0, id::OPEN, open(b"/")).await;
    let text = "NOT_ALLOWED - connection refused: node connection limit (2) is reached".to_owned();
    assert_eq!(third.expect_close().await, Close { code: 530, text, method: id::OPEN });
    drop(first);
    crate::common::eventually("the place is free", async || {
        let mut raw = Raw::connect(server.amqp_addr()).await;
        let tune = raw.login(Args::new(), b"\0guest\0guest").await;
        raw.tune_ok(tune).await;
        raw.method(0, id::OPEN, open(b"/")).await;
        (raw.next().await?.method() == Some(id::OPEN_OK)).then_some(())
    })
    .await;
}

/// FEATURES HS-8: whoever is not through in time is dropped, wherever it stopped.
#[tokio::test]
async fn the_handshake_has_a_deadline() {
    let server = builder().handshake_timeout(Duration::from_millis(200)).start().await.expect("the broker starts");
    let mut silent = Raw::connect(server.amqp_addr()).await;
    let mut partial = Raw::connect(server.amqp_addr()).await;
    partial.send(b"AMQP").await;
    let mut idle = Raw::connect(server.amqp_addr()).await;
    idle.login(Args::new(), b"\0guest\0guest").await;
    for raw in [&mut silent, &mut partial, &mut idle] {
        raw.expect_end().await;
    }
}

/// FEATURES HS-7: a silent client is dropped between two and three intervals, and hears heartbeats until then.
#[tokio::test]
async fn a_silent_client_is_dropped() {
    let server = start().await;
    let since = std::time::Instant::now();
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), |tune| Tune { heartbeat: 1, ..tune }).await;
    let mut heartbeats = 0;
    while let Some(frame) = raw.read_frame().await {
        assert_eq!((frame.kind, frame.channel, frame.payload.len()), (raw::HEARTBEAT, 0, 0));
        heartbeats += 1;
    }
    let lived = since.elapsed();
    assert!(lived >= Duration::from_millis(1900), "dropped after {lived:?}");
    assert!((2..=8).contains(&heartbeats), "{heartbeats} heartbeats in {lived:?}");
}

/// FEATURES FR-11, HS-7: any bytes keep a connection alive.
#[tokio::test]
async fn any_traffic_keeps_a_connection_alive() {
    let server = start().await;
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), |tune| Tune { heartbeat: 1, ..tune }).await;
    raw.channel(1).await;
    // Six heartbeats of the broker are three intervals: enough to be dropped if heard of nothing.
    for _ in 0..6 {
        let frame = crate::common::within(raw.read_frame()).await.expect("the broker is there");
        assert_eq!(frame.kind, raw::HEARTBEAT);
        raw.expect_alive(1).await;
    }
}

/// FEATURES FR-3: a start-ok larger than a minimal frame is fine: tokens are long.
#[tokio::test]
async fn a_large_start_ok_is_accepted() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let padding = Args::new().longstr(&[b'x'; 7000]).0;
    let capabilities = Args::new().field("padding", b'S', &padding);
    raw.login(capabilities, b"\0guest\0guest").await;
}

/// FEATURES FR-3, HS-14: before login nobody may send megabytes.
#[tokio::test]
async fn a_huge_start_ok_is_refused() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.send(b"AMQP\x00\x00\x09\x01").await;
    raw.expect(0, id::START).await;
    raw.try_send(&raw::frame(raw::METHOD, 0, &vec![0; 1 << 20])).await;
    raw.expect_end().await;
}

/// FEATURES HS-15: what connection.open says beside the vhost is ignored.
#[tokio::test]
async fn the_rest_of_open_is_ignored() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let tune = raw.login(Args::new(), b"\0guest\0guest").await;
    raw.tune_ok(Tune { heartbeat: 0, ..tune }).await;
    raw.method(0, id::OPEN, Args::new().shortstr(b"/").shortstr(b"whatever").octet(1)).await;
    raw.expect(0, id::OPEN_OK).await;
}
