//! Frames that are wrong, and what follows them.

use super::*;

fn method_payload(method: &Method<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    method.encode(&mut payload);
    payload
}

/// What is sent; code, class and method id, and text of the close.
type Case<'a> = (Vec<u8>, u16, (u16, u16), &'a str);

/// Frames on an open channel 1, each of which closes the connection with this code, method and text.
#[test]
fn errors_name_the_sin() {
    let before_content = frame(1, &publish_method("q"));
    let after = |frames: &[&[u8]]| frames.concat();
    let deliver = method_payload(&Method::BasicDeliver {
        consumer_tag: "c",
        delivery_tag: 1,
        redelivered: false,
        exchange: "",
        routing_key: "",
    });
    let no_header = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead";
    let no_body = "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    let no_method = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    let flow = frame(1, &Method::ChannelFlow { active: true });
    let cases: Vec<Case<'_>> = vec![
        // EC-1 to EC-4, FR-10.
        (
            vec![1, 0, 1, 0, 2, 0, 1],
            501,
            (0, 0),
            "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}",
        ),
        (
            b"HELLO WORLD, HERE IS SOME TEXT".to_vec(),
            501,
            (0, 0),
            "FRAME_ERROR - type 72, all octets = <<>>: {frame_too_large,1280254039,131064}",
        ),
        (
            raw_frame(1, 1, &[0, 20, 0, 20, 1], 0),
            501,
            (0, 0),
            "FRAME_ERROR - type 1, all octets = <<0,20,0,20,1>>: {invalid_frame_end_marker,0}",
        ),
        (raw_frame(4, 0, b"abc", 0xCE), 501, (0, 0), "FRAME_ERROR - type 4, all octets = <<\"abc\">>: unknown_frame"),
        (
            raw_frame(9, 0, b"abcdefghijklmnopqrstuvwxyz", 0xCE),
            501,
            (0, 0),
            "FRAME_ERROR - type 9, first 16 octets = <<\"abcdefghijklmnop\">>: unknown_frame",
        ),
        (raw_frame(8, 0, b"x", 0xCE), 501, (0, 0), "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame"),
        (raw_frame(8, 1, b"", 0xCE), 505, (0, 0), "UNEXPECTED_FRAME - type 8, all octets = <<>>"),
        (raw_frame(8, 7, b"", 0xCE), 505, (0, 0), "UNEXPECTED_FRAME - type 8, all octets = <<>>"),
        // EC-5 to EC-8, FR-6.
        (content_header(1, 60, 0, 0), 505, (0, 0), no_method),
        (body_frame(1, b"abc"), 505, (0, 0), no_method),
        (content_header(3, 60, 0, 0), 505, (0, 0), no_method),
        (
            content_header(0, 60, 0, 0),
            505,
            (0, 0),
            "UNEXPECTED_FRAME - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,0,0,0>>",
        ),
        (body_frame(0, b"abc"), 505, (0, 0), "UNEXPECTED_FRAME - type 3, all octets = <<\"abc\">>"),
        (after(&[&before_content, &flow]), 505, (60, 40), no_header),
        (after(&[&before_content, &frame(1, &close_channel())]), 505, (60, 40), no_header),
        (after(&[&before_content, &body_frame(1, b"abc")]), 505, (60, 40), no_header),
        (after(&[&before_content, &content_header(1, 60, 1, 0)]), 505, (60, 40), no_header),
        (
            after(&[&before_content, &content_header(1, 50, 0, 0)]),
            505,
            (60, 40),
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        ),
        (after(&[&before_content, &content_header(1, 60, 0, 3), &flow]), 505, (60, 40), no_body),
        (after(&[&before_content, &content_header(1, 60, 0, 3), &content_header(1, 60, 0, 3)]), 505, (60, 40), no_body),
        // FR-7.
        (
            after(&[&before_content, &content_header(1, 60, 0, 3), &body_frame(1, b"abcd")]),
            501,
            (60, 40),
            "FRAME_ERROR - content body frame exceeds remaining content size",
        ),
        (
            after(&[&before_content, &content_header(1, 60, 0, (512 << 20) + 1)]),
            501,
            (60, 40),
            "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912",
        ),
        // EC-9, FR-9, BP-7, and frames too short for what they are.
        (raw_frame(1, 1, &[0, 50, 0, 10, 0, 0], 0xCE), 501, (50, 10), "FRAME_ERROR - cannot decode <<0,0>>"),
        (raw_frame(1, 1, &[0, 50], 0xCE), 501, (0, 0), "FRAME_ERROR - type 1, all octets = <<0,50>>: unknown_frame"),
        (raw_frame(1, 1, &[], 0xCE), 501, (0, 0), "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame"),
        (
            after(&[&before_content, &raw_frame(2, 1, &[0, 60, 0, 0], 0xCE)]),
            501,
            (0, 0),
            "FRAME_ERROR - type 2, all octets = <<0,60,0,0>>: unknown_frame",
        ),
        (raw_frame(1, 1, &[0, 50, 0, 99], 0xCE), 503, (50, 99), "COMMAND_INVALID - unknown method 50/99"),
        (raw_frame(1, 1, &[0, 99, 0, 10], 0xCE), 503, (99, 10), "COMMAND_INVALID - unknown method 99/10"),
        (raw_frame(1, 0, &[0, 10, 0, 99], 0xCE), 503, (10, 99), "COMMAND_INVALID - unknown method 10/99"),
        (raw_frame(1, 1, &[0, 60, 0, 30, 1, 0xff, 0], 0xCE), 501, (0, 0), "FRAME_ERROR - Malformed UTF-8 in shortstr"),
        (
            frame(
                1,
                &Method::QueueBind {
                    queue: "q",
                    exchange: "amq.direct",
                    routing_key: "",
                    nowait: false,
                    arguments: RawTable(b"\x01aZ"),
                },
            ),
            502,
            (50, 20),
            "SYNTAX_ERROR - malformed field table",
        ),
        // EC-15: the content is waited for, like RabbitMQ's assembler does.
        (
            after(&[&raw_frame(1, 1, &deliver, 0xCE), &content_header(1, 60, 0, 0)]),
            503,
            (60, 60),
            "COMMAND_INVALID - unimplemented method",
        ),
        (after(&[&raw_frame(1, 1, &deliver, 0xCE), &flow]), 505, (60, 60), no_header),
        (
            after(&[&frame(7, &publish_method("q")), &content_header(7, 60, 0, 2), &body_frame(7, b"ab")]),
            504,
            (60, 40),
            "CHANNEL_ERROR - expected 'channel.open'",
        ),
        (
            after(&[&raw_frame(1, 7, &deliver, 0xCE), &content_header(7, 60, 0, 0)]),
            504,
            (60, 60),
            "CHANNEL_ERROR - expected 'channel.open'",
        ),
    ];
    for (bytes, code, ids, text) in cases {
        let mut world = World::new();
        let id = world.connect_channel();
        world.bytes(id, &bytes);
        world.run();
        world.expect_connection_close(id, code, ids, text);
        // Nothing is done or said any more, until the client has answered.
        world.send(id, 1, &declare("later"));
        world.send(id, 2, &Method::ChannelOpen {});
        world.run();
        world.expect_nothing(id);
        let is_deaf = text.contains("frame_too_large");
        world.send(id, 0, &Method::ConnectionCloseOk {});
        assert_eq!(world.ended(id).is_some(), !is_deaf, "{text}");
        world.pass(3.1);
        assert_eq!(world.ended(id), Some(&Ended::ClosedByServer(text.to_owned())));
        assert_eq!(world.counts("later"), None);
    }
}

