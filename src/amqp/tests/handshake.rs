//! From the first byte to open-ok, and all the ways not to get there.

use super::*;
use crate::auth::Refused;

const LOGIN: &[u8] = b"\0guest\0guest";
const REFUSED: &str = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the \
                       broker logfile.";

fn tune_ok(channel_max: u16, frame_max: u32) -> Method<'static> {
    Method::ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 }
}

fn start_ok<'a>(response: &'a [u8]) -> Method<'a> {
    Method::ConnectionStartOk { client_properties: EMPTY, mechanism: "PLAIN", response, locale: "en_US" }
}

/// A connection that has seen connection.start.
fn started(world: &mut World) -> Id {
    let id = world.accept();
    world.bytes(id, HEADER);
    world.ignore(id);
    id
}

/// A connection that has seen connection.tune.
fn logged_in(world: &mut World) -> Id {
    let id = started(world);
    world.start_ok(id, "PLAIN", LOGIN, &[]);
    world.ignore(id);
    id
}

/// FEATURES HS-13: nobody has to wait for anything.
#[test]
fn everything_at_once() {
    let mut world = World::new();
    let id = world.accept();
    let mut all = HEADER.to_vec();
    all.extend(frame(0, &start_ok(LOGIN)));
    all.extend(frame(0, &tune_ok(2047, 131_072)));
    all.extend(frame(0, &Method::ConnectionOpen { virtual_host: "/" }));
    all.extend(frame(1, &Method::ChannelOpen {}));
    all.extend(frame(1, &exclusive("q")));
    all.extend(publish(1, "", "q", b"body", false));
    all.extend(frame(1, &get("q")));
    world.bytes(id, &all);
    world.run();
    world.next_method(id, |_, method| assert!(matches!(method, Method::ConnectionStart { .. })));
    world.next_method(id, |_, method| assert!(matches!(method, Method::ConnectionTune { .. })));
    world.expect(id, 0, &Method::ConnectionOpenOk {});
    world.expect(id, 1, &Method::ChannelOpenOk {});
    world.expect(id, 1, &declare_ok("q", 0, 0));
    let (exchange, routing_key) = ("", "q");
    let got = Method::BasicGetOk { delivery_tag: 1, redelivered: false, exchange, routing_key, message_count: 0 };
    assert_eq!(world.expect_content(id, 1, &got), b"body");
    world.expect_nothing(id);
}

#[test]
fn byte_by_byte() {
    let mut world = World::new();
    let id = world.accept();
    let mut all = HEADER.to_vec();
    all.extend(frame(0, &start_ok(LOGIN)));
    all.extend(heartbeat());
    all.extend(frame(0, &tune_ok(10, 8192)));
    all.extend(frame(0, &Method::ConnectionOpen { virtual_host: "/" }));
    for byte in all {
        world.bytes(id, &[byte]);
    }
    assert_eq!(world.clients[id].said().len(), 3);
    assert!(world.clients[id].session.client().is_some());
}

/// FEATURES HS-2, HS-3: eight bytes, then the end.
#[test]
fn other_protocols_are_told_which_one_it_is() {
    for header in [
        b"AMQP\0\0\x09\x02",
        b"AMQP\x03\x01\0\0",
        b"AMQP\x01\x01\x08\0",
        b"AMQP\0\x01\0\0",
        b"GET / HT",
        b"\x16\x03\x01\x02\0\x01\0\x01",
    ] {
        let mut world = World::new();
        let id = world.accept();
        world.bytes(id, &header[..7]);
        assert_eq!(world.ended(id), None);
        world.bytes(id, &header[7..]);
        assert_eq!(world.clients[id].bytes, HEADER);
        assert_eq!(world.ended(id), Some(&Ended::BadHeader));
        assert!(Ended::BadHeader.is_abrupt());
    }
}

/// FEATURES HS-9.
#[test]
fn refused_logins_are_told_to_those_who_understand() {
    let mut world = World::new();
    let id = started(&mut world);
    world.start_ok(id, "PLAIN", b"\0guest\0wrong", &["authentication_failure_close"]);
    world.expect_connection_close(id, 403, (0, 0), REFUSED);
    // Whatever it says now is dropped.
    world.bytes(id, b"nonsense");
    world.send(id, 0, &Method::ConnectionCloseOk {});
    world.pass(2.9);
    assert_eq!(world.ended(id), None);
    world.pass(0.2);
    assert_eq!(world.ended(id), Some(&Ended::LoginRefused(Refused::BadCredentials { user: "guest".into() })));
    world.expect_nothing(id);
}

