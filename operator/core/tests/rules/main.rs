//! The rules of the operator's core, through its public functions: whole objects by snapshot, each rule by its name.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod caches;
mod durations;
mod endpoints;
mod eviction;
mod examples;
mod fixtures;
mod idempotence;
mod outputs;
mod scaling;
mod standby;
mod texts;
mod tls;
mod traces;
mod world;
mod zero;
