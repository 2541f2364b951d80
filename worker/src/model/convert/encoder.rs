//! BERT, DistilBERT and RoBERTa encoders: the same arithmetic under different tensor names, except that not all have
//! segment embeddings, and that RoBERTa counts positions in its own way.

use crate::model::config::{Activation, ModelConfig};
use crate::model::onnx::{AttributeProto, FLOAT, INT64};
use crate::model::tensor_names::{LayerNames, TensorNames};
use crate::model::weights::{Weights, WeightsError};

use super::graph::{Graph, Layout, Tensor};

/// The lowest finite f32: after soft-max a masked position weighs exactly zero.
pub(super) const MASKED: f32 = f32::MIN;

/// From token ids to hidden states `[batch, sequence, hidden]`.
pub(super) fn build(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    names: &TensorNames,
    mask: &Tensor,
) -> Result<Tensor, WeightsError> {
    let mut layers = Layers { graph, config, weights };
    let mut hidden = layers.embeddings(names)?;
    let bias = layers.attention_bias(mask);
    for layer in 0..config.layers {
        let names = names.layer(layer);
        hidden = layers.attention(&hidden, &bias, &names)?;
        hidden = layers.feed_forward(&hidden, &names)?;
    }
    Ok(hidden)
}

/// The pieces that encoder and head are made of.
pub(super) struct Layers<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) config: &'a ModelConfig,
    pub(super) weights: &'a Weights,
}

