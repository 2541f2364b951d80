//! What ONNX Runtime reaches on this machine when it has nothing to do but to multiply two large matrices. A model cannot be faster,
//! so its share of this says what is left to win.

use std::time::{Duration, Instant};

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use prost::Message;

use super::OnnxRuntime;
use crate::model::onnx::{
    Dimension, FLOAT, GRAPH_INITIALIZER, GraphProto, IR_VERSION, MODEL_GRAPH, ModelProto, NodeProto,
    OPERATOR_SET, OperatorSetIdProto, TENSOR_RAW_DATA, TensorProto, ValueInfoProto,
};

const ROWS: usize = 256;
const INNER: usize = 1024;
const COLUMNS: usize = 1024;
const ENOUGH: Duration = Duration::from_millis(400);

// Of `onnx.proto`.
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;

const FP32: Arithmetic = Arithmetic { operator: "MatMul", left: FLOAT, right: FLOAT, out: FLOAT };
const INTEGER: Arithmetic = Arithmetic { operator: "MatMulInteger", left: UINT8, right: INT8, out: INT32 };

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Fp32,
    Int8,
}

struct Arithmetic {
    operator: &'static str,
    left: i32,
    right: i32,
    out: i32,
}

impl OnnxRuntime {
    /// Operations a second, a product and a sum counting as two. The best of many runs: whatever else the machine does only makes
    /// it slower.
    pub fn limit(&self, product: Product, threads: usize) -> ort::Result<f64> {
        let arithmetic = match product {
            Product::Fp32 => FP32,
            Product::Int8 => INTEGER,
        };
        let weights = match arithmetic.right {
            FLOAT => 0.5_f32.to_le_bytes().repeat(INNER * COLUMNS),
            _ => vec![2; INNER * COLUMNS],
        };
        let mut session = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .commit_from_memory(&graph(&arithmetic, &weights))?;
        let (floats, integers) = (vec![0.25_f32; ROWS * INNER], vec![3_u8; ROWS * INNER]);
        let mut best = Duration::MAX;
        let started = Instant::now();
        while started.elapsed() < ENOUGH {
            let began = Instant::now();
            if arithmetic.left == FLOAT {
                let left = TensorRef::from_array_view(([ROWS, INNER], floats.as_slice()))?;
                drop(session.run(ort::inputs![left])?);
            } else {
                let left = TensorRef::from_array_view(([ROWS, INNER], integers.as_slice()))?;
                drop(session.run(ort::inputs![left])?);
            }
            best = best.min(began.elapsed());
        }
        Ok((2 * ROWS * INNER * COLUMNS) as f64 / best.as_secs_f64())
    }
}

/// A model of one node whose right side is known when it is loaded, as weights are.
fn graph(arithmetic: &Arithmetic, weights: &[u8]) -> Vec<u8> {
    let Arithmetic { operator, left, right, out } = arithmetic;
    let size = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut tensor = TensorProto {
        dims: vec![size(INNER), size(COLUMNS)],
        data_type: Some(*right),
        name: Some("right".to_owned()),
    }
    .encode_to_vec();
    append(&mut tensor, TENSOR_RAW_DATA, weights);
    let (rows, inner, columns) = (Dimension::Fixed(ROWS), Dimension::Fixed(INNER), Dimension::Fixed(COLUMNS));
    let mut graph = GraphProto {
        node: vec![NodeProto {
            input: vec!["left".to_owned(), "right".to_owned()],
            output: vec!["out".to_owned()],
            op_type: Some((*operator).to_owned()),
            ..NodeProto::default()
        }],
        name: Some("limit".to_owned()),
        input: vec![ValueInfoProto::tensor("left", *left, &[rows, inner])],
        output: vec![ValueInfoProto::tensor("out", *out, &[rows, columns])],
    }
    .encode_to_vec();
    append(&mut graph, GRAPH_INITIALIZER, &tensor);
    let operators = OperatorSetIdProto { domain: None, version: Some(OPERATOR_SET) };
    let model =
        ModelProto { ir_version: Some(IR_VERSION), opset_import: vec![operators], ..ModelProto::default() };
    let mut model = model.encode_to_vec();
    append(&mut model, MODEL_GRAPH, &graph);
    model
}

/// A field of bytes, behind what is there.
fn append(message: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, message);
    prost::encoding::encode_varint(bytes.len() as u64, message);
    message.extend_from_slice(bytes);
}
