//! Reading what the broker must know of a message's properties: RabbitMQ's checks of one publish, in its order.

use super::dedup::{self, ID_HEADER, PRODUCER_HEADER, SEQUENCE_HEADER};
use super::event::ChannelKey;
use super::message::{Body, Facts};
use super::queue::TTL_MS_MAX;
use super::refusal::Refusal;
use super::reply_to::REPLY_TO;
use crate::auth::User;
use crate::wire::{Properties, RawTable, RawValue, Table};

/// A complete publish, as a session assembled it.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// Where confirms go.
    pub channel: ChannelKey,
    /// `exchange shortstr | routing-key shortstr`.
    pub address: &'a [u8],
    /// The exchange's name.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// Raw property flags and values.
    pub properties: &'a [u8],
    /// The body.
    pub body: Body<'a>,
    /// The session returns what is routed nowhere.
    pub mandatory: bool,
    /// Sequence number in confirm mode.
    pub confirm: Option<u64>,
}

/// What the properties say that matters here.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) facts: Facts,
    pub(super) headers: Option<RawTable<'a>>,
    pub(super) user_id: Option<&'a [u8]>,
    /// CC and BCC are present.
    pub(super) more_keys: Option<MoreKeys>,
    pub(super) properties: Properties<'a>,
}

/// Routing keys from the headers (RO-4).
#[derive(Debug)]
pub(super) struct MoreKeys {
    pub(super) keys: Vec<String>,
    /// How many of them, at the front, are from CC.
    pub(super) cc_count: usize,
    /// BCC is not delivered.
    pub(super) has_bcc: bool,
}

impl<'a> Read<'a> {
    /// Decodes the properties and checks expiration, CC and BCC.
    pub(super) fn new(raw: &'a [u8]) -> Result<Self, Refusal> {
        let properties = Properties::decode(raw).map_err(|_| Refusal::MalformedProperties)?;
        let expiration_ms = match properties.expiration {
            Some(expiration) => Some(parse_expiration(expiration)?),
            None => None,
        };
        let facts = Facts {
            // BP-2: anything but 2 is transient.
            persistent: properties.delivery_mode == Some(2),
            priority: properties.priority,
            expiration_ms,
            has_id: false,
            is_numbered: false,
            has_died: false,
        };
        let mut read =
            Self { facts, headers: properties.headers, user_id: properties.user_id, more_keys: None, properties };
        if let Some(headers) = properties.headers
            && !headers.is_empty()
        {
            read.read_headers(headers)?;
        }
        Ok(read)
    }

    /// Apart, so that messages without headers pay nothing for it.
    #[inline(never)]
    fn read_headers(&mut self, headers: RawTable<'a>) -> Result<(), Refusal> {
        // Else it would be the consumers that cannot read it.
        headers.check().map_err(|_| Refusal::MalformedProperties)?;
        let known = Known::of(headers);
        self.more_keys = known.more_keys()?;
        self.facts.has_id = known.id.is_some();
        self.facts.is_numbered = known.is_numbered()?;
        Ok(())
    }

