//! Confirms and returns.

use super::*;

const NO_ROUTE: Method<'static> =
    Method::BasicReturn { reply_code: 312, reply_text: "NO_ROUTE", exchange: "", routing_key: "nowhere" };

fn confirming(world: &mut World) -> Id {
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.send(id, 1, &confirm_select());
    world.expect(id, 1, &Method::ConfirmSelectOk {});
    id
}

/// FEATURES PC-4, trap 6.
#[test]
fn pipelined_publishes_are_acked_together() {
    let mut world = World::new();
    let id = confirming(&mut world);
    world.publish(id, 1, "", "q", b"m");
    world.run();
    world.expect(id, 1, &ack(1, false));
    let thousand: Vec<u8> = (0..1000).flat_map(|_| publish(1, "", "q", b"m", false)).collect();
    world.bytes(id, &thousand);
    world.expect_nothing(id);
    world.run();
    world.expect(id, 1, &ack(1001, true));
    world.expect_nothing(id);
}

/// FEATURES PC-3, trap 6: R, A, R, A, R, A.
#[test]
fn returns_go_before_their_acks() {
    let mut world = World::new();
    let id = confirming(&mut world);
    for body in [b"1", b"2", b"3"] {
        world.publish_mandatory(id, 1, "nowhere", body);
    }
    for (number, body) in [(1, b"1"), (2, b"2"), (3, b"3")] {
        assert_eq!(world.expect_content(id, 1, &NO_ROUTE), body);
        world.expect(id, 1, &ack(number, false));
    }
    // Not mandatory: only acked.
    world.publish(id, 1, "", "nowhere", b"4");
    world.expect(id, 1, &ack(4, false));
    // In its place between others.
    let mut bytes = publish(1, "", "q", b"5", false);
    bytes.extend(publish(1, "", "nowhere", b"6", true));
    bytes.extend(publish(1, "", "q", b"7", false));
    world.bytes(id, &bytes);
    assert_eq!(world.expect_content(id, 1, &NO_ROUTE), b"6");
    world.expect(id, 1, &ack(6, false));
    world.expect_nothing(id);
    world.run();
    world.expect(id, 1, &ack(7, true));
}

/// FEATURES PC-1, PC-9: what was published before is not counted, and selecting again changes nothing.
#[test]
fn counting_begins_with_select() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.publish_mandatory(id, 1, "nowhere", b"returned, not acked");
    world.expect_content(id, 1, &NO_ROUTE);
    world.publish(id, 1, "", "q", b"m");
    world.run();
    world.expect_nothing(id);
    for _ in 0..2 {
        world.send(id, 1, &confirm_select());
        world.expect(id, 1, &Method::ConfirmSelectOk {});
        world.publish(id, 1, "", "q", b"m");
    }
    world.run();
    world.expect(id, 1, &ack(2, true));
    // A channel opened anew begins anew.
    world.send(id, 1, &close_channel());
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.open_channel(id, 1);
    world.send(id, 1, &confirm_select());
    world.expect(id, 1, &Method::ConfirmSelectOk {});
    world.publish(id, 1, "", "q", b"m");
    world.run();
    world.expect(id, 1, &ack(1, false));
}

/// FEATURES PC-5, trap 7, over two queues and two lanes: one refusal makes the whole a nack.
#[test]
fn one_refusal_is_a_nack() {
    let mut world = World::new();
    let id = confirming(&mut world);
    let arguments: Table =
        [("x-max-length", Value::I32(1)), ("x-overflow", "reject-publish".into())].into_iter().collect();
    let mut encoded = Vec::new();
    arguments.encode_bare(&mut encoded);
    let full = Method::QueueDeclare {
        queue: "full",
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: RawTable(&encoded),
    };
    world.ask(id, 1, &full);
    world.expect(id, 1, &declare_ok("full", 0, 0));
    for queue in ["full", "q"] {
        let (nowait, arguments) = (false, EMPTY);
        world.ask(id, 1, &Method::QueueBind { queue, exchange: "amq.fanout", routing_key: "", nowait, arguments });
        world.expect(id, 1, &Method::QueueBindOk {});
    }
    world.publish(id, 1, "amq.fanout", "", b"1");
    world.run();
    world.expect(id, 1, &ack(1, false));
    world.publish(id, 1, "amq.fanout", "", b"2");
    world.run();
    // As RabbitMQ writes it: multiple, with the requeue bit at its default.
    world.expect(id, 1, &nack(2, true, true));
    let three: Vec<u8> = (0..3).flat_map(|_| publish(1, "amq.fanout", "", b"m", false)).collect();
    world.bytes(id, &three);
    world.publish(id, 1, "", "q", b"m");
    world.run();
    world.expect(id, 1, &ack(6, false));
    world.expect(id, 1, &nack(5, true, true));
    world.expect_nothing(id);
    assert_eq!(world.counts("full"), Some((1, 0)));
    assert_eq!(world.counts("q"), Some((6, 0)));
}

