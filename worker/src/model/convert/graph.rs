//! Builds an ONNX graph node by node. Names are made here, so a call reads like the formula that it stands for. PURE.

use std::ops::Range;

use crate::model::onnx::{AttributeProto, FLOAT, GraphProto, INT64, NodeProto, ValueInfoProto};

/// The name of a value in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor(String);

impl Tensor {
    pub(super) fn input(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// How a weight of the checkpoint lies in the ONNX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    AsStored,
    /// Checkpoints keep a linear layer as `[out, in]`, and `MatMul` wants `[in, out]`.
    Transposed,
    /// The transpose of these rows only.
    TransposedRows(Range<usize>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    Inline(Vec<u8>),
    /// A tensor of the checkpoint, with the shape that it has there.
    Checkpoint {
        name: String,
        shape: Vec<usize>,
        layout: Layout,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Initializer {
    pub(super) name: String,
    pub(super) data_type: i32,
    pub(super) dims: Vec<usize>,
    pub(super) source: Source,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<Initializer>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
}

impl Graph {
    pub(super) fn input(&mut self, value: ValueInfoProto) {
        self.inputs.push(value);
    }

    pub(super) fn output(&mut self, value: ValueInfoProto) {
        self.outputs.push(value);
    }

    pub(super) fn initializers(&self) -> &[Initializer] {
        &self.initializers
    }

    /// The graph without its weights.
    pub(super) fn to_proto(&self) -> GraphProto {
        GraphProto {
            node: self.nodes.clone(),
            name: Some("splade".to_owned()),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
        }
    }

    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&Tensor],
        attributes: Vec<AttributeProto>,
    ) -> Tensor {
        let output = format!("{}_{}", operator.to_lowercase(), self.nodes.len());
        self.push(operator, inputs, attributes, output.clone());
        Tensor(output)
    }

    pub(super) fn identity(&mut self, value: &Tensor, name: &str) {
        self.push("Identity", &[value], Vec::new(), name.to_owned());
    }

    fn push(&mut self, operator: &str, inputs: &[&Tensor], attribute: Vec<AttributeProto>, output: String) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|tensor| tensor.0.clone()).collect(),
            name: Some(format!("node_{output}")),
            output: vec![output],
            op_type: Some(operator.to_owned()),
            attribute,
        });
    }

    pub(super) fn cast(&mut self, value: &Tensor, data_type: i32) -> Tensor {
        self.node("Cast", &[value], vec![AttributeProto::int("to", i64::from(data_type))])
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(INT64, vec![values.len()], Source::Inline(bytes))
    }

    pub(super) fn scalar(&mut self, value: f32) -> Tensor {
        self.initializer(FLOAT, Vec::new(), Source::Inline(value.to_le_bytes().to_vec()))
    }

    pub(super) fn floats(&mut self, dims: &[usize], values: &[f32]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(FLOAT, dims.to_vec(), Source::Inline(bytes))
    }

    pub(super) fn weight(&mut self, name: &str, shape: &[usize], layout: Layout) -> Tensor {
        let dims = match (&layout, shape) {
            (Layout::Transposed, [rows, columns]) => vec![*columns, *rows],
            (Layout::TransposedRows(range), [_, columns]) => vec![*columns, range.len()],
            _ => shape.to_vec(),
        };
        let source = Source::Checkpoint { name: name.to_owned(), shape: shape.to_vec(), layout };
        self.initializer(FLOAT, dims, source)
    }

    fn initializer(&mut self, data_type: i32, dims: Vec<usize>, source: Source) -> Tensor {
        // A constant such as the head shape occurs in each layer; one copy is enough.
        if let Some(known) = self
            .initializers
            .iter()
            .find(|known| known.data_type == data_type && known.dims == dims && known.source == source)
        {
            return Tensor(known.name.clone());
        }
        let name = match &source {
            Source::Inline(_) => format!("constant_{}", self.initializers.len()),
            Source::Checkpoint { name, layout: Layout::TransposedRows(rows), .. } => {
                format!("{name}.{}-{}", rows.start, rows.end)
            }
            Source::Checkpoint { name, layout: Layout::AsStored | Layout::Transposed, .. } => name.clone(),
        };
        self.initializers.push(Initializer { name: name.clone(), data_type, dims, source });
        Tensor(name)
    }
}
