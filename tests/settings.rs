//! What operators change while the broker runs: the limits of memory and disk, and the level of the log.

use lepus::Watermark;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::common::child::Lepus;
use crate::common::ctl::Commands;
use crate::common::http::Http;
use crate::common::place::Place;
use crate::common::raw::{self, Args, Raw, Tune, id};
use crate::common::{builder, within};

/// A process of its own, so that its memory is its own, with commands for it.
struct Broker {
    lepus: Lepus,
    ctl: Commands,
    /// Goes after the process.
    _place: Place,
}

impl Broker {
    fn start() -> Self {
        let place = Place::new();
        let data_dir = place.0.to_str().expect("text").to_owned();
        let small = ["--message-memory", "8MiB", "--log-file-size", "1MiB"];
        let lepus = Lepus::start(&[&["--data-dir", &data_dir][..], &small].concat());
        Self { lepus, ctl: Commands::new(place.0.join("lepus.sock")), _place: place }
    }

    /// A publisher that wants to know when it is blocked.
    async fn publisher(&self) -> Raw {
        let capabilities = Args::new().field("connection.blocked", b't', &[1]);
        let mut raw = Raw::open_with(self.lepus.address, capabilities, |tune| Tune { heartbeat: 0, ..tune }).await;
        raw.channel(1).await;
        raw
    }

    /// The alarms that are on, and what `status` tells of a limit.
    async fn status(&self, limit: &str) -> (Vec<Json>, Json) {
        let status = self.ctl.json(&["status"]).await;
        (status["alarms"].as_array().expect("a list").clone(), status[limit].clone())
    }
}

/// FEATURES FL-1, section 4.4: just above what is used there is no alarm, just below it there is, at once, in both
/// directions, however often; a share of memory counts, too.
#[tokio::test]
async fn the_memory_watermark_moves() {
    let broker = Broker::start();
    let (ctl, limit) = (&broker.ctl, "vm_memory_high_watermark_limit");
    let told = ctl.said(&["set_vm_memory_high_watermark", "0.9"]).await;
    assert!(told.starts_with("Setting memory threshold on rabbit@") && told.ends_with(" to 0.9 ...\n"), "{told}");
    let mut publisher = broker.publisher().await;
    publisher.send(&raw::publish(1, "amq.fanout", "", b"x")).await;
    publisher.expect_alive(1).await;
    for _ in 0..2 {
        // Little is going on: within an eighth it stays where it is.
        let used = broker.lepus.resident_bytes();
        let (above, below) = (used + used / 8, used - used / 8);
        ctl.said(&["set_vm_memory_high_watermark", "absolute", &above.to_string(), "-q"]).await;
        assert_eq!(broker.status(limit).await, (vec![], json!(above)));
        publisher.expect_alive(1).await;
        ctl.said(&["set_vm_memory_high_watermark", "absolute", &below.to_string(), "-q"]).await;
        let (alarms, shown) = broker.status(limit).await;
        assert!(alarms.len() == 1 && alarms[0].as_str().expect("text").starts_with("Memory alarm"), "{alarms:?}");
        assert_eq!(shown, json!(below));
        publisher.send(&raw::publish(1, "amq.fanout", "", b"x")).await;
        assert_eq!(publisher.expect(0, id::BLOCKED).await.args().shortstr(), "low on memory");
        ctl.said(&["set_vm_memory_high_watermark", "0.9", "-q"]).await;
        publisher.expect(0, id::UNBLOCKED).await;
        publisher.expect_alive(1).await;
    }
    ctl.said(&["set_vm_memory_high_watermark", "0", "-q"]).await;
    assert_eq!(broker.status(limit).await.0.len(), 1);
}

/// FEATURES FL-1, section 4.4: the same of free disk space.
#[tokio::test]
async fn the_disk_limit_moves() {
    // Others may write to the same disk meanwhile.
    const MARGIN: u64 = 2 << 30;
    let broker = Broker::start();
    let (ctl, limit) = (&broker.ctl, "disk_free_limit");
    let mut publisher = broker.publisher().await;
    let free = broker.status("disk_free").await.1.as_u64().expect("a number");
    let above = (free + MARGIN).to_string();
    let told = ctl.said(&["set_disk_free_limit", &above]).await;
    assert!(told.starts_with("Setting disk free limit on rabbit@"), "{told}");
    assert!(told.ends_with(&format!(" to {above} bytes ...\n")), "{told}");
    let (alarms, shown) = broker.status(limit).await;
    assert!(alarms.len() == 1 && alarms[0].as_str().expect("text").starts_with("Free disk space"), "{alarms:?}");
    assert_eq!(shown, json!(free + MARGIN));
    publisher.send(&raw::publish(1, "amq.fanout", "", b"x")).await;
    assert_eq!(publisher.expect(0, id::BLOCKED).await.args().shortstr(), "low on disk");
    let below = free.saturating_sub(MARGIN);
    ctl.said(&["set_disk_free_limit", &below.to_string(), "-q"]).await;
    assert_eq!(broker.status(limit).await, (vec![], json!(below)));
    publisher.expect(0, id::UNBLOCKED).await;
    publisher.expect_alive(1).await;
    let told = ctl.said(&["set_disk_free_limit", "mem_relative", "100000.5"]).await;
    assert!(told.ends_with(" to 100000.5 times the total RAM ...\n"), "{told}");
    assert_eq!(broker.status(limit).await.0.len(), 1);
    ctl.said(&["set_disk_free_limit", "50MB", "-q"]).await;
    assert_eq!(broker.status(limit).await, (vec![], json!(50_000_000)));
}

