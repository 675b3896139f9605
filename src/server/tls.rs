//! TLS for listeners: certificates from PEM files, TLS 1.2 and 1.3, clients' certificates if they are asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::error::Error;
use crate::amqp::Transport;

/// What a listener with TLS shows and asks for, with the names of RabbitMQ's `ssl_options`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// `certfile`: the server's certificate and those between it and its authority, PEM.
    pub certificates: PathBuf,
    /// `keyfile`: the certificate's private key, PEM, not encrypted.
    pub key: PathBuf,
    /// `cacertfile`: the authorities that clients' certificates come from, PEM.
    pub authorities: Option<PathBuf>,
    /// `verify = verify_peer`: a client's certificate, if it shows one, must come from the authorities.
    pub verify_peer: bool,
    /// `fail_if_no_peer_cert`: with `verify_peer`, a client without a certificate is refused.
    pub fail_if_no_peer_cert: bool,
}

/// Reads the files.
pub(super) fn acceptor(options: &TlsOptions) -> Result<TlsAcceptor, Error> {
    let certificates = certificates(&options.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&options.key)?)
        .map_err(|error| Error::Tls { path: options.key.clone(), reason: error.to_string() })?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls { path: options.certificates.clone(), reason: error.to_string() })?;
    let builder = match &options.authorities {
        Some(path) if options.verify_peer => builder.with_client_cert_verifier(verifier(path, options)?),
        None if options.verify_peer => return Err(Error::TlsWithoutAuthorities),
        _ => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| Error::Tls { path: options.certificates.clone(), reason: error.to_string() })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(path: &Path, options: &TlsOptions) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Error> {
    let failed = |reason: String| Error::Tls { path: path.to_owned(), reason };
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(path)? {
        authorities.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
    if !options.fail_if_no_peer_cert {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| failed(error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::Tls { path: path.to_owned(), reason: error.to_string() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |reason: String| Error::Tls { path: path.to_owned(), reason };
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(found) }
}

impl Transport for TlsStream<TcpStream> {
    fn abort(&mut self) {
        self.get_mut().0.abort();
    }
}

/// The handshake, which may not take longer than this.
pub(super) async fn accept(tls: &TlsAcceptor, stream: TcpStream, timeout: Duration) -> Option<TlsStream<TcpStream>> {
    tokio::time::timeout(timeout, tls.accept(stream)).await.ok()?.ok()
}
