//! Values as Erlang writes them (`--formatter erlang`) and as Elixir does (`string`, `inspect`, ...), for scripts that read
//! such terms. Where a line breaks is no part of them, and nobody's width is imitated.

use serde_json::{Map, Value as Json};

use super::output::{Item, typed_kind};

/// Whose way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Erlang,
    Elixir,
}

use Syntax::{Elixir, Erlang};

impl Syntax {
    /// A row: `[{name,<<"q">>},{messages,0}]`, `[name: "q", messages: 0]`.
    pub(super) fn row(self, columns: &[String], items: &[Item]) -> String {
        let field = |(name, item): (&String, &Item)| self.field(name, &self.item(item));
        self.list(columns.iter().zip(items).map(field))
    }

    /// A name and a value of such a row.
    fn field(self, name: &str, value: &str) -> String {
        match self {
            Erlang => format!("{{{},{value}}}", self.atom(name)),
            // The colon stands behind the name.
            Elixir => format!("{}: {value}", self.atom(name).trim_start_matches(':')),
        }
    }

    pub(super) fn item(self, item: &Item) -> String {
        match item {
            Item::None => self.atom(""),
            Item::Text(text) => self.text(text),
            Item::Number(number) => number.to_string(),
            Item::Truth(truth) => truth.to_string(),
            Item::Names(names) => self.list(names.iter().map(|name| self.atom(name))),
            Item::Map(fields) => self.map(fields),
            Item::Pairs(fields) => self.list(fields.iter().map(|(name, value)| self.field(name, &self.json(value)))),
            Item::Arguments(fields) => self.arguments(fields),
        }
    }

    /// `[{<<"x-max-length">>,long,5}]`.
    fn arguments(self, fields: &Map<String, Json>) -> String {
        self.list(fields.iter().map(|(name, value)| {
            let (kind, value) = self.argument(value);
            self.tuple(&[self.text(name), kind, value])
        }))
    }

    /// Type and value.
    fn argument(self, value: &Json) -> (String, String) {
        let written = match value {
            Json::Object(fields) => self.arguments(fields),
            Json::Array(values) => self.list(values.iter().map(|value| {
                let (kind, value) = self.argument(value);
                self.tuple(&[kind, value])
            })),
            Json::Null => self.atom("undefined"),
            other => self.json(other),
        };
        (self.atom(typed_kind(value)), written)
    }

    fn json(self, value: &Json) -> String {
        match value {
            Json::Null => self.atom("null"),
            Json::Bool(truth) => truth.to_string(),
            Json::Number(number) => number.to_string(),
            Json::String(text) => self.text(text),
            Json::Array(values) => self.list(values.iter().map(|value| self.json(value))),
            Json::Object(fields) => self.map(fields),
        }
    }

    fn map(self, fields: &Map<String, Json>) -> String {
        let field = |(name, value): (&String, &Json)| format!("{} => {}", self.text(name), self.json(value));
        let sign = if self == Erlang { '#' } else { '%' };
        format!("{sign}{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(self.comma()))
    }

    fn list(self, values: impl Iterator<Item = String>) -> String {
        format!("[{}]", values.collect::<Vec<_>>().join(self.comma()))
    }

    pub(super) fn tuple(self, values: &[String]) -> String {
        format!("{{{}}}", values.join(self.comma()))
    }

    fn comma(self) -> &'static str {
        if self == Erlang { "," } else { ", " }
    }

    pub(super) fn text(self, text: &str) -> String {
        let quoted = quoted(text, '"');
        match self {
            Elixir => quoted,
            Erlang if text.is_empty() => "<<>>".to_owned(),
            Erlang if text.is_ascii() => format!("<<{quoted}>>"),
            Erlang => format!("<<{quoted}/utf8>>"),
        }
    }

    pub(super) fn atom(self, name: &str) -> String {
        let is_bare = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@');
        match self {
            Erlang if is_bare => name.to_owned(),
            Erlang => quoted(name, '\''),
            Elixir if is_bare => format!(":{name}"),
            Elixir => format!(":{}", quoted(name, '"')),
        }
    }
}

fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote || c == '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\x{{{:X}}}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Json) -> Map<String, Json> {
        value.as_object().cloned().expect("an object")
    }

    /// As RabbitMQ 4.3.6 prints them, line breaks aside.
    #[test]
    fn rows_are_terms() {
        let columns = ["name", "apply-to", "messages", "policy", "tags", "arguments", "exclusive"].map(str::to_owned);
        let arguments = json!({"x-max-length": 5, "x-overflow": "drop-head", "x": {"y": [true, 3_000_000_000_u64]}});
        let items = [
            Item::text("q\"1\\ü"),
            Item::text(""),
            Item::Number(json!(0)),
            Item::None,
            Item::Names(vec!["administrator".into(), "Odd tag".into(), "rabbit@h".into()]),
            Item::Arguments(fields(arguments)),
            Item::Truth(false),
        ];
        assert_eq!(
            Erlang.row(&columns, &items),
            r#"[{name,<<"q\"1\\ü"/utf8>>},{'apply-to',<<>>},{messages,0},{policy,''},"#.to_owned()
                + r#"{tags,[administrator,'Odd tag',rabbit@h]},"#
                + r#"{arguments,[{<<"x">>,table,[{<<"y">>,array,[{bool,true},{long,3000000000}]}]},"#
                + r#"{<<"x-max-length">>,signedint,5},{<<"x-overflow">>,longstr,<<"drop-head">>}]},{exclusive,false}]"#
        );
        assert_eq!(
            Elixir.row(&columns, &items),
            r#"[name: "q\"1\\ü", "apply-to": "", messages: 0, policy: :"", "#.to_owned()
                + r#"tags: [:administrator, :"Odd tag", :rabbit@h], "#
                + r#"arguments: [{"x", :table, [{"y", :array, [{:bool, true}, {:long, 3000000000}]}]}, "#
                + r#"{"x-max-length", :signedint, 5}, {"x-overflow", :longstr, "drop-head"}], exclusive: false]"#
        );
        let map = Item::Map(fields(json!({"max-length": 10, "a": null})));
        assert_eq!(Erlang.item(&map), r#"#{<<"a">> => null,<<"max-length">> => 10}"#);
        assert_eq!(Elixir.item(&map), r#"%{"a" => :null, "max-length" => 10}"#);
        let pairs = Item::Pairs(fields(json!({"rabbit@h": "running"})));
        assert_eq!(Erlang.item(&pairs), r#"[{rabbit@h,<<"running">>}]"#);
        assert_eq!(Elixir.item(&pairs), r#"[rabbit@h: "running"]"#);
    }
}
