//! Which samples a query asks for, and how numbers are shown with them: `lengths_age=60&lengths_incr=5` and its kin add
//! `samples`, `avg` and `avg_rate` to `messages_details` and its kin.

use super::call::Query;
use super::history::{Past, Read};
use super::record::Record;
use super::reply::Refused;
use super::series::Series;

/// Samples that one series may have.
const SAMPLES_MAX: i64 = 500;

/// Moments that samples are wanted of, in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    first_ms: u64,
    last_ms: u64,
    step_ms: u64,
}

impl Range {
    fn moments(self) -> impl DoubleEndedIterator<Item = u64> {
        (0..=(self.last_ms - self.first_ms) / self.step_ms).map(move |step| self.first_ms + step * self.step_ms)
    }
}

/// The four kinds of numbers that RabbitMQ tells apart here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ranges {
    pub(super) lengths: Option<Range>,
    pub(super) msg_rates: Option<Range>,
    pub(super) data_rates: Option<Range>,
    pub(super) node_stats: Option<Range>,
}

impl Ranges {
    pub(super) fn parse(query: &Query, now_ms: u64) -> Result<Self, Refused> {
        let range = |kind: &str| {
            let number = |what: &str| query.get(&format!("{kind}_{what}"))?.parse::<i64>().ok();
            match (number("age"), number("incr")) {
                (Some(age), Some(step)) => range(age, step, now_ms).map(Some),
                _ => Ok(None),
            }
        };
        Ok(Self {
            lengths: range("lengths")?,
            msg_rates: range("msg_rates")?,
            data_rates: range("data_rates")?,
            node_stats: range("node_stats")?,
        })
    }
}

/// The last moment is a multiple of the step.
fn range(age_s: i64, step_s: i64, now_ms: u64) -> Result<Range, Refused> {
    let invalid = || Refused::bad_request(format!("Invalid range parameters: age {age_s}, incr {step_s}"));
    if age_s <= 0 || step_s <= 0 || age_s / step_s > SAMPLES_MAX {
        return Err(invalid());
    }
    let ms = |seconds: i64| u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1000));
    let (age_ms, step_ms) = (ms(age_s).ok_or_else(invalid)?, ms(step_s).ok_or_else(invalid)?);
    let last_ms = now_ms / step_ms * step_ms;
    Ok(Range { first_ms: last_ms.checked_sub(age_ms).ok_or_else(invalid)?, last_ms, step_ms })
}

/// Puts numbers as they are now, with their `_details`.
pub(super) fn put(
    record: &mut Record<'_>,
    series: &[Series],
    now: &[u64],
    past: Option<&dyn Past>,
    range: Option<Range>,
) {
    for Series { name, details, read } in series {
        record.put(name, read(now));
        put_details(record, details, past, *read, range);
    }
}

/// `message_stats`: of each group of numbers that are not all zero.
pub(super) fn put_message_stats(
    record: &mut Record<'_>,
    groups: &[&[Series]],
    now: &[u64],
    past: Option<&dyn Past>,
    range: Option<Range>,
) {
    let is_told = |group: &&&[Series]| group.iter().any(|series| (series.read)(now) > 0);
    if groups.iter().any(|group| is_told(&group)) {
        record.object("message_stats", |stats| {
            groups.iter().filter(is_told).for_each(|group| put(stats, group, now, past, range));
        });
    }
}

/// `{"rate"}`, and with a range what was.
pub(super) fn put_details(
    record: &mut Record<'_>,
    name: &'static str,
    past: Option<&dyn Past>,
    read: Read,
    range: Option<Range>,
) {
    record.object(name, |details| {
        details.put("rate", past.map_or(0.0, |past| past.rate(read)));
        if let Some(range) = range {
            put_samples(details, past, read, range);
        }
    });
}

