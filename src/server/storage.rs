//! What a server keeps on disk: opening it, looking after it, and closing it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::error::Error;
use super::options::Options;
use crate::auth::Auth;
use crate::broker::{self, Broker, Lane, Message, message_of};
use crate::replicate::{LocalLog, LocalOptions, Recovered};
use crate::store::DataDir;

/// An open data directory.
#[derive(Debug)]
pub(super) struct Store {
    log: LocalLog,
    failed: oneshot::Receiver<io::Error>,
    /// Writes down what the operator changes.
    keeping: JoinSet<()>,
}

/// A broker that keeps what is durable.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) broker: Broker,
    pub(super) lanes: Vec<Lane>,
    /// Nothing was there yet.
    pub(super) is_new: bool,
}

/// Opens the directory and takes up what is there.
pub(super) async fn open(path: &Path, server: &Options, options: broker::Options, auth: Auth) -> Result<Kept, Error> {
    let path = path.to_owned();
    let (sync, file_bytes) = (server.sync, server.log_file_bytes);
    let read = move || -> Result<_, Error> {
        let data = DataDir::open(&path)?;
        let (failed_sender, failed) = oneshot::channel();
        let options = LocalOptions { file_bytes, sync, node: data.node };
        let (log, recovered) = LocalLog::open(
            Arc::new(data.directory),
            options,
            |message| message_of(&message),
            |error| drop(failed_sender.send(error)),
        )?;
        Ok((log, recovered, failed))
    };
    let (log, recovered, failed) = spawn_blocking(read).await.map_err(io::Error::other).map_err(Error::Storage)??;
    tell(&recovered);
    let is_new = recovered.definitions.is_empty();
    let (broker, lanes) =
        Broker::with_replicators(options, auth, |index, on_durable| Box::new(log.lane(index, on_durable)));
    broker.recover(recovered, log.journal())?;
    let mut keeping = JoinSet::new();
    let keeper = broker.clone();
    keeping.spawn(async move {
        loop {
            keeper.system_changed().await;
            keeper.keep_system();
        }
    });
    Ok(Kept { store: Store { log, failed, keeping }, broker, lanes, is_new })
}

fn tell(recovered: &Recovered<Option<Message>>) {
    for damage in &recovered.damages {
        let (from, to) = (damage.from.offset(), damage.to.offset());
        error!(file = damage.file, from, to, "a part of the log cannot be read: what it said is lost");
    }
    let queues = recovered.queues.len();
    if recovered.damages.is_empty() {
        info!(queues, "the log is read");
    } else {
        warn!(queues, "the log is read, but for what is damaged");
    }
}

/// Waits for the error that ends the log; for ever if there is none.
pub(super) async fn failed(storage: &mut Option<Store>) -> io::Error {
    if let Some(storage) = storage
        && let Ok(error) = (&mut storage.failed).await
    {
        return error;
    }
    std::future::pending().await
}

impl Store {
    /// Everything handed over is on disk when this returns.
    pub(super) async fn close(mut self, broker: &Broker) {
        self.keeping.shutdown().await;
        broker.keep_system();
        let log = self.log;
        if let Err(error) = spawn_blocking(move || drop(log)).await {
            error!(%error, "the log did not end well");
        }
    }
}
