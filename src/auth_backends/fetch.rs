//! A client for HTTP and HTTPS: connections are kept and bounded, every request ends after a while.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use super::Error;
use crate::tls_client::{self, TlsClientOptions};

/// Requests on their way at once, and connections kept.
const REQUESTS_MAX: usize = 64;
/// An idle connection is kept for so long.
const IDLE: Duration = Duration::from_secs(30);

/// See the module's documentation.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    permits: Semaphore,
    timeout: Duration,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

/// What went wrong; without the address, which may hold a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    /// Connecting, or waiting for the answer, took too long.
    Timeout,
    /// No connection, or a broken one.
    Failed,
    /// The body is too long.
    TooLong,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::Failed => "failed_connect",
            Self::TooLong => "answer_too_long",
        })
    }
}

impl Fetcher {
    pub(super) fn new(tls: &TlsClientOptions, connect: Duration, timeout: Duration) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_client::config(tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(REQUESTS_MAX)
            .build(connector);
        Ok(Self { client, permits: Semaphore::new(REQUESTS_MAX), timeout })
    }

    /// Status and body of the answer, of at most so many bytes.
    pub(super) async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let answer = async {
            // It is never closed.
            let _permit = self.permits.acquire().await.map_err(|_| FetchError::Failed)?;
            let response = self.client.request(request).await.map_err(|_| FetchError::Failed)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), body_max).collect().await;
            let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
                true => FetchError::TooLong,
                false => FetchError::Failed,
            })?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, answer).await.unwrap_or(Err(FetchError::Timeout))
    }
}
