//! What checkpoints of the BERT-like families call their tensors. The converter to ONNX and engines of our own read the
//! same names. PURE.

use crate::model::config::{Decoder, Family};

/// Names of one layer's tensors, without `.weight` and `.bias`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerNames {
    pub query: String,
    pub key: String,
    pub value: String,
    pub attention_output: String,
    pub attention_norm: String,
    pub intermediate: String,
    pub output: String,
    pub output_norm: String,
}

/// Names of the masked-language head's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadNames {
    /// Without `.weight` and `.bias`.
    pub transform: &'static str,
    /// Without `.weight` and `.bias`.
    pub norm: &'static str,
    /// The matrix of the vocabulary product.
    pub decoder: &'static str,
    /// The bias of the product is the first one of these that the checkpoint has.
    pub biases: &'static [&'static str],
}

/// Names outside the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorNames {
    family: Family,
    pub words: &'static str,
    pub positions: &'static str,
    /// For families with segments.
    pub token_types: Option<&'static str>,
    /// Without `.weight` and `.bias`.
    pub embedding_norm: &'static str,
    pub head: HeadNames,
}

impl TensorNames {
    /// None for families that are not built like BERT.
    pub fn new(family: Family, decoder: Decoder) -> Option<Self> {
        let names = match family {
            Family::Bert => Self {
                family,
                words: "bert.embeddings.word_embeddings.weight",
                positions: "bert.embeddings.position_embeddings.weight",
                token_types: Some("bert.embeddings.token_type_embeddings.weight"),
                embedding_norm: "bert.embeddings.LayerNorm",
                head: HeadNames {
                    transform: "cls.predictions.transform.dense",
                    norm: "cls.predictions.transform.LayerNorm",
                    decoder: "cls.predictions.decoder.weight",
                    // A decoder with weights of its own has a bias of its own as well; a tied one shares the head's.
                    biases: match decoder {
                        Decoder::Tied => &["cls.predictions.bias", "cls.predictions.decoder.bias"],
                        Decoder::Own => &["cls.predictions.decoder.bias", "cls.predictions.bias"],
                    },
                },
            },
            Family::DistilBert => Self {
                family,
                words: "distilbert.embeddings.word_embeddings.weight",
                positions: "distilbert.embeddings.position_embeddings.weight",
                token_types: None,
                embedding_norm: "distilbert.embeddings.LayerNorm",
                head: HeadNames {
                    transform: "vocab_transform",
                    norm: "vocab_layer_norm",
                    decoder: "vocab_projector.weight",
                    biases: &["vocab_projector.bias"],
                },
            },
            Family::Roberta => Self {
                family,
                words: "roberta.embeddings.word_embeddings.weight",
                positions: "roberta.embeddings.position_embeddings.weight",
                token_types: Some("roberta.embeddings.token_type_embeddings.weight"),
                embedding_norm: "roberta.embeddings.LayerNorm",
                head: HeadNames {
                    transform: "lm_head.dense",
                    norm: "lm_head.layer_norm",
                    decoder: "lm_head.decoder.weight",
                    biases: match decoder {
                        Decoder::Tied => &["lm_head.bias", "lm_head.decoder.bias"],
                        Decoder::Own => &["lm_head.decoder.bias", "lm_head.bias"],
                    },
                },
            },
            Family::ModernBert => return None,
        };
        Some(names)
    }

    /// The matrix of the vocabulary product.
    pub fn decoder(&self, decoder: Decoder) -> &'static str {
        match decoder {
            Decoder::Tied => self.words,
            Decoder::Own => self.head.decoder,
        }
    }

    pub fn layer(&self, layer: usize) -> LayerNames {
        match self.family {
            Family::DistilBert => {
                let name = |suffix: &str| format!("distilbert.transformer.layer.{layer}.{suffix}");
                LayerNames {
                    query: name("attention.q_lin"),
                    key: name("attention.k_lin"),
                    value: name("attention.v_lin"),
                    attention_output: name("attention.out_lin"),
                    attention_norm: name("sa_layer_norm"),
                    intermediate: name("ffn.lin1"),
                    output: name("ffn.lin2"),
                    output_norm: name("output_layer_norm"),
                }
            }
            Family::Bert | Family::Roberta | Family::ModernBert => {
                let prefix = if self.family == Family::Roberta { "roberta" } else { "bert" };
                let name = |suffix: &str| format!("{prefix}.encoder.layer.{layer}.{suffix}");
                LayerNames {
                    query: name("attention.self.query"),
                    key: name("attention.self.key"),
                    value: name("attention.self.value"),
                    attention_output: name("attention.output.dense"),
                    attention_norm: name("attention.output.LayerNorm"),
                    intermediate: name("intermediate.dense"),
                    output: name("output.dense"),
                    output_norm: name("output.LayerNorm"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_prefix_in_every_layer() {
        for (family, query) in [
            (Family::Bert, "bert.encoder.layer.3.attention.self.query"),
            (Family::DistilBert, "distilbert.transformer.layer.3.attention.q_lin"),
            (Family::Roberta, "roberta.encoder.layer.3.attention.self.query"),
        ] {
            let names = TensorNames::new(family, Decoder::Tied).unwrap();
            assert_eq!(names.layer(3).query, query);
            assert_eq!(names.decoder(Decoder::Tied), names.words);
            assert_eq!(names.decoder(Decoder::Own), names.head.decoder);
        }
        assert_eq!(TensorNames::new(Family::ModernBert, Decoder::Tied), None);
    }
}
