//! The routing tables against tables of what RabbitMQ does, and against a list that is searched from end to end.

mod hash;
mod headers;
mod model;
mod topic;

use std::collections::BTreeSet;

use super::{Bindings, ExchangeType, Routable};
use crate::wire::{Properties, RawTable, Table, Value};

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().collect()
}

fn none() -> Table {
    Table::default()
}

/// Types that give a message to each binding that matches, not to one of them.
const TO_ALL: [ExchangeType; 7] = [
    ExchangeType::Direct,
    ExchangeType::Delayed,
    ExchangeType::Fanout,
    ExchangeType::Headers,
    ExchangeType::Topic,
    ExchangeType::Deduplication,
    ExchangeType::RecentHistory,
];

/// The destinations of a message, each once, in order.
fn routed<D: Clone + Ord + Eq + std::hash::Hash>(bindings: &Bindings<D>, key: &str, headers: Option<&Table>) -> Vec<D> {
    let raw = headers.map(|headers| {
        let mut raw = Vec::new();
        headers.encode_bare(&mut raw);
        raw
    });
    let mut all = BTreeSet::new();
    let properties = Properties { headers: raw.as_deref().map(RawTable), ..Properties::default() };
    bindings.route(&Routable { keys: &[key], properties: &properties }, &mut |destination: &D| {
        all.insert(destination.clone());
    });
    all.into_iter().collect()
}

#[test]
fn types_have_the_names_that_clients_use() {
    let plugins = ["x-consistent-hash", "x-delayed-message", "x-message-deduplication", "x-modulus-hash"];
    let more = ["x-random", "x-local-random", "x-recent-history"];
    for name in ["direct", "fanout", "topic", "headers"].into_iter().chain(plugins).chain(more) {
        assert_eq!(ExchangeType::parse(name).map(ExchangeType::as_str), Some(name));
    }
    assert_eq!(ExchangeType::parse("Direct"), None);
    assert_eq!(ExchangeType::parse(""), None);
}

#[test]
fn only_headers_and_chance_need_more_than_the_key() {
    for kind in ExchangeType::ALL {
        let bindings = Bindings::<u32>::new(kind);
        assert_eq!(bindings.kind(), kind);
        let needs_more = matches!(kind, ExchangeType::Headers | ExchangeType::Random | ExchangeType::LocalRandom);
        assert_eq!(bindings.routes_by_key_alone(), !needs_more);
    }
}

#[test]
fn direct_needs_equal_keys() {
    let mut bindings = Bindings::new(ExchangeType::Direct);
    for (key, destination) in [("a", 1), ("a", 2), ("A", 3), ("", 4), ("a.b", 5), ("*", 6), ("#", 7)] {
        assert!(bindings.add(key, &none(), destination));
    }
    assert_eq!(routed(&bindings, "a", None), [1, 2]);
    assert_eq!(routed(&bindings, "A", None), [3]);
    assert_eq!(routed(&bindings, "", None), [4]);
    assert_eq!(routed(&bindings, "*", None), [6]);
    assert_eq!(routed(&bindings, "b", None), [] as [i32; 0]);
}

#[test]
fn fanout_ignores_keys() {
    let mut bindings = Bindings::new(ExchangeType::Fanout);
    assert_eq!(routed(&bindings, "a", None), [] as [i32; 0]);
    bindings.add("a", &none(), 1);
    bindings.add("b", &none(), 2);
    assert_eq!(routed(&bindings, "c", None), [1, 2]);
}

