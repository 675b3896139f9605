//! What a command prints, in the formats of RabbitMQ's tools.

use serde_json::{Map, Value as Json, json};

use super::failure::Failure;
use super::line::Line;
use super::terms::Syntax;

/// What a command came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing to print.
    Done,
    /// Words, and what stands for them in JSON.
    Said(String, Json),
    Rows(Rows),
}

impl Outcome {
    pub(super) fn said(text: impl Into<String>) -> Self {
        let text = text.into();
        let json = json!({"message": text});
        Self::Said(text, json)
    }

    /// The outcome of a check.
    pub(super) fn passed(text: impl Into<String>) -> Self {
        Self::Said(text.into(), json!({"result": "ok"}))
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    pub(super) values: Vec<Vec<Item>>,
}

/// A value, as Erlang has it: what is a text in JSON is many things there, and is shown in many ways.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// Nothing is known.
    None,
    Text(String),
    Number(Json),
    Truth(bool),
    /// `[a, b]`.
    Names(Vec<String>),
    /// `#{a => b}`.
    Map(Map<String, Json>),
    /// Arguments of AMQP: `[{"a",1}]`, in JSON with their types.
    Arguments(Map<String, Json>),
    /// `[{a, b}]`.
    Pairs(Map<String, Json>),
}

impl Item {
    /// A value of the API as what it is most likely.
    pub(super) fn of(value: &Json) -> Self {
        match value {
            Json::Null => Self::None,
            Json::String(text) => Self::Text(text.clone()),
            Json::Number(_) => Self::Number(value.clone()),
            Json::Bool(truth) => Self::Truth(*truth),
            Json::Array(values) => Self::Names(values.iter().map(plain).collect()),
            Json::Object(fields) => Self::Map(fields.clone()),
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn shown(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
            Self::Names(names) => format!("[{}]", names.join(", ")),
            Self::Map(fields) => format!("#{{{}}}", listed(fields, |name, value| format!("{name} => {}", term(value)))),
            Self::Pairs(fields) => {
                format!("[{}]", listed(fields, |name, value| format!("{{{name}, {}}}", term(value))))
            }
            Self::Arguments(fields) => {
                let pair = |(name, value)| format!("{{\"{name}\",{}}}", quoted(value));
                format!("[{}]", fields.iter().map(pair).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::None => "".into(),
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => number.clone(),
            Self::Truth(truth) => (*truth).into(),
            Self::Names(names) => names.as_slice().into(),
            Self::Map(fields) | Self::Pairs(fields) => fields.clone().into(),
            Self::Arguments(fields) => typed(fields),
        }
    }
}

fn listed(fields: &Map<String, Json>, pair: impl Fn(&str, &Json) -> String) -> String {
    fields.iter().map(|(name, value)| pair(name, value)).collect::<Vec<_>>().join(", ")
}

/// Without quotes.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// As RabbitMQ's tables show terms.
fn term(value: &Json) -> String {
    Item::of(value).shown()
}

/// As they show arguments.
fn quoted(value: &Json) -> String {
    match value {
        Json::String(text) => format!("\"{text}\""),
        Json::Array(values) => format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(",")),
        Json::Object(fields) => Item::Arguments(fields.clone()).shown(),
        other => other.to_string(),
    }
}

/// Arguments with the names of AMQP's types, as the tools have them in JSON. The API does not tell types apart.
fn typed(fields: &Map<String, Json>) -> Json {
    let pair = |(name, value): (&String, &Json)| {
        let (kind, value) = kind_of(value);
        json!([name, kind, value])
    };
    fields.iter().map(pair).collect()
}

fn kind_of(value: &Json) -> (&'static str, Json) {
    let shown = match value {
        Json::Object(fields) => typed(fields),
        Json::Array(values) => {
            let typed = values.iter().map(|value| {
                let (kind, value) = kind_of(value);
                json!([kind, value])
            });
            typed.collect()
        }
        other => other.clone(),
    };
    (typed_kind(value), shown)
}

/// The name of the AMQP type that a value most likely has: the API does not say.
pub(super) fn typed_kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "void",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "double",
        Json::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => "signedint",
        Json::Number(_) => "long",
        Json::String(_) => "longstr",
        Json::Object(_) => "table",
        Json::Array(_) => "array",
    }
}

/// How things are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    PrettyTable,
    Json,
    JsonStream,
    Csv,
    /// A term.
    Erlang,
    /// Terms of Elixir, a row a line.
    Text,
    /// The same, and a list of them.
    Inspect,
    /// The same, a column a tuple.
    TextPerLine,
}

