//! The methods of AMQP 0-9-1 (with RabbitMQ's extensions) and the basic properties, as one table.
//!
//! Fields are written `name:kind`, where kind is one letter: `o` octet, `w` short (16 bits), `l` long
//! (32 bits), `q` long-long (64 bits), `b` bit, `s` short string, `S` long string, `t` field table.

/// One method: how it is called, its two ids, and its fields in wire order.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) class: u16,
    pub(crate) id: u16,
    fields: &'static str,
}

impl Method {
    /// The method with this name, if there is one.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// The method with these ids, if there is one.
    pub(crate) fn with_ids(class: u16, id: u16) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.class == class && method.id == id)
    }

    /// Names and kinds of the fields, in wire order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, char)> {
        split_fields(self.fields)
    }

    /// Whether `other` is what a broker answers to this method when all goes well.
    pub(crate) fn is_answered_by(&self, other: &str) -> bool {
        match self.name {
            "basic.get" => matches!(other, "basic.get-ok" | "basic.get-empty"),
            name => other.strip_suffix("-ok") == Some(name),
        }
    }

    /// Whether a broker answers this method at all (unless its `nowait` bit is set).
    pub(crate) fn has_answer(&self) -> bool {
        METHODS.iter().any(|method| self.is_answered_by(method.name))
    }

    /// Whether a content header and a body follow this method.
    pub(crate) fn has_content(&self) -> bool {
        matches!(self.name, "basic.publish" | "basic.return" | "basic.deliver" | "basic.get-ok")
    }
}

/// The fourteen basic properties from the highest flag bit (15) down.
pub(crate) fn properties() -> impl Iterator<Item = (&'static str, char)> {
    split_fields(PROPERTIES)
}

fn split_fields(fields: &'static str) -> impl Iterator<Item = (&'static str, char)> {
    fields.split_whitespace().map(|field| {
        let (name, kind) = field.split_once(':').expect("fields are name:kind");
        (name, kind.chars().next().expect("kind is one letter"))
    })
}

const PROPERTIES: &str = "content_type:s content_encoding:s headers:t delivery_mode:o priority:o \
    correlation_id:s reply_to:s expiration:s message_id:s timestamp:q type:s user_id:s app_id:s cluster_id:s";

const CLOSE: &str = "reply_code:w reply_text:s class_id:w method_id:w";
const EXCHANGE_BIND: &str = "ticket:w destination:s source:s routing_key:s nowait:b arguments:t";

