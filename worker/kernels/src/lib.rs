//! BERT-like masked-language models and `ModernBERT` on a CPU, for sparse embeddings, in one of two precisions.
//!
//! In int8 weights are bytes with one scale for each output, activations bytes with one scale for each token, and sums are exact
//! integers; in fp32 both are 32-bit numbers. In both, the vocabulary is screened in bytes and decided in 32-bit numbers, or, where logits are added
//! up, computed in those. What is computed in 32-bit numbers is written once over vectors of sixteen, with one order for every sum. So a text's result
//! depends on nothing but the text and the model: not on its neighbours, the number of threads or the instruction set.
//! `docs/decisions/019-int8-kernels.md` and `033` say why it is built as it is.
//!
//! [`pack()`] writes a model once, [`Model::open`] maps it, [`Model::embed_all`] and
//! [`Model::sum_all`] run it; [`Model::weigh`] turns the former's logits into weights.

mod attention;
mod dense;
mod forward;
mod head;
mod isa;
mod layout;
pub mod limit;
mod math;
mod model;
mod pack;
pub mod reference;
mod rotation;
mod rows;
mod shape;
pub mod synthetic;
mod team;
mod tensors;
mod weigh;
mod workspace;

pub use isa::{Isa, detect};
pub use layout::HeaderError;
pub use model::{Model, OpenError};
pub use pack::{PackError, pack};
pub use shape::{Activation, Block, Positions, Precision, Saturation, Shape, ShapeError, Sight};
pub use team::Team;
pub use tensors::{LayerPart, Part, Tensors};
pub use workspace::Workspace;
