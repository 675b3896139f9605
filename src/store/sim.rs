//! A disk in memory that forgets what was not synced, tears writes and fails on demand, all under a seed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile};

/// What a disk writes at once.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
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

#[derive(Debug)]
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
    /// The process that had it is dead; its handles do nothing.
    life: u64,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

/// A file of a [`SimDisk`].
#[derive(Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    id: FileId,
}

impl SimDisk {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            operations: 0,
            fails_from: None,
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
        match state.fails_from {
            Some((from, kind)) if state.operations > from => Err(kind.into()),
            _ => Ok(state),
        }
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.locked().operations
    }

    /// After this many more operations all fail.
    pub(super) fn fail_after(&self, operations: u64, kind: ErrorKind) {
        let mut state = self.locked();
        state.fails_from = Some((state.operations + operations, kind));
    }

    /// The machine loses power: of what was not synced, any sectors of any writes are there and the others are not;
    /// of the changes to names, the first so many. Gives the disk as the next process finds it.
    pub(super) fn crash(&self) -> Self {
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
                        let at = offset + index * SECTOR;
                        if content.synced.len() < at + sector.len() {
                            content.synced.resize(at + sector.len(), 0);
                        }
                        content.synced[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            content.seen = content.synced.clone();
        }
        state.fails_from = None;
        state.life += 1;
        Self { state: self.state.clone(), life: state.life }
    }

    /// Flips one bit of a file.
    pub(super) fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut guard = self.locked();
        let state = &mut *guard;
        if let Some(content) = state.names.get(name).and_then(|id| state.files.get_mut(id)) {
            content.synced[offset] ^= 1 << bit;
            content.seen[offset] ^= 1 << bit;
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
        let mut state = self.begin()?;
        let id = state.next_file;
        state.next_file += 1;
        let zeros = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        state.files.insert(id, Content { synced: zeros.clone(), seen: zeros, unsynced: Vec::new() });
        state.change_name(NameChange::Set(name.into(), id));
        Ok(SimFile { disk: self.clone(), id })
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
        let written = match self.disk.begin() {
            Ok(_) => bytes.len(),
            // A failed write may have written some.
            Err(_) => bytes.len() / 2,
        };
        let failed = written < bytes.len();
        let mut state = self.disk.locked();
        if state.life != self.disk.life {
            return Err(io::Error::other("the process is dead"));
        }
        let content = self.content(&mut state)?;
        let bytes = &bytes[..written];
        if content.seen.len() < from + written {
            content.seen.resize(from + written, 0);
        }
        content.seen[from..from + written].copy_from_slice(bytes);
        content.unsynced.push((from, bytes.to_vec()));
        if failed { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.begin()?;
        let content = self.content(&mut state)?;
        content.synced = content.seen.clone();
        content.unsynced.clear();
        Ok(())
    }
}
