//! Opening, closing and using channels.

use super::*;

const NO_QUEUE: &str = "NOT_FOUND - no queue 'missing' in vhost '/'";
const PASSIVE: (u16, u16) = (50, 10);

/// FEATURES M-5, M-7.
#[test]
fn numbers_are_used_again() {
    let mut world = World::new();
    let id = world.connect();
    for _ in 0..3 {
        for number in [1, 2047, 65_535] {
            world.open_channel(id, number);
        }
        for number in [1, 2047, 65_535] {
            world.send(id, number, &close_channel());
            world.expect(id, number, &Method::ChannelCloseOk {});
        }
    }
}

/// FEATURES EC-13, EC-15: methods at the wrong time, each of which closes the connection.
#[test]
fn methods_out_of_place() {
    let expected_open = "CHANNEL_ERROR - expected 'channel.open'";
    let unimplemented = "COMMAND_INVALID - unimplemented method";
    let mut cases = vec![(1, Method::ChannelOpen {}, 504, "CHANNEL_ERROR - second 'channel.open' seen")];
    for method in [
        declare("q"),
        close_channel(),
        Method::ChannelCloseOk {},
        Method::ChannelFlow { active: true },
        Method::ChannelOpenOk {},
        ack(1, false),
        close_connection(),
    ] {
        cases.push((7, method, 504, expected_open));
    }
    for method in [
        Method::ChannelCloseOk {},
        Method::ChannelOpenOk {},
        Method::ChannelFlowOk { active: true },
        Method::AccessRequestOk { ticket: 1 },
        Method::ExchangeDeclareOk {},
        declare_ok("q", 0, 0),
        Method::BasicQosOk {},
        Method::BasicConsumeOk { consumer_tag: "c" },
        Method::BasicCancelOk { consumer_tag: "c" },
        Method::BasicGetEmpty {},
        Method::BasicRecoverOk {},
        Method::ConfirmSelectOk {},
        Method::TxSelectOk {},
        close_connection(),
        Method::ConnectionOpen { virtual_host: "/" },
        Method::ConnectionBlocked { reason: "" },
    ] {
        cases.push((1, method, 503, unimplemented));
    }
    for (number, method, code, text) in cases {
        let mut world = World::new();
        let id = world.connect_channel();
        world.send(id, number, &method);
        world.run();
        world.expect_connection_close(id, code, method.ids(), text);
        world.close_ok(id);
    }
}

/// FEATURES M-6, M-8.
#[test]
fn flow_and_access() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.send(id, 1, &Method::ChannelFlow { active: true });
    world.expect(id, 1, &Method::ChannelFlowOk { active: true });
    let (exclusive, passive, active, write, read) = (false, true, true, true, true);
    world.send(id, 1, &Method::AccessRequest { realm: "/data", exclusive, passive, active, write, read });
    world.expect(id, 1, &Method::AccessRequestOk { ticket: 1 });
    world.send(id, 1, &Method::ChannelFlow { active: false });
    world.run();
    world.expect_connection_close(id, 540, (20, 20), "NOT_IMPLEMENTED - active=false");
}

/// FEATURES trap 15, M-7: everything between the server's close and the client's close-ok is dropped.
#[test]
fn after_an_error_the_channel_is_deaf() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.open_channel(id, 2);
    let mut bytes = frame(1, &passive("missing"));
    bytes.extend(frame(1, &declare("q")));
    bytes.extend(publish(1, "", "q", b"lost", false));
    bytes.extend(frame(1, &passive("missing")));
    world.bytes(id, &bytes);
    world.run();
    world.expect_channel_close(id, 1, 404, PASSIVE, NO_QUEUE);
    world.send(id, 1, &declare("q"));
    world.run();
    world.expect_nothing(id);
    // Other channels are not concerned.
    world.declare(id, 2, "other");
    world.send(id, 1, &Method::ChannelCloseOk {});
    world.open_channel(id, 1);
    world.ask(id, 1, &passive("q"));
    world.expect_channel_close(id, 1, 404, PASSIVE, "NOT_FOUND - no queue 'q' in vhost '/'");
}

/// FEATURES M-7: a number is free after close-ok, not before.
#[test]
fn a_number_is_not_free_before_close_ok() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.ask(id, 1, &passive("missing"));
    world.expect_channel_close(id, 1, 404, PASSIVE, NO_QUEUE);
    world.send(id, 1, &Method::ChannelOpen {});
    world.run();
    world.expect_connection_close(id, 504, (20, 10), "CHANNEL_ERROR - second 'channel.open' seen");
}

