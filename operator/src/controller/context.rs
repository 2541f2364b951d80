//! What every pass needs: where to read, how to write, what is configured.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Client,
    runtime::{
        events::Recorder,
        reflector::{ObjectRef, Store},
    },
};
use lexiscale_core::settings::Settings;
use lexiscale_crds::InferenceEndpoint;

use tokio::sync::watch;

use super::{apply::Applier, metrics::Metrics, progress::ProgressClient, scaling::Proposals};

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// Shared by all passes of one scope.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    pub(super) applier: Applier,
    pub(super) recorder: Recorder,
    pub(super) metrics: Metrics,
    pub(super) progress: ProgressClient,
    /// The endpoints as the watch last saw them, for what need not be of this very moment.
    pub(super) endpoints: Store<InferenceEndpoint>,
    pub(super) failures: Failures,
    /// CPUs of the largest node, where that is known and of importance.
    pub(super) largest_node: Option<watch::Receiver<Option<u32>>>,
    /// The nodes as the watch last saw them.
    pub(super) nodes: Store<Node>,
    /// What load asks for.
    pub(super) proposals: Proposals,
}

/// How often in a row the pass over each object has failed. Only the pace of trying again depends on it, so it may be lost
/// with the process.
#[derive(Clone, Default)]
pub(super) struct Failures(Arc<Mutex<HashMap<String, u32>>>);

impl Failures {
    /// Counts a failure and says when to try again: 1 s, 2 s, 4 s, ... 1 min.
    pub(super) fn after_failure<K>(&self, object: &ObjectRef<K>) -> Duration
    where
        K: kube::Resource<DynamicType: Hash + Eq + Clone>,
    {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(object.to_string()).or_default();
        *count = count.saturating_add(1);
        FIRST_DELAY.saturating_mul(2_u32.saturating_pow((*count - 1).min(16))).min(LONGEST_DELAY)
    }

    /// How often in a row it has failed so far.
    pub(super) fn count<K>(&self, object: &ObjectRef<K>) -> u32
    where
        K: kube::Resource<DynamicType: Hash + Eq + Clone>,
    {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&object.to_string()).copied().unwrap_or_default()
    }

    pub(super) fn forget<K>(&self, object: &ObjectRef<K>)
    where
        K: kube::Resource<DynamicType: Hash + Eq + Clone>,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&object.to_string());
    }
}
