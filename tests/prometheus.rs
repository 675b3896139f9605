//! Metrics, from outside: what Prometheus would read.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lapin::options::{BasicRejectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::AMQPValue;

use crate::common::http::{Http, fetch};
use crate::common::{ChannelExt, builder, connect, eventually, options_of, table};

/// Samples by name and labels, and the types of families.
struct Metrics {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Metrics {
    async fn of(address: SocketAddr, path: &str) -> Self {
        let answer = fetch(address, "GET", path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type").as_deref(), Some("text/plain; version=0.0.4"));
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        for line in answer.text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                assert!(samples.insert(name.to_owned(), value).is_none(), "{name} comes twice");
            }
        }
        for name in samples.keys() {
            let family = name.split('{').next().expect("a name");
            assert!(types.contains_key(family), "{family} has no type");
        }
        Self { samples, types }
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.samples.get(name).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|own| own.split('{').next() == Some(name))
    }
}

/// FEATURES section 4.5: the names that RabbitMQ's overview dashboard asks for.
#[tokio::test]
async fn the_overview_dashboard_finds_its_names() {
    let server = builder().prometheus("127.0.0.1:0").start().await.expect("the broker starts");
    let metrics = Metrics::of(server.prometheus_addrs()[0], "/metrics").await;
    let names = include_str!("../compat/prometheus/overview_names.txt");
    let missing: Vec<&str> = names.lines().filter(|name| !metrics.has(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
    assert_eq!(metrics.types["rabbitmq_queue_messages"], "gauge");
    assert_eq!(metrics.types["rabbitmq_global_messages_received_total"], "counter");
}

/// FEATURES section 4.5: sums, the global counters, and that those outlive their queues.
#[tokio::test]
async fn what_happens_is_counted() {
    let server = builder().prometheus("127.0.0.1:0").start().await.expect("the broker starts");
    let address = server.prometheus_addrs()[0];
    let channel = connect(&server).await;
    channel.confirms().await;
    let to_dead = [
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", AMQPValue::LongString("dead".into())),
    ];
    channel.queue_declare("live".into(), QueueDeclareOptions::default(), table(to_dead)).await.expect("it is declared");
    channel.queue("dead").await;
    for _ in 0..3 {
        channel.publish_confirmed("", "live", b"abc").await;
    }
    channel.publish_confirmed("", "nowhere", b"abc").await;
    let got = channel.get("live").await.expect("a message");
    got.acker.reject(BasicRejectOptions { requeue: false }).await.expect("rejected");

    let of = |name: &str| format!("rabbitmq_global_messages_{name}_total{{protocol=\"amqp091\"}}");
    let dead = "rabbitmq_global_messages_dead_lettered_rejected_total\
                {queue_type=\"rabbit_classic_queue\",dead_letter_strategy=\"at_most_once\"}";
    let got = "rabbitmq_global_messages_delivered_get_manual_ack_total\
               {protocol=\"amqp091\",queue_type=\"rabbit_classic_queue\"}";
    eventually("all is counted", async || {
        let metrics = Metrics::of(address, "/metrics").await;
        let told = ["received", "received_confirm", "confirmed", "routed", "unroutable_dropped"];
        let told = told.map(|name| metrics.get(&of(name)));
        let is_all = told == [Some(4.0), Some(4.0), Some(4.0), Some(3.0), Some(1.0)]
            && metrics.get(dead) == Some(1.0)
            && metrics.get("rabbitmq_queue_messages_ready") == Some(3.0)
            && metrics.get("rabbitmq_channel_messages_confirmed_total") == Some(4.0);
        is_all.then_some(())
    })
    .await;
    channel.queue_delete("live".into(), QueueDeleteOptions::default()).await.expect("it is deleted");
    let metrics = Metrics::of(address, "/metrics").await;
    assert_eq!((metrics.get(got), metrics.get(dead)), (Some(1.0), Some(1.0)));
    assert_eq!(metrics.get("rabbitmq_queues"), Some(1.0));
    assert_eq!(metrics.get("rabbitmq_connections"), Some(1.0));
}

/// FEATURES section 4.5: of each object, and only what is asked for.
#[tokio::test]
async fn objects_are_told_of_one_by_one() {
    let server =
        builder().prometheus("127.0.0.1:0").vhost("/").vhost("other").start().await.expect("the broker starts");
    let address = server.prometheus_addrs()[0];
    let channel = connect(&server).await;
    channel.queue("a\"b").await;
    channel.queue("c").await;
    let metrics = Metrics::of(address, "/metrics/per-object").await;
    assert_eq!(metrics.get("rabbitmq_queue_messages{vhost=\"/\",queue=\"a\\\"b\"}"), Some(0.0));
    assert!(metrics.has("rabbitmq_connection_channels") && metrics.has("rabbitmq_auth_attempts_total"));
    assert!(!metrics.has("rabbitmq_queue_messages_acked_total"), "nothing ever happened there");

    let path = "/metrics/detailed?family=queue_coarse_metrics&family=exchange_bindings&vhost=%2F&queue=c";
    let metrics = Metrics::of(address, path).await;
    assert_eq!(metrics.get("rabbitmq_detailed_queue_messages{vhost=\"/\",queue=\"c\"}"), Some(0.0));
    let queues = metrics.samples.keys().filter(|name| name.starts_with("rabbitmq_detailed_queue_messages{")).count();
    assert_eq!(queues, 1);
    assert!(metrics.has("rabbitmq_cluster_exchange_bindings") && !metrics.has("rabbitmq_detailed_queue_consumers"));
    let metrics = Metrics::of(address, "/metrics/detailed?family=queue_coarse_metrics&vhost=other").await;
    assert!(!metrics.has("rabbitmq_detailed_queue_messages") && metrics.has("rabbitmq_identity_info"));

    assert_eq!(fetch(address, "GET", "/").await.status, 404);
    assert_eq!(fetch(address, "POST", "/metrics").await.status, 405);
    assert_eq!(fetch(address, "HEAD", "/metrics").await.text, "");
}

/// FEATURES section 4.5, as recorded from RabbitMQ 4.3.6: sources of logins are told one by one, never in sum.
#[tokio::test]
async fn sources_of_logins_are_told_if_they_are_counted() {
    let mut options = options_of("track_auth_attempt_source = true");
    options.amqp = vec!["127.0.0.1:0".into()];
    options.http = vec!["127.0.0.1:0".into()];
    options.prometheus = vec!["127.0.0.1:0".into()];
    let server = lepus::Server::with_options(options).start().await.expect("the broker starts");
    let address = server.prometheus_addrs()[0];
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    assert_eq!(http.get("whoami").await.status, 200);
    for user in ["guest:wrong", "a\"b:pass"] {
        assert_eq!(http.like(user).get("whoami").await.status, 401);
    }
    let family = "auth_attempts_detailed";
    let detailed = Metrics::of(address, "/metrics/detailed?family=auth_attempt_detailed_metrics").await;
    let per_object = Metrics::of(address, "/metrics/per-object").await;
    for (metrics, prefix) in [(&detailed, "rabbitmq_detailed_"), (&per_object, "rabbitmq_")] {
        let counts = |user: &str| {
            let labels = format!("{{remote_address=\"127.0.0.1\",username=\"{user}\",protocol=\"http\"}}");
            let count = |kind: &str| metrics.get(&format!("{prefix}{family}{kind}_total{labels}"));
            (count(""), count("_succeeded"), count("_failed"))
        };
        assert_eq!(counts("guest"), (Some(2.0), Some(1.0), Some(1.0)));
        assert_eq!(counts("a\\\"b"), (Some(1.0), Some(0.0), Some(1.0)));
        assert_eq!(metrics.types[&format!("{prefix}{family}_total")], "counter");
    }
    let is_told = |metrics: &Metrics| metrics.types.keys().any(|name| name.contains(family));
    assert!(!is_told(&Metrics::of(address, "/metrics").await));
    assert!(!is_told(&Metrics::of(address, "/metrics/detailed?family=auth_attempt_metrics").await));
}
