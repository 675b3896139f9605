//! Publishing to exchanges and getting from queues over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use serde_json::{Map, Value as Json, json};

use super::exchanges::own_name;
use crate::broker::{Body, Got, LARGE_BODY_MIN, Outcome as Done, Publish, Refusal, Settlement, table_of_json};
use crate::management::Management;
use crate::management::call::{Call, Fields, NAME_BYTES_MAX};
use crate::management::names::arguments;
use crate::management::reply::{Outcome, Refused, Reply};
use crate::management::visit::{CHANNEL, Visit};
use crate::wire::{Properties, RawTable};

pub(in crate::management) async fn publish(
    call: &Call,
    management: &Management,
    vhost: &str,
    exchange: &str,
) -> Outcome {
    let known = management.broker().vhost(vhost).ok_or_else(|| Refused::not_found("vhost_not_found"))?;
    let fields = call.object_with(&["properties", "routing_key", "payload", "payload_encoding"])?;
    let (key, payload) = (fields.required("routing_key")?, fields.required("payload")?);
    if key.len() > NAME_BYTES_MAX || exchange.len() > NAME_BYTES_MAX {
        return Err(Refused::bad_request("routing_key_too_long"));
    }
    let body = match fields.required("payload_encoding")? {
        "string" => payload.as_bytes().to_vec(),
        "base64" => STANDARD.decode(payload).map_err(|_| Refused::bad_value("not_base64", payload))?,
        other => return Err(Refused::bad_value("unsupported_encoding", other)),
    };
    let properties = encoded(&Fields(fields.object("properties")?))?;
    if known.exchange(exchange).is_none() {
        return Err(Refused::not_found("exchange_not_found"));
    }
    // Both fit a short string.
    let mut address = vec![exchange.len() as u8];
    address.extend_from_slice(exchange.as_bytes());
    address.push(key.len() as u8);
    address.extend_from_slice(key.as_bytes());
    let large = Bytes::from(body);
    let body = if large.len() < LARGE_BODY_MIN { Body::Small(&large) } else { Body::Large(large.clone()) };
    let publish =
        Publish { channel: CHANNEL, address: &address, properties: &properties, body, mandatory: true, confirm: None };
    let mut visit = Visit::new(call, management, vhost)?;
    let routed = visit.decide(|client, _| client.publish(publish.clone())).await;
    let routed = routed.map_err(|refusal| Refused::of_messages(&refusal))?;
    Ok(Reply::Json(json!({"routed": routed.is_routed})))
}

/// The properties of a publish, from JSON; names that are none are passed over, as in RabbitMQ.
fn encoded(fields: &Fields) -> Result<Vec<u8>, Refused> {
    let integer = |name: &str| match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| Refused::bad_request(json!(["not_int", name]))),
    };
    let octet = |name: &str| match integer(name)? {
        None => Ok(None),
        Some(value) => u8::try_from(value).map(Some).map_err(|_| Refused::bad_request(json!(["not_int", name]))),
    };
    let text = |name: &'static str| match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.len() <= NAME_BYTES_MAX => Ok(Some(text.as_bytes())),
        Some(_) => Err(Refused::bad_request(json!(["not_string", name]))),
    };
    let mut headers = Vec::new();
    let has_headers = fields.get("headers").is_some_and(|headers| !headers.is_null());
    table_of_json(fields.object("headers")?)
        .map_err(|header| Refused::bad_value("unsupported_header", header))?
        .encode_bare(&mut headers);
    let properties = Properties {
        content_type: text("content_type")?,
        content_encoding: text("content_encoding")?,
        headers: has_headers.then_some(RawTable(&headers)),
        delivery_mode: octet("delivery_mode")?,
        priority: octet("priority")?,
        correlation_id: text("correlation_id")?,
        reply_to: text("reply_to")?,
        expiration: text("expiration")?,
        message_id: text("message_id")?,
        timestamp: integer("timestamp")?,
        kind: text("type")?,
        user_id: text("user_id")?,
        app_id: text("app_id")?,
        cluster_id: text("cluster_id")?,
    };
    let mut encoded = Vec::new();
    properties.encode(&mut encoded);
    Ok(encoded)
}

/// How a get is settled: `ackmode`.
#[derive(Clone, Copy)]
struct AckMode {
    no_ack: bool,
    settlement: Settlement,
}

impl AckMode {
    fn parse(name: &str) -> Result<Self, Refused> {
        let (no_ack, settlement) = match name {
            "ack_requeue_true" => (false, Settlement::Nack { requeue: true }),
            "ack_requeue_false" => (true, Settlement::Ack),
            "reject_requeue_true" => (false, Settlement::Reject { requeue: true }),
            "reject_requeue_false" => (false, Settlement::Reject { requeue: false }),
            other => {
                return Err(Refused::bad_request(format!(
                    "Invalid ackmode value: {other}. Valid values are: ack_requeue_true, ack_requeue_false, \
                     reject_requeue_true, reject_requeue_false"
                )));
            }
        };
        Ok(Self { no_ack, settlement })
    }
}

