//! Our kernels behind the [`Backend`] trait: the weights mapped once for all lanes, the same vector whatever the
//! number of threads and whatever the CPU (see `docs/reference/precision.md`).

use std::sync::{Arc, Mutex, PoisonError};

use lexiscale_kernels::{Isa, Model, OpenError, Saturation, Team, Workspace};
use lexiscale_wire::Precision;

use super::{Backend, BackendError, Lane, Width};
use crate::model::saturation::{self, Pooling, Reduction};
use crate::model::verify::VerifiedModel;
use crate::pooling::SparseRow;
use crate::precision::KernelSpeed;
use crate::tokenize::Tokens;

#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    #[error("failed to load the packed model")]
    Open(#[from] OpenError),
    #[error(
        "the packed model has {found} vocabulary entries, but the manifest says {expected}: fetch the model anew"
    )]
    Vocabulary { found: usize, expected: u32 },
}

/// What this machine's CPU multiplies bytes with.
pub fn instructions() -> &'static str {
    lexiscale_kernels::detect().name()
}

pub fn kernel_speed() -> KernelSpeed {
    // The portable one is always among them.
    if Isa::available().len() > 1 { KernelSpeed::Fast } else { KernelSpeed::Slow }
}

/// A mapped model and the threads for a text that runs alone.
pub struct NativeBackend {
    shared: Arc<Shared>,
}

struct Shared {
    model: Model,
    team: Team,
    pooling: Pooling,
    /// For texts beyond [`LONG`], one at a time.
    long: Mutex<Workspace>,
}

struct NativeLane {
    shared: Arc<Shared>,
    alone: Team,
    workspace: Workspace,
}

impl NativeBackend {
    pub fn load(verified: &VerifiedModel, precision: Precision, threads: usize) -> Result<Self, NativeError> {
        let model = Model::open(&verified.packed_file(precision))?;
        let (found, expected) = (model.shape().vocabulary, verified.manifest().vocabulary_size);
        if u32::try_from(found) != Ok(expected) {
            return Err(NativeError::Vocabulary { found, expected });
        }
        tracing::info!(instructions = model.isa().name(), %precision, "mapped the packed model");
        if precision == Precision::Int8 && kernel_speed() == KernelSpeed::Slow {
            tracing::warn!(
                "this CPU has no instructions for products of bytes: int8 is much slower here, with the same vectors; let workers run on \
                 nodes like the one that cached the model, or set deployment.precision to fp32"
            );
        }
        let pooling = verified.manifest().pooling;
        Ok(Self { shared: Arc::new(Shared::new(model, threads, pooling)) })
    }
}

/// Above this many tokens the arithmetic, not the reading of weights, takes the time.
const TOKENS_TOGETHER: usize = 64;

/// Tokens up to which a lane runs a text in memory of its own. A text of 8192 tokens takes a hundred megabytes, and a pod's limit has no room for
/// that in each lane. So longer ones take turns, in memory that all lanes share and with all threads, which they are enough work for.
const LONG: usize = 1024;

impl Backend for NativeBackend {
    fn tokens_together(&self) -> usize {
        TOKENS_TOGETHER
    }

    fn lane(&self) -> Result<Box<dyn Lane>, BackendError> {
        let lane = NativeLane {
            shared: Arc::clone(&self.shared),
            alone: Team::alone(),
            workspace: Workspace::new(),
        };
        Ok(Box::new(lane))
    }
}

impl Lane for NativeLane {
    fn run(&mut self, texts: &[&Tokens], width: Width) -> Result<Vec<SparseRow>, BackendError> {
        let ids: Vec<&[u32]> = texts.iter().map(|tokens| tokens.ids.as_slice()).collect();
        let Self { shared, alone, workspace } = self;
        if ids.iter().map(|ids| ids.len()).sum::<usize>() > LONG {
            // Whatever a text that panicked left there is written over.
            let mut workspace = shared.long.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(shared.rows(&ids, &mut workspace, &shared.team));
        }
        let team = match width {
            Width::All => &shared.team,
            Width::One => alone,
        };
        Ok(shared.rows(&ids, workspace, team))
    }
}

impl Shared {
    fn new(model: Model, threads: usize, pooling: Pooling) -> Self {
        Self { model, team: Team::new(threads), pooling, long: Mutex::default() }
    }

    fn rows(&self, ids: &[&[u32]], workspace: &mut Workspace, team: &Team) -> Vec<SparseRow> {
        let Pooling { reduction, saturation } = self.pooling;
        match reduction {
            Reduction::Max => {
                let mut rows = self.model.embed_all(ids, workspace, team);
                for row in &mut rows {
                    self.model.weigh(of_kernels(saturation), row);
                }
                rows.into_iter().map(SparseRow::from_entries).collect()
            }
            Reduction::Sum => {
                let rows = self.model.sum_all(ids, of_kernels(saturation), workspace, team);
                rows.into_iter().map(SparseRow::from_entries).collect()
            }
        }
    }
}

fn of_kernels(saturation: saturation::Saturation) -> Saturation {
    match saturation {
        saturation::Saturation::Log => Saturation::Log,
        saturation::Saturation::DoubleLog => Saturation::DoubleLog,
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_kernels::synthetic::Synthetic;
    use lexiscale_kernels::{Activation, Block, Positions, Shape, Sight, pack};

    use super::*;

    fn shared() -> Shared {
        let shape = Shape {
            layers: vec![Sight::Local { reach: 8 }],
            hidden: 32,
            heads: 2,
            intermediate: 64,
            vocabulary: 100,
            positions: Positions::Rotations { window: 4096, global_theta: 1e5, local_theta: 1e4 },
            block: Block::NormBeforeGated,
            epsilon: 1e-5,
            activation: Activation::Gelu,
            head_activation: Activation::Gelu,
        };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let tensors = Synthetic { shape: shape.clone(), seed: 3, is_tied: true, decoder_bias: 0.0 };
        pack(&shape, lexiscale_kernels::Precision::Int8, &tensors, &mut file).unwrap();
        Shared::new(Model::open(file.path()).unwrap(), 2, Pooling::default())
    }

    /// What each lane kept of its longest text would add up beyond the pod's limit.
    #[test]
    fn long_texts_share_their_memory_and_keep_their_vectors() {
        let shared = Arc::new(shared());
        let text = |length: u32| Tokens { ids: (0..length).map(|id| id % 97).collect(), is_truncated: false };
        let mut lane =
            NativeLane { shared: Arc::clone(&shared), alone: Team::alone(), workspace: Workspace::new() };
        let expected =
            |text: &Tokens| shared.rows(&[&text.ids], &mut Workspace::new(), &Team::alone()).swap_remove(0);
        let long = text(3000);
        assert_eq!(lane.run(&[&long], Width::One).unwrap(), [expected(&long)]);
        assert_eq!(lane.workspace.rescored(), 0, "it ran in the lane's memory");
        let short = text(1024);
        assert_eq!(lane.run(&[&short], Width::One).unwrap(), [expected(&short)]);
        assert!(lane.workspace.rescored() > 0, "it did not");
    }
}
