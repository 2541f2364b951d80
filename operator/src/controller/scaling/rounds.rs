//! One round after the other: read the gateways, look at every endpoint that is due, start the passes that are worth it.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    mem::discriminant,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use lexiscale_core::{
    autoscaler::Decision,
    follower::{Follower, Proposal, Seen, Sources},
    load::idleness,
    scaling::{Policy, Reason},
    validated,
};
use lexiscale_crds::InferenceEndpoint;
use tokio::time::Instant;

use super::{
    Key, Pace, Proposals, Proposed, ROUND, Scoped,
    client::LoadClient,
    gateways::Gateways,
    metrics::ScalingMetrics,
    workers::{Picture, Workers},
};
use crate::clock::now;

/// The loop. Its memory is that of the followers, one for each adaptive endpoint that exists.
pub(in crate::controller) struct Rounds {
    scopes: Vec<Scoped>,
    gateways: Gateways,
    workers: Workers,
    client: LoadClient,
    proposals: Proposals,
    metrics: ScalingMetrics,
    pace: Pace,
    followers: HashMap<Key, Followed>,
}

/// What one round sees, the same for all endpoints.
struct View {
    workers: Picture,
    /// The gateway without which nothing is known.
    missing: Option<String>,
    /// One that counts has not answered in time and may do so soon.
    is_late: bool,
    /// Until the next round.
    pause: Duration,
    now: Timestamp,
}

struct Followed {
    uid: String,
    policy: Policy,
    follower: Follower,
    /// The latest proposal for which a pass was started, and when.
    triggered: Option<(Gist, Instant)>,
}

/// What a proposal comes to: from which number to which, and why.
type Gist = (u32, u32, Reason);

/// A pass that cannot carry a proposal out, since the spec is broken or the API server away, has its own patience; it is not started at
/// every look.
const TRIGGERED_AGAIN: Duration = Duration::from_secs(10);

impl Followed {
    /// Whether this proposal is worth a pass now.
    fn triggers(&mut self, proposal: &Proposal, now: Instant) -> bool {
        let gist = (proposal.from, proposal.replicas, proposal.reason);
        let is_known = self
            .triggered
            .is_some_and(|(known, at)| known == gist && now.saturating_duration_since(at) < TRIGGERED_AGAIN);
        if !is_known {
            self.triggered = Some((gist, now));
        }
        !is_known
    }
}

impl Rounds {
    pub(in crate::controller) fn new(
        scopes: Vec<Scoped>,
        gateways: Store<Pod>,
        proposals: Proposals,
        metrics: ScalingMetrics,
        pace: Pace,
    ) -> Self {
        let client = LoadClient::new();
        Self {
            scopes,
            gateways: Gateways::new(gateways, client.clone(), pace),
            workers: Workers::new(pace),
            client,
            proposals,
            metrics,
            pace,
            followers: HashMap::new(),
        }
    }

    /// Runs for as long as it is polled.
    pub(in crate::controller) async fn run(mut self) {
        self.gateways.wait_until_known().await;
        for scope in &self.scopes {
            // An error means that the watch has ended, and with it the process.
            let _ = scope.workers.wait_until_ready().await;
            let _ = scope.endpoints.wait_until_ready().await;
        }
        let (workers, client, metrics) = (self.workers.clone(), self.client.clone(), self.metrics.clone());
        let pods: Vec<_> = self.scopes.iter().map(|scope| scope.workers.clone()).collect();
        futures::join!(workers.ask_forever(&pods, &client, &metrics), self.rounds());
    }

    async fn rounds(&mut self) {
        loop {
            let began = Instant::now();
            self.gateways.read(&self.metrics).await;
            self.round(now());
            self.metrics.round(began.elapsed());
            tokio::time::sleep_until(began + self.pause()).await;
        }
    }

    /// The law in the greatest hurry sets the pace. Most endpoints are not followed by it, so that most rounds are rare.
    fn pause(&self) -> Duration {
        let intervals = self.followers.values().map(|followed| self.pace.interval(&followed.policy.law));
        intervals.min().unwrap_or(ROUND).min(self.pace.round())
    }

    fn round(&mut self, now: Timestamp) {
        let pods: Vec<_> = self.scopes.iter().map(|scope| &scope.workers).collect();
        let view = View {
            workers: self.workers.picture(&pods),
            missing: self.gateways.missing(),
            is_late: self.gateways.is_late(),
            pause: self.pause(),
            now,
        };
        let mut seen = HashSet::new();
        for index in 0..self.scopes.len() {
            for endpoint in self.scopes[index].endpoints.state() {
                let Some(key) = self.look(index, &endpoint, &view) else { continue };
                seen.insert(key);
            }
        }
        let gone: Vec<_> = self.followers.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        for key in gone {
            self.followers.remove(&key);
            self.proposals.lock().remove(&key);
            self.metrics.forget(&key);
        }
        self.workers.follow(seen);
    }

    /// The key of an endpoint that is followed.
    fn look(&mut self, scope: usize, endpoint: &InferenceEndpoint, view: &View) -> Option<Key> {
        let now = view.now;
        let policy = validated::policy(endpoint).ok().flatten()?;
        let decision = Decision::read(endpoint.status.as_ref()?.decision.as_ref()?)?;
        let key = (endpoint.namespace()?, endpoint.name_any());
        let uid = endpoint.uid()?;
        let interval = self.pace.interval(&policy.law);
        let begin = || Followed {
            uid: uid.clone(),
            policy,
            follower: Follower::resume(&policy, &decision),
            triggered: None,
        };
        let followed = match self.followers.entry(key.clone()) {
            Entry::Vacant(vacant) => vacant.insert(begin()),
            Entry::Occupied(occupied) => {
                let followed = occupied.into_mut();
                // Another law knows nothing yet, like whoever has just begun.
                if followed.uid != uid || discriminant(&followed.policy.law) != discriminant(&policy.law) {
                    *followed = begin();
                }
                followed.policy = policy;
                followed
            }
        };
        let limit = policy.scale_to_zero_time;
        let watched = followed.follower.watched(now);
        let at_gateways = idleness(self.gateways.witnesses(&key), limit, watched);
        let is_too_early = view.missing.is_none() && view.is_late;
        if is_too_early || !followed.follower.due(interval, view.pause, now) {
            return Some(key);
        }
        let allocated = view.workers.allocated(&key, decision.replicas, now);
        let sources = Sources {
            samples: self.gateways.samples(&key).chain(view.workers.samples(&key)).collect(),
            missing: view.missing.clone(),
            doubtful: view.workers.doubtful(&key),
        };
        let seen = Seen {
            policy: &followed.policy,
            decision: &decision,
            allocated,
            sources,
            idleness: at_gateways.and_then(|()| idleness(view.workers.witnesses(&key), limit, watched)),
        };
        let (decided, proposal) = followed.follower.follow(&seen, interval, now);
        self.metrics.decided(&key, decision.replicas, decided.reason);
        tracing::debug!(namespace = key.0, endpoint = key.1, reason = %decided.reason, message = decided.message, "looked");
        let Some(proposal) = proposal else {
            followed.triggered = None;
            self.proposals.lock().remove(&key);
            return Some(key);
        };
        let triggers = followed.triggers(&proposal, Instant::now());
        self.proposals.lock().insert(key.clone(), Proposed { uid, proposal });
        if triggers {
            // A full channel is emptied soon, and the same is proposed again then.
            let _ = self.scopes[scope].trigger.try_send(ObjectRef::from_obj(endpoint));
        }
        Some(key)
    }
}
