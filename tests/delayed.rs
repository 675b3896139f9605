//! Exchanges of type x-delayed-message: what they hold back, for how long, and what happens to it.

use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};

use crate::common::client::{delivered, next, next_bodies, refused, text as body_of};
use crate::common::place::Place;
use crate::common::{ChannelExt, Client, connect, eventually, start_client, table, within};
use crate::exchange_plugins::{bind_exchange, declare, headers, text};

async fn delayed(channel: &Channel, name: &str, kind: &str) {
    declare(channel, name, "x-delayed-message", table([("x-delayed-type", text(kind))])).await.expect("declare-ok");
}

fn delay(ms: i32) -> BasicProperties {
    headers([("x-delay", AMQPValue::LongInt(ms))])
}

/// A delayed direct exchange `x` with the queue `q` bound by `k`, in confirm mode.
async fn start() -> (lepus::Server, Client) {
    let (server, client) = start_client().await;
    delayed(&client, "x", "direct").await;
    client.queue("q").await;
    client.bind("q", "x", "k").await;
    client.confirms().await;
    (server, client)
}

async fn confirmed(channel: &Channel, exchange: &str, key: &str, body: &str, properties: BasicProperties) {
    let confirm = channel.publish_with(exchange, key, body.as_bytes(), properties).await;
    assert!(matches!(within(confirm).await.expect("a confirm"), Confirmation::Ack(None)));
}

/// FEATURES XT-10: messages come by their delays, never early, equal delays in the order of publishing; a confirm
/// comes when the message is held; the header is negated.
#[tokio::test]
async fn messages_come_when_their_time_has_come() {
    let (_server, client) = start().await;
    let mut consumer = client.consume("q", "c").await;
    let begin = Instant::now();
    for (body, ms) in [("late", 400), ("soon", 150), ("also soon", 150), ("now", 0)] {
        confirmed(&client, "x", "k", body, delay(ms)).await;
    }
    assert!(begin.elapsed() < Duration::from_millis(400), "the confirm does not wait for the delay");
    let expected = [("now", 0), ("soon", 150), ("also soon", 150), ("late", 400)];
    for (body, ms) in expected {
        let delivery = next(&mut consumer).await;
        assert_eq!(body_of(&delivery), body);
        assert!(begin.elapsed() >= Duration::from_millis(ms), "{body} is early: {:?}", begin.elapsed());
        let headers = delivery.properties.headers().clone().expect("headers");
        assert_eq!(headers.inner().get("x-delay"), Some(&AMQPValue::LongInt(-(ms as i32))));
    }
}

/// FEATURES XT-10: all widths of integers; garbage, nothing and negative delays are routed at once, delays beyond the
/// plugin's limit are held.
#[tokio::test]
async fn which_headers_delay() {
    let (server, client) = start().await;
    let at_once = [
        AMQPValue::LongLongInt(-5),
        AMQPValue::LongInt(0),
        AMQPValue::Boolean(true),
        text("soon"),
        AMQPValue::Void,
        AMQPValue::LongLongInt(315_360_000_001),
        AMQPValue::FieldTable(FieldTable::default()),
    ];
    let routed_at_once = at_once.len() as u32 + 1;
    for value in at_once {
        confirmed(&client, "x", "k", "now", headers([("x-delay", value)])).await;
    }
    confirmed(&client, "x", "k", "now", BasicProperties::default()).await;
    assert_eq!(client.count("q").await.0, routed_at_once);
    client.drain("q").await;
    for value in [
        AMQPValue::ShortShortInt(90),
        AMQPValue::ShortShortUInt(200),
        AMQPValue::ShortInt(90),
        AMQPValue::ShortUInt(90),
        AMQPValue::LongUInt(90),
        AMQPValue::LongLongInt(90),
        text("90"),
        AMQPValue::Double(90.5),
    ] {
        let before = Instant::now();
        confirmed(&client, "x", "k", "later", headers([("x-delay", value.clone())])).await;
        eventually("it comes", async || (client.count("q").await.0 == 1).then_some(())).await;
        assert!(before.elapsed() >= Duration::from_millis(90), "{value:?}");
        client.drain("q").await;
    }
    for ms in [(1 << 32) - 1, 1 << 32, 315_360_000_000] {
        confirmed(&client, "x", "k", "far", headers([("x-delay", AMQPValue::LongLongInt(ms))])).await;
    }
    assert_eq!(client.count("q").await.0, 0);
    let exchange = server.broker().vhost("/").and_then(|vhost| vhost.exchange("x")).expect("the exchange");
    assert_eq!(exchange.messages_delayed(), 3);
}

