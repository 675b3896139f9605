//! Channels: opening, closing, their numbers and their errors; and methods that belong nowhere else.

use crate::common::raw::{self, Args, Close, Raw, Tune, id};
use crate::common::{ChannelExt, PATIENCE, args, builder, start, start_client, within};

fn close() -> Args {
    Args::new().short(200).shortstr(b"bye").short(0).short(0)
}

/// FEATURES M-5, EC-13: a channel must be opened, once.
#[tokio::test]
async fn a_channel_is_opened_once() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::CHANNEL_OPEN, Args::new().shortstr(b"")).await;
    let text = "CHANNEL_ERROR - second 'channel.open' seen".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 504, text, method: id::CHANNEL_OPEN });
    let mut raw = Raw::open(server.amqp_addr()).await;
    raw.method(7, id::QUEUE_DECLARE, args::queue_declare("q", 0)).await;
    let text = "CHANNEL_ERROR - expected 'channel.open'".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 504, text, method: id::QUEUE_DECLARE });
}

/// FEATURES M-5, M-7: open-ok carries an empty long string, and a number is free again after close-ok.
#[tokio::test]
async fn numbers_are_free_after_close_ok() {
    let server = start().await;
    let mut raw = Raw::open(server.amqp_addr()).await;
    for _ in 0..3 {
        let frame = raw.call(3, id::CHANNEL_OPEN, Args::new().shortstr(b""), id::CHANNEL_OPEN_OK).await;
        assert_eq!(frame.args().longstr(), b"");
        raw.call(3, id::CHANNEL_CLOSE, close(), id::CHANNEL_CLOSE_OK).await;
    }
}

/// FEATURES M-7, trap 15: after an error everything is ignored up to close-ok, then the number is free.
#[tokio::test]
async fn after_an_error_everything_is_ignored_up_to_close_ok() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let mut bytes = raw::method(1, id::QUEUE_DECLARE, args::queue_declare("nix", 1));
    bytes.extend(raw::method(1, id::QUEUE_DECLARE, args::queue_declare("ignored", 0)));
    bytes.extend(raw::publish(1, "nix", "", b"ignored"));
    raw.send(&bytes).await;
    raw.close_method(1, id::CHANNEL_CLOSE).await;
    bytes.extend(raw::method(1, id::CHANNEL_CLOSE_OK, Args::new()));
    bytes.extend(raw::method(1, id::CHANNEL_OPEN, Args::new().shortstr(b"")));
    raw.send(&bytes).await;
    raw.expect(1, id::CHANNEL_OPEN_OK).await;
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("ignored", 1)).await;
    assert_eq!(raw.expect_channel_close(1).await.text, "NOT_FOUND - no queue 'ignored' in vhost '/'");
}

/// FEATURES M-7: opening a number before its close-ok is a second open.
#[tokio::test]
async fn a_number_is_not_free_before_close_ok() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.method(1, id::QUEUE_DECLARE, args::queue_declare("nix", 1)).await;
    raw.close_method(1, id::CHANNEL_CLOSE).await;
    raw.method(1, id::CHANNEL_OPEN, Args::new().shortstr(b"")).await;
    assert_eq!(raw.expect_close().await.text, "CHANNEL_ERROR - second 'channel.open' seen");
}

/// FEATURES M-7: both sides close at once: the client's close is answered, its close-ok awaited.
#[tokio::test]
async fn crossing_closes_are_answered() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let mut bytes = raw::method(1, id::QUEUE_DECLARE, args::queue_declare("nix", 1));
    bytes.extend(raw::method(1, id::CHANNEL_CLOSE, close()));
    raw.send(&bytes).await;
    raw.close_method(1, id::CHANNEL_CLOSE).await;
    raw.expect(1, id::CHANNEL_CLOSE_OK).await;
    raw.method(1, id::CHANNEL_CLOSE_OK, Args::new()).await;
    raw.channel(1).await;
}

