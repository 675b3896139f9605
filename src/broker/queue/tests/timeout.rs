//! Deliveries that nobody settles, in virtual time.

use std::task::Waker;

use super::model::{Setup, World};
use crate::broker::event::Event;

const MINUTE_MS: u64 = 60_000;

fn setup(quorum: bool) -> Setup {
    let (ttl_ms, length_max, bytes_max) = (None, None, None);
    Setup {
        quorum,
        priority_max: 0,
        single_active: false,
        ttl_ms,
        length_max,
        bytes_max,
        reject: false,
        limit: 20,
        retry: None,
    }
}

/// Lets minutes pass, with the queue's timers ringing, until it gives somebody up: when, and whether a consumer.
fn given_up(world: &mut World, minutes: u64) -> Option<(u64, Option<u32>)> {
    for minute in 1..=minutes {
        world.queue.on_timer(minute * MINUTE_MS, &mut world.fx);
        world.fx.flush();
        let mut events = Vec::new();
        world.mailbox.take(&mut events, Waker::noop());
        for event in events {
            if let Event::DeliveryTimedOut { consumer, timeout_ms, .. } = event {
                assert_eq!(timeout_ms, 30 * MINUTE_MS);
                return Some((minute, consumer));
            }
        }
    }
    None
}

/// FEATURES FL-5, EH-26: after half an hour, and not much later. A classic queue has the channel closed, a quorum queue
/// drops the consumer and has the message back.
#[test]
fn a_delivery_that_is_not_settled_times_out() {
    for quorum in [false, true] {
        let mut world = World::new(setup(quorum));
        world.consume(1, 0, 0, false);
        world.publish(None, None, 0);
        let (minute, consumer) = given_up(&mut world, 60).expect("it times out");
        assert!((30..=35).contains(&minute), "after {minute} minutes");
        assert_eq!(consumer.is_some(), quorum);
        let left = (world.queue.messages(), world.queue.consumer_count());
        assert_eq!(left, if quorum { (1, 0) } else { (0, 1) });
    }
}

/// FEATURES FL-5: what is settled, or was never to be, does not.
#[test]
fn what_is_settled_does_not_time_out() {
    let mut world = World::new(setup(false));
    world.consume(1, 0, 0, false);
    world.publish(None, None, 0);
    world.settle(0, crate::broker::event::Settlement::Ack);
    world.cancel(0);
    world.consume(2, 0, 0, true);
    world.publish(None, None, 0);
    assert_eq!(given_up(&mut world, 90), None);
}
