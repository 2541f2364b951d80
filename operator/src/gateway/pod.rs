//! One worker pod as the gateway sees it: where it is, how busy it is, and whether it lately failed. The line of
//! its endpoint (`line.rs`) is the only writer of its counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::{Class, Room};

/// How long a pod that could not be reached is left alone. Kubernetes needs about as long to notice by
/// itself.
pub(crate) const FAILED: Duration = Duration::from_millis(500);
/// How long a pod whose queue is full is left alone: it is well, and has room within a few batches.
pub(crate) const OVERLOADED: Duration = Duration::from_millis(100);
/// What a worker said of its load is worth less with every moment, and nothing after this.
const LOAD_IS_WORTH: Duration = Duration::from_secs(1);
/// How much a pod's score counts a piece of this gateway: the steps in which others' load fades.
const PIECE: u64 = 1000;

/// Whether it is there for every request.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Role {
    /// It reserves what it uses.
    #[default]
    Reserved,
    /// It is lent in a burst: when all others are busy.
    Standby,
}

#[derive(Debug)]
pub(crate) struct Pod {
    address: SocketAddr,
    role: Role,
    /// Pieces that this gateway has there.
    pieces: AtomicUsize,
    /// Those of them that are searches.
    searches: AtomicUsize,
    /// Their texts.
    texts: AtomicUsize,
    /// When this gateway first saw the pod: the zero of the times below.
    since: Instant,
    /// Milliseconds after `since`. Atomics and not a lock, because every request reads them.
    avoided_until: AtomicU64,
    /// Texts of other gateways that the worker had, and when it said so.
    foreign: AtomicUsize,
    foreign_at: AtomicU64,
}

