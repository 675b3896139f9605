//! What systemd is told, and how the process ends.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::child::{Lepus, command};
use crate::common::raw::{Args, Raw, id};

/// What stands where systemd would be.
struct Systemd(UnixDatagram);

impl Systemd {
    fn next(&self) -> String {
        let mut told = [0; 1024];
        self.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = self.0.recv(&mut told).expect("it is told something");
        String::from_utf8(told[..length].to_vec()).unwrap()
    }
}

fn start(notify_socket: &str) -> Lepus {
    let mut serve = command(&["serve", "--amqp-listen", "127.0.0.1:0", "--in-memory"]);
    serve.env("NOTIFY_SOCKET", notify_socket).env("WATCHDOG_USEC", "200000");
    Lepus::spawn(serve)
}

/// Ready when it listens, alive as often as is asked for, stopping when it stops; over a path and an abstract name.
#[test]
fn systemd_is_told() {
    let name = format!("lepus-notify-{:x}", rand::random::<u64>());
    let path = std::env::temp_dir().join(&name);
    let sockets = [
        (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap()),
    ];
    for (address, socket) in sockets {
        let systemd = Systemd(socket);
        let lepus = start(&address);
        let ready = systemd.next();
        assert_eq!(ready, format!("READY=1\nSTATUS=listening on {}", lepus.address));
        assert_eq!([systemd.next(), systemd.next()], ["WATCHDOG=1", "WATCHDOG=1"]);
        lepus.signal(Signal::TERM);
        while !systemd.next().starts_with("STOPPING=1") {}
        assert_eq!(lepus.wait().0.code(), Some(0));
    }
    std::fs::remove_file(path).unwrap();
}

/// Nobody listens there: that is told once, and the broker runs.
#[test]
fn a_systemd_that_is_not_there_is_no_failure() {
    let lepus = start("/nowhere/notify");
    lepus.signal(Signal::TERM);
    let (status, log) = lepus.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("systemd cannot be told"), "{log}");
}

/// FEATURES EC-28: `--shutdown-timeout`, above the time that a client takes and below it.
#[tokio::test]
async fn a_stop_waits_for_clients_and_not_for_ever() {
    for answers in [true, false] {
        let lepus = Lepus::start(&["--shutdown-timeout", if answers { "60" } else { "1" }]);
        let mut raw = Raw::open_channel(lepus.address).await;
        let since = Instant::now();
        lepus.signal(Signal::TERM);
        raw.close_method(0, id::CLOSE).await;
        if answers {
            raw.method(0, id::CLOSE_OK, Args::new()).await;
        }
        let (status, log) = tokio::task::spawn_blocking(|| lepus.wait()).await.unwrap();
        assert_eq!((status.code(), log.contains("did not answer connection.close")), (Some(0), !answers), "{log}");
        let waited = since.elapsed() >= Duration::from_secs(1);
        assert!(since.elapsed() < Duration::from_secs(15) && (answers || waited), "{:?}", since.elapsed());
    }
}
