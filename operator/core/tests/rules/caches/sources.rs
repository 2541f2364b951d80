//! What a download is given: credentials, claims, and servers that it may reach.

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use lexiscale_crds::CacheSettings;

use super::arguments;
use crate::{
    fixtures::{endpoint, settings, users_cache},
    world::World,
};

fn job_of(source: &str, edit: impl FnOnce(&mut World)) -> serde_json::Value {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", source, "main"));
    edit(&mut world);
    world.settle();
    serde_json::to_value(world.get::<Job>().remove(0).spec.unwrap().template.spec.unwrap()).unwrap()
}

/// A Secret is for the download and for nobody else; workers run what it brought.
#[test]
fn a_secret_is_mounted_into_the_download_only() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.edit("search", |endpoint| {
        let cache = CacheSettings { secret_name: Some("hub-token".to_owned()), ..CacheSettings::default() };
        endpoint.spec.deployment.get_or_insert_default().cache = Some(cache);
    });
    world.settle();
    let job = serde_json::to_value(world.get::<Job>().remove(0)).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][2]["secret"]["secretName"], "hub-token");
    assert!(arguments(pod).windows(2).any(|pair| pair == ["--secret-folder", "/var/run/secrets/lexiscale"]));
    world.succeed_download();
    world.settle();
    let deployment = serde_json::to_string(&world.get::<Deployment>()).unwrap();
    assert!(!deployment.contains("hub-token") && !deployment.contains("secret"), "{deployment}");
}

#[test]
fn a_claim_as_source_is_mounted_for_reading_and_needs_no_network() {
    let pod = job_of("pvc://models/team/splade", |_| {});
    let volume = &pod["volumes"][2];
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], "models");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
    assert_eq!(mount["readOnly"], true);
    assert!(!arguments(&pod).contains(&"--hub-endpoint"));
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", "pvc://models/team/splade", "main"));
    world.settle();
    let policy = world.get::<k8s_openapi::api::networking::v1::NetworkPolicy>().remove(0).spec.unwrap();
    assert_eq!(policy.egress, None);
    assert!(policy.policy_types.unwrap().contains(&"Egress".to_owned()));
}

/// A server in the cluster is for the operator to name, not for whoever may create a cache.
#[test]
fn only_servers_of_the_operators_own_settings_may_be_inside() {
    let trusted = |pod: &serde_json::Value| arguments(pod).contains(&"--trusted-server");
    let own = |world: &mut World| world.settings.hub_endpoint = Some("http://hub.models.svc/".to_owned());
    assert!(trusted(&job_of("hf://org/model", own)));
    let users =
        |world: &mut World| world.caches[0].spec.hub_endpoint = Some("http://hub.models.svc".to_owned());
    assert!(!trusted(&job_of("hf://org/model", users)));
    assert!(!trusted(&job_of("https://models.internal/splade/", own)));
    let s3 =
        |world: &mut World| world.settings.s3_endpoint = Some("http://minio.storage.svc:9000".to_owned());
    let pod = job_of("s3://bucket/splade", s3);
    assert!(trusted(&pod) && arguments(&pod).contains(&"http://minio.storage.svc:9000"));
    let open = |world: &mut World| {
        world.settings.downloads.allow_private_addresses = true;
        world.settings.downloads.ports = vec![8443];
    };
    let pod = job_of("https://models.internal/splade/", open);
    assert!(arguments(&pod).contains(&"--allow-private-addresses") && arguments(&pod).contains(&"8443"));
}
