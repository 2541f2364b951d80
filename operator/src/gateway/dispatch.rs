//! From an admitted request to a worker's answer: choose a pod, send, and try again where that can help.
//! Every pod that could not be reached is left alone for a moment; a request that meets no pod waits in the
//! hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use lexiscale_crds::{ConditionType, Conditions};
use lexiscale_wire::WorkerErrorKind;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::admission::{Admitted, Deadline};
use super::directory::{Directory, EndpointKey, Entry};
use super::error::Error;
use super::hold::Full;
use super::pod::{InFlight, least_busy};
use super::wake::Waiter;
use super::worker::{Failure, Message, Relay};

/// A request that made one worker die is given to one more and no third: it may be the request's fault.
const MOST_LOST: usize = 1;
/// Pods that are full or on their way out before the client is told so.
const MOST_REFUSALS: usize = 1;

/// Breaks ties between equally busy pods. Shared by all endpoints: it only has to change.
static ROTATION: AtomicUsize = AtomicUsize::new(0);

pub(crate) async fn dispatch(
    gateway: &Gateway,
    key: &EndpointKey,
    message: Message,
    admitted: Admitted,
    waiter: &Waiter<'_>,
) -> Result<Body, Error> {
    let deadline = admitted.deadline;
    let mut lost = 0;
    let mut refusals = 0;
    let mut tried = None;
    loop {
        let in_flight = ready_pod(gateway, key, tried, deadline, waiter).await?;
        let failure =
            match gateway.workers.infer(in_flight.pod().address(), message.clone(), deadline.at).await {
                Ok(body) => return Ok(Relay::body(body, admitted, in_flight)),
                Err(failure) => failure,
            };
        match failure {
            Failure::DeadlinePassed => return Err(too_late(&key.id, deadline, "an answer")),
            // The worker never saw it, so it may be sent again as often as the deadline allows.
            Failure::Unreachable => in_flight.pod().avoid(Instant::now()),
            Failure::Lost => {
                in_flight.pod().avoid(Instant::now());
                lost += 1;
                if lost > MOST_LOST {
                    return Err(Error::WorkerLost { id: key.id.clone() });
                }
            }
            Failure::Refused { error, retry_after } => {
                if error.kind == WorkerErrorKind::NotReady {
                    in_flight.pod().avoid(Instant::now());
                } else {
                    let has_another = gateway.directory().get(key).is_some_and(|entry| entry.pods.len() > 1);
                    refusals += 1;
                    if !error.kind.is_retryable() || refusals > MOST_REFUSALS || !has_another {
                        return Err(Error::Worker {
                            id: key.id.clone(),
                            kind: error.kind,
                            message: error.error,
                            retry_after,
                        });
                    }
                    // Full, not broken: other requests may still be sent there, this one looks for a free
                    // pod.
                    tried = Some(in_flight.pod().address());
                }
            }
        }
        gateway.metrics.retried();
    }
}

/// A pod that is ready now, or the next one that gets ready before the deadline.
async fn ready_pod(
    gateway: &Gateway,
    key: &EndpointKey,
    tried: Option<SocketAddr>,
    deadline: Deadline,
    waiter: &Waiter<'_>,
) -> Result<InFlight, Error> {
    let next_try = match choose(&gateway.directory(), key, tried)? {
        Choice::Pod(in_flight) => return Ok(in_flight),
        Choice::Wait(next_try) => next_try,
    };
    let _held =
        gateway.hold.wait(key).map_err(|Full { limit }| Error::TooManyHeld { id: key.id.clone(), limit })?;
    let _raised = gateway.metrics.held(key);
    let _waiting = waiter.begin();
    let mut directory = gateway.watch_directory();
    timeout_at(deadline.at, next_pod(&mut directory, key, tried, next_try))
        .await
        .map_err(|_| too_late(&key.id, deadline, "a ready allocation"))?
}

async fn next_pod(
    directory: &mut watch::Receiver<Arc<Directory>>,
    key: &EndpointKey,
    tried: Option<SocketAddr>,
    mut next_try: Option<Instant>,
) -> Result<InFlight, Error> {
    loop {
        // Read first, and mark as seen: a change between the first look and this one must not be slept
        // through.
        let now_known = Arc::clone(&directory.borrow_and_update());
        next_try = match choose(&now_known, key, tried)? {
            Choice::Pod(in_flight) => return Ok(in_flight),
            Choice::Wait(next) => next.or(next_try.filter(|at| *at > Instant::now())),
        };
        let pause = async {
            match next_try {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = directory.changed() => changed.map_err(|_| Error::NotReady)?,
            () = pause => {}
        }
    }
}

enum Choice {
    Pod(InFlight),
    /// Until the directory changes, or until then.
    Wait(Option<Instant>),
}

fn choose(directory: &Directory, key: &EndpointKey, tried: Option<SocketAddr>) -> Result<Choice, Error> {
    let Some(entry) = directory.get(key) else {
        return Err(Error::NotFound { id: key.id.clone() });
    };
    match least_busy(&entry.pods, tried, ROTATION.fetch_add(1, Ordering::Relaxed), Instant::now()) {
        Ok(pod) => Ok(Choice::Pod(pod.begin())),
        Err(next_try) => {
            refuse_if_stalled(entry, &key.id)?;
            Ok(Choice::Wait(next_try))
        }
    }
}

/// Nothing serves, and nothing will before somebody acts: waiting would only hide that. One that is ready nevertheless
/// sleeps, or loses its pods at this moment; what it served last, it serves again.
fn refuse_if_stalled(entry: &Entry, id: &str) -> Result<(), Error> {
    match entry.endpoint.condition(ConditionType::Stalled) {
        Some(stalled)
            if stalled.status == "True"
                && entry.pods.is_empty()
                && !entry.endpoint.is(ConditionType::Ready) =>
        {
            Err(Error::NotServing {
                id: id.to_owned(),
                reason: stalled.reason.clone(),
                message: stalled.message.clone(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn too_late(id: &str, deadline: Deadline, waited_for: &'static str) -> Error {
    Error::InferTimeout { id: id.to_owned(), timeout: deadline.timeout, waited_for }
}
