//! Direct reply-to: requests that are answered without a queue.

use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer};

use crate::common::client::{next, refused, returned, text};
use crate::common::{ChannelExt, Client, connect, eventually, start_client, within};

const NAME: &str = "amq.rabbitmq.reply-to";

async fn listen(channel: &Channel) -> Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.consume_with(NAME, "replies", options, FieldTable::default()).await.expect("basic.consume-ok")
}

/// Asks over the queue `rpc`; gives the name to answer to, as the responder sees it.
async fn ask(channel: &Channel, responder: &Client) -> String {
    responder.queue("rpc").await;
    let properties = BasicProperties::default().with_reply_to(NAME.into());
    channel.publish_with("", "rpc", b"question", properties).await;
    let request = eventually("the request", async || responder.get("rpc").await).await;
    request.properties.reply_to().as_ref().expect("a name to reply to").to_string()
}

fn passive() -> QueueDeclareOptions {
    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() }
}

/// FEATURES DR-1, DR-2, DR-3, DR-4, trap 22: a request carries a name made for its channel; what another connection
/// publishes to it arrives there.
#[tokio::test]
async fn a_reply_reaches_its_requester() {
    let (server, client) = start_client().await;
    let responder = connect(&server).await;
    let mut replies = listen(&client).await;
    let back = ask(&client, &responder).await;
    assert!(back.starts_with("amq.rabbitmq.reply-to.") && back.len() <= 255, "{back}");
    for n in 1..=2 {
        responder.publish("", &back, b"answer").await;
        let reply = next(&mut replies).await;
        assert_eq!((reply.exchange.as_str(), reply.routing_key.as_str()), ("", back.as_str()));
        assert_eq!((reply.delivery_tag, reply.redelivered), (n, false));
    }
}

/// FEATURES DR-1, trap 22: one consumer for each channel, without acks, and before the request on the same channel.
#[tokio::test]
async fn requesters_that_do_it_wrong_are_refused() {
    let (_server, client) = start_client().await;
    let channel = client.another_channel().await;
    let with_acks = channel.consume_with(NAME, "c", BasicConsumeOptions::default(), FieldTable::default());
    refused(with_acks, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge").await;
    let channel = client.another_channel().await;
    let _replies = listen(&channel).await;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let second = channel.consume_with(NAME, "second", options, FieldTable::default());
    refused(second, 406, "PRECONDITION_FAILED - reply consumer already set").await;
    let _elsewhere = listen(&client).await;
    let channel = client.another_channel().await;
    channel.confirms().await;
    let properties = BasicProperties::default().with_reply_to(NAME.into());
    let confirm = channel.publish_with("", "rpc", b"question", properties).await;
    refused(confirm, 406, "PRECONDITION_FAILED - fast reply consumer does not exist").await;
}

/// FEATURES DR-5, DR-9, trap 22: a responder sees by queue.declare whether the requester is there; it is not once it cancels or
/// its channel closes.
#[tokio::test]
async fn responders_may_probe() {
    let (server, client) = start_client().await;
    let responder = connect(&server).await;
    for closes in [false, true] {
        let channel = client.another_channel().await;
        let _replies = listen(&channel).await;
        let back = ask(&channel, &responder).await;
        for options in [passive(), QueueDeclareOptions::default()] {
            let found = responder.declare(&back, options, FieldTable::default()).await.expect("queue.declare-ok");
            assert_eq!((found.message_count(), found.consumer_count()), (0, 1));
        }
        if closes {
            within(channel.close(200, "bye".into())).await.expect("close-ok");
        } else {
            within(channel.basic_cancel("replies".into(), BasicCancelOptions::default())).await.expect("cancel-ok");
        }
        let probe = responder.another_channel().await;
        let text = format!("NOT_FOUND - no queue '{back}' in vhost '/'");
        refused(probe.declare(&back, passive(), FieldTable::default()), 404, &text).await;
    }
    assert_eq!(client.count(NAME).await, (0, 1));
}

/// FEATURES DR-6, DR-7, trap 22: a mandatory reply counts as routed, also to a requester that is gone; a name that is none of
/// the broker's does not.
#[tokio::test]
async fn replies_count_as_routed() {
    let (server, client) = start_client().await;
    let responder = connect(&server).await;
    let channel = client.another_channel().await;
    let mut replies = listen(&channel).await;
    let back = ask(&channel, &responder).await;
    within(responder.confirm_select(ConfirmSelectOptions::default())).await.expect("confirm.select-ok");
    let confirm = within(responder.publish_mandatory("", &back, b"answer").await).await.expect("a confirm");
    assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "{confirm:?}");
    assert_eq!(text(&next(&mut replies).await), "answer");
    within(channel.close(200, "bye".into())).await.expect("close-ok");
    let confirm = within(responder.publish_mandatory("", &back, b"late").await).await.expect("a confirm");
    assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "{confirm:?}");
    for odd in ["amq.rabbitmq.reply-to.nonsense", "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.a.b.c"] {
        let message = returned(responder.publish_mandatory("", odd, b"odd").await).await;
        assert_eq!(message.reply_code, 312, "{odd}");
    }
}

/// FEATURES DR-8, EH-32: there is nothing to get from or to bind, and nothing to delete.
#[tokio::test]
async fn the_name_stands_for_no_queue() {
    let (_server, client) = start_client().await;
    let none = "NOT_FOUND - no queue 'amq.rabbitmq.reply-to' in vhost '/'";
    let channel = client.another_channel().await;
    refused(channel.basic_get(NAME.into(), BasicGetOptions::default()), 404, none).await;
    let channel = client.another_channel().await;
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(NAME.into(), "amq.direct".into(), "k".into(), options, FieldTable::default());
    refused(bound, 404, none).await;
    let deleted = within(client.queue_delete(NAME.into(), QueueDeleteOptions::default())).await;
    assert_eq!(deleted.expect("queue.delete-ok"), 0);
}

/// FEATURES EH-32: nothing is bound to a name that was made for a requester.
#[tokio::test]
async fn an_opaque_name_cannot_be_bound() {
    let (server, client) = start_client().await;
    let responder = connect(&server).await;
    let _replies = listen(&client).await;
    let back = ask(&client, &responder).await;
    let options = QueueBindOptions::default();
    let bound = responder.queue_bind(back.into(), "amq.direct".into(), "k".into(), options, FieldTable::default());
    let text = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue";
    refused(bound, 403, text).await;
}
