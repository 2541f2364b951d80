//! What the tests share: assets, published models, a backend that can be held, and the worker as a process.

pub(crate) mod models;
pub(crate) mod process;
pub(crate) mod reference;
pub(crate) mod slow_backend;
