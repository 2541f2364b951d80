//! Our kernels behind the [`Backend`] trait: the weights mapped once for all lanes, the same vector whatever the
//! number of threads and whatever the CPU (see `docs/reference/precision.md`).

use std::sync::Arc;

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
        Ok(Self { shared: Arc::new(Shared { model, team: Team::new(threads), pooling }) })
    }
}

/// Above this many tokens the arithmetic, not the reading of weights, takes the time.
const TOKENS_TOGETHER: usize = 64;

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
        let &Shared { ref model, ref team, pooling: Pooling { reduction, saturation } } = &*self.shared;
        let team = match width {
            Width::All => team,
            Width::One => &self.alone,
        };
        let ids: Vec<&[u32]> = texts.iter().map(|tokens| tokens.ids.as_slice()).collect();
        Ok(match reduction {
            Reduction::Max => {
                let rows = model.embed_all(&ids, &mut self.workspace, team);
                rows.into_iter().map(|strongest| SparseRow::from_strongest(strongest, saturation)).collect()
            }
            Reduction::Sum => {
                let rows = model.sum_all(&ids, of_kernels(saturation), &mut self.workspace, team);
                rows.into_iter().map(SparseRow::from_entries).collect()
            }
        })
    }
}

fn of_kernels(saturation: saturation::Saturation) -> Saturation {
    match saturation {
        saturation::Saturation::Log => Saturation::Log,
        saturation::Saturation::DoubleLog => Saturation::DoubleLog,
    }
}
