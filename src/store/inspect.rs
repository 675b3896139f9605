//! Looking at a data directory that no broker has: what its files are, and whether they are whole. Nothing is written.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::block::{Position, Record, Scan, Stretch};
use super::checkpoint::{self, CHECKPOINT, LAST, last_words};
use super::data_dir::{self, DataDirError, DirLock};
use super::log::{self, Begun, DAMAGED, Damage, LogError, emit, end_of_newest, missing_before, number_of};

/// A data directory that is only read. Nobody writes to it as long as this lives.
#[derive(Debug)]
pub struct Inspection {
    path: PathBuf,
    node: [u8; 16],
    logs: &'static [&'static str],
    files: Vec<(FileKind, String)>,
    _lock: Option<DirLock>,
}

/// What a file is, by its name. In the order in which files are listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileKind {
    /// Keeps two processes apart.
    Lock,
    /// Says whose the directory is.
    Node,
    /// A checkpoint, by number.
    Checkpoint(u32),
    /// A file of a log: which of those asked for, and its number.
    Log(usize, u32),
    /// Waits to become a file of a log.
    Spare,
    /// What somebody was writing when he was stopped; it is written anew.
    Unfinished,
    /// Was damaged, and is kept aside for whoever wants to look at it.
    Aside,
    /// Nothing of Lepus.
    Foreign,
}

/// What was found in a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// Length of the file in bytes.
    pub length: u64,
    /// Of these, from the start, how many are in use.
    pub used: u64,
    /// Bytes that were promised and cannot be read.
    pub damages: Vec<Damage>,
    /// Where the log is to be read from, if it is a checkpoint that is whole.
    pub replay_from: Option<Position>,
}

