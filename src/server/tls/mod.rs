//! TLS for listeners: what they show and ask for, the handshake, and reading the files again while connections live on.
//!
//! Connections keep the settings they began with; whoever comes after a [`Tls::reload`] gets the new ones. Start reading
//! at [`Tls`].

mod certificate;
mod ciphers;
mod files;
mod resolver;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, info};

use super::error::Error;
use crate::amqp::{self, Transport};

pub use self::ciphers::is_known_cipher;

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(10);

/// What a listener with TLS shows and asks for, with the names of RabbitMQ's `ssl_options`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// `certfile`: the server's certificate and those between it and its authority, PEM.
    pub certificates: PathBuf,
    /// `keyfile`: the certificate's private key, PEM, not encrypted.
    pub key: PathBuf,
    /// More certificates with their keys: a client that names a host which one of them is for is shown that one.
    pub more_certificates: Vec<(PathBuf, PathBuf)>,
    /// `cacertfile`: the authorities that clients' certificates come from, PEM.
    pub authorities: Option<PathBuf>,
    /// `verify = verify_peer`: a client's certificate, if it shows one, must come from the authorities.
    pub verify_peer: bool,
    /// `fail_if_no_peer_cert`: with `verify_peer`, a client without a certificate is refused.
    pub fail_if_no_peer_cert: bool,
    /// `depth`: so many certificates may lie between a client's and the authority's.
    pub depth: Option<u8>,
    /// `versions`: empty for all there are.
    pub versions: Vec<TlsVersion>,
    /// `ciphers`: the suites offered, by the names of the IANA or of OpenSSL; empty for all there are.
    pub ciphers: Vec<String>,
    /// `ssl_cert_login_from`: what of a verified certificate is its user's name, for the mechanism EXTERNAL.
    pub login_from: LoginFrom,
}

/// A version of TLS; older ones are not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// What of a certificate is a user's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginFrom {
    /// Its subject, such as `CN=hare,O=Field`.
    #[default]
    DistinguishedName,
    /// The common names of its subject, with commas between them.
    CommonName,
    /// One of its alternative names.
    AlternativeName {
        /// `ssl_cert_login_san_type`.
        kind: NameKind,
        /// `ssl_cert_login_san_index`: which of that kind, from 0.
        index: usize,
    },
}

/// Kinds of alternative names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameKind {
    /// A host.
    #[default]
    Dns,
    /// An IP address.
    Ip,
    /// A mail address.
    Email,
    /// A URI.
    Uri,
    /// Anything else.
    Other,
}

/// The TLS of some listeners.
#[derive(Debug)]
pub(super) struct Tls {
    options: TlsOptions,
    /// For the next connection.
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(options: &TlsOptions) -> Result<Self, Error> {
        Ok(Self { options: options.clone(), config: ArcSwap::new(read(options)?) })
    }

    pub(super) fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// Reads the files again. What cannot be used changes nothing.
    fn reload(&self) -> Result<(), Error> {
        self.config.store(read(&self.options)?);
        Ok(())
    }

    /// The handshake, which may not take longer than this.
    pub(super) async fn accept(&self, stream: TcpStream, timeout: Duration) -> Option<TlsStream<TcpStream>> {
        let peer = stream.peer_addr().ok()?;
        let handshake = TlsAcceptor::from(self.config.load_full()).accept(stream);
        match tokio::time::timeout(timeout, handshake).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                debug!(target: "connection", %peer, %error, "TLS handshake failed");
                None
            }
            Err(_) => {
                debug!(target: "connection", %peer, "TLS handshake took too long");
                None
            }
        }
    }

    /// What a handshake came to, and who the client has proved to be.
    pub(super) fn describe(&self, stream: &TlsStream<TcpStream>) -> amqp::Tls {
        let connection = stream.get_ref().1;
        let mut report = ciphers::report(connection.protocol_version(), connection.negotiated_cipher_suite());
        let mut user = None;
        if let Some(shown) = connection.peer_certificates().and_then(<[_]>::first)
            && let Some(certificate) = certificate::read(shown)
        {
            // Without verify_peer nobody was asked for one, so there is none that is not verified.
            user = certificate.name(self.options.login_from);
            report.certificate = Some(certificate.report);
        }
        amqp::Tls { report: Arc::new(report), user: user.map(Into::into) }
    }
}

fn read(options: &TlsOptions) -> Result<Arc<ServerConfig>, Error> {
    if options.fail_if_no_peer_cert && !options.verify_peer {
        let reason = "fail_if_no_peer_cert needs verify_peer: without it no client is asked for a certificate";
        return Err(Error::TlsSettings { reason: reason.to_owned() });
    }
    let provider = Arc::new(CryptoProvider {
        cipher_suites: ciphers::chosen(&options.ciphers)?,
        ..rustls::crypto::ring::default_provider()
    });
    let versions: Vec<_> = match &options.versions[..] {
        [] => vec![&TLS13, &TLS12],
        some => some.iter().map(|version| if *version == TlsVersion::V1_3 { &TLS13 } else { &TLS12 }).collect(),
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| Error::TlsSettings { reason: error.to_string() })?;
    let builder = if options.verify_peer {
        builder.with_client_cert_verifier(verifier::verifier(options, &provider)?)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_cert_resolver(Arc::new(resolver::Certificates::read(options, &provider)?));
    Ok(Arc::new(config))
}

/// Reads all files again, and tells what came of it.
pub(super) fn reload(all: &[Arc<Tls>]) {
    for tls in all {
        match tls.reload() {
            Ok(()) => info!(certificate = %tls.options.certificates.display(), "TLS certificates are read again"),
            Err(error) => error!(%error, "TLS certificates stay as they were"),
        }
    }
}

/// Reads the files of a listener again when one of them has changed. Runs until it is aborted.
pub(super) async fn watch(all: Vec<Arc<Tls>>) {
    let mut seen: Vec<_> = all.iter().map(|tls| stamps(&tls.options)).collect();
    loop {
        tokio::time::sleep(LOOK).await;
        for (tls, seen) in all.iter().zip(&mut seen) {
            let now = stamps(&tls.options);
            if *seen != now {
                *seen = now;
                reload(std::slice::from_ref(tls));
            }
        }
    }
}

/// When each file was changed.
fn stamps(options: &TlsOptions) -> Vec<Option<SystemTime>> {
    let more = options.more_certificates.iter().flat_map(|(certificates, key)| [certificates, key]);
    let files = [&options.certificates, &options.key].into_iter().chain(&options.authorities).chain(more);
    files.map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()).collect()
}

impl Transport for TlsStream<TcpStream> {
    fn abort(&mut self) {
        self.get_mut().0.abort();
    }
}
