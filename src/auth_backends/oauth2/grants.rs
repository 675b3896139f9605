//! What scopes grant: `<right>:<vhost>/<name>[/<routing key>]`, each part with wildcards.

use super::token::Claims;
use crate::auth::{Question, Resource, Right};

/// A text with `*` for anything, percent-encoded otherwise. As RabbitMQ's, each part between two stars is taken where it
/// is found first, so `a*b` does not match `abb`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wildcard(Vec<Vec<u8>>);

impl Wildcard {
    /// `None`: it cannot be decoded, and matches nothing.
    fn parse(pattern: &str) -> Option<Self> {
        pattern.split('*').map(decoded).collect::<Option<_>>().map(Self)
    }

    fn matches(&self, subject: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        let Some(mut left) = subject.as_bytes().strip_prefix(first.as_slice()) else { return false };
        for (index, part) in rest.iter().enumerate() {
            let is_last = index + 1 == rest.len();
            match (part.is_empty(), left.is_empty()) {
                (true, _) if is_last => return true,
                // As RabbitMQ: two stars in a row want something between them.
                (_, true) => return false,
                (true, false) => continue,
                (false, false) => {}
            }
            match memchr::memmem::find(left, part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.is_empty()
    }
}

/// Whether a pattern with wildcards matches.
pub(super) fn is_match(pattern: &str, subject: &str) -> bool {
    Wildcard::parse(pattern).is_some_and(|wildcard| wildcard.matches(subject))
}

/// Of percent-encoding, `+` for a space.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let hex = |byte: &u8| char::from(*byte).to_digit(16);
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.as_bytes().iter());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            // Two digits are at most 255.
            b'%' => (hex(bytes.next()?)? * 16 + hex(bytes.next()?)?) as u8,
            other => *other,
        });
    }
    Some(out)
}

/// One scope that grants something.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Grant {
    right: Right,
    vhost: Wildcard,
    name: Wildcard,
    key: Option<Wildcard>,
}

impl Grant {
    /// `None`: it grants nothing on vhosts.
    fn parse(scope: &str) -> Option<Self> {
        let (right, pattern) = scope.split_once(':')?;
        let right = match right {
            "configure" => Right::Configure,
            "write" => Right::Write,
            "read" => Right::Read,
            _ => return None,
        };
        let mut parts = pattern.split('/');
        let (vhost, name, key) = (parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        let key = match key {
            Some(key) => Some(Wildcard::parse(key)?),
            None => None,
        };
        Some(Self { right, vhost: Wildcard::parse(vhost)?, name: Wildcard::parse(name)?, key })
    }

    fn grants(&self, question: &Question) -> bool {
        let key_matches = match &question.resource {
            Resource::Queue | Resource::Exchange => true,
            // Who is granted an exchange without a key is granted no topic of it.
            Resource::Topic(key) => self.key.as_ref().is_some_and(|pattern| pattern.matches(key)),
        };
        self.right == question.right
            && key_matches
            && self.vhost.matches(&question.vhost)
            && self.name.matches(&question.name)
    }
}

/// All that a token's scopes grant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Grants {
    plain: Vec<Grant>,
    /// With variables whose values depend on the vhost.
    templates: Vec<String>,
}

impl Grants {
    /// `{name}` in a scope stands for the claim of that name, `{vhost}` for the vhost in question.
    pub(super) fn new(scopes: &[String], claims: &Claims) -> Self {
        let mut grants = Self::default();
        for scope in scopes {
            if scope.contains("{vhost}") {
                grants.templates.push(scope.clone());
            } else {
                grants.plain.extend(Grant::parse(&expanded(scope, "", claims)));
            }
        }
        grants
    }

    fn any(&self, vhost: &str, claims: &Claims, is_it: impl Fn(&Grant) -> bool) -> bool {
        self.plain.iter().any(&is_it)
            || self
                .templates
                .iter()
                .any(|scope| Grant::parse(&expanded(scope, vhost, claims)).is_some_and(|g| is_it(&g)))
    }

    pub(super) fn admit(&self, vhost: &str, claims: &Claims) -> bool {
        self.any(vhost, claims, |grant| grant.vhost.matches(vhost))
    }

    pub(super) fn allow(&self, question: &Question, claims: &Claims) -> bool {
        self.any(&question.vhost, claims, |grant| grant.grants(question))
    }
}

/// With the values of its variables. One that is not written as it must be grants nothing.
fn expanded(scope: &str, vhost: &str, claims: &Claims) -> String {
    let (mut text, mut rest) = (String::new(), scope);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            // RabbitMQ takes a name whose brace is not closed as if it were, unless it holds one of its separators.
            if after.contains(['{', '.', '*']) {
                return String::new();
            }
            text.push_str(value(after, vhost, claims));
            return text;
        };
        if name.contains(['{', '.', '*']) {
            return String::new();
        }
        text.push_str(value(name, vhost, claims));
        rest = behind;
    }
    text.push_str(rest);
    text
}

