//! Whoever signs tokens: the keys that are known of it, and where more of them are found.
//!
//! Keys are downloaded when a token names one that is not known, by a task that many logins may wait for, and not again
//! for a while: whoever sends forged tokens cannot have the provider flooded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::keys::{self, Algorithm, Key};
use super::{ProviderOptions, Source};
use crate::auth_backends::Error;
use crate::auth_backends::fetch::Fetcher;
use crate::auth_backends::http::check_url;
use crate::tls_client::{FileError, read};

/// From one download to the next, unless it is set.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// How long a download may take, and connecting for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest set of keys, in bytes.
const KEYS_BYTES_MAX: usize = 1024 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Provider {
    default_key: Option<String>,
    pub(super) algorithms: Option<Vec<Algorithm>>,
    /// From files.
    configured: HashMap<String, Key>,
    remote: Option<Remote>,
}

#[derive(Debug)]
struct Remote {
    downloader: Arc<Downloader>,
    /// From one download to the next.
    interval: Duration,
    /// The lock is held for a look.
    state: Mutex<State>,
    /// Counts downloads that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The download under way, if there is one. It ends with the provider.
    task: JoinSet<()>,
    started: Option<Instant>,
}

#[derive(Debug)]
struct Downloader {
    fetcher: Fetcher,
    source: Source,
    keys: ArcSwap<HashMap<String, Key>>,
}

impl Provider {
    /// Reads the files.
    pub(super) fn new(options: &ProviderOptions) -> Result<Self, Error> {
        let mut configured = HashMap::new();
        for (id, path) in &options.signing_keys {
            let found = keys::of_file(id, &read(path)?);
            configured.extend(found.ok_or_else(|| FileError::new(path, "there is no public key in it"))?);
        }
        let algorithms =
            options.algorithms.iter().map(|name| Algorithm::parse(name).ok_or_else(|| Error::Algorithm(name.clone())));
        let algorithms = algorithms.collect::<Result<Vec<_>, _>>()?;
        let remote = match options.source()? {
            Some(source) => {
                let fetcher = Fetcher::new(&options.https, TIMEOUT, TIMEOUT)?;
                let interval = options.refresh_interval.unwrap_or(REFRESH_INTERVAL);
                Some(Remote::new(Downloader { fetcher, source, keys: ArcSwap::default() }, interval))
            }
            None => None,
        };
        let algorithms = (!algorithms.is_empty()).then_some(algorithms);
        Ok(Self { default_key: options.default_key.clone(), algorithms, configured, remote })
    }

    /// The key that a token names, or the one for tokens that name none.
    pub(super) async fn key(&self, id: Option<&str>) -> Option<Key> {
        let id = id.or(self.default_key.as_deref())?;
        if let Some(key) = self.known(id) {
            return Some(key);
        }
        self.remote.as_ref()?.refresh().await;
        self.known(id)
    }

    fn known(&self, id: &str) -> Option<Key> {
        let downloaded = || self.remote.as_ref()?.downloader.keys.load().get(id).cloned();
        self.configured.get(id).cloned().or_else(downloaded)
    }
}

impl Remote {
    fn new(downloader: Downloader, interval: Duration) -> Self {
        let (state, ended) = (Mutex::default(), watch::Sender::new(0));
        Self { downloader: Arc::new(downloader), interval, state, ended }
    }

    /// Waits for a download: the one under way, or a new one unless the last was just now.
    async fn refresh(&self) {
        let mut ended = self.ended.subscribe();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            while state.task.try_join_next().is_some() {}
            if state.task.is_empty() {
                if state.started.is_some_and(|started| started.elapsed() < self.interval) {
                    debug!("an unknown signing key is not looked for so soon again");
                    return;
                }
                state.started = Some(Instant::now());
                let (downloader, told) = (self.downloader.clone(), self.ended.clone());
                state.task.spawn(async move {
                    downloader.download().await;
                    told.send_modify(|ended| *ended += 1);
                });
            }
        }
        // It is never closed, and a download ends in time.
        let _ = ended.changed().await;
    }
}

impl Downloader {
    /// What cannot be downloaded leaves the keys as they are.
    async fn download(&self) {
        match self.keys().await {
            Ok(keys) => {
                debug!(keys = keys.len(), "signing keys downloaded");
                self.keys.store(Arc::new(keys));
            }
            Err(reason) => warn!(reason, "signing keys cannot be downloaded"),
        }
    }

    async fn keys(&self) -> Result<HashMap<String, Key>, String> {
        let set = match &self.source {
            Source::Keys(uri) => self.get(uri).await?,
            Source::Discovery(uri) => {
                let document: Json = serde_json::from_slice(&self.get(uri).await?).map_err(|_| "no JSON".to_owned())?;
                let uri = document.get("jwks_uri").and_then(Json::as_str).ok_or("no jwks_uri is told")?;
                check_url("jwks_uri", uri).map_err(|error| error.to_string())?;
                self.get(uri).await?
            }
        };
        let keys = keys::of_set(&set).ok_or("no set of keys")?;
        if keys.is_empty() { Err("no key that can be used".to_owned()) } else { Ok(keys) }
    }

    async fn get(&self, uri: &str) -> Result<hyper::body::Bytes, String> {
        let request = Request::get(uri).body(Full::default()).map_err(|_| "no address".to_owned())?;
        match self.fetcher.fetch(request, KEYS_BYTES_MAX).await {
            Ok((StatusCode::OK, body)) => Ok(body),
            Ok((status, _)) => Err(format!("status {}", status.as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}
