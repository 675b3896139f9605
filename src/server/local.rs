//! The local socket: the management API for commands of whoever runs the broker, who needs no password.
//!
//! It is a file that only the broker's own user may open; the kernel says who is at the other end, and anybody but that
//! user and root is turned away.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::warn;

use super::accept::accept_all;
use crate::management::{self, Management};

/// Connections at once; commands have one each.
const CONNECTIONS_MAX: usize = 64;

/// Commands that wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket in the file system. The file goes with it.
#[derive(Debug)]
pub(super) struct LocalSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the file when it is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl LocalSocket {
    /// Listens there. What a killed broker left is replaced, nothing else of that name is. Not every file system has
    /// sockets, and paths of more than about a hundred bytes cannot name one: the broker does without it then.
    pub(super) fn bind(path: &Path) -> Option<Self> {
        let listener = remove_stale(path).and_then(|()| listen(path)).and_then(UnixListener::from_std);
        match listener {
            Ok(listener) => Some(Self { listener, file: SocketFile(path.to_owned()) }),
            Err(error) => {
                warn!(path = %path.display(), %error, "no local socket: lepus ctl needs a login");
                None
            }
        }
    }

    /// Serves until the task is aborted.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, management: &Management, stop: &watch::Sender<bool>) {
        tasks.spawn(self.accept(management.clone(), stop.subscribe()));
    }

    async fn accept(self, management: Management, stop: watch::Receiver<bool>) {
        let Self { listener, file: _file } = self;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        accept_all(listener, room, |stream| {
            if !is_trusted(&stream) {
                warn!("another user's process was turned away from the local socket");
                return None;
            }
            Some(management::serve_operator(stream, management.clone(), stop.clone()))
        })
        .await;
    }
}

/// Is the process at the other end one of this user, or of root?
fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// A socket to which nobody listens is what a killed process left.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Nobody can connect before the file has its mode: that comes with `listen`.
fn listen(path: &Path) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
