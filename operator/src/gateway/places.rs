//! Places for arithmetic that may take long, away from the threads that serve everybody. They are few, and tenants take turns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{JoinError, spawn_blocking};

use super::tenancy::Tenant;

type Turn = Arc<tokio::sync::Mutex<()>>;

pub(crate) struct Places {
    free: Semaphore,
    /// Of the tenants who wait: who stands in line for a place.
    turns: Mutex<BTreeMap<String, Turn>>,
}

impl Places {
    pub(crate) const fn new(places: usize) -> Self {
        Self { free: Semaphore::const_new(places), turns: Mutex::new(BTreeMap::new()) }
    }

    /// Runs `work` once there is a place for it. An error is a panic of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        tenant: &Tenant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let place = self.place(tenant).await;
        let task = spawn_blocking(move || {
            // Held to the end of the work, also when nobody waits for it any more.
            let _place = place;
            work()
        });
        task.await
    }

    /// One request of a tenant stands in line at a time, so that many of one do not keep the others waiting for all of them.
    async fn place(&'static self, tenant: &Tenant) -> SemaphorePermit<'static> {
        let turn = self.turn(tenant);
        let _turn = turn.lock().await;
        self.free.acquire().await.expect("nobody closes it")
    }

    fn turn(&self, tenant: &Tenant) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(tenant.0.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::future::join_all;
    use futures::poll;

    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant(name.to_owned())
    }

    #[tokio::test]
    async fn a_tenant_with_many_requests_leaves_the_place_after_next_to_another() {
        static PLACES: Places = Places::new(1);
        static DONE: Mutex<Vec<&str>> = Mutex::new(Vec::new());
        let (release, end) = mpsc::channel::<()>();
        let (busy, other) = (tenant("busy"), tenant("other"));
        let mut first = Box::pin(PLACES.run(&busy, move || end.recv()));
        assert!(poll!(&mut first).is_pending());
        let request = |tenant, name| Box::pin(PLACES.run(tenant, move || DONE.lock().unwrap().push(name)));
        let mut waiting = [
            request(&busy, "busy"),
            request(&busy, "busy"),
            request(&busy, "busy"),
            request(&other, "other"),
        ];
        for request in &mut waiting {
            assert!(poll!(request).is_pending());
        }
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        join_all(waiting).await;
        assert_eq!(*DONE.lock().unwrap(), ["busy", "other", "busy", "busy"]);
        let _turn = PLACES.turn(&other);
        assert_eq!(PLACES.turns.lock().unwrap().len(), 1, "who does not wait is forgotten");
    }

    #[tokio::test]
    async fn one_tenant_alone_has_all_places() {
        static PLACES: Places = Places::new(2);
        let (begun, second) = mpsc::channel();
        let tenant = tenant("a");
        // The first ends only when the second runs.
        let (first, other) = tokio::join!(
            PLACES.run(&tenant, move || second.recv()),
            PLACES.run(&tenant, move || begun.send(()))
        );
        first.unwrap().unwrap();
        other.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_leaves_the_line_gives_the_turn_on() {
        static PLACES: Places = Places::new(1);
        let tenant = tenant("a");
        let (release, end) = mpsc::channel::<()>();
        let mut first = Box::pin(PLACES.run(&tenant, move || end.recv()));
        assert!(poll!(&mut first).is_pending());
        let mut leaver = Box::pin(PLACES.run(&tenant, || ()));
        assert!(poll!(&mut leaver).is_pending());
        drop(leaver);
        release.send(()).unwrap();
        PLACES.run(&tenant, || ()).await.unwrap();
        first.await.unwrap().unwrap();
    }
}
