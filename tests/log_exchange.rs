//! Lines of the log as messages (FEATURES 2.15).

use crate::common::child::{Lepus, command};
use crate::common::client::{next, text};
use crate::common::raw::Raw;
use crate::common::{ChannelExt, Client};

/// FEATURES EV-3: the key is the level, the body the line.
#[tokio::test]
async fn lines_of_the_log_can_be_bound_to() {
    let path = std::env::temp_dir().join(format!("lepus-log-{:x}.conf", rand::random::<u64>()));
    std::fs::write(&path, "log.exchange = true\n").unwrap();
    let mut serve = command(&["serve", "--amqp-listen", "127.0.0.1:0", "--in-memory", "--config"]);
    serve.arg(&path);
    let lepus = Lepus::spawn(serve);
    std::fs::remove_file(&path).unwrap();
    let client = Client::open(&format!("amqp://guest:guest@{}/%2f", lepus.address)).await.unwrap();
    client.queue("lines").await;
    client.bind("lines", "amq.rabbitmq.log", "#").await;
    let mut lines = client.consume("lines", "reader").await;
    // The end of a connection without a close is told in the log, after what came before it.
    drop(Raw::open(lepus.address).await);
    loop {
        let line = next(&mut lines).await;
        assert_eq!((line.exchange.as_str(), line.routing_key.as_str()), ("amq.rabbitmq.log", "info"));
        if text(&line).contains("client unexpectedly closed TCP connection") {
            break;
        }
    }
}
