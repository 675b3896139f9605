//! Class queue.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Request, State, Surroundings, stripped, table};
use crate::amqp::reply::{Fault, Ids};
use crate::broker::QueueDeclare;
use crate::wire::{Method, ReplyCode};

impl State {
    /// M-12.
    pub(super) fn queue_declare(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::QueueDeclare { queue, passive, durable, exclusive, auto_delete, nowait, arguments } = method else {
            return Ok(());
        };
        let arguments = table(arguments, ids)?;
        let queue = &*stripped(queue);
        let declare = QueueDeclare { queue, passive, durable, exclusive, auto_delete, arguments };
        let request = Request::QueueDeclare { nowait };
        self.request(ids, request, around, |client, reply| client.queue_declare(reply, declare))
    }

    /// M-13.
    pub(super) fn queue_bind(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::QueueBind { queue, exchange, routing_key, nowait, arguments } = method else {
            return Ok(());
        };
        let arguments = table(arguments, ids)?;
        let (queue, key) = self.binding(queue, routing_key, ids)?;
        let ok = (!nowait).then_some(Method::QueueBindOk {});
        self.request(ids, Request::Simple { ok }, around, |client, reply| {
            client.queue_bind(reply, &queue, &stripped(exchange), &key, arguments)
        })
    }

    /// M-16.
    pub(super) fn queue_unbind(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::QueueUnbind { queue, exchange, routing_key, arguments } = method else {
            return Ok(());
        };
        let arguments = table(arguments, ids)?;
        let (queue, key) = self.binding(queue, routing_key, ids)?;
        let ok = Some(Method::QueueUnbindOk {});
        self.request(ids, Request::Simple { ok }, around, |client, reply| {
            client.queue_unbind(reply, &queue, &stripped(exchange), &key, arguments)
        })
    }

    /// M-14.
    pub(super) fn queue_purge(
        &mut self,
        queue: &str,
        nowait: bool,
        ids: Ids,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Fault> {
        let queue = self.queue_name(queue, ids)?;
        self.request(ids, Request::QueuePurge { nowait }, around, |client, reply| client.queue_purge(reply, &queue))
    }

    /// M-15.
    pub(super) fn queue_delete(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::QueueDelete { queue, if_unused, if_empty, nowait } = method else {
            return Ok(());
        };
        let queue = self.queue_name(queue, ids)?;
        self.request(ids, Request::QueueDelete { nowait }, around, |client, reply| {
            client.queue_delete(reply, &stripped(&queue), if_unused, if_empty)
        })
    }

    /// An empty name is the queue last declared on this channel (M-13, EH-3).
    pub(super) fn queue_name<'q>(&self, queue: &'q str, ids: Ids) -> Result<QueueName<'q>, Fault> {
        if !queue.is_empty() {
            return Ok(QueueName::Given(queue));
        }
        let none = || Fault::channel(ReplyCode::NotFound, ids, "no previously declared queue");
        self.last_queue.clone().map(QueueName::Last).ok_or_else(none)
    }

    /// And if the key is empty too, it is the queue's name.
    fn binding<'q>(&self, queue: &'q str, key: &'q str, ids: Ids) -> Result<(Cow<'q, str>, Cow<'q, str>), Fault> {
        Ok(match self.queue_name(queue, ids)? {
            QueueName::Given(queue) => (stripped(queue), key.into()),
            QueueName::Last(last) if key.is_empty() => (last.to_string().into(), last.to_string().into()),
            QueueName::Last(last) => (last.to_string().into(), key.into()),
        })
    }
}

/// A queue's name, as given or as remembered.
pub(super) enum QueueName<'q> {
    Given(&'q str),
    Last(Arc<str>),
}

impl std::ops::Deref for QueueName<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Given(name) => name,
            Self::Last(name) => name,
        }
    }
}
