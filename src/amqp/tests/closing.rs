//! The end of a connection, from both sides.

use super::*;
use crate::broker::Alarm;

const FORCED: &str = "CONNECTION_FORCED - maintenance";

/// FEATURES M-2, trap 10: exclusive queues are gone before close-ok goes out, whatever else was asked before.
#[test]
fn exclusive_queues_go_before_close_ok() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.ask(id, 1, &exclusive("mine"));
    world.expect(id, 1, &declare_ok("mine", 0, 0));
    // An answer to an earlier request is not the answer to the close.
    world.send(id, 1, &get("mine"));
    world.turn_lanes();
    world.send(id, 0, &close_connection());
    world.take_events(id);
    world.expect_nothing(id);
    assert_eq!(world.ended(id), None);
    world.run();
    world.expect(id, 0, &Method::ConnectionCloseOk {});
    assert_eq!(world.ended(id), Some(&Ended::ClosedByClient));
    assert_eq!(world.counts("mine"), None);
}

/// FEATURES M-2: said twice, answered twice; anything else is dropped.
#[test]
fn nothing_is_heard_after_the_clients_close() {
    for uses_lanes in [false, true] {
        let mut world = World::new();
        let id = world.connect_channel();
        if uses_lanes {
            world.ask(id, 1, &exclusive("mine"));
            world.ignore(id);
        }
        let mut bytes = frame(0, &close_connection());
        bytes.extend(frame(1, &declare("later")));
        bytes.extend(raw_frame(4, 0, b"", FRAME_END));
        bytes.extend(frame(0, &close_connection()));
        world.bytes(id, &bytes);
        world.run();
        world.expect(id, 0, &Method::ConnectionCloseOk {});
        world.expect(id, 0, &Method::ConnectionCloseOk {});
        world.expect_nothing(id);
        assert_eq!(world.ended(id), Some(&Ended::ClosedByClient));
        assert_eq!(world.counts("later"), None);
    }
}

/// What a connection held goes back when it ends, however it ends (trap 5).
#[test]
fn unacked_messages_go_back() {
    let endings: [fn(&mut World, Id); 3] = [
        |world, id| world.send(id, 0, &close_connection()),
        |world, id| world.bytes(id, &raw_frame(4, 0, b"", FRAME_END)),
        // The driver drops the session when the socket is gone.
        |world, id| drop(world.clients.remove(id)),
    ];
    for end in endings {
        let mut world = World::new();
        let publisher = world.connect_channel();
        world.declare(publisher, 1, "q");
        (0..3).for_each(|body| world.publish(publisher, 1, "", "q", &[body]));
        let id = world.connect_channel();
        world.consume(id, 1, "q", "c");
        (0..3).for_each(|body| world.expect_delivery(id, 1, "c", u64::from(body) + 1, &[body]));
        world.send(id, 1, &ack(2, false));
        end(&mut world, id);
        world.run();
        assert_eq!(world.counts("q"), Some((2, 0)));
        world.consume(publisher, 1, "q", "c");
        world.expect_redelivery(publisher, 1, "c", 1, &[0]);
        world.expect_redelivery(publisher, 1, "c", 2, &[2]);
    }
}

/// FEATURES M-2, EC-26 to EC-28: the server closes; exclusive queues go first, then the client has its time to answer.
#[test]
fn the_server_closes() {
    // Its heartbeat interval, and the seconds it has.
    for (heartbeat_s, seconds) in [(0, 30.0), (10, 10.0), (60, 30.0)] {
        let mut world = World::new();
        let id = world.connect_with(heartbeat_s, 131_072, &[]);
        world.open_channel(id, 1);
        world.ask(id, 1, &exclusive("mine"));
        world.ignore(id);
        world.broker.close_connections("maintenance");
        world.take_events(id);
        world.expect_nothing(id);
        world.run();
        world.expect_connection_close(id, 320, (0, 0), FORCED);
        assert_eq!(world.counts("mine"), None);
        // Heartbeats stop, and silence is no reason to end earlier.
        world.pass(seconds - 0.1);
        world.expect_nothing(id);
        assert_eq!(world.ended(id), None);
        world.pass(0.2);
        assert_eq!(world.ended(id), Some(&Ended::ClosedByServer(FORCED.into())));
    }
}

/// Both close at once; each is answered.
#[test]
fn connection_closes_cross() {
    let mut world = World::new();
    // The server's was first.
    let id = world.connect_channel();
    world.broker.close_connections("maintenance");
    world.run();
    world.send(id, 0, &close_connection());
    world.expect_connection_close(id, 320, (0, 0), FORCED);
    world.expect(id, 0, &Method::ConnectionCloseOk {});
    assert_eq!(world.ended(id), None);
    world.close_ok(id);
    // The server's was, and waits for an exclusive queue to go: it is said before the client's is answered.
    let id = world.connect_channel();
    world.ask(id, 1, &exclusive("mine"));
    world.ignore(id);
    world.broker.close_connections("maintenance");
    world.take_events(id);
    world.send(id, 0, &close_connection());
    world.expect_nothing(id);
    world.run();
    world.expect_connection_close(id, 320, (0, 0), FORCED);
    world.expect(id, 0, &Method::ConnectionCloseOk {});
    world.close_ok(id);
    // The client's was.
    let id = world.connect_channel();
    world.ask(id, 1, &exclusive("mine"));
    world.ignore(id);
    world.broker.close_connections("maintenance");
    world.send(id, 0, &close_connection());
    world.run();
    world.expect(id, 0, &Method::ConnectionCloseOk {});
    world.expect_nothing(id);
    assert_eq!(world.ended(id), Some(&Ended::ClosedByClient));
}

/// FEATURES EC-27.
#[test]
fn vhosts_and_users_may_go() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.broker.delete_user("guest");
    world.run();
    world.expect_connection_close(id, 320, (0, 0), "CONNECTION_FORCED - user 'guest' is deleted");
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", "c");
    world.broker.delete_vhost("/").unwrap();
    world.run();
    world.expect_connection_close(id, 320, (0, 0), "CONNECTION_FORCED - vhost '/' is deleted");
    world.expect_nothing(id);
}

/// A blocked connection can be closed by the server, and is then heard again.
#[test]
fn blocked_connections_can_be_closed() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.broker.set_alarm(Alarm::Memory, true);
    world.publish(id, 1, "", "q", b"m");
    world.expect(id, 0, &Method::ConnectionBlocked { reason: "low on memory" });
    world.broker.close_connections("maintenance");
    world.run();
    world.expect_connection_close(id, 320, (0, 0), FORCED);
    world.close_ok(id);
}

/// FEATURES HS-7, FR-11, over a whole session.
#[test]
fn heartbeats() {
    let mut world = World::new();
    let id = world.connect_with(2, 131_072, &[]);
    // It is sent one after each second in which nothing else was.
    world.pass(2.5);
    let beats = world.clients[id].frames.drain(..).map(|said| said.kind).collect::<Vec<_>>();
    assert_eq!(beats, [FrameKind::Heartbeat]);
    // Any bytes will do, even half a frame; its own heartbeats are no sign of life.
    for _ in 0..10 {
        world.bytes(id, &[]);
        world.pass(2.0);
        assert_eq!(world.ended(id), None);
    }
    world.pass(1.9);
    assert_eq!(world.ended(id), None);
    world.pass(2.2);
    assert_eq!(world.ended(id), Some(&Ended::HeartbeatTimeout));
}
