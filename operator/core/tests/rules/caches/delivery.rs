//! Whether a node brings the model of a registry as a volume, and what happens when it cannot.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use lexiscale_core::{labels, nodes::NodeFacts, settings::ImageVolumes};
use lexiscale_crds::{CacheSettings, Conditions, Delivery};
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport};
use serde_json::{Value, json};

use super::{arguments, jobs, later, lose_volume, status};
use crate::{
    fixtures::{settings, users_cache},
    world::{World, summary},
};

const DIGITS: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn digested() -> String {
    format!("oci://registry.example/team/splade:v1@sha256:{DIGITS}")
}

fn node(kubelet: &str) -> NodeFacts {
    let node = json!({
        "metadata": {"name": "first"},
        "status": {"nodeInfo": {
            "operatingSystem": "linux", "kubeletVersion": kubelet, "containerRuntimeVersion": "containerd://2.1.3",
            "architecture": "", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
            "osImage": "", "systemUUID": "",
        }},
    });
    NodeFacts::of(&serde_json::from_value(node).unwrap())
}

fn world(source: &str, edit: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(settings());
    world.nodes = vec![node("v1.35.0")];
    world.caches.push(users_cache("warm", source, "main"));
    edit(&mut world);
    world.settle();
    world
}

/// The pod of the latest download.
fn pod(world: &World) -> Value {
    let job = world.get::<Job>().pop().unwrap();
    serde_json::to_value(job.spec.unwrap().template.spec.unwrap()).unwrap()
}

fn source_volume(pod: &Value) -> Option<&Value> {
    pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "source")
}

fn delivery(world: &World) -> Option<Delivery> {
    status(world).delivery
}

/// The kubelet: the latest pod has a node, and its container waits.
fn waits(world: &mut World, reason: &str, message: &str) {
    let job = world.get::<Job>().pop().unwrap();
    let pod = json!({
        "metadata": {
            "name": format!("{}-pod", job.name_any()),
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid()}],
        },
        "spec": {"containers": [{"name": "fetch", "image": "registry.example.com/lexiscale/worker:1.2.3"}]},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": world.now.to_string()}],
            "containerStatuses": [{
                "name": "fetch", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}},
            }],
        },
    });
    world.pods = vec![serde_json::from_value(pod).unwrap()];
}

fn fails(world: &mut World, reason: FetchReason) {
    let failure = FetchFailure { reason, message: format!("because of {reason}"), revision: None, bytes: 0 };
    world.end_download("Failed", 1, &FetchReport::Failed(failure).to_termination_message());
}

/// What a digest names is pulled by the node; the download asks nobody, so it is given no credentials, and the kubelet is.
#[test]
fn an_image_by_digest_is_mounted_for_reading() {
    let world = world(&digested(), |world| {
        world.settings.image_pull_secrets = vec!["of-the-operator".to_owned()];
        let storage = CacheSettings { secret_name: Some("login".to_owned()), ..CacheSettings::default() };
        world.caches[0].spec.storage = Some(storage);
    });
    let pod = pod(&world);
    assert_eq!(
        source_volume(&pod).unwrap()["image"],
        json!({"reference": format!("registry.example/team/splade@sha256:{DIGITS}"), "pullPolicy": "IfNotPresent"})
    );
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == "source").unwrap();
    assert_eq!(mount["readOnly"], true);
    assert!(arguments(&pod).windows(2).any(|pair| pair == ["--image-folder", "/var/lib/lexiscale-source"]));
    assert!(!arguments(&pod).contains(&"--secret-folder"));
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "of-the-operator"}, {"name": "login"}]));
    assert_eq!(delivery(&world), Some(Delivery::ImageVolume));
}

/// Source, what differs, and what is said of it.
type Case<'a> = (&'a str, &'a dyn Fn(&mut World), &'a str);

