//! PEM files of certificates and keys.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::error::Error;

/// What stands in the head of a key file that nobody can read without its password.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// All certificates of a file, in their order.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| unusable(path, error))?;
    if found.is_empty() { Err(unusable(path, "there is no certificate in it")) } else { Ok(found) }
}

/// The first key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = read(path)?;
    if ENCRYPTED.iter().any(|mark| pem.windows(mark.len()).any(|part| part == *mark)) {
        return Err(unusable(path, "the key is protected by a password: give a file without one"));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(path, error))
}

pub(super) fn unusable(path: &Path, reason: impl ToString) -> Error {
    Error::Tls { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    if path.as_os_str().is_empty() {
        return Err(Error::TlsWithoutCertificate);
    }
    fs::read(path).map_err(|error| unusable(path, error))
}
