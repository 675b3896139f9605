//! What the broker tells of itself, as messages (FEATURES 2.15).

use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lepus::Server;
use lepus::auth::Secret;
use lepus::broker::{Alarm, PolicyKind, PolicySpec};

use crate::common::client::next;
use crate::common::{ChannelExt, Client, connect, connect_as, eventually, start, within};

/// A client that hears of events with keys of this pattern.
async fn listen(server: &Server, pattern: &str) -> (Client, lapin::Consumer) {
    let client = connect(server).await;
    client.queue("events").await;
    client.bind("events", "amq.rabbitmq.event", pattern).await;
    let consumer = client.consume("events", "listener").await;
    (client, consumer)
}

fn header<'a>(event: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    event.properties.headers().as_ref()?.inner().get(name)
}

fn text(event: &Delivery, name: &str) -> String {
    match header(event, name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name} of {} is {other:?}", event.routing_key),
    }
}

/// The next event with one of these keys.
async fn next_of(consumer: &mut lapin::Consumer, key: &str) -> Delivery {
    loop {
        let event = next(consumer).await;
        if event.routing_key.as_str() == key {
            return event;
        }
    }
}

/// FEATURES EV-1: an event is an empty persistent message with the time and headers that say what has happened to what.
#[tokio::test]
async fn declaring_and_binding_is_told() {
    let server = start().await;
    let (_listener, mut events) = listen(&server, "#").await;
    let client = connect(&server).await;
    client.exchange("hares", lapin::ExchangeKind::Fanout).await;
    client.queue("burrow").await;
    client.bind("burrow", "hares", "k").await;

    let event = next_of(&mut events, "exchange.created").await;
    assert_eq!((text(&event, "name"), text(&event, "type")), ("hares".into(), "fanout".into()));
    assert_eq!(text(&event, "user_who_performed_action"), "guest");
    assert!(event.data.is_empty() && event.exchange.as_str() == "amq.rabbitmq.event");
    assert_eq!(*event.properties.delivery_mode(), Some(2));
    let Some(AMQPValue::LongLongInt(ms)) = header(&event, "timestamp_in_ms") else { panic!("{event:?}") };
    assert_eq!(*event.properties.timestamp(), Some(ms.unsigned_abs() / 1000));
    let event = next_of(&mut events, "queue.created").await;
    assert_eq!((text(&event, "name"), text(&event, "vhost")), ("burrow".into(), "/".into()));
    assert_eq!(header(&event, "durable"), Some(&AMQPValue::Boolean(false)));
    let event = next_of(&mut events, "binding.created").await;
    let ends = ["source_name", "destination_name", "destination_kind", "routing_key"].map(|name| text(&event, name));
    assert_eq!(ends, ["hares", "burrow", "queue", "k"]);

    // What goes with an exchange is told as well.
    within(client.exchange_delete("hares".into(), Default::default())).await.unwrap();
    assert_eq!(text(&next_of(&mut events, "binding.deleted").await, "source_name"), "hares");
    assert_eq!(text(&next_of(&mut events, "exchange.deleted").await, "name"), "hares");
    within(client.queue_delete("burrow".into(), Default::default())).await.unwrap();
    let event = next_of(&mut events, "queue.deleted").await;
    assert_eq!((text(&event, "name"), text(&event, "user_who_performed_action")), ("burrow".into(), "guest".into()));
}

