//! Elasticsearch's words for what Lexiscale does: bodies, parameters, media types and errors of its
//! `_inference` API. PURE: no clock, no client, no async. What is read here is a typed value afterwards, or a
//! refusal with Elasticsearch's status and type.

pub(crate) mod adaptive;
pub(crate) mod attached;
pub(crate) mod chunk;
pub(crate) mod chunking_settings;
pub(crate) mod create;
pub(crate) mod endpoint;
pub(crate) mod error;
mod fields;
pub(crate) mod filter_path;
pub(crate) mod id;
pub(crate) mod infer;
pub(crate) mod json;
pub(crate) mod media_type;
pub(crate) mod pruning;
pub(crate) mod query;
pub(crate) mod service_settings;
pub(crate) mod services;
pub(crate) mod settings_reader;
pub(crate) mod task_type;
pub(crate) mod texts;
pub(crate) mod time_value;
pub(crate) mod update;
