//! Consumers: their tags, deliveries and ends; prefetch.

use super::*;

/// FEATURES M-18: consume-ok goes before the first delivery, though both are in the mailbox at once.
#[test]
fn consume_ok_goes_first() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.publish(id, 1, "", "q", b"1");
    world.publish(id, 1, "", "q", b"2");
    world.consume(id, 1, "q", "c");
    world.expect_delivery(id, 1, "c", 1, b"1");
    world.expect_delivery(id, 1, "c", 2, b"2");
    assert_eq!(world.counts("q"), Some((0, 1)));
}

/// FEATURES M-18: 22 characters of url-safe base64.
#[test]
fn the_server_makes_tags() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    let mut tags = Vec::new();
    for _ in 0..2 {
        world.ask(id, 1, &consume("q", "", false));
        tags.push(world.next_method(id, |_, method| match method {
            Method::BasicConsumeOk { consumer_tag } => consumer_tag.to_owned(),
            other => panic!("{other:?}"),
        }));
    }
    for tag in &tags {
        let random = tag.strip_prefix("amq.ctag-").unwrap();
        assert!(random.len() == 22 && random.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
    }
    assert_ne!(tags[0], tags[1]);
    world.ask(id, 1, &cancel(&tags[0]));
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: &tags[0] });
    assert_eq!(world.counts("q"), Some((0, 1)));
}

/// FEATURES EC-16, EC-17, trap 14.
#[test]
fn tags_and_numbers_of_consumers_are_limited() {
    let mut world = World::with(Options { consumer_max_per_channel: Some(2), ..Options::default() });
    let id = world.connect_channel();
    let long = "t".repeat(255);
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", &long);
    world.ask(id, 1, &cancel(&long));
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: &long });
    world.consume(id, 1, "q", "c");
    world.consume(id, 1, "q", &long);
    world.ask(id, 1, &consume("q", "third", false));
    let text = "NOT_ALLOWED - reached maximum (2) of consumers per channel";
    world.expect_connection_close(id, 530, (60, 20), text);
    let id = world.connect_channel();
    world.consume(id, 1, "q", "c");
    world.ask(id, 1, &consume("missing", "c", false));
    world.expect_connection_close(id, 530, (60, 20), "NOT_ALLOWED - attempt to reuse consumer tag 'c'");
}

/// A consume that is refused leaves nothing behind.
#[test]
fn a_refused_consumer_is_forgotten() {
    let mut world = World::with(Options { consumer_max_per_channel: Some(1), ..Options::default() });
    let id = world.connect_channel();
    let other = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(other, 1, "q", "other");
    let (no_local, no_ack, exclusive, nowait, arguments) = (false, false, true, false, EMPTY);
    let alone = Method::BasicConsume { queue: "q", consumer_tag: "c", no_local, no_ack, exclusive, nowait, arguments };
    world.ask(id, 1, &alone);
    world.expect_channel_close(id, 1, 403, (60, 20), "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use");
    world.send(id, 1, &Method::ChannelCloseOk {});
    world.open_channel(id, 1);
    world.consume(id, 1, "q", "c");
}

/// FEATURES M-19: no delivery after cancel-ok; what is unacked stays so. Cancelling nobody is fine.
#[test]
fn cancel_stops_deliveries() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", "c");
    world.publish(id, 1, "", "q", b"1");
    world.turn_lanes();
    // The first is on its way, the second is not, when the cancel comes.
    world.send(id, 1, &cancel("c"));
    world.publish(id, 1, "", "q", b"2");
    world.run();
    world.expect_delivery(id, 1, "c", 1, b"1");
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: "c" });
    world.expect_nothing(id);
    assert_eq!(world.counts("q"), Some((1, 0)));
    world.send(id, 1, &ack(1, false));
    world.ask(id, 1, &cancel("c"));
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: "c" });
    world.consume(id, 1, "q", "c");
    world.expect_delivery(id, 1, "c", 2, b"2");
}

/// FEATURES DL-11: told to those who understand.
#[test]
fn a_deleted_queue_cancels_its_consumers() {
    let mut world = World::new();
    let told = world.connect_channel();
    let not_told = world.connect_with(0, 131_072, &[]);
    world.open_channel(not_told, 1);
    world.declare(told, 1, "q");
    world.consume(told, 1, "q", "told");
    world.consume(not_told, 1, "q", "not told");
    world.ask(told, 1, &delete("q"));
    // M-15: the answer goes first.
    world.expect(told, 1, &Method::QueueDeleteOk { message_count: 0 });
    world.expect(told, 1, &Method::BasicCancel { consumer_tag: "told", nowait: true });
    world.expect_nothing(not_told);
    // The tags are free.
    world.declare(told, 1, "q");
    world.consume(told, 1, "q", "told");
    world.consume(not_told, 1, "q", "not told");
    world.publish(not_told, 1, "", "q", b"1");
    world.run();
    world.expect_delivery(told, 1, "told", 1, b"1");
}

/// The queue is deleted while the cancel of its consumer is on the way: the cancel is answered all the same.
#[test]
fn cancels_cross() {
    let mut world = World::new();
    let id = world.connect_channel();
    let other = world.connect_channel();
    world.declare(id, 1, "q");
    world.consume(id, 1, "q", "c");
    world.send(other, 1, &delete("q"));
    world.send(id, 1, &cancel("c"));
    world.run();
    world.expect(id, 1, &Method::BasicCancel { consumer_tag: "c", nowait: true });
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: "c" });
    world.expect_nothing(id);
}