/// FEATURES section 4.4: what is logged from then on is what the level says.
#[tokio::test]
async fn the_log_level_moves() {
    let broker = Broker::start();
    let ctl = &broker.ctl;
    for (level, user) in [("none", "mole"), ("info", "hare"), ("critical", "shrew"), ("debug", "stoat")] {
        assert_eq!(ctl.said(&["set_log_level", level]).await, format!("Setting log level to \"{level}\" ...\n"));
        ctl.said(&["add_user", user, "secret"]).await;
    }
    let (code, why) = ctl.failed(&["set_log_level", "loud"]).await;
    let text = "Error:\nlevel loud is not supported. Try one of debug, info, warning, error, critical, none";
    assert_eq!((code, why.as_str()), (69, text));
    broker.lepus.signal(Signal::TERM);
    let (_, log) = broker.lepus.wait();
    for (user, is_told) in [("mole", false), ("hare", true), ("shrew", false), ("stoat", true)] {
        assert_eq!(log.contains(user), is_told, "{user}: {log}");
    }
}

/// The same over HTTP, for administrators only.
#[tokio::test]
async fn administrators_change_them_over_http() {
    let place = Place::new();
    let builder = place.builder().http("127.0.0.1:0").user("guest", "guest", &["administrator"]);
    let server = builder.user("monitor", "pass", &["monitoring"]).start().await.expect("it starts");
    let http = Http::new(server.http_addr().expect("it has the API"), "guest:guest");
    let name = http.get("nodes").await.items()[0]["name"].as_str().expect("a name").to_owned();
    let path = |setting: &str| format!("nodes/{name}/{setting}");
    let node = async || http.get(&format!("nodes/{name}")).await.json;

    let set = http.put(&path("vm_memory_high_watermark"), &json!({"absolute": 1})).await;
    assert_eq!(set.status, 204, "{}", set.text);
    let alarmed = node().await;
    assert_eq!((&alarmed["mem_limit"], &alarmed["mem_alarm"]), (&json!(1), &json!(true)));
    assert_eq!(http.put(&path("vm_memory_high_watermark"), &json!({"relative": 1})).await.status, 204);
    assert_eq!(node().await["mem_alarm"], json!(false));
    assert_eq!(http.put(&path("disk_free_limit"), &json!({"absolute": 1_u64 << 60})).await.status, 204);
    assert_eq!(node().await["disk_free_alarm"], json!(true));
    assert_eq!(http.put(&path("disk_free_limit"), &json!({"relative": 0})).await.status, 204);
    assert_eq!(node().await["disk_free_alarm"], json!(false));

    for (setting, body) in [
        ("vm_memory_high_watermark", json!({})),
        ("vm_memory_high_watermark", json!({"relative": 1.01})),
        ("vm_memory_high_watermark", json!({"relative": -0.1})),
        ("vm_memory_high_watermark", json!({"relative": 0.5, "absolute": 5})),
        ("vm_memory_high_watermark", json!({"absolute": "2GB"})),
        ("disk_free_limit", json!({"absolute": -1})),
        ("disk_free_limit", json!({"relative": "half"})),
        ("log_level", json!({"level": 7})),
        ("log_level", json!({})),
        // The log is this test's.
        ("log_level", json!({"level": "debug"})),
    ] {
        let refused = http.put(&path(setting), &body).await;
        assert_eq!(refused.status, 400, "{setting} {body}: {}", refused.text);
    }
    let monitor = http.like("monitor:pass");
    for setting in ["vm_memory_high_watermark", "disk_free_limit", "log_level"] {
        assert_eq!(monitor.put(&path(setting), &json!({"absolute": 1})).await.status, 401, "{setting}");
        assert_eq!(http.put(&format!("nodes/rabbit@other/{setting}"), &json!({"absolute": 1})).await.status, 404);
        assert_eq!(http.get(&path(setting)).await.status, 405, "{setting}");
    }
    let limits = node().await;
    assert_eq!((&limits["mem_alarm"], &limits["disk_free_limit"]), (&json!(false), &json!(0)));
    within(server.shutdown()).await;
}

/// A program that the broker is a part of changes them, too; without a data directory there is no disk to watch.
#[tokio::test]
async fn programs_change_them() {
    let server = builder().start().await.expect("it starts");
    server.set_memory_high_watermark(Watermark::Bytes(1)).expect("set");
    assert!(server.broker().alarms().memory());
    server.set_memory_high_watermark(Watermark::Fraction(1.0)).expect("set");
    assert!(!server.broker().alarms().memory());
    let refused = server.set_disk_free_limit(Watermark::Bytes(1)).expect_err("nothing is on disk");
    assert_eq!(refused.to_string(), "nothing is kept on disk: there is no free space to watch");
}
