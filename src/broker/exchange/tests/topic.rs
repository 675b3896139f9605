//! XT-3, and that no binding key makes routing slow.

use super::{Bindings, ExchangeType, none, routed};
use crate::broker::exchange::Routable;
use crate::wire::Properties;

const KEYS: [&str; 25] = [
    "", ".", "..", "...", "a", "A", "b", ".a", "a.", ".b", "b.", "a.b", "a..b", "a.a.b", "a.b.a", "a.b.b", "a.c.b",
    "a.x.y.b", "*", "#", "a.*", "#.b", "##", "**", "a#",
];

/// A binding key and those of `KEYS` that it matches, as seen on RabbitMQ 4.3 and 3.10.
const MATCHES: [(&str, &[&str]); 24] = [
    ("", &[""]),
    (".", &["."]),
    ("..", &[".."]),
    ("a", &["a"]),
    ("a.b", &["a.b"]),
    ("a.*.b", &["a..b", "a.a.b", "a.b.b", "a.c.b"]),
    ("#.b", &["b", ".b", "a.b", "a..b", "a.a.b", "a.b.b", "a.c.b", "a.x.y.b", "#.b"]),
    (
        "*.#.*",
        &[
            ".", "..", "...", ".a", "a.", ".b", "b.", "a.b", "a..b", "a.a.b", "a.b.a", "a.b.b", "a.c.b", "a.x.y.b",
            "a.*", "#.b",
        ],
    ),
    ("*", &["a", "A", "b", "*", "#", "##", "**", "a#"]),
    ("*.*", &[".", ".a", "a.", ".b", "b.", "a.b", "a.*", "#.b"]),
    ("a.#", &["a", "a.", "a.b", "a..b", "a.a.b", "a.b.a", "a.b.b", "a.c.b", "a.x.y.b", "a.*"]),
    ("#.a.#", &["a", ".a", "a.", "a.b", "a..b", "a.a.b", "a.b.a", "a.b.b", "a.c.b", "a.x.y.b", "a.*"]),
    ("a..b", &["a..b"]),
    (".a", &[".a"]),
    ("a.", &["a."]),
    ("*.", &[".", "a.", "b."]),
    (".*", &[".", ".a", ".b"]),
    (".#", &[".", "..", "...", ".a", ".b"]),
    ("*.*.*", &["..", "a..b", "a.a.b", "a.b.a", "a.b.b", "a.c.b"]),
    ("a.#.b", &["a.b", "a..b", "a.a.b", "a.b.b", "a.c.b", "a.x.y.b"]),
    ("##", &["##"]),
    ("**", &["**"]),
    ("a#", &["a#"]),
    ("*.b", &[".b", "a.b", "#.b"]),
];

/// Binding keys that match every one of `KEYS`, and those that match all of them but the empty one.
const MATCH_ALL: [&str; 2] = ["#", "#.#"];
const MATCH_ANY_WORD: [&str; 3] = ["#.*", "*.#", "#.*.#"];

#[test]
fn words_match_as_in_rabbitmq() {
    let mut bindings = Bindings::new(ExchangeType::Topic);
    let all = MATCHES.map(|(pattern, _)| pattern);
    for pattern in all.into_iter().chain(MATCH_ALL).chain(MATCH_ANY_WORD) {
        bindings.add(pattern, &none(), pattern);
    }
    for key in KEYS {
        let some = MATCHES.iter().filter(|(_, keys)| keys.contains(&key));
        let mut expected: Vec<_> = some.map(|(pattern, _)| *pattern).collect();
        expected.extend(MATCH_ALL);
        if !key.is_empty() {
            expected.extend(MATCH_ANY_WORD);
        }
        expected.sort_unstable();
        assert_eq!(routed(&bindings, key, None), expected, "key {key:?}");
    }
}

#[test]
fn unbinding_one_pattern_leaves_those_that_share_its_words() {
    let mut bindings = Bindings::new(ExchangeType::Topic);
    for pattern in ["a.b", "a.b.#", "a", "a.*.c", "#"] {
        bindings.add(pattern, &none(), pattern);
    }
    assert!(bindings.remove("a.b", &none(), &"a.b"));
    assert_eq!(routed(&bindings, "a.b", None), ["#", "a.b.#"]);
    assert!(bindings.remove("a.b.#", &none(), &"a.b.#"));
    assert_eq!(routed(&bindings, "a.b.c", None), ["#", "a.*.c"]);
    assert!(bindings.remove("#", &none(), &"#"));
    assert!(bindings.remove("a", &none(), &"a"));
    assert_eq!(routed(&bindings, "a.b.c", None), ["a.*.c"]);
    assert!(bindings.remove("a.*.c", &none(), &"a.*.c"));
    assert!(bindings.is_empty());
}

/// A matcher that tries every way to share out the words among the `#` would not live to see the end of this.
#[test]
fn many_hashes_are_matched_in_one_walk() {
    let repeated = |word: &str, last: &str| {
        let mut pattern = format!("{word}.").repeat((255 - last.len()) / (word.len() + 1));
        pattern.push_str(last);
        pattern
    };
    let mut bindings = Bindings::new(ExchangeType::Topic);
    for (word, last) in [("#", "#"), ("#", "x"), ("#.*", "#"), ("#.*", "x"), ("#.a", "#"), ("#.a", "x"), ("*.#", "")] {
        bindings.add(&repeated(word, last), &none(), (word, last));
    }
    for words in 0..64 {
        // Binding keys that begin with as many `#` as there are patterns, each with something else after it.
        bindings.add(&format!("{}w{words}", "#.a.".repeat(words)), &none(), ("w", ""));
    }
    let dots = ".".repeat(255);
    assert_eq!(routed(&bindings, &dots, None), [("#", "#"), ("#.*", "#"), ("*.#", "")]);
    let letters = repeated("a", "a");
    assert_eq!(routed(&bindings, &letters, None), [("#", "#"), ("#.*", "#"), ("#.a", "#")]);
    let other = repeated("a", "w7");
    assert_eq!(routed(&bindings, &other, None), [("#", "#"), ("#.*", "#"), ("#.a", "#"), ("w", "")]);
}

/// More `#` reached by one key than are kept in a plain list, each reached again with every further word.
#[test]
fn a_destination_behind_a_hash_is_reported_once() {
    let mut bindings = Bindings::new(ExchangeType::Topic);
    for count in 1..=40 {
        bindings.add("#.*.".repeat(count).trim_end_matches('.'), &none(), count);
        bindings.add(&format!("{}#", "#.*.".repeat(count)), &none(), 100 + count);
    }
    let mut found = Vec::new();
    let message = Routable { keys: &[&"a.".repeat(60)], properties: &Properties::default() };
    bindings.route(&message, &mut |destination| found.push(*destination));
    found.sort_unstable();
    let expected: Vec<_> = (1..=40).chain(101..=140).collect();
    assert_eq!(found, expected);
}
