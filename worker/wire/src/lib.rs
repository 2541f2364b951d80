//! What travels between the worker, the gateway and the controller: requests, sparse vectors, errors, and what a model
//! fetch says about itself. PURE: types and their JSON, no I/O, no clock.

mod durations;
mod embedding;
mod error;
mod info;
mod load;
mod options;
mod progress;
mod report;
mod request;
mod response;
mod size;

pub use durations::FetchDurations;
pub use embedding::{SparseEmbedding, TokenWeight};
pub use error::{WorkerError, WorkerErrorKind};
pub use info::{Precision, Sizing, WorkerInfo};
pub use load::{
    COUNTED_HEADER, EndpointLoad, GatewayLoad, GaveUp, LOAD_PATH, LoadCounters, Times, WorkerLoad,
};
pub use options::{Format, MaxRatio, MinWeight, Options, OutOfBounds, Pruning, TruncationDirection};
pub use progress::{Phase, Progress};
pub use report::{
    FetchFailure, FetchReason, FetchReport, FetchedInt8, FetchedModel, TERMINATION_MESSAGE_BYTES,
};
pub use request::{EmptyInput, InferenceRequest, InputType};
pub use response::{InferenceResponse, TextEmbedding};
pub use size::ByteSize;

/// Largest request body that the worker reads.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// Where a worker says that it runs, whatever it is doing.
pub const LIVE_PATH: &str = "/health/live";

/// Where a worker says whether it is ready. While it loads its model it holds the answer back for a moment.
pub const READY_PATH: &str = "/health/ready";

/// With this a worker ends that has no usable certificate for TLS: the Secret has to be mended, and no restart will do it.
pub const CERTIFICATE_EXIT_CODE: u8 = 4;

/// Request header with the milliseconds that the caller will still wait. A request that is older than that when its
/// turn comes is dropped before it costs any arithmetic.
pub const TIMEOUT_HEADER: &str = "x-lexiscale-timeout-ms";

/// Response header with the number of texts that wait or run in the worker, the answered ones not among them. Gateways that
/// share a worker see each other's load by it.
pub const LOAD_HEADER: &str = "x-lexiscale-load";

/// Response header with the arithmetic of the model that made the vectors: `fp32` or `int8`.
pub const PRECISION_HEADER: &str = "x-lexiscale-precision";
/// Response header with the digest of the vocabulary and tokenizer that an answer's tokens come from. Vectors under another one do not
/// meet those of this one in an index.
pub const VOCABULARY_HEADER: &str = "x-lexiscale-vocabulary";

/// Response header with the microseconds that the worker's model worked on this request. Only the worker knows them: it has one
/// model for all who ask, and each sees the others' work as its own.
pub const WORKED_HEADER: &str = "x-lexiscale-worked-us";

/// Response header with the number of tokens that the request came to: those that the model saw, special tokens included, after
/// texts were cut.
pub const TOKENS_HEADER: &str = "x-lexiscale-tokens";

/// Where a worker says what it serves.
pub const INFO_PATH: &str = "/info";
