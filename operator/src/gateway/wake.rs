//! Waking an endpoint that sleeps at zero allocations. A request that meets no allocation asks here; of all the requests
//! that wait for one endpoint only the first starts anything, and of several gateways only one writes: the patch carries
//! the version of the object that it was decided on. Nothing is kept of endpoints that nobody waits for but how long
//! their start took.

mod ask;
mod cold_starts;
mod metrics;
#[cfg(test)]
mod tests;
mod waiter;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lexiscale_core::wake::{Sleep, sleep};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::cold_starts::ColdStarts;
pub(crate) use self::metrics::WakeMetrics;
pub(crate) use self::waiter::Waiter;
use super::Gateway;
use super::directory::{Directory, EndpointKey};

/// The endpoints that requests of this gateway wait for.
#[derive(Default)]
pub(crate) struct Wakes {
    waking: Mutex<HashMap<EndpointKey, Waking>>,
    cold_starts: ColdStarts,
}

/// One endpoint without an allocation, for as long as somebody waits for it.
struct Waking {
    requests: usize,
    /// When the first of them began to wait.
    since: Instant,
    /// A start that began under our eyes can be measured.
    is_measured: bool,
    _stop: DropGuard,
}

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointKey, Waking>> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more request waits. Returns since when the endpoint has been waited for.
    fn enter(&self, gateway: &Gateway, key: &EndpointKey) -> Instant {
        let mut waking = self.lock();
        if let Some(waking) = waking.get_mut(key) {
            waking.requests += 1;
            return waking.since;
        }
        let since = Instant::now();
        let is_asleep =
            gateway.directory().get(key).is_some_and(|entry| sleep(entry.deployment()) == Sleep::Asleep);
        let stop = CancellationToken::new();
        tokio::spawn(ask::while_waited_for(gateway.clone(), key.clone(), since, stop.clone()));
        let first = Waking { requests: 1, since, is_measured: is_asleep, _stop: stop.drop_guard() };
        waking.insert(key.clone(), first);
        since
    }

    /// One request fewer waits. The first that leaves because there is an allocation knows how long the start took.
    fn leave(&self, gateway: &Gateway, key: &EndpointKey) {
        let directory = gateway.directory();
        let is_ready = directory.get(key).is_some_and(|entry| !entry.pods.is_empty());
        let mut waking = self.lock();
        let Some(left) = waking.get_mut(key) else { return };
        left.requests -= 1;
        let measured = (is_ready && std::mem::take(&mut left.is_measured)).then(|| left.since.elapsed());
        if left.requests == 0 {
            waking.remove(key);
        }
        drop(waking);
        if let Some(took) = measured {
            self.cold_starts.took(&directory, key, took);
            gateway.metrics.wake.cold_start(key, took);
        }
    }

    /// How long a start will still take, given since when it is waited for; for `Retry-After`.
    fn time_left(&self, directory: &Directory, key: &EndpointKey, since: Option<Instant>) -> Duration {
        let since = since.or_else(|| self.lock().get(key).map(|waking| waking.since));
        let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
        self.cold_starts.expected(directory, key).saturating_sub(waited)
    }
}