#[test]
fn what_no_node_may_pull_is_fetched_and_says_why() {
    let tag = "oci://registry.example/team/splade:v1";
    let never = |world: &mut World| world.settings.image_volumes = ImageVolumes::Never;
    let mirror =
        |world: &mut World| world.caches[0].spec.hub_endpoint = Some("https://mirror.example".to_owned());
    let old = |world: &mut World| world.nodes.push(node("v1.34.2"));
    let unknown = |world: &mut World| world.nodes.clear();
    let inside = |world: &mut World| world.registry = [10, 0, 0, 7].into();
    let metadata = |world: &mut World| {
        world.settings.downloads.allow_private_addresses = true;
        world.registry = [169, 254, 169, 254].into();
    };
    let other_tag = |world: &mut World| world.caches[0].spec.revision = Some("v2".to_owned());
    let literal = format!("oci://127.0.0.1/team/splade@sha256:{DIGITS}");
    let port = format!("oci://registry.example:5000/team/splade@sha256:{DIGITS}");
    let edits: [Case<'_>; 10] = [
        (tag, &|_| (), "the digest of the image is not known yet"),
        (&digested(), &other_tag, "the digest of the image is not known yet"),
        (&digested(), &never, "the operator's setting has no image volumes"),
        (&digested(), &mirror, "hubEndpoint names another server"),
        (&digested(), &old, "node first has kubelet \"v1.34.2\", and image volumes need 1.35"),
        (&digested(), &unknown, "it is not known of any node"),
        (&digested(), &inside, "10.0.0.7 is in a private network"),
        (&digested(), &metadata, "169.254.169.254 is link-local"),
        (&literal, &|_| (), "127.0.0.1 is the machine itself"),
        (&port, &|_| (), "port 5000 is not among those"),
    ];
    for (source, edit, why) in edits {
        let mut world = World::new(settings());
        world.nodes = vec![node("v1.35.0")];
        world.caches.push(users_cache("warm", source, "main"));
        edit(&mut world);
        world.reconcile_cache("warm");
        world.reconcile_cache("warm");
        assert_eq!(source_volume(&pod(&world)), None, "{why}");
        assert_eq!(delivery(&world), Some(Delivery::Fetch), "{why}");
        let said = world.caches[0].conditions().iter().any(|condition| condition.message.contains(why));
        assert!(said, "{why}: {:?}", world.caches[0].conditions());
    }
    // A server that the operator's own settings name may be inside, by any port.
    let own = |world: &mut World| {
        world.settings.downloads.allow_private_addresses = true;
        world.registry = [10, 0, 0, 7].into();
    };
    assert!(source_volume(&pod(&world(&port, own))).is_some());
}

#[test]
fn other_sources_have_one_way_and_do_not_speak_of_it() {
    for source in ["hf://org/model", "pvc://models/splade", "s3://bucket/splade"] {
        assert_eq!(delivery(&world(source, |_| ())), None, "{source}");
    }
}

/// A volume that was lost is filled with the same bytes: by then the digest is known.
#[test]
fn a_tag_is_fetched_first_and_mounted_once_its_digest_is_pinned() {
    let mut world = world("oci://registry.example/team/splade:v1", |_| ());
    let mut model = crate::fixtures::fetched_model();
    model.revision = format!("sha256-{DIGITS}");
    world.end_download("Complete", 0, &FetchReport::Succeeded(model).to_termination_message());
    world.settle();
    assert_eq!(delivery(&world), Some(Delivery::Fetch));
    lose_volume(&mut world);
    assert_eq!(delivery(&world), Some(Delivery::ImageVolume));
    let pod = pod(&world);
    let reference = format!("registry.example/team/splade@sha256:{DIGITS}");
    assert_eq!(source_volume(&pod).unwrap()["image"]["reference"], reference);
    assert!(arguments(&pod).windows(2).any(|pair| pair == ["--pinned-digest", "sha256:5678"]));
}

/// Whoever breaks this waits for a node's back-off, or goes to and fro between both ways for ever.
#[test]
fn a_pod_that_cannot_have_its_volume_is_followed_at_once_by_a_fetch() {
    for (reason, message) in [
        ("ErrImagePull", "failed to pull and unpack image: unexpected media type application/octet-stream"),
        ("ImagePullBackOff", "Back-off pulling image \"registry.example/team/splade@sha256:0011\""),
        ("InvalidImageName", ""),
        ("CreateContainerError", "ImageVolumeMountFailed: failed to unpack image volume"),
    ] {
        let mut world = world(&digested(), |_| ());
        waits(&mut world, reason, message);
        assert_eq!(world.reconcile_cache("warm"), [], "it is remembered before anything is done");
        let failure = status(&world).image_volume_failure.unwrap();
        assert_eq!(failure.reason, reason);
        let ready = &world.caches[0].conditions()[0];
        assert_eq!((ready.reason.as_str(), ready.status.as_str()), ("ImageVolumeFailed", "False"));
        assert!(ready.message.contains(reason), "{}", ready.message);
        assert_eq!(status(&world).last_failure.unwrap().reason, "ImageVolumeFailed");

        assert_eq!(summary(&world.reconcile_cache("warm")), ["delete Job warm-1"]);
        world.pods.clear();
        assert_eq!(summary(&world.reconcile_cache("warm")), ["apply Job warm-2"]);
        assert_eq!(source_volume(&pod(&world)), None);
        assert_eq!(delivery(&world), Some(Delivery::Fetch));
        for attempt in 2..=4 {
            assert_eq!(jobs(&world), [format!("warm-{attempt}")]);
            fails(&mut world, FetchReason::HubUnreachable);
            later(&mut world, 600);
            assert_eq!(source_volume(&pod(&world)), None, "a failed fetch is no reason to mount");
        }
        world.succeed_download();
        world.settle();
        assert!(status(&world).image_volume_failure.is_some(), "it says why it was fetched");
    }
}

