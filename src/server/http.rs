//! Listeners of the management API: each owns its connections.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::error;

use super::listener::{ACCEPT_PAUSE, is_transient, prepare};
use crate::management::{self, Management};

/// Connections at once, over all listeners; the next wait in the listen backlog.
const CONNECTIONS_MAX: usize = 1024;

/// Serves on these sockets; no tasks without any.
pub(super) fn serve(listeners: Vec<TcpListener>, management: Management, stop: &watch::Sender<bool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if listeners.is_empty() {
        return tasks;
    }
    tasks.spawn(management.clone().sample());
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for listener in listeners {
        tasks.spawn(accept(listener, management.clone(), room.clone(), stop.subscribe()));
    }
    tasks
}

/// Accepts until it is aborted, and its connections with it. Events: a new connection, the end of one.
async fn accept(listener: TcpListener, management: Management, room: Arc<Semaphore>, stop: watch::Receiver<bool>) {
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
            Ok((stream, peer)) if prepare(&stream).is_ok() => {
                let (management, stop) = (management.clone(), stop.clone());
                connections.spawn(async move {
                    management::serve(stream, peer, management, stop).await;
                    drop(permit);
                });
            }
            Err(error) if !is_transient(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            // It has gone already.
            _ => {}
        }
    }
}
