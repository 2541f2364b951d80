//! Waking an endpoint that sleeps at zero allocations. A request that meets no allocation asks here; of all the requests
//! that wait for one endpoint only the first starts anything, and of several gateways only one writes: the patch carries
//! the version of the object that it was decided on. Endpoints that are attached to another are woken, waited for and
//! counted as that one. Nothing is kept of endpoints that nobody waits for but how long their start took.

mod ask;
mod cold_starts;
mod metrics;
#[cfg(test)]
mod tests;
mod waiter;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lexiscale_core::wake::{Sleep, sleep};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::cold_starts::ColdStarts;
#[cfg(test)]
pub(crate) use self::metrics::Asked;
pub(crate) use self::metrics::WakeMetrics;
pub(crate) use self::waiter::Waiter;
use super::Gateway;
use super::directory::{Directory, EndpointKey, Entry};
use super::outage::Outage;

/// The endpoints that requests of this gateway wait for, by the key of what is woken ([`Entry::deployment`]).
#[derive(Default)]
pub(crate) struct Wakes {
    waking: Mutex<HashMap<EndpointKey, Waking>>,
    cold_starts: ColdStarts,
    /// Of all endpoints together: a thousand that cannot be woken are one thing to say.
    outage: Outage,
}

/// One endpoint, for as long as somebody waits for it.
#[derive(Default)]
struct Waking {
    requests: usize,
    without: Option<Without>,
    /// Who asks for an allocation: nobody, as long as there are some. On a busy endpoint requests begin and cease to wait all the
    /// time, and a task for each of them would be as much work as what they wait for.
    asking: Option<DropGuard>,
}

/// An endpoint has no allocation.
#[derive(Clone, Copy)]
struct Without {
    since: Instant,
    /// A start that began under our eyes can be measured.
    is_measured: bool,
}

impl Waking {
    /// Takes note of whether there is an allocation; returns how long its start took, once.
    fn look(&mut self, entry: &Entry) -> Option<Duration> {
        if entry.pods.is_empty() {
            let is_measured = sleep(entry.deployment()) == Sleep::Asleep;
            self.without.get_or_insert_with(|| Without { since: Instant::now(), is_measured });
            return None;
        }
        self.without.take().filter(|without| without.is_measured).map(|without| without.since.elapsed())
    }

    fn since(&self) -> Option<Instant> {
        self.without.map(|without| without.since)
    }

    fn ask(&mut self, gateway: &Gateway, key: &EndpointKey) {
        self.asking.get_or_insert_with(|| {
            let stop = CancellationToken::new();
            tokio::spawn(ask::while_waited_for(gateway.clone(), key.clone(), stop.clone()));
            stop.drop_guard()
        });
    }
}

/// Notices that an endpoint loses its last allocation while requests wait for one that was only busy. Ends with the directory.
pub(super) async fn follow(gateway: Gateway, mut directory: watch::Receiver<Arc<Directory>>) {
    while directory.changed().await.is_ok() {
        let known = Arc::clone(&directory.borrow_and_update());
        gateway.wakes.look_at_all(&gateway, &known);
    }
}

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointKey, Waking>> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more request waits. Returns since when the endpoint has no allocation, if it has none.
    fn enter(&self, gateway: &Gateway, key: &EndpointKey) -> Option<Instant> {
        self.update(gateway, key, |all, entry| {
            let waking = match all.get_mut(key) {
                Some(waking) => waking,
                None => all.entry(key.clone()).or_default(),
            };
            waking.requests += 1;
            let took = entry.and_then(|entry| waking.look(entry));
            if entry.is_none_or(|entry| entry.pods.is_empty()) {
                waking.ask(gateway, key);
            }
            (waking.since(), took)
        })
    }

    /// Nothing has changed but, perhaps, the endpoint. Returns what `enter` does.
    fn look(&self, gateway: &Gateway, key: &EndpointKey) -> Option<Instant> {
        self.update(gateway, key, |all, entry| {
            let Some(waking) = all.get_mut(key) else { return (None, None) };
            let took = entry.and_then(|entry| waking.look(entry));
            (waking.since(), took)
        })
    }

    /// Asks for those that have no allocation now and had some when requests began to wait.
    fn look_at_all(&self, gateway: &Gateway, directory: &Directory) {
        for (key, waking) in self.lock().iter_mut() {
            if directory.get(key).is_some_and(|entry| entry.pods.is_empty()) {
                waking.ask(gateway, key);
            }
        }
    }

    /// One request fewer waits. Returns since when the endpoint had no allocation, as far as it was known.
    fn leave(&self, gateway: &Gateway, key: &EndpointKey) -> Option<Instant> {
        self.update(gateway, key, |all, entry| {
            let Some(waking) = all.get_mut(key) else { return (None, None) };
            let since = waking.since();
            let took = entry.and_then(|entry| waking.look(entry));
            waking.requests -= 1;
            if waking.requests == 0 {
                all.remove(key);
            }
            (since, took)
        })
    }

    fn update(
        &self,
        gateway: &Gateway,
        key: &EndpointKey,
        act: impl FnOnce(&mut HashMap<EndpointKey, Waking>, Option<&Entry>) -> (Option<Instant>, Option<Duration>),
    ) -> Option<Instant> {
        let mut waking = self.lock();
        // Under the lock, or an endpoint that loses its allocations just now could be passed over by `look_at_all` too.
        let directory = gateway.directory();
        let (since, took) = act(&mut waking, directory.get(key).map(AsRef::as_ref));
        drop(waking);
        if let Some(took) = took {
            self.cold_starts.took(&directory, key, took);
            gateway.metrics.wake.cold_start(key, took);
        }
        since
    }

    /// How long a start will still take, given since when it is waited for; for `Retry-After`.
    fn time_left(&self, directory: &Directory, key: &EndpointKey, since: Option<Instant>) -> Duration {
        let since = since.or_else(|| self.lock().get(key)?.since());
        let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
        self.cold_starts.expected(directory, key).saturating_sub(waited)
    }
}
