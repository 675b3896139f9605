//! Connections that the broker closes: by name, and because their vhost or user is gone.

use lepus::broker::DeleteVhostError;

use crate::common::raw::{Args, Close, Raw, Tune, id, open};
use crate::common::{ChannelExt, builder, connect, start};

fn forced(text: &str) -> Close {
    Close { code: 320, text: format!("CONNECTION_FORCED - {text}"), method: (0, 0) }
}

/// FEATURES EC-26: an operator closes one connection, and gives a reason.
#[tokio::test]
async fn by_name() {
    let server = start().await;
    let mut raw = Raw::open(server.amqp_addr()).await;
    let mut other = Raw::open_channel(server.amqp_addr()).await;
    let name = format!("{} -> {}", raw.stream.local_addr().expect("an address"), server.amqp_addr());
    assert_eq!(server.broker().close_connection(&name, "Closed via management plugin"), 1);
    assert_eq!(raw.expect_close().await, forced("Closed via management plugin"));
    other.expect_alive(1).await;
    assert_eq!(server.broker().close_connection("nobody", "why"), 0);
}

/// FEATURES PR-4: the name that a client gives itself is one for operators, too.
#[tokio::test]
async fn by_the_name_it_gave_itself() {
    let server = start().await;
    let mut raw = Raw::connect(server.amqp_addr()).await;
    raw.send(b"AMQP\x00\x00\x09\x01").await;
    raw.expect(0, id::START).await;
    let properties = Args::new().field("connection_name", b'S', &Args::new().longstr(b"the warehouse").0);
    let start_ok = Args::new().table(properties).shortstr(b"PLAIN").longstr(b"\0guest\0guest").shortstr(b"en_US");
    raw.method(0, id::START_OK, start_ok).await;
    let tune = raw.expect(0, id::TUNE).await;
    let mut tune = tune.args();
    let tune = Tune { channel_max: tune.short(), frame_max: tune.long(), heartbeat: tune.short() };
    raw.tune_ok(tune).await;
    raw.call(0, id::OPEN, open(b"/"), id::OPEN_OK).await;
    assert_eq!(server.broker().close_connection("the warehouse", "stocktaking"), 1);
    assert_eq!(raw.expect_close().await, forced("stocktaking"));
}

/// FEATURES EC-27: deleting a vhost closes its connections and deletes what is in it.
#[tokio::test]
async fn because_the_vhost_is_deleted() {
    let server = builder().user("guest", "guest", &[]).vhost("/").vhost("other").start().await.expect("starts");
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let client = connect(&server).await;
    client.queue("q").await;
    drop(client);
    server.broker().delete_vhost("/").expect("it is there");
    assert_eq!(raw.expect_close().await, forced("vhost '/' is deleted"));
    assert_eq!(server.broker().delete_vhost("/"), Err(DeleteVhostError::Missing("/".into())));
    let mut raw = Raw::connect(server.amqp_addr()).await;
    let tune = raw.login(Args::new(), b"\0guest\0guest").await;
    raw.tune_ok(tune).await;
    raw.method(0, id::OPEN, open(b"/")).await;
    assert_eq!(raw.expect_close().await.text, "NOT_ALLOWED - vhost / not found");
}

/// FEATURES EC-27: deleting a user closes the user's connections.
#[tokio::test]
async fn because_the_user_is_deleted() {
    let server = builder().user("guest", "guest", &[]).user("app", "secret", &[]).vhost("/").start().await;
    let server = server.expect("the broker starts");
    let mut app = Raw::connect(server.amqp_addr()).await;
    app.login_as(b"\0app\0secret").await;
    let mut guest = Raw::open_channel(server.amqp_addr()).await;
    assert!(server.broker().delete_user("app"));
    assert_eq!(app.expect_close().await, forced("user 'app' is deleted"));
    guest.expect_alive(1).await;
}
