//! The spec of an endpoint as a value that cannot be wrong. PURE.
//!
//! The API server has checked nearly all of it by the rules in the CRD. It is checked once more because an object may have
//! been stored under older rules, and because only the operator knows the catalog.

mod output;
mod scaling;

use std::{collections::BTreeMap, num::NonZeroU32};

use k8s_openapi::api::core::v1::Toleration;
use kube::ResourceExt;
use lexiscale_crds::{
    AdaptiveAllocations, CacheSettings, DeploymentSettings, InferenceEndpoint, InferenceEndpointSpec,
    PrecisionSetting, ServiceSettings,
};
use lexiscale_wire::Pruning;

use crate::{
    catalog::{Catalog, UnknownModel},
    identity::{Identity, Incomplete},
    model::ModelRef,
    quantity::{Bytes, Cpu, InvalidQuantity},
    scaling::Policy,
    settings::{AccessMode, InvalidAccessMode},
};

/// Most allocations where `maxNumberOfAllocations` is absent, as in Elasticsearch.
const DEFAULT_MAXIMUM: u32 = 32;

/// An endpoint that can be planned for.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedEndpoint {
    pub identity: Identity,
    pub model: ModelRef,
    pub allocations: Allocations,
    pub threads: Threads,
    pub precision: PrecisionSetting,
    /// At most `threads`; absent means the operator's setting.
    pub cpu_request: Option<Cpu>,
    /// Absent means an estimate from the model's size.
    pub memory: Option<Bytes>,
    pub cache: CacheRequest,
    pub pods: PodSettings,
    /// How an adaptive endpoint follows its load.
    pub scaling: Option<Policy>,
    /// Allocations that are kept warm beside those.
    pub standby: u32,
    /// What workers give out of each vector.
    pub pruning: Pruning,
}

/// How many allocations are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocations {
    Fixed(NonZeroU32),
    Adaptive(AllocationBounds),
}

/// The least and the most allocations; the most is at least one and at least the least. And with how many to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationBounds {
    minimum: u32,
    maximum: NonZeroU32,
    first: u32,
}

impl AllocationBounds {
    pub fn new(minimum: u32, maximum: u32) -> Result<Self, Invalid> {
        match NonZeroU32::new(maximum) {
            Some(most) if minimum <= maximum => Ok(Self { minimum, maximum: most, first: minimum.max(1) }),
            Some(_) | None => Err(Invalid::Bounds { minimum, maximum }),
        }
    }

    pub fn minimum(self) -> u32 {
        self.minimum
    }

    pub fn maximum(self) -> NonZeroU32 {
        self.maximum
    }

    /// With how many a new endpoint starts: none waits for a request.
    pub fn first(self) -> u32 {
        self.first
    }

    /// Starts with none, which a minimum above that does not allow.
    fn on_request(self) -> Option<Self> {
        (self.minimum == 0).then_some(Self { first: 0, ..self })
    }
}

/// Threads of one allocation: a power of two from 1 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(u32);

impl Threads {
    pub fn new(threads: i32) -> Result<Self, Invalid> {
        match u32::try_from(threads) {
            Ok(count) if count.is_power_of_two() && count <= 32 => Ok(Self(count)),
            Ok(_) | Err(_) => Err(Invalid::Threads(threads)),
        }
    }

    pub fn get(self) -> u32 {
        self.0
    }
}

/// What the endpoint asks of the volume, should it be the first to use its model, and of the download that fills it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheRequest {
    pub size: Option<Bytes>,
    pub storage_class_name: Option<String>,
    pub access_mode: Option<AccessMode>,
    /// With credentials for the source; named in the download's pod, and never read.
    pub secret_name: Option<String>,
    pub node_selector: Option<BTreeMap<String, String>>,
    pub tolerations: Option<Vec<Toleration>>,
}

