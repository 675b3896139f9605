//! `/api/exchanges`.

use std::borrow::Cow;
use std::sync::Arc;

use super::pairs::Pairs;
use super::{bindings, messages};
use crate::broker::{Exchange, ExchangeDeclare, Vhost, table_of_json};
use crate::management::Management;
use crate::management::call::Call;
use crate::management::list;
use crate::management::names::{arguments, sort_by_name};
use crate::management::ranges::{Ranges, put_message_stats};
use crate::management::record::{Columns, Record};
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::series::EXCHANGE;
use crate::management::visit::Visit;

/// The default exchange in a path.
const DEFAULT: &str = "amq.default";

pub(in crate::management) fn own_name(name: &str) -> &str {
    if name == DEFAULT { "" } else { name }
}

pub(in crate::management) async fn serve(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let [_, vhost, name, rest @ ..] = path else {
        let vhosts = call.vhosts(management, path.get(1).copied())?;
        let ranges = call.ranges()?;
        let exchanges: Vec<_> = vhosts.iter().flat_map(all_of).collect();
        let write = |(vhost, exchange): &(&Arc<Vhost>, Arc<Exchange>), out: &mut Vec<u8>, columns: Columns<'_>| {
            Record::write(out, columns, |record| put_exchange(record, management, vhost, exchange, ranges));
        };
        return list::shape_items(exchanges, &call.query, |(_, exchange)| Cow::Borrowed(&exchange.name), write).await;
    };
    let name = own_name(name);
    if let ["publish"] = rest {
        return messages::publish(call, management, vhost, name).await;
    }
    if call.method == hyper::Method::PUT {
        return put(call, management, vhost, name).await;
    }
    let found = call.vhost(management, vhost)?;
    let exchange = match (found.exchange(name), rest) {
        (Some(exchange), _) => exchange,
        // RabbitMQ does not look whether there is one.
        (None, ["bindings", _]) => return Ok(Reply::List(Vec::new())),
        (None, _) => return Err(Refused::no_object()),
    };
    match (call.method.as_str(), rest) {
        ("DELETE", []) => {
            let if_unused = call.query.is_true("if-unused");
            let mut visit = Visit::new(call, management, vhost)?;
            visit.ask(|client, reply| client.exchange_delete(reply, name, if_unused)).await?;
            Ok(Reply::NoContent)
        }
        (_, ["bindings", "source"]) => Ok(Reply::List(bindings::from_exchange(&found, &exchange))),
        (_, ["bindings", "destination"]) => Ok(Reply::List(bindings::to_exchange(&found, name))),
        _ => {
            let ranges = call.ranges()?;
            Ok(Reply::Written(Record::written(&call.query, |record| {
                put_exchange(record, management, &found, &exchange, ranges);
                Pairs::new(management, &found, ranges).put_of_exchange(record, name);
            })))
        }
    }
}

/// By name.
fn all_of(vhost: &Arc<Vhost>) -> impl Iterator<Item = (&Arc<Vhost>, Arc<Exchange>)> {
    let mut exchanges = vhost.exchanges();
    sort_by_name(&mut exchanges, |exchange| &exchange.name);
    exchanges.into_iter().map(move |exchange| (vhost, exchange))
}

fn put_exchange(record: &mut Record<'_>, management: &Management, vhost: &Vhost, exchange: &Exchange, ranges: Ranges) {
    record.put("name", &*exchange.name);
    record.put("vhost", &**vhost.name());
    record.put("type", exchange.kind.as_str());
    record.put("durable", exchange.durable);
    record.put("auto_delete", exchange.auto_delete);
    record.put("internal", exchange.internal);
    record.json("arguments", || arguments(&exchange.arguments));
    record.put("user_who_performed_action", "rmq-internal");
    record.put_some("policy", exchange.in_force().policy.as_ref().map(|policy| &**policy.name()));
    record.put_some("messages_delayed", Some(exchange.messages_delayed()).filter(|delayed| *delayed > 0));
    let (published, routed) = exchange.published();
    management.rates().of_exchange(vhost.name(), &exchange.name, |past| {
        put_message_stats(record, &[&EXCHANGE[..1], &EXCHANGE[1..]], &[published, routed], past, ranges.msg_rates);
    });
}

async fn put(call: &Call, management: &Management, vhost: &str, name: &str) -> Outcome {
    let fields = call.object()?;
    let arguments = table_of_json(fields.object("arguments")?)
        .map_err(|argument| Refused::bad_value("unsupported_argument", argument))?;
    let known = management.broker().vhost(vhost).ok_or_else(|| Refused::not_found("vhost_not_found"))?;
    let existed = known.exchange(name).is_some();
    let declare = ExchangeDeclare {
        exchange: name,
        kind: fields.text("type")?.unwrap_or("direct"),
        passive: false,
        durable: fields.flag("durable")?,
        auto_delete: fields.flag("auto_delete")?,
        internal: fields.flag("internal")?,
        arguments,
    };
    let mut visit = Visit::new(call, management, vhost)?;
    visit.ask(|client, reply| client.exchange_declare(reply, declare.clone())).await?;
    Ok(Reply::put(existed))
}
