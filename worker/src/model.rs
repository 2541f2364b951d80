//! A model on its way from a hub to a worker: found, fetched, checked, converted, published. What `serve` loads is a
//! [`verify::VerifiedModel`] and nothing else.

pub mod assemble;
pub mod config;
pub mod convert;
pub mod download;
pub mod fetch;
pub mod golden;
pub mod hub;
pub mod inspect;
pub mod intake;
pub mod layout;
pub mod manifest;
pub mod onnx;
pub mod progress;
pub mod publish;
pub mod retry;
pub mod saturation;
pub mod select;
pub mod source;
pub mod space;
pub mod static_search;
pub mod tensor_names;
pub mod tokenizer_check;
pub mod verify;
pub mod weights;
