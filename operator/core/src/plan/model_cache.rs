//! The plan of a cache. PURE.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use lexiscale_crds::{InferenceEndpoint, ModelCache, ModelCacheStatus};

use super::{Write, writes};
use crate::{
    children::{Child, ChildKind, Doomed, difference},
    delivery::{self, Choice, Question},
    desired::{
        self,
        job::{Attempt as NewAttempt, Download},
    },
    download::{Attempt, Next, State, Step, next_step},
    eviction,
    identity::{Identity, owners},
    labels,
    model::{CacheKey, ModelSource, Revision},
    observed::ObservedCache,
    quantity::Bytes,
    settings::{AccessMode, Settings},
    validated::{CacheRequest, Invalid},
    volume::{Volume, current_claim},
};

/// A cache that can be planned for.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCache {
    pub identity: Identity,
    source: ModelSource,
    key: CacheKey,
    request: CacheRequest,
}

/// A cache that nothing can be planned for until somebody changes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCache {
    #[error(transparent)]
    Metadata(#[from] crate::identity::Incomplete),
    #[error(transparent)]
    Source(#[from] crate::model::InvalidSource),
    #[error("revision {0:?} is not a revision")]
    Revision(String),
    #[error("storage: {0}")]
    Storage(#[from] Invalid),
}

impl ValidatedCache {
    /// Reads the spec once, for everybody.
    pub fn new(cache: &ModelCache, settings: &Settings) -> Result<Self, InvalidCache> {
        let spec = &cache.spec;
        let key = CacheKey::of_cache(spec, settings.servers());
        Ok(Self {
            identity: Identity::of(cache, "ModelCache")?,
            source: spec.source.parse()?,
            key: key.ok_or_else(|| InvalidCache::Revision(spec.revision.clone().unwrap_or_default()))?,
            request: spec.storage.as_ref().map_or_else(|| Ok(CacheRequest::default()), CacheRequest::new)?,
        })
    }
}

/// What a cache needs written, with what the decision rested on.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePlan {
    pub step: Step,
    /// The attempt that the step is about, or the one that it starts.
    pub attempt: Option<Attempt>,
    pub attempts: u32,
    pub users: Vec<String>,
    pub writes: Vec<Write>,
    pub leftovers: Vec<String>,
    /// Name of the claim, and its access mode.
    pub claim: String,
    pub access_mode: AccessMode,
    /// How files of a registry would come by an attempt that starts now.
    pub choice: Choice,
    /// Hash of what such an attempt is made from.
    pub inputs: String,
}

impl CachePlan {
    /// Whether the cache itself goes: others need its room.
    pub fn is_eviction(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::DiscardCache { .. }))
    }
}

