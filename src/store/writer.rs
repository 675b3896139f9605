//! The thread that writes the log for everybody: whatever has been handed over while it wrote goes out with one write
//! and one sync, and then those who wait are told. A failed sync ends it: nobody knows what such a disk has kept.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::block::{Block, Position};
use super::disk::Disk;
use super::log::{Log, Tail};

/// Emptied blocks kept for their memory.
const POOL_MAX: usize = 16;
/// Memory above this is not kept.
const POOLED_BYTES_MAX: usize = 512 << 10;

/// What nobody waits for is written after this time at the latest, or with this many bytes.
const LAZY: Duration = Duration::from_millis(20);
const LAZY_BYTES_MAX: usize = 1 << 20;
/// So many bytes on their way to the disk are enough to keep it busy.
const BEHIND_BYTES: usize = 16 << 20;
/// How often a full disk is tried again.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(100);

/// When what was written counts as kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncMode {
    /// When the disk says that it is synced.
    #[default]
    Always,
    /// When the system has it; it is synced after this time at the latest. A power failure may cost what came since.
    Interval(Duration),
    /// When the system has it. A power failure may cost anything.
    Never,
}

/// Called when [`Writer::synced`] has moved.
pub type OnSynced = Box<dyn Fn() + Send + Sync>;

