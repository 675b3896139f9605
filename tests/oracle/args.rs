//! The arguments of a scenario step: bare words, `name=value` pairs and what to remember of the answer.
//!
//! Values are words, `"strings"` with `\n \r \0 \\ \" \xHH` escapes, `0x` byte strings, `{tables}` and
//! `[arrays]`; strings may be repeated (`"a"*1000`) and joined (`$q+"x"`). `$name` is a variable.

use super::value::Value;

/// Largest string a step may ask for.
const STRING_MAX: usize = 64 << 20;

/// The parsed arguments of one step.
#[derive(Debug, Default)]
pub(crate) struct Args {
    words: Vec<Vec<u8>>,
    named: Vec<(String, Value)>,
    /// `-> variable=field`: what to remember of the last answer.
    pub(crate) saves: Vec<(String, String)>,
}

impl Args {
    /// Parses `text`; `variable` gives the value of `$name`.
    pub(crate) fn parse(text: &str, variable: &dyn Fn(&str) -> Vec<u8>) -> Result<Self, String> {
        let mut parser = Parser { rest: text, variable };
        let mut args = Self::default();
        let mut saving = false;
        loop {
            let spaces = parser.rest.len() - parser.rest.trim_start().len();
            parser.skip_spaces();
            if spaces == 0 && !parser.rest.is_empty() && parser.rest.len() < text.len() {
                return Err(format!("expected a space before {:?}", parser.rest));
            }
            if parser.rest.is_empty() {
                return Ok(args);
            } else if parser.eat("->") {
                saving = true;
            } else if let Some(name) = parser.name_of_pair() {
                if saving {
                    let field = parser.word().to_owned();
                    args.saves.push((name, field));
                } else {
                    let value = parser.argument()?;
                    args.named.push((name, value));
                }
            } else {
                args.words.push(parser.string()?);
            }
        }
    }

    /// Arguments made by the program rather than written in a scenario.
    pub(crate) fn of<const N: usize>(named: [(&str, Value); N]) -> Self {
        Self { named: named.map(|(name, value)| (name.to_owned(), value)).into(), ..Self::default() }
    }

    /// The bare word at `index`, as text.
    pub(crate) fn word(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.words.get(index)?).ok()
    }

    /// All bare words joined.
    pub(crate) fn joined_words(&self) -> Vec<u8> {
        self.words.concat()
    }

    /// The value of `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        let found = self.named.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value)
    }

    /// The value of `name` as bytes, if it is a string.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.value(name)? {
            Value::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value of `name` as text, or `default`.
    pub(crate) fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.bytes(name).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or(default)
    }

    /// The value of `name` as a number (`true` is 1), if it was given.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(bytes) = self.bytes(name) else {
            return Ok(None);
        };
        match bytes {
            b"true" => Ok(Some(1)),
            b"false" => Ok(Some(0)),
            digits => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .map(Some)
                .ok_or_else(|| format!("{name} is not a number")),
        }
    }

    /// Fails if an argument is none of `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), String> {
        let stranger = self.named.iter().find(|(name, _)| !known.contains(&name.as_str()));
        stranger.map_or(Ok(()), |(name, _)| Err(format!("unknown argument {name}")))
    }
}

struct Parser<'a> {
    rest: &'a str,
    variable: &'a dyn Fn(&str) -> Vec<u8>,
}

