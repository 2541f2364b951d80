//! Settings of the gateway, from flags or from the environment.

use std::net::SocketAddr;
use std::time::Duration;

use super::auth;
use super::elastic::time_value;
use super::line::Limits;
use super::tls;

/// Settings of the gateway.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// Address of the `_inference` API.
    #[arg(long, env = "LEXISCALE_LISTEN", default_value = "0.0.0.0:9200")]
    pub listen: SocketAddr,

    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "LEXISCALE_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,

    /// Namespace whose `InferenceEndpoint` objects are served at `/`.
    #[arg(long, env = "LEXISCALE_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// Serve the `InferenceEndpoint` objects of every other namespace too, each under `/namespaces/{namespace}`.
    #[arg(long, env = "LEXISCALE_ALL_NAMESPACES")]
    pub all_namespaces: bool,

    /// Name of the operator that this gateway belongs to, where several share a cluster: it serves and makes the objects whose
    /// label `inference.lexiscale.io/operator` is this name. Without a name it serves those that lack the label.
    #[arg(long, env = "LEXISCALE_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,

    /// Largest request body, for example 10Mi.
    #[arg(long, env = "LEXISCALE_MAX_BODY_SIZE", default_value = "10Mi", value_parser = bytes)]
    pub max_body_size: usize,

    /// How long to go on accepting after SIGTERM, so that load balancers notice first.
    #[arg(long, env = "LEXISCALE_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    pub drain_delay: Duration,

    /// How long requests in flight may then take to finish, and therefore how long any request may take, whatever timeout it
    /// asks for: a restart loses none. The pod's grace period must cover the delay, this, and 5s to write the last answers.
    #[arg(long, env = "LEXISCALE_DRAIN_TIMEOUT", default_value = "5m", value_parser = duration)]
    pub drain_timeout: Duration,

    /// How long PUT waits for the endpoint, unless the request says otherwise.
    #[arg(long, env = "LEXISCALE_CREATE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub create_timeout: Duration,

    /// How long an inference may take, unless the request says otherwise.
    #[arg(long, env = "LEXISCALE_INFER_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub infer_timeout: Duration,

    /// How long a client may take to send the head of a request, from its first byte on.
    #[arg(long, env = "LEXISCALE_HEADER_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// How long a connection may stay open between requests.
    #[arg(long, env = "LEXISCALE_IDLE_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub idle_timeout: Duration,

    /// How long a client may leave an answer unread before its connection is closed.
    #[arg(long, env = "LEXISCALE_WRITE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub write_timeout: Duration,

    /// How long a client may take to send a request's body.
    #[arg(long, env = "LEXISCALE_BODY_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub body_timeout: Duration,

    /// Most connections at once; further ones wait to be accepted.
    #[arg(long, env = "LEXISCALE_MAX_CONNECTIONS", default_value_t = 8192, value_parser = at_least_one)]
    pub max_connections: usize,

    /// Most connections of one address at once; further ones are closed. Unlimited by default: behind a proxy all clients
    /// have one address.
    #[arg(long, env = "LEXISCALE_MAX_CONNECTIONS_PER_CLIENT", value_parser = at_least_one)]
    pub max_connections_per_client: Option<usize>,

    /// Most inference requests at once, held ones included; further ones are answered 429.
    #[arg(long, env = "LEXISCALE_MAX_REQUESTS", default_value_t = 4096, value_parser = at_least_one)]
    pub max_requests: usize,

    /// Most requests of one endpoint that wait for a first ready allocation; further ones are answered 429.
    #[arg(long, env = "LEXISCALE_MAX_HELD", default_value_t = Limits::default().held, value_parser = at_least_one)]
    pub max_held: usize,

    /// Most texts of one endpoint that wait in line for an allocation, searches and documents each for themselves; further
    /// requests are answered 429. A request with many texts stands in line with one piece at a time.
    #[arg(long, env = "LEXISCALE_MAX_QUEUED_TEXTS", default_value_t = Limits::default().queued_texts, value_parser = at_least_one)]
    pub max_queued_texts: usize,

    /// Pieces of work that one allocation is given at a time: one that it computes, one that is on its way. With one only, nothing
    /// waits behind a long piece while another allocation is free, and each pauses between pieces. A search may have one more beside
    /// documents, so that it does not wait for them.
    #[arg(long, env = "LEXISCALE_SLOTS_PER_ALLOCATION", default_value_t = Limits::default().slots, value_parser = at_least_one)]
    pub slots_per_allocation: usize,

    /// Texts that travel to a worker together. A request with more is cut into pieces, which are worked on side by
    /// side and answered as one.
    #[arg(long, env = "LEXISCALE_PIECE_TEXTS", default_value_t = 10, value_parser = at_least_one)]
    pub piece_texts: usize,

    /// Most bytes of request bodies and joined answers that are held at once; further requests are answered 429.
    #[arg(long, env = "LEXISCALE_MAX_HELD_BYTES", default_value = "128Mi", value_parser = bytes)]
    pub max_held_bytes: usize,

    /// Refuse an endpoint with more threads than the largest node has CPUs. Turn off where nodes are added on
    /// demand, or where the gateway may not list nodes.
    #[arg(long, env = "LEXISCALE_CHECK_NODE_CPUS", default_value_t = true, action = clap::ArgAction::Set)]
    pub check_node_cpus: bool,

    /// The Elasticsearch version that clients are told.
    #[arg(long, env = "LEXISCALE_ELASTICSEARCH_VERSION", default_value = "9.1.0", value_parser = version)]
    pub elasticsearch_version: String,

    /// The cluster name that clients are told.
    #[arg(long, env = "LEXISCALE_CLUSTER_NAME", default_value = "lexiscale")]
    pub cluster_name: String,

    /// Who may do what.
    #[command(flatten)]
    pub auth: auth::Settings,

    /// The certificate.
    #[command(flatten)]
    pub tls: tls::Settings,

    /// Traces.
    #[command(flatten)]
    pub traces: lexiscale_trace::Settings,

    /// The certificate that workers are shown.
    #[command(flatten)]
    pub worker_tls: tls::WorkerSettings,
}