impl Pod {
    pub(crate) fn new(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            role: Role::Reserved,
            pieces: AtomicUsize::new(0),
            searches: AtomicUsize::new(0),
            texts: AtomicUsize::new(0),
            since: now,
            avoided_until: AtomicU64::new(0),
            foreign: AtomicUsize::new(0),
            foreign_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pieces(&self) -> usize {
        self.pieces.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, class: Class, texts: usize) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.texts.fetch_add(texts, Ordering::Relaxed);
        if class == Class::Search {
            self.searches.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self, class: Class, texts: usize) {
        self.pieces.fetch_sub(1, Ordering::Relaxed);
        self.texts.fetch_sub(texts, Ordering::Relaxed);
        if class == Class::Search {
            self.searches.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A search may have one slot more beside documents, or it would wait for a whole piece of them; the worker then takes it
    /// first. It gets none behind searches: another allocation may be free sooner.
    fn has(&self, room: Room, slots: usize) -> bool {
        match room {
            Room::Any => self.pieces() < slots,
            Room::SearchOnly => self.pieces() <= slots && self.searches.load(Ordering::Relaxed) < slots,
        }
    }

    /// After a piece of `texts` could not be delivered, or was not taken.
    pub(crate) fn avoid(&self, now: Instant, pause: Duration) {
        self.avoided_until.fetch_max(self.milliseconds(now + pause), Ordering::Relaxed);
    }

    pub(crate) fn is_avoided(&self, now: Instant) -> bool {
        self.avoided_until.load(Ordering::Relaxed) > self.milliseconds(now)
    }

    /// The worker answered a piece of `answered` texts, which it does not count any more, and has `load` texts
    /// left. What is not ours is from other gateways.
    pub(crate) fn reported(&self, load: usize, answered: usize, now: Instant) {
        let own = self.texts.load(Ordering::Relaxed).saturating_sub(answered);
        self.foreign.store(load.saturating_sub(own), Ordering::Relaxed);
        self.foreign_at.store(self.milliseconds(now), Ordering::Relaxed);
    }

    /// The lower, the sooner it is chosen. Others' load counts as `slots` pieces at most: it may be gone by now,
    /// and every other gateway reads the same of it.
    fn score(&self, slots: usize, now: Instant) -> u64 {
        let foreign = self.foreign.load(Ordering::Relaxed).min(slots) as u64 * PIECE;
        let age = self.milliseconds(now).saturating_sub(self.foreign_at.load(Ordering::Relaxed));
        let worth = milliseconds(LOAD_IS_WORTH);
        self.pieces() as u64 * PIECE + foreign * worth.saturating_sub(age) / worth
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        milliseconds(now.saturating_duration_since(self.since))
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The pod that shall have the next piece: of those that have room the least busy. `rotation` breaks ties, or the first pod of the list would get every request of a quiet endpoint.
pub(crate) fn choose(
    pods: &[Arc<Pod>],
    room: Room,
    slots: usize,
    rotation: usize,
    now: Instant,
) -> Option<&Arc<Pod>> {
    let (before, after) = pods.split_at(if pods.is_empty() { 0 } else { rotation % pods.len() });
    let free = after.iter().chain(before).filter(|pod| pod.has(room, slots) && !pod.is_avoided(now));
    free.min_by_key(|pod| pod.score(slots, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 2;

    fn pods(count: u8) -> Vec<Arc<Pod>> {
        let now = Instant::now();
        (0..count)
            .map(|number| Arc::new(Pod::new(SocketAddr::from(([10, 0, 0, number], 8080)), now)))
            .collect()
    }

    fn chosen(pods: &[Arc<Pod>], rotation: usize, now: Instant) -> Option<SocketAddr> {
        choose(pods, Room::Any, SLOTS, rotation, now).map(|pod| pod.address())
    }

    #[tokio::test(start_paused = true)]
    async fn the_pod_with_most_free_slots_is_next_and_a_full_one_is_not() {
        let pods = pods(3);
        let now = Instant::now();
        pods[0].begin(Class::Ingest, 1);
        pods[1].begin(Class::Ingest, 10);
        assert_eq!(chosen(&pods, 0, now), Some(pods[2].address()));
        for pod in &pods {
            pod.begin(Class::Ingest, 1);
        }
        assert_eq!(chosen(&pods, 0, now), Some(pods[2].address()));
        pods[2].begin(Class::Ingest, 1);
        assert_eq!(chosen(&pods, 0, now), None);
        pods[1].end(Class::Ingest, 10);
        assert_eq!(chosen(&pods, 0, now), Some(pods[1].address()));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_pods_take_turns() {
        let pods = pods(3);
        let now = Instant::now();
        let picked: Vec<_> = (0..3).filter_map(|rotation| chosen(&pods, rotation, now)).collect();
        assert_eq!(picked, [pods[0].address(), pods[1].address(), pods[2].address()]);
    }

    /// A dead pod has nothing in flight, so it would otherwise attract everything.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_failed_is_left_alone_for_a_while() {
        let pods = pods(2);
        let now = Instant::now();
        pods[0].avoid(now, FAILED);
        pods[0].avoid(now, OVERLOADED);
        for rotation in 0..4 {
            assert_eq!(chosen(&pods, rotation, now), Some(pods[1].address()));
        }
        pods[1].avoid(now, FAILED);
        assert_eq!(chosen(&pods, 0, now + OVERLOADED), None);
        assert!(chosen(&pods, 0, now + FAILED).is_some());
        assert_eq!(chosen(&[], 7, now), None);
    }

    /// Two gateways that do not see each other would both prefer the same idle-looking pod.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_works_for_other_gateways_is_chosen_later() {
        let pods = pods(2);
        let now = Instant::now();
        pods[0].begin(Class::Ingest, 1);
        pods[0].begin(Class::Ingest, 3);
        pods[0].reported(8, 1, now);
        pods[0].end(Class::Ingest, 1);
        pods[0].end(Class::Ingest, 3);
        for rotation in 0..4 {
            assert_eq!(chosen(&pods, rotation, now), Some(pods[1].address()), "5 of the 8 are not ours");
        }
        pods[1].begin(Class::Ingest, 1);
        assert_eq!(chosen(&pods, 0, now), Some(pods[1].address()), "they count as two pieces");
        assert_eq!(chosen(&pods, 0, now + LOAD_IS_WORTH * 3 / 4), Some(pods[0].address()), "and fade");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ours_of_a_load_is_not_foreign() {
        let pods = pods(2);
        let now = Instant::now();
        pods[0].begin(Class::Ingest, 4);
        pods[0].begin(Class::Ingest, 2);
        pods[0].reported(2, 4, now);
        pods[0].end(Class::Ingest, 4);
        pods[0].end(Class::Ingest, 2);
        assert_eq!(chosen(&pods, 0, now), Some(pods[0].address()));
    }

    /// Whatever others do, every pod that has a free slot is used before a piece waits.
    #[tokio::test(start_paused = true)]
    async fn foreign_load_never_closes_a_pod() {
        let pods = pods(1);
        let now = Instant::now();
        pods[0].reported(usize::MAX, 0, now);
        assert!(chosen(&pods, 0, now).is_some());
    }

    /// A search behind a search would wait although another allocation is free sooner.
    #[tokio::test(start_paused = true)]
    async fn a_search_has_a_slot_beside_documents_and_none_behind_searches() {
        let now = Instant::now();
        let table = [
            (vec![Class::Ingest, Class::Search], 2, true),
            (vec![Class::Ingest, Class::Ingest], 2, true),
            (vec![Class::Search, Class::Search], 2, false),
            (vec![Class::Ingest], 1, true),
            (vec![Class::Search], 1, false),
            (vec![Class::Ingest, Class::Search], 1, false),
        ];
        for (pieces, slots, has_room) in table {
            let pods = pods(1);
            for class in &pieces {
                pods[0].begin(*class, 1);
            }
            assert!(choose(&pods, Room::Any, slots, 0, now).is_none());
            assert_eq!(choose(&pods, Room::SearchOnly, slots, 0, now).is_some(), has_room, "{pieces:?}");
        }
    }
}
