//! Leader election by a `Lease`: of several replicas one works, and another goes on within seconds when it dies.
//!
//! Clocks of different machines are never compared: a lease has run out when it has not changed for its duration on our own
//! monotonic clock. Every change of it names the version that it changes, so of two takers one fails.

mod record;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::{Api, Client, api::PostParams};
use lexiscale_core::labels::MANAGER;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::record::{Claim, Sighting, claim, released, renewed};
use crate::clock::now;

/// How long a leader that has fallen silent is waited for.
const DURATION: Duration = Duration::from_secs(9);
/// How long a leader goes on without having renewed. The difference to the duration is the margin for a slow clock and for
/// a write on its way.
const RENEW_DEADLINE: Duration = Duration::from_secs(6);
/// Time between two attempts to renew or to acquire.
const RETRY: Duration = Duration::from_millis(1500);

/// Which lease, and in whose name.
#[derive(Clone, Debug)]
pub struct Lease {
    pub name: String,
    pub namespace: String,
    /// Unique among all replicas that ever were, see [`unique`].
    pub holder: String,
}

/// Proof that this replica leads. Renewed in the background.
#[derive(Debug)]
pub struct Lead {
    fence: Fence,
    lost: CancellationToken,
    /// Asks the background task to give the lease back, and hears when it has.
    release: Option<oneshot::Sender<oneshot::Sender<()>>>,
}

/// Whether a write is still ours to make. A process that was stopped and goes on must not write by what it knew before.
#[derive(Clone, Debug)]
pub struct Fence {
    start: Instant,
    /// Milliseconds after `start` until which the lease is surely ours.
    until: Arc<AtomicU64>,
}

impl Fence {
    fn until(deadline: Instant) -> Self {
        let start = Instant::now();
        let fence = Self { start, until: Arc::default() };
        fence.extend(deadline);
        fence
    }