/// RabbitMQ's names of them.
const FORMATS: [(&str, Format); 9] = [
    ("table", Format::Table),
    ("pretty_table", Format::PrettyTable),
    ("json", Format::Json),
    ("json_stream", Format::JsonStream),
    ("csv", Format::Csv),
    ("erlang", Format::Erlang),
    ("string", Format::Text),
    ("inspect", Format::Inspect),
    ("string_per_line", Format::TextPerLine),
];

impl Format {
    /// What the line asks for.
    pub(super) fn of(line: &Line) -> Result<Self, Failure> {
        let Some(given) = line.get("formatter") else { return Ok(line.command.format) };
        let named = FORMATS.iter().find(|(name, _)| *name == given);
        named.map(|(_, format)| *format).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
            let text = format!("formatter '{given}' is not supported. Please use one of: {}", names.join(", "));
            Failure::arguments(text)
        })
    }

    /// Is it read by programs, which want nothing beside it?
    pub(super) fn is_for_programs(self) -> bool {
        matches!(self, Self::Json | Self::JsonStream | Self::Csv)
    }

    /// The text of an outcome, with its last line's end.
    pub(super) fn shown(self, outcome: &Outcome, with_header: bool) -> String {
        let rows = match (self, outcome) {
            (_, Outcome::Done) => return String::new(),
            (Self::Json | Self::JsonStream, Outcome::Said(_, json)) => return format!("{json}\n"),
            (Self::Erlang, Outcome::Said(text, _)) => return Syntax::Erlang.text(text) + "\n",
            (_, Outcome::Said(text, _)) => return format!("{text}\n"),
            (_, Outcome::Rows(rows)) => rows,
        };
        match self {
            Self::Table => rows.table(with_header),
            Self::PrettyTable => rows.pretty(),
            Self::Json => listed_in_lines(rows.objects()),
            Self::JsonStream => rows.objects().map(|object| object + "\n\n").collect(),
            Self::Csv => rows.csv(),
            Self::Erlang => format!("[{}]\n", rows.terms(Syntax::Erlang).collect::<Vec<_>>().join(",\n ")),
            Self::Text => rows.terms(Syntax::Elixir).map(|row| row + "\n").collect(),
            Self::Inspect => listed_in_lines(rows.terms(Syntax::Elixir)),
            Self::TextPerLine => rows.tuples(),
        }
    }
}

/// One value a line.
fn listed_in_lines(values: impl Iterator<Item = String>) -> String {
    let values = values.collect::<Vec<_>>().join("\n,");
    if values.is_empty() { "[\n]\n".to_owned() } else { format!("[\n{values}\n]\n") }
}

impl Rows {
    /// Columns apart by tabs. Without rows there is no header.
    fn table(&self, with_header: bool) -> String {
        let header = (with_header && !self.values.is_empty()).then(|| self.columns.join("\t"));
        let rows = self.values.iter().map(|row| row.iter().map(Item::shown).collect::<Vec<_>>().join("\t"));
        header.into_iter().chain(rows).map(|line| line + "\n").collect()
    }

