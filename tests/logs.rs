//! What stands in the log, how, and what never does.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapin::options::QueueDeclareOptions;
use rustix::process::Signal;
use serde_json::Value as Json;

use crate::common::child::{Lepus, command};
use crate::common::raw::{Args, Raw, id};
use crate::common::{ChannelExt, Client, eventually};

/// A directory with a file of the log and a configuration.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("lepus-logs-{:x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    async fn eventually_has(&self, name: &str, words: &str) {
        eventually(words, async || self.read(name).contains(words).then_some(())).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A client with a connection's whole life: a refused login, a queue, a channel that is closed on it.
async fn live(lepus: &Lepus) {
    let mut wrong = Raw::connect(lepus.address).await;
    wrong.send(b"AMQP\x00\x00\x09\x01").await;
    wrong.expect(0, id::START).await;
    let says_so = Args::new().field("authentication_failure_close", b't', &[1]);
    wrong.start_ok(says_so, b"PLAIN", b"\0guest\0sesame-open").await;
    wrong.expect_close().await;
    let client = Client::open(&format!("amqp://guest:guest@{}/%2f", lepus.address)).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    client.declare("burrow", durable, Default::default()).await.unwrap();
    client.close().await;
    let mut raw = Raw::open_channel(lepus.address).await;
    raw.method(1, id::QUEUE_PURGE, Args::new().short(0).shortstr(b"nowhere").octet(0)).await;
    raw.expect_channel_close(1).await;
}

