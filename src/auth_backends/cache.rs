//! Answers of a backend, remembered for a while (`auth_cache.*`).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// Answers remembered at once; beyond that those that are out of date go, and if there are none all of them.
const ENTRIES_MAX: usize = 16 * 1024;

/// See the module's documentation. The lock is held for one look.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    ttl: Duration,
    entries: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, entries: Mutex::default() }
    }

    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, since) = entries.get(key)?;
        (now.saturating_duration_since(*since) < self.ttl).then(|| value.clone())
    }

    pub(super) fn put(&self, key: K, value: V, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (_, since)| now.saturating_duration_since(*since) < self.ttl);
            if entries.len() >= ENTRIES_MAX {
                entries.clear();
            }
        }
        entries.insert(key, (value, now));
    }
}

/// Keys of answers that nobody can guess, and from which nothing can be read: some are made of passwords.
#[derive(Debug)]
pub(super) struct Fingerprints {
    salt: [u8; 32],
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self { salt: rand::random() }
    }
}

impl Fingerprints {
    /// Of these, in this order.
    pub(super) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        for part in parts {
            // So that no two lists have the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_for_the_ttl_and_no_longer() {
        let (cache, start) = (Cache::new(Duration::from_secs(15)), Instant::now());
        cache.put("q", true, start);
        assert_eq!(cache.get(&"q", start + Duration::from_millis(14_999)), Some(true));
        assert_eq!(cache.get(&"q", start + Duration::from_secs(15)), None);
        assert_eq!(cache.get(&"other", start), None);
        cache.put("q", false, start + Duration::from_secs(15));
        assert_eq!(cache.get(&"q", start + Duration::from_secs(16)), Some(false));
    }

    #[test]
    fn it_never_holds_more_than_so_many() {
        let (cache, start) = (Cache::new(Duration::from_secs(15)), Instant::now());
        let held = |cache: &Cache<usize, ()>| cache.entries.lock().unwrap().len();
        for key in 0..ENTRIES_MAX {
            cache.put(key, (), start);
        }
        assert_eq!(held(&cache), ENTRIES_MAX);
        cache.put(ENTRIES_MAX, (), start + Duration::from_secs(14));
        assert_eq!(held(&cache), 1, "nothing was out of date");
        for key in 0..ENTRIES_MAX - 1 {
            cache.put(key, (), start);
        }
        assert_eq!(held(&cache), ENTRIES_MAX);
        cache.put(ENTRIES_MAX + 1, (), start + Duration::from_secs(20));
        assert_eq!(held(&cache), 2, "the rest was out of date");
    }
}
