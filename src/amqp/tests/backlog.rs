//! Channels that wait for an answer, and what comes behind it.

use super::*;

/// The order of a channel is kept across a wait; other channels do not wait.
#[test]
fn channels_wait_for_themselves_only() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.open_channel(id, 2);
    world.declare(id, 1, "q");
    world.send(id, 1, &get("q"));
    world.send(id, 1, &Method::ChannelFlow { active: true });
    world.publish(id, 1, "", "q", b"behind the get");
    world.send(id, 1, &get("q"));
    world.send(id, 1, &Method::ChannelFlow { active: true });
    world.send(id, 2, &Method::ChannelFlow { active: true });
    world.expect(id, 2, &Method::ChannelFlowOk { active: true });
    world.expect_nothing(id);
    world.run();
    world.expect(id, 1, &Method::BasicGetEmpty {});
    world.expect(id, 1, &Method::ChannelFlowOk { active: true });
    let (exchange, routing_key) = ("", "q");
    let got = Method::BasicGetOk { delivery_tag: 1, redelivered: false, exchange, routing_key, message_count: 0 };
    assert_eq!(world.expect_content(id, 1, &got), b"behind the get");
    world.expect(id, 1, &Method::ChannelFlowOk { active: true });
    world.expect_nothing(id);
}

/// An error of what was waited for closes the channel; what waited is dropped, but a close is answered.
#[test]
fn an_error_reaches_what_waits_behind_it() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", "c");
    let if_unused = Method::QueueDelete { queue: "q", if_unused: true, if_empty: false, nowait: false };
    world.send(id, 1, &if_unused);
    world.send(id, 1, &declare("later"));
    world.publish(id, 1, "", "q", b"lost");
    world.send(id, 1, &close_channel());
    world.run();
    let text = "PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
    world.expect_channel_close(id, 1, 406, (50, 40), text);
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.expect_nothing(id);
    world.send(id, 1, &Method::ChannelCloseOk {});
    world.open_channel(id, 1);
    world.ask(id, 1, &passive("later"));
    world.expect_channel_close(id, 1, 404, (50, 10), "NOT_FOUND - no queue 'later' in vhost '/'");
    assert_eq!(world.counts("q"), Some((0, 0)));
}

/// A channel may be closed and opened again behind a wait.
#[test]
fn a_new_channel_begins_behind_the_wait_of_the_old() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    for method in [get("q"), close_channel(), Method::ChannelOpen {}, get("q"), get("q"), close_channel()] {
        world.send(id, 1, &method);
    }
    world.expect_nothing(id);
    world.run();
    world.expect(id, 1, &Method::BasicGetEmpty {});
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.expect(id, 1, &Method::ChannelOpenOk {});
    world.expect(id, 1, &Method::BasicGetEmpty {});
    world.expect(id, 1, &Method::BasicGetEmpty {});
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.expect_nothing(id);
}

/// A wrong frame behind a wait closes the connection when its turn has come.
#[test]
fn faults_wait_their_turn() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.send(id, 1, &get("q"));
    world.bytes(id, &body_frame(1, b"nobody asked"));
    world.expect_nothing(id);
    world.run();
    world.expect(id, 1, &Method::BasicGetEmpty {});
    let text = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    world.expect_connection_close(id, 505, (0, 0), text);
}

/// Much waits: the socket is not read, until the answer has come. Nothing is lost or turned round.
#[test]
fn the_backlog_is_bounded() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    let body = vec![7; 10_000];
    world.send(id, 1, &get("q"));
    for _ in 0..50 {
        world.publish(id, 1, "", "q", &body);
        world.send(id, 1, &get("q"));
    }
    let client = &world.clients[id];
    assert!(!client.session.wants_input() && client.input.len() > 300_000, "{}", client.input.len());
    world.run();
    assert!(world.clients[id].session.wants_input() && world.clients[id].input.is_empty());
    world.expect(id, 1, &Method::BasicGetEmpty {});
    for delivery_tag in 1..=50 {
        let (exchange, routing_key) = ("", "q");
        let got = Method::BasicGetOk { delivery_tag, redelivered: false, exchange, routing_key, message_count: 0 };
        assert_eq!(world.expect_content(id, 1, &got), body);
    }
    world.expect_nothing(id);
}

/// Several channels may be full of waiting frames at once.
#[test]
fn input_goes_on_when_no_backlog_is_full() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    let mut all = Vec::new();
    for number in 2..5 {
        world.open_channel(id, number);
        all.extend(frame(number, &get("q")));
    }
    for number in 2..5 {
        all.extend(publish(number, "", "q", &vec![number as u8; 131_060], false));
        all.extend(frame(number, &close_channel()));
    }
    // The last one's error takes its backlog with it.
    world.bytes(id, &all);
    assert!(!world.clients[id].session.wants_input());
    world.run();
    assert!(world.clients[id].session.wants_input());
    assert_eq!(world.clients[id].said().len(), 6);
    assert_eq!(world.counts("q"), Some((3, 0)));
}
