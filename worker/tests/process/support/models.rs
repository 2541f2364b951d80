//! Models to test with: the demo model from the assets and the small ones of this repository.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lexiscale_wire::Pruning;
use lexiscale_worker::backend::onnx::OnnxRuntime;
use lexiscale_worker::embedder::{Embedder, Settings};
use lexiscale_worker::metrics::Metrics;
use lexiscale_worker::model::assemble::{Origin, assemble};
use lexiscale_worker::model::manifest::{FP32_FILE, digest};
use lexiscale_worker::model::select::select;
use lexiscale_worker::model::verify::read_manifest;
use lexiscale_worker::precision::PrecisionSetting;
use prometheus_client::registry::Registry;
use tempfile::TempDir;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `target`, wherever it is: cargo tells its tests a folder in it.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn asset(name: &str) -> PathBuf {
    let path = target().join("assets").join(name);
    assert!(path.exists(), "{} is missing: run tests/assets/fetch first", path.display());
    path
}

pub(crate) fn library() -> PathBuf {
    asset("libonnxruntime.so")
}

pub(crate) fn runtime() -> &'static OnnxRuntime {
    static RUNTIME: OnceLock<OnnxRuntime> = OnceLock::new();
    RUNTIME.get_or_init(|| OnnxRuntime::load(&library()).unwrap())
}

/// As the hub has it: safetensors.
pub(crate) fn demo_source() -> PathBuf {
    asset("model")
}

pub(crate) fn small_source(name: &str) -> PathBuf {
    repository().join("tests/assets/models").join(name)
}

/// Every file of a folder, with `/` between folders.
pub(crate) fn file_names(folder: &Path) -> Vec<String> {
    let repository = lexiscale_hub::Repository::open("a/b", folder, None).unwrap();
    repository.files.into_iter().map(|file| file.name).collect()
}

/// What `fetch` would publish, out of a copy: publishing may link files, and tests damage what they published.
pub(crate) fn publish(source: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names = file_names(source);
    let copy = folder.path().join("source");
    for name in &names {
        let path = copy.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::copy(source.join(name), path).unwrap();
    }
    let selection = select(&names).unwrap();
    let origin = Origin {
        source: "hf://lexiscale/test".to_owned(),
        requested_revision: "main".to_owned(),
        revision: "0".repeat(40),
        license: None,
        source_digest: "sha256:of-the-source".to_owned(),
    };
    assemble(&copy, &selection, origin, &folder.path().join("model")).unwrap();
    folder
}

/// The demo model, converted once for all tests of this process.
pub(crate) fn published_demo() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| publish(&demo_source())).path()
}

/// The same, to be served by ONNX Runtime.
pub(crate) fn published_demo_for_onnx() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let published = || {
        let published = publish(&demo_source());
        leave_fp32_to_onnx(published.path());
        published
    };
    FOLDER.get_or_init(published).path()
}

/// As on a machine that our kernels have no instructions for: the file of theirs is not there.
pub(crate) fn leave_fp32_to_onnx(published: &Path) {
    let model = published.join("model");
    let mut manifest = read_manifest(&model).unwrap();
    manifest.files.retain(|file| file.name != FP32_FILE);
    manifest.digest = digest(&manifest.files);
    fs_err::write(model.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

pub(crate) fn metrics() -> Arc<Metrics> {
    Metrics::register(&mut Registry::default())
}

pub(crate) fn open(published: &Path, threads: usize, precision: PrecisionSetting) -> Embedder {
    let settings =
        Settings { threads, precision, queue_capacity: 4096, max_texts: 1024, pruning: Pruning::default() };
    Embedder::open(&published.join("model"), &|| Ok(runtime().clone()), settings, metrics()).unwrap()
}
