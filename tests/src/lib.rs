//! The kit of the cluster tests: a real API server, a namespace for each test, waiting for a condition with a deadline.
//!
//! Nothing here fakes a part of the cluster. The tests run against the node of `tests/cluster`, or against the cluster of
//! `KUBECONFIG` when that is set.

#![expect(clippy::print_stderr, reason = "a failed test prints what happened in its namespace")]

mod browser;
mod cache;
mod cluster;
mod endpoint;
mod gateway;
mod namespace;
mod nearby;
mod prober;
mod reference;
mod release;
mod wait;

pub use browser::{Browser, with_browser};
pub use cluster::{client, embedded, example, kubectl, repository};
pub use endpoint::{is_settled, reason};
pub use gateway::{Answer, Gateway};
pub use namespace::{Namespace, with_namespace};
pub use prober::{Prober, Score};
pub use reference::{Reference, references, references_of};
pub use release::{helm, with_release};
pub use wait::{eventually, until};
