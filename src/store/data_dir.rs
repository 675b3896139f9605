//! A data directory: one process has it at a time, and it knows whose it is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::VERSION;
use super::disk::{Directory, Disk as _};

pub(super) const LOCK: &str = "lock";
pub(super) const NODE: &str = "node";
pub(super) const UNFINISHED: &str = "node-unfinished";
/// What the node file begins with.
const TITLE: &str = "Lepus data directory, format ";

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// The system says no.
    #[error("data directory {}: {error}", path.display())]
    Io {
        /// The directory, or a file in it.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// This process may not write there.
    #[error(
        "data directory {} cannot be written ({error}): give it to the user that Lepus runs as, or name another one", path.display()
    )]
    NotWritable {
        /// The directory, or a file in it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no room for it.
    #[error("data directory {}: the disk is full: make room on it, or name a directory on another", path.display())]
    Full {
        /// The directory, or a file in it.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("data directory {} is in use by another process: stop it, or give this one another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Made by a later version of Lepus.
    #[error("{} has format {version}, this program reads up to {VERSION}: use the newer Lepus that wrote it", path.display())]
    Newer {
        /// The node file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The node file is missing beside data, or says nothing.
    #[error("{} is missing or damaged: without it nobody knows whose the other files are; put it back from a backup", path.display())]
    NoNode {
        /// The node file.
        path: PathBuf,
    },
}

/// A data directory that this process has.
#[derive(Debug)]
pub struct DataDir {
    /// Its files.
    pub directory: Directory,
    /// Tells it from all others.
    pub node: [u8; 16],
    /// To be held as long as anything in the directory is written.
    pub lock: DirLock,
}

/// Keeps others out of a data directory until it is dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DataDirError {
    fn of(path: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotWritable { path, error },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, error },
        }
    }
}

/// Keeps processes out that would write, as long as it lives; others that only read are let in. A directory that no
/// broker ever had has no lock, and needs none.
pub(super) fn lock_to_read(path: &Path) -> Result<Option<DirLock>, DataDirError> {
    let failed = |error| DataDirError::Io { path: path.join(LOCK), error };
    // Without this, a directory that is not there would be one without a lock.
    fs::read_dir(path).map_err(|error| DataDirError::Io { path: path.to_owned(), error })?;
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(DirLock { _file: lock })),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// The version of its format, and whose the directory is.
pub(super) fn read_node(path: &Path) -> Result<(u32, [u8; 16]), DataDirError> {
    let path = path.join(NODE);
    let no_node = |path: &Path| DataDirError::NoNode { path: path.to_owned() };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            return Err(no_node(&path));
        }
        Err(error) => return Err(DataDirError::Io { path, error }),
    };
    let (version, node) = parse(&text).ok_or_else(|| no_node(&path))?;
    if version > VERSION {
        return Err(DataDirError::Newer { path, version });
    }
    node.map(|node| (version, node)).ok_or_else(|| no_node(&path))
}

/// A new directory is for nobody else to read: messages are in it. One that is there stays as its owner wants it.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path)
}

impl DataDir {
    /// Takes the directory, making it if need be.
    ///
    /// # Errors
    /// See [`DataDirError`]; nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let at = |name: &str| {
            let path = path.join(name);
            move |error: io::Error| DataDirError::of(path, error)
        };
        make_directory(path).map_err(at(""))?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK)).map_err(at(LOCK))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataDirError::InUse { path: path.to_owned() }),
            Err(error) => return Err(at(LOCK)(error.into())),
        }
        let directory = Directory::open(path).map_err(at(""))?;
        let node = if path.join(NODE).exists() {
            let (version, node) = read_node(path)?;
            // What is written from here on an earlier Lepus cannot read.
            if version < VERSION {
                write_node(&directory, node).map_err(at(NODE))?;
            }
            node
        } else {
            let names = directory.list().map_err(at(""))?;
            if names.iter().any(|name| name.starts_with("log-") || name.starts_with("checkpoint-")) {
                return Err(DataDirError::NoNode { path: path.join(NODE) });
            }
            let node = rand::random();
            write_node(&directory, node).map_err(at(NODE))?;
            node
        };
        Ok(Self { directory, node, lock: DirLock { _file: lock } })
    }
}

/// Version and node; the node may be written otherwise in another version.
fn parse(text: &str) -> Option<(u32, Option<[u8; 16]>)> {
    let mut lines = text.lines();
    let version = lines.next()?.strip_prefix(TITLE)?.parse().ok()?;
    let node = lines.next().and_then(|line| line.strip_prefix("node ")).and_then(|digits| {
        let number = u128::from_str_radix(digits, 16).ok()?;
        (digits.len() == 32).then_some(number.to_be_bytes())
    });
    Some((version, node))
}

fn write_node(directory: &Directory, node: [u8; 16]) -> io::Result<()> {
    let unfinished = directory.path().join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{TITLE}{VERSION}\nnode {:032x}", u128::from_be_bytes(node))?;
    file.sync_all()?;
    directory.rename(UNFINISHED, NODE)?;
    directory.sync()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_process_at_a_time_and_always_the_same_node() {
        let path = std::env::temp_dir().join(format!("lepus-data-{:x}", rand::random::<u64>()));
        let first = DataDir::open(&path.join("of/a/broker")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path.join("of/a/broker")), 0o700);
        drop(first);
        let theirs = Permissions::from_mode(0o750);
        fs::set_permissions(&path, theirs).unwrap();
        let first = DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o750);
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse { .. })));
        let node = first.node;
        drop(first);
        assert_eq!(DataDir::open(&path).unwrap().node, node);

        let older = format!("{TITLE}{}\nnode {:032x}\n", VERSION - 1, u128::from_be_bytes(node));
        fs::write(path.join(NODE), older).unwrap();
        assert_eq!(DataDir::open(&path).unwrap().node, node);
        assert_eq!(read_node(&path).unwrap(), (VERSION, node), "it says what is written now");
        let newer = VERSION + 1;
        fs::write(path.join(NODE), format!("{TITLE}{newer}\nsomething else\n")).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Newer { version, .. }) if version == newer));
        fs::write(path.join(NODE), "").unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::NoNode { .. })));
        fs::remove_file(path.join(NODE)).unwrap();
        fs::write(path.join("log-0000000000000001"), "").unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::NoNode { .. })));
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "no directory").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("data directory {}", path.display())), "{error}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_the_system_refuses_is_told_with_what_to_do() {
        let told = |kind: io::ErrorKind| DataDirError::of("d".into(), kind.into()).to_string();
        assert!(told(io::ErrorKind::PermissionDenied).starts_with("data directory d cannot be written ("));
        assert!(told(io::ErrorKind::ReadOnlyFilesystem).starts_with("data directory d cannot be written ("));
        assert!(told(io::ErrorKind::StorageFull).starts_with("data directory d: the disk is full: "));
        assert!(told(io::ErrorKind::InvalidInput).starts_with("data directory d: "));
    }
}
