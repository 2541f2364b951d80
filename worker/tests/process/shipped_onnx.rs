//! Repositories that ship ONNX.

use lexiscale_worker::backend::onnx::{OnnxBackend, OnnxLane};
use lexiscale_worker::model::manifest::Manifest;
use lexiscale_worker::model::verify::{VerifiedModel, VerifyError};
use lexiscale_worker::model::{convert, manifest};
use lexiscale_worker::precision::PrecisionSetting;

use crate::support::models::{open, publish, runtime, small_source};
use crate::support::reference::Reference;
use crate::vectors::texts;

/// What our converter writes is also something that a repository can ship.
#[tokio::test]
async fn a_pooled_onnx_file_is_used_as_it_is() {
    let source = small_source("bert-f32");
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    convert::convert(&source, &folder.path().join("model.onnx")).unwrap();
    let published = publish(folder.path());
    let embedder = open(published.path(), 1, PrecisionSetting::Fp32);
    let reference = Reference::read(&source.join("reference.json"));
    for expected in &reference.texts {
        let found = embedder.embed(texts(vec![expected.text.clone()])).await.unwrap();
        reference.compare(expected, &embedder.name(&found[0].row));
    }
}

fn edit_manifest(folder: &std::path::Path, edit: impl FnOnce(&mut Manifest)) {
    let path = folder.join("model/manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    fs_err::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// Served with the wrong width, each weight would be named after another token.
#[test]
fn an_output_of_another_width_is_refused() {
    let published = publish(&small_source("bert-f32"));
    edit_manifest(published.path(), |manifest| manifest.vocabulary_size = 7);
    let model = VerifiedModel::open(&published.path().join("model")).unwrap();
    let error = OnnxLane::load(&OnnxBackend::new(&model, runtime())).err().unwrap().to_string();
    assert!(error.contains("needed is [texts, 7]"), "{error}");
}

#[test]
fn damaged_models_do_not_reach_the_backend() {
    type Damage = fn(&std::path::Path);
    let table: [(Damage, &str); 6] = [
        (
            |folder| fs_err::remove_file(folder.join("model/manifest.json")).unwrap(),
            "manifest.json is missing",
        ),
        (|folder| fs_err::write(folder.join("model/manifest.json"), "{").unwrap(), "failed to parse"),
        (|folder| fs_err::write(folder.join("model/model.onnx"), "short").unwrap(), "has 5 bytes"),
        (
            |folder| {
                let path = folder.join("model/model.onnx");
                let mut content = fs_err::read(&path).unwrap();
                *content.last_mut().unwrap() ^= 1;
                fs_err::write(&path, content).unwrap();
            },
            "does not have the sha256",
        ),
        (|folder| edit_manifest(folder, |manifest| manifest.digest = manifest::digest(&[])), "digest"),
        (|folder| edit_manifest(folder, |manifest| manifest.format = 99), "format 99"),
    ];
    for (damage, message) in table {
        let published = publish(&small_source("bert-f32"));
        damage(published.path());
        let error = VerifiedModel::open(&published.path().join("model")).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let published = publish(&small_source("bert-f32"));
    let path = published.path().join("model/model.onnx");
    let elsewhere = published.path().join("elsewhere.onnx");
    fs_err::rename(&path, &elsewhere).unwrap();
    fs_err::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let error = VerifiedModel::open(&published.path().join("model")).unwrap_err();
    assert!(matches!(error, VerifyError::Kind { .. }), "{error}");
}

/// Passes every check of the file's outside and is no model all the same.
#[test]
fn a_graph_that_the_runtime_refuses_is_an_error_and_no_crash() {
    let published = publish(&small_source("onnx-logits"));
    let path = published.path().join("model/model.onnx");
    let broken = fs_err::read(&path).unwrap();
    let position = broken.windows(6).position(|bytes| bytes == b"Gather").unwrap();
    let broken = [&broken[..position], b"Gother", &broken[position + 6..]].concat();
    fs_err::write(&path, &broken).unwrap();
    edit_manifest(published.path(), |manifest| {
        let file = manifest.files.iter_mut().find(|file| file.name == "model.onnx").unwrap();
        file.sha256 = lexiscale_worker::model::verify::sha256_of(&path).unwrap();
        manifest.digest = manifest::digest(&manifest.files);
    });
    let model = VerifiedModel::open(&published.path().join("model")).unwrap();
    let error = OnnxLane::load(&OnnxBackend::new(&model, runtime())).err().unwrap().to_string();
    assert!(error.contains("failed to load the model"), "{error}");
}
