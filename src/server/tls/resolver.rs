//! Which certificate a client is shown: the one for the host it names (SNI), else the first.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsOptions, certificate, files};
use crate::server::error::Error;

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct Certificates {
    /// For whoever names no host, or one that no other is for.
    first: Arc<CertifiedKey>,
    /// With the hosts they are for, in lower case; `*.` stands for one label.
    more: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl Certificates {
    pub(super) fn read(options: &TlsOptions, provider: &CryptoProvider) -> Result<Self, Error> {
        let first = Arc::new(certified(&options.certificates, &options.key, provider)?);
        let mut more = Vec::new();
        for (certificates, key) in &options.more_certificates {
            let certified = certified(certificates, key, provider)?;
            let hosts = certified.cert.first().map(|first| certificate::hosts(first)).unwrap_or_default();
            if hosts.is_empty() {
                return Err(files::unusable(certificates, "it is for no host: it has no alternative name of type DNS"));
            }
            more.push((hosts, Arc::new(certified)));
        }
        Ok(Self { first, more })
    }

    /// The certificate for this host.
    fn find(&self, host: &str) -> &Arc<CertifiedKey> {
        let host = host.to_ascii_lowercase();
        let is_for = |wanted: &str| {
            self.more.iter().find(|(hosts, _)| hosts.iter().any(|host| host == wanted)).map(|(_, certified)| certified)
        };
        let any = host.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        is_for(&host).or_else(|| is_for(&any?)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().map_or(&self.first, |host| self.find(host)).clone())
    }
}

fn certified(certificates: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let chain = files::certificates(certificates)?;
    let key = files::key(key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| files::unusable(certificates, error))
}
