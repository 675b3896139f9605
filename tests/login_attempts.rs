//! Attempts to log in: how many, and of whom from where.

use lepus::ServerBuilder;
use serde_json::{Value as Json, json};

use crate::common::ctl::Ctl;
use crate::common::http::Http;
use crate::common::raw::{Args, Raw, id};
use crate::common::{Client, builder};

struct Broker {
    ctl: Ctl,
    http: Http,
    /// Of the attempts.
    path: String,
}

impl Broker {
    async fn start(builder: ServerBuilder) -> Self {
        let builder = builder.http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
        let ctl = Ctl::start(builder.user("monitor", "pass", &["monitoring"])).await;
        let http = Http::new(ctl.server.http_addr().expect("it has the API"), "guest:guest");
        let name = ctl.json(&["status"]).await["listeners"][0]["node"].as_str().expect("a name").to_owned();
        Self { ctl, http, path: format!("auth/attempts/{name}") }
    }

    async fn refused_client(&self, user: &str) {
        let capabilities = Args::new().field("authentication_failure_close", b't', &[1]);
        let mut raw = Raw::connect(self.ctl.server.amqp_addr()).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        raw.start_ok(capabilities, b"PLAIN", format!("\0{user}\0wrong").as_bytes()).await;
        raw.expect(0, id::CLOSE).await;
    }

    /// Told by the operator's socket, which is no attempt: user, protocol, attempts, failures.
    async fn sources(&self) -> Vec<(String, String, u64, u64)> {
        let listed = self.ctl.json(&["list_node_auth_attempt_stats", "--by-source"]).await;
        let row = |row: &Json| {
            assert_eq!(row["remote_address"], "127.0.0.1");
            let text = |field: &str| row[field].as_str().expect("text").to_owned();
            let number = |field: &str| row[field].as_u64().expect("a number");
            let (all, failed) = (number("auth_attempts"), number("auth_attempts_failed"));
            assert_eq!(all - failed, number("auth_attempts_succeeded"));
            (text("username"), text("protocol"), all, failed)
        };
        listed.as_array().expect("a list").iter().map(row).collect()
    }
}

fn row(user: &str, protocol: &str, all: u64, failed: u64) -> (String, String, u64, u64) {
    (user.to_owned(), protocol.to_owned(), all, failed)
}

/// FEATURES section 4.1: `/auth/attempts/{n}/source`, as recorded from RabbitMQ 4.3.6: nothing until it is switched on,
/// then a row for each address, user and protocol; what was counted stays when it is switched off.
#[tokio::test]
async fn sources_are_counted_when_that_is_wanted() {
    let broker = Broker::start(builder()).await;
    let (ctl, http) = (&broker.ctl, &broker.http);
    let source = format!("{}/source", broker.path);
    broker.refused_client("fox").await;
    assert_eq!(http.get(&source).await.json, json!([]));
    let on = ctl.said(&["enable_auth_attempt_source_tracking"]).await;
    assert_eq!(on, "Enabling authentication attempt source tracking ...\n");
    broker.refused_client("fox").await;
    broker.refused_client("guest").await;
    Client::open(&ctl.server.amqp_uri()).await.expect("a login").close().await;
    assert_eq!(http.like("fox:wrong").get("whoami").await.status, 401);
    assert_eq!(http.get("whoami").await.status, 200);
    let counted = [
        row("fox", "amqp091", 1, 1),
        row("fox", "http", 1, 1),
        row("guest", "amqp091", 2, 1),
        row("guest", "http", 1, 0),
    ];
    assert_eq!(broker.sources().await, counted);
    // The request itself has logged in before it is answered, and the answer is never cut into pages.
    let listed = http.get(&format!("{source}?page=1&page_size=1")).await;
    assert_eq!(listed.items().len(), 4);
    assert_eq!(
        listed.items()[3],
        json!({"remote_address": "127.0.0.1", "username": "guest", "protocol": "http", "auth_attempts": 2,
               "auth_attempts_failed": 0, "auth_attempts_succeeded": 2})
    );
    ctl.said(&["disable_auth_attempt_source_tracking"]).await;
    broker.refused_client("fox").await;
    assert_eq!(broker.sources().await[0], row("fox", "amqp091", 1, 1));
    let by_protocol = ctl.json(&["list_node_auth_attempt_stats"]).await;
    let amqp = by_protocol.as_array().expect("a list").iter().find(|row| row["protocol"] == "amqp091");
    assert_eq!(amqp.expect("a row")["auth_attempts_failed"], 4);
}

/// FEATURES section 4.1: deleting either list empties both; administrators only, and of this node.
#[tokio::test]
async fn sources_are_forgotten_on_request() {
    let mut options = lepus::server::Options::default();
    options.storage = Some(lepus::server::Storage::Memory);
    options.amqp = vec!["127.0.0.1:0".into()];
    options.track_login_sources = true;
    let broker = Broker::start(lepus::Server::with_options(options)).await;
    let (ctl, http) = (&broker.ctl, &broker.http);
    let source = format!("{}/source", broker.path);
    for path in [&source, &broker.path] {
        broker.refused_client("fox").await;
        assert_eq!(broker.sources().await[0], row("fox", "amqp091", 1, 1));
        assert_eq!(http.delete(path).await.status, 204, "{path}");
        assert_eq!(broker.sources().await, []);
        assert_eq!(ctl.json(&["list_node_auth_attempt_stats"]).await, json!([]));
    }
    broker.refused_client("fox").await;
    ctl.said(&["reset_node_auth_attempt_metrics"]).await;
    assert_eq!(broker.sources().await, []);
    let monitor = http.like("monitor:pass");
    assert_eq!(monitor.get(&source).await.status, 200);
    assert_eq!(monitor.delete(&source).await.status, 401);
    assert_eq!(http.get("auth/attempts/rabbit@other/source").await.status, 404);
    assert_eq!(http.delete("auth/attempts/rabbit@other/source").await.status, 404);
    assert_eq!(http.put(&source, &json!({})).await.status, 405);
    let setting = broker.path.replace("auth/attempts", "nodes") + "/track_auth_attempt_source";
    assert_eq!(monitor.put(&setting, &json!({"enabled": true})).await.status, 401);
    assert_eq!(http.put(&setting, &json!({"enabled": "perhaps"})).await.status, 400);
    assert_eq!(http.put(&setting, &json!({"enabled": false})).await.status, 204);
}
