//! Every child object of every file in `crds/examples`, whole. The files are found, not listed: an example without a
//! snapshot fails.

use std::path::{Path, PathBuf};

use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    fixtures::{settings, stored},
    world::World,
};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn load(path: &Path) -> World {
    let mut world = World::new(settings());
    let text = std::fs::read_to_string(path).unwrap();
    for document in serde_norway::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).unwrap();
        match object["kind"].as_str().unwrap() {
            "InferenceEndpoint" => {
                let endpoint: InferenceEndpoint = serde_json::from_value(object).unwrap();
                world.endpoints.push(stored(endpoint, "uid-of-endpoint"));
            }
            "ModelCache" => {
                let cache: ModelCache = serde_json::from_value(object).unwrap();
                world.caches.push(stored(cache, "uid-of-users-cache"));
            }
            kind => panic!("{}: no test knows {kind}", path.display()),
        }
    }
    world
}

#[test]
fn children() {
    for path in examples() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut world = load(&path);
        world.settle();
        // The download's Job is made once the claim has an uid, the Deployment once the model is there.
        world.succeed_download();
        world.settle();
        let mut objects: Vec<Value> =
            world.caches.iter().map(|cache| serde_json::to_value(cache).unwrap()).collect();
        for object in &mut objects {
            object.as_object_mut().unwrap().remove("status");
        }
        objects.extend(world.children.iter().map(|(_, child)| child.clone()));
        for object in &mut objects {
            let metadata = object["metadata"].as_object_mut().unwrap();
            for stored in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
                metadata.remove(stored);
            }
            if object["kind"] == "Job" {
                object.as_object_mut().unwrap().remove("status");
            }
        }
        objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
        for object in objects {
            let component = object["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
            let kind = object["kind"].as_str().unwrap();
            let is_standby = object["metadata"]["name"].to_string().contains("-standby-");
            let component = if is_standby { Some("standby") } else { component };
            let snapshot = format!("{name}.{}.{kind}", component.unwrap_or("user"));
            insta::assert_yaml_snapshot!(snapshot, object);
        }
    }
}

/// "restricted" is what the namespaces of careful clusters enforce; a pod that breaks it is never created there.
#[test]
fn pods_are_restricted() {
    for path in examples() {
        let mut world = load(&path);
        world.settle();
        world.succeed_download();
        world.settle();
        for (kind, child) in &world.children {
            let Some(pod) = child.pointer("/spec/template/spec") else { continue };
            let kind = kind.as_str();
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{kind}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{kind}");
            assert_eq!(pod["automountServiceAccountToken"], false, "{kind}");
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{kind}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{kind}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{kind}");
            }
        }
    }
}
