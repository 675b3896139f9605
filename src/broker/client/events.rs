//! What a client's coming and going tells (EV-1).

use std::sync::Arc;

use super::Client;
use crate::broker::events::pid;
use crate::broker::inspect::Totals;
use crate::broker::route::Targets;
use crate::broker::{Broker, ChannelKey, Connected, Message, QueueKey, Vhost};
use crate::wire::Value;

impl Client {
    pub(in crate::broker) fn traced_vhost(&self) -> &Arc<Vhost> {
        &self.vhost
    }

    /// `peer -> local`.
    pub fn connection_name(&self) -> String {
        let connected = self.broker.0.connections.get(&self.mailbox.id());
        connected.map(|connected| connected.info.name.clone()).unwrap_or_default()
    }

    /// All bytes read so far.
    pub fn put_received(&self, bytes: u64) {
        self.octets.put_received(bytes);
    }

    /// All bytes written so far.
    pub fn put_sent(&self, bytes: u64) {
        self.octets.put_sent(bytes);
    }

    /// Looks through all queues of the vhost: for the firehose only.
    pub(in crate::broker) fn queue_name(&self, key: QueueKey) -> Option<Arc<str>> {
        self.vhost.queues().into_iter().find(|queue| queue.key == key).map(|queue| queue.name.clone())
    }

    /// Sends a message that the client did not publish along with those it did.
    pub(in crate::broker) fn push_own(&mut self, targets: Targets, message: Message) {
        self.push_publish(targets, message, None);
    }

    /// A consumer has come, or gone.
    pub fn tell_consumer(&self, is_there: bool, channel: ChannelKey, tag: &str, queue: QueueKey) {
        let event = if is_there { "consumer.created" } else { "consumer.deleted" };
        self.broker.events().tell(event, &self.user.name, || {
            let queue = self.queue_name(queue).unwrap_or_default();
            [
                ("consumer_tag", tag.into()),
                ("queue", (*queue).into()),
                ("channel", channel_pid(&pid(self.mailbox.id()), channel).as_str().into()),
                ("vhost", (**self.vhost.name()).into()),
            ]
        });
    }

    /// Channels of all connections that are open.
    pub fn node_channels(&self) -> u64 {
        let totals = self.broker.totals();
        totals.channel_created.saturating_sub(totals.channel_closed)
    }

    /// A channel has come, or gone.
    pub fn tell_channel(&self, is_there: bool, channel: ChannelKey) {
        let totals = &self.broker.0.totals;
        Totals::count(if is_there { &totals.channels_created } else { &totals.channels_closed });
        let event = if is_there { "channel.created" } else { "channel.closed" };
        self.broker.events().tell(event, &self.user.name, || {
            let connection = pid(self.mailbox.id());
            [
                ("pid", channel_pid(&connection, channel).as_str().into()),
                ("connection", connection.as_str().into()),
                ("number", Value::I64(channel.number.into())),
                ("user", self.user.name.as_str().into()),
                ("vhost", (**self.vhost.name()).into()),
            ]
        });
    }
}

/// What stands where RabbitMQ has the id of a channel's process.
pub(in crate::broker) fn channel_pid(connection: &str, channel: ChannelKey) -> String {
    format!("{connection}/{}", channel.number)
}

impl Broker {
    pub(super) fn tell_connection_created(&self, connected: &Connected) {
        Totals::count(&self.0.totals.connections_created);
        self.events().tell("connection.created", &connected.user, || {
            [
                ("pid", pid(connected.mailbox.id()).as_str().into()),
                ("name", connected.info.name.as_str().into()),
                ("user_provided_name", connected.info.user_provided_name.as_deref().unwrap_or_default().into()),
                ("vhost", (**connected.vhost.name()).into()),
                ("user", (*connected.user).into()),
                ("protocol", "{0,9,1}".into()),
                ("type", "network".into()),
            ]
        });
    }

    pub(super) fn tell_connection_closed(&self, connected: &Connected) {
        Totals::count(&self.0.totals.connections_closed);
        self.events().tell("connection.closed", &connected.user, || {
            [
                ("pid", pid(connected.mailbox.id()).as_str().into()),
                ("name", connected.info.name.as_str().into()),
                ("user_provided_name", connected.info.user_provided_name.as_deref().unwrap_or_default().into()),
            ]
        });
    }

    /// A login has succeeded, or not (EV-1).
    pub fn tell_login(&self, succeeded: bool, user: &str, connection: &str, mechanism: &str) {
        Totals::count(&self.0.totals.logins);
        if !succeeded {
            Totals::count(&self.0.totals.logins_refused);
        }
        let event = if succeeded { "user.authentication.success" } else { "user.authentication.failure" };
        self.events().tell(event, user, || {
            [
                ("name", user.into()),
                ("connection_name", connection.into()),
                ("connection_type", "network".into()),
                ("auth_mechanism", mechanism.into()),
                ("protocol", "{0,9,1}".into()),
            ]
        });
    }
}