/// FEATURES XT-10: a mandatory message that is held is returned at once, with one ack, and comes all the same.
#[tokio::test]
async fn mandatory_is_returned_at_once() {
    let (_server, client) = start().await;
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let confirm = within(client.basic_publish("x".into(), "k".into(), options, b"m", delay(100))).await.expect("sent");
    match within(confirm).await.expect("a confirm") {
        Confirmation::Ack(Some(message)) => assert_eq!(message.reply_code, 312),
        other => panic!("{other:?}"),
    }
    // The numbers of later confirms still agree.
    confirmed(&client, "", "q", "direct", BasicProperties::default()).await;
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 2).await, ["direct", "m"]);
}

/// FEATURES XT-10: bindings count as they are when the time has come, of whatever inner type.
#[tokio::test]
async fn bindings_are_looked_at_after_the_delay() {
    let (_server, client) = start().await;
    delayed(&client, "topic", "topic").await;
    confirmed(&client, "topic", "a.b", "bound meanwhile", delay(150)).await;
    confirmed(&client, "x", "k", "unbound meanwhile", delay(150)).await;
    client.bind("q", "topic", "a.*").await;
    within(client.queue_unbind("q".into(), "x".into(), "k".into(), table([]))).await.expect("unbind-ok");
    confirmed(&client, "topic", "a.b", "last", delay(250)).await;
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 2).await, ["bound meanwhile", "last"]);
}

/// FEATURES XT-10: with the exchange its messages go; an exchange made anew has none of them.
#[tokio::test]
async fn a_deleted_exchange_drops_what_it_holds() {
    let (_server, client) = start().await;
    confirmed(&client, "x", "k", "lost", delay(150)).await;
    within(client.exchange_delete("x".into(), ExchangeDeleteOptions::default())).await.expect("delete-ok");
    delayed(&client, "x", "direct").await;
    client.bind("q", "x", "k").await;
    confirmed(&client, "x", "k", "kept", delay(250)).await;
    let mut consumer = client.consume("q", "c").await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["kept"]);
    assert!(delivered(&client, "q", &mut consumer).await.is_empty());
}

/// FEATURES XT-10, RO-4, RO-5: a message is held whatever way it comes: from another exchange, as a dead letter, from
/// a transaction, by an alternate exchange. CC and BCC keys count after the delay.
#[tokio::test]
async fn every_way_to_the_exchange_is_delayed() {
    let (_server, client) = start().await;
    bind_exchange(&client, "x", "amq.fanout", "").await;
    let alternate = table([("alternate-exchange", text("x"))]);
    declare(&client, "nowhere", "direct", alternate).await.expect("declare-ok");
    let dead = table([
        ("x-dead-letter-exchange", text("x")),
        ("x-dead-letter-routing-key", text("k")),
        ("x-message-ttl", AMQPValue::LongInt(0)),
    ]);
    client.declare("dying", QueueDeclareOptions::default(), dead).await.expect("declare-ok");
    let begin = Instant::now();
    confirmed(&client, "amq.fanout", "k", "bound", delay(200)).await;
    confirmed(&client, "nowhere", "k", "alternate", delay(200)).await;
    confirmed(&client, "", "dying", "dead", delay(200)).await;
    let tx = client.another_channel().await;
    within(tx.tx_select()).await.expect("tx.select-ok");
    tx.publish_with("x", "k", b"committed", delay(200)).await;
    within(tx.tx_commit()).await.expect("tx.commit-ok");
    tx.publish_with("x", "k", b"rolled back", delay(1)).await;
    within(tx.tx_rollback()).await.expect("tx.rollback-ok");
    let mut copies = table([("x-delay", AMQPValue::LongInt(300))]);
    let keys = |key: &str| AMQPValue::FieldArray(vec![text(key)].into());
    copies.insert("BCC".into(), keys("k"));
    confirmed(&client, "x", "other", "blind copy", BasicProperties::default().with_headers(copies)).await;
    let mut consumer = client.consume("q", "c").await;
    let mut bodies = next_bodies(&mut consumer, 5).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    bodies.sort_unstable();
    assert_eq!(bodies, ["alternate", "blind copy", "bound", "committed", "dead"]);
    assert!(delivered(&client, "q", &mut consumer).await.is_empty());
}

