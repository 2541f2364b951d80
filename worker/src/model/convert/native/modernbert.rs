//! ModernBERT. Its norms stand before what reads them; the kernels count each with the sum that it normalises. Biases that a checkpoint does not
//! have are zeros.

use std::borrow::Cow;
use std::ops::Range;

use lexiscale_kernels::{LayerPart, Part, Tensors};

use crate::model::config::{Decoder, ModelConfig, ModernBert};
use crate::model::weights::{Weights, WeightsError};

pub(super) struct ModernBertCheckpoint<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) modern: &'a ModernBert,
    pub(super) weights: &'a Weights,
}

type Numbers = Result<Cow<'static, [f32]>, WeightsError>;

impl Tensors for ModernBertCheckpoint<'_> {
    type Error = WeightsError;

    fn read(&self, part: Part) -> Numbers {
        let &ModelConfig { hidden_size: hidden, vocabulary_size: vocabulary, .. } = self.config;
        let &ModernBert { norm_bias, head_bias, decoder_bias, .. } = self.modern;
        match part {
            Part::WordEmbeddings => {
                self.tensor("model.embeddings.tok_embeddings.weight", &[vocabulary, hidden])
            }
            // There are none, and the kernels do not ask for them.
            Part::PositionEmbeddings | Part::TokenTypeEmbeddings => Ok(Cow::Borrowed(&[])),
            Part::EmbeddingNormWeight => self.tensor("model.embeddings.norm.weight", &[hidden]),
            Part::EmbeddingNormBias => self.bias("model.embeddings.norm", hidden, norm_bias),
            Part::Layer(layer, part) => self.layer(layer, part),
            Part::TransformWeight => self.tensor("head.dense.weight", &[hidden, hidden]),
            Part::TransformBias => self.bias("head.dense", hidden, head_bias),
            Part::TransformNormWeight => self.tensor("head.norm.weight", &[hidden]),
            Part::TransformNormBias => self.bias("head.norm", hidden, norm_bias),
            Part::Decoder => self.tensor("decoder.weight", &[vocabulary, hidden]),
            Part::DecoderBias => self.bias("decoder", vocabulary, decoder_bias),
        }
    }

    fn is_tied(&self) -> bool {
        self.config.decoder == Decoder::Tied
    }
}

impl ModernBertCheckpoint<'_> {
    fn tensor(&self, name: &str, size: &[usize]) -> Numbers {
        self.weights.read(name, size).map(Cow::Owned)
    }

    fn bias(&self, stem: &str, size: usize, has_bias: bool) -> Numbers {
        if has_bias { self.tensor(&format!("{stem}.bias"), &[size]) } else { Ok(Cow::Owned(vec![0.0; size])) }
    }

    fn layer(&self, layer: usize, part: LayerPart) -> Numbers {
        let &ModelConfig { hidden_size: hidden, intermediate_size: intermediate, .. } = self.config;
        let &ModernBert { norm_bias, attention_bias, feed_forward_bias, .. } = self.modern;
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let weight = |part: &str, size: [usize; 2]| self.tensor(&name(&format!("{part}.weight")), &size);
        match part {
            LayerPart::QueryWeight => self.joint_weight(layer, 0),
            LayerPart::KeyWeight => self.joint_weight(layer, 1),
            LayerPart::ValueWeight => self.joint_weight(layer, 2),
            LayerPart::QueryBias => self.joint_bias(layer, 0),
            LayerPart::KeyBias => self.joint_bias(layer, 1),
            LayerPart::ValueBias => self.joint_bias(layer, 2),
            LayerPart::AttentionOutputWeight => weight("attn.Wo", [hidden; 2]),
            LayerPart::AttentionOutputBias => self.bias(&name("attn.Wo"), hidden, attention_bias),
            LayerPart::AttentionNormWeight => self.tensor(&name("mlp_norm.weight"), &[hidden]),
            LayerPart::AttentionNormBias => self.bias(&name("mlp_norm"), hidden, norm_bias),
            LayerPart::IntermediateWeight => weight("mlp.Wi", [2 * intermediate, hidden]),
            LayerPart::IntermediateBias => self.bias(&name("mlp.Wi"), 2 * intermediate, feed_forward_bias),
            LayerPart::OutputWeight => weight("mlp.Wo", [hidden, intermediate]),
            LayerPart::OutputBias => self.bias(&name("mlp.Wo"), hidden, feed_forward_bias),
            LayerPart::OutputNormWeight => {
                self.tensor(&format!("{}.weight", self.norm_after(layer)), &[hidden])
            }
            LayerPart::OutputNormBias => self.bias(&self.norm_after(layer), hidden, norm_bias),
        }
    }

    /// That of the next layer's attention, or the last one. The first layer has none: it reads the embeddings, which are normalised.
    fn norm_after(&self, layer: usize) -> String {
        if layer + 1 == self.config.layers {
            "model.final_norm".to_owned()
        } else {
            format!("model.layers.{}.attn_norm", layer + 1)
        }
    }

    /// Queries, keys and values are one layer in the checkpoint.
    fn joint_weight(&self, layer: usize, part: usize) -> Numbers {
        let hidden = self.config.hidden_size;
        let name = format!("model.layers.{layer}.attn.Wqkv.weight");
        let joint = self.weights.read(&name, &[3 * hidden, hidden])?;
        Ok(Cow::Owned(joint[third(part, hidden * hidden)].to_vec()))
    }

    fn joint_bias(&self, layer: usize, part: usize) -> Numbers {
        let hidden = self.config.hidden_size;
        let joint =
            self.bias(&format!("model.layers.{layer}.attn.Wqkv"), 3 * hidden, self.modern.attention_bias)?;
        Ok(Cow::Owned(joint[third(part, hidden)].to_vec()))
    }
}

fn third(part: usize, size: usize) -> Range<usize> {
    part * size..(part + 1) * size
}