    /// BP-4.
    pub(super) fn check_user_id(&self, user: &User) -> Result<(), Refusal> {
        match self.user_id {
            Some(claimed) if claimed != user.name.as_bytes() && !user.has_tag("impersonator") => Err(Refusal::UserId {
                claimed: String::from_utf8_lossy(claimed).into_owned(),
                user: user.name.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// A direct reply is wanted (DR-2).
    pub(super) fn wants_reply(&self) -> bool {
        self.properties.reply_to == Some(REPLY_TO.as_bytes())
    }

    /// A route found by the key alone is the route, and the properties are handed on as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.more_keys.is_none() && !self.wants_reply()
    }

    /// The properties as they are handed on, if that is not as they came: without BCC, and with the name replies are
    /// to go to.
    pub(super) fn rewritten(&self, reply_to: Option<&str>) -> Result<Option<Vec<u8>>, Refusal> {
        let has_bcc = self.more_keys.as_ref().is_some_and(|more| more.has_bcc);
        let raw = if has_bcc { Some(self.without_bcc()?) } else { None };
        let Some(name) = reply_to else { return Ok(raw) };
        let properties = match &raw {
            Some(raw) => Properties::decode(raw).map_err(|_| Refusal::MalformedProperties)?,
            None => self.properties,
        };
        let mut rewritten = Vec::new();
        Properties { reply_to: Some(name.as_bytes()), ..properties }.encode(&mut rewritten);
        Ok(Some(rewritten))
    }

    /// The keys that only routing is to know.
    pub(super) fn bcc(&self) -> &[String] {
        self.more_keys.as_ref().map_or(&[], |more| &more.keys[more.cc_count..])
    }

    fn without_bcc(&self) -> Result<Vec<u8>, Refusal> {
        let headers = self.headers.unwrap_or_default().parse().map_err(|_| Refusal::MalformedProperties)?;
        let mut kept = Table::default();
        for (key, value) in headers.iter().filter(|(key, _)| *key != b"BCC") {
            kept.push(key, value.clone());
        }
        let mut encoded = Vec::new();
        kept.encode_bare(&mut encoded);
        let mut raw = Vec::new();
        Properties { headers: Some(RawTable(&encoded)), ..self.properties }.encode(&mut raw);
        Ok(raw)
    }
}

/// The headers that the broker looks at, found in one go. Of equal names the first counts (BP-6).
#[derive(Debug, Default)]
struct Known<'a> {
    cc: Option<RawValue<'a>>,
    bcc: Option<RawValue<'a>>,
    id: Option<RawValue<'a>>,
    producer: Option<RawValue<'a>>,
    sequence: Option<RawValue<'a>>,
    death: Option<RawValue<'a>>,
}

impl<'a> Known<'a> {
    fn of(headers: RawTable<'a>) -> Self {
        let mut known = Self::default();
        for (name, value) in headers.iter() {
            let place = match name {
                b"CC" => &mut known.cc,
                b"BCC" => &mut known.bcc,
                b"x-death" => &mut known.death,
                ID_HEADER => &mut known.id,
                PRODUCER_HEADER => &mut known.producer,
                SEQUENCE_HEADER => &mut known.sequence,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        known
    }

    fn more_keys(&self) -> Result<Option<MoreKeys>, Refusal> {
        let mut more = MoreKeys { keys: Vec::new(), cc_count: 0, has_bcc: self.bcc.is_some() };
        for (header, value) in [("CC", self.cc), ("BCC", self.bcc)] {
            let Some(value) = value else {
                continue;
            };
            let Some(values) = value.array() else {
                return Err(Refusal::HeaderType { header, value_type: value.type_name() });
            };
            for key in values {
                // RabbitMQ takes only longstr elements and passes over the rest.
                if let Some(key) = key.longstr() {
                    more.keys.push(String::from_utf8_lossy(key).into_owned());
                }
            }
            if header == "CC" {
                more.cc_count = more.keys.len();
            }
        }
        let some = more.has_bcc || !more.keys.is_empty();
        Ok(some.then_some(more))
    }

    /// A dead letter that somebody publishes again is a new message: its number was used up when it first came.
    fn is_numbered(&self) -> Result<bool, Refusal> {
        Ok(dedup::check_number(self.producer, self.sequence)? && self.death.is_none())
    }
}

/// BP-3: a decimal number of milliseconds, with the complaints of Erlang's `string:to_integer`.
fn parse_expiration(raw: &[u8]) -> Result<u64, Refusal> {
    let invalid =
        |reason: String| Refusal::InvalidExpiration { value: String::from_utf8_lossy(raw).into_owned(), reason };
    let digits_from = usize::from(matches!(raw.first(), Some(b'+' | b'-')));
    let digits_to =
        raw.iter().skip(digits_from).position(|byte| !byte.is_ascii_digit()).map_or(raw.len(), |n| n + digits_from);
    if digits_to == digits_from {
        return Err(invalid("no_integer".into()));
    }
    let number = String::from_utf8_lossy(&raw[..digits_to]).into_owned();
    if digits_to < raw.len() {
        let rest = String::from_utf8_lossy(&raw[digits_to..]);
        return Err(invalid(format!("{{leftover_string,\"{rest}\"}}")));
    }
    let shown = number.trim_start_matches('+');
    match number.parse::<i128>() {
        Ok(n) if n < 0 => Err(invalid(format!("{{value_negative,{n}}}"))),
        Ok(n) if n <= i128::from(TTL_MS_MAX) => Ok(n as u64),
        Ok(n) => Err(invalid(format!("{{value_too_large,{n}}}"))),
        // More digits than any integer here.
        Err(_) if shown.starts_with('-') => Err(invalid(format!("{{value_negative,{shown}}}"))),
        Err(_) => Err(invalid(format!("{{value_too_large,{shown}}}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FEATURES BP-3.
    #[test]
    fn expiration_is_a_decimal_number_of_milliseconds() {
        assert_eq!(parse_expiration(b"0"), Ok(0));
        assert_eq!(parse_expiration(b"315360000000"), Ok(315_360_000_000));
        let reason = |raw: &[u8]| match parse_expiration(raw) {
            Err(Refusal::InvalidExpiration { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(b""), "no_integer");
        assert_eq!(reason(b"abc"), "no_integer");
        assert_eq!(reason(b"12x"), "{leftover_string,\"x\"}");
        assert_eq!(reason(b"-1"), "{value_negative,-1}");
        assert_eq!(reason(b"315360000001"), "{value_too_large,315360000001}");
    }
}
