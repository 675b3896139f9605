//! Clients' certificates: they come from one of the authorities, over not too many others.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::{TlsOptions, files};
use crate::server::error::Error;

pub(super) fn verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let path = options.authorities.as_ref().ok_or(Error::TlsWithoutAuthorities)?;
    let mut authorities = RootCertStore::empty();
    for certificate in files::certificates(path)? {
        authorities.add(certificate).map_err(|error| files::unusable(path, error))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone());
    if !options.fail_if_no_peer_cert {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| files::unusable(path, error))?;
    Ok(match options.depth {
        None => verifier,
        Some(depth) => Arc::new(WithDepth { depth: usize::from(depth), verifier }),
    })
}

/// Takes only so many certificates between a client's and the authority's.
#[derive(Debug)]
struct WithDepth {
    depth: usize,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for WithDepth {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // An authority's own certificate, sent along, is not between.
        let between = intermediates.iter().filter(|certificate| !super::certificate::is_self_issued(certificate));
        if between.count() > self.depth {
            return Err(CertificateError::UnknownIssuer.into());
        }
        self.verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