impl Inspection {
    /// Opens a directory; of the logs of these names, the first is the one whose files end where the next says.
    ///
    /// # Errors
    /// A broker has it, it cannot be read, or nothing says whose it is.
    pub fn open(path: &Path, logs: &'static [&'static str]) -> Result<Self, DataDirError> {
        let failed = |error| DataDirError::Io { path: path.to_owned(), error };
        let lock = data_dir::lock_to_read(path)?;
        let (_, node) = data_dir::read_node(path)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            files.push((kind_of(&name, logs), name));
        }
        files.sort_unstable();
        Ok(Self { path: path.to_owned(), node, logs, files, _lock: lock })
    }

    /// What is there.
    pub fn files(&self) -> &[(FileKind, String)] {
        &self.files
    }

    /// Tells the directory from all others.
    pub fn node(&self) -> [u8; 16] {
        self.node
    }

    /// Reads a file to its end and gives its records to `found`.
    ///
    /// # Errors
    /// The disk fails, or the file is another node's or of a later version.
    pub fn scan_file(
        &self,
        kind: FileKind,
        name: &str,
        mut found: impl FnMut(Record<'_>),
    ) -> Result<Contents, LogError> {
        match kind {
            FileKind::Checkpoint(number) => self.scan_checkpoint(number, name, found),
            FileKind::Log(log, number) => self.scan_log(log, number, name, &mut found),
            _ => {
                let path = self.path.join(name);
                let length = fs::symlink_metadata(path).map_err(failed(name))?.len();
                Ok(Contents { length, used: length, ..Contents::default() })
            }
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, LogError> {
        fs::read(self.path.join(name)).map_err(failed(name))
    }

    fn scan_checkpoint(
        &self,
        number: u32,
        name: &str,
        mut found: impl FnMut(Record<'_>),
    ) -> Result<Contents, LogError> {
        let bytes = self.read(name)?;
        let length = bytes.len() as u64;
        let whole = last_words(&bytes, number);
        if whole.is_some_and(|(node, _)| node != self.node) {
            return Err(LogError::Foreign { file: name.into() });
        }
        let place = |offset| Position::new(number, offset);
        let mut damages = Vec::new();
        let mut damage = |bad: Range<u32>| {
            let (from, to) = (place(bad.start), place(bad.end));
            damages.push(Damage { file: name.into(), from, to, is_missing: false });
        };
        let mut scan = Scan::part(&bytes, place(0));
        let mut is_damaged = false;
        for stretch in scan.by_ref() {
            match stretch {
                Stretch::Record(record) if record.source != LAST => found(record),
                Stretch::Record(_) => {}
                Stretch::Bad(bad) => {
                    is_damaged = true;
                    damage(bad);
                }
            }
        }
        // One that is cut off between two blocks lacks its last words.
        if (scan.at() as usize) < bytes.len() || whole.is_none() && !is_damaged {
            // Checkpoints end at 4 GiB.
            damage(scan.at()..bytes.len() as u32);
        }
        let replay_from = whole.map(|(_, replay_from)| replay_from);
        Ok(Contents { length, used: length, damages, replay_from })
    }

    fn scan_log(
        &self,
        log: usize,
        number: u32,
        name: &str,
        found: &mut impl FnMut(Record<'_>),
    ) -> Result<Contents, LogError> {
        let mut bytes = self.read(name)?;
        let length = bytes.len() as u64;
        let mut damages = Vec::new();
        let used = match log::contents(&mut bytes, self.node, number, name.into())? {
            log::Contents::Begun(begun) => {
                let end = self.end_of(log, &begun)?;
                emit(&begun, end, self.logs[log], found, &mut damages).into()
            }
            log::Contents::Remains | log::Contents::Nothing | log::Contents::Alien => 0,
        };
        Ok(Contents { length, used, damages, replay_from: None })
    }

    /// Where a file ends by what the next one says, or by what it says itself.
    fn end_of(&self, log: usize, begun: &Begun) -> Result<Position, LogError> {
        let unknown = Position::new(begun.number, u32::MAX);
        // Of other logs nobody but a checkpoint says how much of them must be there.
        if log != 0 {
            return Ok(unknown);
        }
        let next = self.begun_from(log, begun.number + 1)?.next().transpose()?;
        Ok(match next {
            Some(next) if next.header_is_whole && next.previous_end.file() == begun.number => next.previous_end,
            Some(_) => unknown,
            None => end_of_newest(begun).0,
        })
    }

    /// Files of a log that hold a part of it, from a number on.
    fn begun_from(&self, log: usize, first: u32) -> Result<impl Iterator<Item = Result<Begun, LogError>>, LogError> {
        let files = self.files.iter().filter_map(move |(kind, name)| match kind {
            FileKind::Log(of, number) if *of == log && *number >= first => Some((*number, name)),
            _ => None,
        });
        Ok(files.filter_map(|(number, name)| {
            let contents =
                self.read(name).and_then(|mut bytes| log::contents(&mut bytes, self.node, number, name.clone()));
            match contents {
                Ok(log::Contents::Begun(begun)) => Some(Ok(begun)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        }))
    }

    /// Files of the first log that must be there, if it is read from `replay_from`, and are not.
    ///
    /// # Errors
    /// As of [`Self::scan_file`].
    pub fn missing(&self, replay_from: Position) -> Result<Vec<Damage>, LogError> {
        let (mut missing, mut before) = (Vec::new(), None);
        for begun in self.begun_from(0, replay_from.file())? {
            let begun = begun?;
            missing.extend(missing_before(&begun, before, replay_from, self.logs[0]));
            before = Some(begun.number);
        }
        Ok(missing)
    }
}

fn failed(file: &str) -> impl FnOnce(io::Error) -> LogError {
    let file = file.to_owned();
    move |error| LogError::of(file, error)
}

fn kind_of(name: &str, logs: &[&str]) -> FileKind {
    if name == data_dir::LOCK {
        return FileKind::Lock;
    }
    if name == data_dir::NODE {
        return FileKind::Node;
    }
    if [data_dir::UNFINISHED, checkpoint::UNFINISHED].contains(&name) {
        return FileKind::Unfinished;
    }
    if let Some(number) = number_of(name, CHECKPOINT) {
        return FileKind::Checkpoint(number);
    }
    for (index, log) in logs.iter().enumerate() {
        if let Some(number) = number_of(name, log) {
            return FileKind::Log(index, number);
        }
        if number_of(name, &format!("{log}-spare")).is_some() {
            return FileKind::Spare;
        }
    }
    match name.strip_prefix(DAMAGED) {
        Some(name) if kind_of(name, logs) != FileKind::Foreign => FileKind::Aside,
        _ => FileKind::Foreign,
    }
}
