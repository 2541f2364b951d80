//! How much arithmetic a text is, from the model's `config.json`. PURE.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    layers: u64,
    hidden: u64,
    intermediate: u64,
    vocabulary: u64,
}

/// As the families name their sizes.
#[derive(Deserialize)]
struct Config {
    #[serde(alias = "n_layers")]
    num_hidden_layers: u64,
    #[serde(alias = "dim")]
    hidden_size: u64,
    #[serde(alias = "hidden_dim")]
    intermediate_size: u64,
    vocab_size: u64,
}

impl Work {
    /// None where the file does not say.
    pub(super) fn parse(config: &[u8]) -> Option<Self> {
        let Config {
            num_hidden_layers: layers,
            hidden_size: hidden,
            intermediate_size: intermediate,
            vocab_size,
        } = serde_json::from_slice(config).ok()?;
        Some(Self { layers, hidden, intermediate, vocabulary: vocab_size })
    }

    /// Operations of the matrix products for a text, a product and a sum counting as two.
    pub(super) fn operations(self, tokens: usize) -> f64 {
        let Self { layers, hidden, intermediate, vocabulary } = self;
        let tokens = tokens as u64;
        let layer = 4 * hidden * hidden + 2 * hidden * intermediate + 2 * tokens * hidden;
        let head = hidden * hidden + hidden * vocabulary;
        2.0 * tokens as f64 * (layers * layer + head) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_size_are_read() {
        let bert = br#"{"num_hidden_layers":12,"hidden_size":768,"intermediate_size":3072,"vocab_size":30522,"x":1}"#;
        let distil = br#"{"n_layers":12,"dim":768,"hidden_dim":3072,"vocab_size":30522}"#;
        assert_eq!(Work::parse(bert), Work::parse(distil));
        assert_eq!(Work::parse(b"{}"), None);
        let one_token = Work::parse(bert).unwrap().operations(1);
        // 14.2 M for each layer and 48 M for the head.
        assert!((one_token / 1e6 - 218.0).abs() < 1.0, "{one_token}");
    }
}