/// What is laid over the worker pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSettings {
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    pub priority_class_name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// A spec that cannot be served until somebody changes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(transparent)]
    Metadata(#[from] Incomplete),
    #[error(transparent)]
    Model(#[from] UnknownModel),
    #[error("serviceSettings.numThreads is {0}, but must be 1, 2, 4, 8, 16 or 32")]
    Threads(i32),
    #[error("serviceSettings.numThreads is required")]
    NoThreads,
    #[error(
        "give exactly one of serviceSettings.numAllocations (at least 1) and enabled serviceSettings.adaptiveAllocations"
    )]
    Allocations,
    #[error(
        "adaptiveAllocations must have 0 <= minNumberOfAllocations <= maxNumberOfAllocations and a maximum of at least 1, \
         but has {minimum} and {maximum}"
    )]
    Bounds { minimum: u32, maximum: u32 },
    #[error("deployment.{field}: {source}")]
    Quantity { field: &'static str, source: InvalidQuantity },
    #[error("deployment.cache.accessMode: {0}")]
    AccessMode(#[from] InvalidAccessMode),
    #[error(
        "deployment.cpuRequest {request} is above serviceSettings.numThreads {threads}, the CPU limit of an allocation"
    )]
    CpuRequest { request: Cpu, threads: u32 },
    #[error(
        "deployment.scaling is for enabled serviceSettings.adaptiveAllocations; remove it, or enable those"
    )]
    ScalingOfFixed,
    #[error("deployment.scaling.targetLatency is required for mode slo, for example 500ms")]
    NoTargetLatency,
    #[error("deployment.scaling.{field} is {given}, but must be {bounds}")]
    Scaling { field: &'static str, given: String, bounds: &'static str },
    #[error("deployment.output.{field} is {given}, but must be {bounds}")]
    Output { field: &'static str, given: String, bounds: &'static str },
    #[error(
        "inference id {id:?} belongs to InferenceEndpoint {holder}, which is older; delete one of the two"
    )]
    Duplicate { id: String, holder: String },
    #[error(
        "serviceSettings.deploymentId {0:?} is no InferenceEndpoint of this namespace with a deployment of its own; create that \
         endpoint, or delete this one"
    )]
    NoDeployment(String),
    #[error(
        "serviceSettings.modelId is {asked}, but deployment {deployment} serves {serves}; delete this endpoint and create it anew"
    )]
    OtherModel { deployment: String, asked: String, serves: String },
}

impl Invalid {
    /// The reason in the `Stalled` condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Model(_) => "UnknownModel",
            Self::Duplicate { .. } => "DuplicateInferenceId",
            Self::NoDeployment(_) => "DeploymentNotFound",
            Self::OtherModel { .. } => "OtherModel",
            Self::Metadata(_)
            | Self::Threads(_)
            | Self::NoThreads
            | Self::Allocations
            | Self::Bounds { .. }
            | Self::Quantity { .. }
            | Self::AccessMode(_)
            | Self::CpuRequest { .. }
            | Self::ScalingOfFixed
            | Self::NoTargetLatency
            | Self::Scaling { .. }
            | Self::Output { .. } => "InvalidSpec",
        }
    }
}

/// By which rule an endpoint follows its load; none where its number is fixed. All that has to be known of the many endpoints
/// that are looked at every few seconds.
pub fn policy(endpoint: &InferenceEndpoint) -> Result<Option<Policy>, Invalid> {
    let settings = &endpoint.spec.service_settings;
    if settings.deployment_id.is_some() {
        return Ok(None);
    }
    let allocations = allocations(settings.num_allocations, settings.adaptive_allocations.as_ref())?;
    let deployment = endpoint.spec.deployment.as_ref();
    scaling::policy(allocations, deployment.and_then(|deployment| deployment.scaling.as_ref()))
}

