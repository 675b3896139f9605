//! The real binary as a child process, for what can only be seen from outside: exit codes, signals, memory.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

/// A running `lepus`; killed when dropped.
pub(crate) struct Lepus {
    child: Child,
    /// Reads the log to its end, so that the child never waits for a full pipe.
    log: Option<JoinHandle<String>>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// The binary with a clean environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lepus"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Lepus {
    /// Starts it on a free port of the loopback, and waits until it says where it listens. In memory, unless the
    /// arguments say otherwise.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = command(&["serve", "--amqp-listen", "127.0.0.1:0"]);
        command.args(arguments);
        if !arguments.contains(&"--data-dir") {
            command.arg("--in-memory");
        }
        Self::spawn(command)
    }

    /// Starts a command made with [`command`], and waits until it says where it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut log = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("the log is text") > 0, "it ended without listening");
            let address = address_in(&line);
            log.push_str(&line);
            if let Some(address) = address {
                break address;
            }
        };
        let log = thread::spawn(move || {
            stderr.read_to_string(&mut log).expect("the log is text");
            log
        });
        Self { child, log: Some(log), address }
    }

    /// Memory of the process in RAM, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux has /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// Waits for the end; gives the exit status and the log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let log = self.log.take().expect("waited for once").join().expect("the log is text");
        (self.child.wait().expect("it can be waited for"), log)
    }
}

/// Where a line of the log, text or JSON, says that it listens.
fn address_in(line: &str) -> Option<SocketAddr> {
    let json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let told = match line.trim_end().split_once("listening for AMQP address=") {
        Some((_, address)) => address,
        None if json["message"] == "listening for AMQP" => json["address"].as_str()?,
        None => return None,
    };
    Some(told.parse().expect("an address"))
}

impl Drop for Lepus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
