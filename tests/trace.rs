//! The firehose: copies of everything that is published and delivered (FEATURES 2.15).

use lapin::message::Delivery;
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Consumer};

use crate::common::client::next;
use crate::common::{ChannelExt, Client, connect, start, table};

async fn listen(client: &Client) -> Consumer {
    client.queue("copies").await;
    client.bind("copies", "amq.rabbitmq.trace", "#").await;
    let channel = client.another_channel().await;
    channel.consume("copies", "tracer").await
}

fn header(copy: &Delivery, name: &str) -> AMQPValue {
    let headers = copy.properties.headers().clone().unwrap_or_default();
    headers.inner().get(name).cloned().unwrap_or_else(|| panic!("no {name} in {headers:?}"))
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.as_bytes().into())
}

fn texts(values: &[&str]) -> AMQPValue {
    AMQPValue::FieldArray(values.iter().map(|value| text(value)).collect::<Vec<_>>().into())
}

/// FEATURES EV-2.
#[tokio::test]
async fn publishes_and_deliveries_are_copied() {
    let server = start().await;
    let client = connect(&server).await;
    let tracer = connect(&server).await;
    let mut copies = listen(&tracer).await;
    client.queue("q").await;
    client.publish("", "q", b"before").await;
    client.get("q").await.unwrap();

    server.broker().vhost("/").unwrap().set_tracing(true);
    let headers = table([("CC", texts(&["other"])), ("n", AMQPValue::LongInt(7))]);
    let properties = BasicProperties::default().with_headers(headers).with_priority(3).with_type("t".into());
    client.publish_with("", "q", b"hare", properties).await;

    let copy = next(&mut copies).await;
    assert_eq!((copy.routing_key.as_str(), copy.exchange.as_str()), ("publish.", "amq.rabbitmq.trace"));
    assert_eq!(copy.data, b"hare");
    assert_eq!(header(&copy, "exchange_name"), text(""));
    assert_eq!(header(&copy, "routing_keys"), texts(&["q", "other"]));
    assert_eq!(header(&copy, "routed_queues"), texts(&["q"]));
    assert_eq!((header(&copy, "user"), header(&copy, "vhost")), (text("guest"), text("/")));
    assert_eq!(header(&copy, "channel"), AMQPValue::LongInt(1));
    let AMQPValue::FieldTable(properties) = header(&copy, "properties") else { panic!("no table") };
    assert_eq!(properties.inner().get("priority"), Some(&AMQPValue::LongInt(3)));
    assert_eq!(properties.inner().get("type"), Some(&text("t")));

    let got = client.get("q").await.unwrap();
    client.nack(got.delivery.delivery_tag, false, true).await;
    let copy = next(&mut copies).await;
    assert_eq!(copy.routing_key.as_str(), "deliver.q");
    assert_eq!((copy.data.as_slice(), header(&copy, "redelivered")), (&b"hare"[..], AMQPValue::LongInt(0)));
    let mut consumer = client.consume("q", "c").await;
    next(&mut consumer).await;
    let copy = next(&mut copies).await;
    assert_eq!((copy.routing_key.as_str(), header(&copy, "redelivered")), ("deliver.q", AMQPValue::LongInt(1)));

    // The copies that the tracer gets are deliveries, too, but of the exchange that is not traced.
    server.broker().vhost("/").unwrap().set_tracing(false);
    client.publish("", "q", b"after").await;
    next(&mut consumer).await;
    assert_eq!(tracer.count("copies").await.0, 0);
}
