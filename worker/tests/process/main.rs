//! Tests of the worker as it runs: the real library and binary, the real ONNX Runtime, a real hub on a free port.
//! ONNX Runtime and the demo model come from `tests/assets/fetch`; without them these tests fail and say so.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's switch for tests does not reach helpers of test crates"
)]

mod fetch;
mod fetch_process;
mod golden;
mod hostile;
mod int8;
mod outputs;
mod requests;
mod same_vector;
mod serve_process;
mod shipped_onnx;
mod support;
mod tls;
mod traces;
mod vectors;
