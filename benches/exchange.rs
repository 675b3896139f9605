//! Time to route one message, by exchange type and number of bindings.
//!
//! Each case cycles through 1,021 different messages, so that the tables do not stay in the nearest cache.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

use lepus::broker::exchange::{Bindings, ExchangeType, Routable};
use lepus::wire::{Properties, RawTable, Table, Value};

/// A prime, so that the messages do not fall in step with the bindings.
const MESSAGES: u32 = 1_021;

criterion_group!(benches, direct, fanout, topic, headers, hash, change);
criterion_main!(benches);

fn direct(criterion: &mut Criterion) {
    for count in [5_000, 50_000] {
        let bindings = bind(ExchangeType::Direct, count, |n| (format!("queue.{n}"), none()));
        let keys = messages(|n| format!("queue.{}", spread(n, count)));
        route_keys(criterion, &format!("direct/{count}"), &bindings, &keys);
    }
}

fn fanout(criterion: &mut Criterion) {
    let bindings = bind(ExchangeType::Fanout, 100, |_| (String::new(), none()));
    let keys = messages(|_| String::new());
    route_keys(criterion, "fanout/100", &bindings, &keys);
}

fn topic(criterion: &mut Criterion) {
    for count in [5_000, 50_000] {
        let name = |case: &str| format!("topic/{case}/{count}");

        let bindings = bind(ExchangeType::Topic, count, |n| (reading(n, "temperature"), none()));
        let keys = messages(|n| reading(spread(n, count), "temperature"));
        route_keys(criterion, &name("words"), &bindings, &keys);

        // Some pattern of each form matches: by words, one word open, the rest open, the beginning open.
        let bindings = bind(ExchangeType::Topic, count, |n| {
            let (site, device) = (n % 100, n / 4);
            let key = match n % 4 {
                0 => reading(n, "temperature"),
                1 => format!("site.*.device.{device}.temperature"),
                2 => format!("site.{site}.device.{device}.#"),
                _ => format!("#.{device}.*"),
            };
            (key, none())
        });
        let keys = messages(|n| reading(spread(n, count) / 4, "temperature"));
        route_keys(criterion, &name("mixed"), &bindings, &keys);

        let bindings = bind(ExchangeType::Topic, count, |n| (format!("#.w{n}.#"), none()));
        let keys = messages(|n| format!("one.two.w{}.four.five", spread(n, count)));
        route_keys(criterion, &name("hashes"), &bindings, &keys);
    }

    let bindings = bind(ExchangeType::Topic, 100, |n| (format!("{}{n}", "#.*.".repeat(n as usize % 63)), none()));
    let keys = messages(|_| ".".repeat(255));
    route_keys(criterion, "topic/255 dots against up to 62 hashes each", &bindings, &keys);
}

fn headers(criterion: &mut Criterion) {
    let count = 50_000;
    let message = |n: u32, id: u32| {
        let headers = table([
            ("format", "pdf".into()),
            ("kind", Value::from(&*format!("kind-{}", n % 250))),
            ("region", Value::from(&*format!("region-{}", n / 250 % 200))),
            ("id", Value::U32(id)),
            ("trace", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ]);
        let mut raw = Vec::new();
        headers.encode_bare(&mut raw);
        raw
    };
    let messages = messages(|n| message(spread(n, count), spread(n, count)));

    let by_id = |mode: &'static str| {
        move |n: u32| {
            let arguments = table([("x-match", mode.into()), ("format", "pdf".into()), ("id", Value::I64(n.into()))]);
            (String::new(), arguments)
        }
    };
    let bindings = bind(ExchangeType::Headers, count, by_id("all"));
    route_headers(criterion, "headers/all, by a distinct number/50000", &bindings, &messages);

    let bindings = bind(ExchangeType::Headers, count, |n| {
        let arguments = table([
            ("kind", Value::from(&*format!("kind-{}", n % 250))),
            ("region", Value::from(&*format!("region-{}", n / 250 % 200))),
            ("format", Value::Void),
        ]);
        (String::new(), arguments)
    });
    route_headers(criterion, "headers/all, by two shared texts/50000", &bindings, &messages);

    let bindings = bind(ExchangeType::Headers, count, |n| {
        let arguments = table([
            ("x-match", "any".into()),
            ("id", Value::I64(n.into())),
            ("other", Value::from(&*format!("other-{n}"))),
        ]);
        (String::new(), arguments)
    });
    route_headers(criterion, "headers/any of two/50000", &bindings, &messages);
}

fn hash(criterion: &mut Criterion) {
    let keys = messages(|n| format!("key.{n}"));
    let bindings = bind(ExchangeType::ConsistentHash, 100, |_| ("100".to_owned(), none()));
    route_keys(criterion, "consistent hash/100 of weight 100", &bindings, &keys);
    let bindings = bind(ExchangeType::ModulusHash, 100, |_| (String::new(), none()));
    route_keys(criterion, "modulus hash/100", &bindings, &keys);
}

/// One binding more and one less in a table of 50,000.
fn change(criterion: &mut Criterion) {
    let count = 50_000;
    for kind in ExchangeType::ALL {
        let mut bindings = bind(kind, count, |n| (reading(n, "temperature"), table([("id", Value::U32(n))])));
        let arguments = table([("id", Value::U32(count))]);
        let key = reading(count, "pressure");
        criterion.bench_function(&format!("bind and unbind/{}/{count}", kind.as_str()), |bencher| {
            bencher.iter(|| {
                bindings.add(&key, &arguments, count);
                bindings.remove_destination(&count)
            });
        });
    }
}

fn bind(kind: ExchangeType, count: u32, binding: impl Fn(u32) -> (String, Table)) -> Bindings<u32> {
    let mut bindings = Bindings::new(kind);
    for n in 0..count {
        let (key, arguments) = binding(n);
        bindings.add(&key, &arguments, n);
    }
    bindings
}

fn messages<M>(message: impl Fn(u32) -> M) -> Vec<M> {
    (0..MESSAGES).map(message).collect()
}

/// The numbers of the messages, spread over those of the bindings.
fn spread(n: u32, count: u32) -> u32 {
    n.wrapping_mul(7_919) % count
}

fn reading(n: u32, what: &str) -> String {
    format!("site.{}.device.{n}.{what}", n % 100)
}

fn none() -> Table {
    Table::default()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().collect()
}

fn route_keys(criterion: &mut Criterion, name: &str, bindings: &Bindings<u32>, keys: &[String]) {
    let messages: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
    route(criterion, name, bindings, &messages);
}

fn route_headers(criterion: &mut Criterion, name: &str, bindings: &Bindings<u32>, raw: &[Vec<u8>]) {
    let messages: Vec<_> = raw.iter().map(|raw| ("", Some(RawTable(raw)))).collect();
    route(criterion, name, bindings, &messages);
}

fn route(criterion: &mut Criterion, name: &str, bindings: &Bindings<u32>, messages: &[(&str, Option<RawTable<'_>>)]) {
    let properties = |headers| Properties { headers, ..Properties::default() };
    let messages: Vec<_> = messages.iter().map(|(key, headers)| ([*key], properties(*headers))).collect();
    let mut next = messages.iter().cycle();
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut found = 0u32;
            if let Some((keys, properties)) = next.next() {
                bindings.route(black_box(&Routable { keys, properties }), &mut |destination| {
                    found = found.wrapping_add(*destination);
                });
            }
            found
        });
    });
}