/// FEATURES EV-1: connections, channels, consumers, logins.
#[tokio::test]
async fn coming_and_going_is_told() {
    let server = start().await;
    let (_listener, mut events) = listen(&server, "#").await;
    let client = connect(&server).await;
    let event = next_of(&mut events, "user.authentication.success").await;
    assert_eq!((text(&event, "name"), text(&event, "auth_mechanism")), ("guest".into(), "PLAIN".into()));
    let event = next_of(&mut events, "connection.created").await;
    let connection = text(&event, "name");
    assert!(connection.contains(" -> "), "{connection}");
    let event = next_of(&mut events, "channel.created").await;
    assert_eq!(header(&event, "number"), Some(&AMQPValue::LongLongInt(1)));
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    within(client.queue_declare("mine".into(), options, FieldTable::default())).await.unwrap();
    within(client.basic_consume("mine".into(), "c".into(), BasicConsumeOptions::default(), FieldTable::default()))
        .await
        .unwrap();
    let event = next_of(&mut events, "consumer.created").await;
    assert_eq!((text(&event, "queue"), text(&event, "consumer_tag")), ("mine".into(), "c".into()));
    client.close().await;
    assert_eq!(text(&next_of(&mut events, "consumer.deleted").await, "consumer_tag"), "c");
    next_of(&mut events, "channel.closed").await;
    assert_eq!(text(&next_of(&mut events, "connection.closed").await, "name"), connection);
    assert_eq!(text(&next_of(&mut events, "queue.deleted").await, "name"), "mine");

    assert!(connect_as(&server, "guest", "wrong", "%2f").await.is_err());
    assert_eq!(text(&next_of(&mut events, "user.authentication.failure").await, "name"), "guest");
}

/// FEATURES EV-1: what operators do.
#[tokio::test]
async fn changes_by_operators_are_told() {
    let server = start().await;
    let (_listener, mut events) = listen(&server, "#").await;
    let broker = server.broker();
    let vhost = broker.add_vhost("shop");
    assert_eq!(text(&next_of(&mut events, "vhost.created").await, "name"), "shop");
    let spec: PolicySpec =
        serde_json::from_str(r#"{"pattern": "^a", "apply-to": "queues", "definition": {"max-length": 3}}"#).unwrap();
    broker.set_policy(&vhost, PolicyKind::User, "short", spec).unwrap();
    let event = next_of(&mut events, "policy.set").await;
    assert_eq!((text(&event, "name"), text(&event, "apply-to")), ("short".into(), "queues".into()));
    assert!(matches!(header(&event, "definition"), Some(AMQPValue::FieldTable(_))), "{event:?}");
    assert!(broker.delete_policy(&vhost, PolicyKind::User, "short"));
    assert_eq!(text(&next_of(&mut events, "policy.cleared").await, "name"), "short");
    broker.auth().put_user("eve", Secret::Password("x"), ["monitoring"]).unwrap();
    assert_eq!(text(&next_of(&mut events, "user.created").await, "name"), "eve");
    broker.auth().set_permissions("/", "eve", "a", "b", "c").unwrap();
    let event = next_of(&mut events, "permission.created").await;
    assert_eq!(["configure", "write", "read"].map(|right| text(&event, right)), ["a", "b", "c"]);
    assert!(broker.delete_user("eve"));
    next_of(&mut events, "user.deleted").await;
    broker.set_alarm(Alarm::Disk, true);
    assert_eq!(text(&next_of(&mut events, "alarm.set").await, "source"), "disk");
    broker.set_alarm(Alarm::Disk, false);
    next_of(&mut events, "alarm.cleared").await;
    broker.delete_vhost("shop").expect("it is there");
    assert_eq!(text(&next_of(&mut events, "vhost.deleted").await, "name"), "shop");
}

/// FEATURES XT-1, EV-1: the exchange is internal and in the vhost `/` only; deleting what is bound to it does not make
/// it wait for itself.
#[tokio::test]
async fn the_exchange_is_internal_and_may_be_listened_to_through_others() {
    let server = start().await;
    let (client, _events) = listen(&server, "nothing").await;
    let vhost = server.broker().vhost("/").unwrap();
    assert!(vhost.exchange("amq.rabbitmq.event").unwrap().internal);
    assert!(server.broker().add_vhost("other").exchange("amq.rabbitmq.event").is_none());
    client.exchange("behind", lapin::ExchangeKind::Fanout).await;
    let bound = client.exchange_bind(
        "behind".into(),
        "amq.rabbitmq.event".into(),
        "#".into(),
        Default::default(),
        FieldTable::default(),
    );
    within(bound).await.unwrap();
    client.queue("heard").await;
    client.bind("heard", "behind", "").await;
    within(client.exchange_delete("behind".into(), Default::default())).await.unwrap();
    client.queue("one-more").await;
    eventually("the bindings are told", || async { (client.count("heard").await.0 >= 1).then_some(()) }).await;
}