/// FEATURES HS-9, HS-10: silence, and the end after three seconds.
#[test]
fn other_refusals_are_silent() {
    let cases: [(&str, &[u8], &[&str]); 5] = [
        ("PLAIN", b"\0guest\0wrong", &[]),
        ("PLAIN", b"guest", &["authentication_failure_close"]),
        ("AMQPLAIN", b"\xff\xff", &["authentication_failure_close"]),
        ("plain", LOGIN, &["authentication_failure_close"]),
        ("", LOGIN, &["authentication_failure_close"]),
    ];
    for (mechanism, response, capabilities) in cases {
        let mut world = World::new();
        let id = started(&mut world);
        world.start_ok(id, mechanism, response, capabilities);
        world.pass(2.9);
        assert_eq!(world.ended(id), None);
        world.pass(0.2);
        assert!(matches!(world.ended(id), Some(Ended::LoginRefused(_))));
        world.expect_nothing(id);
    }
}

/// What is no handshake ends in silence before the login.
#[test]
fn strangers_are_not_told_what_is_wrong() {
    let frames = [
        frame(1, &Method::ChannelOpen {}),
        frame(0, &tune_ok(10, 131_072)),
        frame(0, &Method::ConnectionOpen { virtual_host: "/" }),
        frame(0, &close_connection()),
        raw_frame(1, 0, &[0, 10, 0, 11, 255], FRAME_END),
        raw_frame(1, 0, &[0, 99, 0, 11], FRAME_END),
        raw_frame(1, 0, &[], FRAME_END),
        raw_frame(4, 0, b"abc", FRAME_END),
        raw_frame(1, 0, b"abc", 0),
        raw_frame(1, 0, &vec![0; 70_000], FRAME_END),
        content_header(0, 60, 0, 0),
    ];
    for bytes in frames {
        let mut world = World::new();
        let id = started(&mut world);
        world.bytes(id, &bytes);
        world.start_ok(id, "PLAIN", LOGIN, &[]);
        world.pass(2.9);
        assert_eq!(world.ended(id), None);
        world.pass(0.2);
        assert!(matches!(world.ended(id), Some(Ended::HandshakeFailed(_))), "{:?}", world.ended(id));
        world.expect_nothing(id);
    }
}

