//! Listening sockets: bound, accepted from, and the owner of the connections they accepted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};

use super::error::Error;

/// How long accepting rests when the process or the machine is out of descriptors or memory. A connection that ends
/// meanwhile frees some.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address to listen on: `HOST:PORT`, or `PORT` for all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// Every interface, IPv6 and IPv4 through one socket.
    Any(u16),
    /// A name or a literal address, with its port.
    Host(String),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(port) = text.parse() {
            return Ok(Self::Any(port));
        }
        let bad = || Error::Address { address: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        port.parse::<u16>().map_err(|_| bad())?;
        // `::1:5672` could be read in two ways.
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(':') && !is_bracketed {
            return Err(bad());
        }
        Ok(Self::Host(text.to_owned()))
    }
}

/// Binds and listens. A name that stands for several addresses gives several listeners.
pub(super) async fn bind(address: &str, options: &SocketOptions) -> Result<Vec<TcpListener>, Error> {
    let failed = |source| Error::Listen { address: address.to_owned(), source };
    match address.parse()? {
        Address::Any(port) => Ok(vec![bind_any(port, options).map_err(failed)?]),
        Address::Host(host) => {
            let resolved: Vec<SocketAddr> = lookup_host(host).await.map_err(failed)?.collect();
            resolved.into_iter().map(|address| bind_one(address, true, options).map_err(failed)).collect()
        }
    }
}

fn bind_any(port: u16, options: &SocketOptions) -> io::Result<TcpListener> {
    match bind_one((Ipv6Addr::UNSPECIFIED, port).into(), false, options) {
        // A machine without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind_one((Ipv4Addr::UNSPECIFIED, port).into(), true, options)
        }
        bound => bound,
    }
}

/// `v6_only` matters to IPv6 addresses alone.
fn bind_one(address: SocketAddr, v6_only: bool, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    // A restarted broker gets its port although connections of the former one linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    options.set_buffers(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// What is set on sockets, with the names of RabbitMQ's `tcp_listen_options`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `backlog`: connections that the kernel completes before they are accepted; it cuts this to `net.core.somaxconn`.
    /// Default 4096: enough for a whole fleet that reconnects at once.
    pub backlog: u32,
    /// `nodelay`: frames leave when they are written. Default true.
    pub nodelay: bool,
    /// `keepalive`: the kernel asks now and then whether the peer is still there. Default false.
    pub keepalive: bool,
    /// `sndbuf`, in bytes. Default the kernel's.
    pub send_buffer_bytes: Option<u32>,
    /// `recbuf`, in bytes. Default the kernel's.
    pub receive_buffer_bytes: Option<u32>,
    /// `linger`: how long closing waits for what is not sent yet. Default the kernel's.
    pub linger: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            nodelay: true,
            keepalive: false,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            linger: None,
        }
    }
}

impl SocketOptions {
    /// Makes an accepted socket ready.
    pub(super) fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(self.nodelay)?;
        if self.keepalive {
            socket.set_keepalive(true)?;
        }
        if self.linger.is_some() {
            socket.set_linger(self.linger)?;
        }
        Ok(())
    }

    /// The sizes of buffers are taken over by accepted sockets, and the window of TCP is told when it is set up.
    fn set_buffers(&self, socket: &Socket) -> io::Result<()> {
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes as usize)?;
        }
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        Ok(())
    }
}

/// True for an accept error that concerns one connection that went away before it was accepted: the next may be fine.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// An address clients on this machine can connect to, for one that stands for all interfaces.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_or_a_port() {
        assert_eq!("5672".parse::<Address>().unwrap(), Address::Any(5672));
        for good in ["127.0.0.1:5672", "[::1]:0", "localhost:5672"] {
            assert_eq!(good.parse::<Address>().unwrap(), Address::Host(good.to_owned()));
        }
        for bad in ["", ":5672", "localhost", "localhost:", "localhost:65536", "70000", "::1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn only_errors_of_one_connection_are_transient() {
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted] {
            assert!(is_transient(&kind.into()));
        }
        let out_of_descriptors = io::Error::from_raw_os_error(24);
        assert!(!is_transient(&out_of_descriptors));
    }

    #[tokio::test]
    async fn one_socket_serves_both_families() {
        let listeners = bind("0", &SocketOptions::default()).await.unwrap();
        let address = reachable(listeners[0].local_addr().unwrap());
        assert!(address.is_ipv4());
        TcpStream::connect(address).await.unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_the_address() {
        let taken = bind("127.0.0.1:0", &SocketOptions::default()).await.unwrap();
        let address = taken[0].local_addr().unwrap().to_string();
        let error = bind(&address, &SocketOptions::default()).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}
