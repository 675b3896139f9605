//! Short helpers over the lapin client, in the vocabulary of AMQP.

use std::future::Future;
use std::ops::Deref;

use futures_util::{FutureExt, StreamExt};
use lapin::message::{BasicGetMessage, BasicReturnMessage, Delivery};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind, ExchangeKind,
    PublisherConfirm,
};
use lepus::Server;

use super::within;

/// A connection with one channel open; stands for the channel.
pub(crate) struct Client {
    /// Closes when dropped.
    pub(crate) connection: Connection,
    /// The first channel.
    pub(crate) channel: Channel,
}

impl Client {
    /// Connects to a URI.
    pub(crate) async fn open(uri: &str) -> Result<Self, lapin::Error> {
        within(async {
            let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            Ok(Self { connection, channel })
        })
        .await
    }

    /// One more channel on the connection.
    pub(crate) async fn another_channel(&self) -> Channel {
        within(self.connection.create_channel()).await.expect("channel.open-ok")
    }

    /// Closes the connection and waits for close-ok.
    pub(crate) async fn close(self) {
        within(self.connection.close(200, "bye".into())).await.expect("connection.close-ok");
    }
}

impl Deref for Client {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

/// Connects as the default user to the default vhost.
pub(crate) async fn connect(server: &Server) -> Client {
    Client::open(&server.amqp_uri()).await.expect("the client connects")
}

/// Connects as `user` to `vhost` (percent-encoded already).
pub(crate) async fn connect_as(
    server: &Server,
    user: &str,
    password: &str,
    vhost: &str,
) -> Result<Client, lapin::Error> {
    Client::open(&format!("amqp://{user}:{password}@{}/{vhost}", server.amqp_addr())).await
}

/// An argument table.
pub(crate) fn table<const N: usize>(pairs: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in pairs {
        table.insert(key.into(), value);
    }
    table
}

/// What the helpers do on a channel. Those that return a plain value fail the test when the broker refuses.
pub(crate) trait ChannelExt {
    /// Declares a transient queue without arguments and gives its name.
    async fn queue(&self, name: &str) -> String;
    /// Declares a queue.
    async fn declare(
        &self,
        name: &str,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> lapin::Result<lapin::Queue>;
    /// Declares a transient exchange.
    async fn exchange(&self, name: &str, kind: ExchangeKind);
    /// Binds a queue.
    async fn bind(&self, queue: &str, exchange: &str, key: &str);
    /// Binds a queue with arguments.
    async fn bind_with(&self, queue: &str, exchange: &str, key: &str, arguments: FieldTable);
    /// Publishes without properties.
    async fn publish(&self, exchange: &str, key: &str, body: &[u8]) -> PublisherConfirm;
    /// Publishes with properties.
    async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> PublisherConfirm;
    /// Publishes with the mandatory bit.
    async fn publish_mandatory(&self, exchange: &str, key: &str, body: &[u8]) -> PublisherConfirm;
    /// Puts the channel into confirm mode.
    async fn confirms(&self);
    /// Publishes on a confirming channel and waits for the ack.
    async fn publish_confirmed(&self, exchange: &str, key: &str, body: &[u8]);
    /// Ready messages and consumers, by a passive declare.
    async fn count(&self, queue: &str) -> (u32, u32);
    /// basic.get with manual ack.
    async fn get(&self, queue: &str) -> Option<BasicGetMessage>;
    /// Takes all ready messages by no-ack gets and gives their bodies.
    async fn drain(&self, queue: &str) -> Vec<String>;
    /// Starts a consumer with manual acks.
    async fn consume(&self, queue: &str, tag: &str) -> Consumer;
    /// Starts a consumer.
    async fn consume_with(
        &self,
        queue: &str,
        tag: &str,
        options: BasicConsumeOptions,
        arguments: FieldTable,
    ) -> lapin::Result<Consumer>;
    /// basic.qos.
    async fn qos(&self, count: u16, global: bool);
    /// basic.ack of one tag, or of all up to it.
    async fn ack(&self, tag: u64, multiple: bool);
    /// basic.nack.
    async fn nack(&self, tag: u64, multiple: bool, requeue: bool);
    /// basic.reject.
    async fn reject(&self, tag: u64, requeue: bool);
}

impl ChannelExt for Channel {
    async fn queue(&self, name: &str) -> String {
        let declared = self.declare(name, QueueDeclareOptions::default(), FieldTable::default()).await;
        declared.expect("queue.declare-ok").name().to_string()
    }

    async fn declare(
        &self,
        name: &str,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> lapin::Result<lapin::Queue> {
        within(self.queue_declare(name.into(), options, arguments)).await
    }

    async fn exchange(&self, name: &str, kind: ExchangeKind) {
        within(self.exchange_declare(name.into(), kind, ExchangeDeclareOptions::default(), FieldTable::default()))
            .await
            .expect("exchange.declare-ok");
    }

    async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.bind_with(queue, exchange, key, FieldTable::default()).await;
    }

