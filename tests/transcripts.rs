//! Lepus beside the transcripts of RabbitMQ (`compat/oracle`).

use crate::common::builder;
use crate::oracle::{self, compare::Broker};

/// FEATURES 1.1 to 1.7 and 2.1 to 2.14, scenario by scenario; the differences that stay are in
/// `compat/DIFFERENCES.md`, each with its reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts_are_those_of_rabbitmq() {
    let setup = oracle::directory().join("setup.json");
    let server = builder()
        .user("guest", "guest", &["administrator"])
        .vhost("/")
        .definitions(setup)
        .start()
        .await
        .expect("the broker starts");
    let address = server.amqp_addr();
    let verified = tokio::task::spawn_blocking(move || oracle::verify(address, Broker::Lepus, "")).await;
    let played = verified.expect("the player does not panic").unwrap_or_else(|differences| panic!("{differences}"));
    assert!(played >= 350, "only {played} scenarios");
    server.shutdown().await;
}
