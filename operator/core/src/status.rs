//! What the operator says about an object, computed from what it saw. PURE; `now` is a parameter.

pub mod attached;
mod conditions;
mod durations;
pub mod endpoint;
pub mod model_cache;
mod notice;

pub use conditions::{Progressing, Said, Stall, Verdict};
pub use notice::{Notice, Tone, notices, scaled};
