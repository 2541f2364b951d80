//! The controller's settings, from flags or from the environment.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::ArgAction;
use lexiscale_core::{
    catalog::Catalog,
    quantity::{Bytes, Cpu},
    settings::{AccessMode, Downloads, Image, ImagePullPolicy, ImageVolumes, Settings as CoreSettings},
};

/// Settings of the controller.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// Namespace to watch; repeat it for several. All namespaces unless given.
    #[arg(long = "namespace", env = "LEXISCALE_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// Name of this operator, where several share a cluster: it cares for the objects whose label
    /// `inference.lexiscale.io/operator` is this name. Without a name it cares for those that lack the label.
    #[arg(long, env = "LEXISCALE_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,

    /// YAML file that says which model each model id means. Without it, only Hugging Face repositories can be named.
    #[arg(long, env = "LEXISCALE_CATALOG", value_name = "FILE")]
    pub catalog: Option<PathBuf>,

    /// Image of the workers and of the model download.
    #[arg(long, env = "LEXISCALE_WORKER_IMAGE", value_name = "IMAGE")]
    pub worker_image: Image,

    /// When nodes ask the registry for that image: Always, `IfNotPresent` or Never. Kubernetes' own default unless given.
    #[arg(long, env = "LEXISCALE_WORKER_IMAGE_PULL_POLICY", value_name = "POLICY")]
    pub worker_image_pull_policy: Option<ImagePullPolicy>,

    /// Secret with registry credentials, in each endpoint's namespace; repeat it for several.
    #[arg(
        long = "image-pull-secret",
        env = "LEXISCALE_IMAGE_PULL_SECRET",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub image_pull_secrets: Vec<String>,

    /// Hub to download from where the model names none. The public hub unless given.
    #[arg(long, env = "LEXISCALE_HUB_ENDPOINT", value_name = "URL")]
    pub hub_endpoint: Option<String>,

    /// S3 service of `s3://` models that name none. Amazon's unless given.
    #[arg(long, env = "LEXISCALE_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// Let downloads use private addresses, plain http and any port, whatever server a user names. The hub, the S3 service and
    /// the servers of the catalog may always be inside.
    #[arg(long, env = "LEXISCALE_ALLOW_PRIVATE_ADDRESSES")]
    pub allow_private_addresses: bool,

    /// Port beside 443 that downloads may use on public servers; repeat it for several.
    #[arg(
        long = "download-port",
        env = "LEXISCALE_DOWNLOAD_PORT",
        value_name = "PORT",
        value_delimiter = ','
    )]
    pub download_ports: Vec<u16>,

    /// Whether nodes may pull models of registries as image volumes: Auto, where every node can and the source names one digest, or
    /// Never. Auto needs the right to watch nodes.
    #[arg(long, env = "LEXISCALE_IMAGE_VOLUMES", value_name = "SETTING", default_value = "Auto")]
    pub image_volumes: ImageVolumes,

    /// Keep the caches of a namespace when no endpoint uses them any more, until their volumes are larger than this together; the
    /// least recently used go first. Unless given, a cache goes with its last endpoint.
    #[arg(long, env = "LEXISCALE_CACHE_LIMIT", value_name = "QUANTITY")]
    pub cache_limit: Option<Bytes>,

    /// Size of a model's volume, where the endpoint names none.
    #[arg(long, env = "LEXISCALE_CACHE_SIZE", value_name = "QUANTITY", default_value = "10Gi")]
    pub cache_size: Bytes,

    /// Storage class of a model's volume, where the endpoint names none. The cluster's default class unless given.
    #[arg(long, env = "LEXISCALE_CACHE_STORAGE_CLASS", value_name = "CLASS")]
    pub cache_storage_class: Option<String>,

    /// Access mode of a model's volume, where the endpoint names none: `ReadWriteOnce`, or `ReadWriteMany` where workers run
    /// on several nodes.
    #[arg(long, env = "LEXISCALE_CACHE_ACCESS_MODE", value_name = "MODE", default_value = "ReadWriteOnce")]
    pub cache_access_mode: AccessMode,

    /// CPU that a worker reserves for each of its threads, where the endpoint names none. The limit is one CPU a thread in
    /// any case; less than 1 lets workers share the CPUs of a small node.
    #[arg(long, env = "LEXISCALE_CPU_REQUEST_PER_THREAD", value_name = "QUANTITY", default_value = "1")]
    pub cpu_request_per_thread: Cpu,

    /// Secret of type kubernetes.io/tls, `ca.crt` included, in each endpoint's namespace: workers serve by it, and only gateways
    /// with a certificate of that authority. Plain HTTP unless given.
    #[arg(long, env = "LEXISCALE_WORKER_TLS_SECRET", value_name = "NAME")]
    pub worker_tls_secret: Option<String>,

    /// Collector of OpenTelemetry that workers send spans to, by OTLP over HTTP. None are made unless given.
    #[arg(long, env = "LEXISCALE_WORKER_OTLP_ENDPOINT", value_name = "URL")]
    pub worker_otlp_endpoint: Option<String>,

    /// Namespace of the gateway and of this controller, the only one that workers accept connections from. Any namespace
    /// unless given.
    #[arg(long, env = "LEXISCALE_GATEWAY_NAMESPACE", value_name = "NAMESPACE")]
    pub gateway_namespace: Option<String>,

    /// Port on which the cluster's DNS pods listen, for the network policy of downloads; repeat it for several.
    #[arg(
        long = "dns-port",
        env = "LEXISCALE_DNS_PORT",
        value_name = "PORT",
        value_delimiter = ',',
        default_value = "53"
    )]
    pub dns_ports: Vec<u16>,

    /// Time between two looks at the load of endpoints in mode `elasticsearch`, at most; those in mode `slo` are looked at
    /// every half second, or as often if that is oftener.
    #[arg(long, env = "LEXISCALE_SCALING_INTERVAL", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub scaling_interval: Duration,

    /// Stall endpoints whose threads no node has CPUs for. Needs the right to watch nodes; off where nodes of other sizes are
    /// added on demand.
    #[arg(long, env = "LEXISCALE_CHECK_NODE_CPUS", default_value_t = true, action = ArgAction::Set)]
    pub check_node_cpus: bool,

    /// Let one of several replicas do the work, and another go on when it dies.
    #[arg(long, env = "LEXISCALE_LEADER_ELECT", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,

    /// Name of the Lease that the replicas hold in turn.
    #[arg(long, env = "LEXISCALE_LEASE_NAME", value_name = "NAME", default_value = "lexiscale-controller")]
    pub lease_name: String,

    /// Namespace of that Lease. The controller's own unless given.
    #[arg(long, env = "LEXISCALE_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of this replica in the Lease and in events; made unique by a suffix.
    #[arg(long, env = "HOSTNAME", value_name = "NAME", default_value = "lexiscale-controller")]
    pub identity: String,

    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "LEXISCALE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
}

