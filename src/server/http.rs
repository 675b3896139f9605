//! Listeners of the management API and of metrics: each owns its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::error;

use super::listener::{ACCEPT_PAUSE, SocketOptions, is_transient};
use super::options::Options;
use super::tls::Tls;
use crate::management::{self, Management};

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
    if !api.is_empty() && options.http_rates {
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
            tasks.spawn(accept(listener, tls, served.clone(), room.clone()));
        }
    }
    tasks
}

/// Accepts until it is aborted, and its connections with it. Events: a new connection, the end of one.
async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, served: Served, room: Arc<Semaphore>) {
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = loop {
            tokio::select! {
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        error!(%error, "a task of the management API failed");
                    }
                }
                accepted = listener.accept() => break accepted,
            }
        };
        match accepted {
            Ok((stream, peer)) if served.socket.prepare(&stream).is_ok() => {
                let (tls, served) = (tls.clone(), served.clone());
                connections.spawn(async move {
                    served.serve(tls, stream, peer).await;
                    drop(permit);
                });
            }
            Err(error) if !is_transient(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            // It has gone already.
            _ => {}
        }
    }
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
