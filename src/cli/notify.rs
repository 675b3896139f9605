//! What systemd is told, over the socket that `NOTIFY_SOCKET` names: that the broker is ready, that it stops, and now and
//! then that it lives. Without that variable nobody is told anything.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

/// A service of systemd, if this process is one.
pub(super) struct Service(Option<SocketAddr>);

impl Service {
    pub(super) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match address(&name) {
            Ok(address) => Self(Some(address)),
            Err(error) => {
                warn!(%error, ?name, "systemd cannot be told anything");
                Self(None)
            }
        }
    }

    /// Clients can connect.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It ends now.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=closing connections");
    }

    /// Says that the broker lives, as often as systemd wants to hear it; for ever if it does not.
    pub(super) async fn live(&self) {
        let Some(interval) = watchdog_interval(|name| std::env::var(name).ok(), std::process::id()) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    /// Who does not listen is not waited for.
    fn tell(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        let told = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), address));
        if let Err(error) = told {
            warn!(%error, "systemd cannot be told: {}", state.lines().next().unwrap_or_default());
        }
    }
}

/// A path, or a name of the abstract namespace, which begins with an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        #[cfg(not(target_os = "linux"))]
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => SocketAddr::from_pathname(name),
    }
}

/// Half of what systemd waits for, if it watches this process.
fn watchdog_interval(variable: impl Fn(&str) -> Option<String>, own_id: u32) -> Option<Duration> {
    let watched = variable("WATCHDOG_PID").and_then(|id| id.parse().ok()).unwrap_or(own_id);
    let us: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    (watched == own_id && us >= 2).then(|| Duration::from_micros(us / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_wants() {
        let interval = |pid: &'static str, us: &'static str| {
            let variable = move |name: &str| match name {
                "WATCHDOG_PID" => Some(pid.to_owned()).filter(|pid| !pid.is_empty()),
                _ => Some(us.to_owned()).filter(|us| !us.is_empty()),
            };
            watchdog_interval(variable, 7)
        };
        assert_eq!(interval("", "3000000"), Some(Duration::from_millis(1500)));
        assert_eq!(interval("7", "3000000"), Some(Duration::from_millis(1500)));
        assert_eq!(interval("8", "3000000"), None);
        assert_eq!(interval("", ""), None);
        assert_eq!(interval("", "0"), None);
    }
}
