//! One worker pod as the gateway sees it: where it is, how busy this gateway keeps it, and whether it lately
//! failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long a pod that could not be reached is left alone. Kubernetes needs about as long to notice by
/// itself.
const AVOIDED_FOR: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Pod {
    address: SocketAddr,
    in_flight: AtomicUsize,
    /// When this gateway first saw the pod: the zero of `avoided_until`.
    since: Instant,
    /// Milliseconds after `since`. An atomic and not a lock, because every request reads it.
    avoided_until: AtomicU64,
}

/// One request on its way to a pod and back.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Pod>);

impl Pod {
    pub(crate) fn new(address: SocketAddr, now: Instant) -> Self {
        Self { address, in_flight: AtomicUsize::new(0), since: now, avoided_until: AtomicU64::new(0) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// After a request could not be delivered.
    pub(crate) fn avoid(&self, now: Instant) {
        let until = (now + AVOIDED_FOR).saturating_duration_since(self.since).as_millis();
        self.avoided_until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the pod may be tried again, if not now.
    pub(crate) fn avoided_until(&self, now: Instant) -> Option<Instant> {
        let until = self.since + Duration::from_millis(self.avoided_until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }
}

impl InFlight {
    pub(crate) fn pod(&self) -> &Pod {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pod with the fewest requests of this gateway. `rotation` breaks ties, or the first pod of the list
/// would get every request of a quiet endpoint. The pod that has refused the request already, `tried`, is taken
/// only where there is no other. `Err` says when the next avoided pod may be tried, if there is any.
pub(crate) fn least_busy(
    pods: &[Arc<Pod>],
    tried: Option<SocketAddr>,
    rotation: usize,
    now: Instant,
) -> Result<&Arc<Pod>, Option<Instant>> {
    let (before, after) = pods.split_at(if pods.is_empty() { 0 } else { rotation % pods.len() });
    let available = after.iter().chain(before).filter(|pod| pod.avoided_until(now).is_none());
    available
        .min_by_key(|pod| (tried == Some(pod.address()), pod.in_flight()))
        .ok_or_else(|| pods.iter().filter_map(|pod| pod.avoided_until(now)).min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(count: u8) -> Vec<Arc<Pod>> {
        let now = Instant::now();
        (0..count)
            .map(|number| Arc::new(Pod::new(SocketAddr::from(([10, 0, 0, number], 8080)), now)))
            .collect()
    }

    #[tokio::test]
    async fn the_pod_with_the_fewest_requests_is_next() {
        let pods = pods(3);
        let now = Instant::now();
        let _first = pods[0].begin();
        let _second = pods[1].begin();
        assert_eq!(least_busy(&pods, None, 0, now).unwrap().address(), pods[2].address());
    }

    #[tokio::test]
    async fn idle_pods_take_turns() {
        let pods = pods(3);
        let now = Instant::now();
        let picked: Vec<_> =
            (0..3).map(|rotation| least_busy(&pods, None, rotation, now).unwrap().address()).collect();
        assert_eq!(picked, [pods[0].address(), pods[1].address(), pods[2].address()]);
    }

    /// A full pod refuses at once, so it looks idle to the request that it refused.
    #[tokio::test]
    async fn the_pod_that_refused_is_the_last_choice() {
        let pods = pods(2);
        let now = Instant::now();
        let full = Some(pods[0].address());
        let _busy = pods[1].begin();
        for rotation in 0..4 {
            assert_eq!(least_busy(&pods, full, rotation, now).unwrap().address(), pods[1].address());
        }
        pods[1].avoid(now);
        assert_eq!(least_busy(&pods, full, 0, now).unwrap().address(), pods[0].address());
    }

    /// A dead pod has no requests in flight, so it would otherwise attract all of them.
    #[tokio::test]
    async fn a_pod_that_failed_is_left_alone_for_a_while() {
        tokio::time::pause();
        let pods = pods(2);
        let now = Instant::now();
        pods[0].avoid(now);
        for rotation in 0..4 {
            assert_eq!(least_busy(&pods, None, rotation, now).unwrap().address(), pods[1].address());
        }
        pods[1].avoid(now + Duration::from_millis(1));
        assert_eq!(least_busy(&pods, None, 0, now).unwrap_err(), Some(now + AVOIDED_FOR));
        assert!(least_busy(&pods, None, 0, now + AVOIDED_FOR).is_ok());
        assert_eq!(least_busy(&[], None, 7, now).unwrap_err(), None);
    }

    #[tokio::test]
    async fn a_finished_request_frees_its_place() {
        let pods = pods(1);
        drop(pods[0].begin());
        assert_eq!(pods[0].in_flight(), 0);
    }
}
