//! The task of a listener: accepts, bounds the handshakes, owns its connections until they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};

use super::listener::{ACCEPT_PAUSE, is_transient, prepare};
use super::{proxy, tls};
use crate::amqp::{self, Ended, Peer};
use crate::broker::Broker;

/// What comes before AMQP on a connection.
#[derive(Clone)]
pub(super) struct Preamble {
    /// First a header of the PROXY protocol.
    pub(super) proxy_protocol: bool,
    /// Then a TLS handshake.
    pub(super) tls: Option<TlsAcceptor>,
}

/// Accepts from one listening socket.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) preamble: Preamble,
    pub(super) broker: Broker,
    pub(super) options: Arc<amqp::Options>,
    /// One permit for each connection that may be in the handshake; shared by all listeners.
    pub(super) handshakes: Arc<Semaphore>,
    /// Turns true when the server stops.
    pub(super) stop: watch::Receiver<bool>,
}

impl Acceptor {
    /// Runs until the server stops and the last connection has ended. Events it waits for: a new connection, the end
    /// of one, the stop.
    pub(super) async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = connections.join_next() => report(ended),
                (stream, peer, permit) = self.accept() => {
                    let handshake = Handshake { permit: Some(permit), over: Arc::new(AtomicBool::new(false)) };
                    let (broker, options) = (self.broker.clone(), self.options.clone());
                    connections.spawn(serve(stream, self.preamble.clone(), peer, broker, options, handshake, self.stop.clone()));
                }
            }
        }
        // Whoever connects now is refused, and not left waiting in the backlog.
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    }

    /// The next connection, once there is room for its handshake.
    async fn accept(&mut self) -> (TcpStream, Peer, OwnedSemaphorePermit) {
        let permit = self.handshakes.clone().acquire_owned().await.expect("the semaphore is never closed");
        let mut failing = false;
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, peer_addr)) => match prepare(&stream).and_then(|()| stream.local_addr()) {
                    Ok(local_addr) => return (stream, Peer { peer_addr, local_addr }, permit),
                    // The peer has gone already.
                    Err(_) => continue,
                },
                Err(error) if is_transient(&error) => continue,
                Err(error) => error,
            };
            // Out of descriptors or memory. Trying again at once would only burn a core.
            if !std::mem::replace(&mut failing, true) {
                warn!(%error, "connections cannot be accepted; trying again");
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Held while a connection is in the handshake.
struct Handshake {
    permit: Option<OwnedSemaphorePermit>,
    over: Arc<AtomicBool>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.permit.take();
        self.over.store(true, Ordering::Release);
    }
}

/// One connection. When the server stops, the broker closes those that are open; one in the handshake just ends.
async fn serve(
    stream: TcpStream,
    preamble: Preamble,
    peer: Peer,
    broker: Broker,
    options: Arc<amqp::Options>,
    handshake: Handshake,
    mut stop: watch::Receiver<bool>,
) -> (Peer, Ended) {
    let over = handshake.over.clone();
    let (open, closed) = oneshot::channel();
    let mut serving = std::pin::pin!(serve_behind(preamble, stream, peer, broker, options, handshake, open));
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {
            if !over.load(Ordering::Acquire) {
                return (peer, Ended::Disconnected);
            }
        }
        ended = &mut serving => return ended,
    }
    tokio::select! {
        ended = serving => ended,
        // Only the socket is left, and nobody waits for that now.
        _ = closed => (peer, Ended::ClosedByClient),
    }
}

/// Gets the preamble over with, then speaks AMQP.
async fn serve_behind(
    preamble: Preamble,
    mut stream: TcpStream,
    mut peer: Peer,
    broker: Broker,
    options: Arc<amqp::Options>,
    handshake: Handshake,
    open: oneshot::Sender<()>,
) -> (Peer, Ended) {
    let timeout = options.handshake_timeout;
    if preamble.proxy_protocol {
        match Box::pin(proxy::accept(&mut stream, peer, timeout)).await {
            Some(told) => peer = told,
            None => return (peer, Ended::Disconnected),
        }
    }
    let Some(tls) = preamble.tls else {
        return (peer, amqp::serve(stream, peer, broker, options, handshake, open).await);
    };
    // On the heap: a connection without TLS would have to hold the room as well.
    let Some(stream) = Box::pin(tls::accept(&tls, stream, timeout)).await else {
        return (peer, Ended::Disconnected);
    };
    (peer, Box::pin(amqp::serve(stream, peer, broker, options, handshake, open)).await)
}

fn report(ended: Result<(Peer, Ended), JoinError>) {
    match ended {
        Ok((peer, Ended::ClosedByClient)) => debug!(connection = peer.connection_name(), "closed by the client"),
        Ok((peer, ended)) => info!(connection = peer.connection_name(), ?ended, "connection ended"),
        Err(error) if error.is_panic() => error!(%error, "a connection's task panicked"),
        Err(error) => debug!(%error, "a connection's task was aborted"),
    }
}
