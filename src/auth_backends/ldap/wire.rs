//! LDAP, version 3, as far as questions need it: what is sent is written here, what comes back is read, in BER.
//!
//! ```text
//! message   30 len  02 id  operation
//! bind      60 len  02 version 3, 04 name, 80 password            -> 61 len  0A code ...
//! search    63 len  04 base, 0A scope, 0A deref, 02 sizes, 01 types only, filter, 30 attributes
//!                                                                 -> 64 len  04 name, 30 (30 04 type, 31 (04 value)*)*   each entry
//!                                                                 -> 65 len  0A code ...
//! extended  77 len  80 name                                       -> 78 len  0A code ...
//! unbind    42 00
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A longer answer is none: groups may have many members.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Entries of one answer.
const ENTRIES_MAX: usize = 1000;

const BIND: u8 = 0x60;
const BOUND: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const REFERENCE: u8 = 0x73;
const SEARCHED: u8 = 0x65;
const EXTENDED: u8 = 0x77;
const EXTENDED_ANSWER: u8 = 0x78;

const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// No such object.
const NO_SUCH_OBJECT: i64 = 32;
/// Of a directory that will not say whether the password or the name is wrong.
const INVALID_CREDENTIALS: i64 = 49;

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dn: String,
    pub(super) attributes: Vec<(String, Vec<String>)>,
}

/// Where is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Base = 0,
    SingleLevel = 1,
    Subtree = 2,
}

/// What is looked for. Values are never part of a text, so nothing in them can be taken for more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter<'a> {
    /// Any entry.
    Any,
    /// The attribute has this value.
    Equal(&'a str, &'a str),
}

/// A connection on which one question is asked after the other.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    id: i64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, id: 0 }
    }

    /// The stream, to go on in TLS: the directory agrees.
    pub(super) async fn start_tls(mut self) -> io::Result<S> {
        self.send(&tlv(EXTENDED, &tlv(0x80, START_TLS))).await?;
        match self.answer().await? {
            (EXTENDED_ANSWER, body) if code(&body)? == 0 => Ok(self.stream),
            _ => Err(io::Error::other("the directory does not start TLS")),
        }
    }

    /// Whether this is the password of that name; both empty: nobody in particular.
    pub(super) async fn bind(&mut self, dn: &str, password: &[u8]) -> io::Result<bool> {
        let body = [integer(3), tlv(0x04, dn.as_bytes()), tlv(0x80, password)].concat();
        self.send(&tlv(BIND, &body)).await?;
        match self.answer().await? {
            (BOUND, body) => match code(&body)? {
                0 => Ok(true),
                INVALID_CREDENTIALS | NO_SUCH_OBJECT => Ok(false),
                other => Err(refusal(other)),
            },
            _ => Err(malformed()),
        }
    }

    /// Entries with these attributes. A base that is not there has none.
    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: Filter<'_>,
        attributes: &[&str],
    ) -> io::Result<Vec<Entry>> {
        let filter = match filter {
            Filter::Any => tlv(0x87, b"objectClass"),
            Filter::Equal(name, value) => {
                tlv(0xa3, &[tlv(0x04, name.as_bytes()), tlv(0x04, value.as_bytes())].concat())
            }
        };
        let wanted: Vec<u8> = attributes.iter().flat_map(|name| tlv(0x04, name.as_bytes())).collect();
        let body = [
            tlv(0x04, base.as_bytes()),
            tlv(0x0a, &[scope as u8]),
            tlv(0x0a, &[0]),
            integer(ENTRIES_MAX as i64),
            integer(0),
            tlv(0x01, &[0]),
            filter,
            tlv(0x30, &wanted),
        ];
        self.send(&tlv(SEARCH, &body.concat())).await?;
        let mut entries = Vec::new();
        loop {
            match self.answer().await? {
                (ENTRY, body) if entries.len() < ENTRIES_MAX => entries.push(entry(&body)?),
                (REFERENCE, _) => {}
                (SEARCHED, body) => {
                    return match code(&body)? {
                        0 => Ok(entries),
                        NO_SUCH_OBJECT => Ok(Vec::new()),
                        other => Err(refusal(other)),
                    };
                }
                _ => return Err(malformed()),
            }
        }
    }

    /// Says that nothing more comes.
    pub(super) async fn unbind(&mut self) {
        let _ = self.send(&tlv(UNBIND, &[])).await;
    }

    async fn send(&mut self, operation: &[u8]) -> io::Result<()> {
        self.id += 1;
        self.stream.write_all(&tlv(0x30, &[&integer(self.id), operation].concat())).await?;
        self.stream.flush().await
    }

    /// The next message to the question that was asked last: its kind, and what is in it.
    async fn answer(&mut self) -> io::Result<(u8, Vec<u8>)> {
        if self.stream.read_u8().await? != 0x30 {
            return Err(malformed());
        }
        let length = match self.stream.read_u8().await? {
            short @ 0..=0x7f => usize::from(short),
            long @ 0x81..=0x84 => {
                let mut length = 0;
                for _ in 0x80..long {
                    length = length << 8 | usize::from(self.stream.read_u8().await?);
                }
                length
            }
            _ => return Err(malformed()),
        };
        if length > MESSAGE_BYTES_MAX {
            return Err(malformed());
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).await?;
        let mut reader = Reader(&message);
        if reader.number(0x02)? != self.id {
            return Err(malformed());
        }
        let (kind, body) = reader.next()?;
        Ok((kind, body.to_vec()))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers does not speak LDAP")
}

