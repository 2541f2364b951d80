//! The `PersistentVolumeClaim` that a cache keeps its model on. Its annotation says what lies on the volume.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};

use crate::{children::to_json, identity::Identity, labels, volume::Volume};

pub fn claim(cache: &Identity, volume: &Volume) -> PersistentVolumeClaim {
    let Volume { claim: name, size, storage_class_name, access_mode, model } = volume;
    let mut metadata = cache.child_metadata(name.clone(), labels::of_cache(cache.name()));
    metadata.annotations = model.as_ref().map(|model| {
        let stamp = to_json(model);
        BTreeMap::from([(labels::MODEL.to_owned(), stamp)])
    });
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![access_mode.as_str().to_owned()]),
            storage_class_name: storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), (*size).into())])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