/// FEATURES HS-6 with section 8: a close method instead of silence.
#[test]
fn a_bad_tune_ok_is_told() {
    let cases = [
        (tune_ok(2048, 131_072), "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"),
        (tune_ok(0, 131_072), "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
        (tune_ok(1, 131_073), "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"),
        (tune_ok(1, 4095), "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ];
    for (method, text) in cases {
        let mut world = World::new();
        let id = logged_in(&mut world);
        world.send(id, 0, &method);
        world.expect_connection_close(id, 530, (10, 30), &format!("NOT_ALLOWED - {text}"));
        world.send(id, 0, &Method::ConnectionOpen { virtual_host: "/" });
        world.expect_nothing(id);
        world.close_ok(id);
    }
}

/// FEATURES HS-13: limits hold from tune-ok on, also for what came in one piece with it.
#[test]
fn limits_hold_from_tune_ok_on() {
    let mut world = World::new();
    let id = logged_in(&mut world);
    let mut bytes = frame(0, &tune_ok(3, 8192));
    bytes.extend(frame(0, &Method::ConnectionOpen { virtual_host: "/" }));
    bytes.extend(raw_frame(1, 0, &vec![0; 8193], FRAME_END));
    world.bytes(id, &bytes);
    world.expect(id, 0, &Method::ConnectionOpenOk {});
    let text = "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,8193,8184}";
    world.expect_connection_close(id, 501, (0, 0), text);
}

/// Before tune-ok there is silence, as before the login; then errors are told.
#[test]
fn errors_are_told_after_tune_ok() {
    let unexpected = "CHANNEL_ERROR - unexpected method in connection state opening";
    let frame_unexpected = "UNEXPECTED_FRAME - unexpected frame in handshake";
    let cases = [
        (frame(0, &Method::ConnectionOpenOk {}), 504, (10, 41), unexpected),
        (frame(0, &start_ok(LOGIN)), 504, (10, 11), unexpected),
        (frame(1, &Method::ChannelOpen {}), 505, (0, 0), frame_unexpected),
        (content_header(0, 60, 0, 0), 505, (0, 0), frame_unexpected),
        (raw_frame(4, 0, b"", FRAME_END), 501, (0, 0), "FRAME_ERROR - type 4, all octets = <<>>: unknown_frame"),
    ];
    for (bytes, code, ids, text) in cases {
        let mut world = World::new();
        let id = logged_in(&mut world);
        world.bytes(id, &bytes);
        world.expect_nothing(id);
        world.pass(3.1);
        assert!(matches!(world.ended(id), Some(Ended::HandshakeFailed(_))));
        let id = logged_in(&mut world);
        world.send(id, 0, &tune_ok(2047, 131_072));
        world.bytes(id, &bytes);
        world.expect_connection_close(id, code, ids, text);
        world.close_ok(id);
    }
    // RabbitMQ takes tune-ok once.
    let mut world = World::new();
    let id = logged_in(&mut world);
    world.send(id, 0, &tune_ok(2047, 131_072));
    world.send(id, 0, &tune_ok(2047, 131_072));
    world.expect_connection_close(id, 504, (10, 31), unexpected);
}

/// FEATURES HS-11: 530 with connection.open to blame; whoever does not answer is cut off.
#[test]
fn open_may_be_refused() {
    let mut world = World::new();
    for answers in [true, false] {
        let id = logged_in(&mut world);
        world.send(id, 0, &tune_ok(2047, 131_072));
        world.send(id, 0, &Method::ConnectionOpen { virtual_host: "nowhere" });
        world.expect_connection_close(id, 530, (10, 40), "NOT_ALLOWED - vhost nowhere not found");
        if answers {
            world.close_ok(id);
        } else {
            world.pass(3.1);
            assert_eq!(world.ended(id), Some(&Ended::ClosedByServer("NOT_ALLOWED - vhost nowhere not found".into())));
        }
    }
    world.broker.auth().put_user("ann", Secret::Password("pw"), [] as [&str; 0]).unwrap();
    let id = started(&mut world);
    world.start_ok(id, "PLAIN", b"\0ann\0pw", &[]);
    world.ignore(id);
    world.send(id, 0, &tune_ok(2047, 131_072));
    world.send(id, 0, &Method::ConnectionOpen { virtual_host: "/" });
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'ann'";
    world.expect_connection_close(id, 530, (10, 40), text);
}

/// FEATURES HS-8: ten seconds for all of it.
#[test]
fn the_handshake_has_a_deadline() {
    let mut world = World::new();
    let header = world.accept();
    world.bytes(header, b"AMQP");
    let start_ok = started(&mut world);
    let tune_ok_awaited = logged_in(&mut world);
    let open = logged_in(&mut world);
    world.send(open, 0, &tune_ok(1, 8192));
    world.pass(9.9);
    for id in [header, start_ok, tune_ok_awaited, open] {
        assert_eq!(world.ended(id), None);
    }
    world.pass(0.2);
    for id in [header, start_ok, tune_ok_awaited, open] {
        assert_eq!(world.ended(id), Some(&Ended::HandshakeTimeout));
        world.expect_nothing(id);
    }
    let running = world.connect();
    world.pass(1000.0);
    assert_eq!(world.ended(running), None);
}

/// FEATURES FR-3, section 8: a large token fits in; more is refused.
#[test]
fn start_ok_may_be_large() {
    for (length, is_taken) in [(60_000, true), (66_000, false)] {
        let mut world = World::new();
        let id = started(&mut world);
        let properties: Table = [("filler", Value::LongString(vec![b'x'; length]))].into_iter().collect();
        let mut encoded = Vec::new();
        properties.encode_bare(&mut encoded);
        let client_properties = RawTable(&encoded);
        let response = LOGIN;
        let method = Method::ConnectionStartOk { client_properties, mechanism: "PLAIN", response, locale: "" };
        world.send(id, 0, &method);
        assert_eq!(world.clients[id].frames.len(), usize::from(is_taken));
    }
}

/// FEATURES SA-7, EC-14.
#[test]
fn the_connection_has_few_methods_when_it_runs() {
    let mut world = World::new();
    let id = world.connect();
    world.send(id, 0, &Method::ConnectionUpdateSecret { new_secret: b"token", reason: "old" });
    world.expect(id, 0, &Method::ConnectionUpdateSecretOk {});
    let methods = [
        start_ok(LOGIN),
        tune_ok(1, 8192),
        Method::ConnectionOpen { virtual_host: "/" },
        Method::ConnectionSecureOk { response: b"" },
        Method::ConnectionBlocked { reason: "" },
        Method::ConnectionUnblocked {},
        Method::ConnectionCloseOk {},
        Method::ConnectionUpdateSecretOk {},
        Method::ChannelOpen {},
        declare("q"),
        ack(1, false),
        publish_method("q"),
    ];
    for method in methods {
        let id = world.connect();
        world.send(id, 0, &method);
        let text = "CHANNEL_ERROR - unexpected method in connection state running";
        world.expect_connection_close(id, 504, method.ids(), text);
        world.close_ok(id);
    }
}
