//! BERT, `DistilBERT` and `RoBERTa`, by the names that each family gives the parts.

use std::borrow::Cow;

use lexiscale_kernels::{LayerPart, Part, Tensors};

use crate::model::config::{Decoder, ModelConfig};
use crate::model::tensor_names::TensorNames;
use crate::model::weights::{Weights, WeightsError};

pub(super) struct BertCheckpoint<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) names: TensorNames,
    pub(super) weights: &'a Weights,
}

impl Tensors for BertCheckpoint<'_> {
    type Error = WeightsError;

    fn read(&self, part: Part) -> Result<Cow<'_, [f32]>, WeightsError> {
        let &ModelConfig { hidden_size: hidden, vocabulary_size: vocabulary, .. } = self.config;
        let head = &self.names.head;
        let weight = |stem: &str| format!("{stem}.weight");
        let bias = |stem: &str| format!("{stem}.bias");
        let (name, size): (String, Vec<usize>) = match part {
            Part::WordEmbeddings => (self.names.words.to_owned(), vec![vocabulary, hidden]),
            Part::PositionEmbeddings => {
                (self.names.positions.to_owned(), vec![self.config.positions, hidden])
            }
            Part::TokenTypeEmbeddings => {
                let name = self.names.token_types.unwrap_or_default();
                (name.to_owned(), vec![self.config.token_types, hidden])
            }
            Part::EmbeddingNormWeight => (weight(self.names.embedding_norm), vec![hidden]),
            Part::EmbeddingNormBias => (bias(self.names.embedding_norm), vec![hidden]),
            Part::Layer(layer, part) => self.layer(layer, part),
            Part::TransformWeight => (weight(head.transform), vec![hidden, hidden]),
            Part::TransformBias => (bias(head.transform), vec![hidden]),
            Part::TransformNormWeight => (weight(head.norm), vec![hidden]),
            Part::TransformNormBias => (bias(head.norm), vec![hidden]),
            Part::Decoder => (head.decoder.to_owned(), vec![vocabulary, hidden]),
            Part::DecoderBias => {
                let name = head.biases.iter().find(|name| self.weights.contains(name));
                ((*name.unwrap_or(&head.biases[0])).to_owned(), vec![vocabulary])
            }
        };
        self.weights.read(&name, &size).map(Cow::Owned)
    }

    fn is_tied(&self) -> bool {
        self.config.decoder == Decoder::Tied
    }
}

impl BertCheckpoint<'_> {
    fn layer(&self, layer: usize, part: LayerPart) -> (String, Vec<usize>) {
        let &ModelConfig { hidden_size: hidden, intermediate_size: intermediate, .. } = self.config;
        let names = self.names.layer(layer);
        let weight = |stem: String, outputs, inputs| (format!("{stem}.weight"), vec![outputs, inputs]);
        let vector = |stem: String, kind: &str, size| (format!("{stem}.{kind}"), vec![size]);
        match part {
            LayerPart::QueryWeight => weight(names.query, hidden, hidden),
            LayerPart::QueryBias => vector(names.query, "bias", hidden),
            LayerPart::KeyWeight => weight(names.key, hidden, hidden),
            LayerPart::KeyBias => vector(names.key, "bias", hidden),
            LayerPart::ValueWeight => weight(names.value, hidden, hidden),
            LayerPart::ValueBias => vector(names.value, "bias", hidden),
            LayerPart::AttentionOutputWeight => weight(names.attention_output, hidden, hidden),
            LayerPart::AttentionOutputBias => vector(names.attention_output, "bias", hidden),
            LayerPart::AttentionNormWeight => vector(names.attention_norm, "weight", hidden),
            LayerPart::AttentionNormBias => vector(names.attention_norm, "bias", hidden),
            LayerPart::IntermediateWeight => weight(names.intermediate, intermediate, hidden),
            LayerPart::IntermediateBias => vector(names.intermediate, "bias", intermediate),
            LayerPart::OutputWeight => weight(names.output, hidden, intermediate),
            LayerPart::OutputBias => vector(names.output, "bias", hidden),
            LayerPart::OutputNormWeight => vector(names.output_norm, "weight", hidden),
            LayerPart::OutputNormBias => vector(names.output_norm, "bias", hidden),
        }
    }
}