/// Messages that one request may get.
const GET_MAX: i64 = 10_000;
/// Bytes of bodies that one request gets, and the message that goes beyond.
const GET_BYTES: usize = 64 << 20;

pub(in crate::management) async fn get(call: &Call, management: &Management, path: &[&str]) -> Outcome {
    let [_, vhost, name, _] = path else { return Err(Refused::no_object()) };
    let known = management.broker().vhost(vhost).ok_or_else(|| Refused::not_found("vhost_not_found"))?;
    let fields = call.object_with(&["ackmode", "count", "encoding"])?;
    let count = fields.integer("count")?.unwrap_or_default().clamp(0, GET_MAX) as u64;
    let mode = AckMode::parse(fields.required("ackmode")?)?;
    let as_base64 = match fields.required("encoding")? {
        "auto" => false,
        "base64" => true,
        _ => return Err(Refused::bad_request("Unsupported encoding. Please use auto or base64.")),
    };
    let truncate = fields.integer("truncate")?.and_then(|bytes| usize::try_from(bytes).ok());
    known.queue(name).ok_or_else(|| Refused::not_found("queue_not_found"))?;
    let mut visit = Visit::new(call, management, vhost)?;
    let taken = take(&mut visit, name, mode.no_ack, count, GET_BYTES).await;
    let taken = taken.map_err(|refusal| Refused::of_messages(&refusal))?;
    let records: Vec<Json> = taken.iter().map(|got| record(got, as_base64, truncate)).collect();
    if !mode.no_ack {
        for got in taken {
            let source = got.delivery.source;
            visit.client().settle(source.queue, source.owner, source.number, source.number, mode.settlement);
        }
        visit.client().flush();
    }
    Ok(Reply::Json(records.into()))
}

/// Gets up to so many messages from a queue, and stops when their bodies have more than so many bytes.
pub(super) async fn take(
    visit: &mut Visit,
    queue: &str,
    no_ack: bool,
    count_max: u64,
    bytes_max: usize,
) -> Result<Vec<Got>, Refusal> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for _ in 0..count_max {
        let asked = visit.try_ask(|client, reply| client.get(reply, queue, no_ack)).await?;
        let Done::Got(Some(got)) = asked else { break };
        bytes += got.delivery.message.body().len();
        taken.push(*got);
        if bytes > bytes_max {
            break;
        }
    }
    Ok(taken)
}

fn record(got: &Got, as_base64: bool, truncate: Option<usize>) -> Json {
    let message = &got.delivery.message;
    let body = message.body();
    let shown = &body[..truncate.map_or(body.len(), |bytes| bytes.min(body.len()))];
    let (payload, encoding) = match str::from_utf8(shown) {
        Ok(text) if !as_base64 => (text.to_owned(), "string"),
        _ => (STANDARD.encode(shown), "base64"),
    };
    json!({
        "payload_bytes": body.len(),
        "redelivered": got.delivery.redelivered,
        "exchange": own_name(&message.exchange()),
        "routing_key": message.routing_key(),
        "message_count": got.remaining,
        "properties": properties(message.properties()),
        "payload": payload,
        "payload_encoding": encoding,
    })
}

/// An empty list stands for none, as Erlang writes an empty object.
fn properties(raw: &[u8]) -> Json {
    let Ok(properties) = Properties::decode(raw) else { return json!([]) };
    let mut shown = Map::new();
    let texts = [
        ("content_type", properties.content_type),
        ("content_encoding", properties.content_encoding),
        ("correlation_id", properties.correlation_id),
        ("reply_to", properties.reply_to),
        ("expiration", properties.expiration),
        ("message_id", properties.message_id),
        ("type", properties.kind),
        ("user_id", properties.user_id),
        ("app_id", properties.app_id),
        ("cluster_id", properties.cluster_id),
    ];
    for (name, text) in texts {
        shown.extend(text.map(|text| (name.to_owned(), String::from_utf8_lossy(text).into())));
    }
    shown.extend(properties.delivery_mode.map(|mode| ("delivery_mode".to_owned(), mode.into())));
    shown.extend(properties.priority.map(|priority| ("priority".to_owned(), priority.into())));
    shown.extend(properties.timestamp.map(|seconds| ("timestamp".to_owned(), seconds.into())));
    if let Some(Ok(headers)) = properties.headers.map(|headers| headers.parse()) {
        shown.insert("headers".to_owned(), arguments(&headers));
    }
    if shown.is_empty() { json!([]) } else { Json::Object(shown) }
}
