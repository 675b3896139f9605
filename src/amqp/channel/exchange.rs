//! Class exchange.

use super::{Request, State, Surroundings, stripped, table};
use crate::amqp::reply::Fault;
use crate::broker::ExchangeDeclare;
use crate::wire::Method;

impl State {
    /// M-9.
    pub(super) fn exchange_declare(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, nowait, arguments } =
            method
        else {
            return Ok(());
        };
        let arguments = table(arguments, ids)?;
        let exchange = &*stripped(exchange);
        let declare = ExchangeDeclare { exchange, kind, passive, durable, auto_delete, internal, arguments };
        let ok = (!nowait).then_some(Method::ExchangeDeclareOk {});
        self.request(ids, Request::Simple { ok }, around, |client, reply| client.exchange_declare(reply, declare))
    }

    /// M-10.
    pub(super) fn exchange_delete(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::ExchangeDelete { exchange, if_unused, nowait } = method else {
            return Ok(());
        };
        let ok = (!nowait).then_some(Method::ExchangeDeleteOk {});
        self.request(ids, Request::Simple { ok }, around, |client, reply| {
            client.exchange_delete(reply, &stripped(exchange), if_unused)
        })
    }

    /// M-11.
    pub(super) fn exchange_bind(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::ExchangeBind { destination, source, routing_key, nowait, arguments } = method else {
            return Ok(());
        };
        let arguments = table(arguments, ids)?;
        let ok = (!nowait).then_some(Method::ExchangeBindOk {});
        self.request(ids, Request::Simple { ok }, around, |client, reply| {
            client.exchange_bind(reply, &stripped(destination), &stripped(source), routing_key, arguments)
        })
    }

    /// M-11.
    pub(super) fn exchange_unbind(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        let ids = method.ids();
        let Method::ExchangeUnbind { destination, source, routing_key, nowait, arguments } = method else {
            return Ok(());
        };
        let arguments = table(arguments, ids)?;
        let ok = (!nowait).then_some(Method::ExchangeUnbindOk {});
        self.request(ids, Request::Simple { ok }, around, |client, reply| {
            client.exchange_unbind(reply, &stripped(destination), &stripped(source), routing_key, arguments)
        })
    }
}
