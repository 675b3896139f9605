//! `lepus perf`: every flag of PerfTest's that it takes does what it does there. The command runs against a broker in
//! this process and reports as JSON.

use lapin::message::BasicGetMessage;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use lepus::Server;
use lepus::auth::Secret;
use serde_json::Value;

use crate::common::child::command;
use crate::common::{ChannelExt, Client, connect, start, start_client, within};

/// Runs `lepus perf` with these flags to its end: whether it succeeded, its report, and what it complained of.
async fn run(flags: &str, uri: &str) -> (bool, Value, String) {
    let words: Vec<String> = format!("perf {flags} --json -h {uri}").split_whitespace().map(str::to_owned).collect();
    let output = within(tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        command(&words).output().expect("the binary starts")
    }));
    let output = output.await.expect("it ends");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.success(), report, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The report of a run that succeeds.
async fn perf(server: &Server, flags: &str) -> Value {
    let (succeeded, report, complaint) = run(flags, &server.amqp_uri()).await;
    assert!(succeeded, "{flags}: {complaint}");
    report
}

/// What a run sent and received.
fn counts(report: &Value) -> (u64, u64) {
    (count(report, "sent"), count(report, "received"))
}

fn count(report: &Value, what: &str) -> u64 {
    report[what].as_u64().unwrap_or_else(|| panic!("{what} in {report}"))
}

async fn message(client: &Client, queue: &str) -> BasicGetMessage {
    client.get(queue).await.expect("a message")
}

/// A queue with ten messages.
async fn ten_messages(client: &Client, queue: &str) {
    client.queue(queue).await;
    client.confirms().await;
    for _ in 0..10 {
        client.publish_confirmed("", queue, b"0123456789abcdef").await;
    }
}

/// -h
#[tokio::test]
async fn the_uri_names_user_and_vhost() {
    let server = start().await;
    server.broker().add_vhost("shop");
    server.broker().auth().put_user("app", Secret::Password("p@ss"), [""; 0]).expect("a user");
    server.broker().auth().set_permissions("shop", "app", ".*", ".*", ".*").expect("permissions");
    let uri = |password: &str| format!("amqp://app:{password}@{}/shop", server.amqp_addr());
    let (succeeded, report, complaint) = run("-C 3", &uri("p%40ss")).await;
    assert!(succeeded, "{complaint}");
    assert_eq!(counts(&report), (3, 3));
    let (succeeded, _, complaint) = run("-C 3", &uri("wrong")).await;
    assert!(!succeeded && !complaint.is_empty());
}

/// -x, -y, -C, -D, -u
#[tokio::test]
async fn producers_and_consumers_have_their_counts() {
    let (server, client) = start_client().await;
    let report = perf(&server, "-x 3 -C 5 -y 3 -D 5 -u work").await;
    assert_eq!(counts(&report), (15, 15));
    client.queue("kept").await;
    let report = perf(&server, "-x 2 -C 7 -y 0 -u kept -p").await;
    assert_eq!(counts(&report), (14, 0));
    assert_eq!(client.count("kept").await, (14, 0));
    let report = perf(&server, "-x 0 -y 2 -D 4 -u kept -p").await;
    assert_eq!(counts(&report), (0, 8));
    assert_eq!(client.count("kept").await, (6, 0));
}

/// -s, as one size, in turn, and by weight
#[tokio::test]
async fn sizes_are_those_of_the_bodies() {
    let (server, client) = start_client().await;
    let lengths = async |size: &str| {
        perf(&server, &format!("-C 4 -y 0 -u sizes-{size} -s {size} --auto-delete false")).await;
        let mut lengths = Vec::new();
        while let Some(message) = client.get(&format!("sizes-{size}")).await {
            lengths.push(message.data.len());
        }
        lengths
    };
    assert_eq!(lengths("0").await, [0; 4]);
    assert_eq!(lengths("200000").await, [200_000; 4]);
    assert_eq!(lengths("16,1024").await, [16, 1024, 16, 1024]);
    let mut weighed = lengths("16:3,64:1").await;
    weighed.sort_unstable();
    assert_eq!(weighed, [16, 16, 16, 64]);
}

/// -e, -t, -k
#[tokio::test]
async fn exchange_type_and_key() {
    let (server, client) = start_client().await;
    let flags = "-C 2 -y 0 -u bound -e orders -t topic -k eu.new --auto-delete false";
    perf(&server, flags).await;
    assert_eq!(client.count("bound").await, (2, 0));
    let passive = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    within(client.exchange_declare("orders".into(), ExchangeKind::Topic, passive, FieldTable::default()))
        .await
        .expect("it is a durable topic exchange");
    client.queue("own").await;
    client.bind("own", "orders", "*.new").await;
    perf(&server, flags).await;
    assert_eq!(client.count("own").await, (2, 0));
    assert_eq!(message(&client, "own").await.routing_key.as_str(), "eu.new");
    // As the broker says it.
    let (succeeded, _, complaint) = run("-C 2 -y 0 -e orders -t fanout", &server.amqp_uri()).await;
    assert!(!succeeded && complaint.contains("406 PRECONDITION_FAILED - inequivalent arg 'type'"), "{complaint}");
}

