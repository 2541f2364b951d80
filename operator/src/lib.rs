//! The operator: the `controller` that turns manifests into pods, and the `gateway` that answers requests.

pub mod admin;
pub mod api_key_command;
pub mod clock;
pub mod controller;
pub mod crds_command;
pub mod decide_command;
pub mod gateway;
pub mod leader;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