/// Both sides close at once: both are answered, and the number is free when the client has answered, too.
#[test]
fn channel_closes_cross() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.ask(id, 1, &passive("missing"));
    world.send(id, 1, &close_channel());
    world.expect_channel_close(id, 1, 404, PASSIVE, NO_QUEUE);
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.send(id, 1, &Method::ChannelCloseOk {});
    world.open_channel(id, 1);
    // And twice in one breath, which is answered once.
    world.send(id, 1, &close_channel());
    world.send(id, 1, &close_channel());
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.expect_nothing(id);
    world.open_channel(id, 1);
}

/// FEATURES M-29, M-30, EC-10: the limit is on channels in use, and the first frame on a number uses one.
#[test]
fn the_limit_is_on_channels_in_use() {
    let mut world = World::new();
    let id = world.connect();
    for number in 0..2046 {
        world.open_channel(id, 65_535 - number);
    }
    world.ask(id, 65_535, &passive("missing"));
    world.ignore(id);
    world.open_channel(id, 7);
    let text = "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)";
    world.send(id, 8, &Method::ChannelOpen {});
    world.run();
    world.expect_connection_close(id, 530, (0, 0), text);
}

#[test]
fn an_unopened_channel_counts_while_its_content_comes() {
    let mut world = World::new();
    let id = world.accept();
    world.bytes(id, HEADER);
    world.start_ok(id, "PLAIN", b"\0guest\0guest", &[]);
    world.send(id, 0, &Method::ConnectionTuneOk { channel_max: 2, frame_max: 8192, heartbeat: 0 });
    world.send(id, 0, &Method::ConnectionOpen { virtual_host: "/" });
    world.ignore(id);
    world.open_channel(id, 1);
    world.send(id, 9, &publish_method("q"));
    world.send(id, 2, &Method::ChannelOpen {});
    world.run();
    let text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)";
    world.expect_connection_close(id, 530, (0, 0), text);
}

/// FEATURES EC-11.
#[test]
fn a_user_may_have_fewer_channels() {
    let mut world = World::new();
    let limits = crate::auth::UserLimits { max_connections: None, max_channels: Some(1) };
    world.broker.auth().set_user_limits("guest", limits).unwrap();
    let id = world.connect_channel();
    world.send(id, 2, &Method::ChannelOpen {});
    world.run();
    let text =
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit of 1";
    world.expect_connection_close(id, 530, (0, 0), text);
}

/// What was on its way to a channel that is closed does not reach the next one of its number; it goes back.
#[test]
fn deliveries_of_a_closed_channel_go_back() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", "c");
    world.publish(id, 1, "", "q", b"one");
    world.turn_lanes();
    // The delivery is in the mailbox; the channel is closed and opened again before anybody looks.
    world.send(id, 1, &close_channel());
    world.send(id, 1, &Method::ChannelOpen {});
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.expect(id, 1, &Method::ChannelOpenOk {});
    world.take_events(id);
    world.expect_nothing(id);
    world.run();
    world.consume(id, 1, "q", "c");
    world.expect_redelivery(id, 1, "c", 1, b"one");
}

/// FEATURES M-13, EH-3, trap 13: an empty name is the queue last declared on the channel.
#[test]
fn the_last_declared_queue_has_no_need_of_a_name() {
    let mut world = World::new();
    let id = world.connect_channel();
    let bind = |queue, routing_key| {
        let (exchange, nowait, arguments) = ("amq.direct", false, EMPTY);
        Method::QueueBind { queue, exchange, routing_key, nowait, arguments }
    };
    for (number, method) in [
        (2, bind("", "")),
        (3, consume("", "c", false)),
        (4, get("")),
        (5, delete("")),
        (6, Method::QueuePurge { queue: "", nowait: false }),
    ] {
        world.open_channel(id, number);
        world.ask(id, number, &method);
        world.expect_channel_close(id, number, 404, method.ids(), "NOT_FOUND - no previously declared queue");
    }
    world.declare(id, 1, "q");
    world.ask(id, 1, &bind("", ""));
    world.expect(id, 1, &Method::QueueBindOk {});
    world.publish(id, 1, "amq.direct", "q", b"by its name");
    world.ask(id, 1, &bind("", "key"));
    world.expect(id, 1, &Method::QueueBindOk {});
    world.publish(id, 1, "amq.direct", "key", b"by the key");
    world.ask(id, 1, &Method::QueuePurge { queue: "", nowait: false });
    world.expect(id, 1, &Method::QueuePurgeOk { message_count: 2 });
    world.consume(id, 1, "", "c");
    // It is still remembered when it is gone, and another declare replaces it.
    world.ask(id, 1, &delete(""));
    world.expect(id, 1, &Method::QueueDeleteOk { message_count: 0 });
    world.expect(id, 1, &Method::BasicCancel { consumer_tag: "c", nowait: true });
    world.ask(id, 1, &delete(""));
    world.expect(id, 1, &Method::QueueDeleteOk { message_count: 0 });
    world.declare(id, 1, "r");
    world.ask(id, 1, &get(""));
    world.expect(id, 1, &Method::BasicGetEmpty {});
    // A server-made name, too.
    world.ask(id, 1, &declare(""));
    let name = world.next_method(id, |_, method| match method {
        Method::QueueDeclareOk { queue, .. } => queue.to_owned(),
        other => panic!("{other:?}"),
    });
    assert!(name.starts_with("amq.gen-") && name.len() == 30, "{name}");
    world.publish(id, 1, "", &name, b"m");
    world.ask(id, 1, &Method::QueuePurge { queue: "", nowait: false });
    world.expect(id, 1, &Method::QueuePurgeOk { message_count: 1 });
}

