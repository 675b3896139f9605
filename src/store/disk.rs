//! The disk as the store sees it: a directory of files with whole-file names, positional reads and writes, and the
//! syncs that make them last. Behind a trait, so that tests can lose, tear and flip what was written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory of the store.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `length` zero bytes, written out rather than sparse: a write to it later allocates nothing.
    fn create(&self, name: &str, length: u64) -> io::Result<Self::File>;

    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, over whatever had it. Lasts after [`Self::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Lasts after [`Self::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names last: of files created, renamed and removed before.
    fn sync(&self) -> io::Result<()>;
}

/// An open file; reads and writes name their place.
pub trait DiskFile: Send + Sync + 'static {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` from `offset`. A file that ends before is an error of kind `UnexpectedEof`.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes the parts one behind the other from `offset`, all of them.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// Makes everything written before last (fdatasync). A failure means that nothing is known of any of it.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens a directory, making it if need be.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self { path: path.into() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Files are filled with zeros in pieces of this many bytes.
const FILL_BYTES: usize = 1 << 20;

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Names of ours are plain; what is not is nobody's business here.
            if let Ok(name) = entry.file_name().into_string()
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path.join(name))?;
        let zeros = vec![0; FILL_BYTES];
        let mut at = 0;
        while at < length {
            let piece = usize::try_from(length - at).unwrap_or(usize::MAX).min(FILL_BYTES);
            file.write_all_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        file.sync_all()?;
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        // The kernel takes at most this many parts at once.
        for parts in parts.chunks(1024) {
            let wanted: usize = parts.iter().map(|part| part.len()).sum();
            let mut written = rustix::io::pwritev(self, parts, offset)?;
            offset += wanted as u64;
            if written == wanted {
                continue;
            }
            // Cut short: the rest part by part, which is rare and may be slow.
            let mut at = offset - (wanted - written) as u64;
            for part in parts {
                let skipped = written.min(part.len());
                written -= skipped;
                self.write_all_at(&part[skipped..], at)?;
                at += (part.len() - skipped) as u64;
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_files() {
        let path = std::env::temp_dir().join(format!("lepus-disk-{}-{:x}", std::process::id(), rand::random::<u64>()));
        let disk = Directory::open(&path).unwrap();
        let file = disk.create("a", 3 * FILL_BYTES as u64 + 7).unwrap();
        assert_eq!(file.length().unwrap(), 3 * FILL_BYTES as u64 + 7);
        let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        DiskFile::write_at(&file, 5, &slices).unwrap();
        DiskFile::sync(&file).unwrap();
        disk.rename("a", "b").unwrap();
        Disk::sync(&disk).unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        let mut read = vec![0; 12_000];
        DiskFile::read_at(&disk.open("b").unwrap(), 5, &mut read).unwrap();
        assert_eq!(read, parts.concat());
        let mut beyond = [0; 8];
        let error = DiskFile::read_at(&file, 3 * FILL_BYTES as u64, &mut beyond).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
        fs::remove_dir_all(path).unwrap();
    }
}
