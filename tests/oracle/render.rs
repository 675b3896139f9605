//! What a transcript looks like: received frames as text, with everything that differs from run to run
//! (name prefixes, generated names, clock values, server identity) replaced by stable placeholders.

use std::time::{SystemTime, UNIX_EPOCH};

use super::client::{Content, Event, Received};
use super::methods::Method;
use super::value::{Value, hex, render_table};

/// Runs of one byte at least this long are shown as `{a*131072}`.
const RUN_MIN: usize = 24;

/// Timestamps this near to now were taken from the broker's clock.
const CLOCK_WINDOW_S: u64 = 3600;

/// Length of the random part of `amq.gen-` and `amq.ctag-` names.
const GENERATED_LENGTH: usize = 22;

/// Server properties whose value is the broker's own business.
const IDENTITY: &[&str] = &["cluster_name", "copyright", "information", "platform", "version"];

/// Replaces names of one run by placeholders; numbers generated names in the order they are seen.
#[derive(Debug)]
pub(crate) struct Names {
    prefix: Vec<u8>,
    generated: Vec<Vec<u8>>,
}

impl Names {
    /// `prefix` stands in front of every name the scenario makes up.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.as_bytes().to_vec(), generated: Vec::new() }
    }

    /// In quotes, with escapes.
    pub(crate) fn quoted(&mut self, bytes: &[u8]) -> String {
        let plain = self.replaced(bytes);
        let mut shown = String::from("\"");
        let mut rest = plain.as_slice();
        while let Some(&byte) = rest.first() {
            let run = rest.iter().take_while(|other| **other == byte).count();
            if run >= RUN_MIN {
                shown.push_str(&format!("{{{}*{run}}}", escaped(byte)));
                rest = &rest[run..];
            } else if let Some(character) = non_ascii_start(rest) {
                shown.push(character);
                rest = &rest[character.len_utf8()..];
            } else {
                shown.push_str(&escaped(byte));
                rest = &rest[1..];
            }
        }
        shown.push('"');
        shown
    }

    /// In quotes only where a scenario would need them.
    pub(crate) fn word(&mut self, bytes: &[u8]) -> String {
        let quoted = self.quoted(bytes);
        let inner = &quoted[1..quoted.len() - 1];
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte);
        if !inner.is_empty() && inner.bytes().all(is_word) { inner.to_owned() } else { quoted }
    }

    /// A timestamp in seconds, or `$now` if it comes from the clock.
    pub(crate) fn time(&self, seconds: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        if now.abs_diff(seconds) < CLOCK_WINDOW_S { "$now".to_owned() } else { seconds.to_string() }
    }

    fn replaced(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix(self.prefix.as_slice()) {
                plain.push(b'$');
                rest = after;
            } else if let Some((kind, length)) = generated_name(rest) {
                let number = self.number(&rest[..length]);
                plain.extend(format!("{kind}${number}").bytes());
                rest = &rest[length..];
            } else {
                plain.push(byte);
                rest = tail;
            }
        }
        plain
    }

    fn number(&mut self, name: &[u8]) -> usize {
        let known = self.generated.iter().position(|other| other == name);
        1 + known.unwrap_or_else(|| {
            self.generated.push(name.to_vec());
            self.generated.len() - 1
        })
    }
}

/// One line for `event`, starting with where it was received (`a.1`).
pub(crate) fn event_line(place: &str, event: &Event, names: &mut Names) -> String {
    match event {
        Event::Method(received) => format!("{place} {}", method_line(received, names)),
        Event::Heartbeat => format!("{place} heartbeat"),
        Event::ProtocolHeader(bytes) => format!("{place} AMQP {} {} {} {}", bytes[4], bytes[5], bytes[6], bytes[7]),
        Event::Violation(what) => format!("{place} VIOLATION: {what}"),
        Event::End(end) => format!("{place} closed ({end})"),
    }
}

fn method_line(received: &Received, names: &mut Names) -> String {
    let mut line = received.method.name.to_owned();
    for (name, value) in shown_fields(received) {
        let value = match &value {
            Value::Str(bytes) if name == "text" => names.quoted(bytes),
            Value::Str(bytes) => names.word(bytes),
            Value::Int(_, number) => number.to_string(),
            other => other.render(names),
        };
        line.push_str(&format!(" {name}={value}"));
    }
    if let Some(content) = &received.content {
        line.push_str(&content_text(content, names));
    }
    line
}

