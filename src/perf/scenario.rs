//! What a run does, from the flags.

use std::time::Duration;

use super::args::Args;
use super::connection::{Connection, PerfError, Uri};
use super::meter::Counts;
use crate::wire::{Method, Properties, RawTable, Table, Value};

/// Validated flags.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) uri: Uri,
    pub(super) producers: usize,
    pub(super) consumers: usize,
    pub(super) producer_channels: u16,
    pub(super) consumer_channels: u16,
    /// Body sizes in the order they are sent, over and over.
    pub(super) sizes: Vec<usize>,
    pub(super) queues: Vec<String>,
    spread: bool,
    pub(super) ballast_queues: u32,
    pub(super) ballast_bindings: u32,
    pub(super) ballast_connections: u32,
    pub(super) exchange: String,
    kind: String,
    routing_key: Option<String>,
    pub(super) rate: Option<f64>,
    pub(super) consumer_rate: Option<f64>,
    pub(super) confirm: Option<usize>,
    pub(super) autoack: bool,
    pub(super) ack_every: u32,
    pub(super) qos: u16,
    pub(super) global_qos: u16,
    pub(super) mandatory: bool,
    /// Raw flags and values.
    pub(super) properties: Vec<u8>,
    pub(super) time: Option<Duration>,
    pub(super) producer_messages: Option<u64>,
    pub(super) consumer_messages: Option<u64>,
    predeclared: bool,
    auto_delete: bool,
    queue_arguments: Table,
    pub(super) interval: Duration,
    pub(super) heartbeat_s: u16,
    pub(super) check: bool,
    persistent: bool,
}

impl Scenario {
    pub(super) fn new(args: &Args) -> Result<Self, PerfError> {
        let sizes = parse_sizes(&args.size)?;
        if args.check && sizes.iter().any(|size| *size < 16) {
            return Err(PerfError::Usage("--check needs bodies of 16 bytes or more".into()));
        }
        let unknown = args.flags.iter().find(|flag| !["persistent", "mandatory"].contains(&flag.as_str()));
        if let Some(flag) = unknown {
            return Err(PerfError::Usage(format!("unknown flag '{flag}': persistent or mandatory")));
        }
        let queues = match &args.queue_pattern {
            Some(pattern) => (args.queue_pattern_from..=args.queue_pattern_to)
                .map(|number| pattern.replace("%d", &number.to_string()))
                .collect(),
            None => vec![args.queue.clone()],
        };
        if queues.is_empty() {
            return Err(PerfError::Usage("the queue pattern names no queue".into()));
        }
        if args.spread && (args.check || args.routing_key.is_some()) {
            return Err(PerfError::Usage("--spread goes neither with --check nor with a routing key".into()));
        }
        if args.ballast_bindings > 0 && args.exchange.is_empty() {
            return Err(PerfError::Usage("--ballast-bindings needs an exchange".into()));
        }
        let persistent = args.flags.iter().any(|flag| flag == "persistent");
        let seconds = |seconds: f64| {
            Duration::try_from_secs_f64(seconds).map_err(|_| PerfError::Usage(format!("{seconds} seconds?")))
        };
        Ok(Self {
            uri: Uri::parse(&args.uri)?,
            producers: args.producers,
            consumers: args.consumers,
            producer_channels: args.producer_channel_count.max(1),
            consumer_channels: args.consumer_channel_count.max(1),
            sizes,
            queues,
            spread: args.spread,
            ballast_queues: args.ballast_queues,
            ballast_bindings: args.ballast_bindings,
            ballast_connections: args.ballast_connections,
            exchange: args.exchange.clone(),
            kind: args.kind.clone(),
            routing_key: args.routing_key.clone(),
            rate: args.rate.filter(|rate| *rate > 0.0),
            consumer_rate: args.consumer_rate.filter(|rate| *rate > 0.0),
            confirm: args.confirm.filter(|window| *window > 0),
            autoack: args.autoack,
            ack_every: args.multi_ack_every.max(1),
            qos: args.qos,
            global_qos: args.global_qos,
            mandatory: args.flags.iter().any(|flag| flag == "mandatory"),
            properties: parse_properties(&args.message_properties, persistent)?,
            time: args.time.map(seconds).transpose()?,
            producer_messages: args.pmessages,
            consumer_messages: args.cmessages,
            predeclared: args.predeclared,
            auto_delete: args.auto_delete,
            queue_arguments: parse_table(&args.queue_args)?,
            interval: seconds(args.interval)?.max(Duration::from_millis(50)),
            heartbeat_s: args.heartbeat,
            check: args.check,
            persistent,
        })
    }

