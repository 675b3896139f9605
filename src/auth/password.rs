//! RabbitMQ's password hashes.
//!
//! ```text
//! base64( salt (4 bytes) | H( salt | password ) )     H: SHA-256 (32 bytes), SHA-512 (64) or MD5 (16)
//! ```

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::AuthError;

const SALT_SIZE: usize = 4;

/// Standard alphabet; padding is written, but not asked for.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a user proves to be itself.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// A password in the clear: hashed with SHA-256 and a fresh salt, and forgotten. The empty one never logs in.
    Password(&'a str),
    /// A hash made elsewhere.
    Hash {
        /// Base64, see the module; empty means the same as [`Secret::None`].
        hash: &'a str,
        /// What it was made with.
        algorithm: HashingAlgorithm,
    },
    /// No password can log this user in.
    None,
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::Hash { .. } => "Hash(..)",
            Self::None => "None",
        })
    }
}

/// The digest of a password hash, by the names RabbitMQ stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashingAlgorithm {
    /// `rabbit_password_hashing_sha256`, the default.
    #[default]
    Sha256,
    /// `rabbit_password_hashing_sha512`.
    Sha512,
    /// `rabbit_password_hashing_md5`, from before 3.6.
    Md5,
}

impl HashingAlgorithm {
    /// The algorithm of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512, Self::Md5].into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The name in definitions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
            Self::Md5 => "rabbit_password_hashing_md5",
        }
    }

    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        fn run<D: Digest>(salt: &[u8], password: &[u8]) -> Vec<u8> {
            D::new().chain_update(salt).chain_update(password).finalize().to_vec()
        }
        match self {
            Self::Sha256 => run::<Sha256>(salt, password),
            Self::Sha512 => run::<Sha512>(salt, password),
            Self::Md5 => run::<Md5>(salt, password),
        }
    }
}

/// A salted hash; empty when no password can match.
#[derive(Clone)]
pub struct PasswordHash {
    algorithm: HashingAlgorithm,
    /// Salt and digest. RabbitMQ stores hashes of any length and so do we: a wrong one matches nothing.
    bytes: Box<[u8]>,
}

impl PasswordHash {
    /// Hashes a password with a fresh random salt.
    pub fn new(password: &str, algorithm: HashingAlgorithm) -> Self {
        Self::with_salt(rand::random(), password.as_bytes(), algorithm)
    }

    /// One that no password matches.
    pub(super) fn none() -> Self {
        Self { algorithm: HashingAlgorithm::default(), bytes: Box::default() }
    }

    /// What to hold for a user whose secret was given; `user` is for the error.
    pub(super) fn from_secret(user: &str, secret: Secret<'_>, default: HashingAlgorithm) -> Result<Self, AuthError> {
        match secret {
            Secret::Password(password) => Ok(Self::new(password, default)),
            Secret::Hash { hash, algorithm } => match BASE64.decode(without_spaces(hash)) {
                Ok(bytes) => Ok(Self { algorithm, bytes: bytes.into() }),
                Err(_) => Err(AuthError::BadPasswordHash { user: user.to_owned() }),
            },
            Secret::None => Ok(Self::none()),
        }
    }

    /// Whether this is the password. The time it takes does not depend on how much of the digest agrees.
    pub fn verify(&self, password: &[u8]) -> bool {
        // RabbitMQ refuses the empty password even of a user created with one.
        if password.is_empty() {
            return false;
        }
        // Where there is nothing to compare with, the time is spent all the same.
        let (salt, digest) = self.bytes.split_at_checked(SALT_SIZE).unwrap_or_default();
        self.algorithm.digest(salt, password).ct_eq(digest).into()
    }

    /// Whether there is nothing a password could match.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What it was made with.
    pub fn algorithm(&self) -> HashingAlgorithm {
        self.algorithm
    }

