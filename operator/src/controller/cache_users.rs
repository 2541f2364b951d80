//! Which endpoints an event of a cache concerns. An endpoint that joins a cache changes that cache, and so does one that leaves: were
//! every user to hear of it, a thousand endpoints of one model would cost a million passes.

use std::collections::{BTreeSet, HashMap};

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher::{self, Event},
    },
};
use lexiscale_core::identity::owners;
use lexiscale_crds::{InferenceEndpoint, ModelCache};

use super::watches::cache_names;

/// Endpoints to look at, for as long as it is polled.
pub(super) fn cache_users(
    api: Api<ModelCache>,
    endpoints: Store<InferenceEndpoint>,
) -> impl Stream<Item = ObjectRef<InferenceEndpoint>> {
    let mut known = Known::default();
    watcher::watcher(api, watcher::Config::default()).default_backoff().flat_map(move |event| {
        let concerned = match event {
            Ok(event) => known.concerned(event, |cache| named_by(cache, &endpoints)),
            Err(error) => {
                tracing::warn!(%error, "failed to watch model caches, trying again");
                Vec::new()
            }
        };
        stream::iter(concerned)
    })
}

/// Every cache as its latest event had it.
#[derive(Debug, Default)]
struct Known(HashMap<ObjectRef<ModelCache>, Seen>);

#[derive(Debug)]
struct Seen {
    /// The cache without what says who uses it.
    rest: ModelCache,
    owners: BTreeSet<String>,
    used_by: BTreeSet<String>,
}

impl Known {
    /// The endpoints that an event concerns: all users, or where nothing but these has changed, those that have come and gone, and
    /// the one that is alone now, since it may settle what several must not. `named` are users that the cache does not know of.
    fn concerned(
        &mut self,
        event: Event<ModelCache>,
        named: impl Fn(&ModelCache) -> Vec<String>,
    ) -> Vec<ObjectRef<InferenceEndpoint>> {
        let (cache, is_gone) = match event {
            // All of them follow.
            Event::Init => {
                self.0.clear();
                return Vec::new();
            }
            Event::InitDone => return Vec::new(),
            Event::Apply(cache) | Event::InitApply(cache) => (cache, false),
            Event::Delete(cache) => (cache, true),
        };
        let Some(namespace) = cache.namespace() else { return Vec::new() };
        let at = ObjectRef::from_obj(&cache);
        let seen = Seen::of(cache);
        let before = self.0.remove(&at);
        let concerned: BTreeSet<String> = match &before {
            Some(before) if !is_gone && before.rest == seen.rest => seen.news(before),
            _ => {
                let users = before.iter().chain([&seen]).flat_map(Seen::users).cloned();
                users.chain(named(&seen.rest)).collect()
            }
        };
        if !is_gone {
            self.0.insert(at, seen);
        }
        concerned.iter().map(|name| ObjectRef::new(name).within(&namespace)).collect()
    }
}

impl Seen {
    fn of(mut cache: ModelCache) -> Self {
        let owners = owners(&cache.metadata).filter(|owner| owner.kind == "InferenceEndpoint");
        let owners = owners.map(|owner| owner.name.clone()).collect();
        let used_by = cache.status.as_mut().map(|status| std::mem::take(&mut status.used_by));
        let metadata = &mut cache.metadata;
        (metadata.owner_references, metadata.managed_fields, metadata.resource_version) = (None, None, None);
        Self { rest: cache, owners, used_by: used_by.into_iter().flatten().collect() }
    }

    fn users(&self) -> impl Iterator<Item = &String> {
        self.owners.iter().chain(&self.used_by)
    }

    /// Users that have come or gone, and the one that is alone now.
    fn news(&self, before: &Self) -> BTreeSet<String> {
        let alone = self.used_by.iter().filter(|_| self.used_by.len() == 1 && before.used_by.len() != 1);
        let owners = self.owners.symmetric_difference(&before.owners);
        owners.chain(self.used_by.symmetric_difference(&before.used_by)).chain(alone).cloned().collect()
    }
}

/// The endpoints whose status says that they use the cache.
fn named_by(cache: &ModelCache, endpoints: &Store<InferenceEndpoint>) -> Vec<String> {
    let (namespace, name) = (cache.namespace(), cache.name_any());
    let names_it = |endpoint: &InferenceEndpoint| {
        endpoint.namespace() == namespace && cache_names(endpoint).any(|used| used == name)
    };
    endpoints
        .state()
        .iter()
        .filter(|endpoint| names_it(endpoint))
        .map(|endpoint| endpoint.name_any())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cache(version: &str, owners: &[&str], used_by: &[&str], phase: &str) -> ModelCache {
        let owner =
            |name: &&str| json!({"apiVersion": "v", "kind": "InferenceEndpoint", "name": name, "uid": name});
        let owners: Vec<_> = owners.iter().map(owner).collect();
        serde_json::from_value(json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "ModelCache",
            "metadata": {"name": "c", "namespace": "n", "resourceVersion": version, "ownerReferences": owners},
            "spec": {"source": "hf://a/b"},
            "status": {"phase": phase, "usedBy": used_by},
        }))
        .unwrap()
    }

    #[test]
    fn only_those_who_come_and_go_hear_of_it() {
        let mut known = Known::default();
        let mut hear = |event| {
            let concerned = known.concerned(event, |_| vec!["named".to_owned()]);
            concerned.into_iter().map(|at| at.name).collect::<Vec<_>>().join(" ")
        };
        let table = vec![
            (Event::Init, ""),
            (Event::InitApply(cache("1", &["a", "b"], &["a"], "Pending")), "a b named"),
            (Event::InitDone, ""),
            (Event::Apply(cache("2", &["a", "b", "c"], &["a"], "Pending")), "c"),
            (Event::Apply(cache("3", &["a", "b", "c"], &["a", "b", "c"], "Pending")), "b c"),
            (Event::Apply(cache("4", &["a", "b", "c"], &["a", "b", "c"], "Ready")), "a b c named"),
            (Event::Apply(cache("5", &["a", "b"], &["a", "b", "c"], "Ready")), "c"),
            (Event::Apply(cache("5", &["a"], &["a"], "Ready")), "a b c"),
            (Event::Apply(cache("6", &["a"], &["a"], "Ready")), ""),
            (Event::Delete(cache("7", &["a"], &["a"], "Ready")), "a named"),
            // Made anew, it is another one, whatever it looks like.
            (Event::Apply(cache("8", &["a"], &["a"], "Ready")), "a named"),
            (Event::Init, ""),
            (Event::InitApply(cache("8", &["a", "d"], &["a"], "Ready")), "a d named"),
        ];
        for (event, expected) in table {
            assert_eq!(hear(event.clone()), expected, "{event:?}");
        }
    }
}