/// FEATURES M-7: a close that stands behind a request whose queue refuses it is answered all the same.
#[tokio::test]
async fn a_close_behind_a_refused_request_is_answered() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(1, id::QUEUE_DECLARE, args::queue_declare("q", 0), id::QUEUE_DECLARE_OK).await;
    raw.call(1, id::CONSUME, args::consume("q", "c", 0), id::CONSUME_OK).await;
    raw.channel(2).await;
    let mut bytes = raw::method(2, id::QUEUE_DELETE, args::queue_delete("q", 1));
    bytes.extend(raw::method(2, id::CHANNEL_CLOSE, close()));
    raw.send(&bytes).await;
    raw.close_method(2, id::CHANNEL_CLOSE).await;
    raw.expect(2, id::CHANNEL_CLOSE_OK).await;
    raw.method(2, id::CHANNEL_CLOSE_OK, Args::new()).await;
    raw.channel(2).await;
}

/// FEATURES M-29, EC-10, trap 16: the limit is on how many, not on the number.
#[tokio::test]
async fn the_limit_counts_channels() {
    let server = start().await;
    let tune = |tune| Tune { channel_max: 10, heartbeat: 0, ..tune };
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), tune).await;
    raw.channel(65_535).await;
    for channel in 1..=9 {
        raw.channel(channel).await;
    }
    raw.call(5, id::CHANNEL_CLOSE, close(), id::CHANNEL_CLOSE_OK).await;
    raw.channel(6000).await;
    raw.method(10, id::CHANNEL_OPEN, Args::new().shortstr(b"")).await;
    let text = "NOT_ALLOWED - number of channels opened (10) has reached the negotiated channel_max (10)".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 530, text, method: (0, 0) });
}

/// FEATURES M-30: the frame that creates a channel counts, valid or not.
#[tokio::test]
async fn an_invalid_first_frame_counts() {
    let server = start().await;
    let tune = |tune| Tune { channel_max: 1, heartbeat: 0, ..tune };
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), tune).await;
    raw.channel(1).await;
    raw.method(2, id::QUEUE_DECLARE, args::queue_declare("q", 0)).await;
    assert_eq!(raw.expect_close().await.code, 530);
}

/// FEATURES EC-14: what belongs on a channel is refused on channel 0, and so is a second start-ok.
#[tokio::test]
async fn channel_zero_is_for_the_connection() {
    let server = start().await;
    let start_ok = Args::new().table(Args::new()).shortstr(b"PLAIN").longstr(b"\0guest\0guest").shortstr(b"en_US");
    let cases = [
        (id::QUEUE_DECLARE, args::queue_declare("q", 0)),
        (id::CHANNEL_OPEN, Args::new().shortstr(b"")),
        (id::START_OK, start_ok),
    ];
    for (method, arguments) in cases {
        let mut raw = Raw::open(server.amqp_addr()).await;
        raw.method(0, method, arguments).await;
        let text = "CHANNEL_ERROR - unexpected method in connection state running".to_owned();
        assert_eq!(raw.expect_close().await, Close { code: 504, text, method });
    }
}

/// FEATURES EC-15: the connection's methods are refused on a channel, and what only a server says everywhere.
#[tokio::test]
async fn misplaced_methods_are_unimplemented() {
    let server = start().await;
    let declare_ok = Args::new().shortstr(b"q").long(0).long(0);
    let cases = [
        (id::UPDATE_SECRET, Args::new().longstr(b"new").shortstr(b"why")),
        (id::QUEUE_DECLARE_OK, declare_ok),
        (id::EXCHANGE_DECLARE_OK, Args::new()),
        (id::CONFIRM_SELECT_OK, Args::new()),
    ];
    for (method, arguments) in cases {
        let mut raw = Raw::open_channel(server.amqp_addr()).await;
        raw.method(1, method, arguments).await;
        let text = "COMMAND_INVALID - unimplemented method".to_owned();
        assert_eq!(raw.expect_close().await, Close { code: 503, text, method });
    }
}

/// FEATURES M-6, EC-20.
#[tokio::test]
async fn flow_cannot_be_stopped() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let frame = raw.call(1, id::CHANNEL_FLOW, Args::new().octet(1), id::CHANNEL_FLOW_OK).await;
    assert_eq!(frame.args().octet(), 1);
    raw.method(1, id::CHANNEL_FLOW, Args::new().octet(0)).await;
    let text = "NOT_IMPLEMENTED - active=false".to_owned();
    assert_eq!(raw.expect_close().await, Close { code: 540, text, method: id::CHANNEL_FLOW });
}

