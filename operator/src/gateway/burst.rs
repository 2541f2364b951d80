//! Bursts: while requests are lent standby allocations, the controller is told, by an annotation on the endpoint, so that these
//! reserve what they use. One patch when a burst begins and one every 15 s while it lasts, however many requests it has.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lexiscale_core::labels::BURST_AT;
use lexiscale_core::standby::{REPEATED, burst_at};
use lexiscale_crds::InferenceEndpoint;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::directory::EndpointKey;
use super::{FIELD_MANAGER, Gateway};
use crate::clock;

/// A standby that helps out for less than this is no burst: its idle CPU is enough.
const SHORTEST: Duration = Duration::from_millis(100);
/// Without a standby lent for so long a burst is over.
const LULL: Duration = Duration::from_millis(500);
/// Longest wait for the API server. What it does not take now, the next 15 s may.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The endpoints whose standbys are lent.
#[derive(Default)]
pub(crate) struct Bursts(Mutex<HashMap<EndpointKey, Burst>>);

/// One endpoint's. PURE.
#[derive(Clone, Copy, Debug)]
struct Burst {
    since: Instant,
    latest: Instant,
    told: Option<Instant>,
}

impl Burst {
    fn new(now: Instant) -> Self {
        Self { since: now, latest: now, told: None }
    }

    /// A standby is lent. Whether the controller has to be told now.
    fn lent(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.latest) > LULL {
            self.since = now;
        }
        self.latest = now;
        let is_long = now.saturating_duration_since(self.since) >= SHORTEST;
        let is_told = self.told.is_some_and(|told| now.saturating_duration_since(told) < repeated());
        if is_long && !is_told {
            self.told = Some(now);
        }
        is_long && !is_told
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.latest) > repeated()
    }
}

impl Bursts {
    pub(crate) fn lent(&self, gateway: &Gateway, key: &EndpointKey) {
        let directory = gateway.directory();
        let Some(entry) = directory.get(key) else { return };
        let endpoint = entry.deployment();
        // Endpoints that are attached to one deployment share its standbys.
        let holder = EndpointKey::new(endpoint.namespace().unwrap_or_default(), endpoint.inference_id());
        let now = Instant::now();
        let is_due = {
            let mut bursts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !bursts.contains_key(&holder) {
                bursts.retain(|_, burst| !burst.is_over(now));
            }
            bursts.entry(holder).or_insert_with(|| Burst::new(now)).lent(now)
        };
        if is_due && !is_said(endpoint, clock::now()) {
            tokio::spawn(tell(gateway.clone(), endpoint.as_ref().clone()));
        }
    }
}

/// Another gateway has just told. One whose clock is ahead by minutes silences nobody: its time does not come from the past.
fn is_said(endpoint: &InferenceEndpoint, now: Timestamp) -> bool {
    burst_at(endpoint).is_some_and(|at| at <= now && now.duration_since(at) < REPEATED)
}

async fn tell(gateway: Gateway, endpoint: InferenceEndpoint) {
    let namespace = endpoint.namespace().unwrap_or_default();
    let name = endpoint.name_any();
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": {
        "uid": endpoint.uid(),
        "annotations": {BURST_AT: clock::now().to_string()},
    }}));
    let endpoints = gateway.endpoints(&namespace);
    match timeout(ATTEMPT, endpoints.patch_metadata(&name, &parameters, &patch)).await {
        Ok(Ok(_)) => tracing::info!(namespace, endpoint = name, "told of a burst"),
        Ok(Err(error)) => tracing::warn!(namespace, endpoint = name, %error, "failed to tell of a burst"),
        Err(_) => {
            tracing::warn!(namespace, endpoint = name, "the API server was not told of a burst in time");
        }
    }
}

fn repeated() -> Duration {
    REPEATED.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standby_that_helps_out_for_a_moment_is_no_burst() {
        let now = Instant::now();
        let mut burst = Burst::new(now);
        assert!(!burst.lent(now));
        assert!(!burst.lent(now + SHORTEST / 2));
        let later = now + SHORTEST + LULL * 2;
        assert!(!burst.lent(later), "what was before the lull does not count");
        assert!(burst.lent(later + SHORTEST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_told_once_and_again_while_it_lasts() {
        let now = Instant::now();
        let mut burst = Burst::new(now);
        let step = Duration::from_millis(100);
        let told = (0..600).filter(|number| burst.lent(now + step * *number)).count();
        assert_eq!(told, 4, "one minute");
        assert!(!burst.is_over(now + step * 600));
        assert!(burst.is_over(now + step * 600 + repeated() * 2));
    }

    #[test]
    fn what_another_gateway_has_just_told_is_not_told_again() {
        let mut endpoint: InferenceEndpoint = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": {BURST_AT: "2026-01-01T00:00:00Z"}},
            "spec": {"taskType": "sparse_embedding", "service": "elser", "serviceSettings": {"numThreads": 1}},
        }))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(is_said(&endpoint, at("2026-01-01T00:00:10Z")));
        assert!(!is_said(&endpoint, at("2026-01-01T00:00:15Z")));
        assert!(!is_said(&endpoint, at("2025-12-31T23:59:00Z")), "a clock that is ahead");
        endpoint.annotations_mut().clear();
        assert!(!is_said(&endpoint, at("2026-01-01T00:00:10Z")));
    }
}
