//! Rules about caches that outlive their endpoints under a limit.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use lexiscale_core::{labels, plan::Write, quantity::Bytes};
use lexiscale_crds::{ModelCache, ModelCacheStatus};

use crate::{
    fixtures::{at, endpoint, now, settings, users_cache},
    world::World,
};

/// Volumes have 10Gi each.
fn limited(gibibytes: u64) -> World {
    let mut settings = settings();
    settings.cache_limit = Some(Bytes::mebibytes(gibibytes * 1024));
    World::new(settings)
}

fn unused(name: &str, since: i64) -> ModelCache {
    let mut cache = users_cache(name, &format!("hf://org/{name}"), "main");
    cache.labels_mut().insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    let unused_since = Some(Time(at(since)));
    cache.status = Some(ModelCacheStatus { unused_since, ..ModelCacheStatus::default() });
    cache
}

fn evicted(world: &mut World) -> Vec<String> {
    let names: Vec<String> = world.caches.iter().map(ResourceExt::name_any).collect();
    let goes = |world: &mut World, name: &str| {
        let writes = world.plan_cache(name).writes;
        writes.iter().any(|write| matches!(write, Write::DiscardCache { name: found, .. } if found == name))
    };
    names.into_iter().filter(|name| goes(world, name)).collect()
}

#[test]
fn the_longest_unused_go_first_and_only_as_many_as_needed() {
    let caches = [unused("b", 200), unused("a", 300), unused("c", 100)];
    for (limit, gone) in
        [(30, vec![]), (29, vec!["c"]), (20, vec!["c"]), (10, vec!["b", "c"]), (1, vec!["b", "a", "c"])]
    {
        let mut world = limited(limit);
        world.caches = caches.to_vec();
        assert_eq!(evicted(&mut world), gone, "{limit}");
    }
}

/// A cache is made before its endpoint's status says what it is for.
#[test]
fn what_has_only_just_become_unused_stays_for_a_moment() {
    let mut world = limited(1);
    world.caches = vec![unused("fresh", now().as_second() - 59)];
    assert_eq!(evicted(&mut world), Vec::<String>::new());
    world.caches = vec![unused("fresh", now().as_second() - 60)];
    assert_eq!(evicted(&mut world), ["fresh"]);
}

/// Deleting what somebody made, or what workers read, is no way to save room.
#[test]
fn what_users_made_and_what_is_used_stays() {
    let mut world = limited(1).with(endpoint("search"));
    let mut made_by_user = unused("theirs", 100);
    made_by_user.labels_mut().clear();
    let mut used = unused("used", 100);
    used.status.as_mut().unwrap().used_by = vec!["search".to_owned()];
    world.caches = vec![made_by_user, used];
    assert_eq!(evicted(&mut world), Vec::<String>::new());
}

/// The whole life: an endpoint makes a cache, leaves it behind, and finds it again.
#[test]
fn under_a_limit_a_cache_outlives_its_endpoint() {
    let mut world = limited(100).with(endpoint("search"));
    world.settle();
    world.succeed_download();
    world.settle();
    assert_eq!(world.caches.len(), 1);
    assert_eq!(world.caches[0].owner_references(), []);
    let status = world.caches[0].status.clone().unwrap();
    assert_eq!((status.used_by, status.unused_since), (vec!["search".to_owned()], None));
    let left = world.endpoints.remove(0);
    world.settle();
    let status = world.caches[0].status.clone().unwrap();
    assert_eq!(status.unused_since, Some(Time(world.now)));
    world.endpoints.push(left);
    world.settle();
    assert_eq!(world.caches[0].status.clone().unwrap().unused_since, None);
}