/// FEATURES M-8: access.request is answered with a ticket, which nobody looks at.
#[tokio::test]
async fn access_requests_get_a_ticket() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let frame = raw.call(1, id::ACCESS_REQUEST, Args::new().shortstr(b"/data").octet(31), id::ACCESS_REQUEST_OK).await;
    assert_eq!(frame.args().short(), 1);
    let declare = Args::new().short(77).shortstr(b"q").octet(0).table(Args::new());
    raw.call(1, id::QUEUE_DECLARE, declare, id::QUEUE_DECLARE_OK).await;
}

/// FEATURES SA-7, M-4: a new secret changes nothing for a user with a password.
#[tokio::test]
async fn update_secret_is_accepted() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let arguments = Args::new().longstr(b"guest").shortstr(b"rotation");
    raw.call(0, id::UPDATE_SECRET, arguments, id::UPDATE_SECRET_OK).await;
    raw.expect_alive(1).await;
}

/// FEATURES HS-13, M-5: channels work on their own: frames of several may be mixed.
#[tokio::test]
async fn frames_of_channels_may_be_mixed() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.channel(2).await;
    for (channel, queue) in [(1, "one"), (2, "two")] {
        raw.call(channel, id::QUEUE_DECLARE, args::queue_declare(queue, 0), id::QUEUE_DECLARE_OK).await;
    }
    let mut bytes = raw::method(1, id::PUBLISH, args::publish("", "one", 0));
    bytes.extend(raw::method(2, id::PUBLISH, args::publish("", "two", 0)));
    bytes.extend(raw::header(2, 4));
    bytes.extend(raw::header(1, 4));
    bytes.extend(raw::frame(raw::BODY, 1, b"fi"));
    bytes.extend(raw::frame(raw::BODY, 2, b"second"[..4].as_ref()));
    bytes.extend(raw::frame(raw::BODY, 1, b"rs"));
    raw.send(&bytes).await;
    for (queue, body) in [("one", b"firs"), ("two", b"seco")] {
        raw.call(1, id::GET, args::get(queue, true), id::GET_OK).await;
        assert_eq!(raw.content(1).await.1, body);
    }
}

/// FEATURES M-2: the connection's close is answered, and the broker hangs up.
#[tokio::test]
async fn connection_close_is_answered() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(0, id::CLOSE, close(), id::CLOSE_OK).await;
    // Said twice, answered twice.
    raw.call(0, id::CLOSE, close(), id::CLOSE_OK).await;
}

/// FEATURES M-2: what a client still writes behind its close is read and dropped; closing the socket on it would reset
/// the connection and take close-ok away. The client ends the stream, or is cut off after a heartbeat interval.
#[tokio::test]
async fn what_comes_behind_a_close_does_no_harm() {
    let (server, client) = start_client().await;
    let queue = client.queue("q").await;
    let mut raw = Raw::open_with(server.amqp_addr(), Args::new(), |tune| Tune { heartbeat: 1, ..tune }).await;
    raw.channel(1).await;
    raw.send(&raw::method(0, id::CLOSE, close())).await;
    for _ in 0..200 {
        raw.send(&raw::publish(1, "", &queue, &[7; 1000])).await;
    }
    raw.expect(0, id::CLOSE_OK).await;
    assert_eq!(client.count(&queue).await.0, 0);
    raw.expect_end().await;
    server.shutdown().await;
}

/// A closed connection whose socket is still there does not hold up a shutdown.
#[tokio::test]
async fn a_socket_left_open_does_not_hold_up_a_shutdown() {
    let server = builder().shutdown_timeout(PATIENCE * 2).start().await.unwrap();
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    raw.call(0, id::CLOSE, close(), id::CLOSE_OK).await;
    within(server.shutdown()).await;
}

/// FEATURES M-2: a close that crosses the server's own gets its close-ok all the same.
#[tokio::test]
async fn crossing_connection_closes_are_answered() {
    let server = start().await;
    let mut raw = Raw::open_channel(server.amqp_addr()).await;
    let mut bytes = raw::method(1, id::CHANNEL_OPEN, Args::new().shortstr(b""));
    bytes.extend(raw::method(0, id::CLOSE, close()));
    raw.send(&bytes).await;
    raw.close_method(0, id::CLOSE).await;
    raw.expect(0, id::CLOSE_OK).await;
    raw.method(0, id::CLOSE_OK, Args::new()).await;
    raw.expect_end().await;
}