fn value<'a>(name: &'a str, vhost: &'a str, claims: &'a Claims) -> &'a str {
    match name {
        "vhost" => vhost,
        _ => claims.get(name).and_then(serde_json::Value::as_str).unwrap_or(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn matches(subject: &str, pattern: &str) -> bool {
        is_match(pattern, subject)
    }

    fn question(right: Right, resource: Resource, vhost: &str, name: &str) -> Question {
        Question { vhost: vhost.into(), right, resource, name: name.to_owned() }
    }

    fn grants(scopes: &[&str]) -> Grants {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Grants::new(&scopes, &Claims::new())
    }

    /// As RabbitMQ 4.3.6 answers.
    #[test]
    fn wildcards_match_as_those_of_rabbitmq() {
        for (subject, pattern) in [
            ("", ""),
            ("", "*"),
            ("abc", "*"),
            ("abc", "abc"),
            ("abc", "a*"),
            ("abc", "*c"),
            ("abc", "a*c"),
            ("abc", "a**c"),
            ("a*b", "a%2Ab"),
            ("a/b", "a%2fb"),
            ("a b", "a+b"),
            ("a+b", "a%2Bb"),
            ("ab", "a*b"),
            ("x", "**"),
        ] {
            assert!(matches(subject, pattern), "{subject} {pattern}");
        }
        for (subject, pattern) in [
            ("a", ""),
            ("", "a"),
            ("", "**"),
            ("abc", "ab"),
            ("abc", "b*"),
            ("abc", "*b"),
            ("abc", "a*d"),
            ("abb", "a*b"),
            ("abcbc", "a*b*c"),
            ("a", "a**"),
            ("a", "a%"),
            ("a", "a%2"),
            ("a", "%zz"),
            ("ABC", "abc"),
        ] {
            assert!(!matches(subject, pattern), "{subject} {pattern}");
        }
    }

    #[test]
    fn a_scope_grants_one_right_where_it_says() {
        let grants =
            grants(&["read:shop/orders.*", "write:*/amq.default", "configure:shop", "tag:management", "x:y/z"]);
        let allows =
            |right, resource, vhost, name| grants.allow(&question(right, resource, vhost, name), &Claims::new());
        assert!(allows(Right::Read, Resource::Queue, "shop", "orders.new"));
        assert!(allows(Right::Read, Resource::Exchange, "shop", "orders.new"));
        assert!(!allows(Right::Write, Resource::Queue, "shop", "orders.new"));
        assert!(!allows(Right::Read, Resource::Queue, "shop", "other"));
        assert!(!allows(Right::Read, Resource::Queue, "shop2", "orders.new"));
        assert!(allows(Right::Write, Resource::Exchange, "any", "amq.default"));
        assert!(!allows(Right::Configure, Resource::Queue, "shop", "shop"));
        assert!(grants.admit("shop", &Claims::new()) && grants.admit("any", &Claims::new()));
        assert!(!super::tests::grants(&["read:shop/*"]).admit("other", &Claims::new()));
        assert!(!super::tests::grants(&["read:a/b/c/d", "tag:administrator"]).admit("a", &Claims::new()));
    }

    #[test]
    fn topics_need_a_key_in_the_scope() {
        let topic = |key: &str| question(Right::Write, Resource::Topic(key.to_owned()), "/", "t");
        let none = Claims::new();
        assert!(!grants(&["write:*/*"]).allow(&topic("a.b"), &none));
        assert!(grants(&["write:*/*/*"]).allow(&topic("a.b"), &none));
        assert!(grants(&["write:%2F/t/a.*"]).allow(&topic("a.b"), &none));
        assert!(!grants(&["write:%2F/t/a.*"]).allow(&topic("b.b"), &none));
        assert!(!grants(&["read:%2F/t/a.*"]).allow(&topic("a.b"), &none));
    }

    #[test]
    fn variables_stand_for_claims_and_the_vhost() {
        let claims = json!({"sub": "joe", "n": 5, "deep": {"x": "y"}});
        let claims = claims.as_object().expect("an object").clone();
        let expand = |scope: &str| expanded(scope, "shop", &claims);
        assert_eq!(expand("read:{vhost}/q-{sub}"), "read:shop/q-joe");
        assert_eq!(expand("read:*/{n}{deep}{nothing}"), "read:*/ndeepnothing");
        assert_eq!(expand("read:{a.b}/x"), "");
        assert_eq!(expand("read:{*}/x"), "");
        assert_eq!(expand("read:{{sub}}/x"), "");
        assert_eq!(expand("read:a}/{sub"), "read:a}/joe");
        assert_eq!(expand("read:{}x"), "read:x");
        assert_eq!(expand("read:{sub}}"), "read:joe}");
        assert_eq!(expand("read:{s{ub}"), "");
        assert_eq!((expand("{"), expand("a{")), (String::new(), "a".to_owned()));
        let grants = Grants::new(&["read:{vhost}/q-{sub}".to_owned()], &claims);
        assert!(grants.allow(&question(Right::Read, Resource::Queue, "any", "q-joe"), &claims));
        assert!(!grants.allow(&question(Right::Read, Resource::Queue, "any", "q-ann"), &claims));
        // As in RabbitMQ, a vhost with a slash takes the scope apart.
        assert!(!grants.allow(&question(Right::Read, Resource::Queue, "/", "q-joe"), &claims));
    }

    proptest! {
        #[test]
        fn no_scope_panics(scope in "[a-z:/*%{}+.é]{0,40}", subject in "[a-z/*é]{0,10}") {
            let claims = Claims::new();
            let grants = Grants::new(std::slice::from_ref(&scope), &claims);
            let asked = question(Right::Read, Resource::Topic(subject.clone()), &subject, &subject);
            prop_assert!(!grants.allow(&asked, &claims) || grants.admit(&subject, &claims));
            let _ = matches(&subject, &scope);
        }

        /// Against a search over all ways to match, which may only allow more.
        #[test]
        fn what_matches_is_a_match(subject in "[ab]{0,8}", pattern in "[ab*]{0,8}") {
            fn any_way(subject: &[u8], pattern: &[u8]) -> bool {
                match pattern.split_first() {
                    None => subject.is_empty(),
                    Some((b'*', rest)) => (0..=subject.len()).any(|at| any_way(&subject[at..], rest)),
                    Some((byte, rest)) => subject.split_first().is_some_and(|(own, left)| own == byte && any_way(left, rest)),
                }
            }
            prop_assert!(!matches(&subject, &pattern) || any_way(subject.as_bytes(), pattern.as_bytes()));
        }
    }
}
