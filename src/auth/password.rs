//! RabbitMQ's password hashes: base64( salt (4 bytes) + H(salt + utf8 password) ).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

const SALT_LEN: usize = 4;

/// `hashing_algorithm` in definitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HashingAlgorithm {
    /// `rabbit_password_hashing_sha256`, the default.
    #[default]
    Sha256,
    /// `rabbit_password_hashing_sha512`.
    Sha512,
    /// `rabbit_password_hashing_md5`: from installations of before 2015.
    Md5,
}

impl HashingAlgorithm {
    /// Reads RabbitMQ's name of it.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512, Self::Md5].into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// RabbitMQ's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
            Self::Md5 => "rabbit_password_hashing_md5",
        }
    }

    fn digest(self, salt: &[u8], password: &str) -> Vec<u8> {
        fn of<D: Digest>(salt: &[u8], password: &str) -> Vec<u8> {
            D::new().chain_update(salt).chain_update(password).finalize().to_vec()
        }
        match self {
            Self::Sha256 => of::<Sha256>(salt, password),
            Self::Sha512 => of::<Sha512>(salt, password),
            Self::Md5 => of::<Md5>(salt, password),
        }
    }
}

/// A salted hash. Empty: nobody logs in with a password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PasswordHash {
    algorithm: HashingAlgorithm,
    /// Salt and digest.
    bytes: Vec<u8>,
}

impl PasswordHash {
    /// Hashes with a random salt and the default algorithm.
    pub fn of(password: &str) -> Self {
        let salt: [u8; SALT_LEN] = rand::random();
        let algorithm = HashingAlgorithm::default();
        let mut bytes = salt.to_vec();
        bytes.extend(algorithm.digest(&salt, password));
        Self { algorithm, bytes }
    }

    /// Takes a hash as definitions carry it; `None` if it is not base64.
    pub fn from_base64(hash: &str, algorithm: HashingAlgorithm) -> Option<Self> {
        let bytes = STANDARD.decode(hash).ok()?;
        Some(Self { algorithm, bytes })
    }

    /// As definitions carry it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// How it was made.
    pub fn algorithm(&self) -> HashingAlgorithm {
        self.algorithm
    }

    /// Is it this password? Takes the same time wherever they differ. An empty password never is (SA-6).
    pub fn verify(&self, password: &str) -> bool {
        let Some((salt, digest)) = self.bytes.split_at_checked(SALT_LEN) else {
            return false;
        };
        if password.is_empty() {
            return false;
        }
        self.algorithm.digest(salt, password).ct_eq(digest).into()
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES DF-5, SA-6. The first hash is the example of RabbitMQ's documentation (password `test12`).
    #[test]
    fn rabbitmqs_hashes_verify() {
        let documented =
            PasswordHash::from_base64("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", HashingAlgorithm::Sha256);
        assert!(documented.unwrap().verify("test12"));
        let own = PasswordHash::of("secret");
        assert!(own.verify("secret") && !own.verify("Secret") && !own.verify(""));
        assert!(PasswordHash::from_base64(&own.to_base64(), HashingAlgorithm::Sha256).unwrap().verify("secret"));
        assert!(!PasswordHash::default().verify("anything"));
        assert!(!format!("{own:?}").contains(&own.to_base64()));
    }
}