const METHODS: &[Method] = &[
    method(10, 10, "connection.start", "version_major:o version_minor:o server_properties:t mechanisms:S locales:S"),
    method(10, 11, "connection.start-ok", "client_properties:t mechanism:s response:S locale:s"),
    method(10, 20, "connection.secure", "challenge:S"),
    method(10, 21, "connection.secure-ok", "response:S"),
    method(10, 30, "connection.tune", "channel_max:w frame_max:l heartbeat:w"),
    method(10, 31, "connection.tune-ok", "channel_max:w frame_max:l heartbeat:w"),
    method(10, 40, "connection.open", "virtual_host:s capabilities:s insist:b"),
    method(10, 41, "connection.open-ok", "known_hosts:s"),
    method(10, 50, "connection.close", CLOSE),
    method(10, 51, "connection.close-ok", ""),
    method(10, 60, "connection.blocked", "reason:s"),
    method(10, 61, "connection.unblocked", ""),
    method(10, 70, "connection.update-secret", "new_secret:S reason:s"),
    method(10, 71, "connection.update-secret-ok", ""),
    method(20, 10, "channel.open", "out_of_band:s"),
    method(20, 11, "channel.open-ok", "channel_id:S"),
    method(20, 20, "channel.flow", "active:b"),
    method(20, 21, "channel.flow-ok", "active:b"),
    method(20, 40, "channel.close", CLOSE),
    method(20, 41, "channel.close-ok", ""),
    method(30, 10, "access.request", "realm:s exclusive:b passive:b active:b write:b read:b"),
    method(30, 11, "access.request-ok", "ticket:w"),
    method(
        40,
        10,
        "exchange.declare",
        "ticket:w exchange:s type:s passive:b durable:b auto_delete:b internal:b nowait:b arguments:t",
    ),
    method(40, 11, "exchange.declare-ok", ""),
    method(40, 20, "exchange.delete", "ticket:w exchange:s if_unused:b nowait:b"),
    method(40, 21, "exchange.delete-ok", ""),
    method(40, 30, "exchange.bind", EXCHANGE_BIND),
    method(40, 31, "exchange.bind-ok", ""),
    method(40, 40, "exchange.unbind", EXCHANGE_BIND),
    method(40, 51, "exchange.unbind-ok", ""),
    method(
        50,
        10,
        "queue.declare",
        "ticket:w queue:s passive:b durable:b exclusive:b auto_delete:b nowait:b arguments:t",
    ),
    method(50, 11, "queue.declare-ok", "queue:s message_count:l consumer_count:l"),
    method(50, 20, "queue.bind", "ticket:w queue:s exchange:s routing_key:s nowait:b arguments:t"),
    method(50, 21, "queue.bind-ok", ""),
    method(50, 30, "queue.purge", "ticket:w queue:s nowait:b"),
    method(50, 31, "queue.purge-ok", "message_count:l"),
    method(50, 40, "queue.delete", "ticket:w queue:s if_unused:b if_empty:b nowait:b"),
    method(50, 41, "queue.delete-ok", "message_count:l"),
    method(50, 50, "queue.unbind", "ticket:w queue:s exchange:s routing_key:s arguments:t"),
    method(50, 51, "queue.unbind-ok", ""),
    method(60, 10, "basic.qos", "prefetch_size:l prefetch_count:w global:b"),
    method(60, 11, "basic.qos-ok", ""),
    method(
        60,
        20,
        "basic.consume",
        "ticket:w queue:s consumer_tag:s no_local:b no_ack:b exclusive:b nowait:b arguments:t",
    ),
    method(60, 21, "basic.consume-ok", "consumer_tag:s"),
    method(60, 30, "basic.cancel", "consumer_tag:s nowait:b"),
    method(60, 31, "basic.cancel-ok", "consumer_tag:s"),
    method(60, 40, "basic.publish", "ticket:w exchange:s routing_key:s mandatory:b immediate:b"),
    method(60, 50, "basic.return", "reply_code:w reply_text:s exchange:s routing_key:s"),
    method(60, 60, "basic.deliver", "consumer_tag:s delivery_tag:q redelivered:b exchange:s routing_key:s"),
    method(60, 70, "basic.get", "ticket:w queue:s no_ack:b"),
    method(60, 71, "basic.get-ok", "delivery_tag:q redelivered:b exchange:s routing_key:s message_count:l"),
    method(60, 72, "basic.get-empty", "cluster_id:s"),
    method(60, 80, "basic.ack", "delivery_tag:q multiple:b"),
    method(60, 90, "basic.reject", "delivery_tag:q requeue:b"),
    method(60, 100, "basic.recover-async", "requeue:b"),
    method(60, 110, "basic.recover", "requeue:b"),
    method(60, 111, "basic.recover-ok", ""),
    method(60, 120, "basic.nack", "delivery_tag:q multiple:b requeue:b"),
    method(85, 10, "confirm.select", "nowait:b"),
    method(85, 11, "confirm.select-ok", ""),
    method(90, 10, "tx.select", ""),
    method(90, 11, "tx.select-ok", ""),
    method(90, 20, "tx.commit", ""),
    method(90, 21, "tx.commit-ok", ""),
    method(90, 30, "tx.rollback", ""),
    method(90, 31, "tx.rollback-ok", ""),
];

const fn method(class: u16, id: u16, name: &'static str, fields: &'static str) -> Method {
    Method { name, class, id, fields }
}
