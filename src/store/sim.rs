//! A disk in memory that forgets what was not synced, tears writes and fails on demand, all under a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile};

/// What a disk writes at once.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Content {
    /// What a crash leaves for sure.
    synced: Vec<u8>,
    /// What readers see.
    seen: Vec<u8>,
    /// Written since the last sync: offset, bytes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

type FileId = u64;

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, FileId),
    Remove(String),
}

#[derive(Clone, Debug)]
struct State {
    random: StdRng,
    files: BTreeMap<FileId, Content>,
    names: BTreeMap<String, FileId>,
    synced_names: BTreeMap<String, FileId>,
    unsynced_names: Vec<NameChange>,
    next_file: FileId,
    operations: u64,
    /// Everything fails from this operation on.
    fails_from: Option<(u64, ErrorKind)>,
    /// These fail, and those behind them do not.
    fails_once: BTreeMap<u64, ErrorKind>,
    /// There is no room from one operation to another.
    full: Range<u64>,
    /// The process that had it is dead; its handles do nothing.
    life: u64,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

/// A file of a [`SimDisk`].
#[derive(Debug)]
pub(crate) struct SimFile {
    disk: SimDisk,
    id: FileId,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            operations: 0,
            fails_from: None,
            fails_once: BTreeMap::new(),
            full: 0..0,
            life: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation; it may be the one that fails.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.locked();
        if state.life != self.life {
            return Err(io::Error::other("the process is dead"));
        }
        state.operations += 1;
        let now = state.operations;
        match state.fails_from {
            Some((from, kind)) if now > from => Err(kind.into()),
            _ => match state.fails_once.remove(&now) {
                Some(kind) => Err(kind.into()),
                None => Ok(state),
            },
        }
    }

    /// As [`Self::begin`], for what needs room.
    fn begin_to_fill(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.begin()?;
        match state.full.contains(&state.operations) {
            true => Err(ErrorKind::StorageFull.into()),
            false => Ok(state),
        }
    }

