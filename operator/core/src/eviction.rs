//! Which unused caches go when a namespace's volumes become too large together. PURE.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use lexiscale_crds::{InferenceEndpoint, ModelCache};

use crate::{labels, quantity::Bytes, settings::Settings};

/// An endpoint that has just made a cache says so in its status a moment later.
const GRACE: SignedDuration = SignedDuration::from_mins(1);

/// Whether this cache has to go now. Only what the operator made for endpoints goes, only when no endpoint uses it, and the longest
/// unused first. What users made is theirs.
pub fn of(
    cache: &ModelCache,
    siblings: &[ModelCache],
    users: &[&InferenceEndpoint],
    settings: &Settings,
    now: Timestamp,
) -> Option<()> {
    let limit = settings.cache_limit?;
    if !users.is_empty() {
        return None;
    }
    let live = || siblings.iter().filter(|sibling| sibling.metadata.deletion_timestamp.is_none());
    let mut total: u64 = live().map(|sibling| size(sibling, settings).get()).fold(0, u64::saturating_add);
    let is_over = |sibling: &&ModelCache| unused_since(sibling).is_some_and(|since| since + GRACE <= now);
    let mut unused: Vec<&ModelCache> = live().filter(is_over).collect();
    unused.sort_by_key(|sibling| (unused_since(sibling), sibling.name_any()));
    for candidate in unused {
        if total <= limit.get() {
            return None;
        }
        if candidate.metadata.uid == cache.metadata.uid {
            return Some(());
        }
        total = total.saturating_sub(size(candidate, settings).get());
    }
    None
}

fn unused_since(cache: &ModelCache) -> Option<Timestamp> {
    let is_ours = cache.labels().get(labels::MANAGED_BY).is_some_and(|manager| manager == labels::MANAGER);
    let status = cache.status.as_ref().filter(|status| is_ours && status.used_by.is_empty())?;
    status.unused_since.as_ref().map(|time| time.0)
}

/// Of its volume, which is what it costs whatever lies on it.
fn size(cache: &ModelCache, settings: &Settings) -> Bytes {
    let asked = cache.spec.storage.as_ref().and_then(|storage| storage.size.as_ref());
    asked.and_then(|size| size.0.parse().ok()).unwrap_or(settings.cache_size)
}