/// The fields as shown: close methods name the failed method, a start hides the broker's identity.
fn shown_fields(received: &Received) -> Vec<(&str, Value)> {
    match received.method.name {
        "connection.close" | "channel.close" => {
            let number = |name| match received.field(name) {
                Some(Value::Int(_, number)) => u16::try_from(*number).unwrap_or_default(),
                _ => 0,
            };
            let (class, id) = (number("class_id"), number("method_id"));
            let method =
                Method::with_ids(class, id).map_or_else(|| format!("{class}/{id}"), |method| method.name.to_owned());
            let text = received.field("reply_text").cloned();
            vec![
                ("code", Value::Int(b'u', i128::from(number("reply_code")))),
                ("method", Value::Str(method.into_bytes())),
                ("text", text.unwrap_or(Value::Void)),
            ]
        }
        _ => received
            .fields
            .iter()
            .map(|(name, value)| match value {
                Value::Table(entries) if *name == "server_properties" => {
                    (*name, Value::Table(without_identity(entries)))
                }
                Value::Str(bytes) if *name == "mechanisms" => (*name, Value::Str(sorted(bytes))),
                other => (*name, other.clone()),
            })
            .collect(),
    }
}

/// In alphabetical order, since no client looks at the order, with placeholders for the broker's own values.
fn without_identity(entries: &[(Vec<u8>, Value)]) -> Vec<(Vec<u8>, Value)> {
    let mut shown: Vec<_> = entries
        .iter()
        .map(|(key, value)| {
            let own = IDENTITY.iter().find(|name| name.as_bytes() == key);
            let value = match (own, value) {
                (Some(name), _) => Value::Str(format!("${name}").into_bytes()),
                (None, Value::Table(inner)) => Value::Table(without_identity(inner)),
                (None, other) => other.clone(),
            };
            (key.clone(), value)
        })
        .collect();
    shown.sort_by(|(one, _), (other, _)| one.cmp(other));
    shown
}

/// Words in alphabetical order: RabbitMQ's own order of mechanisms changes from start to start.
fn sorted(words: &[u8]) -> Vec<u8> {
    let mut words: Vec<_> = words.split(|byte| *byte == b' ').collect();
    words.sort_unstable();
    words.join(&b' ')
}

fn content_text(content: &Content, names: &mut Names) -> String {
    let mut text = String::new();
    if !content.properties.is_empty() {
        let properties: Vec<_> =
            content.properties.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect();
        text.push_str(&format!(" properties={}", render_table(&properties, names)));
    }
    text.push_str(&format!(" body={}", names.quoted(&content.body)));
    if content.frames.len() > 1 {
        let frames: Vec<_> = content.frames.iter().map(usize::to_string).collect();
        text.push_str(&format!(" frames={}", frames.join("+")));
    }
    text
}

/// Kind and length of a server-made name at the start of `bytes`.
fn generated_name(bytes: &[u8]) -> Option<(&'static str, usize)> {
    let is_random = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    for kind in ["amq.gen-", "amq.ctag-"] {
        if let Some(rest) = bytes.strip_prefix(kind.as_bytes()) {
            let random = rest.iter().take_while(|byte| is_random(byte)).count();
            return (random == GENERATED_LENGTH).then_some((kind, kind.len() + random));
        }
    }
    let kind = "amq.rabbitmq.reply-to.";
    let rest = bytes.strip_prefix(kind.as_bytes())?;
    let opaque = rest.iter().take_while(|byte| is_random(byte) || b".+/=".contains(byte)).count();
    (opaque >= GENERATED_LENGTH).then_some((kind, kind.len() + opaque))
}

fn non_ascii_start(bytes: &[u8]) -> Option<char> {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
    };
    valid.chars().next().filter(|character| !character.is_ascii() && character.is_alphanumeric())
}

fn escaped(byte: u8) -> String {
    match byte {
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        0x20..=0x7e => char::from(byte).to_string(),
        other => format!("\\x{}", hex(&[other])),
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_of_the_run_become_placeholders() {
        let mut names = Names::new("0badcafe-");
        let shown = names.word(b"0badcafe-q1");
        assert_eq!(shown, "$q1");
        let generated = "amq.gen-AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(names.word(generated.as_bytes()), "amq.gen-$1");
        assert_eq!(names.word(b"amq.gen-short"), "amq.gen-short");
        assert_eq!(names.quoted(&[b'a'; 30]), "\"{a*30}\"");
        assert_eq!(names.word("gr\u{fc}n\n".as_bytes()), "\"gr\u{fc}n\\n\"");
    }
}
