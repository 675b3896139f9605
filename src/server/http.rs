//! Listeners of the management API and of metrics: each owns its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::accept::accept_all;
use super::listener::SocketOptions;
use super::options::Options;
use super::tls::Tls;
use crate::management::{self, Management, RatesMode};

/// Connections at once, over all listeners; the next wait in the listen backlog.
const CONNECTIONS_MAX: usize = 1024;

/// The same for metrics: a scraper holds one.
const SCRAPERS_MAX: usize = 64;

/// What a listener speaks of.
#[derive(Clone, Copy, Debug)]
enum Speaks {
    Api,
    Metrics,
}

/// A listening socket, and what makes its connections TLS.
pub(super) type Listener = (TcpListener, Option<Arc<Tls>>);

/// What every connection is served with.
#[derive(Clone)]
struct Served {
    speaks: Speaks,
    management: Management,
    stop: watch::Receiver<bool>,
    socket: SocketOptions,
    tls_timeout: Duration,
}

/// Serves on these sockets; no tasks without any.
pub(super) fn serve(
    api: Vec<Listener>,
    metrics: Vec<Listener>,
    management: &Management,
    options: &Options,
    stop: &watch::Sender<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if !api.is_empty() && options.http_rates != RatesMode::None {
        tasks.spawn(management.clone().sample());
    }
    for (listeners, speaks, connections_max) in
        [(api, Speaks::Api, CONNECTIONS_MAX), (metrics, Speaks::Metrics, SCRAPERS_MAX)]
    {
        let room = Arc::new(Semaphore::new(connections_max));
        let served = Served {
            speaks,
            management: management.clone(),
            stop: stop.subscribe(),
            socket: options.socket,
            tls_timeout: options.tls_handshake_timeout,
        };
        for (listener, tls) in listeners {
            let served = served.clone();
            tasks.spawn(accept_all(listener, room.clone(), move |(stream, peer)| {
                served.socket.prepare(&stream).ok()?;
                Some(served.clone().serve(tls.clone(), stream, peer))
            }));
        }
    }
    tasks
}

impl Served {
    async fn serve(self, tls: Option<Arc<Tls>>, stream: TcpStream, peer: SocketAddr) {
        let Some(tls) = tls else {
            return self.speak(stream, peer).await;
        };
        if let Some(stream) = tls.accept(stream, self.tls_timeout).await {
            self.speak(stream, peer).await;
        }
    }

    async fn speak<S>(self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.speaks {
            Speaks::Api => management::serve(stream, peer, self.management, self.stop).await,
            Speaks::Metrics => management::serve_metrics(stream, self.management, self.stop).await,
        }
    }
}