fn refusal(code: i64) -> io::Error {
    io::Error::other(format!("the directory answered with code {code}"))
}

/// The result code of an answer.
fn code(body: &[u8]) -> io::Result<i64> {
    Reader(body).number(0x0a)
}

fn entry(body: &[u8]) -> io::Result<Entry> {
    let mut reader = Reader(body);
    let dn = reader.text()?;
    let mut attributes = Vec::new();
    let mut list = Reader(reader.part(0x30)?);
    while !list.0.is_empty() {
        let mut attribute = Reader(list.part(0x30)?);
        let name = attribute.text()?;
        let mut values = Reader(attribute.part(0x31)?);
        let mut texts = Vec::new();
        while !values.0.is_empty() {
            texts.push(values.text()?);
        }
        attributes.push((name, texts));
    }
    Ok(Entry { dn, attributes })
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..=0x7f => bytes.push(short as u8),
        long => {
            bytes.push(0x84);
            bytes.extend((long as u32).to_be_bytes());
        }
    }
    bytes.extend(content);
    bytes
}

/// In as few bytes as it takes, as BER wants it. Never negative here.
fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let needless = bytes.windows(2).take_while(|pair| pair[0] == 0 && pair[1] & 0x80 == 0).count();
    tlv(0x02, &bytes[needless..])
}

/// What is left of an encoding.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> io::Result<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return Err(malformed()) };
        let (length, rest) = match usize::from(*first) {
            short @ 0..=0x7f => (short, rest),
            long => {
                let count = long - 0x80;
                if !(1..=4).contains(&count) || rest.len() < count {
                    return Err(malformed());
                }
                let (digits, rest) = rest.split_at(count);
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
        };
        if rest.len() < length {
            return Err(malformed());
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Ok((*tag, content))
    }

    fn part(&mut self, tag: u8) -> io::Result<&'a [u8]> {
        match self.next()? {
            (own, content) if own == tag => Ok(content),
            _ => Err(malformed()),
        }
    }

    fn text(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.part(0x04)?).into_owned())
    }

    /// An integer, or one of an enumeration.
    fn number(&mut self, tag: u8) -> io::Result<i64> {
        match self.part(tag)? {
            [] => Err(malformed()),
            digits if digits.len() > 8 => Err(malformed()),
            digits => {
                let sign = if digits[0] & 0x80 == 0 { 0 } else { -1 };
                Ok(digits.iter().fold(sign, |number, digit| number << 8 | i64::from(*digit)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_read() {
        let values = [tlv(0x04, b"x"), tlv(0x04, &[b'y'; 300])].concat();
        let attribute = tlv(0x30, &[tlv(0x04, b"member"), tlv(0x31, &values)].concat());
        let body = [tlv(0x04, b"cn=a"), tlv(0x30, &attribute)].concat();
        let read = entry(&body).unwrap();
        assert_eq!((read.dn.as_str(), read.attributes[0].0.as_str()), ("cn=a", "member"));
        assert_eq!(read.attributes[0].1, ["x".to_owned(), "y".repeat(300)]);
        assert_eq!(Reader(&integer(300)).number(0x02).unwrap(), 300);
        assert!(Reader(&[0x04, 0x85, 1, 1, 1, 1, 1]).next().is_err());
    }

    proptest! {
        /// Whatever a directory sends, nothing panics.
        #[test]
        fn nothing_that_comes_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = entry(&bytes);
            let _ = code(&bytes);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut message = vec![0x30, bytes.len().min(0x7f) as u8];
            message.extend(&bytes);
            let stream = tokio::io::join(&message[..], tokio::io::sink());
            let _ = runtime.block_on(Connection::new(stream).search("", Scope::Base, Filter::Any, &[]));
        }
    }
}
