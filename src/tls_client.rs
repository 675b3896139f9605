//! TLS from the client's side: for backends of logins, `lepus ctl` and the load generator.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {reason}", path.display())]
pub(crate) struct FileError {
    pub(crate) path: PathBuf,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl FileError {
    pub(crate) fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// What a client is made of that does as the options say.
pub(crate) fn config(options: &TlsClientOptions) -> Result<ClientConfig, FileError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| FileError::new(Path::new("TLS"), error))?;
    let builder = if options.verify_none {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(authorities(options.authorities.as_deref())?)
    };
    match (&options.certificates, &options.key) {
        (Some(certificates), Some(key)) => {
            let chain = read_certificates(certificates)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| FileError::new(key, error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| FileError::new(certificates, error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn authorities(path: Option<&Path>) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    match path {
        Some(path) => {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| FileError::new(path, error))?;
            }
        }
        None => {
            // Some of a system's certificates may be of a kind that is not understood.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// All of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError::new(path, error))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = read(path)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| FileError::new(path, error))?;
    if found.is_empty() { Err(FileError::new(path, "there is no certificate in it")) } else { Ok(found) }
}

/// Whoever asks for it gets encryption and no certainty who is at the other end. Signatures are checked all the same, so
/// that the handshake is the one that others have.
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