/// FEATURES FR-2: eight bytes too many are tolerated, nine are not; the server keeps to the letter.
#[test]
fn frames_as_large_as_agreed() {
    let mut world = World::new();
    let id = world.connect_with(0, 10_000, &[]);
    world.open_channel(id, 1);
    world.declare(id, 1, "q");
    let body = vec![7; 10_000];
    world.send(id, 1, &publish_method("q"));
    world.bytes(id, &content_header(1, 60, 0, 10_000));
    world.bytes(id, &body_frame(1, &body));
    world.ask(id, 1, &get("q"));
    world.next_method(id, |_, method| assert!(matches!(method, Method::BasicGetOk { .. })));
    let sizes: Vec<usize> = (0..3).map(|_| world.next(id).payload.len()).collect();
    assert_eq!(sizes[1..], [9992, 8]);
    world.bytes(id, &raw_frame(3, 1, &vec![7; 10_001], FRAME_END));
    world.run();
    let text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,10001,9992}";
    world.expect_connection_close(id, 501, (0, 0), text);
}

/// A close that crosses ours is answered, even behind a frame that could not be read.
#[test]
fn closes_cross() {
    let mut world = World::new();
    let id = world.connect_channel();
    let mut bytes = raw_frame(4, 0, b"", FRAME_END);
    bytes.extend(raw_frame(1, 0, b"", 0));
    bytes.extend(frame(0, &close_connection()));
    world.bytes(id, &bytes);
    world.run();
    let text = "FRAME_ERROR - type 4, all octets = <<>>: unknown_frame";
    world.expect_connection_close(id, 501, (0, 0), text);
    world.expect(id, 0, &Method::ConnectionCloseOk {});
    world.expect_nothing(id);
    world.close_ok(id);
}

/// Whoever is not listened to any more cannot make the server keep what it sends: the size is checked as ever.
#[test]
fn sizes_are_checked_to_the_end() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.bytes(id, &raw_frame(4, 0, b"", FRAME_END));
    world.run();
    world.ignore(id);
    world.bytes(id, &[1, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    assert_eq!(world.clients[id].input, b"");
    world.bytes(id, &vec![0; 100_000]);
    assert_eq!(world.clients[id].input, b"");
    assert_eq!(world.ended(id), None);
}