/// FEATURES BP-8: line ends vanish from names in declare, delete and bind, not elsewhere.
#[test]
fn line_ends_in_names() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.ask(id, 1, &declare("a\r\nb"));
    world.expect(id, 1, &declare_ok("ab", 0, 0));
    world.ask(id, 1, &passive("\na\rb"));
    world.expect(id, 1, &declare_ok("ab", 0, 0));
    let (nowait, arguments) = (false, EMPTY);
    let bind = Method::QueueBind { queue: "\rab", exchange: "amq.\ndirect", routing_key: "k\n", nowait, arguments };
    world.ask(id, 1, &bind);
    world.expect(id, 1, &Method::QueueBindOk {});
    world.publish(id, 1, "amq.direct", "k\n", b"keys stay as they are");
    for (number, method) in
        [(2, get("a\nb")), (3, consume("a\nb", "", false)), (4, Method::QueuePurge { queue: "a\nb", nowait })]
    {
        world.open_channel(id, number);
        world.ask(id, number, &method);
        world.expect_channel_close(id, number, 404, method.ids(), "NOT_FOUND - no queue 'a\nb' in vhost '/'");
    }
    world.ask(id, 1, &delete("a\nb"));
    world.expect(id, 1, &Method::QueueDeleteOk { message_count: 1 });
}

/// FEATURES M-28.
#[test]
fn nowait_is_silent() {
    let mut world = World::new();
    let id = world.connect_channel();
    let (nowait, arguments) = (true, EMPTY);
    let (passive, durable, exclusive, auto_delete, internal) = (false, false, false, false, false);
    let exchange_declare = |exchange| Method::ExchangeDeclare {
        exchange,
        kind: "fanout",
        passive,
        durable,
        auto_delete,
        internal,
        nowait,
        arguments,
    };
    let methods = [
        Method::ConfirmSelect { nowait },
        exchange_declare("x"),
        exchange_declare("y"),
        Method::QueueDeclare { queue: "q", passive, durable, exclusive, auto_delete, nowait, arguments },
        Method::QueueDeclare { queue: "q", passive: true, durable, exclusive, auto_delete, nowait, arguments },
        Method::QueueBind { queue: "q", exchange: "y", routing_key: "", nowait, arguments },
        Method::ExchangeBind { destination: "y", source: "x", routing_key: "", nowait, arguments },
        Method::BasicConsume {
            queue: "q",
            consumer_tag: "c",
            no_local: true,
            no_ack: true,
            exclusive,
            nowait,
            arguments,
        },
    ];
    methods.iter().for_each(|method| world.send(id, 1, method));
    world.publish(id, 1, "x", "q", b"m");
    world.run();
    let deliver = Method::BasicDeliver {
        consumer_tag: "c",
        delivery_tag: 1,
        redelivered: false,
        exchange: "x",
        routing_key: "q",
    };
    assert_eq!(world.expect_content(id, 1, &deliver), b"m");
    world.expect(id, 1, &ack(1, false));
    let methods = [
        Method::BasicCancel { consumer_tag: "c", nowait },
        Method::BasicCancel { consumer_tag: "unknown", nowait },
        Method::QueuePurge { queue: "q", nowait },
        Method::ExchangeUnbind { destination: "y", source: "x", routing_key: "", nowait, arguments },
        Method::QueueDelete { queue: "q", if_unused: false, if_empty: false, nowait },
        Method::ExchangeDelete { exchange: "x", if_unused: false, nowait },
    ];
    methods.iter().for_each(|method| world.send(id, 1, method));
    world.run();
    world.expect_nothing(id);
    // Errors are not silent.
    let methods =
        Method::QueueDeclare { queue: "missing", passive: true, durable, exclusive, auto_delete, nowait, arguments };
    world.ask(id, 1, &methods);
    world.expect_channel_close(id, 1, 404, PASSIVE, NO_QUEUE);
}
