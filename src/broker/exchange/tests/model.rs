//! Random bindings and messages, compared with a list of bindings that is searched from end to end.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Bindings, ExchangeType, TO_ALL, routed};
use crate::wire::{Table, Value};

#[derive(Clone, Debug)]
enum Change {
    Add(String, Table, u8),
    Remove(String, Table, u8),
    /// Removes one of those present, so that removals do not all miss.
    RemovePresent(usize),
    RemoveDestination(u8),
}

struct Model {
    kind: ExchangeType,
    bindings: Vec<(String, Table, u8)>,
}

impl Model {
    fn position(&self, key: &str, arguments: &Table, destination: u8) -> Option<usize> {
        self.bindings.iter().position(|(k, a, d)| k == key && *a == sorted(arguments) && *d == destination)
    }

    fn routed(&self, key: &str, headers: Option<&Table>) -> Vec<u8> {
        let matching = self.bindings.iter().filter(|(binding_key, arguments, _)| match self.kind {
            ExchangeType::Direct => binding_key == key,
            ExchangeType::Fanout
            | ExchangeType::Delayed
            | ExchangeType::Deduplication
            | ExchangeType::RecentHistory => true,
            ExchangeType::Topic => topic_matches(&words(binding_key), &words(key)),
            ExchangeType::Headers => headers_match(arguments, headers),
            other => panic!("{other:?} is chosen by hash or chance"),
        });
        let mut destinations: Vec<_> = matching.map(|(_, _, destination)| *destination).collect();
        destinations.sort_unstable();
        destinations.dedup();
        destinations
    }
}

fn sorted(table: &Table) -> Table {
    let mut table = table.clone();
    table.sort();
    table
}

fn words(key: &str) -> Vec<&str> {
    match key {
        "" => Vec::new(),
        _ => key.split('.').collect(),
    }
}

fn topic_matches(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], key) => key.is_empty(),
        (["#", rest @ ..], _) => (0..=key.len()).any(|taken| topic_matches(rest, &key[taken..])),
        ([word, rest @ ..], [first, others @ ..]) => (*word == "*" || word == first) && topic_matches(rest, others),
        (_, []) => false,
    }
}

fn headers_match(arguments: &Table, headers: Option<&Table>) -> bool {
    let mode = arguments.get("x-match").and_then(Value::as_str);
    let with_x = matches!(mode, Some("all-with-x" | "any-with-x"));
    let mut conditions =
        arguments.iter().filter(|(name, _)| *name != b"x-match" && (with_x || !name.starts_with(b"x-")));
    let holds = |(name, wanted): (&[u8], &Value)| {
        let header = headers.and_then(|headers| headers.get(name));
        header.is_some_and(|header| *wanted == Value::Void || comparable(wanted) == comparable(header))
    };
    match mode {
        Some("any" | "any-with-x") => conditions.any(holds),
        _ => conditions.all(holds),
    }
}

fn comparable(value: &Value) -> String {
    match value {
        Value::Timestamp(n) => format!("timestamp {n}"),
        Value::F32(x) => format!("float {x:?}"),
        Value::F64(x) => format!("float {x:?}"),
        Value::LongString(bytes) | Value::Binary(bytes) => format!("bytes {bytes:?}"),
        other => match other.as_integer() {
            Some(n) => format!("integer {n}"),
            None => format!("{other:?}"),
        },
    }
}

fn key() -> impl Strategy<Value = String> {
    let word = select(vec!["", "a", "b", "*", "#", "#"]);
    vec(word, 0..6).prop_map(|words| words.join("."))
}

fn value() -> impl Strategy<Value = Value> {
    select(vec![
        Value::I32(1),
        Value::I64(1),
        Value::Timestamp(1),
        Value::U8(2),
        Value::F32(1.0),
        Value::F64(1.0),
        "1".into(),
        Value::Binary(b"1".to_vec()),
        Value::Bool(true),
        Value::Void,
        Value::Array(vec![Value::I32(1)]),
        Value::Table([("a", Value::I32(1))].into_iter().collect()),
    ])
}

