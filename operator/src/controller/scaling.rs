//! The loop that follows the load of all adaptive endpoints: reads gateways and workers, feeds the law, and starts a pass
//! where the law asks for another number. It writes nothing itself; the decisions are in `lexiscale_core::follower`.

mod client;
mod gateways;
mod metrics;
mod pods;
mod rounds;
mod workers;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{ObjectRef, Store};
use lexiscale_core::{follower::Proposal, identity::Identity, scaling::Law};
use lexiscale_crds::InferenceEndpoint;

pub(super) use self::{metrics::ScalingMetrics, pods::follow as follow_pods, rounds::Rounds};

/// Time between two rounds, at most: a law may be in a greater hurry.
const ROUND: Duration = Duration::from_secs(2);

/// Passes that may be asked for and not yet begun. What does not fit is asked for again an interval later.
const TRIGGERS: usize = 4096;

/// Namespace and name of an endpoint's object.
type Key = (String, String);

/// What load asks for, by endpoint, until a pass has answered it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Proposals(Arc<Mutex<HashMap<Key, Proposed>>>);

#[derive(Clone, Debug)]
struct Proposed {
    uid: String,
    proposal: Proposal,
}

impl Proposals {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Proposed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What load asks of this very object.
    pub(super) fn of(&self, identity: &Identity) -> Option<Proposal> {
        let key = (identity.namespace().to_owned(), identity.name().to_owned());
        let proposed = self.lock().get(&key).filter(|proposed| proposed.uid == identity.uid()).cloned();
        proposed.map(|proposed| proposed.proposal)
    }
}

/// One watched scope, as the loop sees it.
pub(super) struct Scoped {
    pub(super) endpoints: Store<InferenceEndpoint>,
    pub(super) workers: Store<Pod>,
    pub(super) trigger: mpsc::Sender<ObjectRef<InferenceEndpoint>>,
}

/// The two ends of what starts a pass.
pub(super) fn trigger()
-> (mpsc::Sender<ObjectRef<InferenceEndpoint>>, mpsc::Receiver<ObjectRef<InferenceEndpoint>>) {
    mpsc::channel(TRIGGERS)
}

/// How often things are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Time between two decisions of Elasticsearch's law, as its operator wants it.
    elasticsearch: Duration,
}

impl Pace {
    pub(super) fn new(elasticsearch: Duration) -> Self {
        Self { elasticsearch }
    }

    fn interval(self, law: &Law) -> Duration {
        match law {
            Law::Elasticsearch => self.elasticsearch,
            Law::Slo(_) => law.interval().min(self.elasticsearch),
        }
    }

    /// Between two looks at gateways and workers, where no law is in a greater hurry.
    fn round(self) -> Duration {
        ROUND.min(self.elasticsearch)
    }

    /// How old an answer may be that still counts as what is.
    fn fresh(self) -> Duration {
        (self.round() * 3).max(Duration::from_secs(5))
    }

    /// How long a worker may be silent before nothing is taken away: a busy one may be late.
    fn doubt(self) -> Duration {
        self.round() * 30
    }
}