/// A wrong worker image is no fault of the volume; nobody else would name it.
#[test]
fn a_worker_image_that_cannot_be_pulled_is_told_as_such() {
    let mut world = world(&digested(), |_| ());
    let message =
        "Back-off pulling image \"registry.example.com/lexiscale/worker:1.2.3\": ErrImagePull: not found";
    waits(&mut world, "ImagePullBackOff", message);
    world.settle();
    assert_eq!(status(&world).image_volume_failure, None);
    assert_eq!(jobs(&world), ["warm-1"]);
    assert_eq!(world.caches[0].conditions()[0].reason, "ImagePullFailed");
}

/// A pull says nothing of how far it is, and a node that ignores volumes of this kind says nothing at all.
#[test]
fn a_pod_that_never_starts_is_given_up() {
    let mut world = world(&digested(), |_| ());
    waits(&mut world, "ContainerCreating", "");
    later(&mut world, 29 * 60);
    assert_eq!(jobs(&world), ["warm-1"], "a large image takes its time");
    world.now += jiff::SignedDuration::from_mins(1);
    world.reconcile_cache("warm");
    assert_eq!(status(&world).image_volume_failure.unwrap().reason, "NotStarted");
    world.settle();
    assert_eq!((jobs(&world), delivery(&world)), (vec!["warm-2".to_owned()], Some(Delivery::Fetch)));
}

/// Evicted while the image came, or not started by the runtime: no word of the download. Whoever breaks this gives a model up that a fetch
/// would have brought.
#[test]
fn tries_that_all_end_without_a_word_are_followed_by_a_fetch() {
    let mut world = world(&digested(), |_| ());
    for attempt in 1..=6 {
        assert_eq!(jobs(&world), [format!("warm-{attempt}")]);
        assert!(source_volume(&pod(&world)).is_some(), "it may pass");
        assert_eq!(status(&world).image_volume_failure, None);
        world.end_download("Failed", 128, "");
        later(&mut world, 3600);
    }
    assert_eq!(jobs(&world), ["warm-7"]);
    assert_eq!((source_volume(&pod(&world)), delivery(&world)), (None, Some(Delivery::Fetch)));
    assert!(status(&world).image_volume_failure.is_some());
    fails(&mut world, FetchReason::Interrupted);
    later(&mut world, 3600);
    assert_eq!(jobs(&world), ["warm-8"], "a fetch has tries of its own");
}

/// The runtime may show something else than the registry has; the fetch has the last word on what the source is.
#[test]
fn a_mounted_folder_without_a_model_is_followed_by_a_fetch() {
    for (reason, falls_back) in [
        (FetchReason::ModelNotFound, true),
        (FetchReason::UnsupportedModel, true),
        (FetchReason::InvalidModel, true),
        (FetchReason::ChecksumMismatch, true),
        (FetchReason::Internal, true),
        (FetchReason::UnsafeModel, false),
        (FetchReason::InsufficientStorage, false),
    ] {
        let mut world = world(&digested(), |_| ());
        fails(&mut world, reason);
        world.settle();
        assert_eq!(status(&world).image_volume_failure.is_some(), falls_back, "{reason}");
        assert_eq!(
            jobs(&world),
            [if falls_back { "warm-2" } else { "warm-1" }],
            "{reason}: without any delay"
        );
        if falls_back {
            fails(&mut world, reason);
            world.settle();
            later(&mut world, 1_000_000);
            assert_eq!(source_volume(&pod(&world)), None, "{reason}");
        }
    }
    // A node that went away is tried again in the same way, and no sooner than any other.
    let mut world = world(&digested(), |_| ());
    fails(&mut world, FetchReason::Interrupted);
    world.settle();
    assert_eq!(jobs(&world), ["warm-1"]);
    later(&mut world, 10);
    assert_eq!((jobs(&world), delivery(&world)), (vec!["warm-2".to_owned()], Some(Delivery::ImageVolume)));
}

/// Someone has mended the registry's credentials; the operator cannot see that.
#[test]
fn asking_again_tries_the_volume_again() {
    let mut world = world(&digested(), |_| ());
    waits(&mut world, "ErrImagePull", "401 Unauthorized");
    world.settle();
    world.pods.clear();
    world.settle();
    fails(&mut world, FetchReason::Unauthorized);
    world.settle();
    assert_eq!(delivery(&world), Some(Delivery::Fetch));
    world.caches[0].annotations_mut().insert(labels::RETRY.to_owned(), "please".to_owned());
    world.settle();
    assert_eq!(delivery(&world), Some(Delivery::ImageVolume));
    assert_eq!(status(&world).image_volume_failure, None);
}

/// A node that joins, or a name that leads nowhere for a moment, takes no volume away that is on its way.
#[test]
fn a_pull_that_is_under_way_is_left_alone() {
    let mut world = world(&digested(), |_| ());
    waits(&mut world, "ContainerCreating", "");
    world.nodes.clear();
    world.settle();
    assert_eq!((jobs(&world), delivery(&world)), (vec!["warm-1".to_owned()], Some(Delivery::ImageVolume)));
    world.settings.image_volumes = ImageVolumes::Never;
    world.settle();
    assert_eq!((jobs(&world), delivery(&world)), (vec!["warm-2".to_owned()], Some(Delivery::Fetch)));
}
