//! The PROXY protocol, versions 1 and 2: a load balancer says before anything else who the client is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use crate::amqp::Peer;

/// The longest header of version 1, in bytes, its line end included.
const V1_BYTES_MAX: usize = 107;
/// The shortest header of version 1 has 15 bytes, so this much can be read of either.
const SIGNATURE_BYTES: usize = 12;
/// Signature, version and command, family, length.
const V2_BYTES_MIN: usize = 16;
const V2_SIGNATURE: &[u8; SIGNATURE_BYTES] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header, which may not take longer than this. `None`: there is none, or it cannot be read.
pub(super) async fn accept(stream: &mut TcpStream, peer: Peer, timeout: Duration) -> Option<Peer> {
    tokio::time::timeout(timeout, read(stream, peer)).await.ok()?.ok()
}

/// Reads the header and not a byte more. One that names no addresses leaves those of the socket (a health check of
/// the balancer itself).
async fn read(stream: &mut (impl AsyncRead + Unpin), peer: Peer) -> io::Result<Peer> {
    let mut header = vec![0; SIGNATURE_BYTES];
    stream.read_exact(&mut header).await?;
    let addresses = if header == V2_SIGNATURE {
        header.resize(V2_BYTES_MIN, 0);
        stream.read_exact(&mut header[SIGNATURE_BYTES..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        header.resize(V2_BYTES_MIN + length, 0);
        stream.read_exact(&mut header[V2_BYTES_MIN..]).await?;
        v2_addresses(&header)?
    } else {
        while !header.ends_with(b"\r\n") {
            if header.len() >= V1_BYTES_MAX || !header.starts_with(b"PROXY ") {
                return Err(io::ErrorKind::InvalidData.into());
            }
            header.push(stream.read_u8().await?);
        }
        v1_addresses(&header)?
    };
    Ok(addresses.map_or(peer, |(peer_addr, local_addr)| Peer::new(peer_addr, local_addr)))
}

type Addresses = Option<(SocketAddr, SocketAddr)>;

fn v1_addresses(header: &[u8]) -> io::Result<Addresses> {
    let header = v1::Header::try_from(header).map_err(io::Error::other)?;
    Ok(match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ip) => {
            Some(((ip.source_address, ip.source_port).into(), (ip.destination_address, ip.destination_port).into()))
        }
        v1::Addresses::Tcp6(ip) => {
            Some(((ip.source_address, ip.source_port).into(), (ip.destination_address, ip.destination_port).into()))
        }
    })
}

fn v2_addresses(header: &[u8]) -> io::Result<Addresses> {
    let header = v2::Header::try_from(header).map_err(io::Error::other)?;
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    Ok(match header.addresses {
        v2::Addresses::IPv4(ip) => {
            Some(((ip.source_address, ip.source_port).into(), (ip.destination_address, ip.destination_port).into()))
        }
        v2::Addresses::IPv6(ip) => {
            Some(((ip.source_address, ip.source_port).into(), (ip.destination_address, ip.destination_port).into()))
        }
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who the header says it is, and what is left to be read behind it.
    async fn told(mut input: &[u8]) -> Option<(String, Vec<u8>)> {
        let own: SocketAddr = "192.0.2.9:1".parse().unwrap();
        let peer = read(&mut input, Peer::new(own, own)).await.ok()?;
        Some((peer.connection_name(), input.to_vec()))
    }

    /// FEATURES 5.9.
    #[tokio::test]
    async fn both_versions_say_who_the_client_is() {
        let v1 = told(b"PROXY TCP4 203.0.113.7 198.51.100.1 51000 5672\r\nAMQP").await;
        assert_eq!(v1, Some(("203.0.113.7:51000 -> 198.51.100.1:5672".into(), b"AMQP".to_vec())));
        let v1 = told(b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 5672\r\nA").await.unwrap();
        assert_eq!(v1.0, "[2001:db8::7]:51000 -> [2001:db8::1]:5672");
        let unknown = told(b"PROXY UNKNOWN\r\nAMQP").await.unwrap();
        assert_eq!(unknown, ("192.0.2.9:1 -> 192.0.2.9:1".into(), b"AMQP".to_vec()));

        let v2 =
            [&V2_SIGNATURE[..], &[0x21, 0x11, 0, 12, 203, 0, 113, 7, 198, 51, 100, 1, 0xC7, 0x38, 0x16, 0x28], b"AMQP"];
        let (client, rest) = told(&v2.concat()).await.unwrap();
        assert_eq!((client.as_str(), rest), ("203.0.113.7:51000 -> 198.51.100.1:5672", b"AMQP".to_vec()));
        let local = [&V2_SIGNATURE[..], &[0x20, 0, 0, 0], b"AMQP"].concat();
        assert_eq!(told(&local).await.unwrap().0, "192.0.2.9:1 -> 192.0.2.9:1");
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        let bad: [&[u8]; 6] = [
            b"AMQP\x00\x00\x09\x01\x01\x00\x00\x00\x00",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51000\r\n",
            b"PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 203.0.113.7",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c012345678901",
            &long,
        ];
        for input in bad {
            assert_eq!(told(input).await, None, "{input:?}");
        }
    }
}