    /// The queue a producer or consumer with this index uses.
    pub(super) fn queue(&self, index: usize) -> &str {
        &self.queues[index % self.queues.len()]
    }

    /// The queues a consumer with this index consumes from: one, or its share of all.
    pub(super) fn consumed_queues(&self, index: usize) -> impl Iterator<Item = &str> {
        let one = (!self.spread).then(|| self.queue(index));
        let share = if self.spread { &self.queues[..] } else { &[] };
        one.into_iter().chain(share.iter().skip(index).step_by(self.consumers.max(1)).map(String::as_str))
    }

    /// The keys a producer with this index publishes with, in turn: one, or those of all queues.
    pub(super) fn routing_keys(&self, index: usize) -> impl Iterator<Item = &str> {
        let one = (!self.spread).then(|| self.routing_key(index));
        let all = if self.spread { &self.queues[..] } else { &[] };
        one.into_iter().chain(all.iter().map(String::as_str))
    }

    /// The key that belongs to a producer, or to a queue, with this index.
    fn routing_key(&self, index: usize) -> &str {
        self.routing_key.as_deref().unwrap_or_else(|| self.queue(index))
    }

    /// Latency is measured if there is room for a time stamp.
    pub(super) fn has_stamps(&self) -> bool {
        self.sizes.iter().all(|size| *size >= 12)
    }

    /// True when every producer and consumer has had its count.
    pub(super) fn is_counted_out(&self, counts: &Counts) -> bool {
        let sent = self.producer_messages.map(|each| counts.sent >= each * self.producers as u64);
        let expected = match (self.consumer_messages, self.producer_messages) {
            (Some(each), _) => Some(each * self.consumers as u64),
            (None, Some(each)) if self.consumers > 0 && self.exchange.is_empty() => Some(each * self.producers as u64),
            _ => None,
        };
        let received = expected.map(|expected| counts.received >= expected);
        match (sent, received) {
            (None, None) => false,
            (sent, received) => sent.unwrap_or(true) && received.unwrap_or(true),
        }
    }

    pub(super) fn connect(&self, name: &str) -> Result<Connection, PerfError> {
        Connection::open(&self.uri, self.heartbeat_s, name)
    }

    /// Declares queues and exchange, and binds them.
    pub(super) fn declare(&self) -> Result<(), PerfError> {
        if self.predeclared {
            return Ok(());
        }
        let mut connection = self.connect("perf-declare")?;
        connection.open_channel(1)?;
        let mut arguments = Vec::new();
        self.queue_arguments.encode_bare(&mut arguments);
        if !self.exchange.is_empty() && !self.exchange.starts_with("amq.") {
            let declare = Method::ExchangeDeclare {
                exchange: &self.exchange,
                kind: &self.kind,
                passive: false,
                durable: true,
                auto_delete: false,
                internal: false,
                nowait: false,
                arguments: RawTable::default(),
            };
            connection.call(1, &declare, |method| matches!(method, Method::ExchangeDeclareOk {}))?;
        }
        for (index, queue) in self.queues.iter().enumerate() {
            let declare = Method::QueueDeclare {
                queue,
                passive: false,
                durable: self.persistent,
                exclusive: false,
                // Without consumers an auto-delete queue would never go.
                auto_delete: self.auto_delete && self.consumers > 0 && !self.persistent,
                nowait: false,
                arguments: RawTable(&arguments),
            };
            connection.call(1, &declare, |method| matches!(method, Method::QueueDeclareOk { .. }))?;
            if !self.exchange.is_empty() {
                let bind = Method::QueueBind {
                    queue,
                    exchange: &self.exchange,
                    routing_key: self.routing_key(index),
                    nowait: false,
                    arguments: RawTable::default(),
                };
                connection.call(1, &bind, |method| matches!(method, Method::QueueBindOk {}))?;
            }
        }
        connection.close()
    }

    /// Deletes the queues that do not go by themselves, if they were declared here.
    pub(super) fn delete(&self) {
        if self.predeclared || !self.auto_delete {
            return;
        }
        let delete_all = || {
            let mut connection = self.connect("perf-delete")?;
            connection.open_channel(1)?;
            for queue in &self.queues {
                let delete = Method::QueueDelete { queue, if_unused: false, if_empty: false, nowait: false };
                connection.call(1, &delete, |method| matches!(method, Method::QueueDeleteOk { .. }))?;
            }
            connection.close()
        };
        if let Err(error) = delete_all() {
            eprintln!("could not delete the queues: {error}");
        }
    }
}

