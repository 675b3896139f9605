//! The thread that writes the log for everybody: whatever has been handed over while it wrote goes out with one write
//! and one sync, and then those who wait are told. A failed sync ends it: nobody knows what such a disk has kept.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TryRecvError, sync_channel};
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
/// So often a full disk is tried again where there is no thread.
#[cfg(test)]
const STEPS_MAX: usize = 10_000;
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
    /// What the thread would do, where there is none.
    #[cfg(test)]
    by_hand: Mutex<Option<Box<Step>>>,
}

#[cfg(test)]
type Step = dyn FnMut(&Shared) + Send;

impl Shared {
    fn new<D: Disk>(log: &Log<D>) -> Self {
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
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            moved: Condvar::new(),
            durable: AtomicU64::new(log.synced().0),
            synced: AtomicU64::new(log.synced().0),
            end: AtomicU64::new(log.synced().0),
            waiting_bytes: AtomicUsize::new(0),
            listeners: RwLock::default(),
            #[cfg(test)]
            by_hand: Mutex::default(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more will be written.
    fn end(&self) {
        self.locked().ended = true;
        self.moved.notify_all();
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
        let files = match log.is_prewritten() {
            true => Some(FileMaker::start(log.disk(), log.file_bytes())?),
            false => None,
        };
        let shared = Arc::new(Shared::new(&log));
        let writing = shared.clone();
        let thread = thread::Builder::new().name("lepus-log".into()).spawn(move || {
            let result = Work::new(log, sync, files).run(&writing);
            writing.end();
            if let Err(error) = result {
                failed(error);
            }
        })?;
        Ok((Self { shared }, thread))
    }

    /// As [`Self::start`], without a thread: whoever has it takes the steps.
    #[cfg(test)]
    pub(crate) fn by_hand<D: Disk>(
        log: Log<D>,
        sync: SyncMode,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> Self {
        let files = log.is_prewritten().then(|| FileMaker::by_hand(log.disk(), log.file_bytes()));
        let shared = Arc::new(Shared::new(&log));
        let (mut work, mut failed) = (Work::new(log, sync, files), Some(failed));
        let step = move |shared: &Shared| {
            if work.blocks.is_empty() {
                shared.take_now(&mut work.blocks);
            }
            match work.step(shared) {
                Ok(is_done) => shared.locked().is_full = !is_done,
                Err(error) => {
                    shared.end();
                    if let Some(failed) = failed.take() {
                        failed(error);
                    }
                }
            }
        };
        *shared.by_hand.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(step));
        Self { shared }
    }

    /// What the thread does when it wakes, if there is none. False: there is one, or it has ended.
    #[cfg(test)]
    pub(crate) fn step(&self) -> bool {
        let mut by_hand = self.shared.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = !self.shared.locked().ended;
        if let Some(step) = by_hand.as_mut().filter(|_| goes_on) {
            step(&self.shared);
            return true;
        }
        false
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
        #[cfg(test)]
        for _ in 0..STEPS_MAX {
            if is_so() || !self.step() || gives_up && self.shared.locked().is_full {
                break;
            }
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
            #[cfg(test)]
            assert!(self.shared.by_hand.lock().is_ok_and(|step| step.is_none()), "the disk is full for ever");
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
    /// Takes the blocks that are there.
    fn take_blocks(state: &mut State, blocks: &mut Vec<(Position, Block)>) {
        mem::swap(blocks, &mut state.blocks);
        state.bytes = 0;
        state.urgent = false;
    }

    #[cfg(test)]
    fn take_now(&self, blocks: &mut Vec<(Position, Block)>) {
        Self::take_blocks(&mut self.locked(), blocks);
    }

    /// Waits for blocks and takes them; none: there is something else to do, or nothing more will come.
    fn take(&self, blocks: &mut Vec<(Position, Block)>, until: Option<Instant>) -> bool {
        let mut state = self.locked();
        let mut lazy_until = None;
        loop {
            let is_sync_wanted = state.sync_to > Position(self.durable.load(Ordering::Acquire));
            if !state.retired.is_empty() || state.sparing_begins || is_sync_wanted {
                Self::take_blocks(&mut state, blocks);
                return true;
            }
            let is_due = state.urgent || state.closed || state.bytes >= LAZY_BYTES_MAX;
            let now = Instant::now();
            if !state.blocks.is_empty() {
                let lazy_until = *lazy_until.get_or_insert_with(|| now + LAZY);
                if is_due || now >= lazy_until {
                    Self::take_blocks(&mut state, blocks);
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

/// What the thread works with.
struct Work<D: Disk> {
    log: Log<D>,
    sync: SyncMode,
    files: Option<FileMaker>,
    /// When what is written is to be synced.
    sync_at: Option<Instant>,
    /// Taken, and to be written.
    blocks: Vec<(Position, Block)>,
    /// So many of them are written.
    written: usize,
}

impl<D: Disk> Work<D> {
    fn new(log: Log<D>, sync: SyncMode, files: Option<FileMaker>) -> Self {
        Self { log, sync, files, sync_at: None, blocks: Vec::new(), written: 0 }
    }

    /// Until nothing more will come.
    fn run(&mut self, shared: &Shared) -> io::Result<()> {
        while shared.take(&mut self.blocks, self.sync_at) {
            while !self.step(shared)? {
                let mut state = shared.locked();
                if state.closed {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                state.is_full = true;
                shared.moved.notify_all();
                drop(shared.changed.wait_timeout(state, FULL_DISK_PAUSE));
            }
        }
        self.log.sync()?;
        shared.durable.store(self.log.synced().0, Ordering::Release);
        Ok(())
    }

    /// Writes what was taken, and tells who waits. False: the disk is full, and it is to be tried again; nothing is
    /// lost, and who publishes waits too.
    fn step(&mut self, shared: &Shared) -> io::Result<bool> {
        for group in self.blocks[self.written..].chunk_by_mut(|(a, _), (b, _)| a.file() == b.file()) {
            match self.log.write(group) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(false),
                result => result?,
            }
            self.written += group.len();
        }
        let (retired, sync_to, sparing) = {
            let mut state = shared.locked();
            state.sparing_begins = false;
            state.is_full = false;
            (mem::take(&mut state.retired), state.sync_to, state.sparing)
        };
        self.sync_if_due(sync_to)?;
        shared.synced.store(self.log.end().0, Ordering::SeqCst);
        shared.durable.store(self.log.synced().0, Ordering::Release);
        {
            let _state = shared.locked();
            shared.moved.notify_all();
        }
        for file in retired {
            self.log.retire(file)?;
        }
        let written: usize = self.blocks.iter().map(|(_, block)| block.len() as usize).sum();
        shared.waiting_bytes.fetch_sub(written, Ordering::Relaxed);
        recycle(&mut shared.locked().pool, &mut self.blocks);
        self.written = 0;
        for listener in shared.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener();
        }
        if let Some(files) = &self.files {
            files.look_after(&mut self.log, !sparing)?;
        }
        Ok(true)
    }

    /// `sync_to`: somebody waits for everything before.
    fn sync_if_due(&mut self, sync_to: Position) -> io::Result<()> {
        let now = Instant::now();
        match self.sync {
            // Blocks that came meanwhile may lie before it: they are the next to be written.
            _ if self.log.synced() < sync_to && sync_to <= self.log.end() => self.log.sync()?,
            SyncMode::Always => self.log.sync()?,
            SyncMode::Interval(_) if self.sync_at.is_some_and(|at| now >= at) => {
                self.log.sync()?;
                self.sync_at = None;
            }
            SyncMode::Interval(interval) => self.sync_at = self.sync_at.or(Some(now + interval)),
            SyncMode::Never => {}
        }
        Ok(())
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
    /// What the thread would do, where there is none.
    #[cfg(test)]
    by_hand: Option<Box<dyn Fn() + Send>>,
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

/// Makes the files.
struct Making<D: Disk> {
    disk: Arc<D>,
    file_bytes: u32,
    names: Receiver<String>,
    made: SyncSender<io::Result<String>>,
}

impl<D: Disk> Making<D> {
    fn make(&self, name: String) -> Result<(), SendError<io::Result<String>>> {
        self.made.send(self.disk.create(&name, self.file_bytes.into()).map(|_| name))
    }
}

impl FileMaker {
    fn new<D: Disk>(disk: Arc<D>, file_bytes: u32) -> (Self, Making<D>) {
        let (wanted, names) = sync_channel::<String>(1);
        let (sender, made) = sync_channel(1);
        let maker = Self {
            wanted: Some(wanted),
            made,
            thread: None,
            #[cfg(test)]
            by_hand: None,
        };
        (maker, Making { disk, file_bytes, names, made: sender })
    }

    fn start<D: Disk>(disk: Arc<D>, file_bytes: u32) -> io::Result<Self> {
        let (mut maker, making) = Self::new(disk, file_bytes);
        let thread = thread::Builder::new().name("lepus-log-files".into()).spawn(move || {
            while let Ok(name) = making.names.recv()
                && making.make(name).is_ok()
            {}
        })?;
        maker.thread = Some(thread);
        Ok(maker)
    }

    /// Makes a file when the next one is looked after.
    #[cfg(test)]
    fn by_hand<D: Disk>(disk: Arc<D>, file_bytes: u32) -> Self {
        let (mut maker, making) = Self::new(disk, file_bytes);
        let make = move || {
            if let Ok(name) = making.names.try_recv() {
                let _ = making.make(name);
            }
        };
        maker.by_hand = Some(Box::new(make));
        maker
    }

    /// Takes what was made, and orders the next. The file after the current one has its name early.
    fn look_after<D: Disk>(&self, log: &mut Log<D>, keeps_spares: bool) -> io::Result<()> {
        #[cfg(test)]
        self.by_hand.iter().for_each(|make| make());
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