/// Plans a cache.
pub fn plan(
    cache: &ValidatedCache,
    observed: &ObservedCache,
    settings: &Settings,
    now: Timestamp,
) -> CachePlan {
    let ObservedCache {
        cache: object,
        siblings,
        endpoints,
        children,
        claims,
        jobs,
        pods,
        progress: _,
        nodes,
        registry,
    } = observed;
    let identity = &cache.identity;
    let users = users(object, endpoints);
    let mut volume = Volume::new(identity, &cache.request, settings, claims);
    let claim = current_claim(identity, claims);
    let claim_name = volume.claim.clone();
    let retry = retry_key(object, &users);
    let status = object.status.as_ref();
    let resolved = status.and_then(|status| pinned_revision(&cache.source, status));
    let fetch = Download {
        cache: identity,
        settings,
        source: &cache.source,
        key: &cache.key,
        resolved: resolved.as_ref(),
        pinned: status.and_then(|status| status.source_digest.as_deref()),
        retry: &retry,
        claim: &claim_name,
        request: &cache.request,
        volume_size: volume.size,
        image: None,
    };
    let inputs = fetch.inputs();
    let given_up = status.and_then(|status| status.image_volume_failure.as_ref());
    let choice = delivery::choose(&Question {
        settings,
        key: &cache.key,
        resolved: resolved.as_ref(),
        request: &cache.request,
        nodes,
        addresses: registry,
        was_given_up: given_up.is_some_and(|failure| failure.inputs == inputs),
    });
    let download = Download { image: choice.image(), ..fetch };
    let owned = jobs.iter().filter(|job| identity.owns(&job.metadata));
    let mut attempts: Vec<Attempt> = owned.filter_map(|job| Attempt::new(job, pods)).collect();
    attempts.sort_by_key(|attempt| attempt.number);
    let latest = attempts.last();
    let attempted =
        status.and_then(|status| status.attempts).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    // A Job of an earlier attempt that is still going must be gone before another writes to the same volume.
    let step = if attempts.iter().any(|attempt| attempt.state == State::Leaving) {
        Step::Watch
    } else {
        let next = Next { inputs: &inputs, forbids_volume: choice.forbids_volume() };
        next_step(claim, latest, attempted, next, now).within(known_size(object), volume.size)
    };
    if let Step::Done(model) = &step {
        volume.model = Some(*model.clone());
    }
    let difference =
        difference(identity, desired::of_cache(identity, cache.key.server(), settings, &volume), children);
    let mut leftovers = difference.leftovers.clone();
    // Jobs of a deleted namesake have the names that ours will need.
    let of_a_cache = |job: &&Job| owners(&job.metadata).any(|owner| owner.kind == identity.kind());
    let foreign = jobs.iter().filter(of_a_cache).filter(|job| !identity.owns(&job.metadata));
    leftovers.extend(foreign.map(|job| format!("Job {}", job.name_any())));
    let claim_uid = claim.and_then(|claim| claim.metadata.uid.as_deref());
    let start =
        step.started().zip(claim_uid).filter(|_| leftovers.is_empty()).map(|((number, tries), claim_uid)| {
            Write::Apply(Child::new(download.job(NewAttempt { number, tries, claim_uid })))
        });
    let highest =
        step.started().map(|(number, _)| number).or(latest.map(|attempt| attempt.number)).unwrap_or(0);
    let obsolete = jobs.iter().filter(|job| identity.owns(&job.metadata)).filter_map(|job| {
        let number = job.annotations().get(labels::ATTEMPT).and_then(|text| text.parse::<u32>().ok());
        let unwanted = step == Step::Abandon || number.is_none_or(|number| number < highest);
        let doomed = Doomed { kind: ChildKind::Job, name: job.name_any(), uid: job.uid()? };
        (unwanted && job.metadata.deletion_timestamp.is_none()).then_some(Write::Delete(doomed))
    });
    let eviction = eviction::of(object, siblings, &users, settings, now).map(|()| Write::DiscardCache {
        name: object.name_any(),
        uid: identity.uid().to_owned(),
        resource_version: object.resource_version().unwrap_or_default(),
    });
    let writes = writes(difference).chain(start).chain(obsolete).chain(eviction).collect();
    CachePlan {
        attempts: highest.max(attempted),
        attempt: latest.cloned(),
        users: users.iter().map(|endpoint| endpoint.name_any()).collect(),
        step,
        writes,
        leftovers,
        claim: claim_name,
        access_mode: volume.access_mode,
        choice,
        inputs,
    }
}

/// The revision that every attempt asks for from now on. Where a failed attempt saw a state that nobody can bring back, the next one
/// takes what is there: nothing of it was used yet.
fn pinned_revision(source: &ModelSource, status: &ModelCacheStatus) -> Option<Revision> {
    let was_used = status.source_digest.is_some();
    let revision = status.revision.as_deref().filter(|_| was_used || source.place().keeps_revisions());
    revision.and_then(|revision| revision.parse().ok())
}

/// What is known of the model's size before a download: what the spec says, and what an earlier attempt was told.
fn known_size(cache: &ModelCache) -> Option<Bytes> {
    let told = cache
        .status
        .as_ref()
        .and_then(|status| status.progress.as_ref())
        .map(|progress| progress.bytes_total);
    let known = cache.spec.bytes.into_iter().chain(told).filter_map(|bytes| u64::try_from(bytes).ok()).max();
    known.filter(|bytes| *bytes > 0).map(Bytes::new)
}

/// The endpoints that use a cache: its owners, and those that say so in their status, for a cache that a user made has no
/// owners. Sorted by name.
fn users<'a>(cache: &ModelCache, endpoints: &'a [InferenceEndpoint]) -> Vec<&'a InferenceEndpoint> {
    let name = cache.name_any();
    let mut users: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.metadata.deletion_timestamp.is_none())
        .filter(|endpoint| {
            let owner =
                owners(&cache.metadata).any(|owner| Some(&owner.uid) == endpoint.metadata.uid.as_ref());
            let status = endpoint.status.as_ref();
            let mut models =
                status.into_iter().flat_map(|status| status.model.iter().chain(&status.pending_model));
            owner || models.any(|model| model.cache == name)
        })
        .collect();
    users.sort_by_key(|endpoint| endpoint.name_any());
    users
}

/// Changes when somebody asks for another try, on the cache or on an endpoint that waits for it. An endpoint that comes or
/// goes without asking changes nothing.
fn retry_key(cache: &ModelCache, users: &[&InferenceEndpoint]) -> String {
    let asked =
        |annotations: &std::collections::BTreeMap<String, String>| annotations.get(labels::RETRY).cloned();
    let users = users.iter().filter_map(|endpoint| asked(endpoint.annotations()));
    asked(cache.annotations()).into_iter().chain(users).collect::<Vec<_>>().join("\n")
}
