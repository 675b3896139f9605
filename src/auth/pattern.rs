//! Permission patterns: RabbitMQ's regular expressions (PCRE, unanchored) over names.

use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::pcre;

/// The longest pattern, in bytes. With lookaround the time of a match grows faster than the pattern: at this length the
/// worst ones found cost some tens of milliseconds, at eight times as much they cost minutes.
const PATTERN_SIZE_MAX: usize = 8 * 1024;

/// The largest automaton, in bytes: bounds what counted repetitions within each other may expand to.
const AUTOMATON_SIZE_MAX: usize = 1024 * 1024;

/// How much of a pattern an error repeats, in characters.
const SHOWN_MAX: usize = 200;

/// Steps of backtracking after which a match is given up, and so refused. Far above what a sane pattern needs on a
/// name of at most 255 bytes.
const BACKTRACK_MAX: usize = 100_000;

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{pattern}': {reason}")]
pub struct PatternError {
    /// The pattern as given.
    pub pattern: String,
    /// What the regex compiler says, or that it is too long.
    pub reason: String,
}

/// A compiled pattern. The usual ones cost no regex at all.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Arc<str>,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// `.*` unless anchored at both ends: every name.
    All,
    /// `^.*$`: every name on one line. PCRE's `.` does not match a line feed, its `$` allows a last one.
    OneLine,
    /// The empty pattern matches the empty name only, as if it were `^$`.
    Empty,
    Nothing,
    Regex(Arc<Regex>),
}

impl Default for Pattern {
    /// Matches no name, not even the empty one.
    fn default() -> Self {
        Self { source: "(?!)".into(), matcher: Matcher::Nothing }
    }
}