/// -c
#[tokio::test]
async fn confirms_are_counted_and_timed() {
    let server = start().await;
    let report = perf(&server, "-c 10 -C 100").await;
    assert_eq!((counts(&report), count(&report, "confirmed"), count(&report, "nacked")), ((100, 100), 100, 0));
    assert!(report["confirm_latency_us"]["p99"].as_f64().is_some_and(|us| us > 0.0), "{report}");
    let report = perf(&server, "-c 10 -C 20 -y 0 -u full -qa x-max-length=5,x-overflow=reject-publish").await;
    assert_eq!((count(&report, "confirmed"), count(&report, "nacked")), (5, 15));
}

/// -a: what is pushed is gone; without it, what is not acked comes back.
#[tokio::test]
async fn autoack() {
    let (server, client) = start_client().await;
    ten_messages(&client, "auto").await;
    perf(&server, "-x 0 -D 5 -u auto -p -a").await;
    assert_eq!(client.count("auto").await, (0, 0));
    ten_messages(&client, "manual").await;
    perf(&server, "-x 0 -D 5 -u manual -p").await;
    assert_eq!(client.count("manual").await, (5, 0));
}

/// -A, -q: a consumer that may have four and acks every fifth gets no fifth.
#[tokio::test]
async fn prefetch_and_multiple_acks() {
    let (server, client) = start_client().await;
    for (queue, flags, received) in [("a", "-q 4 -A 5", 4), ("b", "-q 4 -A 4", 10), ("c", "-q 3", 10)] {
        ten_messages(&client, queue).await;
        let report = perf(&server, &format!("-x 0 -D 10 -u {queue} -p -z 1 {flags}")).await;
        assert_eq!(count(&report, "received"), received, "{flags}");
    }
}

/// -f persistent, --message-properties and -mp
#[tokio::test]
async fn properties_of_messages() {
    let (server, client) = start_client().await;
    let keep = "-C 1 -y 0 --auto-delete false";
    perf(&server, &format!("{keep} -u plain")).await;
    assert_eq!(message(&client, "plain").await.properties, BasicProperties::default());
    perf(&server, &format!("{keep} -u durable -f persistent")).await;
    assert_eq!(*message(&client, "durable").await.properties.delivery_mode(), Some(2));
    for flag in ["--message-properties", "-mp"] {
        let pairs = "priority=5,contentType=text/plain,expiration=60000,tenant=a,level=3";
        perf(&server, &format!("{keep} -u rich {flag} {pairs}")).await;
        let properties = message(&client, "rich").await.properties.clone();
        assert_eq!(*properties.priority(), Some(5));
        assert_eq!(properties.content_type().as_ref().map(|text| text.as_str()), Some("text/plain"));
        assert_eq!(properties.expiration().as_ref().map(|text| text.as_str()), Some("60000"));
        let headers = properties.headers().clone().expect("headers");
        assert_eq!(headers.inner().get("tenant"), Some(&AMQPValue::LongString("a".into())));
        assert_eq!(headers.inner().get("level"), Some(&AMQPValue::LongLongInt(3)));
        client.drain("rich").await;
    }
}

/// --queue-args and -qa
#[tokio::test]
async fn arguments_of_queues() {
    let (server, client) = start_client().await;
    for (queue, flag) in [("long", "--queue-args"), ("short", "-qa")] {
        perf(&server, &format!("-C 10 -y 0 -u {queue} {flag} x-max-length=3 --auto-delete false")).await;
        assert_eq!(client.count(queue).await, (3, 0));
    }
}

/// --queue-pattern with -from and -to, and their short forms: producers and consumers go round the queues.
#[tokio::test]
async fn many_queues_by_pattern() {
    let (server, client) = start_client().await;
    for flags in ["--queue-pattern q-%d --queue-pattern-from 2 --queue-pattern-to 4", "-qp q-%d -qpf 2 -qpt 4"] {
        perf(&server, &format!("-x 3 -C 5 -y 0 {flags} --auto-delete false")).await;
        for queue in ["q-2", "q-3", "q-4"] {
            assert_eq!(client.drain(queue).await.len(), 5);
        }
        let report = perf(&server, &format!("-x 6 -C 5 -y 3 {flags} --auto-delete false")).await;
        assert_eq!(counts(&report), (30, 30));
    }
    let absent = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    assert!(client.declare("q-1", absent, FieldTable::default()).await.is_err());
}

