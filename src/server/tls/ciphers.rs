//! Cipher suites by their names, and what RabbitMQ's listings say of them.

use rustls::crypto::ring::cipher_suite as ring;
use rustls::{ProtocolVersion, SupportedCipherSuite};

use crate::broker::TlsReport;
use crate::server::error::Error;

/// A suite: its IANA name, OpenSSL's name, and what RabbitMQ shows: key exchange and cipher.
type Suite = (SupportedCipherSuite, &'static str, &'static str, &'static str, &'static str);

/// All there are, the strongest first.
const SUITES: [Suite; 9] = [
    (ring::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", "any", "aes_256_gcm"),
    (ring::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", "any", "aes_128_gcm"),
    (
        ring::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        "any",
        "chacha20_poly1305",
    ),
    (
        ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ecdhe_ecdsa",
        "aes_256_gcm",
    ),
    (
        ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ecdhe_ecdsa",
        "aes_128_gcm",
    ),
    (
        ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ecdhe_ecdsa",
        "chacha20_poly1305",
    ),
    (
        ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ecdhe_rsa",
        "aes_256_gcm",
    ),
    (
        ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ecdhe_rsa",
        "aes_128_gcm",
    ),
    (
        ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ecdhe_rsa",
        "chacha20_poly1305",
    ),
];

fn named(name: &str) -> Option<SupportedCipherSuite> {
    let is_it = |(_, iana, openssl, ..): &&Suite| *iana == name || *openssl == name;
    SUITES.iter().find(is_it).map(|(suite, ..)| *suite)
}

/// Whether there is a cipher suite of this name, the IANA's or OpenSSL's. What is weak there is none of.
pub fn is_known_cipher(name: &str) -> bool {
    named(name).is_some()
}

/// The suites of these names, in their order; all, if none is named.
pub(super) fn chosen(names: &[String]) -> Result<Vec<SupportedCipherSuite>, Error> {
    if names.is_empty() {
        return Ok(SUITES.iter().map(|(suite, ..)| *suite).collect());
    }
    let unknown = |name: &String| Error::TlsSettings {
        reason: format!("there is no cipher suite {name}; there are {}", SUITES.map(|(_, iana, ..)| iana).join(", ")),
    };
    names.iter().map(|name| named(name).ok_or_else(|| unknown(name))).collect()
}

/// What listings show.
pub(super) fn report(version: Option<ProtocolVersion>, suite: Option<SupportedCipherSuite>) -> TlsReport {
    let found = SUITES.iter().find(|(own, ..)| Some(*own) == suite);
    let (key_exchange, cipher) = found.map_or(("", ""), |(.., key_exchange, cipher)| (*key_exchange, *cipher));
    TlsReport {
        protocol: if version == Some(ProtocolVersion::TLSv1_3) { "tlsv1.3" } else { "tlsv1.2" },
        key_exchange,
        cipher,
        // Each of them authenticates by itself.
        hash: "aead",
        certificate: None,
    }
}
