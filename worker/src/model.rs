//! A model on its way from its source to a worker: found, fetched, checked, converted, published. What `serve` loads is a
//! [`verify::VerifiedModel`] and nothing else.

/// Shared with the operator, which judges before a node pulls.
pub use lexiscale_addresses as address_policy;
pub mod assemble;
pub mod bundle;
pub mod config;
pub mod convert;
pub mod credentials;
pub mod download;
pub mod fetch;
pub mod golden;
pub mod inspect;
pub mod intake;
pub mod layout;
pub mod manifest;
pub mod onnx;
pub mod progress;
pub mod publish;
pub mod remote;
pub mod retry;
pub mod saturation;
pub mod select;
pub mod signature;
pub mod source;
pub mod space;
pub mod static_search;
pub mod sums;
pub mod tensor_names;
pub mod tokenizer_check;
pub mod transport;
pub mod unpack;
pub mod verify;
pub mod weights;
