//! A data directory of a test's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use lepus::{Server, ServerBuilder};

use super::eventually;

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
        self.start_as(|builder| builder).await
    }

    /// The same with other options. One that was dropped here before may still be ending: a thread that is at the disk
    /// ends when it is done.
    pub(crate) async fn start_as(&self, options: impl Fn(ServerBuilder) -> ServerBuilder) -> Server {
        let is_taken = |error: &lepus::Error| error.to_string().contains("in use by another process");
        eventually("the directory is free", async || match options(self.builder()).start().await {
            Ok(server) => Some(server),
            Err(error) if is_taken(&error) => None,
            Err(error) => panic!("{error}"),
        })
        .await
    }

    /// The names of its files that begin so, spare ones aside, in order.
    pub(crate) fn files(&self, kind: &str) -> Vec<String> {
        let mut names: Vec<String> = self.entries().map(|entry| name_of(&entry)).collect();
        names.retain(|name| name.starts_with(kind) && !name.contains("spare"));
        names.sort_unstable();
        names
    }

    /// The first of them: name and path.
    pub(crate) fn file(&self, kind: &str) -> (String, PathBuf) {
        let name = self.files(kind).into_iter().next().unwrap_or_else(|| panic!("no {kind}"));
        let path = self.0.join(&name);
        (name, path)
    }

    /// Names and contents of all files.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.entries().map(|entry| (name_of(&entry), fs::read(entry.path()).expect("readable"))).collect()
    }

    fn entries(&self) -> impl Iterator<Item = fs::DirEntry> {
        fs::read_dir(&self.0).expect("the directory").map(|entry| entry.expect("an entry"))
    }
}

fn name_of(entry: &fs::DirEntry) -> String {
    entry.file_name().into_string().expect("a name")
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