impl Pattern {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let matcher = match pattern {
            "" => Matcher::Empty,
            ".*" | "^.*" | ".*$" => Matcher::All,
            "^.*$" => Matcher::OneLine,
            _ => {
                let error = |reason| PatternError { pattern: pattern.chars().take(SHOWN_MAX).collect(), reason };
                if pattern.len() > PATTERN_SIZE_MAX {
                    return Err(error(format!("longer than {PATTERN_SIZE_MAX} bytes")));
                }
                let regex = RegexBuilder::new(&pcre::translate(pattern))
                    .backtrack_limit(BACKTRACK_MAX)
                    .delegate_size_limit(AUTOMATON_SIZE_MAX)
                    .build();
                Matcher::Regex(Arc::new(regex.map_err(|reason| error(reason.to_string()))?))
            }
        };
        Ok(Self { source: pattern.into(), matcher })
    }

    /// Whether the pattern is found anywhere in the name. A match that takes too long is none.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::All => true,
            Matcher::OneLine => !name.strip_suffix('\n').unwrap_or(name).contains('\n'),
            Matcher::Empty => name.is_empty(),
            Matcher::Nothing => false,
            Matcher::Regex(regex) => regex.is_match(name).unwrap_or(false),
        }
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// A pattern text that matches exactly this text.
    pub fn escape(text: &str) -> String {
        fancy_regex::escape(text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap_or_else(|error| panic!("{error}")).matches(name)
    }

    /// (pattern, names it permits, names it refuses): what RabbitMQ 4.3.6 answered, asked with a passive declaration by
    /// a user whose configure permission it is.
    const ORACLE: &[(&str, &[&str], &[&str])] = &[
        (".*", &["a"], &[]),
        ("^a", &["a", "ab"], &["ba"]),
        ("a", &["bab"], &["b"]),
        ("a$", &["ba"], &["ab"]),
        ("^{username}$", &["{username}"], &["axp"]),
        ("a{", &["a{"], &["a"]),
        ("a{,3}", &["a{,3}", "aaa", "b"], &[]),
        ("a{2}", &["aa"], &["a"]),
        ("x{1,2", &["x{1,2"], &["x"]),
        ("[[a]b]", &["[b]", "ab]"], &["a", "b"]),
        ("[a&&b]", &["&", "a", "b"], &[]),
        ("[]a]", &["]", "a"], &["b"]),
        ("[^]a]", &["b"], &["]"]),
        ("[a-z--9]", &["-", "5"], &[]),
        (r"^\w+$", &["abc", "a_1"], &["é"]),
        (r"\h", &[" "], &["a", "f"]),
        ("a]", &["a]"], &[]),
        ("a}", &["a}"], &[]),
        ("(?i)ABC", &["abc"], &[]),
        ("^(?!a)", &["b"], &["a"]),
        (r"^(?!amq\.).*", &["foo"], &["amq.x"]),
        (r"(?<n>a)\k<n>", &["aa"], &["a"]),
        ("(?P<n>a)(?P=n)", &["aa"], &[]),
        ("a++b", &["aab"], &[]),
        (r"\Qa.b\E", &["a.b"], &["axb"]),
        (r"\Aa\z", &["a"], &["ab"]),
        (r"a\Z", &["a"], &["ab"]),
        ("[[:alpha:]]", &["a"], &["1"]),
        (r"\p{L}", &["a"], &["1"]),
        ("a #b", &["a #b"], &["a "]),
        ("^(a+)+$", &["aaa"], &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"]),
        (r"\R", &[], &["a"]),
        (r"\N", &["a"], &[]),
        ("a|", &["b"], &[]),
        (r"\x{41}", &["A"], &[]),
        (r"\x41", &["A"], &[]),
        (r"\d", &["1"], &["a"]),
        (r"\e", &[], &["e"]),
        (r"\_\-\/\#a\.b", &["_-/#a.b"], &["_-/#axb"]),
        (r"\<a", &["<a"], &["a"]),
        (r"\é", &["é"], &[]),
        ("(?x) a b", &["ab"], &[]),
        ("(?#c)a", &["a"], &[]),
        ("(?>a)b", &["ab"], &[]),
        ("(?U)a+", &["a"], &[]),
        (r"[\w.-]+", &[".", "-"], &[]),
        (r"^[a-zA-Z0-9_.\-]+$", &["a-b"], &["a b"]),
        ("(?=a)", &["a"], &["b"]),
        ("(?<=b)a", &["ba"], &["a"]),
        ("(?<!b)a", &["a"], &["ba"]),
        ("(a)?(?(1)b|c)", &["ab", "c"], &[]),
        (r"()\1", &["a"], &[]),
        (r"\b", &["a"], &[]),
        (r"\B", &[], &["a"]),
        (r"[\b]", &[], &["a"]),
        ("$a", &[], &["$a", "a"]),
        (r"\v", &[], &["v"]),
        (r"\H", &["a"], &[]),
        // As 3.10.8 answered; 4.3 refuses the pattern.
        (r"[\d-z]", &["-", "5"], &["a"]),
    ];

    #[test]
    fn patterns_mean_what_they_mean_to_rabbitmq() {
        for (pattern, permitted, refused) in ORACLE {
            for name in *permitted {
                assert!(matches(pattern, name), "{pattern} permits {name}");
            }
            for name in *refused {
                assert!(!matches(pattern, name), "{pattern} refuses {name}");
            }
        }
    }

    #[test]
    fn patterns_rabbitmq_refuses_are_refused() {
        for pattern in ["(a", "*a", "[a", "a**", r"\", "[z-a]", "[a--b]", "(?(1)a|b)", r"\1", r"\y"] {
            let error = Pattern::new(pattern).expect_err(pattern);
            assert!(error.to_string().starts_with(&format!("'{pattern}': ")), "{error}");
        }
    }

    #[test]
    fn patterns_too_large_to_run_are_refused() {
        assert!(Pattern::new(&"a".repeat(PATTERN_SIZE_MAX)).is_ok());
        for pattern in [&"a".repeat(PATTERN_SIZE_MAX + 1), "(((a{0,50}){0,50}){0,50})", &"(".repeat(4000)] {
            assert!(Pattern::new(pattern).is_err(), "{:.20}", pattern);
        }
    }

    #[test]
    fn the_empty_pattern_matches_the_empty_name_only() {
        assert!(matches("", ""));
        assert!(!matches("", "a"));
        assert!(matches("^$", ""));
        assert!(!matches("^$", "a"));
    }

    /// Routing keys may hold a line feed. As RabbitMQ 4.3.6 answered publishers.
    #[test]
    fn everything_is_matched_without_a_regex() {
        for pattern in [".*", "^.*", ".*$", "^.*$"] {
            let compiled = Pattern::new(pattern).expect("valid");
            assert!(!matches!(compiled.matcher, Matcher::Regex(_)), "{pattern}");
            for name in ["", "a", "a\n", "\n", "amq.default"] {
                assert!(compiled.matches(name), "{pattern} {name:?}");
            }
            assert_eq!(compiled.matches("a\nb"), pattern != "^.*$", "{pattern}");
        }
        assert!(!Pattern::default().matches(""));
    }

    #[test]
    fn a_pattern_that_never_ends_refuses() {
        let name = "a".repeat(255);
        for pattern in [r"^(?=a)(a+)+\1b$", "^((?=a)a+)+$x", "(a|(?=a)a)*(a|(?=a)a)*b"] {
            assert!(!matches(pattern, &name), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_keeps_its_text() {
        for pattern in ["", ".*", "^.*$", r"[[a]\w", "a{"] {
            assert_eq!(Pattern::new(pattern).map(|pattern| pattern.as_str().to_owned()).as_deref(), Ok(pattern));
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics(
            pattern in r"[\[\]\\(){}?*+|^$.,:<>=!&~#a-c0-2wdhQE -]{0,24}",
            name in "[a-c\\[\\]é\n-]{0,8}",
        ) {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.matches(&name);
            }
        }

        #[test]
        fn escaped_text_matches_itself_only(text in ".{1,12}", other in ".{0,12}") {
            let pattern = format!("^{}$", Pattern::escape(&text));
            prop_assert!(matches(&pattern, &text));
            prop_assert_eq!(matches(&pattern, &other), text == other);
        }
    }
}
