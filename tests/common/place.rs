//! A data directory of a test's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use lepus::{Server, ServerBuilder};

/// A directory that goes with the test.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    /// One that is not there yet.
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("lepus-test-{:x}", rand::random::<u64>())))
    }

    /// A broker that keeps its things there, with short files, not started yet.
    pub(crate) fn builder(&self) -> ServerBuilder {
        Server::builder().data_dir(&self.0).log_file_bytes(1 << 20).amqp("127.0.0.1:0")
    }

    /// Starts a broker that keeps its things there.
    pub(crate) async fn start(&self) -> Server {
        self.builder().start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The names of its files that begin so, spare ones aside, in order.
    pub(crate) fn files(&self, kind: &str) -> Vec<String> {
        let names = self.contents().into_keys();
        names.filter(|name| name.starts_with(kind) && !name.contains("spare")).collect()
    }

    /// The first of them: name and path.
    pub(crate) fn file(&self, kind: &str) -> (String, PathBuf) {
        let name = self.files(kind).into_iter().next().unwrap_or_else(|| panic!("no {kind}"));
        let path = self.0.join(&name);
        (name, path)
    }

    /// Names and contents of all files.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(&self.0).expect("the directory").map(|entry| entry.expect("an entry"));
        let name = |entry: &fs::DirEntry| entry.file_name().into_string().expect("a name");
        entries.map(|entry| (name(&entry), fs::read(entry.path()).expect("readable"))).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
