//! The worker: fetches a model, converts it, and turns texts into sparse vectors.

pub mod backend;
pub mod bench;
pub mod command;
pub mod config;
pub mod embedder;
pub mod engine;
pub mod fetch;
pub mod lifecycle;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod output;
pub mod pooling;
pub mod prompts;
pub mod queue;
pub mod serve;
pub mod server;
pub mod shutdown;
pub mod sizing;
pub mod specimen;
pub mod static_search;
pub mod telemetry;
pub mod termination;
pub mod tokenize;
pub mod vocabulary;
