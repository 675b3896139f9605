//! XT-4 and EH-29.

use super::{Bindings, ExchangeType, none, routed, table};
use crate::wire::{Table, Value};

const ONE: Value = Value::I32(1);
const MODES: [Option<&str>; 5] = [None, Some("all"), Some("any"), Some("all-with-x"), Some("any-with-x")];

/// Messages by name.
fn messages() -> [(&'static str, Option<Table>); 11] {
    [
        ("bare", None),
        ("empty", Some(none())),
        ("a1", Some(table([("a", ONE)]))),
        ("a2", Some(table([("a", Value::I32(2))]))),
        ("av", Some(table([("a", Value::Void)]))),
        ("ab", Some(table([("a", ONE), ("b", "2".into())]))),
        ("b", Some(table([("b", "2".into())]))),
        ("x", Some(table([("x-foo", ONE)]))),
        ("ax", Some(table([("a", ONE), ("x-foo", ONE)]))),
        ("X", Some(table([("X-foo", ONE), ("x-", ONE), ("x", ONE)]))),
        ("xm", Some(table([("x-match", "all".into())]))),
    ]
}

/// As seen on RabbitMQ 4.3 and 3.10: arguments, and the messages that match under each of `MODES`.
#[test]
fn modes_match_as_in_rabbitmq() {
    let every = "X a1 a2 ab av ax b bare empty x xm";
    let with_a = "a1 ab ax";
    let any_a = "a1 a2 ab av ax";
    let cases: [(Table, [&str; 5]); 10] = [
        (none(), [every, every, "", every, ""]),
        (table([("a", ONE)]), [with_a; 5]),
        (table([("a", ONE), ("b", "2".into())]), ["ab", "ab", "a1 ab ax b", "ab", "a1 ab ax b"]),
        (table([("x-foo", ONE)]), [every, every, "", "ax x", "ax x"]),
        (table([("a", ONE), ("x-foo", ONE)]), [with_a, with_a, with_a, "ax", "a1 ab ax x"]),
        (table([("a", Value::Void)]), [any_a; 5]),
        (table([("a", Value::Void), ("b", "2".into())]), ["ab", "ab", "a1 a2 ab av ax b", "ab", "a1 a2 ab av ax b"]),
        (table([("X-foo", ONE)]), ["X"; 5]),
        (table([("x-", ONE)]), [every, every, "", "X", "X"]),
        (table([("x", ONE)]), ["X"; 5]),
    ];
    for (arguments, matches) in &cases {
        for (mode, matches) in MODES.iter().zip(matches) {
            let mut arguments = arguments.clone();
            if let Some(mode) = mode {
                arguments.push("x-match", (*mode).into());
            }
            let mut bindings = Bindings::new(ExchangeType::Headers);
            bindings.check("", &arguments).unwrap();
            bindings.add("some.key", &arguments, 1);
            let mut found: Vec<_> = messages()
                .into_iter()
                .filter(|(_, headers)| !routed(&bindings, "other", headers.as_ref()).is_empty())
                .map(|(name, _)| name)
                .collect();
            found.sort_unstable();
            assert_eq!(found.join(" "), *matches, "{arguments:?}");
            assert!(bindings.remove("some.key", &arguments, &1));
        }
    }
}

/// Values that are the same, a class each, and everything else is different. RabbitMQ 4.3 agrees, except that its
/// timestamps match nothing; 3.10 also finds 1 and 1.0 and timestamp 1 the same.
#[test]
fn values_compare_by_kind() {
    let bytes = |text: &str| Value::Binary(text.as_bytes().to_vec());
    let inner = |entries: [(&str, Value); 2]| Value::Table(table(entries));
    let classes = [
        vec![Value::I8(1), Value::U8(1), Value::I16(1), Value::U16(1), Value::I32(1), Value::U32(1), Value::I64(1)],
        vec![Value::Timestamp(1)],
        vec![Value::I8(-1), Value::I64(-1)],
        vec![Value::Timestamp(u64::MAX)],
        vec![Value::U8(255), Value::I64(255)],
        vec![Value::F32(1.0), Value::F64(1.0)],
        vec![Value::F32(0.1)],
        vec![Value::F64(0.1)],
        vec![Value::F64(0.0)],
        vec![Value::F64(f64::NAN)],
        vec![Value::Decimal { scale: 0, value: 1 }],
        vec![Value::Decimal { scale: 1, value: 10 }],
        vec![Value::Bool(true)],
        vec![Value::Bool(false)],
        vec!["1".into(), bytes("1")],
        vec!["".into(), bytes("")],
        vec!["true".into()],
        vec!["\u{1}".into()],
        vec!["undefined".into()],
        vec![inner([("a", ONE), ("b", ONE)])],
        vec![inner([("b", ONE), ("a", ONE)])],
        vec![inner([("a", Value::I64(1)), ("b", ONE)])],
        vec![Value::Array(vec![ONE])],
        vec![Value::Array(vec![Value::I64(1)])],
        vec![Value::Array(vec![])],
    ];
    for mode in ["all", "any"] {
        let mut bindings = Bindings::new(ExchangeType::Headers);
        let all =
            || classes.iter().enumerate().flat_map(|(class, values)| values.iter().map(move |value| (class, value)));
        for (number, (class, value)) in all().enumerate() {
            let arguments = table([("k", value.clone()), ("x-match", mode.into())]);
            assert!(bindings.add("", &arguments, (class, number)));
        }
        for (class, value) in all() {
            let found = routed(&bindings, "", Some(&table([("k", value.clone())])));
            assert!(found.iter().all(|(other, _)| *other == class), "{value:?}");
            assert_eq!(found.len(), classes[class].len(), "{value:?}");
        }
    }
}

/// BP-6: the first of several headers with the same name counts, also when there are many headers.
#[test]
fn the_first_header_of_a_name_counts() {
    let mut bindings = Bindings::new(ExchangeType::Headers);
    bindings.add("", &table([("a", Value::I32(1)), ("m", Value::I32(7))]), 1);
    bindings.add("", &table([("a", Value::I32(2))]), 2);
    for others in [0, 40] {
        let mut headers = table([("m", Value::I32(7)), ("a", Value::I32(1))]);
        for other in 0..others {
            headers.push(format!("other-{other}"), Value::Void);
        }
        headers.push("a", Value::I32(2));
        let all = routed(&bindings, "", Some(&headers));
        assert!(all.contains(&1), "{all:?}");
        assert!(!all.contains(&2), "{all:?}");
    }
}

/// An argument given twice asks for both values, which no message has; with `any` either will do.
#[test]
fn an_argument_given_twice_asks_twice() {
    let twice = |first, second, mode: &str| {
        table([("a", Value::I32(first)), ("a", Value::I32(second)), ("x-match", mode.into())])
    };
    let mut bindings = Bindings::new(ExchangeType::Headers);
    bindings.add("", &twice(1, 2, "all"), 1);
    bindings.add("", &twice(1, 2, "any"), 2);
    bindings.add("", &twice(1, 1, "all"), 3);
    bindings.add("", &twice(1, 1, "any"), 4);
    let found = |value| routed(&bindings, "", Some(&table([("a", Value::I32(value))])));
    assert_eq!(found(1), [2, 3, 4]);
    assert_eq!(found(2), [2]);
    for destination in 5..=50 {
        bindings.add("", &twice(1, 1, "any"), destination);
    }
    for destination in 1..=50 {
        assert_eq!(bindings.remove_destination(&destination).len(), 1);
    }
    assert!(bindings.is_empty());
}

/// EH-29, as seen on RabbitMQ 4.3.
#[test]
fn x_match_is_one_of_four_words() {
    let nested = Value::Table(table([("a", ONE), ("b", "x".into())]));
    let array = Value::Array(vec![ONE, "a".into(), Value::Bool(true), Value::Void, Value::Table(none())]);
    let text =
        |value: &str| format!("Invalid x-match field value {value}; expected all, any, all-with-x, or any-with-x");
    let kind = |kind: &str, value: &str| format!("Invalid x-match field type {kind} (value {value}); expected longstr");
    let cases = [
        ("foo".into(), text("<<\"foo\">>")),
        ("ALL".into(), text("<<\"ALL\">>")),
        ("".into(), text("<<>>")),
        (Value::LongString(vec![255, 1]), text("<<255,1>>")),
        (Value::Binary(b"all".to_vec()), kind("binary", "<<\"all\">>")),
        (Value::Bool(true), kind("bool", "true")),
        (Value::I8(1), kind("byte", "1")),
        (Value::U8(1), kind("unsignedbyte", "1")),
        (Value::I16(1), kind("short", "1")),
        (Value::U16(1), kind("unsignedshort", "1")),
        (Value::I32(1), kind("signedint", "1")),
        (Value::U32(1), kind("unsignedint", "1")),
        (Value::I64(-5), kind("long", "-5")),
        (Value::F32(0.1), kind("float", "0.10000000149011612")),
        (Value::F64(1.0), kind("double", "1.0")),
        (Value::F64(123456789.125), kind("double", "123456789.125")),
        (Value::F64(1e22), kind("double", "1.0e22")),
        (Value::F64(1e-7), kind("double", "1.0e-7")),
        (Value::Decimal { scale: 2, value: 150 }, kind("decimal", "{2,150}")),
        (Value::Timestamp(7), kind("timestamp", "7")),
        (Value::Void, kind("void", "undefined")),
        (Value::Array(vec![]), kind("array", "[]")),
        (array, kind("array", "[{signedint,1},{longstr,<<\"a\">>},{bool,true},{void,undefined},{table,[]}]")),
        (nested, kind("table", "[{<<\"a\">>,signedint,1},{<<\"b\">>,longstr,<<\"x\">>}]")),
    ];
    let bindings = Bindings::<u32>::new(ExchangeType::Headers);
    for (value, text) in cases {
        let error = bindings.check("", &table([("x-match", value)])).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let first_counts = table([("x-match", "any".into()), ("x-match", "foo".into())]);
    assert_eq!(bindings.check("", &first_counts), Ok(()));
    assert_eq!(bindings.check("", &none()), Ok(()));
    // Other types have no use for it.
    let topic = Bindings::<u32>::new(ExchangeType::Topic);
    assert_eq!(topic.check("#.#.#", &table([("x-match", "foo".into())])), Ok(()));
}

/// Definitions from elsewhere may hold what `check` refuses; RabbitMQ takes it for `all`.
#[test]
fn an_unknown_x_match_means_all() {
    let mut bindings = Bindings::new(ExchangeType::Headers);
    bindings.add("", &table([("x-match", "one".into()), ("a", ONE), ("b", ONE)]), 1);
    assert_eq!(routed(&bindings, "", Some(&table([("a", ONE)]))), [] as [i32; 0]);
    assert_eq!(routed(&bindings, "", Some(&table([("b", ONE), ("a", ONE)]))), [1]);
}
