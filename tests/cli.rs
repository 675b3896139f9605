//! The command: what it prints, how it ends.

use std::os::unix::process::CommandExt as _;

use rustix::process::Signal;

use crate::common::child::{Lepus, command};
use crate::common::place::Place;
use crate::common::raw::{Raw, id};
use crate::common::within;

/// Runs the command to its end: exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(arguments).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn version() {
    let (code, stdout, _) = run(&["--version"]);
    assert_eq!((code, stdout), (Some(0), format!("lepus {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn nonsense_is_refused() {
    for arguments in [&["--no-such-option"][..], &["srve"], &["--heartbeat", "often"], &["--frame-max", "12 parsecs"]] {
        let (code, _, stderr) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn bad_environment_is_refused() {
    let output = command(&[]).env("RABBITMQ_NODE_PORT", "amqp").output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("RABBITMQ_NODE_PORT is 'amqp', but must be a port number"), "{stderr}");
}

/// A port in use is one line and exit code 1.
#[tokio::test]
async fn a_taken_port_is_one_line() {
    let lepus = Lepus::start(&[]);
    let address = lepus.address.to_string();
    let (code, _, stderr) = run(&["--amqp-listen", &address]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {address}: ")), "{stderr}");
}

/// FEATURES EC-28: SIGTERM and SIGINT close what is open and end with exit code 0.
#[tokio::test]
async fn signals_drain() {
    for signal in [Signal::TERM, Signal::INT] {
        let lepus = Lepus::start(&[]);
        let mut raw = Raw::open_channel(lepus.address).await;
        lepus.signal(signal);
        let close = raw.close_method(0, id::CLOSE).await;
        assert_eq!(close.code, 320);
        raw.method(0, id::CLOSE_OK, crate::common::raw::Args::new()).await;
        let (status, log) = lepus.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("nothing survives a restart"), "{log}");
    }
}

/// What starts RabbitMQ's server starts it: scripts, and commands of containers.
#[tokio::test]
async fn it_is_the_server_under_rabbitmqs_name() {
    let mut server = command(&["--amqp-listen", "127.0.0.1:0", "--in-memory"]);
    server.arg0("/usr/sbin/rabbitmq-server");
    let lepus = Lepus::spawn(server);
    Raw::open_channel(lepus.address).await;
    let mut not_ctl = command(&["ctl", "help"]);
    assert_eq!(not_ctl.arg0("rabbitmq-server").output().expect("the binary starts").status.code(), Some(2));
}

/// What scripts of containers do: they wait for the file of RABBITMQ_PID_FILE, and for the broker behind it.
#[tokio::test]
async fn scripts_wait_for_the_broker() {
    let place = Place::new();
    let (pid_file, socket) = (place.0.join("mnesia/rabbitmq.pid"), place.0.join("lepus.sock"));
    let with_files = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.env("RABBITMQ_PID_FILE", &pid_file).env("LEPUS_SOCKET", &socket);
        command
    };
    let lepus = Lepus::spawn(with_files(&["--amqp-listen", "127.0.0.1:0", "--in-memory"]));
    let waited = with_files(&["ctl", "wait"]).arg(&pid_file).output().expect("the binary starts");
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    let stopped = with_files(&["ctl", "stop"]).output().expect("the binary starts");
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert_eq!(lepus.wait().0.code(), Some(0));
    assert!(!pid_file.exists() && !socket.exists());
}

/// A second signal does not wait for clients.
#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let lepus = Lepus::start(&[]);
    let mut raw = Raw::open_channel(lepus.address).await;
    lepus.signal(Signal::TERM);
    raw.close_method(0, id::CLOSE).await;
    lepus.signal(Signal::TERM);
    let (status, log) = within(tokio::task::spawn_blocking(|| lepus.wait())).await.expect("it ends");
    assert_eq!(status.code(), Some(1), "{log}");
}

/// FEATURES US-8: the environment names the first user and vhost.
#[tokio::test]
async fn the_environment_names_user_and_vhost() {
    let mut lepus = command(&["--amqp-listen", "127.0.0.1:0"]);
    lepus.envs([
        ("RABBITMQ_DEFAULT_USER", "app"),
        ("RABBITMQ_DEFAULT_PASS", "secret"),
        ("RABBITMQ_DEFAULT_VHOST", "shop"),
    ]);
    let lepus = Lepus::spawn(lepus);
    let uri = |user: &str, vhost: &str| format!("amqp://{user}@{}/{vhost}", lepus.address);
    crate::common::Client::open(&uri("app:secret", "shop")).await.expect("connects");
    assert!(crate::common::Client::open(&uri("guest:guest", "shop")).await.is_err());
    assert!(crate::common::Client::open(&uri("app:secret", "%2f")).await.is_err());
}