/// FEATURES PC-8: an error closes the channel; what was not told by then never is, also when the number is used again.
#[test]
fn an_error_ends_confirming() {
    let mut world = World::new();
    let id = confirming(&mut world);
    let mut bytes = publish(1, "", "q", b"1", false);
    bytes.extend(publish(1, "missing", "", b"2", false));
    bytes.extend(publish(1, "", "q", b"3", false));
    world.bytes(id, &bytes);
    let text = "NOT_FOUND - no exchange 'missing' in vhost '/'";
    world.expect_channel_close(id, 1, 404, (60, 40), text);
    world.send(id, 1, &Method::ChannelCloseOk {});
    world.open_channel(id, 1);
    world.send(id, 1, &confirm_select());
    world.expect(id, 1, &Method::ConfirmSelectOk {});
    world.run();
    world.expect_nothing(id);
    assert_eq!(world.counts("q"), Some((1, 0)));
}

/// FEATURES FR-8: told when all has come; and the channel's next publish is a new beginning.
#[test]
fn a_message_may_be_too_large() {
    let mut world = World::with(Options { max_message_size: 100_000, ..Options::default() });
    let id = confirming(&mut world);
    world.publish(id, 1, "", "q", &vec![1; 100_000]);
    world.run();
    world.expect(id, 1, &ack(1, false));
    let too_large = publish(1, "", "q", &vec![1; 100_001], false);
    world.bytes(id, &too_large[..too_large.len() - 1]);
    world.expect_nothing(id);
    world.bytes(id, &too_large[too_large.len() - 1..]);
    let text = "PRECONDITION_FAILED - message size 100001 is larger than configured max size 100000";
    world.expect_channel_close(id, 1, 406, (60, 40), text);
}

/// FEATURES EC-18.
#[test]
fn immediate_is_not_implemented() {
    let mut world = World::new();
    let id = confirming(&mut world);
    let immediate = Method::BasicPublish { exchange: "", routing_key: "q", mandatory: true, immediate: true };
    world.send(id, 1, &immediate);
    world.bytes(id, &content_header(1, 60, 0, 0));
    world.run();
    world.expect_connection_close(id, 540, (60, 40), "NOT_IMPLEMENTED - immediate=true");
}

/// FEATURES M-20: contents of several channels may be mixed.
#[test]
fn contents_of_channels_may_be_mixed() {
    let mut world = World::new();
    let id = confirming(&mut world);
    world.open_channel(id, 2);
    let mut bytes = frame(1, &publish_method("q"));
    bytes.extend(frame(2, &publish_method("q")));
    bytes.extend(content_header(2, 60, 0, 4));
    bytes.extend(content_header(1, 60, 0, 4));
    bytes.extend(heartbeat());
    for (number, body) in [(1, "on"), (2, "tw"), (2, "o2"), (1, "e1")] {
        bytes.extend(body_frame(number, body.as_bytes()));
    }
    world.bytes(id, &bytes);
    world.run();
    world.expect(id, 1, &ack(1, false));
    world.consume(id, 2, "q", "c");
    world.expect_delivery(id, 2, "c", 1, b"two2");
    world.expect_delivery(id, 2, "c", 2, b"one1");
}
