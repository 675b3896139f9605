//! Keys that tokens are signed with, and what signatures they check: JSON Web Keys, and public keys in PEM.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use ring::{hmac, signature::RsaParameters};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::Value as Json;
use spki::SubjectPublicKeyInfoRef;
use spki::der::Decode as _;
use spki::der::asn1::ObjectIdentifier;

/// How a token may be signed. There is no `none`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// By its name in tokens, or the one that UAA gives it.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" | "HMACSHA256" => Self::Hs256,
            "HS384" | "HMACSHA384" => Self::Hs384,
            "HS512" | "HMACSHA512" => Self::Hs512,
            "RS256" | "SHA256withRSA" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" | "SHA512withRSA" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }
}

/// A key, and the one algorithm that it is for, if it says so.
#[derive(Clone)]
pub(super) struct Key {
    material: Material,
    algorithm: Option<Algorithm>,
}

#[derive(Clone)]
enum Material {
    /// Modulus and exponent.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// A point on P-256.
    P256(Vec<u8>),
    /// A point on P-384.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Shared(Vec<u8>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether the signature is this key's, made by this algorithm. An algorithm of another kind of key never is.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        let verified_by = |with: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(with, key).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa(key), algorithm) => {
                algorithm.rsa().is_some_and(|parameters| key.verify(parameters, message, signature).is_ok())
            }
            (Material::Shared(secret), algorithm) => algorithm
                .hmac()
                .is_some_and(|algorithm| hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()),
            (Material::P256(point), Algorithm::Es256) => verified_by(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Material::P384(point), Algorithm::Es384) => verified_by(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Material::Ed25519(key), Algorithm::EdDsa) => verified_by(&signature::ED25519, key),
            _ => false,
        }
    }

    /// One of a set. `None`: of a kind that is not known here, or not for signatures.
    pub(super) fn from_jwk(jwk: &Json) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Json::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let material = match text("kty")? {
            "RSA" => Material::Rsa(RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? }),
            "EC" => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                let point = |size: usize| {
                    (x.len() == size && y.len() == size).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
                };
                match text("crv")? {
                    "P-256" => Material::P256(point(32)?),
                    "P-384" => Material::P384(point(48)?),
                    _ => return None,
                }
            }
            "OKP" if text("crv")? == "Ed25519" => Material::Ed25519(bytes("x")?),
            "oct" => Material::Shared(bytes("k")?),
            "MAC" => Material::Shared(text("value")?.as_bytes().to_vec()),
            _ => return None,
        };
        if matches!(&material, Material::Shared(secret) if secret.is_empty()) {
            return None;
        }
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        Some(Self { material, algorithm })
    }

    /// A public key, or a certificate.
    fn from_pem(pem: &[u8]) -> Option<Self> {
        let spki = match SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            Ok(spki) => spki,
            Err(_) => {
                let certificate = CertificateDer::from_pem_slice(pem).ok()?;
                webpki::EndEntityCert::try_from(&certificate).ok()?.subject_public_key_info()
            }
        };
        Self::from_spki(&spki)
    }

    fn from_spki(der: &[u8]) -> Option<Self> {
        const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
        const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
        const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
        const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
        let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let bits = spki.subject_public_key.as_bytes()?;
        let material = match spki.algorithm.oid {
            RSA => {
                let key = RsaPublicKey::from_der(bits).ok()?;
                Material::Rsa(RsaPublicKeyComponents { n: key.modulus, e: key.exponent })
            }
            EC => match spki.algorithm.parameters_oid().ok()? {
                P256 => Material::P256(bits.to_vec()),
                P384 => Material::P384(bits.to_vec()),
                _ => return None,
            },
            ED25519 => Material::Ed25519(bits.to_vec()),
            _ => return None,
        };
        Some(Self { material, algorithm: None })
    }
}

/// `RSAPublicKey` of RFC 8017, without what ring does not want of its integers: a leading zero.
struct RsaPublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaPublicKey {
    fn from_der(der: &[u8]) -> spki::der::Result<Self> {
        use spki::der::asn1::UintRef;
        use spki::der::{Reader as _, SliceReader};
        SliceReader::new(der)?.sequence(|reader| {
            let (modulus, exponent) = (UintRef::decode(reader)?, UintRef::decode(reader)?);
            Ok(Self { modulus: modulus.as_bytes().to_vec(), exponent: exponent.as_bytes().to_vec() })
        })
    }
}

/// The keys of a set that can be used, by id. `None`: it is no set.
pub(super) fn of_set(set: &[u8]) -> Option<HashMap<String, Key>> {
    let set: Json = serde_json::from_slice(set).ok()?;
    let keys = set.get("keys")?.as_array()?;
    Some(keys.iter().filter_map(named).collect())
}

fn named(jwk: &Json) -> Option<(String, Key)> {
    let id = jwk.get("kid").and_then(Json::as_str).unwrap_or_default();
    Some((id.to_owned(), Key::from_jwk(jwk)?))
}

/// The keys in a file: one in PEM or JSON, which gets this id; or a set, whose keys have their own.
pub(super) fn of_file(id: &str, file: &[u8]) -> Option<HashMap<String, Key>> {
    if !file.trim_ascii_start().starts_with(b"{") {
        return Some(HashMap::from([(id.to_owned(), Key::from_pem(file)?)]));
    }
    match of_set(file) {
        Some(keys) => Some(keys).filter(|keys| !keys.is_empty()),
        None => Some(HashMap::from([(id.to_owned(), Key::from_jwk(&serde_json::from_slice(file).ok()?)?)])),
    }
}