impl<'a> Parser<'a> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest.strip_prefix(token).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn name_of_pair(&mut self) -> Option<String> {
        let (name, rest) = self.rest.split_once('=')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        self.rest = rest;
        Some(name.to_owned())
    }

    fn argument(&mut self) -> Result<Value, String> {
        match self.rest.chars().next() {
            Some('{' | '[') => self.value(),
            _ => Ok(Value::Str(self.string()?)),
        }
    }

    /// Joined and repeated pieces.
    fn string(&mut self) -> Result<Vec<u8>, String> {
        let mut string = Vec::new();
        loop {
            let piece = self.piece()?;
            let times = if self.eat("*") {
                let digits = self.word();
                digits.parse().map_err(|_| format!("bad count {digits:?}"))?
            } else {
                1
            };
            if string.len() + piece.len().saturating_mul(times) > STRING_MAX {
                return Err("string is too long".to_owned());
            }
            string.extend(piece.repeat(times));
            // Pieces may follow directly: `amq.$q`, `$q-1`.
            let joins = |next: char| next == '$' || is_word(next);
            if !self.eat("+") && !self.rest.starts_with(joins) {
                return Ok(string);
            }
        }
    }

    fn piece(&mut self) -> Result<Vec<u8>, String> {
        if self.eat("\"") {
            self.quoted()
        } else if self.eat("$") {
            Ok(self.variable())
        } else if self.eat("0x") {
            let digits = self.word();
            unhex(digits).ok_or_else(|| format!("bad hex {digits:?}"))
        } else {
            match self.word() {
                "" => Err(format!("expected a value before {:?}", self.rest)),
                word => Ok(word.as_bytes().to_vec()),
            }
        }
    }

    fn variable(&mut self) -> Vec<u8> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (self.variable)(name)
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut string = Vec::new();
        loop {
            let mut chars = self.rest.chars();
            let next = chars.next().ok_or("unfinished string")?;
            self.rest = chars.as_str();
            match next {
                '"' => return Ok(string),
                '$' => string.extend(self.variable()),
                '\\' => {
                    let escape = chars.next().ok_or("unfinished escape")?;
                    self.rest = chars.as_str();
                    string.push(match escape {
                        'n' => b'\n',
                        'r' => b'\r',
                        '0' => 0,
                        'x' => {
                            let (digits, rest) = self.rest.split_at_checked(2).ok_or("bad \\x escape")?;
                            self.rest = rest;
                            u8::from_str_radix(digits, 16).map_err(|_| "bad \\x escape")?
                        }
                        '"' | '\\' | '$' => escape as u8,
                        other => return Err(format!("unknown escape \\{other}")),
                    });
                }
                other => string.extend(other.to_string().bytes()),
            }
        }
    }

    /// A field value with its type.
    fn value(&mut self) -> Result<Value, String> {
        self.skip_spaces();
        if self.eat("{") {
            let mut entries = Vec::new();
            loop {
                self.skip_spaces();
                if self.eat("}") {
                    return Ok(Value::Table(entries));
                }
                let (key, quoted) = match self.eat("\"") {
                    true => (self.quoted()?, true),
                    false => (self.word().as_bytes().to_vec(), false),
                };
                // A bare word takes its colon along.
                let key = match key.strip_suffix(b":") {
                    Some(bare) if !quoted => bare.to_vec(),
                    _ if self.eat(":") => key,
                    _ => return Err(format!("expected : before {:?}", self.rest)),
                };
                entries.push((key, self.value()?));
                self.skip_spaces();
                self.eat(",");
            }
        }
        if self.eat("[") {
            let mut items = Vec::new();
            loop {
                self.skip_spaces();
                if self.eat("]") {
                    return Ok(Value::Array(items));
                }
                items.push(self.value()?);
                self.skip_spaces();
                self.eat(",");
            }
        }
        if self.rest.starts_with(['"', '$']) {
            return Ok(Value::Str(self.string()?));
        }
        match self.word() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "void" => Ok(Value::Void),
            "raw" => self.operand().map(Value::Raw),
            "bytes" => self.operand().map(Value::Bytes),
            "time" => self.parsed().map(Value::Time),
            "f32" => self.parsed().map(Value::Float),
            "f64" => self.parsed().map(Value::Double),
            "decimal" => {
                let scale = self.parsed_until_slash()?;
                Ok(Value::Decimal(scale, self.parsed()?))
            }
            type_name => {
                let number = self.parsed()?;
                Value::integer(type_name, number).ok_or_else(|| format!("unknown type {type_name:?}"))
            }
        }
    }

    fn operand(&mut self) -> Result<Vec<u8>, String> {
        self.skip_spaces();
        self.string()
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        self.skip_spaces();
        let word = self.word();
        word.parse().map_err(|_| format!("bad number {word:?}"))
    }

    fn parsed_until_slash(&mut self) -> Result<u8, String> {
        self.skip_spaces();
        let (digits, rest) = self.rest.split_once('/').ok_or("decimal is scale/number")?;
        self.rest = rest;
        digits.parse().map_err(|_| format!("bad scale {digits:?}"))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.:/#*?!@'".contains(c)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::Args;

    fn parse(text: &str) -> Result<Args, String> {
        Args::parse(text, &|name| format!("<{name}>").into_bytes())
    }

    #[test]
    fn strings_are_joined_and_repeated() {
        let args = parse(r#"one=$q+"a"*3 two="\x41$q" three=amq.$q-1 0x4142 word"#).expect("parses");
        assert_eq!(args.bytes("one"), Some(&b"<q>aaa"[..]));
        assert_eq!(args.bytes("two"), Some(&b"A<q>"[..]));
        assert_eq!(args.bytes("three"), Some(&b"amq.<q>-1"[..]));
        assert_eq!((args.word(0), args.word(1)), (Some("AB"), Some("word")));
    }

    #[test]
    fn tables_are_typed() {
        let args = parse(r#"t={a: i8 -1, "b": [true, void], c: {}} -> tag=consumer_tag"#).expect("parses");
        let table = vec![
            (b"a".to_vec(), Value::Int(b'b', -1)),
            (b"b".to_vec(), Value::Array(vec![Value::Bool(true), Value::Void])),
            (b"c".to_vec(), Value::Table(Vec::new())),
        ];
        assert_eq!(args.value("t"), Some(&Value::Table(table)));
        assert_eq!(args.saves, [("tag".to_owned(), "consumer_tag".to_owned())]);
    }

    #[test]
    fn mistakes_are_found() {
        for text in ["a={", "a=\"x", "a={b: i99 1}", "a={b 1}", "a=\"x\"{}", "a=\"x\"*y"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
