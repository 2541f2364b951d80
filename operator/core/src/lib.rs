//! What the operator decides, without doing it: PURE. No async, client, clock, random numbers or environment.
//!
//! A pass reads the cluster into [`observed`], the spec into [`validated`], computes a [`plan`] from the objects in
//! [`desired`], and after the writes a [`status`]. Everything here is a function from values to values.

pub mod autoscaler;
pub mod catalog;
pub mod children;
pub mod delivery;
pub mod desired;
pub mod download;
pub mod eviction;
pub mod failure;
pub mod follower;
pub mod identity;
pub mod labels;
pub mod load;
pub mod model;
pub mod name;
pub mod nodes;
pub mod observed;
pub mod plan;
pub mod precision;
pub mod quantity;
pub mod rollout;
pub mod scaling;
pub mod settings;
pub mod sizing;
pub mod standby;
pub mod started;
pub mod status;
pub mod validated;
pub mod volume;
pub mod wake;
