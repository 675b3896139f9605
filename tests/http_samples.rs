//! Rates and samples of the management HTTP API.

use std::time::Duration;

use lapin::options::{BasicAckOptions, QueueDeleteOptions};
use lepus::Server;
use serde_json::{Value as Json, json};

use crate::common::http::Http;
use crate::common::{ChannelExt, Client, builder, connect, eventually, options_of};

const ALL: &str = "lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5&data_rates_age=60&data_rates_incr=5&\
                   node_stats_age=60&node_stats_incr=5";

/// A broker that samples all the time.
async fn start() -> (Server, Http, Client) {
    let builder = builder().http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
    let server = builder.statistics_interval(Duration::from_millis(50)).start().await.expect("the broker starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    let client = connect(&server).await;
    (server, http, client)
}

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Waits until the newest sample of a series is this.
async fn sampled(http: &Http, path: &str, series: &str, newest: u64) -> Json {
    let (path, pointer) = (format!("{path}?{ALL}"), format!("/{}_details", series.replace('.', "/")));
    eventually(&format!("{newest} of {series} in {path}"), async || {
        let details = http.get(&path).await.json.pointer(&pointer).cloned()?;
        (details.pointer("/samples/0/sample")? == newest).then_some(details)
    })
    .await
}

fn check(details: &Json, what: &str) {
    let samples = details["samples"].as_array().unwrap_or_else(|| panic!("{what}: {details}"));
    assert_eq!(samples.len(), 13, "{what}");
    let times: Vec<u64> = samples.iter().filter_map(|sample| sample["timestamp"].as_u64()).collect();
    assert!(times.windows(2).all(|pair| pair[0] - pair[1] == 5000 && pair[0] % 5000 == 0), "{what}: {times:?}");
    for number in ["rate", "avg", "avg_rate"] {
        assert!(details[number].is_f64(), "{what} {number}: {details}");
    }
}

/// FEATURES section 4.1: every kind of object has samples of what it counts.
#[tokio::test]
async fn all_objects_have_samples() {
    let (_server, http, client) = start().await;
    http.put("exchanges/%2F/x", &json!({"type": "fanout"})).await;
    for queue in ["q", "r"] {
        client.queue(queue).await;
        http.send("POST", &format!("bindings/%2F/e/x/q/{queue}"), "{}").await;
    }
    for _ in 0..3 {
        client.publish("x", "", b"hi").await;
    }
    client.publish("", "none", b"hi").await;
    assert_eq!(client.get("q").await.map(|message| message.data.clone()), Some(b"hi".to_vec()));
    let connection = http.get("connections").await.items()[0]["name"].as_str().expect("a name").to_owned();
    let connection = encoded(&connection);
    let channel = format!("channels/{connection}%20(1)");
    let node = http.get("nodes").await.items()[0]["name"].as_str().expect("a name").to_owned();
    let expected = [
        ("queues/%2F/q", "messages_ready", 2),
        ("queues/%2F/q", "message_stats.publish", 3),
        ("queues/%2F/q", "message_stats.deliver_get", 1),
        ("exchanges/%2F/x", "message_stats.publish_in", 3),
        ("exchanges/%2F/x", "message_stats.publish_out", 6),
        ("exchanges/%2F/amq.default", "message_stats.publish_in", 1),
        (&channel, "message_stats.publish", 4),
        (&channel, "message_stats.drop_unroutable", 1),
        ("vhosts/%2F", "messages", 6),
        ("vhosts/%2F", "message_stats.publish", 4),
        ("vhosts/%2F", "message_stats.drop_unroutable", 1),
        ("overview", "queue_totals.messages", 6),
        ("overview", "message_stats.publish", 4),
        ("overview", "churn_rates.queue_created", 2),
        (&format!("nodes/{node}"), "connection_created", 1),
    ];
    for (path, series, newest) in expected {
        check(&sampled(&http, path, series, newest).await, &format!("{path} {series}"));
    }
    let shown = http.get(&format!("connections/{connection}?{ALL}")).await.json;
    for octets in ["recv_oct", "send_oct"] {
        check(&shown[format!("{octets}_details")], octets);
        let newest = &shown[format!("{octets}_details")]["samples"][0]["sample"];
        assert!(newest.as_u64().is_some_and(|octets| octets > 0), "{octets}: {newest}");
    }
    let vhost = http.get("vhosts/%2F").await.json;
    assert_eq!(vhost["recv_oct"], shown["recv_oct"]);
}

/// FEATURES section 4.1: lists have samples, too, and a range that is none is refused.
#[tokio::test]
async fn lists_have_samples_and_ranges_are_checked() {
    let (_server, http, client) = start().await;
    client.queue("q").await;
    client.publish("", "q", b"hi").await;
    sampled(&http, "queues/%2F/q", "messages", 1).await;
    for (list, series) in [
        ("queues", "messages_details"),
        ("vhosts", "messages_details"),
        ("nodes", "mem_used_details"),
        ("connections", "recv_oct_details"),
    ] {
        let shown = http.get(&format!("{list}?{ALL}&columns=name,{series}")).await;
        assert_eq!(shown.items()[0][series]["samples"].as_array().map(Vec::len), Some(13), "{list}");
        let plain = http.get(list).await;
        let keys = plain.items()[0][series].as_object().map(|details| details.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys, Some(vec!["rate".to_owned()]), "{list}");
    }
    for path in ["overview", "queues", "queues/%2F/q", "exchanges", "connections", "channels", "nodes", "vhosts"] {
        let refused = http.get(&format!("{path}?lengths_age=60&lengths_incr=0")).await;
        let reason = "Invalid range parameters: age 60, incr 0";
        assert_eq!((refused.status, &refused.json["reason"]), (400, &json!(reason)), "{path}");
    }
}

/// FEATURES section 4.1: a queue made anew begins anew; /reset forgets all samples.
#[tokio::test]
async fn what_is_gone_is_forgotten() {
    let (_server, http, client) = start().await;
    client.queue("q").await;
    client.publish("", "q", b"hi").await;
    sampled(&http, "queues/%2F/q", "message_stats.publish", 1).await;
    http.delete("queues/%2F/q").await;
    client.queue("q").await;
    let shown = http.get(&format!("queues/%2F/q?{ALL}")).await.json;
    assert_eq!((&shown["messages"], shown.get("message_stats")), (&json!(0), None));
    // What the queue was counts on for its vhost.
    let all = sampled(&http, "vhosts/%2F", "message_stats.publish", 1).await;
    assert_eq!(all["samples"][0]["sample"], 1);
    assert_eq!(http.delete("reset").await.status, 204);
    assert_eq!(http.get("vhosts/%2F").await.json["message_stats"]["publish"], 1, "counts are not samples");
}

/// FEATURES section 4.1: a rate shows while messages flow, and is over when they do not.
#[tokio::test]
async fn rates_come_and_go() {
    let (_server, http, client) = start().await;
    client.queue("q").await;
    let rates = async || {
        let overview = http.get("overview").await.json;
        let channel = http.get("channels").await.items()[0].clone();
        let read = |of: &Json| of["message_stats"]["publish_details"]["rate"].as_f64().unwrap_or_default();
        let connection = http.get("connections").await.items()[0]["recv_oct_details"]["rate"].as_f64();
        (read(&overview), read(&channel), connection.unwrap_or_default())
    };
    eventually("there are rates", async || {
        for _ in 0..20 {
            client.publish("", "q", b"hi").await;
        }
        let (overview, channel, connection) = rates().await;
        (overview > 0.0 && channel > 0.0 && connection > 0.0).then_some(())
    })
    .await;
    eventually("they are over", async || (rates().await == (0.0, 0.0, 0.0)).then_some(())).await;
}

/// FEATURES section 4.1: `management.rates_mode = detailed`, as recorded from RabbitMQ 4.3.6: who publishes to what, and who
/// gets from where.
#[tokio::test]
async fn pairs_are_told_of_if_that_is_wanted() {
    let mut options = options_of("management.rates_mode = detailed");
    options.amqp = vec!["127.0.0.1:0".into()];
    options.http = vec!["127.0.0.1:0".into()];
    options.statistics_interval = Duration::from_millis(50);
    let server = lepus::Server::with_options(options).start().await.expect("the broker starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    assert_eq!(http.get("overview").await.json["rates_mode"], "detailed");
    let client = connect(&server).await;
    client.confirms().await;
    http.put("exchanges/%2F/x", &json!({"type": "topic"})).await;
    for (queue, key) in [("q", "#"), ("r", "b.#")] {
        client.queue(queue).await;
        http.send("POST", &format!("bindings/%2F/e/x/q/{queue}"), &json!({"routing_key": key}).to_string()).await;
    }
    for (exchange, key) in [("x", "a"), ("x", "a"), ("x", "b.c"), ("", "r"), ("", "nowhere")] {
        client.publish_confirmed(exchange, key, b"hi").await;
    }
    let getter = client.another_channel().await;
    getter.get("q").await.expect("a message").ack(BasicAckOptions::default()).await.expect("it is acked");
    getter.get("q").await.expect("a message");
    assert!(getter.get("r").await.is_some() && getter.get("r").await.is_some() && getter.get("r").await.is_none());

    let connection = http.get("connections").await.items()[0]["name"].as_str().expect("a name").to_owned();
    let told = async |path: &str, list: &str, partner: &str, counts: &[&str]| -> Vec<(Json, Vec<u64>)> {
        let list = http.get(path).await.json[list].as_array().cloned().unwrap_or_else(|| panic!("{list} of {path}"));
        let row = |row: &Json| {
            let stats = &row["stats"];
            assert!(stats[format!("{}_details", counts[0])]["rate"].is_f64(), "{row}");
            (
                row[partner]["name"].clone(),
                counts.iter().map(|count| stats[count].as_u64().expect("a number")).collect(),
            )
        };
        list.iter().map(row).collect()
    };
    let (publisher, getter) = (format!("{connection} (1)"), format!("{connection} (2)"));
    let published = ["publish", "confirm", "drop_unroutable", "return_unroutable"];
    let delivered = ["get", "ack", "get_empty", "deliver_get", "deliver", "redeliver"];
    let of_channel = |name: &str| format!("channels/{}", encoded(name));
    eventually("all is sampled", async || {
        let publishes = told(&of_channel(&publisher), "publishes", "exchange", &published).await;
        let deliveries = told(&of_channel(&getter), "deliveries", "queue", &delivered).await;
        let incoming = told("exchanges/%2F/x", "incoming", "channel_details", &published).await;
        let outgoing = told("exchanges/%2F/x", "outgoing", "queue", &published[..1]).await;
        let arrivals = told("queues/%2F/r", "incoming", "exchange", &published[..1]).await;
        let getters = told("queues/%2F/q", "deliveries", "channel_details", &delivered).await;
        let all = (publishes, deliveries, incoming, outgoing, arrivals, getters);
        let expected = (
            vec![(json!(""), vec![2, 2, 1, 0]), (json!("x"), vec![3, 3, 0, 0])],
            vec![(json!("q"), vec![2, 1, 0, 2, 0, 0]), (json!("r"), vec![2, 0, 1, 2, 0, 0])],
            vec![(json!(publisher), vec![3, 3, 0, 0])],
            vec![(json!("q"), vec![3]), (json!("r"), vec![1])],
            vec![(json!(""), vec![1]), (json!("x"), vec![1])],
            vec![(json!(getter), vec![2, 1, 0, 2, 0, 0])],
        );
        (all == expected).then_some(())
    })
    .await;
    let shown = http.get("queues/%2F/q").await.json["deliveries"][0]["channel_details"].clone();
    assert_eq!(
        (&shown["number"], &shown["user"], &shown["connection_name"]),
        (&json!(2), &json!("guest"), &json!(connection))
    );
    client.queue_delete("r".into(), QueueDeleteOptions::default()).await.expect("it is deleted");
    eventually("what is gone is not told of", async || {
        let outgoing = told("exchanges/%2F/x", "outgoing", "queue", &published[..1]).await;
        (outgoing == [(json!("q"), vec![3])]).then_some(())
    })
    .await;
}
