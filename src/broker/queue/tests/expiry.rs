//! Messages that expire, in virtual time.

use std::sync::Arc;
use std::task::Waker;

use super::model::{Setup, World};
use crate::broker::event::{ChannelKey, Event};
use crate::broker::limiter::Limiter;
use crate::broker::queue::Subscription;
use crate::broker::queue::expiry::EXPIRED_AT_ONCE;

fn setup() -> Setup {
    Setup {
        quorum: false,
        priority_max: 0,
        single_active: false,
        ttl_ms: None,
        length_max: None,
        bytes_max: None,
        reject: false,
        limit: 20,
        retry: None,
    }
}

/// FEATURES TL-2: what one long life kept behind it expires bit by bit, at the queue's own asking, and none of it goes
/// to a consumer meanwhile.
#[test]
fn many_that_expire_at_once_go_bit_by_bit() {
    let mut world = World::new(setup());
    world.publish(None, Some(2000), 0);
    let hidden = 3 * EXPIRED_AT_ONCE;
    for _ in 1..hidden {
        world.publish(None, Some(1000), 0);
    }
    world.publish(None, None, 0);
    world.fx.timers.clear();
    assert_eq!(world.queue.on_timer(1500, &mut world.fx), 0, "the head has time");

    let late_ms = 3000;
    let subscription = Subscription {
        channel: ChannelKey { number: 1, epoch: 0 },
        tag: None,
        consumer: 0,
        no_ack: true,
        exclusive: false,
        prefetch: 0,
        priority: 0,
        limiter: Arc::new(Limiter::new()),
        timeout_ms: None,
    };
    world.queue.consume(world.conn, subscription, late_ms, &mut world.fx).unwrap();
    for round in 1..=3 {
        world.fx.timers.clear();
        assert_eq!(world.queue.on_timer(late_ms, &mut world.fx), EXPIRED_AT_ONCE);
        assert_eq!(world.queue.messages() as usize, hidden + 1 - round * EXPIRED_AT_ONCE);
        let asked: Vec<_> = world.fx.timers.iter().map(|(at_ms, _)| *at_ms).collect();
        assert_eq!(asked, [late_ms], "once, and at once");
    }
    assert_eq!(world.queue.on_timer(late_ms, &mut world.fx), 0);
    assert_eq!(world.queue.messages(), 0, "the last is delivered");
    world.fx.flush();
    let mut events = Vec::new();
    world.mailbox.take(&mut events, Waker::noop());
    let delivered = events.iter().filter(|event| matches!(event, Event::Deliver(_))).count();
    assert_eq!(delivered, 1);
}
