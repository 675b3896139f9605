//! `lepus ctl` and RabbitMQ's tools as processes, and a broker with a socket for them.

use std::io::Write as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lepus::{Server, ServerBuilder};
use serde_json::Value as Json;

use super::place::Place;
use super::within;

/// Runs commands for the broker behind a socket.
pub(crate) struct Commands(PathBuf);

/// A broker with a local socket, and commands that find it there.
pub(crate) struct Ctl {
    pub(crate) server: Server,
    pub(crate) place: Place,
    commands: Commands,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ctl {
    pub(crate) async fn start(builder: ServerBuilder) -> Self {
        let place = Place::new();
        std::fs::create_dir(&place.0).expect("a folder can be made");
        let commands = Commands::new(place.0.join("lepus.sock"));
        let server = builder.local_socket(commands.socket()).start().await.expect("the broker starts");
        Self { server, place, commands }
    }
}

impl Deref for Ctl {
    type Target = Commands;

    fn deref(&self) -> &Commands {
        &self.commands
    }
}

impl Commands {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self(socket)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.0
    }

    /// Runs `lepus ctl` to its end.
    pub(crate) async fn run(&self, words: &[&str]) -> Ended {
        self.run_with(words, "").await
    }

    pub(crate) async fn run_with(&self, words: &[&str], stdin: &str) -> Ended {
        let words: Vec<&str> = ["ctl"].iter().chain(words).copied().collect();
        self.tool(Path::new(env!("CARGO_BIN_EXE_lepus")), &words, stdin).await
    }

    pub(crate) async fn tool(&self, program: &Path, words: &[&str], stdin: &str) -> Ended {
        let mut command = Command::new(program);
        command.args(words).env_clear().env("LEPUS_SOCKET", self.socket());
        end(command, stdin).await
    }

    /// What it prints if all is well.
    pub(crate) async fn said(&self, words: &[&str]) -> String {
        let ended = self.run(words).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words:?}: {}", ended.stdout);
        ended.stdout
    }

    pub(crate) async fn json(&self, words: &[&str]) -> Json {
        let words: Vec<&str> = words.iter().copied().chain(["--formatter", "json"]).collect();
        let said = self.said(&words).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Exit code and complaint of a command that fails.
    pub(crate) async fn failed(&self, words: &[&str]) -> (i32, String) {
        let ended = self.run(words).await;
        (ended.code.expect("it was not killed"), ended.stderr.trim_end().to_owned())
    }
}

/// The broker may be in this process: whoever waits for a command must let it work.
pub(crate) async fn end(mut command: Command, stdin: &str) -> Ended {
    let stdin = stdin.to_owned();
    let run = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        // One that reads nothing has gone before it can be told.
        let _ = child.stdin.take().expect("stdin is piped").write_all(stdin.as_bytes());
        child.wait_with_output().expect("it can be waited for")
    };
    let output = within(tokio::task::spawn_blocking(run)).await.expect("it does not panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
