//! The gate before publication: the graph that a worker would load is run on a built-in set of texts. A converted graph must give
//! the vectors of a second, plain implementation that shares neither the graph nor the runtime's kernels; any graph must
//! give vectors at all. What is packed for our kernels in fp32 must give the graph's vectors.

mod agreement;
mod numbers;
mod plain;
mod texts;

use std::path::Path;

use lexiscale_wire::Precision;

use crate::backend::native::{NativeBackend, NativeError};
use crate::backend::onnx::{LoadError, OnnxBackend, OnnxLane, OnnxRuntime};
use crate::backend::{Backend, BackendError, Lane, Width};
use crate::model::config::{ConfigError, ModelConfig};
use crate::model::manifest::{FP32_FILE, Golden};
use crate::model::verify::{VerifiedModel, VerifyError};
use crate::model::weights::{Weights, WeightsError};
use crate::pooling::SparseRow;
use crate::tokenize::{Tokenizer, TokenizerError, Tokens};
use plain::Plain;

pub use agreement::{Difference, agreement, difference};
pub use texts::TEXTS;

/// Multiply-adds of the plain implementation, which is not a fast one; some texts are always compared.
const BUDGET: u64 = 200_000_000;
const FEWEST: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("failed to tokenise a text of the golden set: {reason}")]
    Text { reason: String },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Native(#[from] NativeError),
    #[error(transparent)]
    Run(#[from] BackendError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("failed to read config.json")]
    Read(#[source] std::io::Error),
    #[error("the model gives no vector at all for any of the {} texts of the golden set", TEXTS.len())]
    Empty,
    #[error(
        "the converted model does not agree with the fp32 reference on text {text} of the golden set: {difference}"
    )]
    Differs { text: usize, difference: Difference },
}

/// Judges the folder that would be published; `root` is that of the model's own files. Gives what is known of int8.
pub fn judge(staging: &Path, root: &Path, runtime: &OnnxRuntime) -> Result<Option<Golden>, GoldenError> {
    let model = VerifiedModel::open(staging)?;
    let manifest = model.manifest();
    let window = usize::try_from(manifest.max_tokens).unwrap_or(usize::MAX);
    let tokenizer = Tokenizer::load(&model.tokenizer_file(), window)?;
    let encode =
        |text: &&str| tokenizer.encode(text).map_err(|error| GoldenError::Text { reason: error.to_string() });
    let tokens = TEXTS.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let mut lane = OnnxLane::load(&OnnxBackend::new(&model, runtime))?;
    let rows = rows(&mut lane, &tokens)?;
    if rows.iter().all(|row| row.entries().is_empty()) {
        return Err(GoldenError::Empty);
    }
    if manifest.converter.is_some() {
        compare(root, &model, &tokens, &rows)?;
    }
    let packed = |precision| -> Result<Vec<SparseRow>, GoldenError> {
        let mut lane = NativeBackend::load(&model, precision, 1)?.lane()?;
        Ok(self::rows(lane.as_mut(), &tokens)?)
    };
    if manifest.file_bytes(FP32_FILE).is_some() {
        same(&rows, &packed(Precision::Fp32)?)?;
    }
    if !manifest.has_int8() {
        return Ok(None);
    }
    Ok(agreement(&rows, &packed(Precision::Int8)?))
}

/// Both are fp32.
fn same(expected: &[SparseRow], found: &[SparseRow]) -> Result<(), GoldenError> {
    for (text, (expected, found)) in expected.iter().zip(found).enumerate() {
        if let Some(difference) = difference(expected, found) {
            return Err(GoldenError::Differs { text, difference });
        }
    }
    Ok(())
}

/// A tokenizer without special tokens makes nothing of an empty text, and nothing has no weights.
fn rows(lane: &mut dyn Lane, tokens: &[Tokens]) -> Result<Vec<SparseRow>, BackendError> {
    let row = |tokens: &Tokens| -> Result<SparseRow, BackendError> {
        if tokens.ids.is_empty() {
            return Ok(SparseRow::default());
        }
        let rows = lane.run(&[tokens], Width::One)?;
        Ok(rows.into_iter().next().unwrap_or_default())
    };
    tokens.iter().map(row).collect()
}

fn compare(
    root: &Path,
    model: &VerifiedModel,
    tokens: &[Tokens],
    rows: &[SparseRow],
) -> Result<(), GoldenError> {
    let json = fs_err::read(root.join("config.json")).map_err(GoldenError::Read)?;
    let config = ModelConfig::parse(&json)?;
    let weights = Weights::open(root)?;
    let plain = Plain { config: &config, weights: &weights, pooling: model.manifest().pooling };
    let compared = affordable(plain.cost_of_token(), tokens);
    let expected = plain.rows(&tokens[..compared])?;
    same(&expected, rows)?;
    tracing::info!(texts = compared, "the converted model agrees with the fp32 reference");
    Ok(())
}

/// How many of the first texts are compared.
fn affordable(cost_of_token: u64, tokens: &[Tokens]) -> usize {
    let mut spent = 0_u64;
    let within = |tokens: &&Tokens| {
        spent = spent.saturating_add(cost_of_token.saturating_mul(tokens.ids.len() as u64));
        spent <= BUDGET
    };
    tokens.iter().take_while(within).count().max(FEWEST.min(tokens.len()))
}
