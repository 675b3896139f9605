//! The process's own limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Raises the soft limit of open files to the hard one: a connection needs a descriptor, and the soft limit is often
/// 1024 only to protect programs that use `select`.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => debug!(open_files_max = limit.maximum, "raised the limit of open files"),
        Err(error) => warn!(open_files_max = limit.current, %error, "the limit of open files cannot be raised"),
    }
}
