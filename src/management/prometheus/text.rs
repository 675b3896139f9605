//! Prometheus's text format, version 0.0.4.

use std::io::Write as _;

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Untyped,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Untyped => "untyped",
        }
    }
}

/// Labels as they are written: `{vhost="/",queue="q"}`, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn new<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let mut text = String::with_capacity(64);
        for (index, (name, value)) in pairs.into_iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        if N > 0 {
            text.push('}');
        }
        Self(text)
    }
}

/// A page of metrics as it grows.
#[derive(Debug)]
pub(super) struct Page {
    text: Vec<u8>,
    /// Of most names: `rabbitmq_`, or `rabbitmq_detailed_`.
    prefix: &'static str,
    /// The family that is being told.
    name: String,
}

impl Page {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { text: Vec::new(), prefix, name: String::new() }
    }

    /// What follows is of this family. A name that begins with `=` is whole.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.name.clear();
        match name.strip_prefix('=') {
            Some(whole) => self.name.push_str(whole),
            None => {
                self.name.push_str(self.prefix);
                self.name.push_str(name);
            }
        }
        let name = &self.name;
        // A vector takes all that is written to it.
        let _ = writeln!(self.text, "# TYPE {name} {}\n# HELP {name} {help}", kind.as_str());
    }

    pub(super) fn sample(&mut self, labels: &Labels, value: f64) {
        self.text.extend_from_slice(self.name.as_bytes());
        self.text.extend_from_slice(labels.0.as_bytes());
        self.text.push(b' ');
        // Below 2^53 each is a whole number. They are most of them, and written in a tenth of the time in this way.
        if value >= 0.0 && value.fract() == 0.0 && value < 9e15 {
            let _ = serde_json::to_writer(&mut self.text, &(value as u64));
        } else {
            let _ = write!(self.text, "{value}");
        }
        self.text.push(b'\n');
    }

    /// A family of one sample.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(&Labels::default(), value);
    }

    pub(super) fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// What has been written since the last time.
    pub(super) fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_written_so_that_they_can_be_read() {
        let mut page = Page::new("rabbitmq_");
        page.family("queue_messages", Kind::Gauge, "Messages");
        page.sample(&Labels::new([("vhost", "a\"b"), ("queue", "\\\n")]), 3.0);
        page.sample(&Labels::new([]), 0.5);
        page.one("=process_x", Kind::Counter, "X", 1e16);
        assert_eq!(
            String::from_utf8(page.take_text()).expect("text"),
            "# TYPE rabbitmq_queue_messages gauge\n# HELP rabbitmq_queue_messages Messages\n\
             rabbitmq_queue_messages{vhost=\"a\\\"b\",queue=\"\\\\\\n\"} 3\nrabbitmq_queue_messages 0.5\n\
             # TYPE process_x counter\n# HELP process_x X\nprocess_x 10000000000000000\n"
        );
    }
}
