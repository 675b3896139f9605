//! Exchanges that choose one binding: by the hash of something, or by chance.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Bindings, ExchangeType, none, routed, table};
use crate::broker::exchange::{HashInput, Routable};
use crate::wire::{Properties, RawTable, Table, Value};

const KEYS: u32 = 20_000;

fn weighted(weights: &[(u32, u32)]) -> Bindings<u32> {
    let mut bindings = Bindings::new(ExchangeType::ConsistentHash);
    for (queue, weight) in weights {
        assert!(bindings.add(&weight.to_string(), &none(), *queue));
    }
    bindings
}

fn owners(bindings: &Bindings<u32>) -> Vec<u32> {
    let owner = |key: u32| match routed(bindings, &format!("key.{key}"), None).as_slice() {
        [one] => *one,
        other => panic!("{other:?}"),
    };
    (0..KEYS).map(owner).collect()
}

fn shares(owners: &[u32]) -> BTreeMap<u32, u32> {
    let mut shares = BTreeMap::new();
    for owner in owners {
        *shares.entry(*owner).or_default() += 1;
    }
    shares
}

/// FEATURES XT-6: keys go to queues by their weights, the same key always to the same.
#[test]
fn keys_are_spread_by_weight() {
    let bindings = weighted(&[(1, 1), (2, 1), (3, 2), (4, 4)]);
    let owners = owners(&bindings);
    for (queue, keys) in shares(&owners) {
        let expected = KEYS / 8 * [1, 1, 2, 4][queue as usize - 1];
        assert!(keys.abs_diff(expected) < expected / 10, "queue {queue}: {keys} of {expected}");
    }
    assert_eq!(owners, self::owners(&bindings));
    assert!(routed(&weighted(&[]), "key", None).is_empty(), "without a binding, nowhere");
}

/// FEATURES XT-6: a queue that comes takes its share and nothing else moves; one that goes leaves the others most of
/// what they had.
#[test]
fn few_keys_move() {
    let mut bindings = weighted(&(1..=10).map(|queue| (queue, 10)).collect::<Vec<_>>());
    let before = owners(&bindings);
    bindings.add("10", &none(), 11);
    let with = owners(&bindings);
    let moved: Vec<_> = before.iter().zip(&with).filter(|(before, with)| before != with).collect();
    assert!(moved.iter().all(|(_, with)| **with == 11), "keys move to the new queue only");
    assert!((moved.len() as u32).abs_diff(KEYS / 11) < KEYS / 100);
    bindings.remove_destination(&11);
    assert_eq!(owners(&bindings), before, "and back");
    bindings.remove_destination(&3);
    let without = owners(&bindings);
    let moved = before.iter().zip(&without).filter(|(before, without)| before != without).count() as u32;
    assert!(moved < KEYS * 22 / 100, "{moved}");
    let shares = shares(&without);
    assert!(shares.len() == 9 && shares.values().all(|keys| keys.abs_diff(KEYS / 9) < KEYS / 90));
}

/// FEATURES XT-6: a second binding to the same queue adds no weight, and has it when the first goes.
#[test]
fn a_second_binding_adds_nothing() {
    let mut bindings = weighted(&[(1, 5), (2, 5)]);
    let before = owners(&bindings);
    assert!(bindings.add("100", &none(), 1));
    assert_eq!(owners(&bindings), before);
    assert!(bindings.remove("5", &none(), &1));
    let share = shares(&owners(&bindings))[&1];
    assert!(share > KEYS * 9 / 10, "{share}");
    assert!(bindings.remove("100", &none(), &1));
    assert_eq!(shares(&owners(&bindings)).into_keys().collect::<Vec<_>>(), [2]);
}

/// FEATURES XT-6: the texts of RabbitMQ.
#[test]
fn weights_are_checked() {
    let bindings = weighted(&[]);
    let text = |key| bindings.check(key, &none()).map_err(|error| error.to_string());
    assert_eq!(text("abc"), Err("The binding key must be an integer: <<\"abc\">>".into()));
    assert_eq!(text(""), Err("The binding key must be an integer: <<>>".into()));
    assert_eq!(text("1.5"), Err("The binding key must be an integer: <<\"1.5\">>".into()));
    for key in ["0", "-1", "-0", "-99999999999"] {
        assert_eq!(text(key), Err("The binding key must be greater than 0".into()));
    }
    for key in ["10001", "99999999999999999999"] {
        assert_eq!(text(key), Err("The binding key must not exceed 10000".into()));
    }
    for key in ["1", "+007", "10000"] {
        assert_eq!(text(key), Ok(()));
    }
}

