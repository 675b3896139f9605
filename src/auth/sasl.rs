//! The SASL mechanisms: one response, no challenge. PLAIN and AMQPLAIN are read here; EXTERNAL and ANONYMOUS say nothing
//! that counts.

use std::fmt;

/// A mechanism a client may choose in `connection.start-ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `NUL user NUL password`, RFC 4616 without an authorisation identity.
    Plain,
    /// A field table with `LOGIN` and `PASSWORD`, without its length prefix.
    AmqPlain,
    /// Whoever the client's certificate says it is.
    External,
    /// Nobody in particular.
    Anonymous,
}

impl Mechanism {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Plain, Self::AmqPlain, Self::External, Self::Anonymous];

    /// The mechanism of that exact (upper case) name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.as_str() == name)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
            Self::External => "EXTERNAL",
            Self::Anonymous => "ANONYMOUS",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a login was refused. `Display` is for the log, after `"<mechanism> login refused: "`.
///
/// A client never learns more than that it was refused: 403, or no close frame at all for
/// [`Refused::Malformed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Unknown user, wrong or empty password, or a user without a password.
    BadCredentials {
        /// As the client gave it.
        user: String,
    },
    /// The right password, from another machine, for one of the loopback users.
    Loopback {
        /// Which one.
        user: String,
    },
    /// The client's certificate has no name of the sort that is a user's here.
    Nameless,
    /// A backend other than the internal one says no.
    Backend {
        /// As the client gave it.
        user: String,
        /// In the backend's words.
        reason: String,
    },
    /// The response does not have the form of its mechanism, or the mechanism was not offered.
    Malformed,
}

impl Refused {
    /// A backend other than the internal one says no. `reason` must not hold a secret.
    pub fn by_backend(user: &str, reason: &str) -> Self {
        Self::Backend { user: loggable(user), reason: loggable(reason) }
    }

    pub(super) fn bad_credentials(user: &str) -> Self {
        Self::BadCredentials { user: loggable(user) }
    }

    pub(super) fn loopback(user: &str) -> Self {
        Self::Loopback { user: loggable(user) }
    }
}

impl Refused {
    /// Who it was, as far as the client said.
    pub fn user(&self) -> &str {
        match self {
            Self::BadCredentials { user } | Self::Loopback { user } | Self::Backend { user, .. } => user,
            Self::Nameless | Self::Malformed => "",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCredentials { user } => write!(f, "user '{user}' - invalid credentials"),
            Self::Loopback { user } => write!(f, "user '{user}' can only connect via localhost"),
            Self::Nameless => f.write_str("no user name in the client's certificate"),
            Self::Backend { user, reason } => write!(f, "user '{user}' - {reason}"),
            Self::Malformed => f.write_str("malformed response"),
        }
    }
}

impl std::error::Error for Refused {}

/// A name from a stranger, cut and without control characters, so that it cannot forge or flood a log.
pub fn loggable(name: &str) -> String {
    let mut printable = String::new();
    for c in name.chars() {
        if printable.len() >= super::USER_NAME_SIZE_MAX {
            printable.push('…');
            break;
        }
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// User and password as they stand in a response.
#[derive(PartialEq, Eq)]
pub(super) struct Credentials<'a> {
    pub(super) user: &'a [u8],
    pub(super) password: &'a [u8],
}

impl<'a> Credentials<'a> {
    /// Takes a response apart.
    pub(super) fn parse(mechanism: Mechanism, response: &'a [u8]) -> Result<Self, Refused> {
        match mechanism {
            Mechanism::Plain => Self::parse_plain(response).ok_or(Refused::Malformed),
            Mechanism::AmqPlain => match parse_amqplain(response) {
                Some((Value::Bytes(user), Value::Bytes(password))) => Ok(Self { user, password }),
                // RabbitMQ answers values of other types as it answers a wrong password.
                Some((Value::Bytes(user), Value::Other)) => {
                    Err(Refused::bad_credentials(&String::from_utf8_lossy(user)))
                }
                Some((Value::Other, _)) => Err(Refused::bad_credentials("")),
                None => Err(Refused::Malformed),
            },
            Mechanism::External | Mechanism::Anonymous => Err(Refused::Malformed),
        }
    }

    /// RabbitMQ differs from RFC 4616: no authorisation identity before the first NUL. A third NUL is an error in both.
    fn parse_plain(response: &'a [u8]) -> Option<Self> {
        let rest = response.strip_prefix(&[0])?;
        let mut parts = rest.split(|byte| *byte == 0);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(user), Some(password), None) => Some(Self { user, password }),
            _ => None,
        }
    }
}