    /// The form definitions carry; for export, never for a log.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.bytes)
    }

    fn with_salt(salt: [u8; SALT_SIZE], password: &[u8], algorithm: HashingAlgorithm) -> Self {
        let mut bytes = salt.to_vec();
        bytes.extend(algorithm.digest(&salt, password));
        Self { algorithm, bytes: bytes.into() }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// RabbitMQ reads over white space in base64, such as the line feed that ends a shell's output.
fn without_spaces(hash: &str) -> String {
    hash.split_ascii_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(base64: &str, algorithm: HashingAlgorithm) -> PasswordHash {
        let secret = Secret::Hash { hash: base64, algorithm };
        PasswordHash::from_secret("u", secret, HashingAlgorithm::default()).expect("valid base64")
    }

    /// RabbitMQ 4.3.6: `GET /api/auth/hash_password/s3cret%C3%A9`, and `PUT /api/users/ax1` with password `s3cret`.
    #[test]
    fn verifies_what_rabbitmq_hashed() {
        let hashed = hash("hjz8HQIhIXRqwLh3X9X12S8+Yqkq6mBNnlfM1/MyVJT+wRdN", HashingAlgorithm::Sha256);
        assert!(hashed.verify("s3creté".as_bytes()));
        assert!(!hashed.verify(b"s3cret"));
        let stored = hash("LNaJoKvopRj7nbJdFt6F5/aKQ9iRJvdLWpzMNDW/csTr/MXS", HashingAlgorithm::Sha256);
        assert!(stored.verify(b"s3cret"));
        assert!(!stored.verify(b"s3cret "));
    }

    /// Salt 01 02 03 04 and the password `pä ss`: RabbitMQ 3.10 and 4.3 log in with each of these.
    #[test]
    fn verifies_each_algorithm() {
        let known = [
            ("AQIDBEZHb0QqOSPhkxDHR2gcjZz0NHDM3qFr1GjKAfAk4/EQ", HashingAlgorithm::Sha256),
            (
                "AQIDBCKMZb7EvlAm74Y9MfBInmNmeDvc/gzDwqhK3x/42yDqS+JnE73s7eXctu5mUYFNprvm69krTJ8jPfV7wEw2/kw=",
                HashingAlgorithm::Sha512,
            ),
            ("AQIDBN1CopxItjzJ4XzCDBIFYMQ=", HashingAlgorithm::Md5),
        ];
        for (base64, algorithm) in known {
            let hash = hash(base64, algorithm);
            assert!(hash.verify("pä ss".as_bytes()), "{algorithm:?}");
            assert!(!hash.verify("pä sS".as_bytes()), "{algorithm:?}");
            assert_eq!(hash.to_base64(), base64);
            assert_eq!(HashingAlgorithm::parse(algorithm.as_str()), Some(algorithm));
        }
        let mistaken = hash("AQIDBN1CopxItjzJ4XzCDBIFYMQ=", HashingAlgorithm::Sha256);
        assert!(!mistaken.verify("pä ss".as_bytes()));
    }

    #[test]
    fn salts_differ() {
        let (one, other) =
            (PasswordHash::new("p", HashingAlgorithm::Sha512), PasswordHash::new("p", HashingAlgorithm::Sha512));
        assert!(one.verify(b"p") && other.verify(b"p"));
        assert_ne!(one.to_base64(), other.to_base64());
    }

    #[test]
    fn nothing_matches_where_there_is_nothing_to_match() {
        for base64 in ["", "AAAA", "AAAAAA==", "AQIDBEZHb0QqOSPhkxDHR2gcjZz0NHDM3qFr1GjKAfAk4/E"] {
            let hash = hash(base64, HashingAlgorithm::Sha256);
            assert!(!hash.verify(b""), "{base64}");
            assert!(!hash.verify("pä ss".as_bytes()), "{base64}");
        }
        assert!(!PasswordHash::new("", HashingAlgorithm::Sha256).verify(b""), "the empty password is always refused");
    }

    #[test]
    fn reads_base64_as_rabbitmq_does() {
        let spaced = hash(" AQIDBEZHb0QqOSPhkxDHR2gc\njZz0NHDM3qFr1GjKAfAk4/EQ\r\n", HashingAlgorithm::Sha256);
        assert!(spaced.verify("pä ss".as_bytes()));
        for wrong in ["!!!", "AQID_-AA", "A"] {
            let secret = Secret::Hash { hash: wrong, algorithm: HashingAlgorithm::Sha256 };
            let error = PasswordHash::from_secret("joe", secret, HashingAlgorithm::default()).expect_err("not base64");
            assert_eq!(error.to_string(), "password_hash of user 'joe' is not base64");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let hash = PasswordHash::new("hunter2", HashingAlgorithm::Sha256);
        let base64 = hash.to_base64();
        let secrets = [
            Secret::Password("hunter2"),
            Secret::Hash { hash: &base64, algorithm: HashingAlgorithm::Sha256 },
            Secret::None,
        ];
        let shown = format!("{hash:?} {secrets:?}");
        assert_eq!(shown, "PasswordHash { algorithm: Sha256, .. } [Password(..), Hash(..), None]");
    }
}