/// FEATURES XT-10: what finds no binding after its delay goes to the alternate exchange then, not before.
#[tokio::test]
async fn the_alternate_exchange_gets_it_after_the_delay() {
    let (_server, client) = start_client().await;
    let arguments = table([("x-delayed-type", text("direct")), ("alternate-exchange", text("amq.fanout"))]);
    declare(&client, "x", "x-delayed-message", arguments).await.expect("declare-ok");
    client.queue("q").await;
    client.bind("q", "amq.fanout", "").await;
    client.confirms().await;
    confirmed(&client, "x", "k", "m", delay(200)).await;
    assert_eq!(client.count("q").await.0, 0);
    eventually("it comes", async || (client.count("q").await.0 == 1).then_some(())).await;
}

/// FEATURES XT-10, QU-5, EH-4: the inner type is part of what the exchange is.
#[tokio::test]
async fn another_inner_type_is_another_exchange() {
    let (_server, client) = start().await;
    delayed(&client, "x", "direct").await;
    let text = "PRECONDITION_FAILED - inequivalent arg 'x-delayed-type' for exchange 'x' in vhost '/': received \
                'fanout' but current is 'direct'";
    let arguments = table([("x-delayed-type", self::text("fanout"))]);
    refused(declare(&client, "x", "x-delayed-message", arguments), 406, text).await;
}

/// FEATURES XT-10: held messages are held though everybody is gone, and come to a consumer with a limit one by one.
#[tokio::test]
async fn many_are_held() {
    let (server, client) = start().await;
    let published = 2000;
    for n in 0..published {
        client.publish_with("x", "k", n.to_string().as_bytes(), delay(1 + n * 7 % 500)).await;
    }
    client.publish_confirmed("x", "k", b"at once").await;
    client.close().await;
    let client = crate::common::connect(&server).await;
    eventually("all are there", async || (client.count("q").await.0 == published as u32 + 1).then_some(())).await;
    let bodies = client.drain("q").await;
    assert_eq!(bodies.len(), published as usize + 1);
    let exchange = server.broker().vhost("/").and_then(|vhost| vhost.exchange("x")).expect("the exchange");
    assert_eq!(exchange.messages_delayed(), 0);
}

/// FEATURES XT-10, EC-27: a deleted vhost leaves nothing behind that could come.
#[tokio::test]
async fn a_deleted_vhost_drops_what_is_held() {
    let (server, client) = start_client().await;
    server.broker().add_vhost("v");
    server.broker().auth().set_permissions("v", "guest", ".*", ".*", ".*").expect("permissions");
    for body in ["lost", "kept"] {
        let other = crate::common::connect_as(&server, "guest", "guest", "v").await.expect("connects");
        delayed(&other, "x", "fanout").await;
        other.queue("q").await;
        other.bind("q", "x", "").await;
        other.confirms().await;
        confirmed(&other, "x", "k", body, delay(if body == "lost" { 100 } else { 250 })).await;
        if body == "lost" {
            server.broker().delete_vhost("v").expect("it is there");
            server.broker().add_vhost("v");
            server.broker().auth().set_permissions("v", "guest", ".*", ".*", ".*").expect("permissions");
        } else {
            eventually("it comes", async || (other.count("q").await.0 == 1).then_some(())).await;
            assert_eq!(other.drain("q").await, ["kept"]);
        }
    }
    client.exchange("unused", ExchangeKind::Fanout).await;
}

