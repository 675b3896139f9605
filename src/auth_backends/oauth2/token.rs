//! A JSON Web Token: taken apart, and its signature checked. Everything in it comes from a stranger.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json};

use super::keys::{Algorithm, Key};

/// A longer one is not looked at, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// What a token claims.
pub(super) type Claims = Map<String, Json>;

/// A token whose signature has not been checked yet.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    algorithm: Algorithm,
    /// Of the key that it says it is signed with.
    pub(super) key_id: Option<String>,
    claims: Claims,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// `None`: it is no token, or signed in a way that is not known here, such as not at all.
    pub(super) fn parse(token: &'a [u8]) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let token = str::from_utf8(token).ok()?;
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header = object(header)?;
        // RFC 7515 4.1.11: who does not understand what is critical must not accept it.
        if header.contains_key("crit") {
            return None;
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::String(id)) => Some(id.clone()),
            Some(_) => return None,
        };
        Some(Self {
            algorithm: Algorithm::parse(header.get("alg")?.as_str()?)?,
            key_id,
            claims: object(payload)?,
            message: message.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Who it is for, as it says.
    pub(super) fn audience(&self) -> Option<&Json> {
        self.claims.get("aud")
    }

    /// What it claims, if it is signed with this key, in one of these ways.
    pub(super) fn verify(self, key: &Key, allowed: Option<&[Algorithm]>) -> Option<Claims> {
        let is_allowed = allowed.is_none_or(|allowed| allowed.contains(&self.algorithm));
        (is_allowed && key.verifies(self.algorithm, self.message, &self.signature)).then_some(self.claims)
    }
}

fn object(part: &str) -> Option<Map<String, Json>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::keys;
    use super::*;

    fn part(json: &Json) -> String {
        URL_SAFE_NO_PAD.encode(json.to_string())
    }

    /// Any JSON, not too deep.
    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            "[a-zA-Z0-9:./* {}-]{0,12}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key =
                prop::sample::select(vec!["scope", "aud", "exp", "rabbitmq", "permissions", "scopes", "kid", "n"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::vec((key, inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_panic(token in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Unverified::parse(&token).is_none_or(|token| token.key_id.is_none_or(|id| id.len() < 200)));
            let _ = keys::of_set(&token);
            let _ = keys::of_file("k", &token);
        }

        /// Text that looks like a token gets further.
        #[test]
        fn no_token_panics(header in any_json(), payload in any_json(), signature in "[A-Za-z0-9_-]{0,90}", cut in 0usize..300) {
            let token = format!("{}.{}.{signature}", part(&header), part(&payload));
            let _ = Unverified::parse(token.as_bytes());
            let _ = Unverified::parse(&token.as_bytes()[..cut.min(token.len())]);
        }

        /// What has no signature that fits is never taken, whatever it claims and however it says it is signed.
        #[test]
        fn what_is_not_signed_is_not_taken(
            payload in any_json(),
            algorithm in prop::sample::select(vec!["HS256", "HS512", "RS256", "PS384", "ES256", "ES384", "EdDSA"]),
            signature in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let set = json!({"keys": [
                {"kty": "oct", "kid": "HS256", "k": URL_SAFE_NO_PAD.encode([7; 32])},
                {"kty": "EC", "crv": "P-256", "kid": "ES256", "x": URL_SAFE_NO_PAD.encode([1; 32]), "y": URL_SAFE_NO_PAD.encode([2; 32])},
                {"kty": "RSA", "kid": "RS256", "n": URL_SAFE_NO_PAD.encode([255; 256]), "e": "AQAB"},
                {"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": URL_SAFE_NO_PAD.encode([3; 32])},
            ]});
            let keys = keys::of_set(set.to_string().as_bytes()).expect("a set");
            prop_assert_eq!(keys.len(), 4);
            for key in keys.values() {
                let token = format!("{}.{}.{}", part(&json!({"alg": algorithm})), part(&payload), URL_SAFE_NO_PAD.encode(&signature));
                if let Some(unverified) = Unverified::parse(token.as_bytes()) {
                    prop_assert!(unverified.verify(key, None).is_none());
                }
            }
        }

        #[test]
        fn no_key_panics(keys in prop::collection::vec(any_json(), 0..4)) {
            let _ = keys::of_set(json!({"keys": keys}).to_string().as_bytes());
        }

        /// No claims of any shape panic, and none grant what they do not say.
        #[test]
        fn no_claims_panic(payload in any_json(), more in any_json()) {
            let mut claims = payload.as_object().cloned().unwrap_or_default();
            claims.insert("authorization_details".to_owned(), json!([{"type": "t", "locations": more, "actions": more}]));
            let server = crate::auth_backends::ResourceServer {
                additional_scopes_key: Some("rabbitmq.scopes aud".to_owned()),
                resource_server_type: Some("t".to_owned()),
                ..crate::auth_backends::ResourceServer::new("rabbitmq")
            };
            let scopes = super::super::scopes::scopes(&server, &claims).expect("not so many");
            prop_assert!(!super::super::scopes::tags(&scopes).contains(&"administrator".to_owned()));
        }
    }
}