    fn unlimited() -> Self {
        Self { start: Instant::now(), until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    fn extend(&self, deadline: Instant) {
        let millis = deadline.saturating_duration_since(self.start).as_millis();
        self.until.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// True while the lease is surely ours.
    pub fn permits(&self) -> bool {
        self.start.elapsed().as_millis() < u128::from(self.until.load(Ordering::Acquire))
    }
}

impl Lead {
    /// For a single replica that nobody competes with.
    pub fn uncontested() -> Self {
        Self { fence: Fence::unlimited(), lost: CancellationToken::new(), release: None }
    }

    /// The fence that every write has to pass.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Resolves when the lease could not be renewed in time, or was taken.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the lease back, so that another replica need not wait until it has run out. Best effort.
    pub async fn release(self) {
        let Some(release) = self.release else { return };
        let (done, released) = oneshot::channel();
        if release.send(done).is_ok() {
            let _ = timeout(RETRY * 2, released).await;
        }
    }
}

/// A name that no other replica has, not even an earlier one of the same pod.
pub fn unique(identity: &str) -> String {
    format!("{identity}_{:x}", now().as_nanosecond())
}

/// Waits until this replica leads. `standing_by` is called whenever the lease could be read and is another's.
pub async fn acquire(client: Client, lease: Lease, standing_by: impl Fn()) -> Lead {
    let api: Api<LeaseObject> = Api::namespaced(client, &lease.namespace);
    let mut sighting = Sighting::default();
    tracing::info!(
        lease = lease.name,
        namespace = lease.namespace,
        holder = lease.holder,
        "waiting for the lease"
    );
    loop {
        let asked = Instant::now();
        match timeout(RENEW_DEADLINE, attempt(&api, &lease, &mut sighting)).await {
            Ok(Ok(Some(held))) => {
                tracing::info!(lease = lease.name, "leading");
                return lead(api, lease, held, asked);
            }
            Ok(Ok(None)) => standing_by(),
            Ok(Err(error)) => {
                tracing::warn!(lease = lease.name, %error, "failed to acquire the lease, trying again");
            }
            Err(_) => {
                tracing::warn!(lease = lease.name, "the API server did not answer in time, trying again");
            }
        }
        sleep(RETRY).await;
    }
}

/// Takes the lease if nobody has it.
async fn attempt(
    api: &Api<LeaseObject>,
    lease: &Lease,
    sighting: &mut Sighting,
) -> kube::Result<Option<LeaseObject>> {
    let seen = api.get_opt(&lease.name).await?;
    let result = match claim(seen.as_ref(), lease, sighting, Instant::now().into_std(), now()) {
        Claim::Create(object) => api.create(&parameters(), &object).await,
        Claim::Replace(object) => api.replace(&lease.name, &parameters(), &object).await,
        Claim::Wait => return Ok(None),
    };
    match result {
        Ok(held) => Ok(Some(held)),
        // Another replica was faster.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

fn lead(api: Api<LeaseObject>, lease: Lease, held: LeaseObject, since: Instant) -> Lead {
    let fence = Fence::until(since + RENEW_DEADLINE);
    let lost = CancellationToken::new();
    let (release, asked_to_release) = oneshot::channel();
    let keeper = Keeper { api, lease, held, fence: fence.clone() };
    let losing = lost.clone();
    tokio::spawn(async move {
        keeper.keep(since, asked_to_release).await;
        losing.cancel();
    });
    Lead { fence, lost, release: Some(release) }
}

/// Holds the lease in the background.
struct Keeper {
    api: Api<LeaseObject>,
    lease: Lease,
    held: LeaseObject,
    fence: Fence,
}

impl Keeper {
    /// Ends when the lease is lost or given back.
    async fn keep(mut self, mut renewed_at: Instant, mut release: oneshot::Receiver<oneshot::Sender<()>>) {
        loop {
            tokio::select! {
                () = sleep(RETRY) => {}
                asked = &mut release => {
                    if let Ok(done) = asked {
                        self.give_back().await;
                        let _ = done.send(());
                    }
                    return;
                }
            }
            let asked = Instant::now();
            let deadline = renewed_at + RENEW_DEADLINE;
            match tokio::time::timeout_at(deadline, self.renew(now())).await {
                Ok(Ok(true)) => {
                    renewed_at = asked;
                    self.fence.extend(asked + RENEW_DEADLINE);
                }
                Ok(Ok(false)) => {
                    tracing::error!(lease = self.lease.name, "another replica has the lease");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.lease.name, %error, "failed to renew, trying again");
                }
                Err(_) => {
                    tracing::error!(lease = self.lease.name, "could not renew the lease in time");
                    return;
                }
            }
        }
    }

    /// False when somebody else has it.
    async fn renew(&mut self, time: Timestamp) -> kube::Result<bool> {
        match self.replace(time).await {
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
            result => return result.map(|()| true),
        }
        // Somebody touched it, perhaps only its labels; or an earlier renewal arrived and its answer did not.
        let seen = self.api.get_opt(&self.lease.name).await?;
        let Some(ours) = seen.filter(|seen| record::holder(seen) == Some(&self.lease.holder)) else {
            return Ok(false);
        };
        self.held = ours;
        self.replace(time).await.map(|()| true)
    }

    async fn replace(&mut self, time: Timestamp) -> kube::Result<()> {
        let object = renewed(&self.held, &self.lease, time);
        self.held = self.api.replace(&self.lease.name, &parameters(), &object).await?;
        Ok(())
    }

    async fn give_back(&self) {
        // First close the fence: whoever takes the lease now must be alone.
        self.fence.extend(self.fence.start);
        let object = released(&self.held, now());
        match timeout(RETRY, self.api.replace(&self.lease.name, &parameters(), &object)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.lease.name, "gave the lease back"),
            Ok(Err(error)) => {
                tracing::warn!(lease = self.lease.name, %error, "failed to give the lease back");
            }
            Err(_) => tracing::warn!(
                lease = self.lease.name,
                "the API server did not answer, leaving the lease to run out"
            ),
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that was stopped (SIGSTOP, a paused machine) goes on with what it knew before, and another leads by then.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_after_the_deadline_until_the_lease_is_renewed() {
        let fence = Fence::until(Instant::now() + RENEW_DEADLINE);
        assert!(fence.permits());
        tokio::time::advance(RENEW_DEADLINE).await;
        assert!(!fence.permits());
        fence.extend(Instant::now() + RENEW_DEADLINE);
        assert!(fence.permits());
        fence.extend(fence.start);
        assert!(!fence.permits(), "given back");
    }
}
