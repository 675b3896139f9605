//! Small things that many answers have in common.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::broker::json_of_table;
use crate::wire::Table;

/// Arguments as RabbitMQ shows them.
pub(super) fn arguments(table: &Table) -> Json {
    json_of_table(table)
}

/// How a path names a binding: its key, `~` if that is empty; and with arguments something that tells them apart.
/// RabbitMQ has a hash of Erlang's there; clients only ever hand it back.
pub(super) fn properties_key(key: &str, table: &Table) -> String {
    let name = if key.is_empty() && table.is_empty() { "~".to_owned() } else { percent_encoded(key) };
    if table.is_empty() {
        return name;
    }
    let mut bytes = Vec::new();
    table.encode_bare(&mut bytes);
    let digest = Sha256::digest(&bytes);
    format!("{name}~{}", URL_SAFE_NO_PAD.encode(&digest[..4]))
}

/// For a path segment.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A moment as RabbitMQ writes it: `2026-11-23T14:27:33.062+00:00`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timestamp([u8; 29]);

impl Timestamp {
    /// Of so many milliseconds since 1970. Lists have thousands of them, so digits are written in place.
    pub(super) fn new(at_ms: u64) -> Self {
        let (second, millis) = (at_ms / 1000, at_ms % 1000);
        let (year, month, day) = civil(second / 86_400);
        let mut text = *b"0000-00-00T00:00:00.000+00:00";
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3600 % 24),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
            (20..23, millis),
        ];
        for (place, mut value) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit += (value % 10) as u8;
                value /= 10;
            }
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and signs of ASCII")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Sorts by names, none of which is there twice. Names of many queues begin alike, so what is compared first is the eight
/// bytes behind that, which lie beside each other in memory; the names themselves only where those are equal.
pub(super) fn sort_by_name<T>(items: &mut Vec<T>, name: impl Fn(&T) -> &str) {
    let Some(first) = items.first() else { return };
    let common = items.iter().fold(name(first).len(), |common, item| {
        name(first).bytes().zip(name(item).bytes()).take(common).take_while(|(a, b)| a == b).count()
    });
    let key = |item: &T| {
        let mut key = [0; 8];
        key.iter_mut().zip(name(item).bytes().skip(common)).for_each(|(own, byte)| *own = byte);
        u64::from_be_bytes(key)
    };
    let mut keyed: Vec<(u64, T)> = items.drain(..).map(|item| (key(&item), item)).collect();
    keyed.sort_unstable_by(|(a_key, a), (b_key, b)| a_key.cmp(b_key).then_with(|| name(a).cmp(name(b))));
    items.extend(keyed.into_iter().map(|(_, item)| item));
}

/// The Gregorian date of a day since 1970: Hinnant's algorithm, whose year begins in March.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rabbitmq_does() {
        let at = |seconds: u64, millis: u64| Timestamp::new(seconds * 1000 + millis).as_str().to_owned();
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(at(951_827_696, 7), "2000-02-29T12:34:56.007+00:00");
        assert_eq!(at(1_795_444_053, 62), "2026-11-23T14:27:33.062+00:00");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000+00:00");
    }

    #[test]
    fn names_are_sorted_whatever_they_have_in_common() {
        let sorted = |names: &[&str]| {
            let mut own: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut expected = own.clone();
            expected.sort();
            sort_by_name(&mut own, |name| name);
            assert_eq!(own, expected);
        };
        sorted(&[]);
        sorted(&["b"]);
        sorted(&["queue-10", "queue-1", "queue-2", "queue-", "queue-1\0"]);
        sorted(&["", "b", "a", "ü", "\u{0}", "\u{0}\u{0}"]);
        sorted(&[
            "same-for-long-b",
            "same-for-long-a",
            "same-for-long",
            "same-for-long-alike-2",
            "same-for-long-alike-1",
        ]);
    }

    #[test]
    fn a_binding_has_a_name_for_paths() {
        let plain = Table::default();
        assert_eq!(properties_key("", &plain), "~");
        assert_eq!(properties_key("a b/c", &plain), "a%20b%2Fc");
        let mut table = Table::default();
        table.push("x", crate::wire::Value::I64(1));
        let with = properties_key("k", &table);
        assert!(with.starts_with("k~") && with.len() == 8, "{with}");
        assert_eq!(properties_key("", &table), format!("~{}", &with[2..]));
    }
}