/// The newest comes first.
fn put_samples(details: &mut Record<'_>, past: Option<&dyn Past>, read: Read, range: Range) {
    // What was not there yet counted nothing.
    let value = |at_ms| past.and_then(|past| past.at(at_ms, read)).unwrap_or_default();
    let samples: Vec<(u64, u64)> = range.moments().rev().map(|at_ms| (at_ms, value(at_ms))).collect();
    details.list("samples", &samples, |(at_ms, value), sample| {
        sample.put("sample", value);
        sample.put("timestamp", at_ms);
    });
    let [(newest_ms, newest), .., (oldest_ms, oldest)] = samples[..] else { return };
    // Far below 2^52.
    let change = newest as f64 - oldest as f64;
    details.put("avg_rate", change * 1000.0 / (newest_ms - oldest_ms) as f64);
    let sum: f64 = samples.iter().map(|(_, value)| *value as f64).sum();
    details.put("avg", sum / samples.len() as f64);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::management::history::History;
    use crate::management::record::Columns;
    use crate::management::retention::Retention;

    fn details(past: Option<&dyn Past>, range: Option<Range>) -> Json {
        let mut out = Vec::new();
        Record::write(&mut out, Columns::All, |record| put_details(record, "x", past, first, range));
        serde_json::from_slice::<Json>(&out).expect("JSON")["x"].take()
    }

    fn parsed(query: &str, now_ms: u64) -> Result<Ranges, Json> {
        Ranges::parse(&Query::parse(query), now_ms).map_err(|refused| refused.reason)
    }

    fn first(values: &[u64]) -> u64 {
        values[0]
    }

    #[test]
    fn a_range_ends_on_a_multiple_of_its_step() {
        let ranges = parsed("lengths_age=60&lengths_incr=5&msg_rates_age=62&msg_rates_incr=7", 1_888_400).unwrap();
        let ends = |range: Option<Range>| {
            let moments: Vec<u64> = range.expect("it was asked for").moments().collect();
            (moments[0], moments[moments.len() - 1], moments.len())
        };
        assert_eq!(ends(ranges.lengths), (1_825_000, 1_885_000, 13));
        assert_eq!(ends(ranges.msg_rates), (1_821_000, 1_877_000, 9));
        assert_eq!((ranges.data_rates, ranges.node_stats), (None, None));
        assert_eq!(ends(parsed("lengths_age=2&lengths_incr=5", 1_888_400).unwrap().lengths).2, 1);
    }

    #[test]
    fn what_is_no_number_asks_for_nothing_and_what_is_no_range_is_refused() {
        for query in ["", "lengths_age=60", "lengths_age=x&lengths_incr=5", "lengths_age=60.5&lengths_incr=5"] {
            assert_eq!(parsed(query, 1_888_400), Ok(Ranges::default()), "{query}");
        }
        for (age, incr) in [("60", "0"), ("-60", "5"), ("0", "5"), ("2505", "5"), ("60000", "5"), ("99999", "9999")] {
            let refused = parsed(&format!("data_rates_age={age}&data_rates_incr={incr}"), 1_888_400);
            assert_eq!(refused, Err(format!("Invalid range parameters: age {age}, incr {incr}").into()));
        }
        assert!(parsed("lengths_age=2504&lengths_incr=5", 5_888_400).is_ok(), "500 of them are not too many");
        assert!(parsed(&format!("lengths_age={0}&lengths_incr={0}", i64::MAX), 1_888_400).is_err());
    }

    #[test]
    fn samples_come_newest_first_with_their_mean_and_slope() {
        let mut history = History::new(Retention::default().basic.intervals(), 863_000, [0]);
        for (at_ms, value) in [(868_000, 502), (873_000, 6550), (878_000, 12_376), (883_000, 18_231)] {
            history.add(at_ms, [value]);
        }
        let range = parsed("msg_rates_age=20&msg_rates_incr=5", 888_400).unwrap().msg_rates;
        let details = details(Some(&history), range);
        let samples: Vec<(u64, u64)> = details["samples"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|sample| (sample["timestamp"].as_u64().expect("ms"), sample["sample"].as_u64().expect("a number")))
            .collect();
        let expected = [(885_000, 18_231), (880_000, 12_376), (875_000, 6550), (870_000, 502), (865_000, 0)];
        assert_eq!(samples, expected);
        assert_eq!(
            (&details["rate"], &details["avg_rate"], &details["avg"]),
            (&json!(1171.0), &json!(911.55), &json!(7531.8))
        );
    }

    #[test]
    fn one_sample_has_no_mean() {
        let range = parsed("msg_rates_age=2&msg_rates_incr=5", 888_400).unwrap().msg_rates;
        let details = details(None, range);
        assert_eq!(details, json!({"rate": 0.0, "samples": [{"sample": 0, "timestamp": 883_000}]}));
    }
}