/// What was on its way to a consumer that is gone does not reach the next one.
#[test]
fn replies_for_a_cancelled_consumer_reach_nobody() {
    let mut world = World::new();
    let id = world.connect_channel();
    let replier = world.connect_channel();
    world.declare(id, 1, "q");
    world.ask(id, 1, &consume("amq.rabbitmq.reply-to", "replies", true));
    world.expect(id, 1, &Method::BasicConsumeOk { consumer_tag: "replies" });
    let mut request = frame(1, &publish_method("q"));
    write_frame(&mut request, FrameKind::Header, 1, |out| {
        out.extend([0, 60, 0, 0]);
        out.extend(0_u64.to_be_bytes());
        wire::Properties { reply_to: Some(b"amq.rabbitmq.reply-to"), ..Default::default() }.encode(out);
    });
    world.bytes(id, &request);
    world.ask(replier, 1, &get("q"));
    world.next(replier);
    let header = world.next(replier);
    let properties = ContentHeader::decode(&header.payload).unwrap().properties;
    let reply_to = wire::Properties::decode(properties).unwrap().reply_to.unwrap().to_vec();
    let reply_to = String::from_utf8(reply_to).unwrap();
    world.publish(replier, 1, "", &reply_to, b"in time");
    world.run();
    let (consumer_tag, exchange, routing_key) = ("replies", "", reply_to.as_str());
    let deliver = Method::BasicDeliver { consumer_tag, delivery_tag: 1, redelivered: false, exchange, routing_key };
    assert_eq!(world.expect_content(id, 1, &deliver), b"in time");
    // The second reply is in the mailbox when its consumer is cancelled and another comes.
    world.publish(replier, 1, "", &reply_to, b"too late");
    world.send(id, 1, &cancel("replies"));
    world.expect(id, 1, &Method::BasicCancelOk { consumer_tag: "replies" });
    world.consume(id, 1, "q", "c");
    world.expect_nothing(id);
}

/// FEATURES QO-1, trap 1: for each consumer that starts from then on.
#[test]
fn prefetch_is_for_later_consumers() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.declare(id, 1, "q");
    world.ask(id, 1, &qos(3, false));
    world.expect(id, 1, &Method::BasicQosOk {});
    world.consume(id, 1, "q", "a");
    world.ask(id, 1, &qos(1, false));
    world.expect(id, 1, &Method::BasicQosOk {});
    world.consume(id, 1, "q", "b");
    (0..10).for_each(|n| world.publish(id, 1, "", "q", &[n]));
    world.run();
    for (tag, delivery, body) in [("a", 1, 0), ("b", 2, 1), ("a", 3, 2), ("a", 4, 3)] {
        world.expect_delivery(id, 1, tag, delivery, &[body]);
    }
    world.expect_nothing(id);
    world.ask(id, 1, &ack(2, false));
    world.expect_delivery(id, 1, "b", 5, &[4]);
    world.ask(id, 1, &ack(4, true));
    for (tag, delivery, body) in [("a", 6, 5), ("a", 7, 6), ("a", 8, 7)] {
        world.expect_delivery(id, 1, tag, delivery, &[body]);
    }
    world.expect_nothing(id);
}

/// FEATURES QO-2, QO-5, as 3.10: shared by the channel's consumers, counting what is unacked already; gets are free.
#[test]
fn global_prefetch_is_shared() {
    let mut world = World::new();
    let id = world.connect_channel();
    let publisher = world.connect_channel();
    for queue in ["q", "r"] {
        world.declare(id, 1, queue);
        world.consume(id, 1, queue, queue);
    }
    world.publish(publisher, 1, "", "q", b"1");
    world.run();
    world.expect_delivery(id, 1, "q", 1, b"1");
    world.ask(id, 1, &qos(2, true));
    world.expect(id, 1, &Method::BasicQosOk {});
    (2..=9).for_each(|n| world.publish(publisher, 1, "", "q", n.to_string().as_bytes()));
    world.run();
    world.expect_delivery(id, 1, "q", 2, b"2");
    world.expect_nothing(id);
    world.ask(id, 1, &get("q"));
    world.next_method(id, |_, method| assert!(matches!(method, Method::BasicGetOk { delivery_tag: 3, .. })));
    world.ignore(id);
    // The limit as it is, and the one unacked, which was counted late.
    world.ask(id, 1, &ack(1, false));
    world.expect_delivery(id, 1, "q", 4, b"4");
    world.expect_nothing(id);
    world.ask(id, 1, &nack(2, false, false));
    world.expect_delivery(id, 1, "q", 5, b"5");
    world.ask(id, 1, &qos(4, true));
    world.expect(id, 1, &Method::BasicQosOk {});
    world.expect_delivery(id, 1, "q", 6, b"6");
    world.expect_delivery(id, 1, "q", 7, b"7");
    world.expect_nothing(id);
    world.ask(id, 1, &ack(0, true));
    world.expect_delivery(id, 1, "q", 8, b"8");
    world.expect_delivery(id, 1, "q", 9, b"9");
    world.ask(id, 1, &qos(0, true));
    world.expect(id, 1, &Method::BasicQosOk {});
    (0..9).for_each(|_| world.publish(publisher, 1, "", "q", b"m"));
    world.run();
    (10..=18).for_each(|tag| world.expect_delivery(id, 1, "q", tag, b"m"));
}

/// FEATURES EC-19.
#[test]
fn prefetch_size_is_not_implemented() {
    let mut world = World::new();
    let id = world.connect_channel();
    world.send(id, 1, &Method::BasicQos { prefetch_size: 7, prefetch_count: 1, global: false });
    world.run();
    world.expect_connection_close(id, 540, (60, 10), "NOT_IMPLEMENTED - prefetch_size!=0 (7)");
}
