//! Who may ask the management HTTP API for what: RabbitMQ's answers to users of all tags, with and without permissions in
//! the vhost, as `compat/management/access.py` has recorded them, played against Lepus.

use std::collections::HashMap;

use lepus::Server;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::common::http::Http;
use crate::common::{Client, builder, connect_as, eventually};

const RECORDED: &str = include_str!("../compat/management/access.jsonl");

/// Where Lepus answers otherwise: method, path, what RabbitMQ says, what Lepus says instead, and why.
const DIFFERENT: &[(&str, &str, u16, u16, &str)] = &[
    ("GET", "connections/nope", 500, 404, "RabbitMQ crashes"),
    ("DELETE", "connections/nope", 500, 404, "RabbitMQ crashes"),
    ("GET", "channels/nope", 500, 404, "RabbitMQ crashes"),
];

#[derive(Deserialize)]
struct Head {
    users: Vec<String>,
    setup: Vec<Vec<Json>>,
}

#[derive(Deserialize)]
struct Row {
    method: String,
    path: String,
    body: Option<Json>,
    before: Vec<Vec<Json>>,
    statuses: Vec<u16>,
}

/// A broker, and the connection of guest's that there always is.
struct Place {
    server: Server,
    http: Http,
    client: Option<Client>,
    filled: HashMap<&'static str, String>,
}

impl Place {
    async fn new() -> Self {
        let builder = builder().http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
        let server = builder.start().await.expect("the broker starts");
        let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
        let node = http.get("nodes").await.items()[0]["name"].as_str().expect("a name").to_owned();
        let filled = HashMap::from([("{v}", "cmp-access".to_owned()), ("{node}", node)]);
        Self { server, http, client: None, filled }
    }

    fn path(&self, path: &str) -> String {
        self.filled.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
    }

    async fn status(&self, user: &str, method: &str, path: &str, body: Option<&Json>) -> u16 {
        let body = body.map(Json::to_string).unwrap_or_default();
        self.http.like(user).send(method, &self.path(path), &body).await.status
    }

    /// What an administrator does: method, path, and perhaps a body.
    async fn step(&self, step: &[Json]) {
        let (method, path) = (step[0].as_str().expect("a method"), step[1].as_str().expect("a path"));
        let status = self.status("guest:guest", method, path, step.get(2)).await;
        assert!(status < 300 || method == "DELETE" && status == 404, "{status}: {step:?}");
    }

    async fn connect(&mut self) {
        let names = async |http: &Http| -> Vec<String> {
            let channels = http.get("channels").await;
            channels
                .items()
                .iter()
                .filter_map(|c| c["connection_details"]["name"].as_str().map(str::to_owned))
                .collect()
        };
        if names(&self.http).await.is_empty() {
            self.client = Some(connect_as(&self.server, "guest", "guest", "cmp-access").await.expect("it connects"));
        }
        let http = &self.http;
        let name = eventually("the connection is shown", async || names(http).await.first().cloned()).await;
        self.filled.insert("{connection}", name.bytes().map(|byte| format!("%{byte:02X}")).collect());
    }
}

/// FEATURES section 4.1, US-4: every endpoint by every tag.
#[tokio::test]
async fn each_user_may_do_what_rabbitmq_lets_it() {
    let mut lines = RECORDED.lines();
    let head: Head = serde_json::from_str(lines.next().expect("the users")).expect("a head");
    let mut place = Place::new().await;
    for step in &head.setup {
        place.step(step).await;
    }
    let mut wrong = Vec::new();
    let mut played = 0;
    for line in lines {
        let row: Row = serde_json::from_str(line).expect("a row");
        for (user, recorded) in head.users.iter().zip(&row.statuses) {
            if row.path.contains("connection") {
                place.connect().await;
            }
            for step in &row.before {
                place.step(step).await;
            }
            let status = place.status(&format!("{user}:x"), &row.method, &row.path, row.body.as_ref()).await;
            let different = DIFFERENT.iter().find(|(method, path, theirs, ..)| {
                (*method, *path, *theirs) == (row.method.as_str(), row.path.as_str(), *recorded)
            });
            let expected = different.map_or(*recorded, |(.., ours, _)| *ours);
            if status != expected {
                wrong.push(format!("{} {} by {user}: {status}, not {expected}", row.method, row.path));
            }
            if row.method == "DELETE" && row.path == "connections/{connection}" && status == 204 {
                let http = &place.http;
                eventually("it is closed", async || http.get("channels").await.items().is_empty().then_some(())).await;
            }
            played += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {played} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(played > 1500, "the table is there");
}