impl Settings {
    pub(crate) fn line_limits(&self) -> Limits {
        Limits { queued_texts: self.max_queued_texts, held: self.max_held, slots: self.slots_per_allocation }
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    time_value::parse("duration", text).map(Option::unwrap_or_default).map_err(|refusal| refusal.to_string())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Ends up in a response header, so only what a version is made of.
fn version(text: &str) -> Result<String, String> {
    let fits = text.starts_with(|character: char| character.is_ascii_digit())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || ".-".contains(character));
    if fits { Ok(text.to_owned()) } else { Err("a version such as 9.1.0 is needed".to_owned()) }
}

/// A size as in Kubernetes: a whole number of bytes, or of Ki, Mi or Gi.
fn bytes(text: &str) -> Result<usize, String> {
    let (number, factor) = [("Ki", 1_usize << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)]
        .into_iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, factor)))
        .unwrap_or((text, 1));
    let size = number.parse().ok().and_then(|number: usize| number.checked_mul(factor));
    size.filter(|size| *size > 0).ok_or_else(|| "a size such as 10Mi is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn defaults_parse() {
        let Settings { max_body_size, drain_delay, create_timeout, check_node_cpus, .. } =
            Arguments::parse_from(["gateway"]).settings;
        assert_eq!((max_body_size, drain_delay), (10 << 20, Duration::from_secs(5)));
        assert_eq!((create_timeout, check_node_cpus), (Duration::from_secs(30), true));
        assert!(!Arguments::parse_from(["gateway", "--check-node-cpus", "false"]).settings.check_node_cpus);
    }

    #[test]
    fn nonsense_is_refused_at_the_start() {
        for flag in [
            "--max-body-size=10MB",
            "--max-body-size=0",
            "--max-held=0",
            "--slots-per-allocation=0",
            "--piece-texts=0",
            "--max-held-bytes=0",
            "--drain-delay=5",
            "--elasticsearch-version=9\n",
        ] {
            assert!(Arguments::try_parse_from(["gateway", flag]).is_err(), "{flag}");
        }
    }
}
