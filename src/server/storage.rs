//! What a server keeps on disk: opening it, looking after it, and closing it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::error::Error;
use super::options::Options;
use crate::auth::Auth;
use crate::broker::{self, Broker, Lane, Message, message_of};
use crate::replicate::{LocalLog, LocalOptions, Recovered};
use crate::store::DataDir;

/// A checkpoint is made when so many files of the log came since the last one, ...
const CHECKPOINT_FILES: u32 = 2;

/// ... or one and so much time went by: what came since the last checkpoint but one is read after a crash.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);

/// So often it is looked whether the disk is short.
const SHORT_LOOK: Duration = Duration::from_millis(500);

/// An open data directory.
#[derive(Debug)]
pub(super) struct Store {
    log: Arc<LocalLog>,
    failed: mpsc::Receiver<io::Error>,
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
        let (failed_sender, failed) = mpsc::channel(1);
        let options = LocalOptions { file_bytes, sync, node: data.node };
        let (log, recovered) =
            LocalLog::open(Arc::new(data.directory), Some(data.lock), options, message_of, move |error| {
                drop(failed_sender.try_send(error))
            })?;
        Ok((log, recovered, failed))
    };
    let (log, recovered, failed) = spawn_blocking(read).await.map_err(io::Error::other).map_err(Error::Storage)??;
    tell(&recovered);
    let is_new = recovered.definitions.is_empty();
    let (broker, lanes) =
        Broker::with_replicators(options, auth, |index, on_durable| Box::new(log.lane(index, on_durable)));
    broker.recover(recovered, &log)?;
    let log = Arc::new(log);
    let mut keeping = JoinSet::new();
    let keeper = broker.clone();
    keeping.spawn(async move {
        loop {
            keeper.system_changed().await;
            keeper.keep_system();
        }
    });
    let growth = Arc::new(Growth::default());
    let growing = growth.clone();
    log.on_growth(move |files| growing.add(files));
    let (checkpointer, checkpointed) = (broker.clone(), Arc::downgrade(&log));
    keeping.spawn(async move { make_checkpoints(checkpointer, checkpointed, growth).await });
    Ok(Kept { store: Store { log, failed, keeping }, broker, lanes, is_new })
}

/// What the broker has to write, at most, before consumers can make room: the rest of the log until the next checkpoint,
/// and what lies in memory and in the log only.
pub(super) fn reserve_bytes(options: &Options) -> u64 {
    u64::from(CHECKPOINT_FILES) * u64::from(options.log_file_bytes) + options.message_memory_bytes as u64
}

/// Files by which the log has grown since the last checkpoint began.
#[derive(Default)]
struct Growth {
    files: AtomicU32,
    changed: Notify,
}

impl Growth {
    fn add(&self, files: u32) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// Makes a checkpoint whenever the log has grown enough; where the disk is short, whenever it frees something.
async fn make_checkpoints(broker: Broker, log: Weak<LocalLog>, growth: Arc<Growth>) {
    let mut last = Instant::now();
    loop {
        // Looked at again when the time is up, changed or not.
        let _ = tokio::time::timeout(SHORT_LOOK, growth.changed.notified()).await;
        let Some(log) = log.upgrade() else { return };
        let is_short = broker.alarms().disk();
        log.be_sparing(is_short);
        let files = growth.files.load(Ordering::Relaxed);
        let is_due = files >= CHECKPOINT_FILES || files > 0 && last.elapsed() >= CHECKPOINT_PAUSE;
        if !(is_due || is_short && log.can_shrink()) {
            continue;
        }
        last = Instant::now();
        growth.files.fetch_sub(files, Ordering::Relaxed);
        let broker = broker.clone();
        match spawn_blocking(move || broker.checkpoint(&log)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "no checkpoint: the last one stands"),
            Err(error) => error!(%error, "a checkpoint has failed"),
        }
    }
}

fn tell(recovered: &Recovered<Option<Message>>) {
    for damage in &recovered.damages {
        error!(file = damage.file, "{damage}");
    }
    for (queue, messages) in &recovered.lost {
        let (first, last) = (messages.first(), messages.last());
        error!(queue, lost = messages.count(), first, last, "messages of a queue are lost with the file they were in");
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
        && let Some(error) = storage.failed.recv().await
    {
        return error;
    }
    std::future::pending().await
}

impl Store {
    /// Makes the next start quick: what it needs is in checkpoints, and the log behind is short. Lanes still run.
    pub(super) async fn checkpoint(&self, broker: &Broker) {
        // The first says what is to move, the second finds it moved.
        for _ in 0..2 {
            let (broker, log) = (broker.clone(), self.log.clone());
            match spawn_blocking(move || broker.checkpoint(&log)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return warn!(%error, "no checkpoint: the next start reads the log"),
                Err(error) => return error!(%error, "a checkpoint has failed"),
            }
        }
    }

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
