//! Publisher confirms: who is acked, when, and in how few frames.

use std::collections::BTreeSet;

use lapin::options::QueueDeclareOptions;
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Confirmation, ExchangeKind};

use crate::common::client::returned;
use crate::common::raw::{self, Args, Raw, id};
use crate::common::{ChannelExt, args, start, start_client, table, within};

/// FEATURES PC-1, M-26, PC-9: numbers start with the first publish after confirm.select, which may be repeated.
#[tokio::test]
async fn numbers_start_after_the_select() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.send(&raw::publish(1, "", "q", b"uncounted")).await;
    for _ in 0..2 {
        raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    }
    // The nowait form has no answer.
    raw.method(1, id::CONFIRM_SELECT, Args::new().octet(1)).await;
    for expected in 1..=3_u64 {
        raw.send(&raw::publish(1, "", "q", b"counted")).await;
        let frame = raw.expect(1, id::ACK).await;
        let mut args = frame.args();
        assert_eq!((args.longlong(), args.octet()), (expected, 0), "a lone ack is not multiple");
    }
}

/// FEATURES PC-3, PC-7, trap 6: for the unroutable and mandatory the return comes right before its ack.
#[tokio::test]
async fn returns_come_before_their_acks() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes.extend(raw::publish_with(1, args::publish("amq.direct", "nowhere", 1), &[0, 0], b"x"));
    }
    raw.send(&bytes).await;
    for expected in 1..=3_u64 {
        raw.expect(1, id::RETURN).await;
        raw.content(1).await;
        let frame = raw.expect(1, id::ACK).await;
        assert_eq!(frame.args().longlong(), expected);
    }
}

/// An unroutable message that is not mandatory is acked, never nacked. FEATURES PC-3.
#[tokio::test]
async fn unroutable_is_acked() {
    let (_server, client) = start_client().await;
    client.confirms().await;
    client.publish_confirmed("amq.fanout", "", b"nobody").await;
    let message = returned(client.publish_mandatory("amq.fanout", "key", b"nobody").await).await;
    assert_eq!((message.reply_code, message.reply_text.as_str()), (312, "NO_ROUTE"));
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("amq.fanout", "key"));
}

/// FEATURES PC-4, PC-2, trap 6: a thousand pipelined publishes need few acks, and each number is covered once.
#[tokio::test]
async fn pipelined_publishes_are_acked_together() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 2), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    let persistent = Args::new().short(0x1000).octet(2).0;
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        bytes.extend(raw::publish_with(1, args::publish("", "q", 0), &persistent, b"x"));
    }
    raw.send(&bytes).await;
    let (mut covered, mut frames) = (0, 0);
    while covered < 1000 {
        let frame = raw.expect(1, id::ACK).await;
        let mut args = frame.args();
        let (tag, multiple) = (args.longlong(), args.octet() == 1);
        assert!(if multiple { tag > covered } else { tag == covered + 1 }, "ack {tag} after {covered}");
        covered = tag;
        frames += 1;
    }
    assert_eq!(covered, 1000);
    assert!(frames <= 100, "{frames} acks for 1000 publishes");
}

