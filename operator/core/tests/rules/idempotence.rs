//! Plan of what was planned changes nothing, for any endpoint and in any order of events.

use lexiscale_crds::{AdaptiveAllocations, InferenceEndpoint};
use proptest::prelude::*;

use crate::{
    fixtures::{endpoint, settings},
    world::World,
};

fn endpoints() -> impl Strategy<Value = InferenceEndpoint> {
    let name = "[a-z0-9]([a-z0-9.-]{0,70}[a-z0-9])?";
    let model = prop_oneof![
        Just(None),
        Just(Some("other-model".to_owned())),
        "[a-z]{1,8}/[a-zA-Z0-9._-]{1,60}".prop_map(Some)
    ];
    (name, model, 0..6_u32, 1..40_i32, any::<bool>()).prop_map(|(name, model, threads, count, adaptive)| {
        let mut endpoint = endpoint(&name);
        let settings = &mut endpoint.spec.service_settings;
        settings.num_threads = Some(1 << threads);
        settings.model_id = model.filter(|id| !id.contains("/.") && !id.contains("/-") && !id.contains("/_"));
        if adaptive {
            settings.num_allocations = None;
            settings.adaptive_allocations = Some(AdaptiveAllocations {
                enabled: Some(true),
                min_number_of_allocations: Some(count / 2),
                max_number_of_allocations: Some(count),
            });
        } else {
            settings.num_allocations = Some(count);
        }
        endpoint
    })
}

/// What may happen between two passes.
#[derive(Clone, Copy, Debug)]
enum Event {
    EndpointPass,
    CachePass,
    DownloadSucceeds,
    DownloadFails,
    RolloutCompletes,
    TimePasses,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        Just(Event::EndpointPass),
        Just(Event::CachePass),
        Just(Event::DownloadSucceeds),
        Just(Event::DownloadFails),
        Just(Event::RolloutCompletes),
        Just(Event::TimePasses),
    ];
    prop::collection::vec(event, 0..12)
}

fn happen(world: &mut World, event: Event) {
    let caches: Vec<_> = world.caches.iter().map(kube::ResourceExt::name_any).collect();
    let name = kube::ResourceExt::name_any(&world.endpoints[0]);
    match event {
        Event::EndpointPass => drop(world.reconcile_endpoint(&name)),
        Event::CachePass => caches.iter().for_each(|cache| drop(world.reconcile_cache(cache))),
        Event::DownloadSucceeds => world.succeed_download(),
        Event::DownloadFails => world.end_download("Failed", 1, ""),
        Event::RolloutCompletes => world.complete_rollouts(),
        Event::TimePasses => world.now += jiff::SignedDuration::from_secs(30),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn plan_of_what_was_planned_is_empty(endpoint in endpoints(), events in events()) {
        let name = kube::ResourceExt::name_any(&endpoint);
        let mut world = World::new(settings()).with(endpoint);
        for event in events {
            happen(&mut world, event);
        }
        world.settle();
        let before = world.clone();
        prop_assert_eq!(world.reconcile_endpoint(&name), []);
        for cache in &before.caches {
            prop_assert_eq!(world.reconcile_cache(&kube::ResourceExt::name_any(cache)), []);
        }
        prop_assert_eq!(&world.endpoints, &before.endpoints, "the status is not written either");
        prop_assert_eq!(&world.caches, &before.caches);
    }

    /// I1: two downloads of one model never write to one volume.
    #[test]
    fn never_two_downloads_at_once(events in events()) {
        let mut world = World::new(settings()).with(endpoint("search"));
        for event in events {
            happen(&mut world, event);
            let jobs: Vec<k8s_openapi::api::batch::v1::Job> = world.get();
            prop_assert!(jobs.iter().filter(|job| job.status.is_none()).count() <= 1);
        }
    }
}
