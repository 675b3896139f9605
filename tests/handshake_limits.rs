//! Connections that never log in keep nobody else out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common::raw::{Args, Raw, id};
use crate::common::{builder, within};

async fn connect_from(own: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((own, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Whether the server answers the protocol header soon.
async fn is_served(stream: &mut TcpStream) -> bool {
    let _ = stream.write_all(b"AMQP\x00\x00\x09\x01").await;
    matches!(tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await, Ok(Ok(1)))
}

/// FEATURES HS-14: of one address only so many at once, just below and just above; others are served meanwhile.
#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let server = builder().handshakes_per_address_max(2).start().await.unwrap();
    let address = server.amqp_addr();
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let (mut first, mut second) = (connect_from(here, address).await, connect_from(here, address).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    let mut third = connect_from(here, address).await;
    assert!(!is_served(&mut third).await);
    assert!(is_served(&mut connect_from(there, address).await).await);
    drop(first);
    assert_eq!(within(third.read_u8()).await.ok(), Some(1), "it waits until there is room");
    server.shutdown().await;
}

/// A connection that is open is none in the handshake.
#[tokio::test]
async fn open_connections_take_no_place() {
    let server = builder().handshakes_per_address_max(1).start().await.unwrap();
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Raw::open(server.amqp_addr()).await);
    }
    server.shutdown().await;
}

/// FEATURES HS-9: a refused login waits three seconds, and nobody with it.
#[tokio::test]
async fn a_flood_of_wrong_passwords_slows_nobody() {
    let server = builder().start().await.unwrap();
    let address = server.amqp_addr();
    let mut refused = Vec::new();
    for _ in 0..300 {
        let mut raw = Raw::connect(address).await;
        raw.send(b"AMQP\x00\x00\x09\x01").await;
        raw.expect(0, id::START).await;
        raw.start_ok(Args::new(), b"PLAIN", b"\0guest\0wrong").await;
        refused.push(raw);
    }
    let since = Instant::now();
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(Raw::open_channel(address).await);
    }
    assert!(since.elapsed() < Duration::from_secs(2), "20 logins took {:?}", since.elapsed());
    drop(refused);
    server.shutdown().await;
}
