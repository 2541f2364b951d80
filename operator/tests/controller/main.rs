//! The controller against the real API server, scheduler and controller-manager of the embedded node. What the kubelet would
//! do the tests do themselves (`puppet.rs`): volumes of a class that does not exist keep every pod without a node, so nobody
//! else touches the pods' status, and no image has to be there.
#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop and say why"
)]

mod attached;
mod cluster;
mod convergence;
mod crash;
mod delivery;
mod edits;
mod failures;
mod fixtures;
mod leadership;
mod operator;
mod proxy;
mod puppet;
mod scaling;
mod security;
mod sharing;
mod sizing;
mod sources;
mod standby;
mod starting;
mod zero;