/// -z
#[tokio::test]
async fn a_run_lasts_as_long_as_it_should() {
    let server = start().await;
    let report = perf(&server, "-z 1.5 -r 10").await;
    let seconds = report["seconds"].as_f64().expect("seconds");
    assert!((1.5..3.0).contains(&seconds), "{seconds}");
}

/// -r: never ahead of the pace, and not behind it.
#[tokio::test]
async fn producers_keep_the_pace() {
    let server = start().await;
    for rate in [100, 5000, 50_000] {
        let report = perf(&server, &format!("-r {rate} -z 1 -a -s 16")).await;
        let due = f64::from(rate) * report["seconds"].as_f64().expect("seconds");
        let sent = count(&report, "sent") as f64;
        assert!(sent <= due + 1.0, "{rate}/s: {sent} of {due}");
        // An unoptimised broker and its clients on a busy machine may not do the last.
        let least = if rate > 5000 { 0.2 } else { 0.5 };
        assert!(sent >= due * least, "{rate}/s: {sent} of {due}");
    }
    // Each producer keeps it.
    let report = perf(&server, "-x 4 -r 100 -z 1").await;
    assert!((200..=410).contains(&count(&report, "sent")), "{report}");
}

/// -R: never ahead of the pace, whatever waits in the queue.
#[tokio::test]
async fn consumers_keep_the_pace() {
    let (server, client) = start_client().await;
    client.queue("slow").await;
    perf(&server, "-C 5000 -y 0 -u slow -p").await;
    for (rate, flags) in [(100, ""), (1000, "-a"), (100, "-q 10")] {
        let report = perf(&server, &format!("-x 0 -u slow -p -z 1 -R {rate} {flags}")).await;
        let allowed = f64::from(rate) * report["seconds"].as_f64().expect("seconds");
        let received = count(&report, "received") as f64;
        assert!((allowed * 0.5..=allowed * 1.5).contains(&received), "{rate}/s: {received} of {allowed}");
        perf(&server, "-C 5000 -y 0 -u slow -p").await;
    }
}

/// Order, loss and duplicates are looked for.
#[tokio::test]
async fn runs_are_checked() {
    let (server, client) = start_client().await;
    let report = perf(&server, "-x 2 -C 500 -s 16 --check -c 50").await;
    assert_eq!((counts(&report), count(&report, "violations")), ((1000, 1000), 0));
    // What was sent twice is noticed.
    client.queue("twice").await;
    perf(&server, "-C 5 -y 0 -u twice -p -s 16").await;
    perf(&server, "-C 5 -y 0 -u twice -p -s 16").await;
    let (succeeded, report, _) = run("-x 0 -D 10 -u twice -p -s 16 --check", &server.amqp_uri()).await;
    assert!(!succeeded);
    assert_eq!(count(&report, "violations"), 1);
}

/// Opening and closing instead of sending.
#[tokio::test]
async fn churn() {
    let (server, client) = start_client().await;
    for kind in ["connections", "channels", "queues", "binds", "binds-and-unbinds"] {
        let report = perf(&server, &format!("--churn {kind} -x 2 -C 10")).await;
        assert_eq!((count(&report, "rounds"), &report["churn"]), (20, &Value::from(kind)));
    }
    assert_eq!(server.broker().connection_count(), 1);
    let exclusive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    assert!(client.declare("perf-churn-0", exclusive, FieldTable::default()).await.is_err());
}

/// Calls come back to whoever made them, by direct reply-to and by a queue; nothing is left of them.
#[tokio::test]
async fn calls() {
    let server = start().await;
    for (flags, reply_to) in [("", "direct"), ("--reply-queue", "queue")] {
        let report = perf(&server, &format!("rpc --in-flight 16 -C 200 -x 2 -y 2 -s 1000 {flags}")).await;
        assert_eq!((count(&report, "calls"), count(&report, "unanswered")), (400, 0));
        assert_eq!(report["reply_to"], reply_to);
        assert!(report["latency_us"]["p99"].as_f64().is_some_and(|us| us > 0.0), "{report}");
    }
    let client = connect(&server).await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    assert!(client.declare("perf-rpc", passive, FieldTable::default()).await.is_err());
    assert_eq!(server.broker().connection_count(), 1);
}

/// Bodies of several frames go there and back, too.
#[tokio::test]
async fn large_calls() {
    let server = start().await;
    let report = perf(&server, "rpc --in-flight 4 -C 10 -s 300000").await;
    assert_eq!((count(&report, "calls"), count(&report, "unanswered")), (10, 0));
}
