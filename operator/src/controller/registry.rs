//! What a pass over a cache has to know before a node may pull its model: what the nodes can, and where the registry is.

use std::{net::IpAddr, time::Duration};

use lexiscale_core::{
    model::{ModelSource, Place},
    nodes::NodeFacts,
    settings::ImageVolumes,
};
use lexiscale_crds::{CachePhase, ModelCache};
use tokio::time::timeout;

use super::context::Context;

/// A pass waits no longer for the first list of nodes, or for DNS. Without an answer the files are fetched.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nodes, and the addresses of the registry; none where they decide nothing.
pub(super) async fn observe(context: &Context, cache: &ModelCache) -> (Vec<NodeFacts>, Vec<IpAddr>) {
    let source: Option<ModelSource> = cache.spec.source.parse().ok();
    let Some(Place::Registry { server }) = source.as_ref().map(ModelSource::place) else {
        return nothing();
    };
    let status = cache.status.as_ref();
    let is_there = status.is_some_and(|status| status.phase == Some(CachePhase::Ready));
    let has_digest = source.as_ref().and_then(ModelSource::image).is_some_and(|(_, digest)| digest.is_some())
        || status.is_some_and(|status| status.revision.is_some())
        || cache.spec.revision.is_some();
    let is_mirrored = cache.spec.hub_endpoint.is_some();
    if is_there || !has_digest || is_mirrored || context.settings.image_volumes == ImageVolumes::Never {
        return nothing();
    }
    tokio::join!(nodes(context), addresses(server))
}

fn nothing() -> (Vec<NodeFacts>, Vec<IpAddr>) {
    (Vec::new(), Vec::new())
}

async fn nodes(context: &Context) -> Vec<NodeFacts> {
    if !matches!(timeout(PATIENCE, context.nodes.wait_until_ready()).await, Ok(Ok(()))) {
        return Vec::new();
    }
    let mut facts: Vec<_> = context.nodes.state().iter().map(|node| NodeFacts::of(node)).collect();
    // So that what is said of them does not change from pass to pass.
    facts.sort_by(|left, right| left.name().cmp(right.name()));
    facts
}

/// The node resolves the name anew, and may be told otherwise; what is seen here is what can be judged.
async fn addresses(server: &str) -> Vec<IpAddr> {
    let (_, authority) = server.split_once("://").unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let named = if has_port { authority.to_owned() } else { format!("{authority}:443") };
    match timeout(PATIENCE, tokio::net::lookup_host(named)).await {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}
