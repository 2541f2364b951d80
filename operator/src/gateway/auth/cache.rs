//! A bounded cache of decisions: each is kept for a time of its own, and asked for once however many wait.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether an entry is worth more than the place it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Worth {
    /// Dropped last: what somebody who may come in needs.
    Keep,
    /// Dropped first: what anybody can make any number of.
    Drop,
}

/// A decision as it is cached.
#[derive(Clone, Debug)]
pub(crate) struct Decided<V> {
    pub(crate) value: V,
    pub(crate) keep_for: Duration,
    pub(crate) worth: Worth,
}

/// Whether a decision was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Cached,
    Asked,
}

pub(crate) struct Cache<K, V> {
    slots: Mutex<HashMap<K, Arc<Slot<V>>>>,
    capacity: usize,
}

/// The lock is held while the decision is asked for: that is what makes the others wait for it.
type Slot<V> = tokio::sync::Mutex<Option<(Decided<V>, Instant)>>;

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Mutex::default(), capacity }
    }

    /// The decision for a key, from `ask` where none is cached. A caller that leaves while it asks lets the
    /// next one ask.
    pub(crate) async fn get(&self, key: &K, ask: impl AsyncFnOnce() -> Decided<V>) -> (V, Found) {
        let slot = self.slot(key);
        let mut held = slot.lock().await;
        if let Some((decided, until)) = &*held
            && Instant::now() < *until
        {
            return (decided.value.clone(), Found::Cached);
        }
        let decided = ask().await;
        let value = decided.value.clone();
        let until = Instant::now() + decided.keep_for;
        *held = Some((decided, until));
        (value, Found::Asked)
    }

    fn slot(&self, key: &K) -> Arc<Slot<V>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        if slots.len() >= self.capacity {
            make_room(&mut slots, self.capacity);
        }
        let slot = Arc::<Slot<V>>::default();
        slots.insert(key.clone(), Arc::clone(&slot));
        slot
    }
}

/// Drops what is over or worth little, and from the rest down to three quarters: many at once, so that a flood
/// of new keys does not pay for a search each time.
fn make_room<K: Clone + Eq + Hash, V>(slots: &mut HashMap<K, Arc<Slot<V>>>, capacity: usize) {
    let now = Instant::now();
    slots.retain(|_, slot| match slot.try_lock() {
        Ok(held) => {
            held.as_ref().is_some_and(|(decided, until)| *until > now && decided.worth == Worth::Keep)
        }
        // Being asked for.
        Err(_) => true,
    });
    let surplus = slots.len().saturating_sub(capacity * 3 / 4);
    let keys: Vec<K> = slots.keys().take(surplus).cloned().collect();
    for key in keys {
        slots.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const fn decided(value: usize, worth: Worth) -> Decided<usize> {
        Decided { value, keep_for: Duration::from_secs(10), worth }
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_is_asked_for_once_in_its_time() {
        let cache = Cache::new(10);
        let asked = AtomicUsize::new(0);
        let get = || {
            cache.get(&"a", async || {
                tokio::time::sleep(Duration::from_secs(1)).await;
                decided(asked.fetch_add(1, Ordering::Relaxed), Worth::Keep)
            })
        };
        let together = futures::join!(get(), get(), get());
        assert_eq!(together, ((0, Found::Asked), (0, Found::Cached), (0, Found::Cached)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(get().await, (0, Found::Cached));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get().await, (1, Found::Asked));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_asking_blocks_nobody() {
        let cache = Cache::new(10);
        let never = cache.get(&"a", async || std::future::pending::<Decided<usize>>().await);
        assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
        assert_eq!(cache.get(&"a", async || decided(7, Worth::Keep)).await, (7, Found::Asked));
    }

    /// Anybody can send tokens that are not valid; those must not crowd out the ones that are.
    #[tokio::test(start_paused = true)]
    async fn a_flood_of_bad_tokens_leaves_the_good_ones_in() {
        let cache = Cache::new(100);
        cache.get(&0, async || decided(1, Worth::Keep)).await;
        for key in 1..10_000 {
            cache.get(&key, async || decided(0, Worth::Drop)).await;
        }
        assert!(cache.slots.lock().unwrap().len() <= 100);
        assert_eq!(cache.get(&0, async || decided(2, Worth::Keep)).await, (1, Found::Cached));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_grows_beyond_its_capacity() {
        let cache = Cache::new(100);
        for key in 0..1000 {
            cache.get(&key, async || decided(0, Worth::Keep)).await;
            assert!(cache.slots.lock().unwrap().len() <= 100);
        }
    }
}