/// FEATURES PC-1, PC-4: every channel of a connection counts and is confirmed on its own.
#[tokio::test]
async fn channels_are_confirmed_on_their_own() {
    let server = start().await;
    let mut raw = Raw::open(server.amqp_addr()).await;
    for channel in 1..=20 {
        raw.channel(channel).await;
        raw.call(channel, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    }
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    let mut bytes = Vec::new();
    for number in 0..10 {
        for channel in 1..=20 {
            // Half of them go nowhere, which is confirmed on the spot.
            let queue = if (channel + number) % 2 == 0 { "q" } else { "nowhere" };
            bytes.extend(raw::publish(channel, "", queue, b"x"));
        }
    }
    raw.send(&bytes).await;
    let mut open: Vec<BTreeSet<u64>> = (0..=20).map(|_| (1..=10).collect()).collect();
    open[0].clear();
    while open.iter().any(|numbers| !numbers.is_empty()) {
        let frame = raw.next().await.expect("an ack");
        assert_eq!(frame.method(), Some(id::ACK));
        let mut args = frame.args();
        let (tag, multiple) = (args.longlong(), args.octet() == 1);
        let numbers = &mut open[usize::from(frame.channel)];
        assert!(numbers.remove(&tag), "{tag} was acked twice on channel {}", frame.channel);
        if multiple {
            *numbers = numbers.split_off(&tag);
        }
    }
}

/// FEATURES PC-5, TL-7, trap 7: one queue that rejects makes it a nack; the others keep their copy.
#[tokio::test]
async fn one_rejecting_queue_makes_a_nack() {
    let (_server, client) = start_client().await;
    let arguments = table([
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ]);
    client.declare("full", QueueDeclareOptions::default(), arguments).await.expect("declared");
    client.queue("open").await;
    client.exchange("both", ExchangeKind::Fanout).await;
    client.bind("full", "both", "").await;
    client.bind("open", "both", "").await;
    client.confirms().await;
    let mut answers = Vec::new();
    for n in 0..3_u8 {
        answers.push(within(client.publish("both", "", &[b'0' + n]).await).await.expect("a confirm"));
    }
    assert_eq!(answers, [Confirmation::Ack(None), Confirmation::Nack(None), Confirmation::Nack(None)]);
    assert_eq!(client.drain("open").await, ["0", "1", "2"]);
    assert_eq!(client.drain("full").await, ["0"]);
}

/// FEATURES PC-2: a persistent message on a durable queue is confirmed, delivered or not.
#[tokio::test]
async fn persistent_messages_are_confirmed() {
    let (_server, client) = start_client().await;
    client.declare("d", QueueDeclareOptions::durable(), table([])).await.expect("declared");
    client.confirms().await;
    for _ in 0..10 {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let confirm = client.publish_with("", "d", b"kept", properties).await;
        assert_eq!(within(confirm).await.expect("a confirm"), Confirmation::Ack(None));
    }
    assert_eq!(client.count("d").await, (10, 0));
}

/// FEATURES PC-6: a queue deleted while confirms are pending does not turn them into nacks.
#[tokio::test]
async fn deleting_the_queue_confirms_what_is_pending() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("gone", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    raw.channel(2).await;
    let mut bytes = Vec::new();
    for _ in 0..100 {
        bytes.extend(raw::publish(1, "", "gone", b"x"));
    }
    bytes.extend(raw::method(2, id::QUEUE_DELETE, args::queue_delete("gone", 0)));
    for _ in 0..100 {
        bytes.extend(raw::publish(1, "", "gone", b"x"));
    }
    raw.send(&bytes).await;
    let mut covered = 0;
    while covered < 200 {
        let frame = raw.next().await.expect("an answer");
        match frame.method() {
            Some(id::ACK) => covered = frame.args().longlong(),
            Some(id::QUEUE_DELETE_OK) => {}
            other => panic!("expected acks and delete-ok, got {other:?}"),
        }
    }
}

/// FEATURES EH-22.
#[tokio::test]
async fn confirm_and_tx_exclude_each_other() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::CONFIRM_SELECT, Args::new().octet(0), id::CONFIRM_SELECT_OK).await;
    raw.method(1, id::TX_SELECT, Args::new()).await;
    let close = raw.expect_channel_close(1).await;
    assert_eq!((close.code, close.method), (406, id::TX_SELECT));
    assert_eq!(close.text, "PRECONDITION_FAILED - cannot switch from confirm to tx mode");
    raw.channel(1).await;
    raw.call(1, id::TX_SELECT, Args::new(), id::TX_SELECT_OK).await;
    raw.method(1, id::CONFIRM_SELECT, Args::new().octet(0)).await;
    let close = raw.expect_channel_close(1).await;
    assert_eq!((close.code, close.method), (406, id::CONFIRM_SELECT));
    assert_eq!(close.text, "PRECONDITION_FAILED - cannot switch from tx to confirm mode");
}