impl ValidatedEndpoint {
    /// Reads the spec once, for everybody. `peers` are the endpoints of the namespace.
    pub fn new(
        endpoint: &InferenceEndpoint,
        peers: &[InferenceEndpoint],
        catalog: &Catalog,
    ) -> Result<Self, Invalid> {
        alone_with_its_id(endpoint, peers)?;
        let InferenceEndpointSpec {
            inference_id: _,
            task_type: _,
            service,
            service_settings:
                ServiceSettings {
                    num_allocations,
                    num_threads,
                    model_id,
                    adaptive_allocations,
                    // An attached endpoint is never planned for: see `status::attached`.
                    deployment_id: _,
                },
            task_settings: _,
            chunking_settings: _,
            deployment,
        } = &endpoint.spec;
        let DeploymentSettings {
            precision,
            cpu_request,
            memory,
            cache,
            node_selector,
            tolerations,
            priority_class_name,
            scaling,
            output,
            pod_labels,
            pod_annotations,
        } = deployment.clone().unwrap_or_default();
        let threads = Threads::new(num_threads.ok_or(Invalid::NoThreads)?)?;
        let cpu_request = quantity(cpu_request, "cpuRequest")?;
        within_limit(cpu_request, threads)?;
        let allocations = allocations(*num_allocations, adaptive_allocations.as_ref())?;
        let allocations = scaling::start(allocations, scaling.as_ref())?;
        let mut cache = cache.as_ref().map_or_else(|| Ok(CacheRequest::default()), CacheRequest::new)?;
        // The volume may be bound to the place where the download runs, and the workers have to come to it.
        cache.node_selector = cache.node_selector.or_else(|| node_selector.clone());
        cache.tolerations = cache.tolerations.or_else(|| tolerations.clone());
        Ok(Self {
            identity: Identity::of(endpoint, "InferenceEndpoint")?,
            model: catalog.resolve(*service, model_id.as_deref())?,
            allocations,
            threads,
            precision: precision.unwrap_or_default(),
            cpu_request,
            memory: quantity(memory, "memory")?,
            cache,
            pods: PodSettings {
                node_selector: node_selector.unwrap_or_default(),
                tolerations: tolerations.unwrap_or_default(),
                priority_class_name,
                labels: pod_labels.unwrap_or_default(),
                annotations: pod_annotations.unwrap_or_default(),
            },
            scaling: scaling::policy(allocations, scaling.as_ref())?,
            standby: scaling::standby(scaling.as_ref())?,
            pruning: output::pruning(output.as_ref())?,
        })
    }
}

impl CacheRequest {
    /// Reads the settings of a volume, an endpoint's or a cache's own.
    pub fn new(settings: &CacheSettings) -> Result<Self, Invalid> {
        let CacheSettings { size, storage_class_name, access_mode, secret_name, node_selector, tolerations } =
            settings;
        Ok(Self {
            size: quantity(size.clone(), "cache.size")?,
            storage_class_name: storage_class_name.clone(),
            access_mode: access_mode.as_deref().map(str::parse).transpose()?,
            secret_name: secret_name.clone(),
            node_selector: node_selector.clone(),
            tolerations: tolerations.clone(),
        })
    }
}

/// Two objects can claim one inference id, as one may have it as its name and the other in its spec. The older one has it;
/// of two made in the same second, the first by name.
pub(crate) fn alone_with_its_id(
    endpoint: &InferenceEndpoint,
    peers: &[InferenceEndpoint],
) -> Result<(), Invalid> {
    let id = endpoint.inference_id();
    let age = |endpoint: &InferenceEndpoint| {
        (endpoint.creation_timestamp().map(|time| time.0), endpoint.name_any())
    };
    let holder = peers
        .iter()
        .filter(|peer| peer.metadata.uid != endpoint.metadata.uid && peer.inference_id() == id)
        .find(|peer| age(peer) < age(endpoint));
    holder.map_or(Ok(()), |holder| Err(Invalid::Duplicate { id: id.to_owned(), holder: holder.name_any() }))
}

fn allocations(fixed: Option<i32>, adaptive: Option<&AdaptiveAllocations>) -> Result<Allocations, Invalid> {
    match (fixed, adaptive.filter(|adaptive| adaptive.is_enabled())) {
        (Some(count), None) => {
            let count = u32::try_from(count).ok().and_then(NonZeroU32::new).ok_or(Invalid::Allocations)?;
            Ok(Allocations::Fixed(count))
        }
        (None, Some(adaptive)) => {
            let bound = |value: Option<i32>, absent| value.map_or(Ok(absent), u32::try_from);
            let minimum = bound(adaptive.min_number_of_allocations, 0).map_err(|_| Invalid::Allocations)?;
            let maximum = bound(adaptive.max_number_of_allocations, DEFAULT_MAXIMUM.max(minimum));
            Ok(Allocations::Adaptive(AllocationBounds::new(
                minimum,
                maximum.map_err(|_| Invalid::Allocations)?,
            )?))
        }
        (Some(_), Some(_)) | (None, None) => Err(Invalid::Allocations),
    }
}

fn quantity<Q: std::str::FromStr<Err = InvalidQuantity>>(
    text: Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    field: &'static str,
) -> Result<Option<Q>, Invalid> {
    text.map(|quantity| quantity.0.parse()).transpose().map_err(|source| Invalid::Quantity { field, source })
}

fn within_limit(request: Option<Cpu>, threads: Threads) -> Result<(), Invalid> {
    match request {
        Some(request) if request > Cpu::cores(threads.get()) => {
            Err(Invalid::CpuRequest { request, threads: threads.get() })
        }
        Some(_) | None => Ok(()),
    }
}
