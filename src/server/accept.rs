//! The loop of listeners whose connections are only counted: the management API, metrics, the local socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::error;

use super::listener::{ACCEPT_PAUSE, is_transient};

/// A listening socket.
pub(super) trait Accept {
    type Accepted;

    fn next(&self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;
}

impl Accept for TcpListener {
    type Accepted = (TcpStream, SocketAddr);

    async fn next(&self) -> io::Result<Self::Accepted> {
        self.accept().await
    }
}

impl Accept for UnixListener {
    type Accepted = UnixStream;

    async fn next(&self) -> io::Result<Self::Accepted> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Accepts until it is aborted, and its connections with it. Each has a place in `room`, and is served as `serve` says:
/// `None` turns it away. Events: a new connection, the end of one.
pub(super) async fn accept_all<L, F>(listener: L, room: Arc<Semaphore>, mut serve: impl FnMut(L::Accepted) -> Option<F>)
where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
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
                accepted = listener.next() => break accepted,
            }
        };
        match accepted {
            Ok(accepted) => {
                if let Some(served) = serve(accepted) {
                    connections.spawn(async move {
                        served.await;
                        drop(permit);
                    });
                }
            }
            Err(error) if !is_transient(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            // It has gone already.
            Err(_) => {}
        }
    }
}
