//! One round after the other: read the gateways, look at every endpoint that is due, start the passes that are worth it.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
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
    follower::{Follower, Seen, Sources},
    load::idleness,
    scaling::Policy,
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

struct Followed {
    uid: String,
    policy: Policy,
    follower: Follower,
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
        let picture = self.workers.picture(&pods);
        let (mut seen, mut urgent) = (HashSet::new(), HashSet::new());
        for index in 0..self.scopes.len() {
            for endpoint in self.scopes[index].endpoints.state() {
                let Some(key) = self.look(index, &endpoint, &picture, &mut urgent, now) else { continue };
                seen.insert(key);
            }
        }
        self.workers.hurry(urgent);
        let gone: Vec<_> = self.followers.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        for key in gone {
            self.followers.remove(&key);
            self.proposals.lock().remove(&key);
            self.metrics.forget(&key);
        }
    }

    /// The key of an endpoint that is followed.
    fn look(
        &mut self,
        scope: usize,
        endpoint: &InferenceEndpoint,
        picture: &Picture,
        urgent: &mut HashSet<Key>,
        now: Timestamp,
    ) -> Option<Key> {
        let policy = validated::policy(endpoint).ok().flatten()?;
        let decision = Decision::read(endpoint.status.as_ref()?.decision.as_ref()?)?;
        let key = (endpoint.namespace()?, endpoint.name_any());
        let uid = endpoint.uid()?;
        let interval = self.pace.interval(&policy.law);
        let begin = || Followed { uid: uid.clone(), policy, follower: Follower::resume(&policy, &decision) };
        let followed = match self.followers.entry(key.clone()) {
            Entry::Vacant(vacant) => vacant.insert(begin()),
            Entry::Occupied(occupied) => {
                let followed = occupied.into_mut();
                if followed.uid != uid {
                    *followed = begin();
                }
                followed.policy = policy;
                followed
            }
        };
        let limit = policy.scale_to_zero_time;
        let at_gateways = idleness(self.gateways.witnesses(&key), limit);
        let may_sleep = policy.bounds.minimum() == 0 && decision.replicas > 0;
        if may_sleep && at_gateways.is_ok() {
            urgent.insert(key.clone());
        }
        if !followed.follower.due(interval, now) {
            return Some(key);
        }
        let allocated = picture.allocated(&key, decision.replicas, now);
        let sources = Sources {
            samples: self.gateways.samples(&key).chain(picture.samples(&key)).collect(),
            missing: self.gateways.missing(),
            doubtful: picture.doubtful(&key),
        };
        let seen = Seen {
            policy: &followed.policy,
            decision: &decision,
            allocated,
            sources,
            idleness: at_gateways.and_then(|()| idleness(picture.witnesses(&key), limit)),
        };
        let (decided, proposal) = followed.follower.follow(&seen, interval, now);
        self.metrics.decided(&key, decision.replicas, decided.reason);
        tracing::debug!(namespace = key.0, endpoint = key.1, reason = %decided.reason, message = decided.message, "looked");
        match proposal {
            Some(proposal) => {
                self.proposals.lock().insert(key.clone(), Proposed { uid, proposal });
                // A full channel is emptied soon, and the same is proposed again then.
                let _ = self.scopes[scope].trigger.try_send(ObjectRef::from_obj(endpoint));
            }
            None => drop(self.proposals.lock().remove(&key)),
        }
        Some(key)
    }
}
