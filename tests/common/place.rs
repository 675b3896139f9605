//! A data directory of a test's own.

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
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
