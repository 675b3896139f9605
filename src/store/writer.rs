//! The thread that writes the log for everybody: whatever has been handed over while it wrote goes out with one write
//! and one sync, and then those who wait are told. A failed sync ends it: nobody knows what such a disk has kept.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::block::{Block, Position};
use super::disk::Disk;
use super::log::{Log, Tail};

/// Emptied blocks kept for their memory.
const POOL_MAX: usize = 64;
/// Memory above this is not kept.
const POOLED_BYTES_MAX: usize = 1 << 20;

/// What somebody who hands over blocks wants to be told: that [`Writer::synced`] has moved past some of them.
pub type OnSynced = Box<dyn Fn() + Send + Sync>;

struct State {
    tail: Tail,
    blocks: Vec<(Position, Block)>,
    pool: Vec<Block>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// There are blocks, or no more to come.
    changed: Condvar,
    synced: AtomicU64,
    /// By source.
    listeners: Vec<OnSynced>,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side, for anybody.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts the thread. Blocks of source `n` are told of by the `n`th listener; `failed` is called with the error
    /// that ends the thread before its time.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<D: Disk>(
        log: Log<D>,
        listeners: Vec<OnSynced>,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let state = State { tail: log.tail(), blocks: Vec::new(), pool: Vec::new(), closed: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            synced: AtomicU64::new(log.synced().0),
            listeners,
        });
        let files = FileMaker::start(log.disk(), log.file_bytes())?;
        let writing = shared.clone();
        let thread = thread::Builder::new().name("lepus-log".into()).spawn(move || {
            if let Err(error) = write_all(log, &writing, &files) {
                failed(error);
            }
        })?;
        Ok((Self { shared }, thread))
    }

    /// An empty block of this source, with the memory of one written before.
    pub fn block(&self, source: u32) -> Block {
        let pooled = self.shared.locked().pool.pop();
        pooled.map_or_else(|| Block::new(source), |block| block.reused(source))
    }

    /// Hands a block over; never waits. Gives its place; it is on disk once [`Self::synced`] is greater.
    pub fn submit(&self, block: Block) -> Position {
        let mut state = self.shared.locked();
        let position = state.tail.place(block.len());
        let first = state.blocks.is_empty();
        state.blocks.push((position, block));
        drop(state);
        if first {
            self.shared.changed.notify_one();
        }
        position
    }

    /// Everything before this place is on disk for good.
    pub fn synced(&self) -> Position {
        Position(self.shared.synced.load(Ordering::Acquire))
    }

    /// The longest block there may be, in bytes.
    pub fn block_max(&self) -> u32 {
        self.shared.locked().tail.block_max()
    }

    /// The thread ends when it has written what it was given.
    pub fn close(&self) {
        self.shared.locked().closed = true;
        self.shared.changed.notify_one();
    }
}

fn write_all<D: Disk>(mut log: Log<D>, shared: &Shared, files: &FileMaker) -> io::Result<()> {
    let mut blocks = Vec::new();
    let mut sources: Vec<u32> = Vec::new();
    loop {
        {
            let mut state = shared.locked();
            recycle(&mut state.pool, &mut blocks);
            while state.blocks.is_empty() && !state.closed {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.blocks.is_empty() {
                return Ok(());
            }
            mem::swap(&mut blocks, &mut state.blocks);
        }
        let synced = log.write(&mut blocks)?;
        shared.synced.store(synced.0, Ordering::Release);
        sources.extend(blocks.iter().map(|(_, block)| block.source()));
        sources.sort_unstable();
        sources.dedup();
        for source in sources.drain(..) {
            if let Some(listener) = shared.listeners.get(source as usize) {
                listener();
            }
        }
        files.look_after(&mut log)?;
    }
}

fn recycle(pool: &mut Vec<Block>, blocks: &mut Vec<(Position, Block)>) {
    for (_, block) in blocks.drain(..) {
        if pool.len() < POOL_MAX && block.memory_bytes() <= POOLED_BYTES_MAX {
            pool.push(block);
        }
    }
}

/// Fills files with zeros beside the log, which could write nothing meanwhile.
struct FileMaker {
    wanted: SyncSender<String>,
    made: Receiver<io::Result<String>>,
}

impl FileMaker {
    fn start<D: Disk>(disk: Arc<D>, file_bytes: u32) -> io::Result<Self> {
        let (wanted, names) = sync_channel::<String>(1);
        let (sender, made) = sync_channel(1);
        thread::Builder::new().name("lepus-log-files".into()).spawn(move || {
            while let Ok(name) = names.recv() {
                let result = disk.create(&name, file_bytes.into()).map(|_| name);
                if sender.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { wanted, made })
    }

    /// Takes what was made, and orders the next. The file after the current one has its name early.
    fn look_after<D: Disk>(&self, log: &mut Log<D>) -> io::Result<()> {
        match self.made.try_recv() {
            Ok(made) => log.spare_made(made.ok()),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        log.name_next()?;
        if let Some(name) = log.wanted_spare()
            && self.wanted.try_send(name.clone()).is_ok()
        {
            log.spare_ordered(name);
        }
        Ok(())
    }
}