impl Layers<'_> {
    pub(super) fn weight(
        &mut self,
        name: &str,
        shape: &[usize],
        layout: Layout,
    ) -> Result<Tensor, WeightsError> {
        self.weights.check(name, shape)?;
        Ok(self.graph.weight(name, shape, layout))
    }

    pub(super) fn linear(
        &mut self,
        value: &Tensor,
        name: &str,
        sizes: [usize; 2],
    ) -> Result<Tensor, WeightsError> {
        let product = self.product(value, name, sizes)?;
        let bias = self.weight(&format!("{name}.bias"), &[sizes[1]], Layout::AsStored)?;
        Ok(self.graph.node("Add", &[&product, &bias], Vec::new()))
    }

    /// A linear layer without bias.
    pub(super) fn product(
        &mut self,
        value: &Tensor,
        name: &str,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Tensor, WeightsError> {
        let weight = self.weight(&format!("{name}.weight"), &[outputs, inputs], Layout::Transposed)?;
        Ok(self.graph.node("MatMul", &[value, &weight], Vec::new()))
    }

    pub(super) fn layer_norm(&mut self, value: &Tensor, name: &str) -> Result<Tensor, WeightsError> {
        let bias = self.weight(&format!("{name}.bias"), &[self.config.hidden_size], Layout::AsStored)?;
        self.scaled_norm(value, name, Some(&bias))
    }

    pub(super) fn scaled_norm(
        &mut self,
        value: &Tensor,
        name: &str,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, WeightsError> {
        let scale = self.weight(&format!("{name}.weight"), &[self.config.hidden_size], Layout::AsStored)?;
        let attributes = vec![
            AttributeProto::int("axis", -1),
            AttributeProto::float("epsilon", self.config.layer_norm_epsilon),
        ];
        let inputs: Vec<&Tensor> = [value, &scale].into_iter().chain(bias).collect();
        Ok(self.graph.node("LayerNormalization", &inputs, attributes))
    }

    pub(super) fn activation(&mut self, value: &Tensor, activation: Activation) -> Tensor {
        match activation {
            Activation::Gelu => {
                self.graph.node("Gelu", &[value], vec![AttributeProto::string("approximate", "none")])
            }
            Activation::GeluTanh => {
                self.graph.node("Gelu", &[value], vec![AttributeProto::string("approximate", "tanh")])
            }
            Activation::Relu => self.graph.node("Relu", &[value], Vec::new()),
        }
    }

    fn embeddings(&mut self, names: &TensorNames) -> Result<Tensor, WeightsError> {
        let &ModelConfig { vocabulary_size, hidden_size, token_types, .. } = self.config;
        let ids = Tensor::input("input_ids");
        let words = self.weight(names.words, &[vocabulary_size, hidden_size], Layout::AsStored)?;
        let mut sum = self.graph.node("Gather", &[&words, &ids], Vec::new());
        if let Some(name) = names.token_types {
            let types = self.weight(name, &[token_types, hidden_size], Layout::AsStored)?;
            let types = self.graph.node("Gather", &[&types, &Tensor::input("token_type_ids")], Vec::new());
            sum = self.graph.node("Add", &[&sum, &types], Vec::new());
        }
        let position = self.positions(names, &ids)?;
        let sum = self.graph.node("Add", &[&sum, &position], Vec::new());
        self.layer_norm(&sum, names.embedding_norm)
    }

    fn positions(&mut self, names: &TensorNames, ids: &Tensor) -> Result<Tensor, WeightsError> {
        let &ModelConfig { hidden_size, positions, padding, .. } = self.config;
        let table = self.weight(names.positions, &[positions, hidden_size], Layout::AsStored)?;
        let Some(padding) = padding else {
            let length = self.length(ids);
            let zero = self.graph.integers(&[0]);
            return Ok(self.graph.node("Slice", &[&table, &zero, &length, &zero], Vec::new()));
        };
        // A padding token in the text itself has the padding's position, and is not counted.
        let (padding, axis) = (self.graph.integers(&[integer(padding)]), self.graph.integers(&[1]));
        let is_padding = self.graph.node("Equal", &[ids, &padding], Vec::new());
        let counts = self.graph.node("Not", &[&is_padding], Vec::new());
        let counts = self.graph.cast(&counts, INT64);
        let axis = self.graph.node("Squeeze", &[&axis], Vec::new());
        let count = self.graph.node("CumSum", &[&counts, &axis], Vec::new());
        let count = self.graph.node("Mul", &[&count, &counts], Vec::new());
        let position = self.graph.node("Add", &[&count, &padding], Vec::new());
        Ok(self.graph.node("Gather", &[&table, &position], Vec::new()))
    }

    /// Tokens of a text after padding, as a list of one number.
    pub(super) fn length(&mut self, ids: &Tensor) -> Tensor {
        let range = vec![AttributeProto::int("start", 1), AttributeProto::int("end", 2)];
        self.graph.node("Shape", &[ids], range)
    }

    /// 0 for tokens and the lowest number for padding, as `[batch, 1, 1, sequence]`.
    pub(super) fn attention_bias(&mut self, mask: &Tensor) -> Tensor {
        let axes = self.graph.integers(&[1, 2]);
        let wide = self.graph.node("Unsqueeze", &[mask, &axes], Vec::new());
        let wide = self.graph.cast(&wide, FLOAT);
        let (one, masked) = (self.graph.scalar(1.0), self.graph.scalar(MASKED));
        let padding = self.graph.node("Sub", &[&one, &wide], Vec::new());
        self.graph.node("Mul", &[&padding, &masked], Vec::new())
    }

    fn attention(
        &mut self,
        hidden: &Tensor,
        bias: &Tensor,
        names: &LayerNames,
    ) -> Result<Tensor, WeightsError> {
        let size = [self.config.hidden_size; 2];
        let query = self.linear(hidden, &names.query, size)?;
        let key = self.linear(hidden, &names.key, size)?;
        let value = self.linear(hidden, &names.value, size)?;
        let query = self.heads(&query, [0, 2, 1, 3]);
        let key = self.heads(&key, [0, 2, 3, 1]);
        let value = self.heads(&value, [0, 2, 1, 3]);
        let context = self.attended(&query, &key, &value, bias);
        let output = self.linear(&context, &names.attention_output, size)?;
        let sum = self.graph.node("Add", &[&output, hidden], Vec::new());
        self.layer_norm(&sum, &names.attention_norm)
    }

    /// From `[batch, heads, sequence, size]`, the key with its last two axes exchanged, to `[batch, sequence, hidden]`.
    pub(super) fn attended(&mut self, query: &Tensor, key: &Tensor, value: &Tensor, bias: &Tensor) -> Tensor {
        let scores = self.graph.node("MatMul", &[query, key], Vec::new());
        let scale = self.graph.scalar((self.config.head_size() as f32).sqrt().recip());
        let scores = self.graph.node("Mul", &[&scores, &scale], Vec::new());
        let scores = self.graph.node("Add", &[&scores, bias], Vec::new());
        let shares = self.graph.node("Softmax", &[&scores], vec![AttributeProto::int("axis", -1)]);
        let context = self.graph.node("MatMul", &[&shares, value], Vec::new());
        let context =
            self.graph.node("Transpose", &[&context], vec![AttributeProto::ints("perm", &[0, 2, 1, 3])]);
        let shape = self.graph.integers(&[0, 0, integer(self.config.hidden_size)]);
        self.graph.node("Reshape", &[&context, &shape], Vec::new())
    }

    pub(super) fn heads(&mut self, value: &Tensor, order: [i64; 4]) -> Tensor {
        let shape =
            self.graph.integers(&[0, 0, integer(self.config.heads), integer(self.config.head_size())]);
        let split = self.graph.node("Reshape", &[value, &shape], Vec::new());
        self.graph.node("Transpose", &[&split], vec![AttributeProto::ints("perm", &order)])
    }

    fn feed_forward(&mut self, hidden: &Tensor, names: &LayerNames) -> Result<Tensor, WeightsError> {
        let &ModelConfig { hidden_size, intermediate_size, .. } = self.config;
        let wide = self.linear(hidden, &names.intermediate, [hidden_size, intermediate_size])?;
        let wide = self.activation(&wide, self.config.activation);
        let output = self.linear(&wide, &names.output, [intermediate_size, hidden_size])?;
        let sum = self.graph.node("Add", &[&output, hidden], Vec::new());
        self.layer_norm(&sum, &names.output_norm)
    }
}

pub(super) fn integer(size: usize) -> i64 {
    i64::try_from(size).expect("sizes were bounded when config.json was read")
}
