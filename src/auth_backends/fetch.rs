//! A client for HTTP and HTTPS: connections are kept and bounded, every request ends after a while.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::Semaphore;

use super::Error;

/// Requests on their way at once, and connections kept.
const REQUESTS_MAX: usize = 64;
/// An idle connection is kept for so long.
const IDLE: Duration = Duration::from_secs(30);

/// What is shown to, and asked of, a server that speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClientOptions {
    /// `cacertfile`: the authorities that its certificate comes from, PEM. Default: the system's.
    pub authorities: Option<PathBuf>,
    /// `verify_none`: any certificate will do.
    pub verify_none: bool,
    /// `certfile`: the certificate to show, PEM; with [`Self::key`].
    pub certificates: Option<PathBuf>,
    /// `keyfile`: its private key, PEM.
    pub key: Option<PathBuf>,
}

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
            .with_tls_config(config(tls)?)
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

fn config(options: &TlsClientOptions) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| file_error(Path::new("TLS"), error))?;
    let builder = if options.verify_none {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(authorities(options.authorities.as_deref())?)
    };
    match (&options.certificates, &options.key) {
        (Some(certificates), Some(key)) => {
            let chain = read_certificates(certificates)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| file_error(key, error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| file_error(certificates, error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn authorities(path: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match path {
        Some(path) => {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| file_error(path, error))?;
            }
        }
        None => {
            // Some of a system's certificates may be of a kind that is not understood.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| file_error(path, error))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| file_error(path, error))?;
    if found.is_empty() { Err(file_error(path, "there is no certificate in it")) } else { Ok(found) }
}

pub(super) fn file_error(path: &Path, reason: impl ToString) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}

/// `verify_none`: whoever asks for it gets encryption and no certainty who is at the other end.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
