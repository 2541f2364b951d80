//! A real gateway over a real API server. The test is the controller (it writes status) and the kubelet (it
//! writes slices); the worker is a small HTTP server that answers as it is told.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panic; clippy's own switch does not reach this directory"
)]

#[path = "gateway/attach.rs"]
mod attach;
#[path = "gateway/auth.rs"]
mod auth;
#[path = "gateway/away.rs"]
mod away;
#[path = "gateway/case.rs"]
mod case;
#[path = "gateway/cluster.rs"]
mod cluster;
#[path = "gateway/conformance.rs"]
mod conformance;
#[path = "gateway/connections.rs"]
mod connections;
#[path = "gateway/create.rs"]
mod create;
#[path = "gateway/cut.rs"]
mod cut;
#[path = "gateway/delete.rs"]
mod delete;
#[path = "gateway/drain.rs"]
mod drain;
#[path = "gateway/harness.rs"]
mod harness;
#[path = "gateway/infer.rs"]
mod infer;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/own_api_server.rs"]
mod own_api_server;
#[path = "gateway/page.rs"]
mod page;
#[path = "gateway/proxy.rs"]
mod proxy;
#[path = "gateway/queue.rs"]
mod queue;
#[path = "gateway/shapes.rs"]
mod shapes;
#[path = "gateway/standby.rs"]
mod standby;
#[path = "gateway/starting.rs"]
mod starting;
#[path = "gateway/stopped.rs"]
mod stopped;
#[path = "gateway/traces.rs"]
mod traces;
#[path = "gateway/update.rs"]
mod update;
#[path = "gateway/worker.rs"]
mod worker;
#[path = "gateway/worker_tls.rs"]
mod worker_tls;
#[path = "gateway/zero.rs"]
mod zero;
