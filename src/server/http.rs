//! Listeners of the management API and of metrics: each owns its connections.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::error;

use super::listener::{ACCEPT_PAUSE, is_transient, prepare};
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

/// Serves on these sockets; no tasks without any.
pub(super) fn serve(
    api: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    management: &Management,
    stop: &watch::Sender<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if !api.is_empty() {
        tasks.spawn(management.clone().sample());
    }
    for (listeners, speaks, connections_max) in
        [(api, Speaks::Api, CONNECTIONS_MAX), (metrics, Speaks::Metrics, SCRAPERS_MAX)]
    {
        let room = Arc::new(Semaphore::new(connections_max));
        for listener in listeners {
            tasks.spawn(accept(listener, speaks, management.clone(), room.clone(), stop.subscribe()));
        }
    }
    tasks
}

/// Accepts until it is aborted, and its connections with it. Events: a new connection, the end of one.
async fn accept(
    listener: TcpListener,
    speaks: Speaks,
    management: Management,
    room: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) {
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
                    match speaks {
                        Speaks::Api => management::serve(stream, peer, management, stop).await,
                        Speaks::Metrics => management::serve_metrics(stream, management, stop).await,
                    }
                    drop(permit);
                });
            }
            Err(error) if !is_transient(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            // It has gone already.
            _ => {}
        }
    }
}