impl Settings {
    /// The part that shows in the objects that are made.
    pub(super) fn core(&self) -> anyhow::Result<CoreSettings> {
        Ok(CoreSettings {
            instance: self.instance.clone(),
            catalog: self.read_catalog()?,
            worker_image: self.worker_image.clone(),
            image_pull_policy: self.worker_image_pull_policy,
            image_pull_secrets: self.image_pull_secrets.clone(),
            hub_endpoint: self.hub_endpoint.clone(),
            s3_endpoint: self.s3_endpoint.clone(),
            downloads: Downloads {
                allow_private_addresses: self.allow_private_addresses,
                ports: self.download_ports.clone(),
            },
            image_volumes: self.image_volumes,
            cache_limit: self.cache_limit,
            cache_size: self.cache_size,
            cache_storage_class: self.cache_storage_class.clone(),
            cache_access_mode: self.cache_access_mode,
            cpu_request_per_thread: self.cpu_request_per_thread,
            worker_tls_secret: self.worker_tls_secret.clone(),
            otlp_endpoint: self.worker_otlp_endpoint.clone(),
            gateway_namespace: self.gateway_namespace.clone(),
            dns_ports: self.dns_ports.clone(),
        })
    }

    fn read_catalog(&self) -> anyhow::Result<Catalog> {
        let Some(path) = &self.catalog else { return Ok(Catalog::default()) };
        let text = fs_err::read_to_string(path)?;
        Catalog::parse(&text).with_context(|| format!("failed to use the catalog {}", path.display()))
    }
}

/// From a tenth of a second, which is for tests, to a minute.
fn interval(text: &str) -> Result<Duration, String> {
    let read: Option<jiff::SignedDuration> = text.parse().ok();
    let duration = read.and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| (Duration::from_millis(100)..=Duration::from_mins(1)).contains(duration))
        .ok_or_else(|| format!("{text:?} is not a duration from 100ms to 1m"))
}
