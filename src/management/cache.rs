//! Answers of a large broker that took long to make, kept for a while, so that whoever asks all the time costs a bounded
//! share of the processor: RabbitMQ's `management_db_cache_multiplier`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;

/// What took less is made anew each time.
const COST_MIN: Duration = Duration::from_millis(20);
/// An answer is good for this many times what it took, but never for longer than statistics lag in RabbitMQ.
const MULTIPLIER: u32 = 40;
const AGE_MAX: Duration = Duration::from_secs(5);
/// Bytes of all answers together.
const BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
struct Kept {
    answer: Bytes,
    until: Instant,
}

/// By user, and path with query.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<(String, String), Kept>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, user: &str, asked: &str, now: Instant) -> Option<Bytes> {
        let key = (user.to_owned(), asked.to_owned());
        self.lock().get(&key).filter(|kept| now < kept.until).map(|kept| kept.answer.clone())
    }

    /// Keeps an answer that was begun some time ago.
    pub(super) fn put(&self, user: &str, asked: &str, answer: &Bytes, begun: Instant, now: Instant) {
        let cost = now.saturating_duration_since(begun);
        if cost < COST_MIN {
            return;
        }
        let mut all = self.lock();
        all.retain(|_, kept| now < kept.until);
        let bytes: usize = all.values().map(|kept| kept.answer.len()).sum();
        if bytes + answer.len() <= BYTES_MAX {
            let kept = Kept { answer: answer.clone(), until: now + (cost * MULTIPLIER).min(AGE_MAX) };
            all.insert((user.to_owned(), asked.to_owned()), kept);
        }
    }

    /// Something was changed: whoever did it wants to see it.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_is_kept_for_a_while() {
        let (cache, begun) = (Cache::default(), Instant::now());
        let after = |ms| begun + Duration::from_millis(ms);
        let answer = Bytes::from_static(b"[]");
        cache.put("u", "/api/queues", &answer, begun, after(19));
        assert_eq!(cache.get("u", "/api/queues", after(19)), None, "it did not take long");
        cache.put("u", "/api/queues", &answer, begun, after(20));
        assert_eq!(cache.get("u", "/api/queues", after(819)), Some(answer.clone()));
        assert_eq!(cache.get("u", "/api/queues", after(820)), None);
        assert_eq!(cache.get("v", "/api/queues", after(500)), None, "others may see other things");
        assert_eq!(cache.get("u", "/api/queues?page=1", after(500)), None);
        cache.put("u", "/api/queues", &answer, begun, after(10_000));
        assert_eq!(cache.get("u", "/api/queues", after(14_999)), Some(answer));
        assert_eq!(cache.get("u", "/api/queues", after(15_000)), None);
    }

    #[test]
    fn changes_are_seen_and_memory_is_bounded() {
        let (cache, begun) = (Cache::default(), Instant::now());
        let now = begun + Duration::from_secs(1);
        let large = Bytes::from(vec![b'x'; BYTES_MAX / 2]);
        for path in ["a", "b", "c"] {
            cache.put("u", path, &large, begun, now);
        }
        let kept: Vec<bool> = ["a", "b", "c"].iter().map(|path| cache.get("u", path, now).is_some()).collect();
        assert_eq!(kept, [true, true, false]);
        cache.clear();
        assert!(cache.get("u", "a", now).is_none());
    }
}
