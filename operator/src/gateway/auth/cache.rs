//! A bounded cache of decisions: each is kept for a time of its own, and asked for once however many wait. When
//! asking fails, a decision may outlive its time for those who are let in on an old one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Each key asks once in so long while asking fails.
const KEEP_FAILURE: Duration = Duration::from_secs(1);
/// So long is a new decision waited for, from when it is asked for, by those who could go on by the old one.
const MOMENT: Duration = Duration::from_secs(1);

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
    /// For how much longer it is good enough for [`Demand::NewIfPossible`].
    pub(crate) outlives: Duration,
    pub(crate) worth: Worth,
}

/// Which decisions a caller goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Demand {
    /// Only one in its time.
    New,
    /// An older one too, as long as nobody can be asked for a new one.
    NewIfPossible,
}

/// Whether a decision was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Cached,
    Asked,
    /// Its time is over.
    Outlived,
}

pub(crate) struct Cache<K, V, E> {
    slots: Mutex<HashMap<K, Arc<Slot<V, E>>>>,
    capacity: usize,
}

struct Slot<V, E> {
    /// Held while the decision is asked for: that is what makes the others wait for it.
    turn: Arc<tokio::sync::Mutex<()>>,
    known: Mutex<Known<V, E>>,
}

struct Known<V, E> {
    decided: Option<(Decided<V>, Instant)>,
    /// Since when a newer one is asked for, as far as it is.
    asked: Option<Instant>,
    /// Why no newer one could be had, since then.
    failed: Option<(E, Instant)>,
}

impl<V: Clone, E: Clone> Slot<V, E> {
    fn new() -> Self {
        Self { turn: Arc::default(), known: Mutex::new(Known { decided: None, asked: None, failed: None }) }
    }

    fn known(&self) -> MutexGuard<'_, Known<V, E>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, asked: Result<Decided<V>, E>) -> Result<V, E> {
        let now = Instant::now();
        let mut known = self.known();
        match asked {
            Ok(decided) => {
                let value = decided.value.clone();
                *known = Known { decided: Some((decided, now)), asked: None, failed: None };
                Ok(value)
            }
            Err(error) => {
                known.failed = Some((error.clone(), now));
                Err(error)
            }
        }
    }
}

impl<V: Clone, E: Clone> Known<V, E> {
    fn in_time(&self, now: Instant) -> Option<V> {
        let (decided, made) = self.decided.as_ref()?;
        (now < *made + decided.keep_for).then(|| decided.value.clone())
    }

    fn outlived(&self, now: Instant) -> Option<V> {
        let (decided, made) = self.decided.as_ref()?;
        (now < *made + decided.keep_for + decided.outlives).then(|| decided.value.clone())
    }

    fn just_failed(&self, now: Instant) -> Option<E> {
        let (error, since) = self.failed.as_ref()?;
        (now < *since + KEEP_FAILURE).then(|| error.clone())
    }

    fn is_worth_its_place(&self, now: Instant) -> bool {
        let worth = self.decided.as_ref().map(|(decided, _)| decided.worth);
        worth == Some(Worth::Keep) && self.outlived(now).is_some()
    }
}

impl<K, V, E> Cache<K, V, E>
where
    K: Clone + Eq + Hash,
    V: Clone + Send + 'static,
    E: Clone + Send + 'static,
{
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Mutex::default(), capacity }
    }

    /// The decision for a key, from `ask` where none is cached. A caller that leaves while it asks lets the
    /// next one ask.
    pub(crate) async fn get<A>(
        &self,
        key: &K,
        demand: Demand,
        ask: impl FnOnce() -> A,
    ) -> (Result<V, E>, Found)
    where
        A: Future<Output = Result<Decided<V>, E>> + Send + 'static,
    {
        let slot = self.slot(key);
        if let Some(value) = slot.known().in_time(Instant::now()) {
            return (Ok(value), Found::Cached);
        }
        let outlived = match demand {
            Demand::New => None,
            Demand::NewIfPossible => slot.known().outlived(Instant::now()),
        };
        if let Some(outlived) = outlived {
            return or_outlived(slot, outlived, ask).await;
        }
        let _turn = slot.turn.lock().await;
        let now = Instant::now();
        {
            let mut known = slot.known();
            if let Some(value) = known.in_time(now) {
                return (Ok(value), Found::Cached);
            }
            if let Some(error) = known.just_failed(now) {
                return (Err(error), Found::Cached);
            }
            known.asked = Some(now);
        }
        (slot.store(ask().await), Found::Asked)
    }

    /// Whether there is, or was not long ago, a decision worth keeping.
    pub(crate) fn knows(&self, key: &K) -> bool {
        let slot = self.lock().get(key).map(Arc::clone);
        slot.is_some_and(|slot| slot.known().is_worth_its_place(Instant::now()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Slot<V, E>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &K) -> Arc<Slot<V, E>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        if slots.len() >= self.capacity {
            make_room(&mut slots, self.capacity);
        }
        let slot = Arc::new(Slot::new());
        slots.insert(key.clone(), Arc::clone(&slot));
        slot
    }
}

/// Asks behind the caller, who waits to the end of the question's first moment, and not at all while asking fails: nobody is
/// slowed down by somebody who does not answer.
async fn or_outlived<V, E, A>(
    slot: Arc<Slot<V, E>>,
    outlived: V,
    ask: impl FnOnce() -> A,
) -> (Result<V, E>, Found)
where
    V: Clone + Send + 'static,
    E: Clone + Send + 'static,
    A: Future<Output = Result<Decided<V>, E>> + Send + 'static,
{
    let now = Instant::now();
    let (has_failed, rests) = {
        let known = slot.known();
        (known.failed.is_some(), known.just_failed(now).is_some())
    };
    if !rests && let Ok(turn) = Arc::clone(&slot.turn).try_lock_owned() {
        slot.known().asked = Some(now);
        let (asked, slot) = (ask(), Arc::clone(&slot));
        tokio::spawn(async move {
            // Who asked before is told by `known`, not by this.
            let _ = slot.store(asked.await);
            drop(turn);
        });
    }
    if !has_failed {
        let asked = slot.known().asked.unwrap_or(now);
        let _ = timeout_at(asked + MOMENT, slot.turn.lock()).await;
    }
    let fresh = slot.known().in_time(Instant::now());
    match fresh {
        Some(value) => (Ok(value), Found::Asked),
        None => (Ok(outlived), Found::Outlived),
    }
}

/// Drops what is over or worth little, and from the rest down to three quarters: many at once, so that a flood
/// of new keys does not pay for a search each time.
fn make_room<K: Clone + Eq + Hash, V: Clone, E: Clone>(
    slots: &mut HashMap<K, Arc<Slot<V, E>>>,
    capacity: usize,
) {
    let now = Instant::now();
    // Those whose turn it is are being asked for.
    slots.retain(|_, slot| slot.turn.try_lock().is_err() || slot.known().is_worth_its_place(now));
    let surplus = slots.len().saturating_sub(capacity * 3 / 4);
    let keys: Vec<K> = slots.keys().take(surplus).cloned().collect();
    for key in keys {
        slots.remove(&key);
    }
}

#[cfg(test)]
mod tests;
