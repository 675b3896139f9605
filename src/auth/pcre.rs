//! Rewrites a PCRE pattern where the regex engine in use would read the same text differently.
//!
//! What only one of the two accepts stays as it is and is reported when it is compiled; what both accept must not mean
//! more here than in RabbitMQ. Two differences remain: a character is a Unicode character here and a byte there, and
//! `$` matches the very end only, not before a last line feed.

/// Word characters, as the inside of a class: PCRE knows ASCII ones only.
const WORD: &str = "0-9A-Za-z_";
const DIGIT: &str = "0-9";
const SPACE: &str = r"\t-\r\x20";
const HORIZONTAL: &str = r"\t\x20";
const VERTICAL: &str = r"\n-\r";

/// Characters that mean something in a class: to PCRE, to the engine (`&&`, `~~`, `--`, a nested `[`), or under `(?x)`.
const CLASS_SYNTAX: &str = r"[]\^-&~# ";

/// The pattern in the engine's syntax.
pub(super) fn translate(pattern: &str) -> String {
    let mut translation = Translation { rest: pattern, out: String::with_capacity(pattern.len()) };
    while let Some(c) = translation.next() {
        match c {
            '\\' => translation.escape(),
            '[' => translation.class(),
            _ => translation.out.push(c),
        }
    }
    translation.out
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
}

/// One element of a class, already in the engine's syntax.
enum Atom {
    /// A character, which may begin or end a range.
    Character(String),
    /// A set such as `\w` or `[:alpha:]`.
    Set(String),
}

impl Translation<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// After a backslash outside of a class.
    fn escape(&mut self) {
        let Some(c) = self.next() else {
            self.out.push('\\');
            return;
        };
        match c {
            'Q' => {
                let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.out.push_str(&fancy_regex::escape(quoted));
                self.rest = rest;
            }
            'E' => {}
            'N' => self.out.push_str(r"[^\n]"),
            'R' => self.out.push_str(r"(?>\r\n|[\n-\r])"),
            // The engine's word boundaries.
            '<' | '>' => self.out.push(c),
            _ => match set(c) {
                Some((negated, members)) => {
                    self.out.push_str(if negated { "[^" } else { "[" });
                    self.out.push_str(members);
                    self.out.push(']');
                }
                None => self.out.extend(['\\', c]),
            },
        }
    }

    /// After the `[` that begins a class.
    fn class(&mut self) {
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        // A bracket in the first place is a member.
        if self.skip("]") {
            self.out.push_str(r"\]");
        }
        while !self.rest.is_empty() {
            if self.skip("]") {
                self.out.push(']');
                return;
            }
            let begins_range = match self.atom() {
                Atom::Character(text) => {
                    self.out.push_str(&text);
                    true
                }
                Atom::Set(text) => {
                    self.out.push_str(&text);
                    false
                }
            };
            let is_range = begins_range && self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if is_range && self.skip("-") {
                self.out.push('-');
                let (Atom::Character(text) | Atom::Set(text)) = self.atom();
                self.out.push_str(&text);
            }
        }
    }

    fn atom(&mut self) -> Atom {
        if let Some(posix) = self.posix() {
            return Atom::Set(posix);
        }
        match self.next() {
            Some('\\') => match self.next() {
                // A backspace here, not a word boundary.
                Some('b') => Atom::Character(r"\x08".to_owned()),
                Some(c) => match set(c) {
                    Some((true, members)) => Atom::Set(format!("[^{members}]")),
                    Some((false, members)) => Atom::Set(members.to_owned()),
                    None => Atom::Character(self.numeric(c)),
                },
                None => Atom::Character("\\".to_owned()),
            },
            Some(c) if CLASS_SYNTAX.contains(c) => Atom::Character(format!("\\{c}")),
            Some(c) => Atom::Character(c.to_string()),
            None => Atom::Character(String::new()),
        }
    }

    /// An escape in a class; one by number is taken whole, so that a range can follow it.
    fn numeric(&mut self, c: char) -> String {
        let digits = match (c, self.rest.find('}')) {
            ('x', Some(end)) if self.rest.starts_with('{') => end + 1,
            ('x', _) => self.rest.chars().take(2).take_while(char::is_ascii_hexdigit).count(),
            _ => 0,
        };
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        format!("\\{c}{number}")
    }

    /// `[:name:]`, which has the same meaning in both.
    fn posix(&mut self) -> Option<String> {
        let inside = self.rest.strip_prefix("[:")?;
        let (name, rest) = inside.split_once(":]")?;
        let is_name = name.trim_start_matches('^').bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_name {
            return None;
        }
        self.rest = rest;
        Some(format!("[:{name}:]"))
    }
}

/// The set an escape stands for: whether all but the members, and the members.
fn set(c: char) -> Option<(bool, &'static str)> {
    let members = match c.to_ascii_lowercase() {
        'w' => WORD,
        'd' => DIGIT,
        's' => SPACE,
        'h' => HORIZONTAL,
        'v' => VERTICAL,
        _ => return None,
    };
    Some((c.is_ascii_uppercase(), members))
}