struct State {
    tail: Tail,
    blocks: Vec<(Position, Block)>,
    bytes: usize,
    /// Somebody waits for one of them.
    urgent: bool,
    /// Files that nobody needs any more.
    retired: Vec<u32>,
    /// Somebody waits in [`Writer::sync_all`] for everything before this place.
    sync_to: Position,
    /// Files that are not needed are removed.
    sparing: bool,
    /// There may be some.
    sparing_begins: bool,
    /// A write waits for room on the disk.
    is_full: bool,
    pool: Vec<Block>,
    closed: bool,
    /// The thread has ended, in whatever way.
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    /// There are blocks, or no more to come.
    changed: Condvar,
    /// [`Self::synced`] or [`Self::durable`] has moved, or the thread has ended.
    moved: Condvar,
    /// Everything before counts as kept.
    synced: AtomicU64,
    /// Everything before is on disk for good.
    durable: AtomicU64,
    /// Where the last block ends that was handed over.
    end: AtomicU64,
    /// Of blocks handed over and not synced.
    waiting_bytes: AtomicUsize,
    listeners: RwLock<Vec<OnSynced>>,
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
    /// Starts the thread. `failed` is called with the error that ends it before its time.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<D: Disk>(
        log: Log<D>,
        sync: SyncMode,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let state = State {
            tail: log.tail(),
            blocks: Vec::new(),
            bytes: 0,
            urgent: false,
            retired: Vec::new(),
            sync_to: Position::default(),
            sparing: false,
            sparing_begins: false,
            is_full: false,
            pool: Vec::new(),
            closed: false,
            ended: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            moved: Condvar::new(),
            durable: AtomicU64::new(log.synced().0),
            synced: AtomicU64::new(log.synced().0),
            end: AtomicU64::new(log.synced().0),
            waiting_bytes: AtomicUsize::new(0),
            listeners: RwLock::default(),
        });
        let files = match log.is_prewritten() {
            true => Some(FileMaker::start(log.disk(), log.file_bytes())?),
            false => None,
        };
        let writing = shared.clone();
        let thread = thread::Builder::new().name("lepus-log".into()).spawn(move || {
            let result = write_all(log, &writing, files.as_ref(), sync);
            writing.locked().ended = true;
            writing.moved.notify_all();
            if let Err(error) = result {
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

    /// Tells somebody from now on whenever [`Self::synced`] has moved.
    pub fn listen(&self, listener: OnSynced) {
        self.shared.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Hands a block over; never waits. `urgent`: somebody waits for it; else it may wait for company. Gives where it
    /// ends; it is on disk once [`Self::synced`] has come there.
    pub fn submit(&self, block: Block, urgent: bool) -> Position {
        let length = block.len();
        let mut state = self.shared.locked();
        let position = state.tail.place(length);
        let end = Position::new(position.file(), position.offset() + length);
        let first = state.blocks.is_empty();
        state.blocks.push((position, block));
        state.bytes += length as usize;
        let wakes = first || urgent && !state.urgent || state.bytes >= LAZY_BYTES_MAX;
        state.urgent |= urgent;
        self.shared.end.store(end.0, Ordering::Release);
        self.shared.waiting_bytes.fetch_add(length as usize, Ordering::Relaxed);
        drop(state);
        if wakes {
            self.shared.changed.notify_one();
        }
        end
    }

    /// Somebody waits for what was handed over before.
    pub fn hurry(&self) {
        let mut state = self.shared.locked();
        let wakes = !state.urgent && !state.blocks.is_empty();
        state.urgent |= wakes;
        drop(state);
        if wakes {
            self.shared.changed.notify_one();
        }
    }

    /// Waits until everything before this place is written; it may be read then.
    ///
    /// # Errors
    /// The thread has ended before.
    pub fn wait_for(&self, position: Position) -> io::Result<()> {
        self.wait_until(false, || self.synced() >= position)
    }

    /// Waits until everything handed over so far is on disk for good, whatever the mode.
    ///
    /// # Errors
    /// The thread has ended before; `StorageFull`: it waits for room on the disk.
    pub fn sync_all(&self) -> io::Result<()> {
        let end = self.end();
        {
            let mut state = self.shared.locked();
            state.sync_to = state.sync_to.max(end);
        }
        self.shared.changed.notify_one();
        self.wait_until(true, || Position(self.shared.durable.load(Ordering::Acquire)) >= end)
    }

    /// From now on files that are not needed are removed, or are kept to be used again.
    pub fn be_sparing(&self, is_sparing: bool) {
        let mut state = self.shared.locked();
        if state.sparing != is_sparing {
            state.sparing = is_sparing;
            state.sparing_begins |= is_sparing;
            self.shared.changed.notify_one();
        }
    }

    /// `gives_up`: when the disk is full.
    fn wait_until(&self, gives_up: bool, is_so: impl Fn() -> bool) -> io::Result<()> {
        if is_so() {
            return Ok(());
        }
        let mut state = self.shared.locked();
        loop {
            if is_so() {
                return Ok(());
            }
            if state.ended {
                return Err(io::Error::other("the log has ended"));
            }
            if gives_up && state.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state = self.shared.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing of these files is needed any more.
    pub fn retire(&self, files: Vec<u32>) {
        self.shared.locked().retired.extend(files);
        self.shared.changed.notify_one();
    }

    /// More than [`BEHIND_BYTES`] wait to be written.
    pub fn is_behind(&self) -> bool {
        self.shared.waiting_bytes.load(Ordering::Relaxed) > BEHIND_BYTES
    }

    /// Everything before this place is on disk for good.
    pub fn synced(&self) -> Position {
        Position(self.shared.synced.load(Ordering::SeqCst))
    }

    /// Where the last block ends that was handed over.
    pub fn end(&self) -> Position {
        Position(self.shared.end.load(Ordering::Acquire))
    }

    /// The thread ends when it has written what it was given.
    pub fn close(&self) {
        self.shared.locked().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// Waits for blocks and takes them; none: there is something else to do, or nothing more will come.
    fn take(&self, blocks: &mut Vec<(Position, Block)>, until: Option<Instant>) -> bool {
        let mut state = self.locked();
        recycle(&mut state.pool, blocks);
        let mut lazy_until = None;
        loop {
            let is_sync_wanted = state.sync_to > Position(self.durable.load(Ordering::Acquire));
            if !state.retired.is_empty() || state.sparing_begins || is_sync_wanted {
                mem::swap(blocks, &mut state.blocks);
                state.bytes = 0;
                state.urgent = false;
                return true;
            }
            let is_due = state.urgent || state.closed || state.bytes >= LAZY_BYTES_MAX;
            let now = Instant::now();
            if !state.blocks.is_empty() {
                let lazy_until = *lazy_until.get_or_insert_with(|| now + LAZY);
                if is_due || now >= lazy_until {
                    mem::swap(blocks, &mut state.blocks);
                    state.bytes = 0;
                    state.urgent = false;
                    return true;
                }
            } else if state.closed {
                return false;
            }
            let wakes = [lazy_until, until].into_iter().flatten().min();
            let Some(at) = wakes else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if until.is_some_and(|until| now >= until) {
                return true;
            }
            let pause = at.saturating_duration_since(now);
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn write_all<D: Disk>(mut log: Log<D>, shared: &Shared, files: Option<&FileMaker>, sync: SyncMode) -> io::Result<()> {
    let mut blocks = Vec::new();
    let mut sync_at = None;
    while shared.take(&mut blocks, sync_at) {
        for group in blocks.chunk_by_mut(|(a, _), (b, _)| a.file() == b.file()) {
            write_group(&mut log, group, shared)?;
        }
        let (retired, sync_to, sparing) = {
            let mut state = shared.locked();
            state.sparing_begins = false;
            (mem::take(&mut state.retired), state.sync_to, state.sparing)
        };
        let now = Instant::now();
        match sync {
            // Blocks that came meanwhile may lie before it: they are the next to be written.
            _ if log.synced() < sync_to && sync_to <= log.end() => log.sync()?,
            SyncMode::Always => log.sync()?,
            SyncMode::Interval(_) if sync_at.is_some_and(|at| now >= at) => {
                log.sync()?;
                sync_at = None;
            }
            SyncMode::Interval(interval) => sync_at = sync_at.or(Some(now + interval)),
            SyncMode::Never => {}
        }
        shared.synced.store(log.end().0, Ordering::SeqCst);
        shared.durable.store(log.synced().0, Ordering::Release);
        {
            let _state = shared.locked();
            shared.moved.notify_all();
        }
        for file in retired {
            log.retire(file)?;
        }
        let written: usize = blocks.iter().map(|(_, block)| block.len() as usize).sum();
        shared.waiting_bytes.fetch_sub(written, Ordering::Relaxed);
        for listener in shared.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener();
        }
        if let Some(files) = files {
            files.look_after(&mut log, !sparing)?;
        }
    }
    log.sync()?;
    shared.durable.store(log.synced().0, Ordering::Release);
    Ok(())
}

/// Writes blocks of one file. A full disk is waited for: nothing is lost, and who publishes waits too.
fn write_group<D: Disk>(log: &mut Log<D>, group: &mut [(Position, Block)], shared: &Shared) -> io::Result<()> {
    loop {
        let result = log.write(group);
        let is_full = matches!(&result, Err(error) if error.kind() == io::ErrorKind::StorageFull);
        let mut state = shared.locked();
        state.is_full = is_full;
        if !is_full || state.closed {
            return result;
        }
        shared.moved.notify_all();
        drop(shared.changed.wait_timeout(state, FULL_DISK_PAUSE));
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
    /// `None`: no more are wanted.
    wanted: Option<SyncSender<String>>,
    made: Receiver<io::Result<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for FileMaker {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            // It makes no promises to anybody.
            let _ = thread.join();
        }
    }
}

impl FileMaker {
    fn start<D: Disk>(disk: Arc<D>, file_bytes: u32) -> io::Result<Self> {
        let (wanted, names) = sync_channel::<String>(1);
        let (sender, made) = sync_channel(1);
        let thread = thread::Builder::new().name("lepus-log-files".into()).spawn(move || {
            while let Ok(name) = names.recv() {
                let result = disk.create(&name, file_bytes.into()).map(|_| name);
                if sender.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { wanted: Some(wanted), made, thread: Some(thread) })
    }

    /// Takes what was made, and orders the next. The file after the current one has its name early.
    fn look_after<D: Disk>(&self, log: &mut Log<D>, keeps_spares: bool) -> io::Result<()> {
        match self.made.try_recv() {
            Ok(made) => log.spare_made(made.ok()),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        if !keeps_spares {
            return log.remove_spares();
        }
        log.name_next()?;
        if let Some(name) = log.wanted_spare()
            && let Some(wanted) = &self.wanted
            && wanted.try_send(name.clone()).is_ok()
        {
            log.spare_ordered(name);
        }
        Ok(())
    }
}