fn headers() -> impl Strategy<Value = Table> {
    let entry = (select(vec!["a", "b", "c", "x-a"]), value());
    vec(entry, 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn arguments() -> impl Strategy<Value = Table> {
    let mode = select(vec![None, Some("all"), Some("any"), Some("all-with-x"), Some("any-with-x"), Some("zzz")]);
    (headers(), mode).prop_map(|(mut arguments, mode)| {
        if let Some(mode) = mode {
            arguments.push("x-match", mode.into());
        }
        arguments
    })
}

fn change() -> impl Strategy<Value = Change> {
    let binding = || (key(), arguments(), 0..6u8);
    prop_oneof![
        6 => binding().prop_map(|(key, arguments, to)| Change::Add(key, arguments, to)),
        1 => binding().prop_map(|(key, arguments, to)| Change::Remove(key, arguments, to)),
        3 => any::<usize>().prop_map(Change::RemovePresent),
        1 => (0..6u8).prop_map(Change::RemoveDestination),
    ]
}

fn apply(change: Change, bindings: &mut Bindings<u8>, model: &mut Model) {
    match change {
        Change::Add(key, arguments, to) => {
            let present = model.position(&key, &arguments, to).is_some();
            assert_eq!(bindings.contains(&key, &arguments, &to), present);
            assert_eq!(bindings.add(&key, &arguments, to), !present);
            if !present {
                model.bindings.push((key, sorted(&arguments), to));
            }
        }
        Change::Remove(key, arguments, to) => {
            let at = model.position(&key, &arguments, to);
            assert_eq!(bindings.remove(&key, &arguments, &to), at.is_some());
            at.map(|at| model.bindings.remove(at));
        }
        Change::RemovePresent(number) => {
            if let Some(at) = number.checked_rem(model.bindings.len()) {
                let (key, arguments, to) = model.bindings.remove(at);
                assert!(bindings.remove(&key, &arguments, &to));
            }
        }
        Change::RemoveDestination(to) => {
            let before = model.bindings.len();
            model.bindings.retain(|(_, _, other)| *other != to);
            let removed = before - model.bindings.len();
            assert_eq!(bindings.remove_destination(&to).len(), removed);
        }
    }
    assert_eq!(bindings.len(), model.bindings.len());
}

fn assert_same(bindings: &Bindings<u8>, model: &Model) {
    let order = |(key, arguments, to): &(String, Table, u8)| (key.clone(), format!("{arguments:?}"), *to);
    let mut listed: Vec<_> =
        bindings.iter().map(|(key, arguments, to)| (key.to_owned(), arguments.clone(), *to)).collect();
    let mut expected = model.bindings.clone();
    listed.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(listed, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every table routes, lists and forgets as the list does. That it holds nothing once the last binding has gone is
    /// asserted by `Bindings` itself.
    #[test]
    fn tables_agree_with_a_list(
        kind in select(TO_ALL.to_vec()),
        changes in vec(change(), 1..60),
        messages in vec((key(), proptest::option::of(headers())), 8),
    ) {
        let mut bindings = Bindings::new(kind);
        let mut model = Model { kind, bindings: Vec::new() };
        for (number, change) in changes.into_iter().enumerate() {
            apply(change, &mut bindings, &mut model);
            let (key, headers) = &messages[number % messages.len()];
            prop_assert_eq!(routed(&bindings, key, headers.as_ref()), model.routed(key, headers.as_ref()));
        }
        for (key, headers) in &messages {
            prop_assert_eq!(routed(&bindings, key, headers.as_ref()), model.routed(key, headers.as_ref()));
        }
        assert_same(&bindings, &model);
        while let Some((key, arguments, to)) = model.bindings.pop() {
            prop_assert!(bindings.remove(&key, &arguments, &to));
            let (key, headers) = &messages[0];
            prop_assert_eq!(routed(&bindings, key, headers.as_ref()), model.routed(key, headers.as_ref()));
        }
        prop_assert!(bindings.is_empty());
    }

    #[test]
    fn one_pattern_matches_as_the_definition_says(pattern in key(), key in key()) {
        let mut bindings = Bindings::new(ExchangeType::Topic);
        bindings.add(&pattern, &Table::default(), 1u8);
        prop_assert_eq!(!routed(&bindings, &key, None).is_empty(), topic_matches(&words(&pattern), &words(&key)));
    }

    #[test]
    fn one_binding_matches_headers_as_the_definition_says(arguments in arguments(), headers in headers()) {
        let mut bindings = Bindings::new(ExchangeType::Headers);
        bindings.add("", &arguments, 1u8);
        prop_assert_eq!(!routed(&bindings, "", Some(&headers)).is_empty(), headers_match(&arguments, Some(&headers)));
    }
}
