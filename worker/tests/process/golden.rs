//! The gate before publication.

use std::path::Path;

use lexiscale_worker::model::golden::{GoldenError, judge};
use tempfile::TempDir;

use crate::support::models::{publish, runtime, small_source};

/// The weights of a model with the last numbers of one tensor changed.
fn altered(model: &str, tensor: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs_err::copy(small_source(model).join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let mut file = fs_err::read(&path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let end = usize::try_from(header[tensor]["data_offsets"][1].as_u64().unwrap()).unwrap();
    let place = 8 + length + end;
    for four in file[place - 32..place].chunks_exact_mut(4) {
        let value = f32::from_le_bytes(four.try_into().unwrap()) + 0.25;
        four.copy_from_slice(&value.to_le_bytes());
    }
    fs_err::write(path, file).unwrap();
    folder
}

fn judged(published: &Path, root: &Path) -> Result<(), GoldenError> {
    judge(&published.join("model"), root, runtime()).map(|_| ())
}

/// One tensor in another place is enough: nobody would see it in the words of an answer.
#[test]
fn a_graph_that_differs_from_its_checkpoint_is_refused() {
    for (model, tensors) in [
        (
            "bert-f32",
            ["bert.encoder.layer.1.attention.self.key.weight", "cls.predictions.transform.LayerNorm.bias"],
        ),
        (
            "roberta-f32",
            ["roberta.embeddings.position_embeddings.weight", "roberta.encoder.layer.0.output.dense.bias"],
        ),
        ("modernbert-f32", ["model.layers.1.attn.Wqkv.weight", "model.layers.2.mlp.Wi.weight"]),
    ] {
        let published = publish(&small_source(model));
        judged(published.path(), &small_source(model)).unwrap();
        for tensor in tensors {
            let error = judged(published.path(), altered(model, tensor).path()).unwrap_err();
            assert!(matches!(error, GoldenError::Differs { .. }), "{tensor}: {error}");
        }
    }
}