fn stop(lepus: Lepus) -> String {
    lepus.signal(Signal::TERM);
    let (status, log) = lepus.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

/// FEATURES 4.6: `log.console.formatter = json`, with who, where and what in fields.
#[tokio::test]
async fn json_has_fields() {
    let lepus = Lepus::start(&["--log-format", "json"]);
    live(&lepus).await;
    let log = stop(lepus);
    let lines: Vec<Json> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let find = |message: &str| {
        lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("no {message} in {log}"))
    };
    let refused = find("login refused");
    assert!(refused["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    assert_eq!((&refused["mechanism"], &refused["level"]), (&"PLAIN".into(), &"INFO".into()));
    assert_eq!(refused["reason"], "user 'guest' - invalid credentials");
    let accepted = find("accepting AMQP connection");
    assert!(accepted["connection"].as_str().unwrap().contains(" -> 127.0.0.1:"), "{accepted}");
    let granted = find("user authenticated and granted access to vhost");
    assert_eq!(
        (&granted["user"], &granted["vhost"], &granted["target"]),
        (&"guest".into(), &"/".into(), &"connection".into())
    );
    let channel = find("closing a channel");
    assert_eq!((&channel["channel"], &channel["user"]), (&1.into(), &"guest".into()));
    assert_eq!(channel["reason"], "NOT_FOUND - no queue 'nowhere' in vhost '/'");
    let queue = find("queue.created");
    assert_eq!((&queue["name"], &queue["target"], &queue["by"]), (&"burrow".into(), &"queue".into(), &"guest".into()));
    let reasons: Vec<&str> = lines
        .iter()
        .filter(|line| line["message"] == "closing AMQP connection")
        .filter_map(|line| line["reason"].as_str())
        .collect();
    assert!(reasons.contains(&"closed by the client"), "{reasons:?}");
}

/// Users, vhosts and policies that an operator changes are told, with who did it.
#[tokio::test]
async fn changes_of_operators_are_told() {
    let place = Place::new();
    let mut serve = command(&["serve", "--amqp-listen", "127.0.0.1:0", "--in-memory", "--http-listen", "127.0.0.1:0"]);
    serve.args(["--log-file", &place.file("lepus.log"), "--log-level", "info"]);
    // Where it listens stands in the file.
    let mut child = serve.spawn().unwrap();
    let listening = "listening for the management API address=";
    place.eventually_has("lepus.log", listening).await;
    let log = place.read("lepus.log");
    let address = log.lines().find_map(|line| line.split_once(listening)).unwrap().1.parse().unwrap();
    let http = crate::common::http::Http::new(address, "guest:guest");
    let user = serde_json::json!({"password": "sesame-open", "tags": "monitoring"});
    assert_eq!(http.put("users/hare", &user).await.status, 201);
    assert_eq!(http.put("vhosts/shop", &serde_json::json!({})).await.status, 201);
    assert_eq!(http.like("hare:wrong-sesame").get("overview").await.status, 401);
    for words in ["user.created name=\"hare\"", "vhost.created name=\"shop\"", "login refused from=\"127.0.0.1:"] {
        place.eventually_has("lepus.log", words).await;
    }
    let log = place.read("lepus.log");
    assert!(!log.contains("sesame"), "{log}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whatever is logged, passwords are not.
#[tokio::test]
async fn no_secret_is_in_any_log() {
    let place = Place::new();
    let definitions = place.file("definitions.json");
    let user = r#"{"users": [{"name": "fox", "password": "sesame-defined", "tags": []}], "vhosts": [{"name": "/"}]}"#;
    fs::write(&definitions, user).unwrap();
    let config = place.file("rabbitmq.conf");
    fs::write(&config, "default_user = guest\ndefault_pass = sesame-default\ndefault_users.a.password = sesame-a\n")
        .unwrap();
    let mut serve = command(&["serve", "--amqp-listen", "127.0.0.1:0", "--in-memory", "--http-listen", "127.0.0.1:0"]);
    serve.args(["--log-level", "trace", "--config", &config, "--definitions", &definitions]);
    let lepus = Lepus::spawn(serve);
    for (user, password) in [("guest", "sesame-default"), ("guest", "sesame-wrong"), ("fox", "sesame-defined")] {
        let _ = Client::open(&format!("amqp://{user}:{password}@{}/%2f", lepus.address)).await;
        for mechanism in ["PLAIN", "NONSENSE"] {
            let mut raw = Raw::connect(lepus.address).await;
            raw.send(b"AMQP\x00\x00\x09\x01").await;
            raw.expect(0, id::START).await;
            raw.start_ok(Args::new(), mechanism.as_bytes(), format!("\0{user}\0{password}").as_bytes()).await;
        }
    }
    let log = stop(lepus);
    assert!(log.contains("DEBUG") && log.contains("login refused"), "{log}");
    assert!(!log.contains("sesame"), "{}", log.lines().find(|line| line.contains("sesame")).unwrap_or_default());
    assert!(!log.contains(STANDARD.encode("guest:sesame-default").as_str()));
}

/// FEATURES 4.6: levels of categories, and SIGHUP: levels anew, the file anew.
#[tokio::test]
async fn levels_and_file_are_taken_anew_on_sighup() {
    let place = Place::new();
    let (config, file) = (place.file("rabbitmq.conf"), place.file("lepus.log"));
    let of_level = |level: &str| format!("log.file = {file}\nlog.connection.level = {level}\n");
    fs::write(&config, of_level("none")).unwrap();
    let mut serve = command(&["serve", "--amqp-listen", "127.0.0.1:0", "--in-memory", "--config"]);
    let lepus = Lepus::spawn({
        serve.arg(&config);
        serve
    });
    drop(Raw::open(lepus.address).await);
    fs::rename(&file, place.file("moved")).unwrap();
    fs::write(&config, of_level("info")).unwrap();
    lepus.signal(Signal::HUP);
    eventually("the file is there again", async || {
        drop(Raw::open(lepus.address).await);
        place.read("lepus.log").contains("accepting AMQP connection").then_some(())
    })
    .await;
    assert!(place.read("moved").contains("listening for AMQP") && !place.read("moved").contains("accepting"));
    fs::write(&config, "log.connection.level = loud\n").unwrap();
    lepus.signal(Signal::HUP);
    place.eventually_has("lepus.log", "the configuration cannot be read: all stays as it was").await;
    stop(lepus);
}