    /// Objects of JSON.
    fn objects(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|row| {
            let fields: Map<String, Json> = self.columns.iter().cloned().zip(row.iter().map(Item::json)).collect();
            Json::Object(fields).to_string()
        })
    }

    /// Lists of names and values.
    fn terms(&self, syntax: Syntax) -> impl Iterator<Item = String> {
        self.values.iter().map(move |row| syntax.row(&self.columns, row))
    }

    /// `{:name, "q"}{:messages, 0}`, an empty line between rows.
    fn tuples(&self) -> String {
        let syntax = Syntax::Elixir;
        let tuple = |(name, item): (&String, &Item)| syntax.tuple(&[syntax.atom(name), syntax.item(item)]);
        let rows = self.values.iter().map(|row| self.columns.iter().zip(row).map(tuple).collect::<String>() + "\n");
        rows.collect::<Vec<_>>().join("\n")
    }

    fn csv(&self) -> String {
        let line = |values: Vec<String>| {
            let quoted = values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\"")));
            quoted.collect::<Vec<_>>().join(",") + "\n"
        };
        let rows = self.values.iter().map(|row| row.iter().map(Item::shown).collect());
        Some(self.columns.clone()).into_iter().filter(|_| !self.values.is_empty()).chain(rows).map(line).collect()
    }

    /// Boxes, drawn with the line characters of terminals, as RabbitMQ's tools draw them.
    fn pretty(&self) -> String {
        let rows: Vec<Vec<String>> = self.values.iter().map(|row| row.iter().map(Item::shown).collect()).collect();
        if rows.is_empty() {
            return String::new();
        }
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).chain(self.columns.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let rule = |left: char, middle: &str, right: char| {
            let parts: Vec<String> = widths.iter().map(|width| "q".repeat(width + 2)).collect();
            format!("\x1b(0{left}{}{right}\x1b(B\n", parts.join(middle))
        };
        let line = |cells: &[String], bold: bool| {
            let cell = |(cell, width): (&String, &usize)| {
                let pad = " ".repeat(width - cell.chars().count());
                if bold { format!(" \x1b[1m{cell}\x1b[0m{pad} ") } else { format!(" {cell}{pad} ") }
            };
            let cells: Vec<String> = cells.iter().zip(&widths).map(cell).collect();
            format!("\x1b(0x\x1b(B{}\x1b(0x\x1b(B\n", cells.join("\x1b(0x\x1b(B"))
        };
        let mut text = rule('l', "w", 'k') + &line(&self.columns, true);
        for row in &rows {
            text += &rule('t', "n", 'u');
            text += &line(row, false);
        }
        text + &rule('m', "v", 'j')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Json) -> Map<String, Json> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn rows() -> Outcome {
        let columns = ["name", "tags"].map(str::to_owned).to_vec();
        let values = vec![
            vec![Item::text("a \"b\"\tc"), Item::Names(vec!["x".into(), "y z".into()])],
            vec![Item::text("ü"), Item::Names(Vec::new())],
        ];
        Outcome::Rows(Rows { columns, values })
    }

    #[test]
    fn rows_are_shown_as_rabbitmq_does() {
        let shown = |format: Format| format.shown(&rows(), true);
        assert_eq!(shown(Format::Table), "name\ttags\na \"b\"\tc\t[x, y z]\nü\t[]\n");
        assert_eq!(
            shown(Format::Json),
            "[\n{\"name\":\"a \\\"b\\\"\\tc\",\"tags\":[\"x\",\"y z\"]}\n,{\"name\":\"ü\",\"tags\":[]}\n]\n"
        );
        assert_eq!(shown(Format::Csv), "\"name\",\"tags\"\n\"a \"\"b\"\"\tc\",\"[x, y z]\"\n\"ü\",\"[]\"\n");
        let nothing = Outcome::Rows(Rows { columns: vec!["name".into()], values: Vec::new() });
        assert_eq!(Format::Table.shown(&nothing, true), "");
        assert_eq!(Format::Json.shown(&nothing, true), "[\n]\n");
    }

    #[test]
    fn boxes_are_drawn() {
        let one = Outcome::Rows(Rows { columns: vec!["n".into()], values: vec![vec![Item::text("ab")]] });
        let b = "\x1b(0x\x1b(B";
        let wanted = [
            "\x1b(0lqqqqk\x1b(B".to_owned(),
            format!("{b} \x1b[1mn\x1b[0m  {b}"),
            "\x1b(0tqqqqu\x1b(B".to_owned(),
            format!("{b} ab {b}"),
            "\x1b(0mqqqqj\x1b(B\n".to_owned(),
        ];
        assert_eq!(Format::PrettyTable.shown(&one, true), wanted.join("\n"));
    }

    #[test]
    fn terms_are_shown_as_erlang_would() {
        let arguments = Item::Arguments(fields(json!({"x-max-length": 5, "x": "y", "t": {"a": true}, "l": [1, "b"]})));
        assert_eq!(arguments.shown(), r#"[{"l",[1,"b"]},{"t",[{"a",true}]},{"x","y"},{"x-max-length",5}]"#);
        assert_eq!(
            arguments.json(),
            json!([
                ["l", "array", [["signedint", 1], ["longstr", "b"]]],
                ["t", "table", [["a", "bool", true]]],
                ["x", "longstr", "y"],
                ["x-max-length", "signedint", 5],
            ])
        );
        assert_eq!(Item::Map(fields(json!({"a": [], "b": "c d"}))).shown(), "#{a => [], b => c d}");
        assert_eq!(Item::Pairs(fields(json!({"rabbit@x": "running"}))).shown(), "[{rabbit@x, running}]");
        assert_eq!((Item::None.shown(), Item::None.json()), (String::new(), json!("")));
    }
}
