//! How much arithmetic a text is, from the model's `config.json`. PURE.

use lexiscale_wire::Precision;

use super::report::Limits;
use crate::model::config::{Attention, Family, ModelConfig, ModernBert};
use crate::model::saturation::Reduction;
use crate::precision::Arithmetic;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work(ModelConfig);

/// The limits that the parts of a text have, in operations a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speeds {
    layers: f64,
    vocabulary: f64,
}

impl Speeds {
    pub(super) fn of(limits: Limits, arithmetic: Arithmetic, reduction: Reduction) -> Self {
        let layers = match arithmetic {
            Arithmetic::Kernels(Precision::Int8) => limits.int8,
            Arithmetic::Kernels(Precision::Fp32) | Arithmetic::Onnx => limits.fp32,
        };
        let vocabulary = match (arithmetic, reduction) {
            // The kernels screen it in bytes whatever the layers compute in.
            (Arithmetic::Kernels(_), Reduction::Max) => limits.int8,
            // Sums need every logit in 32-bit numbers.
            (Arithmetic::Kernels(_), Reduction::Sum) | (Arithmetic::Onnx, _) => limits.fp32,
        };
        Self { layers: layers * 1e9, vocabulary: vocabulary * 1e9 }
    }
}

impl Work {
    /// None for architectures whose blocks are not known: a share of the roofline would be a guess.
    pub(super) fn parse(config: &[u8]) -> Option<Self> {
        ModelConfig::parse(config).ok().map(Self)
    }

    /// What the matrix products for a text take where nothing else takes time.
    pub(super) fn seconds(&self, tokens: usize, speeds: Speeds) -> f64 {
        self.layers(tokens) / speeds.layers + self.vocabulary(tokens) / speeds.vocabulary
    }

    /// Operations of all products but the vocabulary's, a product and a sum counting as two.
    fn layers(&self, tokens: usize) -> f64 {
        let config = &self.0;
        let [tokens, hidden, intermediate] =
            [tokens, config.hidden_size, config.intermediate_size].map(|n| n as f64);
        // ModernBERT has gates beside what goes through the activation.
        let matrices = if config.family == Family::ModernBert { 3.0 } else { 2.0 };
        let block = 4.0 * hidden * hidden + matrices * hidden * intermediate;
        let looked_at: f64 = (0..config.layers).map(|layer| self.sight(layer, tokens)).sum();
        let transform = hidden * hidden;
        2.0 * tokens * (config.layers as f64 * block + 2.0 * hidden * looked_at + transform)
    }

    fn vocabulary(&self, tokens: usize) -> f64 {
        let [tokens, hidden, words] = [tokens, self.0.hidden_size, self.0.vocabulary_size].map(|n| n as f64);
        2.0 * tokens * hidden * words
    }

    /// How many tokens one looks at, the edges of the text not counted.
    fn sight(&self, layer: usize, tokens: f64) -> f64 {
        let is_local = |modern: &&ModernBert| modern.attention[layer] == Attention::Local;
        let modern = self.0.modern.as_ref().filter(is_local);
        modern.map_or(tokens, |modern| tokens.min((2 * modern.reach + 1) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() < tolerance, "{found} instead of {expected}");
    }

    #[test]
    fn both_spellings_of_a_size_are_read() {
        let bert = br#"{"architectures":["BertForMaskedLM"],"num_hidden_layers":12,"hidden_size":768,"num_attention_heads":12,
            "intermediate_size":3072,"vocab_size":30522,"max_position_embeddings":512,"type_vocab_size":2}"#;
        let distil = br#"{"architectures":["DistilBertForMaskedLM"],"n_layers":12,"dim":768,"n_heads":12,"hidden_dim":3072,
            "vocab_size":30522,"max_position_embeddings":512}"#;
        assert_eq!(Work::parse(b"{}"), None);
        for config in [&bert[..], distil] {
            let work = Work::parse(config).unwrap();
            // 14.2 M for each layer and 1.2 M before the vocabulary.
            close(work.layers(1) / 1e6, 171.1, 0.1);
            close(work.vocabulary(1) / 1e6, 46.9, 0.1);
        }
    }

    fn modern() -> Work {
        let modern = br#"{"architectures":["ModernBertForMaskedLM"],"vocab_size":10,"hidden_size":8,"intermediate_size":4,
            "num_hidden_layers":3,"num_attention_heads":2,"local_attention":16}"#;
        Work::parse(modern).unwrap()
    }

    #[test]
    fn gates_count_and_local_layers_look_at_what_is_near() {
        // For each token: attention 256 and feed forward 96 in three layers, 64 after them; then 16 for each token that is looked at.
        let text = |tokens: f64, looked_at: f64| 2.0 * tokens * (3.0 * 352.0 + 64.0 + 16.0 * looked_at);
        close(modern().layers(10), text(10.0, 30.0), 0.1);
        close(modern().layers(100), text(100.0, 100.0 + 17.0 + 17.0), 0.1);
        close(modern().vocabulary(10), 1600.0, 0.1);
    }

    /// All of it at the limit of fp32, kernels that screen in bytes would be beyond what is possible.
    #[test]
    fn the_vocabulary_has_the_limit_of_what_it_is_computed_in() {
        use Reduction::{Max, Sum};
        let limits = Limits { fp32: 2.0, int8: 8.0 };
        let [fp32, int8] = [Precision::Fp32, Precision::Int8].map(Arithmetic::Kernels);
        // 32,000 operations, and 1,600 for the vocabulary.
        for (arithmetic, reduction, microseconds) in [
            (fp32, Max, 16.0 + 0.2),
            (fp32, Sum, 16.0 + 0.8),
            (Arithmetic::Onnx, Max, 16.0 + 0.8),
            (int8, Max, 4.0 + 0.2),
            (int8, Sum, 4.0 + 0.8),
        ] {
            let speeds = Speeds::of(limits, arithmetic, reduction);
            close(modern().seconds(10, speeds) * 1e6, microseconds, 1e-9);
        }
    }
}
