//! Small things that many answers have in common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

/// `2026-11-23T14:27:33.062+00:00`.
pub(super) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (year, month, day) = civil(since.as_secs() / 86_400);
    let second = since.as_secs() % 86_400;
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}+00:00")
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
        let at = |seconds, millis: u32| timestamp(UNIX_EPOCH + Duration::new(seconds, millis * 1_000_000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(at(951_827_696, 7), "2000-02-29T12:34:56.007+00:00");
        assert_eq!(at(1_795_444_053, 62), "2026-11-23T14:27:33.062+00:00");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000+00:00");
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