/// RO-8: key, arguments and destination together tell bindings apart; the order of the arguments does not, their types
/// do.
#[test]
fn a_binding_is_its_key_its_arguments_and_its_destination() {
    for kind in ExchangeType::ALL {
        let mut bindings = Bindings::new(kind);
        let ab = table([("a", Value::I32(1)), ("b", "x".into())]);
        let ba = table([("b", "x".into()), ("a", Value::I32(1))]);
        let wide = table([("a", Value::I64(1)), ("b", "x".into())]);
        let nested = |first, second| {
            let inner = table([(first, Value::Void), (second, Value::Void)]);
            table([("a", Value::Table(inner))])
        };
        assert!(bindings.add("k", &ab, 1));
        assert!(!bindings.add("k", &ba, 1));
        assert!(bindings.add("k", &wide, 1));
        assert!(bindings.add("k", &none(), 1));
        assert!(bindings.add("other", &ab, 1));
        assert!(bindings.add("k", &ab, 2));
        assert!(bindings.add("k", &nested("x", "y"), 1));
        assert!(bindings.add("k", &nested("y", "x"), 1));
        assert_eq!(bindings.len(), 7);

        let listed = |key, arguments| bindings.iter().any(|(k, a, d)| (k, a, *d) == (key, arguments, 1));
        assert!(listed("k", &ab) && listed("k", &wide) && listed("other", &ab));
        assert!(!listed("k", &ba), "arguments are listed in order of their names");

        assert!(bindings.contains("k", &ba, &1));
        assert!(!bindings.remove("k", &table([("a", Value::I32(1))]), &1));
        assert!(!bindings.remove("k", &table([("a", Value::I16(1)), ("b", "x".into())]), &1));
        assert!(bindings.remove("k", &ba, &1));
        assert!(!bindings.remove("k", &ba, &1));
        assert!(!bindings.contains("k", &ab, &1));
        assert!(bindings.contains("k", &ab, &2));

        assert_eq!(bindings.remove_destination(&1).len(), 5);
        assert_eq!(bindings.remove_destination(&1).len(), 0);
        assert_eq!(bindings.len(), 1);
        assert!(bindings.remove("k", &ab, &2));
        assert!(bindings.is_empty());
    }
}

/// Duplicate arguments keep their order, and a NaN equals itself, so that such a binding can be removed again.
#[test]
fn odd_arguments_are_found_again() {
    for kind in ExchangeType::ALL {
        let mut bindings = Bindings::new(kind);
        let twice = |first, second| table([("a", Value::I32(first)), ("a", Value::I32(second))]);
        let nan = table([("a", Value::F64(f64::NAN)), ("b", Value::F32(f32::NAN))]);
        assert!(bindings.add("", &twice(1, 2), 1));
        assert!(bindings.add("", &twice(2, 1), 1));
        assert!(bindings.add("", &nan, 1));
        assert!(!bindings.add("", &nan, 1));
        assert!(bindings.remove("", &twice(1, 2), &1));
        assert!(bindings.remove("", &nan, &1));
        assert!(bindings.remove("", &twice(2, 1), &1));
        assert!(bindings.is_empty());
    }
}

/// Deleting one queue after the other costs the same for each, also if all bindings are alike.
#[test]
fn many_destinations_go_one_by_one() {
    const COUNT: u32 = 20_000;
    for kind in ExchangeType::ALL {
        for alike in [true, false] {
            let mut bindings = Bindings::new(kind);
            for destination in 0..COUNT {
                let name = if alike { 0 } else { destination };
                let arguments = table([("n", Value::U32(name))]);
                assert!(bindings.add(&format!("queue.{name}"), &arguments, destination));
            }
            let headers = table([("n", Value::U32(0))]);
            for destination in 0..COUNT {
                if alike && destination % 5_000 == 17 {
                    let left: Vec<_> = (destination..COUNT).collect();
                    let routed = routed(&bindings, "queue.0", Some(&headers));
                    if TO_ALL.contains(&kind) {
                        assert_eq!(routed, left);
                    } else {
                        assert!(routed.len() == 1 && left.contains(&routed[0]));
                    }
                }
                assert_eq!(bindings.remove_destination(&destination).len(), 1);
            }
            assert!(bindings.is_empty());
        }
    }
}
