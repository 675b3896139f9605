//! Connections to the directory that are kept for the next question, until they were idle for too long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections that nobody uses right now. Whoever takes one has it alone, and gives it back only if it is still good.
#[derive(Debug)]
pub(super) struct Pool<C> {
    idle: Arc<Mutex<Idle<C>>>,
    /// `None`: they are kept for ever; zero: none is kept.
    idle_timeout: Option<Duration>,
    sweeper: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Idle<C> {
    /// In the order they came back.
    connections: Vec<(Instant, C)>,
    /// The sweeper looks at them again.
    is_swept: bool,
}

impl<C: Send + 'static> Pool<C> {
    pub(super) fn new(idle_timeout: Option<Duration>) -> Self {
        let idle = Idle { connections: Vec::new(), is_swept: false };
        Self { idle: Arc::new(Mutex::new(idle)), idle_timeout, sweeper: Mutex::default() }
    }

    /// The one that was used last, so that those become idle that are not needed.
    pub(super) fn take(&self) -> Option<C> {
        locked(&self.idle).connections.pop().map(|(_, connection)| connection)
    }

    pub(super) fn put(&self, connection: C) {
        if self.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return;
        }
        let mut idle = locked(&self.idle);
        idle.connections.push((Instant::now(), connection));
        if let Some(timeout) = self.idle_timeout
            && !std::mem::replace(&mut idle.is_swept, true)
        {
            let mut sweeper = locked(&self.sweeper);
            while sweeper.try_join_next().is_some() {}
            sweeper.spawn(sweep(self.idle.clone(), timeout));
        }
    }
}

/// Closes connections that are idle for too long, until there are none.
async fn sweep<C>(idle: Arc<Mutex<Idle<C>>>, timeout: Duration) {
    loop {
        let left = {
            let mut idle = locked(&idle);
            idle.connections.retain(|(since, _)| since.elapsed() < timeout);
            let Some((oldest, _)) = idle.connections.first() else {
                idle.is_swept = false;
                return;
            };
            timeout.saturating_sub(oldest.elapsed())
        };
        tokio::time::sleep(left).await;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