/// `16`, `16,1024` in turn, `16:70,1024:30` by weight.
fn parse_sizes(text: &str) -> Result<Vec<usize>, PerfError> {
    let bad = || PerfError::Usage(format!("'{text}' is not a size, nor a list like 16,1024 or 16:70,1024:30"));
    let mut sizes = Vec::new();
    for item in text.split(',') {
        let (size, weight) = item.split_once(':').unwrap_or((item, "1"));
        let size: usize = size.trim().parse().map_err(|_| bad())?;
        let weight: usize = weight.trim().parse().map_err(|_| bad())?;
        if weight > 1000 {
            return Err(bad());
        }
        sizes.extend(std::iter::repeat_n(size, weight));
    }
    if sizes.is_empty() {
        return Err(bad());
    }
    // Spread by a step that visits all, so that weights are not runs.
    let step = (1..=sizes.len()).rev().find(|step| gcd(*step, sizes.len()) == 1 && *step <= sizes.len() / 2 + 1);
    let step = step.unwrap_or(1);
    Ok((0..sizes.len()).map(|index| sizes[index * step % sizes.len()]).collect())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, &str), PerfError>> {
    let pair = |item: &'_ str| item.split_once('=').map(|(key, value)| (key.trim().len(), value.trim().len()));
    text.split(',').filter(|item| !item.trim().is_empty()).map(move |item| {
        pair(item)
            .and_then(|_| item.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .ok_or_else(|| PerfError::Usage(format!("'{item}' is not key=value")))
    })
}

fn parse_table(text: &str) -> Result<Table, PerfError> {
    pairs(text).map(|pair| pair.map(|(key, value)| (key, parse_value(value)))).collect()
}

fn parse_value(text: &str) -> Value {
    match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) => Value::I64(number),
        (_, Ok(truth)) => Value::Bool(truth),
        _ => text.into(),
    }
}

fn parse_properties(text: &str, persistent: bool) -> Result<Vec<u8>, PerfError> {
    let mut properties = Properties { delivery_mode: persistent.then_some(2), ..Properties::default() };
    let mut headers = Table::default();
    for pair in pairs(text) {
        let (key, value) = pair?;
        let bytes = Some(value.as_bytes());
        let number = || value.parse().map_err(|_| PerfError::Usage(format!("{key}={value}: not a small number")));
        match key {
            "contentType" => properties.content_type = bytes,
            "contentEncoding" => properties.content_encoding = bytes,
            "deliveryMode" => properties.delivery_mode = Some(number()?),
            "priority" => properties.priority = Some(number()?),
            "correlationId" => properties.correlation_id = bytes,
            "replyTo" => properties.reply_to = bytes,
            "expiration" => properties.expiration = bytes,
            "messageId" => properties.message_id = bytes,
            "type" => properties.kind = bytes,
            "userId" => properties.user_id = bytes,
            "appId" => properties.app_id = bytes,
            _ => headers.push(key, parse_value(value)),
        }
    }
    let mut encoded = Vec::new();
    headers.encode_bare(&mut encoded);
    if !headers.is_empty() {
        properties.headers = Some(RawTable(&encoded));
    }
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_lists_or_weights() {
        assert_eq!(parse_sizes("16").unwrap(), [16]);
        let mut sizes = parse_sizes("16:7,1024:3").unwrap();
        sizes.sort_unstable();
        assert_eq!((sizes.len(), sizes[6], sizes[7]), (10, 16, 1024));
        assert!(parse_sizes("x").is_err() && parse_sizes("1:x").is_err() && parse_sizes("").is_err());
    }

    #[test]
    fn arguments_have_the_type_they_look_like() {
        let table = parse_table("x-max-length=10,x-single-active-consumer=true,x-queue-type=quorum").unwrap();
        assert_eq!(table.get("x-max-length"), Some(&Value::I64(10)));
        assert_eq!(table.get("x-single-active-consumer"), Some(&Value::Bool(true)));
        assert_eq!(table.get("x-queue-type").and_then(Value::as_str), Some("quorum"));
        assert!(parse_table("novalue").is_err());
    }
}
