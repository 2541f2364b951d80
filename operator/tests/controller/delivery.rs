//! Models of registries that a node brings as volumes. The node's own words decide that it can; what its kubelet would do with the
//! pods is played.

use k8s_openapi::api::{
    core::v1::{Event, Namespace, PersistentVolumeClaim, Pod},
    events::v1::Event as NewEvent,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{Delivery, ModelCache};
use lexiscale_wire::{FetchReason, FetchReport};
use serde_json::{Value, json};

use crate::{
    cluster::{World, eventually, with_world},
    fixtures::{failed, succeeded},
    operator::Operator,
};

const DIGITS: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A name that nobody resolves is judged by this alone.
const OPEN: &str = "--allow-private-addresses";

impl World {
    async fn create_cache(&self, source: &str) {
        let cache: ModelCache = serde_json::from_value(json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1",
            "kind": "ModelCache",
            "metadata": {"name": "warm", "labels": {"inference.lexiscale.io/operator": self.namespace}},
            "spec": {"source": source, "storage": {"secretName": "login"}},
        }))
        .unwrap();
        self.api().create(&PostParams::default(), &cache).await.unwrap();
    }

    /// A download's pod that waits for a node, and does or does not mount an image.
    async fn download(&self, mounts: bool) -> (Pod, Option<String>) {
        let found = eventually(async || {
            let pods: Vec<Pod> = self.list().await;
            pods.into_iter().find(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                phase == Some("Pending")
                    && pod.metadata.deletion_timestamp.is_none()
                    && image(pod).is_some() == mounts
            })
        });
        let found = tokio::time::timeout(std::time::Duration::from_secs(40), found).await;
        let pod = found.unwrap_or_else(|_| panic!("no download whose pod mounts an image: {mounts}"));
        let image = image(&pod);
        (pod, image)
    }

    async fn waits(&self, pod: &Pod, reason: &str, message: &str) {
        let waiting: Value = json!({"waiting": {"reason": reason, "message": message}});
        let container = json!({"name": "fetch", "image": "w", "imageID": "w", "ready": false, "restartCount": 0, "state": waiting});
        self.set_status(pod, json!({"phase": "Pending", "containerStatuses": [container]})).await;
    }
}

fn image(pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    volumes.iter().find_map(|volume| volume.image.as_ref())?.reference.clone()
}

async fn restricted(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let patch = Patch::Merge(labels);
    namespaces.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
}

/// What was remembered must outlive the operator, or each new one begins with the volume again.
#[tokio::test]
async fn a_volume_that_a_node_cannot_mount_is_followed_by_a_fetch_and_stays_so() {
    with_world(async |world| Box::pin(falls_back(&world)).await).await;
}

async fn falls_back(world: &World) {
    restricted(world).await;
    let operator = Operator::start(world, &[OPEN]);
    world.create_cache(&format!("oci://registry.invalid/team/splade:v1@sha256:{DIGITS}")).await;
    let (pod, image) = world.download(true).await;
    assert_eq!(image, Some(format!("registry.invalid/team/splade@sha256:{DIGITS}")));
    let secrets = pod.spec.as_ref().unwrap().image_pull_secrets.clone().unwrap();
    assert_eq!(secrets.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["login"]);
    let by_volume = |cache: &ModelCache| delivery(cache) == Some(Delivery::ImageVolume);
    world.until("warm", "delivered by a volume", by_volume).await;

    operator.stop().await;
    world.waits(&pod, "ErrImagePull", "unexpected media type application/octet-stream").await;
    let operator = Operator::start(world, &[OPEN]);
    let (pod, _) = world.download(false).await;
    assert!(pod.name_any().starts_with("warm-2-"), "{}", pod.name_any());
    let cache: ModelCache = world
        .until("warm", "delivered by a fetch", |cache: &ModelCache| delivery(cache) == Some(Delivery::Fetch))
        .await;
    let failure = cache.status.unwrap().image_volume_failure.unwrap();
    assert_eq!(
        (failure.reason.as_str(), failure.message.as_str()),
        ("ErrImagePull", "unexpected media type application/octet-stream")
    );
    let told = |event: &Event| event.reason.as_deref() == Some("ImageVolumeFailed");
    let event = eventually(async || world.list::<Event>().await.into_iter().find(told)).await;
    assert!(event.message.unwrap_or_default().contains("unexpected media type"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));

    operator.stop().await;
    let operator = Operator::start(world, &[OPEN]);
    world.end_download(&failed(FetchReason::HubUnreachable)).await;
    let (pod, _) = world.download(false).await;
    assert!(pod.name_any().starts_with("warm-3-"), "{}", pod.name_any());
    world.end_download(&succeeded("splade")).await;
    let cache: ModelCache = world.until_says("warm", ("Ready", "True", "Ready")).await;
    let status = cache.status.unwrap();
    assert_eq!((status.delivery, status.attempts), (Some(Delivery::Fetch), Some(3)));
    assert!(status.image_volume_failure.is_some());
    let told = world.list::<NewEvent>().await;
    let told = told.iter().filter(|event| event.reason.as_deref() == Some("ImageVolumeFailed")).count();
    assert_eq!(told, 1);
    operator.stop().await;
}

/// The bytes that were fetched once by a tag are what the volume must hold, whichever way they come again.
#[tokio::test]
async fn a_tag_is_fetched_and_a_lost_volume_is_filled_by_its_digest() {
    with_world(async |world| {
        let operator = Operator::start(&world, &[OPEN]);
        world.create_cache("oci://registry.invalid/team/splade:v1").await;
        world.download(false).await;
        let FetchReport::Succeeded(mut model) = succeeded("splade") else { unreachable!() };
        model.revision = format!("sha256-{DIGITS}");
        model.source_digest = Some("sha256:of-the-source".to_owned());
        let report = FetchReport::Succeeded(model);
        world.end_download(&report).await;
        let cache: ModelCache = world.until_says("warm", ("Ready", "True", "Ready")).await;
        assert_eq!(delivery(&cache), Some(Delivery::Fetch));

        let claim = world.until_count::<PersistentVolumeClaim>(1).await.remove(0).name_any();
        world.api::<PersistentVolumeClaim>().delete(&claim, &DeleteParams::default()).await.unwrap();
        let (pod, image) = world.download(true).await;
        assert_eq!(image, Some(format!("registry.invalid/team/splade@sha256:{DIGITS}")));
        let arguments = pod.spec.unwrap().containers[0].args.clone().unwrap();
        assert!(arguments.windows(2).any(|pair| pair == ["--pinned-digest", "sha256:of-the-source"]));
        world.end_download(&report).await;
        let is_back = |cache: &ModelCache| {
            let status = cache.status.as_ref().unwrap();
            status.digest.is_some() && status.delivery == Some(Delivery::ImageVolume)
        };
        let cache: ModelCache = world.until("warm", "filled by a volume", is_back).await;
        assert_eq!(cache.status.unwrap().source_digest.as_deref(), Some("sha256:of-the-source"));
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn no_node_is_asked_for_a_registry_that_a_fetch_would_not_ask() {
    with_world(async |world| {
        let operator = Operator::start(&world, &[]);
        world.create_cache(&format!("oci://localhost/team/splade@sha256:{DIGITS}")).await;
        world.download(false).await;
        let said =
            |event: &Event| event.message.as_deref().is_some_and(|note| note.contains("the machine itself"));
        eventually(async || world.list::<Event>().await.into_iter().find(said)).await;
        operator.stop().await;
    })
    .await;
}

fn delivery(cache: &ModelCache) -> Option<Delivery> {
    cache.status.as_ref()?.delivery
}
