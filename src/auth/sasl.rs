//! The SASL mechanisms a client can log in by.

use super::Refused;

/// A mechanism this broker offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// `NUL user NUL password`.
    Plain,
    /// A field table with LOGIN and PASSWORD.
    AmqPlain,
}

impl Mechanism {
    /// What connection.start offers: the first is what most clients take.
    pub const OFFERED: &str = "PLAIN AMQPLAIN";

    /// Reads the mechanism of connection.start-ok.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Plain, Self::AmqPlain].into_iter().find(|mechanism| mechanism.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
        }
    }

    /// User and password from a response.
    pub(super) fn credentials(self, response: &[u8]) -> Result<(&str, &str), Refused> {
        let (user, password) = match self {
            Self::Plain => plain(response),
            Self::AmqPlain => amqplain(response),
        }
        .ok_or(Refused::Malformed)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Refused::Malformed);
        Ok((text(user)?, text(password)?))
    }
}

/// SA-1: an authorisation id before the first NUL is not accepted.
fn plain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = response.strip_prefix(b"\0")?;
    let nul = rest.iter().position(|byte| *byte == 0)?;
    let (user, password) = (&rest[..nul], &rest[nul + 1..]);
    (!password.contains(&0)).then_some((user, password))
}

/// SA-2: the table comes without its length. Only strings are looked at, so only they can be passed over; clients
/// send nothing else.
fn amqplain(mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut login, mut password) = (None, None);
    while let Some((length, after)) = rest.split_first() {
        let (key, after) = after.split_at_checked(usize::from(*length))?;
        let (b'S' | b'x', after) = after.split_first()? else {
            return None;
        };
        let (length, after) = after.split_first_chunk()?;
        let (value, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        match key {
            b"LOGIN" => login = Some(value),
            b"PASSWORD" => password = Some(value),
            _ => {}
        }
        rest = after;
    }
    Some((login?, password?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_mechanisms_give_user_and_password() {
        assert_eq!(Mechanism::Plain.credentials(b"\0me\0secret"), Ok(("me", "secret")));
        let table = b"\x05LOGINS\0\0\0\x02me\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(Mechanism::AmqPlain.credentials(table), Ok(("me", "secret")));
    }

    /// FEATURES SA-1, HS-10.
    #[test]
    fn malformed_responses_are_refused() {
        for response in [&b""[..], b"me\0secret", b"id\0me\0secret", b"\0me", b"\0me\0sec\0ret", b"\0\xff\0secret"] {
            assert_eq!(Mechanism::Plain.credentials(response), Err(Refused::Malformed), "{response:?}");
        }
        for response in [&b""[..], b"\x05LOGIN", b"\x05LOGINS\xff\xff\xff\xff", b"\x05LOGINI\0\0\0\x02"] {
            assert_eq!(Mechanism::AmqPlain.credentials(response), Err(Refused::Malformed), "{response:?}");
        }
    }

    proptest! {
        #[test]
        fn no_response_panics(response in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Mechanism::Plain.credentials(&response);
            let _ = Mechanism::AmqPlain.credentials(&response);
        }
    }
}