/// FEATURES XT-6: instead of the routing key a header or a property.
#[test]
fn other_things_are_hashed() {
    let route = |input: &HashInput, properties: &Properties<'_>, key: &str| {
        let mut bindings = Bindings::hashing(ExchangeType::ConsistentHash, input.clone());
        assert!(!bindings.routes_by_key_alone());
        (0..100).for_each(|queue| assert!(bindings.add("1", &none(), queue)));
        let mut found = BTreeSet::new();
        bindings.route(&Routable { keys: &[key], properties }, &mut |queue| {
            found.insert(*queue);
        });
        assert_eq!(found.len(), 1);
        found
    };
    let encoded = |value: Value| {
        let mut raw = Vec::new();
        table([("id", value)]).encode_bare(&mut raw);
        raw
    };
    let number = |input: &HashInput, n: u64| {
        let text = n.to_string();
        let raw = encoded(Value::I64(n as i64));
        let properties = Properties {
            headers: Some(RawTable(&raw)),
            message_id: Some(text.as_bytes()),
            correlation_id: Some(text.as_bytes()),
            timestamp: Some(n),
            ..Properties::default()
        };
        assert_eq!(route(input, &properties, "a"), route(input, &properties, "b"), "the key plays no part");
        route(input, &properties, "a")
    };
    let header = HashInput::Header(b"id".as_slice().into());
    for input in [header.clone(), HashInput::MessageId, HashInput::CorrelationId, HashInput::Timestamp] {
        let spread: BTreeSet<_> = (0..50).map(|n| number(&input, n)).collect();
        assert!(spread.len() > 25, "{input:?}");
        // Without it all messages go to one queue.
        assert_eq!(route(&input, &Properties::default(), "a"), route(&input, &Properties::default(), "b"));
    }
    let (narrow, wide) = (encoded(Value::I8(7)), encoded(Value::I64(7)));
    let with = |raw| Properties { headers: Some(RawTable(raw)), ..Properties::default() };
    assert_eq!(route(&header, &with(&narrow), ""), route(&header, &with(&wide), ""));
}

/// FEATURES XT-8: all bindings count, and a message goes to one.
#[test]
fn modulus_hash_spreads_over_bindings() {
    let mut bindings = Bindings::new(ExchangeType::ModulusHash);
    assert!(routed(&bindings, "k", None).is_empty());
    for (key, queue) in [("a", 1), ("b", 1), ("", 2), ("", 3)] {
        bindings.add(key, &none(), queue);
    }
    let owners = owners(&bindings);
    assert_eq!(owners, self::owners(&bindings));
    let shares = shares(&owners);
    assert!(shares[&1].abs_diff(KEYS / 2) < KEYS / 20 && shares[&2].abs_diff(KEYS / 4) < KEYS / 20);
}

/// FEATURES XT-7: one binding by chance, each as likely.
#[test]
fn random_spreads_over_bindings() {
    for kind in [ExchangeType::Random, ExchangeType::LocalRandom] {
        let mut bindings = Bindings::new(kind);
        assert!(routed(&bindings, "k", None).is_empty());
        (1..=4).for_each(|queue| assert!(bindings.add("", &none(), queue)));
        let shares = shares(&owners(&bindings));
        assert!(shares.len() == 4 && shares.values().all(|keys| keys.abs_diff(KEYS / 4) < KEYS / 20), "{shares:?}");
    }
    let local = Bindings::<u32>::new(ExchangeType::LocalRandom);
    let text = local.check("k", &none()).map_err(|error| error.to_string());
    assert_eq!(text, Err("Non empty binding 'k' key not permitted".into()));
    assert_eq!(Bindings::<u32>::new(ExchangeType::Random).check("k", &none()), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes and goes, each message goes to one queue of those that are bound; and when the last binding has
    /// gone nothing is left, which `Bindings` asserts itself.
    #[test]
    fn one_of_those_bound_is_chosen(
        kind in prop::sample::select(vec![
            ExchangeType::ConsistentHash,
            ExchangeType::ModulusHash,
            ExchangeType::Random,
            ExchangeType::LocalRandom,
        ]),
        changes in vec((any::<bool>(), 1u32..9, 0u8..6), 1..80),
    ) {
        let mut bindings = Bindings::new(kind);
        let mut bound: BTreeSet<(u32, u8)> = BTreeSet::new();
        for (adds, weight, queue) in changes {
            let key = weight.to_string();
            if adds {
                prop_assert_eq!(bindings.add(&key, &Table::default(), queue), bound.insert((weight, queue)));
            } else if weight == 1 {
                bindings.remove_destination(&queue);
                bound.retain(|(_, other)| *other != queue);
            } else {
                prop_assert_eq!(bindings.remove(&key, &Table::default(), &queue), bound.remove(&(weight, queue)));
            }
            for key in 0..20 {
                let found = routed(&bindings, &key.to_string(), None);
                prop_assert_eq!(found.len(), usize::from(!bound.is_empty()));
                prop_assert!(found.iter().all(|queue| bound.iter().any(|(_, other)| other == queue)));
            }
        }
        for (weight, queue) in bound {
            prop_assert!(bindings.remove(&weight.to_string(), &Table::default(), &queue));
        }
        prop_assert!(bindings.is_empty());
    }
}
