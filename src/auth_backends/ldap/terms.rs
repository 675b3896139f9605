//! Terms of Erlang, as far as the queries of `rabbitmq.conf` are made of them.

use std::iter::Peekable;
use std::str::Chars;

/// A query nested deeper than this is none.
const DEPTH_MAX: usize = 64;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Atom(String),
    /// `"..."`, and `<<"...">>`, which means the same here.
    Text(String),
    Tuple(Vec<Self>),
    List(Vec<Self>),
}

impl Term {
    /// `None`: it is none, or there is more than one. A full stop at the end is nothing.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut reader = Reader(text.chars().peekable());
        let term = reader.term(0)?;
        reader.takes('.');
        reader.space();
        reader.0.next().is_none().then_some(term)
    }
}

struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    fn term(&mut self, depth: usize) -> Option<Term> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match *self.0.peek()? {
            '{' => self.sequence('}', depth).map(Term::Tuple),
            '[' => self.sequence(']', depth).map(Term::List),
            '"' => self.quoted('"').map(Term::Text),
            '\'' => self.quoted('\'').map(Term::Atom),
            '<' => {
                self.word("<<")?;
                self.space();
                // `<<>>` is empty.
                let text = if self.0.peek() == Some(&'"') { self.quoted('"')? } else { String::new() };
                self.space();
                self.word(">>")?;
                Some(Term::Text(text))
            }
            first if first.is_ascii_lowercase() => {
                let mut name = String::new();
                while let Some(c) = self.0.next_if(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '@') {
                    name.push(c);
                }
                Some(Term::Atom(name))
            }
            _ => None,
        }
    }

    /// What is between brackets, commas apart.
    fn sequence(&mut self, end: char, depth: usize) -> Option<Vec<Term>> {
        self.0.next();
        let mut terms = Vec::new();
        if self.takes(end) {
            return Some(terms);
        }
        loop {
            terms.push(self.term(depth + 1)?);
            if self.takes(end) {
                return Some(terms);
            }
            if !self.takes(',') {
                return None;
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        self.0.next();
        let mut text = String::new();
        loop {
            match self.0.next()? {
                c if c == quote => return Some(text),
                '\\' => text.push(match self.0.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    's' => ' ',
                    other => other,
                }),
                c => text.push(c),
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        word.chars().all(|c| self.0.next() == Some(c)).then_some(())
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.space();
        self.0.next_if_eq(&wanted).is_some()
    }

    fn space(&mut self) {
        while self.0.next_if(|c| c.is_whitespace()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read() {
        let text = |text: &str| Term::Text(text.to_owned());
        let atom = |name: &str| Term::Atom(name.to_owned());
        assert_eq!(Term::read(" {constant, true} . "), Some(Term::Tuple(vec![atom("constant"), atom("true")])));
        assert_eq!(
            Term::read(r#"[<<"a\"b">>,"",'and',[] ,<<>>]"#),
            Some(Term::List(vec![text("a\"b"), text(""), atom("and"), Term::List(vec![]), text(""),]))
        );
        for bad in ["", "{a", "{a,}", "a b", "{a}}", "\"a", "Var", "<<a>>", "7", &"[".repeat(100_000)] {
            assert_eq!(Term::read(bad), None, "{bad:.20}");
        }
    }
}
