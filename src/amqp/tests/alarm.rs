//! Resource alarms and connection.blocked.

use std::future::{Future, poll_fn};
use std::pin::pin;

use super::*;
use crate::broker::{Alarm, ConnectionState};

/// FEATURES FL-1, FL-2, trap 23: only who publishes, once, and then nothing is heard until the alarm is over.
#[test]
fn publishers_are_blocked() {
    let mut world = World::new();
    let publisher = world.connect_channel();
    let consumer = world.connect_channel();
    world.declare(publisher, 1, "q");
    world.broker.set_alarm(Alarm::Memory, true);
    world.consume(consumer, 1, "q", "c");
    world.expect_nothing(publisher);
    let message = publish(1, "", "q", b"held up", false);
    let mut bytes = message.clone();
    bytes.extend(&message);
    bytes.extend(frame(1, &declare("later")));
    world.bytes(publisher, &bytes);
    world.run();
    world.expect(publisher, 0, &Method::ConnectionBlocked { reason: "low on memory" });
    world.expect_nothing(publisher);
    // Stopped at the header: the body is not read.
    assert!(!world.clients[publisher].session.wants_input());
    assert_eq!(&bytes[bytes.len() - world.clients[publisher].input.len()..][..1], [FrameKind::Body as u8]);
    // The consumer goes on, and is told nothing.
    world.ask(consumer, 1, &get("q"));
    world.expect(consumer, 1, &Method::BasicGetEmpty {});
    // A second alarm is not told; the end of the first is not the end.
    world.broker.set_alarm(Alarm::Disk, true);
    world.broker.set_alarm(Alarm::Memory, false);
    world.run();
    world.expect_nothing(publisher);
    world.broker.set_alarm(Alarm::Disk, false);
    world.run();
    world.expect(publisher, 0, &Method::ConnectionUnblocked {});
    world.expect(publisher, 1, &declare_ok("later", 0, 0));
    world.expect_delivery(consumer, 1, "c", 1, b"held up");
    world.expect_delivery(consumer, 1, "c", 2, b"held up");
    world.expect_nothing(consumer);
}

/// FEATURES PR-3: without the capability there is back-pressure only. The reason names all alarms.
#[test]
fn who_does_not_understand_is_not_told() {
    let mut world = World::new();
    let told = world.connect_channel();
    let not_told = world.connect_with(0, 131_072, &[]);
    world.open_channel(not_told, 1);
    world.broker.set_alarm(Alarm::Memory, true);
    world.broker.set_alarm(Alarm::Disk, true);
    for id in [told, not_told] {
        world.publish(id, 1, "", "nowhere", b"m");
        world.send(id, 1, &Method::ChannelFlow { active: true });
    }
    world.expect(told, 0, &Method::ConnectionBlocked { reason: "low on memory & disk" });
    world.expect_nothing(told);
    world.expect_nothing(not_told);
    world.broker.set_alarm(Alarm::Memory, false);
    world.broker.set_alarm(Alarm::Disk, false);
    world.run();
    world.expect(told, 0, &Method::ConnectionUnblocked {});
    world.expect(told, 1, &Method::ChannelFlowOk { active: true });
    world.expect(not_told, 1, &Method::ChannelFlowOk { active: true });
    // The next alarm is told again.
    world.broker.set_alarm(Alarm::Disk, true);
    world.publish(told, 1, "", "nowhere", b"m");
    world.expect(told, 0, &Method::ConnectionBlocked { reason: "low on disk" });
}

/// FEATURES FL-2: a blocked connection is not dropped for its silence, others are.
#[test]
fn silence_of_the_blocked_means_nothing() {
    let mut world = World::new();
    let blocked = world.connect_with(2, 131_072, &[]);
    let silent = world.connect_with(2, 131_072, &[]);
    world.open_channel(blocked, 1);
    world.broker.set_alarm(Alarm::Memory, true);
    world.publish(blocked, 1, "", "nowhere", b"m");
    world.pass(60.0);
    assert_eq!(world.ended(blocked), None);
    assert_eq!(world.ended(silent), Some(&Ended::HeartbeatTimeout));
    world.broker.set_alarm(Alarm::Memory, false);
    world.run();
    world.pass(3.9);
    assert_eq!(world.ended(blocked), None);
    world.pass(2.2);
    assert_eq!(world.ended(blocked), Some(&Ended::HeartbeatTimeout));
}

/// What the connection says of itself.
async fn state(world: &mut World, id: Id) -> ConnectionState {
    let broker = world.broker.clone();
    let connections: Vec<_> = broker.connections().iter().map(|connection| connection.id).collect();
    let mut reports = pin!(broker.inspect_connections(&connections, Duration::from_secs(10)));
    assert!(poll_fn(|cx| Poll::Ready(reports.as_mut().poll(cx).is_pending())).await, "nobody has answered");
    for id in 0..world.clients.len() {
        world.take_events(id);
    }
    let reports = reports.await;
    assert_eq!(reports.len(), connections.len());
    reports[&connections[id]].state
}

/// FEATURES FL-3, FL-4: who is ahead of its queues is slowed, and is told apart from those that an alarm keeps waiting.
#[tokio::test]
async fn states_tell_of_publishing() {
    let mut world = World::new();
    let (publisher, other) = (world.connect_channel(), world.connect_channel());
    world.declare(publisher, 1, "q");
    assert_eq!(state(&mut world, publisher).await, ConnectionState::Running);
    let congests = 1 << 20;
    let body = vec![b'm'; 100_000];
    for _ in 0..congests / body.len() {
        world.publish(publisher, 1, "", "q", &body);
    }
    assert_eq!(state(&mut world, publisher).await, ConnectionState::Running, "just below");
    world.publish(publisher, 1, "", "q", &body);
    assert_eq!(state(&mut world, publisher).await, ConnectionState::Flow);
    assert_eq!(state(&mut world, other).await, ConnectionState::Running);
    world.run();
    assert_eq!(state(&mut world, publisher).await, ConnectionState::Running);
    world.broker.set_alarm(Alarm::Memory, true);
    world.run();
    world.publish(publisher, 1, "", "q", b"m");
    assert_eq!(state(&mut world, publisher).await, ConnectionState::Blocked);
    assert_eq!(state(&mut world, other).await, ConnectionState::Blocking);
    world.broker.set_alarm(Alarm::Memory, false);
    world.run();
    assert_eq!(state(&mut world, publisher).await, ConnectionState::Running);
    assert_eq!(state(&mut world, other).await, ConnectionState::Running);
}