    /// For what happens though the operation fails.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.locked();
        if state.life == self.life { Ok(state) } else { Err(io::Error::other("the process is dead")) }
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.locked().operations
    }

    /// After this many more operations all fail.
    pub(crate) fn fail_after(&self, operations: u64, kind: ErrorKind) {
        let mut state = self.locked();
        state.fails_from = Some((state.operations + operations, kind));
    }

    /// The operation that comes after so many more fails.
    pub(crate) fn fail_once_after(&self, operations: u64, kind: ErrorKind) {
        let mut state = self.locked();
        let at = state.operations + operations + 1;
        state.fails_once.insert(at, kind);
    }

    /// After so many more operations there is no room for so many.
    pub(crate) fn fill_after(&self, operations: u64, length: u64) {
        let mut state = self.locked();
        let from = state.operations + operations;
        state.full = from..from + length;
    }

    /// All operations fail by now.
    pub(crate) fn is_off(&self) -> bool {
        let state = self.locked();
        state.fails_from.is_some_and(|(from, _)| state.operations >= from)
    }

    /// No faults from now on but those asked for again.
    pub(crate) fn heal(&self) {
        self.locked().heal();
    }

    /// The same disk again, with a life of its own.
    pub(crate) fn fork(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.locked().clone())), life: self.life }
    }

    /// The process dies, and what it wrote is in the system's hands. Gives the disk as the next process finds it.
    pub(crate) fn kill(&self) -> Self {
        let mut state = self.locked();
        state.heal();
        state.life += 1;
        Self { state: self.state.clone(), life: state.life }
    }

    /// Names of files, and how many bytes each has.
    pub(crate) fn lengths(&self) -> Vec<(String, usize)> {
        let state = self.locked();
        let length = |id| state.files.get(id).map_or(0, |content: &Content| content.seen.len());
        state.names.iter().map(|(name, id)| (name.clone(), length(id))).collect()
    }

    /// The machine loses power: of what was not synced, any sectors of any writes are there and the others are not;
    /// of the changes to names, the first so many. Gives the disk as the next process finds it.
    pub(crate) fn crash(&self) -> Self {
        let mut guard = self.locked();
        let state = &mut *guard;
        let kept = state.random.random_range(0..=state.unsynced_names.len());
        for change in state.unsynced_names.drain(..).take(kept) {
            apply(&mut state.synced_names, change);
        }
        state.names = state.synced_names.clone();
        for content in state.files.values_mut() {
            let likelihood = [0.0, 0.5, 0.95, 1.0][state.random.random_range(0..4)];
            for (offset, bytes) in content.unsynced.drain(..) {
                for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                    if state.random.random_bool(likelihood) {
                        write(&mut content.synced, offset + index * SECTOR, sector);
                    }
                }
            }
            content.seen = content.synced.clone();
        }
        let kept: BTreeSet<FileId> = state.names.values().copied().collect();
        state.files.retain(|id, _| kept.contains(id));
        state.heal();
        state.life += 1;
        Self { state: self.state.clone(), life: state.life }
    }

    /// Flips one bit of a file.
    pub(crate) fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut guard = self.locked();
        let state = &mut *guard;
        if let Some(content) = state.names.get(name).and_then(|id| state.files.get_mut(id)) {
            for bytes in [&mut content.synced, &mut content.seen] {
                bytes.get_mut(offset).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: NameChange) {
    match change {
        NameChange::Set(name, id) => {
            names.retain(|_, known| *known != id);
            names.insert(name, id);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

impl State {
    fn heal(&mut self) {
        self.fails_from = None;
        self.fails_once.clear();
        self.full = 0..0;
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.unsynced_names.push(change);
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.begin()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<SimFile> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let error = self.begin_to_fill().err();
        let mut state = self.alive()?;
        // One that fails may have come some way.
        let made = match error {
            None => length,
            Some(_) if state.random.random_bool(0.5) => state.random.random_range(0..=length),
            Some(error) => return Err(error),
        };
        let id = state.next_file;
        state.next_file += 1;
        let zeros = vec![0; made];
        state.files.insert(id, Content { synced: zeros.clone(), seen: zeros, unsynced: Vec::new() });
        state.change_name(NameChange::Set(name.into(), id));
        error.map_or(Ok(SimFile { disk: self.clone(), id }), Err)
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let state = self.begin()?;
        let id = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(SimFile { disk: self.clone(), id })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.begin()?;
        let id = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        state.change_name(NameChange::Set(to.into(), id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.begin()?;
        if !state.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove(name.into()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.begin()?;
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

impl SimFile {
    fn content<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Content> {
        state.files.get_mut(&self.id).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.content(&mut *self.disk.begin()?)?.seen.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.begin()?;
        let content = self.content(&mut state)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = content.seen.get(from..from + into.len()).ok_or(ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let error = self.disk.begin_to_fill().err();
        let mut state = self.disk.alive()?;
        // A failed write may have written some.
        let written = match error {
            None => bytes.len(),
            Some(_) => state.random.random_range(0..=bytes.len()),
        };
        let content = self.content(&mut state)?;
        let bytes = &bytes[..written];
        write(&mut content.seen, from, bytes);
        content.unsynced.push((from, bytes.to_vec()));
        error.map_or(Ok(()), Err)
    }

    fn sync(&self) -> io::Result<()> {
        let error = self.disk.begin().err();
        let mut guard = self.disk.alive()?;
        let state = &mut *guard;
        let content = state.files.get_mut(&self.id).ok_or(ErrorKind::NotFound)?;
        let unsynced = std::mem::take(&mut content.unsynced);
        if let Some(error) = error {
            // What the system could not write it takes for written: the next sync says nothing of it.
            content.unsynced = unsynced.into_iter().filter(|_| state.random.random_bool(0.5)).collect();
            return Err(error);
        }
        for (offset, bytes) in unsynced {
            write(&mut content.synced, offset, &bytes);
        }
        Ok(())
    }
}

fn write(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if into.len() < offset + bytes.len() {
        into.resize(offset + bytes.len(), 0);
    }
    into[offset..offset + bytes.len()].copy_from_slice(bytes);
}
