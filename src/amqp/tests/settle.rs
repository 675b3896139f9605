//! Acks, nacks, rejects and recover.

use super::*;

/// A channel that holds deliveries 1..=n of bodies 1..=n.
fn holding(world: &mut World, n: u8) -> Id {
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", "c");
    for body in 1..=n {
        world.publish(id, 1, "", "q", &[body]);
    }
    world.run();
    for body in 1..=n {
        world.expect_delivery(id, 1, "c", body.into(), &[body]);
    }
    id
}

/// FEATURES EH-13, DL-2, trap 2, trap 3.
#[test]
fn unknown_tags_close_the_channel() {
    let cases: [(&[Method<'_>], (u16, u16), u64); 9] = [
        (&[ack(1, false), ack(1, false)], (60, 80), 1),
        (&[ack(4, false)], (60, 80), 4),
        (&[ack(0, false)], (60, 80), 0),
        (&[ack(4, true)], (60, 80), 4),
        (&[ack(2, false), ack(2, true)], (60, 80), 2),
        (&[ack(0, true), nack(3, false, true)], (60, 120), 3),
        (&[Method::BasicReject { delivery_tag: 9, requeue: true }], (60, 90), 9),
        (&[nack(u64::MAX, true, false)], (60, 120), u64::MAX),
        (&[Method::BasicRecover { requeue: true }, ack(1, false)], (60, 80), 1),
    ];
    for (methods, ids, tag) in cases {
        let mut world = World::new();
        let id = holding(&mut world, 3);
        for method in methods {
            world.send(id, 1, method);
        }
        if matches!(methods[0], Method::BasicRecover { .. }) {
            world.expect(id, 1, &Method::BasicRecoverOk {});
        }
        world.expect_channel_close(id, 1, 406, ids, &format!("PRECONDITION_FAILED - unknown delivery tag {tag}"));
    }
    let mut world = World::new();
    let id = world.connect_channel();
    world.send(id, 1, &ack(0, true));
    world.send(id, 1, &nack(0, true, true));
    world.expect_nothing(id);
}

/// FEATURES DL-1, DL-2: over several queues, consumers and gets.
#[test]
fn multiple_covers_everything_up_to_the_tag() {
    let mut world = World::new();
    let id = holding(&mut world, 2);
    for (queue, tag) in [("r", 3), ("s", 4), ("r", 5)] {
        if tag < 5 {
            world.declare(id, 1, queue);
        }
        world.publish(id, 1, "", queue, b"m");
        world.ask(id, 1, &get(queue));
        world.next_method(id, |_, method| match method {
            Method::BasicGetOk { delivery_tag, .. } => assert_eq!(delivery_tag, tag),
            other => panic!("{other:?}"),
        });
        world.ignore(id);
    }
    world.send(id, 1, &ack(4, true));
    world.send(id, 1, &nack(5, false, true));
    world.run();
    assert_eq!(world.counts("r"), Some((1, 0)));
    assert_eq!(world.counts("s"), Some((0, 0)));
    world.send(id, 1, &close_channel());
    world.run();
    assert_eq!(world.counts("q"), Some((0, 0)));
}

/// FEATURES DL-3, trap 4; and single acks in any order.
#[test]
fn what_is_not_acked_comes_back_in_its_place() {
    let mut world = World::new();
    let id = holding(&mut world, 6);
    for method in [ack(2, false), ack(5, false), nack(4, false, false)] {
        world.send(id, 1, &method);
    }
    world.ask(id, 1, &cancel("c"));
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: "c" });
    world.ask(id, 1, &Method::BasicReject { delivery_tag: 3, requeue: true });
    world.ask(id, 1, &nack(0, true, true));
    world.consume(id, 1, "q", "d");
    for (tag, body) in [(7, 1), (8, 3), (9, 6)] {
        world.expect_redelivery(id, 1, "d", tag, &[body]);
    }
    world.expect_nothing(id);
}

/// FEATURES M-24, TX-1, EC-20.
#[test]
fn recover_brings_everything_again() {
    let mut world = World::new();
    let id = holding(&mut world, 3);
    world.send(id, 1, &ack(2, false));
    world.ask(id, 1, &Method::BasicRecover { requeue: true });
    world.expect(id, 1, &Method::BasicRecoverOk {});
    world.expect_redelivery(id, 1, "c", 4, &[1]);
    world.expect_redelivery(id, 1, "c", 5, &[3]);
    world.ask(id, 1, &Method::BasicRecoverAsync { requeue: true });
    world.expect_redelivery(id, 1, "c", 6, &[1]);
    world.expect_redelivery(id, 1, "c", 7, &[3]);
    world.expect_nothing(id);
    for method in [Method::BasicRecover { requeue: false }, Method::BasicRecoverAsync { requeue: false }] {
        let id = world.connect_channel();
        world.send(id, 1, &method);
        world.run();
        world.expect_connection_close(id, 540, method.ids(), "NOT_IMPLEMENTED - requeue=false");
    }
}

/// FEATURES DL-1, DL-6, DL-7.
#[test]
fn no_ack_deliveries_count_and_cannot_be_acked() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.ask(id, 1, &consume("q", "free", true));
    world.expect(id, 1, &Method::BasicConsumeOk { consumer_tag: "free" });
    world.publish(id, 1, "", "q", b"1");
    world.run();
    world.expect_delivery(id, 1, "free", 1, b"1");
    world.ask(id, 1, &cancel("free"));
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: "free" });
    world.consume(id, 1, "q", "c");
    world.publish(id, 1, "", "q", b"2");
    world.run();
    world.expect_delivery(id, 1, "c", 2, b"2");
    // The queue is gone; acking what came from it is fine.
    world.ask(id, 1, &delete("q"));
    world.ignore(id);
    world.ask(id, 1, &ack(2, false));
    world.expect_nothing(id);
    world.send(id, 1, &ack(1, false));
    world.expect_channel_close(id, 1, 406, (60, 80), "PRECONDITION_FAILED - unknown delivery tag 1");
}
