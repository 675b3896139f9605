//! The task of a listener: accepts, bounds the handshakes, owns its connections until they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use super::handshakes::{Handshakes, Place};
use super::listener::{ACCEPT_PAUSE, SocketOptions, is_transient};
use super::proxy;
use super::tls::Tls;
use crate::amqp::{self, Peer};
use crate::broker::Broker;

/// What comes before AMQP on a connection.
#[derive(Clone)]
pub(super) struct Preamble {
    /// First a header of the PROXY protocol.
    pub(super) proxy_protocol: bool,
    /// Then a TLS handshake.
    pub(super) tls: Option<Arc<Tls>>,
    /// Which may take so long.
    pub(super) tls_timeout: Duration,
}

/// Accepts from one listening socket.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) preamble: Preamble,
    pub(super) broker: Broker,
    pub(super) options: Arc<amqp::Options>,
    pub(super) socket: SocketOptions,
    pub(super) handshakes: Arc<Handshakes>,
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
                Some(result) = connections.join_next() => ended(result),
                (stream, peer, room) = self.accept() => {
                    let connection = Connection {
                        preamble: self.preamble.clone(),
                        broker: self.broker.clone(),
                        options: self.options.clone(),
                        handshakes: self.handshakes.clone(),
                    };
                    connections.spawn(serve(connection, stream, peer, room, self.stop.clone()));
                }
            }
        }
        // Whoever connects now is refused, and not left waiting in the backlog.
        drop(self.listener);
        while let Some(result) = connections.join_next().await {
            ended(result);
        }
    }

    /// The next connection, once there is room for its handshake.
    async fn accept(&mut self) -> (TcpStream, Peer, OwnedSemaphorePermit) {
        let room = self.handshakes.room().await;
        let mut failing = false;
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, peer_addr)) => match self.socket.prepare(&stream).and_then(|()| stream.local_addr()) {
                    Ok(local_addr) => return (stream, Peer::new(peer_addr, local_addr), room),
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

/// What a connection needs to be served.
struct Connection {
    preamble: Preamble,
    broker: Broker,
    options: Arc<amqp::Options>,
    handshakes: Arc<Handshakes>,
}

/// Held while a connection is in the handshake.
struct Handshake {
    place: Option<Place>,
    over: Arc<AtomicBool>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.place.take();
        self.over.store(true, Ordering::Release);
    }
}

/// One connection. When the server stops, the broker closes those that are open; one in the handshake just ends.
async fn serve(
    connection: Connection,
    stream: TcpStream,
    peer: Peer,
    room: OwnedSemaphorePermit,
    mut stop: watch::Receiver<bool>,
) {
    let over = Arc::new(AtomicBool::new(false));
    let (open, closed) = oneshot::channel();
    let mut serving = std::pin::pin!(connection.serve(stream, peer, room, over.clone(), open));
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {
            if !over.load(Ordering::Acquire) {
                return;
            }
        }
        () = &mut serving => return,
    }
    tokio::select! {
        () = serving => {}
        // Only the socket is left, and nobody waits for that now.
        _ = closed => {}
    }
}

impl Connection {
    /// Gets the preamble over with, then speaks AMQP.
    async fn serve(
        self,
        mut stream: TcpStream,
        mut peer: Peer,
        room: OwnedSemaphorePermit,
        over: Arc<AtomicBool>,
        open: oneshot::Sender<()>,
    ) {
        let timeout = self.options.handshake_timeout;
        if self.preamble.proxy_protocol {
            match Box::pin(proxy::accept(&mut stream, peer, timeout)).await {
                Some(told) => peer = told,
                None => return,
            }
        }
        let ip = peer.peer_addr.ip();
        let place = match self.handshakes.enter(ip, room) {
            Ok(place) => Some(place),
            // On the heap, as what follows: nobody else shall hold the room for it.
            Err(room) => Box::pin(self.handshakes.wait(ip, room, timeout)).await,
        };
        if place.is_none() {
            debug!(target: "connection", %ip, "cut off: too many connections of its address are in the handshake");
            return;
        }
        let handshake = Handshake { place, over };
        let Self { preamble, broker, options, .. } = self;
        let Some(tls) = preamble.tls else {
            accepting(&peer);
            amqp::serve(stream, peer, broker, options, handshake, open).await;
            return;
        };
        let Some(stream) = Box::pin(tls.accept(stream, preamble.tls_timeout)).await else { return };
        peer.tls = Some(tls.describe(&stream));
        accepting(&peer);
        Box::pin(amqp::serve(stream, peer, broker, options, handshake, open)).await;
    }
}

fn accepting(peer: &Peer) {
    let tls = peer.tls.as_ref().map(|tls| tls.report.protocol);
    info!(target: "connection", connection = peer.connection_name(), tls, "accepting AMQP connection");
}

fn ended(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => error!(target: "connection", %error, "a connection's task panicked"),
        Err(error) => debug!(target: "connection", %error, "a connection's task was aborted"),
        Ok(()) => {}
    }
}
