//! Reading what the broker must know of a message's properties: RabbitMQ's checks of one publish, in its order.

use std::borrow::Cow;

use super::dedup::{self, ID_HEADER, PRODUCER_HEADER, SEQUENCE_HEADER};
use super::event::ChannelKey;
use super::message::{Body, Facts, Message, More, Parts};
use super::queue::TTL_MS_MAX;
use super::refusal::Refusal;
use super::reply_to::REPLY_TO;
use crate::auth::User;
use crate::wire::{Properties, PropertiesError, RawTable, RawValue, Table, address_parts};

/// BP-2: any other delivery mode is transient.
const PERSISTENT: u8 = 2;

/// A complete publish, as a session assembled it.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// Where confirms go.
    pub channel: ChannelKey,
    /// `exchange shortstr | routing-key shortstr`. What is no UTF-8 is routed by its replacement characters and handed on
    /// as it came.
    pub address: &'a [u8],
    /// Raw property flags and values.
    pub properties: &'a [u8],
    /// The body.
    pub body: Body<'a>,
    /// The session returns what is routed nowhere.
    pub mandatory: bool,
    /// Sequence number in confirm mode.
    pub confirm: Option<u64>,
}

impl<'a> Publish<'a> {
    /// The exchange, empty for the default one, and the routing key.
    pub(super) fn names(&self) -> (Cow<'a, str>, Cow<'a, str>) {
        let (exchange, routing_key) = address_parts(self.address);
        (String::from_utf8_lossy(exchange), String::from_utf8_lossy(routing_key))
    }

    /// The message, its properties as they came.
    #[inline]
    pub(super) fn into_message(self, facts: Facts, more: Option<Box<More>>, scratch: &mut Vec<u8>) -> Message {
        let Self { address, properties, body, .. } = self;
        Message::of(Parts { address, properties, body, facts, bcc: &[], more }, scratch)
    }
}

/// What the properties say that matters for every message.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) facts: Facts,
    user_id: Option<&'a [u8]>,
    /// A direct reply is wanted (DR-2).
    pub(super) wants_reply: bool,
    /// CC or BCC are present.
    pub(super) more_keys: Option<Box<MoreKeys>>,
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
    #[inline]
    pub(super) fn new(raw: &'a [u8]) -> Result<Self, Refusal> {
        match Properties::delivery_mode_alone(raw) {
            Some(delivery_mode) => {
                let facts = Facts { persistent: delivery_mode == Some(PERSISTENT), ..Facts::default() };
                Ok(Self { facts, user_id: None, wants_reply: false, more_keys: None })
            }
            None => Self::decode(raw),
        }
    }

    #[inline(never)]
    fn decode(raw: &'a [u8]) -> Result<Self, Refusal> {
        let properties = Properties::decode_inlined(raw)?;
        let expiration_ms = match properties.expiration {
            Some(expiration) => Some(parse_expiration(expiration)?),
            None => None,
        };
        let persistent = properties.delivery_mode == Some(PERSISTENT);
        let facts = Facts { persistent, priority: properties.priority, expiration_ms, ..Facts::default() };
        let wants_reply = properties.reply_to == Some(REPLY_TO.as_bytes());
        let mut read = Self { facts, user_id: properties.user_id, wants_reply, more_keys: None };
        if let Some(headers) = properties.headers
            && !headers.is_empty()
        {
            read.read_headers(headers)?;
        }
        Ok(read)
    }

    /// Apart, so that messages without headers pay nothing for it.
    #[inline(never)]
    fn read_headers(&mut self, headers: RawTable<'_>) -> Result<(), Refusal> {
        // Else it would be the consumers that cannot read it.
        headers.check().map_err(|_| Refusal::MalformedProperties)?;
        let known = Known::of(headers);
        self.more_keys = known.more_keys()?.map(Box::new);
        self.facts.has_id = known.id.is_some();
        self.facts.is_numbered = known.is_numbered()?;
        Ok(())
    }

    /// BP-4.
    #[inline]
    pub(super) fn check_user_id(&self, user: &User) -> Result<(), Refusal> {
        match self.user_id {
            Some(claimed) => check_claimed(claimed, user),
            None => Ok(()),
        }
    }

    /// A route found by the key alone is the route, and the properties are handed on as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.more_keys.is_none() && !self.wants_reply
    }

    /// The properties as they are handed on, if that is not as they came: without BCC, and with the name replies are
    /// to go to.
    pub(super) fn rewritten(
        &self,
        properties: Properties<'_>,
        reply_to: Option<&str>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let has_bcc = self.more_keys.as_ref().is_some_and(|more| more.has_bcc);
        let raw = if has_bcc { Some(without_bcc(properties)?) } else { None };
        let Some(name) = reply_to else { return Ok(raw) };
        let properties = match &raw {
            Some(raw) => Properties::decode(raw)?,
            None => properties,
        };
        let mut rewritten = Vec::new();
        Properties { reply_to: Some(name.as_bytes()), ..properties }.encode(&mut rewritten);
        Ok(Some(rewritten))
    }

    /// The keys that only routing is to know.
    pub(super) fn bcc(&self) -> &[String] {
        self.more_keys.as_ref().map_or(&[], |more| &more.keys[more.cc_count..])
    }
}

impl From<PropertiesError> for Refusal {
    fn from(_: PropertiesError) -> Self {
        Self::MalformedProperties
    }
}

fn check_claimed(claimed: &[u8], user: &User) -> Result<(), Refusal> {
    if claimed == user.name.as_bytes() || user.has_tag("impersonator") {
        return Ok(());
    }
    let claimed = String::from_utf8_lossy(claimed).into_owned();
    Err(Refusal::UserId { claimed, user: user.name.to_string() })
}

fn without_bcc(properties: Properties<'_>) -> Result<Vec<u8>, Refusal> {
    let headers = properties.headers.unwrap_or_default().parse().map_err(|_| Refusal::MalformedProperties)?;
    let mut kept = Table::default();
    for (key, value) in headers.iter().filter(|(key, _)| *key != b"BCC") {
        kept.push(key, value.clone());
    }
    let mut encoded = Vec::new();
    kept.encode_bare(&mut encoded);
    let mut raw = Vec::new();
    Properties { headers: Some(RawTable(&encoded)), ..properties }.encode(&mut raw);
    Ok(raw)
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