/// The values of `LOGIN` and `PASSWORD`; `None` if the table is broken or lacks one.
fn parse_amqplain(response: &[u8]) -> Option<(Value<'_>, Value<'_>)> {
    let (mut user, mut password) = (None, None);
    let mut table = Reader(response);
    while !table.0.is_empty() {
        let name = table.short_string()?;
        let value = table.value()?;
        // The first of two equal keys counts, as in RabbitMQ.
        match name {
            b"LOGIN" if user.is_none() => user = Some(value),
            b"PASSWORD" if password.is_none() => password = Some(value),
            _ => {}
        }
    }
    Some((user?, password?))
}

enum Value<'a> {
    /// `S` (long string) or `x` (byte array).
    Bytes(&'a [u8]),
    Other,
}

/// Reads the outermost level of a field table and steps over the rest: nothing recurses, nothing allocates.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn short_string(&mut self) -> Option<&'a [u8]> {
        let size = self.byte()?;
        self.take(size.into())
    }

    fn long_string(&mut self) -> Option<&'a [u8]> {
        let size = self.take(4)?.first_chunk().map(|size| u32::from_be_bytes(*size))?;
        self.take(usize::try_from(size).ok()?)
    }

    /// A type octet as RabbitMQ reads it, and its value.
    fn value(&mut self) -> Option<Value<'a>> {
        match self.byte()? {
            b'S' | b'x' => return self.long_string().map(Value::Bytes),
            b'F' | b'A' => self.long_string()?,
            b'V' => self.take(0)?,
            b't' | b'b' | b'B' => self.take(1)?,
            b's' | b'u' => self.take(2)?,
            b'I' | b'i' | b'f' => self.take(4)?,
            b'D' => self.take(5)?,
            b'l' | b'L' | b'd' | b'T' => self.take(8)?,
            _ => return None,
        };
        Some(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(response: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        parse(Mechanism::Plain, response)
    }

    fn amqplain(response: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        parse(Mechanism::AmqPlain, response)
    }

    fn parse(mechanism: Mechanism, response: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        Credentials::parse(mechanism, response).map(|c| (c.user.to_vec(), c.password.to_vec()))
    }

    fn login(user: &[u8], password: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        Ok((user.to_vec(), password.to_vec()))
    }

    /// A table without length prefix: (name, type octet, bytes of the value).
    fn table(fields: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut table = Vec::new();
        for (name, kind, value) in fields {
            table.push(u8::try_from(name.len()).expect("a short name"));
            table.extend(name.as_bytes());
            table.push(*kind);
            table.extend(*value);
        }
        table
    }

    fn long(value: &[u8]) -> Vec<u8> {
        let size = u32::try_from(value.len()).expect("a short value");
        [&size.to_be_bytes(), value].concat()
    }

    #[test]
    fn knows_its_mechanisms() {
        for name in ["PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS"] {
            assert_eq!(Mechanism::parse(name).map(|mechanism| mechanism.to_string()).as_deref(), Some(name));
        }
        for name in ["", "plain", "PLAIN ", "RABBIT-CR-DEMO", "PLAIN AMQPLAIN"] {
            assert_eq!(Mechanism::parse(name), None, "{name}");
        }
    }

    /// Each case as RabbitMQ 3.10 and 4.3 treat it: accepted, 403, or silence (malformed).
    #[test]
    fn plain_has_two_parts_each_after_a_nul() {
        assert_eq!(plain(b"\0guest\0guest"), login(b"guest", b"guest"));
        assert_eq!(plain(b"\0guest\0"), login(b"guest", b""));
        assert_eq!(plain(b"\0\0"), login(b"", b""));
        assert_eq!(plain(b"\0\xff\0\xfe"), login(b"\xff", b"\xfe"));
        let malformed: [&[u8]; 7] =
            [b"", b"\0", b"\0guest", b"guest", b"guest\0guest\0guest", b"\0guest\0guest\0", b"\0guest\0guest\0more"];
        for response in malformed {
            assert_eq!(plain(response), Err(Refused::Malformed), "{response:?}");
        }
    }

    #[test]
    fn amqplain_takes_long_strings_and_byte_arrays_in_any_order() {
        let (user, password) = (long(b"joe"), long(b"pw"));
        for (one, other) in [(b'S', b'S'), (b'x', b'x'), (b'S', b'x')] {
            assert_eq!(
                amqplain(&table(&[("LOGIN", one, &user), ("PASSWORD", other, &password)])),
                login(b"joe", b"pw")
            );
            assert_eq!(
                amqplain(&table(&[("PASSWORD", one, &password), ("LOGIN", other, &user)])),
                login(b"joe", b"pw")
            );
        }
    }

    #[test]
    fn amqplain_takes_the_first_of_equal_keys() {
        let response = table(&[
            ("LOGIN", b'S', &long(b"joe")),
            ("LOGIN", b'S', &long(b"ann")),
            ("PASSWORD", b'S', &long(b"pw")),
            ("PASSWORD", b'I', &[0; 4]),
        ]);
        assert_eq!(amqplain(&response), login(b"joe", b"pw"));
    }

    #[test]
    fn amqplain_steps_over_every_type_rabbitmq_knows() {
        let sizes = [(b"V", 0), (b"t", 1), (b"b", 1), (b"B", 1), (b"s", 2), (b"u", 2), (b"I", 4), (b"i", 4), (b"f", 4)];
        let more = [(b"D", 5), (b"l", 8), (b"L", 8), (b"d", 8), (b"T", 8)];
        let mut extras: Vec<(u8, Vec<u8>)> =
            sizes.iter().chain(&more).map(|(kind, size)| (kind[0], vec![0; *size])).collect();
        extras.extend(b"SxFA".iter().map(|kind| (*kind, long(b"\x03abI\0\0\0\0"))));
        for (kind, value) in extras {
            let response =
                table(&[("extra", kind, &value), ("LOGIN", b'S', &long(b"joe")), ("PASSWORD", b'S', &long(b"pw"))]);
            assert_eq!(amqplain(&response), login(b"joe", b"pw"), "{}", char::from(kind));
        }
    }

    #[test]
    fn amqplain_without_both_keys_is_malformed() {
        let (user, password) = (long(b"joe"), long(b"pw"));
        let whole = table(&[("LOGIN", b'S', &user), ("PASSWORD", b'S', &password)]);
        for end in 0..whole.len() {
            assert_eq!(amqplain(&whole[..end]), Err(Refused::Malformed), "cut at {end}");
        }
        let malformed = [
            table(&[("login", b'S', &user), ("password", b'S', &password)]),
            table(&[("LOGIN", b'S', &user), ("PASSWORD", b'Z', &password)]),
            table(&[("LOGIN", b'S', &user), ("PASSWORD", b'S', &u32::MAX.to_be_bytes())]),
            long(&whole),
            [&whole[..], b"\x01"].concat(),
        ];
        for response in malformed {
            assert_eq!(amqplain(&response), Err(Refused::Malformed), "{response:?}");
        }
    }

    /// RabbitMQ closes with 403 here, where it is silent for a malformed table.
    #[test]
    fn amqplain_values_of_other_types_are_bad_credentials() {
        let response = table(&[("LOGIN", b'S', &long(b"joe")), ("PASSWORD", b'I', &[0; 4])]);
        assert_eq!(amqplain(&response), Err(Refused::BadCredentials { user: "joe".to_owned() }));
        let response = table(&[("LOGIN", b't', &[1]), ("PASSWORD", b'S', &long(b"pw"))]);
        assert_eq!(amqplain(&response), Err(Refused::BadCredentials { user: String::new() }));
    }

    #[test]
    fn refusals_are_fit_for_a_log() {
        assert_eq!(Refused::bad_credentials("joe").to_string(), "user 'joe' - invalid credentials");
        assert_eq!(Refused::loopback("guest").to_string(), "user 'guest' can only connect via localhost");
        assert_eq!(Refused::Malformed.to_string(), "malformed response");
        assert_eq!(Refused::bad_credentials("a\n\x1bb").to_string(), r"user 'a\n\u{1b}b' - invalid credentials");
        assert!(Refused::bad_credentials(&"é".repeat(100_000)).to_string().len() < 400);
    }

    proptest! {
        #[test]
        fn no_response_panics(response in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = plain(&response);
            let _ = amqplain(&response);
        }

        /// Bytes that look like a table get further than any bytes.
        #[test]
        fn no_table_panics(
            fields in prop::collection::vec(
                (
                    prop::sample::select(vec!["LOGIN", "PASSWORD", "", "x"]),
                    prop::sample::select(b"SxFAVtbBsuIifDlLdTZ\0".to_vec()),
                    prop::collection::vec(prop::sample::select(vec![0u8, 0, 0, 1, 5, 255, b'S']), 0..20),
                ),
                0..6,
            ),
        ) {
            let fields: Vec<(&str, u8, &[u8])> = fields.iter().map(|(n, k, v)| (*n, *k, &v[..])).collect();
            let _ = amqplain(&table(&fields));
        }

        #[test]
        fn what_is_written_is_read(
            user in prop::collection::vec(1u8.., 0..300),
            password in prop::collection::vec(1u8.., 0..300),
        ) {
            let response = [b"\0", &user[..], b"\0", &password[..]].concat();
            prop_assert_eq!(plain(&response), login(&user, &password));
            let response = table(&[("LOGIN", b'S', &long(&user)), ("PASSWORD", b'S', &long(&password))]);
            prop_assert_eq!(amqplain(&response), login(&user, &password));
        }
    }
}
