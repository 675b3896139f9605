//! AMQP 0-9-1 for clients. [`Session`] turns bytes into calls of the broker and events into bytes; it owns no socket,
//! clock or task, so it is tested in virtual time. The driver is the only file here that knows tokio. Start reading
//! at [`Session::receive`].

mod channel;
mod closing;
mod confirm;
mod content;
mod credential;
mod driver;
mod handshake;
mod heartbeat;
mod outbound;
mod reply;
mod report;
mod running;
mod session;
#[cfg(test)]
mod tests;
mod tx;
mod unacked;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Mechanism, Origin};
use crate::broker::TlsReport;
use crate::wire::Table;

pub use self::driver::{Transport, serve};
pub use self::heartbeat::Traffic;
pub use self::outbound::Outbound;
pub use self::session::{Ended, Session};

/// Longest wait for close-ok; and for the lanes to be done with a connection.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// A body of this many bytes takes so long to be copied that nobody should wait for it: who moves one lets others run
/// after each read and each write.
const HUGE_BODY_MIN: u64 = 2 << 20;

/// How sessions behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest frame in bytes, offered in tune.
    pub frame_max: u32,
    /// Channels at once, offered in tune.
    pub channel_max: u16,
    /// Offered in tune, seconds; 0 is none.
    pub heartbeat_s: u16,
    /// For everything before connection.open.
    pub handshake_timeout: Duration,
    /// Largest frame before tune-ok, in bytes.
    pub initial_frame_max: u32,
    /// Largest body in bytes.
    pub max_message_size: u64,
    /// What a client may log in by, in this order; EXTERNAL is offered only to whom has shown a certificate.
    pub mechanisms: Vec<Mechanism>,
    /// Who logs in by ANONYMOUS, and with which password.
    pub anonymous_login: (String, String),
    /// How long a refused login is left waiting.
    pub auth_failure_delay: Duration,
    /// Consumers of a channel at once; `None` is without limit.
    pub consumer_max_per_channel: Option<u32>,
    /// Channels of all connections; `None` is without limit.
    pub channel_max_per_node: Option<u64>,
    /// `rabbit@host`, in texts.
    pub node: String,
    /// In server-properties.
    pub cluster_name: String,
    /// More server-properties.
    pub server_properties: Table,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            frame_max: 131_072,
            channel_max: 2047,
            heartbeat_s: 60,
            handshake_timeout: Duration::from_secs(10),
            // Room for a large token in start-ok, as RabbitMQ 4 and more.
            initial_frame_max: 65_536,
            max_message_size: 128 << 20,
            mechanisms: vec![Mechanism::Plain, Mechanism::AmqPlain],
            anonymous_login: ("guest".into(), "guest".into()),
            auth_failure_delay: Duration::from_secs(3),
            consumer_max_per_channel: None,
            channel_max_per_node: None,
            node: "rabbit@localhost".into(),
            cluster_name: "lepus@localhost".into(),
            server_properties: Table::default(),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Theirs.
    pub peer_addr: SocketAddr,
    /// Ours.
    pub local_addr: SocketAddr,
    /// If they speak TLS.
    pub tls: Option<Tls>,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For listings.
    pub report: Arc<TlsReport>,
    /// Who the client is by its certificate, which is verified; for the mechanism EXTERNAL.
    pub user: Option<Arc<str>>,
}

impl Peer {
    /// One without TLS.
    pub fn new(peer_addr: SocketAddr, local_addr: SocketAddr) -> Self {
        Self { peer_addr, local_addr, tls: None }
    }

    /// It has shown a certificate, which is verified.
    fn has_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.report.certificate.is_some())
    }

    /// Where its login comes from.
    pub fn origin(&self) -> Origin {
        Origin { ip: self.peer_addr.ip() }
    }

    /// `peer -> local`, as RabbitMQ names connections.
    pub fn connection_name(&self) -> String {
        let plain = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        format!("{} -> {}", plain(self.peer_addr), plain(self.local_addr))
    }
}
