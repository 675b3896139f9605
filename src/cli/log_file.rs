//! The file that the log goes to. It is opened anew on demand, so that others may move it away, and moves itself away when
//! it is long.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::config::logging::LogFile;

pub(super) struct LogWriter {
    path: PathBuf,
    /// A longer file is moved away.
    rotation_bytes: Option<u64>,
    /// So many that were moved away are kept.
    kept: u32,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl LogWriter {
    pub(super) fn open(options: &LogFile) -> io::Result<Self> {
        let LogFile { path, rotation_bytes, kept, .. } = options.clone();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let open = Mutex::new(open(&path)?);
        Ok(Self { path, rotation_bytes, kept, open })
    }

    /// What is written from now on goes to the file of this name, which may be another one.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let anew = open(&self.path)?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = anew;
        Ok(())
    }

    /// `log` becomes `log.0`, that one `log.1`, and the last one goes.
    fn move_away(&self) -> io::Result<()> {
        let name = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.kept == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.kept).rev() {
            match fs::rename(name(number - 1), name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, name(0))
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = File::options().append(true).create(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Open { file, bytes })
}

/// One call is one line.
impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long = self.rotation_bytes.is_some_and(|most| open.bytes > 0 && open.bytes + line.len() as u64 > most);
        // A file that cannot be moved away grows on: better than a lost line.
        if is_long && self.move_away().is_ok() {
            *open = self::open(&self.path)?;
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::logging::Output;

    #[test]
    fn long_files_are_moved_away_and_moved_ones_are_let_go() {
        let directory = std::env::temp_dir().join(format!("lepus-log-{:x}", rand::random::<u64>()));
        let path = directory.join("deep/lepus.log");
        let options = LogFile { path: path.clone(), output: Output::default(), rotation_bytes: Some(10), kept: 2 };
        let writer = LogWriter::open(&options).unwrap();
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap_or_default();
        for line in ["first\n", "1234\n", "second\n", "third\n"] {
            (&writer).write_all(line.as_bytes()).unwrap();
        }
        // Six and five bytes are more than ten.
        assert_eq!([read("lepus.log"), read("lepus.log.0"), read("lepus.log.1")], ["third\n", "second\n", "1234\n"]);
        fs::rename(&path, path.with_file_name("elsewhere")).unwrap();
        (&writer).write_all(b"a\n").unwrap();
        writer.reopen().unwrap();
        (&writer).write_all(b"b\n").unwrap();
        assert_eq!([read("elsewhere"), read("lepus.log")], ["third\na\n", "b\n"]);
        fs::remove_dir_all(directory).unwrap();
    }
}
