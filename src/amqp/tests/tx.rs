//! Transactions.

use super::*;

fn transactional(world: &mut World) -> Id {
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.send(id, 1, &Method::TxSelect {});
    world.expect(id, 1, &Method::TxSelectOk {});
    id
}

/// FEATURES EH-22.
#[test]
fn modes_exclude_each_other() {
    let not_transactional = "PRECONDITION_FAILED - channel is not transactional";
    let cases: [(&[Method<'_>], &str); 4] = [
        (&[Method::TxSelect {}, confirm_select()], "PRECONDITION_FAILED - cannot switch from tx to confirm mode"),
        (&[confirm_select(), Method::TxSelect {}], "PRECONDITION_FAILED - cannot switch from confirm to tx mode"),
        (&[Method::TxCommit {}], not_transactional),
        (&[confirm_select(), Method::TxRollback {}], not_transactional),
    ];
    for (methods, text) in cases {
        let mut world = World::new();
        let id = world.connect_channel();
        for method in methods {
            world.ignore(id);
            world.send(id, 1, method);
        }
        world.expect_channel_close(id, 1, 406, methods[methods.len() - 1].ids(), text);
    }
    let mut world = World::new();
    let id = transactional(&mut world);
    world.send(id, 1, &Method::TxSelect {});
    world.expect(id, 1, &Method::TxSelectOk {});
}

/// FEATURES TX-2: routed when published, delivered when committed, returned before commit-ok.
#[test]
fn publishes_wait_for_the_commit() {
    let mut world = World::new();
    let id = transactional(&mut world);
    world.publish(id, 1, "", "q", b"1");
    world.publish_mandatory(id, 1, "nowhere", b"2");
    world.publish_mandatory(id, 1, "late", b"3");
    world.publish(id, 1, "", "q", b"4");
    world.run();
    world.expect_nothing(id);
    assert_eq!(world.counts("q"), Some((0, 0)));
    world.declare(id, 1, "late");
    world.ask(id, 1, &Method::TxCommit {});
    for (routing_key, body) in [("nowhere", b"2"), ("late", b"3")] {
        let returned = Method::BasicReturn { reply_code: 312, reply_text: "NO_ROUTE", exchange: "", routing_key };
        assert_eq!(world.expect_content(id, 1, &returned), body);
    }
    world.expect(id, 1, &Method::TxCommitOk {});
    assert_eq!(world.counts("q"), Some((2, 0)));
    assert_eq!(world.counts("late"), Some((0, 0)));
    // The next transaction is a new one.
    world.ask(id, 1, &Method::TxCommit {});
    world.expect(id, 1, &Method::TxCommitOk {});
    assert_eq!(world.counts("q"), Some((2, 0)));
    world.publish(id, 1, "missing", "", b"5");
    world.expect_channel_close(id, 1, 404, (60, 40), "NOT_FOUND - no exchange 'missing' in vhost '/'");
}

/// FEATURES TX-3: nothing happened; what was acked can be acked again.
#[test]
fn rollback_undoes_everything() {
    let mut world = World::new();
    let id = transactional(&mut world);
    let other = world.connect_channel();
    (1..=3).for_each(|body| world.publish(other, 1, "", "q", &[body]));
    world.consume(id, 1, "q", "c");
    (1..=3).for_each(|n| world.expect_delivery(id, 1, "c", n, &[n as u8]));
    world.publish(id, 1, "", "q", b"never");
    world.send(id, 1, &ack(2, true));
    world.ask(id, 1, &Method::TxRollback {});
    world.expect(id, 1, &Method::TxRollbackOk {});
    world.send(id, 1, &ack(1, false));
    world.send(id, 1, &Method::BasicReject { delivery_tag: 3, requeue: true });
    world.run();
    world.expect_nothing(id);
    world.ask(id, 1, &Method::TxCommit {});
    world.expect_redelivery(id, 1, "c", 4, &[3]);
    world.expect(id, 1, &Method::TxCommitOk {});
    world.expect_nothing(id);
    // 2 and 3 are still held.
    world.send(id, 1, &close_channel());
    world.run();
    assert_eq!(world.counts("q"), Some((2, 0)));
    // An unknown tag is told at once.
    let mut world = World::new();
    let id = transactional(&mut world);
    world.send(id, 1, &ack(7, false));
    world.expect_channel_close(id, 1, 406, (60, 80), "PRECONDITION_FAILED - unknown delivery tag 7");
}

/// A channel that ends takes its transaction with it.
#[test]
fn closing_is_no_commit() {
    let mut world = World::new();
    let id = transactional(&mut world);
    let other = world.connect_channel();
    world.publish(other, 1, "", "q", b"1");
    world.consume(id, 1, "q", "c");
    world.expect_delivery(id, 1, "c", 1, b"1");
    world.send(id, 1, &ack(1, false));
    world.publish(id, 1, "", "q", b"2");
    world.send(id, 1, &close_channel());
    world.expect(id, 1, &Method::ChannelCloseOk {});
    world.run();
    assert_eq!(world.counts("q"), Some((1, 0)));
}

/// FEATURES EH-23.
#[test]
fn a_refused_publish_spoils_the_commit() {
    let mut world = World::new();
    let id = transactional(&mut world);
    let arguments: Table =
        [("x-max-length", Value::I32(1)), ("x-overflow", "reject-publish".into())].into_iter().collect();
    let mut encoded = Vec::new();
    arguments.encode_bare(&mut encoded);
    let (passive, durable, exclusive, auto_delete, nowait) = (false, false, false, false, false);
    let arguments = RawTable(&encoded);
    world.ask(
        id,
        1,
        &Method::QueueDeclare { queue: "one", passive, durable, exclusive, auto_delete, nowait, arguments },
    );
    world.expect(id, 1, &declare_ok("one", 0, 0));
    for _ in 0..2 {
        world.publish(id, 1, "", "one", b"m");
        world.publish(id, 1, "", "q", b"m");
    }
    world.ask(id, 1, &Method::TxCommit {});
    world.expect_channel_close(id, 1, 406, (90, 20), "PRECONDITION_FAILED - partial tx completion");
    assert_eq!(world.counts("q"), Some((2, 0)));
    assert_eq!(world.counts("one"), Some((1, 0)));
}

/// A channel-wide prefetch has room again when the ack is committed, not before.
#[test]
fn credit_comes_back_with_the_commit() {
    let mut world = World::new();
    let id = transactional(&mut world);
    let other = world.connect_channel();
    world.ask(id, 1, &qos(1, true));
    world.expect(id, 1, &Method::BasicQosOk {});
    (1..=2).for_each(|body| world.publish(other, 1, "", "q", &[body]));
    world.consume(id, 1, "q", "c");
    world.expect_delivery(id, 1, "c", 1, &[1]);
    world.ask(id, 1, &ack(1, false));
    world.expect_nothing(id);
    world.ask(id, 1, &Method::TxCommit {});
    world.expect_delivery(id, 1, "c", 2, &[2]);
    world.expect(id, 1, &Method::TxCommitOk {});
}
