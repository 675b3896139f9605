//! The PROXY protocol in front of AMQP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{builder, within};

/// The first octet that the server says after these bytes; `None`: it ends the connection.
async fn first_octet(server: &lepus::Server, input: &[u8]) -> Option<u8> {
    let mut stream = TcpStream::connect(server.amqp_addr()).await.unwrap();
    stream.write_all(input).await.unwrap();
    within(stream.read_u8()).await.ok()
}

/// FEATURES 5.9: with proxy_protocol on, every connection needs the header.
#[tokio::test]
async fn amqp_begins_behind_the_header() {
    let server = builder().proxy_protocol().start().await.unwrap();
    let amqp = b"AMQP\x00\x00\x09\x01";
    let v1 = [&b"PROXY TCP4 203.0.113.7 198.51.100.1 51000 5672\r\n"[..], amqp].concat();
    // 1 is a method frame: connection.start.
    assert_eq!(first_octet(&server, &v1).await, Some(1));
    let padded = [&amqp[..], &[0; 20]].concat();
    assert_eq!(first_octet(&server, &padded).await, None);
    server.shutdown().await;
}
