//! BERT and DistilBERT encoders: the same arithmetic under different tensor names, except that BERT adds segment
//! embeddings.

use crate::model::config::{Activation, Family, ModelConfig};
use crate::model::onnx::{AttributeProto, FLOAT};
use crate::model::weights::{Weights, WeightsError};

use super::graph::{Graph, Layout, Tensor};

/// The lowest finite f32: after soft-max a masked position weighs exactly zero.
const MASKED: f32 = f32::MIN;

/// Names of one layer's tensors, without `.weight` and `.bias`.
struct LayerNames {
    query: String,
    key: String,
    value: String,
    attention_output: String,
    attention_norm: String,
    intermediate: String,
    output: String,
    output_norm: String,
}

impl LayerNames {
    fn new(family: Family, layer: usize) -> Self {
        match family {
            Family::Bert => {
                let name = |suffix: &str| format!("bert.encoder.layer.{layer}.{suffix}");
                Self {
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
            Family::DistilBert => {
                let name = |suffix: &str| format!("distilbert.transformer.layer.{layer}.{suffix}");
                Self {
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
        }
    }
}

pub(super) fn word_embeddings(family: Family) -> &'static str {
    match family {
        Family::Bert => "bert.embeddings.word_embeddings.weight",
        Family::DistilBert => "distilbert.embeddings.word_embeddings.weight",
    }
}

/// From token ids to hidden states `[batch, sequence, hidden]`.
pub(super) fn build(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    mask: &Tensor,
) -> Result<Tensor, WeightsError> {
    let mut layers = Layers { graph, config, weights };
    let mut hidden = layers.embeddings()?;
    let bias = layers.attention_bias(mask);
    for layer in 0..config.layers {
        let names = LayerNames::new(config.family, layer);
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
        [inputs, outputs]: [usize; 2],
    ) -> Result<Tensor, WeightsError> {
        let weight = self.weight(&format!("{name}.weight"), &[outputs, inputs], Layout::Transposed)?;
        let bias = self.weight(&format!("{name}.bias"), &[outputs], Layout::AsStored)?;
        let product = self.graph.node("MatMul", &[value, &weight], Vec::new());
        Ok(self.graph.node("Add", &[&product, &bias], Vec::new()))
    }

    pub(super) fn layer_norm(&mut self, value: &Tensor, name: &str) -> Result<Tensor, WeightsError> {
        let size = [self.config.hidden_size];
        let scale = self.weight(&format!("{name}.weight"), &size, Layout::AsStored)?;
        let bias = self.weight(&format!("{name}.bias"), &size, Layout::AsStored)?;
        let attributes = vec![
            AttributeProto::int("axis", -1),
            AttributeProto::float("epsilon", self.config.layer_norm_epsilon),
        ];
        Ok(self.graph.node("LayerNormalization", &[value, &scale, &bias], attributes))
    }

    pub(super) fn activation(&mut self, value: &Tensor) -> Tensor {
        match self.config.activation {
            Activation::Gelu => {
                self.graph.node("Gelu", &[value], vec![AttributeProto::string("approximate", "none")])
            }
            Activation::GeluTanh => {
                self.graph.node("Gelu", &[value], vec![AttributeProto::string("approximate", "tanh")])
            }
            Activation::Relu => self.graph.node("Relu", &[value], Vec::new()),
        }
    }

    fn embeddings(&mut self) -> Result<Tensor, WeightsError> {
        let &ModelConfig { family, vocabulary_size, hidden_size, positions, token_types, .. } = self.config;
        let prefix = match family {
            Family::Bert => "bert.embeddings",
            Family::DistilBert => "distilbert.embeddings",
        };
        let ids = Tensor::input("input_ids");
        let words =
            self.weight(word_embeddings(family), &[vocabulary_size, hidden_size], Layout::AsStored)?;
        let mut sum = self.graph.node("Gather", &[&words, &ids], Vec::new());
        if token_types > 0 {
            let name = format!("{prefix}.token_type_embeddings.weight");
            let types = self.weight(&name, &[token_types, hidden_size], Layout::AsStored)?;
            let types = self.graph.node("Gather", &[&types, &Tensor::input("token_type_ids")], Vec::new());
            sum = self.graph.node("Add", &[&sum, &types], Vec::new());
        }
        let name = format!("{prefix}.position_embeddings.weight");
        let table = self.weight(&name, &[positions, hidden_size], Layout::AsStored)?;
        let length = self.graph.node(
            "Shape",
            &[&ids],
            vec![AttributeProto::int("start", 1), AttributeProto::int("end", 2)],
        );
        let zero = self.graph.integers(&[0]);
        let position = self.graph.node("Slice", &[&table, &zero, &length, &zero], Vec::new());
        let sum = self.graph.node("Add", &[&sum, &position], Vec::new());
        self.layer_norm(&sum, &format!("{prefix}.LayerNorm"))
    }

    /// 0 for tokens and the lowest number for padding, as `[batch, 1, 1, sequence]`.
    fn attention_bias(&mut self, mask: &Tensor) -> Tensor {
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
        let scores = self.graph.node("MatMul", &[&query, &key], Vec::new());
        let scale = self.graph.scalar((self.config.head_size() as f32).sqrt().recip());
        let scores = self.graph.node("Mul", &[&scores, &scale], Vec::new());
        let scores = self.graph.node("Add", &[&scores, bias], Vec::new());
        let shares = self.graph.node("Softmax", &[&scores], vec![AttributeProto::int("axis", -1)]);
        let context = self.graph.node("MatMul", &[&shares, &value], Vec::new());
        let context =
            self.graph.node("Transpose", &[&context], vec![AttributeProto::ints("perm", &[0, 2, 1, 3])]);
        let shape = self.graph.integers(&[0, 0, integer(self.config.hidden_size)]);
        let context = self.graph.node("Reshape", &[&context, &shape], Vec::new());
        let output = self.linear(&context, &names.attention_output, size)?;
        let sum = self.graph.node("Add", &[&output, hidden], Vec::new());
        self.layer_norm(&sum, &names.attention_norm)
    }

    fn heads(&mut self, value: &Tensor, order: [i64; 4]) -> Tensor {
        let shape =
            self.graph.integers(&[0, 0, integer(self.config.heads), integer(self.config.head_size())]);
        let split = self.graph.node("Reshape", &[value, &shape], Vec::new());
        self.graph.node("Transpose", &[&split], vec![AttributeProto::ints("perm", &order)])
    }

    fn feed_forward(&mut self, hidden: &Tensor, names: &LayerNames) -> Result<Tensor, WeightsError> {
        let &ModelConfig { hidden_size, intermediate_size, .. } = self.config;
        let wide = self.linear(hidden, &names.intermediate, [hidden_size, intermediate_size])?;
        let wide = self.activation(&wide);
        let output = self.linear(&wide, &names.output, [intermediate_size, hidden_size])?;
        let sum = self.graph.node("Add", &[&output, hidden], Vec::new());
        self.layer_norm(&sum, &names.output_norm)
    }
}

fn integer(size: usize) -> i64 {
    i64::try_from(size).expect("sizes were bounded when config.json was read")
}
