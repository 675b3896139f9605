//! Bytes as Erlang prints them: RabbitMQ's error texts show them so. Its line breaks are not imitated.

/// As `~tp` prints a binary: `<<"text">>` if all of it is printable, `<<"text"/utf8>>` if that takes UTF-8 beyond
/// ASCII, and else the numbers. What is no UTF-8 counts as Latin-1 (as in 4.3; 3.10 knows only Latin-1).
pub fn erlang_binary(bytes: &[u8]) -> String {
    let (text, suffix) = match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), if text.is_ascii() { "" } else { "/utf8" }),
        Err(_) => (bytes.iter().copied().map(char::from).collect(), ""),
    };
    if text.is_empty() || !text.chars().all(is_printable) {
        return erlang_numbers(bytes);
    }
    let mut printed = String::from("<<\"");
    for c in text.chars() {
        match escape(c) {
            Some(letter) => printed.extend(['\\', letter]),
            None => printed.push(c),
        }
    }
    printed.push('"');
    printed.push_str(suffix);
    printed.push_str(">>");
    printed
}

/// As `~w` prints a binary: `<<104,105>>`.
pub(super) fn erlang_numbers(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("<<{}>>", numbers.join(","))
}

/// What `io_lib:printable_unicode_list` lets pass.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..) || escape(c).is_some()
}

fn escape(c: char) -> Option<char> {
    Some(match c {
        '"' | '\\' => c,
        '\x08' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\x0b' => 'v',
        '\x0c' => 'f',
        '\r' => 'r',
        '\x1b' => 'e',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EC-2, EC-3: what 4.3 answered to unknown frames with these payloads.
    #[test]
    fn printed_as_by_rabbitmq() {
        for (bytes, printed) in [
            (&b""[..], "<<>>"),
            (b"abc", r#"<<"abc">>"#),
            (b"a\"b'c\\d", r#"<<"a\"b'c\\d">>"#),
            (b"\x08\t\n\x0b\x0c\r\x1b", r#"<<"\b\t\n\v\f\r\e">>"#),
            (b"\x07", "<<7>>"),
            (b"a\x7f", "<<97,127>>"),
            (b"\x00\xff\x0aA", "<<0,255,10,65>>"),
            (b"abc\xe9", r#"<<"abcé">>"#),
            (b"\xa0\xe9\xff", "<<\"\u{a0}éÿ\">>"),
            (b"aaaaaaaaaaaaaaa\xc3", r#"<<"aaaaaaaaaaaaaaaÃ">>"#),
            ("é".as_bytes(), r#"<<"é"/utf8>>"#),
            ("a☃".as_bytes(), r#"<<"a☃"/utf8>>"#),
            ("😀".as_bytes(), r#"<<"😀"/utf8>>"#),
            (b"\x80", "<<128>>"),
            (b"\xc2\x80", "<<194,128>>"),
            (b"abc\xef\xbf\xbe", "<<97,98,99,239,191,190>>"),
        ] {
            assert_eq!(erlang_binary(bytes), printed);
        }
    }
}