    async fn bind_with(&self, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
        within(self.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), arguments))
            .await
            .expect("queue.bind-ok");
    }

    async fn publish(&self, exchange: &str, key: &str, body: &[u8]) -> PublisherConfirm {
        self.publish_with(exchange, key, body, BasicProperties::default()).await
    }

    async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> PublisherConfirm {
        within(self.basic_publish(exchange.into(), key.into(), BasicPublishOptions::default(), body, properties))
            .await
            .expect("the publish is sent")
    }

    async fn publish_mandatory(&self, exchange: &str, key: &str, body: &[u8]) -> PublisherConfirm {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        within(self.basic_publish(exchange.into(), key.into(), options, body, BasicProperties::default()))
            .await
            .expect("the publish is sent")
    }

    async fn confirms(&self) {
        within(self.confirm_select(ConfirmSelectOptions::default())).await.expect("confirm.select-ok");
    }

    async fn publish_confirmed(&self, exchange: &str, key: &str, body: &[u8]) {
        let confirm = self.publish(exchange, key, body).await;
        let confirmation = within(confirm).await.expect("a confirm");
        assert!(confirmation.is_ack(), "expected an ack, got {confirmation:?}");
    }

    async fn count(&self, queue: &str) -> (u32, u32) {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.declare(queue, options, FieldTable::default()).await.expect("the queue exists");
        (declared.message_count(), declared.consumer_count())
    }

    async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        within(self.basic_get(queue.into(), BasicGetOptions::default())).await.expect("get-ok or get-empty")
    }

    async fn drain(&self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = within(self.basic_get(queue.into(), options)).await.expect("get-ok or get-empty") {
            bodies.push(text(&message));
        }
        bodies
    }

    async fn consume(&self, queue: &str, tag: &str) -> Consumer {
        let consumer = self.consume_with(queue, tag, BasicConsumeOptions::default(), FieldTable::default()).await;
        consumer.expect("basic.consume-ok")
    }

    async fn consume_with(
        &self,
        queue: &str,
        tag: &str,
        options: BasicConsumeOptions,
        arguments: FieldTable,
    ) -> lapin::Result<Consumer> {
        within(self.basic_consume(queue.into(), tag.into(), options, arguments)).await
    }

    async fn qos(&self, count: u16, global: bool) {
        within(self.basic_qos(count, BasicQosOptions { global })).await.expect("basic.qos-ok");
    }

    async fn ack(&self, tag: u64, multiple: bool) {
        within(self.basic_ack(tag, BasicAckOptions { multiple })).await.expect("the ack is sent");
    }

    async fn nack(&self, tag: u64, multiple: bool, requeue: bool) {
        within(self.basic_nack(tag, BasicNackOptions { multiple, requeue })).await.expect("the nack is sent");
    }

    async fn reject(&self, tag: u64, requeue: bool) {
        within(self.basic_reject(tag, BasicRejectOptions { requeue })).await.expect("the reject is sent");
    }
}

/// The body of a message as text.
pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.data).into_owned()
}

/// The next delivery of a consumer.
pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    within(consumer.next()).await.expect("the consumer is alive").expect("a delivery")
}

/// The bodies of the next `n` deliveries, unacked.
pub(crate) async fn next_bodies(consumer: &mut Consumer, n: usize) -> Vec<String> {
    let mut bodies = Vec::with_capacity(n);
    for _ in 0..n {
        bodies.push(text(&next(consumer).await));
    }
    bodies
}

/// The deliveries that have come once the queue has answered twice: its answers come behind what it delivered before,
/// on the same connection. Use it to show that *no more* is delivered.
pub(crate) async fn delivered(channel: &Channel, queue: &str, consumer: &mut Consumer) -> Vec<Delivery> {
    channel.count(queue).await;
    channel.count(queue).await;
    let mut deliveries = Vec::new();
    while let Some(Some(delivery)) = consumer.next().now_or_never() {
        deliveries.push(delivery.expect("a delivery"));
    }
    deliveries
}

/// The message that was returned with the confirm.
pub(crate) async fn returned(confirm: PublisherConfirm) -> BasicReturnMessage {
    match within(confirm).await.expect("a confirm") {
        Confirmation::Ack(Some(message)) => message,
        other => panic!("expected an ack with a returned message, got {other:?}"),
    }
}

/// How a broker said no: code and text of the close.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Reply code.
    pub(crate) code: u16,
    /// Reply text, the leading constant included.
    pub(crate) text: String,
}

impl Broken {
    /// Reads the close out of a lapin error.
    pub(crate) fn of(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(error) => Self { code: error.get_id(), text: error.get_message().to_string() },
            other => panic!("expected a close by the broker, got {other:?}"),
        }
    }
}

/// Asserts that the broker refused with this code and text.
pub(crate) async fn refused<T>(result: impl Future<Output = lapin::Result<T>>, code: u16, text: &str) {
    match within(result).await {
        Ok(_) => panic!("expected {code} {text}, but it was accepted"),
        Err(error) => assert_eq!(Broken::of(&error), Broken { code, text: text.to_owned() }),
    }
}
