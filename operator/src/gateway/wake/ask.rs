//! Asks the controller for a first allocation, by an annotation on the endpoint.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lexiscale_core::labels::WAKE_REQUESTED_AT;
use lexiscale_core::wake::{Sleep, request, sleep};
use lexiscale_crds::InferenceEndpoint;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::Asked;
use crate::clock;
use crate::gateway::directory::EndpointKey;
use crate::gateway::{FIELD_MANAGER, Gateway};

/// What is done here, as the log says it.
const WAKE: &str = "wake an endpoint";
/// Longest wait for one answer of the API server.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Conflicts in a row after which the endpoint is left alone for a moment: somebody writes it all the time.
const MOST_CONFLICTS: usize = 8;
/// How long the watch may take to show what was asked for. Only then is there a reason to ask again.
const SETTLING: Duration = Duration::from_secs(1);
/// Pauses while the API server is away: 0.1 s, 0.2 s, 0.4 s, ... 2 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the API server did not answer within {} s", ATTEMPT.as_secs())]
    Silent,
    #[error("the endpoint changed {MOST_CONFLICTS} times in a row")]
    Conflicts,
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
}

/// Asks whenever the endpoint sleeps and nobody has asked, until `stop`. It may fall asleep while it is waited for: a request
/// can come at the very moment when the controller decides that none comes any more. What has begun is ended in any case:
/// clients that wait for a moment only, and come again, wake it too.
pub(super) async fn while_waited_for(gateway: Gateway, key: EndpointKey, stop: CancellationToken) {
    let mut directory = gateway.watch_directory();
    let mut rest_until = Instant::now();
    let mut pause = FIRST_PAUSE;
    // The version on which it was asked. As long as the watch shows no other, all is said.
    let mut settled = None;
    loop {
        let known = Arc::clone(&directory.borrow_and_update());
        let since = gateway.wakes.look(&gateway, &key);
        let sleeper = known.get(&key).filter(|entry| entry.pods.is_empty());
        let sleeper = sleeper.filter(|entry| sleep(entry.deployment()) == Sleep::Asleep);
        let unsettled = sleeper.filter(|entry| settled != entry.deployment().resource_version());
        if let Some(entry) = unsettled.filter(|_| Instant::now() >= rest_until) {
            let outcome = ask(&gateway, &key, entry.deployment()).await;
            // It may have been deleted while the API server was asked, and its series with it.
            if gateway.directory().get(&key).is_some() {
                gateway.metrics.wake.asked(&key, *outcome.as_ref().unwrap_or(&Asked::Failed));
            }
            if outcome.is_ok() {
                gateway.wakes.outage.answered(WAKE);
                settled = entry.deployment().resource_version();
            }
            let rest = match outcome {
                Ok(Asked::Here) => {
                    gateway.metrics.wake.decided(since.map_or(Duration::ZERO, |since| since.elapsed()));
                    tracing::info!(
                        namespace = key.namespace,
                        endpoint = key.id,
                        "asked for a first allocation"
                    );
                    SETTLING
                }
                Ok(Asked::Elsewhere | Asked::Failed) => SETTLING,
                Err(error) => {
                    let EndpointKey { namespace, id } = &key;
                    gateway.wakes.outage.failed(WAKE, &format_args!("[{namespace}/{id}] {error}"));
                    let rest = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    rest
                }
            };
            rest_until = Instant::now() + rest;
        }
        if sleeper.is_none() {
            pause = FIRST_PAUSE;
        }
        let rested = async {
            match unsettled {
                Some(_) => tokio::time::sleep_until(rest_until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = directory.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = rested => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One patch, on the version of the object that shows it asleep and not asked for. Whoever loses that race looks again, and
/// has nothing to do.
async fn ask(gateway: &Gateway, key: &EndpointKey, seen: &InferenceEndpoint) -> Result<Asked, AskError> {
    let endpoints = gateway.endpoints(&key.namespace);
    let (name, uid) = (seen.name_any(), seen.uid());
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let mut current = seen.clone();
    for _ in 0..MOST_CONFLICTS {
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": current.resource_version(),
            "annotations": {WAKE_REQUESTED_AT: request(&current, clock::now())},
        }}));
        match timeout(ATTEMPT, endpoints.patch_metadata(&name, &parameters, &patch)).await {
            Err(_) => return Err(AskError::Silent),
            Ok(Ok(_)) => return Ok(Asked::Here),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(Asked::Elsewhere),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
            Ok(Err(error)) => return Err(error.into()),
        }
        let fresh = timeout(ATTEMPT, endpoints.get_opt(&name)).await.map_err(|_| AskError::Silent)??;
        match fresh.filter(|fresh| fresh.uid() == uid && sleep(fresh) == Sleep::Asleep) {
            Some(fresh) => current = fresh,
            None => return Ok(Asked::Elsewhere),
        }
    }
    Err(AskError::Conflicts)
}
