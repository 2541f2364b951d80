//! The worker: fetches a model, converts it, and turns texts into sparse vectors.

pub mod backend;
pub mod command;
pub mod config;
pub mod embedder;
pub mod engine;
pub mod fetch;
pub mod lanes;
pub mod lifecycle;
pub mod metrics;
pub mod model;
pub mod pooling;
pub mod precision;
pub mod queue;
pub mod serve;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod termination;
pub mod tokenize;
pub mod vocabulary;
