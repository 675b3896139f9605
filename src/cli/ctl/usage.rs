//! What a command takes, read from the line that its help shows: one source for both.
//!
//! | in the line | stands for |
//! |---|---|
//! | `<name>` | an argument that must be given |
//! | `[<name>]` | one that may be |
//! | `<name> \| word <other>` | one argument, or that word and another one |
//! | `[<name> ...]` | any number of them, at the end |
//! | `[--name <value>]`, `[--name\|-n <value>]` | an option with a value |
//! | `[--name]`, `[--name\|-n]` | an option without |

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) name: &'static str,
    pub(super) letter: Option<char>,
    pub(super) has_value: bool,
}

/// See the module's documentation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) required: Vec<&'static str>,
    pub(super) optional: Vec<&'static str>,
    pub(super) rest: Option<&'static str>,
    pub(super) switches: Vec<Switch>,
}

/// Options that every command takes: RabbitMQ's, and those that say where the broker is.
pub(super) const GENERAL: &[Switch] = &[
    value("node", Some('n')),
    value("timeout", Some('t')),
    value("vhost", Some('p')),
    value("formatter", None),
    value("url", None),
    value("tls-ca-cert-file", None),
    value("tls-cert-file", None),
    value("tls-key-file", None),
    flag("insecure", Some('k')),
    value("username", None),
    value("password", None),
    value("data-dir", None),
    value("socket", None),
    value("erlang-cookie", None),
    value("printer", None),
    flag("quiet", Some('q')),
    flag("silent", Some('s')),
    flag("longnames", Some('l')),
    flag("no-table-headers", None),
    flag("dry-run", None),
    flag("help", Some('?')),
];

const fn value(name: &'static str, letter: Option<char>) -> Switch {
    Switch { name, letter, has_value: true }
}

const fn flag(name: &'static str, letter: Option<char>) -> Switch {
    Switch { name, letter, has_value: false }
}

impl Usage {
    pub(super) fn read(text: &'static str) -> Self {
        let mut usage = Self::default();
        let mut rest = text.trim();
        let mut is_either = false;
        while !rest.is_empty() {
            // A group in brackets, or a word.
            let end = match rest.starts_with('[') {
                true => rest.find(']').map_or(rest.len(), |at| at + 1),
                false => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            };
            let (part, after) = rest.split_at(end);
            match part {
                "|" => is_either = true,
                other if is_either => usage.optional.extend(name_in(other)),
                other => usage.add(other),
            }
            rest = after.trim_start();
        }
        usage
    }

    fn add(&mut self, part: &'static str) {
        let Some(inner) = part.strip_prefix('[').map(|inner| inner.trim_end_matches(']')) else {
            self.required.extend(name_in(part));
            return;
        };
        let Some(switch) = inner.strip_prefix("--") else {
            match inner.ends_with("...") {
                true => self.rest = name_in(inner),
                false => self.optional.extend(name_in(inner)),
            }
            return;
        };
        let (names, has_value) = match switch.split_once(' ') {
            Some((names, _)) => (names, true),
            None => (switch, false),
        };
        let (name, letter) = match names.split_once("|-") {
            Some((name, letter)) => (name, letter.chars().next()),
            None => (names, None),
        };
        self.switches.push(Switch { name, letter, has_value });
    }
}

/// `<name>`, and the dots behind it aside.
fn name_in(part: &'static str) -> Option<&'static str> {
    part.strip_prefix('<').and_then(|inner| inner.split('>').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_line_is_read() {
        let usage = Usage::read("[--vhost <vhost>] <name> [--if-empty|-e] [--pid|-P <pid>] [<pidfile>] [<tag> ...]");
        assert_eq!(usage.required, ["name"]);
        assert_eq!(usage.optional, ["pidfile"]);
        assert_eq!(usage.rest, Some("tag"));
        assert_eq!(usage.switches, [value("vhost", None), flag("if-empty", Some('e')), value("pid", Some('P'))]);
        let usage = Usage::read("<fraction> | absolute <value>");
        assert_eq!((usage.required, usage.optional), (vec!["fraction"], vec!["value"]));
        assert_eq!(Usage::read(""), Usage::default());
    }
}
