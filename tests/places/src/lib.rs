//! Places that a model may lie at, beside the hub: real servers of their kinds for tests, each until it is dropped.

#[cfg(feature = "buckets")]
mod bucket;
mod front;
mod registry;

use std::net::SocketAddr;

use tokio::task::JoinHandle;

#[cfg(feature = "buckets")]
pub use bucket::{Keys, serve_buckets};
pub use front::serve_tls;
pub use registry::{Repository, sha256};

/// A server inside this process.
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