/// FEATURES XT-10: delays that overflow, or are no numbers at all, are none; the message comes as it was sent.
#[tokio::test]
async fn delays_out_of_all_range_are_none() {
    let (_server, client) = start().await;
    for value in [
        AMQPValue::LongLongInt(i64::MIN),
        AMQPValue::LongLongInt(i64::MAX),
        AMQPValue::LongInt(i32::MIN),
        AMQPValue::ShortInt(i16::MIN),
        AMQPValue::ShortShortInt(i8::MIN),
        AMQPValue::Timestamp(u64::MAX),
        AMQPValue::Double(f64::MAX),
        AMQPValue::Double(f64::MIN),
        AMQPValue::Double(f64::INFINITY),
        AMQPValue::Double(f64::NEG_INFINITY),
        AMQPValue::Float(f32::MAX),
        text("9223372036854775808"),
        text("-9223372036854775809"),
        text("1e300"),
        text(""),
        AMQPValue::FieldArray(vec![AMQPValue::LongInt(5)].into()),
    ] {
        confirmed(&client, "x", "k", "now", headers([("x-delay", value.clone())])).await;
        let got = client.get("q").await.unwrap_or_else(|| panic!("{value:?} delays"));
        let headers = got.properties.headers().clone().expect("headers");
        assert_eq!(headers.inner().get("x-delay"), Some(&value));
    }
}

fn held(server: &lepus::Server, exchange: &str) -> u64 {
    let exchange = server.broker().vhost("/").expect("a vhost").exchange(exchange).expect("an exchange");
    exchange.messages_delayed()
}

/// Exchanges that come to lie in all lanes.
const EXCHANGES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What a durable exchange holds back is there in the next life, transient messages too, whether this one ended well or
/// not: what is due meanwhile comes then, what is not waits on, and what has come does not come again.
#[tokio::test]
async fn delayed_messages_survive_a_restart() {
    let place = Place::new();
    let mut server = place.start().await;
    let client = connect(&server).await;
    let durable = || QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    for queue in ["q", "r", "s"] {
        client.declare(queue, durable(), FieldTable::default()).await.expect("queue.declare-ok");
    }
    for exchange in EXCHANGES {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let (kind, arguments) =
            (ExchangeKind::Custom("x-delayed-message".into()), [("x-delayed-type", text("direct"))]);
        within(client.exchange_declare(exchange.into(), kind, options, table(arguments))).await.expect("declare-ok");
        for queue in ["q", "r", "s"] {
            client.bind(queue, exchange, "k").await;
        }
        // Bound by a key that only BCC names.
        client.bind("s", exchange, "hidden").await;
    }
    let long = 3_600_000;
    let mut far = 0;
    for life in 0..4 {
        let client = connect(&server).await;
        client.confirms().await;
        for exchange in EXCHANGES {
            for number in 0..20 {
                let mode = 1 + number % 2;
                confirmed(&client, exchange, "k", "far", delay(long).with_delivery_mode(mode)).await;
            }
            let bcc = AMQPValue::FieldArray(vec![text("hidden")].into());
            let properties = headers([("x-delay", AMQPValue::LongInt(1000)), ("BCC", bcc)]).with_delivery_mode(2);
            for body in ["1", "2", "3"] {
                confirmed(&client, exchange, "none", body, properties.clone()).await;
            }
        }
        far += 20;
        drop(client);
        if life % 2 == 0 {
            drop(server);
        } else {
            server.shutdown().await;
        }
        server = place.start().await;
        let client = connect(&server).await;
        let mut came = Vec::new();
        within(async {
            while came.len() < 3 * EXCHANGES.len() {
                came.extend(client.drain("s").await);
            }
        })
        .await;
        came.sort_unstable();
        assert_eq!(came, ["1", "2", "3"].map(|body| vec![body; EXCHANGES.len()]).concat());
        for exchange in EXCHANGES {
            eventually("the others wait", async || (held(&server, exchange) == far).then_some(())).await;
        }
    }
    // Gone with their exchange.
    let client = connect(&server).await;
    within(client.exchange_delete("a".into(), ExchangeDeleteOptions::default())).await.expect("exchange.delete-ok");
    server.shutdown().await;
    let server = place.start().await;
    assert!(server.broker().vhost("/").expect("a vhost").exchange("a").is_none());
    eventually("the others wait", async || (held(&server, "b") == far).then_some(())).await;
    server.shutdown().await;
}
