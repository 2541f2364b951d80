//! How much arithmetic a text is, from the model's `config.json`. PURE.

use crate::model::config::{Attention, Family, ModelConfig, ModernBert};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work(ModelConfig);

impl Work {
    /// None for architectures whose blocks are not known: a share of the roofline would be a guess.
    pub(super) fn parse(config: &[u8]) -> Option<Self> {
        ModelConfig::parse(config).ok().map(Self)
    }

    /// Operations of the matrix products for a text, a product and a sum counting as two.
    pub(super) fn operations(&self, tokens: usize) -> f64 {
        let config = &self.0;
        let [tokens, hidden, intermediate] =
            [tokens, config.hidden_size, config.intermediate_size].map(|n| n as f64);
        // ModernBERT has gates beside what goes through the activation.
        let matrices = if config.family == Family::ModernBert { 3.0 } else { 2.0 };
        let block = 4.0 * hidden * hidden + matrices * hidden * intermediate;
        let looked_at: f64 = (0..config.layers).map(|layer| self.sight(layer, tokens)).sum();
        let head = hidden * hidden + hidden * config.vocabulary_size as f64;
        2.0 * tokens * (config.layers as f64 * block + 2.0 * hidden * looked_at + head)
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
            // 14.2 M for each layer and 48 M for the head.
            close(Work::parse(config).unwrap().operations(1) / 1e6, 218.0, 1.0);
        }
    }

    #[test]
    fn gates_count_and_local_layers_look_at_what_is_near() {
        let modern = br#"{"architectures":["ModernBertForMaskedLM"],"vocab_size":10,"hidden_size":8,"intermediate_size":4,
            "num_hidden_layers":3,"num_attention_heads":2,"local_attention":16}"#;
        let work = Work::parse(modern).unwrap();
        // For each token: attention 256 and feed forward 96 in three layers, head 144; then 16 for each token that is looked at.
        let text = |tokens: f64, looked_at: f64| 2.0 * tokens * (3.0 * 352.0 + 144.0 + 16.0 * looked_at);
        close(work.operations(10), text(10.0, 30.0), 0.1);
        close(work.operations(100), text(100.0, 100.0 + 17.0 + 17.0), 0.1);
    }
}
